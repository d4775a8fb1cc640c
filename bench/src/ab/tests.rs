use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{AbError, Experiment, Side};
use crate::report::{Report, Row};
use crate::settings::Setting;
use crate::workloads::workload;

fn settings(text: &str) -> Vec<Setting> {
    vec![text.parse().unwrap()]
}

fn experiment(pairs: u32) -> Experiment {
    let workload = workload("B3").unwrap();
    Experiment::new(workload, settings("rounds.max=1"), settings("rounds.max=512"), pairs).unwrap()
}

/// Runs all pairs; `values` gives the rows of a run of a side.
fn ran(pairs: u32, mut values: impl FnMut(Side) -> Vec<(&'static str, f64)>) -> Experiment {
    let mut experiment = experiment(pairs);
    let folder = std::env::temp_dir();
    while let Some((side, _)) = experiment.next() {
        let mut report = Report::begin("B3", "t", &folder);
        let rows = values(side).into_iter();
        report.rows = rows.map(|(name, value)| Row::new(name, value, "puts/s", 1)).collect();
        experiment.done(side, report);
    }
    experiment
}

#[test]
fn each_side_comes_first_in_every_other_pair() {
    let mut experiment = experiment(3);
    let mut order = String::new();
    while let Some((side, pair)) = experiment.next() {
        order += &format!("{side}{pair} ");
        experiment.done(side, Report::begin("B3", "t", &std::env::temp_dir()));
    }
    assert_eq!(order, "a1 b1 b2 a2 a3 b3 ");
}

#[test]
fn a_row_that_is_twice_as_much_differs_and_one_that_is_alike_does_not() {
    let mut random = StdRng::seed_from_u64(1);
    let experiment = ran(7, |side| {
        let mut noisy = |value: f64| value * random.random_range(0.97..1.03);
        let rate = if side == Side::A { 100.0 } else { 200.0 };
        let mut rows = vec![("rate", noisy(rate)), ("other", noisy(50.0))];
        if side == Side::A {
            rows.push(("only in a", 1.0));
        }
        rows
    });
    let comparison = experiment.report().unwrap();
    let [rate, other] = &comparison.differences[..] else {
        panic!("{comparison}");
    };
    assert_eq!(
        (rate.differs(), other.differs()),
        (Some(true), Some(false)),
        "{comparison}"
    );
    assert_eq!(comparison.left_out, ["only in a"]);
    let (low, high) = rate.interval.unwrap();
    assert!(low <= rate.ratio.unwrap() && rate.ratio.unwrap() <= high && low > 1.8 && high < 2.2);
    let report = comparison.report();
    let names: Vec<_> = report.rows.iter().map(|row| &*row.name).collect();
    assert_eq!(
        names,
        ["rate: a", "rate: b", "rate: b/a", "other: a", "other: b", "other: b/a"]
    );
    assert_eq!(report.rows[2].samples, 7);
    assert_eq!(
        (report.config["pairs"].as_u64(), report.config["a"][0].as_str()),
        (Some(7), Some("rounds.max=1"))
    );
    let text = comparison.to_string();
    assert!(
        text.contains("a (rounds.max=1) against b (rounds.max=512), 7 pairs"),
        "{text}"
    );
}

#[test]
fn the_same_against_the_same_seldom_differs() {
    let mut random = StdRng::seed_from_u64(2);
    let differ = (0..100).filter(|_| {
        let experiment = ran(5, |_| vec![("rate", 100.0 * random.random_range(0.9..1.1))]);
        experiment.report().unwrap().differences[0].differs() == Some(true)
    });
    let differ = differ.count();
    assert!(differ <= 10, "{differ} of 100");
}

#[test]
fn two_pairs_give_ratios_and_no_verdict_and_half_a_pair_gives_nothing() {
    let comparison = ran(2, |side| vec![("rate", 1.0 + side as u8 as f64), ("none", 0.0)])
        .report()
        .unwrap();
    assert_eq!(comparison.differences[0].ratio, Some(2.0));
    assert_eq!(comparison.differences[0].differs(), None);
    assert_eq!(comparison.differences[1].ratio, None);
    assert!(comparison.to_string().contains("an interval needs 3 pairs"));
    let mut half = experiment(2);
    half.done(Side::A, Report::begin("B3", "t", &std::env::temp_dir()));
    assert!(half.report().is_none());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let refused = |id: &str, b: &str| {
        let workload = workload(id).unwrap();
        Experiment::new(workload, settings("rounds.max=1"), settings(b), 5)
            .err()
            .unwrap()
    };
    assert_eq!(refused("B7", "rounds.max=2"), AbError::NoCluster { workload: "B7" });
    assert_eq!(refused("B17", "rounds.max=2"), AbError::NoCluster { workload: "B17" });
    assert!(refused("B3", "rounds.max=1").to_string().contains("rounds.max=1"));
}
