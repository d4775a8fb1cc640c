//! `queenright mcp` over stdio and `/mcp` of real nodes, and `queenright setup`.

mod session;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

pub(crate) use self::session::Session;
use crate::colony::{Colony, Ran, queenright, refused, until};

#[test]
fn a_model_works_through_a_task_over_stdio_and_another_node_sees_it() {
    let colony = Colony::start("mcp-stdio");
    let mut ann = Session::start(&mut colony.command_at("n1", &["mcp"]));
    let hello = ann.hello("2025-06-18");
    assert_eq!(hello["protocolVersion"], "2025-06-18");
    let tools = ann.ask("tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(tools.as_array().map(Vec::len), Some(13));
    let started = ann.call("session_start", json!({ "name": "ann", "ttl_ms": 10_000 }));
    let (session, token) = (started["session"].clone(), started["token"].clone());
    ann.call(
        "task_add",
        json!({ "tasks": [{ "title": "edit", "name": "edit", "resources": [{ "resource": "file:src/**" }] }] }),
    );
    // A call belongs to the trace that its `_meta` names.
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let meta = json!({ "traceparent": format!("00-{trace}-b7ad6b7169203331-01") });
    let arguments = json!({ "op": "put", "key": "traced", "value": "value" });
    let params = json!({ "name": "memory", "arguments": arguments, "_meta": meta });
    let put = ann.ask("tools/call", params)["result"]["structuredContent"].clone();
    assert_eq!(put["ok"], true, "{put}");
    let found = colony.at("n2", &["trace", trace, "--json"]).with_code(0).json();
    assert_eq!(found["requests"][0]["name"], "PUT /v1/memory/{*key}", "{found}");
    assert_eq!(found["requests"][0]["parent"], "b7ad6b7169203331", "{found}");
    let claimed = ann.call("task_claim", json!({ "token": token }));
    let (task, fence) = (
        claimed["tasks"][0]["task"].clone(),
        claimed["tasks"][0]["fence"].clone(),
    );

    // Another model at another node, by the handshake of the other revision.
    let mut bob = Session::start(&mut colony.command_at("n3", &["mcp", "--agent", "bob"]));
    assert_eq!(bob.hello("2025-11-25")["protocolVersion"], "2025-11-25");
    let check = bob.call(
        "reserve_check",
        json!({ "resources": [{ "resource": "file:src/main.rs" }] }),
    );
    assert_eq!(check["conflicts"][0]["holder"]["name"], "ann");
    assert_eq!(
        bob.refused("reserve", json!({ "resources": [{ "resource": "file:src/main.rs" }] })),
        "HELD"
    );
    assert_eq!(bob.refused("task_claim", json!({ "ids": [task] })), "HELD");
    let none = bob.call("task_claim", json!({}));
    assert_eq!(none["tasks"], json!([]));

    ann.call(
        "task_update",
        json!({ "task": task, "fence": fence, "token": token, "progress": 40, "note": "on it" }),
    );
    ann.call(
        "memory",
        json!({ "op": "put", "key": "notes/a", "value": "found it", "token": token }),
    );
    assert_eq!(
        bob.call("memory", json!({ "op": "get", "key": "notes/a" }))["author"],
        "tester"
    );
    let committed = bob.call(
        "propose",
        json!({ "reads": [{ "key": "notes/a", "revision": 1 }], "writes": [{ "key": "notes/a", "append": "!" }] }),
    );
    assert_eq!(committed["verdict"], "committed");
    let beat = ann.call("session_heartbeat", json!({ "session": session, "token": token }));
    assert_eq!((&beat["holds"][0]["task"], &beat["uncertain"]), (&task, &json!(false)));
    ann.call(
        "task_finish",
        json!({ "task": task, "fence": fence, "token": token, "outcome": "done", "result": { "lines": 3 } }),
    );
    assert_eq!(
        bob.call("task_get", json!({ "ids": [task] }))["tasks"][0]["state"],
        "done"
    );
    let got = bob.call("reserve", json!({ "resources": [{ "resource": "file:src/main.rs" }] }));
    bob.call("reserve_release", json!({ "token": got["token"], "all": true }));
    let status = ann.ask("resources/read", json!({ "uri": "queenright://status" }));
    let status: Value = serde_json::from_str(status["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(status["queenright"], true);
    assert_eq!(ann.end(), Some(0));
    assert_eq!(bob.end(), Some(0));
    colony.same_digest();
}

#[test]
fn a_call_says_that_no_node_runs_and_goes_on_at_another_one_when_its_own_is_killed() {
    let alone = tempfile::tempdir().unwrap();
    let mut early = Session::start(queenright(alone.path()).arg("mcp"));
    early.hello("2025-06-18");
    let said = early.said("task_get", json!({}));
    assert_eq!(said["error"]["code"], "UNAVAILABLE");
    assert!(said["next"][0].as_str().is_some_and(|next| !next.is_empty()), "{said}");
    assert_eq!(early.end(), Some(0));

    let mut colony = Colony::start("mcp-moves");
    let mut model = Session::start(colony.command().arg("mcp"));
    model.hello("2025-06-18");
    model.call("memory", json!({ "op": "put", "key": "k", "value": "v" }));
    let first = colony.names().into_iter().next().unwrap();
    colony.kill(&first);
    let found = until("another node answers", || {
        let said = model.said("memory", json!({ "op": "get", "key": "k" }));
        (said["ok"] == true).then_some(said)
    });
    assert_eq!(found["data"]["value"], "v");
}

#[test]
fn every_node_serves_the_same_over_http_by_its_tokens() {
    let colony = Colony::start_prepared("mcp-http", |config, _| config.auth = queenright::config::Auth::Token);
    let secret = colony.at(
        "n1",
        &["token", "create", "--name", "eyes", "--scope", "read", "--json"],
    );
    let secret = secret.with_code(0).json()["secret"].as_str().unwrap().to_owned();
    let post = |node: &str, secret: Option<&str>, body: &Value| {
        let address = colony.config().node(node).unwrap().http;
        post(&address.to_string(), secret, &body.to_string())
    };
    let call = |tool: &str, arguments: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } });
    colony.at("n2", &["memory", "put", "k", "v"]).with_code(0);
    for node in crate::colony::NODES {
        let (status, answer) = post(node, Some(&secret), &call("memory", json!({ "op": "get", "key": "k" })));
        assert_eq!(
            (status, &answer["result"]["structuredContent"]["data"]["value"]),
            (200, &json!("v")),
            "{answer}"
        );
        let (_, answer) = post(
            node,
            Some(&secret),
            &call("memory", json!({ "op": "put", "key": "k", "value": "w" })),
        );
        assert_eq!(
            answer["result"]["structuredContent"]["error"]["code"], "FORBIDDEN",
            "{answer}"
        );
        let (status, answer) = post(node, None, &call("task_get", json!({})));
        assert_eq!((status, &answer["code"]), (401, &json!("UNAUTHORIZED")));
    }
}

