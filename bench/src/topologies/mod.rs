//! The topologies side by side: the same workload and seed over mesh, star, ring and hierarchical.
//!
//! | module | holds |
//! |---|---|
//! | [`coincide`] | which kinds are the same over so many nodes |
//! | `cell` | what is measured on one cluster |
//! | `converge` | what is measured while nodes are killed, come back and join |
//! | [`drive`] | the same loads on a cluster that runs already, on whatever hosts |
//! | `rows` | the rows of what was measured |
//! | [`simulation`] | the same functions over virtual time, for many more nodes |
//! | [`table`] | a report as a table with a column for each kind |
//!
//! Nodes are processes of this host, started as a user starts them. Each repeat starts a cluster of each kind anew, one kind
//! after the other, so that a disturbance of the machine falls on all of them. One host is not a network: see
//! `config.host` of the report.

mod cell;
pub mod coincide;
mod converge;
pub mod drive;
mod rows;
pub mod simulation;
pub mod table;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use queenright_protocol::topology::{FanOut, Kind};
use serde_json::json;

use self::cell::{Cell, Stage};
use self::coincide::coinciding;
use self::converge::Converged;
use self::rows::Measured;
use crate::hosts::{Hosts, Weather};
use crate::load::PULSE_BYTES_MIN;
use crate::report::Report;
use crate::rig::{Rig, Shape};
use crate::traffic::open::{AGENTS_PER_NODE_MAX, Until};
use crate::{BenchError, Options};

/// The id of the reports.
pub const ID: &str = "topologies";
/// What they are about.
pub const TITLE: &str = "the topologies side by side, same workload and seed";

/// How many nodes there may be.
pub const NODES: RangeInclusive<usize> = 3..=16;
/// Bytes of a message: what it says of itself, up to what a link takes without cutting it into many.
pub const PAYLOAD_BYTES: RangeInclusive<usize> = PULSE_BYTES_MIN..=1 << 20;
/// Messages a second that may be offered.
pub const RATES: RangeInclusive<u64> = 1..=1_000_000;
/// How many rates.
pub const RATES_MAX: usize = 8;
/// How long each load may be measured, in milliseconds.
pub const WORK_MS: RangeInclusive<u64> = 100..=600_000;
/// How often all may be repeated.
pub const REPEATS: RangeInclusive<u32> = 1..=100;

/// How long each load runs before it is measured, in milliseconds; at most as long as it is measured.
const WARM_UP_MS: u64 = 1_000;
/// How long what a run that was broken off has left may take to end, and how often it is looked.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// What is compared, and by which loads.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many nodes each cluster has.
    pub nodes: usize,
    /// The topologies.
    pub kinds: Vec<Kind>,
    /// How many agents, on all nodes in turn: 2 to 64 for each node.
    pub agents: u64,
    /// Bytes of each message, value and payload.
    pub payload_bytes: usize,
    /// How many messages a second are offered, all agents together, one load for each.
    pub rates: Vec<u64>,
    /// How long each load is measured, in milliseconds.
    pub work_ms: u64,
    /// How often everything is done, each time on a new cluster.
    pub repeats: u32,
    /// What all that is drawn is drawn from.
    pub seed: u64,
    /// Whether nodes are killed, come back and join as well, on a cluster of their own each time.
    pub changes: bool,
    /// Whether the nodes have hosts of their own, which are network namespaces, and in which weather their net is.
    pub weather: Option<Weather>,
}

impl Default for Plan {
    /// Seven nodes, four topologies, 14 agents, 256 B, 1,000 and 5,000 messages a second, 3 s, 3 repeats, seed 1, changes, and all on this host.
    fn default() -> Plan {
        Plan {
            nodes: 7,
            kinds: all_kinds(),
            agents: 14,
            payload_bytes: 256,
            rates: vec![1_000, 5_000],
            work_ms: 3_000,
            repeats: 3,
            seed: 1,
            changes: true,
            weather: None,
        }
    }
}

/// Mesh, star, ring, and a tree of the default fan-out.
pub fn all_kinds() -> Vec<Kind> {
    let fan_out = FanOut::DEFAULT;
    vec![Kind::Mesh, Kind::Star, Kind::Ring, Kind::Hierarchical { fan_out }]
}

/// Why there can be no such comparison. Nothing was begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number is out of its bounds.
    #[error("{field}: {found} is not {bound}")]
    Bound {
        /// What has that number.
        field: &'static str,
        /// The number.
        found: u64,
        /// What it must be.
        bound: String,
    },
    /// Something is named twice.
    #[error("{field}: {found} is named twice")]
    Twice {
        /// In which list.
        field: &'static str,
        /// What.
        found: String,
    },
}

