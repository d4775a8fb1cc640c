//! B4, many agents on one node: how much memory each takes, active and passive counted apart, how fast they come, talk and
//! are found, and whether short-lived ones leave anything behind.

use std::time::{Duration, Instant};

use queenright_actors::agent::{AGENTS_ACTIVE_MAX, AgentFilter, AgentState, AgentStatus};
use queenright_protocol::topology::Kind;
use serde_json::json;

use crate::report::{Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, Shape, add_reported, block_on, door, late, reported};
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B4";
/// What the workload is about.
pub const TITLE: &str = "many agents on one node: memory of active and passive ones, spawn and message rates, lists";

/// Where resident memory is looked at, besides the last.
const ACTIVE: [u64; 5] = [10, 50, 100, 500, 10_000];
/// How many agents are being started at the same time.
const AT_ONCE: u64 = 256;
/// How many tokens go round, and how often each is passed on.
const TOKENS: u64 = 1_000;
const HOPS: u64 = 1_000;
/// The same among passive agents, where each hop wakes one.
const WAKING_TOKENS: u64 = 100;
const WAKING_HOPS: u64 = 100;
/// Short-lived agents a second.
const CHURN_PER_SECOND: u64 = 10_000;
/// How many of them are started as fast as they come.
const BRIEF_MAX: u64 = 200_000;
/// How long a stage may take.
const STAGE_WITHIN: Duration = Duration::from_secs(1_200);
/// How long the memory of a node is left alone before it is read.
const QUIET: Duration = Duration::from_secs(1);
/// With whom those end that are started to be ended.
const PARENT: &str = "b4.parent";
/// How often is looked.
const POLL: Duration = Duration::from_millis(100);

