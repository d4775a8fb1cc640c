//! How long a cluster of one kind takes until it is as its topology wants it: after a node was killed and came back, after one
//! has joined, and after a split of the net. On a cluster that holds next to nothing, so that it is links and epochs that take the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use queenright_actors::node::{ClusterStatus, NodeStatus, Role};
use queenright_protocol::topology::Kind;

use super::{ID, Plan};
use crate::client::PutOptions;
use crate::hosts::Hosts;
use crate::rig::{Rig, RigNode, Shape, door, for_all, is_whole, late};
use crate::{BenchError, Options};

/// How long any of it may take, and how often it is looked: that is how exact it is.
const WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
/// How long a net is split.
const SPLIT: Duration = Duration::from_secs(10);

/// How many steps it is told of.
pub(super) const STEPS: u64 = 4;

/// What one cluster gave.
pub(super) struct Converged {
    /// A node that neither leads nor stands in the middle, if there is one, and the first one: the hub, or the root.
    pub(super) kills: Vec<Kill>,
    /// Where all nodes are on one host: there is none for another one otherwise.
    pub(super) join: Option<Join>,
    /// Where nodes have hosts of their own, whose net can be split.
    pub(super) split: Option<Split>,
}

/// A node that joined.
pub(super) struct Join {
    /// From the start of its process until it was let in.
    pub(super) let_in: Duration,
    /// Until it had caught up.
    pub(super) caught_up: Duration,
    /// Until every node had its links and was at the same place.
    pub(super) whole: Duration,
}

/// A split of the net: the leader, and as many others as a minority may have, from the rest.
pub(super) struct Split {
    /// From the split until a node of the others acknowledged a write that was begun after it.
    pub(super) written: Duration,
    /// From the end of the split until every node had its links and was at the same place.
    pub(super) healed: Duration,
}

/// A node that was killed.
pub(super) struct Kill {
    /// Which one: the last, or the first.
    pub(super) victim: Victim,
    /// Whether it led.
    pub(super) led: bool,
    /// From the signal until another node acknowledged a write that was begun after it.
    pub(super) written: Duration,
    /// From the start of its new process until every node had its links and was at the same place.
    pub(super) back: Duration,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The last node: a leaf of a star and of a tree.
    Last,
    /// The first node: the hub of a star, the root of a tree.
    First,
}

impl Victim {
    pub(super) const ALL: [Victim; 2] = [Victim::Last, Victim::First];

    /// What it is called in a row.
    pub(super) fn name(self) -> &'static str {
        match self {
            Victim::Last => "the last node",
            Victim::First => "the first node",
        }
    }
}

impl Converged {
    /// Starts a cluster, kills two of its nodes one after the other, and lets one more in, or splits its net.
    pub(super) async fn measure(
        plan: &Plan,
        options: &Options,
        (kind, hosts): (Kind, Option<&Hosts>),
        mut begins: impl FnMut(&str),
    ) -> Result<Converged, BenchError> {
        begins("a cluster to change");
        let shape = Shape {
            nodes: plan.nodes,
            kind,
        };
        let mut rig = Rig::start_on(options, ID, shape, hosts).await?;
        let mut kills = Vec::new();
        for victim in Victim::ALL {
            begins(&format!("kill {}", victim.name()));
            kills.push(Kill::measure(&mut rig, victim).await?);
        }
        let (mut join, mut split) = (None, None);
        match hosts {
            None => {
                begins("join");
                join = Some(Join::measure(&mut rig, &format!("n{}", plan.nodes + 1)).await?);
            }
            Some(hosts) => {
                begins("split");
                split = Some(Split::measure(&rig, hosts).await?);
            }
        }
        rig.stop().await?;
        Ok(Converged { kills, join, split })
    }
}

impl Join {
    async fn measure(rig: &mut Rig, newcomer: &str) -> Result<Join, BenchError> {
        let joined = rig.join(newcomer).await?;
        let (let_in, caught_up, since) = (joined.let_in, joined.caught_up, Instant::now());
        rig.adopt(joined);
        whole(rig.nodes()).await?;
        Ok(Join {
            let_in,
            caught_up,
            whole: caught_up + since.elapsed(),
        })
    }
}