impl PlanError {
    pub(crate) fn unless_within<T: Copy + PartialOrd + Into<u64> + std::fmt::Display>(
        field: &'static str,
        found: T,
        bounds: &RangeInclusive<T>,
    ) -> Result<(), PlanError> {
        match bounds.contains(&found) {
            true => Ok(()),
            false => Err(PlanError::Bound {
                field,
                found: found.into(),
                bound: format!("{} to {}", bounds.start(), bounds.end()),
            }),
        }
    }
}

/// In which of two lists something stands twice.
fn twice<T: PartialEq + ToString>(field: &'static str, list: &[T]) -> Result<(), PlanError> {
    let again = (1..list.len()).find(|place| list[..*place].contains(&list[*place]));
    match again {
        None => Ok(()),
        Some(place) => Err(PlanError::Twice {
            field,
            found: list[place].to_string(),
        }),
    }
}

impl Plan {
    /// Whether there can be such a comparison.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        let within = |range: &RangeInclusive<usize>| *range.start() as u64..=*range.end() as u64;
        PlanError::unless_within("nodes", self.nodes as u64, &within(&NODES))?;
        PlanError::unless_within("number of kinds", self.kinds.len() as u64, &(1..=16))?;
        twice("kinds", &self.kinds)?;
        let agents_max = AGENTS_PER_NODE_MAX * self.nodes as u64;
        PlanError::unless_within("agents", self.agents, &(2..=agents_max))?;
        PlanError::unless_within("payload", self.payload_bytes as u64, &within(&PAYLOAD_BYTES))?;
        PlanError::unless_within("number of rates", self.rates.len() as u64, &(1..=RATES_MAX as u64))?;
        for rate in &self.rates {
            PlanError::unless_within("rates", *rate, &RATES)?;
        }
        twice("rates", &self.rates)?;
        PlanError::unless_within("milliseconds", self.work_ms, &WORK_MS)?;
        PlanError::unless_within("repeats", self.repeats, &REPEATS)
    }

    /// How many steps one kind is told of, each time.
    fn steps(&self) -> u64 {
        Cell::steps(self) + if self.changes { converge::STEPS } else { 0 }
    }

    /// How long each load runs before it is measured, in milliseconds.
    fn warm_up_ms(&self) -> u64 {
        WARM_UP_MS.min(self.work_ms)
    }

    fn config(&self, options: &Options) -> serde_json::Value {
        let kinds: Vec<String> = self.kinds.iter().map(Kind::to_string).collect();
        json!({
            "nodes": self.nodes, "kinds": kinds, "coincide": coinciding(&self.kinds, self.nodes), "agents": self.agents,
            "payload_bytes": self.payload_bytes, "rates": self.rates, "measured_ms": self.work_ms,
            "warm_up_ms": self.warm_up_ms(), "repeats": self.repeats, "seed": self.seed,
            "changes": self.changes,
            "random_peer": "an agent of another node, drawn for each message from the seed: the same ones for each topology",
            "latency": "at a constant rate from the moment when a message was to be sent, in a closed loop from when it was sent, to its handler, by the one clock of the host",
            "bytes": "of frames of all lanes, handed to links by all nodes, and what they carry besides is in them",
            "converged": "every node knows the same epoch, has the links that it wants of it and has applied as much as all others, \
                          looked at every 10 ms; on a cluster that holds next to nothing",
            "intervals": "percentile bootstrap of the repeats, 95 %; of few repeats it is about their range",
            "transport": match self.weather {
                None => "ractor_cluster over TCP on loopback".to_owned(),
                Some(Weather { delay, loss_percent }) => format!(
                    "ractor_cluster over TCP between network namespaces, each packet {} ms late, {loss_percent} % lost",
                    delay.as_secs_f64() * 1e3
                ),
            },
            "durability": "fdatasync on a majority for puts and tasks",
            "host": "all nodes and the load share it: one host is not a network", "data": options.data,
        })
    }
}

/// How far a comparison has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many steps are done, of how many.
    pub done: u64,
    /// See there.
    pub of: u64,
    /// What is under way.
    pub what: String,
}

