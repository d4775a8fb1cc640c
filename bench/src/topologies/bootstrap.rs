//! Medians of a few repeats, and how sure they are.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How often samples are drawn anew for an interval.
const DRAWS: usize = 2_000;
/// The shares of the draws that lie below and above an interval of 95 %.
const TAIL: f64 = 0.025;

/// The median of samples, and between which bounds it lies in 95 % of the cases that samples are drawn anew from them, with
/// repeats (the percentile bootstrap): (low, median, high). From the same samples and seed the same interval is made. Of few
/// samples it is about their range: with fewer than 6 it can be no narrower than that allows.
///
/// # Panics
/// If there are no samples.
pub fn median_interval(samples: &[f64], seed: u64) -> (f64, f64, f64) {
    assert!(!samples.is_empty(), "a median needs a sample");
    let mut random = StdRng::seed_from_u64(seed);
    let mut drawn = vec![0.0; samples.len()];
    let mut medians: Vec<f64> = (0..DRAWS)
        .map(|_| {
            drawn.fill_with(|| samples[random.random_range(0..samples.len())]);
            median(&mut drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let below = (DRAWS as f64 * TAIL) as usize;
    (
        medians[below],
        median(&mut samples.to_vec()),
        medians[DRAWS - 1 - below],
    )
}

/// The sample in the middle; of an even number the mean of the two.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() % 2 {
        0 => f64::midpoint(samples[middle - 1], samples[middle]),
        _ => samples[middle],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::median_interval;

    #[test]
    fn one_sample_is_its_own_interval_and_many_equal_ones_too() {
        assert_eq!(median_interval(&[3.5], 1), (3.5, 3.5, 3.5));
        assert_eq!(median_interval(&[2.0; 9], 1), (2.0, 2.0, 2.0));
        assert_eq!(median_interval(&[4.0, 1.0], 7).1, 2.5);
    }

    #[test]
    fn more_samples_of_the_same_spread_make_a_narrower_interval() {
        let width = |count: usize| {
            let samples: Vec<f64> = (0..count).map(|sample| (sample % 10) as f64).collect();
            let (low, _, high) = median_interval(&samples, 3);
            high - low
        };
        assert!(width(400) < width(20), "{} {}", width(400), width(20));
    }

    proptest! {
        #[test]
        fn the_median_lies_in_the_interval_and_the_interval_among_the_samples(
            samples in proptest::collection::vec(-1e6..1e6f64, 1..40),
            seed in any::<u64>(),
        ) {
            let (low, median, high) = median_interval(&samples, seed);
            let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least <= low && low <= median && median <= high && high <= greatest);
            prop_assert_eq!((low, median, high), median_interval(&samples, seed));
        }
    }
}
