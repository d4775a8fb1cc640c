//! The parts that are about the memory of a project: snapshots, and batches of proposals.

use std::fmt::Write as _;
use std::time::Duration;

use queenright_protocol::colony::{
    Body, Colony, Content, Merge, Op, Outcome, Proposal, ProposalBatch, Round, Verdict, Write,
};
use queenright_protocol::conflict::{Kind, Policy};

use super::super::alone::{Alone, NODE, inline, put};
use super::{ID, counted, micros, nanos};
use crate::report::Row;
use crate::timing::Timing;
use crate::{BenchError, Options};

const SNAPSHOTS: [usize; 4] = [10, 50, 100, 200];
const COMMUTATIVE: [usize; 4] = [10, 50, 100, 500];
const CONDITIONAL: [usize; 4] = [10, 50, 100, 200];
const MERGED: [usize; 4] = [2, 5, 10, 20];
/// How many keys the original's proposals are about.
const RESOURCES: usize = 10;
/// From one changed line of a text to the next, so that changes do not touch.
const LINES_APART: usize = 4;

const TOTAL: &str = "total";
const TEXT: &str = "text";

pub(super) fn rows(options: &Options) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for commits in SNAPSHOTS {
        rows.extend(snapshots(commits, options.repeats)?);
    }
    for proposals in COMMUTATIVE {
        rows.extend(commutative(proposals, options.repeats)?);
    }
    for proposals in CONDITIONAL {
        rows.extend(conditional(proposals, options.repeats)?);
    }
    for proposals in MERGED {
        rows.extend(merging(proposals, options.repeats)?);
    }
    Ok(rows)
}

fn resource(place: usize) -> String {
    format!("resource-{}", place % RESOURCES)
}

