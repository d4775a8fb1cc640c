//! The clients of a disturbed cluster: what they ask for, and how they take what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use queenright_bench::history::{
    Answer, End, Guard, Operation, Outcome, RecordError, Recorder, RecordingClient, Refusal, TaskStage, Write,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::stage::Stage;
use crate::colony::NODES;

/// How long a client pauses between two calls, in milliseconds: about 600 calls a second of 20 clients, with which two
/// cores and their disk keep up.
const THINK_MS: std::ops::Range<u64> = 10..50;
/// How long the same keys are used. A partition of the history is as long as this allows.
const KEYS_LAST: Duration = Duration::from_secs(2);
/// How many keys of each sort there are at a time.
const KEYS: u32 = 4;
/// How much of what they ask for is about tasks.
const OF_TASKS: f64 = 0.35;
/// How long the same tasks and sessions are used: a session whose node is lost lives longer.
const TASKS_LAST: Duration = Duration::from_secs(6);
/// How many kinds of tasks there are at a time, and how many tasks of each. Those of a kind are one partition.
const KINDS: u32 = 4;
const TASKS_OF_KIND: u32 = 2;
/// How long a door may take. Shorter than an election, so that answers get lost; and longer.
const TIMEOUTS: [Duration; 3] = [
    Duration::from_millis(400),
    Duration::from_secs(2),
    Duration::from_secs(8),
];
/// How long a client that repeats does so.
const PATIENCE: Duration = Duration::from_secs(15);

/// What all clients share.
pub(crate) struct Crowd {
    recorder: Arc<Recorder>,
    began: Instant,
    ended: AtomicBool,
    /// The number of the next process: one that misses an answer is followed by a new one.
    processes: AtomicU32,
}

/// One client.
struct Client {
    random: StdRng,
    door: RecordingClient,
    crowd: Arc<Crowd>,
    /// Revisions that this client was told last, for guards and proposals.
    seen: BTreeMap<String, u64>,
    written: u64,
    /// Names its sessions. Later processes of the same client are it, too.
    name: String,
    /// In which session it claims tasks of a kind, until that is refused.
    sessions: BTreeMap<String, Session>,
    /// How many sessions it has asked for.
    asked: u64,
    /// The kind of tasks that it mostly works on: who claims the same task again has fences of its own that are old.
    kind: u32,
    claims: BTreeMap<String, Claims>,
}

/// A session that a client has asked for.
struct Session {
    name: String,
    /// Whether it was told that it is open.
    opened: bool,
}

/// What a client knows of its claims of one task.
#[derive(Clone, Debug, Default)]
struct Claims {
    /// The session and the fence of each, the newest last.
    own: Vec<(String, u64)>,
    /// Whether the newest still holds, as far as it was told.
    holds: bool,
    /// The fence of somebody else's claim.
    other: Option<u64>,
}

impl Crowd {
    pub(crate) fn new(recorder: Arc<Recorder>) -> Arc<Crowd> {
        Arc::new(Crowd {
            recorder,
            began: Instant::now(),
            ended: AtomicBool::new(false),
            processes: AtomicU32::new(1),
        })
    }

    /// Tells all clients to end after their present call.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// A number for a new process.
    pub(crate) fn process(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// All keys that have been used so far.
    pub(crate) fn keys(&self) -> Vec<String> {
        let generations = 0..=self.generation();
        generations.flat_map(keys_of).collect()
    }

    /// All tasks that have been added so far, as far as anybody was told.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let kinds =
            (0..=self.generation_of_tasks()).flat_map(|generation| (0..KINDS).map(move |kind| (generation, kind)));
        let tasks = kinds.flat_map(|(generation, kind)| tasks_of(generation, kind));
        tasks.filter(|task| self.recorder.knows_task(task)).collect()
    }

    fn generation(&self) -> u64 {
        self.began.elapsed().as_secs() / KEYS_LAST.as_secs()
    }

    fn generation_of_tasks(&self) -> u64 {
        self.began.elapsed().as_secs() / TASKS_LAST.as_secs()
    }

