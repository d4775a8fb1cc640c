//! B8, proposal conflicts: `conflict::detect` on batches of proposals that write one key each.
//!
//! First the original's input, in which proposal i writes `resource-(i mod 3)`, with the pairs listed and compared with
//! an oracle. Then random keys, as many different ones as proposals, up to a million: what a key costs, whether that
//! grows, and what pairwise comparison and sorting cost on the same batches. The count of conflicts is compared with
//! that of sorting at every size.

use queenright_protocol::conflict::{Batch, Detector, Policy, WriteClass, detect, resolve};
use serde_json::json;

use super::keys::Distribution;
use crate::report::{Report, Row};
use crate::timing::Timing;
use crate::{BenchError, Options, claims};

/// The id of the workload.
pub const ID: &str = "B8";
/// What the workload is about.
pub const TITLE: &str = "proposal conflicts by hash";

/// The original's sizes.
const THREE_RESOURCES: [usize; 4] = [10, 50, 100, 500];
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Growth is the cost of a key at the greatest size over that at this one.
const GROWTH_FROM: usize = 10_000;
/// Pairwise comparison of more would take longer than all the rest.
const PAIRWISE_MAX: usize = 1_000;

/// Counts conflicts of the original's input, then times detection over random keys.
///
/// # Errors
/// [`BenchError::Mismatch`] if a count or a list of pairs differs from its oracle.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = Vec::new();
    for proposals in THREE_RESOURCES {
        rows.extend(three_resources(proposals, options.repeats)?);
    }
    for distribution in Distribution::ALL {
        let mut costs = Vec::new();
        for proposals in SIZES
            .into_iter()
            .filter(|&proposals| proposals <= options.proposals_max)
        {
            costs.push((proposals, random_keys(distribution, proposals, options, &mut rows)?));
        }
        let from = costs.iter().find(|(proposals, _)| *proposals == GROWTH_FROM);
        if let (Some((from, before)), Some((to, after))) = (from, costs.last()) {
            let name = format!("{}: cost of a key at {to} over that at {from}", distribution.name());
            let growth = after.median() / before.median();
            rows.push(Row::new(format!("{name}, medians"), growth, "×", after.samples()));
            // On a shared machine long samples are interrupted more often than short ones; the least are so the least.
            let growth = after.spread().0 / before.spread().0;
            rows.push(Row::new(format!("{name}, least samples"), growth, "×", after.samples()));
        }
    }
    Ok(Report {
        config: json!({
            "seed": options.seed,
            "repeats": options.repeats,
            "proposals_max": options.proposals_max,
            "writes_per_proposal": 1,
            "distinct_keys": "as many as proposals",
            "policy": Policy::First,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

fn three_resources(proposals: usize, repeats: u32) -> Result<[Row; 2], BenchError> {
    let keys: Vec<String> = (0..proposals).map(|i| format!("resource-{}", i % 3)).collect();
    let batch = batch(&keys);
    let detection = detect(&batch);
    let mut found: Vec<(u32, u32)> = detection
        .pairs()
        .map(|conflict| (conflict.first, conflict.second))
        .collect();
    found.sort_unstable();
    let expected: Vec<(u32, u32)> = pairwise(&keys).collect();
    let count = detection.counts().total();
    BenchError::unless_equal(ID, format!("pairs of {proposals} proposals"), &found, &expected)?;
    BenchError::unless_equal(
        ID,
        format!("count of {proposals} proposals"),
        count,
        expected.len() as u64,
    )?;
    let name = format!("resource-(i mod 3), {proposals} proposals");
    let hashed = Timing::of(repeats, proposals, || detect(&self::batch(&keys)).counts());
    Ok([
        Row::new(format!("{name}: conflicts"), count as f64, "pairs", 1).note("each pair equal to the oracle's"),
        row(format!("{name}: detect"), &hashed),
    ])
}

/// Adds the rows of one size and returns what a key costs.
fn random_keys(
    distribution: Distribution,
    proposals: usize,
    options: &Options,
    rows: &mut Vec<Row>,
) -> Result<Timing, BenchError> {
    let keys = distribution.keys(options.seed, proposals);
    let name = format!("{}, {proposals} proposals", distribution.name());
    let batch = batch(&keys);
    let detection = detect(&batch);
    let count = detection.counts().total();
    BenchError::unless_equal(ID, format!("count of {name}"), count, sort_merge(&keys))?;

    rows.push(Row::new(format!("{name}: conflicts"), count as f64, "pairs", 1).note("as many as sorting finds"));
    // The cost that counts is that of a node that judges one batch after the other and keeps its working memory.
    let mut kept = (Batch::new(), Detector::new());
    let whole = Timing::of(options.repeats, proposals, || {
        fill(&mut kept.0, &keys);
        kept.1.detect(&kept.0).counts()
    });
    let cost = |way: &str, timing: &Timing| {
        row(format!("{name}: {way}"), timing)
            .at("what", format!("cost of a key, {} keys", distribution.name()))
            .at("proposals", proposals)
            .at("way", way)
    };
    rows.push(cost("batch and detect", &whole));
    let fresh = Timing::of(options.repeats, proposals, || detect(&self::batch(&keys)).counts());
    rows.push(cost("batch and detect, memory not kept", &fresh));
    let detected = Timing::of(options.repeats, proposals, || kept.1.detect(&batch).counts());
    rows.push(cost("detect", &detected));
    let resolved = Timing::of(options.repeats, proposals, || resolve(Policy::First, &detection).lost());
    rows.push(cost("resolve, policy first", &resolved));
    let sorted = Timing::of(options.repeats, proposals, || sort_merge(&keys));
    rows.push(cost("sort and merge", &sorted));
    if proposals <= PAIRWISE_MAX {
        let compared = Timing::of(options.repeats, proposals, || pairwise(&keys).count());
        rows.push(cost("pairwise", &compared));
    }
    Ok(whole)
}

fn batch(keys: &[String]) -> Batch {
    let mut batch = Batch::with_capacity(keys.len(), keys.len(), keys.iter().map(String::len).sum());
    fill(&mut batch, keys);
    batch
}

fn fill(batch: &mut Batch, keys: &[String]) {
    batch.clear();
    for key in keys {
        batch.push(0, [], [(key.as_bytes(), WriteClass::Exclusive)]);
    }
}

/// The oracle of the pairs, and the cost of the original's way.
fn pairwise(keys: &[String]) -> impl Iterator<Item = (u32, u32)> {
    keys.iter().enumerate().flat_map(move |(i, first)| {
        let later = keys.iter().enumerate().skip(i + 1);
        later
            .filter(move |(_, second)| *second == first)
            .map(move |(j, _)| (i as u32, j as u32))
    })
}

/// The oracle of the counts, and the cost of the other way that is not quadratic.
fn sort_merge(keys: &[String]) -> u64 {
    let mut sorted: Vec<&str> = keys.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted
        .chunk_by(|a, b| a == b)
        .map(|run| run.len() as u64 * (run.len() as u64 - 1) / 2)
        .sum()
}

fn row(name: String, timing: &Timing) -> Row {
    let (least, greatest) = timing.spread();
    let spread = format!("{least:.1} to {greatest:.1} ns over the samples");
    timing.row(name, "ns/key", 1.0).note(spread)
}

#[cfg(test)]
mod tests {
    use super::{pairwise, sort_merge, three_resources};

    #[test]
    fn the_originals_input_has_the_known_counts() {
        for (proposals, pairs) in [(10, 12), (50, 392), (100, 1_617), (500, 41_417)] {
            let [count, _] = three_resources(proposals, 1).unwrap();
            assert_eq!(count.value, f64::from(pairs));
        }
    }

    #[test]
    fn both_oracles_count_alike() {
        let keys: Vec<String> = (0..200).map(|i| format!("k{}", i * i % 37)).collect();
        assert_eq!(pairwise(&keys).count() as u64, sort_merge(&keys));
    }
}
