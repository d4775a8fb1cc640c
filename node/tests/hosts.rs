//! Clusters on hosts of their own, which are network namespaces: every topology, under delay and loss, under kills and under
//! a split of the net, with clients that note what was acknowledged and a replay that must end equal. As root on Linux, by
//! name: `cargo test -p queenright --test hosts full -- --nocapture`, or `short` for a part of it.
//!
//! `HOSTS_NODES` says for how many nodes (`3,5,7`), of every topology; without it each has the number of the table.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
mod namespaces;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use queenright::certificates::{Validity, init};
use queenright::config::{Auth, Topology};
use queenright::git::generate::hard;
use queenright_actors::node::Role;
use serde_json::Value;

use crate::colony::{Colony, Ran, until};
use crate::namespaces::load::{Load, Notes, longest_gap, lost};
use crate::namespaces::{Beside, Hosts, Weather};

/// What the lines do in the scenario of that name: the round trip takes twice as long.
const ROUGH: Weather = Weather {
    delay: Duration::from_millis(20),
    loss_percent: 1.0,
};
/// From the same seed the same history is made.
const SEED: u64 = 7;
/// How long the net is split.
const SPLIT: Duration = Duration::from_secs(20);
/// How long there are writes at least: before something is done, between two such things, and after the last.
const CALM: Duration = Duration::from_secs(3);
const WRITES: Duration = Duration::from_secs(10);
/// How long a command of a node without a majority is given, in seconds.
const PATIENCE: &str = "3";
/// The file with the most nodes; clusters take the first of them.
const FILE: &str = "hierarchical-7";

/// What is done to a cluster while its clients write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Rough,
    Kills,
    Split,
}

/// One cluster of the matrix.
struct Cell {
    topology: Topology,
    nodes: usize,
    scenario: Scenario,
    /// How many commits are replayed meanwhile.
    commits: usize,
}

/// What came of it.
struct Outcome {
    notes: Vec<Notes>,
    /// From the end of all that was done until every node that was cut off or killed acknowledged a write again.
    back_after: Option<Duration>,
    /// From the end of the writes until all nodes had the same digest at the same position.
    equal_after: Duration,
    /// What was acknowledged and is not there.
    lost: Vec<String>,
    /// What else there is to say.
    remarks: Vec<String>,
}

impl Cell {
    fn name(&self) -> String {
        format!("hosts-{}-{}", self.topology, self.nodes)
    }

    fn run(&self) -> Outcome {
        let weather = match self.scenario {
            Scenario::Rough => ROUGH,
            Scenario::Kills | Scenario::Split => Weather::CLEAR,
        };
        let mut stage = Stage::start(self, weather);
        let load = Load::start(&stage.colony);
        thread::sleep(CALM);
        let replay = Replay::start(&stage.colony, self.commits);
        let mut remarks = Vec::new();
        let back_after = match self.scenario {
            Scenario::Rough => None,
            Scenario::Kills => Some(stage.kills(&mut remarks)),
            Scenario::Split => Some(stage.split(&load, &mut remarks)),
        };
        thread::sleep(CALM);
        remarks.push(replay.wait());
        thread::sleep(WRITES.saturating_sub(load.now()));
        if self.scenario == Scenario::Rough {
            remarks.push(stage.weather());
        }
        let notes = load.end(&stage.colony);
        let ended = Instant::now();
        stage.colony.same_digest();
        let equal_after = ended.elapsed();
        let lost = lost(&stage.colony, &notes);
        if let Some(told) = stage.told_apart.take() {
            remarks.extend(nothing_at_the_minority(&notes, &told));
        }
        Outcome {
            notes,
            back_after,
            equal_after,
            lost,
            remarks,
        }
    }
}

/// Which nodes were cut off, and from when to when, in the time of the load.
struct Apart {
    nodes: Vec<String>,
    from: Duration,
    to: Duration,
}

/// A cluster on its hosts. The nodes end before the hosts go.
struct Stage {
    colony: Colony,
    hosts: Hosts,
    told_apart: Option<Apart>,
}

