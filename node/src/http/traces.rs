//! Following requests (W3C Trace Context): which trace each belongs to, which are followed, and what became of them on all
//! nodes. Every answer names its trace, so that whoever asks about a refusal can say which request it was.

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Node;
use queenright_actors::trace::{ActiveTrace, TraceId, TraceParent, now_us, spans};
use queenright_bench::client::TRACE_HEADER;
use queenright_bench::client::wire::{Code, Problem, TraceFound, TraceList};

use super::Door;
use super::call::Call;
use super::problem::{Refused, invalid, no_answer};
use crate::telemetry::Decision;

/// How many traces a list has at most, and how many unless it is said.
pub(super) const LIST_TRACES: (u64, u64) = (200, 20);
/// What is asked again and again by those who watch, or about traces, and what only leads to other routes: never followed.
const NOT_FOLLOWED: [&str; 6] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/mcp",
    "/v1/traces",
    "/v1/traces/{trace}",
];
const HEADER: HeaderName = HeaderName::from_static(TRACE_HEADER);

/// What the caller says of its trace. A text that is no `traceparent` is not looked at, as the specification says, nor are
/// two of them.
pub(super) fn caller_of(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceParent::parse(value.to_str().ok()?),
        _ => None,
    }
}

/// Follows a request if it is to be, and says in its answer which trace it belongs to.
pub(super) async fn follow(State(door): State<Door>, request: Request, next: Next) -> Response {
    let mut decision = door.sampler.decide(caller_of(request.headers()));
    let mut response = match door.backend.node() {
        Some(node) => followed(node, &mut decision, request, next).await,
        None => next.run(request).await,
    };
    let value = HeaderValue::from_str(&decision.told().to_string()).expect("digits and dashes");
    response.headers_mut().insert(HEADER, value);
    response
}

async fn followed(node: &Node, decision: &mut Decision, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("no route", MatchedPath::as_str);
    if NOT_FOLLOWED.contains(&route) {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let Decision {
        trace, span, parent, ..
    } = *decision;
    let begin_us = now_us();
    let begun = || ActiveTrace::begun(trace, span, parent, begin_us);
    let name = |method: &Method| format!("{method} {route}");
    if decision.followed {
        let active = begun();
        let response = active.clone().scope(next.run(request)).await;
        node.traced(&active, name(&method), response.status().as_u16());
        return response;
    }
    let response = next.run(request).await;
    if response.status().is_server_error() {
        node.traced_error(&begun(), name(&method), response.status().as_u16());
        // It is known from now on.
        decision.followed = true;
    }
    response
}

/// `GET /v1/traces`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let (most, usual) = LIST_TRACES;
    let limit = call.number("limit", 1..=most)?.unwrap_or(usual) as usize;
    let caller = call.caller()?;
    let asked = tokio::time::timeout_at(caller.deadline, door.node()?.last_traces(limit)).await;
    let traces = asked.map_err(|_| no_answer(caller.timeout_ms()))?;
    Ok(Json(TraceList { traces }).into_response())
}

/// `GET /v1/traces/{trace}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let trace: TraceId = call.path("trace").parse().map_err(|error| invalid("trace", error))?;
    let asked = tokio::time::timeout_at(caller.deadline, door.node()?.trace(trace)).await;
    let requests = asked.map_err(|_| no_answer(caller.timeout_ms()))?;
    if requests.is_empty() {
        let detail = format!("no node has the trace {trace}: it was not followed, or is no longer kept");
        return Err(Problem::new(Code::NotFound, detail).into());
    }
    let spans = requests.iter().flat_map(spans).collect();
    Ok(Json(TraceFound { trace, requests, spans }).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_headers_are_none_and_so_is_one_that_cannot_be_read() {
        let good = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(caller_of(&headers), None);
        headers.insert(HEADER, good.clone());
        let caller = caller_of(&headers).unwrap();
        assert_eq!(caller.to_string(), good.to_str().unwrap());
        headers.append(HEADER, good);
        assert_eq!(caller_of(&headers), None);
        headers.insert(HEADER, HeaderValue::from_static("00-nonsense"));
        assert_eq!(caller_of(&headers), None);
    }
}
