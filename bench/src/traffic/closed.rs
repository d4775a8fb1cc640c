//! Agents dealt out to the nodes in turn that send each other messages in a closed loop: one under way each.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentStatus};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::meter::Meter;
use super::{TARGETS_MAX, address, latencies};
use crate::BenchError;
use crate::rig::{RigNode, door, for_all, late, reported};

/// How long the last messages may take to be handled.
const HANDLED_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked: seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(100);

/// Whom an agent sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Some agent of another node, drawn for each message among up to sixteen.
    Random,
    /// The agent of its own place on the next node.
    Next,
}

/// A load in a closed loop.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// Who measures.
    pub workload: &'static str,
    /// How many agents, on all nodes in turn.
    pub agents: u64,
    /// Bytes of each message.
    pub bytes: usize,
    /// Whom they send to.
    pub to: To,
    /// How long they send before they are measured, in milliseconds.
    pub warm_up_ms: u64,
    /// How long they are measured, in milliseconds.
    pub work_ms: u64,
    /// What they draw from.
    pub seed: u64,
}

/// What one run gave. Nothing was lost.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Those that were measured.
    pub messages: u64,
    /// All signals: all messages, with those that tell that they were handled.
    pub signals: u64,
    /// How often one found no room at first.
    pub busy: u64,
    /// Messages handled, of those measured.
    pub per_second: f64,
    /// From sending to handling, in nanoseconds, by the one clock of the host.
    pub latency: Histogram<u64>,
    /// What the nodes counted and used, the warm-up included.
    pub cost: Meter,
}

impl Exchange {
    /// Links that a signal went over, on average: one more than nodes that passed it on.
    pub fn hops(&self) -> f64 {
        1.0 + self.cost.sum(|node| node.forwarded) as f64 / self.signals.max(1) as f64
    }
}

impl Closed {
    /// Runs the load on these nodes, with agents whose names begin with `name`, and stops them.
    ///
    /// # Errors
    /// [`BenchError`]; [`BenchError::Mismatch`] if a message is lost.
    pub async fn run(&self, nodes: &[RigNode], name: &str) -> Result<Exchange, BenchError> {
        let ran = self.exchange(nodes, name).await;
        // What failed is stopped as well: the cluster may be somebody's.
        let stopped = for_all(0..self.agents, async |place| {
            let node = &nodes[place as usize % nodes.len()];
            match node.client.stop_agent(&format!("{name}.{place}")).await {
                Err(error) if ran.is_ok() => Err(door("stop a peer", error)),
                _ => Ok(()),
            }
        });
        stopped.await?;
        ran
    }

    async fn exchange(&self, nodes: &[RigNode], name: &str) -> Result<Exchange, BenchError> {
        let node = |place: u64| &nodes[place as usize % nodes.len()];
        let name_of = |place: u64| format!("{name}.{place}");
        let peers = for_all(0..self.agents, async |place| {
            let arguments = json!({
                "bytes": self.bytes, "warm_up_ms": self.warm_up_ms, "work_ms": self.work_ms,
                "seed": self.seed + place,
            });
            node(place).spawn(&name_of(place), "load-peer", arguments).await
        })
        .await?;
        let addresses: Vec<AgentAddress> = peers
            .iter()
            .zip(0..)
            .map(|(peer, place)| address(node(place), peer))
            .collect();
        let mut random = StdRng::seed_from_u64(self.seed);
        let plan: Vec<_> = (0..addresses.len())
            .map(|place| {
                let to = targets(&addresses, nodes.len(), place, self.to, &mut random);
                (addresses[place], to)
            })
            .collect();
        let before = Meter::read(nodes).await?;
        let conductor = format!("{name}.conductor");
        node(0)
            .spawn(&conductor, "load-conductor", json!({ "peers": plan }))
            .await?;
        let within = Duration::from_millis(self.warm_up_ms + self.work_ms) + HANDLED_WITHIN;
        let peers = self.handled(node, name_of, within).await?;
        let cost = Meter::read(nodes).await?.since(&before);
        let sum = |what: &str| -> Result<u64, BenchError> { peers.iter().map(|peer| reported(peer, what)).sum() };
        let (sent, received) = (sum("sent")?, sum("received")?);
        let of_bytes = |what: &str| format!("{what}, {} B", self.bytes);
        BenchError::unless_equal(self.workload, of_bytes("messages handled"), received, sent)?;
        BenchError::unless_equal(
            self.workload,
            of_bytes("messages told to be handled"),
            sum("handled")?,
            sent,
        )?;
        Ok(Exchange {
            messages: received,
            signals: 2 * sum("all")?,
            busy: sum("busy")?,
            per_second: received as f64 / (self.work_ms.max(1) as f64 / 1e3),
            latency: latencies(&peers, "latency_ns")?,
            cost,
        })
    }

