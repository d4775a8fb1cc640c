//! The first command of the README.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use queenright::git::generate::{GenerateOptions, generate};
use queenright::state::Registry;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::colony::{Ran, Slot, nobody_holds, queenright, until};

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

#[test]
fn a_demo_that_is_interrupted_or_killed_leaves_no_process() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let (data, registry) = (folder.path().join("data"), folder.path().join("queenright/running"));
    let running = || Registry::at(registry.clone()).running().unwrap().len();
    for signal in [Signal::INT, Signal::KILL] {
        // A fast demo may end before the signal reaches it: then it shows nothing, and another one is started.
        let hit = (0..10).any(|_| {
            let mut command = demo(folder.path(), folder.path(), "300");
            // A group of its own, as a shell gives it.
            let mut child = command
                .process_group(0)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            until("three nodes", || {
                (running() == 3 || child.try_wait().unwrap().is_some()).then_some(())
            });
            let sent = kill_process_group(Pid::from_raw(child.id() as i32).unwrap(), signal);
            let hit = !child.wait().unwrap().success();
            assert!(sent.is_ok() || !hit, "the demo failed by itself");
            until("the end of the nodes", || nobody_holds(&data).then_some(()));
            assert_eq!(running(), 0);
            std::fs::remove_dir_all(&data).unwrap();
            hit
        });
        assert!(hit, "ten demos ended before they could be interrupted");
    }
}
