//! Every route with every kind of caller.

use std::collections::BTreeSet;

use axum::http::Method;
use queenright_protocol::colony::Access;
use serde_json::json;

use super::tokens::{asking, make};
use super::*;
use crate::http::router::routes;

/// What each route needs. Those of projects, which have two paths, stand here once, without what is before them.
const NODE: [(&str, &str); 12] = [
    (
        "free",
        "GET /healthz, GET /readyz, GET /openapi.json, POST /v1/nodes:ask, GET /ui, GET /ui/, GET /ui/page.js, \
         GET /ui/page.css, GET /ui/icon.svg",
    ),
    // Each tool is asked for the scope of the route that it stands for.
    ("read", "GET /mcp, POST /mcp, DELETE /mcp"),
    ("admin", "GET /v1/backup, GET /debug/profile, PUT /v1/log-level"),
    (
        "read",
        "GET /v1/status, GET /v1/figures, GET /v1/topology, GET /metrics, GET /v1/log-level, \
         GET /v1/traces, GET /v1/traces/{trace}",
    ),
    (
        "read",
        "GET /v1/agents, GET /v1/agents/{name}, GET /v1/projects, GET /v1/projects/{project}",
    ),
    ("read", "GET /v1/pools, GET /v1/pools/{name}"),
    (
        "admin",
        "POST /v1/nodes/{name}/replace, POST /v1/nodes/{name}/drain, POST /v1/nodes/{name}/undrain, \
         POST /v1/nodes/{name}/remove, POST /v1/nodes/{name}/leave, PUT /v1/topology",
    ),
    ("admin", "POST /v1/agents, DELETE /v1/agents/{name}"),
    (
        "admin",
        "POST /v1/agents/{name}/pause, POST /v1/agents/{name}/resume, POST /v1/agents/{name}/restart, \
         POST /v1/agents/{name}/nudge",
    ),
    (
        "admin",
        "POST /v1/projects, DELETE /v1/projects/{project}, PUT /v1/projects/{project}/limits",
    ),
    (
        "admin",
        "PUT /v1/pools/{name}, DELETE /v1/pools/{name}, POST /v1/pools/{name}/drain, POST /v1/pools/{name}/undrain, \
         POST /v1/pools/{name}/recycle",
    ),
    ("admin", "GET /v1/tokens, POST /v1/tokens, DELETE /v1/tokens/{name}"),
];
const PROJECT: [(&str, &str); 9] = [
    (
        "read",
        "GET /memory, GET /memory/{*key}, GET /memory-ranges, GET /replay/tree, GET /prime, GET /events, GET /overview, \
         GET /export",
    ),
    (
        "read",
        "GET /tasks, GET /tasks/{task}, GET /sessions, GET /sessions/{session}, GET /queues",
    ),
    (
        "read",
        "GET /reservations, GET /reservations/{reservation}, POST /reservations:check, GET /slots",
    ),
    (
        "read",
        "GET /rates, GET /rates/{name}, GET /usage, GET /budgets, GET /budgets/{name}, GET /topics",
    ),
    (
        "work",
        "PUT /memory/{*key}, DELETE /memory/{*key}, POST /memory:change, POST /proposals, POST /proposal-batches",
    ),
    (
        "work",
        "POST /tasks, POST /tasks/{task}, POST /tasks:claim, POST /sessions, POST /sessions/{session}, POST /queues/{queue}",
    ),
    (
        "work",
        "POST /reservations, POST /reservations/{reservation}, POST /reservations:release, PUT /reservation-settings, \
         PUT /slots/{name}",
    ),
    ("work", "PUT /rates/{name}, DELETE /rates/{name}, POST /topics/{topic}"),
    (
        "admin",
        "PUT /budgets/{name}, POST /budgets/{name}, DELETE /budgets/{name}",
    ),
];

/// The table: what is needed, the method and the route.
fn table() -> Vec<(Option<Access>, Method, String)> {
    let access = |word| match word {
        "free" => None,
        "read" => Some(Access::Read),
        "work" => Some(Access::Work),
        _ => Some(Access::Admin),
    };
    let mut all = Vec::new();
    let mut add = |word, line: &str, before: &str| {
        for route in line.split(", ") {
            let (method, path) = route.trim().split_once(' ').unwrap();
            all.push((access(word), method.parse().unwrap(), format!("{before}{path}")));
        }
    };
    NODE.iter().for_each(|(word, line)| add(word, line, ""));
    for before in ["/v1", "/v1/projects/{project}"] {
        PROJECT.iter().for_each(|(word, line)| add(word, line, before));
    }
    all
}

