//! What is recorded: each operation with the time of its invocation and of its answer, in a file of JSON lines.
//!
//! | line | meaning |
//! |---|---|
//! | `{"invoked":{"call":7,"process":3,"at_ns":12,"operation":…}}` | written before anything is sent |
//! | `{"returned":{"call":7,"at_ns":19,"outcome":…,"seq":5}}` | written once the answer was read |
//!
//! Times are nanoseconds of one monotonic clock since the recording began; every client shares it. A call without the
//! second line has no outcome. `seq` is the place in the order of all commands that the cluster gave a change.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::operation::{Operation, Outcome};
use super::tasks::Ids;

/// The longest line that is read back: an operation has a few short keys and values.
const LINE_BYTES_MAX: usize = 1 << 20;

/// An operation from its invocation to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number in the history.
    pub number: u64,
    /// Who asked. One process asks for one thing after the other.
    pub process: u32,
    /// What was asked for.
    pub operation: Operation,
    /// What was answered.
    pub outcome: Outcome,
    /// When it was asked for.
    pub invoked_ns: u64,
    /// When it was answered; never if the outcome is unknown.
    pub returned_ns: Option<u64>,
    /// Its place in the order of all commands, as far as the cluster said.
    pub seq: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Invoked {
        call: u64,
        process: u32,
        at_ns: u64,
        operation: Operation,
    },
    Returned {
        call: u64,
        at_ns: u64,
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
    },
}

/// Why a history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file.
    #[error("{}: {problem}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// What the system said, or what is wrong with a line.
        problem: String,
    },
    /// An answer that no client should get.
    #[error("{operation}: {problem}")]
    Unexpected {
        /// What was asked for.
        operation: String,
        /// What was answered.
        problem: String,
    },
    /// The history has as many calls as it may; nothing was sent.
    #[error("the history is full: it has {calls_max} calls")]
    Full {
        /// The bound.
        calls_max: u64,
    },
}

/// Records the calls of all clients of one run.
///
/// The writer stands behind a mutex: a run has some tens of clients, each of which writes a line of some hundred bytes
/// between two requests over a socket.
pub struct Recorder {
    file: PathBuf,
    calls_max: u64,
    began: Instant,
    state: Mutex<State>,
    ids: Ids,
}

struct State {
    writer: BufWriter<File>,
    calls: u64,
}

impl Recorder {
    /// Begins a recording of at most `calls_max` calls in a new file.
    ///
    /// # Errors
    /// [`RecordError::File`].
    pub fn create(file: &Path, calls_max: u64) -> Result<Recorder, RecordError> {
        let created = File::create(file).map_err(|error| at(file, error))?;
        Ok(Recorder {
            file: file.to_owned(),
            calls_max,
            began: Instant::now(),
            state: Mutex::new(State {
                writer: BufWriter::new(created),
                calls: 0,
            }),
            ids: Ids::default(),
        })
    }

    /// Notes that `process` asks for something; must be called before anything is sent. Returns the number of the call.
    ///
    /// # Errors
    /// [`RecordError`]; nothing may be sent then.
    pub fn invoked(&self, process: u32, operation: Operation) -> Result<u64, RecordError> {
        let mut state = self.lock();
        if state.calls == self.calls_max {
            return Err(RecordError::Full {
                calls_max: self.calls_max,
            });
        }
        state.calls += 1;
        let call = state.calls;
        let line = Line::Invoked {
            call,
            process,
            at_ns: self.now_ns(),
            operation,
        };
        self.write(&mut state, &line)?;
        Ok(call)
    }

    /// Notes what was answered to a call; must be called after the answer was read. An unknown outcome is not noted.
    ///
    /// # Errors
    /// [`RecordError::File`].
    pub fn returned(&self, call: u64, outcome: Outcome, seq: Option<u64>) -> Result<(), RecordError> {
        let at_ns = self.now_ns();
        if outcome == Outcome::Unknown {
            return Ok(());
        }
        let line = Line::Returned {
            call,
            at_ns,
            outcome,
            seq,
        };
        self.write(&mut self.lock(), &line)
    }