    /// Waits until the time of all peers is over and everything that they sent was handled.
    async fn handled<'n>(
        &self,
        node: impl Fn(u64) -> &'n RigNode,
        name: impl Fn(u64) -> String,
        within: Duration,
    ) -> Result<Vec<AgentStatus>, BenchError> {
        let started = Instant::now();
        loop {
            let peers = for_all(0..self.agents, async |place| node(place).agent(&name(place)).await).await?;
            // A peer has reported nothing while it works.
            let sum = |what: &str| -> u64 { peers.iter().map(|peer| reported(peer, what).unwrap_or_default()).sum() };
            if sum("over") == self.agents && sum("received") >= sum("sent") {
                return Ok(peers);
            }
            if started.elapsed() > within {
                return Err(late(
                    format!("{} of {} messages are handled", sum("received"), sum("sent")),
                    started,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whom the agent at this place sends to. Agents are dealt out to the nodes in turn; where there are many, each has some of
/// the others.
pub(super) fn targets(
    addresses: &[AgentAddress],
    nodes: usize,
    place: usize,
    to: To,
    random: &mut StdRng,
) -> Vec<AgentAddress> {
    let own = addresses[place].node;
    match to {
        To::Random => {
            let others: Vec<AgentAddress> = addresses.iter().filter(|other| other.node != own).copied().collect();
            match others.len() > TARGETS_MAX {
                true => others.choose_multiple(random, TARGETS_MAX).copied().collect(),
                false => others,
            }
        }
        To::Next => {
            let row = place / nodes * nodes;
            vec![addresses[row + (place + 1 - row) % nodes]]
        }
    }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::id::NodeId;

    use super::*;

    const NODES: usize = 5;

    fn addresses(agents: u64) -> Vec<AgentAddress> {
        let address = |place: u64| AgentAddress {
            node: NodeId(place % NODES as u64 + 1),
            number: place,
            generation: 1,
        };
        (0..agents).map(address).collect()
    }

    #[test]
    fn a_random_peer_is_any_of_another_node_and_among_many_some_of_them() {
        let mut random = StdRng::seed_from_u64(1);
        for (agents, expected) in [(10, 8), (100, TARGETS_MAX)] {
            let addresses = addresses(agents);
            for place in 0..addresses.len() {
                let targets = targets(&addresses, NODES, place, To::Random, &mut random);
                assert_eq!(targets.len(), expected);
                assert!(targets.iter().all(|target| target.node != addresses[place].node));
            }
        }
    }

    #[test]
    fn the_next_one_is_on_the_next_node_and_each_is_next_to_one() {
        let addresses = addresses(10);
        let mut random = StdRng::seed_from_u64(1);
        let mut seen: Vec<u64> = Vec::new();
        for place in 0..addresses.len() {
            let next = targets(&addresses, NODES, place, To::Next, &mut random)[0];
            assert_eq!(next.node.0 as usize, (place + 1) % NODES + 1);
            seen.push(next.number);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}
