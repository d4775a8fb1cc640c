//! What is wrong or too large is refused in one line, with the right exit code, and changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use queenright::config::ClusterConfig;
use queenright::git::generate::{GenerateOptions, generate};
use queenright_bench::client::PutOptions;
use queenright_bench::client::wire::Code;

use crate::colony::{Colony, NODES, mesh, queenright, refused};
use crate::git::git;

const MIB: usize = 1 << 20;

#[test]
fn what_is_too_large_or_malformed_is_refused_and_nothing_is_stored() {
    let colony = Colony::start("refusals");
    colony.at("n1", &["memory", "put", "k", "stays"]).with_code(0);
    let contents = || {
        let of = |arguments: &[&str]| colony.at("n2", arguments).with_code(0).stdout;
        let keys = colony
            .at("n2", &["memory", "list", "--deleted", "--json"])
            .with_code(0)
            .json();
        (keys["keys"].clone(), of(&["events", "--json"]))
    };
    let before = contents();

    let large = colony.folder().join("large");
    fs::write(&large, vec![b'x'; 9 * MIB]).unwrap();
    let file = large.to_str().unwrap();
    let line = refused(&mut colony.command_at("n1", &["memory", "put", "k", "--file", file]), 1);
    assert!(line.contains("8388608 B"), "the line names the limit: {line}");
    // The door keeps its limit whatever its callers do.
    let error = colony
        .block_on(
            colony
                .client("n2", "test")
                .put("k", vec![b'x'; 9 * MIB].into(), &PutOptions::default()),
        )
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::TooLarge), "{error}");
    assert!(error.to_string().contains("8388608"), "{error}");

    let proposals = [
        ("{\n\"reads\": [,]}", "stdin: expected value at line 2 column 11"),
        ("{\"rites\": []}", "stdin: unknown field `rites`"),
        ("[1]", "stdin: "),
        ("", "stdin: EOF while parsing"),
        ("{\"writes\": [{\"key\": \"k\"}]}", "writes[0]: says not what to write"),
        ("{\"writes\": [{\"key\": \"\", \"put\": \"x\"}]}", "key"),
        ("{\"writes\": [{\"key\": \"k\", \"increment\": 1}]}", "k"),
        (
            "{\"writes\": [{\"key\": \"k\", \"put\": \"1\"}, {\"key\": \"k\", \"put\": \"2\"}]}",
            "k",
        ),
        ("{\"policy\": \"best\", \"proposals\": []}", "unknown variant `best`"),
    ];
    for (body, expected) in proposals {
        let ran = colony.fed("n3", &["propose", "-"], body.as_bytes()).with_code(1);
        assert_eq!(ran.stderr.lines().count(), 1, "{body}: {ran}");
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains(expected),
            "{body}: {ran}"
        );
    }
    let missing = refused(&mut colony.command_at("n1", &["propose", "/nowhere/p.json"]), 1);
    assert!(missing.starts_with("error: cannot read /nowhere/p.json: "), "{missing}");
    let project = ["memory", "put", "k", "x", "--project", "no/such project"];
    assert!(refused(&mut colony.command_at("n1", &project), 1).contains("project"));
    assert_eq!(contents(), before);
}

#[test]
fn without_a_majority_nothing_is_accepted_and_local_reads_still_answer() {
    let mut colony = Colony::start("minority");
    colony.at("n1", &["memory", "put", "k", "known"]).with_code(0);
    colony.same_digest();
    colony.kill("n2");
    colony.kill("n3");
    let ran = colony.at("n1", &["memory", "put", "k", "new", "--timeout", "4"]);
    // Refused, or handed to a leader that is gone: then nobody knows.
    assert!([Some(7), Some(124)].contains(&ran.code), "{ran}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
    let get = ["memory", "get", "k", "--timeout", "4"];
    refused(&mut colony.command_at("n1", &get), 7);
    let local = [&get[..], &["--consistency", "local"]].concat();
    assert_eq!(colony.at("n1", &local).with_code(0).stdout, b"known");
    let status = crate::colony::until("status without a queen", || {
        Some(colony.at("n1", &["status", "--json"])).filter(|ran| ran.code == Some(7))
    });
    assert_eq!(status.json()["queenright"], false);
    // Once it knows that nobody is there, it does not take what it could not tell the outcome of.
    let put = ["memory", "put", "k", "newer", "--timeout", "4"];
    let ran = crate::colony::until("a refusal for want of a quorum", || {
        Some(colony.at("n1", &put)).filter(|ran| ran.code == Some(7))
    });
    let why = [
        "error: no quorum answered this node within ",
        "; next: try again in some seconds; `queenright status` says how the cluster is\n",
    ];
    assert!(ran.stderr.starts_with(why[0]) && ran.stderr.ends_with(why[1]), "{ran}");
    colony.start_node("n2");
    colony.leader_at("n1", None);
    colony.at("n2", &["memory", "put", "other", "x"]).with_code(0);
}

#[test]
fn a_cluster_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let config = mesh("absent", folder.path());
    let address = config.nodes[0].http.to_string();
    for arguments in [
        &["status"][..],
        &["memory", "get", "k"],
        &["memory", "put", "k", "v"],
        &["memory", "list"],
        &["events"],
        &["agent", "list"],
        &["replay", "."],
    ] {
        let line = refused(queenright(folder.path()).args(arguments).args(["--node", &address]), 7);
        assert!(
            line.starts_with(&format!("error: no node answers at http://{address}")),
            "{line}"
        );
        let line = refused(queenright(folder.path()).args(arguments), 7);
        assert!(line.starts_with("error: no node is running here"), "{line}");
    }
    let repository = folder.path().join("repository");
    generate(&repository, GenerateOptions { seed: 1, commits: 2 }).unwrap();
    let line = refused(&mut replay(&config, &repository, &[]), 7);
    assert_eq!(line, "error: no node of the cluster answers");
}

