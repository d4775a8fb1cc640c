//! One request: who asks, for how long, and what; with bounds on all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::RequestExt as _;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, RawPathParamsRejection};
use axum::extract::{FromRequest, Query, RawPathParams, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use queenright_bench::client::wire::{Code, Problem};
use queenright_bench::client::{AGENT_HEADER, IDEMPOTENCY_HEADER, REQUEST_TIMEOUT_MAX, TIMEOUT_HEADER, TOKEN_HEADER};
use queenright_protocol::colony::{Caller as Owner, TokenHash};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connection::Switch;
use super::problem::{Refused, invalid, no_method, too_large};

/// How long a request may take unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How much of a body that is too large is read and thrown away, so that the caller, who reads the answer only after it
/// has sent the body, gets it.
const DRAINED_BYTES_MAX: u64 = 64 << 20;
/// How much room is made for a body before it arrives, whatever its length is said to be.
const ROOM_BYTES_MAX: u64 = 1 << 20;

/// A request whose query has been taken apart; the body is still to come.
pub(super) struct Call {
    path: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Body,
    arrived: Instant,
    switch: Option<Switch>,
}

/// Who asks, about what, and until when.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) project: Arc<str>,
    pub(super) author: Arc<str>,
    pub(super) idempotency_key: Option<Arc<str>>,
    /// By which it shows whose reservations are its own.
    token: Option<TokenHash>,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Caller {
    /// Who writes, if it has shown that.
    pub(super) fn writer(&self) -> Option<Owner> {
        self.token.map(Owner::Session)
    }

    /// The time that is left.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The time that the request may take in all, in milliseconds.
    pub(super) fn timeout_ms(&self) -> u64 {
        self.timeout.as_millis() as u64
    }
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Refused;

    async fn from_request(mut request: Request, _: &S) -> Result<Call, Refused> {
        let path = match request.extract_parts::<RawPathParams>().await {
            Ok(params) => params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            Err(RawPathParamsRejection::InvalidUtf8InPathParam(error)) => {
                return Err(Problem::new(Code::Invalid, error.body_text()).into());
            }
            Err(_) => BTreeMap::new(),
        };
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|rejection| Refused::from(Problem::new(Code::Invalid, rejection.body_text())))?;
        let mut query = BTreeMap::new();
        for (name, value) in pairs {
            if query.contains_key(&name) {
                return Err(invalid(&name, "stands twice in the query"));
            }
            query.insert(name, value);
        }
        let (parts, body) = request.into_parts();
        Ok(Call {
            switch: parts.extensions.get::<Switch>().cloned(),
            path,
            query,
            headers: parts.headers,
            body,
            arrived: Instant::now(),
        })
    }
}

impl Call {
    /// A part of the path, decoded once.
    ///
    /// # Panics
    /// When the route of this handler has no such part.
    pub(super) fn path(&self, name: &str) -> &str {
        self.path.get(name).expect("the route names this part of the path")
    }

    /// A part of the path that says what is done with something, such as `s42:close`: the thing and the verb.
    ///
    /// # Errors
    /// When no verb stands behind it: a thing alone has other methods.
    pub(super) fn thing_and_verb(&self, name: &str) -> Result<(&str, &str), Refused> {
        let path = self.path(name);
        path.rsplit_once(':').ok_or_else(|| {
            let detail =
                format!("{name} {path:?} does not have the method POST: what is done with it stands behind a colon");
            no_method(detail, "GET,HEAD")
        })
    }

    /// A part of the path that is an id alone. Verbs behind it, with or without their colon, have the method POST.
    ///
    /// # Errors
    /// When one of the verbs stands behind an id.
    pub(super) fn thing<T: FromStr>(&self, name: &str, verbs: &[&str]) -> Result<&str, Refused> {
        let path = self.path(name);
        match path.rsplit_once(':') {
            Some((id, verb))
                if id.parse::<T>().is_ok() && verbs.iter().any(|known| known.trim_start_matches(':') == verb) =>
            {
                let detail = format!("{name} {path:?} has the method POST only");
                Err(no_method(detail, "POST"))
            }
            _ => Ok(path),
        }
    }

