//! A rolling upgrade: the nodes are given a newer build one by one, then the rules go up, and a node that comes back with the
//! old build stops before it applies anything by rules that it does not know.

use queenright_protocol::colony::{Body, TopologyCommand};
use queenright_protocol::version::Versions;

use super::*;
use crate::queen::Request;

const OLD: Versions = Versions { oldest: 1, newest: 1 };
const NEW: Versions = Versions { oldest: 1, newest: 2 };

impl Cluster {
    fn run_for(&mut self, ms: u64, asking: bool) {
        (0..ms).for_each(|_| self.millisecond(asking));
    }

    /// Gives a node another build, by a restart.
    fn give(&mut self, place: usize, knows: Versions) {
        if self.nodes[place].is_running() {
            self.crash(place);
        }
        self.nodes[place].knows = knows;
        self.start(place);
    }

    /// The version of the rules that each running node follows.
    fn rules(&self) -> Vec<u32> {
        let running = self.nodes.iter().filter_map(SimNode::replica);
        running.map(|replica| replica.rules_version()).collect()
    }

    fn raise_rules(&mut self, place: usize) {
        let request = Request {
            project: PROJECT.into(),
            author: "queen".into(),
            idempotency_key: None,
            body: Body::Topology(TopologyCommand::Rules { to: 2, after: 1 }),
        };
        // Nobody waits for the outcome under this ticket.
        self.nodes[place].submit(u64::MAX, request);
    }
}

#[test]
fn nodes_are_given_a_newer_build_one_by_one_and_one_with_the_old_build_stops() {
    let plan = Plan {
        faults: false,
        ..Plan::of(3)
    };
    let mut cluster = Cluster::new(plan, Trace::last());
    cluster.nodes.iter_mut().for_each(|node| node.knows = OLD);
    (0..3).for_each(|place| cluster.start(place));
    cluster.run_for(3_000, true);
    for place in 0..2 {
        cluster.give(place, NEW);
        cluster.run_for(3_000, true);
        assert_eq!(cluster.rules(), [1, 1, 1], "a newer build follows the rules in force");
    }
    // The leader would wait for the third one as well. It is down, and the others go on without it.
    cluster.crash(2);
    cluster.run_for(2_000, true);
    cluster.raise_rules(0);
    cluster.run_for(3_000, true);
    assert_eq!(cluster.rules(), [2, 2]);

    cluster.start(2);
    cluster.run_for(5_000, true);
    let old = cluster.nodes[2].replica().expect("it runs").clone();
    let reason = old.unfit().expect("it cannot go on");
    assert!(
        reason.contains("version 2 of the rules is to be applied, this build knows version 1"),
        "{reason}"
    );
    let (index, digest) = cluster.nodes[2].digest().expect("it runs");
    assert_eq!(cluster.nodes[2].consensus().map(|(_, running)| running), Some(false));
    assert_eq!(cluster.rules(), [2, 2, 1]);
    cluster.run_for(1_000, true);
    assert_eq!(
        cluster.nodes[2].digest(),
        Some((index, digest)),
        "nothing more was applied"
    );

    cluster.give(2, NEW);
    cluster.heal();
    assert_eq!(cluster.rules(), [2, 2, 2]);
    assert!(cluster.are_equal());
    assert_eq!(cluster.invariants.violations(), []);
}
