//! `queenright pool`: agents that the cluster starts and stops by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_actors::pool::{PoolFigures, Recycled};
use queenright_bench::client::wire::{PoolChanged, PoolList, PoolStatus, SetPool, SetRecycle, WirePool};
use serde_json::{Map, Value, json};

use super::agent::absolute;
use super::door::{client, of_read};
use super::table::{Table, shown};
use super::{CliError, Context, dry};
use crate::cli::{PoolCommand, SetPoolArgs};
use crate::exit::Exit;
use crate::hosted::{exec, post};

/// Carries out `queenright pool`.
///
/// # Errors
/// [`CliError`], such as a pool that is not there.
pub async fn run(command: PoolCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        PoolCommand::Set(args) => {
            let (name, client) = (args.name.clone(), client(&args.client)?);
            let (dry_run, if_absent) = (args.dry_run, args.if_absent);
            let set = settings(*args)?;
            if dry_run {
                return dry::set_pool(&client, &name, &set, if_absent, context).await;
            }
            let changed = client.set_pool(&name, &set).await?;
            answer(&name, changed, "is set", "was so already", context)?;
        }
        PoolCommand::List {
            consistency,
            client: args,
        } => {
            let list = client(&args)?.pools(consistency.into()).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
        }
        PoolCommand::Status {
            name,
            consistency,
            client: args,
        } => {
            let status = client(&args)?.pool(&name, consistency.into()).await.map_err(of_read)?;
            context.answer(&status, status_text(&status))?;
        }
        PoolCommand::Drain {
            name,
            off,
            dry_run,
            client: args,
        } => {
            if dry_run {
                let would = match off {
                    false => "would have none, once they have ended what they have in hand",
                    true => "would have as many as its tasks need",
                };
                return dry::change_pool(&client(&args)?, &name, would, true, context).await;
            }
            let changed = client(&args)?.drain_pool(&name, !off).await?;
            let (done, before) = match off {
                false => (
                    "is drained: its agents end what they have in hand",
                    "was drained already",
                ),
                true => ("has agents again", "was not drained"),
            };
            answer(&name, changed, done, before, context)?;
        }
        PoolCommand::Recycle {
            name,
            dry_run,
            client: args,
        } => {
            if dry_run {
                let would = "would have each of them replaced";
                return dry::change_pool(&client(&args)?, &name, would, true, context).await;
            }
            let changed = client(&args)?.recycle_pool(&name).await?;
            answer(&name, changed, "replaces its agents", "has none", context)?;
        }
        PoolCommand::Remove {
            name,
            dry_run,
            client: args,
        } => {
            if dry_run {
                let would = "would be gone, once they have ended what they have in hand";
                return dry::change_pool(&client(&args)?, &name, would, false, context).await;
            }
            let changed = client(&args)?.remove_pool(&name).await?;
            answer(
                &name,
                changed,
                "is removed: its agents end what they have in hand",
                "was not there",
                context,
            )?;
        }
    }
    Ok(Exit::Ok)
}

fn answer(name: &str, changed: PoolChanged, done: &str, before: &str, context: &Context) -> Result<(), CliError> {
    let what = if changed.changed { done } else { before };
    context.answer(&changed, format!("pool {} {what}", shown(name)))
}

/// What `pool set` asks for.
fn settings(args: SetPoolArgs) -> Result<SetPool, CliError> {
    let texts = |words: Vec<String>| words.into_iter().map(Into::into).collect();
    let labels = |pairs: Vec<(String, String)>| -> BTreeMap<Arc<str>, Arc<str>> {
        let pairs = pairs.into_iter();
        pairs.map(|(name, value)| (name.into(), value.into())).collect()
    };
    let behaviour = if args.url.is_some() { post::KIND } else { exec::KIND };
    let environment: Map<String, Value> = args
        .environment
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let said = [
        ("command", some(&args.command)),
        (
            "warm",
            json!(args.warm.map(|warm| ["sh".to_owned(), "-c".to_owned(), warm])),
        ),
        ("folder", json!(absolute("--folder", args.folder)?)),
        ("environment", some(&environment)),
        ("timeout_s", json!(args.max_runtime.map(|time| time.as_secs_f64()))),
        ("memory_mb", json!(args.memory)),
        ("url", json!(args.url)),
        ("secret_file", json!(absolute("--secret-file", args.secret_file)?)),
        ("deadline_s", json!(args.deadline.map(|time| time.as_secs_f64()))),
        ("retry", if args.retry { true.into() } else { Value::Null }),
    ];
    let Value::Object(mut arguments) = args.arguments else {
        return Err(CliError::Usage("--arguments: expected a JSON object".to_owned()));
    };
    let said = said.into_iter().filter(|(_, value)| !value.is_null());
    arguments.extend(said.map(|(name, value)| (name.to_owned(), value)));
    Ok(SetPool {
        project: Some(args.tasks.project.into()),
        queue: args.tasks.queue.map(Into::into),
        kinds: texts(args.tasks.kinds),
        capabilities: texts(args.tasks.capabilities),
        behaviour: behaviour.into(),
        arguments,
        slots: Some(args.slots),
        placement: labels(args.placement),
        labels: labels(args.labels),
        min_idle: Some(args.min_idle),
        max: args.max,
        per_node_max: args.per_node_max,
        idle_ms: Some(args.idle.as_millis() as u64),
        recycle: SetRecycle {
            after_tasks: args.recycle_tasks,
            memory_bytes: args.recycle_memory.map(|mib| mib.saturating_mul(1 << 20)),
            age_ms: args.recycle_age.map(|age| age.as_millis() as u64),
            failures: args.recycle_failures,
        },
        if_absent: args.if_absent,
    })
}

