//! Which plots the rows of a report make, before anything is drawn.
//!
//! | figure | of rows | shows |
//! |---|---|---|
//! | [`Curves`] | with one [`at`](crate::report::Row::at) number that differs | the value against that number, a line for each other point |
//! | [`Bars`] | of one measure whose points differ in words only | the value of each |
//! | [`Spreads`] | with percentiles | p50 to the greatest, by the logarithm |
//! | [`Bars`] | with a histogram, one each | the samples of each bin |
//!
//! Rows that carry a `topology` are small multiples: a figure for each topology, all with the same axes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scale::{Scale, is_drawn};
use crate::report::{Percentiles, Report, Row};

/// The parameter whose values are shown beside each other.
const TOPOLOGY: &str = "topology";
/// The parameter that says what was measured.
const WHAT: &str = "what";
/// How many rows with percentiles one figure shows.
const SPREADS_MAX: usize = 10;

/// Figures that belong together and have the same axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// What all of them show.
    pub(super) title: String,
    /// One, or one for each topology.
    pub(super) figures: Vec<Figure>,
}

impl Group {
    /// Whether its title stands over its one figure.
    pub(super) fn is_alone(&self) -> bool {
        self.figures.len() == 1
    }
}

/// One plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// What it shows, apart from the others of its group.
    pub(super) title: String,
    /// What is drawn.
    pub(super) drawing: Drawing,
}

/// The forms of a plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Drawing {
    /// Values against a parameter.
    Curves(Curves),
    /// Values of a few things.
    Bars(Bars),
    /// Distributions.
    Spreads(Spreads),
}

/// Values against a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curves {
    /// The parameter.
    pub(super) parameter: String,
    /// The unit of the values.
    pub(super) unit: String,
    /// The axis of the parameter.
    pub(super) x: Scale,
    /// The axis of the values.
    pub(super) y: Scale,
    /// At least one.
    pub(super) lines: Vec<Line>,
}

/// One line of a plot, in the order of its parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// What tells it from the others; empty if it is alone.
    pub(super) label: String,
    /// At least one.
    pub(super) points: Vec<Point>,
}

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// The parameter.
    pub(super) x: f64,
    /// The value.
    pub(super) y: f64,
    /// 99 % of the samples are at most this, where the row tells it.
    pub(super) p99: Option<f64>,
}

/// Values of a few things.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bars {
    /// The unit of the values.
    pub(super) unit: String,
    /// The axis of the values.
    pub(super) x: Scale,
    /// What each is, and its value.
    pub(super) bars: Vec<(String, f64)>,
}

/// Distributions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spreads {
    /// The unit of the values.
    pub(super) unit: String,
    /// The axis of the values.
    pub(super) x: Scale,
    /// What each is, and its distribution.
    pub(super) rows: Vec<(String, Percentiles)>,
}

/// All figures of a report: first what grows with a parameter, then distributions.
pub(super) fn figures(report: &Report) -> Vec<Group> {
    let mut groups = Vec::new();
    for (measure, rows) in gathered(report.rows.iter().filter(|row| is_point(row)), measure) {
        groups.extend(compared(&measure, &rows));
    }
    let spread = |row: &&Row| {
        row.percentiles
            .is_some_and(|spread| is_drawn(spread.max) && spread.max > 0.0)
    };
    for (unit, rows) in gathered(report.rows.iter().filter(spread), |row| row.unit.clone()) {
        groups.extend(spreads(&unit, &rows));
    }
    groups.extend(
        report
            .rows
            .iter()
            .filter(|row| !row.histogram.is_empty())
            .map(histogram),
    );
    groups
}

fn is_point(row: &Row) -> bool {
    !row.at.is_empty() && is_drawn(row.value)
}

/// Things of one key, in the order in which the keys came first.
fn gathered<'r, K: PartialEq>(rows: impl Iterator<Item = &'r Row>, key: impl Fn(&Row) -> K) -> Vec<(K, Vec<&'r Row>)> {
    let mut all: Vec<(K, Vec<&Row>)> = Vec::new();
    for row in rows {
        let key = key(row);
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => all.push((key, vec![row])),
        }
    }
    all
}

/// What was measured, and in which unit.
#[derive(PartialEq)]
struct Measure {
    what: String,
    unit: String,
}

fn measure(row: &Row) -> Measure {
    let what = match row.at.get(WHAT) {
        Some(what) => written(what),
        None => without_values(row),
    };
    Measure {
        what,
        unit: row.unit.clone(),
    }
}

/// The name of a row that does not say what was measured, without the values of its point.
fn without_values(row: &Row) -> String {
    let values: Vec<String> = row.at.values().map(written).collect();
    let words = row.name.split(' ').filter(|word| {
        let word = word.trim_matches([',', ':', ';']);
        !values.iter().any(|value| value == word)
    });
    let name = words.collect::<Vec<_>>().join(" ");
    name.trim_matches([',', ':', ';', ' ']).to_owned()
}

/// A value as people write it.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn topology(row: &Row) -> String {
    row.at.get(TOPOLOGY).map(written).unwrap_or_default()
}

