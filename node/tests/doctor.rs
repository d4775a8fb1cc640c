//! What `queenright doctor` says of a cluster that runs, of one that does not, and of what is wrong.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::colony::{Colony, Ran, queenright};

fn doctor(colony: &Colony, flags: &[&str]) -> Ran {
    let mut command = colony.command();
    command
        .arg("doctor")
        .arg(&colony.config().file)
        .args(["--json", "--data"]);
    Ran::of(command.arg(colony.folder().join("data")).args(flags))
}

/// The levels and texts of one check.
fn found(report: &Value, check: &str) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().unwrap();
    let text = |found: &Value, field: &str| found[field].as_str().unwrap().to_owned();
    let of = checks.iter().filter(|found| found["check"] == check);
    of.map(|found| (text(found, "level"), text(found, "text"))).collect()
}

fn levels(report: &Value, check: &str) -> Vec<String> {
    found(report, check).into_iter().map(|(level, _)| level).collect()
}

#[test]
fn it_says_how_a_cluster_is_and_what_is_wrong() {
    let mut colony = Colony::start("doctored");
    colony.at("n1", &["memory", "put", "k", "v"]).with_code(0);
    let report = doctor(&colony, &[]).json();
    for check in ["config", "rights", "records", "quorum", "versions"] {
        assert_eq!(levels(&report, check), ["ok"], "{check}: {report}");
    }
    assert_eq!(levels(&report, "ports"), ["ok"; 9], "{report}");
    assert!(
        found(&report, "ports")
            .iter()
            .all(|(_, text)| text.contains("is held by the node")),
        "{report}"
    );
    assert_eq!(levels(&report, "doors"), ["ok"; 3], "{report}");
    assert_eq!(levels(&report, "clocks"), ["ok"; 3], "{report}");
    assert_eq!(
        levels(&report, "data"),
        [""; 0],
        "nodes that run are asked by their doors"
    );
    assert!(!levels(&report, "disk_sync").is_empty() && !levels(&report, "disk_room").is_empty());
    // Without a file: what runs here.
    let mut command = queenright(colony.folder());
    let report = Ran::of(command.args(["doctor", "--json"])).json();
    assert_eq!(levels(&report, "quorum"), ["ok"], "{report}");

    // One down: said, and the quorum is still there.
    colony.kill("n3");
    let ran = doctor(&colony, &[]).with_code(1);
    let report = ran.json();
    assert_eq!(levels(&report, "quorum"), ["ok"], "{report}");
    assert_eq!(levels(&report, "doors"), ["ok", "ok", "problem"], "{report}");
    assert_eq!(levels(&report, "data"), ["ok"], "{report}");

    // None runs: no problem of itself. Its data is read, and what is damaged is named.
    colony.kill("n2");
    colony.kill("n1");
    let secret = colony.folder().join("data/cookie");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(colony.folder().join("data/n1.recovering")).unwrap();
    let logs = fs::read_dir(colony.folder().join("data/n2/log")).unwrap();
    let mut chunks: Vec<_> = logs.map(|entry| entry.unwrap().path()).collect();
    chunks.retain(|file| file.extension().is_some_and(|end| end == "wal"));
    chunks.sort();
    let mut bytes = fs::read(&chunks[0]).unwrap();
    bytes[50] ^= 1;
    fs::write(&chunks[0], bytes).unwrap();
    let held = TcpListener::bind(colony.config().node("n1").unwrap().links).unwrap();
    let report = doctor(&colony, &[]).with_code(1).json();
    assert_eq!(levels(&report, "doors").len(), 1, "{report}");
    assert_eq!(levels(&report, "data"), ["warning", "problem", "ok"], "{report}");
    assert!(found(&report, "data")[1].1.contains("damaged at byte"), "{report}");
    assert_eq!(levels(&report, "rights"), ["problem"], "{report}");
    assert_eq!(levels(&report, "leftovers"), ["warning"], "{report}");
    let ports = found(&report, "ports");
    assert!(
        ports
            .iter()
            .any(|(level, text)| level == "problem" && text.contains("another process")),
        "{ports:?}"
    );
    drop(held);

    // What can be put right is, once it is asked for.
    doctor(&colony, &["--fix", "--dry-run"]).with_code(1);
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o644);
    let report = doctor(&colony, &["--fix"]).with_code(1).json();
    assert!(report["fixed"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!colony.folder().join("data/n1.recovering").exists());
    let report = doctor(&colony, &[]).with_code(1).json();
    assert_eq!(levels(&report, "data"), ["ok", "problem", "ok"], "{report}");
    assert_eq!(
        (levels(&report, "rights"), levels(&report, "leftovers").len()),
        (vec!["ok".to_owned()], 0)
    );
    doctor(&colony, &["--dry-run"]).with_code(2);
}
