//! Many workers on one list of tasks.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::json;

use super::{Person, model, says, word};
use crate::colony::{Colony, NODES, Ran};

/// How many claim at the same time.
const WORKERS: usize = 8;

#[test]
fn each_task_goes_to_one_worker_and_the_others_are_told_to_whom() {
    let colony = Colony::start("walk-hand-out");
    let lead = Person::new(&colony, "lead", "n1");
    let list = json!([
        { "title": "Move the parser", "name": "parser", "kind": "refactor" },
        { "title": "Test the parser", "name": "tests", "needs": ["parser"] },
        { "title": "Write the notes", "name": "notes" },
        { "title": "Mend the build", "name": "build", "priority": "high" },
    ]);
    let added = colony.fed(
        "n1",
        &["task", "add", "--file", "-", "--json"],
        list.to_string().as_bytes(),
    );
    let added = added.with_code(0).json();
    let ids: Vec<&str> = added["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| word(task, "task"))
        .collect();
    let (parser, tests) = (ids[0], ids[1]);
    let ready = lead.reads(&["task", "ready"]);
    says(&ready, &["Move the parser", "Mend the build"]);
    assert!(!ready.contains("Test the parser"), "it needs the parser first: {ready}");

    // All at once, at all nodes, for the same task: one has it.
    let names: Vec<String> = (0..WORKERS).map(|number| format!("w{number}")).collect();
    let claims: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let worker = Person::new(&colony, name, NODES[place % NODES.len()]);
            let mut command = worker.command(&["task", "claim", parser, "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let claims: Vec<Ran> = claims
        .into_iter()
        .map(|claim| claim.wait_with_output().unwrap().into())
        .collect();
    let won: Vec<usize> = (0..WORKERS).filter(|place| claims[*place].code == Some(0)).collect();
    let [winner] = won[..] else {
        panic!("{} workers have the task", won.len())
    };
    for (place, claim) in claims.iter().enumerate().filter(|(place, _)| *place != winner) {
        assert_eq!(claim.code, Some(3), "{}: {claim}", names[place]);
        says(
            &claim.stderr,
            &[
                "\"code\":\"HELD\"",
                parser,
                "is held by session",
                &format!("({})", names[winner]),
            ],
        );
    }
    let hold = claims[winner].json();

    // Whoever takes what there is gets different things, and then nothing.
    let mut taken = BTreeSet::new();
    for node in ["n2", "n3"] {
        let claim = Person::new(&colony, "taker", node).json(&["task", "claim"]);
        taken.insert(word(&claim["tasks"][0], "task").to_owned());
    }
    assert_eq!(taken, BTreeSet::from([ids[2].to_owned(), ids[3].to_owned()]));
    let nothing = Person::new(&colony, "late", "n1").told(&["task", "claim"], 5);
    says(&nothing, &["no task is ready", "--wait", "task list"]);

    // A model learns the same, and what it may do instead.
    let mut bob = model(&colony, "bob", "n3");
    let held = bob.said("task_claim", json!({ "ids": [parser] }));
    assert_eq!(held["error"]["code"], "HELD", "{held}");
    says(word(&held["error"], "message"), &[parser, &names[winner]]);
    says(held["next"][0].as_str().unwrap(), &["work on something else"]);
    says(&lead.reads(&["task", "show", parser]), &["leased", &names[winner]]);

    // Its end makes the next one ready, which nobody had before.
    let (token, fence) = (word(&hold, "token"), hold["tasks"][0]["fence"].to_string());
    let finish = [
        "task",
        "finish",
        parser,
        "--fence",
        &fence,
        "--token",
        token,
        "--result",
        "\"moved\"",
    ];
    Person::new(&colony, &names[winner], "n2").reads(&finish);
    let claimed = bob.call("task_claim", json!({}));
    assert_eq!(word(&claimed["tasks"][0], "task"), tests);
    let done = lead.told(&["task", "claim", parser], 3);
    says(&done, &[parser, "done"]);
    colony.same_digest();
}
