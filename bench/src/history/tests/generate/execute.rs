//! The place that executes calls: the colony, and what a bug makes of its answers.

use std::sync::Arc;

use queenright_protocol::colony::{
    Accept, Body, Caller, Change, Claim, Command, Condition, Content, Ending, Expected, Fence, Finish, FinishWith,
    Holder, NewSession, NewTask, Op, Outcome as ColonyOutcome, Owner, Proposal, Read, Refusal as ColonyRefusal, Round,
    SESSION_GRACE_MS, SessionCommand, State, Task, TaskCommand, TaskId, TokenHash, Wants, Which, Write as ColonyWrite,
};
use queenright_protocol::id::NodeId;
use rand::Rng as _;

use super::{Bug, MS, PROJECT, Simulation};
use crate::history::{Answer, Call, End, Guard, Operation, Outcome, Refusal, TaskStage, Write};

/// How long a session must still live for a second owner to be one for sure: no call takes as long.
const SURELY_HELD_MS: u64 = 10_000;

impl Simulation {
    /// Executes a call; the answer may be lost on its way.
    pub(super) fn execute(&mut self, call: usize) -> (Outcome, Option<u64>) {
        let Call {
            operation, invoked_ns, ..
        } = self.calls[call].clone();
        match &operation {
            Operation::Get { key } => (self.read(key, invoked_ns), None),
            Operation::Change { key, write, guard } => {
                let wanted = change(key, write, *guard);
                self.note(&operation);
                self.change(&operation, Body::Change(wanted))
            }
            Operation::Propose { reads, writes } => {
                let wanted = proposal(reads, writes);
                self.note(&operation);
                self.change(&operation, Body::Propose(wanted))
            }
            Operation::Look { task } => (self.look(task), None),
            Operation::Open { session } => {
                let open = NewSession::new(session.as_str(), TokenHash::of(session));
                self.apply(&operation, Body::Session(SessionCommand::Open(open)))
            }
            Operation::Close { session: name, .. } => {
                let (session, token) = (self.session_ids[name], TokenHash::of(name));
                self.apply(&operation, Body::Session(SessionCommand::Close { session, token }))
            }
            _ => self.hand_out(&operation),
        }
    }
    fn read(&mut self, key: &str, invoked_ns: u64) -> Outcome {
        if self.bug == Some(Bug::StaleRead) && self.random.random_bool(0.1) {
            // A value that was replaced by a change which had returned before this was asked.
            let calls = &self.calls;
            let is_stale = |(old, answer, _): &&(String, Answer, u64)| {
                let Answer::Value {
                    revision: old_revision, ..
                } = answer
                else {
                    return false;
                };
                old == key
                    && calls.iter().any(|call| {
                        let returned = call.returned_ns.is_some_and(|end| end < invoked_ns);
                        let changed = match (&call.operation, &call.outcome) {
                            (Operation::Change { key: other, .. }, Outcome::Ok(Answer::Changed { revision })) => {
                                other == key && revision > old_revision
                            }
                            _ => false,
                        };
                        returned && changed
                    })
            };
            if let Some((_, answer, _)) = self.old_values.iter().find(is_stale) {
                self.spoiled += 1;
                return Outcome::Ok(answer.clone());
            }
        }
        Outcome::Ok(self.present(key))
    }
    fn present(&self, key: &str) -> Answer {
        let record = self
            .colony
            .project(PROJECT)
            .and_then(|project| project.memory().record(key));
        let value = record.and_then(|record| record.value.as_ref());
        Answer::Value {
            revision: record.map_or(0, |record| record.revision),
            value: value.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap()),
        }
    }
    fn note(&mut self, operation: &Operation) {
        for object in operation.objects() {
            if let crate::history::Object::Key(key) = object {
                self.old_values.push((key.to_owned(), self.present(key), self.now_ns));
            }
        }
    }
    fn change(&mut self, operation: &Operation, body: Body) -> (Outcome, Option<u64>) {
        let spoil = self.random.random_bool(0.1);
        let before = self.colony.clone();
        let (outcome, seq) = self.apply(operation, body.clone());
        if !spoil || !matches!(outcome, Outcome::Ok(_)) {
            return (outcome, seq);
        }
        match (self.bug, operation, body) {
            (Some(Bug::LostWrite), ..) => self.colony = before,
            (
                Some(Bug::AppliedTwice),
                Operation::Change {
                    write: Write::Increment(_),
                    guard: Guard::None,
                    ..
                },
                body,
            ) => {
                self.apply(operation, body);
            }
            (Some(Bug::TornProposal), Operation::Propose { reads, writes }, _) if writes.len() > 1 => {
                self.colony = before;
                self.apply(operation, Body::Propose(proposal(reads, &writes[..1])));
            }
            _ => return (outcome, seq),
        }
        self.spoiled += 1;
        (outcome, seq)
    }
    pub(super) fn apply(&mut self, operation: &Operation, body: Body) -> (Outcome, Option<u64>) {
        let command = self.command("test", body);
        let mut applied = self
            .colony
            .apply(self.now_ns / MS, 0, &[round(vec![command])], NodeId(1));
        match applied.outcomes.remove(0).outcome {
            ColonyOutcome::Changed { seq, revision } => (Outcome::Ok(Answer::Changed { revision }), Some(seq)),
            ColonyOutcome::Committed { seq, revisions, .. } => {
                (Outcome::Ok(Answer::Committed { revisions }), Some(seq))
            }
            ColonyOutcome::Lost { conflicts, .. } => {
                let mut keys: Vec<(String, u64)> = conflicts
                    .iter()
                    .map(|conflict| (conflict.key.to_string(), conflict.revision))
                    .collect();
                keys.sort();
                keys.dedup();
                (Outcome::Refused(Refusal::Lost { early: false, keys }), None)
            }
            ColonyOutcome::Refused(ColonyRefusal::Condition { revision, present, .. }) => {
                (Outcome::Refused(Refusal::Condition { revision, present }), None)
            }
            ColonyOutcome::Refused(ColonyRefusal::WrongType { .. }) => (Outcome::Refused(Refusal::WrongType), None),
            ColonyOutcome::Added { seq, tasks } => {
                let Operation::AddTask { task, .. } = operation else {
                    panic!("{operation}: {tasks:?}");
                };
                self.ids.insert(task.clone(), tasks[0].task);
                match tasks[0].existing {
                    true => (Outcome::Refused(Refusal::Exists), None),
                    false => (Outcome::Ok(Answer::Added), Some(seq)),
                }
            }
            ColonyOutcome::Claimed { seq, tasks, .. } => {
                let answer = match (operation, &tasks[..]) {
                    (Operation::ClaimReady { .. }, []) => Answer::NoneReady,
                    (Operation::ClaimReady { .. }, [given]) => {
                        let name = self.task(given.task).and_then(|task| task.name.clone());
                        Answer::Given {
                            task: name.expect("each has one").to_string(),
                            attempt: given.attempt.into(),
                            fence: given.fence.0,
                        }
                    }
                    (_, [claimed]) => Answer::Claimed {
                        attempt: claimed.attempt.into(),
                        fence: claimed.fence.0,
                    },
                    _ => panic!("{operation}: {tasks:?}"),
                };
                (Outcome::Ok(answer), Some(seq))
            }
            ColonyOutcome::SessionOpen { seq, session, .. } => {
                let Operation::Open { session: name } = operation else {
                    panic!("{operation}: {session}");
                };
                self.session_ids.insert(name.clone(), session);
                (Outcome::Ok(Answer::Opened), Some(seq))
            }
            ColonyOutcome::SessionClosed { seq, .. } => (Outcome::Ok(Answer::Closed), Some(seq)),
            ColonyOutcome::Refused(ColonyRefusal::SessionEnded { .. }) => {
                (Outcome::Refused(Refusal::SessionOver), None)
            }
            ColonyOutcome::Accepted { seq, .. } => (Outcome::Ok(Answer::Accepted), Some(seq)),
            ColonyOutcome::Finished { seq, .. } => (Outcome::Ok(Answer::Finished), Some(seq)),
            ColonyOutcome::Refused(ColonyRefusal::TaskHeld { holder, .. }) => {
                (Outcome::Refused(Refusal::Held { by: name_of(&holder) }), None)
            }
            ColonyOutcome::Refused(ColonyRefusal::TaskFinished { .. }) => (Outcome::Refused(Refusal::Over), None),
            ColonyOutcome::Refused(ColonyRefusal::Fenced { .. }) => (Outcome::Refused(Refusal::Fenced), None),
            ColonyOutcome::Refused(ColonyRefusal::UnknownTask { .. }) => (Outcome::Refused(Refusal::NoSuchTask), None),
            other => panic!("{operation}: {other:?}"),
        }
    }
    pub(super) fn command(&self, author: &str, body: Body) -> Command {
        let number = self.colony.seq() + 1;
        Command {
            number,
            settled: number,
            expires_ms: u64::MAX,
            project: PROJECT.into(),
            author: author.into(),
            idempotency_key: None,
            body,
            listed: false,
        }
    }
    fn task(&self, id: TaskId) -> Option<&Task> {
        let project = self.colony.project(PROJECT)?;
        project.tasks().get(id).map(|task| &**task)
    }
    fn look(&self, task: &str) -> Outcome {
        let Some(task) = self.ids.get(task).and_then(|id| self.task(*id)) else {
            return Outcome::Refused(Refusal::NoSuchTask);
        };
        Outcome::Ok(Answer::Task {
            attempts: task.attempts.into(),
            stage: match &task.state {
                State::Pending => TaskStage::Waiting,
                State::Leased(lease) => TaskStage::Leased {
                    by: name_of(&lease.holder),
                    fence: lease.fence.0,
                },
                State::Finished(finished) => TaskStage::Over {
                    done: finished.done,
                    fence: finished.fence.0,
                },
                other => panic!("{}: {other:?}", task.title),
            },
        })
    }
    fn hand_out(&mut self, operation: &Operation) -> (Outcome, Option<u64>) {
        let spoil = self.random.random_bool(0.6).then_some(self.bug).flatten();
        let command = self.task_command(operation);
        let (outcome, seq) = self.apply(operation, Body::Task(command));
        let (Operation::Claim { task, .. } | Operation::Finish { task, .. }) = operation else {
            return (outcome, seq);
        };
        let Some(task) = self.ids.get(task).and_then(|id| self.task(*id)) else {
            return (outcome, seq);
        };
        let State::Leased(lease) = &task.state else {
            return (outcome, seq);
        };
        let Owner::Session { session, .. } = &lease.holder.owner else {
            return (outcome, seq);
        };
        let session = self.colony.sessions().get(*session).expect("it holds a task");
        let surely = session.opened_ms + SESSION_GRACE_MS > self.now_ns / MS + SURELY_HELD_MS;
        let answer = match (spoil, &outcome) {
            (Some(Bug::DoubleClaim), Outcome::Refused(Refusal::Held { .. })) if surely => Answer::Claimed {
                attempt: u64::from(task.attempts) + 1,
                fence: self.colony.seq(),
            },
            (Some(Bug::NoFence), Outcome::Refused(Refusal::Fenced)) if surely => Answer::Finished,
            _ => return (outcome, seq),
        };
        self.spoiled += 1;
        (Outcome::Ok(answer), None)
    }
    fn task_command(&self, operation: &Operation) -> TaskCommand {
        let id = |task: &String| self.ids.get(task).copied().unwrap_or(TaskId { seq: 0, ordinal: 0 });
        let caller = |by: &String| Caller::Session(TokenHash::of(by));
        let claim = |which, by| {
            let caller = caller(by);
            let wants = Wants::default();
            TaskCommand::Claim(Claim { which, caller, wants })
        };
        match operation {
            Operation::AddTask { task, kind } => TaskCommand::Add(vec![NewTask {
                title: task.as_str().into(),
                kind: Some(kind.as_str().into()),
                name: Some(task.as_str().into()),
                ..NewTask::default()
            }]),
            Operation::Claim { task, by } => claim(Which::Ids(vec![id(task)]), by),
            Operation::ClaimReady { kind, by, .. } => {
                let kinds = vec![kind.as_str().into()];
                claim(Which::Ready { kinds, limit: 1 }, by)
            }
            Operation::Accept { task, by, fence } => TaskCommand::Accept(Accept {
                task: id(task),
                fence: Fence(*fence),
                caller: caller(by),
            }),
            Operation::Finish { task, by, fence, end } => TaskCommand::Finish(Finish {
                task: id(task),
                fence: Fence(*fence),
                caller: caller(by),
                ending: match end {
                    End::Done => Ending::Done,
                    End::Failed => Ending::Failed,
                    End::Released => Ending::Released,
                },
                result: Default::default(),
                proposal: None,
                with: FinishWith::default(),
            }),
            _ => unreachable!("the caller has looked"),
        }
    }
}

