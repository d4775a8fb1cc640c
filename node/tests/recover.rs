//! A majority that is lost for good: what one node has becomes a new cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use queenright_actors::node::Role;
use serde_json::Value;

use crate::colony::{Colony, NODES, Ran, until};

/// How far positions jump at least.
const JUMP: u64 = 1_000_000_000_000;
/// How far numbers of nodes jump.
const NUMBERS: u64 = 64_000;

impl Colony {
    /// `queenright recover` of a node.
    fn recover_command(&self, from: &str, flags: &[&str]) -> Command {
        let mut command = self.command();
        command
            .args(["recover", "--from", from, "--json"])
            .arg("--config")
            .arg(&self.config().file)
            .arg("--data")
            .arg(self.folder().join("data"))
            .args(flags)
            .stdin(Stdio::null());
        command
    }

    fn recover(&self, from: &str, flags: &[&str]) -> Ran {
        Ran::of(&mut self.recover_command(from, flags))
    }

    fn folder_of(&self, node: &str) -> PathBuf {
        self.folder().join("data").join(node)
    }

    /// Its disk is gone.
    fn lose(&self, node: &str) {
        fs::remove_dir_all(self.folder_of(node)).unwrap();
    }

    fn put(&self, node: &str, key: &str, value: &str) -> u64 {
        let put = self
            .at(node, &["memory", "put", key, value, "--json"])
            .with_code(0)
            .json();
        put["seq"].as_u64().unwrap()
    }

    #[track_caller]
    fn has(&self, node: &str, key: &str, value: &str) {
        let got = self.at(node, &["memory", "get", key]).with_code(0);
        assert_eq!(String::from_utf8_lossy(&got.stdout), value, "{node}: {key}");
    }

    /// Adds a task and claims it: its id and its fence.
    fn claim_a_task(&self, node: &str) -> (String, u64) {
        let added = self.at(node, &["task", "add", "work", "--json"]).with_code(0).json();
        let task = added["tasks"][0]["task"].as_str().unwrap().to_owned();
        let claim = self.at(node, &["task", "claim", &task, "--json"]).with_code(0).json();
        (task, claim["tasks"][0]["fence"].as_u64().unwrap())
    }

    /// Waits until all nodes vote under numbers of a cluster that was recovered so often: those of n1, n2 and n3.
    fn all_vote(&self, at: &str, recoveries: u64) -> [u64; 3] {
        until("all vote under their new numbers", || {
            let status = self.status(at).filter(|status| status.queenright)?;
            let all = status
                .nodes
                .iter()
                .all(|node| matches!(node.role, Role::Leader | Role::Follower));
            let number = |name| Some(status.nodes.iter().find(|node| node.name == name)?.number);
            let numbers = [number("n1")?, number("n2")?, number("n3")?];
            let of_these = |number: &u64| number / NUMBERS == recoveries;
            (all && numbers.iter().all(of_these)).then_some(numbers)
        })
    }
}

/// All files below a folder with their bytes, but for the lock, which says who had it last.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path != folder.join("lock") {
                let bytes = fs::read(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let to = to.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field}: {value}"))
}

