//! Topics over routers whose links are queues: who hears what, how often, and what is counted.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::Bytes;
use proptest::prelude::*;
use queenright_protocol::topology;

use super::*;
use crate::agent::AgentAddress;
use crate::router::tests::{Rig, members, number, tree, view};
use crate::router::{Services, View};

/// Takes the messages of a node.
struct Taking {
    me: NodeId,
    topics: Arc<Topics>,
}

impl Services for Taking {
    fn receive(&self, _: Envelope) {}

    fn signals(&self, _: Vec<Envelope>) {}

    fn topics(&self, messages: Vec<Envelope>) {
        self.topics.arrived(self.me, messages);
    }
}

/// Nodes with topics, and one follower of everything at each.
struct Net {
    rig: Rig,
    topics: Vec<Arc<Topics>>,
    followers: Vec<Follower>,
}

const ROOM: usize = 1 << 20;

fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

impl Net {
    fn new(kind: topology::Kind, nodes: usize) -> Net {
        let made = Mutex::new(Vec::new());
        let rig = Rig::serving(kind, nodes, |me, router| {
            let topics = Arc::new(Topics::new(Some(router.clone())));
            made.lock().unwrap().push(topics.clone());
            Arc::new(Taking { me: number(me), topics })
        });
        let topics = made.into_inner().unwrap();
        let follow = |topics: &Arc<Topics>| topics.follow("p", &pattern("#"), ROOM).unwrap();
        let followers = topics.iter().map(follow).collect();
        Net { rig, topics, followers }
    }

    fn publish(&self, from: usize, about: &str, payload: &str) -> Result<Published, PublishError> {
        publish(&self.topics[from], "p", about, payload)
    }

    /// What a follower was told since it was asked last: the texts of the messages.
    fn heard(&mut self, at: usize) -> Vec<String> {
        heard(&mut self.followers[at])
    }

    fn sum(&self, of: impl Fn(&TopicCounts) -> u64) -> u64 {
        self.topics.iter().map(|topics| of(&topics.counts())).sum()
    }

    /// Every copy is accounted for.
    fn is_accounted_for(&self) -> bool {
        let in_transit = self.rig.sum(|counts| counts.topics_lost);
        self.sum(|counts| counts.copies) == self.sum(|counts| counts.arrived + counts.lost) + in_transit
    }
}

fn publish(topics: &Topics, project: &str, about: &str, payload: &str) -> Result<Published, PublishError> {
    topics.publish(&Publication {
        project,
        topic: &topic(about),
        author: "ann",
        from: None,
        payload: payload.as_bytes(),
    })
}

fn heard(follower: &mut Follower) -> Vec<String> {
    let told = std::iter::from_fn(|| follower.try_next());
    told.map(|told| match told {
        Followed::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
        Followed::Dropped(messages) => format!("{messages} dropped"),
    })
    .collect()
}

#[test]
fn every_subscriber_hears_each_message_once_and_each_node_is_sent_it_once() {
    for (kind, nodes) in [
        (topology::Kind::Mesh, 3),
        (topology::Kind::Star, 5),
        (topology::Kind::Ring, 5),
        (tree(), 7),
    ] {
        let mut net = Net::new(kind, nodes);
        let carried = net.rig.carried();
        let mut expected = Vec::new();
        for round in 0..3 {
            for from in 0..nodes {
                let text = format!("{from}.{round}");
                let published = net.publish(from, "a.b", &text).unwrap();
                let others = nodes as u64 - 1;
                assert_eq!((published.nodes, published.lost, published.delivered), (others, 0, 1));
                expected.push(text);
            }
            net.rig.settle();
        }
        for at in 0..nodes {
            let heard = net.heard(at);
            let of = |from: usize| -> Vec<&String> {
                let begins = format!("{from}.");
                heard.iter().filter(|text| text.starts_with(&begins)).collect()
            };
            for from in 0..nodes {
                let expected: Vec<_> = (0..3).map(|round| format!("{from}.{round}")).collect();
                assert_eq!(of(from), expected.iter().collect::<Vec<_>>(), "{kind}: {from} at {at}");
            }
            assert_eq!(heard.len(), expected.len(), "{kind} at {at}");
        }
        let messages = expected.len();
        assert_eq!(net.rig.carried() - carried, messages * (nodes - 1), "{kind}");
        assert!(net.is_accounted_for());
        assert_eq!(net.sum(|counts| counts.delivered), (messages * nodes) as u64);
        assert_eq!(net.sum(|counts| counts.lost + counts.dropped), 0);
    }
}

