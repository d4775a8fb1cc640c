//! Two files of results, row by row: what got worse by more than the threshold of its class.
//!
//! Rows are matched by workload, name and unit. What a row measures, and which way is better, follows from
//! [`metric::metric`]. A row is worse when its value is worse by more than the threshold **and** the noise of the repeats
//! does not explain it:
//!
//! | rule | when | worse if |
//! |---|---|---|
//! | [`Rule::Interval`] | both sides carry at least [`REPEATS_MIN`](crate::statistics::REPEATS_MIN) repeats | the 95 % interval of the ratio of the medians lies beyond the threshold as a whole |
//! | [`Rule::Threshold`] | otherwise | the value is beyond the threshold |
//! | [`Rule::Lost`] | a row counts nothing as lost before | it does afterwards |
//!
//! A file with several reports of a workload has as many repeats of each of its rows, also of those that are measured once
//! in a run.

mod conditions;
pub mod metric;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::conditions::differences;
use self::metric::{Better, Class, metric};
use crate::conditions::Build;
use crate::report::Row;
use crate::results::Results;
use crate::statistics::{Interval, median, ratio_of_medians};

/// By how much a value of each class may be worse, as a share of what it was: 0.1 is 10 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// How fast agents are started.
    pub spawn: f64,
    /// How much is done in a second.
    pub throughput: f64,
    /// Memory.
    pub memory: f64,
    /// How long something takes.
    pub latency: f64,
    /// How much processor time something takes.
    pub processor: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            spawn: 0.1,
            throughput: 0.15,
            memory: 0.2,
            latency: 0.15,
            processor: 0.1,
        }
    }
}

impl Thresholds {
    /// The one of a class; counts are not judged.
    pub fn of(&self, class: Class) -> Option<f64> {
        match class {
            Class::Spawn => Some(self.spawn),
            Class::Throughput => Some(self.throughput),
            Class::Memory => Some(self.memory),
            Class::Latency => Some(self.latency),
            Class::Processor => Some(self.processor),
            Class::Count => None,
        }
    }
}

/// What decided about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The interval of the ratio of the medians.
    Interval,
    /// The threshold alone: nothing is known about noise.
    Threshold,
    /// What was lost.
    Lost,
    /// Nothing: a count, a value that has no ratio, or a row of one side.
    None,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within the threshold.
    Same,
    /// Better by more than the threshold.
    Better,
    /// Beyond the threshold, one way or the other, as noise may make it: measure again, more often.
    Unclear,
    /// Worse by more than the threshold, or something is lost now: a regression.
    Worse,
    /// Shown, not judged.
    Shown,
    /// Only after.
    New,
    /// Only before: an error.
    Missing,
    /// On one of the sides it stands for no sample: an error.
    NoSamples,
}

/// One row of both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The id of the workload.
    pub workload: String,
    /// What was measured.
    pub row: String,
    /// The unit of the values.
    pub unit: String,
    /// What kind of value it is.
    pub class: Class,
    /// Which way is better; not of counts.
    pub better: Option<Better>,
    /// The value before.
    pub before: Option<f64>,
    /// The value after.
    pub after: Option<f64>,
    /// The growth from before to after as a share of before: −0.1 is 10 % less.
    pub change: Option<f64>,
    /// The interval of the ratio of after over before, if both sides were repeated.
    pub interval: Option<Interval>,
    /// By how much it may be worse, as a share of before.
    pub threshold: Option<f64>,
    /// What decided.
    pub rule: Rule,
    /// What was decided.
    pub verdict: Verdict,
}

/// Two files of results beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What differs in the machine, the build, the disk and what the workloads were run with.
    pub differences: Vec<String>,
    /// The rows, in the order of the first file, then those that only the second one has.
    pub lines: Vec<Line>,
    /// Whether both files have builds of one kind.
    #[serde(skip)]
    pub same_build: bool,
}

impl Comparison {
    /// The rows of which that was decided.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.verdict == verdict)
    }
}

/// Compares what was measured `before` with what was measured `after`.
pub fn compare(before: &Results, after: &Results, thresholds: &Thresholds) -> Comparison {
    let (first, second) = (figures(before), figures(after));
    let mut lines: Vec<Line> = Vec::new();
    for (place, key) in first.order.iter().enumerate() {
        // The place is the seed: the same files give the same intervals.
        lines.push(line(key, first.of(key), second.of(key), thresholds, place as u64));
    }
    for key in second.order.iter().filter(|key| first.of(key).is_none()) {
        lines.push(line(key, None, second.of(key), thresholds, 0));
    }
    let builds =
        |results: &Results, build: Build| results.reports.iter().all(|report| report.conditions.build == build);
    Comparison {
        differences: differences(before, after),
        lines,
        same_build: [Build::Debug, Build::Release]
            .into_iter()
            .any(|build| builds(before, build) && builds(after, build)),
    }
}

