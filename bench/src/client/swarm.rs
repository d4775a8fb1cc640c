//! The routes about the cluster, the node and its agents.

use std::time::Duration;

use queenright_actors::agent::{AgentSpec, AgentStatus};
use queenright_actors::node::{ClusterStatus, NodeFigures};
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::request::path_of;
use super::wire::AgentList;
use super::{Client, ClientError};

impl Client {
    /// Whether the node has a leader that a quorum follows, so that it serves reads.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `UNAVAILABLE` while it has none.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::GET, "/readyz")?).await.map(drop)
    }

    /// The cluster as the node sees it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        self.fetch(self.request(Method::GET, "/v1/status")?).await
    }

    /// What the node counts and measures.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn figures(&self) -> Result<NodeFigures, ClientError> {
        self.fetch(self.request(Method::GET, "/v1/figures")?).await
    }

    /// The answer of a route of the project that this client has no method for, as what its JSON holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch_json<T: DeserializeOwned>(&self, path: &str, within: Duration) -> Result<T, ClientError> {
        self.fetch(self.project_request(Method::GET, path)?.timeout(within))
            .await
    }

    /// Starts an agent on the node.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `CONFLICT` when its name is taken.
    pub async fn spawn_agent(&self, spec: &AgentSpec) -> Result<AgentStatus, ClientError> {
        self.fetch(self.request(Method::POST, "/v1/agents")?.json(spec)).await
    }

    /// The agents of the node, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agents(&self) -> Result<Vec<AgentStatus>, ClientError> {
        let list: AgentList = self.fetch(self.request(Method::GET, "/v1/agents")?).await?;
        Ok(list.agents)
    }

    /// One agent of the node.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `NOT_FOUND`.
    pub async fn agent(&self, name: &str) -> Result<AgentStatus, ClientError> {
        self.fetch(self.request(Method::GET, &agent_path(name)?)?).await
    }

    /// Stops an agent of the node.
    ///
    /// # Errors
    /// As [`Client::agent`].
    pub async fn stop_agent(&self, name: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &agent_path(name)?)?)
            .await
            .map(drop)
    }
}

/// The path of an agent.
///
/// # Errors
/// [`ClientError::Unsendable`] for a name that no URL can hold.
pub fn agent_path(name: &str) -> Result<String, ClientError> {
    path_of("/v1/agents", "the name of the agent", name)
}