/// Rows of one measure: against a number that differs among them, else beside each other.
fn compared(measure: &Measure, rows: &[&Row]) -> Option<Group> {
    let Some(parameter) = parameter(rows) else {
        return bars(measure, rows);
    };
    let number = |row: &Row| row.at.get(&parameter).and_then(Value::as_f64);
    let values = rows.iter().filter_map(|row| number(row));
    let x = Scale::parameter(values);
    let shown: Vec<&Row> = rows
        .iter()
        .filter(|row| number(row).is_some_and(|value| x.shows(value)))
        .copied()
        .collect();
    let p99 = |row: &Row| row.percentiles.map(|percentiles| percentiles.p99);
    let y = Scale::measured(shown.iter().flat_map(|row| [Some(row.value), p99(row)]).flatten());
    let panels = gathered(shown.iter().copied(), topology);
    let figures = panels.into_iter().map(|(topology, rows)| {
        let lines = gathered(rows.into_iter(), |row| label(row, &[WHAT, TOPOLOGY, &parameter]));
        let lines = lines.into_iter().map(|(label, rows)| {
            let mut points: Vec<Point> = rows
                .iter()
                .filter(|row| y.shows(row.value))
                .filter_map(|row| {
                    Some(Point {
                        x: number(row)?,
                        y: row.value,
                        p99: p99(row).filter(|p99| y.shows(*p99)),
                    })
                })
                .collect();
            points.sort_by(|one, other| one.x.total_cmp(&other.x));
            Line { label, points }
        });
        Figure {
            title: topology,
            drawing: Drawing::Curves(Curves {
                parameter: spoken(&parameter),
                unit: measure.unit.clone(),
                x: x.clone(),
                y: y.clone(),
                lines: lines.filter(|line| !line.points.is_empty()).collect(),
            }),
        }
    });
    let figures: Vec<Figure> = figures.collect();
    (!figures.is_empty()).then(|| Group {
        title: format!("{} ({}) by {}", measure.what, measure.unit, spoken(&parameter)),
        figures,
    })
}

/// The parameter with most different numbers, at least two of them.
fn parameter(rows: &[&Row]) -> Option<String> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in rows.iter().flat_map(|row| &row.at) {
        if let Some(number) = value.as_f64() {
            let values = values.entry(name).or_default();
            if !values.contains(&number) {
                values.push(number);
            }
        }
    }
    let most = values.values().map(Vec::len).max()?;
    let (name, _) = values.into_iter().find(|(_, values)| values.len() == most)?;
    (most > 1).then(|| name.to_owned())
}

