//! What nodes have counted and used, and the difference between two moments.

use std::time::{Duration, Instant};

use queenright_actors::node::NodeFigures;
use serde_json::Value;

use crate::BenchError;
use crate::rig::{RigNode, door, for_all, late};

/// How long a node may take to be heard by the others, and how often they are asked.
const HEARD_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// What the nodes of a cluster have counted and used, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meter {
    /// One for each node.
    pub nodes: Vec<NodeMeter>,
}

/// What one node has counted and used since it started; of a difference, between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeMeter {
    /// Bytes of the frames that it has handed to its links, of whatever lane.
    pub frame_bytes: u64,
    /// Frames.
    pub frames: u64,
    /// Envelopes taken by its links, of whatever lane.
    pub envelopes: u64,
    /// Of those, how many were of the lane of signals.
    pub signal_envelopes: u64,
    /// Signals that it has passed on.
    pub forwarded: u64,
    /// Signals taken from its agents.
    pub sent: u64,
    /// Signals not taken from them.
    pub refused: u64,
    /// Signals handed to its agents.
    pub delivered: u64,
    /// Signals lost: at their end, in transit, and on links that broke.
    pub lost: u64,
    /// Signals under way on links that broke: perhaps lost.
    pub in_doubt: u64,
    /// Log entries, rounds and commands that it has applied.
    pub entries: u64,
    /// See there.
    pub rounds: u64,
    /// See there.
    pub commands: u64,
    /// The processor time of its process, where the system tells it.
    pub processor: Option<Duration>,
    /// The resident memory of its process in MiB, where the system tells it: of a difference that of the later moment.
    pub resident_mib: Option<f64>,
}

impl Meter {
    /// Asks all nodes; the first one what passed through each.
    ///
    /// # Errors
    /// [`BenchError::Door`], or [`BenchError::Late`] when a node does not answer the first one.
    pub async fn read(nodes: &[RigNode]) -> Result<Meter, BenchError> {
        let figures = for_all(nodes, RigNode::figures).await?;
        let transit = transit(nodes).await?;
        let all = nodes.iter().zip(figures).zip(transit);
        Ok(Meter {
            nodes: all
                .map(|((node, figures), (forwarded, lost))| NodeMeter {
                    forwarded,
                    processor: node.processor_time(),
                    resident_mib: node.resident_mib(),
                    ..NodeMeter::of(&figures, lost)
                })
                .collect(),
        })
    }

    /// What has come since `before`, which is of the same nodes.
    pub fn since(&self, before: &Meter) -> Meter {
        let both = self.nodes.iter().zip(&before.nodes);
        Meter {
            nodes: both.map(|(after, before)| after.since(before)).collect(),
        }
    }

    /// The sum of a count over all nodes.
    pub fn sum(&self, count: impl Fn(&NodeMeter) -> u64) -> u64 {
        self.nodes.iter().map(count).sum()
    }

    /// The processor seconds of each node; nothing where the system does not tell them.
    pub fn processor_seconds(&self) -> Option<Vec<f64>> {
        let seconds = self
            .nodes
            .iter()
            .map(|node| node.processor.map(|time| time.as_secs_f64()));
        seconds.collect()
    }

    /// The resident memory of each node in MiB; nothing where the system does not tell it.
    pub fn resident_mib(&self) -> Option<Vec<f64>> {
        self.nodes.iter().map(|node| node.resident_mib).collect()
    }

    /// All signals are accounted for: those sent are delivered or lost, but for those in doubt.
    ///
    /// # Errors
    /// [`BenchError::Mismatch`].
    pub fn accounted(&self, workload: &'static str) -> Result<(), BenchError> {
        let (sent, known) = (self.sum(|node| node.sent), self.sum(|node| node.delivered + node.lost));
        let in_doubt = self.sum(|node| node.in_doubt);
        match (known..=known + in_doubt).contains(&sent) {
            true => Ok(()),
            false => Err(BenchError::Mismatch {
                workload,
                what: "signals delivered and lost, by the counts of the nodes".to_owned(),
                found: format!("{known}, and {in_doubt} in doubt"),
                expected: format!("{sent}, as many as were sent"),
            }),
        }
    }
}

