//! The tasks of a project and the indexes over them: persistent maps, so that taking one costs O(log n).

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use super::wait::{Wait, WaitId, Waits};
use super::{Attempt, Counts, QUEUE_DEFAULT, Queue, State, StateName, StoredQueue, Task, TaskId, Terms, Unmet};
use crate::colony::command::ContentHash;
use crate::colony::digest::Digest;
use crate::colony::image::PairProblem;
use crate::colony::usage::Usage;

/// How many tasks a project may have that are still to be done.
pub const OPEN_TASKS_MAX: usize = 1_000_000;
/// How many bytes they may have, by [`Task::bytes`].
pub const OPEN_BYTES_MAX: u64 = 1 << 30;
/// How many finished tasks a project keeps; the oldest go.
pub const FINISHED_KEPT_MAX: usize = 262_144;
/// How many bytes of finished tasks a project keeps.
pub const FINISHED_BYTES_KEPT_MAX: u64 = 256 << 20;
/// For how long a finished task is kept, in milliseconds of cluster time: a month. It goes with a later command.
pub const FINISHED_KEPT_MS: u64 = 30 * 24 * 3_600_000;

const TASK_DIGEST: u8 = b't';

/// The tasks of a project.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    by_id: OrdMap<TaskId, Arc<Task>>,
    by_name: OrdMap<Arc<str>, TaskId>,
    pub(crate) queues: OrdMap<Arc<str>, Queue>,
    /// Which tasks need one that they do not know to be done: (what is needed, what happens if it never is, by whom).
    dependants: OrdSet<(TaskId, bool, TaskId)>,
    /// The finished tasks that no other waits for, by the position of the command that finished them.
    droppable: OrdSet<(u64, TaskId)>,
    counts: [usize; StateName::ALL.len()],
    /// The claims that wait, or whose offers are not answered yet.
    pub(crate) waits: Waits,
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
    terms: &'a Terms,
    unmet: &'a [TaskId],
    counts: Counts,
    not_until_ms: u64,
    wakes_ms: Option<u64>,
    approved: &'a Option<Arc<str>>,
    checkpoint: ContentHash,
    usage: Usage,
}

impl Task {
    /// What it counts towards the limits: its texts and bytes, and a fixed share for the rest and for each attempt.
    pub fn bytes(&self) -> u64 {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let result = match &self.state {
            State::Finished(finished) => finished.result.len(),
            State::Leased(lease) => text(&lease.note) + text(&lease.cancel) + text(&lease.hand_off),
            State::Closed(closed) => closed.reason.len(),
            State::Pending | State::Blocked | State::AwaitingApproval | State::Paused { .. } => 0,
        };
        let texts = self.title.len() + text(&self.kind) + text(&self.name);
        let needs = self.terms.bytes() + 48 * self.unmet.len();
        let results = self.history.iter().map(|attempt| attempt.result.len());
        let fixed = 512 * (1 + self.history.len()) + results.sum::<usize>();
        (fixed + texts + self.payload.len() + self.checkpoint.len() + needs + result) as u64
    }

    /// The position of the command that finished it in any way.
    fn finished_seq(&self) -> Option<u64> {
        match &self.state {
            State::Finished(finished) => Some(finished.seq),
            State::Closed(closed) => Some(closed.seq),
            _ => None,
        }
    }

    /// Cluster time at which it was finished in any way, in milliseconds.
    fn finished_ms(&self) -> Option<u64> {
        match &self.state {
            State::Finished(finished) => Some(finished.at_ms),
            State::Closed(closed) => Some(closed.at_ms),
            _ => None,
        }
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
            terms: &self.terms,
            unmet: &self.unmet,
            counts: self.counts,
            not_until_ms: self.not_until_ms,
            wakes_ms: self.wakes_ms,
            approved: &self.approved,
            checkpoint: ContentHash::of(&self.checkpoint),
            usage: self.usage,
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

    /// Whether there is no task, no queue with settings, and no claim that waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.queues.is_empty() && self.waits.len() == 0
    }

