//! The verbs of `queenright bench` besides `run` and `list`, small: what they compare, find and count, and what they refuse.

use std::path::Path;
use std::process::Command;

use queenright_bench::report::{Report, Row};
use queenright_bench::results::Results;

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
    assert_eq!(Results::read(&out).unwrap().reports, [report.clone()]);
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
        "--load",
        "100",
        "--agents",
        "1",
    ]);
    assert_eq!(report.workload, "ab B3");
    for name in ["put rate, 1 agent, leader's node", "put latency, 1 clients over HTTP"] {
        let values = ["a", "b", "b/a"].map(|side| row(&report, &format!("{name}: {side}")).value);
        assert!(values.iter().all(|value| *value > 0.0), "{report}");
        assert!((values[1] / values[0] - values[2]).abs() < 1e-9, "{report}");
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
