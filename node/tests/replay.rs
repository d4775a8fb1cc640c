//! Real histories as the work of a swarm, on three processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use queenright::git::generate::hard;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::colony::{Colony, NODES, Ran, until};
use crate::git::git;

const SEED: u64 = 7;
pub(crate) const COMMITS: usize = 600;

/// A repository in which everything occurs that git allows, in the folder of a cluster.
pub(crate) fn repository(colony: &Colony) -> PathBuf {
    hard_in(colony.folder())
}

fn hard_in(folder: &Path) -> PathBuf {
    let repository = folder.join("hard");
    hard(&repository, SEED, COMMITS).unwrap();
    repository
}

pub(crate) fn replay(colony: &Colony, repository: &Path, arguments: &[&str]) -> Command {
    let mut command = colony.command();
    command.args(["replay", "--json", "--cluster"]);
    command.arg(&colony.config().file).arg(repository).args(arguments);
    command
}

/// Runs a replay, which must end equal on all nodes, and returns its report.
#[track_caller]
pub(crate) fn replayed(colony: &Colony, repository: &Path, arguments: &[&str]) -> Value {
    let report = Ran::of(&mut replay(colony, repository, arguments)).with_code(0).json();
    assert_eq!(report["equal"], true, "{report:#}");
    assert_eq!(report["events_complete"], true, "{report:#}");
    assert_eq!(report["events_compared"], report["events_expected"], "{report:#}");
    assert_eq!(report["proposals_committed"], report["commits"], "{report:#}");
    let nodes = report["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), NODES.len());
    for node in nodes {
        assert_eq!((&node["equal"], &node["problem"]), (&true.into(), &Value::Null));
        for same in ["seq", "digest", "tree_digest", "paths"] {
            assert_eq!(node[same], nodes[0][same], "{same}");
            assert!(!node[same].is_null(), "{same}");
        }
    }
    report
}

/// Compares what each node dumped with what git says itself.
fn check_dumps(folder: &Path, repository: &Path, revision: &str) {
    let expected = git(repository, &["ls-tree", "-r", "-z", "--full-tree", revision]);
    assert!(!expected.is_empty());
    for node in NODES {
        assert!(fs::read(folder.join(node)).unwrap() == expected, "{node} differs");
    }
}

/// The id of the commit at this place of the first-parent history, from 1.
fn nth_commit(repository: &Path, number: usize) -> String {
    let ids = git(repository, &["rev-list", "--first-parent", "--reverse", "HEAD"]);
    let ids = String::from_utf8(ids).unwrap();
    ids.lines().nth(number - 1).unwrap().to_owned()
}

#[test]
fn a_hard_history_ends_as_gits_tree_on_every_node_whoever_does_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let repository = hard_in(folder.path());
    let dumps = folder.path().join("dumps");
    let swarm = Colony::start("swarm");
    let dump = ["--agents", "24", "--dump", dumps.to_str().unwrap()];
    let report = replayed(&swarm, &repository, &dump);
    assert_eq!((&report["commits"], &report["agents"]), (&600.into(), &24.into()));
    assert_eq!(
        (&report["committed_before"], &report["agents_moved"]),
        (&0.into(), &0.into())
    );
    assert_eq!(report["commit_latency"]["samples"], 600);
    assert!(report["retries_per_commit"].as_f64().unwrap() < 3.0, "{report:#}");
    assert!(
        !report["first_attempt_conflicts"].as_object().unwrap().is_empty(),
        "nothing was contended"
    );
    check_dumps(&dumps, &repository, "HEAD");

    let again = replayed(&swarm, &repository, &dump);
    assert_eq!(
        (&again["committed_before"], &again["commits"]),
        (&600.into(), &600.into())
    );
    assert_eq!(again["proposals"], report["proposals"], "nothing was proposed again");
    assert_eq!(again["commit_latency"]["samples"], 0);
    assert_eq!(again["nodes"][0]["tree_digest"], report["nodes"][0]["tree_digest"]);

    // Only one of the two runs at a time.
    drop(swarm);
    let alone = Colony::start("alone");
    let report = replayed(&alone, &repository, &["--agents", "1"]);
    assert_eq!((&report["proposals"], &report["retries_max"]), (&600.into(), &0.into()));
    assert_eq!(report["first_attempt_conflicts"], serde_json::json!({}));
    assert_eq!(report["nodes"][0]["tree_digest"], again["nodes"][0]["tree_digest"]);
}

