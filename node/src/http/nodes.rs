//! The members: what becomes of them, and what nodes ask that are not linked.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::{Fate, Node};
use queenright_bench::client::ChangedNode;
use queenright_bench::client::wire::{Code, NodeAnswer, NodeQuestion, Problem, Sealed};
use serde_json::json;

use super::Door;
use super::call::Call;
use super::problem::{Refused, invalid, memory_low, no_answer};

/// How long what a node asks is: names and addresses.
const QUESTION_BYTES_MAX: usize = 16 << 10;
/// How long a node that leaves may wait for its work to be done.
pub(super) const PATIENCE_MS_MAX: u64 = 100_000;

impl Door {
    /// The node, for what only one in a cluster can do.
    pub(super) fn node(&self) -> Result<&Node, Refused> {
        let alone = || Problem::new(Code::Unavailable, "this is no node of a cluster");
        Ok(self.backend.node().ok_or_else(alone)?)
    }

    /// Refuses new work at a node that takes none.
    pub(super) fn takes_work(&self) -> Result<(), Refused> {
        match self.backend.node() {
            Some(node) if node.is_drained() => {
                let detail = format!("node {} is drained: it takes no new work; ask another one", node.name());
                Err(Problem::new(Code::Unavailable, detail).into())
            }
            _ => self.has_memory(),
        }
    }

    /// Refuses new work at a node that has no memory left for it.
    pub(super) fn has_memory(&self) -> Result<(), Refused> {
        match self.backend.node().and_then(Node::memory_low) {
            Some(low) => Err(memory_low(&low).into()),
            None => Ok(()),
        }
    }
}

/// `POST /v1/nodes/{name}/replace`
pub(super) async fn replace(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let allowed = tokio::time::timeout_at(caller.deadline, door.backend.replace_node(call.path("name"))).await;
    allowed.map_err(|_| no_answer(caller.timeout_ms()))??;
    Ok(Json(json!({ "node": call.path("name"), "may_join": true })).into_response())
}

/// `POST /v1/nodes/{name}/drain`
pub(super) async fn drain(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let changed = door.node()?.drain(call.path("name"), true);
    let changed = tokio::time::timeout_at(caller.deadline, changed).await;
    answer(&call, changed.map_err(|_| no_answer(caller.timeout_ms()))??)
}

/// `POST /v1/nodes/{name}/undrain`
pub(super) async fn undrain(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let changed = door.node()?.drain(call.path("name"), false);
    let changed = tokio::time::timeout_at(caller.deadline, changed).await;
    answer(&call, changed.map_err(|_| no_answer(caller.timeout_ms()))??)
}

/// `POST /v1/nodes/{name}/remove`
pub(super) async fn remove(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let changed = door.node()?.remove(call.path("name"));
    let changed = tokio::time::timeout_at(caller.deadline, changed).await;
    answer(&call, changed.map_err(|_| no_answer(caller.timeout_ms()))??)
}

/// `POST /v1/nodes/{name}/leave`: of the node itself.
pub(super) async fn leave(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let patience_ms = call.number("patience_ms", 0..=PATIENCE_MS_MAX)?.unwrap_or_default();
    let caller = call.caller()?;
    let node = door.node()?;
    if call.path("name") != node.name() {
        let problem = format!("this is the door of node {}: a node leaves by its own", node.name());
        return Err(invalid("name", problem));
    }
    let changed = node.leave(Duration::from_millis(patience_ms));
    let changed = tokio::time::timeout_at(caller.deadline, changed).await;
    answer(&call, changed.map_err(|_| no_answer(caller.timeout_ms()))??)
}

fn answer(call: &Call, epoch: u64) -> Result<Response, Refused> {
    let node = call.path("name").to_owned();
    Ok(Json(ChangedNode { node, epoch }).into_response())
}

/// `POST /v1/nodes:ask`: the proof that it carries takes the place of a token.
pub(super) async fn ask(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let sealed: Sealed = call.json(QUESTION_BYTES_MAX, caller.deadline).await?;
    let node = door.node()?;
    let cookie = door.access.cookie.as_ref();
    let question = cookie.and_then(|cookie| Some((cookie, sealed.open(cookie, None)?)));
    let Some((cookie, question)) = question else {
        node.refuse_stranger(&format!("its door, by {}", caller.author));
        let detail = "whoever asks does not know the cookie of this cluster";
        return Err(Problem::new(Code::Unauthorized, detail).into());
    };
    let answer = async {
        match question {
            NodeQuestion::Join {
                cluster,
                name,
                links,
                http,
                attempt,
            } => {
                let ours = node.cluster();
                if cluster != ours {
                    let detail = format!("cluster.name {cluster:?} is not that of this cluster, {ours:?}");
                    return Err(Refused::from(Problem::new(Code::Conflict, detail)));
                }
                Ok(NodeAnswer::Admitted(node.join(&name, attempt, &links, &http).await?))
            }
            NodeQuestion::Fate { cluster, number, .. } => Ok(NodeAnswer::Fate(match node.identity() {
                (ours, _) if ours != cluster => Fate::Unknown,
                _ => node.fate_of(number),
            })),
        }
    };
    let answer = tokio::time::timeout_at(caller.deadline, answer).await;
    let answer = answer.map_err(|_| no_answer(caller.timeout_ms()))??;
    Ok(Json(Sealed::new(&answer, cookie, Some(&sealed))).into_response())
}
