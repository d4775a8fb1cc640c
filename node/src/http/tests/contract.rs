//! The OpenAPI document against the router.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use queenright_actors::agent::AgentSpec;

use super::*;
use crate::http::contract::{document, openapi};
use crate::http::router::routes;

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

fn door() -> Door {
    let (_, closing) = watch::channel(false);
    Door::new(
        Arc::new(Alone::default()),
        DoorLimits::default(),
        DoorAccess::default(),
        closing,
    )
}

/// The route of an operation of the document: a verb behind a part of the path is no route of its own.
fn route_of(path: &str) -> String {
    let route = path
        .rsplit_once("}:")
        .map_or(path.to_owned(), |(before, _)| format!("{before}}}"));
    route.replace("/memory/{key}", "/memory/{*key}")
}

/// Every operation: its method, its path, and what is said of it.
fn operations(document: &Value) -> Vec<(Method, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, said)| (method.to_uppercase().parse().unwrap(), path.clone(), said))
    });
    all.collect()
}

/// What a reference in the document stands for.
fn follow<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(place) => document
            .pointer(place.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{place}")),
        None => value,
    }
}

fn each(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            look(fields);
            fields.values().for_each(|value| each(value, look));
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, look)),
        _ => {}
    }
}

#[test]
fn each_route_is_an_operation_and_each_operation_a_route() {
    let document = document();
    let said: BTreeSet<String> = operations(&document)
        .iter()
        .map(|(method, path, _)| format!("{method} {}", route_of(path)))
        .collect();
    let routes = routes(&door());
    let routed: BTreeSet<String> = routes
        .listed()
        .iter()
        // A page for people, a protocol of its own, and what other programs' formats say.
        .filter(|(_, path)| {
            let first = path.split('/').nth(1);
            !["mcp", "ui", "metrics", "debug"].map(Some).contains(&first)
        })
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    assert!(routed.len() > 100, "{}", routed.len());
    assert_eq!(said.difference(&routed).collect::<Vec<_>>(), [""; 0], "no routes");
    assert_eq!(
        routed.difference(&said).collect::<Vec<_>>(),
        [""; 0],
        "not in the document"
    );
}

#[test]
fn the_document_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    each(&document, &mut |fields| {
        if let Some(Value::String(place)) = fields.get("$ref") {
            let found = document.pointer(place.trim_start_matches('#'));
            assert!(found.is_some(), "{place} leads nowhere");
        }
    });
    let mut ids = BTreeSet::new();
    for (method, path, said) in operations(&document) {
        assert!(METHODS.contains(&method.as_str().to_lowercase().as_str()));
        assert!(
            ids.insert(said["operationId"].as_str().unwrap()),
            "{path}: two of {}",
            said["operationId"]
        );
        assert!(!said["summary"].as_str().unwrap().is_empty(), "{path}");
        let parts: BTreeSet<&str> = path
            .split('{')
            .skip(1)
            .map(|part| part.split('}').next().unwrap())
            .collect();
        let parameters = said["parameters"].as_array().unwrap().iter();
        let parameters: Vec<&Value> = parameters.map(|given| follow(&document, given)).collect();
        let named = parameters.iter().filter(|given| given["in"] == "path");
        let named: BTreeSet<&str> = named.map(|given| given["name"].as_str().unwrap()).collect();
        assert_eq!(named, parts, "{path}");
        let places: BTreeSet<String> = parameters
            .iter()
            .map(|given| format!("{} {}", given["in"], given["name"]))
            .collect();
        assert_eq!(
            places.len(),
            parameters.len(),
            "{method} {path}: a parameter stands twice"
        );
        let responses = said["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{path}");
    }
}

#[test]
fn each_operation_names_its_errors_by_stable_codes() {
    let document = document();
    for (method, path, said) in operations(&document) {
        for (status, response) in said["responses"].as_object().unwrap() {
            let response = follow(&document, response);
            assert!(response["description"].is_string(), "{method} {path} {status}");
            if status.starts_with('2') {
                continue;
            }
            let schema = &response["content"]["application/problem+json"]["schema"]["allOf"];
            assert_eq!(
                follow(&document, &schema[0])["properties"]["code"]["$ref"],
                "#/components/schemas/Code"
            );
            let codes = schema[1]["properties"]["code"]["enum"].as_array().unwrap();
            assert!(
                !codes.is_empty() && codes.iter().all(Value::is_string),
                "{method} {path} {status}"
            );
        }
        let statuses: Vec<&String> = said["responses"].as_object().unwrap().keys().collect();
        assert!(statuses.iter().any(|status| *status == "403"), "{method} {path}");
    }
}

