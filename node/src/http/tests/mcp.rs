//! The Model Context Protocol at the door: each default tool, old and new revisions, tokens, and what is refused.

use queenright_protocol::colony::Access;
use serde_json::json;

use super::tokens::{asking, make};
use super::*;

const ACCEPT: &str = "accept: application/json, text/event-stream";
const JSON: &str = "content-type: application/json";

/// A client that posts to `/mcp`.
struct Client<'r> {
    rig: &'r Rig,
    /// What each request has besides.
    headers: Vec<String>,
    path: &'static str,
}

impl<'r> Client<'r> {
    fn of(rig: &'r Rig) -> Client<'r> {
        let headers = vec![ACCEPT.to_owned(), JSON.to_owned()];
        Client {
            rig,
            headers,
            path: "/mcp",
        }
    }

    fn showing(rig: &'r Rig, secret: &str) -> Client<'r> {
        let mut client = Client::of(rig);
        client.headers.push(format!("authorization: Bearer {secret}"));
        client
    }

    async fn post(&self, body: &Value) -> Reply {
        let headers: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        self.rig
            .call(&format!("POST {}", self.path), &headers, body.to_string())
            .await
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let reply = self
            .post(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }))
            .await;
        assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
        let answer = reply.json();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    async fn said(&self, tool: &str, arguments: Value) -> Value {
        let result = self
            .result("tools/call", json!({ "name": tool, "arguments": arguments }))
            .await;
        let said = result["structuredContent"].clone();
        assert_eq!(result["isError"], !said["ok"].as_bool().unwrap(), "{result}");
        said
    }

    /// The data of an answer that went well.
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let said = self.said(tool, arguments).await;
        assert_eq!(said["ok"], true, "{tool}: {said}");
        said["data"].clone()
    }