fn replay(config: &ClusterConfig, repository: &Path, arguments: &[&str]) -> Command {
    let mut command = queenright(config.file.parent().unwrap());
    command.args(["replay", "--cluster"]).arg(&config.file);
    command.arg(repository).args(arguments);
    command
}

/// A repository of two commits whose objects are loose.
fn small(folder: &Path) -> std::path::PathBuf {
    git(folder, &["init", "--quiet", "--template=", "small"]);
    let root = folder.join("small");
    for text in ["one", "two"] {
        fs::write(root.join("a"), text).unwrap();
        git(&root, &["add", "."]);
        git(&root, &["commit", "--quiet", "--message", text]);
    }
    root
}

fn remove_object(repository: &Path, name: &str) -> String {
    let id = String::from_utf8(git(repository, &["rev-parse", name]))
        .unwrap()
        .trim()
        .to_owned();
    fs::remove_file(repository.join(".git/objects").join(&id[..2]).join(&id[2..])).unwrap();
    id
}

#[test]
fn a_repository_that_cannot_be_replayed_is_refused_before_the_cluster_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let config = mesh("unasked", &root.join("config"));
    let check = |repository: &Path, arguments: &[&str], expected: &str| {
        let line = refused(&mut replay(&config, repository, arguments), 1);
        assert!(line.starts_with("error: ") && line.contains(expected), "{line}");
    };
    check(&root.join("nothing"), &[], "nothing\": no such file or directory");
    check(root, &[], "not a git repository");
    git(root, &["init", "--quiet", "empty"]);
    check(&root.join("empty"), &[], "is empty (it has no commit)");
    git(root, &["init", "--quiet", "--object-format=sha256", "wide"]);
    check(&root.join("wide"), &[], "a SHA-256 repository");
    let small = small(root);
    check(&small, &["--revision", "nope"], "\"nope\" names no commit");
    let url = format!("file://{}", small.display());
    git(root, &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    check(&root.join("shallow"), &[], "a shallow clone, its history is cut");
    let id = remove_object(&small, "HEAD~1^{tree}");
    check(&small, &[], &format!("object {id} is missing or damaged"));

    let mut without_git = replay(&config, &small, &[]);
    let line = refused(without_git.env("PATH", root.join("empty")), 1);
    assert!(line.contains("git: program not found"), "{line}");
    assert!(refused(&mut replay(&config, &small, &["--agents", "0"]), 2).contains("--agents"));
}

#[test]
fn a_replay_for_which_a_blob_is_missing_puts_nothing() {
    let colony = Colony::start("blobless");
    let root = small(colony.folder());
    let id = remove_object(&root, "HEAD:a");
    let before = colony.same_digest();
    let line = refused(&mut replay(colony.config(), &root, &[]), 1);
    assert!(line.contains(&format!("object {id} is missing or damaged")), "{line}");
    assert_eq!(colony.same_digest(), before);
    for node in NODES {
        let keys = colony.at(node, &["memory", "list", "--json"]).with_code(0).json();
        assert_eq!(keys["keys"], serde_json::json!([]), "{node}");
    }
}

#[test]
fn a_wrong_command_line_is_one_line_that_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let usage = |line: &str| refused(queenright(folder.path()).args(line.split(' ')), 2);
    let check = |line: &str, expected: &str| {
        assert_eq!(usage(line), format!("error: {expected} (see --help)"));
        let object: serde_json::Value = serde_json::from_str(&usage(&format!("{line} --json"))).unwrap();
        assert_eq!(
            (&object["code"], &object["message"]),
            (&"USAGE".into(), &expected.into())
        );
    };
    check(
        "memory get",
        "the following required arguments were not provided: <KEY>",
    );
    check("frob", "unrecognized subcommand 'frob'");
    check(
        "memory get k --timeot 1",
        "unexpected argument '--timeot' found; tip: a similar argument exists: '--timeout'",
    );
    check(
        "memory get k --timeout 0",
        "invalid value '0' for '--timeout <SECS>': expected a time from 1ms to 1d, such as 90, 90s, 5m or 20ms",
    );
    let line = usage("status --node nowhere");
    assert_eq!(
        line,
        "error: node \"nowhere\" is no address (expected host:port, http://host:port or https://host:port)"
    );
}
