//! Reservations through the door.

use serde_json::{Value, json};

use super::*;

impl Rig {
    async fn acquire(&self, resource: &str, more: Value) -> Reply {
        let mut body = json!({ "resources": [{ "resource": resource }] });
        for (field, value) in more.as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        self.post("/v1/reservations", body).await
    }
}

fn text(reply: &Reply, field: &str) -> String {
    let json = reply.json();
    json[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field}: {json}"))
        .to_owned()
}

#[tokio::test]
async fn a_reservation_is_granted_once_and_the_refusal_names_it() {
    let rig = Rig::new();
    let first = rig.acquire("file:src/*.rs", json!({ "reason": "move it" })).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let (id, token) = (text(&first, "reservation"), text(&first, "token"));
    let wanted = json!({ "resources": [
        { "resource": "file:src/a.rs", "mode": "shared" }, { "resource": "key:notes" },
    ] });
    let second = rig.post("/v1/reservations", wanted.clone()).await;
    let detail = second.problem(423, "HELD");
    assert!(
        detail.starts_with("file:src/*.rs is held (exclusive) by session"),
        "{detail}"
    );
    let details = &second.json()["details"];
    assert_eq!(
        (&details["free"], &details["conflicts"][0]["reservation"]),
        (&json!(["key:notes"]), &json!(id))
    );
    let checked = rig
        .post("/v1/reservations:check?consistency=local", wanted.clone())
        .await
        .json();
    assert_eq!(
        (&checked["free"], &checked["conflicts"]),
        (&details["free"], &details["conflicts"])
    );
    let mut own = wanted;
    own["token"] = json!(token);
    assert_eq!(
        rig.post("/v1/reservations:check", own).await.json()["conflicts"],
        json!([])
    );

    let shown = rig.get(&format!("/v1/reservations/{id}")).await.json();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("held"), &json!("move it")));
    let list = rig.get("/v1/reservations?resource=file:src/b.rs").await.json();
    assert_eq!(
        (&list["reservations"][0]["reservation"], &list["total"]),
        (&json!(id), &json!(1))
    );
    let list = rig.get("/v1/reservations?resource=file:doc/b.rs").await.json();
    assert_eq!(list["reservations"], json!([]));
}

#[tokio::test]
async fn a_write_needs_the_token_of_the_reservation_that_it_lies_under() {
    let rig = Rig::new();
    let token = text(&rig.acquire("key:plan", json!({})).await, "token");
    let refused = rig.put("plan", "mine").await;
    let detail = refused.problem(423, "HELD");
    assert!(detail.contains("plan: reserved by session"), "{detail}");
    assert_eq!(refused.json()["details"]["kind"], "reservation");
    let header = format!("queenright-token: {token}");
    let put = rig.call("PUT /v1/memory/plan", &[&header], "theirs").await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    let proposal = json!({ "writes": [{ "key": "plan", "put": "other" }] }).to_string();
    let lost = rig.call("POST /v1/proposals", &[], proposal.clone()).await;
    let detail = lost.problem(409, "CONFLICT");
    assert!(detail.contains("reservation at \"plan\": session"), "{detail}");
    assert_eq!(lost.json()["details"]["conflicts"][0]["kind"], "reservation");
    let committed = rig.call("POST /v1/proposals", &[&header], proposal).await;
    assert_eq!(committed.json()["verdict"], "committed");
}

#[tokio::test]
async fn who_waits_is_answered_when_it_is_granted() {
    let rig = Rig::new();
    let first = rig.acquire("slot:gpu", json!({})).await;
    let (id, token) = (text(&first, "reservation"), text(&first, "token"));
    let waiting = rig.acquire("slot:gpu", json!({ "wait_ms": 30_000 }));
    let released = async {
        while rig.get("/v1/reservations").await.json()["waiting"] == 0 {
            tokio::task::yield_now().await;
        }
        rig.post("/v1/reservations:release", json!({ "token": token, "ids": [id] }))
            .await
    };
    let (granted, released) = tokio::join!(waiting, released);
    assert_eq!(released.json()["left"], 0);
    assert_eq!(granted.status, StatusCode::CREATED);
    assert!(granted.json()["fence"].is_u64());
}