impl Stage {
    /// The nodes are linked in TLS, and their doors ask for tokens, as beyond loopback they must.
    fn start(cell: &Cell, weather: Weather) -> Stage {
        let hosts = Hosts::new(cell.nodes, weather);
        let colony = Colony::start_file(FILE, &cell.name(), |_, config, folder| {
            config.topology = cell.topology;
            config.nodes.truncate(cell.nodes);
            hosts.take_in(config);
            config.auth = Auth::Token;
            config.tls = Some(folder.join("certificates"));
            init(config, &folder.join("certificates"), Validity::days(30)).unwrap();
            hosts.starter(folder)
        });
        Stage {
            colony,
            hosts,
            told_apart: None,
        }
    }

    /// Where the topology has its middle: the hub, or the root. Others have none.
    fn middle(&self) -> Option<String> {
        match self.colony.config().topology {
            Topology::Star | Topology::Hierarchical { .. } => Some("n1".to_owned()),
            Topology::Mesh | Topology::Ring => None,
        }
    }

    /// Some node that lives.
    fn witness(&self, but: &str) -> String {
        self.colony.names().into_iter().find(|node| node != but).unwrap()
    }

    /// Kills a node that neither leads nor stands in the middle, then the leader, then the hub or the root.
    fn kills(&mut self, remarks: &mut Vec<String>) -> Duration {
        let leader = self.colony.leader_at("n1", None);
        let middle = self.middle();
        let plain = self
            .colony
            .names()
            .into_iter()
            .rev()
            .find(|node| *node != leader && Some(node) != middle.as_ref());
        let mut longest = Duration::ZERO;
        let mut last = String::new();
        for (what, victim) in [("a node", plain), ("the leader", Some(leader)), ("the middle", middle)] {
            let Some(victim) = victim else { continue };
            // One that both leads and stands in the middle is killed once.
            if victim == last {
                remarks.push(format!("{what} is {victim} too"));
                continue;
            }
            self.colony.kill(&victim);
            let witness = self.witness(&victim);
            self.colony.leader_at(&witness, Some(&victim));
            thread::sleep(CALM);
            let back = Instant::now();
            self.colony.start_node(&victim);
            self.until_acknowledged(&victim);
            longest = longest.max(back.elapsed());
            remarks.push(format!("killed {what}, {victim}"));
            thread::sleep(CALM);
            last = victim;
        }
        longest
    }

    /// Splits the leader, and as many others as a minority of the voters may have, from the rest.
    fn split(&mut self, load: &Load, remarks: &mut Vec<String>) -> Duration {
        let leader = self.colony.leader_at("n1", None);
        let mut names = self.colony.names();
        // The leader first, then the first of the file: those that vote.
        names.sort_by_key(|node| *node != leader);
        let status = until("the voters", || self.colony.status("n1"));
        let votes = |role| matches!(role, Role::Leader | Role::Follower);
        let voters = status.nodes.iter().filter(|node| votes(node.role)).count();
        let minority = names[..(voters - 1) / 2].to_vec();
        let majority = &names[minority.len()..];
        self.hosts.split(&minority);
        let split = (Instant::now(), load.now());
        self.colony.leader_at(&majority[0], Some(&leader));
        self.colony
            .at(&majority[0], &["memory", "put", "of-the-majority", "1"])
            .with_code(0);
        for node in &minority {
            remarks.push(format!("{node}: {}", self.refusal(node)));
        }
        thread::sleep(SPLIT.saturating_sub(split.0.elapsed()));
        self.told_apart = Some(Apart {
            nodes: minority.clone(),
            from: split.1,
            to: load.now(),
        });
        self.hosts.heal();
        let healed = Instant::now();
        for node in &minority {
            self.until_acknowledged(node);
        }
        healed.elapsed()
    }

