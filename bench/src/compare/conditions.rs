//! What else differs between two files of results than what was measured.

use serde_json::Value;

use super::metric::is_of_disk;
use crate::conditions::{Build, Conditions};
use crate::report::{Report, Row, number};
use crate::results::Results;

/// Parts of a workload's `config` that name places, not sizes.
const PLACES: [&str; 2] = ["data", "repository"];

/// By how much a sync of the same disk may differ before it is told.
const SYNC_DIFFERS: f64 = 0.15;

/// What differs in machine, build and disk, and in what the workloads of both were run with: a line each, with both
/// values. The commit is what is compared.
pub fn differences(before: &Results, after: &Results) -> Vec<String> {
    let mut differences: Vec<String> = Vec::new();
    let mut add = |difference: String| {
        if !differences.contains(&difference) {
            differences.push(difference);
        }
    };
    for report in &before.reports {
        let same = after.reports.iter().find(|other| other.workload == report.workload);
        // The conditions of a workload that only one of them has are those of any other of its file.
        let Some(other) = same.or(after.reports.first()) else {
            continue;
        };
        of_conditions(&report.conditions, &other.conditions, &mut add);
        if same.is_some() {
            of_config(report, other, &mut add);
            of_disk(report, other, &mut add);
        }
    }
    let debug = |results: &Results| {
        results
            .reports
            .iter()
            .any(|report| report.conditions.build == Build::Debug)
    };
    if debug(before) && debug(after) {
        add("both are debug builds: their times say nothing about the product".to_owned());
    }
    differences
}

fn of_conditions(before: &Conditions, after: &Conditions, add: &mut impl FnMut(String)) {
    let mut differ = |what: &str, before: String, after: String| {
        if before != after {
            add(format!("{what}: {before} before, {after} after"));
        }
    };
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    // To the tenth of a GiB: a kernel takes some for itself.
    let memory = |bytes: Option<u64>| known(bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))));
    differ("build", before.build.to_string(), after.build.to_string());
    let (machine, other) = (&before.machine, &after.machine);
    differ("cores", machine.cores.to_string(), other.cores.to_string());
    differ("processor", known(machine.cpu.clone()), known(other.cpu.clone()));
    differ("memory", memory(machine.memory_bytes), memory(other.memory_bytes));
    differ("kernel", known(machine.kernel.clone()), known(other.kernel.clone()));
    differ("system", machine.os.clone(), other.os.clone());
    differ(
        "file system",
        before.file_system.name.clone(),
        after.file_system.name.clone(),
    );
    differ(
        "durability",
        before.durability.to_string(),
        after.durability.to_string(),
    );
}

/// A sync takes longer on one day than on another: durable writes do so too then.
fn of_disk(before: &Report, after: &Report, add: &mut impl FnMut(String)) {
    for row in before.rows.iter().filter(|row| is_of_disk(&before.workload, &row.name)) {
        let same = |other: &&Row| other.name == row.name && other.unit == row.unit;
        let Some(other) = after.rows.iter().find(same) else {
            continue;
        };
        if row.value > 0.0 && (other.value / row.value - 1.0).abs() > SYNC_DIFFERS {
            add(format!(
                "the disk by itself, {} {}: {} {} before, {} after",
                before.workload,
                row.name,
                number(row.value),
                row.unit,
                number(other.value)
            ));
        }
    }
}

fn of_config(before: &Report, after: &Report, add: &mut impl FnMut(String)) {
    let (Some(first), Some(second)) = (before.config.as_object(), after.config.as_object()) else {
        return;
    };
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    for name in first.keys().chain(second.keys()) {
        let (was, is) = (first.get(name), second.get(name));
        if was != is && !PLACES.contains(&name.as_str()) {
            add(format!(
                "{} {name}: {} before, {} after",
                before.workload,
                shown(was),
                shown(is)
            ));
        }
    }
}
