//! Runs without a cluster: processes that ask one after the other, beside each other, and one place that executes what they
//! ask for at some moment between question and answer. That place is the colony itself, so that a run also compares the
//! specification with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{
    Accept, AgentCommand, Body, Caller, Change, Claim, Colony, Command, Condition, Content, Ending, Expected, Fence,
    Finish, FinishWith, Holder, NewSession, NewTask, Op, Outcome as ColonyOutcome, Owner, Proposal, Read,
    Refusal as ColonyRefusal, Round, SESSION_GRACE_MS, SessionCommand, SessionId, State, Task, TaskCommand, TaskId,
    TokenHash, Wants, Which, Write as ColonyWrite,
};
use queenright_protocol::id::NodeId;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::history::{Answer, Call, End, Guard, Operation, Outcome, Refusal, TaskStage, Write};

const PROJECT: &str = "p";
/// The kind of all tasks.
const KIND: &str = "k";
const MS: u64 = 1_000_000;
/// How long a session must still live for a second owner to be one for sure: no call takes as long.
const SURELY_HELD_MS: u64 = 10_000;

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
    calls: Vec<Call>,
    /// What each busy process waits for.
    busy: BTreeMap<u32, (usize, Stage)>,
    /// Calls that nobody waits for any more and that may still be executed.
    adrift: Vec<usize>,
    colony: Colony,
    ids: BTreeMap<String, TaskId>,
    session_ids: BTreeMap<String, SessionId>,
    /// In which session each process claims.
    sessions: BTreeMap<u32, String>,
    /// The claims of each task of which somebody was told: the session, and the fence.
    told: BTreeMap<String, Vec<(String, u64)>>,
    /// What keys held, until when nobody had been answered anything newer.
    old_values: Vec<(String, Answer, u64)>,
    /// How often the bug showed.
    pub(super) spoiled: usize,
}

