//! Agents that work in one repository.

use serde_json::json;

use super::{Person, model, says, word};
use crate::colony::Colony;
use crate::guard::{Git, Repository};

#[test]
fn the_second_agent_learns_before_it_edits_and_git_refuses_its_commit() {
    let colony = Colony::start("walk-same-file");
    let repository = Repository::new(&colony);
    let door = colony.config().node("n3").unwrap().http_advertised();
    repository.guard(&["install", "--node", &door]).with_code(0);
    repository.write("src/lexer.rs", "fn lex() {}\n");
    repository.write("docs/lexer.md", "It lexes.\n");
    repository.git(&["add", "."]).ok();
    repository.git(&["commit", "--quiet", "-m", "all"]).ok();

    // A model says what it is about to do.
    let mut ann = model(&colony, "ann", "n1");
    let started = ann.call("session_start", json!({ "name": "ann" }));
    let token = word(&started, "token");
    let wanted = json!([{ "resource": "file:src/**" }]);
    let held = ann.call(
        "reserve",
        json!({ "resources": wanted, "token": token, "reason": "a faster lexer" }),
    );

    // Somebody else asks, at another node, and hears who, what for, and what is free.
    let bob = Person::new(&colony, "bob", "n2");
    let line = ["reserve", "add", "src/lexer.rs", "docs/lexer.md"];
    says(
        &bob.told(&line, 3),
        &[
            "not reserved",
            "src/**",
            word(&held, "reservation"),
            "(ann)",
            "free: file:docs/lexer.md",
        ],
    );
    let refused = bob.runs(&[&line[..], &["--json"]].concat()).with_code(3).json();
    assert_eq!(
        (
            &refused["verdict"],
            &refused["conflicts"][0]["holder"]["name"],
            &refused["free"][0]
        ),
        (&json!("held"), &json!("ann"), &json!("file:docs/lexer.md")),
        "{refused}"
    );
    says(&bob.reads(&["reserve", "list"]), &["(ann)", "a faster lexer"]);

    // Who does not ask is stopped by git itself, by name, and told how to go on.
    repository.write("src/lexer.rs", "fn lex() { /* bob's */ }\n");
    repository.write("docs/lexer.md", "It lexes well.\n");
    let commit = ["commit", "--quiet", "-a", "-m", "bob's"];
    let said = repository.git(&commit).refused();
    says(
        &said,
        &[
            "src/lexer.rs: ",
            "(ann)",
            "has reserved file:src/**",
            "queenright reserve",
        ],
    );
    repository.git(&["commit", "--quiet", "-m", "docs", "docs"]).ok();
    repository.git(&["checkout", "--quiet", "src/lexer.rs"]).ok();

    // The holder goes on, gives it back, and whoever stood in line has it.
    repository.write("src/lexer.rs", "fn lex() { /* ann's */ }\n");
    let mut by_ann = repository.command("git");
    Git(by_ann.args(commit).env("QUEENRIGHT_TOKEN", token).output().unwrap()).ok();
    let mut waiting = bob.command(&["reserve", "add", "src/lexer.rs", "--wait", "60", "--json"]);
    let waiting = waiting.stdout(std::process::Stdio::piped()).spawn().unwrap();
    crate::colony::until("bob stands in line", || {
        (bob.json(&["reserve", "list", "--waiting"])["waiting"] == 1).then_some(())
    });
    ann.call("reserve_release", json!({ "token": token, "all": true }));
    let granted: crate::colony::Ran = waiting.wait_with_output().unwrap().into();
    let granted = granted.with_code(0).json();
    assert!(granted["fence"].as_u64() > held["fence"].as_u64(), "{granted}");
    repository.write("src/lexer.rs", "fn lex() { /* both */ }\n");
    let mut by_bob = repository.command("git");
    Git(by_bob
        .args(commit)
        .env("QUEENRIGHT_TOKEN", word(&granted, "token"))
        .output()
        .unwrap())
    .ok();
    colony.same_digest();
}
