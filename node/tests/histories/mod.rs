//! Histories of clusters of real processes that are disturbed while clients work, judged by the checker of
//! linearizability.

pub(crate) mod clients;
pub(crate) mod nemesis;
pub(crate) mod proxy;
pub(crate) mod stage;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use queenright_bench::history::{
    Budget, Call, Judgement, Operation, Outcome, Recorder, RecordingClient, Refusal, judge, write,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use self::clients::Crowd;
use self::nemesis::Blow;
use self::proxy::LinkMode;
use self::stage::Stage;
use crate::colony::NODES;

/// As many calls as a history may have: five minutes have about a third of it.
const CALLS_MAX: u64 = 600_000;
/// How long the last reads may take.
const LAST_READS_WITHIN: Duration = Duration::from_secs(20);

/// One run.
pub(crate) struct Run {
    /// Names the cluster and the files.
    pub(crate) name: String,
    /// What everything is drawn from, as far as a run of processes can be repeated.
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) clients: usize,
    /// What is done first, in this order; then blows are drawn.
    pub(crate) script: Vec<Blow>,
    /// What stands in the environment of the nodes.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether nodes may end by themselves, which ends the run.
    pub(crate) may_fail: bool,
}

/// What came of a run.
pub(crate) struct Outcomes {
    pub(crate) judgement: Judgement,
    /// Which node ended by itself, and what it said.
    pub(crate) ended: Option<String>,
    /// Whether all nodes came to the same digest.
    pub(crate) same_digest: bool,
    pub(crate) calls: Vec<Call>,
    blows: BTreeMap<String, u32>,
}

impl Run {
    /// Runs it, and judges its history.
    pub(crate) fn run(&self) -> Outcomes {
        eprintln!("{}: seed {}, {:?}", self.name, self.seed, self.duration);
        let environment: Vec<(&str, &str)> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut stage = Stage::start(&self.name, &environment);
        if self.may_fail {
            stage.colony.may_fail();
        }
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let recorder = Arc::new(Recorder::create(&folder.path().join("history.jsonl"), CALLS_MAX).unwrap());
        let crowd = Crowd::new(recorder.clone());
        let clients: Vec<_> = (0..self.clients)
            .map(|number| stage.colony.spawn(crowd.client(&stage, number, self.seed)))
            .collect();
        let (blows, ended) = self.disturb(&mut stage);
        crowd.end();
        for client in clients {
            let ended = stage.colony.block_on(client).expect("a client does not panic");
            ended.unwrap_or_else(|error| panic!("{error}"));
        }
        eprintln!("  all clients have ended");
        let mut all_same = true;
        if ended.is_none() {
            stage.wait_for_leader();
            read_all(&stage, &crowd, &recorder);
            eprintln!("  every key and every task was read at every node");
            all_same = same_digest(&stage);
        }
        let calls = recorder.finish().unwrap();
        eprintln!("  {} calls are to be judged", calls.len());
        let judgement = judge(&calls, Budget::default());
        Outcomes {
            judgement,
            ended,
            same_digest: all_same,
            calls,
            blows,
        }
    }

