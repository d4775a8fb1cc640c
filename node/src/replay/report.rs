//! What a replay reports.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::compare::Differences;

/// How many digits of a tree's digest are shown to people: as many as a digest has. JSON has all.
const TREE_DIGITS: usize = 32;

/// What was done, counted and measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The repository, as it was named; a generated one says so.
    pub repository: String,
    /// The commit whose tree was compared.
    pub head: String,
    /// Commits replayed, those of earlier runs included.
    pub commits: u64,
    /// Of them, committed before this run.
    pub committed_before: u64,
    /// Agents.
    pub agents: u64,
    /// Agents that were started again on another node.
    pub agents_moved: u64,
    /// Proposals for all commits, attempts that lost included.
    pub proposals: u64,
    /// Commits whose first attempt lost, by the kind of its first conflict.
    pub first_attempt_conflicts: BTreeMap<String, u64>,
    /// Attempts after the first, on average over all commits.
    pub retries_per_commit: f64,
    /// The most attempts after the first that one commit needed.
    pub retries_max: u64,
    /// Bytes of proposals that lost after they had been written to the log.
    pub loser_bytes_logged: u64,
    /// From the start of the agents to the last commit, in seconds.
    pub seconds: f64,
    /// Proposals in this run for each of these seconds.
    pub proposals_per_second: f64,
    /// From the first proposal of a commit to its outcome, as its agent sees it.
    pub commit_latency: Latency,
    /// Rounds of this run, as the node that was asked applied them.
    pub rounds: Rounds,
    /// Contents that the project keeps by hash.
    pub contents_kept: u64,
    /// Their bytes.
    pub content_bytes: u64,
    /// Changes that the events told, compared with git's history one by one.
    pub events_compared: u64,
    /// Changes in git's history.
    pub events_expected: u64,
    /// Whether all events of the replay were still kept, so that all could be compared.
    pub events_complete: bool,
    /// What the events have otherwise than git.
    pub event_differences: Differences,
    /// Proposals that the events say were committed by agents of a replay.
    pub proposals_committed: u64,
    /// What each node has.
    pub nodes: Vec<NodeReport>,
    /// The disk below the nodes.
    pub disk: Disk,
    /// Whether every node has git's tree, and the events git's history.
    pub equal: bool,
}

/// Latency of commits.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// How many were measured; those of agents that went away with their node are missing.
    pub samples: u64,
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// Rounds and their sizes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rounds {
    /// Rounds.
    pub rounds: u64,
    /// Log entries that they were joined into.
    pub entries: u64,
    /// Commands in them.
    pub commands: u64,
    /// Commands in a round, on average.
    pub commands_per_round: f64,
    /// How many rounds had up to 1, 2, 4, … commands; the last place counts all larger ones.
    pub rounds_by_commands: Vec<u64>,
}

/// One node at the end.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub node: String,
    /// Why it was not compared, if it was not.
    pub problem: Option<String>,
    /// The position at which it was compared.
    pub seq: Option<u64>,
    /// Its digest there: of everything that it has, authors and times included.
    pub digest: Option<String>,
    /// The digest of the tree alone (see [`StoredTree::tree_digest_of`](super::tree::StoredTree::tree_digest_of)): the
    /// same for every replay of these commits, whoever did the work.
    pub tree_digest: Option<String>,
    /// How many paths it stores.
    pub paths: Option<u64>,
    /// What it has otherwise than git.
    pub differences: Differences,
    /// Whether it has git's tree.
    pub equal: bool,
}

/// The disk below the nodes.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// The file system of the data folder.
    pub file_system: String,
    /// `fdatasync`, or `none` on a file system in memory.
    pub durability: String,
    /// Median of an fdatasync of 4 KiB there, in microseconds.
    pub fdatasync_p50_us: Option<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<26}{value}");
        line("repository", self.repository.clone())?;
        let before = if self.committed_before > 0 {
            format!(" ({} before)", self.committed_before)
        } else {
            String::new()
        };
        line(
            "commits",
            format!("{}{before}, head {}", self.commits, short(&self.head)),
        )?;
        let moved = if self.agents_moved > 0 {
            format!(", {} moved to another node", self.agents_moved)
        } else {
            String::new()
        };
        line("agents", format!("{}{moved}", self.agents))?;
        line(
            "proposals",
            format!(
                "{} ({:.0}/s over {:.2} s)",
                self.proposals, self.proposals_per_second, self.seconds
            ),
        )?;
        let conflicts: Vec<String> = self
            .first_attempt_conflicts
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        line(
            "first-attempt conflicts",
            if conflicts.is_empty() {
                "none".to_string()
            } else {
                conflicts.join(", ")
            },
        )?;
        line(
            "retries per commit",
            format!(
                "{:.2} on average, {} at most",
                self.retries_per_commit, self.retries_max
            ),
        )?;
        line("logged for losers", format!("{} B", self.loser_bytes_logged))?;
        let Latency {
            samples,
            p50_ms,
            p99_ms,
        } = &self.commit_latency;
        line(
            "commit latency",
            format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms ({samples} samples)"),
        )?;
        let Rounds {
            rounds,
            entries,
            commands,
            commands_per_round,
            ..
        } = &self.rounds;
        line(
            "rounds",
            format!("{rounds} of {commands_per_round:.1} commands ({commands} in {entries} log entries)"),
        )?;
        line("rounds by size", sizes(&self.rounds.rounds_by_commands))?;
        line(
            "contents kept by hash",
            format!("{} ({} B)", self.contents_kept, self.content_bytes),
        )?;
        let complete = if self.events_complete {
            ""
        } else {
            " (older ones are no longer kept)"
        };
        line(
            "events",
            format!(
                "{} of {} changes compared{complete}",
                self.events_compared, self.events_expected
            ),
        )?;
        let probe = self
            .disk
            .fdatasync_p50_us
            .map_or(String::new(), |p50| format!(", fdatasync p50 {p50:.0} us"));
        line(
            "disk",
            format!("{}, durability: {}{probe}", self.disk.file_system, self.disk.durability),
        )?;
        for node in &self.nodes {
            let text = match (&node.problem, &node.digest, &node.tree_digest, node.paths) {
                (Some(problem), ..) => format!("not compared: {problem}"),
                (None, Some(digest), Some(tree), Some(paths)) => {
                    let verdict = if node.equal { "equal to git" } else { "DIFFERS from git" };
                    let tree = tree.get(..TREE_DIGITS).unwrap_or(tree);
                    format!("digest {digest}, {paths} paths, tree {tree}, {verdict}")
                }
                _ => "not compared".to_string(),
            };
            line(&format!("node {}", node.node), text)?;
        }
        let of_nodes = self
            .nodes
            .iter()
            .flat_map(|node| node.differences.first.iter().map(move |line| (&node.node[..], line)));
        let of_events = self.event_differences.first.iter().map(|line| ("events", line));
        for (place, text) in of_nodes.chain(of_events) {
            line(&format!("  {place}"), text.clone())?;
        }
        write!(
            f,
            "{:<26}{}",
            "result",
            if self.equal { "equal on all nodes" } else { "NOT equal" }
        )
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn sizes(by_commands: &[u64]) -> String {
    let sizes = by_commands.iter().enumerate().filter(|(_, count)| **count > 0);
    let sizes: Vec<String> = sizes
        .map(|(power, count)| format!("≤{}: {count}", 1u64 << power))
        .collect();
    sizes.join(", ")
}
