//! What is refused before the colony is asked, and how errors look.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::*;

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let rig = Rig::new();
    let detail = rig.get("/v2/memory").await.problem(404, "NOT_FOUND");
    assert_eq!(detail, "there is no route GET /v2/memory");
    let reply = rig.call("PATCH /v1/memory/k", &[], "").await;
    assert_eq!(
        reply.problem(405, "METHOD_NOT_ALLOWED"),
        "/v1/memory/k does not have the method PATCH"
    );
    assert!(reply.header("allow").contains("PUT"), "{reply:?}");
}

#[tokio::test]
async fn a_verb_behind_an_id_has_post_only_and_an_id_alone_has_not() {
    let rig = Rig::new();
    for verb in ["sessions/s1:close", "tasks/1-0:finish", "reservations/r1-0:renew"] {
        let reply = rig.get(&format!("/v1/{verb}")).await;
        reply.problem(405, "METHOD_NOT_ALLOWED");
        assert_eq!(reply.header("allow"), "POST", "{verb}");
        let (alone, _) = verb.split_once(':').unwrap();
        let reply = rig.call(&format!("POST /v1/{alone}"), &[], "{}").await;
        reply.problem(405, "METHOD_NOT_ALLOWED");
        assert_eq!(reply.header("allow"), "GET,HEAD", "{alone}");
    }
    rig.get("/v1/sessions/s1:dance").await.problem(400, "INVALID");
    let reply = rig.call("POST /v1/sessions/s1:dance", &[], "{}").await;
    reply.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn unknown_fields_of_a_query_are_named() {
    let rig = Rig::new();
    let check = async |path: &str, expected: &str| {
        assert_eq!(rig.get(path).await.problem(400, "INVALID"), expected, "{path}");
    };
    check("/v1/status?verbose=1", "verbose: is no field of this query").await;
    check("/v1/memory/k?prefix=x", "prefix: is no field of this query").await;
    check("/v1/memory?limit=1&limit=2", "limit: stands twice in the query").await;
    check("/v1/memory?limit=10001", "limit: 10001 is over the limit of 10000").await;
    check(
        "/v1/memory?limit=-1",
        "limit: \"-1\" is not a whole number from 1 to 10000",
    )
    .await;
    check("/v1/memory?values=yes", "values: \"yes\" is neither true nor false").await;
    check(
        "/v1/memory?consistency=eventual",
        "consistency: \"eventual\" is neither linearizable nor local",
    )
    .await;
    check(
        "/v1/events?types=changed,moved",
        "types: \"moved\" is none of changed, committed, lost, judged, task_added, task_claimed, task_finished, \
         task_returned, session_opened, session_ended, task_moved, task_cancel_wanted, task_handed_off, task_dropped, \
         queue_changed, reservation_granted, reservation_waiting, reservation_ended, project_created, \
         project_limited, budget_changed, budget_warned, budget_spent",
    )
    .await;
    check(
        "/v1/events?after=x",
        "after: \"x\" is not a cursor (expected SEQ or SEQ.ORDINAL, such as 1500 or 1500.2)",
    )
    .await;
    check(
        "/v1/projects/a/memory?project=b",
        "project: stands in the path and in the query",
    )
    .await;
    check(
        "/v1/status?timeout_ms=120001",
        "timeout_ms: 120001 is over the limit of 120000",
    )
    .await;
}

#[tokio::test]
async fn json_errors_name_place_and_field() {
    let rig = Rig::new();
    let check = async |path: &str, body: &str, expected: &str| {
        let reply = rig.call(&format!("POST {path}"), &[], body.to_owned()).await;
        let detail = reply.problem(400, "INVALID");
        assert!(detail.starts_with(expected), "{detail}");
    };
    check("/v1/proposals", "{\n  \"reads\": [,]", "the body is not JSON: ").await;
    check("/v1/proposals", "{\"reads\": [", "the body is not JSON: ").await;
    check(
        "/v1/proposals",
        r#"{"writes": [{"key": "k", "putt": "v"}]}"#,
        "the body: writes[0].putt: unknown field `putt`, expected one of ",
    )
    .await;
    check(
        "/v1/proposals",
        r#"{"writes": [{"key": "k", "put": "v"}, {"key": "k", "put": "v", "max": 1}]}"#,
        "writes[1]: has both put and max",
    )
    .await;
    check(
        "/v1/proposal-batches",
        r#"{"policy": "best", "proposals": []}"#,
        "the body: policy: unknown variant `best`",
    )
    .await;
    check("/v1/memory:change", r#"{"key": "k"}"#, "the body: missing field `op`").await;
    check("/v1/agents", r#"{"name": "a"}"#, "the body: missing field `kind`").await;
}

#[tokio::test]
async fn a_json_error_has_line_and_column() {
    let reply = Rig::new()
        .call("POST /v1/proposals", &[], "{\n  \"reads\": [,]".to_owned())
        .await;
    let detail = reply.problem(400, "INVALID");
    assert!(detail.ends_with("at line 2 column 13"), "{detail}");
}

#[tokio::test]
async fn a_value_over_its_limit_is_refused_whichever_way_it_comes() {
    let rig = Rig::with(DoorLimits {
        value_bytes: 8,
        ..DoorLimits::default()
    });
    let check = async |path: &str, body| {
        let detail = rig.post(path, body).await.problem(413, "TOO_LARGE");
        assert_eq!(detail, "value_bytes: 9 is over the limit of 8", "{path}");
    };
    let write = json!({ "writes": [{ "key": "a", "put": "1" }, { "key": "k", "put": "123456789" }] });
    check("/v1/proposals", write.clone()).await;
    check(
        "/v1/proposal-batches",
        json!({ "policy": "first", "proposals": [{}, write] }),
    )
    .await;
    check(
        "/v1/memory:change",
        json!({ "key": "k", "op": { "append": "123456789" } }),
    )
    .await;
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_with_value_and_limit() {
    let rig = Rig::with(DoorLimits {
        value_bytes: 8,
        body_bytes: 20,
        ..DoorLimits::default()
    });
    assert_eq!(rig.put("k", "12345678").await.status, StatusCode::OK);
    let reply = rig.put("k", "123456789").await;
    assert_eq!(reply.problem(413, "TOO_LARGE"), "value_bytes: 9 is over the limit of 8");
    assert_eq!(
        reply.json()["details"],
        json!({ "field": "value_bytes", "value": 9, "limit": 8 })
    );
    let announced = rig
        .call("PUT /v1/memory/k", &["content-length: 10"], "0123456789")
        .await;
    assert_eq!(
        announced.problem(413, "TOO_LARGE"),
        "value_bytes: 10 is over the limit of 8"
    );
    let reply = rig.post("/v1/proposals", json!({ "reads": [], "writes": [] })).await;
    assert_eq!(
        reply.problem(413, "TOO_LARGE"),
        "http_body_bytes: 24 is over the limit of 20"
    );
}

#[tokio::test]
async fn without_a_quorum_reads_are_unavailable_and_commands_unknown() {
    let rig = Rig::new();
    rig.put("k", "v").await;
    rig.alone.quorum.store(false, Ordering::SeqCst);
    let reply = rig.get("/v1/memory/k").await;
    reply.problem(503, "UNAVAILABLE");
    assert_eq!(reply.json()["retryable"], true);
    assert_eq!(rig.get("/v1/memory/k?consistency=local").await.body, b"v");
    rig.get("/readyz").await.problem(503, "UNAVAILABLE");

    let unknown = rig.put("k", "w").await;
    unknown.problem(504, "UNKNOWN_OUTCOME");
    assert_eq!(unknown.json()["retryable"], false, "a repeat might happen twice");
    let unknown = rig.call("PUT /v1/memory/k", &["idempotency-key: i"], "w").await;
    unknown.problem(504, "UNKNOWN_OUTCOME");
    assert_eq!(unknown.json()["retryable"], true);
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_when_its_time_is_up() {
    let rig = Rig::new();
    // These figures never come.
    let detail = rig.get("/v1/figures").await.problem(503, "UNAVAILABLE");
    assert_eq!(detail, "the node did not answer within 10000 ms");
    let reply = rig.call("GET /v1/figures", &["x-request-timeout-ms: 250"], "").await;
    assert_eq!(
        reply.problem(503, "UNAVAILABLE"),
        "the node did not answer within 250 ms"
    );
    let body = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let reply = rig.call("PUT /v1/memory/k?timeout_ms=100", &[], body).await;
    assert_eq!(reply.problem(408, "INVALID"), "the body did not arrive in time");
}

#[tokio::test]
async fn agents_come_and_go() {
    let rig = Rig::new();
    let spec = json!({ "name": "a b", "kind": "echo" });
    let reply = rig.post("/v1/agents", spec.clone()).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (StatusCode::CREATED, "/v1/agents/a%20b")
    );
    rig.post("/v1/agents", spec).await.problem(409, "CONFLICT");
    assert_eq!(rig.get("/v1/agents").await.json()["agents"][0]["name"], "a b");
    assert_eq!(rig.get("/v1/agents/a%20b").await.json()["state"], "idle");
    let stopped = rig.call("DELETE /v1/agents/a%20b", &[], "").await;
    assert_eq!(stopped.status, StatusCode::NO_CONTENT);
    rig.get("/v1/agents/a%20b").await.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn what_one_node_does_alone_is_done_once_for_an_idempotency_key() {
    let rig = Rig::new();
    let follow = "idempotency-key: k";
    let start = |name: &str| json!({ "name": name, "kind": "echo" }).to_string();
    let first = rig.call("POST /v1/agents", &[follow], start("a")).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let again = rig.call("POST /v1/agents", &[follow], start("a")).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    rig.call("POST /v1/agents", &[], start("a"))
        .await
        .problem(409, "CONFLICT");
    rig.call("POST /v1/agents", &[follow], start("b"))
        .await
        .problem(422, "IDEMPOTENCY_KEY_CONFLICT");
    // Another caller's keys are others.
    let other = rig
        .call("POST /v1/agents", &[follow, "queenright-agent: ann"], start("b"))
        .await;
    assert_eq!(other.status, StatusCode::CREATED, "{other:?}");
    let long = format!("idempotency-key: {}", "k".repeat(257));
    rig.call("POST /v1/agents", &[&long], start("c"))
        .await
        .problem(413, "TOO_LARGE");
}

#[tokio::test]
async fn every_answer_names_its_trace() {
    let rig = Rig::new();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01");
    for (line, status) in [("GET /healthz", 200), ("GET /v1/memory/none", 404), ("GET /v2", 404)] {
        let reply = rig.call(line, &[&header], "").await;
        assert_eq!(reply.status.as_u16(), status);
        let answered = reply.header("traceparent");
        assert!(
            answered.starts_with(&format!("00-{trace}-")) && !answered.contains("00f067aa0ba902b7"),
            "{answered}"
        );
    }
    let drawn = rig.get("/healthz").await;
    assert_eq!(drawn.header("traceparent").len(), 55);
    let refused = rig.call("GET /healthz", &["host: evil.example"], "").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("traceparent").len()),
        (403, 55)
    );
}
