//! The topologies side by side, small: what is counted and compared, not how fast it is.

use std::path::Path;
use std::process::{Command, Output};

use queenright_bench::Options;
use queenright_bench::report::Report;
use queenright_bench::results::Results;
use queenright_bench::rig::block_on;
use queenright_bench::topologies::table::SideBySide;
use queenright_bench::topologies::{Plan, Progress, compare};
use serde_json::Value;

fn options(data: &Path) -> Options {
    Options {
        program: env!("CARGO_BIN_EXE_queenright").into(),
        ..Options::full(data.to_owned())
    }
}

fn small() -> Plan {
    Plan {
        nodes: 3,
        kinds: ["ring", "star"].map(|kind| kind.parse().unwrap()).to_vec(),
        agents: 6,
        payload_bytes: 64,
        rates: vec![300],
        work_ms: 300,
        repeats: 1,
        seed: 7,
        changes: false,
        weather: None,
    }
}

fn value(report: &Report, name: &str) -> f64 {
    let row = report.rows.iter().find(|row| row.name == name);
    row.unwrap_or_else(|| panic!("no row {name}\n{report}")).value
}

#[test]
fn a_ring_and_a_star_of_three_are_compared_and_nothing_is_left() {
    let data = tempfile::tempdir().unwrap();
    let mut told: Vec<Progress> = Vec::new();
    let (plan, options) = (small(), options(data.path()));
    let compared = compare(&plan, &options, |progress| told.push(progress), std::future::pending());
    let report = block_on(compared).unwrap().expect("it was not interrupted");
    assert_eq!(report.workload, "topologies");
    assert_eq!(report.config["coincide"], serde_json::json!([]));
    assert!(
        told.iter().zip(0..).all(|(progress, done)| progress.done == done),
        "{told:?}"
    );
    assert_eq!(told.len() as u64, told[0].of);
    // A ring of three is a mesh: every message goes over one link. In a star leaves are two apart.
    assert_eq!(value(&report, "ring: hops of a message"), 1.0);
    let star = value(&report, "star: hops of a message");
    assert!((1.0..2.0).contains(&star), "{star}");
    for kind in ["ring", "star"] {
        for figure in [
            "closed loop: send to handler",
            "closed loop: goodput",
            "at 300/s: goodput",
            "at 300/s: to send to handler",
            "at 300/s: envelopes on links for a message",
            "at 300/s: bytes on links for a message",
            "puts: goodput",
            "puts: commit latency",
            "tasks: claim latency",
            "tasks: bytes on links for a task",
        ] {
            assert!(
                value(&report, &format!("{kind}: {figure}")) > 0.0,
                "{kind} {figure}\n{report}"
            );
        }
        let offered = report
            .rows
            .iter()
            .find(|row| row.name == format!("{kind}: at 300/s: goodput"));
        let counts = offered.unwrap().counts.unwrap();
        // Each of six agents has 50 a second for 0.3 s: what the plan says, to one for each agent.
        assert!(counts.add_up() && counts.sent.abs_diff(90) <= 6, "{counts:?}");
        assert_eq!(counts.lost, 0);
    }
    assert!(
        report.rows.iter().all(|row| row.at.contains_key("topology")),
        "{report}"
    );
    let table = SideBySide(&report).to_string();
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ring", "star"], "{table}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn a_star_converges_after_its_leaf_and_its_hub_were_killed_and_a_node_has_joined() {
    let data = tempfile::tempdir().unwrap();
    let plan = Plan {
        kinds: vec!["star".parse().unwrap()],
        work_ms: 100,
        changes: true,
        ..small()
    };
    let options = options(data.path());
    let compared = compare(&plan, &options, |_| {}, std::future::pending());
    let report = block_on(compared).unwrap().expect("it was not interrupted");
    for figure in [
        "kill the last node: until a write",
        "kill the last node: back until converged",
        "kill the first node: until a write",
        "kill the first node: back until converged",
        "join: until let in",
        "join: until caught up",
        "join: until converged",
    ] {
        assert!(value(&report, &format!("star: {figure}")) > 0.0, "{figure}\n{report}");
    }
    let joined = |what: &str| value(&report, &format!("star: join: until {what}"));
    assert!(joined("let in") <= joined("caught up") && joined("caught up") <= joined("converged"));
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn a_comparison_that_is_interrupted_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (told, began) = tokio::sync::oneshot::channel::<()>();
    let mut told = Some(told);
    // Once the first cluster is there.
    let progress = |progress: Progress| {
        if progress.done == 1 {
            let _ = told.take().map(|told| told.send(()));
        }
    };
    let options = options(data.path());
    let plan = small();
    let compared = compare(&plan, &options, progress, async {
        let _ = began.await;
    });
    assert!(block_on(compared).unwrap().is_none());
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

fn topologies(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
    command.args(["bench", "topologies"]).args(arguments).output().unwrap()
}

#[test]
fn a_simulation_says_so_in_every_row_and_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("simulated.json");
    let out = out.to_str().unwrap();
    let arguments = [
        "--simulate",
        "--nodes",
        "60",
        "--messages",
        "500",
        "--json",
        "--out",
        out,
    ];
    let ran = topologies(&arguments);
    assert!(ran.status.success(), "{ran:?}");
    let printed: Report = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(printed.title.starts_with("SIMULATION"));
    let marked = |row: &queenright_bench::report::Row| row.at["simulation"] == Value::Bool(true);
    assert!(printed.rows.iter().all(marked));
    assert_eq!(value(&printed, "mesh: hops of a message, mean"), 1.0);
    assert!(value(&printed, "ring: hops of a message, mean") > 10.0);
    assert_eq!(
        Results::read(out.as_ref()).unwrap().reports,
        std::slice::from_ref(&printed)
    );
    let again: Report = serde_json::from_slice(&topologies(&arguments).stdout).unwrap();
    assert_eq!(again.rows, printed.rows);
}

#[test]
fn what_cannot_be_compared_is_refused_with_its_flag_value_and_bound() {
    let check = |arguments: &[&str], expected: &str| {
        let ran = topologies(arguments);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&["--nodes", "2"], "--nodes: 2 is not 3 to 16");
    check(&["--nodes", "3", "--agents", "193"], "--agents: 193 is not 2 to 192");
    check(&["--payload", "8"], "--payload: 8 is not 41 to 1048576");
    check(&["--rates", "1000,0"], "--rates: 0 is not 1 to 1000000");
    check(&["--kinds", "ring,ring"], "--kinds: ring is named twice");
    check(&["--kinds", "line"], "\"line\" is not a topology");
    check(
        &["--seconds", "0.01"],
        "--seconds: milliseconds: 10 is not 100 to 600000",
    );
    check(&["--netns", "--loss", "51%"], "--loss: 51% is not 0% to 50%");
    check(&["--netns", "--delay", "2s"], "--delay: 2000 ms is not 0 to 1000 ms");
    check(&["--loss", "1%"], "--netns");
    check(&["--simulate", "--nodes", "1001"], "--nodes: 1001 is not 2 to 1000");
    check(&["--simulate", "--repeats", "2"], "cannot be used with");
}
