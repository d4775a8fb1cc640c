//! The first start: what each node decides, and three nodes that meet in any order.

use proptest::prelude::*;
use proptest::sample::Index;

use queenright_protocol::colony::{next_number, place_of};

use super::decisions::{compare, number_of};
use super::*;

fn cluster(id: u8) -> ClusterId {
    ClusterId([id; 16])
}

fn node(me: usize, stored: Option<Founded>) -> Decisions {
    Decisions {
        cluster_name: "c".into(),
        nodes: ["n1", "n2", "n3"].map(String::from).to_vec(),
        me,
        stored,
        minted: cluster(100 + me as u8),
        empty: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        belong: BTreeMap::new(),
    }
}

fn founded(id: u8, me: usize, unfinished: bool) -> Founded {
    let names = ["n1", "n2", "n3"].iter().enumerate();
    Founded {
        cluster: cluster(id),
        me: number_of(me),
        members: names
            .map(|(place, name)| (name.to_string(), number_of(place)))
            .collect(),
        unfinished,
        attempts: Attempts::new(),
    }
}

/// The starts that `node` makes of the second and the third.
fn attempts() -> Attempts {
    let attempt = |me: usize| u128::from_le_bytes(cluster(100 + me as u8).0) as u64;
    [1, 2].map(|me| (number_of(me), attempt(me))).into()
}

fn hello_of(me: usize, stored: Option<Founded>) -> Input {
    Input::Hello(me as u16, node(me, stored).own_hello())
}

fn founding(id: u8) -> Founding {
    Founding {
        cluster: cluster(id),
        members: founded(id, 0, true).members,
        attempts: attempts(),
    }
}

fn step(node: &mut Decisions, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    node.step(input, &mut effects).unwrap();
    effects
}

fn refused(node: &mut Decisions, input: Input) -> String {
    node.step(input, &mut Vec::new()).unwrap_err().to_string()
}

fn begun(node: &mut Decisions) -> Vec<Effect> {
    let mut effects = Vec::new();
    node.begin(&mut effects);
    effects
}

#[test]
fn the_founder_mints_once_all_are_empty_and_stores_before_it_sends() {
    let mut founder = node(0, None);
    assert_eq!(begun(&mut founder), []);
    assert_eq!(founder.unheard(), ["n2", "n3"]);
    assert_eq!(step(&mut founder, hello_of(1, None)), []);
    assert_eq!(step(&mut founder, hello_of(1, None)), [], "the same node once more");
    assert_eq!(founder.unheard(), ["n3"]);
    let stored = Founded {
        attempts: attempts(),
        ..founded(100, 0, true)
    };
    let handed = [
        Effect::Store(stored),
        Effect::SendFounding(1, founding(100)),
        Effect::SendFounding(2, founding(100)),
    ];
    assert_eq!(step(&mut founder, hello_of(2, None)), handed);
    let ack = |place: usize, id| {
        Input::Ack(
            place as u16,
            FoundingAck {
                cluster: cluster(id),
                number: number_of(place),
            },
        )
    };
    assert_eq!(step(&mut founder, ack(1, 100)), []);
    assert_eq!(step(&mut founder, ack(2, 7)), [], "of another cluster");
    assert_eq!(step(&mut founder, ack(2, 100)), [Effect::Done]);
}

#[test]
fn a_node_takes_its_number_from_the_founder_only() {
    let mut second = node(1, None);
    assert_eq!(step(&mut second, hello_of(2, None)), []);
    assert_eq!(step(&mut second, hello_of(0, None)), []);
    assert_eq!(step(&mut second, Input::Founding(2, founding(9))), []);
    let number = number_of(1);
    let stored = Founded {
        attempts: attempts(),
        ..founded(100, 1, false)
    };
    let taken = [
        Effect::Store(stored),
        Effect::SendAck(
            0,
            FoundingAck {
                cluster: cluster(100),
                number,
            },
        ),
        Effect::Done,
    ];
    assert_eq!(step(&mut second, Input::Founding(0, founding(100))), taken);
    let mut founder = node(0, None);
    assert_eq!(step(&mut founder, Input::Founding(1, founding(9))), []);
}

