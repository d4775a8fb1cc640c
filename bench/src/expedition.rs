//! An expedition: explorers of one world, hosted by the nodes of a cluster, that tell each other what they believe while a
//! conductor lets them do their steps. Workload B14 and `queenright explore` are expeditions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentAddress, AgentState, AgentStatus};
use queenright_actors::explorer::{EXPLORERS_MAX, ExplorerSpec, HISTORY_STEPS_MAX, TOLD_MAX, WorldError, WorldSpec};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{self, Kind};
use serde_json::{Value, json};

use crate::BenchError;
use crate::client::Client;
use crate::report::Counts;
use crate::rig::{RigNode, door, for_all, late, reported, spawn};

/// How often it is looked how far an expedition is: seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(100);
/// How long the counts of those who have done all steps must stand before what is missing counts as lost.
const SETTLED_AFTER: Duration = Duration::from_millis(500);
/// How long to wait for that at most.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// The most beliefs that are told in one step: whom each tells is sent to the conductor in one request.
pub const BELIEFS_MAX: u64 = 1_000_000;

/// Who tells whom what it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// Each those that a topology of this kind over the explorers would link it with.
    Kind(Kind),
    /// The explorer with number i the next (i mod 5), as FreeAgentics has it.
    Mod5,
}

impl Neighbours {
    /// To how many of so many explorers one tells its belief at most, and how many beliefs are told in a step at most.
    fn told(self, explorers: u64) -> (u64, u64) {
        let others = explorers.saturating_sub(1);
        match self {
            Neighbours::Kind(Kind::Mesh) => (others, explorers * others),
            Neighbours::Kind(Kind::Star) => (others, 2 * others),
            Neighbours::Kind(Kind::Ring) => (others.min(2), explorers * others.min(2)),
            Neighbours::Kind(Kind::Hierarchical { fan_out }) => (others.min(fan_out.get() as u64 + 1), 2 * others),
            Neighbours::Mod5 => (others.min(4), explorers * others.min(4)),
        }
    }

    /// For each explorer the numbers of those that it tells.
    pub fn of(self, explorers: usize) -> Vec<Vec<usize>> {
        match self {
            Neighbours::Mod5 => {
                let of = |i: usize| {
                    let next = (1..=i % 5).map(|by| (i + by) % explorers);
                    let others: BTreeSet<usize> = next.filter(|to| *to != i).collect();
                    others.into_iter().collect()
                };
                (0..explorers).map(of).collect()
            }
            Neighbours::Kind(kind) => {
                let members: BTreeSet<NodeId> = (0..explorers as u64).map(NodeId).collect();
                let topology = topology::Topology::new(kind, &members);
                let of = |me: &NodeId| topology.neighbours(*me).iter().map(|to| to.0 as usize).collect();
                members.iter().map(of).collect()
            }
        }
    }
}

/// A node that hosts explorers.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: NodeId,
    /// The client of its door.
    pub client: Client,
}

impl From<&RigNode> for Host {
    fn from(node: &RigNode) -> Host {
        Host {
            name: node.name.clone(),
            id: node.id,
            client: node.client.clone(),
        }
    }
}

/// What an expedition is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The world.
    pub world: WorldSpec,
    /// How many explorers, 1 to [`EXPLORERS_MAX`]; they take turns on the nodes.
    pub explorers: usize,
    /// How many steps each does, at least 1; with history at most [`HISTORY_STEPS_MAX`].
    pub steps: u64,
    /// Who tells whom what it believes.
    pub neighbours: Neighbours,
    /// How much that counts beside one's own belief, 0 to 1.
    pub trust: f64,
    /// Each takes notice of what it senses in every so many steps, at least 1.
    pub update_every: u32,
    /// Whether all do a step before any does the next.
    pub lockstep: bool,
    /// Whether they keep where they were and how uncertain they were.
    pub history: bool,
    /// How long to wait for an explorer that does not say that it is done: with a step in lock-step, else with all.
    pub patience: Duration,
}

