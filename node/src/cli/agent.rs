//! `queenright agent`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use queenright_actors::agent::{AgentFilter, AgentState, LIST_MAX, RestartKind, RestartPolicy};

use super::value::mebibytes;
use super::{ClientArgs, TakesArgs, value};

/// The longest span of a restart policy, in seconds.
const SPAN_SECONDS_MAX: f64 = 86_400.0;

/// `queenright agent`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright agent list
  queenright agent list --state busy --label team=red --name 'crawler-*' --limit 20
  queenright agent spawn e1 --kind load-echo
  queenright agent spawn w1 --kind exec --arguments '{\"command\": [\"./build.sh\"], \"folder\": \"/srv/project\", \"slots\": 4}'
  queenright agent spawn e2 --kind load-echo --restart permanent --restart-limit 10 --restart-within 600
  queenright agent exec builder --kind build --slots 4 -- ./build.sh
  queenright agent http labels http://127.0.0.1:8080/label --kind label --secret-file ~/label.secret
  queenright agent spawn e3 --kind load-echo --parent e1 --label team=red --passivate-after 30
  queenright agent show e1
  queenright agent pause e1     # it keeps its tasks; what is sent to it waits
  queenright agent resume e1
  queenright agent restart e1   # the next generation, without counting as a failure
  queenright agent nudge e1     # a step although nobody sent anything; wakes one that is passive
  queenright agent stop e1      # its children first

