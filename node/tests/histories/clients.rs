//! The clients of a disturbed cluster: what they ask for, and how they take what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use queenright_bench::history::{
    Answer, Guard, Operation, Outcome, RecordError, Recorder, RecordingClient, Refusal, Write,
};
use rand::rngs::StdRng;
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
    seen: std::collections::BTreeMap<String, u64>,
    written: u64,
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

    fn generation(&self) -> u64 {
        self.began.elapsed().as_secs() / KEYS_LAST.as_secs()
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
            seen: std::collections::BTreeMap::new(),
            written: 0,
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

impl Client {
    async fn turn(&mut self) -> Result<(), RecordError> {
        let operation = self.operation();
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
            _ => {}
        }
    }
}