    /// The work of one client until the end.
    pub(crate) fn client(
        self: &Arc<Crowd>,
        stage: &Stage,
        number: usize,
        seed: u64,
    ) -> impl Future<Output = Result<(), RecordError>> + Send + use<> {
        let timeout = TIMEOUTS[number % TIMEOUTS.len()];
        // Its own node first.
        let doors = (0..NODES.len()).map(|node| stage.door((number + node) % NODES.len(), timeout));
        let mut doors: Vec<_> = doors.collect();
        let recorder = self.recorder.clone();
        let door = match number % 4 {
            0 => RecordingClient::repeating(doors, self.process(), recorder, PATIENCE),
            _ => RecordingClient::asking_once(doors.remove(0), self.process(), recorder),
        };
        let mut client = Client {
            random: StdRng::seed_from_u64(seed ^ (number as u64) << 32),
            door,
            crowd: self.clone(),
            seen: BTreeMap::new(),
            written: 0,
            name: format!("client-{number}"),
            sessions: BTreeMap::new(),
            asked: 0,
            kind: number as u32 % KINDS,
            claims: BTreeMap::new(),
        };
        async move {
            while !client.crowd.ended.load(Ordering::Relaxed) {
                client.turn().await?;
                let pause = client.random.random_range(THINK_MS);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Ok(())
        }
    }
}

/// The keys of one generation: registers, counters, and pairs that proposals change together.
fn keys_of(generation: u64) -> impl Iterator<Item = String> {
    (0..KEYS)
        .flat_map(move |number| ["register", "counter", "left", "right"].map(|sort| name(sort, generation, number)))
}

fn name(sort: &str, generation: u64, number: u32) -> String {
    format!("{sort}-{generation}-{number}")
}

/// The names of the tasks of one kind, oldest first if they are added in turn.
fn tasks_of(generation: u64, kind: u32) -> impl Iterator<Item = String> {
    (0..TASKS_OF_KIND).map(move |number| format!("task-{generation}-{kind}-{number}"))
}

impl Client {
    async fn turn(&mut self) -> Result<(), RecordError> {
        let operation = match self.random.random_bool(OF_TASKS) {
            true => self.task_operation(),
            false => self.operation(),
        };
        let told = self.door.call(operation.clone()).await?;
        self.learn(&operation, &told.outcome);
        if told.outcome == Outcome::Unknown {
            let next = self.crowd.process();
            self.door = self.door.clone().as_process(next);
        }
        Ok(())
    }

