//! The four topologies on real links: which sockets are open, what goes over them, what happens when the topology changes
//! or a node in the middle dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use queenright::config::ClusterConfig;
use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus, PairCounts, RestartPolicy};
use queenright_actors::node::{ClusterStatus, LinkRole, Role, Traffic};
use queenright_bench::client::{Client, ClientOptions, PutOptions};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Kind, neighbours};
use serde_json::{Value, json};

use crate::colony::{Colony, until};
use crate::liveness::Stopped;

/// Seven debug nodes on two cores take their time.
const PATIENT: Duration = Duration::from_secs(60);

/// A pair of names, the smaller first.
type Pair = (String, String);

fn pair(one: &str, other: &str) -> Pair {
    (one.min(other).to_owned(), one.max(other).to_owned())
}

impl Colony {
    /// A client that waits as long as a door lets it.
    fn patient(&self, node: &str) -> Client {
        let options = ClientOptions {
            agent: "test".to_owned(),
            timeout: PATIENT,
            ..ClientOptions::default()
        };
        let door = self.config().node(node).unwrap().http;
        Client::new(&format!("http://{door}"), options).unwrap()
    }

    fn put_patiently(&self, node: &str, key: &str) {
        let client = self.patient(node);
        let options = PutOptions::default();
        let put = client.put(key, node.to_owned().into(), &options);
        self.block_on(put).unwrap_or_else(|error| panic!("{node}: {error}"));
    }

    /// Puts through each of these nodes, and sees what all of them put through another one.
    fn puts_through(&self, nodes: &[&str], prefix: &str) {
        for node in nodes {
            self.put_patiently(node, &format!("{prefix}/{node}"));
        }
        for (node, other) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
            let read = self
                .at(other, &["memory", "get", &format!("{prefix}/{node}")])
                .with_code(0);
            assert_eq!(read.stdout, node.as_bytes(), "{read}");
        }
    }

    /// The links that the topology of the present epoch wants, and those among voters.
    fn expected(&self, status: &ClusterStatus) -> BTreeSet<Pair> {
        let kind: Kind = status.topology.parse().unwrap();
        let name = |number: NodeId| {
            let node = status.nodes.iter().find(|node| node.number == number.0);
            node.unwrap().name.clone()
        };
        let members: BTreeSet<NodeId> = status.nodes.iter().map(|node| NodeId(node.number)).collect();
        let data = members.iter().flat_map(|me| {
            let near = neighbours(kind, &members, *me).into_iter();
            near.map(|other| pair(&name(*me), &name(other))).collect::<Vec<_>>()
        });
        let voters: Vec<&str> = status
            .nodes
            .iter()
            .filter(|node| matches!(node.role, Role::Leader | Role::Follower | Role::Candidate))
            .map(|node| &*node.name)
            .collect();
        let control = voters
            .iter()
            .flat_map(|one| voters.iter().map(move |other| (*one, *other)));
        let control = control
            .filter(|(one, other)| one < other)
            .map(|(one, other)| pair(one, other));
        data.chain(control).collect()
    }

    /// Waits until the epoch is of this kind everywhere, and exactly the sockets are open that it wants.
    pub(crate) fn links_settle(&self, kind: &str, voters: usize) -> ClusterStatus {
        until(&format!("the links of a {kind}"), || {
            let status = self.status(&self.names()[0])?;
            let learners = status.nodes.iter().filter(|node| node.role == Role::Learner).count();
            let all_answer = status.nodes.iter().all(|node| node.role != Role::Unreachable);
            let settled = all_answer && status.topology == kind && status.nodes.len() - learners == voters;
            (settled && self.open_links() == self.expected(&status)).then_some(status)
        })
    }

    /// The links between the processes of the nodes, by their open sockets.
    #[cfg(target_os = "linux")]
    fn open_links(&self) -> BTreeSet<Pair> {
        let listens: BTreeMap<u16, String> = self
            .config()
            .nodes
            .iter()
            .map(|node| (node.links.port(), node.name.clone()))
            .collect();
        let mut found = BTreeSet::new();
        let mut accepted = BTreeSet::new();
        for node in self.names() {
            for (local, remote) in sockets(self.pid(&node).as_raw_nonzero().get()) {
                if let Some(peer) = listens.get(&remote) {
                    // The table may show a socket twice when it changes while it is read.
                    found.insert((pair(&node, peer), local));
                }
                if listens.get(&local) == Some(&node) {
                    accepted.insert(remote);
                }
            }
        }
        // One that only one end has is on its way.
        let both = found.into_iter().filter(|(_, port)| accepted.contains(port));
        let links: Vec<Pair> = both.map(|(pair, _)| pair).collect();
        let distinct: BTreeSet<Pair> = links.iter().cloned().collect();
        // Two at a time are a duplicate that is about to be closed.
        match links.len() == distinct.len() {
            true => distinct,
            false => BTreeSet::new(),
        }
    }

    /// The links between the nodes, as they tell of them.
    #[cfg(not(target_os = "linux"))]
    fn open_links(&self) -> BTreeSet<Pair> {
        let status = self.status(&self.names()[0]);
        let nodes = status.into_iter().flat_map(|status| status.nodes);
        let links = nodes.flat_map(|node| {
            let up = node.traffic.into_iter().flat_map(|traffic| traffic.links);
            let up = up.filter(|link| link.up);
            up.map(|link| pair(&node.name, &link.peer)).collect::<Vec<_>>()
        });
        links.collect()
    }

    pub(crate) fn traffic(&self) -> BTreeMap<String, Traffic> {
        let status = self.status(&self.names()[0]).expect("it answers");
        let nodes = status.nodes.into_iter();
        nodes.filter_map(|node| Some((node.name, node.traffic?))).collect()
    }
}

