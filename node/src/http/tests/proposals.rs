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

#[tokio::test]
async fn a_range_comes_with_its_keys_and_a_proposal_may_name_it() {
    let rig = Rig::new();
    for key in ["src/a", "src/b", "other"] {
        rig.put(key, "1").await;
    }
    let range = rig
        .get("/v1/memory-ranges?prefix=src/&values=true&limit=1")
        .await
        .json();
    assert_eq!(
        (&range["range"]["keys"], &range["changed"], &range["next"]),
        (&json!(2), &json!(2), &json!("src/a"))
    );
    assert_eq!(
        (&range["keys"][0]["value"], range["keys"].as_array().unwrap().len()),
        (&json!("1"), 1)
    );
    let glob = rig.get("/v1/memory-ranges?glob=**/b").await.json();
    assert_eq!(glob["keys"][0]["key"], "src/b");
    let body = json!({ "ranges": [range["range"], glob["range"]], "writes": [{ "key": "c", "put": "1" }] });
    rig.put("other", "2").await;
    rig.post("/v1/proposals", body.clone()).await.json()["seq"]
        .as_u64()
        .unwrap();
    rig.put("src/new", "1").await;
    let lost = rig.post("/v1/proposals", body).await;
    assert_eq!(
        lost.problem(409, "CONFLICT"),
        "phantom below \"src/\": expected 2 keys as they were, found 3 (1 in all); nothing was changed"
    );
    let details = lost.json()["details"].clone();
    assert_eq!(
        (&details["reread_ranges"], &details["reread"]),
        (&json!(["src/"]), &json!([]))
    );

    for (query, problem) in [
        (
            "prefix=src",
            "ranges: a folder ends with a slash, or is empty for all keys",
        ),
        ("prefix=src/&glob=x", "glob: does not go together with prefix"),
        ("glob=", "ranges: a glob is empty"),
    ] {
        let refused = rig.get(&format!("/v1/memory-ranges?{query}")).await;
        assert_eq!(refused.problem(400, "INVALID"), problem);
    }
    let nothing = rig.get("/v1/memory-ranges?project=none").await.json();
    assert_eq!(nothing["range"]["sum"], "0".repeat(32));
}

#[tokio::test]
async fn a_text_is_merged_or_its_lines_are_told() {
    let rig = Rig::new();
    rig.put("f", "1\n2\n3\n").await;
    let edit = |theirs: &str| json!({ "writes": [{ "key": "f", "merge": { "base": "1\n2\n3\n", "theirs": theirs } }] });
    rig.post("/v1/proposals", edit("one\n2\n3\n")).await;
    let merged = rig.post("/v1/proposals", edit("1\n2\nthree\n")).await.json();
    assert_eq!(
        merged,
        json!({ "verdict": "committed", "seq": 3, "revisions": [3], "merged": [0] })
    );
    assert_eq!(rig.get("/v1/memory/f").await.body, b"one\n2\nthree\n");
    let lost = rig.post("/v1/proposals", edit("uno\n2\n3\n")).await;
    lost.problem(409, "CONFLICT");
    let conflict = lost.json()["details"]["conflicts"][0].clone();
    assert_eq!(conflict["kind"], "merge");
    let hunk = json!({ "line": 1, "base": "1\n", "ours": "one\n", "theirs": "uno\n" });
    assert_eq!(conflict["merge"], json!({ "lines": { "listed": [hunk], "total": 1 } }));
}

#[tokio::test]
async fn who_loses_again_and_again_has_its_keys_held() {
    let rig = Rig::new();
    rig.put("a", "1").await;
    let mut follows = 0;
    let attempt = |follows: u64, revision: u64| json!({ "reads": [{ "key": "a", "revision": revision }], "writes": [{ "key": "b", "put": "1" }], "follows": follows });
    for losses in 1..=3 {
        let lost = rig.post("/v1/proposals", attempt(follows, 9)).await;
        lost.problem(409, "CONFLICT");
        let details = lost.json()["details"].clone();
        assert_eq!(details["held_until_ms"].is_u64(), losses == 3, "{details}");
        follows = details["seq"].as_u64().unwrap();
    }
    rig.put("a", "2").await.problem(423, "HELD");
    let committed = rig.post("/v1/proposals", attempt(follows, 1)).await;
    assert_eq!(committed.json()["verdict"], "committed");
    assert_eq!(rig.put("a", "2").await.json()["revision"], 2);
}

#[tokio::test]
async fn a_proposal_under_a_fence_that_is_not_the_live_one_is_fenced() {
    let rig = Rig::new();
    rig.post("/v1/tasks", json!({ "tasks": [{ "title": "t" }] })).await;
    let claimed = rig.post("/v1/tasks:claim", json!({ "limit": 1 })).await.json();
    let (token, fence) = (&claimed["token"], claimed["tasks"][0]["fence"].as_u64().unwrap());
    let under = |fence: u64| {
        let fence = json!({ "task": claimed["tasks"][0]["task"], "fence": fence, "token": token });
        json!({ "writes": [{ "key": "a", "put": "1" }], "fence": fence })
    };
    assert_eq!(
        rig.post("/v1/proposals", under(fence)).await.json()["revisions"],
        json!([1])
    );
    rig.post("/v1/proposals", under(fence - 1)).await.problem(409, "FENCED");
}