#[test]
fn only_those_hear_of_a_topic_who_have_subscribed_to_it_in_its_project() {
    let net = Net::new(topology::Kind::Ring, 4);
    let follow = |at: usize, project: &str, text: &str| net.topics[at].follow(project, &pattern(text), ROOM).unwrap();
    let (mut chosen, mut other) = (follow(2, "q", "swarm.*.state"), follow(2, "q", "swarm.blue.#"));
    let mut elsewhere = follow(2, "r", "#");
    for about in ["swarm.red.state", "swarm.blue", "state"] {
        publish(&net.topics[0], "q", about, about).unwrap();
    }
    net.rig.settle();
    assert_eq!(heard(&mut chosen), ["swarm.red.state"]);
    assert_eq!(heard(&mut other), ["swarm.blue"]);
    assert!(heard(&mut elsewhere).is_empty());
    drop((chosen, other));
    publish(&net.topics[0], "q", "swarm.blue", "late").unwrap();
    net.rig.settle();
    assert_eq!(
        net.topics[2].counts().patterns,
        2,
        "one of the test, and one of its rig"
    );
    assert!(net.is_accounted_for());
}

#[test]
fn a_subscriber_is_told_who_published_and_where() {
    let mut net = Net::new(topology::Kind::Star, 3);
    let from = AgentAddress {
        node: number(1),
        number: 7,
        generation: 3,
    };
    let about = topic("a.ü");
    let publication = Publication {
        project: "p",
        topic: &about,
        author: "bob",
        from: Some(from),
        payload: b"\xff\x00",
    };
    net.topics[1].publish(&publication).unwrap();
    net.rig.settle();
    let expected = Followed::Message(Arc::new(publication.message(number(1))));
    assert_eq!(net.followers[2].try_next(), Some(expected.clone()));
    assert_eq!(net.followers[1].try_next(), Some(expected));
}

#[test]
fn a_dead_hub_is_passed_over_and_alone_misses_the_message() {
    let mut net = Net::new(topology::Kind::Star, 5);
    (1..5).for_each(|other| net.rig.cut(0, other));
    for (one, other) in [(1, 2), (1, 3), (2, 3)] {
        net.rig.open(one, other);
    }
    // The fourth has no link but with the hub.
    let published = net.publish(1, "a", "x").unwrap();
    assert_eq!((published.nodes, published.lost), (4, 2));
    net.rig.settle();
    for (at, expected) in [(0, 0), (1, 1), (2, 1), (3, 1), (4, 0)] {
        assert_eq!(net.heard(at).len(), expected, "{at}");
    }
    assert!(net.is_accounted_for());
}

#[test]
fn a_node_that_dies_on_the_way_is_passed_over_by_the_one_before_it() {
    let mut net = Net::new(tree(), 7);
    // The third is the parent of the sixth and the seventh; before anybody knows that it is dead they link up with the root.
    (0..7)
        .filter(|other| *other != 2)
        .for_each(|other| net.rig.cut(2, other));
    net.rig.open(0, 5);
    net.rig.open(0, 6);
    let published = net.publish(1, "a", "x").unwrap();
    assert_eq!(
        (published.nodes, published.lost),
        (6, 0),
        "the root is there: the loss is behind it"
    );
    net.rig.settle();
    for at in (0..7).filter(|at| *at != 2) {
        assert_eq!(net.heard(at), ["x"], "{at}");
    }
    assert!(net.heard(2).is_empty());
    assert_eq!(net.topics[0].counts().lost, 1);
    assert!(net.is_accounted_for());
}

#[test]
fn a_suspect_and_one_that_has_just_joined_have_branches_of_their_own() {
    let mut net = Net::new(topology::Kind::Star, 4);
    for (place, router) in net.rig.routers.iter().enumerate() {
        let linked = members(3);
        router.set_view(View {
            linked,
            ..view(place, topology::Kind::Star, 4)
        });
        router.set_suspects([number(0)].into());
    }
    for (one, other) in [(1, 2), (1, 3)] {
        net.rig.open(one, other);
    }
    let published = net.publish(1, "a", "x").unwrap();
    assert_eq!((published.nodes, published.lost), (3, 0));
    net.rig.settle();
    for at in 0..4 {
        assert_eq!(net.heard(at), ["x"], "{at}");
    }
}