/// The value of a key, as text.
fn value(colony: &Colony, key: &str) -> Option<String> {
    let record = colony.project("p")?.memory().record(key)?;
    let bytes = &record.value.as_ref()?.bytes;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// Commits in a new colony, which `after` sees after each.
fn commit(rounds: &[Round], mut after: impl FnMut(&Colony)) -> Colony {
    let mut colony = Colony::default();
    for round in rounds {
        colony.apply(0, 0, std::slice::from_ref(round), NODE);
        after(&colony);
    }
    colony
}

fn snapshots(commits: usize, repeats: u32) -> Result<[Row; 3], BenchError> {
    let mut node = Alone::new(ID);
    let rounds: Vec<Round> = (0..commits)
        .map(|place| node.round(put(&resource(place), place.to_string())))
        .collect();
    let mut kept = Vec::with_capacity(commits);
    commit(&rounds, |colony| kept.push(colony.clone()));
    for (last, snapshot) in kept.iter().enumerate() {
        let found: Vec<Option<String>> = (0..RESOURCES).map(|key| value(snapshot, &resource(key))).collect();
        // What was put last into each key until then.
        let written = |key: usize| (0..=last).rev().find(|place| place % RESOURCES == key);
        let expected = (0..RESOURCES).map(|key| written(key).map(|place| place.to_string()));
        let what = format!("values in snapshot {last} of {commits}");
        BenchError::unless_equal(ID, what, found, expected.collect())?;
    }
    let with = Timing::of(repeats, commits, || {
        let mut kept = Vec::with_capacity(commits);
        commit(&rounds, |colony| kept.push(colony.clone()));
        kept
    });
    let without = Timing::of(repeats, commits, || commit(&rounds, |_| ()));
    let name = format!("snapshot writes, {commits} commits");
    Ok([
        counted(
            format!("{name}: snapshots that read as when they were made"),
            kept.len(),
            "snapshots",
        ),
        nanos(format!("{name}, a snapshot after each"), "ns/commit", &with),
        nanos(format!("{name}, no snapshot"), "ns/commit", &without),
    ])
}

fn writing(key: String, op: Op) -> Proposal {
    Proposal {
        writes: vec![Write {
            key: key.into(),
            op,
            tags: Vec::new(),
            before: None,
        }],
        ..Proposal::default()
    }
}

/// The verdicts of a batch, and how many pairs of its proposals are in conflict.
fn judged(alone: &Alone, outcome: Outcome) -> Result<(Vec<Verdict>, u64), BenchError> {
    match outcome {
        Outcome::Judged { verdicts, pairs, .. } => Ok((verdicts, pairs)),
        other => alone.unexpected("the batch is judged", &other),
    }
}

fn committed(verdicts: &[Verdict]) -> usize {
    let committed = |verdict: &&Verdict| matches!(verdict, Verdict::Committed { .. });
    verdicts.iter().filter(committed).count()
}

fn commutative(proposals: usize, repeats: u32) -> Result<[Row; 3], BenchError> {
    let mut alone = Alone::new(ID);
    let batch = |dry_run| {
        let adding = |amount: usize| Proposal {
            dry_run,
            ..writing(TOTAL.into(), Op::Increment(amount as i64))
        };
        Body::ProposeBatch(ProposalBatch {
            proposals: (1..=proposals).map(adding).collect(),
            policy: Policy::Merge,
        })
    };
    let sum = proposals * (proposals + 1) / 2;
    let what = |what: &str| format!("{what} of {proposals} that add to one key");
    for (dry_run, total) in [(true, None), (false, Some(sum.to_string()))] {
        let outcome = alone.apply(batch(dry_run)).0;
        let (verdicts, pairs) = judged(&alone, outcome)?;
        BenchError::unless_equal(ID, what("commits"), committed(&verdicts), proposals)?;
        BenchError::unless_equal(ID, what("conflicts"), pairs, 0)?;
        BenchError::unless_equal(ID, what("the sum"), value(&alone.colony, TOTAL), total)?;
    }
    let (mut round, mut batches) = (alone.round(batch(false)), 1);
    let whole = Timing::of(repeats, 1, || {
        batches += 1;
        alone.again(&mut round)
    });
    let mut round = alone.round(batch(true));
    let dry = Timing::of(repeats, 1, || alone.again(&mut round));
    let total = Some((sum * batches).to_string());
    BenchError::unless_equal(ID, what("the sum of all batches"), value(&alone.colony, TOTAL), total)?;
    let name = format!("commutative aggregation, {proposals} proposals");
    Ok([
        counted(format!("{name}: committed"), proposals, "proposals").note(format!("the value is their sum, {sum}")),
        micros(format!("{name}: the batch"), &whole),
        micros(format!("{name}: the batch as a dry run, which only judges"), &dry),
    ])
}

fn conditional(proposals: usize, repeats: u32) -> Result<[Row; 2], BenchError> {
    let mut alone = Alone::new(ID);
    let batch = Body::ProposeBatch(ProposalBatch {
        proposals: (0..proposals)
            .map(|place| writing(resource(place), inline(place.to_string())))
            .collect(),
        policy: Policy::First,
    });
    let outcome = alone.apply(batch.clone()).0;
    let (verdicts, pairs) = judged(&alone, outcome)?;
    let lost = losses(&verdicts);
    let expected = (RESOURCES..proposals).map(|place| Loss {
        place,
        to: vec![(Kind::WriteWrite, resource(place), (place % RESOURCES) as u64)],
    });
    let expected: Vec<Loss> = expected.collect();
    let what = |what: &str| format!("{what} of {proposals} on {RESOURCES} keys");
    BenchError::unless_equal(ID, what("losers"), lost.len(), proposals - RESOURCES)?;
    BenchError::unless_equal(ID, what("losers and what they lost to"), &lost, &expected)?;
    BenchError::unless_equal(ID, what("commits"), committed(&verdicts), RESOURCES)?;
    let each = (proposals / RESOURCES) as u64;
    let all = RESOURCES as u64 * each * (each - 1) / 2;
    BenchError::unless_equal(ID, what("conflicts"), pairs, all)?;
    for place in 0..RESOURCES {
        let found = value(&alone.colony, &resource(place));
        BenchError::unless_equal(ID, what("a value"), found, Some(place.to_string()))?;
    }
    let mut round = alone.round(batch);
    let whole = Timing::of(repeats, 1, || alone.again(&mut round));
    let name = format!("conditional aggregation, {proposals} proposals on {RESOURCES} keys");
    Ok([
        counted(format!("{name}: lost"), lost.len(), "proposals").note("each names the first writer of its key"),
        micros(format!("{name}: the batch"), &whole),
    ])
}

/// A proposal that lost.
#[derive(Debug, PartialEq)]
struct Loss {
    place: usize,
    /// What it lost to: the kind of conflict, the key, and the place of the winner.
    to: Vec<(Kind, String, u64)>,
}

fn losses(verdicts: &[Verdict]) -> Vec<Loss> {
    let lost = verdicts.iter().enumerate().filter_map(|(place, verdict)| {
        let Verdict::Lost { conflicts, .. } = verdict else {
            return None;
        };
        let to = conflicts
            .iter()
            .map(|conflict| (conflict.kind, conflict.key.to_string(), conflict.winner));
        Some(Loss {
            place,
            to: to.collect(),
        })
    });
    lost.collect()
}

/// A text in which those of the proposals that `changed` accepts have changed their line.
fn text(proposals: usize, changed: impl Fn(usize) -> bool) -> String {
    let mut text = String::new();
    for line in 0..proposals * LINES_APART {
        let of = Some(line / LINES_APART).filter(|of| line % LINES_APART == 1 && changed(*of));
        let written = match of {
            Some(place) => writeln!(text, "line {line}, changed by {place}"),
            None => writeln!(text, "line {line}"),
        };
        written.expect("a string takes any text");
    }
    text
}

fn merging(proposals: usize, repeats: u32) -> Result<[Row; 2], BenchError> {
    let mut alone = Alone::new(ID);
    let content = |text: String| Content::Inline(text.into());
    let base = text(proposals, |_| false);
    let merge = |place: usize| Merge {
        base: Some(content(base.clone())),
        base_tags: Vec::new(),
        theirs: content(text(proposals, |of| of == place)),
    };
    let batch = Body::ProposeBatch(ProposalBatch {
        proposals: (0..proposals)
            .map(|place| writing(TEXT.into(), Op::Merge(merge(place))))
            .collect(),
        policy: Policy::Merge,
    });
    let all = Some(text(proposals, |_| true));
    let what = |what: &str| format!("{what} of {proposals} changes of one text");
    let once = || -> Result<[Duration; 1], BenchError> {
        alone.apply(put(TEXT, base.clone()));
        let (outcome, took) = alone.apply(batch.clone());
        let (verdicts, _) = judged(&alone, outcome)?;
        BenchError::unless_equal(ID, what("commits"), committed(&verdicts), proposals)?;
        let merged = |verdict: &&Verdict| matches!(verdict, Verdict::Committed { merged, .. } if !merged.is_empty());
        // The first finds the text as it saw it.
        let merges = verdicts.iter().filter(merged).count();
        BenchError::unless_equal(ID, what("merges"), merges, proposals - 1)?;
        BenchError::unless_equal(ID, what("the text"), &value(&alone.colony, TEXT), &all)?;
        Ok([took])
    };
    let [whole] = Timing::told(repeats, [1], once)?;
    let name = format!("proposal merging, {proposals} proposals");
    Ok([
        counted(
            format!("{name}: changes of one text that stand in it"),
            proposals,
            "changes",
        ),
        micros(format!("{name}: the batch"), &whole),
    ])
}

#[cfg(test)]
mod tests {
    use super::{RESOURCES, conditional, text};

    #[test]
    fn all_but_the_first_writers_lose() {
        for (proposals, lost) in [(10, 0), (50, 40), (100, 90), (200, 190)] {
            let [count, _] = conditional(proposals, 1).unwrap();
            assert_eq!(count.value, f64::from(lost));
            assert_eq!(proposals - RESOURCES, lost as usize);
        }
    }

    #[test]
    fn a_proposal_changes_one_line_of_the_text() {
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (base, changed) = (lines(text(5, |_| false)), lines(text(5, |of| of == 3)));
        let differ: Vec<usize> = (0..base.len()).filter(|line| base[*line] != changed[*line]).collect();
        assert_eq!(differ, [13]);
    }
}
