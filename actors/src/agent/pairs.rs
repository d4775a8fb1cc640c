//! The accounts of one agent with others: how many signals went between the two, and what became of them.
//!
//! Each agent counts what it does itself: what it sent and what was refused to it, what was delivered to it and what was
//! lost at its mailbox. So the account of a pair has two ends, and at rest what one has sent the other has received or
//! lost, or else it was lost on the way, which the nodes between count.
//!
//! The first [`PAIRS_MAX`] others that an agent has to do with have an account each, for as long as the agent lives; all
//! others share one. An account once begun is complete: it is never closed to make room.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;
use queenright_protocol::id::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signal::{AgentAddress, Signal};

/// With how many others an agent has accounts of their own: 2 KiB of them.
pub const PAIRS_MAX: usize = 32;
/// So many accounts are made room for together: most agents have to do with few.
const BLOCK_ACCOUNTS: usize = 4;

/// What an agent counts of its signals to another one, and of those from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// An agent's account with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentAccounts {
    /// With those it had to do with first.
    pub pairs: Vec<AgentPair>,
    /// With all others together.
    pub others: PairCounts,
}

/// The accounts while they are kept. Without a lock: every signal counts in them, on whichever thread it is.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    first: OnceBox<Block>,
    others: OnceBox<Counts>,
}

/// Some accounts, in the order in which they were begun, and those begun after them.
#[derive(Debug, Default)]
struct Block {
    accounts: [OnceLock<Account>; BLOCK_ACCOUNTS],
    next: OnceBox<Block>,
}

#[derive(Debug)]
struct Account {
    node: NodeId,
    number: u64,
    counts: Counts,
}

/// The counts of an account; see [`PairCounts`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
    delivered: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    /// Counts a signal to the other, which was taken or not.
    pub(super) fn told(&self, taken: bool) {
        let counter = match taken {
            true => &self.sent,
            false => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts signals from the other that were handed over.
    pub(super) fn delivered(&self, signals: usize) {
        self.delivered.fetch_add(signals as u64, Ordering::Relaxed);
    }

    /// Counts signals from the other that were dropped.
    pub(super) fn lost(&self, signals: usize) {
        self.lost.fetch_add(signals as u64, Ordering::Relaxed);
    }

    fn read(&self) -> PairCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PairCounts {
            sent: get(&self.sent),
            refused: get(&self.refused),
            delivered: get(&self.delivered),
            lost: get(&self.lost),
        }
    }
}

impl Pairs {
    /// The account with another agent, whichever generation of it; begun if there is none and room for one.
    pub(super) fn with(&self, other: AgentAddress) -> &Counts {
        let mut block = &self.first;
        for _ in 0..PAIRS_MAX / BLOCK_ACCOUNTS {
            let Block { accounts, next } = block.get_or_init(Box::default);
            for account in accounts {
                // Of two that begin their first account here at once, one finds the other's and goes on.
                let account = account.get_or_init(|| Account {
                    node: other.node,
                    number: other.number,
                    counts: Counts::default(),
                });
                if (account.number, account.node) == (other.number, other.node) {
                    return &account.counts;
                }
            }
            block = next;
        }
        self.others.get_or_init(Box::default)
    }

    /// Hands the signals of each sender together to `count`, with the account that they belong to.
    pub(super) fn each(&self, signals: &[Signal], count: impl Fn(&Counts, usize)) {
        for same in signals.chunk_by(|a, b| a.from == b.from) {
            count(self.with(same[0].from), same.len());
        }
    }

    pub(super) fn accounts(&self) -> AgentAccounts {
        let blocks = std::iter::successors(self.first.get(), |block| block.next.get());
        let accounts = blocks.flat_map(|block| &block.accounts).filter_map(OnceLock::get);
        let pairs = accounts.map(|account| AgentPair {
            node: account.node,
            number: account.number,
            counts: account.counts.read(),
        });
        AgentAccounts {
            pairs: pairs.collect(),
            others: self.others.get().map(|counts| counts.read()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn other(number: u64) -> AgentAddress {
        AgentAddress {
            node: NodeId(number % 3),
            number,
            generation: number,
        }
    }

    #[test]
    fn the_first_others_have_accounts_of_their_own_and_the_rest_share_one() {
        let pairs = Pairs::default();
        assert_eq!(pairs.accounts(), AgentAccounts::default());
        for round in 1..=3 {
            for number in 0..PAIRS_MAX as u64 + 10 {
                let account = pairs.with(other(number));
                account.told(true);
                account.delivered(round);
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
        let numbers: Vec<u64> = accounts.pairs.iter().map(|pair| pair.number).collect();
        assert!(numbers.iter().copied().eq(0..PAIRS_MAX as u64), "{numbers:?}");
        assert_eq!((accounts.others.sent, accounts.others.delivered), (30, 60));
    }

    #[test]
    fn threads_that_begin_the_same_accounts_at_once_share_them() {
        let pairs = Pairs::default();
        std::thread::scope(|scope| {
            for first in 0..4 {
                let pairs = &pairs;
                scope.spawn(move || {
                    for signal in 0..40_000_u64 {
                        pairs.with(other((first + signal) % 40)).lost(1);
                    }
                });
            }
        });
        let accounts = pairs.accounts();
        let numbers: BTreeSet<u64> = accounts.pairs.iter().map(|pair| pair.number).collect();
        assert_eq!(numbers.len(), PAIRS_MAX, "{accounts:?}");
        assert!(
            accounts.pairs.iter().all(|pair| pair.counts.lost == 4_000),
            "{accounts:?}"
        );
        assert_eq!(accounts.others.lost, 8 * 4_000);
    }
}
