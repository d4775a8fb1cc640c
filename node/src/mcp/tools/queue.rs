//! Queues, and what becomes of tasks of others: on request.

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{ChangeQueue, ControlTask};
use serde_json::json;

use super::cluster::Nothing;
use super::{Call, Hint, Kind, data, task};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{flag, int, object, one_of, text};
use crate::mcp::{Failure, Toolset};

/// What may be done with a task by anybody.
const VERBS: [&str; 7] = ["cancel", "pause", "resume", "approve", "reject", "requeue", "drop"];

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "queue_list",
        toolset: Toolset::Queue,
        description: "The queues, what is ready in each, who waits, and how their breakers are.",
        hint: Hint::Reads,
        common: &["project"],
        input: || object(&[], json!({})),
        output: || data("queues:a"),
        run: |call, arguments| Box::pin(list(call, arguments)),
    },
    Kind {
        name: "queue_change",
        toolset: Toolset::Queue,
        description: "Pauses a queue or lets it go on, sets its breaker or which waiting claim gets a task.",
        hint: Hint::ChangesOnce,
        common: &["project", "agent"],
        input: || {
            object(
                &["queue"],
                json!({
                    "queue": text(""),
                    "paused": flag(""),
                    "breaker": object(&["failures"], json!({ "failures": int("0: none"), "pause_ms": int("") })),
                    "policy": text("such as first-come, least-loaded"),
                }),
            )
        },
        output: || data("seq:i"),
        run: |call, arguments| Box::pin(change(call, arguments)),
    },
    Kind {
        name: "task_control",
        toolset: Toolset::Queue,
        description: "Cancels, pauses, approves a task and so on, whoever added it. force takes it from its owner.",
        hint: Hint::Changes,
        common: &["project", "agent", "idempotency_key"],
        input: || {
            object(
                &["task", "verb"],
                json!({ "task": text("id"), "verb": one_of(&VERBS, ""), "force": flag(""), "reason": text("") }),
            )
        },
        output: || data("seq:i task:t state:t"),
        run: |call, arguments| Box::pin(control(call, arguments)),
    },
];

async fn list(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let Nothing {} = arguments.rest()?;
    Ok(Answer::of(&call.client.queues(Consistency::Linearizable).await?))
}

async fn change(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let queue = arguments.needed("queue")?;
    let change: ChangeQueue = arguments.rest()?;
    Ok(Answer::of(&call.client.change_queue(&queue, &change).await?))
}

async fn control(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let task = task::id(&mut arguments)?;
    let verb = arguments.needed("verb")?;
    if !VERBS.contains(&&*verb) {
        let problem = format_args!("{verb:?} is none of {}", VERBS.join(", "));
        return Err(Failure::invalid("verb", problem));
    }
    let control: ControlTask = arguments.rest()?;
    Ok(Answer::of(
        &call.client.control_task(task.0, &verb, &control, call.key()).await?,
    ))
}
