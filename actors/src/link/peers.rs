//! The neighbours that a node may be linked with, which come and go while it runs.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::task::JoinHandle;

use super::config::{Compression, PeerConfig};
use super::connect::Hangar;
use super::gateway::Link;
use super::outbox::Outbox;
use super::sessions::Sessions;
use super::supervisor::Order;
use super::wants::Keeper;
use super::{Deliver, Peer};

/// One neighbour: its link, and the tasks that keep it.
pub(super) struct Entry {
    pub(super) link: Arc<Link>,
    address: String,
    tasks: Vec<JoinHandle<()>>,
}

/// What links are made of.
pub(super) struct Maker {
    /// This node's name and index.
    pub(super) me: (String, u16),
    pub(super) incarnation: u32,
    pub(super) sessions: Arc<Sessions>,
    pub(super) deliver: Arc<dyn Deliver>,
    pub(super) outbox_bytes: usize,
    pub(super) window_bytes: usize,
    pub(super) compression: Compression,
}

impl Maker {
    /// A link, without a gateway yet.
    pub(super) fn link(&self, peer: &PeerConfig, wanted: bool) -> Arc<Link> {
        let outbox = Arc::new(Outbox::new(self.outbox_bytes, self.window_bytes, self.compression));
        let peer = Peer {
            name: peer.name.as_str().into(),
            index: peer.index,
        };
        let (sessions, deliver) = (self.sessions.clone(), self.deliver.clone());
        Link::new(&self.me.0, peer, outbox, self.incarnation, sessions, deliver, wanted)
    }

    /// Keeps a link from now on.
    pub(super) fn keep(&self, link: Arc<Link>, address: String, hangar: &Hangar) -> Entry {
        let keeper = Keeper {
            link: link.clone(),
            hangar: hangar.clone(),
            address: address.clone(),
            dials: link.peer.index < self.me.1,
        };
        Entry {
            tasks: vec![tokio::spawn(link.clone().drain()), tokio::spawn(keeper.run())],
            link,
            address,
        }
    }
}

/// Makes `entries` those of `peers`: whoever is no peer any more, or has another name or address, is closed; who is new is
/// not wanted yet. By index afterwards.
pub(super) fn replace(
    entries: &mut Vec<Entry>,
    peers: &[PeerConfig],
    maker: &Maker,
    supervisor: &ActorRef<Order>,
    hangar: &Hangar,
) {
    let is = |entry: &Entry, peer: &PeerConfig| {
        (entry.link.peer.index, &*entry.link.peer.name, &entry.address) == (peer.index, &*peer.name, &peer.address)
    };
    let (stay, gone) = std::mem::take(entries)
        .into_iter()
        .partition(|entry| peers.iter().any(|peer| is(entry, peer)));
    *entries = stay;
    for Entry { link, tasks, .. } in gone {
        tracing::info!(peer = %link.peer.name, "it is no neighbour any more");
        maker.sessions.remove_peer(&link.peer.name);
        link.close("no neighbour any more");
        tasks.iter().for_each(JoinHandle::abort);
        // Fails only while the node stops, and so below.
        let _ = supervisor.cast(Order::Retire(link));
    }
    let me = maker.me.1;
    for peer in peers.iter().filter(|peer| peer.index != me) {
        if entries.iter().any(|entry| entry.link.peer.index == peer.index) {
            continue;
        }
        let link = maker.link(peer, false);
        maker.sessions.add_peer(&peer.name, peer.index);
        let _ = supervisor.cast(Order::Spawn(link.clone()));
        entries.push(maker.keep(link, peer.address.clone(), hangar));
    }
    entries.sort_by_key(|entry| entry.link.peer.index);
}

impl Entry {
    /// Ends the tasks.
    pub(super) async fn end(self) {
        for task in self.tasks {
            task.abort();
            // An aborted task always says so.
            let _ = task.await;
        }
    }
}
