//! Nodes, links and hosted agents: on request.

use queenright_actors::agent::AgentFilter;
use queenright_protocol::topology::Kind as Shape;
use serde::Deserialize;
use serde_json::json;

use super::{Call, Hint, Kind, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{flag, int, object, text};
use crate::mcp::{Failure, Toolset};

/// How many agents a list has unless it says otherwise.
const LIST_DEFAULT: usize = 50;

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "cluster_status",
        toolset: Toolset::Cluster,
        description: "Whether the cluster has a leader, and how each node is.",
        hint: Hint::Reads,
        common: &[],
        input: || object(&[], json!({})),
        output: || data("queenright:b leader nodes:a"),
        run: |call, arguments| Box::pin(status(call, arguments)),
    },
    Kind {
        name: "topology_get",
        toolset: Toolset::Cluster,
        description: "How the nodes are linked, and how each link is.",
        hint: Hint::Reads,
        common: &[],
        input: || object(&[], json!({})),
        output: || data("kind epoch members links"),
        run: |call, arguments| Box::pin(topology(call, arguments)),
    },
    Kind {
        name: "topology_set",
        toolset: Toolset::Cluster,
        description: "Links the nodes in another way, or with dry_run says what that would open and close.",
        hint: Hint::ChangesOnce,
        common: &[],
        input: || {
            object(
                &["kind"],
                json!({
                    "kind": text("mesh, star, ring, hierarchical or hierarchical:FAN_OUT"),
                    "dry_run": flag(""),
                }),
            )
        },
        output: || data("epoch:i kind:t changed:b opens:a closes:a"),
        run: |call, arguments| Box::pin(set_topology(call, arguments)),
    },
    Kind {
        name: "node_drain",
        toolset: Toolset::Cluster,
        description: "Lets a node take no new work; with off, some again.",
        hint: Hint::ChangesOnce,
        common: &[],
        input: || object(&["node"], json!({ "node": text("name"), "off": flag("") })),
        output: || data("node:t epoch:i"),
        run: |call, arguments| Box::pin(drain(call, arguments)),
    },
    Kind {
        name: "agent_list",
        toolset: Toolset::Cluster,
        description: "The agents that the node hosts.",
        hint: Hint::Reads,
        common: &[],
        input: || {
            object(
                &[],
                json!({ "kind": text(""), "after": text("next of the page before"), "limit": int("50 by default") }),
            )
        },
        output: || data("agents:a next:t"),
        run: |call, arguments| Box::pin(agents(call, arguments)),
    },
];

/// The arguments of a tool that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

async fn status(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let Nothing {} = arguments.rest()?;
    Ok(Answer::of(&call.client.status().await?))
}

async fn topology(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let Nothing {} = arguments.rest()?;
    Ok(Answer::of(&call.client.topology().await?))
}

async fn set_topology(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Set {
        kind: Shape,
        #[serde(default)]
        dry_run: bool,
    }
    let Set { kind, dry_run } = arguments.rest()?;
    Ok(Answer::of(&call.client.set_topology(kind, dry_run).await?))
}

async fn drain(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Drain {
        node: String,
        #[serde(default)]
        off: bool,
    }
    let Drain { node, off } = arguments.rest()?;
    let changed = match off {
        true => call.client.undrain_node(&node).await?,
        false => call.client.drain_node(&node).await?,
    };
    Ok(Answer::of(&changed))
}

async fn agents(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct List {
        kind: Option<String>,
        after: Option<String>,
        limit: Option<usize>,
    }
    let List { kind, after, limit } = arguments.rest()?;
    let filter = AgentFilter {
        kind,
        after,
        limit: Some(limit.unwrap_or(LIST_DEFAULT)),
        ..AgentFilter::default()
    };
    Ok(Answer::of(&call.client.agents_page(&filter).await?))
}
