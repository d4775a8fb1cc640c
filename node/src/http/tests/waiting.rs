//! Claims that wait at the door.

use std::time::Duration;

use queenright_bench::client::wire::{AcceptTask, AddTask, ClaimTasks, ClaimedTasks};
use queenright_bench::client::{Client, ClientError};
use queenright_protocol::colony::OFFER_MS;
use serde_json::json;
use tokio::task::JoinHandle;

use super::socket::{Served, served};
use super::*;

fn waiting(client: &Client, wait_ms: u64) -> JoinHandle<Result<ClaimedTasks, ClientError>> {
    let client = client.clone();
    let claim = ClaimTasks {
        wait_ms: Some(wait_ms),
        ..ClaimTasks::default()
    };
    tokio::spawn(async move { client.claim_tasks(&claim, None).await })
}

fn count(alone: &Alone) -> usize {
    use super::super::backend::Backend as _;
    let snapshot = alone.snapshot();
    let project = snapshot.colony.project("default");
    project.map_or(0, |project| {
        project.tasks().waits().filter(|(_, wait)| wait.is_waiting()).count()
    })
}

async fn until_waiting(alone: &Alone, wanted: usize) {
    while count(alone) != wanted {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn add(client: &Client) {
    let task = AddTask {
        title: "t".into(),
        ..AddTask::default()
    };
    client.add_tasks(vec![task], None).await.unwrap();
}

#[tokio::test]
async fn one_of_those_who_wait_is_answered_and_accepts_what_it_was_offered() {
    let Served { client, alone, .. } = served(DoorLimits::default()).await;
    let mut waiters: Vec<_> = (0..3).map(|_| waiting(&client, 60_000)).collect();
    until_waiting(&alone, 3).await;
    add(&client).await;
    let (answer, place, others) = futures::future::select_all(std::mem::take(&mut waiters)).await;
    let claimed = answer.unwrap().unwrap();
    assert!(place < 3 && claimed.tasks.len() == 1, "{claimed:?}");
    assert_eq!(claimed.accept_within_ms, Some(OFFER_MS));
    let accept = AcceptTask {
        fence: claimed.tasks[0].fence,
        token: claimed.token.unwrap(),
    };
    client.accept_task(claimed.tasks[0].task.0, &accept).await.unwrap();
    assert_eq!(count(&alone), 2);
    assert!(others.iter().all(|other| !other.is_finished()));
}

#[tokio::test]
async fn a_caller_that_goes_away_waits_no_more() {
    let Served { client, alone, .. } = served(DoorLimits::default()).await;
    let waiter = waiting(&client, 60_000);
    until_waiting(&alone, 1).await;
    waiter.abort();
    until_waiting(&alone, 0).await;
    add(&client).await;
    // What comes now is for whoever asks.
    let claimed = waiting(&client, 60_000).await.unwrap().unwrap();
    assert_eq!((claimed.tasks.len(), claimed.accept_within_ms), (1, None));
}

#[tokio::test]
async fn a_door_that_closes_answers_those_who_wait() {
    let Served {
        client,
        alone,
        stop,
        door,
    } = served(DoorLimits::default()).await;
    let waiter = waiting(&client, 60_000);
    until_waiting(&alone, 1).await;
    stop.send(()).unwrap();
    assert_eq!(waiter.await.unwrap().unwrap().tasks, []);
    door.await.unwrap().unwrap();
    until_waiting(&alone, 0).await;
}

#[tokio::test]
async fn those_who_wait_are_no_requests_at_work_and_are_bounded_by_themselves() {
    let limits = DoorLimits {
        requests: 2,
        followers: 2,
        ..DoorLimits::default()
    };
    let Served { client, alone, .. } = served(limits).await;
    let waiters = [waiting(&client, 60_000), waiting(&client, 60_000)];
    until_waiting(&alone, 2).await;
    let refused = waiting(&client, 60_000).await.unwrap().unwrap_err();
    let ClientError::Problem(problem) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(problem.detail, "the door has 2 callers who wait, which is its limit");
    add(&client).await;
    add(&client).await;
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().tasks.len(), 1);
    }
}

#[tokio::test]
async fn a_claim_waits_for_ready_tasks_only_and_not_for_ever() {
    let rig = Rig::new();
    let by_id = json!({ "ids": ["1-0"], "wait_ms": 5 });
    let detail = rig.post("/v1/tasks:claim", by_id).await.problem(400, "INVALID");
    assert_eq!(detail, "wait_ms: is for a claim of ready tasks");
    let long = rig.post("/v1/tasks:claim", json!({ "wait_ms": 60_001 })).await;
    assert_eq!(
        long.problem(413, "TOO_LARGE"),
        "wait_ms: 60001 is over the limit of 60000"
    );
    let plain = rig.post("/v1/tasks:claim", json!({ "wait_ms": 0 })).await.json();
    assert_eq!(plain["tasks"], json!([]));
}

#[tokio::test]
async fn the_policy_of_a_queue_is_set_and_shown() {
    let rig = Rig::new();
    let unknown = rig.post("/v1/queues/q", json!({ "policy": "loudest" })).await;
    assert!(unknown.problem(400, "INVALID").contains("least-loaded"), "{unknown:?}");
    rig.post("/v1/queues/q", json!({ "policy": "least-loaded" })).await;
    let queues = rig.get("/v1/queues").await.json();
    assert_eq!(
        (&queues["queues"][0]["policy"], &queues["queues"][0]["waiting"]),
        (&json!("least-loaded"), &json!(0))
    );
}
