//! The net of the tests, and the machines on it. Time is that of the net: it goes to whatever is next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use queenright_protocol::id::{ClusterId, NodeId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::liveness::detector::{Detector, Input, Output, Seen};
use crate::liveness::{Pace, View, Who};

pub(super) const CLUSTER: ClusterId = ClusterId([7; 16]);
pub(super) const COOKIE: &[u8] = b"0123456789abcdef0123456789abcdef";
/// As many datagrams wait for a process that does not run, as in the buffer of a socket.
const WAITING_MAX: usize = 256;

/// What the net does to datagrams.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) loss: f64,
    pub(super) twice: f64,
    pub(super) delay_ms: Range<u64>,
}

/// A change of what one machine thinks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: Duration,
    pub(super) by: u64,
    pub(super) of: u64,
    pub(super) view: View,
}

enum Process {
    Running,
    /// It has this to read when it goes on.
    Stopped(VecDeque<Vec<u8>>),
    Dead,
}

struct Machine {
    detector: Detector,
    process: Process,
    /// When the machine was made: its own time begins there.
    started: Duration,
    start: u64,
    seen: BTreeMap<NodeId, Seen>,
}

pub(super) struct Net {
    pub(super) now: Duration,
    pub(super) weather: Weather,
    pub(super) changes: Vec<Change>,
    machines: Vec<Machine>,
    flights: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    flown: u64,
    /// Pairs between which nothing passes, in this direction.
    cut: BTreeSet<(u64, u64)>,
    random: StdRng,
}

impl Weather {
    /// Some milliseconds, and nothing lost.
    pub(super) fn fair() -> Weather {
        Weather {
            loss: 0.0,
            twice: 0.0,
            delay_ms: 1..5,
        }
    }

    pub(super) fn lossy(loss: f64) -> Weather {
        Weather { loss, ..Self::fair() }
    }
}

/// So many seeds, or as many as the environment asks for.
pub(super) fn seeds(count: u64) -> Range<u64> {
    let asked = std::env::var("QUEENRIGHT_SIM_SEEDS").ok();
    0..asked.and_then(|asked| asked.parse().ok()).unwrap_or(count)
}

pub(super) fn pace() -> Pace {
    Pace::of(Duration::from_millis(250))
}

pub(super) fn detector(me: u64, start: u64, seed: u64) -> Detector {
    let who = Who {
        me: NodeId(me),
        cluster: CLUSTER,
        start,
        cookie: COOKIE,
    };
    Detector::new(who, pace(), seed)
}

fn address(node: u64) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, node as u16).into()
}

/// The members 1 to `count`.
pub(super) fn members(count: u64) -> BTreeMap<NodeId, Option<SocketAddr>> {
    (1..=count).map(|node| (NodeId(node), Some(address(node)))).collect()
}

impl Net {
    /// Starts the nodes 1 to `count` at about the same time.
    pub(super) fn new(count: u64, weather: Weather, seed: u64) -> Net {
        let mut net = Net {
            now: Duration::ZERO,
            weather,
            changes: Vec::new(),
            machines: Vec::new(),
            flights: BTreeMap::new(),
            flown: 0,
            cut: BTreeSet::new(),
            random: StdRng::seed_from_u64(seed),
        };
        for node in 1..=count {
            let machine = Machine {
                detector: detector(node, 1, net.random.random()),
                process: Process::Running,
                started: Duration::ZERO,
                start: 1,
                seen: BTreeMap::new(),
            };
            net.machines.push(machine);
        }
        for node in 1..=count {
            net.step(node, Input::Members(&members(count)));
        }
        net
    }

    pub(super) fn count(&self) -> u64 {
        self.machines.len() as u64
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.machines.len() as u64
    }

    pub(super) fn detector(&self, node: u64) -> &Detector {
        &self.machines[node as usize - 1].detector
    }

    pub(super) fn view(&self, by: u64, of: u64) -> View {
        self.detector(by).opinions()[&NodeId(of)].view
    }

