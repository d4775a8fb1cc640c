//! Every reason for which a repository is not read, with a repository for which it holds.

use super::*;

#[test]
fn what_is_no_repository_is_named() {
    let rig = Rig::new();
    check_error(&rig.path("nothing"), "nothing\": no such file or directory");
    check_error(rig.0.path(), "not a git repository");
    std::fs::write(rig.path("file"), "text").unwrap();
    check_error(&rig.path("file"), "file\": not a git repository");
    check_error(&rig.path("file/below"), "no such file or directory");
    let error = Repository::open_with("no-such-git".as_ref(), rig.0.path()).unwrap_err();
    check_line(&error, "git: program not found");
}

#[test]
fn an_empty_repository_and_an_unknown_reference_are_told_apart() {
    let rig = Rig::new();
    rig.git(&["init", "--quiet", "empty"]);
    check_error(&rig.path("empty"), "is empty (it has no commit)");
    let repository = Repository::open(&rig.small()).unwrap();
    let tree = rig.id("HEAD^{tree}").to_string();
    let nothing = "1".repeat(40);
    for reference in [
        "nope",
        "",
        "-x",
        "--all",
        "HEAD~9",
        "HEAD:a",
        "HEAD..HEAD",
        "^HEAD",
        "a\0b",
        "a\nb",
        &tree,
        &nothing,
    ] {
        let error = repository.history(reference, None).unwrap_err();
        check_line(&error, &format!("{reference:?} names no commit"));
    }
    for reference in ["HEAD", "@", &rig.id("HEAD").to_string(), "HEAD^{}"] {
        assert_eq!(repository.history(reference, None).unwrap().total, 2, "{reference}");
    }
}

#[test]
fn a_shallow_clone_says_how_to_complete_it() {
    let rig = Rig::new();
    rig.small();
    rig.git(&["clone", "--quiet", "--depth=1", &rig.url("small"), "shallow"]);
    check_error(
        &rig.path("shallow"),
        "a shallow clone, its history is cut (complete it with `git fetch --unshallow`)",
    );
    rig.git(&["-C", "shallow", "fetch", "--quiet", "--unshallow"]);
    read_all(&rig.path("shallow")).unwrap();
}

#[test]
fn a_sha_256_repository_is_refused() {
    let rig = Rig::new();
    rig.git(&["init", "--quiet", "--object-format=sha256", "wide"]);
    check_error(&rig.path("wide"), "a SHA-256 repository");
}

#[test]
fn a_missing_or_damaged_object_is_named() {
    for name in ["HEAD", "HEAD~1", "HEAD^{tree}", "HEAD:b", "HEAD~1:a", "HEAD:b/c"] {
        for damage in [&b""[..], b"garbage"] {
            let rig = Rig::new();
            let root = rig.small();
            let id = rig.id(name);
            std::fs::remove_file(rig.loose(&id)).unwrap();
            if !damage.is_empty() {
                std::fs::write(rig.loose(&id), damage).unwrap();
            }
            check_error(&root, &format!("object {id} is missing or damaged"));
        }
    }
}

#[test]
fn a_blob_with_the_bytes_of_another_is_damaged_and_the_next_is_read() {
    let rig = Rig::new();
    let root = rig.small();
    let (one, two) = (rig.id("HEAD~1:a"), rig.id("HEAD:a"));
    std::fs::remove_file(rig.loose(&one)).unwrap();
    std::fs::copy(rig.loose(&two), rig.loose(&one)).unwrap();
    let mut blobs = Repository::open(&root).unwrap().blobs().unwrap();
    check_line(
        &blobs.read(&one).unwrap_err(),
        &format!("object {one} is missing or damaged"),
    );
    assert_eq!(blobs.read(&two).unwrap(), b"two");
    check_line(&blobs.read(&rig.id("HEAD")).unwrap_err(), "a commit where blob");
    assert_eq!(blobs.read(&two).unwrap(), b"two");
}

#[test]
fn nothing_is_fetched_for_a_partial_clone() {
    let rig = Rig::new();
    rig.small();
    rig.git(&["-C", "small", "config", "uploadpack.allowFilter", "true"]);
    for filter in ["blob:none", "tree:0"] {
        rig.git(&[
            "clone",
            "--quiet",
            "--no-checkout",
            "--filter",
            filter,
            &rig.url("small"),
            filter,
        ]);
        check_error(
            &rig.path(filter),
            "is missing or damaged (a partial clone does not suffice",
        );
        assert!(
            !rig.git(&["-C", filter, "rev-list", "--objects", "--all", "--missing=print"])
                .is_empty()
        );
    }
}

#[test]
fn the_refusal_of_a_repository_of_another_user_gives_the_remedy() {
    let rig = Rig::new();
    let root = rig.small().canonicalize().unwrap();
    let output = rig.git_with(
        &["-C", "small", "rev-parse"],
        &[("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")],
    );
    assert!(!output.status.success());
    let error = GitError::from_stderr(Path::new("/x"), "rev-parse", output.status, &output.stderr);
    let remedy = format!(
        "(if you trust it: `git config --global --add safe.directory {}`)",
        root.display()
    );
    check_line(&error, &remedy);
    let old = b"fatal: unsafe repository ('/it's' is owned by someone else)\nTo add an exception\n";
    let error = GitError::from_stderr(Path::new("/x"), "rev-parse", output.status, old);
    check_line(&error, r"safe.directory '/it'\''s'`");
}

#[test]
fn another_failure_of_git_shows_the_line_that_says_why() {
    let rig = Rig::new();
    let root = rig.small();
    std::fs::write(root.join(".git/config"), "[core]\nrepositoryformatversion = 99\n").unwrap();
    check_error(&root, "git rev-parse: Expected git repo version <= 1, found 99");
}
