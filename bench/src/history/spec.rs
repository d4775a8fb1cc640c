//! The sequential specification: what one operation after another does to keys, tasks and sessions, written anew from the
//! design and not from the colony's code.
//!
//! A key is a register with a revision that counts its changes, deletions too. A task is absent, waiting, leased or over;
//! a lease belongs to a session and ends with it at the latest. A session is absent, open or closed. It is the only thing
//! that may end although nobody asked for it: when its node is lost, and after a grace. No client sees when that is, so
//! from the first moment at which it may be, every operation meets a leased task and the session both ways.

use std::sync::Arc;
use std::time::Duration;

use super::operation::{Answer, End, Guard, Object, Operation, Outcome, Refusal, TaskStage, Write};
use super::record::Call;

/// How long an open session lives at least: it takes the grace to end, and its node is lost after it was opened. Cluster
/// time counts whole milliseconds, and is never faster than a clock.
const SESSION_LASTS: Duration = Duration::from_millis(30_000 - 2);

/// The specification, for the objects of one partition.
#[derive(Clone, Debug)]
pub struct Spec {
    keys: Vec<String>,
    tasks: Vec<String>,
    sessions: Vec<String>,
}

/// What all objects of a partition hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    keys: Vec<Register>,
    tasks: Vec<Task>,
    sessions: Vec<Session>,
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Register {
    revision: u64,
    value: Option<Arc<str>>,
}

