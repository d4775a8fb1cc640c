use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::*;

/// The events of a page as `cursor type key`, and the page without them.
async fn page(rig: &Rig, query: &str) -> (Vec<String>, Value) {
    let mut page = rig.get(&format!("/v1/events?{query}")).await.json();
    let events = page["events"].take();
    let text = |event: &Value| {
        let part = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", part("cursor"), part("type"), part("key"))
    };
    page.as_object_mut().unwrap().remove("events");
    (events.as_array().unwrap().iter().map(text).collect(), page)
}

async fn filled() -> Rig {
    let rig = Rig::new();
    rig.put("a", "1").await;
    let body = json!({ "writes": [{ "key": "b/1", "put": "1" }, { "key": "b/2", "put": "1" }] });
    rig.post("/v1/proposals", body).await;
    rig.call("PUT /v1/memory/x?project=other", &[], "1").await;
    rig
}

#[tokio::test]
async fn pages_follow_one_another_without_gap() {
    let rig = filled().await;
    let (events, rest) = page(&rig, "limit=2").await;
    assert_eq!(events, ["1.0 changed a", "2.0 committed -"]);
    let expected = json!({ "next_cursor": "2.0", "has_more": true, "oldest": "1.0", "tail": "3" });
    assert_eq!(rest, expected);
    let (events, rest) = page(&rig, "limit=2&after=2.0").await;
    assert_eq!(events, ["2.1 changed b/1", "2.2 changed b/2"]);
    let expected = json!({ "next_cursor": "3", "has_more": false, "oldest": "1.0", "tail": "3" });
    assert_eq!(rest, expected);
    assert_eq!(page(&rig, "after=2").await.0, [""; 0], "behind all of the command");
    assert_eq!(page(&rig, "after=0").await.0.len(), 4);
    assert_eq!(page(&rig, "project=nothing").await.1["oldest"], Value::Null);
}

#[tokio::test]
async fn a_filter_passes_over_what_it_does_not_want() {
    let rig = filled().await;
    let (events, rest) = page(&rig, "prefix=b/&limit=1").await;
    assert_eq!(
        (events, &rest["next_cursor"]),
        (vec!["2.1 changed b/1".to_owned()], &json!("2.1"))
    );
    assert_eq!(page(&rig, "types=committed,lost").await.0, ["2.0 committed -"]);
    let (events, rest) = page(&rig, "prefix=zzz").await;
    assert_eq!(
        (events.len(), &rest["next_cursor"], &rest["has_more"]),
        (0, &json!("3"), &json!(false))
    );
}

#[tokio::test]
async fn a_filter_asks_who_what_about_and_when() {
    let rig = filled().await;
    let task = json!({ "tasks": [{ "title": "one" }, { "title": "two" }] });
    rig.call("POST /v1/tasks", &["queenright-agent: ann"], task.to_string())
        .await;
    let check = |query: &'static str| async { page(&rig, query).await.0 };
    assert_eq!(check("author=ann").await, ["4.0 task_added -", "4.1 task_added -"]);
    assert_eq!(check("agent=ann&types=task_added&limit=1").await, ["4.0 task_added -"]);
    assert_eq!(check("author=bob").await, [""; 0]);
    assert_eq!(check("subject=task:4-1").await, ["4.1 task_added -"]);
    assert_eq!(check("subject=task:*").await.len(), 2);
    assert_eq!(check("subject=key:b/1").await, ["2.1 changed b/1"]);
    assert_eq!(check("subject=key:b*").await, ["2.1 changed b/1", "2.2 changed b/2"]);
    // The clock of this colony is at one millisecond for each command.
    assert_eq!(check("since_ms=2&until_ms=4&types=changed").await.len(), 2);
    assert_eq!(check("until_ms=2").await, ["1.0 changed a"]);
    for (query, expected) in [
        (
            "subject=b",
            "subject: \"b\" is none of key:…, task:…, session:…, queue:…, reservation:…",
        ),
        ("types=b", "b"),
        ("since_ms=x", "since_ms"),
    ] {
        let detail = rig.get(&format!("/v1/events?{query}")).await.problem(400, "INVALID");
        assert!(detail.contains(expected), "{detail}");
    }
}

#[tokio::test]
async fn one_look_goes_through_a_bounded_number_of_events_and_its_cursor_moves_on() {
    let rig = Rig::new();
    // One proposal has as many writes as it may.
    let writes: Vec<Value> = (0..65_536)
        .map(|number| json!({ "key": format!("k/{number}"), "put": "" }))
        .collect();
    rig.post("/v1/proposals", json!({ "writes": writes })).await;
    rig.put("last", "1").await;
    let (events, rest) = page(&rig, "prefix=last").await;
    assert_eq!(
        (events.len(), &rest["next_cursor"], &rest["has_more"]),
        (0, &json!("1.65535"), &json!(true))
    );
    let (events, rest) = page(&rig, "prefix=last&after=1.65535").await;
    assert_eq!(
        (events, &rest["has_more"]),
        (vec!["2.0 changed last".to_owned()], &json!(false))
    );
    let (listed, rest) = page(&rig, "snapshot=memory&prefix=zz").await;
    assert_eq!(
        (listed.len(), &rest["state_next"]),
        (0, &Value::Null),
        "keys are found by prefix"
    );
}

#[tokio::test]
async fn a_cursor_ahead_of_the_cluster_is_refused_only_by_a_quorum() {
    let rig = filled().await;
    let ahead = rig.get("/v1/events?after=4.0&consistency=local").await;
    ahead.problem(409, "CURSOR_AHEAD");
    assert_eq!(ahead.json()["details"], json!({ "after": "4.0", "tail": "3" }));
    rig.alone.quorum.store(false, Ordering::SeqCst);
    rig.get("/v1/events?after=4.0&consistency=local")
        .await
        .problem(503, "UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_answered_when_something_happens() {
    let rig = filled().await;
    let poll = page(&rig, "after=3&wait_ms=60000&prefix=a&consistency=local");
    let write = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        rig.put("b", "none of its business").await;
        rig.put("a", "2").await;
    };
    let started = tokio::time::Instant::now();
    let ((events, rest), ()) = tokio::join!(poll, write);
    assert_eq!(events, ["5.0 changed a"]);
    assert_eq!(rest["next_cursor"], "5");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_no_longer_than_it_said() {
    let rig = filled().await;
    let started = tokio::time::Instant::now();
    let (events, rest) = page(&rig, "after=3&wait_ms=1500").await;
    assert_eq!((events.len(), &rest["next_cursor"]), (0, &json!("3")));
    assert_eq!(started.elapsed(), Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn a_door_that_closes_answers_its_followers() {
    let rig = filled().await;
    let poll = page(&rig, "after=3&wait_ms=60000");
    let close = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.close.send_replace(true);
    };
    let started = tokio::time::Instant::now();
    let ((events, _), ()) = tokio::join!(poll, close);
    assert_eq!((events.len(), started.elapsed()), (0, Duration::from_secs(1)));
}
