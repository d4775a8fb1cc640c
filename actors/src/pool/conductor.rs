//! The shares of the pools, while this node leads: asks the members how they are, and says a share when it is another one.
//! What is decided is [`queenright_protocol::colony::share`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::share::{Demand, Host, Pace, divide, wanted};
use queenright_protocol::colony::{Body, Epoch, Outcome, Pool, PoolCommand, Pools};
use queenright_protocol::id::NodeId;
use ractor::ActorRef;
use tokio::time::Instant;

use super::HostReport;
use super::shell::{Hosting, figures_of};
use crate::agent::submit;
use crate::consensus::Consensus;
use crate::liveness::{Liveness, View};
use crate::node::Role;
use crate::queen::{QueenMessage, Request};
use crate::replica::Replica;

/// How often the leader looks while there are pools.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it waits for a share to be committed before it looks again.
const SHARE_TIMEOUT: Duration = Duration::from_secs(5);
/// Who says shares, and in the name of which project: the command belongs to none.
const AUTHOR: &str = "queen";
const PROJECT: &str = "default";

/// How each member answered, if it did.
pub(crate) type Reports = BTreeMap<NodeId, HostReport>;

/// What the leader keeps from look to look.
#[derive(Default)]
struct Conductor {
    paces: BTreeMap<Arc<str>, Pace>,
    /// What each member said last.
    known: Reports,
}

/// A share that is to be said.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    pool: Arc<str>,
    shares: BTreeMap<NodeId, u32>,
    after: u64,
}

impl Conductor {
    /// What the members have said now. Who says nothing is as it was, for as long as it is not taken for dead; who is no
    /// member any more is forgotten.
    fn hear(&mut self, mut said: Reports, present: impl Fn(NodeId) -> bool) {
        for (node, report) in std::mem::take(&mut self.known) {
            said.entry(node).or_insert(report);
        }
        said.retain(|node, _| present(*node));
        self.known = said;
    }

    /// The shares that are to be others. `takes` says whether a node takes new work.
    fn decide(
        &mut self,
        pools: &Pools,
        claimable: &BTreeMap<Arc<str>, u64>,
        takes: impl Fn(NodeId) -> bool,
        now_ms: u64,
    ) -> Vec<Said> {
        self.paces.retain(|name, _| pools.get(name).is_some());
        let mut said = Vec::new();
        // What is decided of a pool counts for the load of those behind it.
        let mut loads: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (node, report) in &self.known {
            let of_pools = pools.iter().map(|(name, pool)| {
                let live = figures_of(report, name).live();
                live.max(pool.share(*node))
            });
            loads.insert(*node, report.others + of_pools.sum::<u32>());
        }
        for (name, pool) in pools.iter() {
            let ready = claimable.get(name).copied().unwrap_or_default();
            let shares = self.shares_of(name, pool, ready, &loads, &takes, now_ms);
            if shares == pool.shares {
                continue;
            }
            for (node, load) in &mut loads {
                let (before, after) = (pool.share(*node), shares.get(node).copied().unwrap_or_default());
                *load = (*load + after).saturating_sub(before);
            }
            said.push(Said {
                pool: name.clone(),
                shares,
                after: pool.changed,
            });
        }
        said
    }

    fn shares_of(
        &mut self,
        name: &Arc<str>,
        pool: &Pool,
        ready: u64,
        loads: &BTreeMap<NodeId, u32>,
        takes: impl Fn(NodeId) -> bool,
        now_ms: u64,
    ) -> BTreeMap<NodeId, u32> {
        if pool.drained {
            self.paces.remove(name);
            return BTreeMap::new();
        }
        let settings = &pool.settings;
        let is_host = |node: NodeId, report: &HostReport| report.hosting && takes(node) && report.fits(settings);
        let (mut hosts, mut elsewhere, mut demand) = (
            Vec::new(),
            0,
            Demand {
                ready,
                ..Demand::default()
            },
        );
        for (node, report) in &self.known {
            let figures = figures_of(report, name);
            if !is_host(*node, report) {
                elsewhere += figures.live();
                continue;
            }
            // What those have in hand that drain needs no agent that stays.
            demand.running += figures.running.saturating_sub(figures.ending);
            demand.busy += figures.busy;
            let own = figures.live().max(pool.share(*node));
            hosts.push(Host {
                node: *node,
                cores: report.cores,
                others: loads.get(node).map_or(0, |load| load.saturating_sub(own)),
                live: figures.live(),
                idle: figures.idle,
            });
        }
        let shared = hosts.iter().map(|host| pool.share(host.node)).sum();
        let pace = self.paces.entry(name.clone()).or_default();
        let want = pace.paced(settings, wanted(settings, &demand), shared, now_ms);
        divide(settings, want, &hosts, elsewhere, &pool.shares)
    }
}

