//! Workloads and reports of Queenright: what was run, under which conditions, and what was measured.
//!
//! | module | holds |
//! |---|---|
//! | [`ab`] | a workload under two settings, alternately |
//! | [`repeated`] | several runs of a workload as one report |
//! | [`report`] | the result schema, as text table and as JSON |
//! | [`compare`] | two files of results, row by row: what got worse by more than its threshold |
//! | [`page`] | results as a page of HTML with plots |
//! | [`profile`] | flame graphs of what perf recorded |
//! | [`report`] | the result schema, as text table and as JSON |
//! | [`claims`] | what others claim of the same work, what is known about it, and the best peers |
//! | [`client`] | the HTTP client of a node's door, for workloads and the command line |
//! | [`conditions`] | the machine, the build and the disk that a report was made on |
//! | [`disk`] | the file system of a folder and the cost of `fdatasync` there |
//! | [`expedition`] | explorers of one world on the nodes of a cluster, in lock-step or free |
//! | [`hosts`] | hosts for the nodes of a cluster: network namespaces with delay and loss |
//! | [`interrupt`] | the request to end, which breaks a workload off |
//! | [`load`] | agents that make load on the nodes that host them |
//! | [`peers`] | other systems beside ours, in one run |
//! | [`ramp`] | the highest rate that a cluster holds |
//! | [`results`] | reports of one sitting in a file |
//! | [`rig`] | a cluster for a workload, started as a user starts one |
//! | [`settings`] | keys of the cluster file that a run sets |
//! | [`statistics`] | medians, and how far the ratio of two may be off |
//! | [`stress`] | a cluster under mixed load, and whether it kept what it promised |
//! | [`timing`] | repeated timing of a function |
//! | [`topologies`] | the topologies side by side: measured on nodes of this host, and simulated |
//! | [`traffic`] | signals between agents of all nodes, and what they cost |
//! | [`trend`] | each row over several files of results |
//! | [`workloads`] | one module per workload, and the table of them |
//!
//! A report holds measured values and counts only. A run that finds a wrong result fails with
//! [`BenchError::Mismatch`] instead of reporting how fast it was wrong.

pub mod ab;
pub mod claims;
pub mod client;
pub mod compare;
pub mod conditions;
pub mod disk;
pub mod expedition;
pub mod history;
pub mod hosts;
pub mod interrupt;
pub mod load;
pub mod page;
pub mod peers;
pub mod profile;
pub mod ramp;
pub mod repeated;
pub mod report;
pub mod results;
pub mod rig;
pub mod settings;
pub mod statistics;
pub mod stress;
pub mod timing;
pub mod topologies;
pub mod traffic;
pub mod trend;
pub mod workloads;

use std::path::PathBuf;
use std::time::Duration;

use crate::client::ClientError;
use crate::hosts::HostsError;
use crate::settings::Setting;

/// What every workload is told. Each one says in its report's `config` what it made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// An existing folder on the disk that is measured; its file system is part of every report.
    pub data: PathBuf,
    /// The seed of all random input.
    pub seed: u64,
    /// How often each timing is repeated; the median is reported. At least 1.
    pub repeats: u32,
    /// The greatest number of proposals in a batch, and of tasks in a queue. 10,000 at least for figures of growth; the
    /// full run has 1,000,000.
    pub proposals_max: usize,
    /// How many times data is synced to disk.
    pub syncs: u32,
    /// The program that clusters are started with: `queenright` itself.
    pub program: PathBuf,
    /// The repository whose history is replayed.
    pub repository: PathBuf,
    /// How often each load on a cluster is repeated. At least 1.
    pub cluster_repeats: u32,
    /// How long each load of puts is measured, in milliseconds.
    pub load_ms: u64,
    /// The greatest number of agents or clients that put at the same time.
    pub agents_max: u64,
    /// How many values are read, one after the other.
    pub gets: u32,
    /// How many signals are sent one way.
    pub signals: u64,
    /// How many calls are made by one caller alone; a hundred callers together make 20 times as many.
    pub calls: u64,
    /// How often a node of each sort is killed.
    pub kills: u32,
    /// How long all nodes of a ring send as much as they can, in milliseconds.
    pub saturated_ms: u64,
    /// How long explorers step in a steady state, in milliseconds, for each figure.
    pub steady_ms: u64,
    /// How many agents are active on one node at most, up to 100,000 less those that start them.
    pub active_agents: u64,
    /// How many are passive there.
    pub passive_agents: u64,
    /// How long short-lived agents come and go, in milliseconds.
    pub churn_ms: u64,
    /// What the cluster files of the run say besides what the workload needs.
    pub settings: Vec<Setting>,
}

