//! The official MCP clients in Python (`mcp`) and TypeScript (`@modelcontextprotocol/sdk`) call each default tool at three nodes:
//! over stdio to `queenright mcp`, and over HTTP to `/mcp` of each door. Needs `python3`, `node`, `npm`, and the network to fetch
//! the clients: `cargo test -p queenright --test mcp_clients -- --nocapture`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::colony::{Colony, NODES};

/// The versions of the clients that are known to fit.
const PYTHON_CLIENT: &str = "mcp>=1.9,<3";
const TYPESCRIPT_CLIENT: &str = "@modelcontextprotocol/sdk@^1";

/// The tools that a client must have called.
const TOOLS: [&str; 13] = [
    "events",
    "memory",
    "propose",
    "reserve",
    "reserve_check",
    "reserve_release",
    "session_heartbeat",
    "session_start",
    "task_add",
    "task_claim",
    "task_finish",
    "task_get",
    "task_update",
];

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/mcp_clients")
        .join(name)
}

fn done(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", ran.status);
    stdout.into_owned()
}

/// Lets a client that is started so call the tools at all nodes, each over stdio and over HTTP; all of them in one project, so
/// that each sees what the others did.
fn drive(colony: &Colony, project: &str, start: impl Fn() -> Command) {
    for node in NODES {
        let door = colony.config().node(node).unwrap().http;
        for way in ["stdio", "http"] {
            let mut client = start();
            client
                .args([way, env!("CARGO_BIN_EXE_queenright"), &door.to_string(), project])
                .env("XDG_STATE_HOME", colony.folder());
            let said = done(&mut client);
            let last = said.lines().last().unwrap_or_default();
            let report: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}"));
            println!("{project} at {node} over {way}: {report}");
            assert_eq!(report["called"], serde_json::json!(TOOLS), "{node} over {way}");
            assert!(report["protocol"].is_string(), "{report}");
        }
    }
    colony.same_digest();
}

#[test]
fn the_official_client_in_python_calls_each_default_tool_at_three_nodes() {
    let colony = Colony::start("mcp-python");
    let folder = colony.folder().join("python");
    done(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let python = folder.join("bin/python");
    done(Command::new(&python).args(["-m", "pip", "install", "--quiet", PYTHON_CLIENT]));
    drive(&colony, "python", || {
        let mut command = Command::new(&python);
        command.arg(here("client.py"));
        command
    });
}

#[test]
fn the_official_client_in_typescript_calls_each_default_tool_at_three_nodes() {
    let colony = Colony::start("mcp-typescript");
    let folder = colony.folder().join("typescript");
    std::fs::create_dir(&folder).unwrap();
    let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
    done(Command::new("npm").args(npm).arg(&folder).arg(TYPESCRIPT_CLIENT));
    // A module is found from where the script lies.
    let script = folder.join("client.mjs");
    std::fs::copy(here("client.mjs"), &script).unwrap();
    drive(&colony, "typescript", || {
        let mut command = Command::new("node");
        command.arg(&script);
        command
    });
}
