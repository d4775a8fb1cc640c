//! The routes about the cluster, the node and its agents.

use std::time::Duration;

use queenright_actors::agent::{AgentFilter, AgentOrder, AgentSpec, AgentStatus};
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

    /// All agents of the node, by name, read page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agents(&self) -> Result<Vec<AgentStatus>, ClientError> {
        let (mut agents, mut filter) = (Vec::new(), AgentFilter::default());
        loop {
            let page = self.agents_page(&filter).await?;
            agents.extend(page.agents);
            match page.next {
                Some(next) => filter.after = Some(next),
                None => return Ok(agents),
            }
        }
    }

    /// A page of the agents of the node that a filter chooses, by name.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `INVALID` for a filter that cannot be one.
    pub async fn agents_page(&self, filter: &AgentFilter) -> Result<AgentList, ClientError> {
        let AgentFilter {
            state,
            kind,
            labels,
            parent,
            name,
            after,
            limit,
        } = filter;
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let fields = [
            ("state", state.map(|state| state.name().to_owned())),
            ("kind", kind.clone()),
            ("labels", Some(labels.join(",")).filter(|labels| !labels.is_empty())),
            ("parent", parent.clone()),
            ("name", name.as_deref().map(str::to_owned)),
            ("after", after.clone()),
            ("limit", limit.map(|limit| limit.to_string())),
        ];
        let fields: Vec<(&str, String)> = fields
            .into_iter()
            .filter_map(|(field, value)| Some((field, value?)))
            .collect();
        self.fetch(self.request(Method::GET, "/v1/agents")?.query(&fields))
            .await
    }

    /// One agent of the node.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `NOT_FOUND`.
    pub async fn agent(&self, name: &str) -> Result<AgentStatus, ClientError> {
        self.fetch(self.request(Method::GET, &agent_path(name)?)?).await
    }

    /// Tells an agent of the node to do something else than to stop, and says how it is then.
    ///
    /// # Errors
    /// As [`Client::agent`]; a problem with code `CONFLICT` when it has ended.
    pub async fn order_agent(&self, name: &str, order: AgentOrder) -> Result<AgentStatus, ClientError> {
        let path = format!("{}/{order}", agent_path(name)?);
        self.fetch(self.request(Method::POST, &path)?).await
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
