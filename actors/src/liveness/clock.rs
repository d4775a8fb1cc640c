//! The time that this process lived through, and how far it can trust itself.
//!
//! A process that was stopped, or waited for its turn, must not take that for the silence of the others. Time that passed
//! beyond the next timer does not count, so everything that was due is due as late as the process was. One that is late
//! often also waits longer for answers (the local health of Lifeguard, Dadgar et al. 2018, by the lateness of timers and
//! by suspicions against this node; foca has none).

use std::time::Duration;

use super::pace::Pace;

/// The worst health: times are three times as long then.
const SCORE_MAX: u32 = 4;

/// See above.
#[derive(Debug)]
pub(super) struct Clock {
    pace: Pace,
    /// What does not count of the time that passed.
    slept: Duration,
    /// 0 when the process runs in time.
    score: u32,
    /// When the score changed, or a timer was late.
    changed: Duration,
}

/// The time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) now: Duration,
    /// Whether the process did not run before it.
    pub(super) asleep: bool,
}

impl Clock {
    pub(super) fn new(pace: Pace) -> Clock {
        Clock {
            pace,
            slept: Duration::ZERO,
            score: 0,
            changed: Duration::ZERO,
        }
    }

    /// The time of a step that is made when `passed` has passed since the start, while the next timer is due at `due`.
    pub(super) fn step(&mut self, passed: Duration, due: Option<Duration>) -> Step {
        let now = passed.saturating_sub(self.slept);
        let late = due.map_or(Duration::ZERO, |due| now.saturating_sub(due));
        let excess = late.saturating_sub(self.pace.asleep());
        self.slept += excess;
        let now = now - excess;
        if late > self.pace.late() {
            self.distrust(now);
        } else if self.score > 0 && now.saturating_sub(self.changed) >= self.pace.calm() {
            self.score -= 1;
            self.changed = now;
        }
        let asleep = !excess.is_zero();
        Step { now, asleep }
    }

    /// This process was late, or others found it so. Counts once in a beat: what was late once makes many timers late.
    pub(super) fn distrust(&mut self, now: Duration) {
        if self.score == 0 || now.saturating_sub(self.changed) >= self.pace.beat() {
            self.score = (self.score + 1).min(SCORE_MAX);
        }
        self.changed = now;
    }

    /// A time-out for answers of others.
    pub(super) fn stretch(&self, time: Duration) -> Duration {
        time * (2 + self.score) / 2
    }

    /// What has passed since the start when it is this late for the machine.
    pub(super) fn passed(&self, now: Duration) -> Duration {
        now + self.slept
    }
}