#[test]
fn the_tools_are_listed_and_bad_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let list = Ran::of(queenright(folder.path()).args(["mcp", "--list", "--toolsets", "dlq", "--json"]));
    let list = list.with_code(0).json();
    let tools = list["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 16);
    assert_eq!(
        (&tools[13]["toolset"], &tools[13]["tool"]["name"]),
        (&json!("dlq"), &json!("dlq_list"))
    );
    let line = refused(queenright(folder.path()).args(["mcp", "--toolsets", "mail"]), 2);
    assert!(
        line.contains("\"mail\" is no toolset (default, cluster, dlq, pool, queue)"),
        "{line}"
    );
    let long = "x".repeat(129);
    let line = refused(queenright(folder.path()).args(["mcp", "--agent", &long]), 2);
    assert!(line.contains("--agent: 129 B, expected 1 to 128"), "{line}");
}

/// Posts to `/mcp` of a door: the status, and the JSON of the answer.
fn post(door: &str, secret: Option<&str>, body: &str) -> (u16, Value) {
    let shown = secret.map(|secret| format!("authorization: Bearer {secret}\r\n"));
    let mut stream = TcpStream::connect(door).unwrap();
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nhost: {door}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{}content-length: {}\r\n\r\n{body}",
        shown.unwrap_or_default(),
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (status.unwrap_or_else(|| panic!("{answer}")), json)
}

/// `queenright setup` in a home and a project of its own.
fn setup(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = queenright(folder);
    let command = command
        .env("HOME", folder)
        .env_remove("CODEX_HOME")
        .env_remove("CLAUDE_CONFIG_DIR")
        .current_dir(folder)
        .arg("setup")
        .args(arguments);
    Ran::of(command)
}

#[test]
fn programs_are_told_and_untold() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = folder.join(".mcp.json");
    let mine = "{\n\t\"mcpServers\": { \"other\": { \"command\": \"x\" } }\n}\n";
    std::fs::write(&file, mine).unwrap();
    let plan = setup(folder, &["claude", "--dry-run", "--json"]).with_code(0).json();
    assert_eq!((&plan["done"], &plan["dry_run"]), (&json!("added"), &json!(true)));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mine);
    assert_eq!(
        setup(folder, &["claude", "--json"]).with_code(0).json()["done"],
        "added"
    );
    let set: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let entry = &set["mcpServers"]["queenright"];
    assert_eq!(entry["args"], json!(["mcp"]));
    // What it tells programs to start is this program.
    let started = Ran::of(Command::new(entry["command"].as_str().unwrap()).args(["mcp", "--list"]));
    assert!(started.with_code(0).stdout.starts_with(b"TOOLSET"));
    assert_eq!(
        setup(folder, &["claude", "--json"]).with_code(0).json()["done"],
        "unchanged"
    );
    let status = setup(folder, &["claude", "--status", "--json"]).with_code(0).json();
    assert_eq!(
        (&status[0]["state"], &status[1]["state"]),
        (&json!("set"), &json!("no_file"))
    );
    assert_eq!(
        setup(folder, &["claude", "--undo", "--json"]).with_code(0).json()["done"],
        "restored"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mine);

    let codex = setup(
        folder,
        &["codex", "--toolsets", "queue,dlq", "--node", "127.0.0.1:7202"],
    )
    .with_code(0);
    let said = String::from_utf8(codex.stdout).unwrap();
    assert!(
        said.starts_with("made ") && said.contains(".codex/config.toml"),
        "{said}"
    );
    let text = std::fs::read_to_string(folder.join(".codex/config.toml")).unwrap();
    assert!(
        text.contains("args = [\"mcp\", \"--toolsets\", \"dlq,queue\", \"--node\", \"127.0.0.1:7202\"]"),
        "{text}"
    );
    std::fs::write(folder.join(".codex/config.toml"), "[broken").unwrap();
    let refused = setup(folder, &["codex"]).with_code(1);
    assert!(
        refused.stderr.contains("config.toml") && refused.stderr.contains("line 1"),
        "{refused}"
    );
    let refused = setup(folder, &["gemini", "--dir", "nowhere"]).with_code(2);
    assert!(refused.stderr.contains("--dir: nowhere is no folder"), "{refused}");
    setup(folder, &["gemini", "--node", "nowhere"]).with_code(2);
    setup(folder, &["emacs"]).with_code(2);
}
