//! What Prometheus scrapes, and the counting of requests for it.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::Door;
use super::call::Call;
use super::problem::{Refused, no_answer};
use crate::metrics::text::{MEDIA_TYPE, Page};
use crate::metrics::{colony, node, process};

/// `GET /metrics`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let mut page = Page::default();
    if let Some(found) = door.backend.node() {
        let written = tokio::time::timeout_at(caller.deadline, node::write(found, &mut page)).await;
        written.map_err(|_| no_answer(caller.timeout_ms()))??;
    }
    colony::write(&door.backend.snapshot(), &mut page);
    door.counted.write(&mut page);
    door.webhooks.write(&mut page);
    process::write(&mut page);
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], page.into_text()).into_response())
}

/// Counts what is answered. Outside of everything else: what is refused counts too.
pub(super) async fn count(State(door): State<Door>, request: Request, next: Next) -> Response {
    let arrived = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    door.counted.note(route, &method, response.status(), arrived.elapsed());
    response
}
