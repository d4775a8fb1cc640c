//! A node whose state is not that of the others: found, ended, kept as evidence, rebuilt.

use std::fs;
use std::path::Path;

use queenright_actors::store::{DataFolder, Pass, Records, Store, StoreOptions};
use queenright_bench::client::PutOptions;
use queenright_protocol::colony::{Body, Change, Colony, Command, Condition, Content, Op, Round};
use queenright_protocol::id::NodeId;

use crate::colony::{Colony as Nodes, NODES, until};

/// Entries between two comparisons.
const CHECKPOINT_ENTRIES: u64 = 1_000;

/// A put that stands in no log.
fn planted() -> Round {
    let change = Change {
        key: "planted".into(),
        op: Op::Put(Content::Inline("by no command".into())),
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    };
    let command = Command {
        number: 1,
        settled: 1,
        expires_ms: u64::MAX,
        project: "default".into(),
        author: "nobody".into(),
        idempotency_key: None,
        body: Body::Change(change),
        listed: false,
    };
    Round {
        node: NodeId(1),
        incarnation: u64::MAX,
        commands: vec![command],
    }
}

/// The state in a store, and what stands before it beside the position: its own part is the end that adds up.
fn restore(stored: &[u8], records: &Records) -> (Vec<u8>, Colony) {
    let found = (0..stored.len()).find_map(|at| {
        let meta = bincode::deserialize(&stored[at..]).ok()?;
        Some((stored[..at].to_vec(), Colony::restore(meta, records.clone()).ok()?))
    });
    found.expect("the store holds a state")
}

/// Puts another state in the place of the one that this node has stored, whole and with a digest that fits: such as a fault
/// in the rules or in memory would leave.
async fn plant(data: &Path, node: &str) {
    let folder = DataFolder::open(&data.join(node), node).unwrap();
    let (store, contents) = Store::open(&folder, &StoreOptions::default()).unwrap();
    let (head, mut colony) = restore(&contents.meta.unwrap(), &contents.records);
    colony.apply(colony.cluster_ms(), 0, &[planted()], NodeId::NONE);
    let mut pass = Some(Pass {
        changes: colony.pairs().map(|(key, value)| (key, Some(value))).collect(),
        meta: [head, bincode::serialize(&colony.meta()).unwrap()].concat(),
        more: false,
    });
    store.start(move || pass.take());
    store.close().await.unwrap();
}

#[test]
fn a_node_with_another_state_ends_keeps_it_as_evidence_and_rebuilds_its_own() {
    let mut colony = Nodes::start("diverged");
    let leader = colony.leader_at("n1", None);
    let wrong = NODES.into_iter().find(|node| *node != leader).unwrap();
    let right = NODES.into_iter().find(|node| ![wrong, &leader].contains(node)).unwrap();
    colony.at(right, &["memory", "put", "k", "v"]).with_code(0);
    colony.same_digest();
    colony.stop_node(wrong);
    let data = colony.folder().join("data");
    colony.block_on(plant(&data, wrong));
    colony.start_node(wrong);
    // It serves what nobody put, and does not know it yet.
    let planted = ["memory", "get", "planted", "--consistency", "local"];
    assert_eq!(colony.at(wrong, &planted).with_code(0).stdout, b"by no command");

    let client = colony.client(right, "writer");
    let applied = |colony: &Nodes| {
        let nodes = colony.status(right).expect("it runs").nodes;
        nodes
            .iter()
            .find(|node| node.name == right)
            .and_then(|node| node.applied)
    };
    colony.block_on(async {
        for number in 0..CHECKPOINT_ENTRIES {
            let (key, options) = (format!("k{}", number % 10), PutOptions::default());
            client.put(&key, "v".into(), &options).await.unwrap();
        }
    });
    assert!(applied(&colony).unwrap() > CHECKPOINT_ENTRIES);
    let ended = colony.ended();
    assert_eq!(ended.name, wrong);
    let log = ended.log_tail.join("\n");
    let why = format!("after log entry {CHECKPOINT_ENTRIES} the digest is ");
    assert!(
        log.contains("is not that of the majority: ") && log.contains(&why),
        "{log}"
    );
    colony.at(right, &["memory", "put", "k", "goes on"]).with_code(0);

    colony.start_node(wrong);
    let got = until("the node answers again", || {
        Some(colony.at(wrong, &["memory", "get", "k"])).filter(|ran| ran.code == Some(0))
    });
    assert_eq!(got.stdout, b"goes on");
    colony.at(wrong, &planted).with_code(1);
    colony.same_digest();
    let aside = fs::read_dir(data.join(wrong)).unwrap();
    let mut aside = aside
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("why").exists());
    let evidence = aside.next().expect("what was wrong is kept");
    assert!(fs::read_to_string(evidence.join("why")).unwrap().contains(&why));
    assert!(evidence.join("sled/db").exists());
}
