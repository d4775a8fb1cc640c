//! What a row measures, and which way is better.

use serde::Serialize;

/// What kind of value a row has; each has a threshold of its own but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// How fast agents are started.
    Spawn,
    /// How much is done in a second, or of what there is to reach.
    Throughput,
    /// Memory.
    Memory,
    /// How long something takes.
    Latency,
    /// How much processor time something takes: less noisy than how long it takes, since what else the machine does and how
    /// its disk is doing hardly shows in it.
    Processor,
    /// What is counted, a ratio, what the disk does by itself, or a unit that is unknown: shown, never judged.
    Count,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
}

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The class of its value.
    pub class: Class,
    /// Which way is better; not of counts.
    pub better: Option<Better>,
}

/// The units of rows; `x/…` stands for every unit that begins so, and `…/s` for every rate of a second that is not listed
/// before. `×`, `times`, `pairs` and others are not listed: counts and ratios.
pub const UNITS: [(&str, Class, Better); 18] = [
    ("agents/s", Class::Spawn, Better::Higher),
    ("…/s", Class::Throughput, Better::Higher),
    ("ns", Class::Latency, Better::Lower),
    ("µs", Class::Latency, Better::Lower),
    ("ms", Class::Latency, Better::Lower),
    ("s", Class::Latency, Better::Lower),
    ("ns/…", Class::Latency, Better::Lower),
    ("µs/…", Class::Latency, Better::Lower),
    ("ms/…", Class::Latency, Better::Lower),
    // A latency in syncs of the same disk.
    ("syncs", Class::Latency, Better::Lower),
    ("B", Class::Memory, Better::Lower),
    ("KiB", Class::Memory, Better::Lower),
    ("MiB", Class::Memory, Better::Lower),
    ("GiB", Class::Memory, Better::Lower),
    ("B/…", Class::Memory, Better::Lower),
    ("KiB/…", Class::Memory, Better::Lower),
    ("MiB/…", Class::Memory, Better::Lower),
    ("GiB/…", Class::Memory, Better::Lower),
];

/// Rows in `%` that are a share of what there is to reach have one of these in their names; other shares are counts.
const EFFICIENCY: [&str; 2] = ["efficiency", "linear over cores"];
/// Rows about the disk alone, by the beginning of their names, and the workload that has no others: what the product is
/// measured on, not what it does.
const DISK: (&str, &str) = ("write and sync", "B17");
/// Rows about the start of agents have this in their names, in the workloads that start them.
const SPAWN: (&str, [&str; 2]) = ("spawn", ["B2", "B4"]);

/// Rows about processor time have this in their names.
const PROCESSOR: &str = "processor time";
/// Rows that say how the work was done, not how well, begin so.
const MANNER: &str = "round rate";

/// What the row `name` of a workload measures in `unit`.
pub fn metric(workload: &str, name: &str, unit: &str) -> Metric {
    let count = Metric {
        class: Class::Count,
        better: None,
    };
    if is_of_disk(workload, name) || name.starts_with(MANNER) {
        return count;
    }
    if unit == "%" && EFFICIENCY.iter().any(|word| name.contains(word)) {
        return Metric {
            class: Class::Throughput,
            better: Some(Better::Higher),
        };
    }
    let matches = |pattern: &str| match (pattern.strip_prefix('…'), pattern.strip_suffix('…')) {
        (Some(end), _) => unit.ends_with(end),
        (_, Some(start)) => unit.starts_with(start),
        _ => unit == pattern,
    };
    let Some((_, class, better)) = UNITS.iter().find(|(pattern, ..)| matches(pattern)) else {
        return count;
    };
    let (word, workloads) = SPAWN;
    let spawns = workloads.contains(&workload) && name.contains(word) && *class != Class::Memory;
    let class = match class {
        _ if spawns => Class::Spawn,
        Class::Latency if name.contains(PROCESSOR) => Class::Processor,
        class => *class,
    };
    Metric {
        class,
        better: Some(*better),
    }
}

/// Whether a row is about the disk alone.
pub(super) fn is_of_disk(workload: &str, name: &str) -> bool {
    name.starts_with(DISK.0) || workload == DISK.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_direction_follow_from_the_unit_and_of_agents_from_the_row() {
        let check = |workload, name, unit, class, better| {
            assert_eq!(
                metric(workload, name, unit),
                Metric { class, better },
                "{workload} {name} {unit}"
            );
        };
        let (higher, lower) = (Some(Better::Higher), Some(Better::Lower));
        check("B3", "put rate, 64 agents", "puts/s", Class::Throughput, higher);
        check("B3", "round rate, 64 agents", "rounds/s", Class::Count, None);
        check(
            "B3",
            "processor time of a put, 64 agents",
            "µs/put",
            Class::Processor,
            lower,
        );
        check(
            "topologies",
            "ring: puts: processor time of a node",
            "s",
            Class::Processor,
            lower,
        );
        check("B20", "signals over two links", "signals/s", Class::Throughput, higher);
        check("B17", "write and sync", "µs", Class::Count, None);
        check("B17", "rate, one at a time", "syncs/s", Class::Count, None);
        check("B3", "write and sync 4 KiB", "µs", Class::Count, None);
        check("B8", "uniform, 1000 proposals: detect", "ns/key", Class::Latency, lower);
        check("B10", "enqueue", "ns/command", Class::Latency, lower);
        check("B3", "put p50 in syncs, 1 agent", "syncs", Class::Latency, lower);
        check("B18", "tasks return", "s", Class::Latency, lower);
        check("B4", "spawn rate, active", "agents/s", Class::Spawn, higher);
        check("B4", "short-lived agents", "agents/s", Class::Spawn, higher);
        check("B2", "agent spawned over HTTP, 500 in turn", "µs", Class::Spawn, lower);
        check("B4", "resident memory per active agent", "B", Class::Memory, lower);
        check("B4", "resident memory, spawned ones", "MiB", Class::Memory, lower);
        check(
            "B15",
            "efficiency, 10 agents on 3 nodes",
            "%",
            Class::Throughput,
            higher,
        );
        check("B15", "share of something", "%", Class::Count, None);
        check("B8", "growth", "×", Class::Count, None);
        check("B8", "conflicts", "pairs", Class::Count, None);
        check("B8", "anything", "furlongs", Class::Count, None);
    }

    #[test]
    fn a_unit_is_found_once() {
        for (place, (unit, ..)) in UNITS.iter().enumerate() {
            assert!(UNITS.iter().skip(place + 1).all(|(other, ..)| unit != other), "{unit}");
        }
    }
}
