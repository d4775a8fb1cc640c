//! The routes of sessions.

use queenright_actors::node::Consistency;
use queenright_protocol::colony::SessionId;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{
    ClosedSession, Heartbeat, OpenSession, OpenedSession, ReopenedSession, SessionList, SessionToken, WireSession,
    WireSessionId,
};
use super::{Client, ClientError};

/// Which sessions to list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionQuery {
    /// Those that have ended too.
    pub ended: bool,
    /// Only sessions of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only sessions after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<WireSessionId>,
    /// At most this many; the door's own limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How fresh.
    pub consistency: Consistency,
}

impl Client {
    /// Opens a session, which lives on the node of this door.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_session(
        &self,
        open: &OpenSession,
        idempotency_key: Option<&str>,
    ) -> Result<OpenedSession, ClientError> {
        let request = self.mutation(Method::POST, "/v1/sessions", idempotency_key)?;
        self.fetch(request.json(open)).await
    }

    /// A sign of life of a session.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `EXPIRED` says that the session has ended, and why.
    pub async fn heartbeat(&self, session: SessionId, token: &str) -> Result<Heartbeat, ClientError> {
        self.act(session, "heartbeat", token).await
    }

    /// Lets a session live on the node of this door.
    ///
    /// # Errors
    /// As [`Client::heartbeat`].
    pub async fn reopen_session(&self, session: SessionId, token: &str) -> Result<ReopenedSession, ClientError> {
        self.act(session, "reopen", token).await
    }

    /// Ends a session: what it holds returns.
    ///
    /// # Errors
    /// As [`Client::heartbeat`].
    pub async fn close_session(&self, session: SessionId, token: &str) -> Result<ClosedSession, ClientError> {
        self.act(session, "close", token).await
    }

    async fn act<T: DeserializeOwned>(&self, session: SessionId, verb: &str, token: &str) -> Result<T, ClientError> {
        let request = self.mutation(Method::POST, &format!("/v1/sessions/{session}:{verb}"), None)?;
        let token = SessionToken {
            token: token.to_owned(),
        };
        self.fetch(request.json(&token)).await
    }

    /// One session.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `NOT_FOUND`.
    pub async fn session(&self, session: SessionId, consistency: Consistency) -> Result<WireSession, ClientError> {
        let request = self.project_request(Method::GET, &format!("/v1/sessions/{session}"))?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// One page of a list of sessions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self, query: &SessionQuery) -> Result<SessionList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/sessions")?.query(query);
        self.fetch(request).await
    }
}
