//! The routes about nodes: what one asks that is not linked, and what becomes of members.

use std::time::Duration;

use queenright_actors::link::Cookie;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::path_of;
use super::wire::{NodeAnswer, NodeQuestion, Sealed};
use super::{Client, ClientError};

/// A member is otherwise, or will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedNode {
    /// Its name.
    pub node: String,
    /// The number of the epoch that says so.
    pub epoch: u64,
}

/// The answer to `GET /healthz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the process answers.
    pub alive: bool,
    /// What its wall clock shows, in milliseconds since 1970.
    #[serde(default)]
    pub wall_ms: Option<u64>,
}

impl Client {
    /// Whether the process of the node answers. Needs no token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.fetch(self.request(Method::GET, "/healthz")?).await
    }

    /// Allows a node that has lost its disk to come back with an empty folder.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `CONFLICT` when the node runs.
    pub async fn replace_node(&self, name: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::POST, &of_node(name, "replace")?)?)
            .await
            .map(drop)
    }

    /// Lets a node take no new work.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn drain_node(&self, name: &str) -> Result<ChangedNode, ClientError> {
        self.fetch(self.request(Method::POST, &of_node(name, "drain")?)?).await
    }

    /// Lets a node take work again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn undrain_node(&self, name: &str) -> Result<ChangedNode, ClientError> {
        self.fetch(self.request(Method::POST, &of_node(name, "undrain")?)?)
            .await
    }

    /// Lets a dead node go for good.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `CONFLICT` when the node runs, or the others have no majority.
    pub async fn remove_node(&self, name: &str) -> Result<ChangedNode, ClientError> {
        self.fetch(self.request(Method::POST, &of_node(name, "remove")?)?).await
    }

    /// Lets the node that is asked go for good, once its work is done or this patience has ended. It ends by itself then.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `CONFLICT` when the others have no majority.
    pub async fn leave(&self, name: &str, patience: Duration) -> Result<ChangedNode, ClientError> {
        let request = self.request(Method::POST, &of_node(name, "leave")?)?;
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.fetch(request.query(&[("patience_ms", patience_ms)])).await
    }

    /// Asks as a node that is not linked with the one that is asked.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `UNAUTHORIZED` when that one knows another cookie.
    pub async fn ask_as_node(&self, question: &NodeQuestion, cookie: &Cookie) -> Result<NodeAnswer, ClientError> {
        let question = Sealed::new(question, cookie, None);
        let request = self.request(Method::POST, "/v1/nodes:ask")?;
        let answer: Sealed = self.fetch(request.json(&question)).await?;
        let opened = answer.open(cookie, Some(&question));
        opened.ok_or_else(|| self.bad_response("whoever answers does not know the cookie of this cluster"))
    }
}

fn of_node(name: &str, what: &str) -> Result<String, ClientError> {
    let path = path_of("/v1/nodes", "the name of the node", name)?;
    Ok(format!("{path}/{what}"))
}
