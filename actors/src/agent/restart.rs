//! When an agent that has ended is started again: a plain policy, after Erlang/OTP's supervisors (OTP Design Principles,
//! "Supervisor Behaviour": restart strategy of a child, maximum restart intensity; `supervisor.erl`, `add_restart`).
//!
//! As there, each restart counts with its time, those within the last `within_ms` are looked at, and one more than the
//! limit is too many. What differs: the limit is that of one agent, not of all children of a supervisor, and past it the
//! agent is `failed` and the queen goes on; and between the end of an agent and its restart lies a back-off, which
//! doubles with every restart that still counts. OTP restarts at once.
//!
//! | the agent | [`RestartKind::Permanent`] | [`RestartKind::Transient`] | [`RestartKind::Temporary`] |
//! |---|---|---|---|
//! | did what it was to do | restart | `done` | `done` |
//! | said that it cannot go on, or panicked, or ended without being asked | restart | restart | `failed` |
//! | was stopped | `stopped` | `stopped` | `stopped` |

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many restarts a policy may allow within its span: the queen remembers the time of each.
pub const RESTARTS_MAX: u32 = 100;
/// The longest span in which restarts are counted, in milliseconds: a day.
pub const RESTART_SPAN_MS_MAX: u64 = 86_400_000;
/// The longest back-off, in milliseconds: an hour.
pub const BACKOFF_MS_MAX: u64 = 3_600_000;

/// After which ends an agent is started again. The names are OTP's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartKind {
    /// After every end that nobody asked for.
    Permanent,
    /// After an end by an error or a panic.
    #[default]
    Transient,
    /// Never.
    Temporary,
}

/// How an agent is started again, as it stands in its specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// After which ends.
    pub kind: RestartKind,
    /// How many restarts there may be within `within_ms`, up to [`RESTARTS_MAX`]; one more, and the agent is failed.
    pub limit: u32,
    /// The span in which restarts count, in milliseconds, up to [`RESTART_SPAN_MS_MAX`]. Longer than all back-offs
    /// together: otherwise the limit would never be reached.
    pub within_ms: u64,
    /// The wait before the first restart, in milliseconds; doubles with each restart that counts. 0 is no wait.
    pub backoff_ms: u64,
    /// The longest wait, in milliseconds, up to [`BACKOFF_MS_MAX`].
    pub backoff_max_ms: u64,
}

impl Default for RestartPolicy {
    /// An agent that fails at each start is given up after some three seconds; one that fails less often than six times a
    /// minute goes on.
    fn default() -> RestartPolicy {
        RestartPolicy {
            kind: RestartKind::Transient,
            limit: 5,
            within_ms: 60_000,
            backoff_ms: 100,
            backoff_max_ms: 10_000,
        }
    }
}

/// A policy that cannot be: which field, its value, and its bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartPolicyError {
    /// A number is over its bound.
    #[error("restart.{field}: {value} is over the limit of {limit}")]
    OverLimit {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// The first wait is longer than the longest.
    #[error("restart.backoff_ms: {backoff_ms} is over restart.backoff_max_ms, which is {backoff_max_ms}")]
    Backoff {
        /// The first wait.
        backoff_ms: u64,
        /// The longest wait.
        backoff_max_ms: u64,
    },
    /// Restarts would be forgotten before the limit is reached.
    #[error("restart.within_ms: {within_ms} must be over {waits_ms}, the sum of {limit} back-offs")]
    Span {
        /// The span.
        within_ms: u64,
        /// All back-offs together.
        waits_ms: u64,
        /// How many there are.
        limit: u32,
    },
}

impl RestartPolicy {
    /// An agent that is never started again.
    pub fn never() -> RestartPolicy {
        RestartPolicy {
            kind: RestartKind::Temporary,
            ..RestartPolicy::default()
        }
    }

