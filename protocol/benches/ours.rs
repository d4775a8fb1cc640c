//! What the pure parts take: the operations of `operations`, one at a time, and conflict detection at up to a million
//! proposals.

mod alone;
mod operations;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use queenright_protocol::conflict::{Detector, Policy, detect, resolve};

use self::alone::batch;
use self::operations::{OPERATIONS, TIMES, key};

const DETECTED: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The least number of samples that criterion takes.
const SAMPLES: usize = 10;

fn operations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operations");
    for operation in OPERATIONS {
        group.bench_function(operation.name, |bencher| {
            bencher.iter_custom(|mut iterations| {
                let mut took = Duration::ZERO;
                while iterations > 0 {
                    let times = iterations.min(TIMES as u64);
                    let mut ready = (operation.prepare)();
                    let began = Instant::now();
                    (0..times as usize).for_each(&mut ready);
                    took += began.elapsed();
                    iterations -= times;
                }
                took
            });
        });
    }
    group.finish();
}

fn detection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detection");
    for proposals in DETECTED {
        // About as many different keys as proposals, spread over the batch.
        let spread = |place: u64| place.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % proposals;
        let batch = batch((0..proposals as u64).map(|place| key(spread(place))));
        let mut kept = Detector::new();
        group.throughput(Throughput::Elements(proposals as u64));
        group.bench_function(BenchmarkId::new("detect", proposals), |bencher| {
            bencher.iter(|| kept.detect(black_box(&batch)).counts());
        });
        let detection = detect(&batch);
        group.bench_function(BenchmarkId::new("resolve, policy first", proposals), |bencher| {
            bencher.iter(|| resolve(Policy::First, black_box(&detection)).lost());
        });
    }
    group.finish();
}

criterion_group! {
    name = ours;
    config = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = operations, detection
}
criterion_main!(ours);
