//! What a door answers at all: requests that name it, and no more at once than it holds. Who may ask what is `access`'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};

use super::Door;
use super::problem::{Refused, busy};

/// Refuses requests that a page of another site may have caused: its name can resolve to a loopback address (DNS
/// rebinding), but the browser still sends that name.
pub(super) async fn named(State(door): State<Door>, request: Request, next: Next) -> Response {
    if let Err(refused) = door.check_names(request.uri(), request.headers()) {
        return refused.into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Values are what anybody put there: no browser may take one for a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Bounds how many requests are at work.
pub(super) async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response {
    match door.at_work() {
        Ok(_permit) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl Door {
    /// A place among the requests at work.
    pub(super) fn at_work(&self) -> Result<SemaphorePermit<'_>, Refused> {
        let permit = self.requests.try_acquire();
        permit.map_err(|_| busy("requests at work", self.limits.requests))
    }

    /// Whether a request names this door, and comes from no page of another site. Where a token is needed a page has none
    /// to show, so that nothing has to be known of the names that the door has.
    fn check_names(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        if self.access.tokens.is_some() {
            return Ok(());
        }
        check(uri, headers, |authority| self.is_named(authority))
    }

    fn is_named(&self, authority: &Authority) -> bool {
        if is_loopback(authority) {
            return true;
        }
        if !self.access.beyond_loopback || authority.as_str().contains('@') {
            return false;
        }
        // A name can be made to resolve to any address; an address is what it is.
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let named = self.access.name.as_ref();
        bare.parse::<IpAddr>().is_ok() || named.is_some_and(|name| name.eq_ignore_ascii_case(host))
    }

    /// A place among those who wait for what may come, at a node that has memory for it.
    pub(super) fn place_to_follow(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.has_memory()?;
        self.place_to_wait()
    }

    /// A place among those who wait, or read much.
    pub(super) fn place_to_wait(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let permit = self.followers.clone().try_acquire_owned();
        permit.map_err(|_| busy("callers who wait", self.limits.followers))
    }
}

fn check(uri: &Uri, headers: &HeaderMap, is_named: impl Fn(&Authority) -> bool) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (None, _) => uri.authority().cloned(),
        (Some(_), Some(_)) => None,
    };
    if !host.as_ref().is_some_and(&is_named) {
        return Err(forbidden("Host", headers.get(header::HOST)));
    }
    // A request in absolute form names its host twice.
    if uri.authority().is_some_and(|authority| !is_named(authority)) {
        return Err(forbidden("the host of the request", None));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let text = origin.to_str().unwrap_or_default();
        let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let authority = authority.and_then(|authority| authority.parse::<Authority>().ok());
        if !authority.as_ref().is_some_and(&is_named) {
            return Err(forbidden("Origin", Some(origin)));
        }
    }
    Ok(())
}

fn is_loopback(authority: &Authority) -> bool {
    // Nobody who means this door names a user.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| IpAddr::V6(address).is_loopback());
    }
    host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn forbidden(what: &str, value: Option<&HeaderValue>) -> Refused {
    let value = value.map_or("absent".into(), |value| String::from_utf8_lossy(value.as_bytes()));
    let detail = format!("{what}: {value:?} does not name this door");
    Problem::new(Code::Forbidden, detail).into()
}
