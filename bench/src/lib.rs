//! Workloads and reports of Queenright: what was run, under which conditions, and what was measured.
//!
//! | module | holds |
//! |---|---|
//! | [`report`] | the result schema, as text table and as JSON |
//! | [`client`] | the HTTP client of a node's door, for workloads and the command line |
//! | [`conditions`] | the machine, the build and the disk that a report was made on |
//! | [`disk`] | the file system of a folder and the cost of `fdatasync` there |
//! | [`load`] | agents that make load on the nodes that host them |
//! | [`timing`] | repeated timing of a function |
//! | [`workloads`] | one module per workload, and the table of them |
//!
//! A report holds measured values and counts only. A run that finds a wrong result fails with
//! [`BenchError::Mismatch`] instead of reporting how fast it was wrong.

pub mod client;
pub mod conditions;
pub mod disk;
pub mod load;
pub mod report;
pub mod timing;
pub mod workloads;

use std::path::PathBuf;

/// What every workload is told. Each one says in its report's `config` what it made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// An existing folder on the disk that is measured; its file system is part of every report.
    pub data: PathBuf,
    /// The seed of all random input.
    pub seed: u64,
    /// How often each timing is repeated; the median is reported. At least 1.
    pub repeats: u32,
    /// The greatest number of proposals in a batch. 10,000 at least for a figure of growth; the full run has 1,000,000.
    pub proposals_max: usize,
    /// How many times data is synced to disk.
    pub syncs: u32,
}

impl Options {
    /// The full run, with data in `data`: seed 1, 15 repeats, batches of up to 1,000,000 proposals, 5,000 syncs.
    pub fn full(data: PathBuf) -> Self {
        Self {
            data,
            seed: 1,
            repeats: 15,
            proposals_max: 1_000_000,
            syncs: 5_000,
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
