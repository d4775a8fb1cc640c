//! What must be so after the load: nothing acknowledged is lost, nothing was done twice, all nodes have the same state.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentFilter, AgentState};
use queenright_actors::node::Consistency;
use serde_json::Value;

use super::ID;
use super::second::Totals;
use crate::BenchError;
use crate::client::ListQuery;
use crate::report::Row;
use crate::rig::{Rig, RigNode, door, for_all, late};
use crate::workloads::tasks;

/// How long the nodes may take to be at the same place.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// How many keys are asked for in one list.
const LIST_KEYS: u64 = 1_000;

/// Checks everything; a row for each check that was passed.
///
/// # Errors
/// [`BenchError::Mismatch`] for one that was not.
pub(super) async fn verdict(rig: &Rig, totals: &Totals) -> Result<Vec<Row>, BenchError> {
    let unknown = totals.count("unknown");
    let witness = rig.nodes().last().expect("a rig has nodes");
    let mut rows = Vec::new();
    let mut within = |what: &str, found: u64, acknowledged: u64| {
        if !(acknowledged..=acknowledged + unknown).contains(&found) {
            return Err(BenchError::Mismatch {
                workload: ID,
                what: format!("{what} on {}", witness.name),
                found: found.to_string(),
                expected: format!("{acknowledged} acknowledged, up to {unknown} more whose outcome is unknown"),
            });
        }
        rows.push(Row::new(
            format!("checked: {what}"),
            found as f64,
            "found",
            acknowledged.max(1),
        ));
        Ok(())
    };
    let revisions =
        |keys: &BTreeMap<String, (u64, Option<i64>)>| keys.values().map(|(revision, _)| revision).sum::<u64>();
    within(
        "puts",
        revisions(&keys(witness, "value/", false).await?),
        totals.count("puts"),
    )?;
    let committed = revisions(&keys(witness, "hot/", false).await?);
    within("proposals that were committed", committed, totals.count("committed"))?;
    let found = tasks::look(witness, ID).await?;
    within("tasks finished", found.done, totals.count("finished"))?;
    within(
        "tasks added",
        found.done + found.failed + found.open,
        totals.count("added"),
    )?;
    within("attempts of tasks", found.attempts, totals.count("claimed"))?;
    BenchError::unless_equal(ID, "tasks that failed", found.failed, 0)?;
    rows.push(counters(rig, witness).await?);
    rows.push(digests(rig).await?);
    Ok(rows)
}

/// The counter of each agent stands where it was told that it does.
async fn counters(rig: &Rig, witness: &RigNode) -> Result<Row, BenchError> {
    let found = keys(witness, "counter/", true).await?;
    let mut agents = 0;
    for node in rig.nodes() {
        let mut filter = AgentFilter {
            kind: Some("load-mixed".to_owned()),
            ..AgentFilter::default()
        };
        loop {
            let page = node.client.agents_page(&filter).await;
            let page = page.map_err(|error| door(format!("list the agents of {}", node.name), error))?;
            for agent in &page.agents {
                let of = |name: &str| agent.report.get(name).and_then(Value::as_u64);
                if agent.state != AgentState::Done {
                    return Err(BenchError::Agent {
                        name: agent.name.clone(),
                        problem: agent.reason.clone().unwrap_or_else(|| format!("is {:?}", agent.state)),
                    });
                }
                let (told, unknown) = (
                    of("counter").unwrap_or_default(),
                    of("counter_unknown").unwrap_or_default(),
                );
                let key = format!("counter/{}", agent.name);
                let value = found.get(&key).and_then(|(_, value)| *value).unwrap_or_default();
                if !(told as i64..=(told + unknown) as i64).contains(&value) {
                    return Err(BenchError::Mismatch {
                        workload: ID,
                        what: format!("{key} on {}", witness.name),
                        found: value.to_string(),
                        expected: format!("{told} acknowledged, {unknown} unknown"),
                    });
                }
                agents += 1;
            }
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
    }
    Ok(Row::new(
        "checked: counters of agents",
        agents as f64,
        "equal",
        agents.max(1),
    ))
}

/// The state of all nodes is the same.
async fn digests(rig: &Rig) -> Result<Row, BenchError> {
    let started = Instant::now();
    loop {
        // Each node says its own: at one position.
        let own = for_all(rig.nodes(), async |node| {
            let status = node.client.status().await;
            let status = status.map_err(|error| door(format!("ask {} for its state", node.name), error))?;
            let own = status.nodes.into_iter().find(|listed| listed.name == node.name);
            Ok(own.and_then(|own| Some((own.seq?, own.digest?))))
        })
        .await?;
        if let [Some(first), ..] = &own[..]
            && own.iter().all(|own| own.as_ref().is_some_and(|own| own.0 == first.0))
        {
            let expected = vec![Some(first.clone()); own.len()];
            BenchError::unless_equal(ID, format!("digests at {}", first.0), &own, &expected)?;
            let nodes = own.len() as u64;
            return Ok(Row::new("checked: digests of nodes", nodes as f64, "equal", nodes));
        }
        if started.elapsed() > EQUAL_WITHIN {
            return Err(late("the nodes are at different places", started));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The keys below a prefix, each with its revision and, if asked for, its value as a number.
async fn keys(node: &RigNode, prefix: &str, values: bool) -> Result<BTreeMap<String, (u64, Option<i64>)>, BenchError> {
    let client = node.client.in_project(ID);
    let mut query = ListQuery {
        prefix: prefix.to_owned(),
        limit: Some(LIST_KEYS),
        values,
        consistency: Consistency::Linearizable,
        ..ListQuery::default()
    };
    let mut keys = BTreeMap::new();
    loop {
        let page = client.list(&query).await;
        let page = page.map_err(|error| door(format!("list the keys of {prefix}"), error))?;
        for key in page.keys {
            let value = key.value.as_deref().and_then(|value| value.parse().ok());
            keys.insert(key.key.to_string(), (key.revision, value));
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(keys),
        }
    }
}