/// The established connections of a process, as (local port, remote port).
#[cfg(target_os = "linux")]
fn sockets(pid: i32) -> Vec<(u16, u16)> {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let targets = descriptors.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let inodes: BTreeSet<String> = targets
        .filter_map(|target| {
            let text = target.to_str()?.strip_prefix("socket:[")?;
            Some(text.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1)?, 16).ok();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ours = inodes.contains(*words.get(9)?) && words.get(3) == Some(&"01");
            ours.then_some((port(words[1])?, port(words[2])?))
        })
        .collect()
}

pub(crate) fn three_voters(config: &mut ClusterConfig) {
    config.consensus.voters = Some(3);
}

pub(crate) const FIVE: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

#[test]
fn in_a_star_the_hub_is_linked_with_all_and_voters_with_each_other() {
    let colony = Colony::start_shipped("star-5", "star", three_voters);
    colony.puts_through(&FIVE, "first");
    let status = colony.links_settle("star", 3);
    assert_eq!(status.epoch, 1);
    assert_eq!(
        colony.expected(&status).len(),
        5,
        "four spokes, and one between the other two voters"
    );
    colony.puts_through(&FIVE, "then");
    colony.same_digest();
    // n4 asks n5 over the hub, whoever leads.
    until("n4 knows how n5 is", || {
        let status = colony.status("n4")?;
        let n5 = status.nodes.iter().find(|node| node.name == "n5")?;
        (n5.role != Role::Unreachable).then_some(())
    });
    let hub = &colony.traffic()["n1"];
    assert!(hub.transit.forwarded > 0 && hub.transit.lost_hops == 0, "{hub:?}");
}

