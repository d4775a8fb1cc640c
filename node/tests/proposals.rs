//! Proposals, conditions and events through the command line, at one node and another.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::colony::{Colony, Ran};

fn propose(colony: &Colony, node: &str, body: &Value, more: &[&str]) -> Ran {
    let arguments = [&["propose", "-", "--json"], more].concat();
    colony.fed(node, &arguments, body.to_string().as_bytes())
}

#[test]
fn a_proposal_commits_or_changes_nothing_and_names_what_it_lost_to() {
    let colony = Colony::start("proposals");
    let body = json!({
        "reads": [{ "key": "a", "revision": 0, "absent": true }],
        "writes": [{ "key": "a", "put": "1" }, { "key": "b", "put_base64": "/w==", "tags": ["t"] }],
    });
    let committed = propose(&colony, "n1", &body, &[]).with_code(0).json();
    assert_eq!(
        (&committed["verdict"], &committed["revisions"]),
        (&"committed".into(), &json!([1, 1]))
    );
    assert_eq!(colony.at("n2", &["memory", "get", "b"]).with_code(0).stdout, [0xff]);

    let lost = propose(&colony, "n3", &body, &[]).with_code(3).json();
    assert_eq!(lost["verdict"], "lost");
    assert_eq!(lost["conflicts"][0]["key"], "a");
    assert_eq!(lost["conflicts"][0]["winner"], committed["seq"]);
    assert_eq!(lost["reread"][0]["revision"], 1);
    let info = colony.at("n2", &["memory", "get", "b", "--json"]).with_code(0).json();
    assert_eq!(
        (&info["revision"], &info["tags"]),
        (&1.into(), &json!(["t"])),
        "nothing was changed"
    );

    let dry = json!({ "reads": [{ "key": "a", "revision": 1 }], "writes": [{ "key": "a", "delete": true }], "dry_run": true });
    assert_eq!(
        propose(&colony, "n2", &dry, &[]).with_code(0).json()["verdict"],
        "committed"
    );
    assert_eq!(colony.at("n1", &["memory", "get", "a"]).with_code(0).stdout, b"1");
}

#[test]
fn a_command_repeated_under_its_key_has_the_first_outcome_at_every_node() {
    let mut colony = Colony::start("repeated");
    let body = json!({ "reads": [{ "key": "k", "revision": 0 }], "writes": [{ "key": "k", "put": "x" }] });
    let once = |colony: &Colony, node: &str, body: &Value| propose(colony, node, body, &["--idempotency-key", "one"]);
    let first = once(&colony, "n1", &body).with_code(0).json();
    for node in ["n1", "n2", "n3"] {
        assert_eq!(once(&colony, node, &body).with_code(0).json(), first, "{node}");
    }
    let other = json!({ "writes": [{ "key": "k", "put": "y" }] });
    let refused = once(&colony, "n2", &other).with_code(3);
    assert!(refused.stderr.contains("IDEMPOTENCY_KEY_CONFLICT"), "{refused}");

    let put = ["memory", "put", "n", "1", "--json", "--idempotency-key", "two"];
    let first_put = colony.at("n2", &put).with_code(0).json();
    // The key is part of what the nodes agree on, so it is known after all of them were killed.
    colony.kill_all();
    colony.start_all();
    assert_eq!(once(&colony, "n3", &body).with_code(0).json(), first);
    assert_eq!(colony.at("n1", &put).with_code(0).json(), first_put);
    assert_eq!(first_put["revision"], 1);
}