    pub(super) fn at_random(&mut self, range: Range<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// Hands a machine something.
    pub(super) fn step(&mut self, node: u64, input: Input<'_>) {
        let machine = &mut self.machines[node as usize - 1];
        let mut out = Vec::new();
        machine.detector.step(self.now - machine.started, input, &mut out);
        for output in out {
            match output {
                Output::Send { to, datagram } => self.fly(node, u64::from(to.port()), &datagram),
                Output::Changed => self.note(node),
            }
        }
    }

    fn note(&mut self, by: u64) {
        let machine = &mut self.machines[by as usize - 1];
        let seen = machine.detector.opinions();
        for (of, seen) in &seen {
            let before = machine.seen.get(of).map_or(View::Alive, |before| before.view);
            if before != seen.view {
                self.changes.push(Change {
                    at: self.now,
                    by,
                    of: of.0,
                    view: seen.view,
                });
            }
        }
        machine.seen = seen;
    }

    fn fly(&mut self, from: u64, to: u64, datagram: &[u8]) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        let copies = 1 + u32::from(self.random.random_bool(self.weather.twice));
        for _ in 0..copies {
            if self.random.random_bool(self.weather.loss) {
                continue;
            }
            let delay = Duration::from_millis(self.random.random_range(self.weather.delay_ms.clone()));
            self.flown += 1;
            let flight = (to as usize - 1, datagram.to_vec());
            self.flights.insert((self.now + delay, self.flown), flight);
        }
    }

    /// Lets everything happen that happens within `time`.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let running = self.machines.iter().enumerate();
            let running = running.filter(|(_, machine)| matches!(machine.process, Process::Running));
            let wakes = running.map(|(index, machine)| (machine.started + machine.detector.wake_at(), index));
            let wake = wakes.min();
            let next = flight.into_iter().chain(wake.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if flight == Some(next) {
                let (_, (to, datagram)) = self.flights.pop_first().expect("it was just there");
                self.land(to, datagram);
            } else if let Some((_, index)) = wake {
                self.step(index as u64 + 1, Input::Timer);
            }
        }
        self.now = until;
    }

    fn land(&mut self, to: usize, datagram: Vec<u8>) {
        match &mut self.machines[to].process {
            Process::Running => self.step(to as u64 + 1, Input::Datagram(&datagram)),
            Process::Stopped(waiting) if waiting.len() < WAITING_MAX => waiting.push_back(datagram),
            Process::Stopped(_) | Process::Dead => {}
        }
    }

    /// `kill -9`
    pub(super) fn kill(&mut self, node: u64) {
        self.machines[node as usize - 1].process = Process::Dead;
    }

    /// SIGSTOP
    pub(super) fn stop(&mut self, node: u64) {
        self.machines[node as usize - 1].process = Process::Stopped(VecDeque::new());
    }

    /// SIGCONT
    pub(super) fn go_on(&mut self, node: u64) {
        let process = std::mem::replace(&mut self.machines[node as usize - 1].process, Process::Running);
        let Process::Stopped(waiting) = process else { return };
        for datagram in waiting {
            self.step(node, Input::Datagram(&datagram));
        }
    }

    /// Starts a dead node anew.
    pub(super) fn restart(&mut self, node: u64) {
        let (seed, started, count) = (self.random.random(), self.now, self.count());
        let machine = &mut self.machines[node as usize - 1];
        let start = machine.start + 1;
        *machine = Machine {
            detector: detector(node, start, seed),
            process: Process::Running,
            started,
            start,
            seen: BTreeMap::new(),
        };
        self.step(node, Input::Members(&members(count)));
    }

    /// Nothing passes from any of these to any of those, nor back.
    pub(super) fn cut(&mut self, these: &[u64], those: &[u64]) {
        for (one, other) in these
            .iter()
            .flat_map(|one| those.iter().map(move |other| (*one, *other)))
        {
            self.cut.extend([(one, other), (other, one)]);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// When each other node first had one of these views of `of`, from now on.
    #[track_caller]
    pub(super) fn first_seen(&self, of: u64, since: Duration, views: &[View]) -> BTreeMap<u64, Duration> {
        let mut first = BTreeMap::new();
        let later = self
            .changes
            .iter()
            .filter(|change| change.at >= since && change.of == of);
        for change in later.filter(|change| views.contains(&change.view)) {
            first.entry(change.by).or_insert(change.at - since);
        }
        first
    }
}
