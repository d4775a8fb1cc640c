//! The workloads that start clusters of this program, small: what they count and compare, not how fast they are.

use std::path::Path;

use queenright::git::generate::{GenerateOptions, generate};
use queenright_bench::Options;
use queenright_bench::report::Report;
use queenright_bench::workloads::workload;

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
