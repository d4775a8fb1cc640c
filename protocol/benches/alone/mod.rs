//! A colony and the one node that talks to it, without network, log and store; and the commands that are about most often.

use std::sync::Arc;

use bytes::Bytes;
use queenright_protocol::colony::{
    AgentCommand, Applied, Body, Caller, Change, Claim, Colony, Command, Condition, Content, Ending, Finish,
    FinishWith, NewTask, Op, Outcome, Round, TaskCommand, Wants, Which,
};
use queenright_protocol::conflict::{Batch, WriteClass};
use queenright_protocol::id::NodeId;

const NODE: NodeId = NodeId(1);

/// A colony, and the one node that talks to it.
pub(crate) struct Alone {
    /// The colony.
    pub(crate) colony: Colony,
    /// The project of the commands that follow.
    pub(crate) project: Arc<str>,
    /// Cluster time of the rounds that follow, in milliseconds.
    pub(crate) now_ms: u64,
    number: u64,
}

impl Default for Alone {
    fn default() -> Alone {
        Alone {
            colony: Colony::default(),
            project: "p".into(),
            now_ms: 0,
            number: 0,
        }
    }
}

impl Alone {
    /// The next round of the node.
    pub(crate) fn round(&mut self, bodies: Vec<Body>) -> Round {
        let commands = bodies.into_iter().map(|body| {
            self.number += 1;
            Command {
                listed: false,
                number: self.number,
                settled: self.number,
                expires_ms: u64::MAX,
                project: self.project.clone(),
                author: "bench".into(),
                idempotency_key: None,
                body,
            }
        });
        let commands = commands.collect();
        Round {
            node: NODE,
            incarnation: 1,
            commands,
        }
    }

    /// Applies a round.
    pub(crate) fn apply_round(&mut self, round: &Round) -> Applied {
        self.colony
            .apply(self.now_ms, self.now_ms, std::slice::from_ref(round), NODE)
    }

    /// Applies one command.
    ///
    /// # Panics
    /// When it is refused.
    pub(crate) fn apply(&mut self, body: Body) -> Outcome {
        let round = self.round(vec![body]);
        let outcome = self.apply_round(&round).outcomes.swap_remove(0).outcome;
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        outcome
    }
}

/// A put of 64 bytes.
pub(crate) fn put(key: String) -> Body {
    Body::Change(Change {
        key: key.into(),
        op: value(),
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    })
}

/// A value of 64 bytes.
pub(crate) fn value() -> Op {
    Op::Put(Content::Inline(Bytes::from_static(&[b'x'; 64])))
}

/// An addition of so many plain tasks.
pub(crate) fn add(tasks: usize) -> Body {
    let task = NewTask {
        title: "work".into(),
        ..NewTask::default()
    };
    Body::Task(TaskCommand::Add(vec![task; tasks]))
}

/// The start of a hosted agent.
pub(crate) fn start(name: &str) -> (Body, Caller) {
    let (name, generation) = (Arc::<str>::from(name), 1);
    let started = AgentCommand::Started {
        name: name.clone(),
        generation,
    };
    (Body::Agent(started), Caller::Agent { name, generation })
}

/// A claim of ready tasks.
pub(crate) fn claim(caller: &Caller, limit: u32) -> Body {
    Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ready {
            kinds: Vec::new(),
            limit,
        },
        caller: caller.clone(),
        wants: Wants::default(),
    }))
}

/// Finishes what a claim got: commands in the order of the tasks.
///
/// # Panics
/// When it is no claim that got something.
pub(crate) fn finish(claimed: Outcome, caller: &Caller) -> impl Iterator<Item = Body> {
    let Outcome::Claimed { tasks, .. } = claimed else {
        panic!("{claimed:?} is no claim");
    };
    assert!(!tasks.is_empty(), "nothing was ready");
    tasks.into_iter().map(|claimed| {
        Body::Task(TaskCommand::Finish(Finish {
            task: claimed.task,
            fence: claimed.fence,
            caller: caller.clone(),
            ending: Ending::Done,
            result: Bytes::new(),
            proposal: None,
            with: FinishWith::default(),
        }))
    })
}

/// A batch of proposals that write one key each.
pub(crate) fn batch(keys: impl Iterator<Item = String>) -> Batch {
    let mut batch = Batch::new();
    for key in keys {
        batch.push(0, [], [(key.as_bytes(), WriteClass::Exclusive)]);
    }
    batch
}