/// Why there can be no such expedition. Nothing was begun.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There is no such world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A number is out of its bounds.
    #[error("{field}: {found} is not {bound}")]
    Bound {
        /// What has that number.
        field: &'static str,
        /// The number.
        found: f64,
        /// What it must be.
        bound: String,
    },
}

impl Plan {
    /// Whether there can be such an expedition.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        self.world.check()?;
        let (told_by_one, told) = self.neighbours.told(self.explorers.min(EXPLORERS_MAX) as u64);
        let steps_max = if self.history { HISTORY_STEPS_MAX } else { u64::MAX };
        for (field, found, min, max) in [
            ("explorers", self.explorers as u64, 1, EXPLORERS_MAX as u64),
            ("steps", self.steps, 1, steps_max),
            ("update_every", self.update_every.into(), 1, u32::MAX.into()),
            ("neighbours of one explorer", told_by_one, 0, TOLD_MAX as u64),
            ("beliefs told in a step", told, 0, BELIEFS_MAX),
        ] {
            if !(min..=max).contains(&found) {
                let bound = format!("{min} to {max}");
                let found = found as f64;
                return Err(PlanError::Bound { field, found, bound });
            }
        }
        match (0.0..=1.0).contains(&self.trust) {
            true => Ok(()),
            false => Err(PlanError::Bound {
                field: "trust",
                found: self.trust,
                bound: "0 to 1".to_owned(),
            }),
        }
    }
}

/// An explorer as its node last reported it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sight {
    /// How many steps it has done.
    pub steps: u64,
    /// Row and column of where it is.
    pub place: (usize, usize),
    /// Whether that is the goal.
    pub at_goal: bool,
    /// How uncertain it is of the goal, in nats.
    pub entropy: f64,
}

/// What an expedition came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How long all steps took: from the first to the last, without making and wiring explorers.
    pub run: Duration,
    /// How long the explorers computed, all together.
    pub thinking: Duration,
    /// How often one did not say in time that it was done.
    pub silent: u64,
    /// Beliefs: sent, of those refused, delivered to explorers, or lost.
    pub beliefs: Counts,
    /// Of those delivered, how many came after the step that they were for.
    pub late: u64,
    /// Where each explorer ended, in order.
    pub last: Vec<Sight>,
    /// With history: the places after each step, for each explorer.
    pub places: Vec<Vec<usize>>,
    /// With history: how uncertain they are of the goal after each step, on average, in nats.
    pub entropies: Vec<f64>,
}

/// An expedition.
#[derive(Debug)]
pub struct Expedition {
    plan: Plan,
    hosts: Vec<Host>,
    /// What the names of its agents begin with.
    name: String,
}

