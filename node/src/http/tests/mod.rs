//! The door over a colony without a cluster, called without a socket.

mod alone;
mod contract;
mod events;
mod export;
mod following;
mod form;
mod guard;
mod mcp;
mod memory;
mod pools;
mod prime;
mod projects;
mod proposals;
mod reservations;
mod scopes;
mod socket;
mod subscribers;
mod tokens;
mod topics;
mod topology;
mod ui;
mod waiting;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;

use self::alone::Alone;
use super::{Door, DoorAccess, DoorLimits, router};

/// A door and the colony behind it.
struct Rig {
    alone: Arc<Alone>,
    router: Router,
    close: watch::Sender<bool>,
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(DoorLimits::default())
    }

    fn with(limits: DoorLimits) -> Rig {
        Rig::with_access(limits, DoorAccess::default())
    }

    fn with_access(limits: DoorLimits, access: DoorAccess) -> Rig {
        let alone = Arc::new(Alone::default());
        let (close, closing) = watch::channel(false);
        let router = router::router(Door::new(alone.clone(), limits, access, closing));
        Rig { alone, router, close }
    }

    /// Sends `method path`, with headers written `name: value`.
    async fn call(&self, line: &str, headers: &[&str], body: impl Into<Body>) -> Reply {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|header| header.starts_with("host:")) {
            request = request.header("host", "127.0.0.1:7201");
        }
        for header in headers {
            let (name, value) = header.split_once(": ").expect("a name and a value");
            request = request.header(name, value.as_bytes());
        }
        let request = request.body(body.into()).expect("the test writes a good request");
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.expect("bodies are in memory").into(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.call(&format!("GET {path}"), &[], "").await
    }

    async fn put(&self, key: &str, value: &str) -> Reply {
        self.call(&format!("PUT /v1/memory/{key}"), &[], value.to_owned()).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(&format!("POST {path}"), &[], body.to_string()).await
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{name}: {self:?}"));
        value.to_str().expect("the test expects text")
    }

    /// The answer must be this problem; its detail is returned.
    fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
        for field in ["type", "title", "detail"] {
            assert!(problem[field].is_string(), "{field}: {problem}");
        }
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }
}