/// Agents that have nothing to do: first active, then passive, each on a fresh node; then such that end at once.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if agents are missing from a count or a list.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let rows = block_on(rows(options))?;
    Ok(Report {
        config: json!({
            "nodes": 1, "active": options.active_agents, "passive": options.passive_agents, "started_at_once": AT_ONCE,
            "tokens": TOKENS, "hops": HOPS, "tokens_that_wake": WAKING_TOKENS, "hops_that_wake": WAKING_HOPS,
            "churn": { "per_second": CHURN_PER_SECOND, "ms": options.churn_ms },
            "agents": "one actor each when active; passive ones keep 8 B of their own; one in a hundred has a label",
            "memory": "resident memory of the node's process, VmRSS; the rest is what the allocator keeps",
            "durability": "none: hosted agents are not on disk until they claim", "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

async fn rows(options: &Options) -> Result<Vec<Row>, BenchError> {
    let mut rows = active(options).await?;
    rows.extend(passive(options).await?);
    rows.extend(churn(options).await?);
    Ok(rows)
}

async fn start(options: &Options) -> Result<(Rig, RigNode), BenchError> {
    let shape = Shape {
        nodes: 1,
        kind: Kind::Mesh,
    };
    let rig = Rig::start_shaped(options, ID, shape).await?;
    let node = rig.nodes()[0].clone();
    Ok((rig, node))
}

async fn active(options: &Options) -> Result<Vec<Row>, BenchError> {
    let (rig, node) = start(options).await?;
    let before = resident(&node).await?;
    let mut rows = vec![memory_row(0, before)];
    let stages = ACTIVE.into_iter().filter(|stage| *stage < options.active_agents);
    let (mut there, mut last) = (0, before);
    let mut members = (0, 0);
    for agents in stages.chain([options.active_agents]) {
        let crowd = Crowd {
            first: there,
            ..Crowd::of("active", agents - there)
        };
        let spawner = crowd.spawn(&node).await?;
        // Those of one stage have numbers in a row: nobody else starts agents meanwhile.
        members = (reported(&spawner, "number")?, agents - there);
        last = resident(&node).await?;
        rows.push(memory_row(agents, last));
        if agents == options.active_agents {
            rows.push(
                rate_row("spawn rate, active", agents - there, &spawner)?.note("on memory that is new to the process"),
            );
            rows.push(latency_row("spawn latency, active", &spawner)?);
        }
        there = agents;
    }
    let counts = node.figures().await?.agents;
    BenchError::unless_equal(ID, "active agents", (counts.active, counts.passive), (there, 0))?;
    let each = (last - before) * 1_024.0 * 1_024.0 / there as f64;
    rows.push(
        Row::new("resident memory per active agent", each, "B", there)
            .note(format!("growth over {there} agents, each an actor"))
            .at("what", "resident memory per agent")
            .at("state", "active"),
    );
    rows.push(tokens(&node, "signals among active agents", members, TOKENS, HOPS).await?);
    rows.extend(lists(&node, "active", there).await?);
    rig.stop().await?;
    Ok(rows)
}

async fn passive(options: &Options) -> Result<Vec<Row>, BenchError> {
    let (rig, node) = start(options).await?;
    let before = resident(&node).await?;
    let agents = options.passive_agents;
    let crowd = Crowd {
        rests: true,
        ..Crowd::of("passive", agents)
    };
    let spawner = crowd.spawn(&node).await?;
    until(&node, (0, agents)).await?;
    let after = resident(&node).await?;
    let each = (after - before) * 1_024.0 * 1_024.0 / agents as f64;
    let mut rows = vec![
        Row::new(format!("resident memory, {agents} passive agents"), after, "MiB", 1)
            .note(format!("{before:.0} MiB before")),
        Row::new("resident memory per passive agent", each, "B", agents)
            .note(format!("growth over {agents} agents, each a record; none is active"))
            .at("what", "resident memory per agent")
            .at("state", "passive"),
        rate_row("registration rate, passive", agents, &spawner)?
            .note("each is started as an actor, takes its first step and becomes a record"),
    ];
    let members = (reported(&spawner, "number")?, agents);
    rows.push(
        tokens(
            &node,
            "signals that wake passive agents",
            members,
            WAKING_TOKENS,
            WAKING_HOPS,
        )
        .await?,
    );
    until(&node, (0, agents)).await?;
    rows.extend(lists(&node, "passive", agents).await?);
    rig.stop().await?;
    Ok(rows)
}

async fn churn(options: &Options) -> Result<Vec<Row>, BenchError> {
    let (rig, node) = start(options).await?;
    let count = CHURN_PER_SECOND * options.churn_ms / 1_000;
    let arguments = json!({
        "prefix": "brief", "kind": "load-brief", "count": count, "at_once": AT_ONCE, "per_second": CHURN_PER_SECOND,
    });
    let started = Instant::now();
    node.spawn("b4.churn", "load-spawner", arguments).await?;
    let mut memory = Vec::new();
    let spawner = loop {
        memory.extend(node.resident_mib());
        let status = node.agent("b4.churn").await?;
        if status.state == AgentState::Done {
            break status;
        }
        if started.elapsed() > STAGE_WITHIN + Duration::from_millis(options.churn_ms) {
            return Err(late("short-lived agents are still started", started));
        }
        tokio::time::sleep(POLL).await;
    };
    BenchError::unless_equal(ID, "short-lived agents", reported(&spawner, "spawned")?, count)?;
    let mut rows = vec![rate_row("short-lived agents", count, &spawner)?];
    let brief = Crowd {
        kind: "load-brief",
        ..Crowd::of("at-once", count.min(BRIEF_MAX))
    };
    let brief = brief.spawn(&node).await?;
    rows.push(
        rate_row("short-lived agents, as fast as they come", count.min(BRIEF_MAX), &brief)?
            .note("each is started as an actor, takes one step and ends; their memory is used again"),
    );
    // The first tenth fills what is remembered of those that have ended.
    for (name, place) in [
        ("start", memory.len() / 10),
        ("middle", memory.len() / 2),
        ("end", memory.len() - 1),
    ] {
        let row = Row::new(
            format!("resident memory, short-lived agents, {name}"),
            memory[place],
            "MiB",
            1,
        );
        rows.push(row.note(format!(
            "after {:.1} s",
            place as f64 / memory.len() as f64 * started.elapsed().as_secs_f64()
        )));
    }
    rows.push(again(&node, options.active_agents - 1).await?);
    rig.stop().await?;
    Ok(rows)
}

/// Starts as many active agents as a node has, ends them, and starts as many again.
async fn again(node: &RigNode, agents: u64) -> Result<Row, BenchError> {
    node.spawn(PARENT, "load-member", json!({ "rests": false })).await?;
    let children = Crowd {
        parent: Some(PARENT),
        ..Crowd::of("before", agents)
    };
    children.spawn(node).await?;
    let stopped = node.client.stop_agent(PARENT).await;
    stopped.map_err(|error| door("stop an agent", error))?;
    until(node, (0, 0)).await?;
    let spawner = Crowd::of("again", agents).spawn(node).await?;
    Ok(rate_row("spawn rate, active, again", agents, &spawner)?
        .note("as many ended just before: on memory that the process had used"))
}

/// Agents that are started one after the other.
struct Crowd<'a> {
    prefix: &'a str,
    first: u64,
    count: u64,
    kind: &'a str,
    rests: bool,
    parent: Option<&'a str>,
}

impl<'a> Crowd<'a> {
    /// Members that stay active, from the first number on.
    fn of(prefix: &'a str, count: u64) -> Crowd<'a> {
        let (first, kind, rests, parent) = (0, "load-member", false, None);
        Crowd {
            prefix,
            first,
            count,
            kind,
            rests,
            parent,
        }
    }

    /// Starts them by an agent that does only that.
    async fn spawn(self, node: &RigNode) -> Result<AgentStatus, BenchError> {
        let name = format!("b4.{}.{}", self.prefix, self.first);
        let arguments = json!({
            "prefix": self.prefix, "kind": self.kind, "arguments": { "rests": self.rests }, "parent": self.parent,
            "first": self.first, "count": self.count, "at_once": AT_ONCE,
        });
        node.spawn(&name, "load-spawner", arguments).await?;
        let status = node.done(&name, STAGE_WITHIN).await?;
        BenchError::unless_equal(
            ID,
            "agents that were started",
            reported(&status, "spawned")?,
            self.count,
        )?;
        Ok(status)
    }
}

/// Waits until so many agents are active and so many passive.
async fn until(node: &RigNode, wanted: (u64, u64)) -> Result<(), BenchError> {
    let started = Instant::now();
    while started.elapsed() < STAGE_WITHIN {
        let counts = node.figures().await?.agents;
        if (counts.active, counts.passive) == wanted {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    let (active, passive) = wanted;
    Err(late(
        format!("not {active} agents are active and {passive} passive"),
        started,
    ))
}

/// The resident memory of a node that does nothing, in MiB.
async fn resident(node: &RigNode) -> Result<f64, BenchError> {
    tokio::time::sleep(QUIET).await;
    node.resident_mib().ok_or_else(|| BenchError::Agent {
        name: node.name.clone(),
        problem: "the system does not tell the memory of a process (expected /proc)".to_owned(),
    })
}

fn memory_row(agents: u64, mib: f64) -> Row {
    Row::new(format!("resident memory, {agents} active agents"), mib, "MiB", 1)
        .at("what", "resident memory of a node, active agents")
        .at("agents", agents)
}

fn rate_row(name: &str, agents: u64, spawner: &AgentStatus) -> Result<Row, BenchError> {
    let seconds = reported(spawner, "micros")?.max(1) as f64 / 1e6;
    let full = reported(spawner, "full")?;
    let row = Row::new(name, agents as f64 / seconds, "agents/s", agents);
    Ok(match full {
        0 => row,
        full => row.note(format!(
            "the node was full {full} times: {AGENTS_ACTIVE_MAX} active agents"
        )),
    })
}

fn latency_row(name: &str, spawner: &AgentStatus) -> Result<Row, BenchError> {
    let mut latency = load::histogram();
    add_reported(&mut latency, spawner, "spawn_ns")?;
    let percentiles = Percentiles::of(&latency, 1e3);
    let row = Row::new(name, percentiles.p50, "µs", latency.len()).percentiles(percentiles);
    Ok(row.note(format!("{AT_ONCE} being started at once")))
}

/// Lets tokens go round.
async fn tokens(
    node: &RigNode,
    name: &str,
    (first, members): (u64, u64),
    tokens: u64,
    hops: u64,
) -> Result<Row, BenchError> {
    let agent = format!("b4.tokens.{hops}");
    let arguments = json!({
        "first": first, "members": members, "tokens": tokens, "hops": hops,
    });
    node.spawn(&agent, "load-tokens", arguments).await?;
    let status = node.done(&agent, STAGE_WITHIN).await?;
    let signals = reported(&status, "signals")?;
    let seconds = reported(&status, "micros")?.max(1) as f64 / 1e6;
    Ok(Row::new(name, signals as f64 / seconds, "signals/s", signals).note(format!("{members} agents, each to any")))
}

/// Lists and filters all agents of the node, page by page over HTTP.
async fn lists(node: &RigNode, prefix: &str, agents: u64) -> Result<Vec<Row>, BenchError> {
    let all = AgentFilter {
        name: Some(format!("{prefix}.*").into()),
        limit: Some(10_000),
        ..AgentFilter::default()
    };
    let labelled = AgentFilter {
        labels: [("team".to_owned(), "red".to_owned())].into(),
        ..all.clone()
    };
    let named = AgentFilter {
        name: Some(format!("{prefix}.*7").into()),
        limit: Some(100),
        ..all.clone()
    };
    let failed = AgentFilter {
        state: Some(AgentState::Failed),
        ..all.clone()
    };
    let mut rows = Vec::new();
    for (what, filter, expected) in [
        ("all, page by page", all, Some(agents)),
        ("one in a hundred by label", labelled, Some(agents.div_ceil(100))),
        ("the first 100 by name", named, None),
        ("none by state", failed, Some(0)),
    ] {
        let (started, mut filter, mut found) = (Instant::now(), filter, 0);
        loop {
            let page = node.client.agents_page(&filter).await;
            let page = page.map_err(|error| door("list agents", error))?;
            found += page.agents.len() as u64;
            match page.next {
                Some(next) if expected.is_some() => filter.after = Some(next),
                _ => break,
            }
        }
        let took = started.elapsed().as_secs_f64() * 1e3;
        if let Some(expected) = expected {
            BenchError::unless_equal(ID, format!("agents listed, {what}"), found, expected)?;
        }
        let row = Row::new(format!("list among {agents} {prefix} agents, {what}"), took, "ms", 1);
        rows.push(row.note(format!("{found} found")));
    }
    Ok(rows)
}