impl Simulation {
    pub(super) fn new(seed: u64, mix: Mix) -> Simulation {
        Simulation {
            random: StdRng::seed_from_u64(seed),
            mix,
            bug: None,
            now_ns: 0,
            calls: Vec::new(),
            busy: BTreeMap::new(),
            adrift: Vec::new(),
            colony: Colony::default(),
            ids: BTreeMap::new(),
            session_ids: BTreeMap::new(),
            sessions: BTreeMap::new(),
            told: BTreeMap::new(),
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
            self.now_ns += self.random.random_range(1..20) * MS;
            match self.random.random_range(0..100) {
                0 => self.now_ns += 3_000 * MS,
                // The leader clears away what has run out.
                1..5 => drop(self.colony.apply(self.now_ns / MS, 0, &[round(Vec::new())], NodeId(1))),
                5 => self.lose_sessions(),
                _ => {}
            }
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
                self.now_ns += MS;
                let call = self.begin(0, Operation::Get { key });
                let (outcome, seq) = self.execute(call);
                self.now_ns += MS;
                self.answer(call, outcome, seq);
            }
        }
        std::mem::take(&mut self.calls)
    }

    /// The node of all sessions is lost, and none of them is re-opened.
    fn lose_sessions(&mut self) {
        let (node, incarnation) = (NodeId(1), 1);
        let lost = self.command("queen", Body::Agent(AgentCommand::NodeLost { node, incarnation }));
        self.colony.apply(self.now_ns / MS, 0, &[round(vec![lost])], NodeId(1));
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
        if let (Operation::Claim { task, by, .. }, Outcome::Ok(Answer::Claimed { fence, .. }))
        | (Operation::ClaimReady { by, .. }, Outcome::Ok(Answer::Given { task, fence, .. })) =
            (&call.operation, &outcome)
        {
            self.told.entry(task.clone()).or_default().push((by.clone(), *fence));
        }
        match (&call.operation, &outcome) {
            (Operation::Open { session }, Outcome::Ok(Answer::Opened)) => {
                self.sessions.insert(call.process, session.clone());
            }
            // A session is used until that is refused.
            (
                Operation::Claim { by, .. } | Operation::ClaimReady { by, .. },
                Outcome::Refused(Refusal::SessionOver),
            ) => self.sessions.retain(|_, session| session != by),
            _ => {}
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
            _ => match self.sessions.get(&process).cloned() {
                Some(by) => self.task_operation(task, by),
                None => Operation::Open {
                    session: format!("p{process}.{}", self.calls.len()),
                },
            },
        }
    }

    fn task_operation(&mut self, task: String, by: String) -> Operation {
        let told = self.told.get(&task).cloned().unwrap_or_default();
        let among = (0..self.mix.tasks).map(|task| format!("t{task}")).collect();
        match self.random.random_range(0..10) {
            0 if self.random.random_bool(0.5) => Operation::Close { session: by, among },
            0 => Operation::AddTask {
                task,
                kind: KIND.to_owned(),
            },
            1..4 => Operation::Claim { task, by },
            4 => Operation::ClaimReady {
                kind: KIND.to_owned(),
                among,
                by,
            },
            5 => Operation::Look { task },
            choice => {
                // Mostly the newest claim, and mostly in the mouth of who made it.
                let place = told.len().saturating_sub(self.random.random_range(1..3));
                let (owner, fence) = told.get(place).cloned().unwrap_or((by.clone(), 1));
                let by = if self.random.random_bool(0.9) { owner } else { by };
                let end = *[End::Done, End::Failed, End::Released, End::Released, End::Released]
                    .choose(&mut self.random)
                    .unwrap();
                match choice {
                    6 => Operation::Accept { task, by, fence },
                    _ => Operation::Finish { task, by, fence, end },
                }
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
            Operation::Look { task } => (self.look(task), None),
            Operation::Open { session } => {
                let open = NewSession::new(session.as_str(), TokenHash::of(session));
                self.apply(&operation, Body::Session(SessionCommand::Open(open)))
            }
            Operation::Close { session: name, .. } => {
                let (session, token) = (self.session_ids[name], TokenHash::of(name));
                self.apply(&operation, Body::Session(SessionCommand::Close { session, token }))
            }
            _ => self.hand_out(&operation),
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
        let command = self.command("test", body);
        let mut applied = self
            .colony
            .apply(self.now_ns / MS, 0, &[round(vec![command])], NodeId(1));
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
            ColonyOutcome::Added { seq, tasks } => {
                let Operation::AddTask { task, .. } = operation else {
                    panic!("{operation}: {tasks:?}");
                };
                self.ids.insert(task.clone(), tasks[0].task);
                match tasks[0].existing {
                    true => (Outcome::Refused(Refusal::Exists), None),
                    false => (Outcome::Ok(Answer::Added), Some(seq)),
                }
            }
            ColonyOutcome::Claimed { seq, tasks, .. } => {
                let answer = match (operation, &tasks[..]) {
                    (Operation::ClaimReady { .. }, []) => Answer::NoneReady,
                    (Operation::ClaimReady { .. }, [given]) => {
                        let name = self.task(given.task).and_then(|task| task.name.clone());
                        Answer::Given {
                            task: name.expect("each has one").to_string(),
                            attempt: given.attempt.into(),
                            fence: given.fence.0,
                        }
                    }
                    (_, [claimed]) => Answer::Claimed {
                        attempt: claimed.attempt.into(),
                        fence: claimed.fence.0,
                    },
                    _ => panic!("{operation}: {tasks:?}"),
                };
                (Outcome::Ok(answer), Some(seq))
            }
            ColonyOutcome::SessionOpen { seq, session, .. } => {
                let Operation::Open { session: name } = operation else {
                    panic!("{operation}: {session}");
                };
                self.session_ids.insert(name.clone(), session);
                (Outcome::Ok(Answer::Opened), Some(seq))
            }
            ColonyOutcome::SessionClosed { seq, .. } => (Outcome::Ok(Answer::Closed), Some(seq)),
            ColonyOutcome::Refused(ColonyRefusal::SessionEnded { .. }) => {
                (Outcome::Refused(Refusal::SessionOver), None)
            }
            ColonyOutcome::Accepted { seq, .. } => (Outcome::Ok(Answer::Accepted), Some(seq)),
            ColonyOutcome::Finished { seq, .. } => (Outcome::Ok(Answer::Finished), Some(seq)),
            ColonyOutcome::Refused(ColonyRefusal::TaskHeld { holder, .. }) => {
                (Outcome::Refused(Refusal::Held { by: name_of(&holder) }), None)
            }
            ColonyOutcome::Refused(ColonyRefusal::TaskFinished { .. }) => (Outcome::Refused(Refusal::Over), None),
            ColonyOutcome::Refused(ColonyRefusal::Fenced { .. }) => (Outcome::Refused(Refusal::Fenced), None),
            ColonyOutcome::Refused(ColonyRefusal::UnknownTask { .. }) => (Outcome::Refused(Refusal::NoSuchTask), None),
            other => panic!("{operation}: {other:?}"),
        }
    }

    fn command(&self, author: &str, body: Body) -> Command {
        let number = self.colony.seq() + 1;
        Command {
            number,
            settled: number,
            expires_ms: u64::MAX,
            project: PROJECT.into(),
            author: author.into(),
            idempotency_key: None,
            body,
            listed: false,
        }
    }

    fn task(&self, id: TaskId) -> Option<&Task> {
        let project = self.colony.project(PROJECT)?;
        project.tasks().get(id).map(|task| &**task)
    }

    fn look(&self, task: &str) -> Outcome {
        let Some(task) = self.ids.get(task).and_then(|id| self.task(*id)) else {
            return Outcome::Refused(Refusal::NoSuchTask);
        };
        Outcome::Ok(Answer::Task {
            attempts: task.attempts.into(),
            stage: match &task.state {
                State::Pending => TaskStage::Waiting,
                State::Leased(lease) => TaskStage::Leased {
                    by: name_of(&lease.holder),
                    fence: lease.fence.0,
                },
                State::Finished(finished) => TaskStage::Over {
                    done: finished.done,
                    fence: finished.fence.0,
                },
                other => panic!("{}: {other:?}", task.title),
            },
        })
    }

    fn hand_out(&mut self, operation: &Operation) -> (Outcome, Option<u64>) {
        let spoil = self.random.random_bool(0.6).then_some(self.bug).flatten();
        let command = self.task_command(operation);
        let (outcome, seq) = self.apply(operation, Body::Task(command));
        let (Operation::Claim { task, .. } | Operation::Finish { task, .. }) = operation else {
            return (outcome, seq);
        };
        let Some(task) = self.ids.get(task).and_then(|id| self.task(*id)) else {
            return (outcome, seq);
        };
        let State::Leased(lease) = &task.state else {
            return (outcome, seq);
        };
        let Owner::Session { session, .. } = &lease.holder.owner else {
            return (outcome, seq);
        };
        let session = self.colony.sessions().get(*session).expect("it holds a task");
        let surely = session.opened_ms + SESSION_GRACE_MS > self.now_ns / MS + SURELY_HELD_MS;
        let answer = match (spoil, &outcome) {
            (Some(Bug::DoubleClaim), Outcome::Refused(Refusal::Held { .. })) if surely => Answer::Claimed {
                attempt: u64::from(task.attempts) + 1,
                fence: self.colony.seq(),
            },
            (Some(Bug::NoFence), Outcome::Refused(Refusal::Fenced)) if surely => Answer::Finished,
            _ => return (outcome, seq),
        };
        self.spoiled += 1;
        (Outcome::Ok(answer), None)
    }

    fn task_command(&self, operation: &Operation) -> TaskCommand {
        let id = |task: &String| self.ids.get(task).copied().unwrap_or(TaskId { seq: 0, ordinal: 0 });
        let caller = |by: &String| Caller::Session(TokenHash::of(by));
        let claim = |which, by| {
            let caller = caller(by);
            let wants = Wants::default();
            TaskCommand::Claim(Claim { which, caller, wants })
        };
        match operation {
            Operation::AddTask { task, kind } => TaskCommand::Add(vec![NewTask {
                title: task.as_str().into(),
                kind: Some(kind.as_str().into()),
                name: Some(task.as_str().into()),
                ..NewTask::default()
            }]),
            Operation::Claim { task, by } => claim(Which::Ids(vec![id(task)]), by),
            Operation::ClaimReady { kind, by, .. } => {
                let kinds = vec![kind.as_str().into()];
                claim(Which::Ready { kinds, limit: 1 }, by)
            }
            Operation::Accept { task, by, fence } => TaskCommand::Accept(Accept {
                task: id(task),
                fence: Fence(*fence),
                caller: caller(by),
            }),
            Operation::Finish { task, by, fence, end } => TaskCommand::Finish(Finish {
                task: id(task),
                fence: Fence(*fence),
                caller: caller(by),
                ending: match end {
                    End::Done => Ending::Done,
                    End::Failed => Ending::Failed,
                    End::Released => Ending::Released,
                },
                result: Default::default(),
                proposal: None,
                with: FinishWith::default(),
            }),
            _ => unreachable!("the caller has looked"),
        }
    }
}

/// The session that holds a task.
fn name_of(holder: &Holder) -> String {
    match &holder.owner {
        Owner::Session { name, .. } => name.to_string(),
        Owner::Agent { .. } => panic!("no agent claims"),
    }
}

fn round(commands: Vec<Command>) -> Round {
    Round {
        node: NodeId(1),
        incarnation: 1,
        commands,
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
        caller: None,
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
