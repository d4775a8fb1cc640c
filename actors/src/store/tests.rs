//! The promises of the store: what is in it after passes, kills and damage.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn folder() -> (TempDir, DataFolder) {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&temp.path().join("data"), "n1").unwrap();
    (temp, folder)
}

/// Opens a store that nobody has. A lock outlives its file for a moment while another test starts a process: until that
/// executes its program it has all files of this one.
fn open(folder: &DataFolder) -> (Store, Contents) {
    let begun = Instant::now();
    loop {
        match Store::open(folder, &StoreOptions::default()) {
            Err(StoreError::InUse { .. }) if begun.elapsed() < Duration::from_secs(30) => {
                thread::sleep(Duration::from_millis(10))
            }
            opened => return opened.unwrap(),
        }
    }
}

/// A source to which passes are given by hand, and its end for the store.
fn queue() -> (mpsc::Sender<Pass>, impl FnMut() -> Option<Pass> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "the test puts a few passes in")]
    let (passes, queue) = mpsc::channel();
    (passes, move || queue.try_recv().ok())
}

fn pass(meta: &str, changes: &[(&str, Option<&str>)]) -> Pass {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let changes = changes.iter().map(|(key, value)| (bytes(key), value.map(bytes)));
    Pass {
        changes: changes.collect(),
        meta: bytes(meta),
        more: false,
    }
}

fn apply(model: &mut Model, pass: &Pass) {
    for (key, value) in &pass.changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

#[tokio::test]
async fn a_fresh_store_is_empty_and_keeps_its_one_version() {
    let (_temp, folder) = folder();
    let (store, contents) = open(&folder);
    assert_eq!(contents, Contents::default());
    let (passes, source) = queue();
    store.start(source);
    passes
        .send(pass("1", &[("a", Some("1")), ("b", Some("2")), ("ab", Some("3"))]))
        .unwrap();
    store.flush().await.unwrap();
    passes.send(pass("2", &[("a", None), ("b", Some("4"))])).unwrap();
    store.sync().await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.passes(), 2, "a flush of nothing is no pass");
    assert_eq!(store.scan(b"a").await.unwrap(), [(b"ab".to_vec(), b"3".to_vec())]);
    assert_eq!(store.blobs().unwrap(), 0);
    assert!(store.size_on_disk().unwrap() > 0);
    store.close().await.unwrap();
    assert!(matches!(store.flush().await, Err(StoreError::Closed)));
    let (_store, contents) = open(&folder);
    assert_eq!(contents.meta.as_deref(), Some(b"2".as_slice()));
    assert_eq!(
        contents.records,
        [(b"ab".to_vec(), b"3".to_vec()), (b"b".to_vec(), b"4".to_vec())]
    );
}

#[tokio::test]
async fn a_wake_writes_what_is_dirty_and_closing_writes_the_rest() {
    let (_temp, folder) = folder();
    let (store, _) = open(&folder);
    let (passes, source) = queue();
    store.start(source);
    passes.send(pass("1", &[])).unwrap();
    store.wake();
    assert_eq!(store.wait_pass_after(0).await.unwrap(), 1);
    passes.send(pass("2", &[("k", Some("v"))])).unwrap();
    store.close().await.unwrap();
    assert_eq!(open(&folder).1.meta.unwrap(), b"2");
}

