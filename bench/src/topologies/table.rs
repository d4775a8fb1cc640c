//! A report as a table for people: a line for each figure, a column for each topology.

use std::fmt;

use crate::report::{Percentiles, Report, Row};

/// The rows of a report that carry a `topology`, beside each other. Others are left out.
#[derive(Clone, Copy, Debug)]
pub struct SideBySide<'a>(pub &'a Report);

/// One of them.
type Of = fn(&Percentiles) -> f64;

/// A line: what it is, and a cell for each topology.
struct Line {
    name: String,
    unit: String,
    cells: Vec<String>,
}

fn topology(row: &Row) -> Option<&str> {
    row.at.get("topology")?.as_str()
}

/// What a row is called without its topology.
fn figure<'r>(row: &'r Row, topology: &str) -> &'r str {
    let rest = row.name.strip_prefix(topology);
    rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&row.name)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl SideBySide<'_> {
    /// The topologies, in the order of their rows.
    fn topologies(&self) -> Vec<&str> {
        let mut seen = Vec::new();
        for topology in self.0.rows.iter().filter_map(topology) {
            if !seen.contains(&topology) {
                seen.push(topology);
            }
        }
        seen
    }

    fn lines(&self, topologies: &[&str]) -> Vec<Line> {
        let mut figures: Vec<&str> = Vec::new();
        for row in &self.0.rows {
            let Some(topology) = topology(row) else { continue };
            let figure = figure(row, topology);
            if !figures.contains(&figure) {
                figures.push(figure);
            }
        }
        figures
            .iter()
            .flat_map(|name| self.of_figure(name, topologies))
            .collect()
    }

    /// The lines of a figure: one for each percentile, if it has any.
    fn of_figure(&self, name: &str, topologies: &[&str]) -> Vec<Line> {
        let rows: Vec<Option<&Row>> = topologies
            .iter()
            .map(|wanted| {
                let is_meant = |row: &&Row| topology(row) == Some(wanted) && figure(row, wanted) == name;
                self.0.rows.iter().find(is_meant)
            })
            .collect();
        let unit = rows
            .iter()
            .flatten()
            .next()
            .map_or_else(String::new, |row| row.unit.clone());
        let line = |name: String, cell: &dyn Fn(&Row) -> Option<f64>| Line {
            name,
            unit: unit.clone(),
            cells: rows
                .iter()
                .map(|row| row.and_then(cell).map_or_else(|| "-".to_owned(), number))
                .collect(),
        };
        let mut lines = vec![line(name.to_owned(), &|row| Some(row.value))];
        if rows.iter().flatten().any(|row| row.percentiles.is_some()) {
            // A median, unless it says otherwise.
            if !name.ends_with("mean") {
                lines[0].name.push_str(", p50");
            }
            let percentiles: [(&str, Of); 3] = [
                ("p90", |percentiles| percentiles.p90),
                ("p99", |percentiles| percentiles.p99),
                ("p99.9", |percentiles| percentiles.p999),
            ];
            for (which, of) in percentiles {
                lines.push(line(format!("  {which}"), &|row| row.percentiles.as_ref().map(of)));
            }
        }
        if rows.iter().flatten().any(|row| row.counts.is_some()) {
            let mut lost = line("  lost".to_owned(), &|row| row.counts.map(|counts| counts.lost as f64));
            lost.unit.clear();
            lines.push(lost);
        }
        lines
    }
}

impl fmt::Display for SideBySide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topologies = self.topologies();
        let lines = self.lines(&topologies);
        let names = lines.iter().map(|line| line.name.chars().count());
        let name_width = names.max().unwrap_or_default();
        let widths: Vec<usize> = topologies
            .iter()
            .enumerate()
            .map(|(column, topology)| {
                let cells = lines.iter().map(|line| line.cells[column].chars().count());
                cells.max().unwrap_or_default().max(topology.chars().count())
            })
            .collect();
        write!(f, "{:name_width$}", "")?;
        for (topology, width) in topologies.iter().zip(&widths) {
            write!(f, "  {topology:>width$}")?;
        }
        for line in &lines {
            write!(f, "\n{:<name_width$}", line.name)?;
            for (cell, width) in line.cells.iter().zip(&widths) {
                write!(f, "  {cell:>width$}")?;
            }
            if !line.unit.is_empty() {
                write!(f, "  {}", line.unit)?;
            }
        }
        let coincide = self.0.config["coincide"].as_array().into_iter().flatten();
        for pair in coincide {
            let [one, other] = [&pair[0], &pair[1]].map(|kind| kind.as_str().unwrap_or_default());
            let nodes = &self.0.config["nodes"];
            write!(f, "\n{one} and {other} are the same over {nodes} nodes")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_figure_is_a_line_and_a_topology_a_column() {
        let mut report = Report::begin("topologies", "test", &std::env::temp_dir());
        report.config = json!({ "nodes": 3, "coincide": [["mesh", "ring"]] });
        let percentiles = Percentiles {
            p50: 1.0,
            p90: 2.0,
            p99: 3.0,
            p999: 40.25,
            max: 50.0,
        };
        report.rows = vec![
            Row::new("mesh: hops", 1.0, "links", 3).at("topology", "mesh"),
            Row::new("mesh: latency", 1.5, "µs", 3)
                .at("topology", "mesh")
                .percentiles(percentiles),
            Row::new("ring: hops", 1.25, "links", 3).at("topology", "ring"),
            Row::new("of no topology", 1.0, "s", 1),
        ];
        let expected = "              mesh  ring\n\
                        hops             1  1.25  links\n\
                        latency, p50  1.50     -  µs\n  \
                        p90            2     -  µs\n  \
                        p99            3     -  µs\n  \
                        p99.9       40.2     -  µs\n\
                        mesh and ring are the same over 3 nodes";
        assert_eq!(SideBySide(&report).to_string(), expected);
    }
}
