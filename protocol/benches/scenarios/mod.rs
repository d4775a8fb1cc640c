//! ggen's scenarios; the table is in `ggen.rs`. Each checks what it did, so that nothing wrong is timed.

mod packs;
mod pipeline;
mod primitives;

/// A scenario at one size, prepared: does it once.
pub(crate) type Once = Box<dyn FnMut()>;

/// One of ggen's.
pub(crate) struct Scenario {
    /// Its name there.
    pub(crate) name: &'static str,
    /// The sizes there.
    pub(crate) axis: &'static [usize],
    /// Prepares it.
    pub(crate) once: fn(usize) -> Once,
}

/// All of them, in the order of the table.
pub(crate) const SCENARIOS: &[Scenario] = &[
    of("consensus_latency", &[1, 3, 5, 10, 20], packs::consensus),
    of("agent_spawning", &[4, 8, 16, 32], packs::spawning),
    of("conflict_detection", &[5, 10, 20, 50], packs::conflicts),
    of("config_analysis", &[1, 5, 10, 20], packs::analysis),
    of("parallel_agents", &[2, 4, 8, 16], packs::parallel),
    of("memory_overhead", &[10, 50, 100, 200], packs::configurations),
    of("orchestration_throughput", &[10, 50, 100], packs::throughput),
    of("snapshot_reads", &[10, 100, 1_000], primitives::snapshot_reads),
    of("snapshot_writes", &[10, 50, 100, 200], primitives::snapshot_writes),
    of("commutative_aggregation", &[10, 50, 100, 500], primitives::commutative),
    of("conditional_aggregation", &[10, 50, 100, 200], primitives::conditional),
    of("priority_scheduling", &[10, 100, 1_000], primitives::scheduling),
    of("scheduler_queue_depth", &[100, 500, 1_000, 5_000], primitives::depth),
    of("proposal_conflicts", &[10, 50, 100, 500], primitives::conflicts),
    of("proposal_merging", &[2, 5, 10, 20], primitives::merging),
    of("scheduling_hint_sorting", &[100, 1_000, 5_000], primitives::hints),
    of("pipeline_execution", &[3, 5, 10, 15], pipeline::stages),
    of("dependency_resolution", &[2, 4, 8], pipeline::levels),
    of("concurrent_execution", &[2, 5, 10, 20], pipeline::projects),
    of("semaphore", &[5, 10, 20, 50], pipeline::places),
    of("timeout", &[1_000], pipeline::leases),
    of("artifact_conversion", &[10, 50, 100], pipeline::conversion),
    of("allocation", &[10, 50, 100, 200], pipeline::allocation),
];

const fn of(name: &'static str, axis: &'static [usize], once: fn(usize) -> Once) -> Scenario {
    Scenario { name, axis, once }
}
