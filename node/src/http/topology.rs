//! The topology: how it is, and another one.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{SetTopology, TopologySet, WireTopology};
use queenright_protocol::colony::{Body, Outcome, TopologyCommand};
use queenright_protocol::topology::Kind;

use super::Door;
use super::call::Call;
use super::problem::{Refused, invalid, misfit, no_answer};
use crate::config::FAN_OUT_MAX;

/// `GET /v1/topology`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let status = tokio::time::timeout_at(caller.deadline, door.backend.cluster_status()).await;
    let status = status.map_err(|_| no_answer(caller.timeout_ms()))?;
    Ok(Json(WireTopology::of(&status)).into_response())
}

/// `PUT /v1/topology`
pub(super) async fn set(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let SetTopology { kind, dry_run } = call.json(door.limits.body_bytes, caller.deadline).await?;
    if let Kind::Hierarchical { fan_out } = kind
        && u64::from(fan_out.get()) > FAN_OUT_MAX
    {
        let problem = format!("a fan-out of {} is over the limit of {FAN_OUT_MAX}", fan_out.get());
        return Err(invalid("kind", problem));
    }
    let before = door.backend.read(Consistency::Linearizable, caller.left()).await?;
    let Some(before) = before.colony.epoch().cloned() else {
        return Err(invalid("topology", "nobody has named the members yet: try again"));
    };
    let status = tokio::time::timeout_at(caller.deadline, door.backend.cluster_status()).await;
    let status = status.map_err(|_| no_answer(caller.timeout_ms()))?;
    let mut set = TopologySet::of(&before, kind, |number| {
        let found = status.nodes.iter().find(|node| node.number == number.0);
        found.map_or_else(|| number.to_string(), |node| node.name.clone())
    });
    set.dry_run = dry_run;
    if !dry_run {
        let command = Body::Topology(TopologyCommand::Set { kind });
        match door.submit(&caller, command).await? {
            Outcome::EpochSet { epoch, changed, .. } => (set.epoch, set.changed) = (epoch, changed),
            other => return Err(misfit(&other)),
        }
    }
    Ok(Json(set).into_response())
}
