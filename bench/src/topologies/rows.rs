//! The rows of a comparison: for each kind the median of the repeats, and how sure it is.

use std::collections::BTreeSet;
use std::time::Duration;

use hdrhistogram::Histogram;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Kind, Topology};

use super::Plan;
use super::cell::Cell;
use super::converge::{Converged, Join, Kill, Split, Victim};
use crate::load;
use crate::report::{Counts, Percentiles, Row};
use crate::statistics::{Interval, median, median_interval};
use crate::traffic::meter::Meter;
use crate::traffic::open::Until;

/// What one kind gave, once.
pub(super) struct Measured {
    pub(super) loads: Cell,
    pub(super) converged: Option<Converged>,
}

/// The rows of all kinds that were measured at least once.
pub(super) fn rows(plan: &Plan, until: Until, measured: &[(Kind, &[Measured])]) -> Vec<Row> {
    let measured = measured.iter().filter(|(_, cells)| !cells.is_empty());
    measured
        .flat_map(|(kind, cells)| {
            let rows = OfKind {
                plan,
                until,
                kind: *kind,
                cells: cells.iter().map(|cell| &cell.loads).collect(),
                converged: cells.iter().filter_map(|cell| cell.converged.as_ref()).collect(),
            };
            rows.all()
        })
        .collect()
}

/// One kind, and what its clusters gave.
struct OfKind<'a> {
    plan: &'a Plan,
    /// Up to where messages at a constant rate were followed.
    until: Until,
    kind: Kind,
    cells: Vec<&'a Cell>,
    converged: Vec<&'a Converged>,
}

