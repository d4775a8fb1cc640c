//! How long the other end of a link takes to answer: a frame carries a question, its gateway answers with the next frame.
//! So it is the time of the way there and back and of what is read before it, not that of envelopes that wait.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How many answers are remembered: a minute's.
const SAMPLES: usize = 64;

/// How long the other end took to answer, on the connection that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrip {
    /// The last time, in microseconds.
    pub last_us: u64,
    /// The shortest of the last ones.
    pub min_us: u64,
    /// Their median.
    pub p50_us: u64,
    /// How many they are: 64 at most.
    pub samples: u64,
}

/// The questions and answers of one connection.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    samples: VecDeque<Duration>,
    /// The question that has no answer yet, and when it left.
    asked: Option<(u32, Instant)>,
    last: u32,
}

impl RoundTrips {
    /// Whether a question has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The number of a question that leaves now.
    pub(super) fn ask(&mut self, now: Instant) -> u32 {
        // 0 stands for none.
        self.last = self.last.wrapping_add(1).max(1);
        self.asked = Some((self.last, now));
        self.last
    }

    /// An answer came: how long it took. One that nobody waits for tells nothing.
    pub(super) fn answered(&mut self, number: u32, now: Instant) -> Option<Duration> {
        let (_, left) = self.asked.take_if(|(asked, _)| *asked == number)?;
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        let took = now.saturating_duration_since(left);
        self.samples.push_back(took);
        Some(took)
    }

    /// What was measured; nothing before the first answer.
    pub(super) fn measured(&self) -> Option<RoundTrip> {
        let last = self.samples.back()?;
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let micros = |time: &Duration| time.as_micros() as u64;
        Some(RoundTrip {
            last_us: micros(last),
            min_us: micros(&sorted[0]),
            p50_us: micros(&sorted[(sorted.len() - 1) / 2]),
            samples: sorted.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_last_answers() {
        let (mut trips, mut now) = (RoundTrips::default(), Instant::now());
        assert_eq!(trips.measured(), None);
        let mut answer = |trips: &mut RoundTrips, micros: u64| {
            let number = trips.ask(now);
            now += Duration::from_micros(micros);
            trips.answered(number, now);
        };
        for micros in [900, 100, 500] {
            answer(&mut trips, micros);
        }
        let expected = RoundTrip {
            last_us: 500,
            min_us: 100,
            p50_us: 500,
            samples: 3,
        };
        assert_eq!(trips.measured(), Some(expected));
        for _ in 0..SAMPLES {
            answer(&mut trips, 700);
        }
        let measured = trips.measured().unwrap();
        assert_eq!((measured.min_us, measured.samples), (700, SAMPLES as u64));
    }

    #[test]
    fn an_answer_to_another_question_tells_nothing() {
        let (mut trips, now) = (RoundTrips::default(), Instant::now());
        trips.answered(0, now);
        let number = trips.ask(now);
        trips.answered(number + 1, now);
        assert!(trips.is_waiting() && trips.measured().is_none());
        trips.answered(number, now);
        trips.answered(number, now);
        assert_eq!(trips.measured().map(|measured| measured.samples), Some(1));
    }
}
