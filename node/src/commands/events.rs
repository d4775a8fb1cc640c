//! `queenright events`: what happened, from a cursor on, and the present state with its cursor. `queenright memory watch`
//! shows the same of keys alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{Code, EventCursor, EventPage, KeyInfo, WireEvent, WireState, WireTask, WireWhat};
use queenright_bench::client::{Client, ClientError, EVENTS_LIMIT_MAX, Filter};
use serde_json::json;

use super::budget::{limits_text, of_limit};
use super::door::{client_of_project, exit_of, of_read};
use super::queue::breaker_text;
use super::reserve::wants_text;
use super::table::shown;
use super::{CliError, Context};
use crate::cli::EventsArgs;
use crate::exit::Exit;
use crate::wall_time::rfc3339;

/// How many digits of a hash are shown to people.
const HASH_DIGITS: usize = 12;

/// Prints events, one line each, until there are no more, or with `--follow` until Ctrl-C.
///
/// # Errors
/// [`CliError`], such as a cursor whose events are no longer kept.
pub async fn run(args: EventsArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?;
    let filter = filter(&args, SystemTime::now());
    let shown = async {
        let mut after = args.after;
        if let Some(kinds) = &args.snapshot {
            after = Some(state(&client, kinds, &filter, context).await.map_err(Stopped::told)?);
        }
        match (args.follow, &args.snapshot) {
            (true, _) => follow(&client, after, filter, args.limit, context).await,
            (false, None) => print(&client, &args, &filter, context).await,
            // The state, and the cursor from which to go on.
            (false, Some(_)) => Ok(()),
        }
    };
    until_ctrl_c(shown).await
}

/// Shows keys that begin with `prefix` and what changes of them; without a cursor first the keys.
///
/// # Errors
/// [`CliError`]; with the code `COMPACTED` when changes after the cursor are no longer kept.
pub(super) async fn watch(
    client: &Client,
    prefix: String,
    after: Option<EventCursor>,
    limit: Option<u64>,
    context: &Context,
) -> Result<(), CliError> {
    let filter = Filter {
        prefix,
        types: vec!["changed".to_owned()],
        ..Filter::default()
    };
    let shown = async {
        let after = match after {
            Some(after) => after,
            None => state(client, "memory", &filter, context).await.map_err(compacted)?,
        };
        follow_as(client, Some(after), filter, limit, context, compacted).await
    };
    until_ctrl_c(shown).await.map(drop)
}

/// What becomes of a cursor behind which changes are gone.
fn compacted(stopped: Stopped) -> CliError {
    match stopped {
        Stopped::Told(ClientError::Problem(problem)) if problem.code == Code::CursorExpired => CliError::Refused {
            exit: exit_of(problem.code),
            code: "COMPACTED".to_owned(),
            message: format!("compacted: {problem}"),
        },
        stopped => stopped.told(),
    }
}

/// Why no more is shown.
enum Stopped {
    Told(ClientError),
    Stdout(CliError),
}

impl Stopped {
    fn told(self) -> CliError {
        match self {
            Stopped::Told(error) => of_read(error),
            Stopped::Stdout(error) => error,
        }
    }
}

