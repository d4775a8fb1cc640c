//! What clients are told of the tools, without any node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::request::Parts;
use futures::future::BoxFuture;
use queenright_bench::client::wire::{Code, Problem};
use queenright_bench::client::{Client, ClientOptions, Within};
use queenright_protocol::colony::SessionId;
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::arguments::Arguments;
use super::keeper::{Keeper, Kept};
use super::tools::{self, Call};
use super::{Failure, Reach, Toolset, Toolsets, listed};

/// What the definitions of the default tools may cost, in tokens.
const TOKENS_MAX: usize = 5_000;
/// How many tenths of a byte of JSON are counted as a token. The encoding `o200k_base` makes one of 4.0 bytes of these
/// definitions; tokenizers that are less thrifty get room of an eighth.
const TENTHS_OF_A_BYTE_PER_TOKEN: usize = 35;
/// How many tools a client may be shown by default.
const DEFAULT_MAX: usize = 15;

/// A way to a door that nobody listens at.
#[derive(Debug)]
struct Nowhere;

impl Reach for Nowhere {
    fn client(&self, _request: Option<&Parts>) -> Result<Client, Failure> {
        // Nobody listens on port 1 of loopback.
        Ok(Client::new("http://127.0.0.1:1", ClientOptions::default())?)
    }
}

fn definitions(toolsets: &Toolsets) -> Vec<Value> {
    let tools = listed(toolsets).into_iter();
    tools.map(|listed| serde_json::to_value(listed.tool).unwrap()).collect()
}

#[test]
fn the_default_tools_cost_less_than_five_thousand_tokens() {
    let default = definitions(&Toolsets::default());
    let names: Vec<&str> = default.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "session_start",
            "session_heartbeat",
            "task_add",
            "task_claim",
            "task_update",
            "task_finish",
            "task_get",
            "reserve",
            "reserve_check",
            "reserve_release",
            "propose",
            "memory",
            "events",
        ]
    );
    assert!(names.len() <= DEFAULT_MAX);
    let count = |json: &Value| (json.to_string().len() * 10).div_ceil(TENTHS_OF_A_BYTE_PER_TOKEN);
    let all = count(&Value::from(default.clone()));
    let each: Vec<String> = default
        .iter()
        .map(|tool| format!("{} {}", tool["name"], count(tool)))
        .collect();
    println!("{all} tokens: {}", each.join(", "));
    assert!(all < TOKENS_MAX, "{all} tokens: {}", each.join(", "));
}

#[test]
fn every_tool_says_what_it_takes_answers_and_does() {
    let mut names = BTreeSet::new();
    for tool in definitions(&Toolsets::all()) {
        let name = tool["name"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} stands twice");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}"
        );
        assert!(!["decide", "message"].contains(&name), "{name} is kept for later");
        assert!(
            tool["description"].as_str().is_some_and(|text| text.len() > 10),
            "{tool}"
        );
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name}");
        }
        let properties = tool["inputSchema"]["properties"].as_object().unwrap();
        for required in tool["inputSchema"]["required"].as_array().into_iter().flatten() {
            assert!(
                properties.contains_key(required.as_str().unwrap()),
                "{name}: {required}"
            );
        }
        assert!(tool["annotations"]["readOnlyHint"].is_boolean(), "{name}");
        if tool["annotations"]["readOnlyHint"] == false {
            for hint in ["destructiveHint", "idempotentHint"] {
                assert!(tool["annotations"][hint].is_boolean(), "{name}: {hint}");
            }
        }
    }
    for toolset in Toolset::ALL {
        let shown = listed(&toolset.name().parse().unwrap());
        assert!(
            shown.iter().any(|tool| tool.toolset == toolset.name()),
            "{toolset} has no tools"
        );
    }
}

