//! The operations of the cluster and of its nodes.

use axum::http::StatusCode;
use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus, LIST_MAX};
use queenright_actors::node::{ClusterStatus, NodeFigures};
use queenright_bench::client::ChangedNode;
use queenright_bench::client::wire::{
    AgentList, Code, CreateProject, CreateToken, CreatedToken, DestroyedProject, LogLevel, PoolChanged, PoolList,
    PoolStatus, ProjectList, ProjectSet, RevokedToken, Sealed, SetLogLevel, SetPool, SetTopology, TokenList,
    TopologySet, TraceFound, TraceList, WireProject, WireTopology,
};
use queenright_protocol::colony::ProjectLimits;
use serde_json::{Value, json};

use super::operation::{Content, Field, Operation, delete, get, post, put};
use crate::http::nodes::PATIENCE_MS_MAX;
use crate::http::projects::LIST_PROJECTS;
use crate::http::traces::LIST_TRACES;

fn is_alive() -> Value {
    json!({ "type": "object", "required": ["alive"], "properties": { "alive": { "type": "boolean" } } })
}

fn is_ready() -> Value {
    json!({
        "type": "object", "required": ["ready", "index"],
        "properties": {
            "ready": { "type": "boolean" },
            "index": { "type": "integer", "minimum": 0, "description": "The last log entry that was applied." },
        },
    })
}

fn may_join() -> Value {
    json!({
        "type": "object", "required": ["node", "may_join"],
        "properties": { "node": { "type": "string" }, "may_join": { "type": "boolean" } },
    })
}

fn a_document() -> Value {
    json!({ "type": "object", "required": ["openapi", "paths"] })
}

pub(super) fn operations() -> Vec<Operation> {
    let mut all = Vec::from(watched());
    all.extend(nodes());
    all.extend(agents());
    all.extend(projects());
    all.extend(pools());
    all.extend(tokens());
    all
}

fn watched() -> [Operation; 12] {
    let given = |operation: Operation, schema: fn() -> Value| {
        operation.answers_with(StatusCode::OK, Some(Content::Given(schema)), [])
    };
    [
        given(get("/healthz", "health", "The process lives."), is_alive),
        given(
            get("/readyz", "ready", "The node has a leader that a quorum follows."),
            is_ready,
        ),
        given(get("/openapi.json", "openapi", "This document."), a_document),
        get("/v1/status", "status", "The cluster as this node sees it.").answers::<ClusterStatus>(StatusCode::OK),
        get("/v1/figures", "figures", "What this node counts and measures.").answers::<NodeFigures>(StatusCode::OK),
        get(
            "/v1/traces",
            "traces",
            "The last requests that were followed, on all nodes, the newest first.",
        )
        .query([Field::number("limit", "How many are listed.", 1..=LIST_TRACES.0)])
        .answers::<TraceList>(StatusCode::OK),
        get(
            "/v1/traces/{trace}",
            "trace",
            "What all nodes have of a trace: its requests, their commands, and when each node had them.",
        )
        .answers::<TraceFound>(StatusCode::OK)
        .refuses([Code::NotFound]),
        get("/v1/log-level", "log_level", "What this node logs.")
            .answers::<LogLevel>(StatusCode::OK)
            .refuses([Code::NotFound]),
        put(
            "/v1/log-level",
            "log_level_set",
            "Lets this node log more or less, until it ends.",
        )
        .json::<SetLogLevel>()
        .answers::<LogLevel>(StatusCode::OK)
        .refuses([Code::NotFound]),
        get(
            "/v1/backup",
            "backup",
            "The whole state of the cluster, as a checked file that a new one is made from.",
        )
        .reads()
        .answers_with(StatusCode::OK, Some(Content::Bytes), []),
        get("/v1/topology", "topology", "How the nodes are linked.").answers::<WireTopology>(StatusCode::OK),
        put("/v1/topology", "topology_set", "Links the nodes in another way.")
            .json::<SetTopology>()
            .answers::<TopologySet>(StatusCode::OK)
            .commands(),
    ]
}

fn nodes() -> [Operation; 6] {
    let change = |verb: &str, about| {
        post(&format!("/v1/nodes/{{name}}/{verb}"), &format!("node_{verb}"), about)
            .refuses([Code::NotFound, Code::Conflict])
            .once()
    };
    let changed = |verb: &str, about| change(verb, about).answers::<ChangedNode>(StatusCode::OK);
    let patience = "How long it may wait for its work to be done, in milliseconds.";
    [
        change("replace", "Lets a node that has lost its disk come back as a new one.").answers_with(
            StatusCode::OK,
            Some(Content::Given(may_join)),
            [],
        ),
        changed("drain", "The node takes no new work."),
        changed("undrain", "The node takes new work again."),
        changed("remove", "A node that is down goes for good."),
        changed("leave", "The node leaves, asked at its own door.").query([Field::number(
            "patience_ms",
            patience,
            0..=PATIENCE_MS_MAX,
        )]),
        post(
            "/v1/nodes:ask",
            "node_ask",
            "What a node asks that is not linked: a proof that it knows the cookie stands for a token.",
        )
        .json::<Sealed>()
        .answers::<Sealed>(StatusCode::OK)
        .refuses([Code::Conflict]),
    ]
}

