//! What a client asks for and what it is told, as far as the specification speaks of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Read a key.
    Get {
        /// The key.
        key: String,
    },
    /// Change a key.
    Change {
        /// The key.
        key: String,
        /// How.
        write: Write,
        /// When not.
        guard: Guard,
    },
    /// Change several keys at once, if what was read still holds.
    Propose {
        /// The keys that were read, with their revisions.
        reads: Vec<(String, u64)>,
        /// What changes, each key once.
        writes: Vec<(String, Write)>,
    },
    /// Make a task.
    AddTask {
        /// Its name, which no other task has.
        task: String,
        /// Its kind.
        kind: String,
    },
    /// Open a session, in which tasks may be claimed once this was answered.
    Open {
        /// Its name, which no other session has.
        session: String,
    },
    /// End a session: all that it holds waits again.
    Close {
        /// Its name.
        session: String,
        /// The names of all tasks that were ever claimed in it.
        among: Vec<String>,
    },
    /// Take a task.
    Claim {
        /// Its name.
        task: String,
        /// The session that is to hold it.
        by: String,
    },
    /// Take the oldest task of a kind that waits.
    ClaimReady {
        /// The kind.
        kind: String,
        /// The names of all tasks that are of this kind, or ever will be.
        among: Vec<String>,
        /// The session that is to hold it.
        by: String,
    },
    /// Say that work on a task goes on.
    Accept {
        /// Its name.
        task: String,
        /// The session that holds it.
        by: String,
        /// The fence of the claim.
        fence: u64,
    },
    /// Give a task back, done or not.
    Finish {
        /// Its name.
        task: String,
        /// The session that holds it.
        by: String,
        /// The fence of the claim.
        fence: u64,
        /// What becomes of it.
        end: End,
    },
    /// Read how a task is.
    Look {
        /// Its name.
        task: String,
    },
}

/// How a key changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// The value becomes this.
    Put(String),
    /// The value goes; the revision stays and grows.
    Delete,
    /// The value, a whole number, grows by this much; an absent one counts as 0.
    Increment(i64),
}

/// When a change of a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Never.
    None,
    /// When the key has a value.
    Absent,
    /// When the key has another revision.
    Revision(u64),
}

/// What becomes of a task that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It is done.
    Done,
    /// It has failed for good.
    Failed,
    /// Somebody else may claim it.
    Released,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect.
    Ok(Answer),
    /// It changed nothing, for this reason.
    Refused(Refusal),
    /// Nothing: it may take effect at any time after its invocation, or never.
    Unknown,
}

/// The answer to an operation that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What a key holds.
    Value {
        /// How often the key has been changed.
        revision: u64,
        /// Its value, if it has one.
        value: Option<String>,
    },
    /// A key was changed.
    Changed {
        /// How often the key has been changed, this time included.
        revision: u64,
    },
    /// The keys of a proposal were changed.
    Committed {
        /// The new revision of each, in the order of the writes.
        revisions: Vec<u64>,
    },
    /// A task was made.
    Added,
    /// A session was opened.
    Opened,
    /// A session was ended.
    Closed,
    /// A task was taken.
    Claimed {
        /// How often it has been taken, this time included.
        attempt: u64,
        /// The number that every later call of the owner carries.
        fence: u64,
    },
    /// The oldest task that waited was taken.
    Given {
        /// Its name.
        task: String,
        /// How often it has been taken, this time included.
        attempt: u64,
        /// The number that every later call of the owner carries.
        fence: u64,
    },
    /// No task of the kind waited.
    NoneReady,
    /// The session holds the task.
    Accepted,
    /// A task was given back.
    Finished,
    /// How a task is.
    Task {
        /// How often it has been taken.
        attempts: u64,
        /// Whether somebody holds it.
        stage: TaskStage,
    },
}

/// How a task is, as a reader is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStage {
    /// It waits to be taken.
    Waiting,
    /// A session holds it.
    Leased {
        /// Which.
        by: String,
        /// The fence of the claim.
        fence: u64,
    },
    /// It is done, or has failed.
    Over {
        /// Whether it is done.
        done: bool,
        /// The fence of the claim under which it ended.
        fence: u64,
    },
}

/// Why an operation changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The guard did not hold.
    Condition {
        /// The revision of the key.
        revision: u64,
        /// Whether it had a value.
        present: bool,
    },
    /// A read of a proposal did not hold any more.
    Lost {
        /// Whether the node refused it from what it had applied, without asking the others: then the revisions may be
        /// older than the newest ones.
        early: bool,
        /// The keys whose reads did not hold, with their revisions.
        keys: Vec<(String, u64)>,
    },
    /// The value is no whole number.
    WrongType,
    /// There is a task of this name already.
    Exists,
    /// There is no such task.
    NoSuchTask,
    /// A session has the task.
    Held {
        /// Which.
        by: String,
    },
    /// The session has ended, or there is none of this name.
    SessionOver,
    /// The task is done, or has failed: for a claim whoever ended it, for an owner under this very claim.
    Over,
    /// The caller does not hold the task, or names the fence of another claim.
    Fenced,
    /// The cluster did not take it: no quorum, a full queue, nobody there. Says nothing about the state.
    NotTaken,
}