    /// The code and the line of an error, which says what to do next.
    async fn refused(&self, tool: &str, arguments: Value) -> (String, String) {
        let said = self.said(tool, arguments).await;
        let error = &said["error"];
        assert_eq!(said["ok"], false, "{tool}: {said}");
        assert!(said["next"][0].as_str().is_some_and(|next| !next.is_empty()), "{said}");
        assert!(error["retryable"].is_boolean(), "{said}");
        let text = |field: &str| error[field].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

#[tokio::test]
async fn old_revisions_begin_with_a_handshake_that_no_node_remembers() {
    let rig = Rig::new();
    let client = Client::of(&rig);
    for revision in ["2025-06-18", "2025-11-25"] {
        let hello = json!({
            "protocolVersion": revision,
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let result = client.result("initialize", hello).await;
        assert_eq!(result["protocolVersion"], revision);
        assert_eq!(result["serverInfo"]["name"], "queenright");
        assert!(
            result["instructions"]
                .as_str()
                .is_some_and(|text| text.contains("session_start"))
        );
    }
    let noted = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(client.post(&noted).await.status, StatusCode::ACCEPTED);
    let tools = client.result("tools/list", json!({})).await;
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(13));
    assert_eq!(tools["tools"][0]["name"], "session_start");
}

#[tokio::test]
async fn the_new_revision_needs_no_handshake() {
    let rig = Rig::new();
    let mut client = Client::of(&rig);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "new", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let for_method = |method: &str, name: Option<&str>| {
        let mut headers = vec![
            ACCEPT.to_owned(),
            JSON.to_owned(),
            "mcp-protocol-version: 2026-07-28".to_owned(),
            format!("mcp-method: {method}"),
        ];
        headers.extend(name.map(|name| format!("mcp-name: {name}")));
        headers
    };
    client.headers = for_method("server/discover", None);
    let found = client.result("server/discover", json!({ "_meta": meta })).await;
    let versions = found["supportedVersions"].as_array().unwrap();
    assert!(
        versions.contains(&"2026-07-28".into()) && versions.contains(&"2025-06-18".into()),
        "{found}"
    );
    client.headers = for_method("tools/list", None);
    let listed = client.result("tools/list", json!({ "_meta": meta })).await;
    assert_eq!(listed["resultType"], "complete");
    assert!(listed["ttlMs"].is_u64() && listed["cacheScope"].is_string(), "{listed}");
    client.headers = for_method("tools/call", Some("session_start"));
    let call = json!({ "name": "session_start", "arguments": {}, "_meta": meta });
    let started = client.result("tools/call", call).await;
    // Who calls is known by what its client says of itself.
    assert_eq!(started["structuredContent"]["data"]["prime"]["agent"], "new");
}

#[tokio::test]
async fn each_default_tool_does_its_work() {
    let rig = Rig::new();
    let client = Client::of(&rig);
    let started = client
        .call(
            "session_start",
            json!({ "name": "ann", "agent": "ann", "capabilities": ["rust"] }),
        )
        .await;
    let (session, token) = (&started["session"], &started["token"]);
    assert_eq!(started["ttl_ms"], 600_000);
    assert_eq!(started["prime"]["agent"], "ann");
    let on = client
        .call("session_start", json!({ "session": session, "token": token }))
        .await;
    assert_eq!((&on["session"], &on["token"]), (session, token));
    let beat = client
        .call("session_heartbeat", json!({ "session": session, "token": token }))
        .await;
    assert_eq!((&beat["session"], &beat["uncertain"]), (session, &json!(false)));

    let tasks = json!([
        { "title": "build", "name": "build", "payload": { "target": "all" }, "requires": ["rust"], "resources": [{ "resource": "file:target/**" }] },
        { "title": "ship", "needs": ["build"], "retry": { "attempts_max": 2 } },
    ]);
    let added = client
        .call("task_add", json!({ "tasks": tasks, "idempotency_key": "once" }))
        .await;
    let again = client
        .call("task_add", json!({ "tasks": tasks, "idempotency_key": "once" }))
        .await;
    assert_eq!(added, again);
    let claimed = client
        .call(
            "task_claim",
            json!({ "token": token, "capabilities": ["rust"], "wait_ms": 1 }),
        )
        .await;
    let task = &claimed["tasks"][0];
    assert_eq!(
        (&task["title"], &task["payload"]["target"]),
        (&json!("build"), &json!("all"))
    );
    let (id, fence) = (&task["task"], &task["fence"]);
    let none = client.said("task_claim", json!({ "token": token })).await;
    assert_eq!(none["data"]["tasks"], json!([]));
    assert!(none["next"][0].as_str().unwrap().contains("nothing is ready"), "{none}");
    client
        .call("task_update", json!({ "task": id, "fence": fence, "token": token, "progress": 50, "note": "half", "checkpoint": { "at": 1 } }))
        .await;
    let list = client.call("task_get", json!({ "state": "leased" })).await;
    assert_eq!(list["tasks"][0]["lease"]["progress"], 50);
    let (code, _) = client
        .refused(
            "task_finish",
            json!({ "task": id, "fence": 1, "token": token, "outcome": "done" }),
        )
        .await;
    assert_eq!(code, "FENCED");
    let finish = json!({ "task": id, "fence": fence, "token": token, "outcome": "done", "result": { "bytes": 3 }, "follow_ups": [{ "title": "tell" }] });
    let finished = client.call("task_finish", finish).await;
    assert_eq!(finished["added"].as_array().map(Vec::len), Some(1));
    let shown = client.said("task_get", json!({ "ids": [id, "999-0"] })).await;
    assert_eq!(shown["data"]["tasks"][0]["finished"]["result"]["bytes"], 3);
    assert!(
        shown["warnings"][0].as_str().unwrap().contains("no task 999-0"),
        "{shown}"
    );

    let wants = json!([{ "resource": "file:src/**" }, { "resource": "slot:gpu", "mode": "exclusive" }]);
    let got = client
        .call(
            "reserve",
            json!({ "resources": wants, "token": token, "reason": "edit" }),
        )
        .await;
    assert!(got["fence"].is_u64(), "{got}");
    let one = json!([{ "resource": "file:src/lib.rs", "mode": "shared" }]);
    let check = client.call("reserve_check", json!({ "resources": one })).await;
    assert_eq!(check["conflicts"][0]["holder"]["name"], "ann");
    let own = client
        .call("reserve_check", json!({ "resources": one, "token": token }))
        .await;
    assert_eq!(own["conflicts"], json!([]));
    let (code, line) = client.refused("reserve", json!({ "resources": one })).await;
    assert_eq!(code, "HELD");
    assert!(
        line.contains("file:src/** is held by session") && line.contains("(ann)"),
        "{line}"
    );
    let given = client
        .call(
            "reserve_release",
            json!({ "token": token, "ids": [got["reservation"]] }),
        )
        .await;
    assert_eq!(given["reservations"], json!([got["reservation"]]));

    let put = client
        .call(
            "memory",
            json!({ "op": "put", "key": "plan/title", "value": "a", "tags": ["pinned"] }),
        )
        .await;
    assert_eq!(put["revision"], 1);
    let found = client.call("memory", json!({ "op": "get", "key": "plan/title" })).await;
    assert_eq!(
        (&found["value"], &found["tags"], &found["author"]),
        (&json!("a"), &json!(["pinned"]), &json!("mcp"))
    );
    client
        .call("memory", json!({ "op": "increment", "key": "plan/n", "value": 2 }))
        .await;
    client
        .call("memory", json!({ "op": "set_add", "key": "plan/s", "value": "x" }))
        .await;
    let keys = client
        .call(
            "memory",
            json!({ "op": "list", "prefix": "plan/", "values": true, "limit": 2 }),
        )
        .await;
    assert_eq!(
        (&keys["keys"][0]["value"], &keys["next"]),
        (&json!("2"), &json!("plan/s"))
    );
    let (code, _) = client
        .refused(
            "memory",
            json!({ "op": "put", "key": "plan/title", "value": "b", "if_revision": 7 }),
        )
        .await;
    assert_eq!(code, "CONFLICT");
    let (code, _) = client
        .refused("memory", json!({ "op": "get", "key": "plan/none" }))
        .await;
    assert_eq!(code, "NOT_FOUND");

    let writes = json!([{ "key": "plan/title", "put": "c" }, { "key": "plan/n", "increment": 1 }]);
    let proposal = json!({ "reads": [{ "key": "plan/title", "revision": 1 }], "writes": writes });
    let committed = client.call("propose", proposal.clone()).await;
    assert_eq!(
        (&committed["verdict"], &committed["revisions"]),
        (&json!("committed"), &json!([2, 2]))
    );
    let lost = client.said("propose", proposal).await;
    assert_eq!(lost["error"]["code"], "CONFLICT");
    assert_eq!(lost["error"]["details"]["reread"][0]["key"], "plan/title");

    let page = client
        .call("events", json!({ "types": ["task_finished"], "limit": 5 }))
        .await;
    assert_eq!(page["events"][0]["task"], *id);
    let state = client.call("events", json!({ "snapshot": "memory,tasks" })).await;
    assert!(
        state["state"].as_array().is_some_and(|state| state.len() >= 4),
        "{state}"
    );

    client
        .call(
            "session_heartbeat",
            json!({ "session": session, "token": token, "close": true }),
        )
        .await;
    let (code, line) = client
        .refused("session_heartbeat", json!({ "session": session, "token": token }))
        .await;
    assert_eq!(code, "EXPIRED");
    assert!(line.contains("has ended"), "{line}");
}

#[tokio::test]
async fn a_claim_that_waited_has_its_task_accepted() {
    let rig = Rig::new();
    let client = Client::of(&rig);
    let (claimed, _) = tokio::join!(client.call("task_claim", json!({ "wait_ms": 20_000 })), async {
        while rig.get("/v1/queues").await.json()["queues"][0]["waiting"] != 1 {
            tokio::task::yield_now().await;
        }
        client.call("task_add", json!({ "tasks": [{ "title": "late" }] })).await
    });
    assert_eq!(claimed["tasks"][0]["title"], "late");
    assert!(claimed["accept_within_ms"].is_null(), "{claimed}");
    let shown = client
        .call("task_get", json!({ "ids": [claimed["tasks"][0]["task"]] }))
        .await;
    assert_eq!(shown["tasks"][0]["lease"]["accepted"], true);
}

#[tokio::test]
async fn further_tools_are_there_on_request_only() {
    let rig = Rig::new();
    let mut client = Client::of(&rig);
    let answer = client
        .ask("tools/call", json!({ "name": "queue_list", "arguments": {} }))
        .await;
    assert_eq!(answer["error"]["code"], -32602);
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/mcp?toolsets=queue"),
        "{answer}"
    );
    let answer = client
        .ask("tools/call", json!({ "name": "decide", "arguments": {} }))
        .await;
    assert_eq!(answer["error"]["message"], "there is no tool \"decide\"");
    client.call("task_add", json!({ "tasks": [{ "title": "a" }] })).await;
    client.path = "/mcp?toolsets=queue,dlq";
    let queues = client.call("queue_list", json!({})).await;
    assert_eq!(queues["queues"][0]["ready"], 1);
    let listed = client.call("dlq_list", json!({})).await;
    assert_eq!(listed["tasks"], json!([]));
    client.path = "/mcp";
    client.headers.push("queenright-toolsets: queue".to_owned());
    let paused = client
        .call("queue_change", json!({ "queue": "default", "paused": true }))
        .await;
    assert!(paused["seq"].is_u64());
    client.path = "/mcp?toolsets=mail";
    let detail = client.post(&json!({})).await.problem(400, "INVALID");
    assert!(detail.starts_with("toolsets: \"mail\" is no toolset"), "{detail}");
}

#[tokio::test]
async fn resources_and_prompts_are_read() {
    let rig = Rig::new();
    let client = Client::of(&rig);
    rig.put("plan/a%20b", "text").await;
    let added = client.call("task_add", json!({ "tasks": [{ "title": "t" }] })).await;
    let listed = client.result("resources/list", json!({})).await;
    let uris: Vec<&str> = listed["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["uri"].as_str().unwrap())
        .collect();
    assert_eq!(
        uris,
        [
            "queenright://status",
            "queenright://reservations",
            "queenright://events"
        ]
    );
    let templates = client.result("resources/templates/list", json!({})).await;
    assert_eq!(templates["resourceTemplates"].as_array().map(Vec::len), Some(3));
    let read = async |uri: String| client.result("resources/read", json!({ "uri": uri })).await["contents"][0].clone();
    let json_of = |contents: &Value| -> Value { serde_json::from_str(contents["text"].as_str().unwrap()).unwrap() };
    assert_eq!(read("queenright://memory/plan/a%20b".to_owned()).await["text"], "text");
    let id = added["tasks"][0]["task"].as_str().unwrap();
    assert_eq!(json_of(&read(format!("queenright://tasks/{id}")).await)["title"], "t");
    let events = read("queenright://events?after=1".to_owned()).await;
    assert_eq!(json_of(&events)["events"][0]["type"], "task_added");
    let other = read("queenright://events?project=other".to_owned()).await;
    assert_eq!(json_of(&other)["events"], json!([]));
    for uri in listed["resources"].as_array().unwrap() {
        let contents = read(uri["uri"].as_str().unwrap().to_owned()).await;
        assert_eq!(contents["mimeType"], "application/json");
        assert!(json_of(&contents).is_object());
    }
    for uri in [
        "queenright://memory/none",
        "queenright://tasks/999-0",
        "queenright://lunch",
        "file:///etc/passwd",
    ] {
        let answer = client.ask("resources/read", json!({ "uri": uri })).await;
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
    }
    let prompts = client.result("prompts/list", json!({})).await;
    let names: Vec<&str> = prompts["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["start-work", "handoff", "resolve-conflict"]);
    let filled = client
        .result(
            "prompts/get",
            json!({ "name": "handoff", "arguments": { "task": "17-0" } }),
        )
        .await;
    assert!(
        filled["messages"][0]["content"]["text"]
            .as_str()
            .unwrap()
            .contains("17-0")
    );
}

#[tokio::test]
async fn a_tool_needs_the_scope_of_what_it_does() {
    let (rig, admin) = asking();
    let read = make(&rig, &admin, "eyes", Access::Read).await;
    let work = make(&rig, &admin, "hands", Access::Work).await;
    let nobody = Client::of(&rig);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let reply = nobody.post(&ping).await;
    assert!(reply.header("www-authenticate").starts_with("Bearer"));
    reply.problem(401, "UNAUTHORIZED");
    Client::showing(&rig, "wrong")
        .post(&ping)
        .await
        .problem(401, "UNAUTHORIZED");
    let eyes = Client::showing(&rig, &read);
    eyes.call("task_get", json!({})).await;
    let (code, line) = eyes.refused("task_add", json!({ "tasks": [{ "title": "a" }] })).await;
    assert_eq!(code, "FORBIDDEN");
    assert!(line.contains("eyes has scope read, this needs work"), "{line}");
    let mut hands = Client::showing(&rig, &work);
    hands.call("task_add", json!({ "tasks": [{ "title": "a" }] })).await;
    hands.path = "/mcp?toolsets=pool";
    let (code, _) = hands.refused("pool_drain", json!({ "name": "p" })).await;
    assert_eq!(code, "FORBIDDEN");
    let mut head = Client::showing(&rig, &admin);
    head.path = "/mcp?toolsets=pool";
    let (code, _) = head.refused("pool_drain", json!({ "name": "p" })).await;
    assert_eq!(code, "NOT_FOUND");
}

#[tokio::test]
async fn pages_of_other_sites_and_what_is_no_message_are_refused() {
    let rig = Rig::new();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let refused = async |header: &str| {
        let reply = rig.call("POST /mcp", &[ACCEPT, JSON, header], body.clone()).await;
        reply.problem(403, "FORBIDDEN")
    };
    let detail = refused("origin: https://evil.example").await;
    assert!(detail.contains("Origin"), "{detail}");
    let detail = refused("host: evil.example").await;
    assert!(detail.contains("Host"), "{detail}");
    let near = rig
        .call(
            "POST /mcp",
            &[ACCEPT, JSON, "origin: http://localhost:3000"],
            body.clone(),
        )
        .await;
    assert_eq!(near.status, StatusCode::OK);
    // There are no sessions to follow or to end.
    for method in ["GET", "DELETE", "PUT"] {
        let reply = rig.call(&format!("{method} /mcp"), &[ACCEPT], "").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for broken in ["", "{", "[1]", "\"text\"", "{\"jsonrpc\":\"2.0\"}", "\u{0}\u{1}"] {
        let reply = rig.call("POST /mcp", &[ACCEPT, JSON], broken).await;
        assert!(
            reply.status.is_client_error() || reply.status.is_success(),
            "{broken}: {reply:?}"
        );
    }
    let small = Rig::with(DoorLimits {
        body_bytes: 1024,
        ..DoorLimits::default()
    });
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "x": "y".repeat(2_000) } });
    Client::of(&small).post(&large).await.problem(413, "TOO_LARGE");
    let busy = Rig::with(DoorLimits {
        requests: 0,
        ..DoorLimits::default()
    });
    Client::of(&busy).post(&large).await.problem(503, "BUSY");
}