/// Workload, name and unit of a row, and which of several it is that a report calls alike.
pub(crate) type Key = (String, String, String, usize);

/// One row over all reports of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figure {
    /// The value of each report.
    values: Vec<f64>,
    /// All repeats, if every report has some, or else the values.
    repeats: Vec<f64>,
    /// Whether a report has a row without a sample.
    no_samples: bool,
    lost: Option<u64>,
}

impl Figure {
    /// The median over the reports.
    pub(crate) fn value(&self) -> f64 {
        median(&self.values).unwrap_or(f64::NAN)
    }
}

/// The figures of a file, in its order.
pub(crate) struct Figures {
    pub(crate) order: Vec<Key>,
    all: BTreeMap<Key, Figure>,
}

impl Figures {
    pub(crate) fn of(&self, key: &Key) -> Option<&Figure> {
        self.all.get(key)
    }
}

/// Takes together what the reports of a file say of each row.
pub(crate) fn figures(results: &Results) -> Figures {
    let mut figures = Figures {
        order: Vec::new(),
        all: BTreeMap::new(),
    };
    let mut rows: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
    for report in &results.reports {
        let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for row in &report.rows {
            let nth = seen.entry((&row.name, &row.unit)).or_default();
            let key = (report.workload.clone(), row.name.clone(), row.unit.clone(), *nth);
            *nth += 1;
            let of_key = rows.entry(key.clone()).or_default();
            if of_key.is_empty() {
                figures.order.push(key);
            }
            of_key.push(row);
        }
    }
    for (key, rows) in rows {
        let repeated = rows.iter().all(|row| !row.repeats.is_empty());
        let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
        let lost = rows.iter().filter_map(|row| row.counts).map(|counts| counts.lost);
        let figure = Figure {
            repeats: match repeated {
                true => rows.iter().flat_map(|row| row.repeats.iter().copied()).collect(),
                false => values.clone(),
            },
            no_samples: rows.iter().any(|row| row.samples == 0 || !row.value.is_finite()),
            lost: lost.reduce(u64::saturating_add),
            values,
        };
        figures.all.insert(key, figure);
    }
    figures
}

fn line(key: &Key, before: Option<&Figure>, after: Option<&Figure>, thresholds: &Thresholds, seed: u64) -> Line {
    let (workload, row, unit, _) = key;
    let metric = metric(workload, row, unit);
    let value = |figure: Option<&Figure>| figure.filter(|figure| !figure.no_samples).map(Figure::value);
    let (was, is) = (value(before), value(after));
    let mut line = Line {
        workload: workload.clone(),
        row: row.clone(),
        unit: unit.clone(),
        class: metric.class,
        better: metric.better,
        before: was,
        after: is,
        // A share of nothing, or of less, says nothing.
        change: was
            .zip(is)
            .filter(|(was, _)| *was > 0.0)
            .map(|(was, is)| is / was - 1.0),
        interval: None,
        threshold: thresholds.of(metric.class),
        rule: Rule::None,
        verdict: Verdict::Shown,
    };
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (Some(_), None) => {
            line.verdict = Verdict::Missing;
            return line;
        }
        (None, _) => {
            line.verdict = Verdict::New;
            return line;
        }
    };
    if before.no_samples || after.no_samples {
        line.verdict = Verdict::NoSamples;
        return line;
    }
    line.interval = ratio_of_medians(&before.repeats, &after.repeats, seed);
    if let (Some(better), Some(threshold), Some(change)) = (metric.better, line.threshold, line.change) {
        (line.rule, line.verdict) = judge(better, threshold, change, line.interval);
    }
    if before.lost == Some(0) && after.lost.is_some_and(|lost| lost > 0) {
        (line.rule, line.verdict) = (Rule::Lost, Verdict::Worse);
    }
    line
}

/// What is decided about a value that grew by `change`.
fn judge(better: Better, threshold: f64, change: f64, interval: Option<Interval>) -> (Rule, Verdict) {
    let beyond = |change: f64| match change {
        _ if change > threshold => 1,
        _ if change < -threshold => -1,
        _ => 0,
    };
    let way = beyond(change);
    let sure = match interval {
        // The interval as a whole.
        Some(Interval { low, high }) => match way {
            1 => beyond(low - 1.0) == 1,
            -1 => beyond(high - 1.0) == -1,
            _ => true,
        },
        None => true,
    };
    let is_better = match better {
        Better::Higher => 1,
        Better::Lower => -1,
    };
    let rule = match interval {
        Some(_) => Rule::Interval,
        None => Rule::Threshold,
    };
    let verdict = match way {
        0 => Verdict::Same,
        _ if !sure => Verdict::Unclear,
        way if way == is_better => Verdict::Better,
        _ => Verdict::Worse,
    };
    (rule, verdict)
}

#[cfg(test)]
mod tests;
