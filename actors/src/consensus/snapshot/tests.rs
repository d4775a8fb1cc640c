//! What is in a snapshot comes back whole, or not at all.

use std::collections::BTreeSet;

use bytes::Bytes;
use openraft::Membership;
use openraft::alias::LeaderIdOf;
use openraft::type_config::alias::{LogIdOf, StoredMembershipOf};
use openraft::vote::RaftLeaderIdExt;
use queenright_protocol::colony::{Body, Change, Command, Condition, Content, Op, Round};
use queenright_protocol::id::NodeId;
use tempfile::TempDir;

use super::*;

struct Rig {
    data: TempDir,
    colony: Colony,
    commands: u64,
}

impl Rig {
    fn new() -> Rig {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("snapshot")).unwrap();
        Rig {
            data,
            colony: Colony::default(),
            commands: 0,
        }
    }

    fn library(&self) -> Library {
        Library::open(&self.data.path().join("snapshot"), self.data.path()).unwrap()
    }

    /// Puts values of so many bytes under new keys.
    fn put(&mut self, keys: u64, bytes: usize) {
        for _ in 0..keys {
            self.commands += 1;
            let number = self.commands;
            let change = Change {
                key: format!("key/{number}").into(),
                op: Op::Put(Content::Inline(Bytes::from(vec![number as u8; bytes]))),
                tags: vec!["tag".into()],
                condition: Condition::None,
                caller: None,
            };
            let round = Round {
                node: NodeId(1),
                incarnation: 1,
                commands: vec![Command {
                    number,
                    settled: number.saturating_sub(2),
                    expires_ms: u64::MAX,
                    project: "p".into(),
                    author: "ann".into(),
                    idempotency_key: Some(format!("once {number}").into()),
                    body: Body::Change(change),
                    listed: false,
                }],
            };
            self.colony.apply(number, 0, &[round], NodeId(1));
        }
    }

    fn meta(&self) -> Meta {
        let last = LogIdOf::<TypeConfig>::new(LeaderIdOf::<TypeConfig>::new_committed(3, 2), self.commands);
        let voters = BTreeSet::from([1, 2, 3]);
        Meta {
            last_log_id: Some(last),
            last_membership: StoredMembershipOf::<TypeConfig>::new(
                Some(last),
                Membership::new_with_defaults(vec![voters], []),
            ),
        }
    }

    fn build(&self, library: &Library) -> Arc<Snapshot> {
        library.build(&self.colony, &self.meta()).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data.path().join("snapshot")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn set_aside(&self) -> usize {
        let entries = std::fs::read_dir(self.data.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("damaged-"))
            .count()
    }
}

#[test]
fn a_snapshot_read_back_is_the_state_with_its_position_and_members() {
    // Nothing, less than a block, some blocks, and values larger than a block.
    for (keys, bytes) in [(0, 0), (3, 10), (300, 1_000), (4, 200_000)] {
        let mut rig = Rig::new();
        rig.put(keys, bytes);
        let built = rig.build(&rig.library());
        let library = rig.library();
        let found = library.newest().unwrap();
        assert_eq!((found.meta(), found.head), (&rig.meta(), built.head));
        let read = found.read().unwrap();
        assert_eq!(read.digest(), rig.colony.digest());
        assert_eq!(read.to_bytes(), rig.colony.to_bytes());
        assert_eq!(found.bytes(), std::fs::metadata(&rig.files()[0]).unwrap().len());
    }
}

#[test]
fn the_two_newest_are_kept() {
    let mut rig = Rig::new();
    let library = rig.library();
    let mut oldest = None;
    for _ in 0..4 {
        rig.put(1, 10);
        let built = rig.build(&library);
        oldest.get_or_insert(built);
    }
    assert_eq!(rig.files().len(), KEPT_MAX);
    assert_eq!(library.newest().unwrap().index(), 4);
    assert_eq!(library.newest_at(3).unwrap().index(), 3);
    assert!(library.newest_at(2).is_none());
    // Whoever holds one can read it although its name is gone.
    oldest.unwrap().read().unwrap();
    assert_eq!(rig.library().newest().unwrap().index(), 4);
}

#[test]
fn one_in_the_making_is_removed_at_the_start() {
    let mut rig = Rig::new();
    rig.put(1, 10);
    rig.build(&rig.library());
    let torn = rig.data.path().join("snapshot/0011-2233.part");
    std::fs::write(&torn, b"torn").unwrap();
    assert_eq!(rig.library().newest().unwrap().index(), 1);
    assert!(!torn.exists());
    assert_eq!(rig.set_aside(), 0);
}

#[test]
fn any_flipped_bit_and_any_cut_is_found_and_the_one_before_is_left() {
    let mut rig = Rig::new();
    let library = rig.library();
    rig.put(2, 10);
    rig.build(&library);
    let older = rig.colony.digest();
    rig.put(90, 1_000);
    rig.build(&library);
    let newest = rig.files().pop().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    assert!(whole.len() > file::BLOCK_BYTES, "more than one block");
    let flips = (0..60).chain((60..whole.len()).step_by(1_499)).chain([whole.len() - 1]);
    let flipped = flips.map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        damaged
    });
    let cut = [0, 1, 51, 52, 60, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
    let longer = [whole.iter().chain(b"x").copied().collect()];
    for damaged in flipped.chain(cut).chain(longer) {
        std::fs::write(&newest, &damaged).unwrap();
        let library = rig.library();
        assert!(!newest.exists(), "it was set aside");
        assert_eq!(library.set_aside().len(), 1);
        let left = library.newest().unwrap();
        assert_eq!(left.read().unwrap().digest(), older);
    }
    assert!((1..=damaged::DAMAGED_MAX).contains(&rig.set_aside()));
}

#[test]
fn blocks_in_another_order_are_found() {
    let mut rig = Rig::new();
    rig.put(300, 1_000);
    rig.build(&rig.library());
    let path = rig.files().pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let (first, second) = bytes[52..].split_at_mut(file::BLOCK_BYTES);
    first.swap_with_slice(&mut second[..file::BLOCK_BYTES]);
    std::fs::write(&path, bytes).unwrap();
    assert!(rig.library().newest().is_none());
}

#[test]
fn damage_behind_the_newest_is_found_when_it_is_read() {
    let mut rig = Rig::new();
    let library = rig.library();
    rig.put(100, 1_000);
    rig.build(&library);
    rig.put(1, 10);
    rig.build(&library);
    let older = rig.files()[0].clone();
    let mut bytes = std::fs::read(&older).unwrap();
    // The first block says the position, and is read at the start.
    let last = bytes.len() - 1;
    bytes[last] ^= 4;
    std::fs::write(&older, bytes).unwrap();
    let library = rig.library();
    let found = library.newest_at(100).unwrap();
    assert!(matches!(found.read(), Err(SnapshotError::Damaged(_))));
    found.discard(&library, "damaged").unwrap();
    assert!(library.newest_at(100).is_none());
    assert_eq!((library.set_aside().len(), rig.set_aside()), (1, 1));
}

proptest::proptest! {
    #[test]
    fn heads_of_any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        assert!(file::Head::decode(&bytes).is_err());
    }
}
