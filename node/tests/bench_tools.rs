//! The verbs of `queenright bench` besides `run` and `list`, small: what they compare, find and count, and what they refuse.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use queenright_bench::report::{Report, Row};
use queenright_bench::results::Results;
use rustix::process::{Pid, Signal, kill_process};

use crate::colony::{Slot, queenright, refused};

/// `queenright bench VERB` with its clusters in a folder.
fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = queenright(folder);
    command.arg("bench").args(arguments);
    command
}

/// Runs it to a good end, with `--json` and `--out`: both must say the same. Nothing but the file may be left.
#[track_caller]
fn reported(arguments: &[&str]) -> Report {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let out = folder.path().join("results.json");
    let mut command = bench(folder.path(), arguments);
    command.arg("--json").arg("--data").arg(&data).arg("--out").arg(&out);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(Results::read(&out).unwrap().reports, std::slice::from_ref(&report));
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "{said}");
    report
}

#[track_caller]
fn row<'r>(report: &'r Report, name: &str) -> &'r Row {
    let row = report.rows.iter().find(|row| row.name == name);
    row.unwrap_or_else(|| panic!("{name}\n{report}"))
}

#[track_caller]
fn is_usage(arguments: &[&str], said: &str) {
    let folder = tempfile::tempdir().unwrap();
    let line = refused(&mut bench(folder.path(), arguments), 2);
    assert!(line.contains(said), "{line}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn ab_runs_both_settings_and_gives_the_ratio_of_each_row() {
    let report = reported(&[
        "ab",
        "--a",
        "rounds.max=1",
        "--b",
        "rounds.max=512",
        "--pairs",
        "1",
        "--scale",
        "0.02",
        "--agents",
        "1",
    ]);
    assert_eq!(report.workload, "ab B3");
    for name in ["get latency, local", "write and sync 4 KiB"] {
        let values = ["a", "b", "b/a"].map(|side| row(&report, &format!("{name}: {side}")).value);
        assert!(values.iter().all(|value| *value > 0.0), "{report}");
        assert!((values[1] / values[0] - values[2]).abs() < 1e-9, "{report}");
    }
    // A busy machine may put nothing within some milliseconds.
    for side in ["a", "b"] {
        row(&report, &format!("put rate, 1 agent, leader's node: {side}"));
    }
    assert_eq!(report.config["b"][0], "rounds.max=512");
}

#[test]
fn ab_refuses_settings_and_workloads_that_it_cannot_compare() {
    is_usage(
        &["ab", "--a", "rounds.max=0", "--b", "rounds.max=1"],
        "side a: rounds.max: 0 is out of range (1 to 65536)",
    );
    is_usage(
        &["ab", "--b", "rounds.most=1"],
        "side b: unknown key \"most\" in [rounds]",
    );
    is_usage(
        &["ab", "--b", "limits.round_bytes=many"],
        "side b: limits.round_bytes: \"many\"",
    );
    is_usage(&["ab"], "a and b are set to the same: defaults");
    is_usage(
        &["ab", "--b", "rounds.max=1", "--workload", "B7"],
        "B7 starts no cluster",
    );
    is_usage(
        &["ab", "--b", "rounds.max=1", "--workload", "B99"],
        "no workload is called \"B99\"",
    );
}

#[test]
fn ramp_finds_a_rate_that_holds_and_shows_its_steps() {
    for (workload, nodes) in [("put", "3"), ("claim", "1"), ("signal", "3"), ("call", "3")] {
        let report = reported(&[
            "ramp",
            "--workload",
            workload,
            "--nodes",
            nodes,
            "--p99",
            "30s",
            "--from",
            "20",
            "--to",
            "40",
            "--seconds",
            "0.3",
        ]);
        let held = row(&report, "highest rate that holds");
        assert_eq!((held.value, held.unit.as_str()), (40.0, "ops/s"), "{report}");
        assert!(
            held.note
                .as_deref()
                .unwrap_or_default()
                .contains("the limit was not found"),
            "{report}"
        );
        for rate in ["20/s offered", "40/s offered"] {
            let counts = row(&report, rate).counts.unwrap();
            assert!(
                counts.add_up() && counts.sent == counts.delivered && counts.sent >= 5,
                "{report}"
            );
        }
        assert_eq!(report.workload, format!("ramp {workload}"));
        assert_eq!(report.config["complete"], true);
    }
}

#[test]
fn ramp_refuses_what_cannot_be_looked_for() {
    is_usage(
        &["ramp", "--from", "100", "--to", "99"],
        "--to: 99 is below --from = 100",
    );
}

#[test]
fn stress_checks_what_its_agents_were_told() {
    let report = reported(&[
        "stress",
        "--agents",
        "6",
        "--duration",
        "2500ms",
        "--ramp-up",
        "200ms",
        "--set",
        "rounds.max=64",
    ]);
    for checked in [
        "puts",
        "proposals that were committed",
        "tasks finished",
        "tasks added",
        "attempts of tasks",
        "counters of agents",
        "digests of nodes",
    ] {
        row(&report, &format!("checked: {checked}"));
    }
    assert_eq!(row(&report, "checked: counters of agents").value, 6.0);
    assert_eq!(row(&report, "checked: digests of nodes").value, 3.0);
    assert!(row(&report, "commands").value > 0.0, "{report}");
    assert!(row(&report, "commands").counts.unwrap().add_up(), "{report}");
    assert!(row(&report, "resident memory, n3").value > 1.0, "{report}");
    assert_eq!(report.config["settings"][0], "rounds.max=64");
    assert!(!report.config["seconds"].as_array().unwrap().is_empty(), "{report}");
}

#[test]
fn stress_ends_by_ctrl_c_with_its_report_and_leaves_no_process() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = bench(
        folder.path(),
        &[
            "stress",
            "--agents",
            "3",
            "--duration",
            "10m",
            "--ramp-up",
            "1ms",
            "--json",
        ],
    );
    command
        .arg("--data")
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The first second is there.
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("3 agents"), "{line}");
    let up = running(&data);
    assert!(
        up.len() > 4 || cfg!(not(target_os = "linux")),
        "the run, `up` and three nodes: {up:?}"
    );
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let drained = std::thread::spawn(move || std::io::read_to_string(said));
    let output = child.wait_with_output().unwrap();
    let said = drained.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.config["complete"], false);
    assert_eq!(row(&report, "checked: digests of nodes").value, 3.0);
    assert_eq!(running(&data), [] as [u32; 0]);
}

