//! Tokens that let callers in.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{Code, CreateToken, CreatedToken, Problem, RevokedToken, TokenList, WireToken};
use queenright_protocol::colony::{Body, DoorTokenCommand, Outcome};

use super::Door;
use super::call::Call;
use super::memory::consistency;
use super::problem::{Refused, invalid, misfit};
use crate::secret;

/// For how long a token may be made at most, in seconds: a hundred years, so that no sum overflows.
const EXPIRES_S_MAX: u64 = 36_525 * 86_400;

/// `POST /v1/tokens`: the secret is in the answer, and nowhere else.
pub(super) async fn create(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let CreateToken { name, scope, expires_s } = call.json(door.limits.body_bytes, caller.deadline).await?;
    if let Some(expires_s) = expires_s.filter(|expires_s| !(1..=EXPIRES_S_MAX).contains(expires_s)) {
        let problem = format!("{expires_s} is out of range (1 to {EXPIRES_S_MAX})");
        return Err(invalid("expires_s", problem));
    }
    let expires_ms = expires_s.map(|expires_s| now_ms() + expires_s * 1_000);
    let made = secret::new()
        .map_err(|error| Refused::from(Problem::new(Code::Internal, format!("no randomness: {error}"))))?;
    let command = DoorTokenCommand::Create {
        name: name.clone(),
        access: scope,
        secret: secret::hash(&made),
        expires_ms,
    };
    match door.submit(&caller, Body::DoorToken(command)).await? {
        Outcome::DoorTokenSet { seq } => {
            let created = CreatedToken {
                seq,
                name,
                scope,
                expires_ms,
                secret: made,
            };
            Ok((StatusCode::CREATED, Json(created)).into_response())
        }
        other => Err(misfit(&other)),
    }
}

/// `DELETE /v1/tokens/{name}`
pub(super) async fn revoke(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name: Arc<str> = call.path("name").into();
    let command = DoorTokenCommand::Revoke { name: name.clone() };
    match door.submit(&caller, Body::DoorToken(command)).await? {
        Outcome::DoorTokenSet { seq } => Ok(Json(RevokedToken { seq, name }).into_response()),
        other => Err(misfit(&other)),
    }
}

/// `GET /v1/tokens`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.backend.read(read, caller.left()).await?;
    let now_ms = now_ms();
    let tokens = snapshot.colony.door_tokens().iter();
    let tokens = tokens.map(|(name, token)| WireToken::of(name, token, now_ms)).collect();
    Ok(Json(TokenList { tokens }).into_response())
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}
