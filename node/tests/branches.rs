//! Branches of a repository as proposals, and what was agreed on as files again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use queenright::git::generate::{GenerateOptions, generate};
use queenright::tree::MANIFEST;
use serde_json::Value;

use crate::colony::{Colony, Ran};
use crate::git::git;

/// A repository with a branch `main` and nothing else, checked out.
fn repository(folder: &Path) -> PathBuf {
    let repository = folder.join("repository");
    let options = GenerateOptions { seed: 3, commits: 5 };
    generate(&repository, options).unwrap();
    git(&repository, &["reset", "--quiet", "--hard"]);
    repository
}

/// The first source file: it has forty lines at least.
fn source(repository: &Path) -> String {
    let files = git(repository, &["ls-files", "src"]);
    String::from_utf8(files).unwrap().lines().next().unwrap().to_owned()
}

/// Makes a branch that leaves from `main`.
fn branch(repository: &Path, name: &str, edit: impl FnOnce(&Path)) {
    git(repository, &["checkout", "--quiet", "-b", name, "main"]);
    edit(repository);
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message", name]);
}

fn prepend(path: &Path, line: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, format!("{line}\n{text}")).unwrap();
}

fn append(path: &Path, line: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, format!("{text}{line}\n")).unwrap();
}

fn propose(colony: &Colony, node: &str, repository: &Path, range: &str, more: &[&str]) -> Ran {
    let repository = repository.to_str().unwrap();
    let arguments = ["propose", "--json", "--git", range, "--repo", repository];
    colony.at(node, &[&arguments[..], more].concat())
}

fn first_kind(lost: &Value) -> &str {
    lost["conflicts"][0]["kind"].as_str().unwrap()
}

/// The id that git gives to the files of a folder.
pub(crate) fn tree_of(repository: &Path, folder: &Path) -> String {
    let work_tree = format!("--work-tree={}", folder.display());
    let but_notes = format!(":!{MANIFEST}");
    git(repository, &[&work_tree, "add", "--all", "--", ".", &but_notes]);
    String::from_utf8(git(repository, &["write-tree"])).unwrap()
}

