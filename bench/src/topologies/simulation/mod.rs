//! The topologies over virtual time, up to a thousand nodes: nothing is measured. Links, routes and trees come from the very
//! functions that nodes use (`queenright_protocol::topology`); what a hop takes is stated, not found.
//!
//! | module | holds |
//! |---|---|
//! | [`route`] | messages from node to node, and to all nodes |
//! | [`change`] | what becomes of the links when a node joins, leaves or is killed |

pub mod change;
pub mod route;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Kind, Topology};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use self::change::{Change, Outcome};
use self::route::{Broadcasts, Unicasts};
use super::coincide::coinciding;
use super::{NODES, PAYLOAD_BYTES, PlanError, all_kinds, twice};
use crate::report::{Percentiles, Report, Row};

/// The id of the reports.
pub const ID: &str = "topologies-simulated";
/// What they are about: the head of the report.
pub const TITLE: &str = "SIMULATION over virtual time: links, routes and trees of the topologies, nothing is measured";

/// How many nodes there may be.
pub const NODES_SIMULATED: RangeInclusive<usize> = 2..=1_000;
/// How many messages may be sent.
pub const MESSAGES: RangeInclusive<u64> = 1..=1_000_000;
/// What a hop may take, in microseconds of virtual time.
pub const HOP_US: RangeInclusive<u64> = 1..=10_000_000;

/// How many broadcasts, each from a node that is drawn.
const BROADCASTS: u32 = 16;
/// How often a node that is drawn leaves, or is killed.
const CHANGES: u32 = 8;

/// What is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// How many nodes.
    pub nodes: usize,
    /// The topologies.
    pub kinds: Vec<Kind>,
    /// How many messages go from a node to another one; both are drawn.
    pub messages: u64,
    /// Bytes of each message.
    pub payload_bytes: usize,
    /// How long a message takes over a link, in microseconds of virtual time.
    pub hop_us: u64,
    /// What is drawn is drawn from this.
    pub seed: u64,
}

impl Default for Simulation {
    /// A thousand nodes, four topologies, 10,000 messages of 256 B, 100 µs a hop, seed 1.
    fn default() -> Simulation {
        Simulation {
            nodes: 1_000,
            kinds: all_kinds(),
            messages: 10_000,
            payload_bytes: 256,
            hop_us: 100,
            seed: 1,
        }
    }
}

/// Members 1 to `nodes`, linked in this way.
fn members(nodes: usize) -> BTreeSet<NodeId> {
    (1..=nodes as u64).map(NodeId).collect()
}

