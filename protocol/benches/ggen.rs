//! The scenarios of ggen's three bench files, under their names and along their axes, carried out by the rules of the colony.
//!
//! | scenario | axis | here |
//! |---|---|---|
//! | `consensus_latency` | 1 to 20 packs without conflicts | analyse, detect, resolve, validate, and one batch through `apply` |
//! | `agent_spawning` | 4 to 32 agents | that many agents become known in one round |
//! | `conflict_detection` | 5 to 50 packs with conflicts | all pairs counted: 5, 27, 112, 717 |
//! | `config_analysis` | 1 to 20 packs | the canonical form of each pack and its hash |
//! | `parallel_agents` | 2 to 16 threads | each analyses 10 packs |
//! | `memory_overhead` | 10 to 200 configurations of 1 to 20 packs | built and freed |
//! | `orchestration_throughput` | 10 to 100 rounds of 1 to 10 packs | as `consensus_latency` |
//! | `snapshot_reads` | 10 to 1,000 | a clone of the colony, its position read |
//! | `snapshot_writes` | 10 to 200 commits | a put, and a clone that is kept, each |
//! | `commutative_aggregation` | 10 to 500 proposals | one batch of additions to one key |
//! | `conditional_aggregation` | 10 to 200 proposals on 10 keys | one batch, of which all but 10 lose |
//! | `priority_scheduling` | 10 to 1,000 tasks of four priorities | each added and each claimed |
//! | `scheduler_queue_depth` | 100 to 5,000 tasks | how many of them are ready |
//! | `proposal_conflicts` | 10 to 500 proposals on 3 keys | all pairs counted: 12, 392, 1,617, 41,417 |
//! | `proposal_merging` | 2 to 20 proposals | one batch of elements for one set |
//! | `scheduling_hint_sorting` | 100 to 5,000 tasks with priority, tier and cost | all claimed, a hundred at a time |
//! | `pipeline_execution` | 3 to 15 stages | each claimed and finished, which makes the next ready |
//! | `dependency_resolution` | 2 to 8 levels of 4 tasks | each task needs all of the level before |
//! | `concurrent_execution` | 2 to 20 projects of 10 tasks | their commands in turn |
//! | `semaphore` | 5 to 50 places of a slot | taken and given back |
//! | `timeout` | 1,000 leases | all end at once |
//! | `artifact_conversion` | 10 to 100 rounds of as many commands | encoded and decoded |
//! | `allocation` | 10 to 200 projects | created |
//!
//! Their `conflict_detection` comes twice; the second is `proposal_conflicts` here.

mod alone;
mod scenarios;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use self::scenarios::{SCENARIOS, Scenario};

/// The least number of samples that criterion takes.
const SAMPLES: usize = 10;

fn all(criterion: &mut Criterion) {
    for Scenario { name, axis, once } in SCENARIOS {
        let mut group = criterion.benchmark_group(*name);
        for size in *axis {
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut took = Duration::ZERO;
                    for _ in 0..iterations {
                        // What is prepared is not timed, nor is freeing what is left.
                        let mut ready = once(*size);
                        let began = Instant::now();
                        ready();
                        took += began.elapsed();
                    }
                    took
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = ggen;
    config = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    targets = all
}
criterion_main!(ggen);