#[test]
fn one_node_alone_founds_at_once_and_a_member_asks_nobody() {
    let mut alone = Decisions {
        nodes: vec!["n1".into()],
        ..node(0, None)
    };
    let effects = begun(&mut alone);
    assert!(matches!(effects[..], [Effect::Store(_), Effect::Done]), "{effects:?}");
    for me in 0..3 {
        assert_eq!(begun(&mut node(me, Some(founded(5, me, false)))), [Effect::Done]);
    }
    let interrupted = Decisions {
        nodes: vec!["n1".into()],
        ..node(0, Some(founded(5, 0, true)))
    };
    let mut interrupted = interrupted;
    assert_eq!(begun(&mut interrupted), [Effect::Done]);
}

#[test]
fn an_interrupted_founder_goes_on_with_what_it_handed_out() {
    let mut founder = node(0, Some(founded(5, 0, true)));
    assert_eq!(begun(&mut founder), []);
    let handed = |place, attempts| {
        let founding = Founding {
            attempts,
            ..founding(5)
        };
        [Effect::SendFounding(place, founding)]
    };
    let hello = hello_of(1, Some(founded(5, 1, false)));
    assert_eq!(step(&mut founder, hello), handed(1, Attempts::new()));
    // Which start has no number yet is told to all whom it is still handed to.
    let mut third = attempts();
    third.remove(&number_of(1));
    assert_eq!(step(&mut founder, hello_of(2, None)), handed(2, third));
}

#[test]
fn an_empty_node_beside_a_cluster_founds_nothing_and_goes_when_it_may_not_join() {
    let no = |link| {
        let reason = "it was not allowed".to_owned();
        Input::Refused(link, JoinRefused { reason })
    };
    let message = "the data folder of this node is empty, but node";
    let mut founder = node(0, None);
    assert_eq!(step(&mut founder, hello_of(1, None)), []);
    assert_eq!(step(&mut founder, hello_of(2, Some(founded(5, 2, false)))), []);
    let refusal = refused(&mut founder, no(2));
    assert!(
        refusal.starts_with(message) && refusal.ends_with("it was not allowed"),
        "{refusal}"
    );
    let mut second = node(1, None);
    assert_eq!(step(&mut second, hello_of(0, Some(founded(5, 0, false)))), []);
    assert!(refused(&mut second, no(0)).starts_with(message));
    // While the founding goes on, others have their numbers earlier, and do not know better.
    let mut third = node(1, None);
    assert_eq!(step(&mut third, hello_of(2, Some(founded(5, 2, false)))), []);
    assert_eq!(step(&mut third, no(2)), []);
    assert_eq!(step(&mut third, hello_of(0, Some(founded(5, 0, true)))), []);
    assert_eq!(step(&mut third, no(0)), []);
}

#[test]
fn an_empty_node_takes_a_new_number_from_any_member_of_the_cluster() {
    for me in 0..3 {
        let member = (me + 1) % 3;
        let mut empty = node(me, None);
        assert_eq!(step(&mut empty, hello_of(member, Some(founded(5, member, false)))), []);
        let mut members = founded(5, 0, false).members;
        members[me].1 = next_number(me, 0, NodeId(3));
        let number = NodeId(me as u64 + 65);
        // Others have joined that its configuration does not list.
        members.push(("n9".into(), NodeId(4)));
        let cluster = cluster(5);
        let handed = Founding {
            cluster,
            members: members.clone(),
            attempts: Attempts::new(),
        };
        let other = Founding {
            cluster: self::cluster(6),
            members: members.clone(),
            attempts: Attempts::new(),
        };
        // The first one founds, and is believed as well when it has not said who it is.
        if member != 0 {
            assert_eq!(
                step(&mut empty, Input::Founding(member as u16, other)),
                [],
                "of another cluster"
            );
        }
        let stored = Founded {
            cluster,
            me: number,
            members,
            unfinished: false,
            attempts: Attempts::new(),
        };
        let taken = [
            Effect::Store(stored),
            Effect::SendAck(member as u16, FoundingAck { cluster, number }),
            Effect::Done,
        ];
        assert_eq!(step(&mut empty, Input::Founding(member as u16, handed)), taken);
    }
}