/// A value that a schema allows.
fn sample(schema: &Value, field: &str) -> Value {
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    match (schema["type"].as_str(), field) {
        (Some("string"), "session") => "s4".into(),
        (Some("string"), "task") => "17-0".into(),
        (Some("string"), "kind") => "ring".into(),
        (Some("string"), "policy") => "first-come".into(),
        (Some("string"), "resource") => "file:a".into(),
        (Some("string"), "hash") => "0".repeat(64).into(),
        (Some("string"), "after") => "17-0".into(),
        (Some("string"), "value_base64") => "YQ==".into(),
        (Some("string"), _) => "x".into(),
        (Some("integer"), _) => 1.into(),
        (Some("boolean"), _) => true.into(),
        (Some("array"), "ids") => json!(["17-0"]),
        (Some("array"), _) => {
            let item = sample(&schema["items"], "");
            if item.is_null() { json!([]) } else { json!([item]) }
        }
        (Some("object"), "fence") => json!({ "task": "17-0", "fence": 3 }),
        (Some("object"), "retry") => json!({ "attempts_max": 3 }),
        (Some("object"), _) => match schema["properties"].as_object() {
            Some(properties) => {
                let fields = properties
                    .iter()
                    .map(|(name, schema)| (name.clone(), sample(schema, name)));
                Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
            }
            None => json!({}),
        },
        _ => Value::Null,
    }
}

fn call(token: Option<&str>) -> Call {
    let client = Nowhere.client(None).unwrap();
    Call {
        client,
        project: "default".to_owned(),
        agent: "mcp".to_owned(),
        token: token.map(str::to_owned),
        idempotency_key: None,
        keeper: None,
        session_ttl_ms: 90_000,
    }
}

/// Calls a tool with these arguments, of which those that all understand are left out; nobody answers it.
async fn tried(name: &str, fields: JsonObject) -> Failure {
    let kind = tools::named(name).unwrap();
    let mut fields = fields;
    for common in ["project", "agent", "token", "idempotency_key"] {
        fields.remove(common);
    }
    let ran = kind.run(&call(Some("t")), Arguments::new(Some(fields))).await;
    ran.err().unwrap_or_else(|| panic!("{name} was answered by nobody"))
}

#[tokio::test]
async fn every_field_of_a_schema_is_one_that_its_tool_takes() {
    for tool in definitions(&Toolsets::all()) {
        let name = tool["name"].as_str().unwrap();
        let required: Vec<&str> = tool["inputSchema"]["required"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|field| field.as_str().unwrap())
            .collect();
        let properties = tool["inputSchema"]["properties"].as_object().unwrap();
        for field in properties.keys() {
            // Each alone, with what is needed: some do not go together.
            let given = properties
                .iter()
                .filter(|(name, _)| *name == field || required.contains(&name.as_str()));
            let fields = given
                .map(|(name, schema)| (name.clone(), sample(schema, name)))
                .filter(|(_, value)| !value.is_null())
                .collect();
            let failure = tried(name, fields).await;
            let unknown = failure.message.contains("unknown field") || failure.message.contains("invalid type");
            assert!(!unknown, "{name}.{field}: {}", failure.message);
        }
        let unknown = JsonObject::from_iter([("colour".to_owned(), "red".into())]);
        let failure = tried(name, unknown).await;
        assert_eq!(&*failure.code, "INVALID", "{name}: {}", failure.message);
    }
}

#[tokio::test]
async fn without_a_node_a_tool_says_so_and_what_to_do() {
    let failure = tried("task_get", JsonObject::new()).await;
    assert_eq!(
        (&*failure.code, failure.retryable, failure.unreached),
        ("UNAVAILABLE", true, true)
    );
    let result = serde_json::to_value(failure.into_result()).unwrap();
    assert_eq!(result["isError"], true);
    let said = &result["structuredContent"];
    assert_eq!(said["ok"], false);
    assert!(
        said["next"][0]
            .as_str()
            .is_some_and(|next| next.contains("queenright status")),
        "{said}"
    );
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), said);
}

