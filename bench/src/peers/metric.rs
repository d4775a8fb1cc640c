//! What the drivers of peers print: a line for each figure, `METRIC peer name value unit parameters`.

use std::str::FromStr;

/// A figure of a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Whose it is.
    pub peer: String,
    /// What was measured.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Its unit, as the driver calls it.
    pub unit: String,
    /// What it was measured with, such as `clients=64`.
    pub parameters: Vec<String>,
}

/// Why a line is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// It has too few words.
    #[error("{line:?} has {words} words (METRIC peer name value unit parameters: 5 at least)")]
    Short {
        /// The line.
        line: String,
        /// How many it has.
        words: usize,
    },
    /// Its value is no number.
    #[error("{line:?}: {value:?} is no finite number")]
    Value {
        /// The line.
        line: String,
        /// What stands where the value does.
        value: String,
    },
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(line: &str) -> Result<Metric, MetricError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, peer, name, value, unit, parameters @ ..] = &words[..] else {
            return Err(MetricError::Short {
                line: line.to_owned(),
                words: words.len(),
            });
        };
        let number = value.parse::<f64>().ok().filter(|value| value.is_finite());
        let number = number.ok_or_else(|| MetricError::Value {
            line: line.to_owned(),
            value: (*value).to_owned(),
        })?;
        Ok(Metric {
            peer: (*peer).to_owned(),
            name: (*name).to_owned(),
            value: number,
            unit: (*unit).to_owned(),
            parameters: parameters.iter().map(|word| (*word).to_owned()).collect(),
        })
    }
}

/// The figures in what a driver said; other lines are its own business.
///
/// # Errors
/// [`MetricError`] for a line that begins with `METRIC` and is none.
pub fn metrics(said: &str) -> Result<Vec<Metric>, MetricError> {
    let lines = said
        .lines()
        .filter(|line| line.split_whitespace().next() == Some("METRIC"));
    lines.map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::{MetricError, metrics};

    #[test]
    fn figures_are_read_and_other_lines_are_not() {
        let said = "starting\nMETRIC etcd put.rate 4730.250 per_s clients=64 size=256\n METRIC redis list.tasks 1e3 per_s\nMETRICS no\n";
        let found = metrics(said).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (&*found[0].peer, &*found[0].name, found[0].value),
            ("etcd", "put.rate", 4_730.25)
        );
        assert_eq!(found[0].parameters, ["clients=64", "size=256"]);
        assert_eq!((found[1].value, found[1].parameters.len()), (1_000.0, 0));
    }

    #[test]
    fn a_line_that_is_none_is_shown() {
        let short = metrics("METRIC etcd put.rate 1").unwrap_err();
        assert!(matches!(short, MetricError::Short { words: 4, .. }));
        for value in ["many", "NaN", "inf"] {
            let refused = metrics(&format!("METRIC etcd put.rate {value} per_s")).unwrap_err();
            assert!(refused.to_string().contains(&format!("{value:?}")), "{refused}");
        }
    }
}
