//! What the simulated agents asked for and what they were answered: what the invariants judge.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use queenright_protocol::colony::{
    Accept, Acquire, Body, Caller, Change, Claim, Claimed, Condition, Content, Ending, Fence, Finish, FinishWith,
    Leave, Mode, NewSession, NewTask, Op, Outcome, Proposal, Read, Release, Released, ReservationCommand,
    ReservationId, SessionCommand, SessionId, TaskCommand, TaskId, TokenHash, WaitId, Wants, Which, Write,
};

use crate::queen::SubmitError;
use crate::replica::Snapshot;

/// How long files are reserved, in milliseconds of cluster time.
const RESERVED_MS: u64 = 1_500;

/// The project that all of it happens in.
pub(super) const PROJECT: &str = "sim";

/// What an agent asks for.
#[derive(Clone, Debug)]
pub(super) enum Want {
    /// Write this token behind the others in a journal: appended twice it stands there twice, lost it is not there.
    Note { journal: String, token: String },
    /// Add one to a counter.
    Count { counter: String },
    /// Write a register, whatever it holds.
    Put { register: String, value: String },
    /// Write a register if it still has this revision.
    Swap {
        register: String,
        revision: u64,
        value: String,
    },
    /// Write two registers and a token if the registers still have these revisions.
    Propose {
        registers: [(String, u64); 2],
        value: String,
        journal: String,
        token: String,
    },
    /// Add a task.
    Add { title: String },
    /// Take the oldest pending task, in a session of its own, or wait for one for so long; 0 is not at all.
    Claim { token: String, wait_ms: u64 },
    /// Hear what a claim that waits is offered, from the node that it was sent to.
    AwaitOffer(AwaitedClaim),
    /// Wait for a claim no more.
    Leave(AwaitedClaim),
    /// Take files exclusively, in a session of its own, or wait for them for so long.
    Reserve {
        resource: String,
        token: String,
        wait_ms: u64,
    },
    /// Hear whether a request that waits is granted, from the node that it was sent to.
    AwaitGrant(Reserved),
    /// Give files back, or wait for them no more.
    Release(Reserved),
    /// Say that work on a task goes on.
    Accept(Hold),
    /// End a hold. One that ends well writes a token in the same step.
    Finish { hold: Hold, ending: Ending, token: String },
    /// Close the session of a hold: what it holds returns.
    Abandon(Hold),
    /// Read the state, linearizably.
    Read,
}

/// What an agent believes that it holds.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) task: TaskId,
    pub(super) fence: Fence,
    pub(super) session: SessionId,
    pub(super) token: String,
}

/// A claim that waits.
#[derive(Clone, Debug)]
pub(super) struct AwaitedClaim {
    pub(super) wait: WaitId,
    pub(super) session: SessionId,
    pub(super) token: String,
}

/// What was reserved, or is waited for.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    pub(super) reservation: ReservationId,
    pub(super) token: String,
}

/// The journal of the tasks that were done.
const DONE: &str = "journal/done";

/// One wish of an agent, until it has an answer or is given up.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) agent: usize,
    pub(super) want: Want,
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) asked_ms: u64,
    /// The highest position that anybody had been shown when it was asked for.
    pub(super) shown: u64,
    pub(super) state: CallState,
}

#[derive(Debug)]
pub(super) enum CallState {
    Open,
    Answered(Answered),
    /// The node that had it is gone, and with it the way to an answer.
    Unknown,
}

#[derive(Debug)]
pub(super) enum Answered {
    Outcome(Outcome),
    NotTaken(SubmitError),
    /// The position that a read saw.
    Seen(u64),
    /// What a claim that waited was offered: nothing when its wait was over.
    Offered(Vec<Claimed>),
    /// Whether a request that waited was granted.
    Settled(bool),
}

impl Call {
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.state, CallState::Answered(..))
    }
}

impl Answered {
    /// The position of the command in the order of all, or of the state that was read.
    pub(super) fn position(&self) -> Option<u64> {
        match self {
            Answered::Outcome(outcome) => position(outcome),
            Answered::Seen(seq) => Some(*seq),
            Answered::NotTaken(_) | Answered::Offered(_) | Answered::Settled(_) => None,
        }
    }
}

