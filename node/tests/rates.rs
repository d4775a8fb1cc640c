//! Rates through the command line and the doors of real nodes: one bucket for all of them.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::colony::{Colony, refused, until};

#[test]
fn a_rate_is_one_for_all_nodes_and_who_waits_gets_a_task_when_its_tokens_are_there() {
    let colony = Colony::start("rates");
    let json = |node: &str, arguments: &[&str]| -> Value {
        let arguments = [arguments, &["--json"]].concat();
        colony.at(node, &arguments).with_code(0).json()
    };
    let refusal = |arguments: &[&str], code| refused(&mut colony.command_at("n1", arguments), code);
    let add = ["task", "add", "Ask", "--resource", "rate:api", "--resource", "slot:gpu"];
    let line = refusal(&add, 1);
    assert!(line.contains(r#"the project has no rate "api""#), "{line}");

    json("n1", &["rate", "set", "api", "1/h"]);
    let add = |title: &str, resource: &str| {
        let added = json("n1", &["task", "add", title, "--resource", resource]);
        added["tasks"][0]["task"].as_str().expect("it has an id").to_owned()
    };
    let line = refusal(&["task", "add", "Ask", "--resource", "rate:api=2"], 1);
    assert!(line.contains("rate:api: 2 is over the limit of 1"), "{line}");
    let (first, second) = (add("Ask", "rate:api"), add("Ask again", "rate:api=1"));
    let shown = json("n3", &["task", "show", &second]);
    assert_eq!(
        shown["terms"]["resources"],
        json!([{ "resource": "rate:api", "mode": "exclusive" }]),
        "{shown}"
    );

    // What one node gave away no other has.
    let claim = json("n2", &["task", "claim"]);
    assert_eq!(claim["tasks"][0]["task"], first.as_str());
    colony.at("n3", &["task", "claim"]).with_code(5);
    let line = refusal(&["task", "claim", &second], 75);
    assert!(line.contains("rate:api: it has 1 tokens in "), "{line}");
    let rate = json("n3", &["rate", "show", "api"]);
    let fields = ["tokens", "interval_ms", "burst", "left"].map(|field| rate[field].clone());
    assert_eq!(fields, [json!(1), json!(3_600_000), json!(1), json!(0)]);
    let line = refusal(&["rate", "delete", "api"], 3);
    assert!(line.contains(r#"rate "api" is named by 2 open tasks"#), "{line}");

    let mut waiter = colony.command_at("n3", &["task", "claim", "--wait", "60", "--json"]);
    let waiter = waiter.stdout(Stdio::piped()).spawn().expect("the binary was built");
    until("somebody waits", || {
        let queues = json("n1", &["queue", "list"]);
        (queues["queues"][0]["waiting"] == 1).then_some(())
    });
    json("n1", &["rate", "set", "api", "20/s", "--burst", "2"]);
    let claimed: Value = serde_json::from_slice(&waiter.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(claimed["tasks"][0]["task"], second.as_str(), "{claimed}");

    json("n2", &["rate", "set", "spare", "5/10s"]);
    let rates = json("n3", &["rate", "list"])["rates"].clone();
    let names = [0, 1].map(|place| rates[place]["rate"].clone());
    assert_eq!(
        (names, &rates[1]["interval_ms"]),
        ([json!("api"), json!("spare")], &json!(10_000))
    );
    json("n1", &["rate", "delete", "spare"]);
    refusal(&["rate", "show", "spare"], 1);
    refusal(&["rate", "set", "api", "fast"], 2);
    colony.same_digest();
}