impl NodeMeter {
    fn of(figures: &NodeFigures, lost_in_transit: u64) -> NodeMeter {
        let links = figures.links["links"].as_array().map_or(&[][..], |links| links);
        let of_links = |count: &str| links.iter().filter_map(|link| link[count].as_u64()).sum::<u64>();
        let lanes = || links.iter().filter_map(|link| link["lanes"].as_array()).flatten();
        let of_lanes = |count: &str, is_meant: fn(&&Value) -> bool| -> u64 {
            lanes().filter(is_meant).filter_map(|lane| lane[count].as_u64()).sum()
        };
        let of_signals: fn(&&Value) -> bool = |lane| lane["lane"] == "signal";
        NodeMeter {
            frame_bytes: of_links("frame_bytes_sent"),
            frames: of_links("frames_sent"),
            envelopes: of_lanes("sent", |_| true),
            signal_envelopes: of_lanes("sent", of_signals),
            forwarded: 0,
            sent: figures.signals.sent,
            refused: figures.signals.refused,
            delivered: figures.signals.delivered,
            lost: figures.signals.lost + lost_in_transit + of_lanes("lost", of_signals),
            in_doubt: of_lanes("in_doubt", of_signals),
            entries: figures.entries,
            rounds: figures.rounds,
            commands: figures.commands,
            processor: None,
            resident_mib: None,
        }
    }

    fn since(&self, before: &NodeMeter) -> NodeMeter {
        // A node that was started again has begun anew.
        let since = |count: fn(&NodeMeter) -> u64| count(self).saturating_sub(count(before));
        NodeMeter {
            frame_bytes: since(|node| node.frame_bytes),
            frames: since(|node| node.frames),
            envelopes: since(|node| node.envelopes),
            signal_envelopes: since(|node| node.signal_envelopes),
            forwarded: since(|node| node.forwarded),
            sent: since(|node| node.sent),
            refused: since(|node| node.refused),
            delivered: since(|node| node.delivered),
            lost: since(|node| node.lost),
            in_doubt: since(|node| node.in_doubt),
            entries: since(|node| node.entries),
            rounds: since(|node| node.rounds),
            commands: since(|node| node.commands),
            processor: self
                .processor
                .zip(before.processor)
                .map(|(after, before)| after.saturating_sub(before)),
            resident_mib: self.resident_mib,
        }
    }
}

/// How many signals each node has passed on, and lost that it should have.
async fn transit(nodes: &[RigNode]) -> Result<Vec<(u64, u64)>, BenchError> {
    let started = Instant::now();
    loop {
        let asked = &nodes[0];
        let status = asked.client.status().await;
        let status = status.map_err(|error| door(format!("ask {} for the state of the cluster", asked.name), error))?;
        let counts = nodes.iter().map(|node| {
            let listed = status.nodes.iter().find(|listed| listed.name == node.name)?;
            let transit = listed.traffic.as_ref()?.transit;
            Some((transit.signals_forwarded, transit.signals_lost))
        });
        if let Some(counts) = counts.collect() {
            return Ok(counts);
        }
        if started.elapsed() > HEARD_WITHIN {
            return Err(late(format!("a node does not answer {}", asked.name), started));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(sent: u64, delivered: u64, lost: u64, in_doubt: u64) -> Meter {
        let node = NodeMeter {
            sent,
            delivered,
            lost,
            in_doubt,
            processor: Some(Duration::from_secs(sent)),
            ..NodeMeter::default()
        };
        Meter {
            nodes: vec![node, NodeMeter::default()],
        }
    }

    #[test]
    fn what_was_sent_is_delivered_lost_or_in_doubt() {
        let check = |meter: Meter| meter.accounted("B0").is_ok();
        assert!(check(meter(10, 8, 2, 0)));
        assert!(check(meter(10, 8, 0, 3)));
        assert!(!check(meter(10, 8, 1, 0)));
        assert!(!check(meter(10, 9, 2, 0)));
    }

    #[test]
    fn a_difference_is_of_counts_and_times() {
        let since = meter(10, 8, 2, 0).since(&meter(4, 3, 1, 0));
        assert_eq!(since.sum(|node| node.sent), 6);
        assert_eq!(since.sum(|node| node.delivered + node.lost), 6);
        assert_eq!(since.nodes[0].processor, Some(Duration::from_secs(6)));
        assert_eq!(
            since.processor_seconds(),
            None,
            "the system says nothing of the second node"
        );
    }
}