States: starting, idle, busy, waiting (for an outcome or an answer), paused, passive (a record \
that what comes for it wakes), recovering (its back-off runs), done, failed, stopped.")]
pub enum AgentCommand {
    /// List the agents of a node
    List {
        /// Which ones.
        #[command(flatten)]
        which: WhichAgents,
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
        /// What lists may be filtered by; up to 16
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// An agent of the node: this one is stopped when the present generation of that one ends
        #[arg(long, value_name = "NAME")]
        parent: Option<String>,
        /// Keep it as a record after so long without anything to do, if its kind can; at most a day
        #[arg(long, value_name = "SECS", value_parser = millis)]
        passivate_after: Option<u64>,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Start an agent that runs a command for each task
    Exec(Box<ExecArgs>),
    /// Start an agent that posts each task to an address, and takes the answer for its result
    Http(Box<HttpArgs>),
    /// Let an agent do nothing until it is resumed; what it does now goes on to its end
    Pause {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Let a paused agent go on
    Resume {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Begin an agent again, as its next generation; also one that has ended
    Restart {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Let an agent take a step
    Nudge {
        /// Its name
        name: String,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Stop an agent, and its children before it
    Stop {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// `queenright agent exec`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  queenright agent exec hasher --kind hash --slots 8 -- sh -c 'sha256sum \"$(jq -r .payload.file)\"'
  queenright agent exec builder --queue builds --folder ~/project --max-runtime 5m --memory 2G -- ./build.sh
  queenright agent exec reviewer --kind review --environment MODEL=small --retry -- python3 review.py
  queenright agent exec coder --kind code --worktree --repository ~/project --slots 4 -- sh -c 'git switch -c \"task-$QUEENRIGHT_TASK\" && ./edit.sh'

The node starts the command once for each task, as `queenright run` does (see there): the task on stdin as JSON, what it is \
in QUEENRIGHT_TASK, QUEENRIGHT_ATTEMPT, QUEENRIGHT_FENCE and others, the result on stdout, the end by the exit code; the end of \
what it printed on stderr is kept with the attempt. The command runs as the user of the node, with the environment of the \
node, and paths are paths of its host.

With --passivate-after the agent is a record while there is nothing to do, without a session; the next task for it wakes it.

A task that is lost or cancelled kills its command with all that it has started. `agent stop` lets commands go on for the \
grace, then gives their tasks back; a node that stops gives them back at once; the commands of a node that was killed are \
killed too. An agent lives as long as its node's process: start it again after the node was.

With --worktree each attempt runs in a git worktree of its own, without a branch, whose folder is also in QUEENRIGHT_WORKTREE. \
It is removed when the task is done, so that what is to stay must be committed to a branch, or be the result. After any other \
end it is kept, for the last 16 such attempts or as many as --keep-worktrees says, and the attempt's result names it.

`queenright agent show NAME` tells what it has done. The same agent by its arguments: `agent spawn NAME --kind exec`.")]
pub struct ExecArgs {
    /// Its name; no other agent of the node may have it
    pub name: String,
    /// Where the command runs; where the node does if it is not given
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Run each attempt in a git worktree of its own
    #[arg(long, requires = "repository", conflicts_with = "folder")]
    pub worktree: bool,
    /// Of this repository
    #[arg(long, value_name = "DIR", requires = "worktree")]
    pub repository: Option<PathBuf>,
    /// With which commit a worktree begins: HEAD unless this says otherwise
    #[arg(long, value_name = "REFERENCE", requires = "worktree")]
    pub base: Option<String>,
    /// How many worktrees of attempts that were not done are kept, the last ones; 16 unless this says otherwise
    #[arg(long, value_name = "N", requires = "worktree")]
    pub keep_worktrees: Option<u64>,
    /// Run no checks of tasks: whoever may add tasks may otherwise run any command by them. A task that has some then fails
    #[arg(long)]
    pub no_checks: bool,
    /// What the environment of the command has besides that of the node; give it again for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub environment: Vec<(String, String)>,
    /// How long the command may run for one task, such as 90, 90s, 5m or 2h; up to seven days
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub max_runtime: Option<Duration>,
    /// How much memory all of its processes may have resident together, such as 512M or 2G; on Linux
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub memory: Option<u64>,
    /// Which tasks, and how many.
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// When it is started again.
    #[command(flatten)]
    pub restart: RestartArgs,
    /// The node that hosts it.
    #[command(flatten)]
    pub client: ClientArgs,
    /// The program to run for each task, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `queenright agent http`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  queenright agent http labels http://127.0.0.1:8080/label --kind label --slots 16
  queenright agent http builds https://builds.example.com/run --queue builds --secret-file ~/builds.secret --deadline 10m --retry

The node posts each task as JSON, {task, attempt, fence, title, kind, payload, project}. An answer with status 2xx ends the \
task as done: its body is the result, JSON or else text, up to 48 KiB. After 408, 425, 429, 5xx or no answer it is posted again, \
after a pause that doubles from half a second, or after Retry-After, within the deadline. Any other status fails it for good. \
A task that is lost or cancelled ends its request.

With --secret-file each request has Queenright-Timestamp, in seconds since 1970, and Queenright-Signature: `v1=` and the \
HMAC-SHA256 of timestamp, a point and the body under the secret, in hexadecimal. Whoever answers should refuse old timestamps. \
Idempotency-Key is the same for each try of one attempt. The paths are paths of the node's host.")]
pub struct HttpArgs {
    /// Its name; no other agent of the node may have it
    pub name: String,
    /// Where tasks are posted
    pub url: String,
    /// How long an answer may take with all tries, such as 90, 90s, 5m or 2h; up to a day
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = span)]
    pub deadline: Duration,
    /// How many tries there are after the first, up to 100
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub retries: u64,
    /// Sign with the secret in this file
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Trust the authorities in this file alone, instead of those of the system
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Run the checks of tasks on the node: whoever may add tasks may then run any command by them. Without it a task that
    /// has some fails
    #[arg(long)]
    pub checks: bool,
    /// Where checks run; where the node does if it is not given
    #[arg(long, value_name = "DIR", requires = "checks")]
    pub folder: Option<PathBuf>,
    /// Which tasks, and how many.
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// When it is started again.
    #[command(flatten)]
    pub restart: RestartArgs,
    /// The node that hosts it.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Which tasks a hosted worker takes, and how many.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Which tasks.
    #[command(flatten)]
    pub takes: TakesArgs,
    /// How many tasks at a time, up to 1000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub slots: u64,
    /// How long what is under way may go on after the agent was stopped, up to an hour
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = span)]
    pub grace: Duration,
    /// Keep it as a record after so long without a task, up to a day: the next task that nobody else waits for wakes it
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub passivate_after: Option<Duration>,
}

/// Which agents are listed: those that all of it fits.
#[derive(Clone, Debug, Args)]
pub struct WhichAgents {
    /// In this state, such as idle or failed
    #[arg(long, value_name = "STATE")]
    state: Option<AgentState>,
    /// Of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// With this label; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The children of this agent
    #[arg(long, value_name = "NAME")]
    parent: Option<String>,
    /// Whose names match: * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// At most N
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=LIST_MAX as u64))]
    limit: u64,
    /// Behind this name: what the page before says
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
}

impl From<WhichAgents> for AgentFilter {
    fn from(which: WhichAgents) -> AgentFilter {
        AgentFilter {
            state: which.state,
            kind: which.kind,
            labels: which.labels.into_iter().collect::<BTreeMap<_, _>>(),
            parent: which.parent,
            name: which.name.map(Into::into),
            after: which.after,
            limit: Some(which.limit as usize),
        }
    }
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
    let span = value::time(text, 0.0..=SPAN_SECONDS_MAX)?;
    Ok(span.as_millis() as u64)
}

/// `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A time that is as long as the node allows.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    value::time(text, 0.0..=SPAN_SECONDS_MAX * 365.0)
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=VALUE".to_owned()),
    }
}

pub(super) fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
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
    fn a_variable_has_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(variable("A").is_err());
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
            assert!(refused.contains("expected a time from 0s to 1d"), "{refused}");
        }
    }
}