/// The session that holds a task.
fn name_of(holder: &Holder) -> String {
    match &holder.owner {
        Owner::Session { name, .. } => name.to_string(),
        Owner::Agent { .. } => panic!("no agent claims"),
    }
}

pub(super) fn round(commands: Vec<Command>) -> Round {
    Round {
        node: NodeId(1),
        incarnation: 1,
        commands,
    }
}

fn op(write: &Write) -> Op {
    match write {
        Write::Put(value) => Op::Put(Content::Inline(value.clone().into())),
        Write::Delete => Op::Delete,
        Write::Increment(step) => Op::Increment(*step),
    }
}

fn change(key: &str, write: &Write, guard: Guard) -> Change {
    Change {
        key: key.into(),
        op: op(write),
        tags: Vec::new(),
        condition: match guard {
            Guard::None => Condition::None,
            Guard::Absent => Condition::IfAbsent,
            Guard::Revision(revision) => Condition::IfRevision(revision),
        },
        caller: None,
    }
}

fn proposal(reads: &[(String, u64)], writes: &[(String, Write)]) -> Proposal {
    let reads = reads.iter().map(|(key, revision)| Read {
        key: Arc::from(key.as_str()),
        revision: *revision,
        content: Expected::Any,
    });
    let writes = writes.iter().map(|(key, write)| ColonyWrite {
        key: Arc::from(key.as_str()),
        op: op(write),
        tags: Vec::new(),
        before: None,
    });
    Proposal {
        reads: reads.collect(),
        writes: writes.collect(),
        priority: 0,
        ..Proposal::default()
    }
}
