//! Tasks through the command line and the doors of real nodes: one holder, fences, leases that end, races.

use serde_json::Value;

use crate::colony::{Colony, Ran, refused, until};

impl Colony {
    fn task(&self, node: &str, arguments: &[&str]) -> Ran {
        self.at(node, &[&["task"], arguments, &["--json"]].concat())
    }

    fn task_json(&self, node: &str, arguments: &[&str]) -> Value {
        self.task(node, arguments).with_code(0).json()
    }

    /// The id of a task that was just added.
    fn add(&self, title: &str, flags: &[&str]) -> String {
        let added = self.task_json("n1", &[&["add", title], flags].concat());
        added["tasks"][0]["task"].as_str().expect("it has an id").to_owned()
    }

    /// The code and the details of a refusal that must have this exit code.
    #[track_caller]
    fn refusal(&self, node: &str, arguments: &[&str], code: i32) -> String {
        let arguments = [&["task"], arguments].concat();
        refused(&mut self.command_at(node, &arguments), code)
    }
}

/// The token and the fence of a claim of one task.
fn held(claim: &Value) -> (String, String) {
    let token = claim["token"].as_str().expect("it has a token").to_owned();
    (token, claim["tasks"][0]["fence"].to_string())
}

#[test]
fn a_task_goes_from_hand_to_hand_and_only_its_holder_finishes_it() {
    let colony = Colony::start("tasks");
    let task = colony.add(
        "Move the parser",
        &["--kind", "refactor", "--payload", r#"{"file": "p.rs"}"#],
    );
    assert_eq!(
        colony.task("n2", &["claim", "--kind", "other"]).with_code(5).json()["tasks"],
        Value::Array(vec![])
    );

    let claim = colony.task_json("n2", &["claim", "--kind", "refactor"]);
    assert_eq!(claim["tasks"][0]["task"], task.as_str());
    assert_eq!(claim["tasks"][0]["payload"]["file"], "p.rs");
    let (token, fence) = held(&claim);
    let line = colony.refusal("n3", &["claim", &task], 3);
    assert!(
        line.contains(&format!("task {task} is held by session s")) && line.contains("(cli) of cli (attempt 1)"),
        "{line}"
    );

    let owned = ["--fence", &fence, "--token", &token];
    colony.task_json("n3", &[&["accept", &task], &owned[..]].concat());
    colony.task_json(
        "n1",
        &[&["finish", &task, "--outcome", "released"], &owned[..]].concat(),
    );
    // The first claim of all that wait.
    let next = colony.task_json("n1", &["claim"]);
    let (next_token, next_fence) = held(&next);
    assert_eq!(next["tasks"][0]["attempt"], 2);
    let line = colony.refusal("n2", &[&["finish", &task], &owned[..]].concat(), 4);
    assert!(
        line.contains(&format!("fence {fence} does not hold task {task}")),
        "{line}"
    );

    let owned = ["--fence", &next_fence, "--token", &next_token];
    let finish = [&["finish", &task, "--result", "\"moved\""], &owned[..]].concat();
    let once = [&finish[..], &["--idempotency-key", "once"]].concat();
    let finished = colony.task_json("n2", &once);
    assert_eq!(
        colony.task_json("n3", &once),
        finished,
        "a repeat is answered as the first"
    );
    let line = colony.refusal("n2", &finish, 3);
    assert!(line.contains(&format!("task {task} is done")), "{line}");
    let line = colony.refusal("n2", &[&["finish", "999999-0"], &owned[..]].concat(), 1);
    assert!(line.contains("no task has the id 999999-0"), "{line}");

    let shown = colony.task_json("n1", &["show", &task]);
    assert_eq!(
        (&shown["state"], &shown["finished"]["result"]),
        (&"done".into(), &"moved".into())
    );
    assert_eq!(shown["history"][0]["reason"], "its owner gave it back");
    let list = colony.task_json("n2", &["list", "--state", "done"]);
    assert_eq!(
        (&list["tasks"][0]["task"], &list["finished"]),
        (&task.as_str().into(), &1.into())
    );
    colony.same_digest();
}

#[test]
fn a_session_that_ends_makes_its_task_free_and_nothing_needs_to_happen_for_it() {
    let colony = Colony::start("leases");
    let task = colony.add("short", &[]);
    let claim = colony.task_json("n1", &["claim", &task, "--lease", "10"]);
    let (token, fence) = held(&claim);
    // Reading changes nothing: that the session ends is its node's own doing, that the task returns the leader's.
    until("the session ends", || {
        let shown = colony.task_json("n2", &["show", &task, "--consistency", "local"]);
        (shown["state"] == "pending").then_some(())
    });
    let line = colony.refusal("n3", &["accept", &task, "--fence", &fence, "--token", &token], 4);
    assert!(line.contains("nobody does (attempt 1)"), "{line}");
    let shown = colony.task_json("n1", &["show", &task]);
    assert_eq!(shown["history"][0]["reason"], "its session gave no sign of life");
}

#[test]
fn a_task_is_done_with_its_proposal_or_stays_with_its_holder() {
    let colony = Colony::start("finishes");
    let task = colony.add("with a change", &["--name", "one"]);
    let again = colony.task_json("n3", &["add", "another title", "--name", "one"]);
    assert_eq!(again["tasks"][0], serde_json::json!({"task": task, "existing": true}));
    let (token, fence) = held(&colony.task_json("n1", &["claim", &task]));
    colony.at("n1", &["memory", "put", "k", "1"]).with_code(0);
    let finish = |revision: u64| {
        let file = colony.folder().join("proposal.json");
        let proposal = serde_json::json!({
            "reads": [{"key": "k", "revision": revision}], "writes": [{"key": "k", "put": "2"}],
        });
        std::fs::write(&file, proposal.to_string()).unwrap();
        let file = file.to_str().unwrap().to_owned();
        colony.task(
            "n2",
            &[
                "finish",
                &task,
                "--fence",
                &fence,
                "--token",
                &token,
                "--proposal",
                &file,
            ],
        )
    };
    let lost = finish(0).with_code(3).json();
    assert_eq!(
        (&lost["verdict"], &lost["conflicts"][0]["key"]),
        (&"lost".into(), &"k".into())
    );
    assert_eq!(colony.task_json("n3", &["show", &task])["state"], "leased");
    assert_eq!(finish(1).with_code(0).json()["revisions"], serde_json::json!([2]));
    assert_eq!(colony.task_json("n3", &["show", &task])["state"], "done");
    assert_eq!(colony.at("n3", &["memory", "get", "k"]).with_code(0).stdout, b"2");
}

#[test]
fn needs_terms_and_the_dead_letter_list_through_the_command_line() {
    let colony = Colony::start("terms");
    let low = colony.add("later", &["--priority", "low"]);
    let first = colony.add("first", &["--name", "first", "--priority", "high", "--retries", "1"]);
    let second = colony.add("second", &["--need", "first", "--label", "docs"]);
    let shown = colony.task_json("n3", &["show", &second]);
    assert_eq!(
        (&shown["state"], &shown["blocked_by"][0]["task"]),
        (&"blocked".into(), &first.as_str().into())
    );
    let line = colony.refusal("n2", &["claim", &second], 3);
    assert!(line.contains(&format!("it needs {first} (pending)")), "{line}");

    // The one that matters most comes first, and its only attempt fails.
    let (token, fence) = held(&colony.task_json("n2", &["claim"]));
    let owned = ["--fence", &fence, "--token", &token];
    let update = ["update", &first, "--progress", "40", "--checkpoint", "7"];
    colony.task_json("n1", &[&update, &owned[..]].concat());
    let fail = [
        "finish",
        &first,
        "--outcome",
        "failed",
        "--retry",
        "--message",
        "no network",
    ];
    colony.task_json("n3", &[&fail, &owned[..]].concat());
    let dead = colony.at("n1", &["dlq", "list", "--json"]).with_code(0).json();
    assert_eq!(dead["tasks"][0]["task"], first.as_str());
    let shown = colony.at("n2", &["dlq", "show", &first, "--json"]).with_code(0).json();
    assert_eq!(
        (&shown["history"][0]["reason"], &shown["checkpoint"]),
        (&"it failed: no network".into(), &7.into())
    );
    colony.at("n3", &["dlq", "requeue", &first, "--json"]).with_code(0);
    assert_eq!(
        colony.at("n1", &["dlq", "list", "--json"]).with_code(5).json()["tasks"],
        Value::Array(vec![])
    );

    let claim = colony.task_json("n1", &["claim"]);
    assert_eq!(
        (&claim["tasks"][0]["task"], &claim["tasks"][0]["checkpoint"]),
        (&first.as_str().into(), &7.into())
    );
    let (token, fence) = held(&claim);
    colony.task_json("n1", &["finish", &first, "--fence", &fence, "--token", &token]);
    // That it is released is the leader's own doing.
    until("the second is pending", || {
        let shown = colony.task_json("n2", &["show", &second, "--consistency", "local"]);
        (shown["state"] == "pending").then_some(())
    });
    let ready = colony.task_json("n3", &["ready"]);
    assert_eq!(ready["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(colony.task_json("n3", &["claim"])["tasks"][0]["task"], second.as_str());
    assert_eq!(colony.task_json("n3", &["claim"])["tasks"][0]["task"], low.as_str());
    colony.same_digest();
}

#[test]
fn a_task_is_paused_approved_cancelled_and_its_queue_stopped_by_others() {
    let colony = Colony::start("control");
    let task = colony.add("deploy", &["--queue", "ops", "--approval"]);
    assert_eq!(
        colony.task("n1", &["claim", "--queue", "ops"]).with_code(5).json()["tasks"],
        Value::Array(vec![])
    );
    assert_eq!(colony.task_json("n2", &["pause", &task])["state"], "paused");
    assert_eq!(colony.task_json("n3", &["resume", &task])["state"], "awaiting-approval");
    assert_eq!(colony.task_json("n1", &["approve", &task])["state"], "pending");
    let set = |paused: &str| {
        colony
            .at("n2", &["queue", "set", "ops", "--paused", paused, "--json"])
            .with_code(0)
    };
    set("true");
    colony.task("n1", &["claim", "--queue", "ops"]).with_code(5);
    let queues = colony.at("n3", &["queue", "list", "--json"]).with_code(0).json();
    assert_eq!(
        (&queues["queues"][0]["queue"], &queues["queues"][0]["paused_by"]),
        (&"ops".into(), &"cli".into())
    );
    set("false");
    let (token, fence) = held(&colony.task_json("n1", &["claim", "--queue", "ops"]));
    let owned = ["--fence", &fence, "--token", &token];
    assert_eq!(
        colony.task_json("n2", &["cancel", &task, "--reason", "too late"])["state"],
        "leased"
    );
    let accepted = colony.task_json("n1", &[&["accept", &task], &owned[..]].concat());
    assert_eq!(accepted["cancel"], true);
    colony.task_json("n1", &[&["release", &task], &owned[..]].concat());
    let shown = colony.task_json("n3", &["show", &task]);
    assert_eq!(
        (&shown["state"], &shown["closed"]["reason"]),
        (&"cancelled".into(), &"cli cancelled it: too late".into())
    );
    colony.task_json("n3", &["drop", &task]);
    let line = colony.refusal("n1", &["show", &task], 1);
    assert!(line.contains(&format!("no task has the id {task}")), "{line}");
    colony.same_digest();
}
