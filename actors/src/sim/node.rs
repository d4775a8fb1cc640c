//! A simulated node: a runtime with a clock of its own, which stands still unless the simulator moves it, and on it the real
//! router, consensus and replica, a queen's rounds, and a disk that outlives it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queenright_protocol::colony::{Digest, Outcome, RULES, ReservationId, Wait, WaitId};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology;
use queenright_protocol::version::Versions;
use queenright_protocol::wire::{Envelope, Kind};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::disk::Disk;
use super::history::PROJECT;
use super::network::Network;
use super::queen::{Mailbox, Message, SimQueen};
use super::runtime::Seeded;
use crate::body::decode;
use crate::consensus::{Consensus, Timing};
use crate::link::{Deliver, Peer};
use crate::queen::{Request, SubmitError};
use crate::replica::{Replica, Snapshot};
use crate::router::{Inbound, Router, Services, View};

/// Shorter than a real cluster's, so that a simulated second holds more elections.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(50),
    election: (Duration::from_millis(200), Duration::from_millis(400)),
};

/// How long a node waits for a quorum to confirm a read before its client asks again.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// What a client asked for.
pub(super) enum Reply {
    /// A command was carried out, or not taken.
    Outcome(Result<Outcome, SubmitError>),
    /// The state that a linearizable read saw; `None` when no quorum confirmed it.
    Read(Option<Arc<Snapshot>>),
    /// What a claim that waited was offered; `None` when it waits no more.
    Offer(Option<Arc<Wait>>),
    /// Whether a request that waited was granted.
    Settled(bool),
}

/// A node, running or not.
pub(super) struct SimNode {
    me: usize,
    nodes: usize,
    kind: topology::Kind,
    routed: bool,
    /// The rules that its build knows, from its next start on.
    pub(super) knows: Versions,
    pub(super) disk: Disk,
    /// How many microseconds its clock goes on in a millisecond.
    clock_us: u64,
    incarnation: u64,
    running: Option<Running>,
}

/// One start of a node. The runtime is dropped first: that is the crash.
struct Running {
    runtime: Runtime,
    seed: u64,
    base: Instant,
    now_us: u64,
    inbound: Arc<Inbound>,
    replica: Arc<Replica>,
    consensus: Arc<Consensus>,
    mailbox: Mailbox,
    heard: Heard,
}

/// What those were told who only asked, by ticket.
type Heard = Arc<Mutex<Vec<(u64, Reply)>>>;

/// What envelopes from other nodes reach.
struct Inbox {
    consensus: Arc<Consensus>,
    mailbox: Mailbox,
}

impl Services for Inbox {
    fn receive(&self, envelope: Envelope) {
        match envelope.kind {
            Kind::Round => self.mailbox.put(Message::Round {
                from: envelope.from,
                bytes: envelope.body,
            }),
            Kind::RoundRefused => {
                if let Ok(false) = decode(&envelope.body) {
                    self.mailbox.put(Message::Refused(envelope.from));
                }
            }
            Kind::Unstored => {}
            _ => self.consensus.receive(envelope),
        }
    }

    fn signals(&self, _: Vec<Envelope>) {}

    fn topics(&self, _: Vec<Envelope>) {}
}

