//! Files to hash, the tasks to do it, and what must have come of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{AddTask, WireWhat};
use queenright_bench::client::{Filter, TaskQuery};
use queenright_protocol::colony::StateName;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::titled;
use crate::colony::{Colony, NODES};

/// Files with their hashes, made by the same program that the workers run.
pub(crate) struct Files {
    hashes: BTreeMap<String, String>,
}

impl Files {
    pub(crate) fn write(folder: &Path, count: usize) -> Files {
        let folder = folder.join("files");
        fs::create_dir_all(&folder).unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let mut paths = Vec::new();
        for number in 0..count {
            let path = folder.join(format!("{number}.bin"));
            let bytes: Vec<u8> = (0..random.random_range(0..2_000)).map(|_| random.random()).collect();
            fs::write(&path, bytes).unwrap();
            paths.push(path);
        }
        let mut hashes = BTreeMap::new();
        let sums = Command::new("sha256sum").args(&paths).output();
        let sums = sums.or_else(|_| Command::new("shasum").args(["-a", "256"]).args(&paths).output());
        for line in String::from_utf8(sums.unwrap().stdout).unwrap().lines() {
            let (sum, path) = line.split_once("  ").unwrap();
            hashes.insert(path.to_owned(), sum.to_owned());
        }
        assert_eq!(hashes.len(), count);
        Files { hashes }
    }

    pub(crate) fn add_tasks(&self, colony: &Colony, kind: &str) {
        let tasks: Vec<AddTask> = self
            .hashes
            .keys()
            .map(|path| AddTask {
                kind: Some(kind.into()),
                ..titled(path, json!({ "file": path }))
            })
            .collect();
        for batch in tasks.chunks(1_000) {
            let added = colony.client("n1", "test");
            colony.block_on(added.add_tasks(batch.to_vec(), None)).unwrap();
        }
    }

    /// Every file has one finished task with its hash, by the tasks and by the events of every node.
    pub(crate) fn all_hashed_once(&self, colony: &Colony, hash_of: impl Fn(&Value) -> Option<&str>) {
        for node in NODES {
            let client = colony.client(node, "test");
            let mut found = BTreeMap::new();
            let mut query = TaskQuery {
                limit: Some(1_000),
                whole: true,
                ..TaskQuery::default()
            };
            loop {
                let list = colony.block_on(client.tasks(&query)).unwrap();
                for task in &list.tasks {
                    assert_eq!(task.state, StateName::Done, "{task:?}");
                    let result = &task.finished.as_ref().unwrap().result;
                    let hash = hash_of(result).unwrap_or_else(|| panic!("{task:?}"));
                    assert_eq!(found.insert(task.title.to_string(), hash.to_owned()), None);
                }
                match list.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
            assert_eq!(found, self.hashes);

            let filter = Filter {
                types: vec!["task_finished".to_owned()],
                ..Filter::default()
            };
            let page = client.events(None, 10_000, Default::default(), &filter, Consistency::Linearizable);
            let page = colony.block_on(page).unwrap();
            let mut commits: Vec<_> = page
                .events
                .iter()
                .map(|event| match event.what {
                    WireWhat::TaskFinished { task, .. } => task,
                    _ => panic!("{event:?}"),
                })
                .collect();
            assert_eq!(commits.len(), self.hashes.len());
            commits.sort_unstable();
            commits.dedup();
            assert_eq!(commits.len(), self.hashes.len());
        }
    }
}
