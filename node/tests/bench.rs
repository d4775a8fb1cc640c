//! The workloads that start clusters of this program, small: what they count and compare, not how fast they are.

use std::path::Path;

use queenright::git::generate::{GenerateOptions, generate};
use queenright_bench::report::{Percentiles, Report, Row};
use queenright_bench::results::Results;
use queenright_bench::workloads::workload;
use queenright_bench::{Options, claims};
use serde_json::Value;

use crate::colony::{Ran, queenright, refused};

fn small(data: &Path) -> Options {
    Options {
        repeats: 1,
        syncs: 20,
        program: env!("CARGO_BIN_EXE_queenright").into(),
        repository: data.join("repository"),
        cluster_repeats: 1,
        load_ms: 300,
        agents_max: 16,
        gets: 20,
        signals: 40_000,
        calls: 200,
        kills: 2,
        saturated_ms: 2_000,
        steady_ms: 20,
        active_agents: 600,
        passive_agents: 2_000,
        churn_ms: 300,
        ..Options::full(data.to_owned())
    }
}

/// Runs a workload: all that was sent must be accounted for, nothing lost, and its cluster must be gone.
fn check(id: &str, rows: &[&str]) {
    let report = ran(id, rows);
    let lost = report
        .rows
        .iter()
        .filter_map(|row| row.counts)
        .map(|counts| counts.lost);
    assert_eq!(lost.sum::<u64>(), 0, "{report}");
}

/// The same for one in which something may be lost.
fn ran(id: &str, rows: &[&str]) -> Report {
    let data = tempfile::tempdir().unwrap();
    let options = small(data.path());
    let history = GenerateOptions { seed: 1, commits: 60 };
    generate(&options.repository, history).unwrap();
    let report: Report = (workload(id).unwrap().run)(&options).unwrap();
    assert_eq!(report.workload, id);
    for name in rows {
        let row = report.rows.iter().find(|row| row.name == *name);
        assert!(row.is_some_and(|row| row.value > 0.0), "{name}\n{report}");
    }
    for claim in claims::TABLE.iter().filter(|claim| claim.workload == id) {
        let answers = |name: &&str| report.rows.iter().any(|row| row.name == *name);
        assert!(claim.rows.iter().any(answers), "no row answers {claim:?}\n{report}");
    }
    let counted = report.rows.iter().filter_map(|row| row.counts);
    counted.for_each(|counts| assert!(counts.add_up(), "{report}"));
    assert_eq!(
        std::fs::read_dir(data.path()).unwrap().count(),
        1,
        "only the repository is left"
    );
    report
}

#[test]
fn every_acknowledged_put_of_b3_is_there() {
    let rows = [
        "write and sync 4 KiB",
        "put rate, 1 agent, leader's node",
        "put latency, 1 agent, follower's node",
        "put rate, 16 agents",
        "put rate, 16 clients over HTTP",
        "get latency, linearizable, follower's node",
    ];
    check("B3", &rows);
}

#[test]
fn every_task_of_b2_is_handled_by_five_agents_and_committed() {
    let rows = [
        "project created and committed",
        "agent spawned over HTTP, 500 in turn",
        "agent spawned over HTTP, 100 at once",
        "a task to 5 agents, committed",
        "tasks handled and committed, 100 agents",
    ];
    check("B2", &rows);
}

#[test]
fn every_pack_of_b6_is_committed_and_its_vote_is_named_as_missing() {
    let rows = [
        "round of 1 packs, 3 nodes",
        "round of 50 packs, 3 nodes",
        "round of 10 packs, 5 nodes",
    ];
    let report = ran("B6", &rows);
    assert!(report.notes.iter().any(|note| note.contains("waits for motions")));
    assert!(!report.rows.iter().any(|row| row.name.contains("vote")), "{report}");
}

#[test]
fn readers_of_b9_never_see_less_than_was_acknowledged() {
    let rows = [
        "10 × current(), one thread, nobody writes",
        "read, 1000 readers, nobody writes",
        "read, 1000 readers, a writer commits",
        "put beside 1000 readers",
        "age of the newest put that a reader sees, writer's node",
        "age of the newest put that a reader sees, another node",
    ];
    check("B9", &rows);
}

