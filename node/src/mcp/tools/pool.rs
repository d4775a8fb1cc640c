//! Agents that the cluster starts and stops by itself: on request.

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::SetPool;
use serde::Deserialize;
use serde_json::json;

use super::cluster::Nothing;
use super::{Call, Hint, Kind, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{fields, flag, int, object, text, texts};
use crate::mcp::{Failure, Toolset};

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "pool_list",
        toolset: Toolset::Pool,
        description: "The pools and what they are to be.",
        hint: Hint::Reads,
        common: &[],
        input: || object(&[], json!({})),
        output: || data("pools:a"),
        run: |call, arguments| Box::pin(list(call, arguments)),
    },
    Kind {
        name: "pool_get",
        toolset: Toolset::Pool,
        description: "A pool, the work for it, and its agents on all nodes.",
        hint: Hint::Reads,
        common: &[],
        input: || object(&["name"], json!({ "name": text("") })),
        output: || data("pool:o ready:i agents:o nodes:a"),
        run: |call, arguments| Box::pin(get(call, arguments)),
    },
    Kind {
        name: "pool_set",
        toolset: Toolset::Pool,
        description: "Makes a pool or changes it. Its agents run commands on the nodes: needs scope admin.",
        hint: Hint::ChangesOnce,
        common: &[],
        input: || {
            object(
                &["name", "behaviour", "max"],
                json!({
                    "name": text(""),
                    "project": text("of its tasks"),
                    "queue": text(""),
                    "kinds": texts(""),
                    "capabilities": texts(""),
                    "behaviour": text("exec or http"),
                    "arguments": fields("such as command, folder, environment; url for http"),
                    "slots": int("tasks at a time for each agent"),
                    "placement": fields("labels a node must have"),
                    "labels": fields(""),
                    "min_idle": int(""),
                    "max": int("agents"),
                    "per_node_max": int(""),
                    "idle_ms": int(""),
                    "recycle": object(&[], super::outputs(&int(""), "after_tasks memory_bytes age_ms failures")),
                    "if_absent": flag(""),
                }),
            )
        },
        output: || data("seq:i changed:b"),
        run: |call, arguments| Box::pin(set(call, arguments)),
    },
    Kind {
        name: "pool_drain",
        toolset: Toolset::Pool,
        description: "Lets a pool have no agents; with off, some again.",
        hint: Hint::ChangesOnce,
        common: &[],
        input: || object(&["name"], json!({ "name": text(""), "off": flag("") })),
        output: || data("seq:i changed:b"),
        run: |call, arguments| Box::pin(drain(call, arguments)),
    },
    Kind {
        name: "pool_recycle",
        toolset: Toolset::Pool,
        description: "Replaces all agents of a pool, each once it has ended what it has in hand.",
        hint: Hint::Changes,
        common: &[],
        input: || object(&["name"], json!({ "name": text("") })),
        output: || data("seq:i changed:b"),
        run: |call, arguments| Box::pin(recycle(call, arguments)),
    },
];

async fn list(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let Nothing {} = arguments.rest()?;
    Ok(Answer::of(&call.client.pools(Consistency::Linearizable).await?))
}

async fn get(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let name = arguments.needed("name")?;
    let Nothing {} = arguments.rest()?;
    Ok(Answer::of(&call.client.pool(&name, Consistency::Linearizable).await?))
}

async fn set(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let name = arguments.needed("name")?;
    let set: SetPool = arguments.rest()?;
    Ok(Answer::of(&call.client.set_pool(&name, &set).await?))
}

async fn drain(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Drain {
        name: String,
        #[serde(default)]
        off: bool,
    }
    let Drain { name, off } = arguments.rest()?;
    Ok(Answer::of(&call.client.drain_pool(&name, !off).await?))
}

async fn recycle(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let name = arguments.needed("name")?;
    let Nothing {} = arguments.rest()?;
    Ok(Answer::of(&call.client.recycle_pool(&name).await?))
}
