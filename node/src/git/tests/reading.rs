//! What is read from a repository is what git has.

use super::*;

#[test]
fn the_changes_of_the_hard_history_give_the_tree_of_every_commit_tried() {
    let rig = Rig::new();
    let repository = rig.hard(COMMITS);
    let history = repository.history("HEAD", None).unwrap();
    assert_eq!((history.total, history.commits.len()), (COMMITS, COMMITS));
    assert_eq!(history.head, history.commits[COMMITS - 1].id);
    check_replay(&repository, &history, &[1, 2, 3, 50, 111, 222, 333, 444, 555]);
}

#[test]
fn the_oldest_commits_are_a_prefix_of_the_history() {
    let rig = Rig::new();
    let repository = rig.hard(80);
    let all = repository.history("main", None).unwrap();
    for count in [0, 1, 17, 80, 81] {
        let some = repository.history("main", Some(count)).unwrap();
        assert_eq!(some.commits, all.commits[..count.min(80)]);
        assert_eq!((some.total, some.head), (80, all.head));
    }
}

#[test]
fn every_blob_has_the_id_that_its_bytes_give() {
    let rig = Rig::new();
    let repository = rig.hard(COMMITS);
    let mut blobs = repository.blobs().unwrap();
    let (mut sizes, mut with_nul) = (BTreeSet::new(), 0);
    for change in repository
        .history("HEAD", None)
        .unwrap()
        .commits
        .iter()
        .flat_map(|commit| &commit.changes)
    {
        let Some(state) = change.after.filter(|state| state.mode != Mode::Submodule) else {
            continue;
        };
        let bytes = blobs.read(&state.id).unwrap();
        assert_eq!(blob_id(&bytes), state.id);
        sizes.insert(bytes.len());
        with_nul += usize::from(bytes.contains(&0));
    }
    assert!(sizes.contains(&0) && sizes.contains(&(300 * 1024)) && with_nul > 20);
}

#[test]
fn configuration_replacements_and_grafts_change_nothing() {
    let rig = Rig::new();
    let repository = rig.hard(80);
    let history = repository.history("HEAD", None).unwrap();
    for (key, value) in [
        ("diff.ignoreSubmodules", "all"),
        ("diff.renames", "copies"),
        ("diff.orderFile", "/dev/null"),
        ("diff.relative", "true"),
        ("core.quotePath", "true"),
        ("core.abbrev", "7"),
        ("log.showSignature", "true"),
        ("color.ui", "always"),
    ] {
        rig.git(&["-C", "hard", "config", key, value]);
    }
    let (old, new) = (history.commits[10].id.to_string(), history.commits[70].id.to_string());
    rig.git(&["-C", "hard", "replace", &new, &old]);
    std::fs::create_dir_all(rig.path("hard/.git/info")).unwrap();
    std::fs::write(rig.path("hard/.git/info/grafts"), format!("{} {old}\n", history.head)).unwrap();
    std::fs::create_dir(rig.path("hard/folder")).unwrap();
    std::fs::write(
        rig.path("hard/.gitmodules"),
        "[submodule \"s\"]\npath = vendor/lib-1\nignore = all\n",
    )
    .unwrap();
    let folder = Repository::open(&rig.path("hard/folder")).unwrap();
    assert_eq!(folder.history("HEAD", None).unwrap(), history);
    assert_eq!(tree(&folder, &history.head), tree(&repository, &history.head));
}

#[test]
fn inherited_variables_and_an_empty_home_change_nothing() {
    let rig = Rig::new();
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args([
        "--exact",
        "git::tests::reading::the_oldest_commits_are_a_prefix_of_the_history",
    ])
    .env("HOME", rig.0.path());
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_EXEC_PATH",
    ] {
        test.env(name, "/nowhere");
    }
    let output = test
        .env("GIT_CONFIG_COUNT", "many")
        .env("LC_ALL", "de_DE.UTF-8")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_bare_repository_and_a_linked_work_tree_are_read() {
    let rig = Rig::new();
    rig.small();
    rig.git(&["clone", "--quiet", "--bare", "small", "bare"]);
    rig.git(&["-C", "small", "worktree", "add", "--quiet", "../linked"]);
    for name in ["small", "small/b", "small/.git", "bare", "linked"] {
        read_all(&rig.path(name)).unwrap();
    }
}

#[test]
fn ids_and_modes_are_read_as_they_are_written() {
    let id = blob_id(b"");
    assert_eq!(id.to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    assert_eq!(serde_json::from_str::<ObjectId>(&format!("\"{id}\"")).unwrap(), id);
    for wrong in [
        "",
        "e6",
        &"g".repeat(40),
        &"1".repeat(41),
        &"1".repeat(64),
        &"\u{e9}".repeat(20),
    ] {
        assert!(wrong.parse::<ObjectId>().is_err(), "{wrong}");
    }
    assert_eq!(Mode::from_octal(b"100755"), Some(Mode::Executable));
    assert_eq!(Mode::from_octal(b"040000"), None);
}