impl Options {
    /// The full run, with data in `data`: seed 1, 15 repeats, batches of up to 1,000,000 proposals, 5,000 syncs; on
    /// clusters of the running program 3 repeats, 4 s of puts by up to 256 agents, 1,000 gets, 2,000,000 signals and
    /// 20,000 calls, 20 kills and 30 s of a saturated ring; 10 s of explorers; 99,999 active and 1,000,000 passive agents and
    /// 60 s of short-lived ones; the history of the repository around the current folder.
    pub fn full(data: PathBuf) -> Self {
        Self {
            data,
            seed: 1,
            repeats: 15,
            proposals_max: 1_000_000,
            syncs: 5_000,
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("queenright")),
            repository: PathBuf::from("."),
            cluster_repeats: 3,
            load_ms: 4_000,
            agents_max: 256,
            gets: 1_000,
            signals: 2_000_000,
            calls: 20_000,
            kills: 20,
            saturated_ms: 30_000,
            steady_ms: 10_000,
            active_agents: 99_999,
            passive_agents: 1_000_000,
            churn_ms: 60_000,
            settings: Vec::new(),
        }
    }

    /// The quick run, with data in `data`: seconds to two minutes for each workload on two cores. Against [`Options::full`]:
    /// batches of up to 100,000 proposals, 2,000 syncs; loads of 1 s, 3 times each, by as many agents as there; 300
    /// gets, 400,000 signals, 4,000 calls, 3 kills, 5 s of a saturated ring, 1 s of explorers; 20,000 active and 100,000
    /// passive agents and 5 s of short-lived ones. `B18` has a project of 50,000 tasks and keys then.
    pub fn quick(data: PathBuf) -> Self {
        Self {
            proposals_max: 100_000,
            syncs: 2_000,
            load_ms: 1_000,
            gets: 300,
            signals: 400_000,
            calls: 4_000,
            kills: 3,
            saturated_ms: 5_000,
            steady_ms: 1_000,
            active_agents: 20_000,
            passive_agents: 100_000,
            churn_ms: 5_000,
            ..Self::full(data)
        }
    }
}

/// Why a workload gave no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The disk refused. Files of the run are removed as far as the disk allows; nothing else changed.
    #[error("{path}: cannot {what}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer of the system.
        source: std::io::Error,
    },
    /// A result differs from its oracle: a bug, to be reported with the seed.
    #[error("{workload}: {what}: found {found}, expected {expected}")]
    Mismatch {
        /// The id of the workload.
        workload: &'static str,
        /// What was compared.
        what: String,
        /// What the measured function gave.
        found: String,
        /// What the oracle gave.
        expected: String,
    },
    /// A program that the run needs did not do what it was started for. The folder is kept to be looked at.
    #[error("{program} {problem}; what it wrote is in {folder}")]
    Program {
        /// What was started.
        program: String,
        /// What it did instead.
        problem: String,
        /// Where its data and its output are.
        folder: PathBuf,
    },
    /// A node of the run refused or did not answer.
    #[error("cannot {what}")]
    Door {
        /// What was tried.
        what: String,
        /// What the node said.
        source: Box<ClientError>,
    },
    /// An agent that makes load failed, or reports what such an agent does not.
    #[error("agent {name}: {problem}")]
    Agent {
        /// The agent.
        name: String,
        /// What happened.
        problem: String,
    },
    /// Something did not happen in time.
    #[error("{what} after {} s", waited.as_secs())]
    Late {
        /// What is missing.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The caller asked the run to end, by [`interrupt::interrupt`]. Its cluster has ended.
    #[error("broken off")]
    Interrupted,
    /// There are no hosts for the nodes of the run. What was made of them is removed.
    #[error("the nodes have no hosts")]
    Hosts(#[source] HostsError),
    /// The system has no threads for the run.
    #[error("cannot start the threads of the run")]
    Threads(#[source] std::io::Error),
}

impl BenchError {
    /// `Ok` if `found` equals `expected`, else a [`BenchError::Mismatch`].
    ///
    /// # Errors
    /// [`BenchError::Mismatch`].
    pub fn unless_equal<T: PartialEq + std::fmt::Debug>(
        workload: &'static str,
        what: impl Into<String>,
        found: T,
        expected: T,
    ) -> Result<(), BenchError> {
        if found == expected {
            return Ok(());
        }
        let shown = |value: T| {
            let text = format!("{value:?}");
            // Lists of thousands of pairs help nobody.
            if text.chars().count() > 200 {
                text.chars().take(200).chain(" …".chars()).collect()
            } else {
                text
            }
        };
        Err(BenchError::Mismatch {
            workload,
            what: what.into(),
            found: shown(found),
            expected: shown(expected),
        })
    }
}