#[test]
fn a_cluster_goes_on_from_the_one_node_that_is_left() {
    let mut colony = Colony::start("recovered");
    let first = colony.put("n2", "first", "1");
    let (task, fence) = colony.claim_a_task("n3");
    let named = ["memory", "put", "once", "1", "--idempotency-key", "name", "--json"];
    let once = colony.at("n1", &named).with_code(0).json();
    let last = colony.put("n3", "last", "2");
    colony.same_digest();

    // While the node runs, or another one, nothing is lost.
    let refused = colony.recover("n1", &["--yes"]).with_code(3);
    assert!(refused.stderr.contains("node n1 runs"), "{refused}");
    colony.kill("n1");
    let refused = until("the others have a leader", || {
        let refused = colony.recover("n1", &["--yes"]).with_code(3);
        refused.stderr.contains("the cluster has a leader").then_some(refused)
    });
    assert!(refused.stderr.contains("node n2 runs"), "{refused}");

    colony.kill_all_that_is_left();
    let old = colony.folder().join("old-n2");
    copy(&colony.folder_of("n2"), &old);
    colony.lose("n2");
    colony.lose("n3");

    // Nothing happens without a yes, nor for another name or file.
    let before = files(&colony.folder_of("n1"));
    let refused = colony.recover("n1", &[]).with_code(2);
    assert!(refused.stderr.contains("--yes"), "{refused}");
    let refused = colony.recover("n9", &["--yes"]).with_code(1);
    assert!(refused.stderr.contains("n9"), "{refused}");
    let refused = colony.recover("n2", &["--yes"]).with_code(1);
    assert!(refused.stderr.contains("is no folder"), "{refused}");
    let looked = colony.recover("n1", &["--dry-run"]).with_code(0).json();
    assert_eq!(
        (&looked["recovered"], &looked["set_aside"]),
        (&Value::Bool(false), &Value::Null)
    );
    let had = number(&looked["from"], "seq");
    assert!(had >= last, "{looked}");
    assert_eq!(looked["from"]["log_damage"], Value::Null);
    assert!(looked["from"]["at"].as_str().unwrap().ends_with('Z'), "{looked}");
    assert_eq!(files(&colony.folder_of("n1")), before);
    assert!(!colony.folder_of("n1.recovering").exists());

    let recovered = colony.recover("n1", &["--yes"]).with_code(0).json();
    assert_eq!(
        (number(&recovered["from"], "number"), number(&recovered["to"], "number")),
        (1, 1 + NUMBERS)
    );
    let resumed = number(&recovered["to"], "seq");
    assert!(resumed >= had + JUMP, "{recovered}");
    assert_ne!(recovered["from"]["cluster_id"], recovered["to"]["cluster_id"]);
    let aside = recovered["set_aside"].as_str().unwrap();
    assert_eq!(files(Path::new(aside)), before, "what was there is kept as it was");

    // The others come back with empty folders, under new numbers.
    colony.start_all();
    let numbers = colony.all_vote("n1", 1);
    colony.same_digest();
    for node in NODES {
        colony.has(node, "first", "1");
        colony.has(node, "last", "2");
    }
    let status = until("the node tells of the cluster", || colony.status("n2"));
    assert_eq!(status.cluster_id.as_deref(), recovered["to"]["cluster_id"].as_str());

    // What was remembered still is, and whatever is handed out now is greater than all that was.
    assert_eq!(colony.at("n2", &named).with_code(0).json()["seq"], once["seq"]);
    let shown = colony.at("n2", &["task", "show", &task, "--json"]).with_code(0).json();
    assert!(shown.to_string().contains("work"), "{shown}");
    let (_, new_fence) = colony.claim_a_task("n3");
    assert!(fence < resumed && resumed < new_fence, "{fence}, {new_fence}");

    // A reader that has seen more than this is told, one that has not goes on.
    let certain = number(&recovered["from"], "certain_seq");
    let lost = colony
        .at("n2", &["events", "--after", &(certain + 1).to_string()])
        .with_code(1);
    let expected = format!("behind {certain}, up to where nothing was lost");
    assert!(
        lost.stderr.contains(&expected) && lost.stderr.contains(&resumed.to_string()),
        "{lost}"
    );
    colony.at("n2", &["events", "--after", &first.to_string()]).with_code(0);
    let after = colony.at("n2", &["events", "--after", &resumed.to_string(), "--json"]);
    assert!(!after.with_code(0).stdout.is_empty());

    // A node of the old cluster is told that it has ended.
    colony.kill("n2");
    let place = colony.folder_of("n2");
    fs::rename(&place, colony.folder().join("new-n2")).unwrap();
    copy(&old, &place);
    let said = match colony.try_start_node("n2") {
        Err(error) => error.to_string(),
        Ok(()) => colony.ended().log_tail.join("\n"),
    };
    assert!(
        said.contains("which has ended") && said.contains("queenright node replace n2"),
        "{said}"
    );
    assert!(
        said.contains(recovered["from"]["cluster_id"].as_str().unwrap()),
        "{said}"
    );
    colony.has("n1", "last", "2");
    let data = colony.folder().join("data");
    let replace = ["node", "replace", "n2", "--data", data.to_str().unwrap()];
    until("n2 may be replaced", || {
        (colony.at("n1", &replace).code == Some(0)).then_some(())
    });
    fs::create_dir(&place).unwrap();
    colony.start_node("n2");
    let second = until("n2 has a number that nobody had", || {
        let [first, second, third] = colony.all_vote("n1", 1);
        assert_eq!((first, third), (numbers[0], numbers[2]), "those of the others stay");
        (second != numbers[1]).then_some(second)
    });
    assert!(
        numbers.iter().all(|number| second > *number),
        "{second} after {numbers:?}"
    );
    colony.same_digest();
    colony.kill("n1");
    until("the two go on", || {
        let put = colony.at("n2", &["memory", "put", "after", "3"]);
        (put.code == Some(0)).then_some(())
    });
    colony.has("n3", "last", "2");
}

