//! Hooks that refuse what others have reserved, on a real repository.

mod repository;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

pub(crate) use self::repository::{Git, Repository};
use crate::colony::{Colony, Ran};

/// The port of nobody.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_commit_and_a_push_of_what_another_has_reserved_are_refused_and_the_holder_is_named() {
    let colony = Colony::start("guarded");
    let repository = Repository::new(&colony);
    let node = colony.config().node("n2").unwrap().http_advertised();
    let own = "#!/bin/sh\necho own hook\n";
    fs::create_dir_all(repository.hook("")).unwrap();
    fs::write(repository.hook("pre-commit"), own).unwrap();
    Command::new("chmod")
        .arg("+x")
        .arg(repository.hook("pre-commit"))
        .status()
        .unwrap();

    let install = ["install", "--project", "p", "--node", &node];
    let dry = repository
        .guard(&[&install[..], &["--dry-run", "--json"]].concat())
        .with_code(0)
        .json();
    assert_eq!(
        (&dry["dry_run"], &dry["files"][0]["change"]),
        (&true.into(), &"written".into())
    );
    assert_eq!(fs::read_to_string(repository.hook("pre-commit")).unwrap(), own);
    repository.guard(&install).with_code(0);

    // Free: the hook that was there is called, and the guard says nothing.
    repository.write("src/a.rs", "1");
    repository.git(&["add", "."]).ok();
    let committed = repository.git(&["commit", "--quiet", "-m", "first"]);
    assert_eq!(committed.text(), "own hook\n");
    committed.ok();
    repository.git(&["push", "--quiet", "origin", "main"]).ok();

    let added = [
        "reserve",
        "add",
        "src/**",
        "--project",
        "p",
        "--reason",
        "mine",
        "--json",
    ];
    let held = colony.at("n1", &added).with_code(0).json();
    let token = held["token"].as_str().unwrap();
    let id = held["reservation"].as_str().unwrap();
    repository.write("src/a.rs", "2");
    repository.write("docs/b.md", "free");
    let said = repository.git(&["commit", "--quiet", "-a", "-m", "second"]).refused();
    assert!(
        said.contains("src/a.rs: ") && said.contains("has reserved file:src/**") && said.contains(id),
        "{said}"
    );
    repository.git(&["add", "docs"]).ok();
    repository
        .git(&["commit", "--quiet", "-m", "another file", "docs"])
        .ok();

    // Its owner may; what came past the hook is seen when it is pushed.
    let mut by_owner = repository.command("git");
    by_owner
        .args(["commit", "--quiet", "-a", "-m", "second"])
        .env("QUEENRIGHT_TOKEN", token);
    Git(by_owner.output().unwrap()).ok();
    let said = repository.git(&["push", "--quiet", "origin", "main"]).refused();
    assert!(said.contains("src/a.rs: ") && !said.contains("docs/b.md"), "{said}");
    let said = repository
        .git(&["push", "--quiet", "origin", "main:refs/heads/other"])
        .refused();
    assert!(said.contains("src/a.rs: "), "{said}");

    // Paths as they are named, from wherever; folders with what is in them.
    let check = ["check", "--project", "p", "--node", &node, "--json"];
    for (path, code) in [
        ("src/new.rs", 3),
        ("./src/../docs/b.md", 0),
        ("src", 3),
        ("docs", 0),
        (".", 3),
    ] {
        repository.guard(&[&check[..], &[path]].concat()).with_code(code);
    }
    let found = repository
        .guard(&[&check[..], &["src/new.rs", "docs/b.md"]].concat())
        .with_code(3)
        .json();
    assert_eq!(
        (&found["paths"], &found["held"][0]["path"]),
        (&2.into(), &"src/new.rs".into()),
        "{found}"
    );
    repository.guard(&["check"]).with_code(2);

    let gone = repository.guard(&["uninstall", "--json"]).with_code(0).json();
    assert_eq!(gone["files"][0]["change"], "restored");
    assert_eq!(fs::read_to_string(repository.hook("pre-commit")).unwrap(), own);
    assert!(!repository.hook("pre-push").exists());
    repository.git(&["push", "--quiet", "origin", "main"]).ok();

    an_editor_is_told(&repository, &node);
    without_a_node(&repository);
}

fn an_editor_is_told(repository: &Repository<'_>, node: &str) {
    let settings = repository.top.join(".claude/settings.local.json");
    let install = [
        "install",
        "--project",
        "p",
        "--node",
        node,
        "--editor",
        "claude",
        "--no-git",
    ];
    repository.guard(&install).with_code(0);
    let written: Value = serde_json::from_slice(&fs::read(&settings).unwrap()).unwrap();
    let command = written["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
        .as_str()
        .unwrap()
        .to_owned();
    let asked = |path: &Path| {
        let question = json!({
            "cwd": repository.top,
            "hook_event_name": "PreToolUse",
            "tool_name": "Write",
            "tool_input": { "file_path": path, "content": "x" },
        });
        // As the editor calls it.
        let mut shell = repository.command("sh");
        let mut shell = shell
            .args(["-c", &command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(question.to_string().as_bytes())
            .unwrap();
        Ran::from(shell.wait_with_output().unwrap()).with_code(0)
    };
    let answer = asked(&repository.top.join("src/new.rs")).json();
    assert_eq!(answer["hookSpecificOutput"]["permissionDecision"], "deny", "{answer}");
    let reason = answer["hookSpecificOutput"]["permissionDecisionReason"]
        .as_str()
        .unwrap();
    assert!(reason.contains("has reserved file:src/**"), "{reason}");
    assert!(asked(&repository.top.join("docs/new.md")).stdout.is_empty());
    assert!(asked(Path::new("/tmp/elsewhere")).stdout.is_empty());
    repository.guard(&["uninstall"]).with_code(0);
    assert!(!settings.exists());
}

fn without_a_node(repository: &Repository<'_>) {
    let check = ["check", "src/a.rs", "--node", NOBODY];
    let passed = repository.guard(&check).with_code(0);
    assert!(passed.stderr.contains("reservations were not looked at"), "{passed}");
    repository.guard(&[&check[..], &["--strict"]].concat()).with_code(7);
    for (strict, passes) in [(None, true), (Some("--strict"), false)] {
        let install = ["install", "--node", NOBODY].into_iter().chain(strict);
        repository.guard(&install.collect::<Vec<_>>()).with_code(0);
        repository.write("c", strict.unwrap_or_default());
        repository.git(&["add", "c"]).ok();
        let committed = repository.git(&["commit", "--quiet", "-m", "c", "--allow-empty"]);
        assert_eq!(committed.0.status.success(), passes, "{}", committed.text());
    }
}
