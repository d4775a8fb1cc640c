//! What is wanted of tasks.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Caller, Fence, Need, QueueChange, TaskId, Terms, WaitId};
use crate::colony::proposal::Proposal;
use crate::colony::usage::Spent;

/// What is wanted of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TaskCommand {
    /// Add tasks.
    Add(Vec<NewTask>),
    /// Take tasks.
    Claim(Claim),
    /// Say that work goes on.
    Accept(Accept),
    /// End the caller's lease of a task.
    Finish(Finish),
    /// Say how far work has come.
    Update(Update),
    /// Change what becomes of a task from outside.
    Control(Control),
    /// Change the settings of a queue.
    Queue(QueueChange),
    /// Wait no more.
    Leave(Leave),
}

/// Changes what becomes of a task, by somebody who need not hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The task.
    pub task: TaskId,
    /// What is wanted.
    pub act: Act,
}

/// What is wanted of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Act {
    /// It is not to be done. One that is leased is cancelled by its owner, or at once by force.
    Cancel {
        /// Whether a leased one is taken from its owner.
        force: bool,
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// Nobody is to claim it until it is resumed; one that is leased is refused.
    Pause,
    /// It goes on.
    Resume,
    /// It may be done.
    Approve,
    /// It may not be done: it is cancelled.
    Reject {
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// One that has failed, was cancelled or is dead is to be done again. Its failures are forgotten, its attempts are not.
    Requeue,
    /// One that is finished in any way, and that no other needs, is forgotten.
    Drop,
    /// Its owner, who alone may say so, gives it to another by name: an agent or a session of that name. It stays with its owner until that one claims it by its id. `None` takes the offer back.
    HandOff {
        /// The fence of the owner's claim.
        fence: Fence,
        /// The owner.
        caller: Caller,
        /// To whom.
        to: Option<Arc<str>>,
    },
}

/// A task that is to be added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// What is to be done, for people.
    pub title: Arc<str>,
    /// What sort of work it is: claims may ask for kinds.
    pub kind: Option<Arc<str>>,
    /// What the owner needs to know.
    pub payload: Bytes,
    /// A name that no other task of the project has: adding it again adds nothing and is answered with the task that has
    /// it, whatever else it says, as long as that one is kept.
    pub name: Option<Arc<str>>,
    /// Where it queues, what it asks of a worker, what it waits for, and what happens when it fails.
    pub terms: Terms,
}

/// Takes tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Which tasks.
    pub which: Which,
    /// Who wants them.
    pub caller: Caller,
    /// From which queue, and what the worker can do.
    pub wants: Wants,
}

/// From which queue a claim takes ready tasks, and what the worker can do. A claim of ids needs none of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wants {
    /// The queue; [`super::QUEUE_DEFAULT`] when it does not say.
    pub queue: Option<Arc<str>>,
    /// What the worker is capable of, sorted and distinct.
    pub capabilities: Vec<Arc<str>>,
    /// Whether the tasks of a claim of ids may be taken from owners that have marked them for it, or that were not heard
    /// of for [`super::STALE_MS`].
    pub steal: bool,
    /// For how long a claim of ready tasks that finds none waits for one, in milliseconds of cluster time; not at all when it
    /// does not say, or says 0.
    pub wait_ms: Option<u64>,
}

/// Ends a claim that waits, or gives back what it was offered and has not taken. One that is over already is left as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leave {
    /// The claim.
    pub wait: WaitId,
    /// Who claimed.
    pub caller: Caller,
}

/// Which tasks a claim wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Which {
    /// These: all of them, or none and a refusal that names the first that is not pending.
    Ids(Vec<TaskId>),
    /// Those that are ready, best first.
    Ready {
        /// Of these kinds; of any when there is none.
        kinds: Vec<Arc<str>>,
        /// So many at most.
        limit: u32,
    },
}

/// Says that work goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accept {
    /// The task.
    pub task: TaskId,
    /// The fence of the claim.
    pub fence: Fence,
    /// Who holds it.
    pub caller: Caller,
}

/// Says how far work has come, and that it goes on. What it does not say stays as it was said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The task.
    pub task: TaskId,
    /// The fence of the claim.
    pub fence: Fence,
    /// Who holds it.
    pub caller: Caller,
    /// How much is done, in hundredths: up to 100.
    pub progress: Option<u8>,
    /// In words.
    pub note: Option<Arc<str>>,
    /// What the next attempt needs to go on from here, should this one not finish.
    pub checkpoint: Option<Bytes>,
    /// Whether others may take the task away.
    pub stealable: Option<bool>,
    /// What the attempt has used since its owner said so last.
    pub usage: Option<Spent>,
}

/// Ends the caller's lease of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// The task.
    pub task: TaskId,
    /// The fence of the claim.
    pub fence: Fence,
    /// Who holds it.
    pub caller: Caller,
    /// How it ends.
    pub ending: Ending,
    /// What came of it; a task that is given back has none.
    pub result: Bytes,
    /// A change of the memory in the same step: the task is done only if it commits, and stays leased if it loses.
    pub proposal: Option<Proposal>,
    /// What else belongs to the ending.
    pub with: FinishWith,
}

/// What belongs to some endings of a lease only, and what was used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinishWith {
    /// What went wrong, of a task that has failed.
    pub failure: Option<Failure>,
    /// What a task that is blocked needs from now on.
    pub needs: Vec<Need>,
    /// Tasks that are added in the same step, of a task that is done: at most [`super::FOLLOW_UPS_MAX`].
    pub follow_ups: Vec<NewTask>,
    /// The exit codes of the checks of a task that is done, in their order.
    pub checks: Vec<i32>,
    /// What the attempt has used since its owner said so last, however it ends.
    pub usage: Option<Spent>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether the task is to be tried again, if its terms allow that.
    pub retryable: bool,
    /// The class of the error: terms may name classes.
    pub class: Option<Arc<str>>,
    /// What happened, for people.
    pub message: Arc<str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.class {
            Some(class) => write!(f, "{class}: {}", self.message),
            None => write!(f, "{}", self.message),
        }
    }
}

/// How an owner ends its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The task is done.
    Done,
    /// The task has failed: for good, unless its failure says that it is to be tried again.
    Failed,
    /// The task is given back for others.
    Released,
    /// The task cannot go on until others are done.
    Blocked,
    /// The task is not to be done.
    Cancelled,
}
