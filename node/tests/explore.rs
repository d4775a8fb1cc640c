//! A swarm of explorers on nodes: it finds its goal, every belief is accounted for, and nothing is left behind.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use queenright::state::Registry;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::colony::{Ran, Slot, nobody_holds, queenright, until};

fn explore(folder: &Path, more: &[&str]) -> Command {
    let mut command = queenright(folder);
    command
        .current_dir(folder)
        .args(["explore", "--json", "--grid", "8", "--agents", "12", "--data"])
        .arg(folder.join("data"))
        .args(more);
    command
}

#[track_caller]
fn ran(folder: &Path, more: &[&str]) -> Value {
    let ran = Ran::of(explore(folder, more).args(["--steps", "30"])).with_code(0);
    let report: Value = ran.json();
    let beliefs = |what: &str| report["beliefs"][what].as_u64().unwrap();
    assert_eq!(beliefs("sent"), 12 * 2 * 30, "{ran}");
    assert_eq!(
        beliefs("sent"),
        beliefs("delivered") + beliefs("refused") + beliefs("lost"),
        "{ran}"
    );
    assert_eq!((beliefs("refused"), beliefs("lost")), (0, 0), "{ran}");
    assert_eq!(report["entropy"].as_array().map(Vec::len), Some(30), "{ran}");
    assert!(nobody_holds(&folder.join("data")), "a node is left");
    let running = Registry::at(folder.join("queenright/running")).running();
    assert_eq!(running.unwrap(), []);
    report
}

#[test]
fn a_swarm_finds_its_goal_and_a_run_in_lock_step_follows_from_its_seed_on_any_number_of_nodes() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let one = ran(folder.path(), &["--nodes", "1"]);
    assert!(one["at_goal"].as_u64().unwrap() >= 11, "{one}");
    let svg = std::fs::read_to_string(folder.path().join("explore.svg")).unwrap();
    assert!(svg.contains("12 explorers, 30 steps, seed 1") && svg.ends_with("</svg>\n"));
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let three = ran(folder.path(), &["--topology", "star", "--svg", "three.svg"]);
    for same in ["entropy", "at_goal", "most_at_goal_after"] {
        assert_eq!(one[same], three[same], "{same}");
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("three.svg")).unwrap(), svg);
}

#[test]
fn explorers_at_their_own_pace_lose_no_belief() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let report = ran(folder.path(), &["--nodes", "2", "--free"]);
    assert_eq!(report["lockstep"], false);
    assert!(report["at_goal"].as_u64().unwrap() >= 9, "{report}");
}

#[test]
fn an_expedition_that_is_interrupted_leaves_no_node_and_no_empty_drawing() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let mut command = explore(folder.path(), &["--nodes", "1", "--steps", "2000"]);
    // A group of its own, as a shell gives it.
    let mut child = command
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("step ")), "it never walked");
    kill_process_group(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let last = said.last().unwrap();
    assert!(last.contains("INTERRUPTED"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    until("the end of the node", || {
        nobody_holds(&folder.path().join("data")).then_some(())
    });
    assert!(!folder.path().join("explore.svg").exists());
}

#[test]
fn what_cannot_be_is_a_usage_error_that_names_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    for (more, said) in [
        (["--grid", "25"], "--grid: 25 is not 2 to 24"),
        (["--policy-length", "5"], "--policy-length: 5 is not 1 to 4"),
        (["--trust", "1.5"], "--trust: 1.5 is not 0 to 1"),
        (["--agents", "0"], "--agents: 0 is not 1 to 32768"),
        (["--sites", "9"], "--sites: 9 is not 1 to 8"),
    ] {
        let mut command = queenright(folder.path());
        let ran = Ran::of(command.arg("explore").args(more)).with_code(2);
        assert!(ran.to_string().contains(said), "{ran}");
    }
}
