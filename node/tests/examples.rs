//! The examples that are shell scripts, on three nodes, small.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use queenright_actors::node::Consistency;
use queenright_bench::client::TaskQuery;
use queenright_bench::client::wire::WireTask;
use queenright_protocol::colony::StateName;

use crate::colony::{Colony, NODES, Ran};

/// The script of an example, and the doors of the nodes. Its `queenright` is the one that is tested.
fn example(colony: &Colony, name: &str, folder: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_queenright"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = Command::new("bash");
    command.arg(script).arg(folder);
    command.env("XDG_STATE_HOME", colony.folder()).env("PATH", path);
    command
}

fn doors(colony: &Colony) -> [String; 3] {
    NODES.map(|node| colony.config().node(node).unwrap().http.to_string())
}

#[test]
fn shell_workers_hash_each_file_of_a_folder_once() {
    let colony = Colony::start("hash-example");
    let folder = colony.folder().join("files");
    fs::create_dir_all(folder.join("below")).unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..60 {
        let (name, text) = (format!("below/{number} of 60.txt"), format!("file {number}"));
        fs::write(folder.join(&name), &text).unwrap();
        // `cksum` is everywhere; its sum depends on all bytes and their number.
        let sum = Command::new("cksum").arg(folder.join(&name)).output().unwrap().stdout;
        let sum = String::from_utf8(sum).unwrap();
        expected.insert(name, sum.split(' ').next().unwrap().to_owned());
    }
    let again = || {
        let mut command = example(&colony, "hash_files.sh", &folder);
        let ran = Ran::of(command.args(doors(&colony)).env("WORKERS", "6").env("HASH", "cksum"));
        ran.with_code(0);
        let query = TaskQuery {
            limit: Some(1_000),
            consistency: Consistency::Linearizable,
            ..TaskQuery::default()
        };
        let client = colony.client("n3", "test");
        let tasks = colony.block_on(client.tasks(&query)).unwrap().tasks;
        let shown = tasks.into_iter().map(|task| {
            colony
                .block_on(client.task(task.task.0, Consistency::Linearizable))
                .unwrap()
        });
        shown.collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let tasks = again();
        assert!(
            tasks
                .iter()
                .all(|task| task.state == StateName::Done && task.attempts == 1)
        );
        let result = |task: &WireTask| {
            task.finished.as_ref().unwrap().result["result"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let found = tasks
            .iter()
            .map(|task| (task.name.clone().unwrap().to_string(), result(task)));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(tasks.len(), 60, "begun again it adds nothing");
    }
    let refused = Ran::of(&mut example(&colony, "hash_files.sh", &folder)).with_code(2);
    assert!(refused.to_string().contains("FOLDER NODE"), "{refused}");
    colony.same_digest();
}

#[test]
fn a_swarm_of_explorers_finds_the_goal_of_three_grids() {
    let colony = Colony::start("explorers-example");
    let runs = colony.folder().join("runs");
    let mut command = example(&colony, "explorers.sh", &runs);
    command.arg(&doors(&colony)[0]);
    let ran = Ran::of(command.env("AGENTS", "20").env("GRID", "8").env("STEPS", "30")).with_code(0);
    for seed in 1..=3 {
        assert!(ran.to_string().contains(&format!("seed {seed}: ")), "{ran}");
        let svg = fs::read_to_string(runs.join(format!("seed-{seed}.svg"))).unwrap();
        assert!(svg.contains(&format!("20 explorers, 30 steps, seed {seed}")));
    }
}
