//! `queenright task watch`: how far the work is.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{EventCursor, WireWhat};
use queenright_bench::client::{Client, ClientError, Filter, TaskQuery};
use queenright_protocol::colony::StateName;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::door::{client_of_project, of_read};
use super::{CliError, Context};
use crate::cli::WatchArgs;
use crate::exit::Exit;

/// How long at least from one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// How long one wait for an event is.
const WAIT: Duration = Duration::from_secs(20);
/// How many events are counted at once.
const EVENTS: u64 = 10_000;
/// How long a node may not answer before the watch ends.
const RECONNECT: Duration = Duration::from_secs(30);

/// How far the work is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// How many tasks wait.
    pending: u64,
    /// How many are held.
    leased: u64,
    /// How many finished ones are kept.
    finished: u64,
    /// How many were done since the watch began.
    done_since: u64,
    /// How many have failed since then.
    failed_since: u64,
}

/// Shows how far the work is whenever that changes, until Ctrl-C, or until nothing is left to do.
///
/// # Errors
/// [`CliError`] when the node does not answer for half a minute.
pub(super) async fn run(args: WatchArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?;
    tokio::select! {
        watched = watch(&client, &args, context) => watched?,
        // If it cannot be caught it ends the process, which is what is wanted.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Ok)
}

async fn watch(client: &Client, args: &WatchArgs, context: &Context) -> Result<(), CliError> {
    let bar = match context.shows_progress() {
        true => {
            let style = ProgressStyle::with_template("{bar:40} {msg} [{elapsed}]").expect("a template that is tested");
            ProgressBar::new(0).with_style(style)
        }
        false => ProgressBar::hidden(),
    };
    let (mut shown, mut counts) = (None, Counts::default());
    // The first look says where the events of this watch begin.
    let all = Filter::default();
    let tail = repeated(|| client.events(None, 1, Duration::ZERO, &all, Consistency::Linearizable)).await?;
    let mut after = tail.tail;
    loop {
        let looked = Instant::now();
        after = count(client, after, &mut counts).await?;
        let query = TaskQuery {
            limit: Some(1),
            consistency: Consistency::Local,
            ..TaskQuery::default()
        };
        let list = repeated(|| client.tasks(&query)).await?;
        // Those that are blocked, paused or not approved of are still to be done.
        let waits = list
            .states
            .iter()
            .filter(|(state, _)| state.is_open() && **state != StateName::Leased);
        counts.pending = waits.map(|(_, count)| count).sum();
        (counts.leased, counts.finished) = (list.leased, list.finished);
        if shown.as_ref() != Some(&counts) {
            bar.set_length(counts.pending + counts.leased + counts.finished);
            bar.set_position(counts.finished);
            bar.set_message(text(&counts));
            if bar.is_hidden() {
                context.answer(&counts, text(&counts))?;
            }
            shown = Some(counts.clone());
        }
        if args.until_empty && counts.pending + counts.leased == 0 {
            bar.finish_and_clear();
            if context.shows_progress() {
                context.answer(&counts, text(&counts))?;
            }
            return Ok(());
        }
        sleep_until(looked + EVERY).await;
        let filter = tasks();
        repeated(|| client.events(Some(after), 1, WAIT, &filter, Consistency::Local)).await?;
    }
}

/// Counts what was finished behind the cursor; returns the cursor behind it.
async fn count(client: &Client, mut after: EventCursor, counts: &mut Counts) -> Result<EventCursor, CliError> {
    let filter = tasks();
    loop {
        let page = repeated(|| client.events(Some(after), EVENTS, Duration::ZERO, &filter, Consistency::Local)).await?;
        after = page.next_cursor;
        for event in &page.events {
            match event.what {
                WireWhat::TaskFinished {
                    state: StateName::Done, ..
                } => counts.done_since += 1,
                WireWhat::TaskFinished { .. } => counts.failed_since += 1,
                _ => {}
            }
        }
        if !page.has_more {
            return Ok(after);
        }
    }
}

fn tasks() -> Filter {
    let types = [
        "task_added",
        "task_claimed",
        "task_finished",
        "task_returned",
        "task_moved",
    ];
    Filter {
        types: types.map(str::to_owned).to_vec(),
        ..Filter::default()
    }
}

/// Asks again while the node does not answer, for half a minute.
async fn repeated<T, F>(ask: impl Fn() -> F) -> Result<T, CliError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.is_temporary() && started.elapsed() < RECONNECT => sleep(EVERY).await,
            answer => return answer.map_err(of_read),
        }
    }
}

fn text(counts: &Counts) -> String {
    let Counts {
        pending,
        leased,
        finished,
        done_since,
        failed_since,
    } = counts;
    format!(
        "{pending} pending, {leased} leased, {finished} finished; since the start {done_since} done, {failed_since} failed"
    )
}
