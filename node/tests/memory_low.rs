//! Nodes without memory for new work: they refuse it with a code of its own and say when to try again, show it, and serve
//! what needs none.

use serde_json::Value;

use crate::colony::{Colony, until};
use crate::metrics::{ask, scrape};

#[test]
fn a_node_without_memory_refuses_new_work_shows_it_and_serves_the_rest() {
    // Less than any node has for itself.
    let colony = Colony::start_prepared("memory-low", |config, _| {
        config.limits.memory_bytes = Some(16 << 20);
    });
    let told = |arguments: &[&str]| {
        let ran = colony.at("n1", &[arguments, &["--json"]].concat()).with_code(75);
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["code"], "MEMORY_LOW", "{ran}");
        error["message"].as_str().unwrap().to_owned()
    };
    let message = told(&["memory", "put", "key", "value"]);
    assert!(
        message.contains("of the 16777216 B of memory that it may have"),
        "{message}"
    );
    told(&["task", "add", "work"]);
    told(&["task", "claim"]);
    told(&["agent", "spawn", "e1", "--kind", "load-echo"]);
    let (head, body) = ask(&colony, "n2", "PUT /v1/memory/key", "value");
    let head = head.to_lowercase();
    assert!(
        head.starts_with("http/1.1 503 ") && head.contains("retry-after: 1"),
        "{head}"
    );
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&problem["code"], &problem["retryable"]),
        (&"MEMORY_LOW".into(), &true.into())
    );
    assert!(problem["details"]["used_bytes"].as_u64().unwrap() > 16 << 20, "{body}");

    // What needs no memory goes on.
    colony.at("n1", &["project", "create", "p"]).with_code(0);
    colony.at("n3", &["project", "list"]).with_code(0);
    colony.at("n1", &["events", "--after", "0"]).with_code(0);

    let status = colony.at("n3", &["status"]).with_code(0);
    let status = String::from_utf8(status.stdout).unwrap();
    for node in ["n1", "n2", "n3"] {
        let line = status.lines().find(|line| line.starts_with(&format!("{node}: uses ")));
        let line = line.unwrap_or_else(|| panic!("{status}"));
        assert!(line.contains(" B of 16777216 B of memory, refuses new work"), "{line}");
    }
    let page = scrape(&colony, "n1");
    assert_eq!(page.of("queenright_memory_level", &[]), 2.0);
    assert!(page.of("queenright_memory_refused_total", &[]) >= 4.0);
    let log = std::fs::read_to_string(colony.folder().join("data/logs/n1.log")).unwrap();
    assert!(
        log.contains("this node has no memory left for new work, and refuses it"),
        "{log}"
    );
}

#[test]
fn nodes_that_have_enough_say_so() {
    let colony = Colony::start("memory-fine");
    until("all nodes tell of their memory", || {
        let status = colony.status("n2")?;
        let healths = status.nodes.iter().map(|node| node.health.as_ref());
        let memories: Option<Vec<_>> = healths.map(|health| health?.memory).collect();
        let memories = memories.filter(|memories| memories.len() == 3)?;
        assert!(
            memories.iter().all(|memory| memory.used_bytes < memory.limit_bytes),
            "{memories:?}"
        );
        Some(())
    });
}
