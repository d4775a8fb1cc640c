//! The routes that answer with as many bytes as there are: backups, and exports of projects.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use queenright_actors::node::Consistency;
use reqwest::Method;

use super::request::header_value;
use super::{AGENT_HEADER, Client, ClientError, REQUEST_TIMEOUT_MAX, TIMEOUT_HEADER};

/// How long the next bytes may take: a node that makes them does nothing else in between.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// An answer that comes in pieces, up to its end or its first error.
pub type Pieces = BoxStream<'static, Result<Bytes, ClientError>>;

impl Client {
    /// The whole state of the cluster, as `queenright_actors::backup` writes it. It is whole if that can read it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backup(&self, consistency: Consistency) -> Result<Pieces, ClientError> {
        self.pieces("/v1/backup", consistency, &[]).await
    }

    /// A project as lines of JSON: see [`super::wire::ExportLine`]. It is whole if the last line says so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn export(&self, consistency: Consistency) -> Result<Pieces, ClientError> {
        let project = [("project", self.options.project.as_str())];
        self.pieces("/v1/export", consistency, &project).await
    }

    async fn pieces(
        &self,
        path: &str,
        consistency: Consistency,
        query: &[(&str, &str)],
    ) -> Result<Pieces, ClientError> {
        let timeout = self.options.timeout.min(REQUEST_TIMEOUT_MAX);
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        // The answer may take as long as it likes, as long as it goes on; that it begins is bounded by the door.
        let request = self
            .http
            .request(Method::GET, format!("{}{path}", self.base))
            .header(AGENT_HEADER, header_value("the agent", &self.options.agent)?)
            .header(TIMEOUT_HEADER, millis)
            .query(&[("consistency", consistency)])
            .query(query);
        let response = self.at_most(timeout + SILENCE_MAX, self.send(request)).await??;
        let pieces = (self.clone(), response.bytes_stream().boxed());
        let pieces = stream::try_unfold(pieces, |(client, mut pieces)| async move {
            match client.at_most(SILENCE_MAX, pieces.next()).await? {
                None => Ok(None),
                Some(Ok(piece)) => Ok(Some((piece, (client, pieces)))),
                Some(Err(error)) => Err(client.failure(&error)),
            }
        });
        Ok(pieces.boxed())
    }

    async fn at_most<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(limit, future).await;
        answer.map_err(|_| ClientError::Timeout {
            url: self.base.clone(),
            waited_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        })
    }
}
