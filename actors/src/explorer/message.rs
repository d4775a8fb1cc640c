//! What explorers and their conductor say to each other: signals in msgpack.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | wire, a question | conductor | explorer | nothing, as soon as it is taken in | whom to tell beliefs, and from how many they come |
//! | begin, a question | conductor | explorer | nothing, when it has done that step, and in lock-step has heard all who tell it of that step | do all steps up to this one |
//! | belief | explorer | explorer | | what its sender believes of the goal after a step, and where it is |

use serde::{Deserialize, Serialize};

use crate::agent::AgentAddress;

/// The most that one explorer tells its beliefs to, and hears them from.
pub const TOLD_MAX: usize = 4_096;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    Wire(Wiring),
    Begin { step: u64 },
    Belief(Belief),
}

/// Whom an explorer tells its beliefs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wiring {
    pub(super) tells: Vec<AgentAddress>,
    /// From how many explorers beliefs come after each step.
    pub(super) hears: u32,
    /// Whether a step waits for what others believe after the step before it.
    pub(super) lockstep: bool,
    /// How many steps there will be.
    pub(super) steps: u64,
}

/// What an explorer believes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Belief {
    /// After how many steps.
    pub(super) step: u64,
    /// The number of the explorer.
    pub(super) number: u32,
    /// Where it is.
    pub(super) place: u32,
    /// How probable it takes each site to be the goal.
    pub(super) goal: Vec<f64>,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("plain data is msgpack")
    }

    /// `None` for what is no message, or says what cannot be.
    pub(super) fn decode(bytes: &[u8], sites: usize) -> Option<Message> {
        let message = rmp_serde::from_slice(bytes).ok()?;
        let good = match &message {
            Message::Wire(wiring) => wiring.tells.len() <= TOLD_MAX && wiring.hears as usize <= TOLD_MAX,
            Message::Begin { .. } => true,
            Message::Belief(belief) => {
                let sum: f64 = belief.goal.iter().sum();
                let all = belief.goal.iter().all(|q| (0.0..=1.0).contains(q));
                belief.goal.len() == sites && all && (sum - 1.0).abs() < 1e-6
            }
        };
        good.then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belief(goal: &[f64]) -> Message {
        Message::Belief(Belief {
            step: 7,
            number: 3,
            place: 21,
            goal: goal.to_vec(),
        })
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for message in [
            belief(&[0.25, 0.75]),
            Message::Begin { step: 9 },
            Message::Wire(Wiring {
                tells: Vec::new(),
                hears: 2,
                lockstep: true,
                steps: 60,
            }),
        ] {
            assert_eq!(Message::decode(&message.encode(), 2), Some(message));
        }
    }

    #[test]
    fn what_cannot_be_is_no_message() {
        let refused = |bytes: &[u8]| assert_eq!(Message::decode(bytes, 2), None, "{bytes:?}");
        refused(b"");
        refused(b"hello");
        refused(&belief(&[0.5, 0.6]).encode());
        refused(&belief(&[1.0]).encode());
        refused(&belief(&[f64::NAN, 1.0]).encode());
        refused(&belief(&[-0.5, 1.5]).encode());
        let good = belief(&[0.5, 0.5]).encode();
        (0..good.len()).for_each(|end| refused(&good[..end]));
    }
}
