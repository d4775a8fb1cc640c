//! The failures of other tools, each by its name, through the doors of three real nodes: claims by one name that are
//! granted twice, stale workers that renew, give back or overwrite, acknowledgements that come late, claims and finishes
//! in parallel that lose each other, success for what does not exist.

use std::collections::BTreeSet;

use futures::future::join_all;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{
    AcceptTask, AddTask, ClaimTasks, ClaimedTasks, Code, FinishTask, WireEnding, WireTask, WireTaskId,
};
use queenright_bench::client::{ClientError, FinishOutcome, TaskQuery};
use queenright_protocol::colony::StateName;
use serde_json::Value;

use crate::colony::{Colony, NODES, until};

impl Colony {
    fn add_tasks(&self, count: usize) -> Vec<WireTaskId> {
        let task = |place: usize| AddTask {
            title: format!("task {place}").into(),
            ..AddTask::default()
        };
        let added = self.client("n1", "test");
        let added = self.block_on(added.add_tasks((0..count).map(task).collect(), None));
        added.unwrap().tasks.iter().map(|added| added.task).collect()
    }

    fn claim(&self, node: &str, task: WireTaskId, ttl_ms: u64) -> Result<ClaimedTasks, ClientError> {
        let claim = of(task, ttl_ms);
        let client = self.client(node, "same");
        self.block_on(client.claim_tasks(&claim, None))
    }

    fn accept(&self, node: &str, task: WireTaskId, held: &Hold) -> Result<(), ClientError> {
        let accept = AcceptTask {
            fence: held.fence,
            token: held.token.clone(),
        };
        let client = self.client(node, "same");
        self.block_on(client.accept_task(task.0, &accept)).map(|_| ())
    }

    fn finish(&self, node: &str, task: WireTaskId, held: &Hold, outcome: WireEnding) -> Result<(), ClientError> {
        let client = self.client(node, "same");
        let finished = self.block_on(client.finish_task(task.0, &held.finish(outcome, node), None))?;
        assert!(matches!(finished, FinishOutcome::Finished(_)));
        Ok(())
    }

    fn task_at(&self, node: &str, task: WireTaskId) -> WireTask {
        let client = self.client(node, "test");
        self.block_on(client.task(task.0, Consistency::Linearizable)).unwrap()
    }

    fn in_state(&self, node: &str, state: StateName) -> usize {
        let query = TaskQuery {
            state: Some(state),
            limit: Some(1_000),
            ..TaskQuery::default()
        };
        let client = self.client(node, "test");
        self.block_on(client.tasks(&query)).unwrap().tasks.len()
    }
}

/// What a claim gave.
struct Hold {
    token: String,
    fence: u64,
}

impl Hold {
    fn of(claimed: &ClaimedTasks) -> Hold {
        Hold {
            token: claimed.token.clone().expect("something was claimed"),
            fence: claimed.tasks[0].fence,
        }
    }

    fn finish(&self, outcome: WireEnding, result: &str) -> FinishTask {
        let released = outcome == WireEnding::Released;
        FinishTask {
            fence: self.fence,
            token: self.token.clone(),
            outcome,
            result: if released { Value::Null } else { result.into() },
            proposal: None,
            failure: None,
            needs: Vec::new(),
            follow_ups: Vec::new(),
            checks: Vec::new(),
            usage: None,
        }
    }
}

fn of(task: WireTaskId, ttl_ms: u64) -> ClaimTasks {
    ClaimTasks {
        ids: Some(vec![task]),
        ttl_ms: Some(ttl_ms),
        ..ClaimTasks::default()
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>, codes: &[Code]) {
    let error = answer.expect_err("it must be refused");
    assert!(error.code().is_some_and(|code| codes.contains(&code)), "{error}");
}

#[test]
fn eight_claims_of_one_task_by_one_name_have_one_winner() {
    let colony = Colony::start("double");
    for task in colony.add_tasks(10) {
        let claims = (0..8).map(|place| {
            let client = colony.client(NODES[place % NODES.len()], "same");
            async move { client.claim_tasks(&of(task, 60_000), None).await }
        });
        let claims = colony.block_on(join_all(claims));
        let (won, lost): (Vec<_>, Vec<_>) = claims.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7));
        lost.into_iter().for_each(|claim| refused(claim, &[Code::Held]));
    }
    colony.same_digest();
}