fn agents() -> [Operation; 8] {
    let order = |verb: &str, about| {
        post(&format!("/v1/agents/{{name}}/{verb}"), &format!("agent_{verb}"), about)
            .answers::<AgentStatus>(StatusCode::OK)
            .refuses([Code::NotFound, Code::Conflict, Code::UnknownOutcome, Code::Quota])
            .once()
    };
    let location = Field::text("location", "The path of the agent.");
    let started = Content::Json(schemars::SchemaGenerator::subschema_for::<AgentStatus>);
    [
        post("/v1/agents", "agent_start", "Starts an agent on this node.")
            .json::<AgentSpec>()
            .answers_with(StatusCode::CREATED, Some(started), [location])
            .refuses([Code::Conflict, Code::Quota, Code::UnknownOutcome])
            .once(),
        get("/v1/agents", "agent_list", "The agents of this node.")
            .query([
                Field::one_of("state", "Those in this state.", AgentState::ALL),
                Field::text("kind", "Those of this kind."),
                Field::form(
                    "labels",
                    "Those with these labels: team=red,host=a.",
                    "^[^=,]+=[^,]*(,[^=,]+=[^,]*)*$",
                ),
                Field::text("parent", "Those of this parent."),
                Field::text("name", "Those whose names this glob covers."),
                Field::text("after", "Those behind this name."),
                Field::number("limit", "How many at most.", 1..=LIST_MAX as u64),
            ])
            .answers::<AgentList>(StatusCode::OK),
        get("/v1/agents/{name}", "agent_show", "An agent of this node.")
            .answers::<AgentStatus>(StatusCode::OK)
            .refuses([Code::NotFound]),
        delete("/v1/agents/{name}", "agent_stop", "Stops an agent of this node.")
            .answers_with(StatusCode::NO_CONTENT, None, [])
            .refuses([Code::NotFound, Code::Conflict, Code::UnknownOutcome])
            .once(),
        order("pause", "The agent takes nothing new."),
        order("resume", "The agent goes on."),
        order("restart", "The agent begins again as a new generation."),
        order("nudge", "The agent is told to look again."),
    ]
}

fn projects() -> [Operation; 5] {
    let one = "/v1/projects/{project}";
    [
        post("/v1/projects", "project_create", "Makes a project.")
            .json::<CreateProject>()
            .answers::<ProjectSet>(StatusCode::CREATED)
            .commands(),
        get("/v1/projects", "project_list", "The projects, by name.")
            .query([
                Field::text("after", "Those behind this name."),
                Field::number("limit", "How many at most.", 1..=LIST_PROJECTS.0),
            ])
            .reads()
            .answers::<ProjectList>(StatusCode::OK),
        get(one, "project_show", "A project and what it holds.")
            .reads()
            .answers::<WireProject>(StatusCode::OK)
            .refuses([Code::NotFound]),
        delete(one, "project_destroy", "Destroys a project with all that it holds.")
            .query([Field::flag("dry_run", "Only say what would be lost.")])
            .answers::<DestroyedProject>(StatusCode::OK)
            .refuses([Code::NotFound])
            .commands(),
        put(
            "/v1/projects/{project}/limits",
            "project_limit",
            "Says what a project may have at most.",
        )
        .json::<ProjectLimits>()
        .answers::<ProjectSet>(StatusCode::OK)
        .refuses([Code::NotFound])
        .commands(),
    ]
}

fn pools() -> [Operation; 7] {
    let one = "/v1/pools/{name}";
    let change = |operation: Operation| {
        operation
            .answers::<PoolChanged>(StatusCode::OK)
            .refuses([Code::NotFound])
            .commands()
    };
    let verb = |verb: &str, about| change(post(&format!("{one}/{verb}"), &format!("pool_{verb}"), about));
    [
        get(
            "/v1/pools",
            "pool_list",
            "Agents that the cluster starts and stops by itself: all pools.",
        )
        .reads()
        .answers::<PoolList>(StatusCode::OK),
        get(one, "pool_show", "A pool, with its agents on all nodes.")
            .reads()
            .answers::<PoolStatus>(StatusCode::OK)
            .refuses([Code::NotFound]),
        change(put(one, "pool_set", "Says what a pool is to be.").json::<SetPool>()),
        change(delete(one, "pool_remove", "Removes a pool; its agents end their work.")),
        verb("drain", "The pool has no agents."),
        verb("undrain", "The pool has agents again."),
        verb("recycle", "The agents of the pool are replaced."),
    ]
}

fn tokens() -> [Operation; 3] {
    [
        post(
            "/v1/tokens",
            "token_create",
            "Makes a token that lets callers in: its secret is in the answer only.",
        )
        .json::<CreateToken>()
        .answers::<CreatedToken>(StatusCode::CREATED)
        .commands(),
        get("/v1/tokens", "token_list", "The tokens, without their secrets.")
            .reads()
            .answers::<TokenList>(StatusCode::OK),
        delete(
            "/v1/tokens/{name}",
            "token_revoke",
            "Lets nobody in by a token any more.",
        )
        .answers::<RevokedToken>(StatusCode::OK)
        .refuses([Code::NotFound])
        .commands(),
    ]
}
