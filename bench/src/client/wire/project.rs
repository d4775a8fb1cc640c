//! Projects over a door.

use std::fmt;
use std::sync::Arc;

use queenright_protocol::colony::{Colony, Holdings, Project, ProjectLimits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/projects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// Its name.
    pub project: Arc<str>,
    /// What it may have at most.
    #[serde(default)]
    pub limits: ProjectLimits,
}

/// The answer to it, and to `PUT /v1/projects/{project}/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectSet {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Its name.
    pub project: Arc<str>,
    /// What it may have at most from now on.
    pub limits: ProjectLimits,
}

/// The answer to `DELETE /v1/projects/{project}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DestroyedProject {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Its name.
    pub project: Arc<str>,
    /// Whether it was only asked what would be lost.
    pub dry_run: bool,
    /// What is lost, or would be.
    pub lost: Holdings,
}

/// Whether a project is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectState {
    /// It is there.
    Live,
    /// It is destroyed, and being cleared away: its name is free after that.
    Clearing,
}

impl fmt::Display for ProjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProjectState::Live => "live",
            ProjectState::Clearing => "clearing",
        })
    }
}

/// A project as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireProject {
    /// Its name.
    pub project: Arc<str>,
    /// Whether it is there.
    pub state: ProjectState,
    /// How many things are still to be cleared away, if it is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Who made it.
    pub author: Arc<str>,
    /// The position of the command that made it.
    pub made: u64,
    /// Cluster time of that, in milliseconds.
    pub made_ms: u64,
    /// What it may have at most.
    pub limits: ProjectLimits,
    /// What it holds.
    pub holds: Holdings,
}

impl WireProject {
    /// A project as it is.
    pub fn of(name: &Arc<str>, project: &Project, colony: &Colony) -> WireProject {
        let about = project.about();
        let destroyed = about.destroyed.is_some();
        WireProject {
            project: name.clone(),
            state: match destroyed {
                true => ProjectState::Clearing,
                false => ProjectState::Live,
            },
            left: destroyed.then(|| colony.left_of(name)),
            author: about.author.clone(),
            made: about.made,
            made_ms: about.made_ms,
            limits: about.limits,
            holds: project.holdings(name, colony.agents()),
        }
    }
}

/// The answer to `GET /v1/projects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectList {
    /// The projects, by name; those that are being cleared away too.
    pub projects: Vec<WireProject>,
    /// What to ask `after` next; absent at the end of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Arc<str>>,
}