impl SimNode {
    /// The node at place `me` of a cluster: how many nodes, how they are linked, and whether consensus goes along that.
    pub(super) fn new(
        me: usize,
        (nodes, kind, routed): (usize, topology::Kind, bool),
        disk: Disk,
        clock_us: u64,
    ) -> SimNode {
        SimNode {
            me,
            nodes,
            kind,
            routed,
            knows: RULES,
            disk,
            clock_us,
            incarnation: 0,
            running: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it on what its disk holds.
    pub(super) fn start(&mut self, network: &Network, seed: u64) {
        assert!(self.running.is_none(), "it runs");
        self.incarnation += 1;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without threads and sockets");
        let seeded = Seeded::with(seed);
        let running = runtime.block_on(self.parts(network));
        drop(seeded);
        let (inbound, replica, consensus, mailbox) = running;
        let base = runtime.block_on(async { Instant::now() });
        self.running = Some(Running {
            runtime,
            seed,
            base,
            now_us: 0,
            inbound,
            replica,
            consensus,
            mailbox,
            heard: Heard::default(),
        });
    }

    async fn parts(&self, network: &Network) -> (Arc<Inbound>, Arc<Replica>, Arc<Consensus>, Mailbox) {
        let me = number(self.me);
        let numbers: BTreeSet<NodeId> = (0..self.nodes).map(number).collect();
        let (inbound, _founding) = Inbound::new();
        let router = Router::over(Box::new(network.transport(self.me)), inbound.clone());
        router.set_view(View {
            epoch: 1,
            kind: self.kind,
            routed: self.routed,
            ..View::mesh(me, &numbers)
        });
        let replica = Replica::knowing(me, self.knows);
        let founds = self.me == 0 && self.disk.is_blank();
        let consensus = Consensus::start(
            TIMING,
            "simulated".to_owned(),
            self.disk.clone(),
            replica.clone(),
            None,
            router.clone(),
            None,
        )
        .await
        .expect("the simulated disk does not fail");
        let consensus = Arc::new(consensus);
        let mailbox = Mailbox::default();
        let sink = mailbox.clone();
        replica.answer_to(Box::new(move |answers| sink.put(Message::Applied(answers))));
        let queen = SimQueen::new(
            self.incarnation,
            mailbox.clone(),
            replica.clone(),
            consensus.clone(),
            router.clone(),
        );
        tokio::spawn(queen.run());
        router.serve(Arc::new(Inbox {
            consensus: consensus.clone(),
            mailbox: mailbox.clone(),
        }));
        tokio::spawn(follow_leader(consensus.clone(), mailbox.clone()));
        if founds {
            let founder = consensus.clone();
            tokio::spawn(async move { founder.initialise(&numbers).await });
        }
        (inbound, replica, consensus, mailbox)
    }

    /// Kills it, and what its disk has not synced with it.
    pub(super) fn crash(&mut self) {
        drop(self.running.take().expect("it runs"));
        self.disk.crash();
    }

    /// Tells it that the link to a neighbour came up or went down.
    pub(super) fn link(&mut self, neighbour: usize, up: bool) {
        if let Some(running) = &mut self.running {
            let (inbound, peer) = (running.inbound.clone(), peer(neighbour));
            running.enter(async move {
                if up {
                    inbound.link_up(&peer);
                } else {
                    inbound.link_down(&peer);
                }
            });
        }
    }

    /// Lets a millisecond pass in which these envelopes arrive.
    pub(super) fn step(&mut self, network: &Network, arrived: Vec<(usize, Envelope)>) {
        let (me, clock_us) = (self.me, self.clock_us);
        let Some(running) = &mut self.running else { return };
        running.now_us += clock_us;
        let until = running.base + Duration::from_millis(running.now_us / 1_000);
        let inbound = running.inbound.clone();
        running.enter(async move {
            network.wake_senders(me);
            for (from, envelope) in arrived {
                inbound.envelopes(&peer(from), vec![envelope]);
            }
            tokio::time::sleep_until(until).await;
        });
    }

    /// It was stopped for so long: its clock jumps, and all timers that were due meanwhile are late.
    pub(super) fn wake_after(&mut self, stopped_ms: u64) {
        let clock_us = self.clock_us;
        let Some(running) = &mut self.running else { return };
        let before_ms = running.now_us / 1_000;
        running.now_us += stopped_ms * clock_us;
        let jump = Duration::from_millis(running.now_us / 1_000 - before_ms);
        running.enter(tokio::time::advance(jump));
    }

    /// Hands a command to its queen.
    pub(super) fn submit(&mut self, ticket: u64, request: Request) {
        let Some(running) = &mut self.running else { return };
        let mailbox = running.mailbox.clone();
        running.enter(async move { mailbox.put(Message::Submit(ticket, request)) });
    }

    /// Begins a linearizable read.
    pub(super) fn read(&mut self, ticket: u64) {
        let Some(running) = &mut self.running else { return };
        let (consensus, replica) = (running.consensus.clone(), running.replica.clone());
        running.hear(ticket, async move {
            let confirmed = consensus.read_barrier(Instant::now() + READ_PATIENCE).await;
            Reply::Read(confirmed.map(|()| replica.snapshot()))
        });
    }

    /// Waits for what a claim is offered, as its door does.
    pub(super) fn await_offer(&mut self, ticket: u64, wait: WaitId) {
        let Some(running) = &mut self.running else { return };
        let replica = running.replica.clone();
        running.hear(ticket, async move {
            Reply::Offer(replica.wait_offer(&PROJECT.into(), wait).await)
        });
    }

    /// Waits for a reservation, as its door does.
    pub(super) fn await_grant(&mut self, ticket: u64, reservation: ReservationId) {
        let Some(running) = &mut self.running else { return };
        let replica = running.replica.clone();
        running.hear(ticket, async move {
            // An error says that the replica is gone, and with it who waits.
            let _ = replica.wait_reservation(PROJECT, reservation).await;
            let snapshot = replica.snapshot();
            let project = snapshot.colony.project(PROJECT);
            let found = project.and_then(|project| project.reservations().get(reservation));
            Reply::Settled(found.is_some_and(|found| found.fence().is_some()))
        });
    }

    /// What its clients were answered since the last call, by ticket.
    pub(super) fn take_replies(&mut self) -> Vec<(u64, Reply)> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let outcomes = running.mailbox.take_answers().into_iter();
        let heard = std::mem::take(&mut *running.heard.lock().expect("nothing panics under this lock"));
        let mut replies: Vec<(u64, Reply)> = outcomes
            .map(|(ticket, outcome)| (ticket, Reply::Outcome(outcome)))
            .chain(heard)
            .collect();
        replies.sort_by_key(|(ticket, _)| *ticket);
        replies
    }

    /// Its copy of the colony, if it runs.
    pub(super) fn replica(&self) -> Option<&Arc<Replica>> {
        self.running.as_ref().map(|running| &running.replica)
    }

    /// How far it has applied the log.
    pub(super) fn applied(&self) -> Option<u64> {
        self.replica().map(|replica| replica.applied_index())
    }

    /// Whether it has applied all that is in its log.
    pub(super) fn has_applied_all(&self) -> bool {
        self.applied() == self.disk.last_index()
    }

    /// How far it has applied the log, and the digest then.
    pub(super) fn digest(&self) -> Option<(u64, Digest)> {
        let (_, index, digest) = self.replica()?.digest();
        Some((index, digest))
    }

    /// Whether it takes itself for the leader.
    pub(super) fn leads(&self) -> bool {
        let leadership = self.running.as_ref().map(|running| running.consensus.current());
        leadership.is_some_and(|leadership| leadership.leader == Some(number(self.me)))
    }

    /// The term, and whether consensus still runs.
    pub(super) fn consensus(&self) -> Option<(u64, bool)> {
        let leadership = self.running.as_ref()?.consensus.current();
        Some((leadership.term, leadership.running))
    }
}

impl Running {
    /// Keeps what comes of this for the client with the ticket.
    fn hear(&mut self, ticket: u64, reply: impl Future<Output = Reply> + Send + 'static) {
        let heard = self.heard.clone();
        self.enter(async move {
            tokio::spawn(async move {
                let reply = reply.await;
                heard
                    .lock()
                    .expect("nothing panics under this lock")
                    .push((ticket, reply));
            });
        });
    }

    fn enter(&mut self, future: impl Future<Output = ()>) {
        // Each time another seed, itself drawn from the seed of this start.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let _seeded = Seeded::with(self.seed);
        self.runtime.block_on(future);
    }
}

async fn follow_leader(consensus: Arc<Consensus>, mailbox: Mailbox) {
    let mut leadership = consensus.leadership();
    loop {
        let leader = leadership.borrow_and_update().leader;
        mailbox.put(Message::Leader(leader));
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

pub(super) fn number(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

fn peer(place: usize) -> Peer {
    Peer {
        name: format!("n{}", place + 1).into(),
        index: place as u16,
    }
}
