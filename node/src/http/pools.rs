//! Pools: what they are to be, and how their agents are on all nodes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::pool::{PoolFigures, spec};
use queenright_bench::client::wire::{PoolChanged, PoolList, PoolNode, PoolStatus, SetPool, WirePool};
use queenright_protocol::colony::{Body, Outcome, Pool, PoolCommand, PoolSettings, Refusal};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid, misfit, no_answer};
use crate::hosted::POOLED;

/// `PUT /v1/pools/{name}`
pub(super) async fn set(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name: Arc<str> = call.path("name").into();
    let request: SetPool = call.json(door.limits.body_bytes, caller.deadline).await?;
    let if_absent = request.if_absent;
    let settings = PoolSettings::from(request);
    door.check_pool(&name, &settings)?;
    let command = PoolCommand::Set {
        name,
        settings: Box::new(settings),
        if_absent,
    };
    change(&door, &caller, command).await
}

impl Door {
    /// Whether agents could be made of these settings. What is on the hosts, such as the program of a command, counts if
    /// this node may host some; else the nodes that do find out.
    fn check_pool(&self, name: &str, settings: &PoolSettings) -> Result<(), Refused> {
        settings.check(name)?;
        if !POOLED.contains(&&*settings.behaviour) {
            let problem = format!(
                "{:?} agents stand in no pool ({})",
                settings.behaviour,
                POOLED.join(", ")
            );
            return Err(invalid("behaviour", problem));
        }
        let node = self.backend.node();
        let spec = spec(name, settings, node.map_or("n1", |node| node.name()), 1)?;
        match node.filter(|node| node.fits_pool(settings)) {
            Some(node) => Ok(node.check_agent(&spec)?),
            None => Ok(spec.check()?),
        }
    }
}

/// `DELETE /v1/pools/{name}`
pub(super) async fn remove(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    change(&door, &caller, PoolCommand::Remove { name }).await
}

/// `POST /v1/pools/{name}/drain`
pub(super) async fn drain(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    change(&door, &caller, PoolCommand::Drain { name, on: true }).await
}

/// `POST /v1/pools/{name}/undrain`
pub(super) async fn undrain(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    change(&door, &caller, PoolCommand::Drain { name, on: false }).await
}

/// `POST /v1/pools/{name}/recycle`
pub(super) async fn recycle(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    change(&door, &caller, PoolCommand::Recycle { name }).await
}

async fn change(door: &Door, caller: &Caller, command: PoolCommand) -> Result<Response, Refused> {
    match door.submit(caller, Body::Pool(command)).await? {
        Outcome::PoolSet { seq, changed } => Ok(Json(PoolChanged { seq, changed }).into_response()),
        other => Err(misfit(&other)),
    }
}

/// `GET /v1/pools`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.backend.read(read, caller.left()).await?;
    let pools = snapshot.colony.pools().iter();
    let pools = pools.map(|(name, pool)| WirePool::of(name, pool)).collect();
    Ok(Json(PoolList { pools }).into_response())
}

/// `GET /v1/pools/{name}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let name: Arc<str> = call.path("name").into();
    let (pool, ready) = {
        let snapshot = door.backend.read(read, caller.left()).await?;
        let pool = snapshot.colony.pools().get(&name).cloned();
        let unknown = || Refusal::UnknownPool { pool: name.clone() };
        let pool = pool.ok_or_else(unknown)?;
        let ready = snapshot.colony.ready_for(&pool.settings);
        (pool, ready)
    };
    let asked = tokio::time::timeout_at(caller.deadline, door.pool_nodes(&name, &pool)).await;
    let nodes = asked.map_err(|_| no_answer(caller.timeout_ms()))?;
    let agents = nodes
        .iter()
        .fold(PoolFigures::default(), |sum, node| sum.and(&node.agents));
    let status = PoolStatus {
        pool: WirePool::of(&name, &pool),
        ready,
        agents,
        nodes,
    };
    Ok(Json(status).into_response())
}

impl Door {
    /// How the agents of a pool are on each member.
    async fn pool_nodes(&self, name: &str, pool: &Pool) -> Vec<PoolNode> {
        let Some(node) = self.backend.node() else {
            return Vec::new();
        };
        let reports = node.pool_reports().await.into_iter();
        let nodes = reports.map(|(number, (node, report))| {
            let fits = report.as_ref().is_some_and(|report| report.fits(&pool.settings));
            let agents = report.as_ref().and_then(|report| report.pools.get(name).cloned());
            PoolNode {
                node,
                answers: report.is_some(),
                fits,
                agents: PoolFigures {
                    wanted: pool.share(number),
                    ..agents.unwrap_or_default()
                },
            }
        });
        nodes.collect()
    }
}