async fn until_ctrl_c(shown: impl Future<Output = Result<(), CliError>>) -> Result<Exit, CliError> {
    tokio::select! {
        shown = shown => shown?,
        // If it cannot be caught it ends the process, which is what is wanted.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Ok)
}

fn filter(args: &EventsArgs, now: SystemTime) -> Filter {
    let before = |span: Duration| {
        let time = now.checked_sub(span).unwrap_or(UNIX_EPOCH);
        time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    };
    Filter {
        prefix: args.prefix.clone(),
        types: args.types.clone(),
        subject: args.subject.clone(),
        author: args.author.clone(),
        agent: args.agent.clone(),
        since_ms: args.since.map(before),
        until_ms: args.until.map(before),
    }
}

/// Prints the present state; its cursor.
async fn state(client: &Client, kinds: &str, filter: &Filter, context: &Context) -> Result<EventCursor, Stopped> {
    let mut page: Option<EventPage> = None;
    loop {
        let next = client
            .state(kinds, filter, page.as_ref(), Consistency::Linearizable)
            .await;
        let next = next.map_err(Stopped::Told)?;
        for item in &next.state {
            context.answer(item, state_text(item)).map_err(Stopped::Stdout)?;
        }
        if next.state_next.is_none() {
            let cursor = next.next_cursor;
            let current = context.answer(&json!({ "current": cursor }), format_args!("{cursor}  current"));
            return current.map(|()| cursor).map_err(Stopped::Stdout);
        }
        page = Some(next);
    }
}

fn state_text(item: &WireState) -> String {
    match item {
        WireState::Key(KeyInfo {
            key,
            revision,
            bytes,
            tags,
            seq,
            ..
        }) => {
            let tags: String = tags.iter().map(|tag| format!(" #{}", shown(tag))).collect();
            format!("{seq}  {} at revision {revision}: {bytes} B{tags}", shown(key))
        }
        WireState::Task(WireTask { task, state, title, .. }) => {
            format!("{}  task {task} is {state}: {}", task.0.seq, shown(title))
        }
    }
}

async fn follow(
    client: &Client,
    after: Option<EventCursor>,
    filter: Filter,
    limit: Option<u64>,
    context: &Context,
) -> Result<(), CliError> {
    follow_as(client, after, filter, limit, context, Stopped::told).await
}

async fn follow_as(
    client: &Client,
    after: Option<EventCursor>,
    filter: Filter,
    limit: Option<u64>,
    context: &Context,
    told: fn(Stopped) -> CliError,
) -> Result<(), CliError> {
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut events = client.events_follow(after, filter).take(limit);
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| told(Stopped::Told(error)))?;
        context.answer(&event, text(&event))?;
    }
    Ok(())
}

async fn print(client: &Client, args: &EventsArgs, filter: &Filter, context: &Context) -> Result<(), CliError> {
    let mut after = args.after;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let limit = left.min(EVENTS_LIMIT_MAX);
        let page = client.events(after, limit, Duration::ZERO, filter, Consistency::Linearizable);
        let page = page.await.map_err(of_read)?;
        for event in &page.events {
            context.answer(event, text(event))?;
        }
        left -= page.events.len() as u64;
        after = Some(page.next_cursor);
        if !page.has_more {
            break;
        }
    }
    Ok(())
}

