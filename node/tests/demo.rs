//! The first command of the README.

use std::path::Path;
use std::process::Command;

use queenright::git::generate::{GenerateOptions, generate};
use queenright::state::Registry;
use serde_json::Value;

use crate::colony::{Ran, Slot, nobody_holds};
use crate::queenright;

fn demo(folder: &Path, here: &Path, commits: &str) -> Command {
    let mut command = queenright(folder);
    command
        .current_dir(here)
        .args(["demo", "--json", "--commits", commits, "--data"])
        .arg(folder.join("data"));
    command
}

#[track_caller]
fn check(folder: &Path, here: &Path, commits: usize, said: &str) {
    let ran = Ran::of(&mut demo(folder, here, &commits.to_string())).with_code(0);
    let report: Value = ran.json();
    assert_eq!(
        (&report["equal"], &report["agents"]),
        (&true.into(), &24.into()),
        "{ran}"
    );
    assert_eq!(report["commits"], commits, "{ran}");
    assert_eq!(report["nodes"].as_array().map(Vec::len), Some(3), "{ran}");
    assert!(report["repository"].as_str().unwrap().contains(said), "{ran}");
    assert!(nobody_holds(&folder.join("data")), "a node is left");
    let running = Registry::at(folder.join("queenright/running")).running();
    assert_eq!(running.unwrap(), []);
}

#[test]
fn outside_a_repository_the_demo_replays_a_generated_one_and_says_so() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("here");
    std::fs::create_dir(&here).unwrap();
    check(folder.path(), &here, 60, "generated (seed 1, 300 commits)");
    assert_eq!(
        std::fs::read_dir(&here).unwrap().count(),
        0,
        "the current folder stays as it is"
    );
}

#[test]
fn in_a_checkout_with_enough_history_the_demo_replays_that() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("here");
    generate(&here, GenerateOptions { seed: 3, commits: 50 }).unwrap();
    check(folder.path(), &here, 50, "this checkout");
}