    fn operation(&mut self) -> Operation {
        let generation = self.crowd.generation();
        self.seen.retain(|key, _| key.contains(&format!("-{generation}-")));
        let number = self.random.random_range(0..KEYS);
        let key = |sort| name(sort, generation, number);
        let chance = self.random.random_range(0..100);
        match chance {
            0..20 => Operation::Get { key: key("register") },
            20..26 => Operation::Get { key: key("counter") },
            26..34 => Operation::Get {
                key: key(if chance % 2 == 0 { "left" } else { "right" }),
            },
            34..48 => self.change(key("register"), Guard::None),
            48..62 => {
                let guard = match self.seen.get(&key("register")) {
                    Some(revision) => Guard::Revision(*revision),
                    None => Guard::Absent,
                };
                self.change(key("register"), guard)
            }
            62..64 => Operation::Change {
                key: key("register"),
                write: Write::Delete,
                guard: Guard::None,
            },
            64..80 => Operation::Change {
                key: key("counter"),
                write: Write::Increment(1),
                guard: Guard::None,
            },
            _ => self.propose(key("left"), key("right")),
        }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Write {
        self.written += 1;
        Write::Put(format!("{}.{}", self.random.random::<u32>(), self.written))
    }

    fn change(&mut self, key: String, guard: Guard) -> Operation {
        let write = self.value();
        Operation::Change { key, write, guard }
    }

    fn propose(&mut self, left: String, right: String) -> Operation {
        let read = |key: &String| (key.clone(), self.seen.get(key).copied().unwrap_or(0));
        let reads = vec![read(&left), read(&right)];
        let writes = match self.random.random_range(0..3) {
            0 => vec![(left, self.value())],
            _ => vec![(left, self.value()), (right, self.value())],
        };
        Operation::Propose { reads, writes }
    }

    fn task_operation(&mut self) -> Operation {
        let generation = self.crowd.generation_of_tasks();
        self.claims
            .retain(|task, _| task.starts_with(&format!("task-{generation}-")));
        self.sessions
            .retain(|kind, _| kind.starts_with(&format!("kind-{generation}-")));
        let kind = match self.random.random_bool(0.8) {
            true => self.kind,
            false => self.random.random_range(0..KINDS),
        };
        let among: Vec<String> = tasks_of(generation, kind).collect();
        let kind = format!("kind-{generation}-{kind}");
        let task = among.choose(&mut self.random).expect("there are some").clone();
        let chance = self.random.random_range(0..100);
        if chance < 4 || !self.crowd.recorder.knows_task(&task) {
            return Operation::AddTask { task, kind };
        }
        let by = match self.sessions.get(&kind) {
            Some(session) if session.opened => session.name.clone(),
            _ => return self.open(kind),
        };
        let claims = self.claims.get(&task).cloned().unwrap_or_default();
        match (chance, claims.holds, &claims.own[..]) {
            (..12, ..) => Operation::Look { task },
            (12..15, ..) => Operation::Close { session: by, among },
            (15..22, ..) => Operation::ClaimReady { kind, among, by },
            // The owner names the fence of an earlier claim of its own, or one who is not the owner that of the owner.
            (22..45, true, [.., (before, old), (by, _)]) if before == by => self.ends(task, by, *old),
            (22..32, false, _) if claims.other.is_some() => self.ends(task, &by, claims.other.unwrap_or_default()),
            (22..55, true, [.., (by, fence)]) => {
                let (by, fence) = (by.clone(), *fence);
                Operation::Accept { task, by, fence }
            }
            (55..85, true, [.., (by, fence)]) => self.ends(task, by, *fence),
            _ => Operation::Claim { task, by },
        }
    }

    /// Opens a session for tasks of a kind. One of which nothing was heard is not asked for again: another one is.
    fn open(&mut self, kind: String) -> Operation {
        self.asked += 1;
        let session = format!("{}.{}", self.name, self.asked);
        let asked = Session {
            name: session.clone(),
            opened: false,
        };
        self.sessions.insert(kind, asked);
        Operation::Open { session }
    }

    /// A finish; tasks are mostly given back, so that there is something to claim.
    fn ends(&mut self, task: String, by: &str, fence: u64) -> Operation {
        let end = match self.random.random_range(0..10) {
            0 => End::Done,
            1 => End::Failed,
            _ => End::Released,
        };
        let by = by.to_owned();
        Operation::Finish { task, by, fence, end }
    }

    fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        match (operation, outcome) {
            (Operation::Get { key }, Outcome::Ok(Answer::Value { revision, .. }))
            | (Operation::Change { key, .. }, Outcome::Ok(Answer::Changed { revision }))
            | (Operation::Change { key, .. }, Outcome::Refused(Refusal::Condition { revision, .. })) => {
                self.seen.insert(key.clone(), *revision);
            }
            (Operation::Propose { writes, .. }, Outcome::Ok(Answer::Committed { revisions })) => {
                let told = writes.iter().zip(revisions);
                self.seen
                    .extend(told.map(|((key, _), revision)| (key.clone(), *revision)));
            }
            (_, Outcome::Refused(Refusal::Lost { keys, .. })) => self.seen.extend(keys.iter().cloned()),
            (Operation::Open { session: name }, Outcome::Ok(Answer::Opened)) => {
                let asked = self.sessions.values_mut().find(|session| session.name == *name);
                asked.expect("it was asked for just now").opened = true;
            }
            (_, Outcome::Refused(Refusal::SessionOver)) => {
                if let Operation::Claim { by, .. }
                | Operation::ClaimReady { by, .. }
                | Operation::Close { session: by, .. } = operation
                {
                    self.sessions.retain(|_, session| session.name != *by);
                }
            }
            (Operation::Claim { task, by }, Outcome::Ok(Answer::Claimed { fence, .. }))
            | (Operation::ClaimReady { by, .. }, Outcome::Ok(Answer::Given { task, fence, .. })) => {
                let claims = self.claims.entry(task.clone()).or_default();
                claims.own.push((by.clone(), *fence));
                claims.holds = true;
            }
            (
                Operation::Finish { task, fence, .. } | Operation::Accept { task, fence, .. },
                Outcome::Ok(Answer::Finished) | Outcome::Refused(Refusal::Fenced | Refusal::Over),
            ) => {
                let claims = self.claims.entry(task.clone()).or_default();
                claims.holds &= claims.own.last().is_none_or(|(_, newest)| newest != fence);
            }
            (Operation::Look { task }, Outcome::Ok(Answer::Task { stage, .. })) => self.learn_stage(task, stage),
            _ => {}
        }
    }

    /// A claim whose answer was lost is found by looking.
    fn learn_stage(&mut self, task: &str, stage: &TaskStage) {
        let claims = self.claims.entry(task.to_owned()).or_default();
        match stage {
            TaskStage::Leased { by, fence } if by.starts_with(&format!("{}.", self.name)) => {
                claims.holds = true;
                let seen = (by.clone(), *fence);
                if claims.own.last() != Some(&seen) {
                    claims.own.push(seen);
                }
            }
            TaskStage::Leased { fence, .. } => claims.other = Some(*fence),
            TaskStage::Waiting | TaskStage::Over { .. } => claims.holds = false,
        }
    }
}
