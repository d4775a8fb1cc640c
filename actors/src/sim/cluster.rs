//! A simulated cluster: the nodes, what is between them, what goes wrong and who asks for something, driven millisecond by
//! millisecond from one seed.

mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{Event, Return, What};
use queenright_protocol::topology;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::agents::Agents;
use super::disk::{Disk, Planted};
use super::faults::{Fault, Faults};
use super::history::{Answered, CallState, History, PROJECT};
use super::invariants::{Invariants, Violation};
use super::network::{Network, Weather};
use super::node::{SimNode, number};
use super::trace::{Fingerprint, Trace};
use crate::replica::Snapshot;

/// How long a cluster without faults may take until everybody has an answer and all nodes are equal: some elections, and
/// the longest pause of a queen between two sendings.
const HEAL_MS: u64 = 30_000;
/// Longer than an offer stands, also by the slowest clock and while a new leader takes over.
const OFFERS_OVER_MS: u64 = 15_000;

/// What is to be simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// For how long agents ask and things go wrong.
    pub(super) busy_ms: u64,
    pub(super) faults: bool,
    /// How the nodes are linked.
    pub(super) kind: topology::Kind,
    /// Whether consensus goes along the topology. If not, all nodes have control links with each other.
    pub(super) routed: bool,
    pub(super) planted: Planted,
    /// Whether it goes on, when everything is healed, until offers that nobody has taken are over.
    pub(super) offers_over: bool,
    /// Two nodes that are never linked, although both live.
    pub(super) never_linked: Option<(usize, usize)>,
}

impl Plan {
    /// Three nodes with everything that can go wrong.
    pub(super) fn of(seed: u64) -> Plan {
        Plan {
            seed,
            nodes: 3,
            busy_ms: 6_000,
            faults: true,
            kind: topology::Kind::Mesh,
            routed: false,
            planted: Planted::Nothing,
            offers_over: seed.is_multiple_of(10),
            never_linked: None,
        }
    }
}

/// What came of it.
pub(super) struct Report {
    pub(super) violations: Vec<Violation>,
    pub(super) fingerprint: Fingerprint,
    pub(super) events: Vec<String>,
    pub(super) counts: Counts,
}

/// What happened how often: a run in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) answered: u64,
    pub(super) unknown: u64,
    pub(super) crashes: u64,
    pub(super) faults: u64,
    /// Claims that waited and were offered something, and requests that waited and were granted.
    pub(super) waited: u64,
    /// Offers that nobody had taken, of those that were waited for.
    pub(super) lapsed: u64,
    /// How often another node took the lead.
    pub(super) leaders: u64,
    /// Virtual time until everything was healed.
    pub(super) ms: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.answered += other.answered;
        self.unknown += other.unknown;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.waited += other.waited;
        self.lapsed += other.lapsed;
        self.leaders += other.leaders;
        self.ms += other.ms;
    }
}

/// The end of a fault.
#[derive(Debug)]
enum End {
    Start(usize),
    Continue(usize),
    Relink(Vec<(usize, usize)>),
    Resume(Vec<(usize, usize)>),
    FairWeather(usize),
    FastDisk(usize),
}

/// The cluster.
pub(super) struct Cluster {
    plan: Plan,
    now_ms: u64,
    random: StdRng,
    nodes: Vec<SimNode>,
    network: Network,
    faults: Faults,
    agents: Agents,
    invariants: Invariants,
    trace: Trace,
    /// What ends when, in order.
    ends: BTreeMap<(u64, u64), End>,
    ends_serial: u64,
    /// How long a sync takes when nothing is wrong with the disk.
    sync_ms: (u64, u64),
    /// Since when a node is stopped.
    paused: Vec<Option<u64>>,
    /// For how many reasons a link is cut, by (smaller, greater).
    cuts: BTreeMap<(usize, usize), u32>,
    leader: Option<usize>,
    counts: Counts,
}

