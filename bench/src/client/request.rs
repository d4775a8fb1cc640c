//! One request and its answer.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

use super::secure::problem_of_tls;
use super::wire::Problem;
use super::{
    AGENT_HEADER, Client, ClientError, IDEMPOTENCY_HEADER, REQUEST_TIMEOUT_MAX, TIMEOUT_GRACE, TIMEOUT_HEADER,
    TOKEN_HEADER, TRACE_HEADER,
};

/// What stands in one segment of a path as it is: RFC 3986's unreserved characters. A slash is encoded, so that no
/// `..` of a key is taken for a step up.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Client {
    /// A request to a path of the door.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        let timeout = self.options.timeout.min(REQUEST_TIMEOUT_MAX);
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header(AGENT_HEADER, header_value("the agent", &self.options.agent)?)
            .header(TIMEOUT_HEADER, millis)
            .timeout(timeout + TIMEOUT_GRACE);
        Ok(match &self.options.traceparent {
            Some(parent) => request.header(TRACE_HEADER, header_value("the trace", parent)?),
            None => request,
        })
    }

    /// A request about the project.
    pub(super) fn project_request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        Ok(self
            .request(method, path)?
            .query(&[("project", self.options.project.as_str())]))
    }

    /// A request that changes the project.
    pub(super) fn mutation(
        &self,
        method: Method,
        path: &str,
        idempotency_key: Option<&str>,
    ) -> Result<RequestBuilder, ClientError> {
        let mut request = self.project_request(method, path)?;
        if let Some(token) = &self.options.token {
            request = request.header(TOKEN_HEADER, header_value("the token", token)?);
        }
        Ok(match idempotency_key {
            Some(key) => request.header(IDEMPOTENCY_HEADER, header_value("the idempotency key", key)?),
            None => request,
        })
    }

    /// Sends the request; an answer that is no success is an error.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = match &self.within {
            None => request.send().await.map_err(|error| self.failure(&error))?,
            Some(door) => self.send_within(&**door, request).await?,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.failure(&error))?;
        let problem: Problem = serde_json::from_slice(&bytes)
            .map_err(|_| self.bad_response(format!("status {status} without problem details")))?;
        Err(ClientError::Problem(Box::new(problem)))
    }

    /// Sends the request and reads the JSON of its answer.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|error| self.failure(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.bad_response(error.to_string()))
    }

    pub(super) fn failure(&self, error: &reqwest::Error) -> ClientError {
        let url = self.base.clone();
        if error.is_connect() {
            match problem_of_tls(error) {
                Some(problem) => ClientError::Untrusted { url, problem },
                None => ClientError::Unreachable { url },
            }
        } else if error.is_timeout() {
            let waited: Duration = self.options.timeout.min(REQUEST_TIMEOUT_MAX);
            ClientError::Timeout {
                url,
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            }
        } else if error.is_builder() {
            unsendable("the request", error.to_string())
        } else {
            let problem = innermost(error).to_string();
            ClientError::Lost { url, problem }
        }
    }

    pub(crate) fn bad_response(&self, problem: impl Into<String>) -> ClientError {
        ClientError::BadResponse {
            url: self.base.clone(),
            problem: problem.into(),
        }
    }
}

fn innermost(error: &reqwest::Error) -> &dyn std::error::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// `what`/`name` as one segment of a path.
///
/// # Errors
/// For names that no URL can hold in a path: `.` and `..`, and the empty one.
pub(super) fn path_of(folder: &str, what: &'static str, name: &str) -> Result<String, ClientError> {
    match name {
        "" => Err(unsendable(what, "is empty")),
        // Percent-encoded or not, they are steps to every parser of URLs.
        "." | ".." => Err(unsendable(what, format!("{name:?} cannot stand in a URL"))),
        _ => Ok(format!("{folder}/{}", utf8_percent_encode(name, SEGMENT))),
    }
}

/// Text as the value of a header.
pub(super) fn header_value(what: &'static str, text: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| unsendable(what, format!("{text:?} has a control character")))
}

pub(super) fn unsendable(what: &'static str, problem: impl Into<String>) -> ClientError {
    ClientError::Unsendable {
        what,
        problem: problem.into(),
    }
}
