//! A client that records what it asks for and what it is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use queenright_actors::node::Consistency;
use queenright_protocol::colony::ContentHash;

use super::operation::{Answer, Guard, Operation, Outcome, Refusal, Write};
use super::record::{RecordError, Recorder};
use super::tasks;
use crate::client::wire::{ChangeOp, ChangeRequest, Code, Loss, Problem, ProposalOutcome, ProposalRequest, WireHolder};
use crate::client::wire::{ReadRequest, WriteRequest};
use crate::client::{self, Client, ClientError, Lookup, PutOptions};

/// How long to wait before something is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// What a recorded call was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The outcome.
    pub outcome: Outcome,
    /// The place of a change in the order of all commands.
    pub seq: Option<u64>,
}

/// A client that records what it does, as one process of a history.
#[derive(Clone)]
pub struct RecordingClient {
    doors: Vec<Client>,
    process: u32,
    recorder: Arc<Recorder>,
    patience: Duration,
}

impl RecordingClient {
    /// A process that asks one door, once.
    pub fn asking_once(door: Client, process: u32, recorder: Arc<Recorder>) -> RecordingClient {
        RecordingClient {
            doors: vec![door],
            process,
            recorder,
            patience: Duration::ZERO,
        }
    }

    /// A process that repeats what has no answer at the next door, under one idempotency key, for up to `patience`.
    pub fn repeating(doors: Vec<Client>, process: u32, recorder: Arc<Recorder>, patience: Duration) -> RecordingClient {
        RecordingClient {
            doors,
            process,
            recorder,
            patience,
        }
    }

    /// The same doors, as another process: one that waits for an answer that does not come asks for nothing else.
    #[must_use]
    pub fn as_process(self, process: u32) -> RecordingClient {
        RecordingClient { process, ..self }
    }

    /// Asks for something and records it.
    ///
    /// # Errors
    /// [`RecordError`] when it cannot be recorded, or is answered by something that no client should be told.
    pub async fn call(&self, operation: Operation) -> Result<Recorded, RecordError> {
        let call = self.recorder.invoked(self.process, operation.clone())?;
        let told = self.ask(call, &operation).await?;
        self.recorder.returned(call, told.outcome.clone(), told.seq)?;
        Ok(told)
    }