#[test]
fn in_a_ring_each_node_has_two_links_and_voters_those_among_them() {
    let colony = Colony::start_shipped("ring-5", "ring", three_voters);
    let status = colony.links_settle("ring", 3);
    assert_eq!(colony.expected(&status).len(), 6);
    colony.puts_through(&FIVE, "then");
    colony.same_digest();
    let shown = colony.at("n4", &["topology", "show"]).with_code(0);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with("ring: ring of 5 nodes, epoch 1\n"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn in_a_hierarchy_each_node_is_linked_with_its_parent_and_its_children() {
    let colony = Colony::start_shipped("star-5", "tree", |config| {
        three_voters(config);
        config.topology = queenright::config::Topology::Hierarchical { fan_out: 2 };
    });
    let status = colony.links_settle("hierarchical:2", 3);
    assert_eq!(
        colony.expected(&status).len(),
        5,
        "four of the tree, and one between the other two voters"
    );
    colony.puts_through(&FIVE, "then");
    colony.same_digest();
}

#[test]
fn consensus_goes_along_the_topology_too_if_the_file_says_so() {
    let colony = Colony::start_shipped("ring-5", "routed", |config| {
        config.consensus.links = queenright::config::ControlLinks::Routed;
    });
    let ring: BTreeSet<Pair> = [("n1", "n2"), ("n2", "n3"), ("n3", "n4"), ("n4", "n5"), ("n1", "n5")]
        .into_iter()
        .map(|(one, other)| pair(one, other))
        .collect();
    until("the links of a ring and no others", || {
        (colony.open_links() == ring).then_some(())
    });
    colony.puts_through(&FIVE, "then");
    colony.same_digest();
}

#[test]
fn the_topology_changes_while_commands_go_on_and_none_of_them_fails() {
    let colony = Colony::start_shipped("star-5", "changes", three_voters);
    colony.links_settle("star", 3);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let putting: Vec<_> = FIVE
        .into_iter()
        .map(|node| {
            let (client, stop, count) = (colony.patient(node), stop.clone(), count.clone());
            colony.spawn(async move {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    let key = format!("{}/{number}", client.base_url().replace([':', '/'], "-"));
                    client.put(&key, "v".into(), &PutOptions::default()).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), queenright_bench::client::ClientError>(())
            })
        })
        .collect();
    let dry = colony
        .at("n2", &["topology", "set", "ring", "--dry-run", "--json"])
        .with_code(0)
        .json();
    assert_eq!(
        (&dry["epoch"], &dry["changed"], &dry["dry_run"]),
        (&json!(2), &json!(true), &json!(true))
    );
    assert_eq!(dry["opens"].as_array().unwrap().len(), 3);
    assert_eq!(dry["closes"].as_array().unwrap().len(), 2);
    for (epoch, (kind, node)) in [("ring", "n5"), ("hierarchical", "n1"), ("mesh", "n3"), ("star", "n2")]
        .into_iter()
        .enumerate()
    {
        let before = count.load(Ordering::Relaxed);
        let set = colony
            .at(node, &["topology", "set", kind, "--json"])
            .with_code(0)
            .json();
        assert_eq!(set["epoch"], json!(epoch + 2), "{set}");
        let kind = if kind == "hierarchical" { "hierarchical:2" } else { kind };
        let voters = 3;
        colony.links_settle(kind, voters);
        until("puts go on", || {
            (count.load(Ordering::Relaxed) > before + 20).then_some(())
        });
    }
    stop.store(true, Ordering::Relaxed);
    for putting in putting {
        colony.block_on(putting).unwrap().expect("no command fails");
    }
    let same = colony
        .at("n4", &["topology", "set", "star", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&same["epoch"], &same["changed"]), (&json!(5), &json!(false)));
    colony.same_digest();
}

#[test]
fn when_the_hub_dies_the_others_go_on_and_when_it_comes_back_the_star_is_whole_again() {
    let mut colony = Colony::start_shipped("star-5", "hub", |_| {});
    colony.links_settle("star", 5);
    colony.puts_through(&FIVE, "before");
    colony.kill("n1");
    colony.leader_at("n3", Some("n1"));
    colony.puts_through(&FIVE[1..], "without");
    colony.start_node("n1");
    colony.links_settle("star", 5);
    colony.puts_through(&FIVE, "again");
    colony.same_digest();
}

#[test]
fn two_neighbours_of_a_ring_die_and_the_other_three_go_on_with_the_epoch_that_there_was() {
    let mut colony = Colony::start_shipped("ring-5", "two-die", |_| {});
    colony.links_settle("ring", 5);
    colony.puts_through(&FIVE, "before");
    // Between n2 and n5, which are left with one neighbour each. They come and go, and no epoch begins for that.
    for round in ["once", "twice"] {
        colony.kill("n3");
        colony.kill("n4");
        colony.leader_at("n1", None);
        colony.puts_through(&["n1", "n2", "n5"], round);
        colony.start_node("n3");
        colony.start_node("n4");
        let status = colony.links_settle("ring", 5);
        assert_eq!(status.epoch, 1);
    }
    colony.puts_through(&FIVE, "again");
    colony.same_digest();
}

#[test]
fn a_node_that_hangs_with_its_links_open_is_led_around() {
    let colony = Colony::start_shipped("ring-5", "hangs", three_voters);
    colony.links_settle("ring", 3);
    // From n4 the way to n1 leads over n5, whose system goes on taking what is sent.
    let asleep = Stopped::stop(colony.pid("n5"));
    until("its neighbours are linked with each other", || {
        (colony.is_linked("n4", "n1") && colony.is_linked("n1", "n4")).then_some(())
    });
    colony.puts_through(&FIVE[..4], "without");
    drop(asleep);
    colony.links_settle("ring", 3);
    colony.puts_through(&FIVE, "again");
    colony.same_digest();
}

#[test]
fn a_node_that_was_away_while_the_topology_changed_finds_the_present_epoch() {
    let mut colony = Colony::start_shipped("star-5", "away", three_voters);
    colony.links_settle("star", 3);
    colony.kill("n5");
    colony.kill("n4");
    // In the ring that n4 and n5 do not know of, n5 has no link with the hub that it remembers, but with n4 and n1.
    colony.at("n1", &["topology", "set", "ring"]).with_code(0);
    colony.start_node("n4");
    colony.start_node("n5");
    let status = colony.links_settle("ring", 3);
    assert_eq!(status.epoch, 2);
    colony.puts_through(&FIVE, "again");
    colony.same_digest();
    // All of them at once, and the file still says star.
    colony.kill_all();
    colony.start_all();
    colony.links_settle("ring", 3);
    colony.puts_through(&FIVE, "at last");
}

#[test]
fn a_node_whose_every_remembered_neighbour_is_dead_looks_for_others() {
    let mut colony = Colony::start_shipped("star-5", "alone", three_voters);
    colony.links_settle("star", 3);
    colony.kill("n5");
    colony.at("n2", &["topology", "set", "ring"]).with_code(0);
    // The hub, with which alone n5 remembers to be linked.
    colony.kill("n1");
    colony.leader_at("n2", Some("n1"));
    colony.start_node("n5");
    until("n5 knows the present epoch", || {
        let status = colony.status("n5").filter(|status| status.queenright)?;
        (status.topology == "ring" && status.epoch == 2).then_some(())
    });
    colony.puts_through(&FIVE[1..], "without");
    colony.start_node("n1");
    colony.links_settle("ring", 3);
    colony.same_digest();
}

#[test]
fn every_signal_over_a_star_and_a_ring_is_accounted_for() {
    for (file, name) in [("star-5", "signals-star"), ("ring-5", "signals-ring")] {
        let colony = Colony::start_shipped(file, name, three_voters);
        let kind = file.split('-').next().unwrap();
        let status = colony.links_settle(kind, 3);
        // Links that the first epoch has closed had hellos under way.
        let broken = |traffic: &BTreeMap<String, Traffic>| -> u64 {
            let links = traffic.values().flat_map(|traffic| &traffic.links);
            links.map(|link| link.lost + link.in_doubt).sum()
        };
        let before = broken(&colony.traffic());
        let spawn = |node: &str, name: &str, kind: &str, arguments: Value| {
            let spec = AgentSpec {
                name: name.to_owned(),
                kind: kind.to_owned(),
                arguments,
                restart: RestartPolicy::default(),
                ..AgentSpec::default()
            };
            colony.block_on(colony.patient(node).spawn_agent(&spec)).unwrap()
        };
        // Everybody sends to whoever is two places on, over the hub or a node between them.
        let to: Vec<Value> = FIVE
            .iter()
            .map(|node| {
                let sink = spawn(node, "sink", "load-sink", json!({}));
                let number = status.nodes.iter().find(|known| known.name == *node).unwrap().number;
                json!({ "node": number, "number": sink.number, "generation": sink.generation })
            })
            .collect();
        for (place, node) in FIVE.iter().enumerate() {
            let arguments = json!({
                "to": to[(place + 2) % 5], "count": u64::MAX, "bytes": 200, "for_ms": 2_000,
            });
            spawn(node, "source", "load-source", arguments);
        }
        let done = |node: &&str| {
            let agent = colony.block_on(colony.patient(node).agent("source")).unwrap();
            agent.state == AgentState::Done
        };
        until("all sources have ended", || FIVE.iter().all(done).then_some(()));
        let sum = |traffic: &BTreeMap<String, Traffic>, of: fn(&Traffic) -> u64| traffic.values().map(of).sum::<u64>();
        let traffic = until("all signals are delivered or lost", || {
            let traffic = colony.traffic();
            assert_eq!(broken(&traffic), before, "no link broke");
            let sent = sum(&traffic, |traffic| traffic.signals.sent);
            let delivered = sum(&traffic, |traffic| traffic.signals.delivered);
            let lost = sum(&traffic, |traffic| traffic.signals.lost + traffic.transit.signals_lost);
            (sent == delivered + lost).then_some(traffic)
        });
        let sent = sum(&traffic, |traffic| traffic.signals.sent);
        let passed = sum(&traffic, |traffic| traffic.transit.signals_forwarded);
        assert!(sent > 1_000 && passed > 0, "{traffic:?}");
        let wrong = sum(&traffic, |traffic| {
            traffic.transit.lost_hops + traffic.transit.lost_unknown
        });
        assert_eq!(wrong, 0, "{traffic:?}");
        links_account_for_what_they_carried(&colony);
        let lost = sum(&traffic, |traffic| traffic.transit.signals_lost);
        let agent = |node: &str, name: &str| colony.block_on(colony.patient(node).agent(name)).unwrap();
        let number = |node: &str| status.nodes.iter().find(|known| known.name == node).unwrap().number;
        let pairs = until("each pair accounts for its signals", || {
            let pairs: Vec<(PairCounts, PairCounts)> = FIVE
                .iter()
                .enumerate()
                .map(|(place, node)| {
                    let far = FIVE[(place + 2) % 5];
                    let (source, sink) = (agent(node, "source"), agent(far, "sink"));
                    (
                        account(&source, number(far), &sink),
                        account(&sink, number(node), &source),
                    )
                })
                .collect();
            let missing = pairs.iter().map(|(out, back)| out.sent - back.delivered - back.lost);
            (missing.sum::<u64>() == lost).then_some(pairs)
        });
        assert_eq!(pairs.iter().map(|(out, _)| out.sent).sum::<u64>(), sent);
        println!("{file}: {sent} sent, {passed} passed on, {lost} lost on the way");
    }
}

/// What an agent counts of its signals with another one.
fn account(agent: &AgentStatus, node: u64, other: &AgentStatus) -> PairCounts {
    let mut pairs = agent
        .accounts
        .as_ref()
        .expect("it was asked for by its name")
        .pairs
        .iter();
    let pair = pairs.find(|pair| (pair.node.0, pair.number) == (node, other.number));
    pair.map(|pair| pair.counts).unwrap_or_default()
}

/// What one end of each link has sent the other has received, once nothing is under way.
fn links_account_for_what_they_carried(colony: &Colony) {
    until("both ends of each link count the same", || {
        let traffic = colony.traffic();
        let link = |node: &str, peer: &str| {
            let links = &traffic[node].links;
            links
                .iter()
                .find(|link| link.peer == peer && link.role != LinkRole::Idle)
        };
        let same = traffic.iter().all(|(node, of_node)| {
            of_node.links.iter().all(|out| match link(&out.peer, node) {
                // Heartbeats go on: a few may be under way, or between the looks at both ends.
                Some(back) => out.sent.abs_diff(back.received) <= 200,
                None => true,
            })
        });
        same.then_some(())
    });
}

#[test]
fn seven_nodes_of_a_hierarchy_start_two_of_them_only_learn_and_go_on_when_their_parent_dies() {
    let mut colony = Colony::start_shipped("hierarchical-7", "tree-7", |_| {});
    let status = colony.links_settle("hierarchical:2", 5);
    let learners = status.nodes.iter().filter(|node| node.role == Role::Learner);
    assert_eq!(learners.map(|node| &*node.name).collect::<Vec<_>>(), ["n6", "n7"]);
    let seven = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    colony.puts_through(&seven, "then");
    // The parent of n6 and n7, which have no other link.
    colony.kill("n3");
    colony.puts_through(&["n1", "n2", "n4", "n5", "n6", "n7"], "without their parent");
    colony.start_node("n3");
    colony.links_settle("hierarchical:2", 5);
    colony.puts_through(&seven, "again");
    colony.same_digest();
}
