//! One end of a link. A gateway takes the frames of one neighbour, and learns from the process groups of ractor when
//! the neighbour's gateway for this node is there. Supervised by [`super::supervisor`]; outlives connections.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::pg::{self, GroupChangeMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::inbox::{Fault, Inbox};
use super::outbox::Outbox;
use super::sessions::Sessions;
use super::stats::{LinkSign, LinkStats, Received, add, get};
use super::{Deliver, Peer};

/// How often the other end is asked for an answer: a frame of a hundred bytes both ways.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Everything about one link that more than its gateway needs.
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) outbox: Arc<Outbox>,
    pub(super) received: Received,
    /// Where frames go. A mutex since the gateway sets it and the drain task reads it, once per frame.
    remote: Mutex<Option<Remote>>,
    /// The upper half of all sessions of this process, and how many there were.
    session_base: u64,
    sessions: Arc<Sessions>,
    deliver: Arc<dyn Deliver>,
    group: String,
    group_of_peer: String,
    up: watch::Sender<bool>,
    wanted: watch::Sender<bool>,
}

/// The gateway of the neighbour for this node, and the session of this node with it.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) gateway: ActorRef<Vec<u8>>,
    session: u64,
    /// The version of the frames.
    version: u8,
}

/// The actor. Its message type is what lets ractor_cluster move frames as they are; what is in them is checked here.
pub(super) struct Gateway;

pub(super) struct State {
    link: Arc<Link>,
    inbox: Inbox,
}

impl Link {
    pub(super) fn new(
        me: &str,
        peer: Peer,
        outbox: Arc<Outbox>,
        incarnation: u32,
        sessions: Arc<Sessions>,
        deliver: Arc<dyn Deliver>,
        wanted: bool,
    ) -> Arc<Self> {
        let group = format!("gateway/{me}/{}", peer.name);
        let group_of_peer = format!("gateway/{}/{me}", peer.name);
        Arc::new(Link {
            peer,
            outbox,
            received: Received::default(),
            remote: Mutex::new(None),
            session_base: u64::from(incarnation) << 32,
            sessions,
            deliver,
            group,
            group_of_peer,
            up: watch::channel(false).0,
            wanted: watch::Sender::new(wanted),
        })
    }