    async fn ask(&self, call: u64, operation: &Operation) -> Result<Recorded, RecordError> {
        // A close has no idempotency key: repeated, it would be refused for what it did itself.
        if self.patience.is_zero() || matches!(operation, Operation::Close { .. }) {
            return attempt(&self.doors[0], &self.recorder, operation, None).await;
        }
        let key = format!("history-{call}");
        let until = Instant::now() + self.patience;
        // Once an attempt may have been carried out, a refusal to take a later one says nothing.
        let mut last = Refusal::NotTaken.told();
        for door in self.doors.iter().cycle() {
            let told = attempt(door, &self.recorder, operation, Some(&key)).await?;
            match told.outcome {
                Outcome::Unknown => last = told,
                Outcome::Refused(Refusal::NotTaken) => {}
                _ => return Ok(told),
            }
            if Instant::now() + PAUSE >= until {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(last)
    }
}

impl Refusal {
    pub(super) fn told(self) -> Recorded {
        Recorded {
            outcome: Outcome::Refused(self),
            seq: None,
        }
    }
}

impl Answer {
    pub(super) fn told(self, seq: Option<u64>) -> Recorded {
        Recorded {
            outcome: Outcome::Ok(self),
            seq,
        }
    }
}

/// Asks one door once.
async fn attempt(
    door: &Client,
    recorder: &Recorder,
    operation: &Operation,
    key: Option<&str>,
) -> Result<Recorded, RecordError> {
    let told = match operation {
        Operation::Get { key } => get(door, key).await,
        Operation::Change {
            key: name,
            write,
            guard,
        } => change(door, name, write, *guard, key).await,
        Operation::Propose { reads, writes } => propose(door, reads, writes, key).await,
        _ => tasks::attempt(door, recorder.ids(), operation, key).await,
    };
    told.or_else(|error| of_error(operation, recorder, error))
}

async fn get(door: &Client, key: &str) -> Result<Recorded, ClientError> {
    let (revision, value) = match door.get(key, Consistency::Linearizable).await? {
        Lookup::Absent { revision } => (revision, None),
        Lookup::Found(found) => {
            if ContentHash::of(&found.value) != found.hash {
                return Err(door.bad_response(format!("the value of {key:?} has another hash than its header")));
            }
            (found.revision, Some(String::from_utf8_lossy(&found.value).into_owned()))
        }
    };
    Ok(Answer::Value { revision, value }.told(None))
}

async fn change(
    door: &Client,
    key: &str,
    write: &Write,
    guard: Guard,
    idempotency_key: Option<&str>,
) -> Result<Recorded, ClientError> {
    let options = PutOptions {
        tags: Vec::new(),
        guard: match guard {
            Guard::None => client::Guard::None,
            Guard::Absent => client::Guard::IfAbsent,
            Guard::Revision(revision) => client::Guard::IfRevision(revision),
        },
        idempotency_key: idempotency_key.map(str::to_owned),
    };
    let changed = match write {
        Write::Put(value) => {
            door.put(key, Bytes::copy_from_slice(value.as_bytes()), &options)
                .await?
        }
        Write::Delete => door.delete(key, &options).await?,
        Write::Increment(step) => {
            let request = ChangeRequest {
                key: key.to_owned(),
                op: ChangeOp::Increment(*step),
                tags: Vec::new(),
                if_revision: match guard {
                    Guard::Revision(revision) => Some(revision),
                    _ => None,
                },
                if_absent: guard == Guard::Absent,
            };
            door.change(&request, idempotency_key).await?
        }
    };
    let answer = Answer::Changed {
        revision: changed.revision,
    };
    Ok(answer.told(Some(changed.seq)))
}

async fn propose(
    door: &Client,
    reads: &[(String, u64)],
    writes: &[(String, Write)],
    idempotency_key: Option<&str>,
) -> Result<Recorded, ClientError> {
    let request = ProposalRequest {
        reads: reads
            .iter()
            .map(|(key, revision)| ReadRequest {
                key: key.clone(),
                revision: *revision,
                hash: None,
                absent: false,
            })
            .collect(),
        writes: writes
            .iter()
            .map(|(key, write)| WriteRequest {
                key: key.clone(),
                put: match write {
                    Write::Put(value) => Some(value.clone()),
                    _ => None,
                },
                delete: *write == Write::Delete,
                increment: match write {
                    Write::Increment(step) => Some(*step),
                    _ => None,
                },
                ..WriteRequest::default()
            })
            .collect(),
        priority: 0,
        ..ProposalRequest::default()
    };
    Ok(match door.propose(&request, idempotency_key).await? {
        ProposalOutcome::Committed { seq, revisions, .. } => Answer::Committed { revisions }.told(Some(seq)),
        ProposalOutcome::Lost(Loss { seq, reread, .. }) => {
            let keys = reread
                .into_iter()
                .map(|reread| (reread.key.to_string(), reread.revision));
            let refusal = Refusal::Lost {
                early: seq == 0,
                keys: keys.collect(),
            };
            refusal.told()
        }
    })
}

/// What an error says of the operation.
fn of_error(operation: &Operation, recorder: &Recorder, error: ClientError) -> Result<Recorded, RecordError> {
    let unexpected = |error: ClientError| RecordError::Unexpected {
        operation: operation.to_string(),
        problem: error.to_string(),
    };
    if matches!(error, ClientError::BadResponse { .. }) {
        return Err(unexpected(error));
    }
    if error.outcome_unknown() {
        return Ok(Recorded {
            outcome: Outcome::Unknown,
            seq: None,
        });
    }
    let refusal = match &error {
        ClientError::Unreachable { .. } => Some(Refusal::NotTaken),
        ClientError::Problem(problem) => of_problem(operation, recorder, problem),
        _ => None,
    };
    refusal.map(Refusal::told).ok_or_else(|| unexpected(error))
}

fn of_problem(operation: &Operation, recorder: &Recorder, problem: &Problem) -> Option<Refusal> {
    let details = &problem.details;
    match (problem.code, operation) {
        // What came too late may be asked again, what has ended will not be anew.
        (Code::Expired, Operation::Close { .. } | Operation::Claim { .. } | Operation::ClaimReady { .. })
            if !problem.retryable =>
        {
            Some(Refusal::SessionOver)
        }
        (Code::Expired, _) if !problem.retryable => None,
        (Code::Unavailable | Code::Busy | Code::Expired | Code::Quota, _) => Some(Refusal::NotTaken),
        (Code::WrongType, _) => Some(Refusal::WrongType),
        (Code::Conflict, Operation::Change { .. }) => Some(Refusal::Condition {
            revision: details["revision"].as_u64()?,
            present: details["present"].as_bool()?,
        }),
        (Code::Held, Operation::Claim { .. }) => {
            let holder = serde_json::from_value::<WireHolder>(details["holder"].clone()).ok()?;
            recorder.ids().holder(&holder).map(|by| Refusal::Held { by })
        }
        (Code::Conflict, Operation::Claim { .. } | Operation::Accept { .. } | Operation::Finish { .. }) => {
            Some(Refusal::Over)
        }
        (Code::Fenced, Operation::Accept { .. } | Operation::Finish { .. }) => Some(Refusal::Fenced),
        (
            Code::NotFound,
            Operation::Claim { .. } | Operation::Accept { .. } | Operation::Finish { .. } | Operation::Look { .. },
        ) => Some(Refusal::NoSuchTask),
        _ => None,
    }
}
