//! What the simulator is run for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use queenright_protocol::topology::Kind;

use super::cluster::{Cluster, Counts, Plan, Report};
use super::disk::Planted;

/// How many seeds run by default. `QUEENRIGHT_SIM_SEEDS` asks for another number.
const SEEDS: u64 = 50;
/// How many seeds run for each topology in which nodes pass on what is for others.
const SEEDS_PASSED_ON: u64 = 8;

fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number")),
    )
}

/// Runs a plan for each seed, on all cores: a cluster has one thread for itself.
fn run_all(seeds: u64, plan: impl Fn(u64) -> Plan + Sync) -> Vec<(u64, Report)> {
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let report = Cluster::run(plan(seed));
                    reports.lock().unwrap().push((seed, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|(seed, _)| *seed);
    reports
}

/// Runs seeds until an invariant catches the bug that is planted, and says which.
fn caught(planted: Planted) {
    let caught = (0..SEEDS).find_map(|seed| {
        let report = Cluster::run(Plan {
            planted,
            ..Plan::of(seed)
        });
        (!report.violations.is_empty()).then_some((seed, report))
    });
    let (seed, report) = caught.unwrap_or_else(|| panic!("{SEEDS} seeds do not see {planted:?}"));
    println!("{planted:?} is seen by seed {seed}: {}", report.violations[0]);
}

/// What is shown of a run that broke a promise.
fn failure(seed: u64, report: &Report) -> String {
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    format!(
        "seed {seed} broke a promise:\n  {}\nthe last events:\n{}\nrun it alone, with all its events:\n  \
         QUEENRIGHT_SIM_SEED={seed} cargo test -p queenright-actors --lib sim::tests::one_seed -- --nocapture",
        violations.join("\n  "),
        report.events.join("\n")
    )
}

#[test]
fn three_nodes_without_faults_agree_under_one_leader() {
    let plan = Plan {
        faults: false,
        busy_ms: 3_000,
        ..Plan::of(1)
    };
    let report = Cluster::run(plan);
    assert_eq!(report.violations, [], "{}", failure(1, &report));
    assert!(report.counts.answered > 100, "{:?}", report.counts);
    // One for the founding, one after everything was down at once.
    assert_eq!(report.counts.leaders, 1, "{:?}", report.counts);
}

/// Five nodes whose envelopes pass through others keep every promise.
fn passing_on(kind: Kind, routed: bool) {
    let plan = |seed| Plan {
        nodes: 5,
        busy_ms: 4_000,
        kind,
        routed,
        ..Plan::of(seed)
    };
    let mut sum = Counts::default();
    for (seed, report) in run_all(SEEDS_PASSED_ON, plan) {
        let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        assert!(
            violations.is_empty(),
            "{kind}, seed {seed}: {violations:?}\n{}",
            report.events.join("\n")
        );
        sum.add(&report.counts);
    }
    // Otherwise nothing was tried.
    assert!(
        sum.answered >= 50 * SEEDS_PASSED_ON && sum.faults >= SEEDS_PASSED_ON,
        "{sum:?}"
    );
}

#[test]
fn a_ring_of_five_over_which_consensus_goes_too_keeps_every_promise() {
    passing_on(Kind::Ring, true);
}

/// Nodes of which two are never linked keep every promise, over routes that lead around the cut.
fn around_a_cut(kind: Kind, nodes: usize) {
    let plan = |seed| Plan {
        nodes,
        busy_ms: 4_000,
        kind,
        routed: true,
        never_linked: Some((0, 1)),
        ..Plan::of(seed)
    };
    let mut sum = Counts::default();
    for (seed, report) in run_all(SEEDS_PASSED_ON, plan) {
        let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        assert!(
            violations.is_empty(),
            "{kind}, seed {seed}: {violations:?}\n{}",
            report.events.join("\n")
        );
        sum.add(&report.counts);
    }
    assert!(sum.answered >= 50 * SEEDS_PASSED_ON, "{sum:?}");
}

#[test]
fn a_ring_of_five_with_a_cut_link_keeps_every_promise() {
    around_a_cut(Kind::Ring, 5);
}

#[test]
fn a_mesh_of_three_with_a_cut_link_keeps_every_promise() {
    around_a_cut(Kind::Mesh, 3);
}

#[test]
fn a_star_of_five_over_which_consensus_goes_too_keeps_every_promise() {
    passing_on(Kind::Star, true);
}

#[test]
fn a_star_of_five_with_control_links_keeps_every_promise() {
    passing_on(Kind::Star, false);
}

#[test]
fn every_seed_keeps_every_promise() {
    let seeds = number_in("QUEENRIGHT_SIM_SEEDS").unwrap_or(SEEDS);
    let reports = run_all(seeds, Plan::of);
    let mut sum = Counts::default();
    for (seed, report) in &reports {
        assert!(report.violations.is_empty(), "{}", failure(*seed, report));
        println!("seed {seed}: {:?} {:?}", report.fingerprint, report.counts);
        sum.add(&report.counts);
    }
    println!("{seeds} seeds: {sum:?}");
    // Otherwise nothing was tried.
    assert!(sum.answered >= 100 * seeds && sum.leaders >= 2 * seeds, "{sum:?}");
    assert!(sum.crashes >= 5 * seeds && sum.unknown >= seeds, "{sum:?}");
    assert!(sum.waited >= seeds && (seeds < SEEDS || sum.lapsed > 0), "{sum:?}");
}

/// Runs the seed of `QUEENRIGHT_SIM_SEED` twice, shows all its events, and compares the two runs.
#[test]
fn one_seed_repeats_its_trace() {
    let seed = number_in("QUEENRIGHT_SIM_SEED");
    let plan = Plan::of(seed.unwrap_or(7));
    let (first, second) = (Cluster::run_traced(plan), Cluster::run_traced(plan));
    if seed.is_some() {
        println!("{}", first.events.join("\n"));
    }
    assert!(first.violations.is_empty(), "{}", failure(plan.seed, &first));
    let pairs = first.events.iter().zip(&second.events);
    if let Some((at, (one, other))) = pairs.enumerate().find(|(_, (one, other))| one != other) {
        let before = first.events[at.saturating_sub(30)..at].join("\n");
        panic!("{before}\nevent {at} was\n{one}\nthen\n{other}");
    }
    assert_eq!(first.fingerprint, second.fingerprint);
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    caught(Planted::AcknowledgeBeforeSync);
}

#[test]
fn forgetting_the_vote_is_caught() {
    caught(Planted::ForgetVote);
}
