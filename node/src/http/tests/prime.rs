use queenright_bench::client::wire::Prime;
use serde_json::json;

use super::*;

async fn primed(rig: &Rig, query: &str, headers: &[&str]) -> Prime {
    let reply = rig.call(&format!("GET /v1/prime?{query}"), headers, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_slice(&reply.body).unwrap()
}

async fn pin(rig: &Rig, key: &str, value: &str) {
    let tagged = ["queenright-tags: pinned", "queenright-agent: bob"];
    rig.call(&format!("PUT /v1/memory/{key}"), &tagged, value.to_owned())
        .await;
}

#[tokio::test]
async fn an_agent_learns_its_tasks_what_is_pinned_what_happened_and_what_to_call() {
    let rig = Rig::new();
    pin(&rig, "rules/2", "be brief").await;
    pin(&rig, "rules/1", "be kind").await;
    rig.put("rules/3", "not pinned").await;
    rig.put("rules/3", "again").await;
    let tasks = json!({ "tasks": [{ "title": "one" }, { "title": "two" }, { "title": "three" }] });
    rig.post("/v1/tasks", tasks).await;
    let prime = primed(&rig, "agent=ann", &[]).await;
    assert_eq!(prime.next[0].command, "queenright task claim");
    for token in ["x", "y"] {
        let session = json!({ "token": token }).to_string();
        rig.call("POST /v1/sessions", &["queenright-agent: ann"], session).await;
        let claim = json!({ "limit": 1, "token": token }).to_string();
        rig.call("POST /v1/tasks:claim", &["queenright-agent: ann"], claim)
            .await;
    }
    let prime = primed(&rig, "agent=ann&after=2", &[]).await;
    let tasks = |prime: &Prime| -> Vec<(String, u64)> {
        let claims = prime.claims.items.iter();
        claims.map(|held| (held.task.to_string(), held.fence)).collect()
    };
    let (first, second) = (("5-0".to_owned(), 7), ("5-1".to_owned(), 9));
    assert_eq!(tasks(&prime), [first, second.clone()]);
    assert_eq!(prime.cursor.to_string(), "9");
    let pinned: Vec<_> = prime.pinned.items.iter().map(|pinned| &*pinned.key).collect();
    assert_eq!(pinned, ["rules/1", "rules/2"]);
    assert_eq!(prime.pinned.items[0].value.as_deref(), Some("be kind"));
    let happened = prime.happened.items.iter();
    let happened: Vec<String> = happened
        .map(|it| format!("{} {} {}", it.kind, it.subject.as_deref().unwrap_or("-"), it.times))
        .collect();
    let expected = [
        "task_claimed task:5-1 1",
        "session_opened session:s8 1",
        "task_claimed task:5-0 1",
        "session_opened session:s6 1",
        "task_added task:5-2 1",
        "task_added task:5-1 1",
        "task_added task:5-0 1",
        "changed key:rules/3 2",
    ];
    assert_eq!(
        (happened, prime.happened.events),
        (expected.map(String::from).to_vec(), 9)
    );
    assert_eq!(prime.next[0].http, "POST /v1/tasks/5-0:finish");
    // Two workers of one name are told apart by their tokens.
    let prime = primed(&rig, "agent=ann", &["queenright-token: y"]).await;
    assert_eq!(tasks(&prime), [second]);
    let unknown = rig.call("GET /v1/prime", &["queenright-token: z"], "").await;
    unknown.problem(404, "NOT_FOUND");
    assert_eq!(tasks(&primed(&rig, "agent=bob", &[]).await), []);
    // What is unpinned or deleted goes.
    rig.put("rules/1", "no tag").await;
    rig.call("DELETE /v1/memory/rules/2", &["queenright-tags: pinned"], "")
        .await;
    assert_eq!(primed(&rig, "", &[]).await.pinned.items, []);
}

#[tokio::test]
async fn an_agent_learns_what_it_has_reserved_and_what_it_waits_for() {
    let rig = Rig::new();
    let task = json!({ "tasks": [{ "title": "one", "resources": [{ "resource": "slot:gpu" }] }] });
    rig.post("/v1/tasks", task).await;
    let claim = json!({ "limit": 1 }).to_string();
    rig.call("POST /v1/tasks:claim", &["queenright-agent: ann"], claim)
        .await;
    let other = json!({ "resources": [{ "resource": "slot:gpu" }], "wait_ms": 60_000 }).to_string();
    let wait = ["queenright-agent: bob"];
    rig.call("POST /v1/reservations?timeout_ms=150", &wait, other).await;
    let mine = primed(&rig, "agent=ann", &[]).await.reservations.items;
    assert_eq!((&*mine[0].resources[0].resource, mine[0].waits), ("slot:gpu", false));
    assert_eq!((mine[0].task, mine[0].left_ms), (Some("1-0".parse().unwrap()), None));
    let theirs = primed(&rig, "agent=bob", &[]).await.reservations.items;
    assert!(theirs[0].waits && theirs[0].left_ms.is_some());
    assert_eq!((mine.len(), theirs.len()), (1, 1));
}

#[tokio::test]
async fn an_answer_has_no_more_bytes_than_were_asked_for_and_counts_the_rest() {
    let rig = Rig::new();
    for number in 0..40 {
        let value = if number % 2 == 0 {
            "line\n".repeat(200)
        } else {
            "\u{7f}\"".repeat(40)
        };
        pin(&rig, &format!("rules/{number}"), &value).await;
        rig.put(&format!("{}/{number}", "k".repeat(60)), "x").await;
    }
    let tasks: Vec<Value> = (0..60).map(|_| json!({ "title": "t\"".repeat(40) })).collect();
    rig.post("/v1/tasks", json!({ "tasks": tasks })).await;
    for number in 0..10 {
        let wanted = json!({ "resources": [{ "resource": format!("key:{}/{number}", "\"".repeat(40)) }] });
        rig.call("POST /v1/reservations", &["queenright-agent: ann"], wanted.to_string())
            .await;
    }
    let claim = json!({ "limit": 60 }).to_string();
    rig.call("POST /v1/tasks:claim", &["queenright-agent: ann"], claim)
        .await;
    let mut before = (0, 0, 0, 0);
    for bytes in [2_048, 3_000, 8_192, 30_000, 120_000] {
        let reply = rig.get(&format!("/v1/prime?agent=ann&bytes={bytes}")).await;
        assert!(reply.body.len() <= bytes, "{} of {bytes}", reply.body.len());
        let prime: Prime = serde_json::from_slice(&reply.body).unwrap();
        let shown = crate::commands::prime::text(&prime);
        assert!(shown.len() <= bytes, "{} of {bytes}: {shown}", shown.len());
        let counts = (
            prime.claims.items.len(),
            prime.reservations.items.len(),
            prime.pinned.items.len(),
            prime.happened.items.len(),
        );
        assert_eq!(counts.0 as u64 + prime.claims.left_out, 60);
        assert_eq!(counts.1 as u64 + prime.reservations.left_out, 10);
        assert_eq!(counts.2 as u64 + prime.pinned.left_out, 40);
        assert_eq!(counts.3 as u64 + prime.happened.left_out, 221);
        assert!(counts >= before, "{counts:?} after {before:?}");
        before = counts;
        let again = rig.get(&format!("/v1/prime?agent=ann&bytes={bytes}")).await;
        assert_eq!(again.body, reply.body);
    }
    assert_eq!(before, (60, 10, 40, 221));
    let detail = rig.get("/v1/prime?bytes=1").await.problem(400, "INVALID");
    assert!(detail.contains("2048"), "{detail}");
    let long = rig.get(&format!("/v1/prime?agent={}", "a".repeat(129))).await;
    assert!(long.problem(400, "INVALID").contains("129 B is over the limit of 128"));
}
