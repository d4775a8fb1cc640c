//! Reservations through the command line and the doors of real nodes: who holds what, who waits, whose writes lose.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::colony::{Colony, Ran, refused, until};
use crate::run::Workers;

impl Colony {
    fn reserve(&self, node: &str, arguments: &[&str]) -> Ran {
        self.at(node, &[&["reserve"], arguments, &["--json"]].concat())
    }

    fn reserve_json(&self, node: &str, arguments: &[&str]) -> Value {
        self.reserve(node, arguments).with_code(0).json()
    }

    #[track_caller]
    fn not_reserved(&self, node: &str, arguments: &[&str], code: i32) -> String {
        let arguments = [&["reserve"], arguments].concat();
        refused(&mut self.command_at(node, &arguments), code)
    }
}

/// The id and the token of what was just reserved.
fn mine(acquired: &Value) -> (String, String) {
    let text = |field: &str| acquired[field].as_str().expect("it has one").to_owned();
    (text("reservation"), text("token"))
}

#[test]
fn what_one_reserves_on_a_node_is_reserved_on_all_and_the_refusal_says_what_is_free() {
    let colony = Colony::start("reservations");
    let add = ["add", "src/*/mod.rs", "key:plan", "--reason", "move the parser"];
    let (id, token) = mine(&colony.reserve_json("n1", &add));
    let held = colony
        .reserve("n2", &["add", "src/auth/*.rs", "docs/"])
        .with_code(3)
        .json();
    let conflict = &held["conflicts"][0];
    assert_eq!(conflict["reservation"], id.as_str());
    assert_eq!(
        (&conflict["wanted"], &conflict["resource"], &conflict["mode"]),
        (
            &json!("file:src/auth/*.rs"),
            &json!("file:src/*/mod.rs"),
            &json!("exclusive")
        )
    );
    assert_eq!(
        (&conflict["holder"]["author"], &held["free"]),
        (&json!("cli"), &json!(["file:docs/"]))
    );

    let checked = colony.reserve("n3", &["check", "src/auth/mod.rs"]).with_code(3).json();
    assert_eq!(checked["conflicts"][0]["reservation"], id.as_str());
    let own = colony.reserve_json("n3", &["check", "src/auth/mod.rs", "--token", &token]);
    assert_eq!(own["conflicts"], json!([]));
    let list = colony.reserve_json("n2", &["list", "src/auth/mod.rs"]);
    assert_eq!(
        (
            &list["reservations"][0]["reservation"],
            &list["reservations"][0]["reason"]
        ),
        (&json!(id), &json!("move the parser"))
    );

    // A write of somebody else loses on every node; the holder's own does not.
    let line = refused(&mut colony.command_at("n2", &["memory", "put", "plan", "mine"]), 3);
    assert!(line.contains("plan: reserved by session"), "{line}");
    colony
        .at("n3", &["memory", "put", "plan", "theirs", "--token", &token])
        .with_code(0);
    let file = colony.folder().join("proposal.json");
    std::fs::write(&file, r#"{"writes": [{"key": "src/auth/mod.rs", "put": "x"}]}"#).unwrap();
    let propose = ["propose", file.to_str().unwrap(), "--json"];
    let lost = colony.at("n1", &propose).with_code(3).json();
    assert_eq!(
        (&lost["conflicts"][0]["kind"], &lost["conflicts"][0]["holder"]["author"]),
        (&json!("reservation"), &json!("cli"))
    );
    colony
        .at("n1", &[&propose[..], &["--token", &token]].concat())
        .with_code(0);
    let folder = colony.folder().join("site");
    std::fs::create_dir_all(folder.join("auth")).unwrap();
    std::fs::write(folder.join("auth/mod.rs"), "y").unwrap();
    let import = ["memory", "import", folder.to_str().unwrap(), "--prefix", "src/"];
    let lost = colony.at("n2", &import).with_code(3).stderr;
    assert!(lost.contains("src/auth/mod.rs is reserved by "), "{lost}");
    colony
        .at("n3", &[&import[..], &["--token", &token]].concat())
        .with_code(0);
    colony.reserve_json("n1", &["advisory", "on"]);
    colony.at("n2", &propose).with_code(0);
    colony.reserve_json("n1", &["advisory", "off"]);

    colony.reserve_json("n3", &["renew", &id, "--token", &token, "--ttl", "60"]);
    let (_, other) = mine(&colony.reserve_json("n2", &["add", "other/"]));
    let line = colony.not_reserved("n3", &["renew", &id, "--token", &other], 4);
    assert!(line.contains(&format!("reservation {id} is held by session")), "{line}");
    colony.reserve_json("n2", &["release", "src/*/mod.rs", "--token", &token]);
    colony.reserve_json("n2", &["add", "src/auth/*.rs"]);
    colony.reserve_json("n1", &["release", "--all", "--token", &token]);
    // Its session was opened for it, and has closed with it.
    let line = colony.not_reserved("n1", &["renew", &id, "--token", &token], 4);
    assert!(line.contains("has ended"), "{line}");
    let line = colony.not_reserved("n1", &["add", "../etc"], 1);
    assert!(line.contains("has a .. segment"), "{line}");
    colony.same_digest();
}

#[test]
fn who_waits_is_answered_by_its_own_node_when_it_is_its_turn() {
    let colony = Colony::start("waiting");
    let (first, token) = mine(&colony.reserve_json("n1", &["add", "slot:build"]));
    let wait = |node: &str| {
        let mut command = colony.command_at(node, &["reserve", "add", "slot:build", "--wait", "60", "--json"]);
        command.stdout(Stdio::piped()).spawn().expect("the binary was built")
    };
    let waiting = |count: u64| {
        let list = colony.reserve_json("n3", &["list", "--waiting"]);
        (list["waiting"] == count).then_some(list)
    };
    let second = wait("n2");
    until("the second waits", || waiting(1));
    let third = wait("n3");
    let line = until("the third waits", || waiting(2));
    assert_eq!(line["reservations"][0]["state"], "waiting");

    colony.reserve_json("n1", &["release", &first, "--token", &token]);
    let granted: Value = serde_json::from_slice(&second.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(granted["verdict"], "acquired");
    let (second, _) = mine(&granted);
    colony.reserve_json("n1", &["force", &second, "--reason", "it is stuck"]);
    let granted: Value = serde_json::from_slice(&third.wait_with_output().unwrap().stdout).unwrap();
    assert!(granted["fence"].is_u64(), "{granted}");

    let events = colony.at("n2", &["events", "--json"]).with_code(0);
    let events = String::from_utf8(events.stdout).unwrap();
    assert!(events.contains("cli took it away: it is stuck"), "{events}");
    let vain = colony
        .reserve("n2", &["add", "slot:build", "--wait", "1"])
        .with_code(3)
        .json();
    assert_eq!((&vain["verdict"], &vain["free"]), (&json!("held"), &json!([])));
    colony.reserve_json("n2", &["slots", "build", "2"]);
    colony.reserve_json("n2", &["add", "slot:build"]);
    let slots = colony.reserve_json("n1", &["slots"]);
    assert_eq!(
        slots["slots"][0],
        json!({"name": "build", "capacity": 2, "held": 2, "waiting": 0})
    );
    colony.same_digest();
}

#[test]
fn reservations_survive_the_restart_of_all_nodes_and_end_by_themselves() {
    let mut colony = Colony::start("restart");
    let (kept, token) = mine(&colony.reserve_json("n1", &["add", "src/", "--ttl", "3600"]));
    colony.reserve_json("n1", &["slots", "gpu", "3"]);
    let (short, _) = mine(&colony.reserve_json("n2", &["add", "docs/", "--ttl", "1"]));
    // Reading changes nothing: that it ends is the leader's own doing.
    until("the short one ends", || {
        let list = colony.reserve_json("n3", &["list", "--consistency", "local"]);
        let ids: Vec<&Value> = list["reservations"]
            .as_array()?
            .iter()
            .map(|one| &one["reservation"])
            .collect();
        (!ids.contains(&&json!(short))).then_some(())
    });
    colony.kill_all();
    colony.start_all();
    let list = colony.reserve_json("n2", &["list"]);
    assert_eq!(
        (&list["total"], &list["reservations"][0]["reservation"]),
        (&json!(1), &json!(kept))
    );
    assert_eq!(colony.reserve_json("n3", &["slots"])["slots"][0]["capacity"], 3);
    colony.reserve_json("n3", &["release", &kept, "--token", &token]);
    colony.same_digest();
}

#[test]
fn what_a_killed_worker_had_reserved_with_its_task_goes_to_who_waits() {
    let colony = Colony::start("killed-holder");
    let add = |title: &str, more: &[&str]| {
        let add = ["task", "add", title, "--resource", "slot:gpu", "--json"];
        let added = colony.at("n1", &[&add[..], more].concat()).with_code(0).json();
        added["tasks"][0]["task"].as_str().expect("it has an id").to_owned()
    };
    let task = add("Train", &["--resource", "models/**"]);
    let mut workers = Workers::new(&colony);
    let mut worker = colony.command();
    let door = colony.config().node("n2").unwrap().http.to_string();
    worker.args(["run", "--node", &door, "--lease", "10", "--", "sleep", "1000"]);
    let worker = workers.start_command(&mut worker);
    let held = until("the worker has its task", || {
        let list = colony.reserve_json("n3", &["list"]);
        list["reservations"].get(0).cloned()
    });
    assert_eq!(
        (&held["task"], &held["resources"][0]["resource"], &held["until_ms"]),
        (&json!(task), &json!("slot:gpu"), &Value::Null)
    );
    let line = refused(&mut colony.command_at("n1", &["memory", "put", "models/a", "x"]), 3);
    assert!(line.contains("models/a: reserved by session"), "{line}");
    // Nobody gets another task for which it is not free.
    let other = add("Train more", &[]);
    colony.at("n3", &["task", "claim"]).with_code(5);
    let line = refused(&mut colony.command_at("n3", &["task", "claim", &other]), 3);
    assert!(line.contains("slot:gpu is held (exclusive) by session"), "{line}");

    let mut waiter = colony.command_at("n1", &["reserve", "add", "slot:gpu", "--wait", "80", "--json"]);
    let waiter = waiter.stdout(Stdio::piped()).spawn().expect("the binary was built");
    until("somebody waits", || {
        (colony.reserve_json("n2", &["list", "--waiting"])["waiting"] == 1).then_some(())
    });
    workers.kill(worker);
    let granted: Value = serde_json::from_slice(&waiter.wait_with_output().unwrap().stdout).unwrap();
    assert!(granted["fence"].is_u64(), "{granted}");
    workers.nothing_is_left();

    colony.at("n2", &["task", "claim"]).with_code(5);
    let (id, token) = mine(&granted);
    colony.reserve_json("n2", &["release", &id, "--token", &token]);
    let claim = colony.at("n2", &["task", "claim", "--json"]).with_code(0).json();
    assert_eq!(
        (
            &claim["tasks"][0]["task"],
            &claim["tasks"][0]["resources"][1]["resource"]
        ),
        (&json!(task), &json!("file:models/**"))
    );
    colony.same_digest();
}
