//! The sequential specification: what one operation after another does to keys and tasks, written anew from the design
//! and not from the colony's code.
//!
//! A key is a register with a revision that counts its changes, deletions too. A task is absent, waiting, leased or done;
//! a lease is the only thing that changes without an operation: it may run out once its time is over, and then its task
//! waits again. When exactly cluster time says so no client can see, so every operation meets such a task both ways.

use std::sync::Arc;
use std::time::Duration;

use super::operation::{Answer, End, Guard, Object, Operation, Outcome, Refusal, Write};
use super::record::Call;

/// How much shorter than its time a lease may look from outside: cluster time counts whole milliseconds.
const LEASE_SLACK: Duration = Duration::from_millis(2);

/// The specification, for the objects of one partition.
#[derive(Clone, Debug)]
pub struct Spec {
    keys: Vec<String>,
    tasks: Vec<String>,
    lease_ns: u64,
}

/// What all objects of a partition hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    keys: Vec<Register>,
    tasks: Vec<Task>,
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
    attempts: u64,
    /// The newest fence that anybody was told.
    fence: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Stage {
    #[default]
    Absent,
    Waiting,
    Leased {
        by: Arc<str>,
        /// `None` when the owner was never told: nobody can give the task back then.
        fence: Option<u64>,
        /// Before this time the lease holds.
        until_ns: u64,
    },
    Done,
}

