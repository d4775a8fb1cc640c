//! How the node and the cluster are.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;
use serde_json::json;

use super::Door;
use super::call::Call;
use super::problem::{Refused, no_answer};

/// `GET /healthz`: the process answers, and says what its clock shows.
pub(super) async fn alive() -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(json!({ "alive": true, "wall_ms": now.as_millis() as u64 })).into_response()
}

/// `GET /readyz`: a leader that a quorum follows confirmed a read.
pub(super) async fn ready(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let snapshot = door.backend.read(Consistency::Linearizable, caller.left()).await?;
    Ok(Json(json!({ "ready": true, "index": snapshot.index })).into_response())
}

/// `GET /v1/status`
pub(super) async fn status(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let status = tokio::time::timeout_at(caller.deadline, door.backend.cluster_status()).await;
    let status = status.map_err(|_| no_answer(caller.timeout_ms()))?;
    Ok(Json(status).into_response())
}

/// `GET /v1/figures`
pub(super) async fn figures(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let figures = tokio::time::timeout_at(caller.deadline, door.backend.figures()).await;
    let figures = figures.map_err(|_| no_answer(caller.timeout_ms()))??;
    Ok(Json(figures).into_response())
}
