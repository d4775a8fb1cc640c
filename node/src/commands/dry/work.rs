//! `--dry-run` of what changes how the work of a project goes: rates, budgets, queues, reservations, tasks of others.

use std::fmt::Display;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{ChangeQueue, Code, SetRate, WireReservationId, WireTask, WireTaskId};
use queenright_bench::client::{Client, ReservationQuery};
use queenright_protocol::colony::{AccountName, BudgetLimits, Distribution, StateName};
use serde_json::json;

use super::{absent, refused, say};
use crate::commands::budget::limits_text;
use crate::commands::door::of_read;
use crate::commands::rate::pace_text;
use crate::commands::reserve::wants_text;
use crate::commands::table::shown;
use crate::commands::{CliError, Context};
use crate::exit::Exit;

/// How many places a slot has that nobody has given another number.
const SLOT_PLACES: u32 = 1;

/// `rate set`.
pub(in crate::commands) async fn set_rate(
    client: &Client,
    name: &str,
    set: SetRate,
    context: &Context,
) -> Result<Exit, CliError> {
    let now = absent(client.rate(name, Consistency::Linearizable).await)?;
    let burst = set.burst.unwrap_or(set.tokens);
    let pace = format!("{}, at most {burst} at once", pace_text(set.tokens, set.interval_ms));
    let name = shown(name);
    let (changes, would) = match &now {
        None => (true, format!("rate {name} would be made: {pace}")),
        Some(now) if (now.tokens, now.interval_ms, now.burst) == (set.tokens, set.interval_ms, burst) => {
            (false, format!("rate {name} is {pace} already"))
        }
        Some(now) => {
            let before = pace_text(now.tokens, now.interval_ms);
            let had = now.burst;
            (
                true,
                format!("rate {name} would be {pace}, instead of {before}, at most {had} at once"),
            )
        }
    };
    say(context, now, changes, would)
}

/// `rate delete`.
pub(in crate::commands) async fn delete_rate(client: &Client, name: &str, context: &Context) -> Result<Exit, CliError> {
    let rate = client.rate(name, Consistency::Linearizable).await.map_err(of_read)?;
    let would = format!("rate {} would be deleted, if no open task names it", shown(name));
    say(context, rate, true, would)
}

/// `budget set`.
pub(in crate::commands) async fn set_budget(
    client: &Client,
    name: &AccountName,
    limits: &BudgetLimits,
    context: &Context,
) -> Result<Exit, CliError> {
    let now = absent(client.budget(name, Consistency::Linearizable).await)?;
    let before = now.as_ref().and_then(|now| now.budget.as_ref()).map(|now| now.limits);
    let (name, wanted) = (shown(&name.to_string()), limits_text(limits));
    let would = match before {
        None => format!("budget {name} would be set: {wanted}"),
        Some(before) if before == *limits => format!("budget {name} is {wanted} already"),
        Some(before) => format!("budget {name} would be {wanted}, instead of {}", limits_text(&before)),
    };
    say(context, now, before != Some(*limits), would)
}

/// `budget remove` and `budget reset`; `would` says which.
pub(in crate::commands) async fn change_budget(
    client: &Client,
    name: &AccountName,
    would: &str,
    context: &Context,
) -> Result<Exit, CliError> {
    let now = client.budget(name, Consistency::Linearizable).await.map_err(of_read)?;
    let would = format!("budget {} {would}", shown(&name.to_string()));
    say(context, now, true, would)
}

/// `queue set`.
pub(in crate::commands) async fn set_queue(
    client: &Client,
    name: &str,
    change: &ChangeQueue,
    context: &Context,
) -> Result<Exit, CliError> {
    let queues = client.queues(Consistency::Linearizable).await.map_err(of_read)?;
    let now = queues.queues.into_iter().find(|queue| &*queue.queue == name);
    let paused = now.as_ref().is_some_and(|now| now.paused_by.is_some());
    let breaker = now
        .as_ref()
        .map_or((0, 0), |now| (now.breaker_failures, now.breaker_pause_ms));
    let policy = now.as_ref().map_or(Distribution::default(), |now| now.policy);
    let mut parts = Vec::new();
    match change.paused {
        Some(true) if !paused => parts.push("hand out nothing until it is told to go on".to_owned()),
        Some(false) if paused => parts.push("hand out tasks again".to_owned()),
        _ => {}
    }
    if let Some(wanted) = change.breaker {
        let same = wanted.failures == breaker.0 && (wanted.failures == 0 || wanted.pause_ms == breaker.1);
        match wanted.failures {
            _ if same => {}
            0 => parts.push("have no breaker".to_owned()),
            failures => parts.push(format!(
                "have a breaker that opens after {failures} failures for {} ms",
                wanted.pause_ms
            )),
        }
    }
    if let Some(wanted) = change.policy.filter(|wanted| *wanted != policy) {
        parts.push(format!("hand out by {wanted} instead of {policy}"));
    }
    let name = shown(name);
    let would = match parts.is_empty() {
        true => format!("queue {name} is so already"),
        false => format!("queue {name} would {}", parts.join(", and ")),
    };
    say(context, now, !parts.is_empty(), would)
}

