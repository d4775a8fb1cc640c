//! B6, consensus latency: rounds in which agents bring a list of packs without conflicts into the colony.
//!
//! One round: build the list, spawn the agents, let them analyse the packs, detect conflicts, resolve them, validate what
//! is left, and commit it on a majority of the nodes, each pack by a proposal, all judged together. The council and its
//! analysts are hosted by the leader's node; all that they do lies within the round.

use std::slice;
use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_protocol::topology::Kind;
use serde_json::json;

use crate::client::ListQuery;
use crate::report::{Claim, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, Shape, block_on, door, reported};
use crate::traffic::latencies;
use crate::{BenchError, Options};

/// The id of the workload.
pub const ID: &str = "B6";
/// What the workload is about.
pub const TITLE: &str = "consensus latency: a round of packs, from building the list to its commit";

const PACKS: [u64; 6] = [1, 3, 5, 10, 20, 50];
/// How many nodes the clusters have.
const NODES: [usize; 2] = [3, 5];
/// Rounds of each size that are measured: one for so many milliseconds of a load, and the bounds.
const ROUND_EVERY_MS: u64 = 20;
const ROUNDS: (u64, u64) = (5, 200);
/// How many go before, for each that is measured.
const WARM_UP_PART: u64 = 5;
/// How long the rounds of one size may take.
const DONE_WITHIN: Duration = Duration::from_secs(120);
/// What stands for the row of the vote.
const VOTE: &str =
    "a round with a vote by four agents and more (quorum 0.5, threshold 0.66): waits for motions, which are not built";

/// Rounds of 1 to 50 packs on 3 and on 5 nodes.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a pack of a round is not committed.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = Vec::new();
    for nodes in NODES {
        rows.extend(block_on(on(options, nodes))?);
    }
    Ok(Report {
        config: json!({
            "nodes": NODES, "topology": "mesh", "packs": PACKS, "rounds": rounds(options),
            "warm_up_rounds": rounds(options).div_ceil(WARM_UP_PART),
            "agents": "4, with more than 3 packs 5, with more than 5 packs 6, started anew in each round",
            "durability": "fdatasync on a majority", "data": options.data,
        }),
        rows,
        claims: vec![Claim::new(
            "ggen",
            "p50 below 100 ms, p99 below 500 ms at 10 packs; in one process, without commit and without a vote",
        )],
        notes: vec![VOTE.to_owned()],
        ..report
    })
}

fn rounds(options: &Options) -> u64 {
    (options.load_ms / ROUND_EVERY_MS).clamp(ROUNDS.0, ROUNDS.1)
}

async fn on(options: &Options, nodes: usize) -> Result<Vec<Row>, BenchError> {
    let shape = Shape {
        nodes,
        kind: Kind::Mesh,
    };
    let rig = Rig::start_shaped(options, ID, shape).await?;
    let (leader, follower) = rig.leader_and_follower().await?;
    let mut rows = Vec::new();
    for packs in PACKS {
        rows.push(council(options, leader, follower, (nodes, packs)).await?);
    }
    rig.stop().await?;
    Ok(rows)
}

async fn council(
    options: &Options,
    leader: &RigNode,
    follower: &RigNode,
    (nodes, packs): (usize, u64),
) -> Result<Row, BenchError> {
    let (name, rounds) = (format!("b6.{packs}"), rounds(options));
    let warm_up = rounds.div_ceil(WARM_UP_PART);
    let project = "b6";
    let arguments = json!({
        "project": project, "packs": packs, "rounds": rounds, "warm_up_rounds": warm_up,
    });
    leader.spawn(&name, "load-council", arguments).await?;
    let status = leader.done(&name, DONE_WITHIN).await?;
    BenchError::unless_equal(
        ID,
        format!("packs committed, {name}"),
        reported(&status, "committed")?,
        rounds * packs,
    )?;
    // What the council was told must stand on another node: every pack, changed by every round.
    let query = ListQuery {
        prefix: format!("{name}/pack/"),
        limit: Some(packs + 1),
        consistency: Consistency::Linearizable,
        ..ListQuery::default()
    };
    let listed = follower.client.in_project(project).list(&query).await;
    let listed = listed.map_err(|error| door("list the packs", error))?;
    let revisions: Vec<u64> = listed.keys.iter().map(|key| key.revision).collect();
    let expected = vec![rounds + warm_up; packs as usize];
    BenchError::unless_equal(ID, format!("revisions of {name} on a follower"), revisions, expected)?;
    let percentiles = Percentiles::of(&latencies(slice::from_ref(&status), "round_ns")?, 1e3);
    let mut note = format!("{} agents; p50 of", reported(&status, "analysts")?);
    for name in ["build", "spawn", "analyse", "judge", "commit"] {
        let part = latencies(slice::from_ref(&status), &format!("{name}_ns"))?;
        note += &format!(" {name} {:.0} µs", part.value_at_quantile(0.5) as f64 / 1e3);
    }
    let name = format!("round of {packs} packs, {nodes} nodes");
    Ok(Row::new(name, percentiles.p50, "µs", rounds)
        .percentiles(percentiles)
        .note(note))
}
