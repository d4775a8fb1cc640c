//! Claims that wait, at the doors of real nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{AcceptTask, AddTask, ClaimTasks, FinishTask, OpenSession, WireTaskId};
use queenright_bench::client::{Client, TaskQuery};
use queenright_protocol::colony::StateName;
use serde_json::json;

use crate::colony::{Colony, NODES, until};

/// How many wait in all, on all nodes.
const WAITERS: usize = 200;
/// How many tasks trickle in.
const TASKS: usize = 300;

/// A worker that waits for tasks at one node, and says which it has finished, until it is told to end.
async fn work(client: Client, name: String, over: Arc<AtomicBool>) -> Vec<WireTaskId> {
    let mut finished = Vec::new();
    let mut session: Option<String> = None;
    while !over.load(Ordering::SeqCst) {
        let token = match &session {
            Some(token) => token.clone(),
            None => {
                let open = OpenSession {
                    name: Some(name.as_str().into()),
                    // What it accepts when its node is killed returns this much after the restart, which grants it once more.
                    ttl_ms: Some(30_000),
                    ..OpenSession::default()
                };
                let Ok(opened) = client.open_session(&open, None).await else {
                    // Its node is down, or there is no leader.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                };
                session.insert(opened.token).clone()
            }
        };
        let claim = ClaimTasks {
            token: Some(token.clone()),
            wait_ms: Some(20_000),
            ..ClaimTasks::default()
        };
        let Ok(claimed) = client.claim_tasks(&claim, None).await else {
            session = None;
            continue;
        };
        for task in claimed.tasks {
            let accept = AcceptTask {
                fence: task.fence,
                token: token.clone(),
            };
            if client.accept_task(task.task.0, &accept).await.is_err() {
                continue;
            }
            let finish = FinishTask {
                fence: task.fence,
                token: token.clone(),
                result: json!(name),
                ..FinishTask::default()
            };
            let key = format!("{name}-{}-{}", task.task, task.fence);
            if client.finish_task(task.task.0, &finish, Some(&key)).await.is_ok() {
                finished.push(task.task);
            }
        }
    }
    finished
}

/// Adds a task, whose name makes it harmless to repeat, by a node that answers.
fn add(colony: &Colony, number: usize) {
    let task = AddTask {
        title: "t".into(),
        name: Some(format!("t{number}").into()),
        ..AddTask::default()
    };
    until("a task is added", || {
        let mut doors = ["n1", "n2"].into_iter();
        doors.find(|node| {
            let client = colony.client(node, "test");
            colony.block_on(client.add_tasks(vec![task.clone()], None)).is_ok()
        })
    });
}

/// How many tasks are done, as a node that answers knows.
fn done(colony: &Colony, node: &str) -> Option<u64> {
    let query = TaskQuery {
        limit: Some(1),
        consistency: Consistency::Local,
        ..TaskQuery::default()
    };
    let list = colony.block_on(colony.client(node, "test").tasks(&query)).ok()?;
    Some(list.states.get(&StateName::Done).copied().unwrap_or_default())
}

fn waiting(colony: &Colony) -> u64 {
    let queues = colony.block_on(colony.client("n1", "test").queues(Consistency::Local));
    let queues = queues.map(|list| list.queues).unwrap_or_default();
    queues.iter().map(|queue| queue.waiting).sum()
}

#[test]
fn of_two_hundred_who_wait_on_three_nodes_each_task_wakes_one_while_a_node_is_killed() {
    let mut colony = Colony::start("waiters");
    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WAITERS)
        .map(|number| {
            let client = colony.client(NODES[number % NODES.len()], "worker");
            colony.spawn(work(client, format!("w{number}"), over.clone()))
        })
        .collect();
    until("all wait", || (waiting(&colony) == WAITERS as u64).then_some(()));

    // One task wakes one: the others stay where they are.
    add(&colony, 0);
    until("it is done", || (done(&colony, "n1")? == 1).then_some(()));
    let list = colony.block_on(colony.client("n1", "test").tasks(&TaskQuery::default()));
    let task = list.unwrap().tasks.remove(0);
    assert_eq!((task.state, task.attempts), (StateName::Done, 1));

    for number in 1..TASKS {
        match number {
            _ if number == TASKS / 3 => colony.kill("n3"),
            _ if number == 2 * TASKS / 3 => colony.start_node("n3"),
            _ => {}
        }
        add(&colony, number);
    }
    until("all tasks are done", || {
        (done(&colony, "n1")? == TASKS as u64).then_some(())
    });
    over.store(true, Ordering::SeqCst);
    // Those who wait are answered when their time is over, or by what ends them.
    let mut by: BTreeMap<WireTaskId, usize> = BTreeMap::new();
    for worker in workers {
        let finished = colony.block_on(worker).unwrap();
        for task in finished {
            *by.entry(task).or_default() += 1;
        }
    }
    assert!(by.values().all(|times| *times == 1), "{by:?}");
    // A finish whose answer was lost with the node is nobody's here.
    assert!(by.len() <= TASKS && by.len() + 20 >= TASKS, "{}", by.len());
    colony.same_digest();
}

#[test]
fn a_task_that_nobody_accepts_comes_back_and_was_no_attempt() {
    let colony = Colony::start("offers");
    let client = colony.client("n2", "deaf");
    let claim = ClaimTasks {
        wait_ms: Some(30_000),
        ..ClaimTasks::default()
    };
    let waiter = colony.spawn(async move { client.claim_tasks(&claim, None).await });
    until("it waits", || (waiting(&colony) == 1).then_some(()));
    let added = colony.at("n1", &["task", "add", "t", "--json"]).with_code(0).json();
    let task = added["tasks"][0]["task"].as_str().unwrap().to_owned();
    let offered = colony.block_on(waiter).unwrap().unwrap();
    assert_eq!(offered.tasks[0].task.to_string(), task);
    // The next one waits for it, and its command line accepts at once.
    let claimed = colony
        .at("n3", &["task", "claim", "--wait", "30s", "--json"])
        .with_code(0)
        .json();
    assert_eq!(
        (&claimed["tasks"][0]["task"], &claimed["tasks"][0]["attempt"]),
        (&json!(task), &json!(1))
    );
    let shown = colony.at("n1", &["task", "show", &task, "--json"]).with_code(0).json();
    assert_eq!(
        (&shown["state"], &shown["lease"]["accepted"], &shown["history"]),
        (&json!("leased"), &json!(true), &serde_json::Value::Null)
    );
    let none = colony
        .at("n1", &["task", "claim", "--wait", "1", "--json"])
        .with_code(5);
    assert_eq!(none.json()["tasks"], json!([]));
}

#[test]
fn the_policy_of_a_queue_is_set_by_the_command_line() {
    let colony = Colony::start("policies");
    colony
        .at("n1", &["queue", "set", "ops", "--policy", "round-robin"])
        .with_code(0);
    let list = colony.at("n2", &["queue", "list", "--json"]).with_code(0).json();
    assert_eq!(list["queues"][0]["policy"], "round-robin");
    let line = crate::colony::refused(
        &mut colony.command_at("n1", &["queue", "set", "ops", "--policy", "loudest"]),
        2,
    );
    assert!(line.contains("loudest"), "{line}");
}
