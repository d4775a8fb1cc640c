//! The present state and what follows it: together they are all that happened.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use queenright_protocol::colony::EVENTS_KEPT_MS;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::*;

/// A project that somebody changes at random.
struct Scene {
    rig: Rig,
    random: StdRng,
    /// Id, fence and token of tasks that were claimed.
    claimed: Vec<(String, u64, String)>,
}

/// What a follower knows: the revision of each key that has a value, and the state of each task that is not finished.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    keys: BTreeMap<String, u64>,
    tasks: BTreeMap<String, String>,
}

/// Events behind the cursor are gone.
struct Expired;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

impl Scene {
    async fn change(&mut self) {
        let key = format!("k{}", self.random.random_range(0..8));
        match self.random.random_range(0..10) {
            0..4 => drop(self.rig.put(&key, "x").await),
            4 => drop(self.rig.call(&format!("DELETE /v1/memory/{key}"), &[], "").await),
            5 => {
                let writes = json!({ "writes": [{ "key": "k1", "put": "1" }, { "key": "k2", "put": "1" }] });
                drop(self.rig.post("/v1/proposals", writes).await);
            }
            6 | 7 => drop(self.rig.post("/v1/tasks", json!({ "tasks": [{ "title": "t" }] })).await),
            8 => {
                let claim = self.rig.post("/v1/tasks:claim", json!({ "limit": 1 })).await.json();
                for task in claim["tasks"].as_array().unwrap() {
                    let fence = task["fence"].as_u64().unwrap();
                    self.claimed.push((text(&task["task"]), fence, text(&claim["token"])));
                }
            }
            _ => {
                if let Some((task, fence, token)) = self.claimed.pop() {
                    let finish = json!({ "fence": fence, "token": token, "outcome": "done" });
                    drop(self.rig.post(&format!("/v1/tasks/{task}:finish"), finish).await);
                }
            }
        }
        if self.random.random_ratio(1, 40) {
            // So long that what happened before is too old; it goes with what happens then.
            self.rig.alone.ahead_ms.fetch_add(EVENTS_KEPT_MS + 1, Ordering::SeqCst);
            for _ in 0..self.random.random_range(0..60) {
                self.rig.put(&key, "x").await;
            }
        }
    }

    async fn changes(&mut self) {
        for _ in 0..self.random.random_range(0..4) {
            self.change().await;
        }
    }

    async fn get(&self, query: &str) -> Result<Value, Expired> {
        let reply = self.rig.get(&format!("/v1/events?{query}")).await;
        if reply.status == 410 {
            reply.problem(410, "CURSOR_EXPIRED");
            return Err(Expired);
        }
        assert_eq!(reply.status, 200, "{reply:?}");
        Ok(reply.json())
    }

    /// The state as it is listed, in pages cut at random while it changes; and the cursor from which to follow.
    async fn list(&mut self) -> Result<(Known, String), Expired> {
        let mut known = Known::default();
        let mut query = String::new();
        loop {
            let limit = self.random.random_range(1..5);
            let page = self.get(&format!("snapshot=memory,tasks&limit={limit}{query}")).await?;
            for item in page["state"].as_array().into_iter().flatten() {
                let (key, task) = (&item["key"], &item["task"]);
                let before = match key.is_null() {
                    false => {
                        let revision = key["revision"].as_u64().unwrap();
                        known.keys.insert(text(&key["key"]), revision).map(drop)
                    }
                    true => known.tasks.insert(text(&task["task"]), text(&task["state"])).map(drop),
                };
                assert_eq!(before, None, "{item} stands twice");
            }
            let cursor = text(&page["next_cursor"]);
            assert_eq!(page["has_more"], json!(page["state_next"].is_string()));
            let Some(next) = page["state_next"].as_str() else {
                return Ok((known, cursor));
            };
            query = format!("&after={cursor}&snapshot_after={next}");
            self.changes().await;
        }
    }

    /// Takes up what happened behind the cursor; where it ends.
    async fn follow(&mut self, known: &mut Known, mut cursor: String) -> Result<String, Expired> {
        loop {
            let limit = self.random.random_range(1..6);
            let page = self.get(&format!("after={cursor}&limit={limit}")).await?;
            for event in page["events"].as_array().unwrap() {
                known.take_up(event);
            }
            cursor = text(&page["next_cursor"]);
            if page["has_more"] == json!(false) {
                return Ok(cursor);
            }
            if self.random.random_ratio(1, 3) {
                self.changes().await;
            }
        }
    }