#[test]
fn a_full_lane_at_the_publisher_refuses_and_nobody_hears() {
    let mut net = Net::new(topology::Kind::Mesh, 3);
    net.rig.fill(0, 2, true);
    let refused = net.publish(0, "a", "x").unwrap_err();
    assert_eq!(refused, PublishError::Busy { topic: topic("a") });
    net.rig.settle();
    assert!((0..3).all(|at| net.heard(at).is_empty()));
    let counts = net.topics[0].counts();
    assert_eq!((counts.published, counts.refused, counts.copies), (0, 1, 0));
    net.rig.fill(0, 2, false);
    net.publish(0, "a", "x").unwrap();
    net.rig.settle();
    assert!((0..3).all(|at| net.heard(at) == ["x"]));
}

#[test]
fn a_full_lane_on_the_way_loses_all_copies_behind_it_and_counts_them() {
    let mut net = Net::new(topology::Kind::Star, 4);
    net.rig.fill(0, 2, true);
    net.publish(1, "a", "x").unwrap();
    net.rig.settle();
    assert_eq!((net.heard(0).len(), net.heard(2).len(), net.heard(3).len()), (1, 0, 1));
    assert_eq!(net.topics[0].counts().lost, 1);
    assert!(net.is_accounted_for());
}

#[test]
fn what_cannot_be_published_or_followed_is_refused_by_field_value_and_bound() {
    let topics = Arc::new(Topics::alone());
    let long = "x".repeat(TOPIC_PAYLOAD_BYTES_MAX + 1);
    let refused = publish(&topics, "p", "a", &long).unwrap_err().to_string();
    assert_eq!(refused, "payload: 65537 is over the limit of 65536");
    let refused = publish(&topics, "p/q", "a", "x").unwrap_err().to_string();
    assert_eq!(refused, "project: is empty, or has a slash or a control character");
    let refused = topics.follow(&"p".repeat(129), &pattern("a"), ROOM).err().unwrap();
    assert_eq!(refused.to_string(), "project: 129 is over the limit of 128");
    assert_eq!((topics.counts().refused, topics.counts().published), (2, 0));
    // A node alone has its own subscribers.
    let mut follower = topics.follow("p", &pattern("a"), ROOM).unwrap();
    let published = publish(&topics, "p", "a", &long[1..]).unwrap();
    assert_eq!((published.nodes, published.delivered), (0, 1));
    assert_eq!(heard(&mut follower), [&long[1..]]);
}

#[test]
fn a_follower_that_takes_nothing_is_told_in_its_place_how_much_is_missing() {
    let topics = Arc::new(Topics::alone());
    let mut follower = topics.follow("p", &pattern("#"), 1_000).unwrap();
    let send = |number: u32| publish(&topics, "p", "a", &format!("{number:0100}")).unwrap();
    let taken = (0..10).filter(|number| send(*number).delivered == 1).count();
    assert!((2..9).contains(&taken), "{taken}");
    let told = heard(&mut follower);
    assert_eq!(told.len(), taken + 1);
    assert_eq!(told[taken], format!("{} dropped", 10 - taken));
    assert_eq!(
        told[taken - 1],
        format!("{:0100}", taken - 1),
        "what it got is without a gap"
    );
    send(11);
    assert_eq!(heard(&mut follower), [format!("{:0100}", 11)]);
    send(12);
    let counts = topics.counts();
    assert_eq!(
        (counts.delivered, counts.dropped),
        (taken as u64 + 2, 10 - taken as u64)
    );
    // What it never takes out was not delivered.
    drop(follower);
    let counts = topics.counts();
    assert_eq!(
        (counts.delivered, counts.dropped),
        (taken as u64 + 1, 11 - taken as u64)
    );
    assert_eq!(counts.patterns, 0);
}

#[tokio::test]
async fn a_follower_that_waits_is_woken_by_the_next_message() {
    let topics = Arc::new(Topics::alone());
    let mut follower = topics.follow("p", &pattern("#"), ROOM).unwrap();
    let waiting = tokio::spawn(async move { follower.next().await });
    while topics.counts().delivered == 0 {
        tokio::task::yield_now().await;
        publish(&topics, "p", "a", "x").unwrap();
    }
    assert!(matches!(waiting.await.unwrap(), Followed::Message(message) if &message.payload[..] == b"x"));
}

/// Any kind over any members and suspects, as a node may see it.
fn any_view() -> impl Strategy<Value = (usize, Vec<bool>, Vec<bool>)> {
    let flags = |weight| prop::collection::vec(prop::bool::weighted(weight), 6);
    (0..4_usize, flags(0.8), flags(0.2))
}

