//! B16, real edits: the history of a repository as concurrent proposals of a swarm.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::spread::Spread;
use crate::report::{Report, Row};
use crate::rig::{Rig, block_on};
use crate::{BenchError, Options};

/// The id of the workload.
pub const ID: &str = "B16";
/// What the workload is about.
pub const TITLE: &str = "real edits: a git history replayed by a swarm, 3 nodes";

/// How many agents share the history.
const AGENTS: [u64; 2] = [24, 1];
/// Fewer commits than this say little.
const COMMITS_MIN: u64 = 50;
/// How long a replay may take.
const REPLAY_WITHIN: Duration = Duration::from_secs(1_800);
/// How much of what a replay said is shown when it fails.
const SAID_CHARS: usize = 500;

/// Runs `queenright replay` on a fresh cluster, with 24 agents and with 1. The replay compares every path, mode and
/// content on every node with git's tree, and every change with git's history.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a node does not end with git's tree.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = Vec::new();
    for agents in AGENTS {
        let mut replays = Vec::new();
        for _ in 0..options.cluster_repeats.max(1) {
            replays.push(block_on(replay(options, agents))?);
        }
        rows.extend(rows_of(agents, &replays)?);
    }
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "repository": options.repository, "repeats": options.cluster_repeats.max(1),
            "data": options.data, "clusters": "a fresh one for each replay",
        }),
        rows,
        ..report
    })
}

/// One replay on a cluster of its own: what it reports.
async fn replay(options: &Options, agents: u64) -> Result<Value, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let problem = |problem: String| BenchError::Program {
        program: format!("{} replay", options.program.display()),
        problem,
        folder: rig.folder().to_owned(),
    };
    let replay = Command::new(&options.program)
        .arg("replay")
        .arg(&options.repository)
        .arg("--cluster")
        .arg(rig.file())
        .args(["--agents", &agents.to_string(), "--json"])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(REPLAY_WITHIN, replay).await;
    let output = output
        .map_err(|_| problem(format!("did not end within {} s", REPLAY_WITHIN.as_secs())))?
        .map_err(|error| problem(format!("cannot be run: {error}")))?;
    // A replay that ends otherwise than git reports that and fails; one that could not go on reports nothing.
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        return Err(problem(format!(
            "ended with {}: {}",
            output.status,
            said(&output.stderr)
        )));
    };
    BenchError::unless_equal(
        ID,
        format!("whether all nodes end with git's tree, {agents} agents"),
        report["equal"].as_bool(),
        Some(true),
    )?;
    BenchError::unless_equal(
        ID,
        format!("committed proposals, {agents} agents"),
        report["proposals_committed"].as_u64(),
        report["commits"].as_u64(),
    )?;
    rig.stop().await?;
    Ok(report)
}

/// The message of the error object that a command prints with `--json`, or else what it printed.
fn said(stderr: &[u8]) -> String {
    let error: Option<Value> = serde_json::from_slice(stderr).ok();
    let message = error.as_ref().and_then(|error| error["message"].as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(stderr), Into::into);
    text.trim().chars().take(SAID_CHARS).collect()
}

fn rows_of(agents: u64, replays: &[Value]) -> Result<Vec<Row>, BenchError> {
    let numbers = |pointer: &str| -> Result<Vec<f64>, BenchError> {
        let numbers = replays.iter().map(|report| report.pointer(pointer)?.as_f64());
        numbers.collect::<Option<_>>().ok_or_else(|| BenchError::Mismatch {
            workload: ID,
            what: format!("the report of a replay: {pointer}"),
            found: "nothing".to_owned(),
            expected: "a number".to_owned(),
        })
    };
    let commits = numbers("/commits")?;
    let name = match agents {
        1 => "1 agent".to_owned(),
        _ => format!("{agents} agents"),
    };
    let few = if commits[0] < COMMITS_MIN as f64 {
        format!("; only {} commits: too few to say much", commits[0])
    } else {
        String::new()
    };
    let rates = commits.iter().zip(numbers("/seconds")?);
    let rates = Spread::of(rates.map(|(commits, seconds)| commits / seconds.max(1e-9)));
    let row = |what: &str, unit: &str, spread: &Spread| {
        let note = format!("{}{few}", spread.note());
        spread
            .row(format!("{what}, {name}"), unit)
            .note(note)
            .at("what", what)
            .at("agents", agents)
    };
    let mut rows = vec![
        Row::new(format!("commits, {name}"), commits[0], "commits", commits.len() as u64)
            .note("every node equal to git: path, mode and content, and each change in git's order"),
        row("commit rate", "commits/s", &rates),
    ];
    for (what, unit, pointer) in [
        ("proposal rate", "proposals/s", "/proposals_per_second"),
        ("retries", "a commit", "/retries_per_commit"),
        ("most retries", "of a commit", "/retries_max"),
        ("commit latency p50", "ms", "/commit_latency/p50_ms"),
        ("commit latency p99", "ms", "/commit_latency/p99_ms"),
    ] {
        rows.push(row(what, unit, &Spread::of(numbers(pointer)?)));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{rows_of, said};

    fn report(commits: u64, seconds: f64) -> serde_json::Value {
        json!({
            "commits": commits, "seconds": seconds, "proposals_per_second": 100.0, "retries_per_commit": 0.5,
            "retries_max": 3, "commit_latency": { "samples": commits, "p50_ms": 1.5, "p99_ms": 9.0 },
        })
    }

    #[test]
    fn rates_come_from_commits_and_seconds_and_few_commits_are_said() {
        let rows = rows_of(24, &[report(300, 2.0), report(300, 1.0), report(300, 3.0)]).unwrap();
        let rate = rows.iter().find(|row| row.name == "commit rate, 24 agents").unwrap();
        assert_eq!((rate.value, rate.samples), (150.0, 3));
        assert_eq!(rate.note.as_deref(), Some("median of 3 repeats, 100 to 300"));
        let rows = rows_of(1, &[report(7, 1.0)]).unwrap();
        assert!(rows[1].note.as_deref().unwrap().contains("only 7 commits"));
    }

    #[test]
    fn an_error_object_is_quoted_by_its_message() {
        assert_eq!(said(br#"{"code":"FAILED","message":"no repository"}"#), "no repository");
        assert_eq!(said(b"killed\n"), "killed");
    }

    #[test]
    fn a_report_without_a_figure_is_an_error() {
        assert!(rows_of(1, &[json!({ "commits": 1, "seconds": 1.0 })]).is_err());
    }
}