/// Measures all kinds of a plan. What was measured when `stop` comes is reported, with `interrupted` in its configuration;
/// nothing if that is nothing. `options` say where data lies and which program the nodes are.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a message came twice, or is not accounted for.
///
/// # Panics
/// If the plan cannot be: see [`Plan::check`].
pub async fn compare(
    plan: &Plan,
    options: &Options,
    mut progress: impl FnMut(Progress),
    stop: impl Future<Output = ()>,
) -> Result<Option<Report>, BenchError> {
    plan.check().expect("the caller has checked the plan");
    let mut report = Report::begin(ID, TITLE, &options.data);
    report.config = plan.config(options);
    let hosts = plan
        .weather
        .map(|weather| Hosts::new(plan.nodes, weather))
        .transpose()
        .map_err(BenchError::Hosts)?;
    if let Some(hosts) = &hosts {
        report.config["weather_by"] = hosts.shaped_by().into();
    }
    let mut cells: Vec<Vec<Measured>> = plan.kinds.iter().map(|_| Vec::new()).collect();
    let mut told = Told {
        done: 0,
        of: u64::from(plan.repeats) * plan.kinds.len() as u64 * plan.steps(),
        progress: &mut progress,
    };
    let measured = async {
        for repeat in 0..plan.repeats {
            for (kind, cells) in plan.kinds.iter().zip(&mut cells) {
                cells.push(measure(plan, options, (*kind, hosts.as_ref()), repeat, &mut told).await?);
            }
        }
        Ok(())
    };
    let interrupted = tokio::select! {
        measured = measured => measured.map(|()| false)?,
        () = stop => true,
    };
    if interrupted {
        remove_left(&options.data).await;
        if cells.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        report.config["interrupted"] = true.into();
    }
    let done: Vec<(Kind, &[Measured])> = plan
        .kinds
        .iter()
        .copied()
        .zip(cells.iter().map(|cells| &cells[..]))
        .collect();
    report.rows = rows::rows(plan, Until::Handled, &done);
    Ok(Some(report))
}

/// Tells how far it has come.
struct Told<'a> {
    done: u64,
    of: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Told<'_> {
    fn begins(&mut self, what: String) {
        let Told { done, of, .. } = *self;
        (self.progress)(Progress { done, of, what });
        self.done += 1;
    }
}

/// One kind, once, on clusters of its own.
async fn measure(
    plan: &Plan,
    options: &Options,
    (kind, hosts): (Kind, Option<&Hosts>),
    repeat: u32,
    told: &mut Told<'_>,
) -> Result<Measured, BenchError> {
    let label = format!("{kind}, {} of {}", repeat + 1, plan.repeats);
    told.begins(format!("{label}: start"));
    let shape = Shape {
        nodes: plan.nodes,
        kind,
    };
    let rig = Rig::start_on(options, ID, shape, hosts).await?;
    let mut begins = |what: &str| told.begins(format!("{label}: {what}"));
    let stage = Stage {
        id: ID,
        nodes: rig.nodes(),
        name: "topologies".to_owned(),
        project: "topologies".to_owned(),
        label: "1".to_owned(),
        until: Until::Handled,
    };
    let loads = Cell::measure(plan, options, &stage, &mut begins).await?;
    rig.stop().await?;
    let converged = match plan.changes {
        true => Some(Converged::measure(plan, options, (kind, hosts), begins).await?),
        false => None,
    };
    Ok(Measured { loads, converged })
}

/// Removes the folder of the cluster that was broken off, once its nodes have ended: they end with the program that started
/// them. What cannot be removed stays.
async fn remove_left(data: &Path) {
    let prefix = format!("{ID}-{}-", std::process::id());
    let started = Instant::now();
    let mut gone_at: Option<Instant> = None;
    while started.elapsed() < ENDED_WITHIN {
        let listed = std::fs::read_dir(data).into_iter().flatten().flatten();
        let left: Vec<_> = listed
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .collect();
        for entry in &left {
            let _ = std::fs::remove_dir_all(entry.path());
        }
        match gone_at {
            // A node that is about to end may still make a file.
            Some(gone_at) if left.is_empty() && gone_at.elapsed() > 10 * POLL => return,
            Some(_) if left.is_empty() => {}
            _ => gone_at = left.is_empty().then(Instant::now),
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_is_out_of_bounds() {
        let check = |change: fn(&mut Plan), expected: &str| {
            let mut plan = Plan::default();
            change(&mut plan);
            assert_eq!(plan.check().unwrap_err().to_string(), expected);
        };
        assert_eq!(Plan::default().check(), Ok(()));
        check(|plan| plan.nodes = 2, "nodes: 2 is not 3 to 16");
        check(|plan| plan.nodes = 17, "nodes: 17 is not 3 to 16");
        check(|plan| plan.agents = 1, "agents: 1 is not 2 to 448");
        check(|plan| plan.agents = 449, "agents: 449 is not 2 to 448");
        check(|plan| plan.payload_bytes = 40, "payload: 40 is not 41 to 1048576");
        check(|plan| plan.rates = vec![], "number of rates: 0 is not 1 to 8");
        check(|plan| plan.rates = vec![5, 0], "rates: 0 is not 1 to 1000000");
        check(|plan| plan.rates = vec![5, 7, 5], "rates: 5 is named twice");
        check(|plan| plan.kinds = vec![], "number of kinds: 0 is not 1 to 16");
        check(|plan| plan.kinds = vec![Kind::Star; 2], "kinds: star is named twice");
        check(|plan| plan.work_ms = 99, "milliseconds: 99 is not 100 to 600000");
        check(|plan| plan.repeats = 0, "repeats: 0 is not 1 to 100");
    }
}
