//! Sessions through the command line and the doors of real nodes: identity, signs of life, lost nodes, partitions.

use serde_json::Value;

use crate::colony::{Colony, Ran, refused, until};

/// A session, and how it shows that it is the one.
struct Own {
    id: String,
    token: String,
}

impl Colony {
    fn session(&self, node: &str, verb: &str, own: &Own) -> Ran {
        self.at(node, &["session", verb, &own.id, "--token", &own.token, "--json"])
    }

    fn open_session(&self, node: &str, flags: &[&str]) -> Own {
        let opened = self.at(node, &[&["session", "open", "--json"], flags].concat());
        let opened = opened.with_code(0).json();
        Own {
            id: text(&opened["session"]),
            token: text(&opened["token"]),
        }
    }

    fn shown(&self, node: &str, own: &Own) -> Value {
        let shown = self.at(node, &["session", "show", &own.id, "--json"]);
        shown.with_code(0).json()
    }

    /// A new task that a session holds, and the fence.
    fn held_by(&self, node: &str, own: &Own) -> (String, String) {
        let added = self.at("n1", &["task", "add", "work", "--json"]).with_code(0).json();
        let task = text(&added["tasks"][0]["task"]);
        let claim = self.at(node, &["task", "claim", &task, "--token", &own.token, "--json"]);
        let claim = claim.with_code(0).json();
        assert_eq!(claim["session"], own.id.as_str());
        (task, claim["tasks"][0]["fence"].to_string())
    }

    fn finish_held(&self, node: &str, own: &Own, (task, fence): &(String, String)) -> Ran {
        let token = &own.token;
        self.at(node, &["task", "finish", task, "--fence", fence, "--token", token])
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

#[test]
fn two_workers_of_one_name_never_share_a_claim_on_whatever_node() {
    let colony = Colony::start("names");
    let (one, other) = (
        colony.open_session("n1", &["--name", "ann", "--capability", "rust", "--label", "zone=a"]),
        colony.open_session("n2", &["--name", "ann"]),
    );
    let held = colony.held_by("n1", &one);
    let arguments = ["task", "claim", &held.0, "--token", &other.token];
    let line = refused(&mut colony.command_at("n3", &arguments), 3);
    assert!(line.contains(&format!("is held by session {} (ann)", one.id)), "{line}");
    colony.finish_held("n2", &other, &held).with_code(4);
    // The token of one does not close the other.
    let crossed = Own {
        id: one.id.clone(),
        token: other.token.clone(),
    };
    colony.session("n1", "close", &crossed).with_code(4);
    let beat = colony.session("n1", "heartbeat", &one).with_code(0).json();
    assert_eq!((&beat["uncertain"], &beat["left_ms"]), (&false.into(), &90_000.into()));
    assert_eq!(beat["holds"][0]["task"], held.0.as_str());
    colony.finish_held("n3", &one, &held).with_code(0);
    let list = colony
        .at("n2", &["session", "list", "--name", "ann", "--json"])
        .with_code(0)
        .json();
    assert_eq!(list["sessions"].as_array().map(Vec::len), Some(2));
    colony.session("n3", "close", &one).with_code(0);
    let arguments = ["session", "heartbeat", &one.id, "--token", &one.token];
    let line = refused(&mut colony.command_at("n1", &arguments), 4);
    assert!(
        line.contains(&format!("session {} has ended: its session was closed", one.id)),
        "{line}"
    );
    colony.same_digest();
}

#[test]
fn a_heartbeat_at_another_node_lets_the_session_live_there_when_its_own_is_killed() {
    let mut colony = Colony::start("moves");
    let own = colony.open_session("n1", &["--ttl", "600"]);
    let held = colony.held_by("n1", &own);
    let home = colony.shown("n2", &own)["node"].clone();
    colony.kill("n1");
    // Heard of within the grace, wherever that is.
    let beat = colony.session("n2", "heartbeat", &own).with_code(0).json();
    assert_eq!(beat["holds"][0]["task"], held.0.as_str());
    let shown = colony.shown("n3", &own);
    assert_eq!(shown["state"], "open");
    assert_ne!(shown["node"], home);
    colony.finish_held("n3", &own, &held).with_code(0);
}

#[test]
fn the_sessions_of_a_killed_node_end_after_the_grace_and_a_restart_grants_them_their_time() {
    let mut colony = Colony::start("graces");
    let gone = colony.open_session("n1", &["--ttl", "600"]);
    let (task, _) = colony.held_by("n1", &gone);
    colony.kill("n1");
    until("a grace begins", || {
        (colony.shown("n2", &gone)["state"] == "grace").then_some(())
    });
    assert_eq!(
        colony.at("n2", &["task", "show", &task, "--json"]).json()["state"],
        "leased"
    );
    until("it is over", || {
        (colony.shown("n3", &gone)["state"] == "ended").then_some(())
    });
    until("the task returns", || {
        let shown = colony.at("n2", &["task", "show", &task, "--json"]).json();
        (shown["state"] == "pending").then_some(())
    });
    let late = ["session", "reopen", &gone.id, "--token", &gone.token];
    let line = refused(&mut colony.command_at("n2", &late), 4);
    assert!(line.contains("the node of its session was lost"), "{line}");

    // A node that comes back within the grace keeps its sessions.
    colony.start_node("n1");
    let kept = colony.open_session("n2", &["--ttl", "600"]);
    let held = colony.held_by("n2", &kept);
    colony.kill("n2");
    until("a grace begins", || {
        (colony.shown("n3", &kept)["state"] == "grace").then_some(())
    });
    colony.start_node("n2");
    until("it lives on", || {
        (colony.shown("n3", &kept)["state"] == "open").then_some(())
    });
    colony.finish_held("n2", &kept, &held).with_code(0);
}

#[test]
fn a_node_without_a_quorum_ends_no_session_and_says_that_it_is_uncertain() {
    let mut colony = Colony::start("uncertain");
    let own = colony.open_session("n1", &[]);
    let held = colony.held_by("n1", &own);
    colony.kill("n2");
    colony.kill("n3");
    let beat = until("it notices", || {
        let beat = colony.session("n1", "heartbeat", &own).with_code(0).json();
        (beat["uncertain"] == true).then_some(beat)
    });
    assert!(
        beat["left_ms"].as_u64().is_some_and(|left_ms| left_ms <= 30_000),
        "{beat}"
    );
    assert_eq!(beat["holds"][0]["task"], held.0.as_str());
    colony.start_node("n2");
    until("it is certain again", || {
        let beat = colony.session("n1", "heartbeat", &own).with_code(0).json();
        (beat["uncertain"] == false && beat["left_ms"] == 90_000).then_some(())
    });
    colony.finish_held("n1", &own, &held).with_code(0);
}