impl Spec {
    /// The specification of the objects that these calls touch. A claim holds for `lease`.
    pub fn of<'a>(calls: impl IntoIterator<Item = &'a Call>, lease: Duration) -> Spec {
        let (mut keys, mut tasks) = (Vec::new(), Vec::new());
        for call in calls {
            for object in call.operation.objects() {
                match object {
                    Object::Key(key) => keys.push(key.to_owned()),
                    Object::Task(task) => tasks.push(task.to_owned()),
                }
            }
        }
        for names in [&mut keys, &mut tasks] {
            names.sort_unstable();
            names.dedup();
        }
        let lease_ns = lease.saturating_sub(LEASE_SLACK).as_nanos();
        Spec {
            keys,
            tasks,
            lease_ns: u64::try_from(lease_ns).unwrap_or(u64::MAX),
        }
    }

    /// Nothing was ever written.
    pub fn initial(&self) -> State {
        State {
            keys: vec![Register::default(); self.keys.len()],
            tasks: vec![Task::default(); self.tasks.len()],
        }
    }

    /// Adds to `next` each state that `call` may leave when it takes effect in `state`; none if its outcome does not fit.
    pub fn steps(&self, state: &State, call: &Call, next: &mut Vec<State>) {
        let (now_ns, told) = (call.returned_ns.unwrap_or(u64::MAX), &call.outcome);
        match &call.operation {
            Operation::Get { .. } | Operation::Change { .. } | Operation::Propose { .. } => {
                let mut after = state.clone();
                let outcome = self.remember(&mut after, &call.operation);
                if fits(&call.operation, told, &outcome) {
                    next.push(after);
                }
            }
            Operation::AddTask { task } | Operation::Claim { task, .. } | Operation::Finish { task, .. } => {
                let place = place(&self.tasks, task);
                let found = &state.tasks[place];
                let mut met = vec![found.clone()];
                if matches!(found.stage, Stage::Leased { until_ns, .. } if until_ns <= now_ns) {
                    met.push(Task {
                        stage: Stage::Waiting,
                        ..found.clone()
                    });
                }
                for mut task in met {
                    if self.hand_out(&mut task, call) {
                        let mut after = state.clone();
                        after.tasks[place] = task;
                        next.push(after);
                    }
                }
            }
        }
    }

    /// Whether `call` can never take effect in `state` nor in any that follows: revisions, attempts and fences only grow.
    pub(super) fn is_past(&self, state: &State, call: &Call) -> bool {
        let revision = |key: &str| state.keys[place(&self.keys, key)].revision;
        match (&call.operation, &call.outcome) {
            (Operation::Get { key }, Outcome::Ok(Answer::Value { revision: told, .. }))
            | (Operation::Change { key, .. }, Outcome::Refused(Refusal::Condition { revision: told, .. })) => {
                revision(key) > *told
            }
            (Operation::Claim { task, .. }, Outcome::Ok(Answer::Claimed { attempt, fence })) => {
                let task = &state.tasks[place(&self.tasks, task)];
                task.attempts >= *attempt || task.fence >= *fence
            }
            _ => self
                .told_changes(call)
                .any(|(key, told)| state.keys[key].revision >= told),
        }
    }

    /// The revisions that the answer of a call says it made, each with the place of its key.
    pub(super) fn told_changes<'c>(&'c self, call: &'c Call) -> impl Iterator<Item = (usize, u64)> {
        let (one, many) = match (&call.operation, &call.outcome) {
            (Operation::Change { key, .. }, Outcome::Ok(Answer::Changed { revision })) => (Some((key, revision)), None),
            (Operation::Propose { writes, .. }, Outcome::Ok(Answer::Committed { revisions })) => {
                (None, Some(writes.iter().map(|(key, _)| key).zip(revisions)))
            }
            _ => (None, None),
        };
        let told = one.into_iter().chain(many.into_iter().flatten());
        told.map(|(key, revision)| (place(&self.keys, key), *revision))
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

    /// Executes an operation on a task; `false` when the outcome of the call does not fit.
    fn hand_out(&self, task: &mut Task, call: &Call) -> bool {
        let told = &call.outcome;
        let unknown = *told == Outcome::Unknown;
        let refusal = match (&call.operation, &task.stage) {
            (Operation::AddTask { .. }, Stage::Absent) => {
                task.stage = Stage::Waiting;
                return unknown || *told == Outcome::Ok(Answer::Added);
            }
            (Operation::AddTask { .. }, _) => Refusal::Exists,
            (_, Stage::Absent) => Refusal::NoSuchTask,
            (Operation::Claim { by, .. }, Stage::Waiting) => return self.grant(task, by, call),
            (Operation::Claim { .. }, Stage::Leased { by, .. }) => Refusal::Held { by: by.to_string() },
            (Operation::Finish { fence, end, .. }, Stage::Leased { fence: held, .. }) if *held == Some(*fence) => {
                task.stage = match end {
                    End::Done => Stage::Done,
                    End::Released => Stage::Waiting,
                };
                return unknown || *told == Outcome::Ok(Answer::Finished);
            }
            (Operation::Finish { .. }, Stage::Waiting | Stage::Leased { .. }) => Refusal::Fenced,
            (_, Stage::Done) => Refusal::Over,
            _ => unreachable!("the caller asks for operations on tasks"),
        };
        unknown || *told == Outcome::Refused(refusal)
    }

    fn grant(&self, task: &mut Task, by: &str, call: &Call) -> bool {
        let fence = match &call.outcome {
            Outcome::Unknown => None,
            Outcome::Ok(Answer::Claimed { attempt, fence }) if *attempt == task.attempts + 1 && *fence > task.fence => {
                Some(*fence)
            }
            _ => return false,
        };
        task.attempts += 1;
        task.fence = fence.unwrap_or(task.fence);
        task.stage = Stage::Leased {
            by: by.into(),
            fence,
            until_ns: call.invoked_ns.saturating_add(self.lease_ns),
        };
        true
    }

    /// The state in words, one line for each object.
    pub fn describe(&self, state: &State) -> Vec<String> {
        let keys = self.keys.iter().zip(&state.keys);
        let keys = keys.map(|(key, register)| format!("key {key}: {}", Outcome::Ok(register.clone().read())));
        let tasks = self.tasks.iter().zip(&state.tasks);
        keys.chain(tasks.map(|(name, task)| format!("task {name}: {task:?}")))
            .collect()
    }
}

impl State {
    /// The revisions that `after` has and this state has not, each with the place of its key.
    pub(super) fn changes<'s>(&'s self, after: &'s State) -> impl Iterator<Item = (usize, u64)> {
        let keys = self.keys.iter().zip(&after.keys).enumerate();
        keys.filter(|(_, (before, after))| before.revision != after.revision)
            .map(|(key, (_, after))| (key, after.revision))
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

fn place(names: &[String], name: &str) -> usize {
    let found = names.binary_search_by(|other| other.as_str().cmp(name));
    found.expect("the specification was made for the objects of these calls")
}
