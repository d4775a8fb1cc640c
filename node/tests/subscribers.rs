//! Those who follow events at the doors of real nodes: one that does not read is dropped and counted, all others miss
//! nothing, and whoever comes too late is told so.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use futures::StreamExt as _;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::WireWhat;
use queenright_bench::client::{Filter, Watched};
use serde_json::json;

use crate::colony::{Colony, until};

/// Proposals, writes of each, and bytes of a key: together more than a project keeps of events, and far more than the
/// buffers between a door and a subscriber hold.
const PROPOSALS: u64 = 22;
const WRITES: u64 = 1_000;
const KEY_BYTES: usize = 3_100;

#[test]
fn a_subscriber_that_stops_reading_is_dropped_and_shown_and_the_others_miss_nothing() {
    let colony = Colony::start("subscribers");
    let client = colony.client("n2", "test");
    let filter = Filter {
        types: vec!["changed".to_owned()],
        ..Filter::default()
    };
    let subscribed = client.subscribe(None, &filter, None, Consistency::Local);
    let mut healthy = colony.block_on(subscribed).unwrap();
    let healthy = colony.spawn(async move {
        let (mut seen, mut before) = (0, None);
        while seen < PROPOSALS * WRITES {
            let watched = healthy.next().await.expect("it goes on").unwrap();
            let Watched::Event(event) = watched else {
                panic!("{watched:?}")
            };
            assert!(before < Some(event.cursor), "{before:?}, then {}", event.cursor);
            assert!(matches!(event.what, WireWhat::Changed { .. }));
            (seen, before) = (seen + 1, Some(event.cursor));
        }
        before
    });

    let address = client.base_url().strip_prefix("http://").unwrap().to_owned();
    let mut slow = TcpStream::connect(&address).unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
    slow.write_all(request.as_bytes()).unwrap();

    let long = "k".repeat(KEY_BYTES);
    for proposal in 0..PROPOSALS {
        let writes: Vec<_> = (0..WRITES)
            .map(|write| json!({ "key": format!("{long}/{proposal}/{write}"), "put": "" }))
            .collect();
        let body = json!({ "writes": writes }).to_string();
        colony
            .fed("n1", &["propose", "-", "--quiet"], body.as_bytes())
            .with_code(0);
    }
    let last = colony.block_on(async { tokio::time::timeout(Duration::from_secs(90), healthy).await });
    let last = last.expect("it sees all of them").unwrap();
    let counts = || colony.block_on(client.figures()).unwrap().subscribers;
    until("the slow subscriber to be dropped", || {
        (counts().slow == 1).then_some(())
    });
    // Also one that does not even close its connection gives its place back.
    until("its place to be free", || (counts().open == 0).then_some(()));
    let status = colony.at("n1", &["status"]).with_code(0);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(
        status.contains("n2: subscribers dropped: 1 did not read, 0 fell behind"),
        "{status}"
    );
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    // It ends: with what was under way, or with an error of the connection.
    let ended = slow.read_to_end(&mut rest);
    let waits = |error: &std::io::Error| matches!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!ended.as_ref().is_err_and(waits), "{ended:?}");

    // What was first is no longer kept: whoever comes with an old cursor is told so, with a code and what to do.
    let told = |arguments: &[&str], code: i32, word: &str| {
        let ran = colony.at("n3", &[arguments, &["--json"]].concat()).with_code(code);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["code"], word, "{ran}");
        error["message"].as_str().unwrap().to_owned()
    };
    let message = told(&["events", "--after", "0"], 4, "CURSOR_EXPIRED");
    assert!(message.contains("begin with a snapshot"), "{message}");
    let message = told(&["memory", "watch", "k", "--after", "0"], 4, "COMPACTED");
    assert!(message.contains("no longer kept"), "{message}");
    told(&["events", "--after", "99999999"], 1, "CURSOR_AHEAD");
    let newest = last.expect("it has seen some").to_string();
    let events = colony.at("n3", &["events", "--after", &newest]).with_code(0);
    assert!(events.stdout.is_empty(), "{events}");
}

#[test]
fn the_command_line_shows_the_state_and_what_follows_and_what_an_agent_needs() {
    let colony = Colony::start("prime");
    let at = |node: &str, arguments: &[&str]| {
        let ran = colony.at(node, arguments).with_code(0);
        String::from_utf8(ran.stdout).unwrap()
    };
    at("n1", &["memory", "put", "rules/tone", "be brief", "--tag", "pinned"]);
    at("n2", &["memory", "put", "plan/title", "x"]);
    at("n3", &["memory", "put", "plan/title", "y"]);
    let task = at("n1", &["task", "add", "Move the parser", "--quiet"])
        .trim()
        .to_owned();

    // The state, then what happens: nothing falls between, although it happens at another node.
    let state = at("n2", &["events", "--snapshot", "memory,tasks"]);
    let lines: Vec<&str> = state.lines().collect();
    assert_eq!(lines.len(), 4, "{state}");
    assert!(lines[0].ends_with("plan/title at revision 2: 1 B"), "{state}");
    assert!(lines[1].ends_with("rules/tone at revision 1: 8 B #pinned"), "{state}");
    assert!(
        lines[2].ends_with(&format!("task {task} is pending: Move the parser")),
        "{state}"
    );
    let cursor = lines[3].strip_suffix("  current").unwrap();
    let claimed = at("n3", &["task", "claim", "--json"]);
    let claimed: serde_json::Value = serde_json::from_str(&claimed).unwrap();
    let follow = [
        "events",
        "--after",
        cursor,
        "--follow",
        "--type",
        "task_claimed",
        "--limit",
        "1",
    ];
    assert!(at("n2", &follow).contains(&format!("claimed task {task}")));
    let about = [
        "events",
        "--subject",
        &format!("task:{task}"),
        "--since",
        "1h",
        "--type",
        "task_added",
    ];
    assert_eq!(at("n1", &about).lines().count(), 1);
    assert_eq!(at("n1", &["events", "--until", "1h"]), "");
    let watched = at("n2", &["memory", "watch", "plan/", "--after", "0", "--limit", "2"]);
    assert!(
        watched
            .lines()
            .all(|line| line.contains("changed plan/title to revision ")),
        "{watched}"
    );

    // The token comes from the environment as well: it is nothing to be seen in a list of processes.
    let prime = |arguments: &[&str]| {
        let mut command = colony.command_at("n2", &[&["prime"][..], arguments].concat());
        let ran =
            crate::colony::Ran::of(command.env("QUEENRIGHT_TOKEN", claimed["token"].as_str().unwrap())).with_code(0);
        String::from_utf8(ran.stdout).unwrap()
    };
    let text = prime(&["--agent", "ann"]);
    let fence = claimed["tasks"][0]["fence"].to_string();
    assert!(text.contains(&format!("  {task} fence {fence} attempt 1")), "{text}");
    assert!(text.contains("  rules/tone r1 8 B:\n    be brief\n"), "{text}");
    assert!(text.contains(" changed key:plan/title x2 by cli\n"), "{text}");
    assert!(
        text.contains(&format!("queenright task finish {task} --fence {fence}")),
        "{text}"
    );
    assert!(text.len() <= 8_192, "{text}");
    let short: serde_json::Value = serde_json::from_str(&prime(&["--bytes", "2048", "--json"])).unwrap();
    assert_eq!(short["claims"]["items"][0]["task"], task.as_str());
}