#[test]
fn a_stale_worker_can_neither_renew_nor_give_back_nor_overwrite_and_its_late_acknowledgement_is_refused() {
    let colony = Colony::start("stale");
    let task = colony.add_tasks(1)[0];
    let stale = Hold::of(&colony.claim("n1", task, 10_000).unwrap());
    // It stalls: its session ends, and another of the same name begins.
    until("the session ends", || {
        (colony.task_at("n2", task).state == StateName::Pending).then_some(())
    });
    let live = Hold::of(&colony.claim("n3", task, 60_000).unwrap());
    assert!(live.fence > stale.fence);
    // That its session is over says the same as that its fence is.
    let over = [Code::Fenced, Code::Expired];
    for node in NODES {
        refused(colony.accept(node, task, &stale), &over);
        for outcome in [WireEnding::Done, WireEnding::Failed, WireEnding::Released] {
            refused(colony.finish(node, task, &stale, outcome), &over);
        }
        // Neither does half of what the other has.
        let (token, fence) = (stale.token.clone(), live.fence);
        refused(colony.accept(node, task, &Hold { token, fence }), &over);
        let (token, fence) = (live.token.clone(), stale.fence);
        refused(colony.accept(node, task, &Hold { token, fence }), &[Code::Fenced]);
    }
    let leased = colony.task_at("n1", task);
    assert_eq!(
        (leased.state, leased.lease.unwrap().fence),
        (StateName::Leased, live.fence)
    );
    colony.accept("n2", task, &live).unwrap();
    colony.finish("n3", task, &live, WireEnding::Done).unwrap();
    for node in NODES {
        refused(colony.finish(node, task, &stale, WireEnding::Done), &over);
    }
    let done = colony.task_at("n2", task).finished.unwrap();
    assert_eq!((done.fence, &done.result), (live.fence, &"n3".into()));
    colony.same_digest();
}

#[test]
fn fifty_claims_at_once_leave_fifty_tasks_claimed() {
    let colony = Colony::start("fifty");
    let tasks = colony.add_tasks(50);
    let claims = tasks.iter().enumerate().map(|(place, task)| {
        let client = colony.client(NODES[place % NODES.len()], "same");
        async move { client.claim_tasks(&of(*task, 60_000), None).await }
    });
    let claims = colony.block_on(join_all(claims));
    let fences: BTreeSet<u64> = claims
        .iter()
        .map(|claim| Hold::of(claim.as_ref().unwrap()).fence)
        .collect();
    assert_eq!(fences.len(), 50);
    for node in NODES {
        assert_eq!(colony.in_state(node, StateName::Leased), 50);
    }
}

#[test]
fn twenty_finishes_at_once_finish_twenty_tasks_and_touch_no_other() {
    let colony = Colony::start("twenty");
    let tasks = colony.add_tasks(60);
    let holds: Vec<Hold> = tasks[..40]
        .iter()
        .map(|task| Hold::of(&colony.claim("n2", *task, 60_000).unwrap()))
        .collect();
    let finishes = tasks[..20].iter().zip(&holds).enumerate().map(|(place, (task, held))| {
        let client = colony.client(NODES[place % NODES.len()], "same");
        let finish = held.finish(WireEnding::Done, &task.to_string());
        async move { client.finish_task(task.0, &finish, None).await }
    });
    for finished in colony.block_on(join_all(finishes)) {
        finished.unwrap();
    }
    for node in NODES {
        let counts = [StateName::Done, StateName::Leased, StateName::Pending].map(|state| colony.in_state(node, state));
        assert_eq!(counts, [20, 20, 20]);
    }
    for task in &tasks[..20] {
        let finished = colony.task_at("n3", *task).finished.unwrap();
        assert_eq!(finished.result, task.to_string());
    }
    colony.same_digest();
}

#[test]
fn nothing_that_does_not_exist_is_claimed_renewed_or_finished() {
    let colony = Colony::start("unknown");
    let held = Hold {
        token: "t".to_owned(),
        fence: 1,
    };
    let unknown: WireTaskId = "999999-0".parse().unwrap();
    for node in NODES {
        refused(colony.claim(node, unknown, 60_000), &[Code::NotFound]);
        refused(colony.accept(node, unknown, &held), &[Code::NotFound]);
        for outcome in [WireEnding::Done, WireEnding::Failed, WireEnding::Released] {
            refused(colony.finish(node, unknown, &held, outcome), &[Code::NotFound]);
        }
        let shown = colony.client(node, "test");
        refused(
            colony.block_on(shown.task(unknown.0, Consistency::Linearizable)),
            &[Code::NotFound],
        );
    }
}
