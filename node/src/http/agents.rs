//! The agents of this node.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use queenright_actors::agent::{AgentError, AgentFilter, AgentOrder, AgentPage, AgentSpec, LABELS_MAX, LIST_MAX};
use queenright_actors::queen::SubmitError;
use queenright_bench::client::agent_path;
use queenright_bench::client::wire::AgentList;
use queenright_protocol::colony::Span;

use super::Door;
use super::call::{Call, Caller};
use super::problem::{Refused, invalid, no_answer, of_submit};

/// How many agents a page has unless the caller says so.
const PAGE_AGENTS: usize = 1_000;

/// `POST /v1/agents`
pub(super) async fn spawn(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    door.takes_work()?;
    let caller = call.caller()?;
    let spec: AgentSpec = call.json(door.limits.body_bytes, caller.deadline).await?;
    let status = change(&caller, door.backend.spawn_agent(spec)).await?;
    let mut response = (StatusCode::CREATED, Json(&status)).into_response();
    if let Some(location) = agent_path(&status.name).ok().and_then(|path| path.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /v1/agents`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let limit = call.number("limit", 1..=LIST_MAX as u64)?;
    let filter = AgentFilter {
        state: call.parse("state")?,
        kind: call.take("kind"),
        labels: call
            .take("labels")
            .map(|text| labels(&text))
            .transpose()?
            .unwrap_or_default(),
        parent: call.take("parent"),
        name: call.take("name").map(Into::into),
        after: call.take("after"),
        limit: Some(limit.map_or(PAGE_AGENTS, |limit| limit as usize)),
    };
    if let Some(glob) = &filter.name {
        Span::Glob(glob.clone()).check()?;
    }
    let caller = call.caller()?;
    let page = tokio::time::timeout_at(caller.deadline, door.backend.agents(filter)).await;
    let AgentPage { agents, next } = page.map_err(|_| no_answer(caller.timeout_ms()))?;
    Ok(Json(AgentList { agents, next }).into_response())
}

/// Labels as they stand in a query: `team=red,host=a`.
fn labels(text: &str) -> Result<BTreeMap<String, String>, Refused> {
    let mut labels = BTreeMap::new();
    for label in text.split(',') {
        let pair = label.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| invalid("labels", format_args!("{label:?} is not NAME=VALUE")))?;
        labels.insert(name.to_owned(), value.to_owned());
    }
    match labels.len() {
        found if found > LABELS_MAX => Err(invalid(
            "labels",
            format_args!("{found} are over the limit of {LABELS_MAX}"),
        )),
        _ => Ok(labels),
    }
}

/// `POST /v1/agents/{name}/pause`
pub(super) async fn pause(door: State<Door>, call: Call) -> Result<Response, Refused> {
    order(door, call, AgentOrder::Pause).await
}

/// `POST /v1/agents/{name}/resume`
pub(super) async fn resume(door: State<Door>, call: Call) -> Result<Response, Refused> {
    order(door, call, AgentOrder::Resume).await
}

/// `POST /v1/agents/{name}/restart`
pub(super) async fn restart(door: State<Door>, call: Call) -> Result<Response, Refused> {
    order(door, call, AgentOrder::Restart).await
}

/// `POST /v1/agents/{name}/nudge`
pub(super) async fn nudge(door: State<Door>, call: Call) -> Result<Response, Refused> {
    order(door, call, AgentOrder::Nudge).await
}

async fn order(State(door): State<Door>, mut call: Call, order: AgentOrder) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let status = change(&caller, door.backend.order_agent(call.path("name"), order)).await?;
    Ok(Json(status).into_response())
}

/// `GET /v1/agents/{name}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let agent = tokio::time::timeout_at(caller.deadline, door.backend.agent(call.path("name"))).await;
    let agent = agent.map_err(|_| no_answer(caller.timeout_ms()))??;
    Ok(Json(agent).into_response())
}

/// `DELETE /v1/agents/{name}`
pub(super) async fn stop(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    change(&caller, door.backend.stop_agent(call.path("name"))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn change<T>(caller: &Caller, work: impl Future<Output = Result<T, AgentError>>) -> Result<T, Refused> {
    match tokio::time::timeout_at(caller.deadline, work).await {
        Ok(done) => Ok(done?),
        Err(_) => {
            let waited_ms = caller.timeout_ms();
            Err(of_submit(&SubmitError::Unknown { waited_ms }, false))
        }
    }
}
