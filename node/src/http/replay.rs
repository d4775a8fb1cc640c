//! What this node stores of a replay.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;

use super::Door;
use super::call::Call;
use super::problem::{Refused, no_answer};

/// `GET /v1/replay/tree`: everything that was acknowledged before the request, as this node's store holds it.
pub(super) async fn tree(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    // The snapshot itself is not needed, only that the node has come this far.
    drop(door.read(Consistency::Linearizable, &caller).await?);
    let stored = tokio::time::timeout_at(caller.deadline, door.backend.stored_tree(&caller.project)).await;
    let stored = stored.map_err(|_| no_answer(caller.timeout_ms()))??;
    Ok(Json(stored).into_response())
}
