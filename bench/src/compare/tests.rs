//! What is judged, and how: small files of results made by hand, and seeded ones with noise.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::report::{Counts, Report};

fn results(rows: Vec<Row>) -> Results {
    let mut report = Report::begin("B0", "nothing", std::env::temp_dir().as_path());
    report.rows = rows;
    Results::new(vec![report])
}

/// What is decided about a row that becomes another one.
fn check(before: Row, after: Row) -> (Rule, Verdict) {
    let compared = compare(&results(vec![before]), &results(vec![after]), &Thresholds::default());
    assert_eq!(compared.lines.len(), 1);
    (compared.lines[0].rule, compared.lines[0].verdict)
}

#[test]
fn each_class_has_its_threshold_and_its_direction() {
    for (unit, threshold, higher) in [
        ("agents/s", 0.1, true),
        ("puts/s", 0.15, true),
        ("MiB", 0.2, false),
        ("ms", 0.15, false),
    ] {
        let becomes = |factor: f64| {
            let (rule, verdict) = check(Row::new("r", 100.0, unit, 1), Row::new("r", 100.0 * factor, unit, 1));
            assert_eq!(rule, Rule::Threshold);
            verdict
        };
        let (up, down) = match higher {
            true => (Verdict::Better, Verdict::Worse),
            false => (Verdict::Worse, Verdict::Better),
        };
        assert_eq!(becomes(1.0 + threshold + 0.01), up, "{unit}");
        assert_eq!(becomes(1.0 + threshold - 0.01), Verdict::Same, "{unit}");
        assert_eq!(becomes(1.0 - threshold + 0.01), Verdict::Same, "{unit}");
        assert_eq!(becomes(1.0 - threshold - 0.01), down, "{unit}");
    }
}

#[test]
fn repeats_whose_noise_explains_the_difference_are_no_regression() {
    let row = |value, repeats: [f64; 3]| Row::new("r", value, "µs", 3).repeats(repeats);
    let calm = row(100.0, [99.0, 100.0, 101.0]);
    let slower = row(130.0, [129.0, 130.0, 131.0]);
    assert_eq!(check(calm.clone(), slower), (Rule::Interval, Verdict::Worse));
    let noisy = row(130.0, [100.0, 130.0, 160.0]);
    assert_eq!(check(calm.clone(), noisy), (Rule::Interval, Verdict::Unclear));
    // Two say nothing about noise.
    let twice = Row::new("r", 130.0, "µs", 2).repeats([100.0, 130.0]);
    assert_eq!(check(calm, twice), (Rule::Threshold, Verdict::Worse));
}

#[test]
fn what_is_lost_for_the_first_time_is_a_regression() {
    let row = |lost| {
        Row::new("r", 5.0, "grants", 1).counts(Counts {
            sent: 5 + lost,
            delivered: 5,
            refused: 0,
            lost,
        })
    };
    assert_eq!(check(row(0), row(1)), (Rule::Lost, Verdict::Worse));
    assert_eq!(check(row(3), row(9)), (Rule::None, Verdict::Shown));
    assert_eq!(check(row(1), row(0)), (Rule::None, Verdict::Shown));
}

#[test]
fn a_row_that_is_missing_or_has_no_samples_is_named_and_a_new_one_is_none() {
    let before = results(vec![Row::new("gone", 1.0, "µs", 1), Row::new("empty", 1.0, "µs", 1)]);
    let after = results(vec![Row::new("empty", 0.0, "µs", 0), Row::new("new", 1.0, "µs", 1)]);
    let compared = compare(&before, &after, &Thresholds::default());
    let found: Vec<_> = compared
        .lines
        .iter()
        .map(|line| (line.row.as_str(), line.verdict))
        .collect();
    let expected = [
        ("gone", Verdict::Missing),
        ("empty", Verdict::NoSamples),
        ("new", Verdict::New),
    ];
    assert_eq!(found, expected);
    assert_eq!(compared.with(Verdict::Missing).count(), 1);
    // Another unit is another row.
    let (before, after) = (
        results(vec![Row::new("r", 1.0, "µs", 1)]),
        results(vec![Row::new("r", 1.0, "ms", 1)]),
    );
    let found = compare(&before, &after, &Thresholds::default());
    assert_eq!(
        found.lines.iter().map(|line| line.verdict).collect::<Vec<_>>(),
        [Verdict::Missing, Verdict::New]
    );
}

#[test]
fn counts_and_values_that_were_nothing_are_shown_and_not_judged() {
    let row = |value, unit: &str| Row::new("r", value, unit, 1);
    assert_eq!(check(row(10.0, "pairs"), row(90.0, "pairs")).1, Verdict::Shown);
    assert_eq!(check(row(0.0, "ms"), row(9.0, "ms")).1, Verdict::Shown);
    assert_eq!(check(row(-0.5, "MiB"), row(9.0, "MiB")).1, Verdict::Shown);
}

