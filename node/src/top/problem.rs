//! What needs somebody, by a sample: the worst first.

use std::collections::BTreeSet;

use queenright_actors::agent::AgentState;
use queenright_actors::memory::MemoryLevel;
use queenright_actors::node::{LinkRole, NodeStatus, Role, Standing};
use queenright_bench::client::wire::WireBreaker;
use queenright_protocol::colony::StateName;

use super::sample::{ProjectSample, Sample};

/// By how many entries a node is behind before that is a problem: what a busy cluster appends within a second.
const BEHIND: u64 = 1_000;
/// How long one of 100 syncs of the log may take, in microseconds.
const SLOW_SYNC_US: u64 = 100_000;
/// How many agents are named; the others are counted.
const AGENTS_NAMED: usize = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Work stands still, or may be lost.
    Critical,
    /// It goes on, worse than it could.
    Warning,
    /// Somebody wanted it so, or should know.
    Note,
}

/// What needs somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub text: String,
}

/// All problems of a sample, the worst first; those of one kind by name.
pub fn problems(sample: &Sample) -> Vec<Problem> {
    let mut found = Vec::new();
    of_cluster(sample, &mut found);
    for node in &sample.status.nodes {
        of_node(node, &mut found);
    }
    of_links(sample, &mut found);
    for project in &sample.projects {
        of_project(project, &mut found);
    }
    of_agents(sample, &mut found);
    found.sort();
    found
}

fn of_cluster(sample: &Sample, found: &mut Vec<Problem>) {
    let status = &sample.status;
    if !status.queenright {
        add(
            found,
            Severity::Critical,
            "no leader that a quorum follows: nothing is written",
        );
    }
    let most = status
        .nodes
        .iter()
        .filter_map(|node| node.applied)
        .max()
        .unwrap_or_default();
    for node in &status.nodes {
        let behind = node.applied.map_or(0, |applied| most - applied);
        if behind > BEHIND {
            add(
                found,
                Severity::Warning,
                format!("{} is {behind} entries behind", node.name),
            );
        }
        // At one position there is one state.
        let other = status.nodes.iter().find(|other| {
            other.number < node.number && node.seq.is_some() && other.seq == node.seq && other.digest != node.digest
        });
        if let Some(other) = other {
            let seq = node.seq.unwrap_or_default();
            let text = format!("{} and {} have different states at seq {seq}", other.name, node.name);
            add(found, Severity::Critical, text);
        }
    }
    let builds: BTreeSet<&str> = status.nodes.iter().filter_map(|node| node.build.as_deref()).collect();
    if builds.len() > 1 {
        let builds: Vec<&str> = builds.into_iter().collect();
        add(
            found,
            Severity::Note,
            format!("nodes of different builds: {}", builds.join(", ")),
        );
    }
}

fn of_node(node: &NodeStatus, found: &mut Vec<Problem>) {
    let name = &node.name;
    if node.role == Role::Unreachable {
        add(found, Severity::Critical, format!("{name} does not answer"));
    }
    match node.standing {
        None => {}
        Some(Standing::Drained) => add(
            found,
            Severity::Note,
            format!("{name} is drained: it takes no new work"),
        ),
        Some(Standing::Leaving) => add(found, Severity::Note, format!("{name} is on its way out")),
    }
    if let Some(disk) = node.disk.filter(|disk| disk.low) {
        let (free, mark) = (disk.free_bytes >> 20, disk.watermark_bytes >> 20);
        let text = format!("{name}: {free} MiB left on its disk, the watermark is {mark} MiB");
        add(found, Severity::Critical, text);
    }
    let Some(health) = &node.health else { return };
    if let Some(memory) = health.memory {
        let (used, limit) = (memory.used_bytes >> 20, memory.limit_bytes >> 20);
        let text = |more: &str| format!("{name}: {used} of {limit} MiB of memory used{more}");
        match memory.level {
            MemoryLevel::Fine => {}
            MemoryLevel::High => add(found, Severity::Warning, text("")),
            MemoryLevel::Full => add(found, Severity::Critical, text(", new work is refused")),
        }
    }
    if health.sync_times.p99_us > SLOW_SYNC_US {
        let ms = health.sync_times.p99_us / 1_000;
        add(
            found,
            Severity::Warning,
            format!("{name}: one of 100 syncs of its log takes {ms} ms"),
        );
    }
}

fn of_links(sample: &Sample, found: &mut Vec<Problem>) {
    let mut told = BTreeSet::new();
    for node in &sample.status.nodes {
        let links = node.traffic.iter().flat_map(|traffic| &traffic.links);
        for link in links.filter(|link| !link.up && matches!(link.role, LinkRole::Data | LinkRole::Control)) {
            let (one, other) = (node.name.as_str(), link.peer.as_str());
            if told.insert((one.min(other).to_owned(), one.max(other).to_owned())) {
                let why = link.problem.as_ref().map(|why| format!(": {why}"));
                let text = format!("the link {one} – {other} is down{}", why.unwrap_or_default());
                add(found, Severity::Warning, text);
            }
        }
    }
}

fn of_project(project: &ProjectSample, found: &mut Vec<Problem>) {
    let name = &project.project;
    for queue in &project.queues {
        let (of, ready) = (format!("queue {} of {name}", queue.queue), queue.ready);
        match (&queue.paused_by, &queue.breaker, &queue.waits_for) {
            (Some(by), ..) => add(
                found,
                Severity::Warning,
                format!("{of} is paused by {by}, {} open", queue.open),
            ),
            (_, WireBreaker::Open { .. }, _) => {
                add(
                    found,
                    Severity::Warning,
                    format!("{of}: its breaker is open, {} open", queue.open),
                );
            }
            (_, WireBreaker::HalfOpen { trial }, _) => {
                add(
                    found,
                    Severity::Warning,
                    format!("{of} waits for task {trial}: its breaker was open"),
                );
            }
            (.., Some(budget)) => add(found, Severity::Warning, format!("{of} waits for {budget}")),
            _ if ready > 0 && queue.waiting == 0 && project.count(StateName::Leased) == 0 => {
                add(
                    found,
                    Severity::Warning,
                    format!("{of}: {ready} tasks are ready, and nobody works"),
                );
            }
            _ => {}
        }
    }
    let dead = project.count(StateName::Dead);
    if dead > 0 {
        let text = format!("{name}: {dead} tasks are dead (queenright dlq list --project {name})");
        add(found, Severity::Warning, text);
    }
    let approval = project.count(StateName::AwaitingApproval);
    if approval > 0 {
        add(
            found,
            Severity::Warning,
            format!("{name}: {approval} tasks wait for approval"),
        );
    }
}

fn of_agents(sample: &Sample, found: &mut Vec<Problem>) {
    for state in [AgentState::Failed, AgentState::Recovering] {
        let agents = sample.agents.agents.iter().filter(|agent| agent.state == state);
        let names: Vec<&str> = agents.map(|agent| agent.name.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let more = names.len().saturating_sub(AGENTS_NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let named = names[..names.len().min(AGENTS_NAMED)].join(", ");
        let text = format!("agents of {} {}: {named}{more}", sample.status.node, state.name());
        add(found, Severity::Warning, text);
    }
}

fn add(found: &mut Vec<Problem>, severity: Severity, text: impl Into<String>) {
    found.push(Problem {
        severity,
        text: text.into(),
    });
}