impl OfKind<'_> {
    fn all(&self) -> Vec<Row> {
        let mut rows = self.closed();
        for place in 0..self.plan.rates.len() {
            rows.extend(self.open(place));
        }
        rows.extend(self.puts());
        rows.extend(self.tasks());
        rows.extend(self.memory());
        rows.extend(self.changes());
        rows
    }

    /// A row with the median over all clusters.
    fn row(&self, name: &str, unit: &str, figure: impl Fn(&Cell) -> f64) -> Row {
        let samples: Vec<f64> = self.cells.iter().map(|cell| figure(cell)).collect();
        self.row_of(name, unit, &samples)
    }

    fn row_of(&self, name: &str, unit: &str, samples: &[f64]) -> Row {
        Row::new(
            format!("{}: {name}", self.kind),
            middle(samples),
            unit,
            samples.len() as u64,
        )
        .repeats(samples.iter().copied())
        .at("topology", self.kind.to_string())
        .at("nodes", self.plan.nodes as u64)
        .note(interval(samples, self.plan.seed))
    }

    /// A row of latencies: the median of the medians, and the percentiles of all latencies together.
    fn latency<'c>(&'c self, name: &str, histogram: impl Fn(&'c Cell) -> &'c Histogram<u64>) -> Row {
        let mut all = load::histogram();
        let of = |quantile: f64| -> Vec<f64> {
            let cells = self.cells.iter().map(|cell| histogram(cell));
            cells
                .map(|cell| cell.value_at_quantile(quantile) as f64 / 1e3)
                .collect()
        };
        for cell in &self.cells {
            let added = all.add(histogram(cell));
            added.expect("both have the bounds of a load's histogram");
        }
        let mut row = self.row_of(name, "µs", &of(0.5));
        row.samples = all.len();
        let note = format!(
            "p50: {}; p90: {}; p99: {}; p99.9: {}",
            interval(&of(0.5), self.plan.seed),
            interval(&of(0.9), self.plan.seed),
            interval(&of(0.99), self.plan.seed),
            interval(&of(0.999), self.plan.seed)
        );
        row.percentiles(Percentiles::of(&all, 1e3)).note(note)
    }

    fn counts(&self, of: impl Fn(&Cell) -> Counts) -> Counts {
        let mut sum = Counts::default();
        for counts in self.cells.iter().map(|cell| of(cell)) {
            sum.sent += counts.sent;
            sum.delivered += counts.delivered;
            sum.refused += counts.refused;
            sum.lost += counts.lost;
        }
        sum
    }

    fn closed(&self) -> Vec<Row> {
        let all_arrived = |cell: &Cell| Counts {
            sent: cell.closed.messages,
            delivered: cell.closed.messages,
            ..Counts::default()
        };
        let rate = self.row("closed loop: goodput", "messages/s", |cell| cell.closed.per_second);
        let hops = self.row("hops of a message", "links", |cell| cell.closed.hops());
        let expected = mean_hops(self.kind, self.plan.nodes);
        let mut rows = vec![
            rate.counts(self.counts(all_arrived)),
            and_note(
                hops,
                &format!("closed loop; {expected:.2} over all pairs by the function of the topology"),
            ),
        ];
        // Where sender and receiver have clocks of their own it is no time.
        if self.until == Until::Handled {
            rows.push(self.latency("closed loop: send to handler", |cell| &cell.closed.latency));
        }
        rows.extend(self.processor("closed loop", |cell| &cell.closed.cost));
        rows
    }

    fn open(&self, place: usize) -> Vec<Row> {
        let rate = self.plan.rates[place];
        let flow = |cell: &'_ Cell| -> f64 { cell.open[place].arrived.max(1) as f64 };
        let name = |what: &str| format!("at {rate}/s: {what}");
        let goodput = self.row(&name("goodput"), "messages/s", |cell| cell.open[place].per_second);
        let counts = self.counts(|cell| cell.open[place].counts);
        let late: Vec<f64> = self
            .cells
            .iter()
            .map(|cell| cell.open[place].late.value_at_quantile(0.99) as f64 / 1e3)
            .collect();
        let late = format!("of it, sent late: p99 {:.0} µs", middle(&late));
        let lost = match counts.refused + counts.lost {
            0 => "nothing lost, none came twice".to_owned(),
            _ => "none came twice; refused: not sent within a second after the end, since too much waited".to_owned(),
        };
        let what = match self.until {
            Until::Handled => "to send to handler",
            Until::Back => "to send to target and back",
        };
        let mut rows = vec![
            and_note(goodput.counts(counts), &lost),
            and_note(self.latency(&name(what), |cell| &cell.open[place].latency), &late),
            self.row(&name("envelopes on links for a message"), "envelopes", |cell| {
                cell.open[place].cost.sum(|node| node.signal_envelopes) as f64 / flow(cell)
            }),
            and_note(
                self.row(&name("bytes on links for a message"), "B", |cell| {
                    cell.open[place].cost.sum(|node| node.frame_bytes) as f64 / flow(cell)
                }),
                "all lanes: heartbeats and consensus, which do not grow with the rate, are in it",
            ),
        ];
        rows.extend(self.processor(&format!("at {rate}/s"), |cell| &cell.open[place].cost));
        for row in &mut rows {
            row.at.insert("rate".to_owned(), rate.into());
        }
        rows
    }

    fn puts(&self) -> Vec<Row> {
        let rate = self.row("puts: goodput", "puts/s", |cell| cell.puts.per_second);
        let rounds = |cell: &Cell| -> f64 {
            let applied = cell.puts.cost.nodes.iter().map(|node| node.rounds).max();
            applied.unwrap_or_default().max(1) as f64
        };
        let mut rows = vec![
            and_note(
                rate.counts(self.counts(|cell| cell.puts.counts)),
                "counts with warm-up and cool-down",
            ),
            self.latency("puts: commit latency", |cell| &cell.puts.latency),
            self.row("puts: commands in a round", "commands", |cell| {
                let applied = cell.puts.cost.nodes.iter().map(|node| node.commands).max();
                applied.unwrap_or_default() as f64 / rounds(cell)
            }),
            self.row("puts: bytes on links for a put", "B", |cell| {
                cell.puts.cost.sum(|node| node.frame_bytes) as f64 / cell.puts.counts.delivered.max(1) as f64
            }),
        ];
        rows.extend(self.processor("puts", |cell| &cell.puts.cost));
        rows
    }

    fn tasks(&self) -> Vec<Row> {
        let finished = |cell: &Cell| cell.tasks.finished.max(1) as f64;
        let rate = self.row("tasks: goodput", "tasks/s", |cell| cell.tasks.per_second);
        let span_ms = self.cells[0].tasks_ms;
        let mut rows = vec![
            and_note(
                rate.counts(self.counts(|cell| cell.tasks.counts)),
                &format!("claimed and finished, measured for {span_ms} ms; counts are of commands"),
            ),
            self.latency("tasks: claim latency", |cell| &cell.tasks.claim),
            self.latency("tasks: claim to finish", |cell| &cell.tasks.task),
            self.row("tasks: envelopes on links for a task", "envelopes", |cell| {
                cell.tasks.cost.sum(|node| node.envelopes) as f64 / finished(cell)
            }),
            self.row("tasks: bytes on links for a task", "B", |cell| {
                cell.tasks.cost.sum(|node| node.frame_bytes) as f64 / finished(cell)
            }),
        ];
        rows.extend(self.processor("tasks", |cell| &cell.tasks.cost));
        rows
    }

    /// The processor time of a node; nothing where the system does not tell it.
    fn processor<'c>(&'c self, load: &str, cost: impl Fn(&'c Cell) -> &'c Meter) -> Option<Row> {
        let of_cells: Option<Vec<Vec<f64>>> = self.cells.iter().map(|cell| cost(cell).processor_seconds()).collect();
        let of_cells = of_cells?;
        let means: Vec<f64> = of_cells.iter().map(|nodes| mean(nodes)).collect();
        let row = self.row_of(&format!("{load}: processor time of a node"), "s", &means);
        let by_node = by_node(&of_cells);
        Some(and_note(row, &format!("with warm-up; by node {}", listed(&by_node, 2))))
    }

    /// How long it took until all was as it should be; nothing if that was not asked for.
    fn changes(&self) -> Vec<Row> {
        if self.converged.is_empty() {
            return Vec::new();
        }
        let mut rows = Vec::new();
        for victim in Victim::ALL {
            let kills = || {
                let all = self.converged.iter().flat_map(|converged| &converged.kills);
                all.filter(move |kill| kill.victim == victim)
            };
            let led = kills().filter(|kill| kill.led).count();
            let of = |time: fn(&Kill) -> Duration| -> Vec<f64> { milliseconds(kills().map(time)) };
            let written = self.row_of(
                &format!("kill {}: until a write", victim.name()),
                "ms",
                &of(|kill| kill.written),
            );
            let back = self.row_of(
                &format!("kill {}: back until converged", victim.name()),
                "ms",
                &of(|kill| kill.back),
            );
            rows.push(and_note(
                written,
                &format!("from SIGKILL to one acknowledged at another node; it led {led} times"),
            ));
            rows.push(and_note(back, "from the start of its new process"));
        }
        let joins: Vec<&Join> = self
            .converged
            .iter()
            .filter_map(|converged| converged.join.as_ref())
            .collect();
        let of = |time: fn(&Join) -> Duration| -> Vec<f64> { milliseconds(joins.iter().map(|join| time(join))) };
        for (name, samples) in [
            ("join: until let in", of(|join| join.let_in)),
            ("join: until caught up", of(|join| join.caught_up)),
            ("join: until converged", of(|join| join.whole)),
        ] {
            if !samples.is_empty() {
                rows.push(and_note(
                    self.row_of(name, "ms", &samples),
                    "from the start of its process",
                ));
            }
        }
        let splits: Vec<&Split> = self
            .converged
            .iter()
            .filter_map(|converged| converged.split.as_ref())
            .collect();
        let of = |time: fn(&Split) -> Duration| -> Vec<f64> { milliseconds(splits.iter().map(|split| time(split))) };
        for (name, samples, note) in [
            (
                "split: until a write",
                of(|split| split.written),
                "from the split of the leader and a minority from the rest, to one acknowledged at the rest",
            ),
            (
                "split: healed until converged",
                of(|split| split.healed),
                "from the end of the split",
            ),
        ] {
            if !samples.is_empty() {
                rows.push(and_note(self.row_of(name, "ms", &samples), note));
            }
        }
        rows
    }

    /// The memory of a node after the last load; nothing where the system does not tell it.
    fn memory(&self) -> Option<Row> {
        let of_cells: Option<Vec<Vec<f64>>> = self.cells.iter().map(|cell| cell.tasks.cost.resident_mib()).collect();
        let of_cells = of_cells?;
        let means: Vec<f64> = of_cells.iter().map(|nodes| mean(nodes)).collect();
        let row = self.row_of("resident memory of a node", "MiB", &means);
        Some(and_note(
            row,
            &format!("after the tasks; by node {}", listed(&by_node(&of_cells), 0)),
        ))
    }
}