fn ways(most: usize) -> impl Strategy<Value = BTreeSet<(u16, u16)>> {
    prop::collection::btree_set((0..6_u16, 0..6_u16), 0..most)
}

proptest! {
    #[test]
    fn whatever_the_nodes_believe_nobody_hears_a_message_twice_and_each_copy_is_accounted_for(
        views in prop::collection::vec(any_view(), 6),
        down in ways(10),
        full in ways(4),
        publishers in prop::collection::vec(0..6_usize, 1..12),
    ) {
        let mut net = Net::new(topology::Kind::Mesh, 6);
        let some = |flags: &[bool]| -> BTreeSet<NodeId> {
            (0..6).filter(|place| flags[*place]).map(number).collect()
        };
        for (place, (kind, linked, suspects)) in views.iter().enumerate() {
            let kind = [topology::Kind::Mesh, topology::Kind::Star, topology::Kind::Ring, tree()][*kind];
            let linked = some(linked).into_iter().chain([number(place)]).collect();
            net.rig.routers[place].set_view(View { linked, epoch: place as u64, ..view(place, kind, 6) });
            net.rig.routers[place].set_suspects(some(suspects));
        }
        net.rig.set_down(down.into_iter().map(|(one, other)| (one.min(other), one.max(other))).collect());
        full.into_iter().for_each(|(from, to)| net.rig.fill(from as usize, to as usize, true));
        let mut taken = 0;
        for (place, from) in publishers.into_iter().enumerate() {
            let published = net.publish(from, "a", &place.to_string());
            taken += u64::from(published.is_ok_and(|published| published.nodes == 5));
        }
        net.rig.settle();
        for at in 0..6 {
            let heard = net.heard(at);
            let different: BTreeSet<&String> = heard.iter().collect();
            prop_assert_eq!(different.len(), heard.len(), "{:?} at {}", heard, at);
        }
        prop_assert_eq!(net.sum(|counts| counts.copies), 5 * taken);
        prop_assert!(net.is_accounted_for());
        prop_assert_eq!(net.sum(|counts| counts.delivered), taken + net.sum(|counts| counts.arrived));
    }

    #[test]
    fn a_message_survives_its_way_and_no_bytes_make_a_panic(
        (project, author) in ("[a-z]{1,20}", "[a-z]{1,20}"),
        about in "[a-c](\\.[a-c]){0,8}",
        payload in prop::collection::vec(any::<u8>(), 0..300),
        behind in prop::collection::vec((any::<u64>(), any::<u32>()), 0..20),
        (cut, at, value) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let (about, node) = (topic(&about), NodeId(9));
        let from = Some(AgentAddress { node, number: 1, generation: u64::MAX });
        let publication = Publication {
            project: &project,
            topic: &about,
            author: &author,
            from: from.filter(|_| value % 2 == 0),
            payload: &payload,
        };
        let behind: Vec<Branch> = behind.into_iter().map(|(node, nodes)| Branch { node: NodeId(node), nodes }).collect();
        let packet = publication.packet(node);
        let body = packet.body(&behind);
        prop_assert_eq!(body.len(), packet.bytes(&behind));
        prop_assert_eq!(Packet::read(body.clone()), Some((packet.clone(), behind)));
        prop_assert_eq!(packet.message(), Some(publication.message(node)));
        let mut wrong = body.to_vec();
        let place = at.index(wrong.len());
        wrong[place] = value;
        for bytes in [wrong.clone(), body[..cut.index(body.len())].to_vec(), wrong[..cut.index(wrong.len())].to_vec()] {
            if let Some((packet, behind)) = Packet::read(bytes.into()) {
                prop_assert!(packet.message().is_some());
                prop_assert_eq!(branches(&behind).map(|(_, behind)| 1 + behind.len()).sum::<usize>(), behind.len());
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_lost_for_all_that_it_was_for() {
    let net = Net::new(topology::Kind::Mesh, 2);
    let envelope = |to: NodeId, nodes: u64| Envelope {
        kind: Kind::Topic,
        hops: 0,
        from: number(1),
        to,
        correlation: nodes,
        epoch: 1,
        body: Bytes::from_static(b"short"),
    };
    net.topics[0].arrived(number(0), vec![envelope(number(0), 3), envelope(number(7), 1)]);
    assert_eq!((net.topics[0].counts().lost, net.topics[0].counts().arrived), (4, 0));
}
