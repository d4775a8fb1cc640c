//! Workers in Python over HTTP, each of which talks to the node of its host only, hash files while workers and a node are
//! killed. Needs `python3`: `cargo test -p queenright --test python_worker workers_in_python`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "its own tests run with all others")]
mod run;

use std::path::Path;
use std::process::Command;

use queenright_actors::node::Consistency;
use queenright_bench::client::TaskQuery;
use rustix::process::Signal;

use crate::colony::{Colony, NODES, until};
use crate::run::{Files, Workers};

const FILES: usize = 1_000;
const WORKERS: usize = 12;

#[test]
fn workers_in_python_hash_files_once_while_they_and_a_node_are_killed() {
    let mut colony = Colony::start("python");
    let mut workers = Workers::new(&colony);
    let files = Files::write(colony.folder(), FILES);
    files.add_tasks(&colony, "hash");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/worker.py");
    let start = |colony: &Colony, workers: &mut Workers, place: usize| {
        let node = NODES[place % NODES.len()];
        let door = format!("http://{}", colony.config().node(node).unwrap().http);
        let mut command = Command::new("python3");
        workers.start_command(command.arg(&script).arg(door).args(["--kind", "hash"]))
    };
    for place in 0..WORKERS {
        start(&colony, &mut workers, place);
    }
    let finished = |colony: &Colony, at_least: u64| {
        until(&format!("{at_least} tasks are finished"), || {
            let query = TaskQuery {
                limit: Some(1),
                consistency: Consistency::Local,
                ..TaskQuery::default()
            };
            let lists = NODES.map(|node| colony.block_on(colony.client(node, "test").tasks(&query)).ok());
            lists
                .into_iter()
                .flatten()
                .any(|list| list.finished >= at_least)
                .then_some(())
        });
    };
    for kill in 0..6 {
        finished(&colony, kill * FILES as u64 / 8);
        workers.kill(kill as usize % WORKERS);
        start(&colony, &mut workers, kill as usize);
        match kill {
            2 => colony.kill("n2"),
            4 => colony.start_node("n2"),
            _ => {}
        }
    }
    finished(&colony, FILES as u64);
    for place in 0..WORKERS {
        workers.signal(place, Signal::TERM);
    }
    for place in 0..WORKERS {
        assert_eq!(workers.code(place), Some(0));
    }
    workers.nothing_is_left();
    colony.same_digest();
    files.all_hashed_once(&colony, |result| result["sha256"].as_str());
}
