//! Several runs of a workload as one report: for workloads that measure a thing once in a run.

use crate::compare::metric::{Class, metric};
use crate::report::{Counts, Report, Row};
use crate::statistics::{REPEATS_MIN, median};

/// Whether a value that is judged has fewer repeats than it takes to know its noise.
pub fn lacks_repeats(report: &Report) -> bool {
    report.rows.iter().any(|row| {
        let is_judged = metric(&report.workload, &row.name, &row.unit).class != Class::Count;
        is_judged && row.repeats.len() < REPEATS_MIN
    })
}

/// Runs of one workload as one report: of each row the median of the runs, all repeats (or else the values of the runs),
/// the samples and the counts of all, and the percentiles of the run whose value is next to the median. Conditions and
/// sizes are those of the first; one run alone stays as it is. `None` of none.
pub fn merged(runs: &[Report]) -> Option<Report> {
    let [first, others @ ..] = runs else {
        return None;
    };
    let mut merged = first.clone();
    if others.is_empty() {
        return Some(merged);
    }
    if let Some(config) = merged.config.as_object_mut() {
        config.insert("runs".to_owned(), runs.len().into());
    }
    for other in others {
        for row in &other.rows {
            if !merged.rows.iter().any(|known| is_same(known, row)) {
                merged.rows.push(row.clone());
            }
        }
    }
    for row in &mut merged.rows {
        let rows = runs
            .iter()
            .filter_map(|run| run.rows.iter().find(|other| is_same(other, row)));
        *row = over_runs(&rows.collect::<Vec<_>>());
    }
    Some(merged)
}

fn is_same(one: &Row, other: &Row) -> bool {
    one.name == other.name && one.unit == other.unit
}

/// One row of several runs, at least one.
fn over_runs(rows: &[&Row]) -> Row {
    let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
    let value = median(&values).expect("every row is of some run");
    let off = |row: &Row| (row.value - value).abs();
    let next = rows.iter().min_by(|one, other| off(one).total_cmp(&off(other)));
    let mut row: Row = (**next.expect("every row is of some run")).clone();
    let (least, greatest) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
            (least.min(*value), greatest.max(*value))
        });
    row.value = value;
    row.samples = rows.iter().map(|row| row.samples).sum();
    row.repeats = match rows.iter().all(|row| !row.repeats.is_empty()) {
        true => rows.iter().flat_map(|row| row.repeats.iter().copied()).collect(),
        false => values,
    };
    let counts = rows.iter().filter_map(|row| row.counts);
    row.counts = counts.reduce(|all, more| Counts {
        sent: all.sent + more.sent,
        delivered: all.delivered + more.delivered,
        refused: all.refused + more.refused,
        lost: all.lost + more.lost,
    });
    if least < greatest {
        let range = format!(
            "median of {} runs, {} to {}",
            rows.len(),
            crate::report::number(least),
            crate::report::number(greatest)
        );
        row.note = Some(match row.note {
            Some(note) => format!("{note}; {range}"),
            None => range,
        });
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Percentiles;

    fn run(value: f64) -> Report {
        let mut report = Report::begin("B2", "nothing", std::env::temp_dir().as_path());
        report.config = serde_json::json!({});
        let percentiles = Percentiles {
            p50: value,
            p90: value,
            p99: value,
            p999: value,
            max: value,
        };
        let counts = Counts {
            sent: 2,
            delivered: 2,
            ..Counts::default()
        };
        report.rows = vec![
            Row::new("once", value, "µs", 10)
                .percentiles(percentiles)
                .counts(counts),
            Row::new("pairs", 7.0, "pairs", 1),
        ];
        report
    }

    #[test]
    fn runs_become_repeats_of_their_rows() {
        let runs = [run(3.0), run(1.0), run(2.0)];
        assert!(lacks_repeats(&runs[0]));
        let merged = merged(&runs).unwrap();
        assert!(!lacks_repeats(&merged));
        let row = &merged.rows[0];
        assert_eq!((row.value, row.samples, row.percentiles.unwrap().max), (2.0, 30, 2.0));
        assert_eq!(row.repeats, [3.0, 1.0, 2.0]);
        assert_eq!(row.counts.unwrap().sent, 6);
        assert_eq!(row.note.as_deref(), Some("median of 3 runs, 1 to 3"));
        assert_eq!((merged.rows[1].value, merged.rows[1].note.as_deref()), (7.0, None));
        assert_eq!(merged.config["runs"], 3);
    }

    #[test]
    fn repeats_within_runs_are_taken_together_and_one_run_stays_as_it_is() {
        let mut one = run(1.0);
        one.rows[0].repeats = vec![1.0, 2.0, 3.0];
        assert!(!lacks_repeats(&one));
        assert_eq!(merged(std::slice::from_ref(&one)), Some(one.clone()));
        let both = merged(&[one.clone(), one]).unwrap();
        assert_eq!(both.rows[0].repeats.len(), 6);
        assert_eq!(merged(&[]), None);
    }
}
