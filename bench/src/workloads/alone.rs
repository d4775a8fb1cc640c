//! The rules alone: a colony in this thread and the one node that talks to it. `apply` is the function that every node
//! calls for every entry of its log; there is no network, no log and no store around it here.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queenright_protocol::colony::{
    AgentCommand, Applied, Body, Caller, Change, Claim, Claimed, Colony, Command, Condition, Content, NewTask, Op,
    Outcome, Round, TaskCommand, TaskId, Tasks, Wants, Which,
};
use queenright_protocol::id::NodeId;

use crate::BenchError;

/// The node.
pub(super) const NODE: NodeId = NodeId(1);

/// A colony, and the one node that talks to it.
pub(super) struct Alone {
    workload: &'static str,
    pub(super) colony: Colony,
    /// The project of the commands that follow.
    pub(super) project: Arc<str>,
    /// Cluster time of the rounds that follow, in milliseconds.
    pub(super) now_ms: u64,
    number: u64,
}

impl Alone {
    /// An empty colony. Errors will name the workload.
    pub(super) fn new(workload: &'static str) -> Alone {
        Alone {
            workload,
            colony: Colony::default(),
            project: "p".into(),
            now_ms: 0,
            number: 0,
        }
    }

    /// A round of one command, the next of the node.
    pub(super) fn round(&mut self, body: Body) -> Round {
        self.number += 1;
        let command = Command {
            number: self.number,
            settled: self.number,
            expires_ms: u64::MAX,
            project: self.project.clone(),
            author: self.workload.into(),
            idempotency_key: None,
            body,
            listed: false,
        };
        Round {
            node: NODE,
            incarnation: 1,
            commands: vec![command],
        }
    }

    /// Applies a round; what it did, and how long that took.
    pub(super) fn apply_round(&mut self, round: &Round) -> (Applied, Duration) {
        let started = Instant::now();
        let applied = self
            .colony
            .apply(self.now_ms, self.now_ms, std::slice::from_ref(round), NODE);
        (applied, started.elapsed())
    }

    /// Applies one command; its outcome, and how long that took.
    pub(super) fn apply(&mut self, body: Body) -> (Outcome, Duration) {
        let round = self.round(body);
        let (mut applied, took) = self.apply_round(&round);
        (applied.outcomes.swap_remove(0).outcome, took)
    }

    /// Applies the commands of a round as if they came again: as new ones.
    pub(super) fn again(&mut self, round: &mut Round) -> Applied {
        for command in &mut round.commands {
            self.number += 1;
            (command.number, command.settled) = (self.number, self.number);
        }
        self.apply_round(round).0
    }

    /// How long each round without commands takes until nothing is due.
    pub(super) fn until_nothing_is_due(&mut self) -> Vec<Duration> {
        let empty = Round {
            node: NODE,
            incarnation: 1,
            commands: Vec::new(),
        };
        let mut rounds = Vec::new();
        while self.colony.due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            rounds.push(self.apply_round(&empty).1);
        }
        rounds
    }

    /// Says that a command was answered by something else than the workload needs.
    pub(super) fn unexpected<T>(&self, expected: &str, found: &impl Debug) -> Result<T, BenchError> {
        Err(BenchError::Mismatch {
            workload: self.workload,
            what: "rules alone".to_owned(),
            found: format!("{found:?}").chars().take(200).collect(),
            expected: expected.to_owned(),
        })
    }

    /// Starts a hosted agent.
    pub(super) fn start_agent(&mut self, name: &str) -> Result<Caller, BenchError> {
        let (name, generation): (Arc<str>, u64) = (name.into(), 1);
        let started = AgentCommand::Started {
            name: name.clone(),
            generation,
        };
        match self.apply(Body::Agent(started)).0 {
            Outcome::AgentStarted { .. } => Ok(Caller::Agent { name, generation }),
            other => self.unexpected("the agent lives", &other),
        }
    }

    /// Adds tasks; their ids, and how long that took.
    pub(super) fn add(&mut self, tasks: Vec<NewTask>) -> Result<(Vec<TaskId>, Duration), BenchError> {
        match self.apply(Body::Task(TaskCommand::Add(tasks))) {
            (Outcome::Added { tasks, .. }, took) => Ok((tasks.iter().map(|added| added.task).collect(), took)),
            (other, _) => self.unexpected("the tasks are there", &other),
        }
    }

    /// Takes so many tasks that are ready; which there were, and how long that took.
    pub(super) fn claim(&mut self, caller: &Caller, limit: u32) -> Result<(Vec<Claimed>, Duration), BenchError> {
        let kinds = Vec::new();
        match self.apply(claim(Which::Ready { kinds, limit }, caller)) {
            (Outcome::Claimed { tasks, .. }, took) => Ok((tasks, took)),
            (other, _) => self.unexpected("what is ready", &other),
        }
    }

    /// The tasks of the present project, which has some.
    pub(super) fn tasks(&self) -> &Tasks {
        self.colony.project(&self.project).expect("tasks were added").tasks()
    }
}

pub(super) fn claim(which: Which, caller: &Caller) -> Body {
    Body::Task(TaskCommand::Claim(Claim {
        which,
        caller: caller.clone(),
        wants: Wants::default(),
    }))
}

pub(super) fn inline(value: impl Into<Vec<u8>>) -> Op {
    Op::Put(Content::Inline(value.into().into()))
}

pub(super) fn put(key: &str, value: impl Into<Vec<u8>>) -> Body {
    Body::Change(Change {
        key: key.into(),
        op: inline(value),
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    })
}
