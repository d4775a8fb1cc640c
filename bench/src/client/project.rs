//! The routes of projects.

use queenright_actors::node::Consistency;
use queenright_protocol::colony::ProjectLimits;
use reqwest::Method;
use serde::Serialize;

use super::request::path_of;
use super::wire::{CreateProject, DestroyedProject, ProjectList, ProjectSet, WireProject};
use super::{Client, ClientError};

/// Which projects to list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProjectQuery {
    /// Only projects after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most this many; the door's own limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How fresh.
    pub consistency: Consistency,
}

impl Client {
    /// Makes a project.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `CONFLICT` says that it is there already, or being cleared away.
    pub async fn create_project(&self, name: &str, limits: ProjectLimits) -> Result<ProjectSet, ClientError> {
        let create = CreateProject {
            project: name.into(),
            limits,
        };
        let request = self.request(Method::POST, "/v1/projects")?;
        self.fetch(request.json(&create)).await
    }

    /// Gives a project these limits, in place of those that it has.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is no such project.
    pub async fn limit_project(&self, name: &str, limits: ProjectLimits) -> Result<ProjectSet, ClientError> {
        let path = path_of("/v1/projects", "the project", name)?;
        let request = self.request(Method::PUT, &format!("{path}/limits"))?;
        self.fetch(request.json(&limits)).await
    }

    /// Destroys a project with all that it holds, or only says what that is.
    ///
    /// # Errors
    /// As [`Client::limit_project`].
    pub async fn destroy_project(&self, name: &str, dry_run: bool) -> Result<DestroyedProject, ClientError> {
        let path = path_of("/v1/projects", "the project", name)?;
        let request = self.request(Method::DELETE, &path)?;
        self.fetch(request.query(&[("dry_run", dry_run)])).await
    }

    /// One project.
    ///
    /// # Errors
    /// As [`Client::limit_project`].
    pub async fn project(&self, name: &str, consistency: Consistency) -> Result<WireProject, ClientError> {
        let path = path_of("/v1/projects", "the project", name)?;
        let request = self.request(Method::GET, &path)?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// One page of the list of projects.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn projects(&self, query: &ProjectQuery) -> Result<ProjectList, ClientError> {
        let request = self.request(Method::GET, "/v1/projects")?.query(query);
        self.fetch(request).await
    }
}
