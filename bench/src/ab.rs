//! A workload under two settings, alternately: a, b, b, a, a, b, … so that a machine that becomes slower or faster meanwhile
//! is so for both.
//!
//! An [`Experiment`] says which side is to run next and takes its report; [`Experiment::report`] is what can be said so
//! far, pair by pair.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::json;

use crate::report::{Report, Row, number};
use crate::settings::Setting;
use crate::statistics::{self, Interval, REPEATS_MIN, ratio_of_medians};
use crate::workloads::{Needs, Workload};

/// What intervals are drawn from: the same runs give the same.
const SEED: u64 = 1;

/// One of the two settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one that ratios are relative to.
    A,
    /// The other one.
    B,
}

/// `a` or `b`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::A => "a",
            Side::B => "b",
        })
    }
}

/// Why there is nothing to compare.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbError {
    /// The settings would be written to no file.
    #[error("{workload} starts no cluster, so no setting of the cluster file changes it")]
    NoCluster {
        /// The id of the workload.
        workload: &'static str,
    },
    /// Both sides say the same.
    #[error("a and b are set to the same: {settings}")]
    Same {
        /// What they are set to.
        settings: String,
    },
}

/// A comparison under way.
pub struct Experiment {
    workload: &'static Workload,
    sides: [Vec<Setting>; 2],
    pairs: u32,
    /// The reports of each side, in their order.
    reports: [Vec<Report>; 2],
}

impl Experiment {
    /// Of `pairs` runs of a workload with each of two lists of settings; an empty one stands for the defaults.
    ///
    /// # Errors
    /// [`AbError`].
    pub fn new(
        workload: &'static Workload,
        a: Vec<Setting>,
        b: Vec<Setting>,
        pairs: u32,
    ) -> Result<Experiment, AbError> {
        if matches!(workload.needs, Needs::Nothing | Needs::Disk) {
            return Err(AbError::NoCluster { workload: workload.id });
        }
        if a == b {
            return Err(AbError::Same { settings: shown(&a) });
        }
        Ok(Experiment {
            workload,
            sides: [a, b],
            pairs,
            reports: [Vec::new(), Vec::new()],
        })
    }

    /// The settings of a side.
    pub fn settings(&self, side: Side) -> &[Setting] {
        &self.sides[side as usize]
    }

    /// Which side runs next, and in which pair, from 1; `None` after the last.
    pub fn next(&self) -> Option<(Side, u32)> {
        let done = self.reports.iter().map(Vec::len).sum::<usize>() as u32;
        let (pair, second) = (done / 2, done % 2 == 1);
        let first = if pair % 2 == 0 { Side::A } else { Side::B };
        let side = match (first, second) {
            (Side::A, false) | (Side::B, true) => Side::A,
            (Side::B, false) | (Side::A, true) => Side::B,
        };
        (pair < self.pairs).then_some((side, pair + 1))
    }

    /// Takes the report of the run that [`Experiment::next`] named.
    pub fn done(&mut self, side: Side, report: Report) {
        self.reports[side as usize].push(report);
    }

    /// What the pairs that are complete say; `None` before the first.
    pub fn report(&self) -> Option<Comparison> {
        let [a, b] = &self.reports;
        let pairs = a.len().min(b.len());
        let first = a.first().filter(|_| pairs > 0)?;
        let (a_rows, b_rows) = (values(&a[..pairs]), values(&b[..pairs]));
        let mut differences: Vec<Difference> = Vec::new();
        let all = |rows: &BTreeMap<&str, Vec<f64>>, name: &str| {
            rows.get(name).filter(|values| values.len() == pairs).cloned()
        };
        for row in &first.rows {
            // One row of each run, or there are no pairs of it.
            if let (Some(a), Some(b)) = (all(&a_rows, &row.name), all(&b_rows, &row.name)) {
                differences.push(Difference::of(row, a, b));
            }
        }
        let is_compared = |name: &&&str| differences.iter().any(|difference| difference.name == **name);
        let names: BTreeSet<&str> = a_rows.keys().chain(b_rows.keys()).copied().collect();
        let left_out = names
            .iter()
            .filter(|name| !is_compared(name))
            .map(|name| (*name).to_owned());
        let left_out = left_out.collect();
        Some(Comparison {
            workload: self.workload,
            sides: self.sides.clone(),
            pairs: (pairs as u32, self.pairs),
            first: first.clone(),
            differences,
            left_out,
        })
    }
}

/// The value of each row in each report.
fn values(reports: &[Report]) -> BTreeMap<&str, Vec<f64>> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in reports.iter().flat_map(|report| &report.rows) {
        values.entry(&row.name).or_default().push(row.value);
    }
    values
}

/// The value in the middle.
fn median(values: &[f64]) -> f64 {
    statistics::median(values).expect("a row that is compared has a value in each pair")
}

