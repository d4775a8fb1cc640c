//! Agents whose changes meet.

use serde_json::json;

use super::{Person, model, says, text, word};
use crate::colony::Colony;
use crate::git::git;
use crate::guard::Repository;

#[test]
fn who_loses_learns_the_key_the_winner_and_what_to_read_again_and_then_wins() {
    let colony = Colony::start("walk-landing");
    branches(&colony);
    models(&colony);
    colony.same_digest();
}

/// Branches of one repository.
fn branches(colony: &Colony) {
    let repository = Repository::new(colony);
    let lines: Vec<String> = (1..=20).map(|line| format!("line {line}")).collect();
    let file = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        edit(&mut lines);
        lines.join("\n") + "\n"
    };
    let branch = |name: &str, text: &str| {
        repository.git(&["checkout", "--quiet", "-b", name, "main"]).ok();
        repository.write("src/plan.txt", text);
        repository.git(&["commit", "--quiet", "-a", "-m", name]).ok();
    };
    repository.write("src/plan.txt", &file(&|_| {}));
    repository.git(&["add", "."]).ok();
    repository.git(&["commit", "--quiet", "-m", "first"]).ok();
    branch("of-ann", &file(&|lines| lines[1] = "ann's line".to_owned()));
    branch("of-bob", &file(&|lines| lines[17] = "bob's line".to_owned()));
    branch("of-eve", &file(&|lines| lines[1] = "eve's line".to_owned()));
    let top = repository.top.to_str().unwrap();
    let (ann, bob) = (Person::new(colony, "ann", "n1"), Person::new(colony, "bob", "n2"));
    let propose = |range: &'static str| ["propose", "--git", range, "--repo", top];
    ann.reads(&propose("main"));
    says(&ann.reads(&propose("main..of-ann")), &["committed"]);

    // Which key, who was first, what to read again, and what else there is to do.
    let lost = bob.told(&propose("main..of-bob"), 3);
    says(
        &lost,
        &[
            "stale_read",
            "tree/src/plan.txt",
            " ann ",
            "read again tree/src/plan.txt (revision 2)",
            "--merge",
        ],
    );
    let lost = bob
        .runs(&[&propose("main..of-bob")[..], &["--json"]].concat())
        .with_code(3)
        .json();
    assert_eq!(
        (
            &lost["conflicts"][0]["winner_author"],
            &lost["reread"][0]["key"],
            &lost["reread"][0]["revision"]
        ),
        (&json!("ann"), &json!("tree/src/plan.txt"), &json!(2)),
        "{lost}"
    );
    // It does so under a check, and has won: both lines are there, at whatever node.
    let check = "grep -q \"ann's line\" src/plan.txt && grep -q \"bob's line\" src/plan.txt";
    let won = bob.json(&[&propose("main..of-bob")[..], &["--merge", "--check", check]].concat());
    assert_eq!(won["merged"].as_array().map(Vec::len), Some(1), "{won}");
    let eve = Person::new(colony, "eve", "n3");
    let met = eve.told(&[&propose("main..of-eve")[..], &["--merge"]].concat(), 3);
    says(
        &met,
        &[
            "merge",
            "<<<<<<< committed",
            "ann's line",
            "======= proposed",
            "eve's line",
        ],
    );

    // She takes in what is agreed, decides, and proposes from there.
    repository.git(&["checkout", "--quiet", "of-eve"]).ok();
    repository.git(&["reset", "--quiet", "--hard", "main"]).ok();
    eve.reads(&["memory", "checkout", top]);
    let agreed = std::fs::read_to_string(repository.top.join("src/plan.txt")).unwrap();
    says(&agreed, &["ann's line", "bob's line"]);
    repository.git(&["commit", "--quiet", "-a", "-m", "agreed"]).ok();
    git(&repository.top, &["tag", "agreed"]);
    repository.write("src/plan.txt", &agreed.replace("ann's line", "ann's and eve's line"));
    repository.git(&["commit", "--quiet", "-a", "-m", "eve"]).ok();
    eve.reads(&propose("agreed..of-eve"));
    let plan = ann.reads(&["memory", "get", "tree/src/plan.txt"]);
    says(&plan, &["ann's and eve's line", "bob's line"]);
}

/// Models that change one record, and a counter that knows no losers.
fn models(colony: &Colony) {
    let (mut ann, mut bob) = (model(colony, "ann", "n1"), model(colony, "bob", "n3"));
    ann.call("memory", json!({ "op": "put", "key": "plan", "value": "draft" }));
    let read = |of: &mut crate::mcp::Session| {
        let got = of.call("memory", json!({ "op": "get", "key": "plan" }));
        (word(&got, "value").to_owned(), got["revision"].clone())
    };
    let change = |revision: &serde_json::Value, value: &str| {
        json!({
            "reads": [{ "key": "plan", "revision": revision }],
            "writes": [{ "key": "plan", "put": value }, { "key": "changes", "increment": 1 }],
        })
    };
    let (_, seen) = read(&mut ann);
    assert_eq!(read(&mut bob).1, seen, "both begin from the same");
    ann.call("propose", change(&seen, "draft, of ann"));
    let lost = bob.said("propose", change(&seen, "draft, of bob"));
    assert_eq!(lost["error"]["code"], "CONFLICT", "{lost}");
    says(
        word(&lost["error"], "message"),
        &["stale_read at plan", "changed by ann"],
    );
    let details = &lost["error"]["details"];
    assert_eq!(
        (&details["conflicts"][0]["winner_author"], &details["reread"][0]["key"]),
        (&json!("ann"), &json!("plan")),
        "{lost}"
    );
    says(lost["next"][0].as_str().unwrap(), &["reread", "follows"]);

    let (value, seen) = read(&mut bob);
    let mut again = change(&seen, &format!("{value} and bob"));
    again["follows"] = details["seq"].clone();
    bob.call("propose", again);
    assert_eq!(read(&mut ann).0, "draft, of ann and bob");
    let changes = colony.at("n2", &["memory", "get", "changes"]).with_code(0);
    assert_eq!(text(&changes), "2", "what lost has changed nothing");
}