fn text(event: &WireEvent) -> String {
    let time = rfc3339(UNIX_EPOCH + Duration::from_millis(event.wall_ms));
    let what = match &event.what {
        WireWhat::Changed {
            key,
            revision,
            hash: Some(hash),
            bytes,
            tags,
            ..
        } => {
            let hash = hash.to_string();
            let tags: String = tags.iter().map(|tag| format!(" #{}", shown(tag))).collect();
            let hash = &hash[..HASH_DIGITS];
            format!("changed {} to revision {revision}: {bytes} B, {hash}{tags}", shown(key))
        }
        WireWhat::Changed { key, revision, .. } => format!("deleted {} at revision {revision}", shown(key)),
        WireWhat::Committed { writes } => format!("committed a proposal (writes: {writes})"),
        WireWhat::Lost {
            kind,
            conflicts,
            losses: ..2,
        } => format!("lost a proposal: {kind} (conflicts: {conflicts})"),
        WireWhat::Lost {
            kind,
            conflicts,
            losses,
        } => {
            format!("lost a proposal: {kind} (conflicts: {conflicts}, losses in a row: {losses})")
        }
        WireWhat::Judged { committed, lost } => format!("had a batch judged: {committed} committed, {lost} lost"),
        WireWhat::TaskAdded { task, kind, name } => {
            let kind = kind.as_ref().map(|kind| format!(" of kind {}", shown(kind)));
            let name = name.as_ref().map(|name| format!(", called {}", shown(name)));
            format!(
                "added task {task}{}{}",
                kind.unwrap_or_default(),
                name.unwrap_or_default()
            )
        }
        WireWhat::TaskClaimed {
            task,
            attempt,
            fence,
            holder,
        } => format!("claimed task {task} for {holder} (attempt {attempt}, fence {fence})"),
        WireWhat::TaskFinished { task, attempt, state } => {
            format!("finished task {task} as {state} (attempt {attempt})")
        }
        WireWhat::TaskReturned { task, attempt, reason } => {
            format!("returned task {task}: {} (attempt {attempt})", shown(reason))
        }
        WireWhat::SessionOpened { session, name } => format!("opened session {session} ({})", shown(name)),
        WireWhat::SessionEnded { session, why } => format!("ended session {session}: {why}"),
        WireWhat::TaskMoved { task, state, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {}", shown(reason)));
            format!("moved task {task} to {state}{}", reason.unwrap_or_default())
        }
        WireWhat::TaskCancelWanted { task, attempt, reason } => {
            format!("wants task {task} cancelled: {} (attempt {attempt})", shown(reason))
        }
        WireWhat::TaskHandedOff { task, attempt, to } => match to {
            Some(to) => format!("offered task {task} to {} (attempt {attempt})", shown(to)),
            None => format!("took its offer of task {task} back (attempt {attempt})"),
        },
        WireWhat::TaskDropped { task } => format!("dropped task {task}"),
        WireWhat::ProjectCreated { .. } => "created the project".to_owned(),
        WireWhat::ProjectLimited { .. } => "gave the project other limits".to_owned(),
        WireWhat::BudgetChanged { budget, limits } => match limits {
            Some(limits) => format!("set budget {} to {}", shown(budget), limits_text(limits)),
            None => format!("removed budget {}", shown(budget)),
        },
        WireWhat::BudgetWarned {
            budget,
            field,
            used,
            limit,
        } => format!("budget {}: {} is used", shown(budget), of_limit(field, *used, *limit)),
        WireWhat::BudgetSpent {
            budget,
            field,
            used,
            limit,
        } => format!("budget {} is spent: {}", shown(budget), of_limit(field, *used, *limit)),
        WireWhat::QueueChanged {
            queue,
            paused_by,
            breaker,
        } => {
            let paused = paused_by.as_ref().map(|by| format!(", paused by {}", shown(by)));
            format!(
                "changed queue {}: breaker {}{}",
                shown(queue),
                breaker_text(breaker),
                paused.unwrap_or_default()
            )
        }
        WireWhat::ReservationGranted {
            reservation,
            holder,
            resources,
            ..
        } => format!("reserved {} for {holder} ({reservation})", wants_text(resources)),
        WireWhat::ReservationWaiting {
            reservation,
            holder,
            resources,
            ..
        } => format!("{holder} waits for {} ({reservation})", wants_text(resources)),
        WireWhat::ReservationEnded {
            reservation,
            holder,
            resources,
            reason,
            ..
        } => {
            let texts: Vec<String> = resources.iter().map(|text| shown(text)).collect();
            let texts = texts.join(", ");
            format!(
                "ended the reservation {reservation} of {holder} of {texts}: {}",
                shown(reason)
            )
        }
    };
    format!("{}  {time}  {}  {what}", event.cursor, shown(&event.author))
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::HexHash;
    use queenright_protocol::colony::ContentHash;
    use queenright_protocol::conflict::Kind;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let check = |what: WireWhat, expected: &str| {
            let event = WireEvent {
                cursor: "7.1".parse().unwrap(),
                seq: 7,
                what,
                author: "a\nb".into(),
                cluster_ms: 1,
                wall_ms: 1500,
            };
            assert_eq!(
                text(&event),
                format!("7.1  1970-01-01T00:00:01.500Z  a\\nb  {expected}")
            );
        };
        let changed = |hash: Option<HexHash>| WireWhat::Changed {
            key: "k".into(),
            revision: 2,
            deleted: hash.is_none(),
            hash,
            bytes: 3,
            tags: vec!["t".into()],
        };
        let hash = ContentHash::of(b"abc");
        let digits = &hash.to_string()[..12];
        check(
            changed(Some(HexHash(hash))),
            &format!("changed k to revision 2: 3 B, {digits} #t"),
        );
        check(changed(None), "deleted k at revision 2");
        let lost = WireWhat::Lost {
            kind: Kind::StaleRead,
            conflicts: 2,
            losses: 1,
        };
        check(lost, "lost a proposal: stale_read (conflicts: 2)");
    }
}