    /// How many tasks are still to be done.
    pub fn open(&self) -> usize {
        let open = StateName::ALL.into_iter().filter(|state| state.is_open());
        open.map(|state| self.count(state)).sum()
    }

    /// How many tasks a claim may take.
    pub fn ready(&self) -> usize {
        self.queues.values().map(Queue::ready).sum()
    }

    /// The bytes of open and of finished tasks.
    pub fn bytes(&self) -> (u64, u64) {
        (self.open_bytes, self.finished_bytes)
    }

    /// How many tasks are in each state.
    pub fn count(&self, state: StateName) -> usize {
        self.counts[state as usize]
    }

    /// The queues that have open tasks or settings, by name.
    pub fn queues(&self) -> impl Iterator<Item = (&Arc<str>, &Queue)> {
        self.queues.iter()
    }

    /// One of them.
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// How many open tasks name a rate, and how many tokens one of them takes at most.
    pub(crate) fn uses_of_rate(&self, name: &str) -> (usize, u32) {
        let uses = self.queues.values().map(|queue| queue.uses_of_rate(name));
        uses.fold((0, 0), |all, one| (all.0 + one.0, all.1.max(one.1)))
    }

    /// A claim that waits, or whose offer is not answered yet.
    pub fn wait(&self, id: WaitId) -> Option<&Arc<Wait>> {
        self.waits.get(id)
    }

    /// All of them, oldest first.
    pub fn waits(&self) -> impl Iterator<Item = (WaitId, &Arc<Wait>)> {
        self.waits.iter()
    }

    /// Puts one in the place of what stood under its id, or takes it out. Its queue is made for it.
    pub(crate) fn set_wait(&mut self, id: WaitId, wait: Option<Wait>) {
        let before = self.waits.set(id, wait, &mut self.digest);
        let wait = self.waits.get(id).cloned();
        let Some(name) = before.as_ref().or(wait.as_ref()).map(|wait| wait.queue.clone()) else {
            return;
        };
        // An answered offer is no matter of its queue, which may be gone.
        if ![&before, &wait].into_iter().flatten().any(|wait| wait.is_waiting()) {
            return;
        }
        self.change_queue(&name, |queue| {
            if let Some(before) = &before {
                queue.waiting.remove(id, before);
            }
            if let Some(wait) = &wait {
                queue.waiting.insert(id, wait);
            }
        });
    }

    /// Puts back one that was stored, after the records of all queues. Says whether its queue is there.
    pub(crate) fn restore_wait(&mut self, id: WaitId, wait: Wait) -> bool {
        if wait.is_waiting() {
            let Some(queue) = self.queues.get_mut(&wait.queue) else {
                return false;
            };
            queue.waiting.insert(id, &wait);
        }
        self.waits.set(id, Some(wait), &mut self.digest);
        true
    }

    /// The task that a claim of these kinds gets from the default queue, if the worker has no capabilities; of any kind when
    /// there is none.
    pub fn oldest_ready(&self, kinds: &[Arc<str>]) -> Option<TaskId> {
        self.queue(QUEUE_DEFAULT)?.choose(kinds, &[])
    }

    /// The tasks that need this one and do not know it to be done.
    pub fn dependants(&self, id: TaskId) -> impl Iterator<Item = TaskId> {
        let first = TaskId { seq: 0, ordinal: 0 };
        let range = self.dependants.range((id, false, first)..);
        range.take_while(move |(need, ..)| *need == id).map(|(.., task)| *task)
    }

