//! `--dry-run` of what changes the administration: it says what would be, refuses what would be refused, and changes nothing.

use serde_json::Value;

use crate::colony::Colony;

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let mut colony = Colony::start("dry-run");
    let dry = |colony: &Colony, words: &[&str], code: i32| {
        let flags = [&["--json"], words, &["--dry-run"]].concat();
        // In front of the command of a pool's agents.
        let mut command = colony.command();
        command.env("QUEENRIGHT_NODE", colony.config().node("n1").unwrap().http_advertised());
        let ran = crate::colony::Ran::of(command.args(flags)).with_code(code);
        match code {
            0 => ran.json(),
            _ => Value::String(ran.stderr),
        }
    };
    let would = |value: Value| {
        assert_eq!(value["dry_run"], true, "{value}");
        (
            value["changes"].as_bool().unwrap(),
            value["would"].as_str().unwrap().to_owned(),
        )
    };

    let (changes, text) = would(dry(&colony, &["node", "drain", "n2"], 0));
    assert!(
        changes && text.contains("n2") && text.contains("would take no new work"),
        "{text}"
    );
    let (changes, text) = would(dry(&colony, &["node", "drain", "n2", "--off"], 0));
    assert!(!changes && text.contains("takes work already"), "{text}");
    dry(&colony, &["node", "drain", "n9"], 1);
    dry(&colony, &["node", "remove", "n2"], 3);
    dry(&colony, &["node", "replace", "n2"], 3);
    assert!(would(dry(&colony, &["leave"], 0)).1.contains("node n1"));

    let spawn = ["agent", "exec", "hand", "--queue", "none", "--", "true"];
    colony.at("n1", &spawn).with_code(0);
    for (verb, changes, text) in [
        ("pause", true, "would do nothing"),
        ("resume", false, "is not paused"),
        ("restart", true, "its next generation"),
        ("stop", true, "its 0 children would be stopped"),
    ] {
        let said = would(dry(&colony, &["agent", verb, "hand"], 0));
        assert!(said.0 == changes && said.1.contains(text), "{verb}: {said:?}");
        dry(&colony, &["agent", verb, "nobody"], 1);
    }
    let hand = colony
        .at("n1", &["agent", "show", "hand", "--json"])
        .with_code(0)
        .json();
    assert_eq!(
        (&hand["generation"], hand["state"] == "paused"),
        (&1.into(), false),
        "{hand}"
    );
    colony.at("n1", &["agent", "stop", "hand"]).with_code(0);
    dry(&colony, &["agent", "pause", "hand"], 3);
    assert!(!would(dry(&colony, &["agent", "stop", "hand"], 0)).0);

    assert!(would(dry(&colony, &["token", "create", "--name", "t", "--scope", "read"], 0)).0);
    dry(&colony, &["token", "revoke", "t"], 1);
    let list = colony.at("n1", &["token", "list", "--json"]).with_code(0).json();
    assert_eq!(list["tokens"].as_array().unwrap().len(), 0);
    colony
        .at("n1", &["token", "create", "--name", "t", "--scope", "read"])
        .with_code(0);
    dry(&colony, &["token", "create", "--name", "t", "--scope", "read"], 3);
    assert!(would(dry(&colony, &["token", "revoke", "t"], 0)).0);

    assert!(would(dry(&colony, &["project", "create", "p", "--tasks", "5"], 0)).0);
    dry(&colony, &["project", "limits", "p", "--tasks", "5"], 1);
    colony
        .at("n1", &["project", "create", "p", "--tasks", "5"])
        .with_code(0);
    dry(&colony, &["project", "create", "p"], 3);
    assert!(!would(dry(&colony, &["project", "limits", "p", "--tasks", "5"], 0)).0);
    assert!(would(dry(&colony, &["project", "limits", "p", "--tasks", "6"], 0)).0);
    dry(&colony, &["project", "destroy", "p"], 0);
    colony.at("n1", &["project", "status", "p"]).with_code(0);

    let secret = "--environment=KEY=secret";
    let mut command = colony.command();
    let node = colony.config().node("n1").unwrap().http_advertised();
    let set = [
        "--json",
        "pool",
        "set",
        "crew",
        "--max",
        "2",
        secret,
        "--dry-run",
        "--node",
        &node,
        "--",
        "true",
    ];
    let set = crate::colony::Ran::of(command.args(set)).with_code(0);
    assert!(!String::from_utf8_lossy(&set.stdout).contains("secret"), "{set}");
    assert!(would(set.json()).1.contains("crew"));
    assert!(!would(dry(&colony, &["pool", "remove", "crew"], 0)).0);
    dry(&colony, &["pool", "drain", "crew"], 1);
    let pools = colony.at("n1", &["pool", "list", "--json"]).with_code(0).json();
    assert_eq!(pools["pools"].as_array().unwrap().len(), 0);

    of_work(&colony, &|words, code| {
        let value = dry(&colony, words, code);
        match code {
            0 => {
                let (changes, text) = would(value);
                (changes, text)
            }
            _ => (false, value.as_str().unwrap().to_owned()),
        }
    });

    // Of a node that is down.
    colony.kill("n3");
    crate::colony::until("n3 is missed", || {
        let status = colony.status("n1")?;
        let down = status
            .nodes
            .iter()
            .any(|node| node.name == "n3" && node.applied.is_none());
        down.then_some(())
    });
    assert!(
        would(dry(&colony, &["node", "remove", "n3"], 0))
            .1
            .contains("would be gone")
    );
    let data = colony.folder().join("data");
    let (_, text) = would(dry(
        &colony,
        &["node", "replace", "n3", "--data", data.to_str().unwrap()],
        0,
    ));
    assert!(
        text.contains("would be set aside") && data.join("n3/identity").exists(),
        "{text}"
    );
    assert_eq!(colony.status("n1").unwrap().nodes.len(), 3);
}

