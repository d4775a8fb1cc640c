//! Each row over several files of results, in order of time.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::compare::{Key, figures};
use crate::results::Results;

/// A file of results as a trend sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sitting {
    /// What its reader calls it.
    pub file: String,
    /// When the first of its reports started, in milliseconds of Unix time.
    pub started_at_ms: u64,
    /// The commit of its build.
    pub commit: String,
}

/// The value of a row in one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Which of [`Trend::sittings`].
    pub sitting: usize,
    /// The value: of several reports the median.
    pub value: f64,
    /// The growth since the point before, as a share of its value; of the first one, and from nothing, none.
    pub change: Option<f64>,
}

/// One row over the files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Course {
    /// The id of the workload.
    pub workload: String,
    /// What was measured.
    pub row: String,
    /// The unit of the values.
    pub unit: String,
    /// Its values; files that have no such row are left out.
    pub points: Vec<Point>,
}

/// Rows over several files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// The files, the oldest first.
    pub sittings: Vec<Sitting>,
    /// The rows, in the order of the newest file, then those that only older ones have.
    pub rows: Vec<Course>,
}

impl Trend {
    /// The rows for which `wanted` (workload and name) holds, over files with their names. Files without a report are left
    /// out.
    pub fn of(files: Vec<(String, Results)>, wanted: impl Fn(&str, &str) -> bool) -> Trend {
        let mut all: Vec<(Sitting, Results)> = files
            .into_iter()
            .filter_map(|(file, results)| {
                let first = results.reports.iter().min_by_key(|report| report.started_at_ms)?;
                let sitting = Sitting {
                    file,
                    started_at_ms: first.started_at_ms,
                    commit: first.conditions.commit.clone(),
                };
                Some((sitting, results))
            })
            .collect();
        all.sort_by_key(|(sitting, _)| sitting.started_at_ms);
        let figures: Vec<_> = all.iter().map(|(_, results)| figures(results)).collect();
        let mut seen: BTreeSet<&Key> = BTreeSet::new();
        let mut rows = Vec::new();
        for key in figures.iter().rev().flat_map(|figures| &figures.order) {
            let (workload, row, unit, _) = key;
            if !seen.insert(key) || !wanted(workload, row) {
                continue;
            }
            let mut points: Vec<Point> = Vec::new();
            for (sitting, figures) in figures.iter().enumerate() {
                let Some(value) = figures.of(key).map(|figure| figure.value()) else {
                    continue;
                };
                let last = points.last().map(|point| point.value).filter(|last| *last > 0.0);
                points.push(Point {
                    sitting,
                    value,
                    change: last.map(|last| value / last - 1.0),
                });
            }
            rows.push(Course {
                workload: workload.clone(),
                row: row.clone(),
                unit: unit.clone(),
                points,
            });
        }
        Trend {
            sittings: all.into_iter().map(|(sitting, _)| sitting).collect(),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trend;
    use crate::report::{Report, Row};
    use crate::results::Results;

    fn file(name: &str, started_at_ms: u64, rows: &[(&str, f64)]) -> (String, Results) {
        let mut report = Report::begin("B0", "nothing", std::env::temp_dir().as_path());
        report.started_at_ms = started_at_ms;
        report.rows = rows
            .iter()
            .map(|(name, value)| Row::new(*name, *value, "µs", 1))
            .collect();
        (name.to_owned(), Results::new(vec![report]))
    }

    #[test]
    fn rows_are_followed_in_order_of_time_and_files_without_them_left_out() {
        let files = vec![
            file("new", 30, &[("a", 150.0), ("b", 1.0)]),
            file("old", 10, &[("a", 100.0), ("gone", 7.0)]),
            file("between", 20, &[("b", 2.0)]),
            ("empty".to_owned(), Results::new(Vec::new())),
        ];
        let trend = Trend::of(files.clone(), |_, _| true);
        let names: Vec<&str> = trend.sittings.iter().map(|sitting| sitting.file.as_str()).collect();
        assert_eq!(names, ["old", "between", "new"]);
        let rows: Vec<&str> = trend.rows.iter().map(|row| row.row.as_str()).collect();
        assert_eq!(rows, ["a", "b", "gone"]);
        let points: Vec<_> = trend.rows[0]
            .points
            .iter()
            .map(|point| (point.sitting, point.value, point.change))
            .collect();
        assert_eq!(points, [(0, 100.0, None), (2, 150.0, Some(0.5))]);
        let only = Trend::of(files, |workload, row| workload == "B0" && row == "gone");
        assert_eq!(only.rows.len(), 1);
    }
}
