//! Runs without a cluster: processes that ask one after the other, beside each other, and one place that executes what they
//! ask for at some moment between question and answer. Keys are executed by the colony itself, so that a run also compares
//! the specification with it; tasks by a table of this file.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{
    Body, Change, Colony, Command, Condition, Content, Expected, Op, Outcome as ColonyOutcome, Proposal, Read,
    Refusal as ColonyRefusal, Round, Write as ColonyWrite,
};
use queenright_protocol::id::NodeId;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::history::{Answer, Call, End, Guard, Operation, Outcome, Refusal, Write};

const PROJECT: &str = "p";

/// What is wrong with the place that executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A read is answered with what a key held before a write that had been answered.
    StaleRead,
    /// A change is answered and not carried out.
    LostWrite,
    /// An increment is carried out twice.
    AppliedTwice,
    /// Half of a proposal is carried out.
    TornProposal,
    /// A claimed task is given to somebody else, too.
    DoubleClaim,
    /// A task is finished by somebody whose claim is over.
    NoFence,
}

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) processes: u32,
    pub(super) calls: usize,
    pub(super) keys: usize,
    pub(super) tasks: usize,
    /// How many of a hundred calls get no answer.
    pub(super) unknown: u32,
}

impl Mix {
    /// Short enough to try all orders.
    pub(super) fn small() -> Mix {
        Mix {
            processes: 4,
            calls: 6,
            keys: 2,
            tasks: 1,
            unknown: 20,
        }
    }

    /// As long as a partition of a real run.
    pub(super) fn large() -> Mix {
        Mix {
            processes: 20,
            calls: 400,
            keys: 3,
            tasks: 2,
            unknown: 5,
        }
    }
}

/// How far a call is.
enum Stage {
    Asked,
    Executed(Outcome, Option<u64>),
}

/// A run under way.
pub(super) struct Simulation {
    random: StdRng,
    mix: Mix,
    bug: Option<Bug>,
    now_ns: u64,
    /// The newest fence.
    fence: u64,
    calls: Vec<Call>,
    /// What each busy process waits for.
    busy: BTreeMap<u32, (usize, Stage)>,
    /// Calls that nobody waits for any more and that may still be executed.
    adrift: Vec<usize>,
    colony: Colony,
    tasks: BTreeMap<String, Task>,
    /// What keys held, until when nobody had been answered anything newer.
    old_values: Vec<(String, Answer, u64)>,
    /// How often the bug showed.
    pub(super) spoiled: usize,
}

#[derive(Clone, Debug, Default)]
struct Task {
    owner: Option<(String, u64)>,
    attempts: u64,
    /// Those that somebody was told.
    fences: Vec<u64>,
    done: bool,
}

impl Simulation {
    pub(super) fn new(seed: u64, mix: Mix) -> Simulation {
        Simulation {
            random: StdRng::seed_from_u64(seed),
            mix,
            bug: None,
            now_ns: 0,
            fence: 10,
            calls: Vec::new(),
            busy: BTreeMap::new(),
            adrift: Vec::new(),
            colony: Colony::default(),
            tasks: BTreeMap::new(),
            old_values: Vec::new(),
            spoiled: 0,
        }
    }

    pub(super) fn with(self, bug: Bug) -> Simulation {
        Simulation { bug: Some(bug), ..self }
    }

    /// Runs to the end, then reads each key, and returns the history.
    pub(super) fn run(&mut self) -> Vec<Call> {
        while self.calls.len() < self.mix.calls || !self.busy.is_empty() {
            self.now_ns += self.random.random_range(1..20);
            if !self.adrift.is_empty() && self.random.random_bool(0.1) {
                let place = self.random.random_range(0..self.adrift.len());
                let call = self.adrift.swap_remove(place);
                self.execute(call);
            }
            let process = self.random.random_range(0..self.mix.processes);
            match self.busy.remove(&process) {
                None if self.calls.len() < self.mix.calls => self.ask(process),
                None => {}
                Some((call, stage)) => self.go_on(process, call, stage),
            }
        }
        if self.mix.calls > Mix::small().calls {
            for key in (0..self.mix.keys).map(key) {
                self.now_ns += 1;
                let call = self.begin(0, Operation::Get { key });
                let (outcome, seq) = self.execute(call);
                self.now_ns += 1;
                self.answer(call, outcome, seq);
            }
        }
        std::mem::take(&mut self.calls)
    }

