//! The whole state, for a backup.

use axum::extract::State;
use axum::response::Response;

use super::Door;
use super::call::Call;
use super::memory::consistency;
use super::piped;
use super::problem::Refused;

/// `GET /v1/backup`: as `queenright_actors::backup` writes it.
pub(super) async fn backup(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let permit = door.place_to_wait()?;
    let source = door.node()?.backup(read, caller.left()).await?;
    Ok(piped::respond(permit, "application/octet-stream", move |out| {
        source.write(out)
    }))
}