impl Cluster {
    pub(super) fn new(plan: Plan, trace: Trace) -> Cluster {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let network = Network::new(plan.nodes, random.random(), trace.clone());
        let nodes = (0..plan.nodes).map(|place| {
            let disk = Disk::new(place, random.random(), plan.planted, trace.clone());
            // Clocks run up to 5 % too fast or too slow: far worse than any real one.
            SimNode::new(
                place,
                (plan.nodes, plan.kind, plan.routed),
                disk,
                random.random_range(950..=1_050),
            )
        });
        let nodes: Vec<SimNode> = nodes.collect();
        // From a battery-backed cache to a busy spinning disk.
        let sync_ms = (0, random.random_range(1..30));
        nodes.iter().for_each(|node| node.disk.set_sync_ms(sync_ms));
        // One more reason to be cut than ever ends.
        let cut = |pair| u32::from(plan.never_linked == Some(pair));
        let pairs = (0..plan.nodes).flat_map(|one| (one + 1..plan.nodes).map(move |other| (one, other)));
        let pairs = pairs.map(|pair| (pair, cut(pair)));
        Cluster {
            plan,
            now_ms: 0,
            faults: Faults::new(plan.nodes, random.random()),
            agents: Agents::new(plan.nodes, random.random(), trace.clone()),
            invariants: Invariants::default(),
            ends: BTreeMap::new(),
            ends_serial: 0,
            sync_ms,
            paused: vec![None; plan.nodes],
            cuts: pairs.collect(),
            leader: None,
            counts: Counts::default(),
            random,
            nodes,
            network,
            trace,
        }
    }

    /// Runs one seed and keeps the last events.
    pub(super) fn run(plan: Plan) -> Report {
        Cluster::new(plan, Trace::last()).finish()
    }

    /// Runs one seed and keeps all events.
    pub(super) fn run_traced(plan: Plan) -> Report {
        Cluster::new(plan, Trace::whole()).finish()
    }

    fn finish(mut self) -> Report {
        (0..self.plan.nodes).for_each(|place| self.start(place));
        while self.now_ms < self.plan.busy_ms && self.invariants.hold() {
            if self.plan.faults
                && let Some(fault) = self.faults.next(self.now_ms, self.leader)
            {
                self.begin(fault);
            }
            self.millisecond(true);
        }
        if self.invariants.hold() {
            self.heal();
        }
        if self.invariants.hold() && self.plan.offers_over {
            self.let_offers_lapse();
        }
        // What was acknowledged must be there when everything was down at once.
        if self.invariants.hold() {
            (0..self.plan.nodes).for_each(|place| self.crash(place));
            (0..self.plan.nodes).for_each(|place| self.start(place));
            self.heal();
        }
        let history = &self.agents.history;
        if self.invariants.hold() {
            let last: Vec<Arc<Snapshot>> = self.nodes.iter().map(snapshot).collect();
            self.invariants.at_the_end(history, &last);
        }
        self.counts.ms = self.now_ms;
        (self.counts.answered, self.counts.unknown) = answers(history);
        self.counts.waited = waited(history);
        Report {
            violations: self.invariants.violations(),
            fingerprint: self.trace.fingerprint(),
            events: self.trace.lines(),
            counts: self.counts,
        }
    }

    /// One millisecond for everybody.
    fn millisecond(&mut self, asking: bool) {
        self.now_ms += 1;
        self.trace.at(self.now_ms);
        while let Some(entry) = self.ends.first_entry()
            && entry.key().0 <= self.now_ms
        {
            let end = entry.remove();
            self.end(end);
        }
        let mut arrived = vec![Vec::new(); self.nodes.len()];
        for (from, to, envelope) in self.network.arrivals(self.now_ms) {
            arrived[to].push((from, envelope));
        }
        for (place, arrived) in arrived.into_iter().enumerate() {
            if self.paused[place].is_some() {
                assert!(arrived.is_empty(), "the ways to a stopped node are stalled");
                continue;
            }
            let node = &mut self.nodes[place];
            node.step(&self.network, arrived);
            let replies = node.take_replies();
            self.invariants.after_step(self.now_ms, place, node);
            self.agents.take(self.now_ms, replies);
        }
        self.follow_leader();
        self.agents.step(self.now_ms, asking, &mut self.nodes);
        self.invariants.after_answers(&self.agents.history);
    }

