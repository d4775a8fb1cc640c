//! What this node logs.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{Code, LogLevel, Problem, SetLogLevel};

use super::Door;
use super::call::Call;
use super::problem::{Refused, invalid};
use crate::logging::{self, Level, LogFilter};

/// `GET /v1/log-level`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    call.caller()?;
    answer(&door, logging::level())
}

/// `PUT /v1/log-level`
pub(super) async fn set(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let SetLogLevel { filter } = call.json(door.limits.body_bytes, caller.deadline).await?;
    let filter = filter.as_deref().map(LogFilter::parse).transpose();
    let filter = filter.map_err(|error| invalid("filter", error))?;
    let level = logging::set_level(filter);
    if let Some(level) = &level {
        tracing::info!(filter = %level.filter, by = %caller.author, "what is logged was changed");
    }
    answer(&door, level)
}

fn answer(door: &Door, level: Option<Level>) -> Result<Response, Refused> {
    let (Some(level), Some(node)) = (level, door.backend.node()) else {
        let problem = Problem::new(Code::NotFound, "this process has no log of its own");
        return Err(problem.into());
    };
    let level = LogLevel {
        node: node.name().to_owned(),
        filter: level.filter.to_string(),
        at_start: level.at_start.to_string(),
    };
    Ok(Json(level).into_response())
}
