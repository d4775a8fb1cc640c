//! The rules alone: `apply` on one thread, without nodes, log and store.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_protocol::colony::{
    Applied, Body, Caller, Change, Claim, Colony, Command, Condition, Content, NewSession, NewTask, Op, Outcome,
    ProjectCommand, Proposal, Round, SessionCommand, SessionId, TaskCommand, TokenHash, Wants, Which, Write,
};
use queenright_protocol::id::NodeId;

use super::{AT_ONCE, CLAIMED_AT_ONCE, ID, TIMED, VALUE_BYTES, key};
use crate::report::{Percentiles, Row};
use crate::{BenchError, load};

const NODE: NodeId = NodeId(1);
const TOKEN: &str = "token";

/// A colony, and the one node that talks to it.
#[derive(Default)]
struct Alone {
    colony: Colony,
    number: u64,
    /// The session that claims.
    session: Option<SessionId>,
}

impl Alone {
    /// Applies one command; its outcome, and how long that took.
    fn apply(&mut self, body: Body) -> (Outcome, Duration) {
        self.number += 1;
        let command = Command {
            number: self.number,
            settled: self.number,
            expires_ms: u64::MAX,
            project: "p".into(),
            author: ID.into(),
            idempotency_key: None,
            body,
            listed: false,
        };
        let (mut applied, took) = self.round(vec![command]);
        (applied.outcomes.swap_remove(0).outcome, took)
    }

    fn round(&mut self, commands: Vec<Command>) -> (Applied, Duration) {
        let round = Round {
            node: NODE,
            incarnation: 1,
            commands,
        };
        let started = Instant::now();
        let applied = self.colony.apply(0, 0, &[round], NODE);
        (applied, started.elapsed())
    }

    /// A project with so many tasks and keys, and a session.
    fn filled(size: u64) -> Alone {
        let mut alone = Alone::default();
        let opened = alone.apply(Body::Session(SessionCommand::Open(NewSession::new(
            "worker",
            TokenHash::of(TOKEN),
        ))));
        if let Outcome::SessionOpen { session, .. } = opened.0 {
            alone.session = Some(session);
        }
        for part in 0..size / AT_ONCE {
            let write = |place: u64| Write {
                key: key(part * AT_ONCE + place).into(),
                op: Op::Put(Content::Inline(vec![b'x'; VALUE_BYTES].into())),
                tags: Vec::new(),
                before: None,
            };
            alone.apply(Body::Propose(Proposal {
                writes: (0..AT_ONCE).map(write).collect(),
                ..Proposal::default()
            }));
            let task = NewTask {
                title: "work".into(),
                ..NewTask::default()
            };
            alone.apply(Body::Task(TaskCommand::Add(vec![task; AT_ONCE as usize])));
        }
        alone
    }

    /// Takes so many tasks that are ready; how many there were, and how long that took.
    fn claim(&mut self, limit: u32) -> (usize, Duration) {
        let kinds = Vec::new();
        let (outcome, took) = self.apply(Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ready { kinds, limit },
            caller: Caller::Session(TokenHash::of(TOKEN)),
            wants: Wants::default(),
        })));
        match outcome {
            Outcome::Claimed { tasks, .. } => (tasks.len(), took),
            _ => (0, took),
        }
    }

    fn put(&mut self, place: u64) -> Duration {
        let change = Change {
            caller: None,
            key: key(place).into(),
            op: Op::Put(Content::Inline(vec![b'y'; VALUE_BYTES].into())),
            tags: Vec::new(),
            condition: Condition::None,
        };
        self.apply(Body::Change(change)).1
    }

    /// The rounds without commands until nothing is due.
    fn until_nothing_is_due(&mut self) -> Histogram<u64> {
        let mut rounds = load::histogram();
        while self.colony.due_ms() == Some(0) {
            let (_, took) = self.round(Vec::new());
            rounds.saturating_record(took.as_nanos() as u64);
        }
        rounds
    }
}