#[test]
fn it_can_be_interrupted_and_done_again_from_another_node_and_with_a_damaged_log() {
    let mut colony = Colony::start("recovered-again");
    colony.put("n1", "first", "1");
    colony.same_digest();
    colony.kill_all();

    // Whenever it is cut off, the folder is the old one or the new one, and another run goes through.
    for ms in [0, 2, 5, 10, 20, 40, 80, 160, 320] {
        let mut run = colony
            .recover_command("n2", &["--yes"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(ms));
        run.kill().unwrap();
        run.wait().unwrap();
        let looked = colony.recover("n2", &["--dry-run"]).with_code(0).json();
        let seq = number(&looked["from"], "seq");
        // The epoch of the first start, and the put.
        let old = 1..10;
        assert!(old.contains(&seq) || seq > JUMP, "after {ms} ms: {looked}");
    }
    // What such a run may leave.
    let copy = colony.folder_of("n2.recovering");
    fs::create_dir_all(copy.join("log")).unwrap();
    fs::write(copy.join("identity"), b"no identity").unwrap();
    let recovered = colony.recover("n2", &["--yes"]).with_code(0).json();
    let times = number(&recovered["to"], "recoveries");
    assert!(times >= 1 && !copy.exists(), "{recovered}");
    colony.lose("n1");
    colony.lose("n3");
    colony.start_all();
    colony.all_vote("n2", times);
    colony.has("n1", "first", "1");
    colony.put("n3", "second", "2");
    let before = colony.same_digest();

    // Again, from one that joined then. The folder of the first node is empty now.
    colony.kill_all();
    colony.lose("n1");
    colony.lose("n2");
    let again = colony.recover("n3", &["--yes"]).with_code(0).json();
    assert_eq!(number(&again["to"], "recoveries"), times + 1);
    assert_eq!(again["from"]["cluster_id"], recovered["to"]["cluster_id"]);
    colony.start_all();
    colony.all_vote("n3", times + 1);
    assert_ne!(colony.same_digest(), before);
    for node in NODES {
        colony.has(node, "first", "1");
        colony.has(node, "second", "2");
    }

    // A log that cannot be read: what the store has is taken, and that is said.
    colony.stop_node("n2");
    colony.kill_all_that_is_left();
    let logs = fs::read_dir(colony.folder_of("n2").join("log")).unwrap();
    let mut chunks: Vec<PathBuf> = logs.map(|entry| entry.unwrap().path()).collect();
    chunks.retain(|file| file.extension().is_some_and(|end| end == "wal"));
    chunks.sort();
    let mut bytes = fs::read(&chunks[0]).unwrap();
    bytes[50] ^= 1;
    fs::write(&chunks[0], bytes).unwrap();
    let damaged = colony.recover("n2", &["--yes"]).with_code(0).json();
    let reason = damaged["from"]["log_damage"].as_str().unwrap();
    assert!(reason.contains("n2/log/"), "{reason}");
    colony.lose("n1");
    colony.lose("n3");
    colony.start_all();
    colony.all_vote("n2", times + 2);
    colony.same_digest();
    colony.has("n1", "second", "2");
    colony.put("n1", "third", "3");
}
