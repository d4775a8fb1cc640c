//! Checkouts into folders and work trees.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn tree(files: &[(&str, Mode, &str)]) -> BTreeMap<Vec<u8>, File> {
    let files = files.iter().map(|(path, mode, text)| {
        let bytes = text.as_bytes().to_vec().into();
        (path.as_bytes().to_vec(), File { mode: *mode, bytes })
    });
    files.collect()
}

fn plain(files: &[(&str, &str)]) -> BTreeMap<Vec<u8>, File> {
    tree(
        &files
            .iter()
            .map(|(path, text)| (*path, Mode::Regular, *text))
            .collect::<Vec<_>>(),
    )
}

#[test]
fn modes_links_and_folders_come_out_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let files = tree(&[
        ("a/b/run", Mode::Executable, "#!"),
        ("a/link", Mode::Symlink, "../nowhere"),
        ("plain", Mode::Regular, ""),
        ("vendored", Mode::Submodule, "id"),
    ]);
    let report = checkout(folder.path(), &files, false).unwrap();
    assert_eq!((report.written, report.deleted), (4, 0));
    let metadata = fs::metadata(folder.path().join("a/b/run")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o100, 0o100);
    assert_eq!(
        fs::read_link(folder.path().join("a/link")).unwrap(),
        Path::new("../nowhere")
    );
    assert!(folder.path().join("vendored").is_dir());
    let again = checkout(folder.path(), &files, false).unwrap();
    assert_eq!(
        (again.written, again.unchanged),
        (1, 3),
        "a folder for a submodule is made again"
    );
}

#[test]
fn what_an_earlier_checkout_wrote_is_replaced_and_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    checkout(folder.path(), &plain(&[("a/x", "1"), ("b", "1"), ("c", "1")]), false).unwrap();
    fs::write(at("a/mine"), "mine").unwrap();
    // A file becomes a folder, a folder a file.
    let report = checkout(folder.path(), &plain(&[("b/x", "2"), ("c", "2")]), false).unwrap();
    assert_eq!((report.written, report.deleted), (2, 2));
    assert_eq!(fs::read(at("b/x")).unwrap(), b"2");
    assert_eq!(fs::read(at("a/mine")).unwrap(), b"mine");
    assert!(!at("a/x").exists());
    checkout(folder.path(), &plain(&[("b", "3")]), false).unwrap();
    assert_eq!(fs::read(at("b")).unwrap(), b"3");
}

#[test]
fn what_somebody_else_wrote_or_changed_is_overwritten_by_force_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "x").unwrap();
    let refused = checkout(folder.path(), &plain(&[("a", "1")]), false);
    assert!(matches!(refused, Err(TreeError::NotEmpty { .. })));
    checkout(folder.path(), &plain(&[("a", "1")]), true).unwrap();
    fs::write(folder.path().join("a"), "changed").unwrap();
    for files in [plain(&[("a", "2")]), plain(&[]), plain(&[("a", "1"), ("mine", "y")])] {
        let refused = checkout(folder.path(), &files, false);
        assert!(matches!(refused, Err(TreeError::InTheWay { .. })), "{refused:?}");
    }
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"changed");
    checkout(folder.path(), &plain(&[("a", "2")]), true).unwrap();
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"2");
    assert_eq!(fs::read(folder.path().join("mine")).unwrap(), b"x");
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        "/etc/x",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        ".git/config",
        "a/.GIT/hooks/x",
        MANIFEST,
        "",
    ] {
        let refused = checkout(folder.path(), &plain(&[(path, "x")]), true);
        assert!(matches!(refused, Err(TreeError::Unsafe { .. })), "{path}");
    }
    let refused = checkout(folder.path(), &plain(&[("a", "x"), ("a/b", "x")]), true);
    assert!(matches!(refused, Err(TreeError::Unsafe { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn no_file_is_written_through_a_symbolic_link() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), folder.path().join("a")).unwrap();
    let refused = checkout(folder.path(), &plain(&[("a/x", "1")]), true);
    assert!(refused.is_err());
    // One that a checkout wrote itself gives way to a folder, and is not followed.
    let link = outside.path().to_str().unwrap();
    checkout(folder.path(), &tree(&[("b", Mode::Symlink, link)]), true).unwrap();
    checkout(folder.path(), &plain(&[("b/x", "1")]), true).unwrap();
    assert_eq!(fs::read(folder.path().join("b/x")).unwrap(), b"1");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new("git");
    command.arg("-C").arg(folder);
    command
        .args(["-c", "user.name=t", "-c", "user.email=t@t"])
        .args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn in_a_work_tree_of_git_what_is_committed_is_replaced_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (main, other) = (folder.path().join("main"), folder.path().join("other"));
    fs::create_dir(&main).unwrap();
    git(&main, &["init", "--quiet"]);
    // Nothing is committed yet.
    checkout(&main, &plain(&[("a", "1"), ("sub/gone", "1")]), false).unwrap();
    git(&main, &["add", "--all"]);
    git(&main, &["commit", "--quiet", "--message", "first"]);
    git(
        &main,
        &["worktree", "add", "--quiet", "--detach", other.to_str().unwrap()],
    );
    for tree in [&main, &other] {
        fs::write(tree.join("mine"), "mine").unwrap();
        let report = checkout(tree, &plain(&[("a", "2"), ("new", "2")]), false).unwrap();
        assert_eq!((report.written, report.deleted), (2, 1));
        // No notes lie between the files.
        let status = git(tree, &["status", "--porcelain", "--untracked-files=all"]);
        assert_eq!(status, " M a\n D sub/gone\n?? mine\n?? new\n");
    }
    // An edit that is committed gives way, one that is not does not.
    fs::write(main.join("a"), "edited").unwrap();
    let refused = checkout(&main, &plain(&[("a", "3"), ("new", "2")]), false);
    assert!(matches!(refused, Err(TreeError::InTheWay { .. })), "{refused:?}");
    git(&main, &["commit", "--quiet", "--all", "--message", "edited"]);
    checkout(&main, &plain(&[("a", "3"), ("new", "2")]), false).unwrap();
    assert_eq!(fs::read(main.join("a")).unwrap(), b"3");
    // A folder of a work tree is a folder like any other.
    let below = main.join("sub");
    checkout(&below, &plain(&[("x", "1")]), false).unwrap();
    fs::remove_file(below.join(MANIFEST)).unwrap();
    let refused = checkout(&below, &plain(&[("x", "2")]), false);
    assert!(matches!(refused, Err(TreeError::NotEmpty { .. })), "{refused:?}");
}
