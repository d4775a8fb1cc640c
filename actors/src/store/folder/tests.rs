use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a/data");
    (temp, path)
}

fn identity() -> Identity {
    Identity {
        cluster: ClusterId([7; 16]),
        number: NodeId(3),
        name: "n1".to_owned(),
    }
}

/// Replaces a byte of a file in the folder.
fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn error(path: &Path, name: &str) -> String {
    DataFolder::open(path, name).unwrap_err().to_string()
}

#[test]
fn identity_notes_and_incarnation_survive() {
    let (_temp, path) = temp();
    let folder = DataFolder::open(&path, "n1").unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!((folder.identity(), folder.incarnation()), (None, 1));
    assert_eq!(folder.note("founding").unwrap(), None);
    folder.set_note("founding", b"three nodes").unwrap();
    folder.set_note("founding", b"five nodes").unwrap();
    folder.set_identity(identity()).unwrap();
    drop(folder);
    let folder = DataFolder::open(&path, "n1").unwrap();
    assert_eq!((folder.identity(), folder.incarnation()), (Some(identity()), 2));
    assert_eq!(folder.note("founding").unwrap().unwrap(), b"five nodes");
    assert!(folder.log_path().is_dir() && folder.store_path().is_dir());
}

#[test]
fn a_second_opener_is_told_the_first() {
    let (_temp, path) = temp();
    let _first = DataFolder::open(&path, "n1").unwrap();
    let process = std::process::id();
    let expected = format!(
        "the data folder {} is in use by node \"n1\", process {process}",
        path.display()
    );
    assert_eq!(error(&path, "n2"), expected);
}

#[test]
fn a_lock_without_a_readable_holder_is_still_a_lock() {
    let (_temp, path) = temp();
    let _first = DataFolder::open(&path, "n1").unwrap();
    std::fs::write(path.join("lock"), [0xff, 0xfe]).unwrap();
    let expected = format!("the data folder {} is in use by another process", path.display());
    assert_eq!(error(&path, "n1"), expected);
}

#[test]
fn a_folder_has_one_name() {
    let (_temp, path) = temp();
    let folder = DataFolder::open(&path, "n1").unwrap();
    let other = Identity {
        name: "n2".to_owned(),
        ..identity()
    };
    assert!(matches!(folder.set_identity(other), Err(StoreError::OtherNode { .. })));
    drop(folder);
    let expected = format!(
        "the data folder {} belongs to node \"n1\", not to \"n2\"",
        path.display()
    );
    assert_eq!(error(&path, "n2"), expected);
    assert_eq!(DataFolder::open(&path, "n1").unwrap().incarnation(), 2);
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let (_temp, path) = temp();
    drop(DataFolder::open(&path, "n1").unwrap());
    write_record(&path.join("format"), Kind::Format, &7u32.to_be_bytes(), 4).unwrap();
    let expected = format!("{} has format 7, this program knows up to 2", path.display());
    assert_eq!(error(&path, "n1"), expected);
}

#[test]
fn a_file_in_the_way_is_named() {
    let (temp, _) = temp();
    let file = temp.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("data"), file.join("a/b")] {
        let expected = format!(
            "the data folder {} cannot be made: {} is not a folder",
            path.display(),
            file.display()
        );
        assert_eq!(error(&path, "n1"), expected);
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    let (_temp, path) = temp();
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o500)).unwrap();
    match DataFolder::open(&path, "n1") {
        Err(error) => assert!(error.to_string().contains("is not writable"), "{error}"),
        // Permissions do not bind the superuser.
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}

#[test]
fn a_damaged_small_file_stops_the_node_and_is_named() {
    for file in ["format", "identity", "notes/founding"] {
        let (_temp, path) = temp();
        let folder = DataFolder::open(&path, "n1").unwrap();
        folder.set_note("founding", b"three nodes").unwrap();
        drop(folder);
        let whole = std::fs::read(path.join(file)).unwrap();
        for at in 0..whole.len() {
            std::fs::write(path.join(file), &whole).unwrap();
            damage(&path.join(file), at);
            let result = DataFolder::open(&path, "n1").and_then(|folder| folder.note("founding"));
            match result {
                Err(StoreError::Damaged { file: named, .. }) => assert_eq!(named, path.join(file)),
                other => panic!("{file} at {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn names_and_sizes_of_notes_are_bounded() {
    let (_temp, path) = temp();
    let folder = DataFolder::open(&path, "n1").unwrap();
    for name in ["", "../identity", "A", "a.b", &"a".repeat(65)] {
        assert!(
            matches!(folder.set_note(name, b""), Err(StoreError::NoteName { .. })),
            "{name}"
        );
    }
    let large = vec![0; NOTE_BYTES_MAX + 1];
    assert!(matches!(
        folder.set_note("large", &large),
        Err(StoreError::TooLarge { .. })
    ));
    folder.set_note("large", &large[1..]).unwrap();
    assert_eq!(folder.note("large").unwrap().unwrap().len(), NOTE_BYTES_MAX);
}
