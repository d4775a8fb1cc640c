//! The OpenAPI document against a cluster of three: schemathesis finds no error of a node and no answer that is not in the
//! document, and a client that is generated from it works. Needs `schemathesis`, `openapi-python-client` and
//! `openapi-spec-validator` of PyPI with their Python on the path:
//!
//! ```sh
//! python3 -m venv v && v/bin/pip install schemathesis openapi-python-client openapi-spec-validator
//! PATH=$PWD/v/bin:$PATH cargo test -p queenright --test contract -- --nocapture
//! ```

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use queenright::config::Auth;

use crate::colony::{Colony, NODES};

/// What is held to the document.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,ignored_auth,unsupported_method";
/// How many requests there are for each operation and phase; another number by `QUEENRIGHT_EXAMPLES`.
const EXAMPLES: &str = "25";
/// What is left out: a stream without an end, what links the nodes otherwise under the other requests, and what takes the
/// node away that is asked.
const LEFT_OUT: [&str; 5] = [
    "topic_follow",
    "topic_follow_in",
    "topology_set",
    "node_leave",
    "node_drain",
];

fn with_tokens(name: &str) -> (Colony, String) {
    let colony = Colony::start_prepared(name, |config, _| config.auth = Auth::Token);
    let made = colony.at("n1", &["token", "create", "--name", "test", "--scope", "admin"]);
    let secret = String::from_utf8(made.with_code(0).stdout).unwrap();
    (colony, secret.trim_end().to_owned())
}

fn url(colony: &Colony, node: &str) -> String {
    format!("http://{}", colony.config().node(node).unwrap().http)
}

/// The command must end with code 0.
fn succeeds(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

#[test]
fn schemathesis_finds_no_error_of_a_node_and_no_breach_of_the_document() {
    let (colony, secret) = with_tokens("schemathesis");
    let folder = colony.folder().to_path_buf();
    // A caller who gives a request one millisecond is told that its outcome is unknown, which is no fault of the node.
    let config = "[parameters]\n\"query.timeout_ms\" = 30000\n\"header.x-request-timeout-ms\" = \"30000\"\n";
    fs::write(folder.join("schemathesis.toml"), config).unwrap();
    let examples = std::env::var("QUEENRIGHT_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    for (place, node) in NODES.into_iter().enumerate() {
        let mut command = Command::new("schemathesis");
        command
            .arg("--config-file")
            .arg(folder.join("schemathesis.toml"))
            .arg("run")
            .arg(format!("{}/openapi.json", url(&colony, node)))
            .args(["--header", &format!("Authorization: Bearer {secret}")])
            .args(["--phases", ["examples,coverage", "fuzzing", "stateful"][place]])
            .args(["--checks", CHECKS, "--max-examples", &examples, "--seed", "7"])
            .args([
                "--request-timeout",
                "70",
                "--suppress-health-check",
                "all",
                "--no-color",
            ])
            .args([
                "--continue-on-failure",
                "--generation-database",
                "none",
                "--warnings",
                "off",
            ])
            .current_dir(&folder);
        for operation in LEFT_OUT {
            command.args(["--exclude-operation-id", operation]);
        }
        succeeds(&mut command);
    }
    colony.same_digest();
}

#[test]
fn the_document_is_one_of_openapi() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let printed = colony::queenright(folder.path()).arg("openapi").output().unwrap();
    fs::write(&file, printed.stdout).unwrap();
    succeeds(Command::new("openapi-spec-validator").arg(&file));
}

#[test]
fn a_generated_client_adds_claims_and_finishes_a_task() {
    let (colony, secret) = with_tokens("generated");
    let folder = colony.folder().to_path_buf();
    let printed = colony.command().arg("openapi").output().unwrap();
    fs::write(folder.join("openapi.json"), &printed.stdout).unwrap();
    // An export is many lines of JSON: bytes, for a generator that knows JSON alone.
    let config = "content_type_overrides:\n  application/jsonl: application/octet-stream\n";
    fs::write(folder.join("generator.yaml"), config).unwrap();
    succeeds(
        Command::new("openapi-python-client")
            .args([
                "generate",
                "--path",
                "openapi.json",
                "--meta",
                "none",
                "--fail-on-warning",
            ])
            .args(["--config", "generator.yaml"])
            .args(["--output-path", "queenright_client"])
            .current_dir(&folder),
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/client.py");
    let doors: Vec<String> = NODES.into_iter().map(|node| url(&colony, node)).collect();
    succeeds(
        Command::new("python3")
            .arg(&script)
            .args(&doors)
            .env("PYTHONPATH", &folder)
            .env("QUEENRIGHT_AUTH_TOKEN", &secret),
    );
    let shown = colony
        .at("n3", &["task", "list", "--state", "done", "--json"])
        .with_code(0)
        .json();
    assert_eq!(shown["tasks"][0]["title"], "by a generated client");
    colony.same_digest();
}
