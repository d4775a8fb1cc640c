//! Routers over links that are queues: which way envelopes go, what is lost on it, and who is told.

use std::collections::VecDeque;

use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;
use queenright_protocol::topology::{self, FanOut, Pair, Topology};

use super::*;
use crate::link::{Deliver, Peer};
use crate::link::{LinksStats, PeerConfig};

/// What is between the nodes.
#[derive(Default)]
struct Wires {
    /// Links that are down, by (smaller place, greater).
    down: BTreeSet<(u16, u16)>,
    /// Links whose lanes are full, by (from, to): only notices pass.
    full: BTreeSet<(u16, u16)>,
    /// What the links of every node say of themselves.
    signs: Vec<LinkSign>,
    /// Links that were closed.
    closed: Vec<u16>,
    flying: VecDeque<(u16, u16, Envelope)>,
    /// How many envelopes were put on any wire.
    carried: usize,
}

struct Wire {
    me: u16,
    wires: Arc<Mutex<Wires>>,
}

impl Transport for Wire {
    fn send(&self, link: u16, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        let mut wires = self.wires.lock().unwrap();
        if wires.down.contains(&(self.me.min(link), self.me.max(link))) {
            return Err(SendError::Down);
        }
        if wires.full.contains(&(self.me, link)) && envelope.kind != Kind::Unreachable {
            let (bytes, limit) = (1, 1);
            return Err(SendError::Busy { lane, bytes, limit });
        }
        wires.carried += 1;
        wires.flying.push_back((self.me, link, envelope.clone()));
        Ok(())
    }

    fn send_waiting<'a>(
        &'a self,
        link: u16,
        lane: Lane,
        envelope: &'a Envelope,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        futures::future::ready(self.send(link, lane, envelope)).boxed()
    }

    fn is_up(&self, link: u16) -> bool {
        let wires = self.wires.lock().unwrap();
        !wires.down.contains(&(self.me.min(link), self.me.max(link)))
    }

    fn has_room(&self, link: u16, _: Lane, _: usize) -> bool {
        !self.wires.lock().unwrap().full.contains(&(self.me, link))
    }

    fn set_peers(&self, _: &[PeerConfig]) {}

    fn set_wanted(&self, _: &BTreeSet<u16>) {}

    fn stats(&self) -> LinksStats {
        LinksStats::default()
    }

    fn signs(&self) -> Vec<LinkSign> {
        let wires = self.wires.lock().unwrap();
        wires.signs.clone()
    }

    fn close(&self, link: u16) {
        self.wires.lock().unwrap().closed.push(link);
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        futures::future::ready(()).boxed()
    }
}

/// Keeps what arrives.
#[derive(Default)]
struct Arrivals(Mutex<Vec<Envelope>>);

impl Services for Arrivals {
    fn receive(&self, envelope: Envelope) {
        self.0.lock().unwrap().push(envelope);
    }

    fn signals(&self, signals: Vec<Envelope>) {
        self.0.lock().unwrap().extend(signals);
    }

    fn topics(&self, messages: Vec<Envelope>) {
        self.0.lock().unwrap().extend(messages);
    }
}

pub(crate) struct Rig {
    pub(crate) routers: Vec<Arc<Router>>,
    /// Unless others serve.
    arrivals: Vec<Arc<Arrivals>>,
    wires: Arc<Mutex<Wires>>,
}