/// The value, unless it is empty.
fn some<T: serde::Serialize>(value: &T) -> Value {
    let value = json!(value);
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if empty { Value::Null } else { value }
}

fn list_text(list: &PoolList) -> String {
    let mut table = Table::new([
        "POOL",
        "BEHAVIOUR",
        "QUEUE",
        "KINDS",
        "WANTED",
        "IDLE MIN",
        "MAX",
        "STATE",
    ]);
    for WirePool {
        pool,
        drained,
        wanted,
        settings,
        ..
    } in &list.pools
    {
        table.row([
            shown(pool),
            shown(&settings.behaviour),
            queue_text(settings),
            kinds_text(settings),
            wanted.to_string(),
            settings.min_idle.unwrap_or_default().to_string(),
            settings.max.to_string(),
            if *drained { "drained" } else { "on" }.to_owned(),
        ]);
    }
    table.to_string()
}

fn queue_text(settings: &SetPool) -> String {
    let queue = shown(settings.queue.as_deref().unwrap_or("default"));
    match settings.project.as_deref().unwrap_or("default") {
        "default" => queue,
        project => format!("{}/{queue}", shown(project)),
    }
}

fn kinds_text(settings: &SetPool) -> String {
    match &settings.kinds[..] {
        [] => "all".to_owned(),
        kinds => kinds.iter().map(|kind| shown(kind)).collect::<Vec<_>>().join(","),
    }
}

fn status_text(status: &PoolStatus) -> String {
    let PoolStatus {
        pool:
            WirePool {
                pool,
                drained,
                wanted,
                settings,
                ..
            },
        ready,
        agents,
        nodes,
    } = status;
    let mut text = format!(
        "pool {} ({}, queue {}): {}{wanted} of at most {} agents wanted; {ready} tasks ready, {} under way\n\n",
        shown(pool),
        shown(&settings.behaviour),
        queue_text(settings),
        if *drained { "drained, " } else { "" },
        settings.max,
        agents.running,
    );
    let mut table = Table::new([
        "NODE", "WANTED", "STARTING", "IDLE", "BUSY", "DRAINING", "RECYCLED", "FAILED", "",
    ]);
    for node in nodes {
        let note = match (node.answers, node.fits) {
            (false, _) => "does not answer",
            (true, false) => "lacks labels",
            (true, true) => "",
        };
        table.row(row(shown(&node.node), &node.agents, note.to_owned()));
    }
    text.push_str(&table.to_string());
    let Recycled {
        tasks,
        memory,
        age,
        failures,
        changed,
    } = agents.recycled;
    text.push_str(&format!(
        "\n\nrecycled: {tasks} by tasks, {memory} by memory, {age} by age, {failures} by failures, {changed} by a change"
    ));
    for node in nodes {
        if let Some(reason) = &node.agents.last_failure {
            text.push_str(&format!("\nlast failure on {}: {}", shown(&node.node), shown(reason)));
        }
        if let Some(next_ms) = node.agents.next_start_ms {
            text.push_str(&format!("; the next start is in {next_ms} ms"));
        }
    }
    text
}

fn row(name: String, agents: &PoolFigures, note: String) -> [String; 9] {
    let Recycled {
        tasks,
        memory,
        age,
        failures,
        changed,
    } = agents.recycled;
    [
        name,
        agents.wanted.to_string(),
        agents.starting.to_string(),
        agents.idle.to_string(),
        agents.busy.to_string(),
        agents.draining.to_string(),
        (tasks + memory + age + failures + changed).to_string(),
        agents.failures.to_string(),
        note,
    ]
}
