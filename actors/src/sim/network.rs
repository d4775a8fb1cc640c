//! The simulated network: what the links promise, between nodes of one process, in virtual time.
//!
//! | fault | what the real one is |
//! |---|---|
//! | delay | any path; in order within a lane, lanes overtake one another, as the outbox lets them |
//! | loss of one envelope | a node in transit whose outbox is full drops it |
//! | stall of a way | a cut path or a stopped peer, before the connection is given up: all of it arrives late, in order |
//! | cut of a link | the connection broke: what was under way is lost, both ends are told, and nothing is taken until it is back |
//!
//! Nothing arrives twice: frames are numbered within a session, so the real links do not do that either. What the queens
//! and consensus send again is another envelope.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt;
use futures::future::BoxFuture;
use queenright_protocol::wire::{Envelope, Lane};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use super::trace::{Trace, mark};
use crate::link::{LinkSign, LinksStats, PeerConfig, SendError};
use crate::transport::Transport;

/// How many bytes may be under way on one lane of one way.
const LANE_BYTES: usize = 1 << 20;

/// How a way behaves when nothing is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weather {
    /// The shortest and the longest delay.
    pub(super) delay_ms: (u64, u64),
    /// How many of a thousand envelopes are lost.
    pub(super) lost_per_mille: u32,
}

impl Weather {
    pub(super) const FAIR: Weather = Weather {
        delay_ms: (1, 4),
        lost_per_mille: 0,
    };
}

/// The network. Clones share it.
#[derive(Clone)]
pub(super) struct Network {
    net: Arc<Mutex<Net>>,
    trace: Trace,
}

struct Net {
    random: StdRng,
    now_ms: u64,
    /// By (from, to).
    ways: BTreeMap<(usize, usize), Way>,
    /// What is under way, by when it arrives and the order of sending.
    flying: BTreeMap<(u64, u64), Parcel>,
    serial: u64,
}

struct Way {
    up: bool,
    /// For how many reasons nothing arrives.
    stalls: u32,
    weather: Weather,
    /// When the last envelope of each lane arrives.
    last_ms: [u64; Lane::COUNT],
    bytes: [usize; Lane::COUNT],
    /// What has reached a stalled way.
    held: VecDeque<Parcel>,
    room: Arc<Notify>,
    /// Whether there is more room than `room` was told of.
    has_room: bool,
}

struct Parcel {
    from: usize,
    to: usize,
    lane: Lane,
    envelope: Envelope,
}

impl Network {
    pub(super) fn new(nodes: usize, seed: u64, trace: Trace) -> Network {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let ways = pairs.filter(|(from, to)| from != to).map(|pair| {
            let way = Way {
                up: false,
                stalls: 0,
                weather: Weather::FAIR,
                last_ms: [0; Lane::COUNT],
                bytes: [0; Lane::COUNT],
                held: VecDeque::new(),
                room: Arc::new(Notify::new()),
                has_room: false,
            };
            (pair, way)
        });
        let net = Net {
            random: StdRng::seed_from_u64(seed),
            now_ms: 0,
            ways: ways.collect(),
            flying: BTreeMap::new(),
            serial: 0,
        };
        Network {
            net: Arc::new(Mutex::new(net)),
            trace,
        }
    }

    /// What the node in place `me` sends through.
    pub(super) fn transport(&self, me: usize) -> SimTransport {
        SimTransport {
            network: self.clone(),
            me,
        }
    }

    fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().expect("nothing panics under this lock")
    }

    /// Moves time on, and returns what arrives at each node now: from whom, and what.
    pub(super) fn arrivals(&self, now_ms: u64) -> Vec<(usize, usize, Envelope)> {
        let mut net = self.net();
        net.now_ms = now_ms;
        let mut arrived = Vec::new();
        while let Some(entry) = net.flying.first_entry()
            && entry.key().0 <= now_ms
        {
            let parcel = entry.remove();
            let way = net
                .ways
                .get_mut(&(parcel.from, parcel.to))
                .expect("all pairs are there");
            if way.stalls > 0 {
                way.held.push_back(parcel);
                continue;
            }
            way.release(&parcel);
            self.trace.note(format_args!("{parcel}"));
            arrived.push((parcel.from, parcel.to, parcel.envelope));
        }
        arrived
    }

    /// Wakes the senders of a node for which room was made. On the runtime of that node: who is woken from outside of it
    /// runs before or after its other tasks by a count of the scheduler.
    pub(super) fn wake_senders(&self, from: usize) {
        let mut net = self.net();
        for (_, way) in net.ways.iter_mut().filter(|((sender, _), _)| *sender == from) {
            if std::mem::take(&mut way.has_room) {
                way.room.notify_waiters();
            }
        }
    }

    /// Opens or cuts the link between two nodes; what is under way is lost. Whether that changed anything.
    pub(super) fn set_up(&self, one: usize, other: usize, up: bool) -> bool {
        let mut net = self.net();
        let mut changed = false;
        for pair in [(one, other), (other, one)] {
            net.flying.retain(|_, parcel| (parcel.from, parcel.to) != pair);
            let way = net.ways.get_mut(&pair).expect("all pairs are there");
            changed |= way.up != up;
            way.up = up;
            way.held.clear();
            way.bytes = [0; Lane::COUNT];
            way.last_ms = [0; Lane::COUNT];
            way.has_room = true;
        }
        changed
    }

    /// Lets nothing arrive on one way until [`Network::resume`] was called as often.
    pub(super) fn stall(&self, from: usize, to: usize) {
        self.net()
            .ways
            .get_mut(&(from, to))
            .expect("all pairs are there")
            .stalls += 1;
    }

    /// Lets everything arrive that was held, unless there is another reason to hold it.
    pub(super) fn resume(&self, from: usize, to: usize) {
        let mut net = self.net();
        let now_ms = net.now_ms;
        let way = net.ways.get_mut(&(from, to)).expect("all pairs are there");
        way.stalls -= 1;
        if way.stalls > 0 {
            return;
        }
        for parcel in std::mem::take(&mut way.held) {
            net.serial += 1;
            let at = (now_ms, net.serial);
            net.flying.insert(at, parcel);
        }
    }

    pub(super) fn set_weather(&self, from: usize, to: usize, weather: Weather) {
        self.net()
            .ways
            .get_mut(&(from, to))
            .expect("all pairs are there")
            .weather = weather;
    }
}