#[test]
fn the_tasks_of_b15_are_done_by_more_agents_on_more_nodes_and_while_a_node_joins() {
    let rows = [
        "10 agents on 3 nodes",
        "efficiency, 10 agents on 3 nodes",
        "5 nodes, 16 agents",
        "efficiency, 5 nodes, 16 agents",
        "16 agents, 3 nodes, while a fourth joins",
        "16 agents afterwards, on 4 nodes",
        "a node that joins is caught up",
    ];
    check("B15", &rows);
}

#[test]
fn every_agent_of_b4_is_counted_as_what_it_is_and_found() {
    let rows = [
        "resident memory, 500 active agents",
        "spawn rate, active",
        "signals among active agents",
        "resident memory, 2000 passive agents",
        "signals that wake passive agents",
        "list among 2000 passive agents, one in a hundred by label",
        "short-lived agents",
        "short-lived agents, as fast as they come",
        "resident memory, short-lived agents, end",
    ];
    check("B4", &rows);
}

#[test]
fn every_event_of_b11_is_delivered_and_who_stops_reading_is_dropped() {
    let rows = [
        "delivery latency, 10 agents",
        "events, 64 puts at a time",
        "a subscriber that reads nothing is dropped after",
    ];
    check("B11", &rows);
}

#[test]
fn every_task_of_b5_is_won_once_and_finished_once() {
    let rows = [
        "claim, progress and finish rate, 1 agent",
        "claim, progress and finish rate, 10 agents",
        "claim rate, 16 agents",
        "claim and finish rate, 16 agents",
        "claim and finish, task latency, 16 agents",
        "race of 2 agents for one task",
        "race of 16 agents for one task",
        "second finish refused",
        "claim of an unknown id refused",
    ];
    check("B5", &rows);
}

#[test]
fn nothing_is_left_of_the_large_project_of_b18() {
    let rows = [
        "claim, apply alone, 1000 tasks and keys",
        "put over HTTP, 15000 tasks and keys",
        "15000 tasks of one session return",
        "a put of others, tasks return meanwhile",
        "a killed node serves reads again after",
        "the large project is cleared away on all nodes",
        "a put of others, the project is cleared away meanwhile",
    ];
    check("B18", &rows);
}

#[test]
fn no_signal_and_no_call_of_b13_is_lost() {
    let rows = [
        "one way, 1 sender",
        "one way, 8 senders to 8 agents",
        "one way, 8 senders to 1 agent",
        "on one node, 1,000 to 10 agents",
        "call latency, 1 caller",
        "call rate, 100 callers",
        "topics, 1 subscriber",
        "topics, 100 subscribers of 5 of 20 each, handed over",
        "look-up among 100 agents with 5 of 20 topics each",
    ];
    check("B13", &rows);
}

#[test]
fn all_explorers_of_b14_do_all_steps_and_hear_all_that_is_told() {
    let rows = [
        "1 node, 50 agents",
        "1 node, 50 agents: efficiency",
        "mesh of 3, 10 agents",
        "star of 3, 50 agents",
        "ring of 3, 5 agents",
        "hierarchical:2 of 3, 50 agents",
    ];
    check("B14", &rows);
}

#[test]
fn b16_ends_with_gits_tree_on_every_node() {
    check(
        "B16",
        &[
            "commits, 24 agents",
            "commit rate, 1 agent",
            "commit latency p99, 24 agents",
        ],
    );
}

#[test]
fn every_message_of_b1_is_handled_over_every_topology() {
    let rows = [
        "mesh, random peer, 64 B: send to handler",
        "star, random peer, 256 B: rate",
        "ring, next node, 1024 B: send to handler",
        "ring, random peer, 1024 B: rate",
        "hierarchical, random peer, 64 B: send to handler",
    ];
    check("B1", &rows);
}

#[test]
fn every_acknowledged_put_of_b19_outlives_the_kills() {
    let rows = [
        "mesh of 3, a follower, killed",
        "mesh of 3, the leader, killed",
        "star of 5, the leader, killed",
        "star of 5, the hub, killed",
    ];
    ran("B19", &rows);
}

#[test]
fn every_signal_of_the_saturated_ring_of_b20_is_accounted_for_and_commands_go_on() {
    let rows = [
        "signals over two links, all nodes",
        "put latency meanwhile, 1 agent",
        "call over two links afterwards",
    ];
    ran("B20", &rows);
}

