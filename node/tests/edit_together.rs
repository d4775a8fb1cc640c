//! The example of agents that edit one git project together: on three nodes, while attempts are killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use queenright_actors::node::Consistency;
use queenright_bench::client::TaskQuery;
use queenright_protocol::colony::StateName;

use crate::branches::tree_of;
use crate::colony::{Colony, NODES, Ran, until};
use crate::git::git;
use crate::run::{Workers, finished};

const EDITS: usize = 15;

/// Kills what is found of an attempt, at whatever point it is.
fn kill_an_attempt(workers: &Workers, variable: &str) {
    until("the end of an attempt at work", || {
        let found = workers.with(variable).into_iter().find_map(|line| {
            let mut words = line.split_whitespace();
            let pid = words.next()?.to_owned();
            (words.next()?.ends_with("bash") && line.ends_with("--attempt ")).then_some(pid)
        });
        // It may have ended meanwhile.
        let killed = Command::new("kill").args(["-KILL", &found?]).status().unwrap();
        killed.success().then_some(())
    });
}

#[test]
fn agents_that_edit_one_git_project_agree_on_each_edit_once_while_attempts_are_killed() {
    let colony = Colony::start("together");
    let workers = Workers::new(&colony);
    let repository = colony.folder().join("project");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/edit_together.sh");
    let doors = NODES.map(|node| colony.config().node(node).unwrap().http.to_string());
    // What the commands of this test have, and nobody else.
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_queenright"));
    let inherited = std::env::var("PATH").unwrap();
    let path = format!(
        "{}:{inherited}:{}",
        binary.parent().unwrap().display(),
        colony.folder().display()
    );
    let mut command = Command::new("bash");
    command.arg(&script).arg(&repository).args(&doors);
    command.env("XDG_STATE_HOME", colony.folder()).env("PATH", &path);
    command.env("AGENTS", "1").env("EDITS", EDITS.to_string());
    let running = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if cfg!(target_os = "linux") {
        for reached in [2, 7] {
            until("some tasks are finished", || {
                (finished(&colony) >= reached).then_some(())
            });
            kill_an_attempt(&workers, &format!("PATH={path}"));
        }
    }
    let ran = Ran::from(running.wait_with_output().unwrap()).with_code(0);
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("What the agents have agreed on"),
        "{ran}"
    );

    let query = TaskQuery {
        limit: Some(1_000),
        consistency: Consistency::Linearizable,
        ..TaskQuery::default()
    };
    let tasks = colony
        .block_on(colony.client("n2", "test").tasks(&query))
        .unwrap()
        .tasks;
    assert_eq!(tasks.len(), EDITS);
    assert!(tasks.iter().all(|task| task.state == StateName::Done), "{tasks:?}");
    // The script has looked itself; here it is once more what the other nodes have, by what git says.
    let added = git(&repository, &["diff", "--unified=0", "HEAD", "agreed", "--", "edits"]);
    let added = String::from_utf8(added).unwrap();
    let mut added: Vec<&str> = added.lines().filter(|line| line.starts_with("+edit ")).collect();
    added.sort_unstable();
    let mut expected: Vec<String> = (1..=EDITS).map(|number| format!("+edit {number}")).collect();
    expected.sort_unstable();
    assert_eq!(added, expected);
    let out = colony.folder().join("out");
    colony
        .at("n3", &["memory", "checkout", out.to_str().unwrap()])
        .with_code(0);
    let agreed = git(&repository, &["rev-parse", "agreed^{tree}"]);
    assert_eq!(tree_of(&repository, &out).as_bytes(), agreed);
    colony.same_digest();
}