#[test]
fn two_branches_that_are_proposed_and_checked_out_are_what_git_merges() {
    let colony = Colony::start("branches");
    let repository = repository(colony.folder());
    let source = source(&repository);
    branch(&repository, "one", |at| {
        prepend(&at.join(&source), "// One was here.");
        fs::create_dir(at.join("new")).unwrap();
        fs::write(at.join("new/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(at.join("new/run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("new/run", at.join("link")).unwrap();
        fs::write(at.join("bytes"), b"\xff\0\xfe").unwrap();
        fs::remove_file(at.join("Cargo.toml")).unwrap();
    });
    branch(&repository, "two", |at| {
        append(&at.join(&source), "// Two as well.");
        append(&at.join("README.md"), "And more.");
    });
    branch(&repository, "other", |at| {
        prepend(&at.join(&source), "// Somebody else.")
    });

    let all = propose(&colony, "n1", &repository, "main", &[]).with_code(0).json();
    assert_eq!((&all["verdict"], &all["base"]), (&"committed".into(), &Value::Null));
    let one = propose(&colony, "n2", &repository, "main..one", &["--message", "One"])
        .with_code(0)
        .json();
    assert_eq!((&one["paths"], &one["attempts"]), (&5.into(), &1.into()), "{one}");
    let head = one["head"].as_str().unwrap();
    let note = colony
        .at("n3", &["memory", "get", &format!("proposals/git/{head}")])
        .with_code(0);
    assert!(
        String::from_utf8_lossy(&note.stdout).contains("\"message\":\"One\""),
        "{note}"
    );

    // What the branch found is no longer there.
    let lost = propose(&colony, "n3", &repository, "main..two", &[])
        .with_code(3)
        .json();
    assert_eq!(first_kind(&lost), "stale_read", "{lost}");
    let check = format!("grep -q 'One was here' {source} && grep -q 'Two as well' {source} && test -L link");
    let dry = ["--merge", "--dry-run"];
    let dry = propose(&colony, "n3", &repository, "main..two", &dry)
        .with_code(0)
        .json();
    assert_eq!(dry["merged"].as_array().unwrap().len(), 1, "{dry}");
    let two = ["--merge", "--check", &check];
    let two = propose(&colony, "n3", &repository, "main..two", &two)
        .with_code(0)
        .json();
    assert_eq!(
        (two["merged"].as_array().unwrap().len(), &two["attempts"]),
        (1, &1.into()),
        "{two}"
    );

    let lost = propose(&colony, "n1", &repository, "main..other", &["--merge"])
        .with_code(3)
        .json();
    assert_eq!(first_kind(&lost), "merge", "{lost}");
    let hunk = &lost["conflicts"][0]["merge"]["lines"]["listed"][0];
    assert_eq!(
        (&hunk["ours"], &hunk["theirs"]),
        (&"// One was here.\n".into(), &"// Somebody else.\n".into())
    );

    let out = colony.folder().join("out");
    let folder = out.to_str().unwrap();
    colony.at("n2", &["memory", "checkout", folder]).with_code(0);
    git(&repository, &["checkout", "--quiet", "-b", "merged", "one"]);
    git(&repository, &["merge", "--quiet", "--message", "merged", "two"]);
    let merged = String::from_utf8(git(&repository, &["rev-parse", "HEAD^{tree}"])).unwrap();
    let work_tree = format!("--work-tree={folder}");
    git(&repository, &[&work_tree, "diff", "--exit-code", "HEAD"]);
    assert_eq!(tree_of(&repository, &out), merged);

    // Back to what `main` was: what one brought goes from the folder, what somebody else wrote there stays.
    git(&repository, &["reset", "--quiet", "--hard"]);
    git(&repository, &["checkout", "--quiet", "-b", "back"]);
    git(&repository, &["rm", "--quiet", "-r", "new", "link", "bytes"]);
    git(&repository, &["commit", "--quiet", "--message", "back"]);
    propose(&colony, "n1", &repository, "merged..back", &[]).with_code(0);
    fs::write(out.join("mine"), "mine").unwrap();
    let report = colony
        .at("n3", &["memory", "checkout", folder, "--json"])
        .with_code(0)
        .json();
    assert_eq!(
        (&report["deleted"], &report["written"]),
        (&3.into(), &0.into()),
        "{report}"
    );
    assert!(!out.join("new").exists() && out.join("mine").exists());
}

#[test]
fn a_failed_check_commits_nothing_and_one_that_was_overtaken_runs_again() {
    let colony = Colony::start("checks");
    let repository = repository(colony.folder());
    branch(&repository, "one", |at| append(&at.join("README.md"), "One."));
    propose(&colony, "n1", &repository, "main", &[]).with_code(0);

    let failed = propose(
        &colony,
        "n2",
        &repository,
        "main..one",
        &["--check", "true", "--check", "echo broken; exit 9"],
    );
    let failed = failed.with_code(3).json();
    assert_eq!(
        (first_kind(&failed), &failed["log_tail"]),
        ("check_failed", &"broken\n".into()),
        "{failed}"
    );
    let readme = colony
        .at("n2", &["memory", "get", "tree/README.md", "--json"])
        .with_code(0)
        .json();
    assert_eq!(readme["revision"], 1);

    // The check itself puts a file below the prefix, once: what it has seen is no longer what would be committed.
    let door = colony.config().nodes[0].http;
    let binary = env!("CARGO_BIN_EXE_queenright");
    let check = format!("{binary} memory put tree/late x --if-absent --node {door} || test -e late");
    let one = propose(&colony, "n3", &repository, "main..one", &["--check", &check])
        .with_code(0)
        .json();
    assert_eq!(one["attempts"], 2, "{one}");
    let only = ["--attempts", "1", "--check", &check.replace("late", "later")];
    let overtaken = propose(&colony, "n3", &repository, "one..one", &only)
        .with_code(3)
        .json();
    assert_eq!(first_kind(&overtaken), "phantom", "{overtaken}");
}

#[test]
fn a_branch_under_a_lease_commits_while_its_task_is_held_and_changes_nothing_afterwards() {
    let colony = Colony::start("branch-leased");
    let repository = repository(colony.folder());
    branch(&repository, "one", |at| append(&at.join("README.md"), "One."));
    propose(&colony, "n1", &repository, "main", &[]).with_code(0);
    let added = colony.at("n1", &["task", "add", "One", "--json"]).with_code(0).json();
    let task = added["tasks"][0]["task"].as_str().unwrap();
    let claim = colony.at("n2", &["task", "claim", "--json"]).with_code(0).json();
    let (token, fence) = (claim["token"].as_str().unwrap(), claim["tasks"][0]["fence"].to_string());
    let lease = ["--fence", &fence, "--token", token];
    let under = [&["--task", task][..], &lease].concat();
    let dry = [&under[..], &["--dry-run"]].concat();
    propose(&colony, "n1", &repository, "main..one", &dry).with_code(0);
    let release = [&["task", "release", task][..], &lease].concat();
    colony.at("n3", &release).with_code(0);
    colony.at("n3", &["task", "claim", task]).with_code(0);
    let refused = propose(&colony, "n1", &repository, "main..one", &under).with_code(4);
    assert!(
        refused
            .stderr
            .contains(&format!("fence {fence} does not hold task {task}")),
        "{refused}"
    );
    let readme = colony.at("n2", &["memory", "get", "tree/README.md", "--json"]);
    assert_eq!(readme.with_code(0).json()["revision"], 1);
    // A lease is all three of them.
    let half = propose(&colony, "n1", &repository, "main..one", &["--task", task]).with_code(2);
    assert!(half.stderr.contains("--fence"), "{half}");
}

#[test]
fn a_folder_is_imported_and_comes_out_the_same() {
    let colony = Colony::start("imported");
    let (folder, out) = (colony.folder().join("in"), colony.folder().join("out"));
    fs::create_dir_all(folder.join("a/b")).unwrap();
    fs::create_dir_all(folder.join(".git")).unwrap();
    fs::write(folder.join(".git/config"), "secret").unwrap();
    fs::write(folder.join("a/b/text"), "text").unwrap();
    fs::write(folder.join("a/100%"), b"\xff").unwrap();
    let import = [
        "memory",
        "import",
        folder.to_str().unwrap(),
        "--prefix",
        "site/",
        "--json",
    ];
    let first = colony.at("n1", &import).with_code(0).json();
    assert_eq!((&first["put"], &first["files"]), (&2.into(), &2.into()), "{first}");
    assert_eq!(colony.at("n2", &import).with_code(0).json()["put"], 0);
    let out_name = out.to_str().unwrap();
    colony
        .at("n3", &["memory", "checkout", out_name, "--prefix", "site/"])
        .with_code(0);
    assert_eq!(fs::read(out.join("a/b/text")).unwrap(), b"text");
    assert_eq!(fs::read(out.join("a/100%")).unwrap(), b"\xff");
    assert!(!out.join(".git").exists());
    let refused = colony
        .at(
            "n3",
            &["memory", "checkout", folder.to_str().unwrap(), "--prefix", "site/"],
        )
        .with_code(3);
    assert!(refused.stderr.contains("is not empty and no checkout"), "{refused}");
    colony.at("n1", &["memory", "put", "bad/../x", "1"]).with_code(0);
    let refused = colony
        .at(
            "n1",
            &["memory", "checkout", &format!("{out_name}-bad"), "--prefix", "bad/"],
        )
        .with_code(1);
    assert!(refused.stderr.contains("has . or .. in it"), "{refused}");
}