/// Something that a schema lets through.
fn sample(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words[0].as_str().unwrap().to_owned();
    }
    match schema["type"].as_str() {
        Some("integer") => schema["minimum"].to_string(),
        Some("boolean") => "false".to_owned(),
        _ => match schema["pattern"].as_str() {
            Some("^[0-9]+-[0-9]+$") => "9-0".to_owned(),
            Some("^s[0-9]+$") => "s9".to_owned(),
            Some("^r[0-9]+-[0-9]+$") => "r9-0".to_owned(),
            Some("^[0-9]+([.][0-9]+)?$") => "0".to_owned(),
            Some(pattern) if pattern.contains('=') => "a=b".to_owned(),
            Some(pattern) if pattern.ends_with(":.*$") => "key:a".to_owned(),
            Some(pattern) => pattern
                .trim_start_matches("^(")
                .split(['|', ')'])
                .next()
                .unwrap()
                .to_owned(),
            None => "a".to_owned(),
        },
    }
}

/// An operation as it is called: each part of its path is a sample.
fn called(path: &str, said: &Value) -> String {
    let mut path = path.to_owned();
    for given in said["parameters"].as_array().unwrap() {
        if given["in"] == "path" {
            let part = format!("{{{}}}", given["name"].as_str().unwrap());
            path = path.replace(&part, &sample(&given["schema"]));
        }
    }
    path
}

/// A problem as its status and its code; `None` for any other answer, whose body may have no end.
async fn problem_of(rig: &Rig, method: &Method, path: &str, body: &str) -> (u16, Option<Value>) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:7201");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = rig.router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    if status < 300 {
        return (status, None);
    }
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json",
        "{method} {path}"
    );
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, Some(serde_json::from_slice(&bytes).unwrap()))
}

#[tokio::test]
async fn every_field_of_a_query_is_taken() {
    let (document, rig) = (document(), Rig::new());
    for (method, path, said) in operations(&document) {
        let line = called(&path, said);
        for given in said["parameters"].as_array().unwrap() {
            let given = follow(&document, given);
            if given["in"] != "query" {
                continue;
            }
            let name = given["name"].as_str().unwrap();
            let asked = format!("{line}?{name}={}", sample(&given["schema"]));
            let (_, problem) = problem_of(&rig, &method, &asked, "{}").await;
            let detail = problem
                .as_ref()
                .map_or("", |problem| problem["detail"].as_str().unwrap());
            assert!(
                !detail.contains("is no field of this query"),
                "{method} {asked}: {detail}"
            );
            // What no sample can be: two that go together, and a place that a page has said.
            let is_known = ["go", "what a page has said"]
                .iter()
                .any(|words| detail.contains(words));
            assert!(
                !detail.starts_with(&format!("{name}: ")) || is_known,
                "{method} {asked}: {detail}"
            );
        }
    }
}

#[tokio::test]
async fn every_answer_has_a_status_and_a_code_that_the_document_names() {
    let (document, rig) = (document(), Rig::new());
    let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
    for (method, path, said) in operations(&document) {
        for body in [
            "",
            "{}",
            "[",
            "{\"token\":\"t\",\"fence\":1,\"outcome\":\"done\",\"reason\":\"r\"}",
        ] {
            let line = called(&path, said);
            let (status, problem) = problem_of(&rig, &method, &line, body).await;
            *seen.entry(status).or_default() += 1;
            let response = &said["responses"][status.to_string()];
            assert!(!response.is_null(), "{method} {line} {body:?}: {status} {problem:?}");
            if let Some(problem) = problem {
                let response = follow(&document, response);
                let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
                let codes = schema["properties"]["code"]["enum"].as_array().unwrap();
                assert!(codes.contains(&problem["code"]), "{method} {line} {body:?}: {problem}");
            }
        }
    }
    assert!([200, 400, 404].iter().all(|status| seen[status] > 10), "{seen:?}");
}

#[tokio::test]
async fn the_document_is_served_as_it_is_printed() {
    let reply = Rig::new().get("/openapi.json").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (StatusCode::OK, "application/json")
    );
    assert_eq!(reply.json(), document());
    assert_eq!(openapi().await.status(), StatusCode::OK);
}

#[test]
fn what_is_read_and_what_is_told_have_the_shapes_of_their_types() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let add = &schemas["AddTasks"];
    assert_eq!(
        (&add["required"], &add["additionalProperties"]),
        (&serde_json::json!(["tasks"]), &false.into())
    );
    assert_eq!(schemas["TaskId"]["pattern"], "^[0-9]+-[0-9]+$");
    assert_eq!(schemas["Access"]["enum"], serde_json::json!(["read", "work", "admin"]));
    let spec = serde_json::to_value(AgentSpec::default()).unwrap();
    let known = schemas["AgentSpec"]["properties"].as_object().unwrap();
    assert!(
        spec.as_object().unwrap().keys().all(|field| known.contains_key(field)),
        "{spec}"
    );
    let text = document.to_string();
    assert!(!text.contains("[`") && !text.contains("#/components/answers"));
}
