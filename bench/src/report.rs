//! The schema of results.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conditions::Conditions;

/// How long the longest bar of a histogram is.
const BAR_CHARS: u64 = 40;

/// One run of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The id of the workload, such as `B8`.
    pub workload: String,
    /// What it is about, in a few words.
    pub title: String,
    /// When it started, in milliseconds of Unix time.
    pub started_at_ms: u64,
    /// What it ran on.
    pub conditions: Conditions,
    /// What it was run with.
    pub config: Value,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What others say of the same workload, for comparison. Not measured here.
    pub claims: Vec<Claim>,
    /// What belongs to the workload and was not measured, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A figure that its authors published, which this run did not measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose figure it is.
    pub system: String,
    /// What is claimed.
    pub statement: String,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The value: of several samples the median, unless the name says otherwise.
    pub value: f64,
    /// The unit of the value and of the percentiles.
    pub unit: String,
    /// How many samples the value stands for.
    pub samples: u64,
    /// The distribution of the samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentiles: Option<Percentiles>,
    /// What became of all that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// What the reader must know to read the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The value of each repeat, in the unit of the row and in any order, where the measurement was repeated: what the
    /// value may be off by. Empty where it was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<f64>,
    /// How many samples lie where, where that is to be seen: drawn as bars in the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<Bin>,
    /// Where it was measured, by parameter: `agents` 16, `topology` "ring". `what` says what was measured, the same for
    /// all rows that are to be compared; without it the name stands for that, but for the values of the point. Rows of
    /// one measure and unit whose points differ in a number form a curve, those that carry a `topology` are shown beside
    /// each other. Empty when the workload has one point only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at: BTreeMap<String, Value>,
}

/// Samples of about the same size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// They are at most this, in the unit of the row, and above that of the bin before.
    pub up_to: f64,
    /// How many there are.
    pub count: u64,
}

impl Bin {
    /// The samples of `histogram`, each divided by `scale`, in bins that double from 1 on; none before the first sample and
    /// none behind the last.
    pub fn doubling(histogram: &Histogram<u64>, scale: f64) -> Vec<Bin> {
        let mut bins: Vec<Bin> = Vec::new();
        for step in histogram.iter_recorded() {
            let value = (step.value_iterated_to() as f64 / scale).max(1.0);
            let up_to = value.log2().ceil().exp2();
            while bins.last().is_some_and(|bin| bin.up_to < up_to) {
                let up_to = bins[bins.len() - 1].up_to * 2.0;
                bins.push(Bin { up_to, count: 0 });
            }
            match bins.last_mut() {
                Some(bin) => bin.count += step.count_at_value(),
                None => bins.push(Bin {
                    up_to,
                    count: step.count_at_value(),
                }),
            }
        }
        bins
    }
}

/// The distribution of samples, in the unit of the row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the samples are at most this.
    pub p50: f64,
    /// 90 % of the samples are at most this.
    pub p90: f64,
    /// 99 % of the samples are at most this.
    pub p99: f64,
    /// 99.9 % of the samples are at most this.
    pub p999: f64,
    /// The greatest sample.
    pub max: f64,
}

impl Percentiles {
    /// The percentiles of `histogram`, each divided by `scale`: 1,000 for nanoseconds shown as microseconds.
    pub fn of(histogram: &Histogram<u64>, scale: f64) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / scale;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / scale,
        }
    }
}

/// What became of all that was sent: `sent = delivered + refused + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All that was offered.
    pub sent: u64,
    /// What arrived.
    pub delivered: u64,
    /// What was turned away, its sender told.
    pub refused: u64,
    /// What is gone.
    pub lost: u64,
}

impl Counts {
    /// Whether every message is accounted for.
    pub fn add_up(&self) -> bool {
        self.sent == self.delivered + self.refused + self.lost
    }
}

