//! What a node writes of itself: the form of its lines, and when its file is set aside.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::file::Amount;
use super::limits::Bound;
use super::locate::closest;
use super::validate::Check;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `[logging]`: the lines in which a node says what it does. Not `[log]`, which is what consensus keeps. Rotation is that of a
/// log that is a file: that of a node of `queenright up`, or one of `queenright node --log-file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `format`: lines for people, or an object of JSON in each line.
    pub format: LogFormat,
    /// `rotate_bytes`: before the file would be longer it is set aside as `FILE.1`.
    pub rotate_bytes: u64,
    /// `rotate_hours`: it is also set aside when it was begun longer ago and something is to be written.
    pub rotate_every: Duration,
    /// `keep_files`: so many that were set aside are kept, the newest as `FILE.1`; so all of them take no more than
    /// `rotate_bytes` for each and for the one that is written.
    pub keep_files: u64,
}

/// The form of the lines of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`: for people. The default.
    #[default]
    Text,
    /// `json`: one object a line, with `timestamp`, `level`, `target`, `message` and what else the line says.
    Json,
}

impl LogFormat {
    /// The words of `logging.format`.
    pub const NAMES: [&'static str; 2] = ["text", "json"];
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => LogFormat::NAMES[0],
            LogFormat::Json => LogFormat::NAMES[1],
        })
    }
}

impl Logging {
    /// 16 MiB are some hundred thousand lines: more than anybody reads, and little beside the log of consensus.
    pub const ROTATE_BYTES: Bound = Bound {
        default: 16 * MIB,
        min: 16 * KIB,
        max: GIB,
    };
    /// A week: a quiet node keeps a month with the default of `keep_files`.
    pub const ROTATE_HOURS: Bound = Bound {
        default: 7 * 24,
        min: 1,
        max: 366 * 24,
    };
    /// Four, and the one that is written: 80 MiB at most.
    pub const KEEP_FILES: Bound = Bound {
        default: 4,
        min: 1,
        max: 100,
    };
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            format: LogFormat::default(),
            rotate_bytes: Logging::ROTATE_BYTES.default,
            rotate_every: hours(Logging::ROTATE_HOURS.default),
            keep_files: Logging::KEEP_FILES.default,
        }
    }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

/// As written.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct LoggingSection {
    format: Option<String>,
    rotate_bytes: Option<Amount>,
    rotate_hours: Option<i64>,
    keep_files: Option<i64>,
}

impl LoggingSection {
    /// The section that says all of it.
    pub(super) fn of(logging: &Logging) -> LoggingSection {
        let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        LoggingSection {
            format: Some(logging.format.to_string()),
            rotate_bytes: Some(Amount::Bytes(integer(logging.rotate_bytes))),
            rotate_hours: Some(integer(logging.rotate_every.as_secs() / 3_600)),
            keep_files: Some(integer(logging.keep_files)),
        }
    }
}

impl Check<'_> {
    pub(super) fn logging(&self, raw: &LoggingSection) -> Result<Logging, ConfigError> {
        Ok(Logging {
            format: self.log_format(raw.format.as_deref())?,
            rotate_bytes: self.bytes("logging.rotate_bytes", &raw.rotate_bytes, Logging::ROTATE_BYTES)? as u64,
            rotate_every: hours(self.number("logging.rotate_hours", raw.rotate_hours, Logging::ROTATE_HOURS)?),
            keep_files: self.number("logging.keep_files", raw.keep_files, Logging::KEEP_FILES)?,
        })
    }

    fn log_format(&self, word: Option<&str>) -> Result<LogFormat, ConfigError> {
        match word {
            None => Ok(LogFormat::default()),
            Some("text") => Ok(LogFormat::Text),
            Some("json") => Ok(LogFormat::Json),
            Some(other) => {
                let meant = closest(other, &LogFormat::NAMES).map(|name| format!("; did you mean {name:?}?"));
                let names = LogFormat::NAMES.join(", ");
                let problem = format!("is no form of lines ({names}{})", meant.unwrap_or_default());
                Err(self.refuse("logging.format", format!("{other:?}"), problem))
            }
        }
    }
}
