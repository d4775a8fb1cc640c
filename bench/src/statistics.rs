//! Medians of repeats, and how far the ratio of two of them may be off.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// With fewer repeats nothing is said about their noise.
pub const REPEATS_MIN: usize = 3;
/// How often the repeats are drawn anew. More changes the third digit of an interval.
const RESAMPLES: usize = 1_000;
/// What lies outside of an interval, on both sides together.
const OUTSIDE: f64 = 0.05;

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// The sample in the middle, of an even number the mean of the two; `None` of none.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    in_the_middle(&mut sorted)
}

fn in_the_middle(samples: &mut [f64]) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    let upper = *samples.get(samples.len() / 2)?;
    match samples.len() % 2 {
        0 => Some(f64::midpoint(samples[samples.len() / 2 - 1], upper)),
        _ => Some(upper),
    }
}

/// The 95 % bootstrap interval (by percentiles) of the median of `after` over the median of `before`: B. Efron and
/// R. J. Tibshirani, An Introduction to the Bootstrap, chapter 13. Of three repeats on each side it cannot be wider than
/// from the least over the greatest to the greatest over the least, and holds the true ratio in 9 of 10 cases. The same
/// arguments give the same interval.
///
/// `None` for fewer than [`REPEATS_MIN`] repeats on a side, and where a repeat is not above 0 or not finite: such a ratio
/// says nothing.
pub fn ratio_of_medians(before: &[f64], after: &[f64], seed: u64) -> Option<Interval> {
    let is_fit = |samples: &[f64]| {
        samples.len() >= REPEATS_MIN && samples.iter().all(|sample| sample.is_finite() && *sample > 0.0)
    };
    if !is_fit(before) || !is_fit(after) {
        return None;
    }
    let mut draw = Draw::new(seed);
    let ratios = (0..RESAMPLES).map(|_| Some(draw.median(after)? / draw.median(before)?));
    Some(Interval::of(ratios.collect::<Option<_>>()?))
}

/// The 95 % bootstrap interval (by percentiles) of the median of `samples`, of three about their range. The same arguments
/// give the same interval; `None` without samples.
pub fn median_interval(samples: &[f64], seed: u64) -> Option<Interval> {
    let mut draw = Draw::new(seed);
    let medians = (0..RESAMPLES).map(|_| draw.median(samples));
    Some(Interval::of(medians.collect::<Option<_>>()?))
}

impl Interval {
    /// What most of the resamples lie between.
    fn of(mut resamples: Vec<f64>) -> Interval {
        resamples.sort_unstable_by(f64::total_cmp);
        let outside = (resamples.len() as f64 * OUTSIDE / 2.0) as usize;
        Interval {
            low: resamples[outside],
            high: resamples[resamples.len() - 1 - outside],
        }
    }
}

/// Draws samples anew, as many as there are, each time from all of them.
struct Draw {
    random: StdRng,
    drawn: Vec<f64>,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        Draw {
            random: StdRng::seed_from_u64(seed),
            drawn: Vec::new(),
        }
    }

    fn median(&mut self, samples: &[f64]) -> Option<f64> {
        self.drawn.clear();
        let draw = |_| samples[self.random.random_range(0..samples.len())];
        self.drawn.extend((0..samples.len()).map(draw));
        in_the_middle(&mut self.drawn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng as _;

    use super::{SeedableRng as _, StdRng, median, median_interval, ratio_of_medians};

    /// `count` repeats around `center`, with a standard deviation of `noise` times it: the sum of twelve uniform numbers
    /// less six is normal enough.
    fn repeats(random: &mut StdRng, count: usize, center: f64, noise: f64) -> Vec<f64> {
        let mut normal = || (0..12).map(|_| random.random_range(0.0..1.0)).sum::<f64>() - 6.0;
        (0..count).map(|_| center * (1.0 + noise * normal())).collect()
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn an_interval_holds_the_true_ratio_in_nine_of_ten_trials() {
        // Of three repeats it is 0.9 exactly in the long run, since the six come in any order: 18 of 20 orders hold it.
        for (count, least) in [(3, 0.88), (5, 0.9), (9, 0.9), (15, 0.9)] {
            let mut random = StdRng::seed_from_u64(7);
            let trials = 400;
            let held = (0..trials).filter(|trial| {
                let true_ratio = 0.5 + (trial % 10) as f64 / 5.0;
                let before = repeats(&mut random, count, 100.0, 0.05);
                let after = repeats(&mut random, count, 100.0 * true_ratio, 0.05);
                let interval = ratio_of_medians(&before, &after, *trial).unwrap();
                interval.low <= true_ratio && true_ratio <= interval.high
            });
            let share = held.count() as f64 / trials as f64;
            assert!(share >= least, "{count} repeats: {share}");
        }
    }

    #[test]
    fn an_interval_is_the_same_each_time_and_lies_between_the_extremes() {
        let (before, after) = ([1.0, 2.0, 4.0], [3.0, 5.0, 8.0]);
        let interval = ratio_of_medians(&before, &after, 1).unwrap();
        assert_eq!(ratio_of_medians(&before, &after, 1), Some(interval));
        assert_eq!((interval.low, interval.high), (3.0 / 4.0, 8.0));
    }

    proptest! {
        #[test]
        fn the_median_lies_in_its_interval_and_the_interval_among_the_samples(
            samples in proptest::collection::vec(-1e6..1e6f64, 1..40),
            seed in any::<u64>(),
        ) {
            let interval = median_interval(&samples, seed).unwrap();
            let middle = median(&samples).unwrap();
            let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least <= interval.low && interval.low <= middle);
            prop_assert!(middle <= interval.high && interval.high <= greatest);
            prop_assert_eq!(median_interval(&samples, seed), Some(interval));
        }
    }

    #[test]
    fn more_samples_of_the_same_spread_make_a_narrower_interval() {
        let width = |count: usize| {
            let samples: Vec<f64> = (0..count).map(|sample| (sample % 10) as f64).collect();
            let interval = median_interval(&samples, 3).unwrap();
            interval.high - interval.low
        };
        assert!(width(400) < width(20), "{} {}", width(400), width(20));
        assert_eq!(median_interval(&[], 1), None);
    }

    #[test]
    fn few_repeats_and_such_as_are_not_above_zero_say_nothing() {
        let three = [1.0, 2.0, 3.0];
        assert_eq!(ratio_of_medians(&three[..2], &three, 1), None);
        assert_eq!(ratio_of_medians(&three, &[], 1), None);
        assert_eq!(ratio_of_medians(&[0.0, 1.0, 2.0], &three, 1), None);
        assert_eq!(ratio_of_medians(&three, &[1.0, f64::NAN, 2.0], 1), None);
    }
}