    fn follow_leader(&mut self) {
        let leading = (0..self.nodes.len()).filter(|place| self.nodes[*place].leads());
        // Two may take themselves for it: the one in the higher term is.
        let leader = leading.max_by_key(|place| self.nodes[*place].consensus());
        if let Some(place) = leader
            && leader != self.leader
        {
            self.counts.leaders += 1;
            self.leader = leader;
            self.trace.note(format_args!("n{} leads", place + 1));
        }
    }

    /// Ends all faults, and goes on until everybody has an answer and all nodes are equal.
    fn heal(&mut self) {
        self.trace.note(format_args!("everything heals"));
        for (_, end) in std::mem::take(&mut self.ends) {
            self.end(end);
        }
        let until_ms = self.now_ms + HEAL_MS;
        while self.now_ms < until_ms && self.invariants.hold() {
            self.millisecond(false);
            if self.agents.are_idle()
                && self.are_equal()
                && self.leader.is_some_and(|leader| self.nodes[leader].leads())
                && nothing_is_due(&snapshot(&self.nodes[0]))
            {
                self.invariants.when_healed(&snapshot(&self.nodes[0]));
                return;
            }
        }
        let digests: Vec<_> = self.nodes.iter().map(SimNode::digest).collect();
        self.invariants.not_healed(&self.agents.history, &digests);
    }

    /// Nobody asks for anything, and time passes.
    fn let_offers_lapse(&mut self) {
        let until_ms = self.now_ms + OFFERS_OVER_MS;
        while self.now_ms < until_ms && self.invariants.hold() {
            self.millisecond(false);
        }
        if self.invariants.hold() {
            let state = snapshot(&self.nodes[0]);
            self.counts.lapsed += lapsed(&state);
            self.invariants.when_offers_are_over(&state);
        }
    }

    fn are_equal(&self) -> bool {
        let first = self.nodes[0].applied();
        first.is_some()
            && self
                .nodes
                .iter()
                .all(|node| node.applied() == first && node.has_applied_all())
    }

    fn begin(&mut self, fault: Fault) {
        self.trace.note(format_args!("{fault:?}"));
        self.counts.faults += 1;
        match fault {
            Fault::Crash(nodes) => {
                for (place, down_ms) in nodes {
                    if self.nodes[place].is_running() {
                        self.crash(place);
                        self.end_in(down_ms, End::Start(place));
                    }
                }
            }
            Fault::Pause(place, for_ms) => {
                if self.nodes[place].is_running() && self.paused[place].is_none() {
                    self.paused[place] = Some(self.now_ms);
                    self.ways_to(place).for_each(|(from, to)| self.network.stall(from, to));
                    self.end_in(for_ms, End::Continue(place));
                }
            }
            Fault::Cut(links, for_ms) => {
                links.iter().for_each(|link| self.cut(*link));
                self.end_in(for_ms, End::Relink(links));
            }
            Fault::Stall(ways, for_ms) => {
                ways.iter().for_each(|(from, to)| self.network.stall(*from, *to));
                self.end_in(for_ms, End::Resume(ways));
            }
            Fault::Weather(place, weather, for_ms) => {
                self.set_weather(place, weather);
                self.end_in(for_ms, End::FairWeather(place));
            }
            Fault::SlowDisks(places, sync_ms, for_ms) => {
                for place in places {
                    self.nodes[place].disk.set_sync_ms(sync_ms);
                    self.end_in(for_ms, End::FastDisk(place));
                }
            }
        }
    }

    fn end_in(&mut self, for_ms: u64, end: End) {
        self.ends_serial += 1;
        self.ends.insert((self.now_ms + for_ms, self.ends_serial), end);
    }

    fn end(&mut self, end: End) {
        self.trace.note(format_args!("{end:?}"));
        match end {
            End::Start(place) => self.start(place),
            End::Continue(place) => self.wake(place),
            End::Relink(links) => links.into_iter().for_each(|link| self.relink(link)),
            End::Resume(ways) => ways.iter().for_each(|(from, to)| self.network.resume(*from, *to)),
            End::FairWeather(place) => self.set_weather(place, Weather::FAIR),
            End::FastDisk(place) => self.nodes[place].disk.set_sync_ms(self.sync_ms),
        }
    }