fn middle(samples: &[f64]) -> f64 {
    median(samples).expect("a cluster was measured")
}

fn milliseconds(times: impl Iterator<Item = Duration>) -> Vec<f64> {
    times.map(|time| time.as_secs_f64() * 1e3).collect()
}

/// What is said of the median of samples.
fn interval(samples: &[f64], seed: u64) -> String {
    let (median, interval) = (middle(samples), median_interval(samples, seed));
    let Interval { low, high } = interval.expect("a cluster was measured");
    let digits = if high < 100.0 { 2 } else { 0 };
    match samples.len() {
        1 => format!("{median:.digits$} once"),
        repeats => format!("{median:.digits$}, 95 % interval {low:.digits$} to {high:.digits$} of {repeats} repeats"),
    }
}

/// The row with more behind its note.
fn and_note(mut row: Row, more: &str) -> Row {
    row.note = Some(match row.note {
        Some(note) => format!("{note}; {more}"),
        None => more.to_owned(),
    });
    row
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

/// The mean of each node over all clusters.
fn by_node(of_cells: &[Vec<f64>]) -> Vec<f64> {
    let nodes = of_cells.iter().map(Vec::len).min().unwrap_or_default();
    (0..nodes)
        .map(|node| mean(&of_cells.iter().map(|nodes| nodes[node]).collect::<Vec<f64>>()))
        .collect()
}

fn listed(values: &[f64], digits: usize) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.digits$}")).collect();
    values.join(" ")
}