#[test]
fn the_oldest_commits_alone_end_as_the_tree_of_the_last_of_them_and_the_rest_goes_on_from_there() {
    let colony = Colony::start("oldest");
    let repository = repository(&colony);
    let dumps = colony.folder().join("dumps");
    let dump = ["--dump", dumps.to_str().unwrap()];
    let report = replayed(&colony, &repository, &["--commits", "100", dump[0], dump[1]]);
    let hundredth = nth_commit(&repository, 100);
    assert_eq!(
        (&report["commits"], &report["head"]),
        (&100.into(), &hundredth[..].into())
    );
    check_dumps(&dumps, &repository, &hundredth);

    let report = replayed(&colony, &repository, &dump);
    assert_eq!(
        (&report["commits"], &report["committed_before"]),
        (&600.into(), &100.into())
    );
    check_dumps(&dumps, &repository, "HEAD");

    // Another history in the same project is refused before anything is proposed.
    let other = colony.folder().join("other");
    hard(&other, SEED + 1, 30).unwrap();
    let before = colony.same_digest();
    let refused = Ran::of(&mut replay(&colony, &other, &[])).with_code(3);
    assert!(refused.stderr.contains("a replay of another history"), "{refused}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    assert_eq!(colony.same_digest(), before, "nothing was changed");
}

/// A replay under way, killed if the test ends before it.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.as_ref().unwrap().id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> Ran {
        Ran::from(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many commits are committed, as this node knows.
pub(crate) fn committed(colony: &Colony, node: &str) -> usize {
    let list = ["task", "list", "--limit", "1", "--json", "--consistency", "local"];
    let ran = colony.at(node, &list);
    match ran.code {
        Some(0) => ran.json()["finished"].as_u64().unwrap_or_default() as usize,
        _ => 0,
    }
}

#[test]
fn a_replay_survives_the_death_of_the_leader_and_ends_equal_on_the_node_that_died_too() {
    let mut colony = Colony::start("killed");
    let repository = repository(&colony);
    let leader = colony.leader_at("n1", None);
    let witness = NODES.into_iter().find(|node| *node != leader).unwrap();
    let mut replay = Running::start(replay(&colony, &repository, &["--agents", "24"]));
    until("a part of the replay", || {
        (committed(&colony, witness) >= 60).then_some(())
    });
    assert!(!replay.has_ended());
    colony.kill(&leader);
    let next = colony.leader_at(witness, Some(&leader));
    assert_ne!(next, leader);
    colony.start_node(&leader);
    let report = replay.wait().with_code(0).json();
    assert_eq!(
        (&report["equal"], &report["commits"]),
        (&true.into(), &600.into()),
        "{report:#}"
    );
    assert_eq!(report["proposals_committed"], 600, "{report:#}");
    assert!(report["agents_moved"].as_u64() >= Some(8), "{report:#}");
    for node in report["nodes"].as_array().unwrap() {
        assert_eq!(node["equal"], true, "{report:#}");
        assert_eq!(node["tree_digest"], report["nodes"][0]["tree_digest"]);
    }
    colony.same_digest();
}

#[test]
fn when_the_node_that_a_history_is_loaded_through_dies_another_goes_on() {
    let mut colony = Colony::start("loading");
    let repository = repository(&colony);
    // The first of the cluster file is asked first.
    let (asked, witness) = ("n1", "n2");
    let loaded = |colony: &Colony| {
        let list = [
            "memory",
            "list",
            "replay/blob/",
            "--limit",
            "100",
            "--json",
            "--consistency",
            "local",
        ];
        let ran = colony.at(witness, &list);
        match ran.code {
            Some(0) => ran.json()["keys"].as_array().unwrap().len(),
            _ => 0,
        }
    };
    let replay = Running::start(replay(&colony, &repository, &["--agents", "6"]));
    until("a part of the contents", || (loaded(&colony) > 0).then_some(()));
    // Tasks come after all contents.
    assert_eq!(
        colony
            .at(witness, &["task", "list", "--json", "--consistency", "local"])
            .json()["tasks"],
        serde_json::json!([])
    );
    colony.kill(asked);
    colony.start_node(asked);
    let report = replay.wait().with_code(0).json();
    assert_eq!(
        (&report["equal"], &report["commits"]),
        (&true.into(), &600.into()),
        "{report:#}"
    );
    colony.same_digest();
}

#[test]
fn an_interrupted_replay_says_how_far_it_came_and_goes_on_when_it_is_run_again() {
    let colony = Colony::start("interrupted");
    let repository = repository(&colony);
    let running = Running::start(replay(&colony, &repository, &[]));
    until("a part of the replay", || {
        (committed(&colony, "n2") >= 40).then_some(())
    });
    running.signal(Signal::INT);
    let ran = running.wait().with_code(1);
    assert!(
        ran.stderr.contains("commits are committed; run again to go on"),
        "{ran}"
    );
    let agents = colony.at("n2", &["agent", "list", "--json"]).with_code(0).json();
    let working = |agent: &Value| {
        ["starting", "idle", "busy", "waiting"]
            .iter()
            .any(|state| agent["state"] == *state)
    };
    assert!(!agents["agents"].as_array().unwrap().iter().any(working), "{agents}");

    let report = replayed(&colony, &repository, &[]);
    assert!(report["committed_before"].as_u64() >= Some(40), "{report:#}");
}