pub(crate) fn number(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

pub(crate) fn members(nodes: usize) -> BTreeSet<NodeId> {
    (0..nodes).map(number).collect()
}

pub(crate) fn view(me: usize, kind: topology::Kind, nodes: usize) -> View {
    View {
        epoch: 1,
        kind,
        routed: true,
        ..View::mesh(number(me), &members(nodes))
    }
}

pub(crate) fn tree() -> topology::Kind {
    topology::Kind::Hierarchical {
        fan_out: FanOut::DEFAULT,
    }
}

impl Rig {
    /// Nodes of which only neighbours are linked. They keep what arrives.
    fn new(kind: topology::Kind, nodes: usize) -> Rig {
        let arrivals: Vec<_> = (0..nodes).map(|_| Arc::new(Arrivals::default())).collect();
        let rig = Rig::serving(kind, nodes, |me, _| arrivals[me].clone());
        Rig { arrivals, ..rig }
    }

    /// The same, with others who take what arrives.
    pub(crate) fn serving(
        kind: topology::Kind,
        nodes: usize,
        serve: impl Fn(usize, &Arc<Router>) -> Arc<dyn Services>,
    ) -> Rig {
        let wires = Arc::new(Mutex::new(Wires::default()));
        let topology = Topology::new(kind, &members(nodes));
        let mut routers = Vec::new();
        for me in 0..nodes {
            let (inbound, _) = Inbound::new();
            let wire = Wire {
                me: me as u16,
                wires: wires.clone(),
            };
            let router = Router::over(Box::new(wire), inbound);
            router.set_view(view(me, kind, nodes));
            router.serve(serve(me, &router));
            routers.push(router);
            let near = topology.neighbours(number(me));
            let far = (me + 1..nodes).filter(|other| !near.contains(&number(*other)));
            let far = far.map(|other| (me as u16, other as u16));
            wires.lock().unwrap().down.extend(far);
        }
        Rig {
            routers,
            arrivals: Vec::new(),
            wires,
        }
    }

    fn signal(&self, from: usize, to: usize) -> Result<(), RouteError> {
        self.routers[from].send(number(to), Lane::Signal, Kind::Signal, 0, Bytes::from_static(b"hello"))
    }

    /// Lets everything arrive that is under way, and what follows from it.
    pub(crate) fn settle(&self) {
        loop {
            let next = self.wires.lock().unwrap().flying.pop_front();
            let Some((from, to, envelope)) = next else { return };
            let peer = Peer {
                name: format!("n{}", from + 1).into(),
                index: from,
            };
            self.routers[to as usize].inbound.envelopes(&peer, vec![envelope]);
        }
    }

    fn arrived(&self, at: usize) -> Vec<Envelope> {
        std::mem::take(&mut *self.arrivals[at].0.lock().unwrap())
    }

    pub(crate) fn cut(&self, one: usize, other: usize) {
        let link = (one.min(other) as u16, one.max(other) as u16);
        self.wires.lock().unwrap().down.insert(link);
    }

    pub(crate) fn open(&self, one: usize, other: usize) {
        let link = (one.min(other) as u16, one.max(other) as u16);
        self.wires.lock().unwrap().down.remove(&link);
    }

    /// Fills the lanes from a node to another, or empties them.
    pub(crate) fn fill(&self, from: usize, to: usize, full: bool) {
        let (way, mut wires) = ((from as u16, to as u16), self.wires.lock().unwrap());
        match full {
            true => wires.full.insert(way),
            false => wires.full.remove(&way),
        };
    }

    /// How many envelopes were put on any wire so far.
    pub(crate) fn carried(&self) -> usize {
        self.wires.lock().unwrap().carried
    }

    /// Says which links are down, each by its smaller place first.
    pub(crate) fn set_down(&self, down: BTreeSet<(u16, u16)>) {
        self.wires.lock().unwrap().down = down;
    }

    pub(crate) fn sum(&self, of: impl Fn(&TransitCounts) -> u64) -> u64 {
        self.routers.iter().map(|router| of(&router.transit())).sum()
    }
}

#[test]
fn every_member_reaches_every_other_over_the_shortest_route() {
    for kind in [topology::Kind::Mesh, topology::Kind::Star, topology::Kind::Ring, tree()] {
        let (rig, nodes) = (Rig::new(kind, 7), 7);
        let topology = Topology::new(kind, &members(nodes));
        for (from, to) in (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))) {
            if from == to {
                continue;
            }
            rig.signal(from, to).unwrap();
            rig.settle();
            let hops: Vec<u32> = rig
                .arrived(to)
                .iter()
                .map(|signal| u32::from(signal.hops) + 1)
                .collect();
            assert_eq!(
                hops,
                [topology.hops(number(from), number(to)).unwrap()],
                "{kind} {from} {to}"
            );
        }
        assert_eq!(rig.sum(|counts| counts.signals_lost), 0);
    }
}

