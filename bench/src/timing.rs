//! Repeated timing of a function.

use std::time::{Duration, Instant};

/// The timings of one function over equal work.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Nanoseconds per item of work, ascending: one entry per sample.
    samples: Vec<f64>,
}

/// A sample lasts at least this long, so that the clock's own cost and resolution vanish in it.
const SAMPLE_MIN: Duration = Duration::from_millis(1);

impl Timing {
    /// Times `work`, which handles `items` items, once to warm up and then `samples` times, at least once. A sample is
    /// as many rounds of work as fill a millisecond.
    pub fn of<T>(samples: u32, items: usize, mut work: impl FnMut() -> T) -> Self {
        let once = time(&mut work, 1).max(Duration::from_nanos(1));
        let rounds = (SAMPLE_MIN.as_nanos() / once.as_nanos()).clamp(1, 1_000_000) as u32;
        let items = items.max(1) as f64 * f64::from(rounds);
        let mut samples: Vec<f64> = (0..samples.max(1))
            .map(|_| time(&mut work, rounds).as_nanos() as f64 / items)
            .collect();
        samples.sort_by(f64::total_cmp);
        Self { samples }
    }

    /// The median, in nanoseconds per item.
    pub fn median(&self) -> f64 {
        self.samples[self.samples.len() / 2]
    }

    /// The least and the greatest sample, in nanoseconds per item.
    pub fn spread(&self) -> (f64, f64) {
        (self.samples[0], self.samples[self.samples.len() - 1])
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples.len() as u64
    }
}

fn time<T>(work: &mut impl FnMut() -> T, rounds: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(work());
    }
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::Timing;

    #[test]
    fn the_median_lies_within_the_spread() {
        let timing = Timing::of(5, 100, || (0..100u64).map(std::hint::black_box).sum::<u64>());
        let (least, greatest) = timing.spread();
        assert!(least > 0.0 && least <= timing.median() && timing.median() <= greatest);
        assert_eq!(timing.samples(), 5);
    }
}
