//! The routes of tasks.

use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_protocol::colony::{StateName, TaskId};
use reqwest::Method;
use serde::Serialize;

use super::request::path_of;
use super::wire::{
    AcceptTask, AcceptedTask, AddTask, AddTasks, AddedTasks, ChangeQueue, ClaimTasks, ClaimedTasks, Code, ControlTask,
    FinishTask, FinishedTask, HandOffTask, Loss, QueueList, QueueSet, TaskList, TaskNow, UpdateTask, WireTask,
    WireTaskId,
};
use super::{CLAIM_WAIT_SLACK, Client, ClientError, TIMEOUT_GRACE};

/// Which tasks to list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TaskQuery {
    /// Only tasks in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
    /// Only tasks of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only the task of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only tasks of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only tasks with this label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Only tasks that a claim may take.
    pub ready: bool,
    /// Only tasks after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<WireTaskId>,
    /// At most this many; the door's own limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// With payloads, results and histories, up to the size of a body; the rest of the list is on the next page.
    pub whole: bool,
    /// How fresh.
    pub consistency: Consistency,
}

/// What came of a finish.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum FinishOutcome {
    /// The lease has ended as wanted.
    Finished(FinishedTask),
    /// Its proposal lost: nothing was changed, and the task is still the caller's.
    Lost(Loss),
}

impl Client {
    /// Adds tasks, at most 1,000.
    ///
    /// # Errors
    /// [`ClientError`]; a task of a name that is there already is none.
    pub async fn add_tasks(
        &self,
        tasks: Vec<AddTask>,
        idempotency_key: Option<&str>,
    ) -> Result<AddedTasks, ClientError> {
        let request = self.mutation(Method::POST, "/v1/tasks", idempotency_key)?;
        self.fetch(request.json(&AddTasks { tasks })).await
    }

    /// Claims tasks for a session: that of a token, or one that is opened for them. Waits for one if the claim says so.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `HELD` names in its details who holds a task that was claimed by its id. That no task
    /// was ready is none.
    pub async fn claim_tasks(
        &self,
        claim: &ClaimTasks,
        idempotency_key: Option<&str>,
    ) -> Result<ClaimedTasks, ClientError> {
        let request = self.mutation(Method::POST, "/v1/tasks:claim", idempotency_key)?;
        let request = match claim.wait_ms {
            // The wait comes on top of the time that the request itself may take.
            Some(wait_ms) => {
                let wait = Duration::from_millis(wait_ms) + CLAIM_WAIT_SLACK;
                request.timeout(wait + self.options.timeout + TIMEOUT_GRACE)
            }
            None => request,
        };
        self.fetch(request.json(claim)).await
    }

    /// Says that work on a task goes on.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `FENCED` says that the caller does not hold the task.
    pub async fn accept_task(&self, task: TaskId, accept: &AcceptTask) -> Result<AcceptedTask, ClientError> {
        let request = self.mutation(Method::POST, &format!("/v1/tasks/{task}:accept"), None)?;
        self.fetch(request.json(accept)).await
    }

    /// Says how far work on a task has come, and that it goes on.
    ///
    /// # Errors
    /// As [`Client::accept_task`].
    pub async fn update_task(&self, task: TaskId, update: &UpdateTask) -> Result<AcceptedTask, ClientError> {
        let request = self.mutation(Method::POST, &format!("/v1/tasks/{task}:update"), None)?;
        self.fetch(request.json(update)).await
    }

    /// Changes what becomes of a task: `cancel`, `pause`, `resume`, `approve`, `reject`, `requeue`, or `drop`.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `CONFLICT` says that the task is in no state for that, one of code `HELD` who holds it.
    pub async fn control_task(
        &self,
        task: TaskId,
        verb: &str,
        control: &ControlTask,
        idempotency_key: Option<&str>,
    ) -> Result<TaskNow, ClientError> {
        let request = self.mutation(Method::POST, &format!("/v1/tasks/{task}:{verb}"), idempotency_key)?;
        self.fetch(request.json(control)).await
    }

    /// Offers a task that the caller holds to somebody else, or takes the offer back.
    ///
    /// # Errors
    /// As [`Client::accept_task`].
    pub async fn hand_off_task(&self, task: TaskId, hand_off: &HandOffTask) -> Result<TaskNow, ClientError> {
        let request = self.mutation(Method::POST, &format!("/v1/tasks/{task}:handoff"), None)?;
        self.fetch(request.json(hand_off)).await
    }

    /// The queues that have open tasks or settings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn queues(&self, consistency: Consistency) -> Result<QueueList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/queues")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// Changes the settings of a queue.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change_queue(&self, queue: &str, change: &ChangeQueue) -> Result<QueueSet, ClientError> {
        let path = path_of("/v1/queues", "the queue", queue)?;
        let request = self.mutation(Method::POST, &path, None)?;
        self.fetch(request.json(change)).await
    }

    /// Ends the caller's lease of a task.
    ///
    /// # Errors
    /// As [`Client::accept_task`]; one of code `CONFLICT` says how the task was finished before. That the proposal lost
    /// is none.
    pub async fn finish_task(
        &self,
        task: TaskId,
        finish: &FinishTask,
        idempotency_key: Option<&str>,
    ) -> Result<FinishOutcome, ClientError> {
        let request = self.mutation(Method::POST, &format!("/v1/tasks/{task}:finish"), idempotency_key)?;
        match self.fetch(request.json(finish)).await {
            Ok(finished) => Ok(FinishOutcome::Finished(finished)),
            Err(ClientError::Problem(problem)) if problem.code == Code::Conflict => {
                let loss = serde_json::from_value::<Loss>(problem.details.clone());
                loss.map(FinishOutcome::Lost).map_err(|_| ClientError::Problem(problem))
            }
            Err(error) => Err(error),
        }
    }

    /// One task.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `NOT_FOUND`.
    pub async fn task(&self, task: TaskId, consistency: Consistency) -> Result<WireTask, ClientError> {
        let request = self.project_request(Method::GET, &format!("/v1/tasks/{task}"))?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// One page of a list of tasks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/tasks")?.query(query);
        self.fetch(request).await
    }
}
