//! What the parts of a node take that compute and wait for nobody: a step of active inference, and taking the present state
//! of a replica in hand. The rules are timed by the benches of `protocol`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use queenright_actors::explorer::{Explorer, ExplorerSpec, Scratch, World, WorldSpec};
use queenright_actors::replica::Replica;
use queenright_protocol::id::NodeId;

/// The sides of the worlds: 25 and 100 places.
const SIDES: [usize; 2] = [5, 10];
/// The least number of samples that criterion takes.
const SAMPLES: usize = 10;

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step of an explorer");
    for side in SIDES {
        let spec = WorldSpec {
            side,
            ..WorldSpec::default()
        };
        let world = Arc::new(World::new(spec).expect("the side is within the bounds"));
        let mut explorer = Explorer::new(world, &ExplorerSpec::default()).expect("it learns nothing");
        let mut scratch = Scratch::default();
        group.bench_function(BenchmarkId::new("places", side * side), |bencher| {
            bencher.iter(|| {
                let stepped = explorer.step(std::iter::empty(), &mut scratch);
                stepped.expect("it hears nobody");
            });
        });
    }
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    let replica = Replica::new(NodeId(1));
    criterion.bench_function("snapshot of a replica", |bencher| {
        bencher.iter(|| black_box(replica.snapshot().index));
    });
}

criterion_group! {
    name = actors;
    config = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = step, snapshot
}
criterion_main!(actors);