impl Row {
    /// A row without distribution, counts and note.
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>, samples: u64) -> Self {
        let (name, unit) = (name.into(), unit.into());
        Self {
            name,
            value,
            unit,
            samples,
            percentiles: None,
            counts: None,
            note: None,
            repeats: Vec::new(),
            histogram: Vec::new(),
            at: BTreeMap::new(),
        }
    }

    /// The same row, measured where `parameter` had this value: `.at("agents", 16)`, `.at("topology", "ring")`.
    pub fn at(mut self, parameter: &str, value: impl Into<Value>) -> Self {
        self.at.insert(parameter.to_owned(), value.into());
        self
    }

    /// The same row with a note.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The same row with a distribution.
    pub fn percentiles(mut self, percentiles: Percentiles) -> Self {
        self.percentiles = Some(percentiles);
        self
    }

    /// The same row with the value of each repeat.
    pub fn repeats(mut self, repeats: impl IntoIterator<Item = f64>) -> Self {
        self.repeats = repeats.into_iter().collect();
        self
    }

    /// The same row with bars.
    pub fn histogram(mut self, histogram: Vec<Bin>) -> Self {
        self.histogram = histogram;
        self
    }

    /// The same row with counts.
    pub fn counts(mut self, counts: Counts) -> Self {
        self.counts = Some(counts);
        self
    }
}

impl Claim {
    /// What `system` claims.
    pub fn new(system: impl Into<String>, statement: impl Into<String>) -> Self {
        Self {
            system: system.into(),
            statement: statement.into(),
        }
    }
}

/// The present as milliseconds of Unix time; 0 if the clock stands before 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