    /// Whether all fields are within their bounds.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), RestartPolicyError> {
        let bounds = [
            ("limit", u64::from(self.limit), u64::from(RESTARTS_MAX)),
            ("within_ms", self.within_ms, RESTART_SPAN_MS_MAX),
            ("backoff_max_ms", self.backoff_max_ms, BACKOFF_MS_MAX),
        ];
        for (field, value, limit) in bounds {
            if value > limit {
                return Err(RestartPolicyError::OverLimit { field, value, limit });
            }
        }
        if self.backoff_ms > self.backoff_max_ms {
            return Err(RestartPolicyError::Backoff {
                backoff_ms: self.backoff_ms,
                backoff_max_ms: self.backoff_max_ms,
            });
        }
        // At most 100 waits of an hour: no overflow.
        let waits_ms = (0..self.limit).map(|counted| self.wait_ms(counted)).sum();
        if waits_ms >= self.within_ms {
            return Err(RestartPolicyError::Span {
                within_ms: self.within_ms,
                waits_ms,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// The wait before a restart when so many others count.
    fn wait_ms(&self, counted: u32) -> u64 {
        let doubled = 1_u64.checked_shl(counted).unwrap_or(u64::MAX);
        self.backoff_ms.saturating_mul(doubled).min(self.backoff_max_ms)
    }
}

/// How an agent ended without being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It did what it was to do.
    Done,
    /// It said that it cannot go on, it panicked, or it ended without being asked.
    Failed,
}

/// What follows from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done.
    Done,
    /// It is failed: this kind of agent is not started again.
    Failed,
    /// It is failed: it would have to be started again once too often.
    TooMany,
    /// It is started again.
    Restart {
        /// After this wait, in milliseconds.
        after_ms: u64,
    },
}

/// The restarts of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Restarts {
    /// When those that may still count were decided, oldest first; never more than the limit.
    counted: VecDeque<u64>,
    total: u64,
}