/// What commands cost at both sizes, and the rounds in which the large project returns and goes.
pub(super) fn rows(small: u64, large: u64) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    let mut medians = Vec::new();
    for size in [small, large] {
        let mut alone = Alone::filled(size);
        let (mut claims, mut puts) = (load::histogram(), load::histogram());
        for place in 0..TIMED.min(size / 2) {
            let (claimed, took) = alone.claim(1);
            BenchError::unless_equal(ID, "tasks of a claim, rules alone", claimed, 1)?;
            claims.saturating_record(took.as_nanos() as u64);
            let took = alone.put(place * 7_919 % size);
            puts.saturating_record(took.as_nanos() as u64);
        }
        let of_size = [("claim", &claims), ("put", &puts)].map(|(what, histogram)| {
            let percentiles = Percentiles::of(histogram, 1e3);
            let name = format!("{what}, apply alone, {size} tasks and keys");
            rows.push(Row::new(name, percentiles.p50, "µs", histogram.len()).percentiles(percentiles));
            percentiles.p50
        });
        medians.push(of_size);
        if size == large {
            rows.extend(expire(&mut alone, size)?);
            rows.extend(destroy(&mut alone, size)?);
        }
    }
    for (place, what) in ["claim", "put"].into_iter().enumerate() {
        let times = medians[1][place] / medians[0][place].max(1e-9);
        let name = format!("{what}, apply alone, at {large} over that at {small}");
        rows.push(Row::new(name, times, "times", 2).note("of the medians; the bound is 3"));
    }
    Ok(rows)
}

fn expire(alone: &mut Alone, size: u64) -> Result<Vec<Row>, BenchError> {
    while alone.claim(CLAIMED_AT_ONCE).0 > 0 {}
    let session = alone.session.ok_or_else(|| mismatch("a session"))?;
    let token = TokenHash::of(TOKEN);
    let (_, closing) = alone.apply(Body::Session(SessionCommand::Close { session, token }));
    let rounds = alone.until_nothing_is_due();
    let tasks = alone.colony.project("p").map_or(0, |project| project.tasks().ready());
    BenchError::unless_equal(ID, "tasks that have returned, rules alone", tasks as u64, size)?;
    Ok(vec![
        round_row(format!("a round while {size} tasks return"), &rounds),
        Row::new(
            "the command that closes their session",
            closing.as_secs_f64() * 1e3,
            "ms",
            1,
        ),
    ])
}

fn destroy(alone: &mut Alone, size: u64) -> Result<Vec<Row>, BenchError> {
    let (_, destroying) = alone.apply(Body::Project(ProjectCommand::Destroy { dry_run: false }));
    let rounds = alone.until_nothing_is_due();
    BenchError::unless_equal(
        ID,
        "projects that are left, rules alone",
        alone.colony.projects().count(),
        0,
    )?;
    Ok(vec![
        round_row(format!("a round while {size} tasks and keys are cleared away"), &rounds),
        Row::new(
            "the command that destroys them",
            destroying.as_secs_f64() * 1e3,
            "ms",
            1,
        ),
    ])
}

fn mismatch(expected: &str) -> BenchError {
    BenchError::Mismatch {
        workload: ID,
        what: "rules alone".to_owned(),
        found: "nothing".to_owned(),
        expected: expected.to_owned(),
    }
}

fn round_row(name: String, rounds: &Histogram<u64>) -> Row {
    let percentiles = Percentiles::of(rounds, 1e6);
    Row::new(name, percentiles.max, "ms", rounds.len())
        .percentiles(percentiles)
        .note("the longest: so long a command waits at most for what it follows")
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn nothing_of_a_project_is_left_and_every_command_is_timed() {
        let rows = rows(1_000, 2_000).unwrap();
        assert!(rows.iter().all(|row| row.value > 0.0 && row.samples > 0), "{rows:?}");
    }
}