    /// Strikes until the time is over or a node ends by itself, and leaves the others running and linked.
    fn disturb(&self, stage: &mut Stage) -> (BTreeMap<String, u32>, Option<String>) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut script = self.script.iter();
        let mut blows = BTreeMap::new();
        let until = Instant::now() + self.duration;
        let pause = |random: &mut StdRng| Duration::from_millis(random.random_range(500..2_500));
        thread::sleep(pause(&mut random));
        while Instant::now() < until {
            let blow = script.next().copied().unwrap_or_else(|| Blow::draw(&mut random));
            let began = Instant::now();
            blow.strike(stage, &mut random);
            eprintln!("  {blow}, {:.1} s", began.elapsed().as_secs_f64());
            *blows.entry(blow.to_string()).or_default() += 1;
            thread::sleep(pause(&mut random));
            if let Some(ended) = stage.colony.ended_by_now() {
                let last = ended.log_tail.last().cloned().unwrap_or_default();
                return (blows, Some(format!("{} ended by itself: {last}", ended.name)));
            }
        }
        stage.set_links(LinkMode::Up);
        (blows, None)
    }

    /// Runs it and asserts that the cluster did what it promises. What is wrong is shown, and kept in `target`.
    pub(crate) fn must_hold(&self) {
        let outcomes = self.run();
        println!("{outcomes}");
        let acknowledged = outcomes
            .calls
            .iter()
            .filter(|call| matches!(call.outcome, Outcome::Ok(_)));
        assert_eq!(outcomes.ended, None, "seed {}", self.seed);
        assert!(acknowledged.count() > 50, "hardly anything was done");
        assert!(
            outcomes.same_digest,
            "the nodes have different digests (seed {})",
            self.seed
        );
        if !outcomes.judgement.holds() {
            let kept = self.keep(&outcomes);
            panic!(
                "seed {}: {}\nthe history is kept in {}",
                self.seed,
                outcomes.judgement,
                kept.display()
            );
        }
    }

    /// Keeps the history and the offending partitions for people.
    fn keep(&self, outcomes: &Outcomes) -> PathBuf {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", self.name, self.seed));
        fs::create_dir_all(&kept).unwrap();
        let written = |name: &str, calls: &[Call]| {
            let mut text = Vec::new();
            write(calls, &mut text).unwrap();
            fs::write(kept.join(name), text).unwrap();
        };
        written("history.jsonl", &outcomes.calls);
        for (place, fault) in outcomes.judgement.faults.iter().enumerate() {
            written(&format!("partition-{place}.jsonl"), &fault.calls);
        }
        fs::write(kept.join("judgement.txt"), outcomes.judgement.to_string()).unwrap();
        kept
    }
}

/// Reads every key and every task at every node: each acknowledged change must be in what they say.
fn read_all(stage: &Stage, crowd: &Crowd, recorder: &Arc<Recorder>) {
    for (node, name) in NODES.into_iter().enumerate() {
        let doors = vec![stage.door(node, Duration::from_secs(5))];
        let reader = RecordingClient::repeating(doors, crowd.process(), recorder.clone(), LAST_READS_WITHIN);
        let keys = crowd.keys().into_iter().map(|key| Operation::Get { key });
        let tasks = crowd.tasks().into_iter().map(|task| Operation::Look { task });
        for read in keys.chain(tasks) {
            let told = stage.colony.block_on(reader.call(read)).unwrap();
            assert!(
                matches!(told.outcome, Outcome::Ok(_)),
                "the last read at {name}: {told:?}"
            );
        }
    }
}

/// Whether all nodes come to the same position with the same digest.
fn same_digest(stage: &Stage) -> bool {
    crate::colony::until("all nodes at the same position", || {
        let status = stage.colony.status(NODES[0])?;
        let nodes: Option<Vec<_>> = status
            .nodes
            .iter()
            .map(|node| Some((node.applied?, node.seq?, node.digest.clone()?)))
            .collect();
        let nodes = nodes.filter(|nodes| nodes.len() == NODES.len())?;
        let same = nodes.iter().all(|node| (node.0, node.1) == (nodes[0].0, nodes[0].1));
        same.then(|| nodes.iter().all(|node| node.2 == nodes[0].2))
    })
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &self.calls {
            let sort = match &call.outcome {
                Outcome::Ok(_) => "ok",
                Outcome::Unknown => "unknown",
                Outcome::Refused(Refusal::NotTaken) => "not taken",
                Outcome::Refused(_) => "refused",
            };
            *counts.entry(sort).or_default() += 1;
        }
        write!(f, "blows {:?}; answers {counts:?}; {}", self.blows, self.judgement)
    }
}