    fn ask(&mut self, process: u32) {
        let operation = self.operation(process);
        let call = self.begin(process, operation);
        self.busy.insert(process, (call, Stage::Asked));
    }

    fn begin(&mut self, process: u32, operation: Operation) -> usize {
        self.calls.push(Call {
            number: self.calls.len() as u64,
            process,
            operation,
            outcome: Outcome::Unknown,
            invoked_ns: self.now_ns,
            returned_ns: None,
            seq: None,
        });
        self.calls.len() - 1
    }

    fn go_on(&mut self, process: u32, call: usize, stage: Stage) {
        let lost = self.random.random_range(0..100) < self.mix.unknown;
        match stage {
            Stage::Asked if lost => self.adrift.push(call),
            Stage::Asked => {
                let (outcome, seq) = self.execute(call);
                self.busy.insert(process, (call, Stage::Executed(outcome, seq)));
            }
            Stage::Executed(..) if lost => {}
            Stage::Executed(outcome, seq) => self.answer(call, outcome, seq),
        }
    }

    fn answer(&mut self, call: usize, outcome: Outcome, seq: Option<u64>) {
        let call = &mut self.calls[call];
        if let (Operation::Claim { task, .. }, Outcome::Ok(Answer::Claimed { fence, .. })) = (&call.operation, &outcome)
        {
            let task = self.tasks.get_mut(task).expect("it was claimed");
            task.fences.push(*fence);
        }
        (call.outcome, call.returned_ns, call.seq) = (outcome, Some(self.now_ns), seq);
    }

    /// Something that may succeed: revisions and fences are mostly those that a process can know.
    fn operation(&mut self, process: u32) -> Operation {
        let key = key(self.random.random_range(0..self.mix.keys));
        let task = format!("t{}", self.random.random_range(0..self.mix.tasks));
        let revision = |run: &Simulation, key: &str| {
            let project = run.colony.project(PROJECT);
            project.map_or(0, |project| project.memory().revision(key))
        };
        let write = match self.random.random_range(0..6) {
            0 => Write::Delete,
            1..3 => Write::Increment(self.random.random_range(1..4)),
            _ => Write::Put(self.random.random_range(0..50).to_string()),
        };
        match self.random.random_range(0..12) {
            0..3 => Operation::Get { key },
            3..6 => {
                let guard = match self.random.random_range(0..5) {
                    0 => Guard::Absent,
                    1 => Guard::Revision(revision(self, &key)),
                    _ => Guard::None,
                };
                Operation::Change { key, write, guard }
            }
            6..8 => {
                let other = super::generate::key(self.random.random_range(0..self.mix.keys));
                let mut writes = vec![(key.clone(), write)];
                if other != key && self.random.random_bool(0.7) {
                    writes.push((other.clone(), Write::Put("both".to_owned())));
                }
                let mut reads = vec![(key.clone(), revision(self, &key))];
                if self.random.random_bool(0.5) {
                    reads.push((other.clone(), revision(self, &other)));
                }
                Operation::Propose { reads, writes }
            }
            8 => Operation::AddTask { task },
            9 | 10 => {
                let by = format!("p{process}");
                Operation::Claim { task, by }
            }
            _ => {
                let fences = self
                    .tasks
                    .get(&task)
                    .map(|task| task.fences.clone())
                    .unwrap_or_default();
                let fence = fences.choose(&mut self.random).copied().unwrap_or(1);
                let end = *[End::Done, End::Released].choose(&mut self.random).unwrap();
                Operation::Finish { task, fence, end }
            }
        }
    }

