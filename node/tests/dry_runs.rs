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
