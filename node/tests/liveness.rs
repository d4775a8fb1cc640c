//! Who is alive, as the nodes see each other: killed, stopped, started again, and one that does not know the cookie.

use std::fs;

use queenright_actors::node::{DatagramCounts, OpinionStatus, View};
use rustix::process::{Pid, Signal, kill_process};

use crate::colony::{Colony, NODES, until};

/// Lets a process go on, however the test ends.
pub(crate) struct Stopped(Pid);

impl Stopped {
    pub(crate) fn stop(pid: Pid) -> Stopped {
        kill_process(pid, Signal::STOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Colony {
    fn opinion(&self, by: &str, of: &str) -> Option<OpinionStatus> {
        let nodes = self.status(by)?.nodes;
        let node = nodes.into_iter().find(|node| node.name == by)?;
        node.opinions?.into_iter().find(|opinion| opinion.node == of)
    }

    fn datagrams(&self, node: &str) -> DatagramCounts {
        let nodes = self.status(node).expect("it runs").nodes;
        let status = nodes.into_iter().find(|status| status.name == node);
        status.and_then(|status| status.datagrams).expect("it answers")
    }

    fn until_seen(&self, of: &str, view: View) {
        for by in NODES.into_iter().filter(|by| *by != of) {
            until(&format!("{by} sees {of} {view}"), || {
                self.opinion(by, of).filter(|opinion| opinion.view == view)
            });
        }
    }

    /// By datagrams, and not by their links alone.
    fn until_all_are_alive(&self) {
        for of in NODES {
            until("its datagrams are taken", || {
                (self.datagrams(of).received > 0).then_some(())
            });
            self.until_seen(of, View::Alive);
            let blocked = |by: &str| self.opinion(by, of).is_some_and(|opinion| opinion.udp_blocked);
            assert!(NODES.into_iter().filter(|by| *by != of).all(|by| !blocked(by)), "{of}");
        }
    }

    pub(crate) fn is_linked(&self, node: &str, peer: &str) -> bool {
        let figures = self.block_on(self.client(node, "test").figures()).unwrap();
        let links = figures.links["links"].as_array().unwrap();
        let link = links.iter().find(|link| link["peer"] == peer).unwrap();
        link["up"].as_bool().unwrap()
    }
}

#[test]
fn one_that_was_killed_is_down_to_the_others_until_it_is_back() {
    let mut colony = Colony::start("liveness");
    colony.until_all_are_alive();
    let status = colony.at("n1", &["status"]).with_code(0);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("SEEN BY THE OTHERS"), "{status}");

    colony.kill("n3");
    colony.until_seen("n3", View::Down);
    let leader = colony.leader_at("n1", Some("n3"));
    let status = colony.at(&leader, &["status"]).with_code(0);
    let status = String::from_utf8(status.stdout).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("n3 ") && line.contains("(n1, n2)"));
    assert!(line.is_some_and(|line| line.contains("down for")), "{status}");

    colony.start_node("n3");
    colony.until_all_are_alive();
}

#[test]
fn one_that_is_stopped_is_down_and_its_links_are_closed_and_made_anew() {
    let colony = Colony::start("asleep");
    colony.until_all_are_alive();
    let stopped = NODES
        .into_iter()
        .find(|node| *node != colony.leader_at("n1", None))
        .unwrap();
    let others: Vec<&str> = NODES.into_iter().filter(|node| *node != stopped).collect();
    let asleep = Stopped::stop(colony.pid(stopped));
    colony.until_seen(stopped, View::Down);
    for other in &others {
        until("the link is closed", || {
            (!colony.is_linked(other, stopped)).then_some(())
        });
    }
    drop(asleep);
    colony.until_all_are_alive();
    for other in &others {
        until("the link is back", || colony.is_linked(other, stopped).then_some(()));
    }
    // It took nobody for dead when it went on.
    let slept = colony.datagrams(stopped).asleep;
    assert!(slept > 0);
    colony.same_digest();
}

#[test]
fn datagrams_go_to_the_name_by_which_links_are_dialled() {
    let colony = Colony::start_prepared("named", |config, _| {
        for node in &mut config.nodes {
            node.advertise_links = Some(format!("localhost:{}", node.links.port()));
        }
    });
    colony.until_all_are_alive();
}

#[test]
fn one_that_does_not_know_the_cookie_is_not_believed() {
    let mut colony = Colony::start("cookie");
    colony.until_all_are_alive();
    let cookie = colony.folder().join("data/cookie");
    let right = fs::read(&cookie).unwrap();
    colony.kill("n3");
    colony.until_seen("n3", View::Down);

    fs::write(&cookie, "5a".repeat(32)).unwrap();
    colony.start_node("n3");
    for other in ["n1", "n2"] {
        until("its datagrams are refused", || {
            (colony.datagrams(other).forged > 0).then_some(())
        });
        assert_eq!(colony.opinion(other, "n3").unwrap().view, View::Down);
    }
    until("it hears nobody itself", || {
        let opinions = ["n1", "n2"].map(|of| colony.opinion("n3", of));
        opinions
            .iter()
            .flatten()
            .all(|opinion| opinion.view == View::Down)
            .then_some(())
    });
    assert_eq!(colony.datagrams("n3").received, 0);

    fs::write(&cookie, right).unwrap();
    colony.kill("n3");
    colony.start_node("n3");
    colony.until_all_are_alive();
}
