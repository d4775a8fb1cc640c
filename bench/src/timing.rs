//! Repeated timing of a function.

use std::time::{Duration, Instant};

use crate::report::Row;

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
        let rounds = rounds(time(&mut work, 1));
        let items = items.max(1) as f64 * f64::from(rounds);
        let samples = (0..samples.max(1)).map(|_| time(&mut work, rounds).as_nanos() as f64 / items);
        Self::sorted(samples.collect())
    }

    /// The same for work that says itself how long each of its parts took: what it does to begin, and to check its
    /// results, is not timed. The parts handle so many items each.
    ///
    /// # Errors
    /// The first error of `work`.
    pub fn told<const PARTS: usize, E>(
        samples: u32,
        items: [usize; PARTS],
        mut work: impl FnMut() -> Result<[Duration; PARTS], E>,
    ) -> Result<[Self; PARTS], E> {
        let rounds = rounds(work()?.iter().sum());
        let mut told: [Vec<f64>; PARTS] = std::array::from_fn(|_| Vec::new());
        for _ in 0..samples.max(1) {
            let mut sums = [Duration::ZERO; PARTS];
            for _ in 0..rounds {
                sums.iter_mut().zip(work()?).for_each(|(sum, part)| *sum += part);
            }
            for ((samples, sum), items) in told.iter_mut().zip(sums).zip(items) {
                samples.push(sum.as_nanos() as f64 / (items.max(1) as f64 * f64::from(rounds)));
            }
        }
        Ok(told.map(Self::sorted))
    }

    fn sorted(mut samples: Vec<f64>) -> Self {
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

    /// The row of the median, with all samples, each divided by `scale`: 1,000 for microseconds.
    pub fn row(&self, name: impl Into<String>, unit: impl Into<String>, scale: f64) -> Row {
        let repeats = self.samples.iter().map(|sample| sample / scale);
        Row::new(name, self.median() / scale, unit, self.samples()).repeats(repeats)
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples.len() as u64
    }
}

/// How many rounds of work that takes so long fill a sample.
fn rounds(once: Duration) -> u32 {
    (SAMPLE_MIN.as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32
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
    use std::time::Duration;

    use super::Timing;

    #[test]
    fn the_median_lies_within_the_spread() {
        let timing = Timing::of(5, 100, || (0..100u64).map(std::hint::black_box).sum::<u64>());
        let (least, greatest) = timing.spread();
        assert!(least > 0.0 && least <= timing.median() && timing.median() <= greatest);
        assert_eq!(timing.samples(), 5);
        let row = timing.row("a", "µs", 1e3);
        assert_eq!((row.repeats.len(), row.value), (5, timing.median() / 1e3));
    }

    #[test]
    fn parts_that_are_told_are_divided_by_their_items() {
        let work = || Ok::<_, ()>([Duration::from_micros(10), Duration::from_micros(30)]);
        let [first, second] = Timing::told(3, [10, 2], work).unwrap();
        assert_eq!((first.median(), second.median()), (1_000.0, 15_000.0));
        assert_eq!((first.samples(), second.samples()), (3, 3));
    }

    #[test]
    fn an_error_of_the_work_ends_its_timing() {
        assert_eq!(Timing::told(3, [1], || Err::<[Duration; 1], _>("wrong")), Err("wrong"));
    }
}
