//! The rules alone: `apply` on one thread, without nodes, log and store.

use std::time::Duration;

use hdrhistogram::Histogram;
use queenright_protocol::colony::{
    Body, Caller, NewSession, NewTask, Outcome, ProjectCommand, Proposal, SessionCommand, SessionId, TaskCommand,
    TokenHash, Write,
};

use super::super::alone::{Alone, inline, put};
use super::{AT_ONCE, CLAIMED_AT_ONCE, ID, TIMED, VALUE_BYTES, key};
use crate::report::{Percentiles, Row};
use crate::{BenchError, load};

const TOKEN: &str = "token";

/// A colony with a project of so many tasks and keys, and the session that claims.
fn filled(size: u64) -> Result<(Alone, SessionId), BenchError> {
    let mut alone = Alone::new(ID);
    let new = NewSession::new("worker", TokenHash::of(TOKEN));
    let session = match alone.apply(Body::Session(SessionCommand::Open(new))).0 {
        Outcome::SessionOpen { session, .. } => session,
        other => return alone.unexpected("a session", &other),
    };
    for part in 0..size / AT_ONCE {
        let write = |place: u64| Write {
            key: key(part * AT_ONCE + place).into(),
            op: inline(vec![b'x'; VALUE_BYTES]),
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
    Ok((alone, session))
}

fn worker() -> Caller {
    Caller::Session(TokenHash::of(TOKEN))
}

/// What commands cost at both sizes, and the rounds in which the large project returns and goes.
pub(super) fn rows(small: u64, large: u64) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    let mut medians = Vec::new();
    for size in [small, large] {
        let (mut alone, session) = filled(size)?;
        let (mut claims, mut puts) = (load::histogram(), load::histogram());
        for place in 0..TIMED.min(size / 2) {
            let (claimed, took) = alone.claim(&worker(), 1)?;
            BenchError::unless_equal(ID, "tasks of a claim, rules alone", claimed.len(), 1)?;
            claims.saturating_record(took.as_nanos() as u64);
            let (_, took) = alone.apply(put(&key(place * 7_919 % size), vec![b'y'; VALUE_BYTES]));
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
            rows.extend(expire(&mut alone, session, size)?);
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

fn expire(alone: &mut Alone, session: SessionId, size: u64) -> Result<Vec<Row>, BenchError> {
    while !alone.claim(&worker(), CLAIMED_AT_ONCE)?.0.is_empty() {}
    let token = TokenHash::of(TOKEN);
    let (_, closing) = alone.apply(Body::Session(SessionCommand::Close { session, token }));
    let rounds = alone.until_nothing_is_due();
    let tasks = alone.tasks().ready();
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

fn round_row(name: String, rounds: &[Duration]) -> Row {
    let mut histogram: Histogram<u64> = load::histogram();
    for took in rounds {
        histogram.saturating_record(took.as_nanos() as u64);
    }
    let percentiles = Percentiles::of(&histogram, 1e6);
    Row::new(name, percentiles.max, "ms", histogram.len())
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
