//! Figures of peers and ours side by side, with ratios, floors and targets.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use super::compared::{COMPARED, Compared};
use super::{Metric, Peer, Peers};
use crate::report::{Counts, Report, Row, number};
use crate::statistics::median;

/// A figure of a peer beside ours, over all rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// What both are.
    pub compared: Compared,
    /// Theirs, one for each round.
    pub theirs: Vec<f64>,
    /// Their unit.
    pub their_unit: String,
    /// Ours.
    pub ours: Vec<f64>,
    /// Our unit.
    pub our_unit: String,
}

impl Pair {
    /// Our median divided by theirs; `None` where one was not measured, or theirs is 0.
    pub fn ratio(&self) -> Option<f64> {
        let ratio = median(&self.ours)? / median(&self.theirs)?;
        ratio.is_finite().then_some(ratio)
    }

    /// Whether the ratio meets a bound.
    fn meets(&self, bound: f64) -> Option<bool> {
        let ratio = self.ratio()?;
        Some(match self.compared.more_is_better {
            true => ratio >= bound,
            false => ratio <= bound,
        })
    }

    /// Such as `>= 3 met`.
    fn verdict(&self, bound: Option<f64>) -> String {
        let (Some(bound), Some(met)) = (bound, bound.and_then(|bound| self.meets(bound))) else {
            return "-".to_owned();
        };
        let sign = if self.compared.more_is_better { ">=" } else { "<=" };
        format!("{sign} {bound} {}", if met { "met" } else { "MISSED" })
    }
}

/// A comparison with peers.
#[derive(Clone, Debug)]
pub struct Table {
    /// What was measured on both sides, or on one.
    pub pairs: Vec<Pair>,
    /// Peers without figures, and why.
    pub left_out: Vec<(Peer, String)>,
    /// Our reports, in their order.
    pub ours: Vec<Report>,
    started_at_ms: u64,
    rounds: u32,
    workloads: Vec<&'static str>,
    data: std::path::PathBuf,
}

impl Table {
    pub(super) fn of(
        peers: &Peers,
        started_at_ms: u64,
        theirs: &[Metric],
        ours: Vec<Report>,
        left_out: Vec<(Peer, String)>,
    ) -> Table {
        let is_left_out = |peer: Peer| left_out.iter().any(|(left_out, _)| *left_out == peer);
        let chosen = COMPARED.iter().filter(|pair| {
            peers.workloads.contains(&pair.workload) && peers.peers.contains(&pair.peer) && !is_left_out(pair.peer)
        });
        let pairs = chosen.map(|compared| {
            let is_it = |metric: &&Metric| {
                metric.peer == compared.peer.name()
                    && metric.name == compared.figure
                    && metric
                        .parameters
                        .iter()
                        .any(|parameter| parameter == compared.parameter)
            };
            let metrics: Vec<&Metric> = theirs.iter().filter(is_it).collect();
            let rows = ours.iter().filter(|report| report.workload == compared.workload);
            let rows: Vec<&Row> = rows
                .flat_map(|report| &report.rows)
                .filter(|row| row.name == compared.row)
                .collect();
            Pair {
                compared: *compared,
                theirs: metrics.iter().map(|metric| metric.value).collect(),
                their_unit: metrics.first().map_or_else(String::new, |metric| metric.unit.clone()),
                ours: rows.iter().map(|row| row.value).collect(),
                our_unit: rows.first().map_or_else(String::new, |row| row.unit.clone()),
            }
        });
        Table {
            pairs: pairs.collect(),
            left_out,
            started_at_ms,
            rounds: peers.rounds,
            workloads: peers.workloads.clone(),
            data: peers.options.data.clone(),
            ours,
        }
    }

    /// What of ours was lost.
    pub fn lost(&self) -> u64 {
        let rows = self.ours.iter().flat_map(|report| &report.rows);
        rows.filter_map(|row| row.counts).map(|Counts { lost, .. }| lost).sum()
    }