    /// Hands frames to ractor_cluster for as long as the process runs. One task per link, since the frames of a
    /// session must leave in the order of their numbers.
    pub(super) async fn drain(self: Arc<Self>) {
        let mut ask = tokio::time::interval(ASK_EVERY);
        // A process that was stopped does not catch up.
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.outbox.woken() => {}
                _ = ask.tick() => self.outbox.ask(),
            }
            // The credit of the neighbour bounds how often this repeats without waiting.
            while let Some(frame) = self.outbox.next_frame() {
                // Without its remote, or with one that has just ended, the session of the frame is over as well, and
                // its envelopes are written off by the gateway.
                if let Some(remote) = self.remote().filter(|remote| remote.session == frame.session) {
                    let _ = remote.gateway.cast(frame.bytes);
                }
            }
        }
    }

    pub(super) fn stats(&self) -> LinkStats {
        let mut lanes = self.outbox.lane_stats().to_vec();
        let received = &self.received;
        for (index, lane) in lanes.iter_mut().enumerate() {
            lane.received = get(&received.envelopes[index]);
            lane.received_bytes = get(&received.envelope_bytes[index]);
        }
        let (compressed, compressed_saved_bytes) = self.outbox.compressed();
        let (frames_sent, frame_bytes_sent, in_flight_bytes) = self.outbox.frame_stats();
        LinkStats {
            peer: self.peer.name.to_string(),
            index: self.peer.index,
            up: *self.up.borrow(),
            wanted: *self.wanted.borrow(),
            version: self.remote().map(|remote| remote.version),
            problem: self.sessions.problem(self.peer.index),
            round_trip: self.outbox.round_trip(),
            round_trip_latency: self.outbox.round_trip_latency(),
            reconnects: get(&received.link_ups).saturating_sub(1),
            frames_sent,
            frame_bytes_sent,
            frames_received: get(&received.frames),
            frame_bytes_received: get(&received.bytes),
            frames_stale: get(&received.stale),
            frames_malformed: get(&received.malformed),
            kinds_unknown: get(&received.kinds_unknown),
            in_flight_bytes,
            compressed,
            compressed_saved_bytes,
            lanes,
        }
    }

    pub(super) fn sign(&self) -> LinkSign {
        LinkSign {
            link: self.peer.index,
            up: *self.up.borrow(),
            wanted: *self.wanted.borrow(),
            silent: self.sessions.silence(self.peer.index),
        }
    }

    /// Follows whether the link is up.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Says whether the link is wanted.
    pub(super) fn set_wanted(&self, wanted: bool) {
        self.wanted
            .send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
    }

    /// Follows whether it is.
    pub(super) fn follow_wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// Closes its connection, if it has one, whatever still waits for it.
    pub(super) fn close(&self, reason: &str) {
        self.sessions.close_all(self.peer.index, reason);
    }

    /// The neighbour's gateway is there.
    fn connect(&self, gateway: ActorRef<Vec<u8>>) {
        self.disconnect();
        let version = match gateway.get_id() {
            ActorId::Remote { node_id, .. } => self.sessions.version_of(node_id),
            ActorId::Local(_) => None,
        };
        // A session that has ended meanwhile.
        let Some(version) = version else { return };
        self.sessions.no_trouble(self.peer.index);
        let count = self.received.link_ups.fetch_add(1, Ordering::Relaxed) + 1;
        let session = self.session_base | (count & u64::from(u32::MAX));
        *self.remote.lock().unwrap_or_else(PoisonError::into_inner) = Some(Remote {
            gateway,
            session,
            version,
        });
        self.outbox.open(session, version);
        self.up.send_replace(true);
        tracing::info!(peer = %self.peer.name, count, "link up");
        self.deliver.link_up(&self.peer);
    }

    /// The neighbour's gateway is gone, or this one is.
    pub(super) fn disconnect(&self) {
        let remote = self.remote.lock().unwrap_or_else(PoisonError::into_inner).take();
        if remote.is_none() {
            return;
        }
        self.outbox.close();
        self.up.send_replace(false);
        tracing::info!(peer = %self.peer.name, "link down");
        self.deliver.link_down(&self.peer);
    }

    /// Takes a member of the neighbour's group for its gateway, if it really is on the neighbour.
    fn joined(&self, actors: &[ActorCell]) {
        let remote = actors.iter().rev().find(|actor| match actor.get_id() {
            ActorId::Remote { node_id, .. } => self.sessions.peer_of(node_id) == Some(self.peer.index),
            ActorId::Local(_) => false,
        });
        // A new gateway both looks who is there and is told who comes, and may so hear of one twice.
        let current = self.remote().map(|remote| remote.gateway.get_id());
        if let Some(remote) = remote.filter(|remote| Some(remote.get_id()) != current) {
            self.connect(remote.clone().into());
        }
    }

    fn left(&self, actors: &[ActorCell]) {
        let current = self.remote().map(|remote| remote.gateway.get_id());
        if actors.iter().any(|actor| Some(actor.get_id()) == current) {
            self.disconnect();
            // Where both ends have dialled, another connection may stand.
            self.joined(&pg::get_members(&self.group_of_peer));
        }
    }

    pub(super) fn remote(&self) -> Option<Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn receive(&self, inbox: &mut Inbox, frame: Vec<u8>) {
        let received = &self.received;
        add(&received.frames, 1);
        add(&received.bytes, frame.len() as u64);
        if let Err(fault) = self.deliver_frame(inbox, frame) {
            add(&received.malformed, 1);
            tracing::warn!(peer = %self.peer.name, %fault, "closing the link");
            if let Some(ActorId::Remote { node_id, .. }) = self.remote().map(|remote| remote.gateway.get_id()) {
                self.sessions.close(node_id, "malformed frame");
            }
        }
    }

    fn deliver_frame(&self, inbox: &mut Inbox, frame: Vec<u8>) -> Result<(), Fault> {
        let received = &self.received;
        let Some(arrival) = inbox.accept(frame)? else {
            add(&received.stale, 1);
            return Ok(());
        };
        self.outbox
            .credit(arrival.header.credit_session, arrival.header.credit)?;
        if arrival.header.echo != 0 {
            self.outbox.answered(arrival.header.credit_session, arrival.header.echo);
        }
        if arrival.header.probe != 0 {
            self.outbox.asked(arrival.header.session, arrival.header.probe);
        }
        for (index, (count, bytes)) in arrival
            .counts
            .into_iter()
            .enumerate()
            .filter(|(_, (count, _))| *count > 0)
        {
            add(&received.envelopes[index], count);
            add(&received.envelope_bytes[index], bytes);
        }
        add(&received.kinds_unknown, arrival.kinds_unknown);
        if !arrival.envelopes.is_empty() {
            self.deliver.envelopes(&self.peer, arrival.envelopes);
        }
        // After delivery: the credit of a link is what bounds how far a neighbour can run ahead of this node.
        self.outbox.handled(arrival.header.session, arrival.item_bytes);
        Ok(())
    }
}

impl Actor for Gateway {
    type Msg = Vec<u8>;
    type State = State;
    type Arguments = Arc<Link>;

    async fn pre_start(&self, myself: ActorRef<Vec<u8>>, link: Arc<Link>) -> Result<State, ActorProcessingErr> {
        pg::monitor(link.group_of_peer.clone(), myself.get_cell());
        pg::join(link.group.clone(), vec![myself.get_cell()]);
        // A gateway that takes the place of one that failed finds its neighbour already there.
        link.joined(&pg::get_members(&link.group_of_peer));
        let inbox = Inbox::speaking(link.sessions.speaks());
        Ok(State { link, inbox })
    }

    async fn handle(&self, _: ActorRef<Vec<u8>>, frame: Vec<u8>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.link.receive(&mut state.inbox, frame);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Vec<u8>>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ProcessGroupChanged(GroupChangeMessage::Join(_, _, actors)) => state.link.joined(&actors),
            SupervisionEvent::ProcessGroupChanged(GroupChangeMessage::Leave(_, _, actors)) => state.link.left(&actors),
            _ => {}
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Vec<u8>>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.link.disconnect();
        Ok(())
    }
}