#[test]
fn consensus_takes_the_direct_link_where_there_is_one_and_the_topology_elsewhere() {
    let rig = Rig::new(topology::Kind::Star, 5);
    rig.open(1, 2);
    for (place, router) in rig.routers.iter().enumerate() {
        let view = view(place, topology::Kind::Star, 5);
        router.set_view(View { routed: false, ..view });
    }
    let hops = |kind: Kind, to: usize| {
        rig.routers[1]
            .send(number(to), kind.lane(), kind, 1, Bytes::new())
            .unwrap();
        rig.settle();
        rig.arrived(to)[0].hops
    };
    assert_eq!(hops(Kind::AppendRequest, 2), 0);
    assert_eq!(hops(Kind::AppendRequest, 3), 1);
    assert_eq!(
        hops(Kind::Round, 2),
        1,
        "commands go by the hub although there is a link"
    );
}

#[tokio::test]
async fn a_question_that_is_lost_on_the_way_fails_at_once() {
    let rig = Rig::new(topology::Kind::Star, 5);
    let ask = async || {
        let asking = rig.routers[1].ask(
            number(2),
            Lane::Command,
            Kind::Control,
            Bytes::new(),
            Duration::from_secs(3_600),
        );
        let (answer, ()) = tokio::join!(asking, async { rig.settle() });
        answer.unwrap_err()
    };
    rig.wires.lock().unwrap().full.insert((0, 2));
    assert_eq!(ask().await, AskError::Lost { loss: Loss::Busy });
    rig.cut(0, 2);
    assert_eq!(ask().await, AskError::Lost { loss: Loss::Down });
    assert_eq!(rig.routers[0].transit().lost_busy, 1);
    assert_eq!(rig.routers[0].transit().lost_down, 1);
    assert_eq!(rig.routers[1].transit().told_lost, 2);
}

#[tokio::test]
async fn whoever_waits_for_an_answer_that_is_lost_is_told() {
    let rig = Rig::new(topology::Kind::Star, 5);
    let (asker, asked) = (rig.routers[1].clone(), rig.routers[2].clone());
    let hour = Duration::from_secs(3_600);
    let asking = asker.ask(number(2), Lane::Command, Kind::Control, Bytes::new(), hour);
    let answering = async {
        rig.settle();
        let question = rig.arrived(2).remove(0);
        rig.wires.lock().unwrap().full.insert((0, 1));
        asked
            .answer(&question, Lane::Command, Kind::ControlReply, Bytes::new())
            .unwrap();
        rig.settle();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer, Err(AskError::Lost { loss: Loss::Busy }));
}

#[tokio::test]
async fn whoever_asks_a_node_that_still_starts_is_told() {
    let mut rig = Rig::new(topology::Kind::Mesh, 2);
    let wire = Wire {
        me: 1,
        wires: rig.wires.clone(),
    };
    let starting = Router::over(Box::new(wire), Inbound::new().0);
    starting.set_view(view(1, topology::Kind::Mesh, 2));
    rig.routers[1] = starting;
    let hour = Duration::from_secs(3_600);
    let asking = rig.routers[0].ask(number(1), Lane::Command, Kind::Control, Bytes::new(), hour);
    let (answer, ()) = tokio::join!(asking, async { rig.settle() });
    assert_eq!(answer, Err(AskError::Lost { loss: Loss::Starting }));
    rig.signal(0, 1).unwrap();
    rig.settle();
    assert_eq!(rig.routers[0].transit().told_lost, 2);
    assert_eq!(rig.routers[1].unclaimed(), 2);
}

#[test]
fn an_unknown_target_is_an_error_and_not_silence() {
    let rig = Rig::new(topology::Kind::Ring, 3);
    let to = number(9);
    assert_eq!(rig.signal(0, 9), Err(RouteError::Unknown { to }));
    // One that only the sender knows.
    rig.routers[0].set_view(view(0, topology::Kind::Star, 10));
    rig.routers[1].set_view(view(1, topology::Kind::Ring, 3));
    rig.cut(0, 9);
    let lost = Envelope {
        kind: Kind::Control,
        hops: 0,
        from: number(0),
        to,
        correlation: 7,
        epoch: 1,
        body: Bytes::new(),
    };
    let peer = Peer {
        name: "n1".into(),
        index: 0,
    };
    rig.routers[1].inbound.envelopes(&peer, vec![lost]);
    rig.settle();
    assert_eq!(rig.routers[1].transit().lost_unknown, 1);
    assert_eq!(rig.routers[0].transit().told_lost, 1);
}