    /// What is to be done next for those that need this task, now that it is finished in some way: the next of them.
    pub(crate) fn next_released(&self, need: TaskId) -> Option<TaskId> {
        let first = TaskId { seq: 0, ordinal: 0 };
        // If it is not done, only those that are cancelled then.
        let cancelled_only = match self.by_id.get(&need)?.state.name() {
            StateName::Done => false,
            state if state.is_open() => return None,
            _ => true,
        };
        let next = self.dependants.range((need, cancelled_only, first)..).next();
        next.filter(|(found, ..)| *found == need).map(|(.., task)| *task)
    }

    /// The tasks that are finished in some way while others are still to be told.
    pub(crate) fn releasing(&self) -> impl Iterator<Item = TaskId> {
        let mut last = None;
        let needs = self.dependants.iter().map(|(need, ..)| *need);
        let distinct = needs.filter(move |need| last.replace(*need) != Some(*need));
        distinct.filter(|need| self.next_released(*need).is_some())
    }

    /// Puts a task in, in place of what stood under its id. Says whether the record of its queue changed.
    pub(crate) fn set(&mut self, task: Task) -> bool {
        self.take(task.id);
        let (task, changed) = self.put_in(task);
        self.tidy_queue(&task, changed)
    }

    /// Puts back a task that was stored, after the records of all queues. Says whether that of its queue knew of it.
    pub(crate) fn restore(&mut self, task: Task) -> bool {
        let (_, changed) = self.put_in(task);
        !changed
    }

    /// Puts a task in where none stands. Says whether its queue or its line is new, which the record does not say yet.
    fn put_in(&mut self, mut task: Task) -> (Arc<Task>, bool) {
        task.digest = task.compute_digest();
        self.digest.add(task.digest);
        if let Some(name) = &task.name {
            self.by_name.insert(name.clone(), task.id);
        }
        self.counts[task.state.name() as usize] += 1;
        let cancel = task.terms.unmet == Unmet::Cancel;
        for need in &task.unmet {
            self.dependants.insert((*need, cancel, task.id));
            self.not_droppable(*need);
        }
        let task = Arc::new(task);
        self.by_id.insert(task.id, task.clone());
        if let Some(seq) = task.finished_seq() {
            self.finished_bytes += task.bytes();
            if self.dependants(task.id).next().is_none() {
                self.droppable.insert((seq, task.id));
            }
            return (task, false);
        }
        self.open_bytes += task.bytes();
        let mut changed = !self.queues.contains_key(&task.terms.queue);
        let queue = self.queues.entry(task.terms.queue.clone()).or_default();
        queue.add_open(&task);
        if task.is_ready() {
            changed |= queue.add_ready(&task);
        }
        (task, changed)
    }

    /// Forgets a finished task.
    pub(crate) fn remove(&mut self, id: TaskId) {
        let removed = self.take(id);
        assert!(
            removed.is_none_or(|task| !task.is_open()),
            "only what is finished is forgotten"
        );
    }

    /// Takes out a task of a project that is being cleared away. Says whether the record of its queue changed.
    pub(crate) fn take_out(&mut self, id: TaskId) -> bool {
        let task = self.take(id).expect("the caller looked it up");
        self.tidy_queue(&task, false)
    }

    /// Takes out a queue without tasks, if there is one, and says which that was.
    pub(crate) fn remove_first_queue(&mut self) -> Option<Arc<str>> {
        let name = self.queues.get_min()?.0.clone();
        let queue = self.queues.remove(&name).expect("it was just found");
        self.digest.subtract(queue.digest);
        Some(name)
    }

    /// Takes a task out; its queue may be left with an empty line, or with nothing to say.
    fn take(&mut self, id: TaskId) -> Option<Arc<Task>> {
        let task = self.by_id.remove(&id)?;
        self.digest.subtract(task.digest);
        if let Some(name) = &task.name {
            self.by_name.remove(name);
        }
        self.counts[task.state.name() as usize] -= 1;
        let cancel = task.terms.unmet == Unmet::Cancel;
        for need in &task.unmet {
            self.dependants.remove(&(*need, cancel, id));
            self.droppable_again(*need);
        }
        if let Some(seq) = task.finished_seq() {
            self.finished_bytes -= task.bytes();
            self.droppable.remove(&(seq, id));
            return Some(task);
        }
        self.open_bytes -= task.bytes();
        let queue = self
            .queues
            .get_mut(&task.terms.queue)
            .expect("an open task has a queue");
        if task.is_ready() {
            queue.remove_ready(&task);
        }
        queue.remove_open(&task);
        Some(task)
    }

