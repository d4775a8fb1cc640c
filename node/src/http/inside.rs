//! The door for those who work in this process: the same routes, without a connection and without a token.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures::future::BoxFuture;
use queenright_bench::client::Within;
use tower::ServiceExt as _;

use super::{Door, DoorAccess, router};
use crate::metrics::webhooks::Webhooks;

/// The door of this process. Its bounds are those of the door: whoever comes by it is one of the requests at work.
#[derive(Clone)]
pub struct Inside {
    router: Router,
    webhooks: Arc<Webhooks>,
}

impl Inside {
    pub(super) fn of(door: &Door) -> Inside {
        let access = DoorAccess {
            // Whoever runs in this process is trusted as the process is.
            tokens: None,
            ..DoorAccess::clone(&door.access)
        };
        Inside::as_is(&Door {
            access: Arc::new(access),
            ..door.clone()
        })
    }

    /// The same, which asks for tokens if the door does.
    pub(super) fn as_is(door: &Door) -> Inside {
        Inside {
            router: router::router(door.clone()),
            webhooks: door.webhooks.clone(),
        }
    }

    /// Where those who post to receivers count what they do, for the metrics of this door.
    pub fn webhooks(&self) -> Arc<Webhooks> {
        self.webhooks.clone()
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}

impl Within for Inside {
    fn answer(&self, request: reqwest::Request) -> BoxFuture<'static, reqwest::Response> {
        let router = self.router.clone();
        Box::pin(async move {
            let response = match Request::<reqwest::Body>::try_from(request) {
                Ok(request) => {
                    let answered = router.oneshot(request.map(Body::new)).await;
                    answered.unwrap_or_else(|never| match never {})
                }
                // A path that is no URI; clients of this workspace make none.
                Err(_) => {
                    let mut refused = Response::new(Body::empty());
                    *refused.status_mut() = StatusCode::BAD_REQUEST;
                    refused
                }
            };
            response
                .map(|body| reqwest::Body::wrap_stream(body.into_data_stream()))
                .into()
        })
    }
}
