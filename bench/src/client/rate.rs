//! The routes of rates.

use queenright_actors::node::Consistency;
use reqwest::Method;

use super::request::path_of;
use super::wire::{RateList, SetRate, SettingsChanged, WireRate};
use super::{Client, ClientError};

impl Client {
    /// Makes a rate, or changes it.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `INVALID` or `TOO_LARGE` names the field that is out of its bounds.
    pub async fn set_rate(&self, name: &str, set: &SetRate) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::PUT, &path_of("/v1/rates", "the rate", name)?, None)?;
        self.fetch(call.json(set)).await
    }

    /// Deletes a rate.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `CONFLICT` says that open tasks name it, one of code `NOT_FOUND` that there is none.
    pub async fn delete_rate(&self, name: &str) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::DELETE, &path_of("/v1/rates", "the rate", name)?, None)?;
        self.fetch(call).await
    }

    /// A rate as it is.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn rate(&self, name: &str, consistency: Consistency) -> Result<WireRate, ClientError> {
        let request = self.project_request(Method::GET, &path_of("/v1/rates", "the rate", name)?)?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// The rates of the project.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rates(&self, consistency: Consistency) -> Result<RateList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/rates")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }
}
