//! What nodes write of themselves: the form of the lines, how much while they run, and that the files have a bound.

use std::fs;

use queenright::config::{LogFormat, Logging};
use serde_json::Value;

use crate::colony::{Colony, refused, until};

/// The least that a file may be rotated at.
const ROTATE_BYTES: u64 = 16 << 10;

#[test]
fn lines_are_json_if_asked_for_their_level_changes_while_a_node_runs_and_files_have_a_bound() {
    let colony = Colony::start_prepared("logging", |config, _| {
        config.logging = Logging {
            format: LogFormat::Json,
            rotate_bytes: ROTATE_BYTES,
            keep_files: 2,
            ..Logging::default()
        };
    });
    let logs = colony.folder().join("data/logs");
    let read = |name: &str| fs::read_to_string(logs.join(name)).unwrap_or_default();
    let lines = |name: &str| -> Vec<Value> {
        let text = read(name);
        // `up` writes one line for each start.
        let lines = text.lines().filter(|line| !line.starts_with("--- queenright "));
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    };
    let first = lines("n1.log");
    assert!(!first.is_empty());
    for line in &first {
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
        assert!(["INFO", "WARN"].contains(&line["level"].as_str().unwrap()), "{line}");
    }

    let level = |arguments: &[&str]| {
        let arguments = [&["node", "log-level", "--json"], arguments].concat();
        colony.at("n1", &arguments).with_code(0).json()
    };
    let at_start = level(&[])["filter"].as_str().unwrap().to_owned();
    assert!(at_start.starts_with("info,"), "{at_start}");
    let changed = level(&["info,queenright=debug,queenright_actors=trace,openraft=debug"]);
    assert_eq!(
        (changed["node"].as_str(), changed["at_start"].as_str()),
        (Some("n1"), Some(&*at_start))
    );
    let debug = || lines("n1.log").iter().any(|line| line["level"] == "DEBUG");
    // Consensus says something with each entry at this level.
    until("files that were set aside", || {
        colony.at("n1", &["memory", "put", "key", "value"]).with_code(0);
        let full = logs.join("n1.log.2").exists();
        (debug() && full).then_some(())
    });
    for _ in 0..20 {
        colony.at("n1", &["memory", "put", "key", "value"]).with_code(0);
    }
    level(&["--reset"]);
    let names: Vec<String> = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("n1"))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names {
        lines(name);
        let bytes = fs::metadata(logs.join(name)).unwrap().len();
        // A line that is longer stands alone.
        assert!(bytes <= 2 * ROTATE_BYTES, "{name} has {bytes}");
    }
    // Another node was not asked.
    assert!(lines("n2.log").iter().all(|line| line["level"] != "DEBUG"));
    assert_eq!(level(&[])["filter"], at_start.as_str());
    let before = read("n1.log").len() + read("n1.log.1").len();
    colony.at("n1", &["memory", "put", "key", "value"]).with_code(0);
    assert_eq!(
        read("n1.log").len() + read("n1.log.1").len(),
        before,
        "it is quiet again"
    );

    let line = refused(&mut colony.command_at("n1", &["node", "log-level", "debugg"]), 2);
    assert!(
        line.contains("FILTER: \"debugg\" is no log filter: \"debugg\" is no level (off, error"),
        "{line}"
    );
    refused(
        &mut colony.command_at("n1", &["node", "log-level", "info", "--reset"]),
        2,
    );
}
