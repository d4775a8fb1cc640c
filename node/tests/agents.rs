//! Hosted agents on real nodes: paused, restarted, nudged, passive, in families, and found among many.

use serde_json::{Value, json};

use crate::colony::{Colony, refused, until};

struct Rig(Colony);

impl Rig {
    fn run(&self, words: &[&str]) -> Value {
        let words = [&["agent"][..], words, &["--json"]].concat();
        self.0.at("n1", &words).with_code(0).json()
    }

    fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} is {state}"), || {
            Some(self.run(&["show", name])).filter(|agent| agent["state"] == state)
        })
    }

    fn names(&self, words: &[&str]) -> (String, Value) {
        let list = self.run(&[&["list"], words].concat());
        let agents = list["agents"].as_array().unwrap();
        let names: Vec<&str> = agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect();
        (names.join(" "), list["next"].clone())
    }
}

#[test]
fn agents_are_paused_restarted_nudged_and_stopped_with_their_children() {
    let rig = Rig(Colony::start("orders"));
    rig.run(&["spawn", "e1", "--kind", "load-echo", "--label", "team=red"]);
    rig.until_state("e1", "idle");
    assert_eq!(rig.run(&["pause", "e1"])["state"], "paused");
    assert_eq!(rig.names(&["--state", "paused"]).0, "e1");
    rig.run(&["nudge", "e1"]);
    assert_eq!(rig.until_state("e1", "paused")["letters"], 1);
    rig.run(&["resume", "e1"]);
    assert_eq!(rig.until_state("e1", "idle")["generation"], 1);
    for (child, parent) in [("c1", "e1"), ("c2", "e1"), ("c3", "c2")] {
        rig.run(&["spawn", child, "--kind", "load-echo", "--parent", parent]);
    }
    let shown = rig.run(&["show", "e1"]);
    assert_eq!(shown["children"], json!({ "total": 2, "first": ["c1", "c2"] }));
    assert_eq!(rig.names(&["--parent", "e1"]), ("c1 c2".to_owned(), Value::Null));
    assert_eq!(rig.names(&["--label", "team=red"]).0, "e1");
    assert_eq!(
        rig.names(&["--name", "c*", "--limit", "2"]),
        ("c1 c2".to_owned(), "c2".into())
    );
    assert_eq!(
        rig.names(&["--name", "c*", "--after", "c2"]),
        ("c3".to_owned(), Value::Null)
    );
    rig.run(&["restart", "e1"]);
    let again = until("e1 has begun again", || {
        Some(rig.run(&["show", "e1"])).filter(|agent| agent["generation"] == 2 && agent["state"] == "idle")
    });
    assert_eq!((&again["restarts"], &again["reason"]), (&0.into(), &Value::Null));
    // They were of the generation before.
    for child in ["c1", "c2", "c3"] {
        rig.until_state(child, "stopped");
    }
    rig.run(&["spawn", "c4", "--kind", "load-echo", "--parent", "e1"]);
    rig.0.at("n1", &["agent", "stop", "e1"]).with_code(0);
    for name in ["e1", "c4"] {
        rig.until_state(name, "stopped");
    }
    let ended = refused(&mut rig.0.command_at("n1", &["agent", "pause", "e1"]), 3);
    assert!(
        ended.contains(r#"agent "e1" is stopped: only one that lives can be asked to pause"#),
        "{ended}"
    );
    let spawn = |flags: &[&str], code| {
        let words = [&["agent", "spawn", "x", "--kind", "load-echo"], flags].concat();
        refused(&mut rig.0.command_at("n1", &words), code)
    };
    assert!(spawn(&["--parent", "e1"], 1).contains(r#"parent: no agent called "e1" lives on this node"#));
    assert!(spawn(&["--label", "red"], 2).contains("not NAME=VALUE"));
}

#[test]
fn an_idle_agent_becomes_passive_and_a_nudge_or_a_call_wakes_it() {
    let rig = Rig(Colony::start("passive"));
    let status = rig.run(&["spawn", "e1", "--kind", "load-echo", "--passivate-after", "0.05"]);
    rig.until_state("e1", "passive");
    let number = rig
        .0
        .status("n1")
        .unwrap()
        .nodes
        .iter()
        .find(|node| node.name == "n1")
        .unwrap()
        .number;
    let to = json!({ "node": number, "number": status["number"], "generation": status["generation"] });
    let arguments = json!({ "to": to, "calls": 20, "bytes": 8 }).to_string();
    rig.run(&["spawn", "caller", "--kind", "load-caller", "--arguments", &arguments]);
    rig.until_state("caller", "done");
    let after = rig.until_state("e1", "passive");
    assert_eq!((&after["generation"], &after["restarts"]), (&1.into(), &0.into()));
    let account = &after["accounts"]["pairs"][0];
    assert_eq!(
        (&account["delivered"], &account["sent"]),
        (&20.into(), &20.into()),
        "{after}"
    );
    rig.run(&["nudge", "e1"]);
    let figures = until("e1 has been woken twice", || {
        let client = rig.0.client("n1", "test");
        let figures = rig.0.block_on(client.figures()).unwrap();
        Some(figures.agents).filter(|agents| agents.woken >= 2 && agents.passive == 1)
    });
    assert_eq!((figures.active, figures.passivated), (0, figures.woken + 1));
}
