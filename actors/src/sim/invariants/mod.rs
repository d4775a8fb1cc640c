//! What must hold, one file each, judged while the cluster runs and at its end.
//!
//! | file | what | source |
//! |---|---|---|
//! | `digest` | two nodes that have applied the same entries have the same state, whenever and after whatever restarts | Raft, State Machine Safety (Ongaro and Ousterhout, 2014, figure 3) |
//! | `committed` | an entry that was committed anywhere is the entry of its place everywhere, for ever | Raft, Leader Completeness and Log Matching, as far as a client can tell |
//! | `durable` | what was acknowledged is there at the end, when all nodes have been down at once | DESIGN.md, promise 3 |
//! | `once` | nothing that was asked for once is carried out twice, however often it was sent | DESIGN.md, section 4 |
//! | `owner` | a task has one live owner; who was overtaken is refused; a finished task stays so | DESIGN.md, promises 2 and 4 |
//! | `order` | the order of all commands does not contradict what anybody saw before they asked | Herlihy and Wing, Linearizability, 1990 |
//! | `waits` | once everything works, no claim waits while a task is ready that it would take, and no request while what it wants is free; nobody waits, and no offer stands, for longer than was said | DESIGN.md, section 4 |
//! | `pause` | whoever asks a node that stays up gets an answer: late perhaps, but no error | issue 2, "a pause, not an error" |

mod committed;
mod digest;
mod durable;
mod once;
mod order;
mod owner;
mod pause;
mod waits;

use std::fmt;
use std::sync::Arc;

use queenright_protocol::colony::Digest;

use self::committed::Committed;
use self::digest::Digests;
use self::order::Order;
use super::history::History;
use super::node::SimNode;
use crate::replica::Snapshot;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The file of the invariant.
    pub(super) of: &'static str,
    pub(super) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.of, self.what)
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Invariants {
    digests: Digests,
    committed: Committed,
    order: Order,
    violations: Vec<Violation>,
}

impl Invariants {
    /// Whether nothing was broken so far. A broken cluster is not driven any further.
    pub(super) fn hold(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn violations(self) -> Vec<Violation> {
        self.violations
    }

    fn judge(&mut self, of: &'static str, problems: Vec<String>) {
        let violations = problems.into_iter().map(|what| Violation { of, what });
        self.violations.extend(violations);
    }

    /// A node has had its millisecond.
    pub(super) fn after_step(&mut self, now_ms: u64, place: usize, node: &SimNode) {
        let committed = self.committed.look(place, node.disk.take_committed());
        self.judge("committed", committed);
        let digest = self.digests.look(place, node);
        self.judge("digest", digest);
        let stopped = pause::look(now_ms, place, node);
        self.judge("pause", stopped);
    }

    /// Agents have had their answers.
    pub(super) fn after_answers(&mut self, history: &History) {
        let order = self.order.look(history);
        self.judge("order", order);
    }

    /// A node has crashed: it will apply its log again from what is left.
    pub(super) fn crashed(&mut self, place: usize) {
        self.digests.crashed(place);
    }

    /// Everything works, and still somebody waits or the nodes differ.
    pub(super) fn not_healed(&mut self, history: &History, digests: &[Option<(u64, Digest)>]) {
        if self.hold() {
            let problems = pause::not_healed(history, digests);
            self.judge("pause", problems);
        }
    }

    /// All is done, all nodes are up and equal.
    pub(super) fn at_the_end(&mut self, history: &History, last: &[Arc<Snapshot>]) {
        self.judge("pause", pause::at_the_end(history));
        for snapshot in last {
            self.judge("durable", durable::at_the_end(history, snapshot));
            self.judge("once", once::at_the_end(history, snapshot));
            self.judge("owner", owner::at_the_end(history, snapshot));
            self.judge("waits", waits::when_healed(snapshot));
        }
    }

    /// Everything works, and all that was due is done.
    pub(super) fn when_healed(&mut self, state: &Snapshot) {
        self.judge("waits", waits::when_healed(state));
    }

    /// Nobody has asked for anything for longer than an offer stands.
    pub(super) fn when_offers_are_over(&mut self, state: &Snapshot) {
        self.judge("waits", waits::when_offers_are_over(state));
    }
}
