//! The seam between the router and what carries envelopes to the neighbours: the gateways of this node's links, or the
//! simulated network of the tests (`sim`). What arrives goes to a [`Deliver`], whichever of them brings it.
//!
//! Both keep what the links promise and no more: in order within a lane while a link stands, at most once, never waiting
//! for room unless asked to, everything that waits lost when the link goes down.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use queenright_protocol::wire::{Envelope, Lane};

use crate::link::{Deliver, LinkConfig, LinkError, LinkSign, Links, LinksStats, Outbox, PeerConfig, SendError};

/// What the router sends through.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Takes an envelope for the neighbour at the end of `link`. Never waits.
    ///
    /// # Errors
    /// When the lane is full, the link is down, or the envelope is too large for any.
    fn send(&self, link: u16, lane: Lane, envelope: &Envelope) -> Result<(), SendError>;

    /// Like [`Transport::send`], but waits while the lane is full.
    fn send_waiting<'a>(
        &'a self,
        link: u16,
        lane: Lane,
        envelope: &'a Envelope,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// Whether a link is up.
    fn is_up(&self, link: u16) -> bool;

    /// Whether a lane would take a body of so many bytes now, or the link is down: then it refuses for another reason.
    fn has_room(&self, link: u16, lane: Lane, bytes: usize) -> bool;

    /// These are the neighbours from now on.
    fn set_peers(&self, peers: &[PeerConfig]);

    /// Counts somebody who does not know the cookie and has asked elsewhere than on a link.
    fn refuse_stranger(&self, _from: &str) {}

    /// Says which links are wanted.
    fn set_wanted(&self, wanted: &BTreeSet<u16>);

    /// What was counted so far.
    fn stats(&self) -> LinksStats;

    /// When something came on each link.
    fn signs(&self) -> Vec<LinkSign>;

    /// Closes the connection of a link, which then makes a new one.
    fn close(&self, link: u16);

    /// Closes the links.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// The gateways of the links of this process.
pub(crate) struct Gateways {
    // A mutex: links are stopped once, by whoever stops the node; sending goes through the outboxes below.
    links: Mutex<Option<Links>>,
    /// By index. Replaced as a whole when the neighbours change.
    outboxes: ArcSwap<Vec<Option<Arc<Outbox>>>>,
}

impl Gateways {
    /// Opens the links.
    ///
    /// # Errors
    /// When the address of this node cannot be bound, or the configuration of the links is wrong.
    pub(crate) async fn start(config: LinkConfig, deliver: Arc<dyn Deliver>) -> Result<Gateways, LinkError> {
        let links = Links::start(config, deliver).await?;
        let outboxes = ArcSwap::from_pointee(outboxes(&links));
        Ok(Gateways {
            links: Mutex::new(Some(links)),
            outboxes,
        })
    }

    fn with<T>(&self, link: u16, of: impl FnOnce(&Arc<Outbox>) -> Result<T, SendError>) -> Result<T, SendError> {
        let outboxes = self.outboxes.load();
        let outbox = outboxes.get(link as usize).and_then(Option::as_ref);
        of(outbox.ok_or(SendError::Down)?)
    }
}

fn outboxes(links: &Links) -> Vec<Option<Arc<Outbox>>> {
    let last = links.peers().last().map_or(0, |peer| peer.index);
    (0..=last).map(|index| links.outbox(index)).collect()
}

impl Transport for Gateways {
    fn send(&self, link: u16, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        self.with(link, |outbox| outbox.send(lane, envelope))
    }

    fn send_waiting<'a>(
        &'a self,
        link: u16,
        lane: Lane,
        envelope: &'a Envelope,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        match self.with(link, |outbox| Ok(outbox.clone())) {
            Ok(outbox) => async move { outbox.send_waiting(lane, envelope).await }.boxed(),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }

    fn is_up(&self, link: u16) -> bool {
        self.with(link, |outbox| Ok(outbox.is_up())).unwrap_or(false)
    }

    fn refuse_stranger(&self, from: &str) {
        let links = self.links.lock().expect("nothing panics under this lock");
        if let Some(links) = links.as_ref() {
            links.refuse_stranger(from);
        }
    }

    fn set_peers(&self, peers: &[PeerConfig]) {
        let links = self.links.lock().expect("nothing panics under this lock");
        if let Some(links) = links.as_ref() {
            links.set_peers(peers);
            self.outboxes.store(Arc::new(outboxes(links)));
        }
    }

    fn has_room(&self, link: u16, lane: Lane, bytes: usize) -> bool {
        self.with(link, |outbox| Ok(outbox.has_room(lane, bytes)))
            .unwrap_or(true)
    }

    fn set_wanted(&self, wanted: &BTreeSet<u16>) {
        let links = self.links.lock().expect("nothing panics under this lock");
        if let Some(links) = links.as_ref() {
            links.set_wanted(wanted);
        }
    }

    fn stats(&self) -> LinksStats {
        let links = self.links.lock().expect("nothing panics under this lock");
        links.as_ref().map_or_else(LinksStats::default, Links::stats)
    }

    fn signs(&self) -> Vec<LinkSign> {
        let links = self.links.lock().expect("nothing panics under this lock");
        links.as_ref().map_or(Vec::new(), Links::signs)
    }

    fn close(&self, link: u16) {
        let links = self.links.lock().expect("nothing panics under this lock");
        if let Some(links) = &*links {
            links.close(link);
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let links = self.links.lock().expect("nothing panics under this lock").take();
        async move {
            if let Some(links) = links {
                links.stop().await;
            }
        }
        .boxed()
    }
}
