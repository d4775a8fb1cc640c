//! What is in a backup comes back whole, as another cluster, or not at all.

use bytes::Bytes;
use queenright_protocol::colony::{Body, Change, Command, Condition, Content, Op, Round};

use super::*;
use crate::consensus::LogOptions;
use crate::consensus::LogStore;
use crate::consensus::salvage;
use crate::replica::Replica;
use crate::store::StoreError;

/// A state with so many keys, each with a value of so many bytes.
fn colony(keys: u64, bytes: usize) -> Colony {
    let mut colony = Colony::default();
    for number in 1..=keys {
        let change = Change {
            key: format!("key/{number}").into(),
            op: Op::Put(Content::Inline(Bytes::from(vec![number as u8; bytes]))),
            tags: vec!["tag".into()],
            condition: Condition::None,
            caller: None,
        };
        let command = Command {
            number,
            settled: number.saturating_sub(2),
            expires_ms: u64::MAX,
            project: "p".into(),
            author: "ann".into(),
            idempotency_key: Some(format!("once {number}").into()),
            body: Body::Change(change),
            listed: false,
        };
        let round = Round {
            node: NodeId(1),
            incarnation: 1,
            commands: vec![command],
        };
        colony.apply(number, 0, &[round], NodeId(1));
    }
    colony
}

fn source(colony: &Colony) -> Source {
    let head = Head {
        cluster: "test".to_owned(),
        cluster_id: ClusterId([7; 16]),
        node: "n2".to_owned(),
        number: NodeId(2),
        ..Head::of(colony, (40, 3), 1_700_000_000_000)
    };
    Source::new(head, colony.clone())
}

fn written(colony: &Colony) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let end = source(colony).write(&mut bytes).unwrap();
    (bytes, end)
}

#[test]
fn what_was_written_is_read() {
    for (keys, bytes) in [(0, 0), (1, 0), (20, 100), (3, 200_000)] {
        let colony = colony(keys, bytes);
        let (written, end) = written(&colony);
        let backup = Backup::read(&*written).unwrap();
        assert_eq!((backup.colony.digest(), backup.end()), (colony.digest(), end));
        assert_eq!(backup.head(), source(&colony).head());
        let (head, checked) = Backup::check(&*written).unwrap();
        assert_eq!((&head, checked), (backup.head(), end));
    }
}

#[test]
fn one_that_was_cut_off_or_changed_anywhere_is_refused() {
    let (whole, _) = written(&colony(4, 60));
    for length in 0..whole.len() {
        let cut = &whole[..length];
        assert!(
            Backup::read(cut).is_err() && Backup::check(cut).is_err(),
            "cut at {length}"
        );
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(
            Backup::read(&*bytes).is_err() && Backup::check(&*bytes).is_err(),
            "changed at {at}"
        );
    }
    let mut longer = whole.clone();
    longer.push(0);
    let error = Backup::read(&*longer).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the backup is damaged: something follows its end");
    assert!(matches!(
        Backup::check(&b"no backup at all"[..]),
        Err(BackupError::NoBackup(_))
    ));
}

#[test]
fn another_format_is_named() {
    let source = source(&colony(1, 1));
    let head = Head {
        format: 9,
        build: "9.9.9".to_owned(),
        ..source.head.clone()
    };
    let mut bytes = Vec::new();
    Source::new(head, source.colony).write(&mut bytes).unwrap();
    let error = Backup::check(&*bytes).map(|_| ()).unwrap_err();
    let expected = "the backup has format 9, this program knows 1: use the build that wrote it, \"9.9.9\"";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_node_begins_with_it_as_another_cluster() {
    let place = tempfile::tempdir().unwrap();
    let options = RestoreOptions {
        folder: place.path().join("b"),
        name: "b".to_owned(),
        nodes: vec!["a".to_owned(), "b".to_owned()],
    };
    let before = colony(20, 100);
    let (bytes, _) = written(&before);
    let made = async |options: &RestoreOptions| restore(Backup::read(&*bytes).unwrap(), options).await;

    // What an interrupted run has left is in nobody's way; an empty folder gives way.
    std::fs::create_dir_all(place.path().join("b.restoring/log")).unwrap();
    std::fs::create_dir_all(&options.folder).unwrap();
    let restored = made(&options).await.unwrap();
    assert_eq!(restored.number, first_of_second_place());
    assert!(restored.seq > before.seq() && restored.cluster != ClusterId([7; 16]));
    assert!(!place.path().join("b.restoring").exists());

    let folder = crate::store::DataFolder::open(&options.folder, "b").unwrap();
    let identity = folder.identity().unwrap();
    assert_eq!((identity.cluster, identity.number), (restored.cluster, restored.number));
    let library = crate::consensus::Library::open(&folder.snapshot_path(), folder.path()).unwrap();
    let log = LogStore::open(&folder.log_path(), &LogOptions::default());
    let replica = Replica::new(restored.number);
    let read = salvage::read(log, &std::sync::Arc::new(library), &replica)
        .await
        .unwrap();
    assert_eq!(read.last(), (40, 3));
    let after = &read.colony;
    let records = |colony: &Colony| {
        let records = colony.project("p").unwrap().memory().range("", None);
        records
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(records(after), records(&before));
    assert_eq!((after.seq(), after.past().len()), (restored.seq, 1));
    assert!(after.epoch().is_none());
    drop(folder);

    let refused = made(&options).await.unwrap_err();
    assert!(matches!(refused, RestoreError::NotEmpty { .. }), "{refused}");
    // Two restores at a time are one too many.
    let other = RestoreOptions {
        folder: place.path().join("a"),
        name: "a".to_owned(),
        ..options
    };
    let work = place.path().join("a.restoring");
    std::fs::create_dir(&work).unwrap();
    let _held = crate::store::DataFolder::hold(&work, "a").unwrap();
    let refused = made(&other).await.unwrap_err();
    assert!(
        matches!(refused, RestoreError::Store(StoreError::InUse { .. })),
        "{refused}"
    );
}

fn first_of_second_place() -> NodeId {
    queenright_protocol::colony::first_number(1, 1)
}