    /// Whether every floor is met and nothing was lost. What was not measured misses its floor, unless its peer was left out.
    pub fn is_good(&self) -> bool {
        let mut floors = self.pairs.iter().filter_map(|pair| Some((pair, pair.compared.floor?)));
        floors.all(|(pair, floor)| pair.meets(floor) == Some(true)) && self.lost() == 0
    }

    /// As a report: for each pair the peer's figure, ours, and the ratio. Peers that were left out stand in the configuration.
    pub fn report(&self) -> Report {
        let mut report = Report::begin("peers", "Queenright beside its peers", &self.data);
        report.started_at_ms = self.started_at_ms;
        // As it was before anything ran.
        if let Some(first) = self.ours.first() {
            report.conditions = first.conditions.clone();
        }
        let left_out = |(peer, why): &(Peer, String)| json!({ "peer": peer.name(), "why": why });
        report.config = json!({
            "rounds": self.rounds, "workloads": self.workloads,
            "left_out": self.left_out.iter().map(left_out).collect::<Vec<_>>(),
            "ours": self.ours.iter().map(|report| (report.workload.clone(), report.config.clone()))
                .collect::<BTreeMap<_, _>>(),
        });
        report.notes = self
            .left_out
            .iter()
            .map(|(peer, why)| format!("{peer}: {why}"))
            .collect();
        for pair in &self.pairs {
            report.rows.extend(rows(pair));
        }
        report
    }
}

fn rows(pair: &Pair) -> Vec<Row> {
    let Compared { what, peer, .. } = pair.compared;
    let side = |name: String, values: &[f64], unit: &str| {
        let value = median(values)?;
        Some(Row::new(name, value, unit, values.len() as u64).repeats(values.to_vec()))
    };
    let mut rows: Vec<Row> = [
        side(format!("{what}: {peer}"), &pair.theirs, &pair.their_unit),
        side(format!("{what}: ours beside {peer}"), &pair.ours, &pair.our_unit),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(ratio) = pair.ratio() {
        let bounds = [("floor", pair.compared.floor), ("target", pair.compared.target)];
        let bounds = bounds.into_iter().filter(|(_, bound)| bound.is_some());
        let notes: Vec<String> = bounds
            .map(|(name, bound)| format!("{name} {}", pair.verdict(bound)))
            .collect();
        let row = Row::new(format!("{what}: ours/{peer}"), ratio, "×", pair.ours.len() as u64);
        rows.push(match notes.is_empty() {
            true => row,
            false => row.note(notes.join(", ")),
        });
    }
    rows
}

/// A line for each pair, then what was left out and what was lost.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.ours.first() {
            writeln!(f, "{}", first.conditions)?;
        }
        writeln!(
            f,
            "medians of {} rounds, peers and ours in turn; one host is not a network",
            self.rounds
        )?;
        writeln!(f)?;
        let head = [
            "",
            "peer",
            "its median",
            "its range",
            "ours",
            "our range",
            "ours/peer",
            "floor",
            "target",
        ];
        let mut table: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
        for pair in &self.pairs {
            let shown = |values: &[f64]| match median(values) {
                Some(median) => [number(median), range(values)],
                None => ["not measured".to_owned(), "-".to_owned()],
            };
            let mut cells = vec![pair.compared.what.to_owned(), pair.compared.peer.to_string()];
            cells.extend(shown(&pair.theirs));
            cells.extend(shown(&pair.ours));
            cells.push(
                pair.ratio()
                    .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            );
            cells.extend([pair.compared.floor, pair.compared.target].map(|bound| pair.verdict(bound)));
            table.push(cells);
        }
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                table
                    .iter()
                    .map(|cells| cells[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for cells in &table {
            let line: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
        }
        for (peer, why) in &self.left_out {
            writeln!(f, "{peer}: {why}")?;
        }
        write!(f, "lost: {} in all rows of ours", self.lost())
    }
}