#[test]
fn a_condition_that_does_not_hold_is_a_conflict_and_changes_nothing() {
    let colony = Colony::start("conditions");
    let at = |node: &str, line: &str| colony.at(node, &line.split(' ').collect::<Vec<_>>());
    at("n1", "memory put k one --if-absent").with_code(0);
    at("n2", "memory put k two --if-absent").with_code(3);
    at("n2", "memory put k two --if-revision 7").with_code(3);
    at("n2", "memory put k two --if-revision 1").with_code(0);
    at("n3", "memory delete k --if-revision 1").with_code(3);
    at("n3", "memory delete k --if-revision 2").with_code(0);
    // The revision survives the deletion.
    at("n1", "memory put k back --if-revision 0").with_code(3);
    at("n1", "memory put k back --if-revision 3").with_code(0);
    assert_eq!(at("n2", "memory get k --json").with_code(0).json()["revision"], 4);
}

#[test]
fn a_batch_is_judged_by_its_policy() {
    let colony = Colony::start("batches");
    let check = |policy: &str, code: i32, expected: [&str; 3]| {
        let (k, other) = (format!("{policy}/k"), format!("{policy}/other"));
        let write = |key: &str, value: &str| json!({ "writes": [{ "key": key, "put": value, "before": 0 }] });
        let body = json!({ "policy": policy, "proposals": [write(&k, "x"), write(&k, "x"), write(&other, "y")] });
        let outcome = propose(&colony, "n2", &body, &[]).with_code(code).json();
        let verdicts = outcome["verdicts"].as_array().unwrap();
        let verdicts: Vec<_> = verdicts
            .iter()
            .map(|verdict| verdict["verdict"].as_str().unwrap())
            .collect();
        assert_eq!(verdicts, expected, "{policy}");
        let stored = |key: &str, lost: bool| {
            colony.at("n3", &["memory", "get", key]).with_code(i32::from(lost));
        };
        stored(&k, !expected[..2].contains(&"committed"));
        stored(&other, expected[2] != "committed");
    };
    check("first", 3, ["committed", "lost", "committed"]);
    check("merge", 0, ["committed", "committed", "committed"]);
    check("exclude", 3, ["lost", "lost", "committed"]);
    check("reject", 3, ["lost", "lost", "lost"]);

    let add = json!({ "writes": [{ "key": "sum", "increment": 2 }] });
    let body = json!({ "policy": "reject", "proposals": [add, add, add] });
    propose(&colony, "n1", &body, &[]).with_code(0);
    assert_eq!(colony.at("n2", &["memory", "get", "sum"]).with_code(0).stdout, b"6");
}

/// A child that is killed if the test ends before it.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_follower_sees_the_changes_made_at_other_nodes_in_their_order() {
    let colony = Colony::start("followed");
    colony.at("n1", &["memory", "put", "before", "x"]).with_code(0);
    let known = colony.at("n1", &["events", "--json"]).with_code(0);
    let last: Value =
        serde_json::from_slice(known.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let cursor = last["cursor"].as_str().unwrap().to_owned();

    let follow = [
        "events", "--follow", "--json", "--prefix", "k", "--limit", "12", "--after", &cursor,
    ];
    let mut child = colony.command_at("n3", &follow).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut follower = Follower(child);
    for number in 0..11 {
        let (node, key) = (["n1", "n2"][number % 2], format!("k{}", number % 4));
        colony.at(node, &["memory", "put", &key, "x"]).with_code(0);
        colony.at(node, &["memory", "put", "other", "x"]).with_code(0);
    }
    colony.at("n2", &["memory", "delete", "k0"]).with_code(0);
    let events: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(follower.0.wait().unwrap().code(), Some(0));

    let told: Vec<_> = events
        .iter()
        .map(|event| (event["key"].as_str().unwrap(), event["revision"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("k0", 1),
        ("k1", 1),
        ("k2", 1),
        ("k3", 1),
        ("k0", 2),
        ("k1", 2),
        ("k2", 2),
        ("k3", 2),
        ("k0", 3),
        ("k1", 3),
        ("k2", 3),
        ("k0", 4),
    ];
    assert_eq!(told, expected);
    assert_eq!(events[11]["deleted"], true);
    let positions: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(
        positions.is_sorted() && positions[0] > last["seq"].as_u64().unwrap(),
        "{positions:?}"
    );
}