impl Restarts {
    /// How often the agent was started again.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Judges an end at `now_ms`, any clock that does not go back. A restart counts from now on.
    pub(super) fn judge(&mut self, policy: &RestartPolicy, end: End, now_ms: u64) -> Verdict {
        match (policy.kind, end) {
            (RestartKind::Transient | RestartKind::Temporary, End::Done) => return Verdict::Done,
            (RestartKind::Temporary, End::Failed) => return Verdict::Failed,
            (RestartKind::Permanent, _) | (RestartKind::Transient, End::Failed) => {}
        }
        // OTP counts one that is exactly as old as the span.
        let oldest_ms = now_ms.saturating_sub(policy.within_ms);
        while self.counted.front().is_some_and(|at_ms| *at_ms < oldest_ms) {
            self.counted.pop_front();
        }
        let counted = self.counted.len() as u32;
        if counted >= policy.limit {
            return Verdict::TooMany;
        }
        self.counted.push_back(now_ms);
        self.total += 1;
        Verdict::Restart {
            after_ms: policy.wait_ms(counted),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [RestartKind; 3] = [RestartKind::Permanent, RestartKind::Transient, RestartKind::Temporary];

    /// The model: all ends that led to a restart since ever, and the definition read off them.
    fn model(policy: &RestartPolicy, restarts: &[u64], end: End, now_ms: u64) -> Verdict {
        let again = match policy.kind {
            RestartKind::Permanent => true,
            RestartKind::Transient => end == End::Failed,
            RestartKind::Temporary => false,
        };
        if !again {
            return if end == End::Done {
                Verdict::Done
            } else {
                Verdict::Failed
            };
        }
        let counted = restarts
            .iter()
            .filter(|at_ms| now_ms - **at_ms <= policy.within_ms)
            .count();
        if counted + 1 > policy.limit as usize {
            return Verdict::TooMany;
        }
        let mut after_ms = u128::from(policy.backoff_ms);
        for _ in 0..counted {
            after_ms *= 2;
        }
        Verdict::Restart {
            after_ms: after_ms.min(u128::from(policy.backoff_max_ms)) as u64,
        }
    }

    proptest! {
        #[test]
        fn restarts_are_judged_as_all_of_them_together_say(
            kind in prop::sample::select(&KINDS[..]),
            limit in 0_u32..6,
            within_ms in 1_u64..200,
            backoff_ms in 0_u64..10,
            longer_ms in 0_u64..20,
            ends in prop::collection::vec((0_u64..60, prop::bool::ANY), 0..60),
        ) {
            let backoff_max_ms = backoff_ms + longer_ms;
            let policy = RestartPolicy { kind, limit, within_ms, backoff_ms, backoff_max_ms };
            let (mut restarts, mut all, mut now_ms) = (Restarts::default(), Vec::new(), 0);
            for (later_ms, done) in ends {
                now_ms += later_ms;
                let end = if done { End::Done } else { End::Failed };
                let verdict = restarts.judge(&policy, end, now_ms);
                prop_assert_eq!(verdict, model(&policy, &all, end, now_ms));
                if let Verdict::Restart { .. } = verdict {
                    all.push(now_ms);
                }
                prop_assert!(restarts.counted.len() <= limit as usize);
                prop_assert_eq!(restarts.total(), all.len() as u64);
            }
        }

        #[test]
        fn an_agent_that_fails_at_every_start_is_given_up_under_any_policy_that_is_allowed(
            limit in 0..=RESTARTS_MAX,
            within_ms in 0..=RESTART_SPAN_MS_MAX,
            backoff_ms in 0_u64..100_000,
            longer_ms in 0_u64..100_000,
        ) {
            let backoff_max_ms = backoff_ms + longer_ms;
            let policy = RestartPolicy { kind: RestartKind::Transient, limit, within_ms, backoff_ms, backoff_max_ms };
            let (mut restarts, mut now_ms, mut started) = (Restarts::default(), 0, 0);
            while let Verdict::Restart { after_ms } = restarts.judge(&policy, End::Failed, now_ms) {
                now_ms += after_ms;
                started += 1;
                if started > limit {
                    break;
                }
            }
            // A policy that would go on for ever is refused.
            prop_assert!(policy.check().is_err() || started == limit);
        }
    }

    #[test]
    fn a_policy_out_of_bounds_is_refused_by_field_value_and_bound() {
        let fine = RestartPolicy::default();
        assert_eq!(fine.check(), Ok(()));
        assert_eq!(RestartPolicy::never().check(), Ok(()));
        let refused = |policy: RestartPolicy| policy.check().unwrap_err().to_string();
        assert_eq!(
            refused(RestartPolicy { limit: 101, ..fine }),
            "restart.limit: 101 is over the limit of 100"
        );
        assert_eq!(
            refused(RestartPolicy {
                within_ms: 86_400_001,
                ..fine
            }),
            "restart.within_ms: 86400001 is over the limit of 86400000"
        );
        assert_eq!(
            refused(RestartPolicy {
                backoff_max_ms: u64::MAX,
                ..fine
            }),
            format!("restart.backoff_max_ms: {} is over the limit of 3600000", u64::MAX)
        );
        assert_eq!(
            refused(RestartPolicy {
                backoff_ms: 10_001,
                ..fine
            }),
            "restart.backoff_ms: 10001 is over restart.backoff_max_ms, which is 10000"
        );
        assert_eq!(
            refused(RestartPolicy {
                within_ms: 3_100,
                ..fine
            }),
            "restart.within_ms: 3100 must be over 3100, the sum of 5 back-offs"
        );
    }

    #[test]
    fn what_a_specification_does_not_say_is_the_default() {
        let policy: RestartPolicy = serde_json::from_str(r#"{"kind": "permanent", "limit": 2}"#).unwrap();
        let expected = RestartPolicy {
            kind: RestartKind::Permanent,
            limit: 2,
            ..RestartPolicy::default()
        };
        assert_eq!(policy, expected);
        assert!(serde_json::from_str::<RestartPolicy>(r#"{"max": 2}"#).is_err());
    }
}