impl Simulation {
    /// Whether that can be simulated.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        let within = |range: &RangeInclusive<usize>| *range.start() as u64..=*range.end() as u64;
        PlanError::unless_within("nodes", self.nodes as u64, &within(&NODES_SIMULATED))?;
        PlanError::unless_within("number of kinds", self.kinds.len() as u64, &(1..=16))?;
        twice("kinds", &self.kinds)?;
        PlanError::unless_within("messages", self.messages, &MESSAGES)?;
        PlanError::unless_within("payload", self.payload_bytes as u64, &within(&PAYLOAD_BYTES))?;
        PlanError::unless_within("hop", self.hop_us, &HOP_US)
    }

    /// Simulates all kinds.
    ///
    /// # Panics
    /// If that cannot be: see [`Simulation::check`].
    pub fn run(&self) -> Report {
        self.check().expect("the caller has checked it");
        let mut report = Report::begin(ID, TITLE, &std::env::temp_dir());
        let kinds: Vec<String> = self.kinds.iter().map(Kind::to_string).collect();
        // Found in no time only where there are few nodes; where there are many the four kinds differ.
        let few = self.nodes <= *NODES.end();
        report.config = json!({
            "simulation": true, "nodes": self.nodes, "kinds": kinds,
            "coincide": if few { coinciding(&self.kinds, self.nodes) } else { Vec::new() },
            "messages": self.messages, "payload_bytes": self.payload_bytes, "hop_us": self.hop_us, "seed": self.seed,
            "broadcasts": BROADCASTS, "changes": CHANGES,
            "bytes": "of encoded envelopes with their place in a frame; of a broadcast with the branch behind each node",
            "changes_are": change::MODEL,
            "not_in_it": "processors, disks, queues, losses, and the time until somebody notices",
        });
        report.rows = self.kinds.iter().flat_map(|kind| self.of_kind(*kind)).collect();
        report
    }

    fn of_kind(&self, kind: Kind) -> Vec<Row> {
        let topology = Topology::new(kind, &members(self.nodes));
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut rows = self.unicasts(&Unicasts::send(&topology, self.messages, &mut random));
        let mut random = StdRng::seed_from_u64(self.seed);
        rows.extend(self.broadcasts(&Broadcasts::send(
            &topology,
            BROADCASTS,
            self.payload_bytes,
            &mut random,
        )));
        rows.extend(self.changes(&topology));
        rows.into_iter()
            .map(|mut row| {
                row.name = format!("{kind}: {}", row.name);
                row.note = Some(match row.note {
                    Some(note) => format!("simulated; {note}"),
                    None => "simulated".to_owned(),
                });
                row.at("topology", kind.to_string())
                    .at("nodes", self.nodes as u64)
                    .at("simulation", true)
            })
            .collect()
    }

    fn unicasts(&self, sent: &Unicasts) -> Vec<Row> {
        let messages = sent.hops.len();
        let mean = sent.hops.mean();
        let percentiles = |scale: f64| Percentiles::of(&sent.hops, scale);
        let bytes = route::envelope_bytes(self.payload_bytes) as f64;
        let hop = self.hop_us as f64;
        vec![
            Row::new("hops of a message, mean", mean, "links", messages).percentiles(percentiles(1.0)),
            Row::new("time of a message, mean", mean * hop, "µs", messages)
                .percentiles(percentiles(1.0 / hop))
                .note(format!("virtual time, {} µs a hop, no queues", self.hop_us)),
            Row::new("bytes on links for a message", mean * bytes, "B", messages),
            Row::new("busiest node, messages", sent.busiest(), "times the mean", messages)
                .note("envelopes that a node sends and passes on"),
        ]
    }

    fn broadcasts(&self, sent: &Broadcasts) -> Vec<Row> {
        let samples = u64::from(sent.broadcasts);
        let each = |sum: u64| sum as f64 / samples as f64;
        vec![
            Row::new("envelopes for a broadcast", each(sent.envelopes), "envelopes", samples),
            Row::new("bytes on links for a broadcast", each(sent.bytes), "B", samples),
            Row::new(
                "time of a broadcast",
                sent.depth_max as f64 * self.hop_us as f64,
                "µs",
                samples,
            )
            .note(format!(
                "virtual time until the last node has it, the longest of all; {} hops deep, {:.1} on average",
                sent.depth_max,
                sent.hops as f64 / sent.envelopes.max(1) as f64
            )),
            Row::new("busiest node, broadcasts", each(sent.busiest), "envelopes", samples)
                .note("envelopes of a broadcast that the node with the most sends"),
        ]
    }

    fn changes(&self, topology: &Topology) -> Vec<Row> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let drawn: Vec<NodeId> = (0..CHANGES)
            .map(|_| NodeId(random.random_range(1..=self.nodes as u64)))
            .collect();
        let of = |change: fn(NodeId) -> Change, nodes: &[NodeId]| -> Vec<Outcome> {
            nodes.iter().map(|node| change(*node).run(topology)).collect()
        };
        let joins = of(Change::Join, &[NodeId(self.nodes as u64 + 1)]);
        let first = [NodeId(1)];
        [
            ("join", joins),
            ("leave, a node", of(Change::Leave, &drawn)),
            ("leave, the first node", of(Change::Leave, &first)),
            ("kill, a node", of(Change::Kill, &drawn)),
            ("kill, the first node", of(Change::Kill, &first)),
        ]
        .into_iter()
        .flat_map(|(name, outcomes)| self.of_change(name, &outcomes))
        .collect()
    }

    fn of_change(&self, name: &str, outcomes: &[Outcome]) -> [Row; 3] {
        let samples = outcomes.len() as u64;
        let mean = |of: &dyn Fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>() as f64 / samples as f64;
        let greatest = |of: &dyn Fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or_default();
        let made = |outcome: &Outcome| outcome.made_at.len();
        let broken = |outcome: &Outcome| outcome.broken_at.len();
        let hops: u64 = outcomes.iter().map(|outcome| outcome.hops).sum();
        let asked: usize = outcomes.iter().map(|outcome| outcome.asked).sum();
        let most = outcomes.iter().map(|outcome| outcome.hops).max().unwrap_or_default();
        [
            Row::new(format!("{name}: links made"), mean(&made), "links", samples)
                .note(format!("at most {}", greatest(&made))),
            Row::new(format!("{name}: links broken"), mean(&broken), "links", samples).note(format!(
                "at most {}; each after all new ones of its ends are made",
                greatest(&broken)
            )),
            Row::new(
                format!("{name}: time to converge"),
                hops as f64 / samples as f64 * self.hop_us as f64,
                "µs",
                samples,
            )
            .note(format!(
                "virtual time, at most {most} hops of {} µs; {:.1} nodes learn of it over a connection of their own",
                self.hop_us,
                asked as f64 / samples as f64
            )),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_the_head_say_that_it_is_a_simulation_and_a_seed_gives_the_same() {
        let simulation = Simulation {
            nodes: 40,
            messages: 500,
            ..Simulation::default()
        };
        let report = simulation.run();
        assert!(report.title.starts_with("SIMULATION"), "{report}");
        assert_eq!(report.config["simulation"], true);
        for row in &report.rows {
            assert!(
                row.note.as_ref().is_some_and(|note| note.starts_with("simulated")),
                "{}",
                row.name
            );
            assert_eq!(row.at["simulation"], true);
            assert!(row.samples > 0 && row.value.is_finite(), "{}", row.name);
        }
        assert_eq!(report.rows, simulation.run().rows);
        let other = Simulation {
            seed: 2,
            ..simulation.clone()
        };
        assert_ne!(report.rows, other.run().rows);
    }

    #[test]
    fn what_cannot_be_simulated_is_named() {
        let check = |change: fn(&mut Simulation), expected: &str| {
            let mut simulation = Simulation::default();
            change(&mut simulation);
            assert_eq!(simulation.check().unwrap_err().to_string(), expected);
        };
        check(|simulation| simulation.nodes = 1, "nodes: 1 is not 2 to 1000");
        check(|simulation| simulation.nodes = 1_001, "nodes: 1001 is not 2 to 1000");
        check(|simulation| simulation.messages = 0, "messages: 0 is not 1 to 1000000");
        check(|simulation| simulation.hop_us = 0, "hop: 0 is not 1 to 10000000");
        check(
            |simulation| simulation.kinds.push(Kind::Ring),
            "kinds: ring is named twice",
        );
    }
}
