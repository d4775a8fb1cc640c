//! `queenright agent`.

use clap::{Args, Subcommand, ValueEnum};
use queenright_actors::agent::{RestartKind, RestartPolicy};

use super::ClientArgs;

/// The longest span of a restart policy, in seconds.
const SPAN_SECONDS_MAX: f64 = 86_400.0;

/// `queenright agent`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright agent list
  queenright agent spawn e1 --kind load-echo
  queenright agent spawn e2 --kind load-echo --restart permanent --restart-limit 10 --restart-within 600
  queenright agent show e1
  queenright agent stop e1")]
pub enum AgentCommand {
    /// List the agents of a node
    List {
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show an agent and what it reports
    Show {
        /// Its name
        name: String,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Start an agent on a node
    Spawn {
        /// Its name; no other agent of the node may have it
        name: String,
        /// Its kind
        #[arg(long)]
        kind: String,
        /// What it is told at the start; its kind says what this must hold
        #[arg(long, value_name = "JSON", default_value = "null", value_parser = json)]
        arguments: serde_json::Value,
        /// When it is started again.
        #[command(flatten)]
        restart: RestartArgs,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Stop an agent
    Stop {
        /// Its name
        name: String,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// When an agent is started again after it has ended.
#[derive(Clone, Debug, Args)]
pub struct RestartArgs {
    /// After which ends it is started again
    #[arg(long, value_name = "KIND", default_value = "transient")]
    restart: RestartArg,
    /// How many restarts there may be within the span, at most 100; one more, and the agent is failed
    #[arg(long, value_name = "N", default_value_t = RestartPolicy::default().limit)]
    restart_limit: u32,
    /// The span in which restarts count; longer than all back-offs together, at most a day
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = millis)]
    restart_within: u64,
    /// The wait before the first restart; doubles with each that counts
    #[arg(long, value_name = "SECS", default_value = "0.1", value_parser = millis)]
    backoff: u64,
    /// The longest wait, at most an hour
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = millis)]
    backoff_max: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RestartArg {
    /// After every end that nobody asked for
    Permanent,
    /// After an error or a panic
    Transient,
    /// Never
    Temporary,
}

impl From<RestartArgs> for RestartPolicy {
    fn from(args: RestartArgs) -> RestartPolicy {
        RestartPolicy {
            kind: match args.restart {
                RestartArg::Permanent => RestartKind::Permanent,
                RestartArg::Transient => RestartKind::Transient,
                RestartArg::Temporary => RestartKind::Temporary,
            },
            limit: args.restart_limit,
            within_ms: args.restart_within,
            backoff_ms: args.backoff,
            backoff_max_ms: args.backoff_max,
        }
    }
}

/// Seconds, as milliseconds.
fn millis(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SPAN_SECONDS_MAX).contains(&seconds) => Ok((seconds * 1e3).round() as u64),
        _ => Err(format!("not a number of seconds from 0 to {SPAN_SECONDS_MAX}")),
    }
}

fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        restart: RestartArgs,
    }

    fn policy(words: &[&str]) -> Result<RestartPolicy, String> {
        let words = std::iter::once(&"alone").chain(words);
        let parsed = Alone::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(parsed.restart.into())
    }

    #[test]
    fn without_flags_a_policy_is_the_default() {
        assert_eq!(policy(&[]), Ok(RestartPolicy::default()));
    }

    #[test]
    fn flags_in_seconds_become_a_policy_in_milliseconds() {
        let words = [
            "--restart=permanent",
            "--restart-limit=2",
            "--restart-within=1.5",
            "--backoff=0",
            "--backoff-max=0.25",
        ];
        let expected = RestartPolicy {
            kind: RestartKind::Permanent,
            limit: 2,
            within_ms: 1_500,
            backoff_ms: 0,
            backoff_max_ms: 250,
        };
        assert_eq!(policy(&words), Ok(expected));
        for wrong in ["-1", "86401", "NaN", "soon"] {
            let refused = policy(&[&format!("--backoff={wrong}")]).unwrap_err();
            assert!(refused.contains("not a number of seconds from 0 to 86400"), "{refused}");
        }
    }
}