impl Report {
    /// That of a workload that starts now and keeps its data in `data`, with nothing in it yet.
    pub fn begin(workload: &str, title: &str, data: &Path) -> Report {
        Report {
            workload: workload.to_owned(),
            title: title.to_owned(),
            started_at_ms: unix_ms(),
            conditions: Conditions::of(data),
            config: Value::Null,
            rows: Vec::new(),
            claims: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// The text form: conditions, an aligned table of the rows with their notes, the claims and the notes on the whole.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.workload, self.title)?;
        writeln!(f, "{}", self.conditions)?;
        writeln!(f, "config: {}", self.config)?;
        writeln!(f)?;
        let head = ["", "value", "unit", "samples", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned);
        let table: Vec<[String; 9]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let widths: [usize; 9] = std::array::from_fn(|column| {
            table
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0)
        });
        for (line, cells) in table.iter().enumerate() {
            let mut text = format!("{:<width$}", cells[0], width = widths[0]);
            for (column, cell) in cells.iter().enumerate().skip(1) {
                let width = widths[column];
                // Units read from the left, numbers from the right.
                let aligned = if column == 2 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                };
                text.push_str("  ");
                text.push_str(&aligned);
            }
            writeln!(f, "{}", text.trim_end())?;
            let row = line.checked_sub(1).map(|line| &self.rows[line]);
            if let Some(Counts {
                sent,
                delivered,
                refused,
                lost,
            }) = row.and_then(|row| row.counts)
            {
                writeln!(
                    f,
                    "    sent {sent} = delivered {delivered} + refused {refused} + lost {lost}"
                )?;
            }
            if let Some(note) = row.and_then(|row| row.note.as_deref()) {
                writeln!(f, "    {note}")?;
            }
            if let Some(row) = row {
                bars(f, row)?;
            }
        }
        for Claim { system, statement } in &self.claims {
            writeln!(f, "claim of {system}, not measured here: {statement}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

/// A bar for each bin, the longest of the width of [`BAR_CHARS`].
fn bars(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let most = row.histogram.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let width = row
        .histogram
        .iter()
        .map(|bin| number(bin.up_to).len())
        .max()
        .unwrap_or(0);
    for Bin { up_to, count } in &row.histogram {
        // One that holds anything is seen.
        let chars = (*count * BAR_CHARS).div_ceil(most) as usize;
        let (up_to, bar) = (number(*up_to), "#".repeat(chars));
        writeln!(f, "    <= {up_to:>width$} {}  {bar:<40}  {count}", row.unit)?;
    }
    Ok(())
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let [p50, p90, p99, p999, max] = match self.percentiles {
            Some(Percentiles {
                p50,
                p90,
                p99,
                p999,
                max,
            }) => [p50, p90, p99, p999, max].map(number),
            None => Default::default(),
        };
        let (name, unit) = (self.name.clone(), self.unit.clone());
        [
            name,
            number(self.value),
            unit,
            self.samples.to_string(),
            p50,
            p90,
            p99,
            p999,
            max,
        ]
    }
}

/// Whole numbers in full, others with about three significant digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bin, Claim, Counts, Percentiles, Report, Row, number};
    use crate::conditions::Conditions;

    fn report() -> Report {
        let percentiles = Percentiles {
            p50: 1.0,
            p90: 2.5,
            p99: 3.25,
            p999: 4.125,
            max: 5.0,
        };
        Report {
            workload: "B0".to_owned(),
            title: "nothing".to_owned(),
            started_at_ms: 1,
            conditions: Conditions::of(std::env::temp_dir().as_path()),
            config: serde_json::json!({ "seed": 7 }),
            rows: vec![
                Row::new("plain", 12.0, "pairs", 1),
                Row::new("full", 1.5, "µs", 9)
                    .percentiles(percentiles)
                    .counts(Counts {
                        sent: 3,
                        delivered: 2,
                        refused: 1,
                        lost: 0,
                    })
                    .note("a note")
                    .at("agents", 16)
                    .at("topology", "ring"),
            ],
            claims: vec![Claim::new("ggen", "fast")],
            notes: vec!["a vote: not built".to_owned()],
        }
    }

    #[test]
    fn the_text_form_aligns_rows_and_shows_notes_and_counts() {
        let text = report().to_string();
        let ends = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().find("pairs");
        assert_eq!(
            ends("plain"),
            text.lines().find(|line| line.starts_with("full")).unwrap().find("µs")
        );
        assert!(text.contains("    sent 3 = delivered 2 + refused 1 + lost 0\n    a note\n"));
        assert!(text.contains("claim of ggen, not measured here: fast"));
        assert!(text.ends_with("a vote: not built\n"));
    }

    #[test]
    fn the_json_form_leaves_out_what_was_not_measured() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["config"]["seed"], 7);
        assert!(json["rows"][0].get("percentiles").is_none());
        assert!(json["rows"][0].get("repeats").is_none());
        assert_eq!(json["rows"][1]["percentiles"]["p999"], 4.125);
        assert_eq!(json["rows"][1]["counts"]["refused"], 1);
        assert!(json["rows"][0].get("at").is_none());
        assert_eq!(json["rows"][1]["at"]["agents"], 16);
        assert_eq!(json["rows"][1]["at"]["topology"], "ring");
    }

    #[test]
    fn numbers_keep_about_three_digits() {
        assert_eq!(
            [12.0, 1234.5, 12.34, 1.234, 0.1234].map(number),
            ["12", "1234", "12.3", "1.23", "0.1234"]
        );
    }

    #[test]
    fn a_histogram_has_a_bar_for_each_doubling_and_none_beyond_its_samples() {
        let mut histogram = hdrhistogram::Histogram::<u64>::new(3).unwrap();
        for (micros, count) in [(60, 80), (64, 20), (300, 5)] {
            histogram.record_n(micros * 1_000, count).unwrap();
        }
        let bins = Bin::doubling(&histogram, 1e3);
        let found: Vec<(f64, u64)> = bins.iter().map(|bin| (bin.up_to, bin.count)).collect();
        // 64 µs may be told as a little more.
        assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 105);
        assert_eq!((found[0].0, found.last().copied()), (64.0, Some((512.0, 5))));
        let mut report = report();
        report.rows = vec![Row::new("sync", 60.0, "µs", 105).histogram(bins)];
        let text = report.to_string();
        assert!(
            text.contains("<= 512 µs  ##  ") || text.contains("<= 512 µs  ###"),
            "{text}"
        );
        let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(read, report);
    }
}