fn shown(settings: &[Setting]) -> String {
    match settings {
        [] => "defaults".to_owned(),
        settings => settings.iter().map(Setting::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// What two settings make of a workload.
pub struct Comparison {
    workload: &'static Workload,
    sides: [Vec<Setting>; 2],
    /// How many pairs ran, and how many were to run.
    pairs: (u32, u32),
    /// The first report of side a: conditions and configuration are those of all.
    first: Report,
    /// One for each row.
    pub differences: Vec<Difference>,
    /// Rows that not every run has, or that one has twice.
    pub left_out: Vec<String>,
}

/// A row under both settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The name of the row.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its value in each run of side a.
    pub a: Vec<f64>,
    /// Its value in each run of side b.
    pub b: Vec<f64>,
    /// The median of b over that of a; `None` where a's is 0.
    pub ratio: Option<f64>,
    /// In what the true ratio lies, in 95 of 100 cases; `None` for fewer than three pairs.
    pub interval: Option<(f64, f64)>,
}

impl Difference {
    fn of(row: &Row, a: Vec<f64>, b: Vec<f64>) -> Difference {
        let ratio = median(&b) / median(&a);
        Difference {
            name: row.name.clone(),
            unit: row.unit.clone(),
            ratio: ratio.is_finite().then_some(ratio),
            interval: ratio_of_medians(&a, &b, SEED).map(|Interval { low, high }| (low, high)),
            a,
            b,
        }
    }

    /// Whether the interval leaves out 1.
    pub fn differs(&self) -> Option<bool> {
        self.interval.map(|(low, high)| high < 1.0 || low > 1.0)
    }

    fn verdict(&self) -> &'static str {
        match self.differs() {
            None => "too few pairs to say",
            Some(true) => "differs",
            Some(false) => "no difference seen",
        }
    }

    fn rows(&self) -> Vec<Row> {
        let samples = self.a.len() as u64;
        let mut rows = vec![
            Row::new(format!("{}: a", self.name), median(&self.a), &self.unit, samples).repeats(self.a.clone()),
            Row::new(format!("{}: b", self.name), median(&self.b), &self.unit, samples).repeats(self.b.clone()),
        ];
        if let Some(ratio) = self.ratio {
            let interval = self.interval.map(|(low, high)| format!("{low:.3} to {high:.3}: "));
            rows.push(
                Row::new(format!("{}: b/a", self.name), ratio, "×", samples).note(format!(
                    "{}{}",
                    interval.unwrap_or_default(),
                    self.verdict()
                )),
            );
        }
        rows
    }
}

impl Comparison {
    /// As a report: three rows for each row of the workload, called `NAME: a`, `NAME: b` and `NAME: b/a`.
    pub fn report(&self) -> Report {
        Report {
            workload: format!("ab {}", self.workload.id),
            title: format!("{}: {}", self.workload.title, self.title()),
            config: json!({
                "a": self.sides[0].iter().map(Setting::to_string).collect::<Vec<_>>(),
                "b": self.sides[1].iter().map(Setting::to_string).collect::<Vec<_>>(),
                "pairs": self.pairs.0, "pairs_asked": self.pairs.1, "order": "a b b a",
                "workload": self.first.config,
            }),
            rows: self.differences.iter().flat_map(Difference::rows).collect(),
            claims: Vec::new(),
            ..self.first.clone()
        }
    }

    fn title(&self) -> String {
        format!("a ({}) against b ({})", shown(&self.sides[0]), shown(&self.sides[1]))
    }
}

/// A line for each row: both medians, their ratio with its interval, and whether they differ.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pairs, asked) = self.pairs;
        writeln!(f, "{} {}", self.workload.id, self.workload.title)?;
        writeln!(f, "{}", self.first.conditions)?;
        let missing = if pairs < asked {
            format!(" of {asked}")
        } else {
            String::new()
        };
        writeln!(f, "{}, {pairs}{missing} pairs in the order a b b a", self.title())?;
        writeln!(f)?;
        let head = ["", "a", "b", "unit", "b/a", "95 % interval", ""].map(str::to_owned);
        let cells = self.differences.iter().map(|difference| {
            let interval = difference.interval.map(|(low, high)| format!("{low:.3} to {high:.3}"));
            [
                difference.name.clone(),
                number(median(&difference.a)),
                number(median(&difference.b)),
                difference.unit.clone(),
                difference
                    .ratio
                    .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
                interval.unwrap_or_else(|| "-".to_owned()),
                difference.verdict().to_owned(),
            ]
        });
        let table: Vec<[String; 7]> = std::iter::once(head).chain(cells).collect();
        let width = |column: usize| {
            table
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for cells in &table {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
                // Numbers read from the right.
                match column {
                    1 | 2 | 4 => line += &format!("{cell:>width$}  "),
                    _ => line += &format!("{cell:<width$}  "),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "not in every run: {}", self.left_out.join("; "))?;
        }
        match pairs as usize {
            few if few < REPEATS_MIN => writeln!(f, "an interval needs {REPEATS_MIN} pairs"),
            _ => writeln!(
                f,
                "bootstrap of the runs; of {} rows that are alike one in twenty differs by chance",
                self.differences.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