    /// Brings the record of a task's queue up to date; `changed` says whether it is out of date already.
    fn tidy_queue(&mut self, task: &Task, changed: bool) -> bool {
        let Some(queue) = self.queues.get_mut(&task.terms.queue) else {
            return changed;
        };
        let changed = queue.drop_empty_line(task) || queue.is_idle() || changed;
        if changed {
            self.sum_queue(&task.terms.queue);
        }
        changed
    }

    fn not_droppable(&mut self, need: TaskId) {
        if let Some(seq) = self.by_id.get(&need).and_then(|task| task.finished_seq()) {
            self.droppable.remove(&(seq, need));
        }
    }

    fn droppable_again(&mut self, need: TaskId) {
        let seq = self.by_id.get(&need).and_then(|task| task.finished_seq());
        if let Some(seq) = seq.filter(|_| self.dependants(need).next().is_none()) {
            self.droppable.insert((seq, need));
        }
    }

    /// Changes the record of a queue, which is made for it.
    pub(crate) fn change_queue<R>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Queue) -> R) -> R {
        let changed = change(self.queues.entry(name.clone()).or_default());
        self.sum_queue(name);
        changed
    }

    /// Brings the sum up to date with the record of a queue, which goes if it says nothing.
    fn sum_queue(&mut self, name: &Arc<str>) {
        let queue = self.queues.get_mut(name).expect("the caller changed it");
        self.digest.subtract(queue.digest);
        if queue.is_idle() {
            self.queues.remove(name);
            return;
        }
        queue.digest = queue.compute_digest(name);
        self.digest.add(queue.digest);
    }

    /// Puts back the record of a queue; its tasks follow. Says when it is to be looked at.
    pub(crate) fn restore_queue(&mut self, name: Arc<str>, stored: StoredQueue) -> Option<u64> {
        let queue = Queue::restore(&name, stored);
        self.digest.add(queue.digest);
        let owes_ms = queue.owes_ms;
        self.queues.insert(name, queue);
        owes_ms
    }

    /// What is wrong with what was restored, if anything is. While a project is cleared away, tasks go before those that
    /// need them.
    pub(crate) fn restored_badly(&self, clearing: bool) -> Option<PairProblem> {
        let wrong = |(name, queue): (&Arc<str>, &Queue)| {
            let owes = queue.owes_ms.is_some() && queue.waiting() == 0;
            (queue.has_empty_line() || queue.is_idle() || owes).then(|| PairProblem::Queue(name.clone()))
        };
        let unknown = || {
            let mut needs = self.dependants.iter().map(|(need, ..)| need);
            let unknown = needs.find(|need| !self.by_id.contains_key(*need));
            unknown.map(|need| PairProblem::Need(*need))
        };
        let wrong = self.queues.iter().find_map(wrong);
        wrong.or_else(|| unknown().filter(|_| !clearing))
    }

    /// The finished task that is to go first, while more are kept than may be, or for longer.
    pub(crate) fn over_kept(&self, now_ms: u64) -> Option<TaskId> {
        let (_, oldest) = self.droppable.get_min()?;
        let finished = self.len() - self.open();
        let over = finished > FINISHED_KEPT_MAX || (self.finished_bytes > FINISHED_BYTES_KEPT_MAX && finished > 1);
        let old = || {
            let at_ms = self.by_id[oldest].finished_ms();
            at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) > FINISHED_KEPT_MS)
        };
        (over || old()).then_some(*oldest)
    }
}