/// A file of results in a folder.
fn results(folder: &Path) -> String {
    let spread = Percentiles {
        p50: 2.0,
        p90: 3.0,
        p99: 4.0,
        p999: 5.0,
        max: 60.0,
    };
    let mut report = Report::begin("B3", "memory", folder);
    report.rows = vec![
        Row::new("put rate, 16 agents", 4_730.0, "puts/s", 3)
            .at("what", "put rate")
            .at("agents", 16),
        Row::new("put rate, 64 agents", 9_292.0, "puts/s", 3)
            .at("what", "put rate")
            .at("agents", 64),
        Row::new("get latency, local", 2.0, "µs", 30).percentiles(spread),
    ];
    let path = folder.join("r.json");
    Results::new(vec![report]).write(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_page_is_made_of_results_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (results(folder.path()), folder.path().join("p.html"));
    let bench = |arguments: &[&str]| {
        let mut command = queenright(folder.path());
        command.arg("bench").args(arguments).arg("--out").arg(&out);
        command
    };
    let answer = Ran::of(&mut bench(&["page", &file, &file, "--json"]))
        .with_code(0)
        .json();
    assert_eq!(answer["reports"], 2);
    let html = std::fs::read_to_string(&out).unwrap();
    assert_eq!(answer["bytes"], html.len());
    assert_eq!(
        html.matches("<svg").count(),
        4,
        "a curve and a distribution of each report"
    );
    assert!(html.contains("put rate (puts/s) by agents") && html.contains("r.json"));
    std::fs::write(&out, "stays").unwrap();
    std::fs::write(folder.path().join("bad.json"), "{}").unwrap();
    let bad = folder.path().join("bad.json");
    let line = refused(&mut bench(&["page", &file, bad.to_str().unwrap()]), 1);
    assert!(line.contains("bad.json") && line.contains("missing field"), "{line}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "stays");
}

#[test]
fn claims_stand_beside_peers_and_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = results(folder.path());
    let claims = |arguments: &[&str]| {
        let mut command = queenright(folder.path());
        command.args(["bench", "claims"]).args(arguments);
        command
    };
    let all = Ran::of(&mut claims(&["--json"])).with_code(0).json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), claims::TABLE.len());
    assert!(all.iter().all(|claim| claim["not_measured"].is_string()));
    let all = Ran::of(&mut claims(&[&file, "--json"])).with_code(0).json();
    let measured: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|claim| claim["measured"].is_object())
        .collect();
    assert_eq!(measured.len(), 2, "{all}");
    assert!(measured.iter().all(|claim| claim["workload"] == "B3"));
    let text = String::from_utf8(Ran::of(&mut claims(&[&file])).with_code(0).stdout).unwrap();
    assert!(text.contains("put rate, 64 agents: 9292 puts/s"), "{text}");
    assert!(text.contains("not measured here: queenright bench run B5"), "{text}");
    let table = Ran::of(&mut claims(&[&file, "--markdown"])).with_code(0).stdout;
    assert!(String::from_utf8(table).unwrap().starts_with("| | claim |"));
    let line = refused(&mut claims(&["none.json"]), 1);
    assert!(line.contains("cannot read none.json"), "{line}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_profile_without_perf_says_what_to_install_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("b8.svg");
    let mut command = queenright(folder.path());
    command.args(["bench", "run", "B8", "--profile"]).arg(&svg);
    // No perf on this path.
    let line = refused(command.env("PATH", folder.path()), 1);
    assert!(line.contains("linux-perf") && line.contains("not installed"), "{line}");
    assert!(!svg.exists());
}

#[test]
fn every_task_of_b21_is_finished_once_by_threads_and_by_nodes() {
    let rows = [
        "1 thread of one process",
        "3 node processes",
        "overhead, 2 threads against as many nodes",
        "tasks added, in tens",
        "tasks claimed and finished, one by one",
        "utilisation, 20 tasks over 10 agents",
    ];
    check("B21", &rows);
}

#[test]
fn every_subscriber_of_b22_has_every_event_and_every_task_finds_a_claim_that_waits() {
    let rows = [
        "put latency, nobody follows",
        "put latency, 64 subscribers follow",
        "event latency",
        "event latency of the last of all",
        "task latency, from added to claimed",
    ];
    check("B22", &rows);
}