/// The processes whose command line names a folder.
fn running(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let numbers = std::fs::read_dir("/proc").into_iter().flatten();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let of_folder = |number: &u32| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    };
    numbers.filter(of_folder).collect()
}

#[test]
fn stress_refuses_settings_and_times_that_it_cannot_have() {
    is_usage(
        &["stress", "--set", "rounds.max=0"],
        "--set: rounds.max: 0 is out of range (1 to 65536)",
    );
}

#[test]
fn peers_puts_raw_tcp_beside_ours_and_says_what_is_not_installed() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("peers.json"));
    is_usage(
        &["peers", "--only", "etcd,tcp", "--workloads", "B13"],
        "--only: etcd has nothing beside B13",
    );
    // Nothing is installed on an empty path.
    let mut command = bench(folder.path(), &["peers", "--only", "erlang,tcp"]);
    command.args(["--workloads", "B13", "--rounds", "1", "--scale", "0.01", "--json"]);
    command
        .arg("--data")
        .arg(&data)
        .arg("--out")
        .arg(&out)
        .env("PATH", "/nonexistent");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("erlang: not installed: apt install erlang-base python3"),
        "{said}"
    );
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.config["left_out"][0]["peer"], "erlang");
    for what in ["128 B one way/s, 1 sender", "call p50 us, 1 caller"] {
        let sides = ["tcp", "ours beside tcp", "ours/tcp"].map(|side| row(&report, &format!("{what}: {side}")).value);
        assert!(
            (sides[1] / sides[0] - sides[2]).abs() < 1e-9 && sides[2] > 0.0,
            "{report}"
        );
    }
    let kept = Results::read(&out).unwrap();
    let kept: Vec<&str> = kept.reports.iter().map(|report| &*report.workload).collect();
    assert_eq!(kept, ["peers", "B13"]);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "{said}");
}