/// What tells a row from others of its measure, but for these parameters.
fn label(row: &Row, but: &[&str]) -> String {
    let words = row.at.iter().filter(|(name, _)| !but.contains(&name.as_str()));
    let words = words.map(|(name, value)| match value {
        Value::String(text) => text.clone(),
        other => format!("{other} {}", spoken(name)),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A parameter as people say it.
fn spoken(parameter: &str) -> String {
    parameter.replace('_', " ")
}

fn bars(measure: &Measure, rows: &[&Row]) -> Option<Group> {
    if rows.len() < 2 {
        return None;
    }
    let bars: Vec<(String, f64)> = rows.iter().map(|row| (label(row, &[WHAT]), row.value)).collect();
    Some(Group {
        title: format!("{} ({})", measure.what, measure.unit),
        figures: vec![Figure {
            title: String::new(),
            drawing: Drawing::Bars(Bars {
                unit: measure.unit.clone(),
                x: Scale::linear(bars.iter().map(|(_, value)| *value)),
                bars,
            }),
        }],
    })
}

/// Rows with distributions in one unit: in one figure, in several if they are many, or in one for each topology.
fn spreads(unit: &str, rows: &[&Row]) -> Vec<Group> {
    let ends = rows.iter().filter_map(|row| row.percentiles);
    let x = Scale::log(ends.flat_map(|spread| [spread.p50, spread.max]));
    let figure = |title: String, rows: &[&Row]| {
        let rows = rows.iter().filter_map(|row| Some((row.name.clone(), row.percentiles?)));
        let drawing = Drawing::Spreads(Spreads {
            unit: unit.to_owned(),
            x: x.clone(),
            rows: rows.collect(),
        });
        Figure { title, drawing }
    };
    let mut figures = Vec::new();
    for (topology, rows) in gathered(rows.iter().copied(), topology) {
        let parts = rows.len().div_ceil(SPREADS_MAX);
        // Parts of about the same size.
        for (part, rows) in rows.chunks(rows.len().div_ceil(parts)).enumerate() {
            figures.push(figure(part_title(&topology, part, parts), rows));
        }
    }
    vec![Group {
        title: format!("distributions ({unit})"),
        figures,
    }]
}

/// The samples of a row in its bins.
fn histogram(row: &Row) -> Group {
    let bars: Vec<(String, f64)> = row
        .histogram
        .iter()
        .map(|bin| (format!("up to {} {}", bin.up_to, row.unit), bin.count as f64))
        .collect();
    Group {
        title: format!("{}: samples", row.name),
        figures: vec![Figure {
            title: String::new(),
            drawing: Drawing::Bars(Bars {
                unit: "samples".to_owned(),
                x: Scale::linear(bars.iter().map(|(_, samples)| *samples)),
                bars,
            }),
        }],
    }
}

fn part_title(topology: &str, part: usize, parts: usize) -> String {
    match (topology, parts) {
        (topology, 1) => topology.to_owned(),
        ("", parts) => format!("part {} of {parts}", part + 1),
        (topology, parts) => format!("{topology}, part {} of {parts}", part + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bars, Curves, Drawing, Group, figures};
    use crate::report::{Bin, Percentiles, Report, Row};

    fn of(rows: Vec<Row>) -> Vec<Group> {
        let mut report = Report::begin("B0", "nothing", std::env::temp_dir().as_path());
        report.rows = rows;
        figures(&report)
    }

    fn curves(group: &Group, place: usize) -> &Curves {
        match &group.figures[place].drawing {
            Drawing::Curves(curves) => curves,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_that_differ_in_a_number_are_a_curve_and_others_are_none() {
        let rate = |agents: u64, rate: f64| {
            Row::new(format!("put rate, {agents} agents"), rate, "puts/s", 1)
                .at("what", "put rate")
                .at("agents", agents)
        };
        let groups = of(vec![
            Row::new("plain", 1.0, "MiB", 1),
            rate(64, 9.0),
            rate(1, 2.0),
            Row::new("broken", f64::NAN, "puts/s", 1)
                .at("what", "put rate")
                .at("agents", 2),
        ]);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].title, "put rate (puts/s) by agents");
        let points = &curves(&groups[0], 0).lines[0].points;
        let points: Vec<(f64, f64)> = points.iter().map(|point| (point.x, point.y)).collect();
        assert_eq!(points, [(1.0, 2.0), (64.0, 9.0)]);
    }

    #[test]
    fn each_topology_has_a_figure_of_its_own_with_the_same_axes() {
        let row = |topology: &str, to: &str, bytes: u64, value: f64| {
            Row::new(format!("{topology}, {to}, {bytes} B: rate"), value, "messages/s", 1)
                .at("what", "rate")
                .at("topology", topology)
                .at("to", to)
                .at("bytes", bytes)
        };
        let groups = of(vec![
            row("mesh", "random", 64, 90.0),
            row("mesh", "random", 256, 80.0),
            row("ring", "random", 64, 30.0),
            row("ring", "random", 256, 20.0),
            row("ring", "next", 64, 85.0),
        ]);
        let [group] = &groups[..] else { panic!("{groups:?}") };
        let titles: Vec<&str> = group.figures.iter().map(|figure| figure.title.as_str()).collect();
        assert_eq!(titles, ["mesh", "ring"]);
        let (mesh, ring) = (curves(group, 0), curves(group, 1));
        assert_eq!((&mesh.x, &mesh.y), (&ring.x, &ring.y));
        let labels: Vec<&str> = ring.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["random", "next"]);
    }

    #[test]
    fn points_that_differ_in_words_are_bars() {
        let groups = of(vec![
            Row::new("mesh: goodput", 5.0, "tasks/s", 1).at("topology", "mesh"),
            Row::new("star: goodput", 3.0, "tasks/s", 1).at("topology", "star"),
        ]);
        assert_eq!(groups[0].title, "goodput (tasks/s)");
        let Drawing::Bars(Bars { bars, .. }) = &groups[0].figures[0].drawing else {
            panic!("{groups:?}")
        };
        assert_eq!(*bars, [("mesh".to_owned(), 5.0), ("star".to_owned(), 3.0)]);
    }

    #[test]
    fn a_histogram_is_bars_of_its_samples() {
        let bins = [(64.0, 7), (128.0, 2)].map(|(up_to, count)| Bin { up_to, count });
        let groups = of(vec![Row::new("sync", 60.0, "µs", 9).histogram(bins.into())]);
        let [group] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!(group.title, "sync: samples");
        let Drawing::Bars(Bars { bars, unit, .. }) = &group.figures[0].drawing else {
            panic!("{groups:?}")
        };
        assert_eq!(unit, "samples");
        assert_eq!(
            *bars,
            [("up to 64 µs".to_owned(), 7.0), ("up to 128 µs".to_owned(), 2.0)]
        );
    }

    #[test]
    fn distributions_of_one_unit_share_an_axis_and_many_are_parted() {
        let spread = Percentiles {
            p50: 1.0,
            p90: 2.0,
            p99: 3.0,
            p999: 4.0,
            max: 5.0,
        };
        let row = |number: u64| Row::new(format!("row {number}"), 1.0, "µs", 9).percentiles(spread);
        let groups = of((0..12).map(row).collect());
        assert_eq!(groups.len(), 1);
        let titles: Vec<&str> = groups[0].figures.iter().map(|figure| figure.title.as_str()).collect();
        assert_eq!(titles, ["part 1 of 2", "part 2 of 2"]);
        let nothing = Percentiles { max: 0.0, ..spread };
        assert!(of(vec![Row::new("nothing", 0.0, "µs", 1).percentiles(nothing)]).is_empty());
    }
}
