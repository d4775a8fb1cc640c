//! The accounts of one agent with others: how many signals went between the two, and what became of them.
//!
//! Each agent counts what it does itself: what it sent and what was refused to it, what was delivered to it and what was
//! lost at its mailbox. So the account of a pair has two ends, and at rest what one has sent the other has received or
//! lost, or else it was lost on the way, which the nodes between count.
//!
//! The first [`PAIRS_MAX`] others that an agent has to do with have an account each, for as long as the agent lives; all
//! others share one. An account once begun is complete: it is never closed to make room.

use queenright_protocol::id::NodeId;
use serde::{Deserialize, Serialize};

use super::signal::AgentAddress;

/// With how many others an agent has accounts of their own: 1.5 KiB of them.
pub const PAIRS_MAX: usize = 32;

/// What an agent counts of its signals to another one, and of those from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Taken from this agent for the other.
    pub sent: u64,
    /// Not taken: this agent was told at once.
    pub refused: u64,
    /// Handed to this agent from the other.
    pub delivered: u64,
    /// From the other, dropped at this agent's mailbox: it was full, or the generation had ended.
    pub lost: u64,
}

impl PairCounts {
    /// Counts a signal to the other, which was taken or not.
    pub(super) fn told(&mut self, taken: bool) {
        match taken {
            true => self.sent += 1,
            false => self.refused += 1,
        }
    }
}

/// An agent's account with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPair {
    /// The node of the other.
    pub node: NodeId,
    /// Its number there.
    pub number: u64,
    /// The counts.
    #[serde(flatten)]
    pub counts: PairCounts,
}

/// All accounts of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAccounts {
    /// With those it had to do with first.
    pub pairs: Vec<AgentPair>,
    /// With all others together.
    pub others: PairCounts,
}

/// The accounts while they are kept.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    accounts: AgentAccounts,
    /// The place of the one that was asked for last: most agents send many to the same.
    last: usize,
}

impl Pairs {
    /// The account with another agent, whichever generation of it.
    pub(super) fn with(&mut self, other: AgentAddress) -> &mut PairCounts {
        let is_other = |pair: &AgentPair| (pair.number, pair.node) == (other.number, other.node);
        let pairs = &mut self.accounts.pairs;
        if !pairs.get(self.last).is_some_and(is_other) {
            match pairs.iter().position(is_other) {
                Some(place) => self.last = place,
                None if pairs.len() < PAIRS_MAX => {
                    self.last = pairs.len();
                    pairs.push(AgentPair {
                        node: other.node,
                        number: other.number,
                        counts: PairCounts::default(),
                    });
                }
                None => return &mut self.accounts.others,
            }
        }
        &mut pairs[self.last].counts
    }

    pub(super) fn accounts(&self) -> &AgentAccounts {
        &self.accounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_others_have_accounts_of_their_own_and_the_rest_share_one() {
        let mut pairs = Pairs::default();
        let other = |number| AgentAddress {
            node: NodeId(number % 3),
            number,
            generation: number,
        };
        for round in 1..=3_u64 {
            for number in 0..PAIRS_MAX as u64 + 10 {
                let account = pairs.with(other(number));
                account.sent += 1;
                account.delivered += round;
            }
        }
        let accounts = pairs.accounts();
        assert_eq!(accounts.pairs.len(), PAIRS_MAX);
        let own = PairCounts {
            sent: 3,
            delivered: 6,
            ..PairCounts::default()
        };
        assert!(accounts.pairs.iter().all(|pair| pair.counts == own), "{accounts:?}");
        assert_eq!((accounts.others.sent, accounts.others.delivered), (30, 60));
    }
}