/// Runs a command dry: whether it would do what it is for, and what it says.
type Dry<'a> = dyn Fn(&[&str], i32) -> (bool, String) + 'a;

/// Rates, budgets, queues, reservations, and the tasks of others.
fn of_work(colony: &Colony, dry: &Dry) {
    let at = |words: &[&str]| {
        let ran = colony.at("n2", &[words, &["--json"]].concat());
        ran.with_code(0).json()
    };
    let check = |words: &[&str], changes: bool, wanted: &str| {
        let (found, text) = dry(words, 0);
        assert!(found == changes && text.contains(wanted), "{words:?}: {found} {text}");
    };
    check(
        &["rate", "set", "r", "5/s"],
        true,
        "would be made: 5/s, at most 5 at once",
    );
    dry(&["rate", "delete", "r"], 1);
    at(&["rate", "set", "r", "5/s"]);
    check(&["rate", "set", "r", "5/s"], false, "is 5/s, at most 5 at once already");
    check(&["rate", "set", "r", "1/5s"], true, "instead of 5/s");
    check(&["rate", "delete", "r"], true, "would be deleted");
    assert_eq!(at(&["rate", "list"])["rates"][0]["tokens"], 5);

    check(
        &["budget", "set", "project", "--tokens", "9"],
        true,
        "would be set: 9 tokens",
    );
    dry(&["budget", "reset", "project"], 1);
    at(&["budget", "set", "project", "--tokens", "9"]);
    check(&["budget", "set", "project", "--tokens", "9"], false, "already");
    check(
        &["budget", "set", "project", "--time", "1h"],
        true,
        "instead of 9 tokens",
    );
    check(&["budget", "reset", "project"], true, "would count from 0");
    check(&["budget", "remove", "project"], true, "would bound nothing");
    assert_eq!(at(&["budget", "list"])["budgets"][0]["budget"]["limits"]["tokens"], 9);

    check(&["queue", "set", "q", "--paused", "false"], false, "is so already");
    let breaker = ["queue", "set", "q", "--breaker-failures", "2", "--policy", "random"];
    check(
        &breaker,
        true,
        "opens after 2 failures for 60000 ms, and hand out by random",
    );
    at(&breaker);
    check(&breaker, false, "is so already");
    check(&["queue", "set", "q", "--paused", "true"], true, "hand out nothing");
    assert_eq!(at(&["queue", "list"])["queues"][0].get("paused_by"), None);

    let held = at(&["reserve", "add", "src/**"]);
    let held = held["reservation"].as_str().unwrap();
    let force = ["reserve", "force", held, "--reason", "why"];
    check(&force, true, "would be taken away: file:src/**");
    dry(&["reserve", "force", "r999999-0", "--reason", "why"], 1);
    check(&["reserve", "slots", "gpu", "1"], false, "already");
    check(&["reserve", "slots", "gpu", "4"], true, "would have 4");
    check(&["reserve", "advisory", "off"], false, "already");
    check(&["reserve", "advisory", "on"], true, "would leave");
    let list = at(&["reserve", "list"]);
    assert_eq!((&list["total"], &list["advisory"]), (&1.into(), &false.into()));

    let added = at(&["task", "add", "work"]);
    let task = added["tasks"][0]["task"].as_str().unwrap();
    check(&["task", "steal", task], true, "which nobody holds, would be claimed");
    dry(&["task", "resume", task], 3);
    check(&["task", "pause", task], true, "would wait until");
    at(&["task", "claim", task]);
    check(
        &["task", "steal", task],
        true,
        "if nothing was heard of it for 15 minutes",
    );
    check(&["task", "cancel", task], true, "who would be told to cancel it");
    check(&["task", "cancel", task, "--force"], true, "and cancelled");
    for verb in ["pause", "approve", "requeue", "drop"] {
        dry(&["task", verb, task], 3);
    }
    dry(&["dlq", "requeue", task], 3);
    assert_eq!(at(&["task", "show", task])["state"], "leased");
    at(&["task", "cancel", task, "--force"]);
    check(&["task", "requeue", task], true, "would be done again");
    check(&["task", "drop", task], true, "would be forgotten");
    dry(&["task", "cancel", task], 3);
    assert_eq!(at(&["task", "show", task])["state"], "cancelled");
}