/// How many links a message goes over on average, from each node to each other one.
fn mean_hops(kind: Kind, nodes: usize) -> f64 {
    let members: BTreeSet<NodeId> = (1..=nodes as u64).map(NodeId).collect();
    let topology = Topology::new(kind, &members);
    let pairs = members
        .iter()
        .flat_map(|from| members.iter().map(move |to| (*from, *to)));
    let hops: u64 = pairs
        .filter_map(|(from, to)| topology.hops(from, to))
        .map(u64::from)
        .sum();
    hops as f64 / (nodes * nodes.saturating_sub(1)).max(1) as f64
}

#[cfg(test)]
mod tests {
    use queenright_protocol::topology::Kind;

    use super::{interval, mean_hops};

    #[test]
    fn hops_of_all_pairs_have_the_mean_of_their_kind() {
        assert_eq!(mean_hops(Kind::Mesh, 7), 1.0);
        // From and to the hub one, among the six others two.
        assert_eq!(mean_hops(Kind::Star, 7), (12.0 + 60.0) / 42.0);
        assert_eq!(mean_hops(Kind::Ring, 7), 2.0);
    }

    #[test]
    fn an_interval_says_of_how_many_repeats_it_is() {
        assert_eq!(interval(&[150.0], 1), "150 once");
        assert_eq!(
            interval(&[1.0, 3.0, 2.0], 1),
            "2.00, 95 % interval 1.00 to 3.00 of 3 repeats"
        );
    }
}
