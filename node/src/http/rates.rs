//! Rates.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{RateList, SetRate, SettingsChanged, WireRate};
use queenright_protocol::colony::{Body, Outcome, RateCommand, Refusal};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, misfit};

/// `PUT /v1/rates/{name}`
pub(super) async fn set(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    let request: SetRate = call.json(door.limits.body_bytes, caller.deadline).await?;
    let settings = request.into();
    change(&door, &caller, RateCommand::Set { name, settings }).await
}

/// `DELETE /v1/rates/{name}`
pub(super) async fn delete(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    change(&door, &caller, RateCommand::Delete { name }).await
}

async fn change(door: &Door, caller: &Caller, command: RateCommand) -> Result<Response, Refused> {
    match door.submit(caller, Body::Rate(command)).await? {
        Outcome::Set { seq } => Ok(Json(SettingsChanged { seq }).into_response()),
        other => Err(misfit(&other)),
    }
}

/// `GET /v1/rates/{name}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let name: Arc<str> = call.path("name").into();
    let snapshot = door.read(read, &caller).await?;
    let colony = &snapshot.colony;
    let rate = colony
        .project(&caller.project)
        .and_then(|project| project.rates().get(&name));
    match rate {
        Some(rate) => Ok(Json(WireRate::of(&name, rate, colony.cluster_ms())).into_response()),
        None => Err(Refusal::UnknownRate { rate: name }.into()),
    }
}

/// `GET /v1/rates`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let colony = &snapshot.colony;
    let project = colony.project(&caller.project);
    let rates = project.into_iter().flat_map(|project| project.rates().iter());
    let rates = rates.map(|(name, rate)| WireRate::of(name, rate, colony.cluster_ms()));
    let rates = rates.collect();
    Ok(Json(RateList { rates }).into_response())
}
