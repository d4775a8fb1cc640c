//! What happened: `queenright events` and `queenright prime`.

use std::time::Duration;

use clap::Args;
use queenright_bench::client::PRIME_BYTES;
use queenright_bench::client::wire::EventCursor;

use super::{TargetArgs, value};

/// `queenright events`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright events --limit 20
  queenright events --after 1500 --follow --json
  queenright events --since 1h --type changed --prefix plan/
  queenright events --subject task:17-0
  queenright events --snapshot memory --follow --json

A cursor behind which events are gone ends with exit code 4 (CURSOR_EXPIRED), one from another cluster with 1 \
(CURSOR_AHEAD): begin with --snapshot then. It prints the present state, the cursor of it, and with --follow what happens \
from there on.")]
pub struct EventsArgs {
    /// Only events after this cursor, as printed with each event; else from the oldest that is kept
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<EventCursor>,
    /// Only changes of keys that begin with this
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Only events of this type, such as changed or task_claimed; give it again for more
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events about this, such as key:plan/title or task:17-0; a star at the end stands for anything
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Only events that this one caused
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Only events that this agent caused, or that name it
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only events of this last time by the wall clock, such as 90s, 30m, 12h or 7d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub since: Option<Duration>,
    /// Only events older than this by the wall clock
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub until: Option<Duration>,
    /// First the present state: memory, tasks, or both with a comma
    #[arg(long, value_name = "KINDS", conflicts_with = "after")]
    pub snapshot: Option<String>,
    /// Wait for more, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Of which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// `queenright prime`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright prime --agent ann
  queenright prime --agent ann --after 1500 --bytes 4096 --json

What has no room is counted: of the tasks those with the highest ids, of what is pinned (memory with the tag pinned) the \
last keys, of what happened the oldest. The answer names the cursor for the next call.")]
pub struct PrimeArgs {
    /// Who asks: its tasks are shown
    #[arg(long, value_name = "NAME", env = "QUEENRIGHT_AGENT", default_value = "cli")]
    pub agent: String,
    /// Only the tasks of the session with this token
    #[arg(long, value_name = "TOKEN", env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Only what happened after this cursor
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<EventCursor>,
    /// How long the answer may be, in bytes
    #[arg(long, value_name = "N", default_value_t = PRIME_BYTES.0, value_parser = clap::value_parser!(u64).range(PRIME_BYTES.1))]
    pub bytes: u64,
    /// Of which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// How long ago at most, in seconds: a hundred years.
const SPAN_SECONDS_MAX: f64 = 36_525.0 * 86_400.0;

/// A span of time with its unit.
fn span(text: &str) -> Result<Duration, String> {
    value::time_with_unit(text, 0.0..=SPAN_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_has_a_unit() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "1", "h", "-1h", "1ü", "99999999999s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