#[tokio::test]
async fn a_store_that_this_process_has_open_is_in_use_and_not_damaged() {
    let (_temp, folder) = folder();
    let (_store, _) = open(&folder);
    let error = Store::open(&folder, &StoreOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_pass_that_cannot_be_written_stops_the_store_and_changes_nothing() {
    let (_temp, folder) = folder();
    let (store, _) = open(&folder);
    let (passes, source) = queue();
    store.start(source);
    passes.send(pass("1", &[("a", Some("1"))])).unwrap();
    store.flush().await.unwrap();
    let mut bad = pass("2", &[("a", Some("2"))]);
    bad.changes.push((vec![0; KEY_BYTES_MAX + 1], None));
    passes.send(bad).unwrap();
    let error = store.flush().await.unwrap_err();
    let expected = "the store has stopped: a key of 4097 B is over the limit of 4096 B";
    assert_eq!(error.to_string(), expected);
    assert_eq!(&*store.failed().await, &expected[23..]);
    assert!(store.wait_pass_after(1).await.is_err());
    assert!(store.close().await.is_err());
    assert_eq!(open(&folder).1.meta.unwrap(), b"1");
}

#[tokio::test]
async fn a_source_that_panics_stops_the_store() {
    let (_temp, folder) = folder();
    let (store, _) = open(&folder);
    store.start(|| panic!("out of order"));
    assert_eq!(
        store.flush().await.unwrap_err().to_string(),
        "the store has stopped: panic: out of order"
    );
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_set_aside() {
    let (_temp, folder) = folder();
    let sled_path = folder.store_path().join("sled");
    let db = sled::open(&sled_path).unwrap();
    db.insert(
        [0],
        record::encode(record::Kind::Format, &[0], &9u32.to_be_bytes()).unwrap(),
    )
    .unwrap();
    drop(db);
    let error = Store::open(&folder, &StoreOptions::default()).err().unwrap();
    let expected = format!("{} has format 9, this program knows up to 2", sled_path.display());
    assert_eq!(error.to_string(), expected);
}

fn change() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
    let key = prop::collection::vec(0..3_u8, 0..4);
    let length = prop_oneof![4 => 0..300_usize, 1 => 6_000..30_000_usize];
    (
        key,
        prop::option::weighted(0.7, length.prop_map(|length| vec![length as u8; length])),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_store_equals_a_map_across_passes_and_reopening(
        runs in prop::collection::vec(prop::collection::vec(prop::collection::vec(change(), 0..40), 0..4), 1..4),
    ) {
        let on = runtime();
        let (_temp, folder) = folder();
        let (mut model, mut version) = (Model::new(), 0_u32);
        for run in runs {
            let (store, contents) = open(&folder);
            prop_assert_eq!(contents.set_aside, None);
            prop_assert_eq!(contents.meta, (version > 0).then(|| version.to_be_bytes().to_vec()));
            prop_assert_eq!(contents.records, Vec::from_iter(model.clone()));
            let (passes, source) = queue();
            store.start(source);
            for changes in run {
                version += 1;
                let pass = Pass { changes, meta: version.to_be_bytes().to_vec(), more: false };
                apply(&mut model, &pass);
                passes.send(pass).unwrap();
                on.block_on(store.flush()).unwrap();
                let stored = on.block_on(store.scan(b"")).unwrap();
                prop_assert_eq!(stored, Vec::from_iter(model.clone()));
                let some: Vec<_> = model.clone().into_iter().filter(|(key, _)| key.starts_with(&[1])).collect();
                prop_assert_eq!(on.block_on(store.scan(&[1])).unwrap(), some);
            }
            prop_assert_eq!(store.blobs().unwrap(), 0);
            on.block_on(store.close()).unwrap();
        }
    }
}

const CRASH_FOLDER: &str = "QUEENRIGHT_TEST_CRASH_FOLDER";

/// The pass that makes version `version`: which keys change, and to what, follows from the number alone.
fn numbered_pass(version: u64) -> Pass {
    use rand::{Rng, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(version);
    // Now and then one that goes over several segments of sled's file, so that kills meet half-written batches.
    let count = if version % 16 == 7 {
        6_000
    } else {
        random.random_range(1..200)
    };
    let changes = (0..count).map(|_| {
        let key = format!("key/{}", random.random_range(0..2_000)).into_bytes();
        let length = if random.random_bool(0.02) {
            random.random_range(7_000..40_000)
        } else {
            random.random_range(0..400)
        };
        let value = random.random_bool(0.8).then(|| vec![version as u8; length]);
        (key, value)
    });
    Pass {
        changes: changes.collect(),
        meta: version.to_be_bytes().to_vec(),
        more: false,
    }
}

fn version_of(contents: &Contents) -> u64 {
    contents
        .meta
        .as_ref()
        .map_or(0, |meta| u64::from_be_bytes(meta.as_slice().try_into().unwrap()))
}

/// Writes passes until it is killed, and says which were answered.
fn write_until_killed(path: &Path) {
    let folder = DataFolder::open(path, "n1").unwrap();
    let (store, contents) = open(&folder);
    let mut version = version_of(&contents);
    let (passes, source) = queue();
    store.start(source);
    let on = runtime();
    loop {
        version += 1;
        passes.send(numbered_pass(version)).unwrap();
        on.block_on(store.flush()).unwrap();
        println!("written {version}");
        std::io::stdout().flush().unwrap();
    }
}

/// The child is this test itself, called with a folder in its environment.
#[test]
fn a_killed_process_leaves_exactly_one_version_and_none_that_was_answered_is_lost() {
    if let Some(path) = std::env::var_os(CRASH_FOLDER) {
        write_until_killed(Path::new(&path));
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let (mut model, mut applied) = (Model::new(), 0);
    for round in 0.. {
        if round >= 10 && applied > 20 {
            break;
        }
        assert!(round < 60, "only {applied} passes were written, so nothing was tested");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("store::tests::a_killed_process_leaves_exactly_one_version_and_none_that_was_answered_is_lost")
            .env(CRASH_FOLDER, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let written = lines
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix("written ")?.parse().ok());
            written.last().unwrap_or(0)
        });
        // Some of the kills meet the start; none is timed by what the child does. Where it is slow it gets more time.
        std::thread::sleep(Duration::from_millis(60 + round * 37 % 250 + round / 10 * 200));
        child.kill().unwrap();
        child.wait().unwrap();
        let answered: u64 = reader.join().unwrap();
        let folder = DataFolder::open(&path, "n1").unwrap();
        let (store, contents) = open(&folder);
        assert_eq!(contents.set_aside, None, "round {round}");
        let version = version_of(&contents);
        assert!(
            version >= answered && version >= applied,
            "round {round}: {version}, answered {answered}"
        );
        while applied < version {
            applied += 1;
            apply(&mut model, &numbered_pass(applied));
        }
        assert!(
            contents.records == Vec::from_iter(model.clone()),
            "round {round}: not the contents of {version}"
        );
        let on = runtime();
        on.block_on(store.close()).unwrap();
    }
}

/// The version that a filled store has.
const FILLED: u64 = 6;

/// A store with a few hundred records, closed.
fn filled(folder: &DataFolder) {
    let on = runtime();
    let (store, _) = open(folder);
    let mut version = 0;
    store.start(move || {
        version += 1;
        (version <= FILLED).then(|| numbered_pass(version))
    });
    for _ in 0..FILLED {
        on.block_on(store.flush()).unwrap();
    }
    on.block_on(store.close()).unwrap();
}

/// Either the store is what it was, or it was set aside and is empty; nothing else, and no panic.
fn open_damaged(folder: &DataFolder) -> bool {
    let on = runtime();
    let (store, contents) = open(folder);
    let Some(aside) = &contents.set_aside else {
        let mut model = Model::new();
        (1..=FILLED).for_each(|version| apply(&mut model, &numbered_pass(version)));
        assert_eq!(version_of(&contents), FILLED);
        assert!(contents.records == Vec::from_iter(model), "damage was read as data");
        on.block_on(store.close()).unwrap();
        return false;
    };
    assert!(aside.is_dir() && contents.records.is_empty() && contents.meta.is_none());
    let (passes, source) = queue();
    store.start(source);
    passes.send(pass("again", &[("a", Some("1"))])).unwrap();
    on.block_on(store.close()).unwrap();
    let (store, contents) = open(folder);
    assert_eq!(contents.meta.as_deref(), Some(b"again".as_slice()));
    on.block_on(store.close()).unwrap();
    true
}

/// Copies sled's folder, which holds files and one folder without any.
fn copy_sled(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.join("blobs")).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn damage_is_set_aside_and_never_read_as_data() {
    let (temp, folder) = folder();
    filled(&folder);
    let sled_path = folder.store_path().join("sled");
    let saved = temp.path().join("saved");
    copy_sled(&sled_path, &saved);
    std::fs::copy(folder.store_path().join("synced"), temp.path().join("synced")).unwrap();
    let length = std::fs::metadata(saved.join("db")).unwrap().len() as usize;
    assert!(!open_damaged(&folder), "an undamaged store was set aside");
    let mut set_aside = 0;
    for round in 0..12 {
        copy_sled(&saved, &sled_path);
        std::fs::copy(temp.path().join("synced"), folder.store_path().join("synced")).unwrap();
        let mut bytes = std::fs::read(sled_path.join("db")).unwrap();
        let at = round * 7_919 * 31 % length;
        let until = (at + [1, 64, 4_096][round % 3]).min(length);
        bytes[at..until].iter_mut().for_each(|byte| *byte ^= 0x55);
        if round % 6 == 5 {
            bytes.truncate(length / 2);
        }
        std::fs::write(sled_path.join("db"), bytes).unwrap();
        set_aside += u32::from(open_damaged(&folder));
    }
    assert!(set_aside > 0, "no damage was noticed");
    let names = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let kept = names
        .filter(|name| name.to_string_lossy().starts_with("damaged-"))
        .count();
    assert!(
        (1..=damaged::DAMAGED_MAX).contains(&kept),
        "{kept} stores that were set aside are kept"
    );
}

#[test]
fn half_written_snapshots_of_sleds_page_table_are_removed() {
    let (_temp, folder) = folder();
    filled(&folder);
    let torn = folder.store_path().join("sled/snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(&torn, b"torn").unwrap();
    let (_store, contents) = open(&folder);
    assert!(!torn.exists() && contents.set_aside.is_none() && contents.meta.is_some());
}

#[test]
fn a_store_of_something_else_is_set_aside() {
    for (key, value) in [
        (vec![9, 0, 0], vec![1]),
        (vec![2, b'k', 0, 0], vec![]),
        (vec![0], vec![1, 2, 3]),
    ] {
        let (_temp, folder) = folder();
        let db = sled::open(folder.store_path().join("sled")).unwrap();
        db.insert(key, value).unwrap();
        drop(db);
        let (_store, contents) = open(&folder);
        assert!(contents.set_aside.is_some() && contents.meta.is_none());
    }
}