/// What the task is made of.
pub(crate) struct Conducting {
    pub(crate) hosting: Arc<Hosting>,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) queen: ActorRef<QueenMessage>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) me: NodeId,
}

/// Says the shares of the pools, for as long as it is polled and this node leads. `ask` asks a member how it is.
pub(crate) async fn conduct<F>(parts: Conducting, ask: impl Fn(NodeId) -> F)
where
    F: Future<Output = Option<HostReport>>,
{
    let started = Instant::now();
    let (mut leadership, mut pools) = (parts.consensus.leadership(), parts.replica.follow_pools());
    let mut conductor = Conductor::default();
    loop {
        let leads = leadership.borrow_and_update().role == Role::Leader;
        let present = pools.borrow_and_update().clone();
        let works = leads && !present.is_empty();
        match works {
            true => {
                let now_ms = || started.elapsed().as_millis() as u64;
                parts.look(&mut conductor, &present, &ask, now_ms).await;
            }
            false => conductor = Conductor::default(),
        }
        let changed = tokio::select! {
            changed = leadership.changed() => changed,
            changed = pools.changed(), if !works => changed,
            () = tokio::time::sleep(LOOK_EVERY), if works => Ok(()),
        };
        if changed.is_err() {
            // The node stops.
            return;
        }
    }
}

impl Conducting {
    async fn look<F>(
        &self,
        conductor: &mut Conductor,
        pools: &Pools,
        ask: &impl Fn(NodeId) -> F,
        now_ms: impl Fn() -> u64,
    ) where
        F: Future<Output = Option<HostReport>>,
    {
        let epoch = self.replica.follow_epoch().borrow().clone();
        let Some(epoch) = epoch else { return };
        let asked = epoch.members.iter().map(|member| async move {
            let report = match *member == self.me {
                true => Some(self.hosting.report()),
                false => ask(*member).await,
            };
            Some((*member, report?))
        });
        let said = futures::future::join_all(asked).await.into_iter().flatten().collect();
        conductor.hear(said, |node| epoch.members.contains(&node) && self.is_there(node));
        let ready = self.replica.ready_for(pools);
        for Said { pool, shares, after } in conductor.decide(pools, &ready, |node| takes(&epoch, node), now_ms()) {
            tracing::info!(%pool, ?shares, "a pool is shared in another way");
            let command = PoolCommand::Share {
                name: pool.clone(),
                shares,
                after,
            };
            let request = Request {
                project: PROJECT.into(),
                author: AUTHOR.into(),
                idempotency_key: None,
                body: Body::Pool(command),
            };
            match submit(&self.queen, request, SHARE_TIMEOUT).await {
                Ok(Outcome::PoolSet { .. }) => {}
                // The pool has changed since, or nobody knows: the next look finds out.
                other => tracing::debug!(%pool, ?other, "no share was said"),
            }
        }
    }

    /// Whether a member is not taken for dead.
    fn is_there(&self, node: NodeId) -> bool {
        let opinions = self.liveness.opinions();
        let down = |node| {
            opinions
                .borrow()
                .get(&node)
                .is_some_and(|opinion| opinion.view == View::Down)
        };
        node == self.me || !down(node)
    }
}

fn takes(epoch: &Epoch, node: NodeId) -> bool {
    !epoch.drained.contains(&node) && !epoch.leaving.contains(&node)
}

#[cfg(test)]
mod tests {
    use queenright_protocol::colony::{Colony, Command, PoolSettings, Round};

    use super::super::PoolFigures;
    use super::*;

    /// The pools after these commands.
    fn pools(commands: Vec<PoolCommand>) -> Pools {
        let command = |(number, command)| Command {
            number,
            settled: number,
            expires_ms: u64::MAX,
            project: "default".into(),
            author: "ann".into(),
            idempotency_key: None,
            body: Body::Pool(command),
            listed: false,
        };
        let round = Round {
            node: NodeId(1),
            incarnation: 1,
            commands: (1..).zip(commands).map(command).collect(),
        };
        let mut colony = Colony::default();
        for answer in colony.apply(1, 1, &[round], NodeId(1)).outcomes {
            assert!(matches!(answer.outcome, Outcome::PoolSet { .. }), "{answer:?}");
        }
        colony.pools().clone()
    }

    fn set(settings: PoolSettings) -> PoolCommand {
        PoolCommand::Set {
            name: "p".into(),
            settings: Box::new(settings),
            if_absent: false,
        }
    }