#[test]
fn routes_lead_around_those_who_are_suspected() {
    let rig = Rig::new(topology::Kind::Star, 5);
    for router in &rig.routers {
        router.set_suspects([number(0)].into());
    }
    for other in 2..5 {
        rig.open(1, other);
    }
    for (from, to) in [(2, 4), (4, 3), (1, 2), (3, 1)] {
        rig.signal(from, to).unwrap();
        rig.settle();
        assert_eq!(rig.arrived(to).len(), 1, "{from} {to}");
    }
    // The suspect itself is still sent to, by its own links.
    rig.signal(2, 0).unwrap();
    rig.settle();
    assert_eq!(rig.arrived(0).len(), 1);
    assert_eq!(
        rig.sum(|counts| counts.forwarded),
        2,
        "two went by the smallest of the others"
    );
}

#[test]
fn a_dead_neighbour_is_led_around_before_anybody_suspects_it() {
    // The third of six in a ring is dead, and its neighbours have linked up.
    let rig = Rig::new(topology::Kind::Ring, 6);
    (0..6).filter(|other| *other != 2).for_each(|other| rig.cut(2, other));
    rig.open(1, 3);
    for (from, to) in [(0, 3), (1, 3), (3, 0), (1, 4)] {
        rig.signal(from, to).unwrap();
        rig.settle();
        assert_eq!(rig.arrived(to).len(), 1, "{from} {to}");
    }
}

#[test]
fn a_cut_link_is_led_around_before_an_epoch_does_and_by_one_that_does() {
    for (kind, nodes) in [
        (topology::Kind::Ring, 5),
        (topology::Kind::Mesh, 3),
        (topology::Kind::Ring, 7),
    ] {
        let rig = Rig::new(kind, nodes);
        rig.cut(0, 1);
        let all_reach_all = || {
            for (from, to) in (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))) {
                if from != to {
                    rig.signal(from, to).unwrap();
                    rig.settle();
                    assert_eq!(rig.arrived(to).len(), 1, "{kind} {from} {to}");
                }
            }
        };
        all_reach_all();
        for (place, router) in rig.routers.iter().enumerate() {
            router.set_view(View {
                cuts: [Pair::of(number(0), number(1))].into(),
                ..view(place, kind, nodes)
            });
        }
        all_reach_all();
        assert_eq!(rig.sum(|counts| counts.signals_lost), 0);
    }
}

#[test]
fn whoever_sends_to_a_suspect_that_is_not_linked_is_told_so() {
    for (kind, nodes) in [(topology::Kind::Mesh, 3), (topology::Kind::Ring, 5)] {
        let rig = Rig::new(kind, nodes);
        (0..nodes)
            .filter(|other| *other != 1)
            .for_each(|other| rig.cut(1, other));
        rig.routers[0].set_suspects([number(1)].into());
        let refused = rig.signal(0, 1).unwrap_err();
        assert_eq!(refused.to_string(), "the link is down", "{kind}");
        assert_eq!(rig.sum(|counts| counts.forwarded), 0, "{kind}");
    }
}

#[test]
fn whoever_is_cut_off_in_a_star_is_reached_by_the_one_below_which_it_is_hung_up() {
    let rig = Rig::new(topology::Kind::Star, 4);
    rig.cut(0, 2);
    rig.open(1, 2);
    for (place, router) in rig.routers.iter().enumerate() {
        router.set_view(View {
            cuts: [Pair::of(number(0), number(2))].into(),
            ..view(place, topology::Kind::Star, 4)
        });
    }
    for (from, to) in [(0, 2), (2, 0), (3, 2), (2, 3)] {
        rig.signal(from, to).unwrap();
        rig.settle();
        assert_eq!(rig.arrived(to).len(), 1, "{from} {to}");
    }
}