impl Expedition {
    /// One that has not begun, on these hosts.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(plan: Plan, hosts: Vec<Host>) -> Expedition {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let place = MADE.fetch_add(1, Ordering::Relaxed);
        assert!(!hosts.is_empty(), "somebody must host the explorers");
        Expedition {
            name: format!("explore.{}.{place}", std::process::id()),
            plan,
            hosts,
        }
    }

    /// Makes the explorers and lets them begin. However it ends, [`Expedition::stop`] is to follow at last.
    ///
    /// # Errors
    /// [`BenchError::Door`].
    pub async fn begin(&self) -> Result<(), BenchError> {
        let Plan {
            explorers,
            world,
            trust,
            update_every,
            history,
            ..
        } = &self.plan;
        let addresses = for_all(0..*explorers, async |number| {
            let explorer = ExplorerSpec {
                number: number as u32,
                trust: *trust,
                update_every: *update_every,
            };
            let arguments = json!({ "world": world, "explorer": explorer, "history": history });
            let host = self.host(number);
            let at = (&host.client, &*host.name);
            let agent = spawn(at, &self.explorer(number), "explorer", arguments).await?;
            Ok(AgentAddress {
                node: host.id,
                number: agent.number,
                generation: agent.generation,
            })
        })
        .await?;
        let arguments = json!({
            "explorers": addresses, "tells": self.plan.neighbours.of(*explorers), "steps": self.plan.steps,
            "lockstep": self.plan.lockstep, "patience_ms": self.plan.patience.as_millis() as u64,
        });
        let first = (&self.hosts[0].client, &*self.hosts[0].name);
        spawn(first, &self.conductor(), "explorer-conductor", arguments)
            .await
            .map(drop)
    }

    fn host(&self, number: usize) -> &Host {
        &self.hosts[number % self.hosts.len()]
    }

    fn explorer(&self, number: usize) -> String {
        format!("{}.{number}", self.name)
    }

    fn conductor(&self) -> String {
        format!("{}.conductor", self.name)
    }

    /// The explorers as their nodes last reported them, in order.
    ///
    /// # Errors
    /// [`BenchError::Door`], and [`BenchError::Agent`] for one that has ended.
    pub async fn sights(&self) -> Result<Vec<Sight>, BenchError> {
        let all = self.agents().await?;
        Ok(all.iter().map(sight).collect())
    }

    /// All explorers, in order.
    async fn agents(&self) -> Result<Vec<AgentStatus>, BenchError> {
        let mut by_name = BTreeMap::new();
        for host in &self.hosts {
            let listed = host.client.agents().await;
            let listed = listed.map_err(|error| door(format!("list the agents of {}", host.name), error))?;
            by_name.extend(listed.into_iter().map(|agent| (agent.name.clone(), agent)));
        }
        let named = (0..self.plan.explorers).map(|number| {
            let name = self.explorer(number);
            let problem = match by_name.remove(&name) {
                Some(agent) if agent.state.is_live() => return Ok(agent),
                Some(agent) => agent.reason.unwrap_or_else(|| format!("is {}", agent.state)),
                None => "is not there any more".to_owned(),
            };
            Err(BenchError::Agent { name, problem })
        });
        named.collect()
    }

    /// Waits until all steps are done; calls `look` from time to time with what there is to see.
    ///
    /// # Errors
    /// [`BenchError`]: a node does not answer, an explorer or the conductor has failed, or all takes longer than this.
    pub async fn done(&self, within: Duration, mut look: impl FnMut(&[Sight])) -> Result<Outcome, BenchError> {
        let started = Instant::now();
        let conductor = self.conductor();
        loop {
            let asked = self.hosts[0].client.agent(&conductor).await;
            let status = asked.map_err(|error| door("ask for the conductor", error))?;
            match status.state {
                AgentState::Done => return self.outcome(&status).await,
                state if state.is_live() => {}
                _ => {
                    return Err(BenchError::Agent {
                        name: conductor,
                        problem: status.reason.unwrap_or_else(|| "was stopped".to_owned()),
                    });
                }
            }
            if started.elapsed() > within {
                return Err(late("an expedition is still under way", started));
            }
            look(&self.sights().await?);
            tokio::time::sleep(POLL).await;
        }
    }

    async fn outcome(&self, conductor: &AgentStatus) -> Result<Outcome, BenchError> {
        let agents = self.settled().await?;
        let sum = |name: &str| -> Result<u64, BenchError> { agents.iter().map(|agent| reported(agent, name)).sum() };
        let (sent, refused, delivered) = (sum("sent")?, sum("refused")?, sum("received")?);
        let lost = sent
            .checked_sub(refused + delivered)
            .ok_or_else(|| BenchError::Mismatch {
                workload: "expedition",
                what: "beliefs delivered and refused".to_owned(),
                found: format!("{delivered} and {refused}"),
                expected: format!("at most {sent}, which were sent"),
            })?;
        let mut outcome = Outcome {
            run: Duration::from_micros(reported(conductor, "run_us")?),
            thinking: Duration::from_micros(sum("thinking_us")?),
            silent: reported(conductor, "silent")?,
            beliefs: Counts {
                sent,
                delivered,
                refused,
                lost,
            },
            late: sum("late")?,
            last: agents.iter().map(sight).collect(),
            ..Outcome::default()
        };
        if self.plan.history {
            for agent in &agents {
                let list = |name: &str| agent.report.get(name).cloned().unwrap_or_default();
                outcome.places.push(of_json(agent, list("places"))?);
                let entropies: Vec<f64> = of_json(agent, list("entropies"))?;
                outcome
                    .entropies
                    .resize(entropies.len().max(outcome.entropies.len()), 0.0);
                for (sum, entropy) in outcome.entropies.iter_mut().zip(entropies) {
                    *sum += entropy / agents.len() as f64;
                }
            }
        }
        Ok(outcome)
    }

    /// The explorers once nothing arrives any more.
    async fn settled(&self) -> Result<Vec<AgentStatus>, BenchError> {
        let started = Instant::now();
        let (mut received, mut since) = (0, Instant::now());
        loop {
            let agents = self.agents().await?;
            let sum = |name: &str| {
                agents
                    .iter()
                    .filter_map(|agent| reported(agent, name).ok())
                    .sum::<u64>()
            };
            let now = sum("received");
            if now != received {
                (received, since) = (now, Instant::now());
            }
            let all =
                now + sum("refused") == sum("sent") && agents.iter().all(|agent| sight(agent).steps >= self.plan.steps);
            if all || since.elapsed() > SETTLED_AFTER || started.elapsed() > SETTLED_WITHIN {
                return Ok(agents);
            }
            tokio::time::sleep(POLL / 4).await;
        }
    }

    /// Stops all agents of the expedition. Those that are gone already are no error.
    pub async fn stop(&self) {
        let _ = self.hosts[0].client.stop_agent(&self.conductor()).await;
        let stopped = for_all(0..self.plan.explorers, async |number| {
            let _ = self.host(number).client.stop_agent(&self.explorer(number)).await;
            Ok(())
        });
        let _ = stopped.await;
    }
}

