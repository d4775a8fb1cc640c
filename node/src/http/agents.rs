//! The agents of this node.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use queenright_actors::agent::{AgentError, AgentSpec};
use queenright_actors::queen::SubmitError;
use queenright_bench::client::agent_path;
use queenright_bench::client::wire::AgentList;

use super::Door;
use super::call::{Call, Caller};
use super::problem::{Refused, no_answer, of_submit};

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
    let caller = call.caller()?;
    let agents = tokio::time::timeout_at(caller.deadline, door.backend.agents()).await;
    let agents = agents.map_err(|_| no_answer(caller.timeout_ms()))??;
    Ok(Json(AgentList { agents }).into_response())
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
