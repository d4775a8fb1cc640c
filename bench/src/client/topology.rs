//! The routes of the topology.

use queenright_protocol::topology::Kind;
use reqwest::Method;

use super::wire::{SetTopology, TopologySet, WireTopology};
use super::{Client, ClientError};

impl Client {
    /// How the nodes are linked, and each link as its ends see it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn topology(&self) -> Result<WireTopology, ClientError> {
        self.fetch(self.request(Method::GET, "/v1/topology")?).await
    }

    /// Links the members in another way, or only says what that would open and close.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_topology(&self, kind: Kind, dry_run: bool) -> Result<TopologySet, ClientError> {
        let request = self.request(Method::PUT, "/v1/topology")?;
        self.fetch(request.json(&SetTopology { kind, dry_run })).await
    }
}
