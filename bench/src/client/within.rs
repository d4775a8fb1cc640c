//! A door that is in this process: the same requests and answers without a connection.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::{Request, RequestBuilder, Response};
use tokio::time::timeout;

use super::request::unsendable;
use super::secure::trusts_nobody;
use super::{Client, ClientError, ClientOptions, REQUEST_TIMEOUT_MAX};

/// A door that is in this process.
pub trait Within: fmt::Debug + Send + Sync {
    /// Answers a request as a door answers one that came by a connection.
    fn answer(&self, request: Request) -> BoxFuture<'static, Response>;
}

impl Client {
    /// A client of a door that is in this process. `base_url` is where others reach it; nothing is sent there.
    ///
    /// # Errors
    /// [`ClientError::Unsendable`] when no client can be made.
    pub fn within(base_url: &str, options: ClientOptions, door: Arc<dyn Within>) -> Result<Client, ClientError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trusts_nobody())
            .no_proxy()
            .build()
            .map_err(|error| unsendable("the address of the door", error.to_string()))?;
        Ok(Client {
            http,
            within: Some(door),
            base: base_url.trim_end_matches('/').to_owned(),
            options,
        })
    }

    /// The same client of another door that is in this process.
    #[must_use]
    pub fn at(&self, door: Arc<dyn Within>) -> Client {
        Client {
            within: Some(door),
            ..self.clone()
        }
    }

    /// Lets the door answer, within the time of the request.
    pub(super) async fn send_within(
        &self,
        door: &dyn Within,
        request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        let request = request.build().map_err(|error| self.failure(&error))?;
        let within = request.timeout().copied().unwrap_or(REQUEST_TIMEOUT_MAX);
        timeout(within, door.answer(request))
            .await
            .map_err(|_| ClientError::Timeout {
                url: self.base.clone(),
                waited_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            })
    }
}