fn range(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{}..{}", number(least), number(greatest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::peers::metrics;

    fn peers() -> Peers {
        Peers {
            drivers: None,
            target: std::env::temp_dir(),
            peers: vec![Peer::Etcd, Peer::Tcp],
            workloads: vec!["B3", "B13"],
            rounds: 3,
            options: Options::full(std::env::temp_dir()),
        }
    }

    fn ours(id: &str, rows: &[(&str, f64, &str)]) -> Report {
        let mut report = Report::begin(id, "t", &std::env::temp_dir());
        report.rows = rows
            .iter()
            .map(|(name, value, unit)| Row::new(*name, *value, *unit, 1))
            .collect();
        report
    }

    #[test]
    fn ratios_are_of_medians_and_meet_floors_and_targets() {
        let said = "METRIC etcd put.rate 1000 per_s clients=64\nMETRIC etcd put.rate 3000 per_s clients=64\n\
                    METRIC etcd put.rate 2000 per_s clients=64\nMETRIC etcd put.rate 9 per_s clients=1\n\
                    METRIC etcd put.p50 1000 us clients=1\nMETRIC tcp echo.p50 40 us callers=1\n";
        let rows = [
            ("put rate, 64 agents", 18_000.0, "puts/s"),
            ("put latency, 1 agent, leader's node", 1_500.0, "µs"),
        ];
        let reports = vec![
            ours("B3", &rows),
            ours("B13", &[("call latency, 1 caller", 80.0, "µs")]),
        ];
        let table = Table::of(&peers(), 1, &metrics(said).unwrap(), reports, Vec::new());
        let pair = |what: &str, peer| {
            let found = table
                .pairs
                .iter()
                .find(|pair| pair.compared.what == what && pair.compared.peer == peer);
            found.unwrap()
        };
        let puts = pair("durable puts/s, 64", Peer::Etcd);
        assert_eq!((puts.ratio(), puts.theirs.len()), (Some(9.0), 3));
        assert_eq!(puts.verdict(puts.compared.floor), ">= 3 met");
        assert_eq!(puts.verdict(puts.compared.target), ">= 10 MISSED");
        let latency = pair("put p50 us, 1 on the leader", Peer::Etcd);
        assert_eq!(latency.verdict(latency.compared.floor), "<= 1 MISSED");
        assert_eq!(pair("call p50 us, 1 caller", Peer::Tcp).ratio(), Some(2.0));
        assert!(!table.is_good());
        let text = table.to_string();
        assert!(text.contains("1000..3000") && text.contains("not measured"), "{text}");
        let report = table.report();
        let row = report
            .rows
            .iter()
            .find(|row| row.name == "durable puts/s, 64: ours/etcd")
            .unwrap();
        assert_eq!(
            (row.value, row.note.as_deref()),
            (9.0, Some("floor >= 3 met, target >= 10 MISSED"))
        );
        assert!(report.rows.iter().all(|row| row.samples > 0));
    }

    #[test]
    fn what_was_left_out_is_said_and_misses_no_floor() {
        let left_out = vec![(Peer::Etcd, "not installed: apt install etcd-server".to_owned())];
        let mut lossy = ours("B13", &[("call latency, 1 caller", 80.0, "µs")]);
        let table = Table::of(&peers(), 1, &[], vec![lossy.clone()], left_out.clone());
        assert!(table.is_good());
        assert!(
            table
                .to_string()
                .contains("etcd: not installed: apt install etcd-server")
        );
        assert_eq!(table.report().config["left_out"][0]["peer"], "etcd");
        lossy.rows[0].counts = Some(Counts {
            sent: 2,
            delivered: 1,
            lost: 1,
            ..Counts::default()
        });
        assert!(!Table::of(&peers(), 1, &[], vec![lossy], left_out).is_good());
    }
}
