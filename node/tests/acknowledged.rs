//! What was acknowledged is there, whoever was killed: a client outside the cluster notes each acknowledgement on disk
//! before it counts it, while a replay goes on and nodes are killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::ProposalOutcome;
use queenright_bench::client::wire::{ProposalRequest, WriteRequest};
use queenright_bench::client::{Client, Lookup, PutOptions};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::colony::{Colony, NODES, until};
use crate::replay::{COMMITS, Running, committed, replay, repository};

/// The project of the client that notes its acknowledgements.
const PROJECT: &str = "noted";

/// An acknowledgement: this command left these keys with this value at these revisions.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    keys: Vec<String>,
    value: String,
    seq: u64,
    revisions: Vec<u64>,
}

/// A client that writes one new key or pair after the other, at the next node whenever one does not answer.
struct Noting {
    ended: Arc<AtomicBool>,
    file: PathBuf,
    running: JoinHandle<Counts>,
}

/// What the client was told.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    unknown: u64,
}

impl Noting {
    fn start(colony: &Colony) -> Noting {
        let ended = Arc::new(AtomicBool::new(false));
        let file = colony.folder().join("acknowledged.jsonl");
        let doors: Vec<Client> = NODES
            .iter()
            .map(|node| colony.client(node, "noting").in_project(PROJECT))
            .collect();
        let (running, writing) = (ended.clone(), File::create(&file).unwrap());
        let running = colony.spawn(async move { note_all(doors, writing, &running).await });
        Noting { ended, file, running }
    }

    /// Ends the client, and compares what it noted with what every node says.
    fn check(self, colony: &Colony) {
        self.ended.store(true, Ordering::Relaxed);
        let counts = colony.block_on(self.running).unwrap();
        let notes: Vec<Note> = BufReader::new(File::open(&self.file).unwrap())
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        println!("{counts:?}");
        assert_eq!(notes.len() as u64, counts.acknowledged);
        assert!(counts.acknowledged > 50, "{counts:?}");
        assert!(
            notes.is_sorted_by(|a, b| a.seq < b.seq),
            "one client's commands have one order"
        );
        for node in NODES {
            let client = colony.client(node, "noting").in_project(PROJECT);
            for note in &notes {
                for (key, revision) in note.keys.iter().zip(&note.revisions) {
                    let found = colony.block_on(client.get(key, Consistency::Linearizable)).unwrap();
                    let Lookup::Found(found) = found else {
                        panic!("{key} at {node}: {found:?}, acknowledged was {note:?}");
                    };
                    assert_eq!((found.revision, found.seq), (*revision, note.seq), "{key} at {node}");
                    assert_eq!(found.value, note.value.as_bytes(), "{key} at {node}");
                }
            }
        }
    }
}

async fn note_all(doors: Vec<Client>, mut file: File, ended: &AtomicBool) -> Counts {
    let mut counts = Counts::default();
    let mut at = 0;
    for number in 0.. {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        // Never again under the same name: what has no answer stays unknown.
        let value = format!("value {number}");
        let keys: Vec<String> = ["a", "b"]
            .iter()
            .take(1 + number % 2)
            .map(|key| format!("{key}{number}"))
            .collect();
        match write(&doors[at % doors.len()], &keys, &value).await {
            Ok((seq, revisions)) => {
                let note = Note {
                    keys,
                    value,
                    seq,
                    revisions,
                };
                writeln!(file, "{}", serde_json::to_string(&note).unwrap()).unwrap();
                file.sync_data().unwrap();
                counts.acknowledged += 1;
            }
            Err(maybe_done) => {
                counts.unknown += u64::from(maybe_done);
                at += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    counts
}

/// Writes one key by a put, or several by a proposal. An error says whether it may have been carried out.
async fn write(door: &Client, keys: &[String], value: &str) -> Result<(u64, Vec<u64>), bool> {
    if let [key] = keys {
        let value = Bytes::copy_from_slice(value.as_bytes());
        let changed = door.put(key, value, &PutOptions::default()).await;
        return match changed {
            Ok(changed) => Ok((changed.seq, vec![changed.revision])),
            Err(error) => Err(error.outcome_unknown()),
        };
    }
    let writes = keys.iter().map(|key| WriteRequest {
        key: key.clone(),
        put: Some(value.to_owned()),
        ..WriteRequest::default()
    });
    let proposal = ProposalRequest {
        reads: Vec::new(),
        writes: writes.collect(),
        priority: 0,
        ..ProposalRequest::default()
    };
    match door.propose(&proposal, None).await {
        Ok(ProposalOutcome::Committed { seq, revisions, .. }) => Ok((seq, revisions)),
        Ok(ProposalOutcome::Lost(loss)) => panic!("a proposal without reads lost: {loss:?}"),
        Err(error) => Err(error.outcome_unknown()),
    }
}

/// Waits until this part of the replay is committed, as some node knows.
fn wait_for(colony: &Colony, witness: &str, commits: usize) {
    until("a part of the replay", || {
        (committed(colony, witness) >= commits).then_some(())
    });
}

/// The replay must end equal on all nodes, each commit committed once.
fn check_replay(running: Running, repository: &Path) {
    let report = running.wait().with_code(0).json();
    assert_eq!(report["equal"], true, "{}: {report:#}", repository.display());
    for all in ["commits", "proposals_committed"] {
        assert_eq!(report[all], COMMITS, "{report:#}");
    }
    for node in report["nodes"].as_array().unwrap() {
        assert_eq!(node["equal"], true, "{report:#}");
        assert_eq!(node["tree_digest"], report["nodes"][0]["tree_digest"], "{report:#}");
    }
}

#[test]
fn a_replay_whose_leader_dies_at_a_third_and_a_follower_at_two_thirds_ends_equal_and_loses_nothing() {
    let mut colony = Colony::start("thirds");
    let repository = repository(&colony);
    let noting = Noting::start(&colony);
    let leader = colony.leader_at("n1", None);
    let witness = NODES.into_iter().find(|node| *node != leader).unwrap();
    let running = Running::start(replay(&colony, &repository, &["--agents", "12"]));
    wait_for(&colony, witness, COMMITS / 3);
    colony.kill(&leader);
    colony.leader_at(witness, Some(&leader));
    colony.start_node(&leader);

    wait_for(&colony, witness, COMMITS * 2 / 3);
    let leads = colony.leader_at(witness, None);
    let follower = NODES.into_iter().find(|node| *node != leads).unwrap();
    colony.kill(follower);
    std::thread::sleep(Duration::from_secs(1));
    colony.start_node(follower);
    check_replay(running, &repository);
    noting.check(&colony);
    colony.same_digest();
}

#[test]
fn a_replay_whose_nodes_are_all_killed_at_once_goes_on_when_they_are_back_and_loses_nothing() {
    let mut colony = Colony::start("all-at-once");
    let repository = repository(&colony);
    let noting = Noting::start(&colony);
    let running = Running::start(replay(&colony, &repository, &["--agents", "12"]));
    wait_for(&colony, "n2", COMMITS / 3);
    colony.kill_all();
    colony.start_all();
    check_replay(running, &repository);
    noting.check(&colony);
    colony.same_digest();
}
