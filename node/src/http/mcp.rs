//! The Model Context Protocol at the door: what is posted here calls tools, and each tool comes to the route that it stands
//! for with the token of its caller. So scopes, limits and refusals are those of that route, and nothing is remembered from
//! one call to the next.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::future::BoxFuture;
use queenright_bench::client::{Client, ClientOptions, Within};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::call::Call;
use super::problem::{Refused, invalid};
use super::routes::{Routes, get};
use super::{Door, Inside};
use crate::mcp::{Failure, McpServer, Reach, ServerOptions, Toolsets};

/// Where the door is to itself; nothing is sent there.
const HERE: &str = "http://localhost";
/// For how long a session that is opened here lives without a sign of life: nobody gives signs for a model, which may think
/// for some minutes between two calls.
const SESSION_TTL_MS: u64 = 600_000;
/// The header that asks for further tools, as the field `toolsets` of the query does.
const TOOLSETS_HEADER: &str = "queenright-toolsets";

/// The route.
pub(super) fn routes(door: &Door) -> Routes {
    let mcp = Arc::new(Mcp::of(door));
    let answer = move |State(door): State<Door>, request: Request| {
        let mcp = mcp.clone();
        async move { mcp.answer(&door, request).await }
    };
    Routes::new().route("/mcp", get(answer.clone()).post(answer.clone()).delete(answer))
}

/// The protocol over one door.
struct Mcp {
    here: Arc<Here>,
    settings: StreamableHttpServerConfig,
}

impl Mcp {
    fn of(door: &Door) -> Mcp {
        let settings = StreamableHttpServerConfig::default()
            // The door checks them, as for all of its routes.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            // Any node answers any call, so none of them remembers one.
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(door.limits.body_bytes);
        Mcp {
            here: Arc::new(Here {
                door: door.clone(),
                router: OnceLock::new(),
            }),
            settings,
        }
    }

    async fn answer(&self, door: &Door, request: Request) -> Result<Response, Refused> {
        let (mut parts, body) = request.into_parts();
        let mut call = Call::from_request(Request::from_parts(parts.clone(), body), &()).await?;
        let toolsets = match call.take("toolsets") {
            Some(toolsets) => Some(toolsets),
            None => call.header(TOOLSETS_HEADER)?.map(str::to_owned),
        };
        let toolsets: Toolsets = toolsets
            .map(|toolsets| toolsets.parse().map_err(|error| invalid("toolsets", error)))
            .transpose()?
            .unwrap_or_default();
        let caller = call.caller()?;
        let body = {
            // What a tool does is counted where it does it, and may wait there.
            let _at_work = door.at_work()?;
            call.bytes("http_body_bytes", door.limits.body_bytes, caller.deadline)
                .await?
        };
        parts.extensions.insert(toolsets);
        let options = ServerOptions {
            reach: self.here.clone(),
            project: caller.project.to_string(),
            agent: None,
            toolsets: Toolsets::default(),
            session_ttl_ms: SESSION_TTL_MS,
            keeps_sessions: false,
        };
        let make = move || -> io::Result<McpServer> { Ok(McpServer::new(options.clone())) };
        let service = StreamableHttpService::new(make, Arc::new(NeverSessionManager::default()), self.settings.clone());
        let answer = service.handle(Request::from_parts(parts, Body::from(body))).await;
        Ok(answer.map(Body::new))
    }
}

/// The door, for the tools of its own process.
struct Here {
    door: Door,
    /// The client and the routes, made by the first call: routes that are never called need none.
    router: OnceLock<(Client, Inside)>,
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Here")
    }
}

impl Reach for Here {
    fn client(&self, request: Option<&Parts>) -> Result<Client, Failure> {
        let (client, router) = match self.router.get() {
            Some(made) => made,
            None => {
                let router = Inside::as_is(&self.door);
                let client = Client::within(HERE, ClientOptions::default(), Arc::new(router.clone()))?;
                self.router.get_or_init(|| (client, router))
            }
        };
        let shown = request.and_then(|request| request.headers.get(header::AUTHORIZATION).cloned());
        Ok(client.at(Arc::new(Shown {
            router: router.clone(),
            shown,
        })))
    }
}

/// The door, shown what a caller showed.
#[derive(Debug)]
struct Shown {
    router: Inside,
    /// The header Authorization.
    shown: Option<HeaderValue>,
}

impl Within for Shown {
    fn answer(&self, mut request: reqwest::Request) -> BoxFuture<'static, reqwest::Response> {
        if let Some(shown) = &self.shown {
            request.headers_mut().insert(header::AUTHORIZATION, shown.clone());
        }
        self.router.answer(request)
    }
}
