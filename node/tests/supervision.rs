//! Agents that end by themselves, on real nodes: started again, given up, stopped while they wait.

use serde_json::Value;

use crate::colony::{Colony, until};
use crate::refused;

/// An agent of this kind ends by an error at its first step: there is nobody whom it could call.
const CALLS_NOBODY: [&str; 4] = [
    "--kind",
    "load-caller",
    "--arguments",
    r#"{"to": {"node": 1, "number": 999, "generation": 1}, "calls": 1, "bytes": 8}"#,
];

struct Rig(Colony);

impl Rig {
    fn spawn(&self, name: &str, flags: &[&str]) -> Value {
        let arguments = [&["agent", "spawn", name, "--json"][..], &CALLS_NOBODY, flags].concat();
        self.0.at("n1", &arguments).with_code(0).json()
    }

    fn show(&self, name: &str) -> Value {
        self.0.at("n1", &["agent", "show", name, "--json"]).with_code(0).json()
    }

    fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} is {state}"), || {
            Some(self.show(name)).filter(|agent| agent["state"] == state)
        })
    }

    fn live(&self) -> Option<u64> {
        let status = self.0.status("n1")?;
        status.nodes.iter().find(|node| node.name == "n1")?.agents
    }
}

#[test]
fn a_queen_restarts_what_fails_gives_it_up_past_the_limit_and_stops_what_waits() {
    let rig = Rig(Colony::start("supervision"));

    rig.spawn("given-up", &["--restart-limit", "3", "--backoff", "0.01"]);
    let failed = rig.until_state("given-up", "failed");
    assert_eq!((&failed["generation"], &failed["restarts"]), (&4.into(), &3.into()));
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("no agent") && reason.ends_with("(after 3 restarts within 60000 ms, the limit)"));
    let shown = rig.0.at("n1", &["agent", "show", "given-up"]).with_code(0);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("generation 4): failed, 3 restarts\n  reason: no agent"),
        "{shown}"
    );

    rig.spawn("once", &["--restart", "temporary"]);
    let once = rig.until_state("once", "failed");
    assert_eq!((&once["generation"], &once["restarts"]), (&1.into(), &0.into()));

    let patient = [
        "--backoff",
        "1800",
        "--backoff-max",
        "3600",
        "--restart-within",
        "86400",
    ];
    rig.spawn("patient", &patient);
    let waiting = rig.until_state("patient", "restarting");
    assert!(waiting["next_restart_ms"].as_u64() <= Some(1_800_000), "{waiting}");
    assert_eq!(rig.live(), Some(1));
    let list = rig.0.at("n1", &["agent", "list"]).with_code(0);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(
        list.lines()
            .any(|line| line.starts_with("patient ") && line.contains(" restarting in ")),
        "{list}"
    );
    rig.0.at("n1", &["agent", "stop", "patient"]).with_code(0);
    assert_eq!(rig.until_state("patient", "stopped")["next_restart_ms"], Value::Null);
    assert_eq!(rig.live(), Some(0));

    let spawn = |name: &str, flags: &[&str]| {
        let arguments = [&["agent", "spawn", name][..], &CALLS_NOBODY, flags].concat();
        refused(&mut rig.0.command_at("n1", &arguments), 1)
    };
    assert!(spawn("a/b", &[]).contains(r#"name: "a/b" is empty, or has a slash"#));
    assert!(spawn("e", &["--restart-limit", "101"]).contains("restart.limit: 101 is over the limit of 100"));
    let never = spawn("e", &["--restart-within", "3"]);
    assert!(
        never.contains("restart.within_ms: 3000 must be over 3100, the sum of 5 back-offs"),
        "{never}"
    );
}
