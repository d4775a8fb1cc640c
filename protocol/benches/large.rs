//! What a claim and a put cost by the rules alone in a project of a thousand tasks and keys and in one of a million: `apply`
//! of one command on one thread. Prints the median and the 99th percentile of
//! each, and how many times as long the large project takes. Sizes may be given: `-- 1000 100000`.

use std::time::Instant;

use queenright_protocol::colony::{
    Body, Caller, Change, Claim, Colony, Command, Condition, Content, NewSession, NewTask, Op, Outcome, Proposal,
    Round, SessionCommand, TaskCommand, TokenHash, Wants, Which, Write,
};
use queenright_protocol::id::NodeId;

const NODE: NodeId = NodeId(1);
const SIZES: [u64; 2] = [1_000, 1_000_000];
/// How many commands of each kind are timed: as many as `queenright bench run B18` does, since in a small project the next
/// thousands would find all of it in the caches.
const TIMED: u64 = 500;
/// How many tasks one command adds, and keys one proposal writes.
const AT_ONCE: u64 = 100;
const FOLDER_KEYS: u64 = 1_000;
const VALUE: [u8; 64] = [b'x'; 64];

/// A colony with one project, and the number of its last command.
struct Large {
    colony: Colony,
    number: u64,
}

impl Large {
    fn apply(&mut self, body: Body) -> (Outcome, u64) {
        self.number += 1;
        let round = Round {
            node: NODE,
            incarnation: 1,
            commands: vec![Command {
                listed: false,
                number: self.number,
                settled: self.number,
                expires_ms: u64::MAX,
                project: "p".into(),
                author: "bench".into(),
                idempotency_key: None,
                body,
            }],
        };
        let begun = Instant::now();
        let mut applied = self.colony.apply(0, 0, std::slice::from_ref(&round), NODE);
        let nanos = begun.elapsed().as_nanos() as u64;
        (applied.outcomes.swap_remove(0).outcome, nanos)
    }

    fn filled(size: u64) -> Large {
        let mut large = Large {
            colony: Colony::default(),
            number: 0,
        };
        let new = NewSession::new("worker", TokenHash::of("token"));
        large.apply(Body::Session(SessionCommand::Open(new)));
        for part in 0..size / AT_ONCE {
            let write = |place: u64| Write {
                key: key(part * AT_ONCE + place).into(),
                op: put(),
                tags: Vec::new(),
                before: None,
            };
            let proposal = Proposal {
                writes: (0..AT_ONCE).map(write).collect(),
                ..Proposal::default()
            };
            let (outcome, _) = large.apply(Body::Propose(proposal));
            assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
            let task = NewTask {
                title: "work".into(),
                ..NewTask::default()
            };
            let (outcome, _) = large.apply(Body::Task(TaskCommand::Add(vec![task; AT_ONCE as usize])));
            assert!(matches!(outcome, Outcome::Added { .. }), "{outcome:?}");
        }
        large
    }

    fn claim(&mut self) -> u64 {
        let claim = Claim {
            which: Which::Ready {
                kinds: Vec::new(),
                limit: 1,
            },
            caller: Caller::Session(TokenHash::of("token")),
            wants: Wants::default(),
        };
        let (outcome, nanos) = self.apply(Body::Task(TaskCommand::Claim(claim)));
        assert!(
            matches!(&outcome, Outcome::Claimed { tasks, .. } if tasks.len() == 1),
            "{outcome:?}"
        );
        nanos
    }

    fn put(&mut self, place: u64) -> u64 {
        let change = Change {
            key: key(place).into(),
            op: put(),
            tags: Vec::new(),
            condition: Condition::None,
            caller: None,
        };
        let (outcome, nanos) = self.apply(Body::Change(change));
        assert!(matches!(outcome, Outcome::Changed { .. }), "{outcome:?}");
        nanos
    }
}

fn key(place: u64) -> String {
    format!("folder-{}/key-{}", place / FOLDER_KEYS, place % FOLDER_KEYS)
}

fn put() -> Op {
    Op::Put(Content::Inline(VALUE.to_vec().into()))
}

fn main() {
    let given: Vec<u64> = std::env::args().filter_map(|size| size.parse().ok()).collect();
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    let mut medians: [Vec<f64>; 2] = Default::default();
    for size in sizes {
        let mut large = Large::filled(size);
        let (mut claims, mut puts) = (Vec::new(), Vec::new());
        for number in 0..TIMED {
            // As in `queenright bench run B18`, which claims once before each put.
            if number < size / 2 {
                claims.push(large.claim());
            }
            puts.push(large.put(number * 7_919 % size));
        }
        for ((what, mut nanos), medians) in [("claim", claims), ("put", puts)].into_iter().zip(&mut medians) {
            nanos.sort_unstable();
            let micros = |place: usize| nanos[place] as f64 / 1e3;
            medians.push(micros(nanos.len() / 2));
            println!(
                "{what:<6} at {size:>9}: p50 {:>6.2} µs  p99 {:>6.2} µs  {} times",
                micros(nanos.len() / 2),
                micros(nanos.len() * 99 / 100),
                nanos.len()
            );
        }
    }
    for (what, medians) in ["claim", "put"].into_iter().zip(&medians) {
        if let [first, .., last] = medians[..] {
            println!("{what}: {:.2} times as long", last / first);
        }
    }
}