#[test]
fn several_reports_of_a_workload_are_repeats_of_its_rows() {
    let of = |values: [f64; 3]| {
        let reports = values.map(|value| results(vec![Row::new("r", value, "µs", 1)]).reports.remove(0));
        Results::new(reports.into())
    };
    let compared = compare(
        &of([100.0, 99.0, 101.0]),
        &of([130.0, 131.0, 190.0]),
        &Thresholds::default(),
    );
    let line = &compared.lines[0];
    assert_eq!((line.before, line.after), (Some(100.0), Some(131.0)));
    assert_eq!((line.rule, line.verdict), (Rule::Interval, Verdict::Worse));
}

#[test]
fn other_conditions_and_sizes_are_told_and_other_builds_are_seen() {
    let before = results(vec![]);
    assert!(compare(&before, &before, &Thresholds::default()).same_build);
    let mut after = before.clone();
    let report = &mut after.reports[0];
    report.conditions.machine.cores += 1;
    report.conditions.commit = "another".to_owned();
    report.config = serde_json::json!({ "measured_ms": 5, "data": "/elsewhere" });
    let mut before = before;
    before.reports[0].config = serde_json::json!({ "measured_ms": 4, "data": "/here" });
    let told = compare(&before, &after, &Thresholds::default()).differences;
    let cores = before.reports[0].conditions.machine.cores;
    assert!(
        told.contains(&format!("cores: {cores} before, {} after", cores + 1)),
        "{told:?}"
    );
    assert!(
        told.contains(&"B0 measured_ms: 4 before, 5 after".to_owned()),
        "{told:?}"
    );
    assert!(
        !told
            .iter()
            .any(|line| line.contains("elsewhere") || line.contains("another")),
        "{told:?}"
    );
    let other = match before.reports[0].conditions.build {
        Build::Debug => Build::Release,
        Build::Release => Build::Debug,
    };
    after.reports[0].conditions.build = other;
    assert!(!compare(&before, &after, &Thresholds::default()).same_build);
}

#[test]
fn a_disk_that_became_slower_is_told_and_not_judged() {
    let row = |value| results(vec![Row::new("write and sync 4 KiB", value, "µs", 9)]);
    let compared = compare(&row(100.0), &row(300.0), &Thresholds::default());
    assert_eq!(compared.lines[0].verdict, Verdict::Shown);
    let told = "the disk by itself, B0 write and sync 4 KiB: 100 µs before, 300 after".to_owned();
    assert!(compared.differences.contains(&told), "{:?}", compared.differences);
}

/// In how many of a hundred trials a row with 5 % of noise that becomes `factor` times what it was is a regression.
fn regressions(unit: &str, factor: f64, repeats: usize) -> usize {
    let mut random = StdRng::seed_from_u64(11);
    let trials = (0..100).filter(|_| {
        let mut row = |center: f64| {
            let mut normal = || (0..12).map(|_| random.random_range(0.0..1.0)).sum::<f64>() - 6.0;
            let repeats: Vec<f64> = (0..repeats).map(|_| center * (1.0 + 0.05 * normal())).collect();
            Row::new("r", median(&repeats).unwrap(), unit, repeats.len() as u64).repeats(repeats)
        };
        let (before, after) = (row(100.0), row(100.0 * factor));
        let thresholds = Thresholds {
            throughput: 0.1,
            latency: 0.1,
            ..Thresholds::default()
        };
        let compared = compare(&results_of(before), &results_of(after), &thresholds);
        compared.lines[0].verdict == Verdict::Worse
    });
    trials.count()
}

/// As [`results`], without asking for the conditions anew.
fn results_of(row: Row) -> Results {
    static EMPTY: std::sync::LazyLock<Results> = std::sync::LazyLock::new(|| results(Vec::new()));
    let mut results = EMPTY.clone();
    results.reports[0].rows.push(row);
    results
}

#[test]
fn a_fifth_slower_is_found_in_nine_of_ten_and_the_same_is_not() {
    // A threshold of 10 % with fifteen repeats, as the workloads without clusters make.
    for unit in ["µs", "puts/s"] {
        let slower = if unit == "µs" { 1.2 } else { 0.8 };
        let found = regressions(unit, slower, 15);
        assert!(found >= 90, "{unit}: {found} of 100");
        for repeats in [3, 15] {
            let found = regressions(unit, 1.0, repeats);
            assert!(found <= 10, "{unit}: {found} of 100 with {repeats} repeats");
        }
    }
}