    /// What a node without a majority says to a write.
    fn refusal(&self, node: &str) -> String {
        let put = ["memory", "put", "of-the-minority", "1", "--timeout", PATIENCE];
        let refused = until("a refusal for want of a quorum", || {
            let ran = self.colony.at(node, &put);
            assert_ne!(ran.code, Some(0), "{node} took a write without a majority");
            (ran.code == Some(7)).then_some(ran)
        });
        assert!(
            refused.stderr.contains("no quorum answered this node within"),
            "{refused}"
        );
        assert!(refused.stderr.contains("nothing was changed"), "{refused}");
        format!("exit code 7, {}", refused.stderr.trim())
    }

    fn until_acknowledged(&self, node: &str) {
        until("the node acknowledges writes again", || {
            let ran = self.colony.at(node, &["memory", "put", &format!("again/{node}"), "1"]);
            (ran.code == Some(0)).then_some(())
        });
    }

    /// What the kernels of the hosts have seen of the weather: it must have been there.
    fn weather(&self) -> String {
        let nodes = self.colony.names();
        let connections: Vec<_> = nodes.iter().flat_map(|node| self.hosts.connections(node)).collect();
        let shortest = connections
            .iter()
            .map(|connection| connection.round_trip_ms)
            .fold(f64::MAX, f64::min);
        let sent_again: u64 = connections.iter().map(|connection| connection.sent_again).sum();
        assert!(
            !connections.is_empty() && shortest >= 2.0 * ROUGH.delay.as_secs_f64() * 1e3,
            "{shortest} ms"
        );
        assert!(sent_again > 0, "nothing was lost");
        format!(
            "by {}: {} ends of connections, shortest round trip {shortest:.1} ms, {sent_again} packets sent again",
            self.hosts.shaped_by(),
            connections.len()
        )
    }
}

/// No write that was asked for at the minority while it was alone was acknowledged there before the split was healed.
fn nothing_at_the_minority(notes: &[Notes], apart: &Apart) -> Option<String> {
    let of_minority = notes.iter().filter(|notes| apart.nodes.contains(&notes.node));
    let writes = of_minority.flat_map(|notes| &notes.acknowledged);
    let alone = writes.filter(|(asked, acknowledged)| *asked > apart.from && *acknowledged < apart.to);
    let count = alone.count();
    (count > 0).then(|| format!("FAILS: {count} writes were acknowledged without a majority"))
}

/// `queenright replay` of a generated repository, killed if the test ends before it.
struct Replay {
    child: Option<Child>,
    _ends_with_us: Beside,
}

impl Replay {
    fn start(colony: &Colony, commits: usize) -> Replay {
        let repository = colony.folder().join("hard");
        hard(&repository, SEED, commits).unwrap();
        let (repository, agents) = (repository.to_str().unwrap(), (2 * colony.names().len()).to_string());
        let mut command = colony.command_at("n1", &["replay", repository, "--json", "--agents", &agents]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        Replay {
            _ends_with_us: Beside::new(child.id()),
            child: Some(child),
        }
    }

    /// Waits for its end, and that every node ended with the tree that git has.
    fn wait(mut self) -> String {
        let output = self
            .child
            .take()
            .expect("it is waited for once")
            .wait_with_output()
            .unwrap();
        let report = Ran::from(output).with_code(0).json();
        assert_eq!(report["equal"], Value::Bool(true), "{report:#}");
        for node in report["nodes"].as_array().unwrap() {
            assert_eq!(node["equal"], Value::Bool(true), "{report:#}");
        }
        format!(
            "replay of {} commits equal on all nodes after {:.0} s",
            report["commits"],
            report["seconds"].as_f64().unwrap_or_default()
        )
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const HEAD: &str = "topology        nodes  scenario              ok  refused  unknown  longest gap  back after  equal after  \
                    lost  verdict";

/// A line of the table.
struct Line<'a>(&'a Cell, &'a Result<Outcome, String>);

impl Line<'_> {
    fn holds(&self) -> bool {
        let Line(_, outcome) = self;
        let fails = |remark: &String| remark.starts_with("FAILS");
        outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.lost.is_empty() && !outcome.remarks.iter().any(fails))
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(cell, outcome) = self;
        let scenario = match cell.scenario {
            Scenario::Rough => "20 ms, 1 % lost",
            Scenario::Kills => "kills",
            Scenario::Split => "split of 20 s",
        };
        write!(
            f,
            "{:<14}  {:>5}  {scenario:<16}",
            cell.topology.to_string(),
            cell.nodes
        )?;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(problem) => return write!(f, "  FAILS: {problem}"),
        };
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let acknowledged: usize = outcome.notes.iter().map(|notes| notes.acknowledged.len()).sum();
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        for (code, count) in outcome.notes.iter().flat_map(|notes| &notes.refused) {
            *refused.entry(code).or_default() += count;
        }
        write!(
            f,
            "  {acknowledged:>6}  {:>7}  {:>7}  {:>11}  {:>10}  {:>11}  {:>4}  {}",
            refused.values().sum::<u64>(),
            outcome.notes.iter().map(|notes| notes.unknown).sum::<u64>(),
            seconds(longest_gap(&outcome.notes)),
            outcome.back_after.map_or_else(|| "-".to_owned(), seconds),
            seconds(outcome.equal_after),
            outcome.lost.len(),
            if self.holds() { "holds" } else { "FAILS" },
        )?;
        if !refused.is_empty() {
            write!(f, "\n    refused: {refused:?}")?;
        }
        for remark in &outcome.remarks {
            write!(f, "\n    {remark}")?;
        }
        for lost in outcome.lost.iter().take(20) {
            write!(f, "\n    LOST: {lost}")?;
        }
        Ok(())
    }
}