    /// The state as it is.
    async fn present(&self) -> Known {
        let mut known = Known::default();
        let keys = self.rig.get("/v1/memory?limit=1000").await.json();
        for key in keys["keys"].as_array().unwrap() {
            known.keys.insert(text(&key["key"]), key["revision"].as_u64().unwrap());
        }
        let tasks = self.rig.get("/v1/tasks?limit=1000").await.json();
        for task in tasks["tasks"].as_array().unwrap() {
            if task["finished"].is_null() {
                known.tasks.insert(text(&task["task"]), text(&task["state"]));
            }
        }
        known
    }
}

impl Known {
    fn take_up(&mut self, event: &Value) {
        let key = || text(&event["key"]);
        let mut task = |state: &str| drop(self.tasks.insert(text(&event["task"]), state.to_owned()));
        match event["type"].as_str().unwrap() {
            "changed" => {
                let revision = event["revision"].as_u64().unwrap();
                let before = match event["deleted"].as_bool() {
                    Some(true) => self.keys.remove(&key()),
                    _ => self.keys.insert(key(), revision),
                };
                // One that was missed, or told twice, would show here.
                assert!(before.is_none_or(|before| before + 1 == revision), "{before:?} {event}");
            }
            "task_added" | "task_returned" => task("pending"),
            "task_claimed" => task("leased"),
            "task_finished" => drop(self.tasks.remove(&text(&event["task"]))),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_list_and_what_follows_it_are_the_whole_history() {
    let (mut expired, mut followed) = (0, 0);
    for seed in 0..40 {
        let mut scene = Scene {
            rig: Rig::new(),
            random: StdRng::seed_from_u64(seed),
            claimed: Vec::new(),
        };
        for _ in 0..30 {
            scene.change().await;
        }
        let mut at: Option<(Known, String)> = None;
        for round in 0..12 {
            let (mut known, cursor) = match at.take() {
                Some(at) => at,
                None => match scene.list().await {
                    Ok(at) => at,
                    Err(Expired) => {
                        expired += 1;
                        continue;
                    }
                },
            };
            scene.changes().await;
            match scene.follow(&mut known, cursor).await {
                Ok(cursor) => {
                    assert_eq!(known, scene.present().await, "seed {seed}, round {round}");
                    followed += 1;
                    at = Some((known, cursor));
                }
                // It begins again with the list.
                Err(Expired) => expired += 1,
            }
            scene.changes().await;
        }
    }
    assert!(expired > 5 && followed > 200, "{expired} expired, {followed} followed");
}

#[tokio::test]
async fn what_does_not_go_together_with_a_snapshot_is_refused_by_name() {
    let rig = Rig::new();
    rig.put("a", "1").await;
    for (query, expected) in [
        ("snapshot=all", "all"),
        ("snapshot=memory&author=x", "author: does not go together with snapshot"),
        (
            "snapshot=tasks&prefix=x",
            "prefix: does not go together with a snapshot of tasks",
        ),
        ("snapshot=memory&types=lost", "types: leaves out changed"),
        (
            "snapshot=memory&wait_ms=1",
            "wait_ms: does not go together with snapshot",
        ),
        ("snapshot=memory&after=1", "after: goes together with snapshot only"),
        (
            "snapshot=memory&snapshot_after=key:a",
            "snapshot_after: needs the cursor",
        ),
        ("snapshot_after=key:a", "snapshot_after: goes together with snapshot"),
        (
            "snapshot=memory&after=1&snapshot_after=a",
            "snapshot_after: \"a\" is not what",
        ),
        ("snapshot=tasks&after=1&snapshot_after=task:x", "snapshot_after: "),
    ] {
        let detail = rig.get(&format!("/v1/events?{query}")).await.problem(400, "INVALID");
        assert!(detail.contains(expected), "{query}: {detail}");
    }
    rig.get("/v1/events?snapshot=memory&after=9&snapshot_after=key:")
        .await
        .problem(409, "CURSOR_AHEAD");
}

#[tokio::test]
async fn a_project_without_anything_has_an_empty_state_with_a_cursor() {
    let rig = Rig::new();
    let page = rig.get("/v1/events?snapshot=memory,tasks").await.json();
    assert_eq!((&page["state"], &page["next_cursor"]), (&Value::Null, &json!("0")));
}
