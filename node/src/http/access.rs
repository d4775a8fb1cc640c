//! Who may come in, and what for: tokens and their scopes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use queenright_actors::link::Cookie;
use queenright_actors::tls::Tls;
use queenright_bench::client::wire::{Code, Problem};
use queenright_protocol::colony::Access;
use serde_json::json;

use super::Door;
use super::problem::Refused;
use crate::secret;
use crate::state::AdminToken;

/// What belongs to a project: the first part of a path behind it. Whoever takes part may change this; everything else that
/// is changed is the cluster's, also what a later version adds.
const OF_PROJECTS: [&str; 11] = [
    "memory",
    "proposal-batches",
    "proposals",
    "queues",
    "rates",
    "reservation-settings",
    "reservations",
    "sessions",
    "slots",
    "tasks",
    "topics",
];
/// The name that the host's own token has to callers.
const HOST_TOKEN: &str = "the admin token of this host";

/// How a door lets callers in.
#[derive(Clone, Debug, Default)]
pub struct DoorAccess {
    /// The certificates that it shows; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Whether callers must show tokens, and the one that is taken besides those of the colony.
    pub tokens: Option<AdminToken>,
    /// Whether it may listen on addresses that others can reach.
    pub beyond_loopback: bool,
    /// What nodes prove that they know who are not linked with this one; `None` if there are none.
    pub cookie: Option<Cookie>,
    /// The host by which others call it, besides IP addresses, if it listens beyond loopback.
    pub name: Option<String>,
}

/// Lets a request in if its token has the scope for it. Outside of everything that reads the request.
pub(super) async fn authorise(State(door): State<Door>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let allowed = match needed(request.method(), path) {
        Some(needed) => door.check(needed, request.headers()),
        None => Ok(()),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let mut response = refused.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let how = HeaderValue::from_static("Bearer realm=\"queenright\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
            }
            response
        }
    }
}

/// What a request needs; `None` for what watchdogs ask, who get no token: whether the node lives, and has a quorum.
pub(super) fn needed(method: &Method, path: Option<&str>) -> Option<Access> {
    // That there is no such route is told to those who may look.
    let Some(path) = path else { return Some(Access::Read) };
    // And the page that asks for a token.
    if path == "/ui" || path.starts_with("/ui/") {
        return None;
    }
    // And what nodes ask, who prove that they know the cookie of the cluster. The document of the door is the same for
    // everybody who has this program, and who makes a client of it has no token yet.
    if matches!(path, "/healthz" | "/readyz" | "/openapi.json" | "/v1/nodes:ask") {
        return None;
    }
    // Each call of a tool is asked for its own scope, where it comes to the route that it stands for.
    if path == "/mcp" {
        return Some(Access::Read);
    }
    // A backup holds all there is, the tokens' hashes too; a profile tells how the program is made, at a cost.
    if path.starts_with("/v1/tokens") || path == "/v1/backup" || path.starts_with("/debug/") {
        return Some(Access::Admin);
    }
    let within = path
        .strip_prefix("/v1/projects/{project}/")
        .or_else(|| path.strip_prefix("/v1/"))
        .unwrap_or_default();
    // A question with a body.
    if matches!(*method, Method::GET | Method::HEAD) || within == "reservations:check" {
        return Some(Access::Read);
    }
    let subject = within.split(['/', ':']).next().unwrap_or_default();
    match OF_PROJECTS.contains(&subject) {
        true => Some(Access::Work),
        false => Some(Access::Admin),
    }
}

impl Door {
    fn check(&self, needed: Access, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(of_host) = &self.access.tokens else {
            return Ok(());
        };
        let shown = secret::hash(bearer(headers)?);
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        // All are compared, each in constant time: how long it takes says nothing of any.
        let mut found = secret::is_same(&shown, of_host.hash()).then(|| (HOST_TOKEN.to_owned(), Access::Admin));
        for (name, token) in self.backend.door_tokens().iter() {
            if secret::is_same(&shown, &token.secret) && token.holds_at(now_ms) {
                found = Some((name.to_string(), token.access));
            }
        }
        match found {
            None => Err(unauthorized("the token is not known, was revoked, or has expired")),
            Some((_, access)) if access >= needed => Ok(()),
            Some((name, access)) => {
                let detail = format!("{name} has scope {access}, this needs {needed}");
                let details = json!({ "token": name, "scope": access, "needs": needed });
                Err(Problem::new(Code::Forbidden, detail).with_details(details).into())
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unauthorized("a token is needed, in one header Authorization: Bearer …"));
    };
    // What is wrong with it is said without a word of it.
    let wrong = || unauthorized("the header Authorization is not Bearer and a token");
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(wrong)?;
    match scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        true => Ok(token),
        false => Err(wrong()),
    }
}

fn unauthorized(detail: &str) -> Refused {
    Problem::new(Code::Unauthorized, detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_needs_less_than_who_takes_part_and_who_changes_the_cluster() {
        let check = |line: &str, access: Option<Access>| {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(needed(&method.parse().unwrap(), Some(path)), access, "{line}");
        };
        for free in [
            "GET /healthz",
            "GET /readyz",
            "GET /openapi.json",
            "POST /v1/nodes:ask",
            "GET /ui",
            "GET /ui/page.js",
        ] {
            check(free, None);
        }
        for look in [
            "GET /v1/status",
            "GET /metrics",
            "GET /v1/traces/{trace}",
            "GET /v1/log-level",
            "HEAD /v1/memory/{*key}",
            "GET /v1/projects",
            "GET /v1/projects/{project}/events",
            "GET /v1/agents/{name}",
            "GET /v1/topics",
            "GET /v1/projects/{project}/export",
            "GET /v1/overview",
            "POST /mcp",
            "POST /v1/reservations:check",
            "POST /v1/projects/{project}/reservations:check",
        ] {
            check(look, Some(Access::Read));
        }
        for work in [
            "PUT /v1/memory/{*key}",
            "POST /v1/memory:change",
            "POST /v1/proposals",
            "POST /v1/proposal-batches",
            "POST /v1/tasks:claim",
            "POST /v1/tasks/{task}",
            "POST /v1/sessions",
            "POST /v1/queues/{queue}",
            "PUT /v1/slots/{name}",
            "DELETE /v1/projects/{project}/rates/{name}",
            "POST /v1/projects/{project}/topics/{topic}",
            "PUT /v1/reservation-settings",
            "POST /v1/projects/{project}/reservations:release",
            "DELETE /v1/projects/{project}/memory/{*key}",
        ] {
            check(work, Some(Access::Work));
        }
        for admin in [
            "POST /v1/projects",
            "DELETE /v1/projects/{project}",
            "PUT /v1/projects/{project}/limits",
            "PUT /v1/projects/{project}/budgets/{name}",
            "POST /v1/budgets/{name}",
            "POST /v1/nodes/{name}/replace",
            "POST /v1/nodes/{name}/remove",
            "POST /v1/nodes/{name}/leave",
            "POST /v1/agents",
            "DELETE /v1/agents/{name}",
            "POST /v1/agents/{name}/pause",
            "GET /v1/tokens",
            "GET /v1/backup",
            "GET /debug/profile",
            "PUT /v1/log-level",
            "POST /v1/tokens",
            "DELETE /v1/tokens/{name}",
            "POST /v1/what-a-later-version-adds",
        ] {
            check(admin, Some(Access::Admin));
        }
        assert_eq!(needed(&Method::POST, None), Some(Access::Read));
    }
}