fn sight(agent: &AgentStatus) -> Sight {
    let report = |name: &str| agent.report.get(name);
    let place = |at: usize| report("place").and_then(|place| place.get(at)?.as_u64()).unwrap_or(0);
    Sight {
        steps: report("steps").and_then(Value::as_u64).unwrap_or(0),
        place: (place(0) as usize, place(1) as usize),
        at_goal: report("at_goal").and_then(Value::as_bool).unwrap_or(false),
        entropy: report("entropy").and_then(Value::as_f64).unwrap_or(0.0),
    }
}

fn of_json<T: serde::de::DeserializeOwned>(agent: &AgentStatus, value: Value) -> Result<T, BenchError> {
    serde_json::from_value(value).map_err(|error| BenchError::Agent {
        name: agent.name.clone(),
        problem: format!("reports no history: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_tells_the_neighbours_that_a_topology_gives_it_or_as_many_as_its_number_says() {
        let ring = Neighbours::Kind(Kind::Ring).of(4);
        assert_eq!(ring, [vec![1, 3], vec![0, 2], vec![1, 3], vec![0, 2]]);
        let freely = Neighbours::Mod5.of(10);
        assert_eq!((freely[0].len(), &freely[9]), (0, &vec![0, 1, 2, 3]));
        assert_eq!(Neighbours::Mod5.of(1), [Vec::<usize>::new()]);
        assert_eq!(Neighbours::Mod5.of(2)[1], [0]);
    }

    #[test]
    fn what_is_told_at_most_is_known_without_a_list() {
        for neighbours in ["mesh", "star", "ring", "hierarchical:3"].map(|kind| Neighbours::Kind(kind.parse().unwrap()))
        {
            for explorers in 1..30 {
                let told = neighbours.of(explorers);
                let most = told.iter().map(Vec::len).max().unwrap() as u64;
                let all = told.iter().map(Vec::len).sum::<usize>() as u64;
                let (by_one, bound) = neighbours.told(explorers as u64);
                assert!(most <= by_one && all <= bound, "{neighbours:?} of {explorers}");
            }
        }
    }
}