/// `reserve force`.
pub(in crate::commands) async fn force_reservation(
    client: &Client,
    id: WireReservationId,
    context: &Context,
) -> Result<Exit, CliError> {
    let found = client.reservation(id.0, 0).await.map_err(of_read)?;
    let would = format!(
        "{id} of {} would be taken away: {}",
        found.holder,
        wants_text(&found.resources)
    );
    say(context, found, true, would)
}

/// `reserve slots` with a capacity.
pub(in crate::commands) async fn set_slot(
    client: &Client,
    name: &str,
    capacity: u32,
    context: &Context,
) -> Result<Exit, CliError> {
    let slots = client.slots(Consistency::Linearizable).await.map_err(of_read)?;
    let now = slots.slots.into_iter().find(|slot| &*slot.name == name);
    let (places, held) = now.as_ref().map_or((SLOT_PLACES, 0), |now| (now.capacity, now.held));
    let name = shown(name);
    let would = match places == capacity {
        true => format!("slot {name} has {capacity} places already"),
        false => format!("slot {name}, {held} of whose {places} places are held, would have {capacity}"),
    };
    say(context, now, places != capacity, would)
}

/// `reserve advisory`.
pub(in crate::commands) async fn set_advisory(
    client: &Client,
    advisory: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    let query = ReservationQuery {
        limit: Some(1),
        ..ReservationQuery::default()
    };
    let list = client.reservations(&query).await.map_err(of_read)?;
    let changes = list.advisory != advisory;
    let would = match (advisory, changes) {
        (true, true) => "reservations would leave the writes of others alone",
        (false, true) => "writes under an exclusive reservation of another would lose",
        (true, false) => "reservations leave the writes of others alone already",
        (false, false) => "writes under an exclusive reservation of another lose already",
    };
    say(context, json!({ "advisory": list.advisory }), changes, would)
}

async fn task(client: &Client, id: WireTaskId) -> Result<WireTask, CliError> {
    client.task(id.0, Consistency::Linearizable).await.map_err(of_read)
}

fn misplaced(task: &WireTask, why: impl Display) -> CliError {
    refused(Code::Conflict, format!("task {} is {}: {why}", task.task, task.state))
}

/// `task steal`: all of them or none.
pub(in crate::commands) async fn steal(
    client: &Client,
    ids: &[WireTaskId],
    context: &Context,
) -> Result<Exit, CliError> {
    let (mut tasks, mut parts) = (Vec::new(), Vec::new());
    for id in ids {
        let task = task(client, *id).await?;
        parts.push(match &task.lease {
            Some(lease) if lease.cancel.is_some() => return Err(misplaced(&task, "it is to be cancelled")),
            Some(lease) if lease.stealable => format!("task {id} would be taken from {}", lease.holder),
            Some(lease) => format!(
                "task {id} would be taken from {}, if nothing was heard of it for 15 minutes",
                lease.holder
            ),
            None if task.state == StateName::Pending => format!("task {id}, which nobody holds, would be claimed"),
            None => return Err(misplaced(&task, "only a task that is leased or waits is taken")),
        });
        tasks.push(task);
    }
    say(context, tasks, true, parts.join("; "))
}

/// `task cancel`, `pause`, `resume`, `approve`, `reject`, `requeue` and `drop`.
pub(in crate::commands) async fn control(
    client: &Client,
    id: WireTaskId,
    verb: &str,
    force: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    let task = task(client, id).await?;
    let holder = task.lease.as_ref().map(|lease| lease.holder.to_string());
    let ended = !task.state.is_open();
    let would = match (verb, &holder) {
        ("cancel", _) if ended => return Err(misplaced(&task, "it is not to be done anyway")),
        ("cancel", Some(holder)) if force => format!("would be taken from {holder} and cancelled"),
        ("cancel", Some(holder)) => format!("would stay with {holder}, who would be told to cancel it"),
        ("cancel", None) => "would be cancelled".to_owned(),
        ("pause", Some(holder)) => return Err(misplaced(&task, format_args!("{holder} holds it"))),
        ("pause", None) if ended || task.state == StateName::Paused => {
            return Err(misplaced(&task, "only a task that waits is paused"));
        }
        ("resume", _) if task.state != StateName::Paused => return Err(misplaced(&task, "it is not paused")),
        ("approve" | "reject", _) if ended || holder.is_some() || !task.terms.approval => {
            return Err(misplaced(&task, "it does not wait for an approval"));
        }
        ("requeue", _) if !ended || task.state == StateName::Done => {
            let why = "only what has failed, was cancelled or is dead is requeued";
            return Err(misplaced(&task, why));
        }
        ("drop", _) if !ended => return Err(misplaced(&task, "only a task that has ended is dropped")),
        ("pause", None) => "would wait until it is resumed".to_owned(),
        ("resume", _) => "would go on".to_owned(),
        ("approve", _) => "would be approved of".to_owned(),
        ("reject", _) => "would be cancelled".to_owned(),
        ("requeue", _) => "would be done again, its failures forgotten".to_owned(),
        _ => "would be forgotten, if no other needs it".to_owned(),
    };
    let text = format!("task {id} ({}), which is {}, {would}", shown(&task.title), task.state);
    say(context, task, true, text)
}
