//! A change of the leader is a pause for the clients of every node that lives, and no error; and what they ask for is
//! carried out once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use queenright_bench::history::{
    Answer, Budget, Guard, Operation, Outcome, RecordError, Recorder, RecordingClient, Write, judge,
};
use rustix::process::Signal;

use crate::colony::{Colony, NODES};
use crate::histories::proxy::LinkMode;
use crate::histories::stage::Stage;

/// How long a request may take: longer than a leader's lease, an election and the first command after it, together.
const DEADLINE: Duration = Duration::from_secs(20);
const CLIENTS_OF_A_NODE: usize = 3;
const COUNTERS: usize = 2;

/// The clients of some nodes, at work.
struct Clients {
    ended: Arc<AtomicBool>,
    longest_ms: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    running: Vec<tokio::task::JoinHandle<Result<(), RecordError>>>,
}

impl Clients {
    fn start(stage: &Stage, nodes: &[usize], recorder: &Arc<Recorder>) -> Clients {
        let mut clients = Clients {
            ended: Arc::new(AtomicBool::new(false)),
            longest_ms: Arc::new(AtomicU64::new(0)),
            answered: Arc::new(AtomicU64::new(0)),
            running: Vec::new(),
        };
        for place in 0..nodes.len() * CLIENTS_OF_A_NODE {
            let door = stage.door(nodes[place % nodes.len()], DEADLINE);
            let client = RecordingClient::asking_once(door, place as u32, recorder.clone());
            let (ended, longest_ms) = (clients.ended.clone(), clients.longest_ms.clone());
            let answered = clients.answered.clone();
            clients.running.push(stage.colony.spawn(async move {
                for number in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("counter-{}", number % COUNTERS);
                    let operation = match number % 3 {
                        0 => Operation::Get { key },
                        _ => Operation::Change {
                            key,
                            write: Write::Increment(1),
                            guard: Guard::None,
                        },
                    };
                    let asked = Instant::now();
                    let told = client.call(operation).await?;
                    // The first of all is that the client was answered.
                    assert!(
                        matches!(told.outcome, Outcome::Ok(_)),
                        "after {:?}: {told:?}",
                        asked.elapsed()
                    );
                    longest_ms.fetch_max(asked.elapsed().as_millis() as u64, Ordering::Relaxed);
                    answered.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            }));
        }
        clients
    }

    /// Waits until each has been answered some more times.
    fn go_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        let more = 10 * self.running.len() as u64;
        crate::colony::until("answers", || {
            let failed = self.running.iter().any(tokio::task::JoinHandle::is_finished);
            (failed || self.answered.load(Ordering::Relaxed) >= before + more).then_some(())
        });
    }

    /// Ends them; each must have been answered whatever it asked for. Returns the longest pause.
    fn end(self, stage: &Stage) -> Duration {
        self.ended.store(true, Ordering::Relaxed);
        for client in self.running {
            let ended = stage.colony.block_on(client).unwrap_or_else(|error| panic!("{error}"));
            ended.unwrap_or_else(|error| panic!("{error}"));
        }
        Duration::from_millis(self.longest_ms.load(Ordering::Relaxed))
    }
}

/// Lets clients of `of` work while `strike` makes the leader go, and until they go on without it.
fn change(what: &str, stage: &mut Stage, recorder: &Arc<Recorder>, all: bool, strike: impl FnOnce(&mut Stage, usize)) {
    let leader = stage.wait_for_leader();
    let nodes: Vec<usize> = (0..NODES.len()).filter(|node| all || *node != leader).collect();
    let clients = Clients::start(stage, &nodes, recorder);
    clients.go_on();
    strike(stage, leader);
    clients.go_on();
    let longest = clients.end(stage);
    println!("{what}: the longest pause was {longest:?}");
}

