//! The contract of the door: an OpenAPI document, made from the types that go over it and from one table of operations.
//!
//! | part | where it comes from |
//! |---|---|
//! | schemas | the types of `client::wire` and those that they name, by their derives |
//! | scopes | what `access` asks for |
//! | paths, queries, statuses, codes | `cluster` and `project`: an entry for each operation |
//!
//! Tests hold it to the router: each route is an operation and each operation a route, its query is taken, its problems
//! have codes that it names. The document has nothing of a cluster in it, so that it is served without a token.

mod cluster;
mod operation;
mod project;
mod schemas;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use queenright_bench::client::wire::{Code, Problem};
use queenright_bench::client::{AGENT_HEADER, IDEMPOTENCY_HEADER, REQUEST_TIMEOUT_MAX, TIMEOUT_HEADER};
use queenright_protocol::colony::IDEMPOTENCY_KEY_BYTES_MAX;
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use self::operation::{Content, Field, Operation};
use self::schemas::Schemas;
use super::access;

const ABOUT: &str = "\
Any node answers any request. Errors are problem details (RFC 9457) whose `code` is stable; `retryable` says whether the \
same request may be sent again. A command with an idempotency key is carried out once, however often and at whichever node it is sent; what one node does \
alone, such as starting an agent, once by that node within ten minutes. What \
belongs to a project is called by two paths: with the project in the query (`default` if it is not named) or in the path. \
Every answer has a `traceparent` (W3C Trace Context): of the caller's trace if it names one; its flag 01 says that `/v1/traces/{trace}` knows of the call. A slash in a key of the memory is percent-encoded. New fields of answers and new codes may come.";
/// What every operation may be refused with.
const ALWAYS: [Code; 5] = [
    Code::Invalid,
    Code::Forbidden,
    Code::Busy,
    Code::Unavailable,
    Code::Internal,
];

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], text.clone()).into_response()
}

/// All operations, those of projects by both of their paths.
fn operations() -> Vec<Operation> {
    let mut all = cluster::operations();
    for operation in project::operations() {
        let again = operation.in_project();
        all.extend([operation, again]);
    }
    all
}

/// The OpenAPI document of the door, of version 3.1.
///
/// # Panics
/// Never: the tables of operations are the program's own.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let problem = schemas.answer(SchemaGenerator::subschema_for::<Problem>);
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut problems = BTreeMap::new();
    for operation in operations() {
        let method = operation.method.as_str().to_lowercase();
        let described = describe(&operation, &mut schemas, &problem, &mut problems);
        paths.entry(operation.path).or_default().insert(method, described);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Queenright",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "parameters": common(),
            "responses": problems,
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token of `queenright token create`; its scope is read, work or admin. A door without \
                                    tokens asks for none.",
                },
            },
        },
    });
    let schemas = schemas.finish(&mut document);
    document["components"]["schemas"] = Value::Object(schemas);
    schemas::tidy(&mut document["components"]["responses"]);
    document
}

/// Parameters that many operations have, by name.
fn common() -> Value {
    let timeout_max = REQUEST_TIMEOUT_MAX.as_millis() as u64;
    let timeout = "How long the request may take, in milliseconds; 10,000 unless it says otherwise.";
    let key = json!({ "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX });
    let key = Field {
        schema: key,
        ..Field::text(
            IDEMPOTENCY_HEADER,
            "Names this command: sent again with the same body, it is answered by its first outcome.",
        )
    };
    json!({
        "agent": parameter("header", &Field::text(AGENT_HEADER, "Who calls: the author of what it changes.")),
        "timeout_ms": parameter("query", &Field::number("timeout_ms", timeout, 1..=timeout_max)),
        "timeout": parameter("header", &Field::number(TIMEOUT_HEADER, timeout, 1..=timeout_max)),
        "idempotency_key": parameter("header", &key),
        "traceparent": parameter("header", &Field::text("traceparent", "The trace that the call belongs to.")),
        "project": parameter("query", &Field::text("project", "The project; default unless it says otherwise.")),
    })
}

fn parameter(place: &str, field: &Field) -> Value {
    let mut parameter = json!({
        "name": field.name, "in": place, "description": field.about, "schema": field.schema,
    });
    if field.required || place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn describe(
    operation: &Operation,
    schemas: &mut Schemas,
    problem: &Value,
    problems: &mut BTreeMap<String, Value>,
) -> Value {
    let scope = access::needed(&operation.method, Some(&operation.route()));
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.about,
        "tags": [tag(operation)],
        "parameters": parameters(operation),
        "responses": responses(operation, schemas, problem, problems),
        "security": match scope {
            Some(scope) => json!([{ "token": [scope.to_string()] }]),
            None => json!([]),
        },
    });
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({
            "required": !operation.body_optional,
            "content": content(body, |shape| schemas.request(shape)),
        });
    }
    described
}

