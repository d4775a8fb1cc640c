//! The tasks of a project and the indexes over them: persistent maps, so that taking one costs O(log n).

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use super::{Attempt, State, StateName, Task, TaskId};
use crate::colony::command::ContentHash;
use crate::colony::digest::Digest;

/// How many pending and leased tasks a project may have.
pub const OPEN_TASKS_MAX: usize = 1_000_000;
/// How many bytes they may have, by [`Task::bytes`].
pub const OPEN_BYTES_MAX: u64 = 256 << 20;
/// How many finished tasks a project keeps; the oldest go.
pub const FINISHED_KEPT_MAX: usize = 262_144;
/// How many bytes of finished tasks a project keeps.
pub const FINISHED_BYTES_KEPT_MAX: u64 = 256 << 20;

const TASK_DIGEST: u8 = b't';

/// The tasks of a project.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    by_id: OrdMap<TaskId, Arc<Task>>,
    by_name: OrdMap<Arc<str>, TaskId>,
    ready: OrdSet<TaskId>,
    /// The pending tasks that have a kind; no kind without tasks.
    ready_by_kind: OrdMap<Arc<str>, OrdSet<TaskId>>,
    /// By the position of the command that finished them.
    finished: OrdSet<(u64, TaskId)>,
    open_bytes: u64,
    finished_bytes: u64,
    pub(crate) digest: Digest,
}

/// The canonical form of a task: what the digest covers.
#[derive(Serialize)]
struct Canonical<'a> {
    id: TaskId,
    title: &'a str,
    kind: &'a Option<Arc<str>>,
    payload: ContentHash,
    name: &'a Option<Arc<str>>,
    author: &'a str,
    added_ms: u64,
    state: &'a State,
    attempts: u32,
    history: &'a [Attempt],
}

impl Task {
    /// What it counts towards the limits: its texts and bytes, and a fixed share for the rest and for each attempt.
    pub fn bytes(&self) -> u64 {
        let result = match &self.state {
            State::Finished(finished) => finished.result.len(),
            State::Leased(lease) => lease.note.as_ref().map_or(0, |note| note.len()),
            State::Pending => 0,
        };
        let texts = [&self.kind, &self.name].into_iter().flatten().map(|text| text.len());
        (512 * (1 + self.history.len()) + self.title.len() + self.payload.len() + texts.sum::<usize>() + result) as u64
    }

    fn compute_digest(&self) -> Digest {
        let canonical = Canonical {
            id: self.id,
            title: &self.title,
            kind: &self.kind,
            payload: ContentHash::of(&self.payload),
            name: &self.name,
            author: &self.author,
            added_ms: self.added_ms,
            state: &self.state,
            attempts: self.attempts,
            history: &self.history,
        };
        Digest::of(TASK_DIGEST, &canonical)
    }
}

impl Tasks {
    /// A task.
    pub fn get(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.by_id.get(&id)
    }

    /// The task of this name.
    pub fn named(&self, name: &str) -> Option<TaskId> {
        self.by_name.get(name).copied()
    }

    /// All tasks that are kept, by id, from the first after `after` on.
    pub fn after(&self, after: Option<TaskId>) -> impl Iterator<Item = &Arc<Task>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.by_id.range((start, Unbounded)).map(|(_, task)| task)
    }

    /// How many tasks are kept.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many tasks are pending or leased.
    pub fn open(&self) -> usize {
        self.by_id.len() - self.finished.len()
    }

    /// How many tasks are pending.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The bytes of open and of finished tasks.
    pub fn bytes(&self) -> (u64, u64) {
        (self.open_bytes, self.finished_bytes)
    }

    /// The oldest pending task of these kinds; of any when there is none.
    pub fn oldest_ready(&self, kinds: &[Arc<str>]) -> Option<TaskId> {
        if kinds.is_empty() {
            return self.ready.get_min().copied();
        }
        let oldest = kinds.iter().filter_map(|kind| self.ready_by_kind.get(kind)?.get_min());
        oldest.min().copied()
    }

    /// Puts a task in, in place of what stood under its id.
    pub(crate) fn set(&mut self, mut task: Task) {
        self.remove(task.id);
        task.digest = task.compute_digest();
        self.digest.add(task.digest);
        if let Some(name) = &task.name {
            self.by_name.insert(name.clone(), task.id);
        }
        match &task.state {
            State::Pending => {
                self.ready.insert(task.id);
                if let Some(kind) = &task.kind {
                    self.ready_by_kind.entry(kind.clone()).or_default().insert(task.id);
                }
                self.open_bytes += task.bytes();
            }
            State::Leased(_) => self.open_bytes += task.bytes(),
            State::Finished(finished) => {
                self.finished.insert((finished.seq, task.id));
                self.finished_bytes += task.bytes();
            }
        }
        self.by_id.insert(task.id, Arc::new(task));
    }

    /// Takes a task out.
    pub(crate) fn remove(&mut self, id: TaskId) {
        let Some(task) = self.by_id.remove(&id) else { return };
        self.digest.subtract(task.digest);
        if let Some(name) = &task.name {
            self.by_name.remove(name);
        }
        match &task.state {
            State::Pending => {
                self.ready.remove(&id);
                if let Some(kind) = &task.kind
                    && let Some(ready) = self.ready_by_kind.get_mut(kind)
                {
                    ready.remove(&id);
                    if ready.is_empty() {
                        self.ready_by_kind.remove(kind);
                    }
                }
                self.open_bytes -= task.bytes();
            }
            State::Leased(_) => self.open_bytes -= task.bytes(),
            State::Finished(finished) => {
                self.finished.remove(&(finished.seq, id));
                self.finished_bytes -= task.bytes();
            }
        }
    }

    /// The oldest finished task, while more are kept than may be.
    pub(crate) fn over_kept(&self) -> Option<TaskId> {
        let over = self.finished.len() > FINISHED_KEPT_MAX
            || (self.finished_bytes > FINISHED_BYTES_KEPT_MAX && self.finished.len() > 1);
        self.finished.get_min().filter(|_| over).map(|(_, id)| *id)
    }

    /// How many tasks are in each state.
    pub fn count(&self, state: StateName) -> usize {
        match state {
            StateName::Pending => self.ready(),
            StateName::Leased => self.open() - self.ready(),
            StateName::Done | StateName::Failed => {
                let tasks = self.finished.iter().filter_map(|(_, id)| self.by_id.get(id));
                tasks.filter(|task| task.state.name() == state).count()
            }
        }
    }
}