    /// Ends the recording and reads it back.
    ///
    /// # Errors
    /// [`RecordError::File`].
    pub fn finish(&self) -> Result<Vec<Call>, RecordError> {
        self.lock().writer.flush().map_err(|error| at(&self.file, error))?;
        read(&self.file)
    }

    /// Where the history is written.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether some client was told of this task: before that, none can ask for it.
    pub fn knows_task(&self, name: &str) -> bool {
        self.ids.tasks.get(name).is_some()
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn write(&self, state: &mut State, line: &Line) -> Result<(), RecordError> {
        let text = serde_json::to_string(line).map_err(|error| at(&self.file, error))?;
        writeln!(state.writer, "{text}").map_err(|error| at(&self.file, error))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes calls as a recording of them would stand in a file.
///
/// # Errors
/// When they cannot be written.
pub fn write(calls: &[Call], writer: &mut impl io::Write) -> io::Result<()> {
    let mut lines: Vec<(u64, Line)> = Vec::with_capacity(calls.len() * 2);
    for call in calls.iter().cloned() {
        let invoked = Line::Invoked {
            call: call.number,
            process: call.process,
            at_ns: call.invoked_ns,
            operation: call.operation,
        };
        lines.push((call.invoked_ns, invoked));
        if let Some(at_ns) = call.returned_ns {
            let returned = Line::Returned {
                call: call.number,
                at_ns,
                outcome: call.outcome,
                seq: call.seq,
            };
            lines.push((at_ns, returned));
        }
    }
    lines.sort_by_key(|(at_ns, _)| *at_ns);
    for (_, line) in lines {
        writeln!(writer, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

/// Reads a history, in the order of the invocations.
///
/// # Errors
/// [`RecordError::File`] names the line that is not one of a history.
pub fn read(file: &Path) -> Result<Vec<Call>, RecordError> {
    let opened = File::open(file).map_err(|error| at(file, error))?;
    let mut calls: BTreeMap<u64, Call> = BTreeMap::new();
    for (place, line) in BufReader::new(opened).lines().enumerate() {
        let line = line.map_err(|error| at(file, error))?;
        let wrong = |problem: &dyn fmt::Display| at(file, format_args!("line {}: {problem}", place + 1));
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong(&format_args!("longer than {LINE_BYTES_MAX} bytes")));
        }
        match serde_json::from_str(&line).map_err(|error| wrong(&error))? {
            Line::Invoked {
                call: number,
                process,
                at_ns,
                operation,
            } => {
                let call = Call {
                    number,
                    process,
                    operation,
                    outcome: Outcome::Unknown,
                    invoked_ns: at_ns,
                    returned_ns: None,
                    seq: None,
                };
                if calls.insert(number, call).is_some() {
                    return Err(wrong(&format_args!("call {number} is invoked twice")));
                }
            }
            Line::Returned {
                call: number,
                at_ns,
                outcome,
                seq,
            } => {
                let call = calls.get_mut(&number).filter(|call| call.returned_ns.is_none());
                let Some(call) = call else {
                    return Err(wrong(&format_args!("call {number} returns, but is not under way")));
                };
                if at_ns < call.invoked_ns {
                    return Err(wrong(&format_args!("call {number} returns before its invocation")));
                }
                (call.outcome, call.returned_ns, call.seq) = (outcome, Some(at_ns), seq);
            }
        }
    }
    let mut calls: Vec<Call> = calls.into_values().collect();
    calls.sort_by_key(|call| call.invoked_ns);
    Ok(calls)
}

fn at(file: &Path, problem: impl fmt::Display) -> RecordError {
    RecordError::File {
        file: file.to_owned(),
        problem: problem.to_string(),
    }
}