proptest! {
    #[test]
    fn a_node_has_a_link_to_every_place_but_its_own(
        used in proptest::collection::vec(1..150_000_u64, 0..20),
        me in 1..150_000_u64,
    ) {
        let links = links_of(&used.into_iter().chain([me]).map(NodeId).collect(), NodeId(me));
        let place = place_of(NodeId(me));
        prop_assert!(links.iter().all(|(number, link)| place_of(*number) == *link as usize && *link as usize != place));
    }
}

#[test]
fn nodes_of_other_clusters_and_configurations_are_refused() {
    let other_cluster = hello_of(1, Some(founded(6, 1, false)));
    let refusal = refused(&mut node(0, Some(founded(5, 0, true))), other_cluster);
    assert!(refusal.starts_with("node \"n2\" belongs to cluster "), "{refusal}");
    let hello = node(1, None).own_hello();
    let renamed = Hello {
        cluster_name: "d".into(),
        ..hello.clone()
    };
    let fewer = Hello {
        nodes: vec!["n1".into(), "n2".into()],
        ..hello
    };
    for (hello, message) in [
        (
            renamed,
            "node \"n2\" was configured with cluster.name \"d\", this node with \"c\"",
        ),
        (
            fewer,
            "node \"n2\" was configured with nodes \"n1, n2\", this node with \"n1, n2, n3\"",
        ),
    ] {
        assert_eq!(refused(&mut node(0, None), Input::Hello(1, hello)), message);
    }
    let mut members = founding(5).members;
    members.pop();
    let short = Founding { members, ..founding(5) };
    let refusal = refused(&mut node(1, None), Input::Founding(0, short));
    assert_eq!(
        refusal,
        "node \"n1\" was configured with nodes \"n1, n2\", this node with \"n1, n2, n3\""
    );
}

/// Three nodes that meet: what each has on disk, what is on its way, and whether it is through.
struct Meeting {
    nodes: Vec<Decisions>,
    disks: Vec<Option<Founded>>,
    done: Vec<bool>,
    mail: Vec<(usize, Input)>,
    starts: u8,
}