    /// Executes a call; the answer may be lost on its way.
    fn execute(&mut self, call: usize) -> (Outcome, Option<u64>) {
        let Call {
            operation, invoked_ns, ..
        } = self.calls[call].clone();
        match &operation {
            Operation::Get { key } => (self.read(key, invoked_ns), None),
            Operation::Change { key, write, guard } => {
                let wanted = change(key, write, *guard);
                self.note(&operation);
                self.change(&operation, Body::Change(wanted))
            }
            Operation::Propose { reads, writes } => {
                let wanted = proposal(reads, writes);
                self.note(&operation);
                self.change(&operation, Body::Propose(wanted))
            }
            _ => (self.hand_out(&operation), None),
        }
    }

    fn read(&mut self, key: &str, invoked_ns: u64) -> Outcome {
        if self.bug == Some(Bug::StaleRead) && self.random.random_bool(0.1) {
            // A value that was replaced by a change which had returned before this was asked.
            let calls = &self.calls;
            let is_stale = |(old, answer, _): &&(String, Answer, u64)| {
                let Answer::Value {
                    revision: old_revision, ..
                } = answer
                else {
                    return false;
                };
                old == key
                    && calls.iter().any(|call| {
                        let returned = call.returned_ns.is_some_and(|end| end < invoked_ns);
                        let changed = match (&call.operation, &call.outcome) {
                            (Operation::Change { key: other, .. }, Outcome::Ok(Answer::Changed { revision })) => {
                                other == key && revision > old_revision
                            }
                            _ => false,
                        };
                        returned && changed
                    })
            };
            if let Some((_, answer, _)) = self.old_values.iter().find(is_stale) {
                self.spoiled += 1;
                return Outcome::Ok(answer.clone());
            }
        }
        Outcome::Ok(self.present(key))
    }