impl Split {
    async fn measure(rig: &Rig, hosts: &Hosts) -> Result<Split, BenchError> {
        let leader = rig.whole().await?;
        let mut names: Vec<&str> = rig.nodes().iter().map(|node| &*node.name).collect();
        // The leader first, then the first of the file: those that vote.
        names.sort_by_key(|name| *name != leader);
        let status = rig.status().await?;
        let votes = |node: &&NodeStatus| matches!(node.role, Role::Leader | Role::Follower);
        let voters = status.nodes.iter().filter(votes).count();
        let minority = &names[..(voters - 1) / 2];
        let witness = rig.nodes().iter().find(|node| !minority.contains(&&*node.name));
        let witness = witness.ok_or_else(|| late("nobody is in the majority", Instant::now()))?;
        hosts.split(minority).map_err(BenchError::Hosts)?;
        let at = Instant::now();
        let written = acknowledged(witness, at).await?;
        // Long enough that all have noticed.
        tokio::time::sleep(SPLIT.saturating_sub(at.elapsed())).await;
        hosts.heal().map_err(BenchError::Hosts)?;
        let healed = Instant::now();
        whole(rig.nodes()).await?;
        Ok(Split {
            written,
            healed: healed.elapsed(),
        })
    }
}

impl Kill {
    async fn measure(rig: &mut Rig, victim: Victim) -> Result<Kill, BenchError> {
        let leader = rig.whole().await?;
        // The second node is neither the first nor the last.
        let witness = rig.nodes()[1].clone();
        let killed = match victim {
            Victim::Last => rig.nodes().last(),
            Victim::First => rig.nodes().first(),
        };
        let killed = killed.expect("a rig has nodes").name.clone();
        let at = rig.kill(&killed).await?;
        let written = acknowledged(&witness, at).await?;
        let started = Instant::now();
        rig.start_again(&killed).await?;
        whole(rig.nodes()).await?;
        Ok(Kill {
            victim,
            led: leader == killed,
            written,
            back: started.elapsed(),
        })
    }
}

/// From a moment until a node acknowledges a write that is begun now.
async fn acknowledged(node: &RigNode, since: Instant) -> Result<Duration, BenchError> {
    let mut write = 0;
    loop {
        // Each under a key of its own: whether one without an outcome was done does not matter.
        let key = format!("topologies/killed/{write}");
        write += 1;
        match node
            .client
            .put(&key, Bytes::from_static(b"1"), &PutOptions::default())
            .await
        {
            Ok(_) => return Ok(since.elapsed()),
            Err(_) if since.elapsed() > WITHIN => {
                return Err(late("no write was acknowledged after a kill", since));
            }
            Err(error) if error.outcome_unknown() || error.is_temporary() => tokio::time::sleep(POLL).await,
            Err(error) => return Err(door(format!("put at {}", node.name), error)),
        }
    }
}

/// Waits until every node knows the same epoch of all, has the links that it wants of it, and all are at the same place.
async fn whole(nodes: &[RigNode]) -> Result<(), BenchError> {
    let started = Instant::now();
    while started.elapsed() < WITHIN {
        let told = for_all(nodes, async |node| Ok(node.client.status().await.ok())).await?;
        let told: Option<Vec<ClusterStatus>> = told.into_iter().collect();
        if told.is_some_and(|told| are_whole(&told)) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(late("the cluster is not as its topology wants it", started))
}

fn are_whole(told: &[ClusterStatus]) -> bool {
    let epochs: BTreeSet<u64> = told.iter().map(|status| status.epoch).collect();
    let places = told.iter().flat_map(|status| &status.nodes).map(|node| node.applied);
    let places: BTreeSet<Option<u64>> = places.collect();
    let listed = |status: &ClusterStatus| status.nodes.len() == told.len() && is_whole(status);
    epochs.len() == 1 && places.len() == 1 && told.iter().all(listed)
}
