use serde_json::json;

use super::*;

impl Rig {
    async fn send(&self, method: &str, path: &str, body: Value) -> Reply {
        self.call(&format!("{method} {path}"), &[], body.to_string()).await
    }
}

#[tokio::test]
async fn a_project_is_created_listed_limited_and_destroyed() {
    let rig = Rig::new();
    let body = json!({ "project": "small", "limits": { "tasks": 1 } });
    let created = rig.post("/v1/projects", body.clone()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.json()["limits"]["tasks"], 1);
    let detail = rig.post("/v1/projects", body).await.problem(409, "CONFLICT");
    assert_eq!(detail, "project small is there already");

    let two = json!({ "tasks": [{ "title": "a" }, { "title": "b" }] });
    let refused = rig.post("/v1/projects/small/tasks", two).await;
    let detail = refused.problem(429, "QUOTA");
    assert_eq!(
        detail,
        "tasks: the project has 0 and may have 1, 2 more would be too many"
    );
    assert_eq!(
        refused.json()["details"],
        json!({ "field": "tasks", "has": 0, "asked": 2, "limit": 1 })
    );
    let set = rig
        .send("PUT", "/v1/projects/small/limits", json!({ "tasks": 30 }))
        .await;
    assert_eq!(set.json()["limits"]["tasks"], 30);
    let many = json!({ "tasks": vec![json!({ "title": "a" }); 22] });
    rig.post("/v1/projects/small/tasks", many).await.json();

    let shown = rig.get("/v1/projects/small").await.json();
    assert_eq!(
        (&shown["state"], &shown["holds"]["open_tasks"]),
        (&json!("live"), &json!(22))
    );
    rig.put("k", "v").await;
    let page = rig.get("/v1/projects?limit=1").await.json();
    assert_eq!(
        (&page["projects"][0]["project"], &page["next"]),
        (&json!("default"), &json!("default"))
    );
    let rest = rig.get("/v1/projects?after=default").await.json();
    assert_eq!(
        (&rest["projects"][0]["project"], &rest["next"]),
        (&json!("small"), &Value::Null)
    );

    let asked = rig.send("DELETE", "/v1/projects/small?dry_run=true", Value::Null).await;
    assert_eq!(asked.json()["lost"]["open_tasks"], 22);
    let destroyed = rig.send("DELETE", "/v1/projects/small", Value::Null).await.json();
    assert_eq!(
        (&destroyed["dry_run"], &destroyed["lost"]["open_tasks"]),
        (&json!(false), &json!(22))
    );
    // Each command clears a little of it; the name is refused until all is gone.
    let again = rig.post("/v1/projects", json!({ "project": "small" })).await;
    let detail = again.problem(409, "CONFLICT");
    assert!(detail.starts_with("project small is destroyed, and "), "{detail}");
    assert_eq!(again.json()["retryable"], true);
    for what in [
        "memory",
        "memory/k",
        "memory-ranges?prefix=k",
        "tasks",
        "tasks/1-0",
        "queues",
        "sessions",
        "sessions/s1",
        "reservations",
        "reservations/r1-0",
        "slots",
        "events",
        "prime?agent=a",
    ] {
        let detail = rig
            .get(&format!("/v1/projects/small/{what}"))
            .await
            .problem(409, "CONFLICT");
        assert!(
            detail.starts_with("project small is destroyed, and "),
            "{what}: {detail}"
        );
    }
    while rig.get("/v1/projects/small").await.status == StatusCode::OK {
        rig.put("k", "v").await;
    }
    rig.get("/v1/projects/small").await.problem(404, "NOT_FOUND");
    let created = rig.post("/v1/projects", json!({ "project": "small" })).await;
    assert_eq!(created.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_wrong_with_a_limit_is_named() {
    let rig = Rig::new();
    let wrong = [
        (json!({ "tasks": 0 }), 400, "INVALID", "tasks: 0 is under the least, 1"),
        (
            json!({ "commands_per_s": 1_000_001 }),
            413,
            "TOO_LARGE",
            "commands_per_s: 1000001 is over the limit of 1000000",
        ),
    ];
    for (limits, status, code, expected) in wrong {
        let body = json!({ "project": "p", "limits": limits });
        let detail = rig.post("/v1/projects", body).await.problem(status, code);
        assert_eq!(detail, expected);
    }
    let unknown = json!({ "project": "p", "limits": { "tasts": 1 } });
    let detail = rig.post("/v1/projects", unknown).await.problem(400, "INVALID");
    assert!(detail.contains("tasts"), "{detail}");
    let detail = rig
        .send("PUT", "/v1/projects/none/limits", json!({}))
        .await
        .problem(404, "NOT_FOUND");
    assert_eq!(detail, "there is no project none, and this does not make it");
}