    fn others(&self, place: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.plan.nodes).filter(move |other| *other != place)
    }

    fn ways_to(&self, place: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.others(place).map(move |other| (other, place))
    }

    fn set_weather(&self, place: usize, weather: Weather) {
        for other in self.others(place) {
            self.network.set_weather(place, other, weather);
            self.network.set_weather(other, place, weather);
        }
    }

    fn start(&mut self, place: usize) {
        let seed = self.random.random();
        self.nodes[place].start(&self.network, seed);
        for other in self.others(place) {
            // Connections come back a while after the node.
            let link = (place.min(other), place.max(other));
            *self.cuts.get_mut(&link).expect("all pairs are there") += 1;
            let after_ms = self.random.random_range(0..60);
            self.end_in(after_ms, End::Relink(vec![link]));
        }
    }

    fn crash(&mut self, place: usize) {
        self.trace.note(format_args!("n{} crashes", place + 1));
        self.counts.crashes += 1;
        self.wake_network(place);
        for other in self.others(place) {
            self.set_link(place, other, false);
        }
        self.nodes[place].crash();
        self.agents.node_crashed(place);
        self.invariants.crashed(place);
    }

    /// Lets a stopped node go on; does nothing if it was killed meanwhile.
    fn wake(&mut self, place: usize) {
        if let Some(since_ms) = self.wake_network(place) {
            self.nodes[place].wake_after(self.now_ms - since_ms);
        }
    }

    fn wake_network(&mut self, place: usize) -> Option<u64> {
        let since_ms = self.paused[place].take()?;
        self.ways_to(place).for_each(|(from, to)| self.network.resume(from, to));
        Some(since_ms)
    }

    fn cut(&mut self, (one, other): (usize, usize)) {
        *self
            .cuts
            .get_mut(&(one.min(other), one.max(other)))
            .expect("all pairs are there") += 1;
        self.set_link(one, other, false);
    }

    fn relink(&mut self, (one, other): (usize, usize)) {
        let cuts = self
            .cuts
            .get_mut(&(one.min(other), one.max(other)))
            .expect("all pairs are there");
        *cuts -= 1;
        if *cuts == 0 && self.nodes[one].is_running() && self.nodes[other].is_running() {
            self.set_link(one, other, true);
        }
    }

    /// Whether there is a link between two nodes, up or down.
    fn is_linked(&self, one: usize, other: usize) -> bool {
        let members = (0..self.plan.nodes).map(number).collect();
        !self.plan.routed || topology::neighbours(self.plan.kind, &members, number(one)).contains(&number(other))
    }

    /// Opens or cuts a link and tells both ends.
    fn set_link(&mut self, one: usize, other: usize, up: bool) {
        if up && !self.is_linked(one, other) {
            return;
        }
        if self.network.set_up(one, other, up) {
            self.nodes[one].link(other, up);
            self.nodes[other].link(one, up);
        }
    }
}

fn snapshot(node: &SimNode) -> Arc<Snapshot> {
    node.replica().expect("all nodes run at the end").snapshot()
}

/// Whether all is done that time or others have made due.
fn nothing_is_due(state: &Snapshot) -> bool {
    let due_ms = state.colony.due_ms();
    due_ms.is_none_or(|due_ms| due_ms > state.colony.cluster_ms())
}

/// How many offers nobody took, as the events tell.
fn lapsed(state: &Snapshot) -> u64 {
    let Some(project) = state.colony.project(PROJECT) else {
        return 0;
    };
    let first = project.events().dropped().unwrap_or_default();
    let kept = project.events().after(first).into_iter().flatten();
    let not_taken = |event: &&Arc<Event>| {
        matches!(
            &event.what,
            What::TaskReturned {
                reason: Return::NotTaken,
                ..
            }
        )
    };
    kept.filter(not_taken).count() as u64
}

fn waited(history: &History) -> u64 {
    let got = history.calls.iter().filter(|call| match &call.state {
        CallState::Answered(Answered::Offered(tasks)) => !tasks.is_empty(),
        CallState::Answered(Answered::Settled(held)) => *held,
        _ => false,
    });
    got.count() as u64
}

fn answers(history: &History) -> (u64, u64) {
    let answered = history.calls.iter().filter(|call| call.is_answered()).count();
    (answered as u64, (history.calls.len() - answered) as u64)
}
