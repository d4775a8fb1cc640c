//! The routes of pools.

use queenright_actors::node::Consistency;
use reqwest::Method;

use super::request::path_of;
use super::wire::{PoolChanged, PoolList, PoolStatus, SetPool};
use super::{Client, ClientError};

impl Client {
    /// Makes a pool, or changes it.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `INVALID` or `TOO_LARGE` names the field that is out of its bounds.
    pub async fn set_pool(&self, name: &str, set: &SetPool) -> Result<PoolChanged, ClientError> {
        let request = self.request(Method::PUT, &path(name)?)?;
        self.fetch(request.json(set)).await
    }

    /// Lets a pool be gone: its agents end what they have in hand.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn remove_pool(&self, name: &str) -> Result<PoolChanged, ClientError> {
        let request = self.request(Method::DELETE, &path(name)?)?;
        self.fetch(request).await
    }

    /// Lets a pool have no agents, or some again.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn drain_pool(&self, name: &str, on: bool) -> Result<PoolChanged, ClientError> {
        let verb = if on { "drain" } else { "undrain" };
        let request = self.request(Method::POST, &format!("{}/{verb}", path(name)?))?;
        self.fetch(request).await
    }

    /// Replaces all agents of a pool.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn recycle_pool(&self, name: &str) -> Result<PoolChanged, ClientError> {
        let request = self.request(Method::POST, &format!("{}/recycle", path(name)?))?;
        self.fetch(request).await
    }

    /// The pools.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pools(&self, consistency: Consistency) -> Result<PoolList, ClientError> {
        let request = self.request(Method::GET, "/v1/pools")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// A pool, its work and its agents on all nodes.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn pool(&self, name: &str, consistency: Consistency) -> Result<PoolStatus, ClientError> {
        let request = self.request(Method::GET, &path(name)?)?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }
}

fn path(name: &str) -> Result<String, ClientError> {
    path_of("/v1/pools", "the pool", name)
}