#[tokio::test]
async fn what_a_call_lacks_or_has_too_much_of_is_named() {
    let refused = async |name: &str, token: Option<&str>, fields: Value| {
        let Value::Object(fields) = fields else {
            panic!("{fields}")
        };
        let kind = tools::named(name).unwrap();
        let ran = kind.run(&call(token), Arguments::new(Some(fields))).await;
        ran.unwrap_err().message.into_string()
    };
    let line = refused("task_update", None, json!({ "task": "17-0", "fence": 3 })).await;
    assert!(line.starts_with("token: is missing"), "{line}");
    let line = refused("task_update", Some("t"), json!({ "task": "seventeen", "fence": 3 })).await;
    assert!(line.starts_with("task: \"seventeen\""), "{line}");
    let line = refused("task_claim", None, json!({ "wait_ms": 60_000 })).await;
    assert!(line.starts_with("wait_ms: 60000 is over the limit of 50000"), "{line}");
    let line = refused("memory", None, json!({ "op": "get", "key": "k", "value": "v" })).await;
    assert_eq!(line, "value: this op does not take it");
    let line = refused(
        "memory",
        None,
        json!({ "op": "increment", "key": "k", "value": "many" }),
    )
    .await;
    assert_eq!(line, "value: \"many\" is no whole number");
    let line = refused("memory", None, json!({ "op": "put", "value": "v" })).await;
    assert_eq!(line, "key: is missing");
    let line = refused("task_get", None, json!({ "ids": vec!["17-0"; 51] })).await;
    assert_eq!(line, "ids: 51 are over the limit of 50");
    let line = refused("events", None, json!({ "snapshot": "tasks", "limit": 5 })).await;
    assert_eq!(line, "limit: does not go together with snapshot");
    let line = refused("reserve_release", Some("t"), json!({ "all": true, "reason": "why" })).await;
    assert_eq!(line, "reason: goes with force only");
}

/// A door at which one session lives, which counts its signs of life.
#[derive(Debug)]
struct Counting {
    signs: watch::Sender<u64>,
    ended: AtomicBool,
}

impl Within for Counting {
    fn answer(&self, request: reqwest::Request) -> BoxFuture<'static, reqwest::Response> {
        assert_eq!(request.url().path(), "/v1/sessions/s4:heartbeat");
        self.signs.send_modify(|signs| *signs += 1);
        let over = Problem {
            retryable: false,
            ..Problem::new(Code::Expired, "session s4 has ended")
        };
        let alive = json!({ "session": "s4", "left_ms": 90_000, "holds": [], "cancelled": [], "uncertain": false });
        let (status, body) = match self.ended.load(Ordering::SeqCst) {
            true => (410, serde_json::to_string(&over).unwrap()),
            false => (200, alive.to_string()),
        };
        let response = axum::http::Response::builder().status(status).body(body).unwrap();
        Box::pin(async { response.into() })
    }
}

/// The way to that door.
#[derive(Debug)]
struct ToCounting(Arc<Counting>);

impl Reach for ToCounting {
    fn client(&self, _request: Option<&Parts>) -> Result<Client, Failure> {
        Ok(Client::within(
            "http://localhost",
            ClientOptions::default(),
            self.0.clone(),
        )?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_alive_until_it_has_ended() {
    let door = Arc::new(Counting {
        signs: watch::Sender::new(0),
        ended: AtomicBool::new(false),
    });
    let keeper = Keeper::start(Arc::new(ToCounting(door.clone())));
    let began = Instant::now();
    assert!(keeper.keep(Kept {
        project: "default".to_owned(),
        session: SessionId(4),
        token: "t".to_owned(),
        ttl: Duration::from_secs(90),
    }));
    let mut signs = door.signs.subscribe();
    signs.wait_for(|signs| *signs == 5).await.unwrap();
    // Each comes when a third of the time is over, by a clock that only this test moves.
    assert_eq!(began.elapsed().as_secs(), 5 * 30);
    door.ended.store(true, Ordering::SeqCst);
    signs.wait_for(|signs| *signs == 6).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    assert_eq!(*signs.borrow(), 6);
}
