//! A request that is being followed, and its commands so far.

use std::sync::{Arc, Mutex, OnceLock};

use queenright_protocol::colony::{Body, Outcome, TaskCommand};

use super::id::{SpanId, TraceId};
use super::journal::CommandId;
use super::now_us;
use super::record::{CommandRecord, TraceRecord};
use crate::queen::SubmitError;

/// How many commands of a request are followed; those beyond are not.
const COMMANDS_MAX: usize = 64;

tokio::task_local! {
    static ACTIVE: Arc<ActiveTrace>;
}

/// The trace of the request that the present task serves, if that is followed.
pub fn active() -> Option<Arc<ActiveTrace>> {
    ACTIVE.try_with(Arc::clone).ok()
}

/// A request that is followed.
#[derive(Debug)]
pub struct ActiveTrace {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    begin_us: u64,
    // A mutex: one task adds, the same one ends. Held for one step of plain code.
    commands: Mutex<Vec<Arc<CommandTrace>>>,
}

/// A command of a request that is followed, on its way.
#[derive(Debug)]
pub(crate) struct CommandTrace {
    what: &'static str,
    begin_us: u64,
    /// Which command it became, and when its round was cut.
    cut: OnceLock<(CommandId, u64)>,
    /// When it had an outcome, and which.
    end: OnceLock<(u64, &'static str)>,
}

impl ActiveTrace {
    /// A request with this span, that began at this time, in microseconds since 1970.
    pub fn begun(trace: TraceId, span: SpanId, parent: Option<SpanId>, begin_us: u64) -> Arc<ActiveTrace> {
        Arc::new(ActiveTrace {
            trace,
            span,
            parent,
            begin_us,
            commands: Mutex::default(),
        })
    }

    /// Runs what serves the request.
    pub async fn scope<F: Future>(self: Arc<Self>, serving: F) -> F::Output {
        ACTIVE.scope(self, serving).await
    }

    /// The request brings a command.
    pub(crate) fn command(&self, body: &Body) -> Option<Arc<CommandTrace>> {
        let mut commands = self.commands.lock().expect("nothing panics under this lock");
        if commands.len() >= COMMANDS_MAX {
            return None;
        }
        let command = Arc::new(CommandTrace {
            what: what(body),
            begin_us: now_us(),
            cut: OnceLock::new(),
            end: OnceLock::new(),
        });
        commands.push(command.clone());
        Some(command)
    }

    /// The request was answered: what is known of it at this node, which is called `node`.
    pub fn end(&self, node: &str, name: String, status: u16) -> TraceRecord {
        let commands = std::mem::take(&mut *self.commands.lock().expect("nothing panics under this lock"));
        let end_us = now_us();
        TraceRecord {
            trace: self.trace,
            span: self.span,
            parent: self.parent,
            node: node.to_owned(),
            name,
            status,
            begin_us: self.begin_us,
            end_us,
            commands: commands.iter().map(|command| command.record(end_us)).collect(),
        }
    }
}

impl CommandTrace {
    /// The queen has put it into a round; whether that is the first one.
    pub(crate) fn cut(&self, command: CommandId) -> bool {
        self.cut.set((command, now_us())).is_ok()
    }

    /// Whether it stands in a round.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get().is_some()
    }

    /// It has an outcome, or none.
    pub(crate) fn end(&self, outcome: &Result<Outcome, SubmitError>) {
        let word = match outcome {
            Ok(Outcome::Refused(_)) => "refused",
            Ok(Outcome::Lost { .. }) => "lost",
            Ok(_) => "done",
            Err(SubmitError::Unknown { .. } | SubmitError::Stopping) => "unknown",
            Err(_) => "not taken",
        };
        let _ = self.end.set((now_us(), word));
    }

    fn record(&self, request_ended_us: u64) -> CommandRecord {
        let (end_us, outcome) = self.end.get().copied().unwrap_or((request_ended_us, "unknown"));
        let cut = self.cut.get();
        CommandRecord {
            what: self.what.to_owned(),
            begin_us: self.begin_us,
            cut_us: cut.map(|(_, cut_us)| *cut_us),
            end_us,
            outcome: outcome.to_owned(),
            command: cut.map(|(command, _)| *command),
            nodes: Vec::new(),
        }
    }
}

/// What a command is called.
fn what(body: &Body) -> &'static str {
    match body {
        Body::Change(_) => "memory change",
        Body::Propose(_) => "proposal",
        Body::ProposeBatch(_) => "proposal batch",
        Body::Withheld(_) => "withheld",
        Body::Task(TaskCommand::Add(_)) => "task add",
        Body::Task(TaskCommand::Claim(_)) => "task claim",
        Body::Task(TaskCommand::Accept(_)) => "task accept",
        Body::Task(TaskCommand::Finish(_)) => "task finish",
        Body::Task(TaskCommand::Update(_)) => "task update",
        Body::Task(TaskCommand::Control(_)) => "task control",
        Body::Task(TaskCommand::Queue(_)) => "queue",
        Body::Task(TaskCommand::Leave(_)) => "claim leave",
        Body::Agent(_) => "agent",
        Body::Session(_) => "session",
        Body::Reservation(_) => "reservation",
        Body::Project(_) => "project",
        Body::DoorToken(_) => "token",
        Body::Topology(_) => "topology",
        Body::Rate(_) => "rate",
        Body::Budget(_) => "budget",
        Body::Pool(_) => "pool",
    }
}