impl Operation {
    /// What it touches: keys, tasks and sessions, each once, told apart by their kind.
    pub fn objects(&self) -> Vec<Object<'_>> {
        let mut objects: Vec<Object<'_>> = match self {
            Operation::Get { key } | Operation::Change { key, .. } => vec![Object::Key(key)],
            Operation::Propose { reads, writes } => {
                let reads = reads.iter().map(|(key, _)| Object::Key(key));
                reads.chain(writes.iter().map(|(key, _)| Object::Key(key))).collect()
            }
            Operation::Open { session } => vec![Object::Session(session)],
            Operation::Close { session, among } | Operation::ClaimReady { by: session, among, .. } => {
                let tasks = among.iter().map(|task| Object::Task(task));
                tasks.chain([Object::Session(session)]).collect()
            }
            Operation::Claim { task, by } => vec![Object::Task(task), Object::Session(by)],
            Operation::AddTask { task, .. }
            | Operation::Accept { task, .. }
            | Operation::Finish { task, .. }
            | Operation::Look { task } => vec![Object::Task(task)],
        };
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    /// Whether it never changes anything.
    pub fn only_reads(&self) -> bool {
        matches!(
            self,
            Operation::Get { .. } | Operation::Look { .. } | Operation::Accept { .. }
        )
    }

    /// Whether it may be left out of a history when it has no answer: nobody uses a session of which nobody was told.
    pub fn says_nothing_unanswered(&self) -> bool {
        self.only_reads() || matches!(self, Operation::Open { .. })
    }
}

/// What an operation touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object<'a> {
    /// A key of the memory.
    Key(&'a str),
    /// A task.
    Task(&'a str),
    /// A session.
    Session(&'a str),
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Key(key) => write!(f, "key {key}"),
            Object::Task(task) => write!(f, "task {task}"),
            Object::Session(session) => write!(f, "session {session}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Get { key } => write!(f, "get {key}"),
            Operation::Change { key, write, guard } => {
                write!(f, "{write} {key}")?;
                match guard {
                    Guard::None => Ok(()),
                    Guard::Absent => f.write_str(" if absent"),
                    Guard::Revision(revision) => write!(f, " if @{revision}"),
                }
            }
            Operation::Propose { reads, writes } => {
                f.write_str("propose")?;
                reads
                    .iter()
                    .try_for_each(|(key, revision)| write!(f, " read {key}@{revision}"))?;
                writes.iter().try_for_each(|(key, write)| write!(f, ", {write} {key}"))
            }
            Operation::AddTask { task, kind } => write!(f, "add task {task} of kind {kind}"),
            Operation::Open { session } => write!(f, "open {session}"),
            Operation::Close { session, .. } => write!(f, "close {session}"),
            Operation::Claim { task, by } => write!(f, "claim {task} for {by}"),
            Operation::ClaimReady { kind, by, .. } => write!(f, "claim any {kind} for {by}"),
            Operation::Accept { task, by, fence } => write!(f, "accept {task} by {by} with fence {fence}"),
            Operation::Finish { task, by, fence, end } => {
                write!(f, "finish {task} by {by} with fence {fence}: {end:?}")
            }
            Operation::Look { task } => write!(f, "look at {task}"),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Write::Put(value) => write!(f, "put {value:?}"),
            Write::Delete => f.write_str("delete"),
            Write::Increment(step) => write!(f, "add {step}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok(Answer::Value { revision, value }) => match value {
                Some(value) => write!(f, "{value:?} @{revision}"),
                None => write!(f, "nothing @{revision}"),
            },
            Outcome::Ok(Answer::Changed { revision }) => write!(f, "changed @{revision}"),
            Outcome::Ok(Answer::Committed { revisions }) => {
                f.write_str("committed")?;
                revisions.iter().try_for_each(|revision| write!(f, " @{revision}"))
            }
            Outcome::Ok(Answer::Added) => f.write_str("added"),
            Outcome::Ok(Answer::Opened) => f.write_str("opened"),
            Outcome::Ok(Answer::Closed) => f.write_str("closed"),
            Outcome::Ok(Answer::Claimed { attempt, fence }) => write!(f, "claimed, attempt {attempt}, fence {fence}"),
            Outcome::Ok(Answer::Given { task, attempt, fence }) => {
                write!(f, "given {task}, attempt {attempt}, fence {fence}")
            }
            Outcome::Ok(Answer::NoneReady) => f.write_str("none waits"),
            Outcome::Ok(Answer::Accepted) => f.write_str("accepted"),
            Outcome::Ok(Answer::Finished) => f.write_str("finished"),
            Outcome::Ok(Answer::Task { attempts, stage }) => write!(f, "{stage}, {attempts} attempts"),
            Outcome::Refused(refusal) => write!(f, "refused: {refusal}"),
            Outcome::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for TaskStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskStage::Waiting => f.write_str("it waits"),
            TaskStage::Leased { by, fence } => write!(f, "{by} has it with fence {fence}"),
            TaskStage::Over { done, fence } => {
                let how = if *done { "done" } else { "failed" };
                write!(f, "{how} with fence {fence}")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Condition { revision, present } => {
                let has = if *present { "a value" } else { "no value" };
                write!(f, "it has {has} @{revision}")
            }
            Refusal::Lost { early, keys } => {
                f.write_str(if *early { "lost early:" } else { "lost:" })?;
                keys.iter()
                    .try_for_each(|(key, revision)| write!(f, " {key}@{revision}"))
            }
            Refusal::WrongType => f.write_str("the value is no number"),
            Refusal::Exists => f.write_str("the task exists"),
            Refusal::NoSuchTask => f.write_str("no such task"),
            Refusal::Held { by } => write!(f, "{by} has it"),
            Refusal::SessionOver => f.write_str("the session is over"),
            Refusal::Over => f.write_str("the task is over"),
            Refusal::Fenced => f.write_str("fenced"),
            Refusal::NotTaken => f.write_str("not taken"),
        }
    }
}
