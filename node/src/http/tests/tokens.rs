//! Doors that ask for tokens, and the routes of tokens.

use queenright_protocol::colony::Access;
use serde_json::json;

use super::*;
use crate::state::{AdminToken, StateFolders};

/// A door that asks for tokens, and the secret of the host's own.
pub(super) fn asking() -> (Rig, String) {
    let folder = tempfile::tempdir().unwrap();
    let cluster = StateFolders::find("c", Some(folder.path())).unwrap().cluster;
    let token: AdminToken = cluster.admin_token().unwrap();
    let secret = std::fs::read_to_string(token.path()).unwrap().trim_end().to_owned();
    let access = DoorAccess {
        tokens: Some(token),
        ..DoorAccess::default()
    };
    (Rig::with_access(DoorLimits::default(), access), secret)
}

pub(super) async fn ask(rig: &Rig, line: &str, secret: &str, body: Value) -> Reply {
    let header = format!("authorization: Bearer {secret}");
    rig.call(line, &[&header], body.to_string()).await
}

pub(super) async fn make(rig: &Rig, admin: &str, name: &str, scope: Access) -> String {
    let reply = ask(rig, "POST /v1/tokens", admin, json!({ "name": name, "scope": scope })).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    reply.json()["secret"].as_str().unwrap().to_owned()
}

const LOOK: &str = "GET /v1/memory";
const WORK: &str = "PUT /v1/memory/k";
const ADMIN: &str = "POST /v1/projects";

/// The status of each class of request.
async fn statuses(rig: &Rig, secret: &str) -> [u16; 3] {
    let mut found = [0; 3];
    for (place, line) in [LOOK, WORK, ADMIN].into_iter().enumerate() {
        let body = match line {
            ADMIN => json!({ "project": format!("p{}", secret.len()) }),
            _ => json!(null),
        };
        found[place] = ask(rig, line, secret, body).await.status.as_u16();
    }
    found
}

#[tokio::test]
async fn each_scope_opens_its_classes_of_routes_and_no_others() {
    let (rig, admin) = asking();
    let read = make(&rig, &admin, "eyes", Access::Read).await;
    let work = make(&rig, &admin, "hands", Access::Work).await;
    let all = make(&rig, &admin, "head", Access::Admin).await;
    assert_eq!(statuses(&rig, &read).await, [200, 403, 403]);
    assert_eq!(statuses(&rig, &work).await, [200, 200, 403]);
    assert_eq!(statuses(&rig, &all).await, [200, 200, 201]);
    let refused = ask(&rig, WORK, &read, json!(1)).await;
    let detail = refused.problem(403, "FORBIDDEN");
    assert_eq!(detail, "eyes has scope read, this needs work");
    assert_eq!(refused.json()["details"]["needs"], "work");
    let detail = ask(&rig, "GET /v1/tokens", &work, json!(null))
        .await
        .problem(403, "FORBIDDEN");
    assert_eq!(detail, "hands has scope work, this needs admin");
}

#[tokio::test]
async fn without_a_token_that_is_known_nothing_is_answered_but_the_watchdog() {
    let (rig, admin) = asking();
    for line in [LOOK, WORK, ADMIN, "GET /v1/status", "GET /v1/nothing", "GET /v1/tokens"] {
        let reply = rig.call(line, &[], "").await;
        let detail = reply.problem(401, "UNAUTHORIZED");
        assert!(detail.contains("Bearer"), "{detail}");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"queenright\"");
    }
    for header in [
        "authorization: Bearer ".to_owned(),
        format!("authorization: Basic {admin}"),
        format!("authorization: {admin}"),
        format!("authorization: Bearer {admin}x"),
        format!("authorization: Bearer {}", admin.to_uppercase()),
        "authorization: Bearer qr_0".to_owned(),
    ] {
        let detail = rig.call(LOOK, &[&header], "").await.problem(401, "UNAUTHORIZED");
        assert!(!detail.contains("qr_"), "{detail}");
    }
    let twice = format!("authorization: Bearer {admin}");
    rig.call(LOOK, &[&twice, &twice], "").await.problem(401, "UNAUTHORIZED");
    assert_eq!(rig.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(rig.get("/readyz").await.status, StatusCode::OK);
    ask(&rig, "GET /v1/nothing", &admin, json!(null))
        .await
        .problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_token_lets_in_by_any_name_of_the_door() {
    let (rig, admin) = asking();
    let headers = [
        "host: n1.example.org:7201".to_owned(),
        format!("authorization: Bearer {admin}"),
    ];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_eq!(rig.call(LOOK, &headers, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_token_lets_nobody_in() {
    let (rig, admin) = asking();
    let read = make(&rig, &admin, "eyes", Access::Read).await;
    assert_eq!(ask(&rig, LOOK, &read, json!(null)).await.status, StatusCode::OK);
    let revoked = ask(&rig, "DELETE /v1/tokens/eyes", &admin, json!(null)).await;
    assert_eq!(revoked.json()["name"], "eyes");
    ask(&rig, LOOK, &read, json!(null)).await.problem(401, "UNAUTHORIZED");
    ask(&rig, "DELETE /v1/tokens/eyes", &admin, json!(null))
        .await
        .problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn tokens_are_listed_without_their_secrets() {
    let (rig, admin) = asking();
    let secret = make(&rig, &admin, "eyes", Access::Read).await;
    let twice = ask(
        &rig,
        "POST /v1/tokens",
        &admin,
        json!({ "name": "eyes", "scope": "read" }),
    )
    .await;
    assert_eq!(
        twice.problem(409, "CONFLICT"),
        "a token \"eyes\" is there already; revoke it first"
    );
    let list = ask(&rig, "GET /v1/tokens", &admin, json!(null)).await;
    let text = String::from_utf8(list.body.clone()).unwrap();
    assert!(!text.contains(&secret[3..]), "{text}");
    let listed = &list.json()["tokens"][0];
    assert_eq!((&listed["name"], &listed["scope"]), (&json!("eyes"), &json!("read")));
    assert_eq!(listed["expired"], false);
}

#[tokio::test]
async fn what_makes_no_token_is_refused_by_name() {
    let (rig, admin) = asking();
    let refused = async |body: Value, detail: &str| {
        let told = ask(&rig, "POST /v1/tokens", &admin, body).await.problem(400, "INVALID");
        assert!(told.contains(detail), "{told}");
    };
    refused(json!({ "name": "a b", "scope": "read" }), "name: ").await;
    refused(json!({ "name": "a", "scope": "write" }), "scope").await;
    refused(
        json!({ "name": "a", "scope": "read", "expires_s": 0 }),
        "expires_s: 0 is out of range",
    )
    .await;
    refused(json!({ "name": "a", "scope": "read", "secret": "x" }), "secret").await;
}

#[tokio::test]
async fn a_door_beyond_loopback_without_tokens_knows_its_names() {
    let access = DoorAccess {
        beyond_loopback: true,
        name: Some("n1.example.org".to_owned()),
        ..DoorAccess::default()
    };
    let rig = Rig::with_access(DoorLimits::default(), access);
    for good in [
        "10.0.0.3:7201",
        "[fd00::3]:7201",
        "n1.example.org:7201",
        "N1.example.org",
        "localhost",
    ] {
        let reply = rig.call(LOOK, &[&format!("host: {good}")], "").await;
        assert_eq!(reply.status, StatusCode::OK, "{good}");
    }
    for bad in ["evil.example", "n1.example.org.evil.example", "user@10.0.0.3"] {
        rig.call(LOOK, &[&format!("host: {bad}")], "")
            .await
            .problem(403, "FORBIDDEN");
    }
}
