use super::*;

async fn refused(headers: &[&str]) -> bool {
    let reply = Rig::new().call("GET /healthz", headers, "").await;
    if reply.status == StatusCode::OK {
        return false;
    }
    reply.problem(403, "FORBIDDEN");
    true
}

#[tokio::test]
async fn only_names_of_this_host_are_answered() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:7201",
        "127.9.9.9:1",
        "localhost:80",
        "LocalHost",
        "[::1]:7201",
    ] {
        assert!(!refused(&[&format!("host: {host}")]).await, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:7201",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]:1",
        "user@127.0.0.1",
        "127.0.0.1, evil.example",
        "",
    ] {
        assert!(refused(&[&format!("host: {host}")]).await, "{host}");
    }
    assert!(refused(&["host: localhost", "host: evil.example"]).await, "two hosts");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let origin = |origin: &str| format!("origin: {origin}");
    for good in ["http://localhost:3000", "http://127.0.0.1:7201", "https://[::1]"] {
        assert!(!refused(&[&origin(good)]).await, "{good}");
    }
    for bad in [
        "https://evil.example",
        "null",
        "file://",
        "http://localhost.evil.example",
    ] {
        assert!(refused(&[&origin(bad)]).await, "{bad}");
    }
}

#[tokio::test]
async fn a_request_without_host_is_refused() {
    let request = Request::builder().uri("/healthz").body(Body::empty()).unwrap();
    let response = Rig::new().router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_full_door_says_so_and_is_still_alive() {
    let rig = Rig::with(DoorLimits {
        requests: 0,
        followers: 0,
        ..DoorLimits::default()
    });
    let reply = rig.put("k", "v").await;
    reply.problem(503, "BUSY");
    assert_eq!(reply.json()["retryable"], true);
    assert_eq!(reply.header("retry-after"), "1");
    rig.get("/v1/events").await.problem(503, "BUSY");
    assert_eq!(rig.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(rig.get("/readyz").await.status, StatusCode::OK);
}