#[test]
fn signals_lost_together_are_told_of_once() {
    let rig = Rig::new(topology::Kind::Star, 3);
    rig.wires.lock().unwrap().full.insert((0, 2));
    let lost = Envelope {
        kind: Kind::Signal,
        hops: 0,
        from: number(1),
        to: number(2),
        correlation: 0,
        epoch: 1,
        body: Bytes::from_static(b"hello"),
    };
    let peer = Peer {
        name: "n2".into(),
        index: 1,
    };
    rig.routers[0].inbound.envelopes(&peer, vec![lost; 100]);
    assert_eq!(rig.wires.lock().unwrap().flying.len(), 1);
    rig.settle();
    assert_eq!(rig.routers[0].transit().signals_lost, 100);
    assert_eq!(rig.routers[1].transit().told_lost, 100);
}

#[test]
fn an_envelope_of_a_younger_or_older_epoch_goes_by_the_forwarders_own_view() {
    let rig = Rig::new(topology::Kind::Star, 4);
    rig.routers[1].set_view(View {
        epoch: 2,
        ..view(1, topology::Kind::Star, 4)
    });
    rig.signal(1, 3).unwrap();
    rig.settle();
    assert_eq!(rig.arrived(3)[0].epoch, 2);
    assert_eq!(rig.routers[0].transit().other_epoch, 1);
}

/// Any kind over any members, as a node may see it that is behind or ahead.
fn any_view() -> impl Strategy<Value = (usize, Vec<bool>, Vec<bool>)> {
    let flags = || prop::collection::vec(prop::bool::weighted(0.8), 6);
    (0..4_usize, flags(), prop::collection::vec(prop::bool::weighted(0.1), 6))
}

proptest! {
    #[test]
    fn whatever_the_nodes_believe_no_envelope_goes_round_for_ever_and_each_is_accounted_for(
        views in prop::collection::vec(any_view(), 6),
        down in prop::collection::btree_set((0..6_u16, 0..6_u16), 0..8),
        pairs in prop::collection::vec((0..6_usize, 0..6_usize), 1..20),
    ) {
        let rig = Rig::new(topology::Kind::Mesh, 6);
        for (place, (kind, linked, suspects)) in views.into_iter().enumerate() {
            let kind = [topology::Kind::Mesh, topology::Kind::Star, topology::Kind::Ring, tree()][kind];
            let some = |flags: Vec<bool>| -> BTreeSet<NodeId> {
                flags.iter().enumerate().filter(|(_, flag)| **flag).map(|(place, _)| number(place)).collect()
            };
            let linked = some(linked).into_iter().chain([number(place)]).collect();
            rig.routers[place].set_view(View { linked, epoch: place as u64, ..view(place, kind, 6) });
            rig.routers[place].set_suspects(some(suspects));
        }
        rig.set_down(down.into_iter().map(|(one, other)| (one.min(other), one.max(other))).collect());
        let mut sent = 0;
        for (from, to) in pairs {
            if from != to && rig.signal(from, to).is_ok() {
                sent += 1;
            }
        }
        rig.settle();
        let delivered: usize = (0..6).map(|place| rig.arrived(place).len()).sum();
        prop_assert_eq!(sent, delivered as u64 + rig.sum(|counts| counts.signals_lost));
        // A notice for each at most, and neither takes more hops than are allowed.
        let carried = rig.wires.lock().unwrap().carried as u64;
        prop_assert!(carried <= 2 * sent * (6 + 2 + 1), "{} for {}", carried, sent);
    }
}

#[test]
fn links_that_stand_or_should_say_how_their_members_are() {
    let rig = Rig::new(tree(), 5);
    let sign = |link, up, wanted| LinkSign {
        link,
        up,
        wanted,
        silent: up.then_some(Duration::ZERO),
    };
    rig.wires.lock().unwrap().signs = vec![
        sign(1, true, true),
        sign(2, false, true),
        // A guest, one that nobody wants, and a place that nobody has.
        sign(3, true, false),
        sign(4, false, false),
        sign(9, true, true),
    ];
    let router = &rig.routers[0];
    let signs = router.link_signs().into_iter();
    let signs: Vec<_> = signs.map(|sign| (sign.node, sign.up, sign.silent.is_some())).collect();
    assert_eq!(
        signs,
        [
            (number(1), true, true),
            (number(2), false, false),
            (number(3), true, true)
        ]
    );
    router.close_link(number(3));
    router.close_link(number(8));
    assert_eq!(rig.wires.lock().unwrap().closed, [3]);
}