/// The position that an outcome names.
pub(super) fn position(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Changed { seq, .. } | Outcome::Committed { seq, .. } | Outcome::Lost { seq, .. } => Some(*seq),
        Outcome::Added { seq, .. } | Outcome::Claimed { seq, .. } => Some(*seq),
        Outcome::Accepted { seq, .. } | Outcome::Finished { seq, .. } => Some(*seq),
        Outcome::SessionClosed { seq, .. } => Some(*seq),
        Outcome::Waiting { seq, .. } | Outcome::Left { seq, .. } => Some(*seq),
        Outcome::Reserved { seq, .. } | Outcome::Released { seq, .. } => Some(*seq),
        _ => None,
    }
}

/// All calls, by number.
#[derive(Default)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    /// The call behind each ticket: one that was repeated has several.
    pub(super) tickets: BTreeMap<u64, usize>,
    /// The highest position that anybody has been shown.
    pub(super) shown: u64,
    /// Answers that say something else than the first one to the same call.
    pub(super) contradictions: Vec<String>,
}

impl History {
    /// Notes an answer. Returns the number of the call if it is its first one.
    pub(super) fn answer(&mut self, ticket: u64, answered: Answered) -> Option<usize> {
        let number = *self.tickets.get(&ticket)?;
        let call = &mut self.calls[number];
        if let CallState::Answered(Answered::Outcome(before)) = &call.state {
            if let Answered::Outcome(now) = &answered
                && now != before
            {
                let call = &call.want;
                let text = format!("call {number} ({call:?}) was answered {before:?}, then {now:?}");
                self.contradictions.push(text);
            }
            return None;
        }
        self.shown = self.shown.max(answered.position().unwrap_or_default());
        call.state = CallState::Answered(answered);
        Some(number)
    }

    /// The calls that wrote something, with what they were answered if they were.
    pub(super) fn writes(&self) -> impl Iterator<Item = (&Call, Option<&Outcome>)> {
        let writes = self.calls.iter().filter(|call| !call.want.only_asks());
        writes.map(|call| match &call.state {
            CallState::Answered(Answered::Outcome(outcome)) => (call, Some(outcome)),
            _ => (call, None),
        })
    }
}

impl Want {
    /// Whether it changes nothing.
    pub(super) fn only_asks(&self) -> bool {
        matches!(self, Want::Read | Want::AwaitOffer(_) | Want::AwaitGrant(_))
    }

    /// The command; nothing for what only asks.
    pub(super) fn body(&self) -> Option<Body> {
        let change = |key: &str, op, condition| {
            Some(Body::Change(Change {
                key: key.into(),
                op,
                tags: Vec::new(),
                condition,
                caller: None,
            }))
        };
        match self {
            Want::Note { journal, token } => change(journal, append(token), Condition::None),
            Want::Count { counter } => change(counter, Op::Increment(1), Condition::None),
            Want::Put { register, value } => change(register, put(value), Condition::None),
            Want::Swap {
                register,
                revision,
                value,
            } => change(register, put(value), Condition::IfRevision(*revision)),
            Want::Propose {
                registers,
                value,
                journal,
                token,
            } => {
                let reads = registers.iter().map(|(register, revision)| Read {
                    key: register.as_str().into(),
                    revision: *revision,
                    content: Default::default(),
                });
                let values = registers.iter().map(|(register, _)| write(register, put(value)));
                Some(Body::Propose(Proposal {
                    reads: reads.collect(),
                    writes: values.chain([write(journal, append(token))]).collect(),
                    ..Proposal::default()
                }))
            }
            Want::Add { .. } | Want::Claim { .. } | Want::Leave(_) | Want::Accept(_) | Want::Finish { .. } => {
                self.of_tasks()
            }
            Want::Reserve { .. } | Want::Release(_) => self.of_reservations(),
            Want::Abandon(hold) => Some(Body::Session(SessionCommand::Close {
                session: hold.session,
                token: TokenHash::of(&hold.token),
            })),
            Want::Read | Want::AwaitOffer(_) | Want::AwaitGrant(_) => None,
        }
    }

