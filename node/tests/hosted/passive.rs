//! Agents that are records while there is no task for them.

use queenright_bench::client::wire::AddTask;
use queenright_protocol::colony::StateName;
use serde_json::{Value, json};

use super::Rig;
use crate::colony::{NODES, until};
use crate::run::{add, titled, until_state};

fn until_passive(rig: &Rig, node: &str, name: &str) -> Value {
    until(&format!("{name} is passive"), || {
        Some(rig.agent(node, name)).filter(|agent| agent["state"] == "passive")
    })
}

/// How many agents of a node were woken so far.
fn woken(rig: &Rig, node: &str) -> u64 {
    let figures = rig.colony.client(node, "test");
    rig.colony.block_on(figures.figures()).unwrap().agents.woken
}

fn sessions(rig: &Rig) -> usize {
    let list = rig.colony.at("n1", &["session", "list", "--json"]).with_code(0).json();
    list["sessions"].as_array().unwrap().len()
}

#[test]
fn a_task_wakes_one_of_the_agents_that_are_passive_without_a_session() {
    let rig = Rig::start("exec-passive");
    let script = r#"cat > /dev/null; echo "\"$WHO\"""#;
    let names = ["e1", "e2", "e3"];
    for name in names {
        let who = format!("WHO={name}");
        let flags = ["--kind", "k", "--passivate-after", "0.3", "--environment", &who];
        rig.exec("n2", name, &flags, script);
    }
    // One who is awake elsewhere takes others.
    rig.exec("n3", "other", &["--kind", "other"], script);
    for name in names {
        until_passive(&rig, "n2", name);
    }
    until("the sessions are closed", || (sessions(&rig) == 1).then_some(()));
    let task = |kind: &str| {
        let task = AddTask {
            kind: Some(kind.into()),
            ..titled(kind, Value::Null)
        };
        add(&rig.colony, task)
    };
    let first = task("k");
    let done = until_state(&rig.colony, "n1", &first, StateName::Done);
    assert_eq!(done.finished.as_ref().unwrap().result["result"], json!("e1"));
    assert_eq!(done.attempts, 1);
    until_state(&rig.colony, "n1", &task("other"), StateName::Done);
    until_passive(&rig, "n2", "e1");
    assert_eq!(woken(&rig, "n2"), 1, "the others slept on");
    // It remembers what it has done, and is woken by others than tasks too.
    rig.colony.at("n2", &["agent", "nudge", "e1"]).with_code(0);
    let second = task("k");
    until_state(&rig.colony, "n3", &second, StateName::Done);
    let told = until_passive(&rig, "n2", "e1");
    let done: u64 = names
        .iter()
        .map(|name| rig.agent("n2", name)["report"]["done"].as_u64().unwrap())
        .sum();
    assert_eq!(
        (&told["generation"], &told["restarts"], done),
        (&json!(1), &json!(0), 2)
    );

    // A paused one is passed over.
    rig.colony.at("n2", &["agent", "pause", "e1"]).with_code(0);
    let third = task("k");
    let done = until_state(&rig.colony, "n3", &third, StateName::Done);
    assert_eq!(done.finished.as_ref().unwrap().result["result"], json!("e2"));
    for name in names {
        rig.colony.at("n2", &["agent", "stop", name]).with_code(0);
    }
    // Nobody is left who takes it.
    let fourth = task("k");
    until("all nodes know of it", || {
        let known = |node: &&str| rig.colony.at(node, &["task", "show", &fourth]).code == Some(0);
        NODES.iter().all(known).then_some(())
    });
    until_state(&rig.colony, "n2", &fourth, StateName::Pending);
    rig.workers.nothing_is_left();
}
