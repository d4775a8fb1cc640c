//! Projects themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{
    Code, CreateProject, DestroyedProject, Problem, ProjectList, ProjectSet, WireProject,
};
use queenright_protocol::colony::{Body, Outcome, ProjectCommand, ProjectLimits};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, misfit};

/// How many projects a list has at most, and unless the caller says otherwise.
pub(super) const LIST_PROJECTS: (u64, u64) = (1_000, 100);

/// `POST /v1/projects`
pub(super) async fn create(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let mut caller = call.caller()?;
    let CreateProject { project, limits } = call.json(door.limits.body_bytes, caller.deadline).await?;
    caller.project = project;
    let set = set(&door, caller, ProjectCommand::Create(limits), limits).await?;
    Ok((StatusCode::CREATED, Json(set)).into_response())
}

/// `PUT /v1/projects/{project}/limits`
pub(super) async fn limit(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let limits: ProjectLimits = call.json(door.limits.body_bytes, caller.deadline).await?;
    let set = set(&door, caller, ProjectCommand::Limit(limits), limits).await?;
    Ok(Json(set).into_response())
}

async fn set(
    door: &Door,
    caller: Caller,
    command: ProjectCommand,
    limits: ProjectLimits,
) -> Result<ProjectSet, Refused> {
    match door.submit(&caller, Body::Project(command)).await? {
        Outcome::ProjectSet { seq } => Ok(ProjectSet {
            seq,
            project: caller.project,
            limits,
        }),
        other => Err(misfit(&other)),
    }
}

/// `DELETE /v1/projects/{project}`
pub(super) async fn destroy(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let dry_run = call.flag("dry_run")?;
    let caller = call.caller()?;
    let destroy = Body::Project(ProjectCommand::Destroy { dry_run });
    match door.submit(&caller, destroy).await? {
        Outcome::ProjectDestroyed { seq, lost } => {
            let answer = DestroyedProject {
                seq,
                project: caller.project,
                dry_run,
                lost,
            };
            Ok(Json(answer).into_response())
        }
        other => Err(misfit(&other)),
    }
}

/// `GET /v1/projects/{project}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.backend.read(read, caller.left()).await?;
    let (name, colony) = (&caller.project, &snapshot.colony);
    match colony.remains(name) {
        Some(project) => Ok(Json(WireProject::of(name, project, colony)).into_response()),
        None => Err(Problem::new(Code::NotFound, format!("there is no project {name}")).into()),
    }
}

/// `GET /v1/projects`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let after: Option<Arc<str>> = call.take("after").map(Into::into);
    let limit = call.number("limit", 1..=LIST_PROJECTS.0)?.unwrap_or(LIST_PROJECTS.1) as usize;
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.backend.read(read, caller.left()).await?;
    let colony = &snapshot.colony;
    let mut rest = colony
        .projects()
        .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
    let listed = rest.by_ref().take(limit);
    let projects: Vec<WireProject> = listed
        .map(|(name, project)| WireProject::of(name, project, colony))
        .collect();
    let last = || projects.last().map(|last| last.project.clone());
    let next = rest.next().and_then(|_| last());
    Ok(Json(ProjectList { projects, next }).into_response())
}
