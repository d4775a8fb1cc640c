//! The ratio of two medians, and how far it may be off.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Of fewer pairs nothing is said.
pub(super) const PAIRS_MIN: usize = 3;
/// How often the pairs are drawn anew.
const RESAMPLES: usize = 2_000;
/// What lies outside of the interval, on both sides together.
const OUTSIDE: f64 = 0.05;
/// The same pairs give the same interval.
const SEED: u64 = 1;

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The sample in the middle, of an even number the mean of the two.
///
/// # Panics
/// If there is none.
pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The 95 % percentile bootstrap interval of the median of `b` over that of `a`: pairs are drawn, since the two runs of a
/// pair met the same machine. `None` for fewer than [`PAIRS_MIN`] pairs, and where a value is not above 0.
pub(super) fn ratio_of_medians(a: &[f64], b: &[f64]) -> Option<Interval> {
    let pairs = a.len().min(b.len());
    let is_positive = |value: &f64| value.is_finite() && *value > 0.0;
    if pairs < PAIRS_MIN || !a.iter().chain(b).all(is_positive) {
        return None;
    }
    let mut random = StdRng::seed_from_u64(SEED);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<usize> = (0..pairs).map(|_| random.random_range(0..pairs)).collect();
            let of = |samples: &[f64]| median(&drawn.iter().map(|pair| samples[*pair]).collect::<Vec<_>>());
            of(b) / of(a)
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let outside = (RESAMPLES as f64 * OUTSIDE / 2.0) as usize;
    Some(Interval {
        low: ratios[outside],
        high: ratios[RESAMPLES - 1 - outside],
    })
}
