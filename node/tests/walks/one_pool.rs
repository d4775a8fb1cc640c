//! One swarm on several hosts, one of which dies.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Person, model, says, text, word};
use crate::colony::{Colony, Ran, queenright, until};
use crate::joined::Joined;

#[test]
fn a_node_dies_another_one_joins_and_a_backup_begins_again() {
    let mut colony = Colony::start("walk-pool");
    let file = colony.config().file.clone();
    let lead = Person::new(&colony, "lead", "n2");
    lead.reads(&["memory", "put", "facts/sky", "blue", "--tag", "colour"]);
    lead.reads(&["task", "add", "Go on", "--name", "go-on"]);
    shared_memory(&colony);

    // Somebody watches at the node that stays, and a model works at the one that dies.
    let watch = ["memory", "watch", "facts/", "--limit", "2", "--json"];
    let mut watch = lead.command(&watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&seen.next().unwrap().unwrap()).unwrap();
    while next().get("current").is_none() {}
    let mut bob = model(&colony, "bob", "n3");
    let claimed = bob.call("task_claim", json!({}));
    let task = word(&claimed["tasks"][0], "task").to_owned();
    colony.kill("n1");

    // Everything answers all the same: reads, changes, claims, and who watches has missed nothing.
    let lead = Person::new(&colony, "lead", "n2");
    assert_eq!(lead.reads(&["memory", "get", "facts/sky"]), "blue");
    lead.reads(&["memory", "put", "facts/sky", "grey", "--if-revision", "1"]);
    bob.call(
        "memory",
        json!({ "op": "put", "key": "facts/sea", "value": "grey too" }),
    );
    let told = [next(), next()].map(|event| (word(&event, "key").to_owned(), word(&event, "author").to_owned()));
    assert_eq!(
        told,
        [("facts/sky", "lead"), ("facts/sea", "bob")].map(|(key, by)| (key.to_owned(), by.to_owned()))
    );
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    let finish =
        json!({ "task": task, "fence": claimed["tasks"][0]["fence"], "token": claimed["token"], "outcome": "done" });
    bob.call("task_finish", finish);
    let status = until("the dead node is missed", || {
        let status = lead.reads(&["status"]);
        status.contains("unreachable").then_some(status)
    });
    says(&status, &["n1", "n2", "n3"]);
    let mut doctor = colony.command();
    doctor
        .arg("doctor")
        .arg(&file)
        .arg("--data")
        .arg(colony.folder().join("data"));
    let doctor = Ran::of(&mut doctor);
    says(&format!("{}{}", text(&doctor), doctor.stderr), &["n1"]);

    // A node more takes load at once, and the dead one comes back to what it has missed.
    let mut fourth = Joined::new(&colony, "n4");
    fourth.start(&colony, "n2");
    fourth.step("caught_up");
    let got = fourth.run(&colony, &["memory", "get", "facts/sea"]).with_code(0);
    assert_eq!(text(&got), "grey too");
    fourth
        .run(&colony, &["task", "add", "From the fourth", "--name", "fourth"])
        .with_code(0);
    colony.start_node("n1");
    let got = until("it has caught up", || {
        Some(colony.at("n1", &["memory", "get", "facts/sky"])).filter(|got| got.code == Some(0))
    });
    assert_eq!(text(&got), "grey");
    let left = fourth.run(&colony, &["leave", "--wait", "1"]);
    assert_eq!(left.code, Some(0), "{left}");
    assert_eq!(fourth.wait(), Some(0));

    // All of it in one file, of which another cluster begins.
    let backup = colony.folder().join("pool.qrb");
    let made = colony
        .at("n3", &["backup", backup.to_str().unwrap(), "--json"])
        .with_code(0)
        .json();
    assert!(made["seq"].is_u64(), "{made}");
    let bytes = fs::read(&backup).unwrap();
    drop(bob);
    drop(colony);
    assert!(!file.exists(), "its folder is gone");
    let again = Colony::start_prepared("walk-again", |config, data| {
        let folder = data.parent().unwrap();
        let kept = folder.join("pool.qrb");
        fs::write(&kept, &bytes).unwrap();
        let written = config.clone().write_to(folder).unwrap();
        let mut restore = queenright(folder);
        restore
            .arg("restore")
            .arg(&kept)
            .arg("--config")
            .arg(&written.file)
            .arg("--data")
            .arg(data);
        Ran::of(&mut restore).with_code(0);
    });
    let ann = Person::new(&again, "ann", "n3");
    assert_eq!(ann.reads(&["memory", "get", "facts/sky"]), "grey");
    says(&ann.reads(&["task", "show", &task]), &["done", "bob"]);
    let claimed = ann.json(&["task", "claim"]);
    assert_eq!(claimed["tasks"][0]["title"], "From the fourth");
    again.same_digest();
}

/// Two at different nodes, who change one record by compare-and-swap, and find what others have written.
fn shared_memory(colony: &Colony) {
    let (ann, bob) = (Person::new(colony, "ann", "n1"), Person::new(colony, "bob", "n3"));
    ann.reads(&["memory", "put", "leader-of/parser", "ann", "--if-absent"]);
    let refused = bob.told(&["memory", "put", "leader-of/parser", "bob", "--if-absent"], 3);
    says(&refused, &["leader-of/parser", "revision 1"]);
    let known = bob.json(&["memory", "get", "leader-of/parser"]);
    assert_eq!((&known["value"], &known["author"]), (&json!("ann"), &json!("ann")));
    bob.reads(&["memory", "put", "leader-of/parser", "bob", "--if-revision", "1"]);
    let refused = ann.told(&["memory", "put", "leader-of/parser", "ann", "--if-revision", "1"], 3);
    says(&refused, &["leader-of/parser", "revision 2"]);
    says(
        &ann.reads(&["memory", "list", "leader-of/"]),
        &["leader-of/parser", "bob"],
    );
    let mut eve = model(colony, "eve", "n2");
    let found = eve.call("memory", json!({ "op": "list", "prefix": "facts/", "values": true }));
    assert_eq!(
        (
            &found["keys"][0]["key"],
            &found["keys"][0]["value"],
            &found["keys"][0]["tags"][0]
        ),
        (&json!("facts/sky"), &json!("blue"), &json!("colour")),
        "{found}"
    );
}