impl Meeting {
    fn effects(&mut self, at: usize, effects: Vec<Effect>) {
        let me = at as u16;
        for effect in effects {
            match effect {
                Effect::Store(founded) => {
                    assert!(
                        self.disks[at]
                            .as_ref()
                            .is_none_or(|stored| stored.cluster == founded.cluster)
                    );
                    self.disks[at] = Some(founded);
                }
                Effect::SendHello(to) => self
                    .mail
                    .push((to as usize, Input::Hello(me, self.nodes[at].own_hello()))),
                Effect::SendFounding(to, founding) => self.mail.push((to as usize, Input::Founding(me, founding))),
                Effect::SendAck(to, ack) => self.mail.push((to as usize, Input::Ack(me, ack))),
                Effect::Done => self.done[at] = true,
            }
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        if self.done[at] {
            // As `answer_hellos` does.
            if let (Input::Founding(link, Founding { cluster, .. }), Some(stored)) = (&input, &self.disks[at]) {
                assert_eq!(*cluster, stored.cluster);
                let ack = FoundingAck {
                    cluster: *cluster,
                    number: stored.me,
                };
                self.mail.push((*link as usize, Input::Ack(at as u16, ack)));
            }
            return;
        }
        let effects = step(&mut self.nodes[at], input);
        self.effects(at, effects);
    }

    /// A node that was killed starts again from its disk, and all its links come up.
    fn start(&mut self, at: usize) {
        self.mail.retain(|(to, input)| *to != at && !is_from(input, at as u16));
        self.nodes[at] = node(at, self.disks[at].clone());
        self.starts += 1;
        self.nodes[at].minted = cluster(self.starts);
        self.done[at] = false;
        let effects = begun(&mut self.nodes[at]);
        self.effects(at, effects);
        for other in (0..3).filter(|other| *other != at) {
            self.input(at, Input::Up(other as u16));
            let hello = self.nodes[at].own_hello();
            self.mail.push((other, Input::Hello(at as u16, hello)));
            let theirs = self.nodes[other].own_hello();
            self.mail.push((at, Input::Hello(other as u16, theirs)));
        }
    }
}

fn is_from(input: &Input, place: u16) -> bool {
    match input {
        Input::Up(_) => false,
        Input::Hello(from, _) | Input::Founding(from, _) | Input::Ack(from, _) | Input::Refused(from, _) => {
            *from == place
        }
    }
}

proptest! {
    #[test]
    fn whoever_is_interrupted_there_is_one_cluster(
        turns in proptest::collection::vec((any::<Index>(), 0..12_usize), 0..60)
    ) {
        let mut meeting = Meeting {
            nodes: (0..3).map(|me| node(me, None)).collect(),
            disks: vec![None; 3],
            done: vec![false; 3],
            mail: Vec::new(),
            starts: 0,
        };
        (0..3).for_each(|at| meeting.start(at));
        for (pick, killed) in turns {
            if killed < 3 {
                meeting.start(killed);
            }
            if !meeting.mail.is_empty() {
                let (to, input) = meeting.mail.swap_remove(pick.index(meeting.mail.len()));
                meeting.input(to, input);
            }
        }
        (0..3).for_each(|at| meeting.start(at));
        while let Some((to, input)) = meeting.mail.pop() {
            meeting.input(to, input);
        }
        let clusters: BTreeSet<_> = meeting.disks.iter().map(|disk| disk.as_ref().map(|disk| disk.cluster)).collect();
        prop_assert_eq!(clusters.len(), 1);
        prop_assert!(!clusters.contains(&None));
        prop_assert_eq!(meeting.done, [true; 3]);
    }
}

#[test]
fn a_node_whose_build_does_not_know_the_rules_of_the_cluster_is_refused_by_both() {
    let member = Hello {
        build: Build::ours(Some(1)),
        ..node(0, Some(founded(1, 0, false))).own_hello()
    };
    let of_rules = |oldest, newest| Hello {
        build: Build {
            name: "0.0.9".into(),
            knows: Versions { oldest, newest },
            in_force: None,
        },
        ..node(1, None).own_hello()
    };
    assert!(compare(&member, &of_rules(1, 2)).is_ok());
    let older = of_rules(2, 3);
    let expected = "node n2 (build 0.0.9) knows versions 2 to 3 of the rules, the cluster follows version 1: start it with \
                    another build";
    for refused in [compare(&member, &older), compare(&older, &member)] {
        assert_eq!(refused.unwrap_err().to_string(), expected);
    }
    // Whoever is empty follows none yet.
    assert!(compare(&node(0, None).own_hello(), &older).is_ok());
}

#[test]
fn a_node_learns_that_its_cluster_was_recovered_without_it_and_the_other_is_told_nothing_of_the_kind() {
    let ours = node(1, Some(founded(1, 1, false))).own_hello();
    let theirs = Hello {
        past: vec![cluster(7), cluster(1)],
        ..node(0, Some(founded(2, 0, false))).own_hello()
    };
    let told = compare(&ours, &theirs).unwrap_err();
    assert!(
        matches!(&told, FoundingError::Outlived { peer, .. } if peer == "n1"),
        "{told}"
    );
    assert!(told.to_string().contains("queenright node replace n2"), "{told}");
    let told = compare(&theirs, &ours).unwrap_err();
    assert!(matches!(told, FoundingError::OtherCluster { .. }), "{told}");
}

#[tokio::test]
async fn a_node_at_its_first_start_ends_when_another_one_speaks_no_version_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), "n1").unwrap();
    let config = crate::link::LinkConfig {
        name: "n1".into(),
        index: 0,
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: Vec::new(),
        wanted: None,
        cookie: crate::link::Cookie::new("0".repeat(64)).unwrap(),
        limits: crate::link::LinkLimits::default(),
        speaks: queenright_protocol::wire::SPOKEN,
        tls: None,
    };
    let (router, inbox) = Router::start(config).await.unwrap();
    let (told, incompatible) = tokio::sync::mpsc::channel(1);
    let mut inbox = FoundingInbox { incompatible, ..inbox };
    let start = FirstStart {
        folder: &folder,
        router: &router,
        cluster_name: "c".into(),
        nodes: vec!["n1".into(), "n2".into()],
        me: 0,
    };
    told.send("none in common".to_owned()).await.unwrap();
    let error = start.run(&mut inbox).await.unwrap_err();
    let expected = "this node cannot belong to a cluster with another one: none in common";
    assert_eq!(error.to_string(), expected);
    assert!(folder.identity().is_none());
}
