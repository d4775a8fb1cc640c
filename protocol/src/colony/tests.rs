//! Promises of the colony. The parts: `random` makes sequences of commands, `model` says what must come of them, `plain` puts
//! the two beside each other.

mod batches;
mod claimable;
mod door_tokens;
mod epochs;
mod events;
mod golden;
mod growth;
mod image;
mod memory;
mod model;
mod plain;
mod pools;
mod projects;
mod proposals;
mod random;
mod rates;
mod recorded;
mod recovery;
mod reservations;
mod resources;
mod rules;
mod sequence;
mod sessions;
mod tasks;
mod usage;
mod waits;
mod work;

use std::sync::Arc;

use bytes::Bytes;

use super::range::GlobRoom;
use super::*;
use crate::conflict::Policy;

/// The wall clock of an entry in these tests: a function of its cluster time.
fn wall_ms(cluster_ms: u64) -> u64 {
    1_700_000_000_000_u64.saturating_add(cluster_ms)
}

/// A colony and one node that talks to it: each command is an entry of its own.
#[derive(Clone, Default)]
struct Rig {
    colony: Colony,
    number: u64,
    now_ms: u64,
}

impl Rig {
    fn command(&mut self, body: Body) -> Command {
        self.number += 1;
        Command {
            number: self.number,
            settled: self.number,
            expires_ms: u64::MAX,
            project: "p".into(),
            author: "ann".into(),
            idempotency_key: None,
            body,
            listed: false,
        }
    }

    fn send(&mut self, command: Command) -> (Outcome, Applied) {
        let round = Round {
            node: NodeId(1),
            incarnation: 1,
            commands: vec![command],
        };
        let now_ms = self.now_ms;
        let mut applied = self.colony.apply(now_ms, wall_ms(now_ms), &[round], NodeId(1));
        (applied.outcomes.remove(0).outcome, applied)
    }

    fn run(&mut self, body: Body) -> Outcome {
        let command = self.command(body);
        self.send(command).0
    }

    fn memory(&self) -> &Memory {
        self.colony.project("p").expect("something was written").memory()
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        let record = self.colony.project("p")?.memory().record(key)?;
        record.value.as_ref().map(|value| &value.bytes[..])
    }
}

fn inline(value: impl Into<Vec<u8>>) -> Op {
    Op::Put(Content::Inline(Bytes::from(value.into())))
}

fn kept(value: &[u8]) -> Op {
    Op::Put(Content::Kept(ContentHash::of(value)))
}

/// Content that is kept by its hash.
fn large(fill: u8) -> Vec<u8> {
    vec![fill; KEPT_BYTES_MIN]
}

fn change(key: &str, op: Op) -> Body {
    change_if(key, op, Condition::None)
}

fn change_if(key: &str, op: Op, condition: Condition) -> Body {
    Body::Change(Change {
        key: key.into(),
        op,
        tags: Vec::new(),
        condition,
        caller: None,
    })
}

fn put(key: &str, value: &str) -> Body {
    change(key, inline(value))
}

fn read(key: &str, revision: u64) -> Read {
    Read {
        key: key.into(),
        revision,
        content: Expected::Any,
    }
}

fn write(key: &str, op: Op) -> Write {
    Write {
        key: key.into(),
        op,
        tags: Vec::new(),
        before: None,
    }
}

fn proposal(reads: Vec<Read>, writes: Vec<Write>) -> Proposal {
    Proposal {
        reads,
        writes,
        ..Proposal::default()
    }
}

fn batch(policy: Policy, proposals: Vec<Proposal>) -> Body {
    Body::ProposeBatch(ProposalBatch { proposals, policy })
}
