//! One counter, many clients, a leader that dies: no acknowledged increment is lost and none counts twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::Code;
use queenright_bench::client::{Client, ClientError, Guard, Lookup, PutOptions};
use rustix::process::{Signal, kill_process};

use crate::colony::{Colony, NODES, until};

const CLIENTS: usize = 8;
/// How many increments are waited for before the leader is disturbed, and after everything.
const SOME: u64 = 24;
const KEY: &str = "counter";

/// What all clients together know.
#[derive(Default)]
struct Known {
    /// The clients may end.
    enough: AtomicBool,
    /// Increments that were acknowledged.
    acknowledged: AtomicU64,
    /// Of them, those whose first answer left the outcome unknown.
    learned_later: AtomicU64,
    /// The highest revision that anybody was told.
    newest: AtomicU64,
}

/// What became of one increment.
enum Put {
    Done { revision: u64 },
    Refused,
}

struct Worker {
    nodes: Vec<Client>,
    number: usize,
    /// Which node is asked.
    at: usize,
    attempts: u64,
    known: Arc<Known>,
}

impl Worker {
    fn client(&self) -> &Client {
        &self.nodes[self.at % self.nodes.len()]
    }

    async fn next_node(&mut self) {
        self.at += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    async fn run(mut self) {
        while !self.known.enough.load(Ordering::SeqCst) {
            let newest = self.known.newest.load(Ordering::SeqCst);
            let (value, revision) = match self.client().get(KEY, Consistency::Linearizable).await {
                Ok(Lookup::Found(found)) => (String::from_utf8_lossy(&found.value).parse().unwrap(), found.revision),
                Ok(Lookup::Absent { revision }) => (0, revision),
                Err(error) => {
                    assert!(error.is_temporary(), "{error}");
                    self.next_node().await;
                    continue;
                }
            };
            assert!(
                revision >= newest,
                "read revision {revision} after {newest} had been acknowledged"
            );
            assert_eq!(value, revision, "an increment is lost or counted twice");
            if let Put::Done { revision: reached } = self.put(value + 1, revision).await {
                assert_eq!(reached, revision + 1);
                self.known.newest.fetch_max(reached, Ordering::SeqCst);
                self.known.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            self.at += 1;
        }
    }

    /// Puts until the outcome is known. What is unknown is asked again under the same idempotency key, at another node.
    async fn put(&mut self, value: u64, revision: u64) -> Put {
        self.attempts += 1;
        let options = PutOptions {
            guard: Guard::IfRevision(revision),
            idempotency_key: Some(format!("{}-{}", self.number, self.attempts)),
            ..PutOptions::default()
        };
        let mut unknown = false;
        loop {
            match self.client().put(KEY, value.to_string().into(), &options).await {
                Ok(changed) => {
                    self.known.learned_later.fetch_add(u64::from(unknown), Ordering::SeqCst);
                    return Put::Done {
                        revision: changed.revision,
                    };
                }
                Err(ClientError::Problem(problem)) if problem.code == Code::Conflict => return Put::Refused,
                Err(error) => {
                    assert!(error.outcome_unknown() || error.is_temporary(), "{error}");
                    unknown |= error.outcome_unknown();
                    self.next_node().await;
                }
            }
        }
    }
}

/// Lets the clients count, disturbs them meanwhile, and compares. `disturb` gets the name of the leader and what waits
/// until some more increments were acknowledged.
fn check(name: &str, disturb: impl FnOnce(&mut Colony, &str, &dyn Fn())) {
    let mut colony = Colony::start(name);
    let known = Arc::new(Known::default());
    let workers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let agent = format!("client-{number}");
            let worker = Worker {
                nodes: NODES.map(|node| colony.client(node, &agent)).into(),
                number,
                at: number,
                attempts: 0,
                known: known.clone(),
            };
            colony.spawn(worker.run())
        })
        .collect();
    let acknowledged = || known.acknowledged.load(Ordering::SeqCst);
    let more = || {
        let before = acknowledged();
        until("more increments", || (acknowledged() >= before + SOME).then_some(()));
    };
    more();
    let leader = colony.leader_at("n1", None);
    disturb(&mut colony, &leader, &more);
    more();
    known.enough.store(true, Ordering::SeqCst);
    for worker in workers {
        colony.block_on(worker).unwrap();
    }

    colony.same_digest();
    for node in NODES {
        let got = colony.at(node, &["memory", "get", KEY]).with_code(0);
        let learned_later = known.learned_later.load(Ordering::SeqCst);
        let value: u64 = String::from_utf8(got.stdout).unwrap().parse().unwrap();
        assert_eq!(
            value,
            acknowledged(),
            "{node}; {learned_later} of them were unknown for a while"
        );
    }
}

#[test]
fn every_acknowledged_increment_counts_once_although_the_leader_dies() {
    check("counter", |colony, leader, more| {
        colony.kill(leader);
        more();
        colony.start_node(leader);
    });
}

#[test]
fn a_leader_that_stands_still_for_a_while_neither_answers_from_the_past_nor_counts_twice() {
    check("pause", |colony, leader, more| {
        let pid = colony.pid(leader);
        kill_process(pid, Signal::STOP).unwrap();
        more();
        kill_process(pid, Signal::CONT).unwrap();
    });
}
