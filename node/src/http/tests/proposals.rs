use queenright_protocol::colony::ContentHash;
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_proposal_is_committed_or_says_what_to_reread() {
    let rig = Rig::new();
    rig.put("a", "1").await;
    let body = json!({
        "reads": [{ "key": "a", "revision": 1, "hash": ContentHash::of(b"1").to_string() },
                  { "key": "none", "revision": 0, "absent": true }],
        "writes": [{ "key": "a", "put": "2", "tags": ["t"] }, { "key": "b", "put_base64": "/w==", "before": 0 }],
    });
    let committed = rig.post("/v1/proposals", body.clone()).await;
    assert_eq!(
        committed.json(),
        json!({ "verdict": "committed", "seq": 2, "revisions": [2, 1] })
    );
    assert_eq!(rig.get("/v1/memory/b").await.body, b"\xff");

    let lost = rig.post("/v1/proposals", body).await;
    assert_eq!(
        lost.problem(409, "CONFLICT"),
        "stale_read at \"a\": expected revision 1, found 2 (2 in all); nothing was changed"
    );
    let (a, b) = (ContentHash::of(b"2").to_string(), ContentHash::of(b"\xff").to_string());
    let details = json!({
        "seq": 3,
        "conflicts": [
            { "kind": "stale_read", "key": "a", "expected": 1, "revision": 2, "hash": a, "winner": 2 },
            { "kind": "stale_write", "key": "b", "expected": 0, "revision": 1, "hash": b, "winner": 2 },
        ],
        "total": 2,
        "reread": [{ "key": "a", "revision": 2, "hash": a }, { "key": "b", "revision": 1, "hash": b }],
    });
    assert_eq!(lost.json()["details"], details);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let rig = Rig::new();
    let body = json!({ "writes": [{ "key": "a", "put": "1" }], "dry_run": true });
    assert_eq!(rig.post("/v1/proposals", body).await.json()["revisions"], json!([1]));
    rig.get("/v1/memory/a").await.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn missing_content_and_double_writes_are_refused() {
    let rig = Rig::new();
    let hash = ContentHash::of(b"x").to_string();
    let body = json!({ "writes": [{ "key": "a", "put_kept": hash }] });
    rig.post("/v1/proposals", body).await.problem(409, "MISSING_CONTENT");
    let body = json!({ "writes": [{ "key": "a", "put": "1" }, { "key": "a", "delete": true }] });
    let detail = rig.post("/v1/proposals", body).await.problem(400, "INVALID");
    assert_eq!(detail, "writes: a is written twice");
}

#[tokio::test]
async fn a_batch_has_a_verdict_for_each_proposal() {
    let rig = Rig::new();
    let write = |key: &str, value: &str| json!({ "writes": [{ "key": key, "put": value }] });
    let body = json!({ "policy": "first", "proposals": [
        write("a", "1"), write("a", "2"), { "writes": [{ "key": "", "put": "" }] }, { "reads": [{ "key": "z", "revision": 4 }] },
    ] });
    let judged = rig.post("/v1/proposal-batches", body).await.json();
    let verdicts: Vec<&str> = judged["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| verdict["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["committed", "lost", "refused", "lost"]);
    assert_eq!(judged["pairs"], 1);
    assert_eq!(judged["verdicts"][0]["revisions"], json!([1]));
    assert_eq!(judged["verdicts"][1]["conflicts"][0]["kind"], "write_write");
    assert_eq!(
        judged["verdicts"][2],
        json!({ "verdict": "refused", "code": "INVALID", "detail": "key: is empty" })
    );
    assert_eq!(judged["verdicts"][3]["conflicts"][0]["kind"], "future_read");
}
