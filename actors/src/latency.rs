//! How long steps take: counted for ever in fixed buckets, and as exact as a histogram is over the last minute or two.

use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The upper bounds of the buckets, in microseconds: those of a step in memory, of a sync, of a round trip, of an election.
pub const BUCKETS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// For how long a histogram gathers before the next one begins: quantiles are of this one and the one before.
const SPAN: Duration = Duration::from_secs(60);
/// The longest time that is told apart from longer ones: ten minutes, in microseconds.
const LONGEST_US: u64 = 600_000_000;
/// Two digits: a quantile is within a hundredth of what it says, and a histogram takes some 12 KiB.
const DIGITS: u8 = 2;

/// What was measured of one kind of step since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// How long all of them took, in microseconds.
    pub sum_us: u64,
    /// How many took no longer than the bound at the same place in [`BUCKETS_US`].
    pub within: Vec<u64>,
    /// Those of the last minute or two.
    pub recent: Recent,
}

/// The quantiles of the last minute or two, in microseconds; all 0 if there was nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recent {
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// 90 of 100 took no longer.
    pub p90_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1,000 took no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What a node measures of the way of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Latencies {
    /// Commands of this node, from the caller to the outcome.
    pub commands: Latency,
    /// The claims among them, without the time that a caller waits for a task.
    pub claims: Latency,
    /// Rounds of this node, from the cut to the last outcome.
    pub rounds: Latency,
    /// Entries that this node appended as the leader, until they were committed and applied here.
    pub commits: Latency,
    /// Writes of the log that ended with an fdatasync.
    pub log_syncs: Latency,
    /// Passes of the store.
    pub store_passes: Latency,
}

/// Measures one kind of step. From any thread.
#[derive(Debug)]
pub(crate) struct Meter {
    // A mutex: several threads measure, and whoever looks reads. Held for one step of plain code.
    measured: Mutex<Measured>,
}

#[derive(Debug)]
struct Measured {
    count: u64,
    sum_us: u64,
    /// Those that took no longer than the bound at this place, and longer than the one before.
    buckets: [u64; BUCKETS_US.len()],
    began: Instant,
    present: Histogram<u32>,
    before: Histogram<u32>,
}

impl Default for Meter {
    fn default() -> Meter {
        let empty = || Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are in order");
        Meter {
            measured: Mutex::new(Measured {
                count: 0,
                sum_us: 0,
                buckets: [0; BUCKETS_US.len()],
                began: Instant::now(),
                present: empty(),
                before: empty(),
            }),
        }
    }
}

impl Meter {
    /// A step took so long.
    pub(crate) fn note(&self, took: Duration) {
        let us = took.as_micros().min(u128::from(u64::MAX)) as u64;
        let mut measured = self.measured.lock().expect("nothing panics under this lock");
        measured.turn(Instant::now());
        measured.count += 1;
        measured.sum_us = measured.sum_us.saturating_add(us);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = measured.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        measured.present.saturating_record(us);
    }

    /// What was measured so far.
    pub(crate) fn latency(&self) -> Latency {
        let mut measured = self.measured.lock().expect("nothing panics under this lock");
        measured.turn(Instant::now());
        let mut sum = 0;
        let within = measured.buckets.iter().map(|count| {
            sum += count;
            sum
        });
        Latency {
            within: within.collect(),
            count: measured.count,
            sum_us: measured.sum_us,
            recent: measured.recent(),
        }
    }
}

impl Measured {
    /// Begins the next histogram when it is time for it.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < SPAN {
            return;
        }
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.reset();
        if age >= 2 * SPAN {
            self.before.reset();
        }
        self.began = now;
    }

    fn recent(&self) -> Recent {
        let mut both = self.before.clone();
        both.add(&self.present).expect("both have the same bounds");
        if both.is_empty() {
            return Recent::default();
        }
        let quantile = |quantile| both.value_at_quantile(quantile);
        Recent {
            count: both.len(),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: both.max(),
        }
    }
}

/// What the parts of a node measure into that have no measure of their own.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) commands: Meter,
    pub(crate) claims: Meter,
    pub(crate) rounds: Meter,
    pub(crate) commits: Meter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_counted_for_ever_and_told_exactly_for_a_minute() {
        let meter = Meter::default();
        let started = Instant::now();
        assert_eq!(meter.latency().recent, Recent::default());
        for us in 1..=1_000 {
            meter.note(Duration::from_micros(us));
        }
        meter.note(Duration::from_secs(3_600));
        let latency = meter.latency();
        assert_eq!(latency.count, 1_001);
        assert_eq!(latency.sum_us, 500_500 + 3_600_000_000);
        // An hour is in no bucket.
        assert_eq!(latency.within[..4], [100, 250, 500, 1_000]);
        assert_eq!(latency.within.last(), Some(&1_000));
        let near = |us: u64, expected: u64| assert!(us.abs_diff(expected) * 100 <= expected, "{us} is not {expected}");
        near(latency.recent.p50_us, 501);
        near(latency.recent.p90_us, 901);
        near(latency.recent.p99_us, 991);
        near(latency.recent.max_us, LONGEST_US);

        let later = |seconds: u64| {
            let mut measured = meter.measured.lock().unwrap();
            measured.turn(started + Duration::from_secs(seconds));
            measured.recent().count
        };
        assert_eq!([later(90), later(119), later(200), later(500)], [1_001, 1_001, 0, 0]);
        assert_eq!(meter.latency().count, 1_001);
    }
}
