//! B17, the durability limit: what one sync costs on the disk of the data folder.

use serde_json::json;

use crate::disk::fdatasync_probe;
use crate::report::{Bin, Percentiles, Report, Row};
use crate::{BenchError, Options};

/// The id of the workload.
pub const ID: &str = "B17";
/// What the workload is about.
pub const TITLE: &str = "durability limit: 4 KiB and fdatasync";

const BYTES: usize = 4096;

/// Syncs 4 KiB at growing offsets of one file in the data folder, one after the other.
///
/// # Errors
/// [`BenchError::Disk`] if the data folder is missing, not writable or full.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let probe = fdatasync_probe(&options.data, BYTES, options.syncs.max(1))?;
    let samples = probe.nanos.len();
    let percentiles = Percentiles::of(&probe.nanos, 1000.0);
    let mut latency = Row::new("write and sync", percentiles.p50, "µs", samples)
        .percentiles(percentiles)
        .histogram(Bin::doubling(&probe.nanos, 1000.0));
    if report.conditions.file_system.is_memory {
        latency = latency.note(format!(
            "{} keeps files in memory: no disk was reached",
            report.conditions.file_system.name
        ));
    }
    Ok(Report {
        config: json!({ "bytes": BYTES, "syncs": samples, "data": options.data }),
        rows: vec![
            latency,
            Row::new("rate, one at a time", probe.rate(), "syncs/s", samples),
        ],
        ..report
    })
}