/// How a task is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Task {
    stage: Stage,
    /// How many tasks of the partition were made before it.
    older: usize,
    attempts: u64,
    /// The newest fence that anybody was told.
    fence: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Stage {
    #[default]
    Absent,
    Waiting,
    Leased(Lease),
    Over {
        done: bool,
        /// That of the claim under which it ended.
        fence: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lease {
    by: Arc<str>,
    /// `None` when nobody was told yet: it is greater than all that anybody was told before.
    fence: Option<u64>,
    /// Before this time the session lives unless it is closed.
    until_ns: u64,
}

/// How a session is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Session {
    #[default]
    Absent,
    Open {
        /// Before this time it lives unless it is closed.
        until_ns: u64,
    },
    Closed,
}

impl Spec {
    /// The specification of the objects that these calls touch.
    pub fn of<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Spec {
        let (mut keys, mut tasks, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        for call in calls {
            for object in call.operation.objects() {
                match object {
                    Object::Key(key) => keys.push(key.to_owned()),
                    Object::Task(task) => tasks.push(task.to_owned()),
                    Object::Session(session) => sessions.push(session.to_owned()),
                }
            }
        }
        for names in [&mut keys, &mut tasks, &mut sessions] {
            names.sort_unstable();
            names.dedup();
        }
        Spec { keys, tasks, sessions }
    }

    /// Nothing was ever written.
    pub fn initial(&self) -> State {
        State {
            keys: vec![Register::default(); self.keys.len()],
            tasks: vec![Task::default(); self.tasks.len()],
            sessions: vec![Session::default(); self.sessions.len()],
        }
    }

    /// Adds to `next` each state that `call` may leave when it takes effect in `state` and before `before_ns`: when the
    /// first call was answered that has not taken effect yet. None if its outcome does not fit.
    pub fn steps(&self, state: &State, call: &Call, before_ns: u64, next: &mut Vec<State>) {
        let told = &call.outcome;
        let mut until_ns = 0;
        if let Operation::Claim { by, .. } | Operation::ClaimReady { by, .. } = &call.operation {
            match &state.sessions[place(&self.sessions, by)] {
                Session::Open { until_ns: until } if !session_seen_over(*until, before_ns, call) => until_ns = *until,
                _ => {
                    if matches!(told, Outcome::Unknown | Outcome::Refused(Refusal::SessionOver)) {
                        next.push(state.clone());
                    }
                    return;
                }
            }
        }
        match &call.operation {
            Operation::Get { .. } | Operation::Change { .. } | Operation::Propose { .. } => {
                let mut after = state.clone();
                let outcome = self.remember(&mut after, &call.operation);
                if fits(&call.operation, told, &outcome) {
                    next.push(after);
                }
            }
            Operation::Open { .. } | Operation::Close { .. } => next.extend(self.open_or_close(state, call, before_ns)),
            Operation::ClaimReady { among, by, .. } => self.give(state, among, (by, until_ns), (call, before_ns), next),
            Operation::AddTask { task, .. }
            | Operation::Claim { task, .. }
            | Operation::Accept { task, .. }
            | Operation::Finish { task, .. }
            | Operation::Look { task } => {
                let place = place(&self.tasks, task);
                let found = &state.tasks[place];
                let older = state.tasks.iter().filter(|task| task.stage != Stage::Absent).count();
                let mut met = vec![found.clone()];
                if found.may_have_run_out(before_ns) {
                    met.push(found.returned());
                }
                for mut task in met {
                    if task.hand_out(call, older, until_ns) {
                        let left = task == *found && call.outcome != Outcome::Unknown;
                        let mut after = state.clone();
                        after.tasks[place] = task;
                        next.push(after);
                        // An answer that fits a lease and leaves it as it was need not be tried without the lease, which may
                        // run out later, too.
                        if left {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Whether `call` can never take effect in `state` nor in any that follows: revisions, attempts and fences only grow,
    /// and a closed session stays closed.
    pub(super) fn is_past(&self, state: &State, call: &Call) -> bool {
        let revision = |key: &str| state.keys[place(&self.keys, key)].revision;
        match (&call.operation, &call.outcome) {
            (Operation::Get { key }, Outcome::Ok(Answer::Value { revision: told, .. }))
            | (Operation::Change { key, .. }, Outcome::Refused(Refusal::Condition { revision: told, .. })) => {
                revision(key) > *told
            }
            (Operation::Claim { task, by }, Outcome::Ok(Answer::Claimed { attempt, fence }))
            | (Operation::ClaimReady { by, .. }, Outcome::Ok(Answer::Given { task, attempt, fence })) => {
                let closed = state.sessions[place(&self.sessions, by)] == Session::Closed;
                let task = &state.tasks[place(&self.tasks, task)];
                closed || task.attempts >= *attempt || task.fence >= *fence
            }
            (Operation::Close { session, .. }, Outcome::Ok(Answer::Closed)) => {
                state.sessions[place(&self.sessions, session)] == Session::Closed
            }
            (
                Operation::Accept { task, fence, .. } | Operation::Finish { task, fence, .. },
                Outcome::Ok(Answer::Accepted | Answer::Finished),
            ) => {
                let task = &state.tasks[place(&self.tasks, task)];
                task.fence > *fence || matches!(task.stage, Stage::Over { .. })
            }
            (Operation::Look { task }, Outcome::Ok(Answer::Task { attempts, .. })) => {
                state.tasks[place(&self.tasks, task)].attempts > *attempts
            }
            _ => self
                .told_changes(call)
                .iter()
                .any(|(object, told)| *object < self.keys.len() && state.keys[*object].revision >= *told),
        }
    }

    /// The revisions and attempts that the answer of a call says it made, each with the place of its object, as
    /// [`State::changes`] has them.
    pub(super) fn told_changes(&self, call: &Call) -> Vec<(usize, u64)> {
        let task = |name: &str, attempt: u64| vec![(self.keys.len() + place(&self.tasks, name), attempt)];
        match (&call.operation, &call.outcome) {
            (Operation::Change { key, .. }, Outcome::Ok(Answer::Changed { revision })) => {
                vec![(place(&self.keys, key), *revision)]
            }
            (Operation::Propose { writes, .. }, Outcome::Ok(Answer::Committed { revisions })) => {
                let keys = writes.iter().map(|(key, _)| place(&self.keys, key));
                keys.zip(revisions.iter().copied()).collect()
            }
            (Operation::Claim { task: name, .. }, Outcome::Ok(Answer::Claimed { attempt, .. }))
            | (
                Operation::ClaimReady { .. },
                Outcome::Ok(Answer::Given {
                    task: name, attempt, ..
                }),
            ) => task(name, *attempt),
            _ => Vec::new(),
        }
    }

    /// The places of what a call touches, ascending, as [`State::changes`] has them. Two calls that touch nothing in common
    /// do the same in either order.
    pub(super) fn touched(&self, call: &Call) -> Vec<usize> {
        let objects = call.operation.objects();
        let after_tasks = self.keys.len() + self.tasks.len();
        let mut places: Vec<usize> = objects
            .iter()
            .map(|object| match object {
                Object::Key(key) => place(&self.keys, key),
                Object::Task(task) => self.keys.len() + place(&self.tasks, task),
                Object::Session(session) => after_tasks + place(&self.sessions, session),
            })
            .collect();
        // Which of two tasks is the older one depends on which was made first.
        if matches!(call.operation, Operation::AddTask { .. }) {
            places.push(after_tasks + self.sessions.len());
        }
        places
    }

    /// Executes an operation on keys.
    fn remember(&self, state: &mut State, operation: &Operation) -> Outcome {
        let executed = match operation {
            Operation::Get { key } => Ok(self.register(state, key).read()),
            Operation::Change { key, write, guard } => self.register(state, key).change(write, *guard),
            Operation::Propose { reads, writes } => self.propose(state, reads, writes),
            _ => unreachable!("the caller asks for operations on keys"),
        };
        executed.map_or_else(Outcome::Refused, Outcome::Ok)
    }

    fn register<'s>(&self, state: &'s mut State, key: &str) -> &'s mut Register {
        &mut state.keys[place(&self.keys, key)]
    }

    fn propose(
        &self,
        state: &mut State,
        reads: &[(String, u64)],
        writes: &[(String, Write)],
    ) -> Result<Answer, Refusal> {
        let mut stale: Vec<(String, u64)> = reads
            .iter()
            .map(|(key, read)| (key, read, self.register(state, key).revision))
            .filter(|(_, read, revision)| *read != revision)
            .map(|(key, _, revision)| (key.clone(), revision))
            .collect();
        if !stale.is_empty() {
            stale.sort_unstable();
            stale.dedup();
            return Err(Refusal::Lost {
                early: false,
                keys: stale,
            });
        }
        let mut after = state.clone();
        let mut revisions = Vec::with_capacity(writes.len());
        for (key, write) in writes {
            let register = self.register(&mut after, key);
            register.change(write, Guard::None)?;
            revisions.push(register.revision);
        }
        *state = after;
        Ok(Answer::Committed { revisions })
    }

    /// The state after a session was opened or closed, if the outcome of the call fits.
    fn open_or_close(&self, state: &State, call: &Call, before_ns: u64) -> Option<State> {
        let (told, mut after) = (&call.outcome, state.clone());
        let unknown = *told == Outcome::Unknown;
        match &call.operation {
            Operation::Open { session } => {
                let session = &mut after.sessions[place(&self.sessions, session)];
                let fits = *session == Session::Absent && (unknown || *told == Outcome::Ok(Answer::Opened));
                let lasts_ns = SESSION_LASTS.as_nanos() as u64;
                *session = Session::Open {
                    until_ns: call.invoked_ns.saturating_add(lasts_ns),
                };
                fits.then_some(after)
            }
            Operation::Close { session: name, .. } => {
                let session = &mut after.sessions[place(&self.sessions, name)];
                match session {
                    Session::Open { until_ns } if !session_seen_over(*until_ns, before_ns, call) => {
                        *session = Session::Closed;
                        let held = after.tasks.iter_mut().filter(|task| task.is_held_by(name));
                        held.for_each(|task| task.stage = Stage::Waiting);
                        (unknown || *told == Outcome::Ok(Answer::Closed)).then_some(after)
                    }
                    _ => (unknown || *told == Outcome::Refused(Refusal::SessionOver)).then_some(after),
                }
            }
            _ => unreachable!("the caller asks for sessions to be opened and closed"),
        }
    }

    /// Gives out the oldest of these tasks that waits. One whose lease may have run out may wait or not.
    fn give(
        &self,
        state: &State,
        among: &[String],
        (by, until_ns): (&str, u64),
        (call, before_ns): (&Call, u64),
        next: &mut Vec<State>,
    ) {
        let mut by_age: Vec<usize> = among.iter().map(|task| place(&self.tasks, task)).collect();
        by_age.sort_unstable_by_key(|place| state.tasks[*place].older);
        for place in by_age {
            let mut task = state.tasks[place].clone();
            let waits = task.stage == Stage::Waiting;
            if !waits && !task.may_have_run_out(before_ns) {
                continue;
            }
            let told = match &call.outcome {
                Outcome::Unknown => Some(None),
                Outcome::Ok(Answer::Given { task, attempt, fence }) if *task == self.tasks[place] => {
                    Some(Some((*attempt, *fence)))
                }
                _ => None,
            };
            if let Some(told) = told
                && task.grant(by, until_ns, told)
            {
                let mut after = state.clone();
                after.tasks[place] = task;
                next.push(after);
            }
            if waits {
                return;
            }
        }
        if matches!(call.outcome, Outcome::Unknown | Outcome::Ok(Answer::NoneReady)) {
            next.push(state.clone());
        }
    }

    /// The state in words, one line for each object.
    pub fn describe(&self, state: &State) -> Vec<String> {
        let keys = self.keys.iter().zip(&state.keys);
        let keys = keys.map(|(key, register)| format!("key {key}: {}", Outcome::Ok(register.clone().read())));
        let tasks = self.tasks.iter().zip(&state.tasks);
        let tasks = tasks.map(|(name, task)| format!("task {name}: {task:?}"));
        let sessions = self.sessions.iter().zip(&state.sessions);
        let sessions = sessions.map(|(name, session)| format!("session {name}: {session:?}"));
        keys.chain(tasks).chain(sessions).collect()
    }
}

impl State {
    /// The revisions and attempts that `after` has and this state has not, each with the place of its key or task: tasks
    /// come after the keys.
    pub(super) fn changes<'s>(&'s self, after: &'s State) -> impl Iterator<Item = (usize, u64)> {
        let keys = self.keys.iter().zip(&after.keys);
        let keys = keys.map(|(before, after)| (before.revision, after.revision));
        let tasks = self.tasks.iter().zip(&after.tasks);
        let tasks = tasks.map(|(before, after)| (before.attempts, after.attempts));
        let all = keys.chain(tasks).enumerate();
        all.filter(|(_, (before, after))| before != after)
            .map(|(place, (_, after))| (place, after))
    }
}

impl Lease {
    /// Whether the caller holds this lease: it is who claimed, and names the fence of the claim. `None` while nobody was
    /// told that fence, and it may be this one.
    fn is_held(&self, by: &str, fence: u64, newest_told: u64) -> Option<bool> {
        match self.fence {
            _ if *self.by != *by => Some(false),
            Some(held) => Some(held == fence),
            None if fence > newest_told => None,
            None => Some(false),
        }
    }
}

impl Task {
    fn may_have_run_out(&self, before_ns: u64) -> bool {
        matches!(&self.stage, Stage::Leased(lease) if lease.until_ns <= before_ns)
    }

    fn is_held_by(&self, session: &str) -> bool {
        matches!(&self.stage, Stage::Leased(lease) if *lease.by == *session)
    }

    fn returned(&self) -> Task {
        Task {
            stage: Stage::Waiting,
            ..self.clone()
        }
    }

    /// Executes an operation on this task, when `older` ones are there, by a session that lives until `until_ns` if it is a
    /// claim; `false` when the outcome of the call does not fit.
    fn hand_out(&mut self, call: &Call, older: usize, until_ns: u64) -> bool {
        let told = &call.outcome;
        let unknown = *told == Outcome::Unknown;
        let refusal = match (&call.operation, &self.stage) {
            (Operation::AddTask { .. }, Stage::Absent) => {
                (self.stage, self.older) = (Stage::Waiting, older);
                return unknown || *told == Outcome::Ok(Answer::Added);
            }
            (Operation::AddTask { .. }, _) => Refusal::Exists,
            (_, Stage::Absent) => Refusal::NoSuchTask,
            (Operation::Look { .. }, _) => return unknown || self.looks_as(told),
            (Operation::Claim { by, .. }, Stage::Waiting) => {
                let told = match told {
                    Outcome::Unknown => None,
                    Outcome::Ok(Answer::Claimed { attempt, fence }) => Some((*attempt, *fence)),
                    _ => return false,
                };
                return self.grant(by, until_ns, told);
            }
            (Operation::Claim { .. }, Stage::Leased(lease)) => Refusal::Held {
                by: lease.by.to_string(),
            },
            (Operation::Claim { .. }, Stage::Over { .. }) => Refusal::Over,
            (Operation::Accept { by, fence, .. } | Operation::Finish { by, fence, .. }, Stage::Leased(lease)) => {
                let (lease, held) = (lease.clone(), lease.is_held(by, *fence, self.fence));
                if *told == Outcome::Refused(Refusal::Fenced) {
                    return held != Some(true);
                }
                return held != Some(false) && self.go_on(call, lease, *fence);
            }
            (Operation::Finish { fence, .. } | Operation::Accept { fence, .. }, Stage::Over { fence: last, .. })
                if fence == last =>
            {
                Refusal::Over
            }
            (Operation::Accept { .. } | Operation::Finish { .. }, _) => Refusal::Fenced,
            _ => unreachable!("the caller asks for operations on one task"),
        };
        unknown || *told == Outcome::Refused(refusal)
    }

    /// The claim of a task that waits; `told` is the attempt and the fence that the claimant was told.
    fn grant(&mut self, by: &str, until_ns: u64, told: Option<(u64, u64)>) -> bool {
        self.attempts += 1;
        if let Some((attempt, fence)) = told {
            if attempt != self.attempts || fence <= self.fence {
                return false;
            }
            self.fence = fence;
        }
        self.stage = Stage::Leased(Lease {
            by: by.into(),
            fence: told.map(|(_, fence)| fence),
            until_ns,
        });
        true
    }

    /// The accept or finish of who holds the task.
    fn go_on(&mut self, call: &Call, mut lease: Lease, fence: u64) -> bool {
        self.fence = fence;
        lease.fence = Some(fence);
        let Operation::Finish { end, .. } = &call.operation else {
            self.stage = Stage::Leased(lease);
            return matches!(call.outcome, Outcome::Unknown | Outcome::Ok(Answer::Accepted));
        };
        self.stage = match end {
            End::Done | End::Failed => Stage::Over {
                done: *end == End::Done,
                fence,
            },
            End::Released => Stage::Waiting,
        };
        matches!(call.outcome, Outcome::Unknown | Outcome::Ok(Answer::Finished))
    }

    /// Whether a reader may be told this; it may be the first who is told the fence of a lease.
    fn looks_as(&mut self, told: &Outcome) -> bool {
        let Outcome::Ok(Answer::Task { attempts, stage }) = told else {
            return false;
        };
        let fits = match (&mut self.stage, stage) {
            (Stage::Waiting, TaskStage::Waiting) => true,
            (Stage::Leased(lease), TaskStage::Leased { by, fence }) => {
                let held = lease.is_held(by, *fence, self.fence);
                if held.is_none() {
                    (self.fence, lease.fence) = (*fence, Some(*fence));
                }
                held != Some(false)
            }
            (
                Stage::Over { done, fence },
                TaskStage::Over {
                    done: told,
                    fence: last,
                },
            ) => (*done, *fence) == (*told, *last),
            _ => false,
        };
        fits && self.attempts == *attempts
    }
}

impl Register {
    fn read(&mut self) -> Answer {
        Answer::Value {
            revision: self.revision,
            value: self.value.as_deref().map(str::to_owned),
        }
    }

    fn change(&mut self, write: &Write, guard: Guard) -> Result<Answer, Refusal> {
        let holds = match guard {
            Guard::None => true,
            Guard::Absent => self.value.is_none(),
            Guard::Revision(revision) => self.revision == revision,
        };
        if !holds {
            return Err(Refusal::Condition {
                revision: self.revision,
                present: self.value.is_some(),
            });
        }
        self.value = match write {
            Write::Put(value) => Some(value.as_str().into()),
            Write::Delete => None,
            Write::Increment(step) => {
                let number = self.value.as_deref().map_or(Ok(0), str::parse::<i64>);
                let sum = number.ok().and_then(|number| number.checked_add(*step));
                Some(sum.ok_or(Refusal::WrongType)?.to_string().into())
            }
        };
        self.revision += 1;
        Ok(Answer::Changed {
            revision: self.revision,
        })
    }
}

/// Whether what a client was told of an operation on keys is what the operation does.
fn fits(operation: &Operation, told: &Outcome, outcome: &Outcome) -> bool {
    match (told, outcome) {
        (Outcome::Unknown, _) => true,
        (
            Outcome::Refused(Refusal::Lost { early: true, keys }),
            Outcome::Refused(Refusal::Lost { keys: newest, .. }),
        ) => {
            // What the node had applied was behind, so the proposal loses, and not ahead of the newest.
            let Operation::Propose { reads, .. } = operation else {
                return false;
            };
            let is_older = |key: &str, than: u64| reads.iter().any(|(read, revision)| read == key && *revision < than);
            !keys.is_empty()
                && keys.iter().all(|(key, told)| {
                    is_older(key, *told) && newest.iter().any(|(other, revision)| other == key && revision >= told)
                })
        }
        (told, outcome) => told == outcome,
    }
}

/// Whether a call was told that a session is over, which may have been so by itself.
fn session_seen_over(until_ns: u64, before_ns: u64, call: &Call) -> bool {
    call.outcome == Outcome::Refused(Refusal::SessionOver) && until_ns <= before_ns
}

fn place(names: &[String], name: &str) -> usize {
    let found = names.binary_search_by(|other| other.as_str().cmp(name));
    found.expect("the specification was made for the objects of these calls")
}