#[tokio::test]
async fn who_waits_longer_than_its_request_keeps_its_place() {
    let rig = Rig::new();
    let first = rig.acquire("slot:gpu", json!({})).await;
    let (id, token) = (text(&first, "reservation"), text(&first, "token"));
    let body = json!({ "resources": [{ "resource": "slot:gpu" }], "wait_ms": 3_600_000 });
    let waits = rig.post("/v1/reservations?timeout_ms=150", body).await;
    assert_eq!(waits.status, StatusCode::ACCEPTED);
    assert_eq!(waits.json()["fence"], Value::Null);
    let waiter = text(&waits, "reservation");
    assert_eq!(
        rig.get(&format!("/v1/reservations/{waiter}")).await.json()["state"],
        "waiting"
    );
    rig.post("/v1/reservations:release", json!({ "token": token, "ids": [id] }))
        .await;
    let held = rig.get(&format!("/v1/reservations/{waiter}?wait_ms=60000")).await;
    assert_eq!(held.json()["state"], "held");
}

#[tokio::test]
async fn what_is_not_the_callers_is_fenced_and_what_never_was_is_not_found() {
    let rig = Rig::new();
    let first = rig.acquire("file:a", json!({})).await;
    let (id, token) = (text(&first, "reservation"), text(&first, "token"));
    let renew = |id: &str, token: &str| {
        let (path, body) = (
            format!("/v1/reservations/{id}:renew"),
            json!({ "token": token, "ttl_ms": 5_000 }),
        );
        let rig = &rig;
        async move { rig.post(&path, body).await }
    };
    let other = text(&rig.acquire("file:b", json!({})).await, "token");
    renew(&id, &other).await.problem(409, "FENCED");
    assert!(renew(&id, &token).await.json()["until_ms"].is_u64());
    let force = rig
        .post(&format!("/v1/reservations/{id}:force"), json!({ "reason": "stuck" }))
        .await;
    assert_eq!(force.json()["reservations"], json!([id]));
    // Its session was opened for it, and has closed with it.
    assert_eq!(renew(&id, &token).await.json()["code"], "EXPIRED");
    renew(&id, &other).await.problem(409, "FENCED");
    renew("r999-0", &other).await.problem(404, "NOT_FOUND");
    renew("17", &other).await.problem(400, "INVALID");
    rig.get(&format!("/v1/reservations/{id}"))
        .await
        .problem(404, "NOT_FOUND");
    rig.post(&format!("/v1/reservations/{id}:keep"), json!({}))
        .await
        .problem(404, "NOT_FOUND");
    rig.post("/v1/reservations:release", json!({ "token": token }))
        .await
        .problem(400, "INVALID");
    let detail = rig.acquire("plan", json!({})).await.problem(400, "INVALID");
    assert!(detail.contains("begins with none of file:, key:, slot:"), "{detail}");
}

#[tokio::test]
async fn slots_and_settings_are_set_and_listed() {
    let rig = Rig::new();
    let put = |path: &'static str, body: Value| {
        let rig = &rig;
        async move { rig.call(&format!("PUT {path}"), &[], body.to_string()).await }
    };
    assert_eq!(
        put("/v1/slots/gpu", json!({ "capacity": 2 })).await.status,
        StatusCode::OK
    );
    put("/v1/slots/gpu", json!({ "capacity": 2_000 }))
        .await
        .problem(413, "TOO_LARGE");
    rig.acquire("slot:gpu", json!({})).await;
    rig.acquire("slot:cpu", json!({})).await;
    let slots = rig.get("/v1/slots").await.json();
    let expected = json!([
        { "name": "cpu", "capacity": 1, "held": 1, "waiting": 0 }, { "name": "gpu", "capacity": 2, "held": 1, "waiting": 0 },
    ]);
    assert_eq!(slots["slots"], expected);
    put("/v1/reservation-settings", json!({ "advisory": true })).await;
    assert_eq!(rig.get("/v1/reservations").await.json()["advisory"], true);
    rig.acquire("key:plan", json!({})).await;
    assert_eq!(rig.put("plan", "anybody's").await.status, StatusCode::OK);
}