/// Runs all cells, prints the table, and fails if one of them does not hold.
fn matrix(cells: Vec<Cell>) {
    let began = Instant::now();
    println!("{HEAD}");
    let mut failed = 0;
    for cell in &cells {
        let outcome = catch_unwind(AssertUnwindSafe(|| cell.run())).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic");
            text.lines().next().unwrap_or_default().to_owned()
        });
        let line = Line(cell, &outcome);
        failed += u32::from(!line.holds());
        println!("{line}");
    }
    println!(
        "{} clusters in {:.0} s; namespaces on one host, debug assertions: {}",
        cells.len(),
        began.elapsed().as_secs_f64(),
        cfg!(debug_assertions)
    );
    assert_eq!(failed, 0, "so many of {} clusters did not hold", cells.len());
}

/// The number of nodes of each topology when nobody says otherwise.
fn topologies() -> [(Topology, usize); 4] {
    [
        (Topology::Mesh, 3),
        (Topology::Star, 5),
        (Topology::Ring, 5),
        (Topology::Hierarchical { fan_out: 2 }, 7),
    ]
}

fn node_counts(default: usize) -> Vec<usize> {
    let Ok(text) = std::env::var("HOSTS_NODES") else {
        return vec![default];
    };
    let counts = text.split(',').map(|word| match word.trim().parse() {
        Ok(count @ 3..=7) => count,
        _ => panic!("HOSTS_NODES={text:?}: {word:?} is no number from 3 to 7"),
    });
    counts.collect()
}

#[test]
fn full_matrix_of_topologies_and_disturbances_loses_nothing() {
    let mut cells = Vec::new();
    for (topology, nodes) in topologies() {
        for nodes in node_counts(nodes) {
            for scenario in [Scenario::Rough, Scenario::Kills, Scenario::Split] {
                cells.push(Cell {
                    topology,
                    nodes,
                    scenario,
                    // A delay makes each of them last longer.
                    commits: if scenario == Scenario::Rough { 200 } else { 600 },
                });
            }
        }
    }
    matrix(cells);
}

#[test]
fn short_matrix_of_a_star_and_a_ring_loses_nothing() {
    let mut cells = Vec::new();
    for (topology, nodes) in [(Topology::Star, 3), (Topology::Ring, 5)] {
        for scenario in [Scenario::Rough, Scenario::Split] {
            cells.push(Cell {
                topology,
                nodes,
                scenario,
                commits: 60,
            });
        }
    }
    matrix(cells);
}