    /// Takes a field out of the query.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.query.remove(name)
    }

    /// Takes a field out of the query and parses it.
    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Result<Option<T>, Refused> {
        self.take(name)
            .map(|text| text.parse().map_err(|error| invalid(name, error)))
            .transpose()
    }

    /// Takes a whole number out of the query.
    pub(super) fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Result<Option<u64>, Refused> {
        self.take(name).map(|text| number(name, &text, bounds)).transpose()
    }

    /// Takes a yes or no out of the query; absent is no.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Refused> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(invalid(name, format_args!("{other:?} is neither true nor false"))),
        }
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Result<Option<&str>, Refused> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid(name, "the header stands twice"));
        }
        match str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(invalid(name, "the header is not UTF-8")),
        }
    }

    /// Whether the caller asks for an answer of this media type by name.
    pub(super) fn accepts(&self, media_type: &str) -> bool {
        let values = self.headers.get_all(header::ACCEPT).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|range| {
            let named = range.split(';').next().unwrap_or_default();
            named.trim().eq_ignore_ascii_case(media_type)
        })
    }

    /// What ends the connection that the request came by; a request that came by none has no such thing.
    pub(super) fn switch(&self) -> Option<Switch> {
        self.switch.clone()
    }

    /// Who asks. Every field of the query must have been taken before; what is left over is refused by name.
    pub(super) fn caller(&mut self) -> Result<Caller, Refused> {
        let timeout_bounds = 1..=REQUEST_TIMEOUT_MAX.as_millis() as u64;
        let mut timeout_ms = self.number("timeout_ms", timeout_bounds.clone())?;
        if timeout_ms.is_none() {
            let header = self.header(TIMEOUT_HEADER)?;
            timeout_ms = header
                .map(|text| number(TIMEOUT_HEADER, text, timeout_bounds))
                .transpose()?;
        }
        let timeout = timeout_ms.map_or(TIMEOUT_DEFAULT, Duration::from_millis);
        let project = match (self.path.get("project").cloned(), self.take("project")) {
            (Some(_), Some(_)) => return Err(invalid("project", "stands in the path and in the query")),
            (Some(project), None) | (None, Some(project)) => project,
            (None, None) => "default".to_owned(),
        };
        if let Some(unknown) = self.query.keys().next() {
            return Err(invalid(unknown, "is no field of this query"));
        }
        Ok(Caller {
            project: project.into(),
            author: self.header(AGENT_HEADER)?.unwrap_or("http").into(),
            idempotency_key: self.header(IDEMPOTENCY_HEADER)?.map(Arc::from),
            token: self.header(TOKEN_HEADER)?.map(TokenHash::of),
            timeout,
            deadline: self.arrived + timeout,
        })
    }

    /// The body as it is.
    pub(super) async fn bytes(self, field: &str, limit: usize, deadline: Instant) -> Result<Bytes, Refused> {
        tokio::time::timeout_at(deadline, self.read(field, limit))
            .await
            .unwrap_or_else(|_| {
                let problem = Problem::new(Code::Invalid, "the body did not arrive in time");
                Err(problem.with_status(408).into())
            })
    }

    /// The body as JSON.
    pub(super) async fn json<T: DeserializeOwned>(self, limit: usize, deadline: Instant) -> Result<T, Refused> {
        let bytes = self.bytes("http_body_bytes", limit, deadline).await?;
        match Json::<T>::from_bytes(&bytes) {
            Ok(Json(value)) => Ok(value),
            Err(rejection) => Err(Problem::new(Code::Invalid, json_problem(&rejection)).into()),
        }
    }

    /// The body as JSON; what an empty object says if there is no body.
    pub(super) async fn json_or_nothing<T: DeserializeOwned + Default>(
        self,
        limit: usize,
        deadline: Instant,
    ) -> Result<T, Refused> {
        let bytes = self.bytes("http_body_bytes", limit, deadline).await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        match Json::<T>::from_bytes(&bytes) {
            Ok(Json(value)) => Ok(value),
            Err(rejection) => Err(Problem::new(Code::Invalid, json_problem(&rejection)).into()),
        }
    }

    async fn read(self, field: &str, limit: usize) -> Result<Bytes, Refused> {
        let announced: Option<u64> = self
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if let Some(length) = announced.filter(|length| *length > limit as u64) {
            // A caller who waits for leave to send has nothing to throw away.
            if !self.headers.contains_key(header::EXPECT) {
                drain(self.body).await;
            }
            return Err(too_large(field, length, limit as u64));
        }
        let mut kept = BytesMut::with_capacity(announced.unwrap_or_default().min(ROOM_BYTES_MAX) as usize);
        let mut stream = self.body.into_data_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| {
                Refused::from(Problem::new(Code::Invalid, format!("the body ended early: {error}")))
            })?;
            if kept.len() + piece.len() > limit {
                let seen = (kept.len() + piece.len()) as u64;
                drop(kept);
                drain(Body::from_stream(stream)).await;
                return Err(too_large(field, seen, limit as u64));
            }
            kept.extend_from_slice(&piece);
        }
        Ok(kept.freeze())
    }
}

async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let mut drained = 0;
    while let Some(Ok(piece)) = stream.next().await {
        drained += piece.len() as u64;
        if drained > DRAINED_BYTES_MAX {
            return;
        }
    }
}

fn number(name: &str, text: &str, bounds: RangeInclusive<u64>) -> Result<u64, Refused> {
    let (least, most) = bounds.into_inner();
    match text.parse() {
        Ok(number) if number > most => Err(invalid(name, format_args!("{number} is over the limit of {most}"))),
        Ok(number) if number >= least => Ok(number),
        _ => Err(invalid(
            name,
            format_args!("{text:?} is not a whole number from {least} to {most}"),
        )),
    }
}

/// What is wrong with the JSON and where, in one line.
fn json_problem(rejection: &JsonRejection) -> String {
    let text = rejection.body_text();
    // axum puts a sentence before the error proper, which names field, line and column.
    let error = text.split_once(": ").map_or(text.as_str(), |(_, error)| error);
    match rejection {
        JsonRejection::JsonSyntaxError(_) => format!("the body is not JSON: {error}"),
        _ => format!("the body: {error}"),
    }
}

/// The names of a list that are separated by commas, checked against those that there are.
pub(super) fn names<'n>(field: &str, text: &str, known: &[&'n str]) -> Result<BTreeSet<&'n str>, Refused> {
    text.split(',')
        .map(|name| {
            let found = known.iter().find(|known| **known == name);
            found
                .copied()
                .ok_or_else(|| invalid(field, format_args!("{name:?} is none of {}", known.join(", "))))
        })
        .collect()
}