/// A path of a route.
fn path(route: &str) -> String {
    let fill = [
        ("{*key}", "k"),
        ("{task}", "9-0"),
        ("{session}", "s9:close"),
        ("{reservation}", "r9-0"),
        ("{project}", "p"),
    ];
    let mut path = fill
        .iter()
        .fold(route.to_owned(), |path, (part, name)| path.replace(part, name));
    while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
        path.replace_range(from..=to, "x");
    }
    path
}

/// The status of an answer, whose body may have no end.
async fn status(rig: &Rig, method: &Method, route: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().method(method).uri(path(route));
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:7201");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = rig.router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
    response.unwrap().status().as_u16()
}

#[test]
fn every_route_stands_in_the_table() {
    let (_, closing) = watch::channel(false);
    let door = Door::new(
        Arc::new(Alone::default()),
        DoorLimits::default(),
        DoorAccess::default(),
        closing,
    );
    let routes = routes(&door);
    let routed: BTreeSet<String> = routes
        .listed()
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    let stand: BTreeSet<String> = table()
        .iter()
        .map(|(_, method, route)| format!("{method} {route}"))
        .collect();
    assert_eq!(table().len(), stand.len(), "a route stands twice");
    assert_eq!(
        routed.difference(&stand).collect::<Vec<_>>(),
        [""; 0],
        "not in the table"
    );
    assert_eq!(stand.difference(&routed).collect::<Vec<_>>(), [""; 0], "no routes");
}

#[tokio::test]
async fn each_route_lets_in_the_scopes_that_it_needs_and_nobody_else() {
    let (rig, admin) = asking();
    let scopes = [Access::Read, Access::Work, Access::Admin];
    let mut secrets = Vec::new();
    for scope in scopes {
        let made = make(&rig, &admin, &format!("t-{scope}"), scope).await;
        secrets.push((scope, format!("Bearer {made}")));
    }
    for (needed, method, route) in table() {
        let none = status(&rig, &method, &route, &[]).await;
        let wrong = status(&rig, &method, &route, &[("authorization", "Bearer wrong")]).await;
        let page = [("origin", "https://evil.example")];
        let page = status(&rig, &method, &route, &page).await;
        match needed {
            None => assert!(![none, wrong, page].contains(&403), "{method} {route}"),
            Some(_) => assert_eq!([none, wrong, page], [401; 3], "{method} {route}"),
        }
        for (scope, secret) in &secrets {
            let found = status(&rig, &method, &route, &[("authorization", secret)]).await;
            match needed.is_none_or(|needed| *scope >= needed) {
                true => assert!(![401, 403].contains(&found), "{method} {route} with {scope}: {found}"),
                false => assert_eq!(found, 403, "{method} {route} with {scope}"),
            }
        }
    }
}

#[tokio::test]
async fn a_door_without_tokens_refuses_pages_of_other_sites_and_other_names_on_every_route() {
    let rig = Rig::new();
    for (_, method, route) in table() {
        for foreign in [
            ("host", "evil.example"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("host", "10.0.0.1:7201"),
        ] {
            let found = status(&rig, &method, &route, &[foreign]).await;
            assert_eq!(found, 403, "{method} {route} {foreign:?}");
        }
        let own = status(&rig, &method, &route, &[("origin", "http://localhost:7201")]).await;
        assert!(own != 403, "{method} {route}");
    }
}

#[tokio::test]
async fn what_is_no_route_is_told_to_those_who_may_look() {
    let (rig, admin) = asking();
    let secret = make(&rig, &admin, "eyes", Access::Read).await;
    assert_eq!(status(&rig, &Method::GET, "/v1/nothing", &[]).await, 401);
    let header = format!("authorization: Bearer {secret}");
    rig.call("GET /v1/nothing", &[&header], json!(null).to_string())
        .await
        .problem(404, "NOT_FOUND");
    rig.call("PATCH /v1/tasks", &[&header], "")
        .await
        .problem(403, "FORBIDDEN");
}
