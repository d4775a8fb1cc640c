//! Long runs: true ones have an order, and the search finds it quickly; spoiled ones have none.

use super::generate::{Bug, Mix, Simulation};
use crate::history::{Budget, judge};

#[test]
fn every_run_of_a_true_place_is_linearizable_whatever_the_clients_miss() {
    for seed in 0..90 {
        let mix = Mix {
            unknown: [0, 5, 10][seed as usize % 3],
            ..Mix::large()
        };
        let calls = Simulation::new(seed, mix).run();
        let judgement = judge(&calls, Budget::default());
        assert!(judgement.holds(), "seed {seed}: {judgement}");
        // A search that wanders would not be of use for a real run, of which a partition is as long as this.
        assert!(
            judgement.steps < Budget::default().steps_max / 10,
            "seed {seed}: {judgement}"
        );
    }
}

/// Each run in which the bug showed must be found out; it must show in most.
#[track_caller]
fn is_found(bug: Bug) {
    let mut shown = 0;
    for seed in 0..40 {
        // With answers to everything nothing else explains what the bug did.
        let mix = Mix {
            unknown: 0,
            ..Mix::large()
        };
        let mut simulation = Simulation::new(seed, mix).with(bug);
        let calls = simulation.run();
        let judgement = judge(&calls, Budget::default());
        assert_eq!(judgement.holds(), simulation.spoiled == 0, "seed {seed}: {judgement}");
        shown += usize::from(simulation.spoiled > 0);
    }
    assert!(shown > 20, "{bug:?} showed in {shown} runs");
}

#[test]
fn a_stale_read_is_found() {
    is_found(Bug::StaleRead);
}

#[test]
fn a_lost_write_is_found() {
    is_found(Bug::LostWrite);
}

#[test]
fn a_change_that_is_applied_twice_is_found() {
    is_found(Bug::AppliedTwice);
}

#[test]
fn half_a_proposal_is_found() {
    is_found(Bug::TornProposal);
}

#[test]
fn a_task_with_two_owners_is_found() {
    is_found(Bug::DoubleClaim);
}

#[test]
fn a_finish_with_an_old_fence_is_found() {
    is_found(Bug::NoFence);
}
