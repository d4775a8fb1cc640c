//! The routes of pools, over a colony without nodes.

use serde_json::json;

use super::*;

async fn set(rig: &Rig, name: &str, body: Value) -> Reply {
    rig.call(&format!("PUT /v1/pools/{name}"), &[], body.to_string()).await
}

#[tokio::test]
async fn a_pool_is_set_shown_drained_and_removed() {
    let rig = Rig::new();
    let pool = json!({
        "behaviour": "exec", "max": 3, "kinds": ["build"],
        "arguments": {"command": ["true"], "environment": {"KEY": "hidden"}},
    });
    let first = set(&rig, "builders", pool.clone()).await.json();
    assert_eq!(first["changed"], true);
    assert_eq!(set(&rig, "builders", pool).await.json()["changed"], false);
    let list = rig.get("/v1/pools").await;
    assert!(!String::from_utf8_lossy(&list.body).contains("hidden"), "{list:?}");
    let shown = &list.json()["pools"][0];
    assert_eq!(
        (&shown["pool"], &shown["settings"]["slots"]),
        (&json!("builders"), &json!(1))
    );
    assert_eq!(shown["settings"]["arguments"]["environment"], json!({"KEY": "…"}));

    let drained = rig.post("/v1/pools/builders/drain", json!(null)).await.json();
    assert_eq!(drained["changed"], true);
    let status = rig.get("/v1/pools/builders").await.json();
    assert_eq!(
        (&status["drained"], &status["ready"], &status["nodes"]),
        (&json!(true), &json!(0), &json!([]))
    );
    assert_eq!(
        rig.post("/v1/pools/builders/undrain", json!(null)).await.json()["changed"],
        true
    );
    assert_eq!(
        rig.post("/v1/pools/builders/recycle", json!(null)).await.json()["changed"],
        true
    );
    let removed = rig.call("DELETE /v1/pools/builders", &[], "").await;
    assert_eq!(removed.json()["changed"], true);
    let detail = rig.get("/v1/pools/builders").await.problem(404, "NOT_FOUND");
    assert_eq!(detail, "there is no pool \"builders\"");
}

#[tokio::test]
async fn what_cannot_be_a_pool_is_refused_by_field() {
    let rig = Rig::new();
    let detail = set(&rig, "p", json!({"behaviour": "load-echo", "max": 1})).await;
    assert_eq!(
        detail.problem(400, "INVALID"),
        "behaviour: \"load-echo\" agents stand in no pool (exec, http)"
    );
    let slots = json!({"behaviour": "exec", "max": 1, "arguments": {"queue": "q"}});
    let detail = set(&rig, "p", slots).await.problem(400, "INVALID");
    assert_eq!(detail, "arguments: have queue, which the pool says itself");
    let detail = set(&rig, "a%2Fb", json!({"behaviour": "exec", "max": 1})).await;
    assert!(
        detail
            .problem(400, "INVALID")
            .starts_with("pool: is empty, a step of a path")
    );
    let unknown = set(&rig, "p", json!({"behaviour": "exec", "max": 1, "most": 2})).await;
    assert!(unknown.problem(400, "INVALID").contains("most"));
}
