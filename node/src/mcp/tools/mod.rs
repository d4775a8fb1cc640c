//! The tools: a table of them, and how one is called.

mod cluster;
mod dlq;
mod events;
mod memory;
mod pool;
mod propose;
mod queue;
mod reserve;
mod session;
mod task;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use queenright_bench::client::Client;
use rmcp::model::{Tool, ToolAnnotations};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::arguments::Arguments;
use super::keeper::Keeper;
use super::schema::{answer, map, text};
use super::{Failure, Toolset, Toolsets};

/// The longest time for which a tool waits: clients give up on a call after a minute, unless they are told otherwise.
pub(super) const WAIT_MS_MAX: u64 = 50_000;
/// How much longer than its wait a request may take.
const WAIT_SLACK: Duration = Duration::from_secs(10);

/// What a call does to the world, for clients that ask a person before some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    /// It only looks.
    Reads,
    /// It adds.
    Adds,
    /// It adds, and a repeat adds nothing.
    AddsOnce,
    /// It changes or takes away.
    Changes,
    /// It changes, and a repeat changes nothing.
    ChangesOnce,
}

impl Hint {
    fn annotations(self) -> ToolAnnotations {
        // What the protocol assumes of a tool that says nothing is left unsaid: each word costs context.
        match self {
            Hint::Reads => ToolAnnotations::new().read_only(true),
            Hint::Adds => ToolAnnotations::new()
                .read_only(false)
                .destructive(false)
                .idempotent(false),
            Hint::AddsOnce => ToolAnnotations::new()
                .read_only(false)
                .destructive(false)
                .idempotent(true),
            Hint::Changes => ToolAnnotations::new()
                .read_only(false)
                .destructive(true)
                .idempotent(false),
            Hint::ChangesOnce => ToolAnnotations::new()
                .read_only(false)
                .destructive(true)
                .idempotent(true),
        }
    }
}

/// A tool.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) toolset: Toolset,
    description: &'static str,
    hint: Hint,
    /// Which of the arguments that all understand it takes.
    common: &'static [&'static str],
    input: fn() -> Value,
    output: fn() -> Value,
    run: for<'c> fn(&'c Call, Arguments) -> BoxFuture<'c, Result<Answer, Failure>>,
}

/// A call: who makes it, and the client that carries it out.
pub(super) struct Call {
    /// Of its project, for its agent, with its token.
    pub(super) client: Client,
    pub(super) project: String,
    pub(super) agent: String,
    pub(super) token: Option<String>,
    pub(super) idempotency_key: Option<String>,
    /// Whoever keeps sessions alive, if this is a process of its own.
    pub(super) keeper: Option<Keeper>,
    /// For how long a session lives without a sign of life unless it says otherwise.
    pub(super) session_ttl_ms: u64,
}

impl Call {
    pub(super) fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// The token that a call must show.
    pub(super) fn needed_token(&self) -> Result<String, Failure> {
        let missing = || {
            Failure::invalid(
                "token",
                "is missing: it is that of session_start, task_claim or reserve",
            )
        };
        self.token.clone().ok_or_else(missing)
    }

    /// A client that waits so much longer for its answers.
    pub(super) fn waiting(&self, wait_ms: Option<u64>) -> Result<Client, Failure> {
        let Some(wait_ms) = wait_ms else {
            return Ok(self.client.clone());
        };
        check_wait(wait_ms)?;
        Ok(self.client.with_timeout(Duration::from_millis(wait_ms) + WAIT_SLACK))
    }
}

/// A wait that clients would not see the end of is refused.
pub(super) fn check_wait(wait_ms: u64) -> Result<(), Failure> {
    match wait_ms {
        0..=WAIT_MS_MAX => Ok(()),
        _ => Err(Failure::invalid(
            "wait_ms",
            format_args!("{wait_ms} is over the limit of {WAIT_MS_MAX}; call again to wait on"),
        )),
    }
}

/// All tools, in the order in which they are listed.
pub(super) fn all() -> impl Iterator<Item = &'static Kind> {
    [
        session::TOOLS,
        task::TOOLS,
        reserve::TOOLS,
        propose::TOOLS,
        memory::TOOLS,
        events::TOOLS,
        cluster::TOOLS,
        dlq::TOOLS,
        pool::TOOLS,
        queue::TOOLS,
    ]
    .into_iter()
    .flatten()
}

/// The tool of this name.
pub(super) fn named(name: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.name == name)
}

impl Kind {
    /// What a client is told of it.
    pub(super) fn definition(&self) -> Tool {
        let mut input = (self.input)();
        for field in self.common {
            let properties = input["properties"].as_object_mut().expect("arguments are an object");
            let about = match *field {
                "token" => "of your session",
                _ => "",
            };
            properties.entry(*field).or_insert_with(|| text(about));
        }
        let output = map(answer(&(self.output)()));
        Tool::new(self.name, self.description, Arc::new(map(input)))
            .with_raw_output_schema(Arc::new(output))
            .with_annotations(self.hint.annotations())
    }

    /// Whether it takes an argument that all understand.
    pub(super) fn takes(&self, field: &str) -> bool {
        self.common.contains(&field)
    }

    pub(super) async fn run(&self, call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        (self.run)(call, arguments).await
    }
}

/// A tool as `queenright mcp --list` shows it.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its toolset.
    pub toolset: &'static str,
    /// Its definition, as clients get it.
    pub tool: Tool,
}

/// The tools of these toolsets, in the order in which clients get them.
pub fn listed(toolsets: &Toolsets) -> Vec<Listed> {
    all()
        .filter(|kind| toolsets.has(kind.toolset))
        .map(|kind| Listed {
            toolset: kind.toolset.name(),
            tool: kind.definition(),
        })
        .collect()
}

/// Fields of an answer that are all of one type: `names` are separated by spaces.
fn outputs(schema: &Value, names: &str) -> Value {
    let fields = names.split(' ').map(|name| (name.to_owned(), schema.clone()));
    Value::Object(fields.collect())
}

/// An object of these fields, separated by spaces, each with the first letter of its type: a text, an integer, a boolean, an
/// array, an object; or any if it has none.
fn data(fields: &str) -> Value {
    let schema = |field: &str| {
        let (name, letter) = field.split_once(':').unwrap_or((field, ""));
        let kind = match letter {
            "t" => json!({ "type": "string" }),
            "i" => json!({ "type": "integer" }),
            "b" => json!({ "type": "boolean" }),
            "a" => json!({ "type": "array" }),
            "o" => json!({ "type": "object" }),
            "" => json!({}),
            other => panic!("{other:?} is no type"),
        };
        (name.to_owned(), kind)
    };
    json!({ "type": "object", "properties": Value::Object(fields.split(' ').map(schema).collect()) })
}