impl Way {
    fn release(&mut self, parcel: &Parcel) {
        let bytes = &mut self.bytes[parcel.lane.index()];
        *bytes = bytes.saturating_sub(parcel.envelope.body.len());
        self.has_room = true;
    }
}

impl Net {
    fn send(&mut self, from: usize, to: usize, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        let now_ms = self.now_ms;
        let way = self.ways.get_mut(&(from, to)).ok_or(SendError::Down)?;
        if !way.up {
            return Err(SendError::Down);
        }
        let bytes = way.bytes[lane.index()];
        if bytes > 0 && bytes + envelope.body.len() > LANE_BYTES {
            return Err(SendError::Busy {
                lane,
                bytes,
                limit: LANE_BYTES,
            });
        }
        let Weather {
            delay_ms: (least, most),
            lost_per_mille,
        } = way.weather;
        let delay_ms = self.random.random_range(least..=most);
        if self.random.random_range(0..1_000) < lost_per_mille {
            return Ok(());
        }
        let due_ms = (now_ms + delay_ms).max(way.last_ms[lane.index()]);
        way.last_ms[lane.index()] = due_ms;
        way.bytes[lane.index()] += envelope.body.len();
        self.serial += 1;
        let parcel = Parcel {
            from,
            to,
            lane,
            envelope: envelope.clone(),
        };
        self.flying.insert((due_ms, self.serial), parcel);
        Ok(())
    }
}

impl std::fmt::Display for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Parcel {
            from,
            to,
            lane,
            envelope,
        } = self;
        let (kind, body) = (envelope.kind, &envelope.body);
        write!(
            f,
            "n{}->n{} {kind} {:x} on {lane}: {} B {:08x}",
            from + 1,
            to + 1,
            envelope.correlation,
            body.len(),
            mark(body)
        )
    }
}

/// What one node sends through. Links are numbered by the place of the neighbour.
pub(super) struct SimTransport {
    network: Network,
    me: usize,
}

impl Transport for SimTransport {
    fn send(&self, link: u16, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        self.network.net().send(self.me, link as usize, lane, envelope)
    }

    fn send_waiting<'a>(
        &'a self,
        link: u16,
        lane: Lane,
        envelope: &'a Envelope,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            loop {
                let room = {
                    let mut net = self.network.net();
                    match net.send(self.me, link as usize, lane, envelope) {
                        Err(SendError::Busy { .. }) => {
                            let way = net
                                .ways
                                .get(&(self.me, link as usize))
                                .expect("it is there if it is busy");
                            way.room.clone().notified_owned()
                        }
                        taken => return taken,
                    }
                };
                // Made under the lock: the room that is made from now on wakes it.
                room.await;
            }
        }
        .boxed()
    }

    fn is_up(&self, link: u16) -> bool {
        let net = self.network.net();
        net.ways.get(&(self.me, link as usize)).is_some_and(|way| way.up)
    }

    fn has_room(&self, link: u16, lane: Lane, bytes: usize) -> bool {
        let net = self.network.net();
        let way = net.ways.get(&(self.me, link as usize)).filter(|way| way.up);
        let waits = way.map_or(0, |way| way.bytes[lane.index()]);
        waits == 0 || waits + bytes <= LANE_BYTES
    }

    fn set_peers(&self, _: &[PeerConfig]) {}

    /// The simulator opens and cuts links by itself.
    fn set_wanted(&self, _: &BTreeSet<u16>) {}

    fn stats(&self) -> LinksStats {
        LinksStats::default()
    }

    // Liveness, which looks at links and closes them, has a simulation of its own.
    fn signs(&self) -> Vec<LinkSign> {
        Vec::new()
    }

    fn close(&self, _: u16) {}

    fn stop(&self) -> BoxFuture<'_, ()> {
        futures::future::ready(()).boxed()
    }
}