/// The noun that an operation is about.
fn tag(operation: &Operation) -> &str {
    let path = operation.path.trim_start_matches("/v1").trim_start_matches('/');
    let within = path.strip_prefix("projects/{project}/");
    let within = within.filter(|_| operation.of_project).unwrap_or(path);
    within.split(['/', ':']).next().unwrap_or_default()
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let mut all = Vec::new();
    for part in operation.path.split('{').skip(1) {
        let name = part.split('}').next().unwrap_or_default();
        let mut schema = json!({ "type": "string", "minLength": 1 });
        if let Some(form) = project::form_of(name) {
            schema["pattern"] = form.into();
        }
        all.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    all.extend(operation.query.iter().map(|field| parameter("query", field)));
    all.extend(operation.headers.iter().map(|field| parameter("header", field)));
    let mut shared = Vec::new();
    if operation.takes_calls() {
        shared.extend(["timeout_ms", "timeout", "agent", "traceparent"]);
    }
    if operation.commands || operation.once {
        shared.push("idempotency_key");
    }
    if operation.of_project && !operation.path.contains("{project}") {
        shared.push("project");
    }
    all.extend(
        shared
            .into_iter()
            .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })),
    );
    all
}

fn content(content: &Content, mut schema: impl FnMut(operation::Shape) -> Value) -> Value {
    let stream = json!({ "schema": { "type": "string" } });
    match content {
        Content::Json(shape) => json!({ "application/json": { "schema": schema(*shape) } }),
        Content::Given(given) => json!({ "application/json": { "schema": given() } }),
        Content::Bytes => json!({ "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } }),
        Content::JsonOrStream(shape) => json!({
            "application/json": { "schema": schema(*shape) }, "text/event-stream": stream,
        }),
        Content::Lines => json!({ "application/jsonl": { "schema": { "type": "string" } } }),
        Content::Stream => json!({ "text/event-stream": stream }),
    }
}

fn responses(
    operation: &Operation,
    schemas: &mut Schemas,
    problem: &Value,
    problems: &mut BTreeMap<String, Value>,
) -> Map<String, Value> {
    let mut all = Map::new();
    for answer in &operation.answers {
        let mut described = json!({ "description": answer.status.canonical_reason().unwrap_or_default() });
        if let Some(given) = &answer.content {
            described["content"] = content(given, |shape| schemas.answer(shape));
        }
        if !answer.headers.is_empty() {
            let headers = answer.headers.iter();
            let headers = headers.map(|field| {
                (
                    field.name,
                    json!({ "description": field.about, "schema": field.schema }),
                )
            });
            described["headers"] = headers.map(|(name, header)| (name.to_owned(), header)).collect();
        }
        all.insert(answer.status.as_str().to_owned(), described);
    }
    for (status, codes) in refusals(operation) {
        let words: Vec<String> = codes.iter().map(ToString::to_string).collect();
        let name = format!("{status}-{}", words.join("-"));
        all.insert(
            status.to_string(),
            json!({ "$ref": format!("#/components/responses/{name}") }),
        );
        problems.entry(name).or_insert_with(|| {
            let about: Vec<String> = codes.iter().map(|code| format!("{code}: {}.", code.title())).collect();
            let schema = json!({
                "allOf": [problem, { "properties": { "code": { "enum": words }, "status": { "type": "integer", "enum": [status] } } }],
            });
            json!({
                "description": about.join(" "),
                "content": { "application/problem+json": { "schema": schema } },
                "headers": {
                    "retry-after": { "description": "When to try again, in seconds.", "schema": { "type": "integer" } },
                },
            })
        });
    }
    all
}

/// By status, the codes that an operation may be refused with.
fn refusals(operation: &Operation) -> BTreeMap<u16, Vec<Code>> {
    let mut all: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    let mut add = |status: u16, code: Code| {
        let codes = all.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    };
    if operation.takes_calls() {
        ALWAYS.into_iter().for_each(|code| add(code.status(), code));
    } else {
        add(403, Code::Forbidden);
    }
    let scope = access::needed(&operation.method, Some(&operation.route()));
    if scope.is_some() || operation.id == "node_ask" {
        add(401, Code::Unauthorized);
    }
    // A part of a path that is no segment leads to no route.
    if operation.path.contains('{') {
        add(404, Code::NotFound);
    }
    for (status, code) in &operation.refusals {
        add(status.as_u16(), *code);
    }
    for codes in all.values_mut() {
        codes.sort_by_key(|code| code.title());
    }
    all
}

impl Operation {
    /// Whether it looks at who calls and until when: all but two that say something of the process alone.
    fn takes_calls(&self) -> bool {
        !matches!(self.id.as_str(), "health" | "openapi")
    }
}