#[test]
fn clients_of_nodes_that_live_see_a_pause_and_no_error_when_the_leader_goes() {
    let mut stage = Stage::start("leader-change", &[]);
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::create(&folder.path().join("history.jsonl"), 200_000).unwrap());
    change("killed", &mut stage, &recorder, false, |stage, leader| {
        stage.colony.kill(NODES[leader]);
        let witness = NODES[(leader + 1) % NODES.len()];
        stage.colony.leader_at(witness, Some(NODES[leader]));
        stage.colony.start_node(NODES[leader]);
    });
    change("stopped", &mut stage, &recorder, false, |stage, leader| {
        stage.signal(leader, Signal::STOP);
        thread::sleep(Duration::from_secs(6));
        stage.signal(leader, Signal::CONT);
    });
    // The clients of the leader itself wait until it hears of the new one.
    change("cut off", &mut stage, &recorder, true, |stage, leader| {
        stage.set_links_of(leader, LinkMode::Cut);
        thread::sleep(Duration::from_secs(6));
        stage.set_links(LinkMode::Up);
    });
    let calls = recorder.finish().unwrap();
    let judgement = judge(&calls, Budget::default());
    assert!(judgement.holds(), "{judgement}");
    // Every increment was answered, so their number is what the counters hold.
    let increments = calls.iter().filter(|call| !call.operation.only_reads()).count();
    let reader = RecordingClient::asking_once(stage.door(0, DEADLINE), u32::MAX, recorder);
    let counted: usize = (0..COUNTERS)
        .map(|number| {
            let key = format!("counter-{number}");
            let told = stage.colony.block_on(reader.call(Operation::Get { key })).unwrap();
            match told.outcome {
                Outcome::Ok(Answer::Value { value: Some(value), .. }) => value.parse::<usize>().unwrap(),
                other => panic!("{other:?}"),
            }
        })
        .sum();
    assert_eq!(counted, increments);
    stage.colony.same_digest();
}

/// A cluster in which another leader by the lease alone would take two minutes, which is longer than anything is waited for
/// here.
fn with_long_leases(name: &str) -> Colony {
    Colony::start_prepared(name, |config, _| {
        config.consensus.election_min = Duration::from_secs(59);
        config.consensus.election_max = Duration::from_secs(60);
    })
}

#[test]
fn a_leader_that_is_killed_is_replaced_long_before_its_lease_ends() {
    let mut colony = with_long_leases("lease");
    for _ in 0..2 {
        let leader = colony.leader_at(NODES[0], None);
        let witness = NODES.into_iter().find(|node| *node != leader).unwrap();
        colony.kill(&leader);
        colony.leader_at(witness, Some(&leader));
        colony.at(witness, &["memory", "put", "key", "value"]).with_code(0);
        colony.start_node(&leader);
        colony.leader_at(&leader, None);
    }
}

#[test]
fn a_leader_that_stops_and_one_that_is_back_at_once_are_replaced_long_before_their_lease_ends() {
    let mut colony = with_long_leases("lease-back");
    for stops in [true, false, true, false] {
        let leader = colony.leader_at(NODES[0], None);
        let witness = NODES.into_iter().find(|node| *node != leader).unwrap();
        match stops {
            true => colony.stop_node(&leader),
            false => colony.kill(&leader),
        }
        colony.start_node(&leader);
        colony.at(witness, &["memory", "put", "key", "value"]).with_code(0);
        colony.leader_at(&leader, None);
    }
}

/// Each read is told by a majority within three seconds or fails. A node that is back takes part in it at once, also when the
/// leader had sent it entries just before it stopped.
#[test]
fn reads_go_on_while_one_node_is_restarted_and_another_one_killed() {
    let mut colony = with_long_leases("restarts");
    colony.at("n2", &["memory", "put", "key", "value"]).with_code(0);
    for _ in 0..6 {
        colony.stop_node("n1");
        colony.start_node("n1");
        colony.kill("n3");
        colony.at("n1", &["memory", "get", "key"]).with_code(0);
        colony.start_node("n3");
        colony.at("n3", &["memory", "get", "key"]).with_code(0);
    }
}
