//! What is logged: a level for all, and others for parts of the program.

use std::fmt;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// The longest filter that is taken, in bytes.
pub const FILTER_BYTES_MAX: usize = 1_024;

/// Why a filter is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{filter:?} is no log filter: {problem}")]
pub struct BadFilter {
    filter: String,
    problem: String,
}

/// A filter such as `info` or `warn,queenright=debug,openraft=info`: levels, and parts with levels of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// What is logged unless somebody says otherwise: this program's own words, and the warnings of the libraries
    /// under it: at `info` each link tells its life, at `debug` ractor_cluster formats the content of every message.
    pub const DEFAULT: &str = "info,ractor=warn,ractor_cluster=warn,openraft=warn,sled=warn";

    /// Takes a filter.
    ///
    /// # Errors
    /// [`BadFilter`] names the part that is wrong. A word that is no level is one: the library would take it for the name of a
    /// part of the program, and log nothing else.
    pub fn parse(text: &str) -> Result<LogFilter, BadFilter> {
        let refuse = |problem: String| {
            let mut filter = text.to_owned();
            while filter.len() > FILTER_BYTES_MAX {
                filter.pop();
            }
            Err(BadFilter { filter, problem })
        };
        if text.len() > FILTER_BYTES_MAX {
            return refuse(format!("it has {} bytes ({FILTER_BYTES_MAX} at most)", text.len()));
        }
        for part in text.split(',').map(str::trim) {
            let (target, level) = match part.rsplit_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, part),
            };
            if level.parse::<LevelFilter>().is_err() || level.is_empty() {
                return refuse(format!("{level:?} is no level (off, error, warn, info, debug, trace)"));
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
            if target.is_some_and(|target| target.is_empty() || !target.chars().all(plain)) {
                return refuse(format!("{:?} names no part of the program", target.unwrap_or_default()));
            }
        }
        // The library takes no spaces between them.
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let filter = parts.join(",");
        match EnvFilter::try_new(&filter) {
            Ok(_) => Ok(LogFilter(filter)),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// As the library has it.
    pub(super) fn to_layer(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogFilter {
    fn default() -> LogFilter {
        LogFilter(LogFilter::DEFAULT.to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_parts_with_levels_are_taken_and_words_that_are_neither_are_refused_by_name() {
        for good in [
            "info",
            "off",
            "warn,queenright=debug",
            "info,openraft::core=TRACE",
            LogFilter::DEFAULT,
        ] {
            assert_eq!(LogFilter::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(LogFilter::parse("info, a=warn").unwrap().to_string(), "info,a=warn");
        let check = |text: &str, problem: &str| {
            let error = LogFilter::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        };
        check("", "\"\" is no level");
        check(
            "debugg",
            "\"debugg\" is no level (off, error, warn, info, debug, trace)",
        );
        check("info,queenright", "\"queenright\" is no level");
        check("info,queenright=loud", "\"loud\" is no level");
        check("info,=debug", "\"\" names no part");
        check("[span]=debug", "\"[span]\" names no part");
        check(&"x".repeat(2_000), "it has 2000 bytes (1024 at most)");
    }
}
