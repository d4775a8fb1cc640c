//! The dashboard: the page as it is served, and the stream that it follows.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use queenright_bench::client::wire::{OverviewCluster, OverviewSort, OverviewWork};
use serde_json::json;

use super::*;
use crate::state::StateFolders;

const PARTS: [(&str, &str); 4] = [
    ("/ui", "text/html; charset=utf-8"),
    ("/ui/page.js", "text/javascript; charset=utf-8"),
    ("/ui/page.css", "text/css; charset=utf-8"),
    ("/ui/icon.svg", "image/svg+xml"),
];

fn behind_a_token() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let cluster = StateFolders::find("c", Some(folder.path())).unwrap().cluster;
    let access = DoorAccess {
        tokens: Some(cluster.admin_token().unwrap()),
        ..DoorAccess::default()
    };
    Rig::with_access(DoorLimits::default(), access)
}

/// The messages that an overview begins with, up to the last part.
async fn overview(rig: &Rig, query: &str) -> BTreeMap<String, Value> {
    let request = Request::get(format!("/v1/overview{query}"))
        .header("host", "127.0.0.1:7201")
        .header("accept", "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let response = rig.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let (mut text, mut told) = (String::new(), BTreeMap::new());
    let mut pieces = response.into_body().into_data_stream();
    while !told.contains_key("losses") {
        let piece = pieces.next().await.expect("the stream goes on").unwrap();
        text.push_str(str::from_utf8(&piece).unwrap());
        while let Some((message, rest)) = text.split_once("\n\n") {
            if let Some((kind, data)) = message.split_once("\ndata: ") {
                let kind = kind.strip_prefix("event: ").unwrap().to_owned();
                told.insert(kind, serde_json::from_str(data).unwrap());
            }
            text = rest.to_owned();
        }
    }
    told
}

#[tokio::test]
async fn the_page_loads_without_a_token_and_what_it_shows_does_not() {
    let rig = behind_a_token();
    for (path, kind) in PARTS {
        let reply = rig.get(path).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (StatusCode::OK, kind),
            "{path}"
        );
    }
    for data in ["/v1/overview", "/v1/events", "/v1/memory", "/ui/what-is-not-there"] {
        rig.get(data).await.problem(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn no_part_of_the_page_may_load_or_name_anything_elsewhere() {
    let rig = Rig::new();
    for (path, _) in PARTS {
        let reply = rig.get(path).await;
        let policy = reply.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let text = String::from_utf8(reply.body).unwrap();
        // The namespace of SVG is a name, not an address.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for outside in [
            "http:",
            "https:",
            "src=\"//",
            "url(",
            "@import",
            "<script>",
            "<style",
            " style=\"",
            "onclick=\"",
        ] {
            assert!(!text.contains(outside), "{path} has {outside:?}");
        }
        for markup in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(markup), "{path} makes markup of text by {markup}");
        }
    }
}

#[tokio::test]
async fn every_panel_can_be_reached_by_its_name() {
    let rig = Rig::new();
    let page = String::from_utf8(rig.get("/ui").await.body).unwrap();
    let panels: Vec<&str> = page
        .split("<section id=\"")
        .skip(1)
        .filter_map(|part| part.split('"').next())
        .collect();
    assert_eq!(panels.len(), 9, "{panels:?}");
    for panel in panels {
        assert!(
            page.contains(&format!("<a href=\"#{panel}\">")),
            "{panel} is not in the navigation"
        );
        let labelled = format!("<section id=\"{panel}\" aria-labelledby=\"{panel}-title\"");
        assert!(page.contains(&labelled), "{panel} has no name");
    }
    assert!(page.contains("<html lang=\"en\">") && page.contains("name=\"viewport\""));
}

#[tokio::test(start_paused = true)]
async fn an_overview_names_the_tasks_that_somebody_should_look_at() {
    let rig = Rig::new();
    let tasks = json!({"tasks": [
        {"title": "silent"},
        {"title": "to approve", "approval": true},
        {"title": "to do"},
    ]});
    rig.post("/v1/tasks", tasks).await;
    rig.post("/v1/tasks:claim", json!({})).await;
    rig.alone.ahead_ms.store(60_000, std::sync::atomic::Ordering::SeqCst);
    rig.put("later", "x").await;
    let work =
        |told: &BTreeMap<String, Value>| -> OverviewWork { serde_json::from_value(told["work"].clone()).unwrap() };
    let told = overview(&rig, "?stalled_ms=60000").await;
    let cluster: OverviewCluster = serde_json::from_value(told["cluster"].clone()).unwrap();
    assert!(!cluster.cluster.is_empty());
    let shown = |work: &OverviewWork| -> Vec<(OverviewSort, String)> {
        let tasks = work.tasks.iter();
        tasks.map(|task| (task.sort, task.task.title.to_string())).collect()
    };
    let approval = (OverviewSort::AwaitingApproval, "to approve".to_owned());
    assert_eq!(
        shown(&work(&told)),
        [(OverviewSort::Stalled, "silent".to_owned()), approval.clone()]
    );
    // To whom that is not long, its owner is at work.
    let told = overview(&rig, "?stalled_ms=3600000").await;
    assert_eq!(
        shown(&work(&told)),
        [approval, (OverviewSort::AtWork, "silent".to_owned())]
    );
    assert!(work(&told).complete);
    assert_eq!(told["projects"], json!(["default"]));
}

#[tokio::test(start_paused = true)]
async fn an_overview_says_who_lost_to_whom() {
    let rig = Rig::new();
    let propose = async |author: &str, revision: u64| {
        let body =
            json!({"reads": [{"key": "plan", "revision": revision}], "writes": [{"key": "plan", "put": author}]});
        let headers = [format!("queenright-agent: {author}")];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        rig.call("POST /v1/proposals", &headers, body.to_string()).await
    };
    assert_eq!(propose("ann", 0).await.status, StatusCode::OK);
    propose("ben", 0).await.problem(409, "CONFLICT");
    let told = overview(&rig, "").await;
    let lost = &told["losses"][0];
    assert_eq!(
        (
            &lost["author"],
            &lost["to"],
            &lost["key"],
            &lost["kind"],
            &lost["winner"]
        ),
        (
            &"ben".into(),
            &"ann".into(),
            &"plan".into(),
            &"stale_read".into(),
            &1.into()
        ),
        "{lost}"
    );
    assert_eq!(overview(&rig, "?project=other").await["losses"], json!([]));
}

#[tokio::test]
async fn an_overview_is_a_stream_and_nothing_else() {
    let rig = Rig::new();
    let detail = rig.get("/v1/overview").await.problem(400, "INVALID");
    assert!(detail.contains("text/event-stream"), "{detail}");
    let detail = rig.get("/v1/overview?stalled_ms=1").await.problem(400, "INVALID");
    assert_eq!(detail, "stalled_ms: \"1\" is not a whole number from 1000 to 86400000");
}