    fn of_tasks(&self) -> Option<Body> {
        let command = match self {
            Want::Add { title } => TaskCommand::Add(vec![NewTask {
                title: title.as_str().into(),
                ..NewTask::default()
            }]),
            Want::Claim { token, wait_ms } => TaskCommand::Claim(Claim {
                which: Which::Ready {
                    kinds: Vec::new(),
                    limit: 1,
                },
                caller: opens(token),
                wants: Wants {
                    wait_ms: (*wait_ms > 0).then_some(*wait_ms),
                    ..Wants::default()
                },
            }),
            Want::Leave(AwaitedClaim { wait, token, .. }) => TaskCommand::Leave(Leave {
                wait: *wait,
                caller: caller(token),
            }),
            Want::Accept(Hold { task, fence, token, .. }) => TaskCommand::Accept(Accept {
                task: *task,
                fence: *fence,
                caller: caller(token),
            }),
            Want::Finish { hold, ending, .. } => TaskCommand::Finish(Finish {
                task: hold.task,
                fence: hold.fence,
                caller: caller(&hold.token),
                ending: *ending,
                result: Bytes::new(),
                proposal: self.token().map(|(journal, token)| Proposal {
                    writes: vec![write(journal, append(token))],
                    ..Proposal::default()
                }),
                with: FinishWith::default(),
            }),
            _ => return None,
        };
        Some(Body::Task(command))
    }

    fn of_reservations(&self) -> Option<Body> {
        let command = match self {
            Want::Reserve {
                resource,
                token,
                wait_ms,
            } => ReservationCommand::Acquire(Acquire {
                resources: vec![queenright_protocol::colony::Want {
                    resource: resource.as_str().into(),
                    mode: Mode::Exclusive,
                }],
                caller: opens(token),
                ttl_ms: Some(RESERVED_MS),
                wait_ms: *wait_ms,
                reason: None,
                task: None,
            }),
            Want::Release(Reserved { reservation, token }) => ReservationCommand::Release(Release {
                which: Released::Ids(vec![*reservation]),
                caller: caller(token),
            }),
            _ => return None,
        };
        Some(Body::Reservation(command))
    }

    /// The journal and the token that it writes.
    pub(super) fn token(&self) -> Option<(&str, &str)> {
        match self {
            Want::Note { journal, token } | Want::Propose { journal, token, .. } => Some((journal, token)),
            Want::Finish {
                ending: Ending::Done,
                token,
                ..
            } => Some((DONE, token)),
            _ => None,
        }
    }
}

/// A session that closes with the last that it holds.
fn opens(token: &str) -> Caller {
    Caller::Opens(Box::new(NewSession {
        passing: true,
        ..NewSession::new("agent", TokenHash::of(token))
    }))
}

fn caller(token: &str) -> Caller {
    Caller::Session(TokenHash::of(token))
}

fn write(key: &str, op: Op) -> Write {
    Write {
        key: key.into(),
        op,
        tags: Vec::new(),
        before: None,
    }
}

fn append(token: &str) -> Op {
    Op::Append(Bytes::copy_from_slice(token.as_bytes()))
}

fn put(value: &str) -> Op {
    Op::Put(Content::Inline(Bytes::copy_from_slice(value.as_bytes())))
}

/// The text under a key; empty if there is none.
pub(super) fn text(snapshot: &Snapshot, key: &str) -> String {
    let memory = snapshot.colony.project(PROJECT).map(|project| project.memory());
    let record = memory.and_then(|memory| memory.record(key));
    let value = record.and_then(|record| record.value.as_ref());
    value.map_or_else(String::new, |value| String::from_utf8_lossy(&value.bytes).into_owned())
}

/// The revision of a key.
pub(super) fn revision(snapshot: &Snapshot, key: &str) -> u64 {
    let memory = snapshot.colony.project(PROJECT).map(|project| project.memory());
    memory.map_or(0, |memory| memory.revision(key))
}
