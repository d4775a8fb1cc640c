//! Runs without a cluster: processes that ask one after the other, beside each other, and one place that executes what they
//! ask for at some moment between question and answer. That place is the colony itself, so that a run also compares the
//! specification with it.

mod execute;

use std::collections::BTreeMap;

use queenright_protocol::colony::{AgentCommand, Body, Colony, SessionId, TaskId};
use queenright_protocol::id::NodeId;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use self::execute::round;
use crate::history::{Answer, Call, End, Guard, Operation, Outcome, Refusal, Write};

const PROJECT: &str = "p";
/// The kind of all tasks.
const KIND: &str = "k";
const MS: u64 = 1_000_000;

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
}

fn key(number: usize) -> String {
    format!("k{number}")
}
