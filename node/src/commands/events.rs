//! `queenright events`: what happened, from a cursor on.

use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt as _;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{WireEvent, WireWhat};
use queenright_bench::client::{Client, EVENTS_LIMIT_MAX, Filter};

use super::door::{client_of_project, of_read};
use super::queue::breaker_text;
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
    if args.follow {
        tokio::select! {
            followed = follow(&client, &args, context) => followed?,
            // If it cannot be caught it ends the process, which is what is wanted.
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
    } else {
        print(&client, &args, context).await?;
    }
    Ok(Exit::Ok)
}

fn filter(args: &EventsArgs) -> Filter {
    Filter {
        prefix: args.prefix.clone(),
        types: Vec::new(),
    }
}

async fn follow(client: &Client, args: &EventsArgs, context: &Context) -> Result<(), CliError> {
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut events = client.events_follow(args.after, filter(args)).take(limit);
    while let Some(event) = events.next().await {
        let event = event.map_err(of_read)?;
        context.answer(&event, text(&event))?;
    }
    Ok(())
}

async fn print(client: &Client, args: &EventsArgs, context: &Context) -> Result<(), CliError> {
    let (filter, mut after) = (filter(args), args.after);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let limit = left.min(EVENTS_LIMIT_MAX);
        let page = client.events(after, limit, Duration::ZERO, &filter, Consistency::Linearizable);
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
        WireWhat::Lost { kind, conflicts } => format!("lost a proposal: {kind} (conflicts: {conflicts})"),
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
        };
        check(lost, "lost a proposal: stale_read (conflicts: 2)");
    }
}