    fn host(others: u32, label: &str, figures: PoolFigures) -> HostReport {
        HostReport {
            hosting: true,
            cores: 2,
            others,
            labels: [("zone".to_owned(), label.to_owned())].into(),
            pools: [("p".to_owned(), figures)].into(),
        }
    }

    fn three(figures: impl Fn(u64) -> PoolFigures) -> Reports {
        let zone = |node| if node == 3 { "b" } else { "a" };
        let hosts = (1..=3).map(|node| (NodeId(node), host(0, zone(node), figures(node))));
        hosts.collect()
    }

    fn settings(max: u32) -> PoolSettings {
        PoolSettings {
            max,
            idle_ms: 1_000,
            ..PoolSettings::default()
        }
    }

    fn shares(said: &[Said]) -> Option<Vec<(u64, u32)>> {
        let [Said { shares, .. }] = said else { return None };
        Some(shares.iter().map(|(node, share)| (node.0, *share)).collect())
    }

    #[test]
    fn a_pool_follows_the_depth_of_its_queue_and_rests_when_nothing_changes() {
        let mut conductor = Conductor::default();
        let empty = pools(vec![set(settings(6))]);
        let ready = |tasks| BTreeMap::from([("p".into(), tasks)]);
        conductor.hear(three(|_| PoolFigures::default()), |_| true);
        assert_eq!(conductor.decide(&empty, &ready(0), |_| true, 0), []);
        let said = conductor.decide(&empty, &ready(9), |_| true, 0);
        assert_eq!(shares(&said), Some(vec![(1, 2), (2, 2), (3, 2)]));
        assert_eq!(said[0].after, 1);

        let shared = PoolCommand::Share {
            name: "p".into(),
            shares: said[0].shares.clone(),
            after: 1,
        };
        let full = pools(vec![set(settings(6)), shared]);
        let busy = PoolFigures {
            wanted: 2,
            busy: 2,
            running: 2,
            ..PoolFigures::default()
        };
        conductor.hear(three(|_| busy.clone()), |_| true);
        assert_eq!(conductor.decide(&full, &ready(3), |_| true, 100), []);
        // Two have nothing to do any more.
        let some = PoolFigures {
            wanted: 2,
            idle: 2,
            ..PoolFigures::default()
        };
        conductor.hear(
            three(|node| if node == 2 { some.clone() } else { busy.clone() }),
            |_| true,
        );
        assert_eq!(conductor.decide(&full, &ready(0), |_| true, 200), []);
        let said = conductor.decide(&full, &ready(0), |_| true, 1_200);
        assert_eq!(shares(&said), Some(vec![(1, 2), (3, 2)]));
    }

    #[test]
    fn agents_are_where_the_labels_are_and_not_on_nodes_that_are_down_or_drained() {
        let mut conductor = Conductor::default();
        let placed = PoolSettings {
            placement: BTreeMap::from([("zone".into(), "a".into())]),
            min_idle: 4,
            ..settings(6)
        };
        let of_zone = pools(vec![set(placed)]);
        let none = BTreeMap::new();
        conductor.hear(three(|_| PoolFigures::default()), |_| true);
        let said = conductor.decide(&of_zone, &none, |_| true, 0);
        assert_eq!(shares(&said), Some(vec![(1, 2), (2, 2)]));
        let said = conductor.decide(&of_zone, &none, |node| node != NodeId(1), 0);
        assert_eq!(shares(&said), Some(vec![(2, 4)]));
        // It said nothing, and is taken for dead.
        conductor.hear(Reports::new(), |node| node != NodeId(2));
        let said = conductor.decide(&of_zone, &none, |_| true, 0);
        assert_eq!(shares(&said), Some(vec![(1, 4)]));
        conductor.hear(Reports::new(), |_| false);
        assert_eq!(conductor.decide(&of_zone, &none, |_| true, 0), []);
    }

    #[test]
    fn what_one_pool_gets_is_load_for_the_next() {
        let mut conductor = Conductor::default();
        let min = |min_idle| PoolSettings {
            min_idle,
            ..settings(6)
        };
        let second = PoolCommand::Set {
            name: "q".into(),
            settings: Box::new(min(2)),
            if_absent: false,
        };
        let both = pools(vec![set(min(1)), second]);
        conductor.hear(three(|_| PoolFigures::default()), |_| true);
        let said = conductor.decide(&both, &BTreeMap::new(), |_| true, 0);
        let first: Vec<u64> = said[0].shares.keys().map(|node| node.0).collect();
        let second: Vec<u64> = said[1].shares.keys().map(|node| node.0).collect();
        assert_eq!((first, second), (vec![1], vec![2, 3]));
    }
}