    fn present(&self, key: &str) -> Answer {
        let record = self
            .colony
            .project(PROJECT)
            .and_then(|project| project.memory().record(key));
        let value = record.and_then(|record| record.value.as_ref());
        Answer::Value {
            revision: record.map_or(0, |record| record.revision),
            value: value.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap()),
        }
    }

    fn note(&mut self, operation: &Operation) {
        for object in operation.objects() {
            if let super::super::Object::Key(key) = object {
                self.old_values.push((key.to_owned(), self.present(key), self.now_ns));
            }
        }
    }

    fn change(&mut self, operation: &Operation, body: Body) -> (Outcome, Option<u64>) {
        let spoil = self.random.random_bool(0.1);
        let before = self.colony.clone();
        let (outcome, seq) = self.apply(operation, body.clone());
        if !spoil || !matches!(outcome, Outcome::Ok(_)) {
            return (outcome, seq);
        }
        match (self.bug, operation, body) {
            (Some(Bug::LostWrite), ..) => self.colony = before,
            (
                Some(Bug::AppliedTwice),
                Operation::Change {
                    write: Write::Increment(_),
                    guard: Guard::None,
                    ..
                },
                body,
            ) => {
                self.apply(operation, body);
            }
            (Some(Bug::TornProposal), Operation::Propose { reads, writes }, _) if writes.len() > 1 => {
                self.colony = before;
                self.apply(operation, Body::Propose(proposal(reads, &writes[..1])));
            }
            _ => return (outcome, seq),
        }
        self.spoiled += 1;
        (outcome, seq)
    }

    fn apply(&mut self, operation: &Operation, body: Body) -> (Outcome, Option<u64>) {
        let number = self.colony.seq() + 1;
        let command = Command {
            number,
            settled: number,
            expires_ms: u64::MAX,
            project: PROJECT.into(),
            author: "test".into(),
            idempotency_key: None,
            body,
        };
        let round = Round {
            node: NodeId(1),
            incarnation: 1,
            commands: vec![command],
        };
        let mut applied = self.colony.apply(0, 0, &[round], NodeId(1));
        match applied.outcomes.remove(0).outcome {
            ColonyOutcome::Changed { seq, revision } => (Outcome::Ok(Answer::Changed { revision }), Some(seq)),
            ColonyOutcome::Committed { seq, revisions, .. } => {
                (Outcome::Ok(Answer::Committed { revisions }), Some(seq))
            }
            ColonyOutcome::Lost { conflicts, .. } => {
                let mut keys: Vec<(String, u64)> = conflicts
                    .iter()
                    .map(|conflict| (conflict.key.to_string(), conflict.revision))
                    .collect();
                keys.sort();
                keys.dedup();
                (Outcome::Refused(Refusal::Lost { early: false, keys }), None)
            }
            ColonyOutcome::Refused(ColonyRefusal::Condition { revision, present, .. }) => {
                (Outcome::Refused(Refusal::Condition { revision, present }), None)
            }
            ColonyOutcome::Refused(ColonyRefusal::WrongType { .. }) => (Outcome::Refused(Refusal::WrongType), None),
            other => panic!("{operation}: {other:?}"),
        }
    }

    fn hand_out(&mut self, operation: &Operation) -> Outcome {
        let spoil = self.random.random_bool(0.3).then_some(self.bug).flatten();
        self.fence += 1;
        let fence = self.fence;
        let (Operation::AddTask { task: id } | Operation::Claim { task: id, .. } | Operation::Finish { task: id, .. }) =
            operation
        else {
            unreachable!("the caller has looked");
        };
        let task = match (operation, self.tasks.get_mut(id)) {
            (Operation::AddTask { .. }, None) => {
                self.tasks.insert(id.clone(), Task::default());
                return Outcome::Ok(Answer::Added);
            }
            (Operation::AddTask { .. }, Some(_)) => return Outcome::Refused(Refusal::Exists),
            (_, None) => return Outcome::Refused(Refusal::NoSuchTask),
            (_, Some(task)) if task.done => return Outcome::Refused(Refusal::Over),
            (_, Some(task)) => task,
        };
        match (operation, &task.owner) {
            (Operation::Claim { .. }, Some((holder, _))) if spoil != Some(Bug::DoubleClaim) => {
                Outcome::Refused(Refusal::Held { by: holder.clone() })
            }
            (Operation::Claim { by, .. }, owner) => {
                self.spoiled += usize::from(owner.is_some());
                task.owner = Some((by.clone(), fence));
                task.attempts += 1;
                Outcome::Ok(Answer::Claimed {
                    attempt: task.attempts,
                    fence,
                })
            }
            (Operation::Finish { fence, end, .. }, owner) => {
                let owns = owner.as_ref().is_some_and(|(_, held)| held == fence);
                if !owns && spoil != Some(Bug::NoFence) {
                    return Outcome::Refused(Refusal::Fenced);
                }
                self.spoiled += usize::from(!owns);
                (task.owner, task.done) = (None, *end == End::Done);
                Outcome::Ok(Answer::Finished)
            }
            _ => unreachable!("the caller has looked"),
        }
    }
}

fn key(number: usize) -> String {
    format!("k{number}")
}

fn op(write: &Write) -> Op {
    match write {
        Write::Put(value) => Op::Put(Content::Inline(value.clone().into())),
        Write::Delete => Op::Delete,
        Write::Increment(step) => Op::Increment(*step),
    }
}

fn change(key: &str, write: &Write, guard: Guard) -> Change {
    Change {
        key: key.into(),
        op: op(write),
        tags: Vec::new(),
        condition: match guard {
            Guard::None => Condition::None,
            Guard::Absent => Condition::IfAbsent,
            Guard::Revision(revision) => Condition::IfRevision(revision),
        },
    }
}

fn proposal(reads: &[(String, u64)], writes: &[(String, Write)]) -> Proposal {
    let reads = reads.iter().map(|(key, revision)| Read {
        key: Arc::from(key.as_str()),
        revision: *revision,
        content: Expected::Any,
    });
    let writes = writes.iter().map(|(key, write)| ColonyWrite {
        key: Arc::from(key.as_str()),
        op: op(write),
        tags: Vec::new(),
        before: None,
    });
    Proposal {
        reads: reads.collect(),
        writes: writes.collect(),
        priority: 0,
        ..Proposal::default()
    }
}
