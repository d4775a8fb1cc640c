//! Tasks as people read them.

use queenright_bench::client::wire::{AddedTasks, ClaimedTasks, TaskList, WireTask};
use queenright_protocol::colony::{Priority, StateName, Tier};
use serde_json::Value;

use super::budget::usage_text;
use super::reserve::wants_text;
use super::table::{Table, or_dash, shown};

pub(super) fn added_text(added: &AddedTasks) -> String {
    let lines: Vec<String> = added
        .tasks
        .iter()
        .map(|added| match added.existing {
            true => format!("{} (was there already)", added.task),
            false => added.task.to_string(),
        })
        .collect();
    lines.join("\n")
}

pub(super) fn claimed_text(claimed: &ClaimedTasks) -> String {
    if claimed.tasks.is_empty() {
        return match &claimed.waits_for {
            Some(budget) => format!("no task is to be had: the queue waits for {}", shown(budget)),
            None => "no task is ready; next: --wait waits for one, `queenright task list` shows what others wait for"
                .to_owned(),
        };
    }
    let mut table = Table::new(["TASK", "ATTEMPT", "FENCE", "KIND", "TITLE", "PAYLOAD"]);
    for task in &claimed.tasks {
        table.row([
            task.task.to_string(),
            task.attempt.to_string(),
            task.fence.to_string(),
            or_dash(task.kind.as_deref().map(shown)),
            shown(&task.title),
            json_text(&task.payload),
        ]);
    }
    let session = or_dash(claimed.session.map(|session| session.to_string()));
    let token = or_dash(claimed.token.clone());
    format!("session {session}\ntoken {token}\n\n{table}")
}

fn json_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        value => shown(&value.to_string()),
    }
}

pub(super) fn list_text(list: &TaskList) -> String {
    let mut table = Table::new(["TASK", "STATE", "ATTEMPTS", "QUEUE", "KIND", "HOLDER", "TITLE"]);
    for task in &list.tasks {
        let lease = task.lease.as_ref().map(|lease| lease.holder.to_string());
        let holder = lease.or(task.finished.as_ref().map(|finished| finished.holder.to_string()));
        table.row([
            task.task.to_string(),
            match task.waits_for {
                Some(_) => format!("{}, waits for budget", task.state),
                None => task.state.to_string(),
            },
            task.attempts.to_string(),
            shown(&task.terms.queue),
            or_dash(task.kind.as_deref().map(shown)),
            or_dash(holder),
            shown(&task.title),
        ]);
    }
    let mut counts = vec![
        format!("{} pending", list.pending),
        format!("{} leased", list.leased),
        format!("{} finished", list.finished),
    ];
    let others = list.states.iter().filter(|(state, _)| {
        let waits = state.is_open() && ![StateName::Pending, StateName::Leased].contains(state);
        waits || **state == StateName::Dead
    });
    counts.extend(others.map(|(state, count)| format!("{count} {state}")));
    let counts = counts.join(", ");
    let more = list.next.map(|next| format!("\nmore after {next}")).unwrap_or_default();
    format!("{counts}\n\n{table}{more}")
}

pub(super) fn task_text(task: &WireTask) -> String {
    let mut lines = vec![format!("task {}: {}", task.task, shown(&task.title))];
    let mut line = |name: &str, value: String| lines.push(format!("{name:<9} {value}"));
    line("state", task.state.to_string());
    if let Some(kind) = &task.kind {
        line("kind", shown(kind));
    }
    if let Some(name) = &task.name {
        line("name", shown(name));
    }
    if !task.payload.is_null() {
        line("payload", json_text(&task.payload));
    }
    line("queue", terms_text(task));
    if !task.blocked_by.is_empty() {
        let needs = task
            .blocked_by
            .iter()
            .map(|need| format!("{} ({})", need.task, need.state));
        line("needs", needs.collect::<Vec<_>>().join(", "));
    }
    if let Some(wakes_ms) = task.wakes_ms {
        line("waits", format!("until {wakes_ms} ms of cluster time"));
    }
    if let Some(budget) = &task.waits_for {
        line("waits", format!("for {}", shown(budget)));
    }
    if let Some(by) = &task.paused_by {
        line("paused by", shown(by));
    }
    for check in &task.terms.checks {
        line("check", shown(check));
    }
    if !task.terms.resources.is_empty() {
        line("resources", wants_text(&task.terms.resources));
    }
    if let Some(closed) = &task.closed {
        line(
            "why",
            format!(
                "{} (by {}, seq {})",
                shown(&closed.reason),
                shown(&closed.by),
                closed.seq
            ),
        );
    }
    if !task.checkpoint.is_null() {
        line("left", json_text(&task.checkpoint));
    }
    line("added by", shown(&task.author));
    line("attempts", task.attempts.to_string());
    if !task.usage.is_nothing() {
        line("used", usage_text(&task.usage));
    }
    if let Some(lease) = &task.lease {
        let until = lease
            .until_ms
            .map(|until| format!(", until {until} ms of cluster time"));
        let accepted = if lease.accepted { ", accepted" } else { "" };
        line(
            "held by",
            format!(
                "{}, fence {}{}{accepted}",
                lease.holder,
                lease.fence,
                until.unwrap_or_default()
            ),
        );
    }
    if let Some(lease) = &task.lease {
        let progress = lease.progress.map(|progress| format!("{progress} %"));
        let said = progress.into_iter().chain(lease.note.as_deref().map(shown));
        let said: Vec<String> = said.collect();
        if !said.is_empty() {
            line("progress", said.join(", "));
        }
        if let Some(to) = &lease.hand_off {
            line("offered to", shown(to));
        }
    }
    if let Some(finished) = &task.finished {
        line(
            "finished",
            format!("by {}, fence {}, seq {}", finished.holder, finished.fence, finished.seq),
        );
        if let Some(failure) = &finished.failure {
            line("failure", shown(failure));
        }
        if !finished.result.is_null() {
            line("result", json_text(&finished.result));
        }
    }
    if let Some(cancel) = task.lease.as_ref().and_then(|lease| lease.cancel.as_ref()) {
        line("cancel", shown(cancel));
    }
    for attempt in &task.history {
        line(
            "returned",
            format!(
                "attempt {} by {}: {}",
                attempt.attempt,
                attempt.holder,
                shown(&attempt.reason)
            ),
        );
    }
    lines.join("\n")
}

/// The queue of a task, and what of its terms is not as usual.
fn terms_text(task: &WireTask) -> String {
    let terms = &task.terms;
    let mut parts = vec![shown(&terms.queue)];
    if terms.priority != Priority::default() || terms.tier != Tier::default() {
        let lane = serde_json::json!([terms.priority, terms.tier]);
        let words: Vec<&str> = lane
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        parts.push(words.join(" "));
    }
    let lists = [("requires", &terms.requires), ("labels", &terms.labels)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let all: Vec<String> = list.iter().map(|one| shown(one)).collect();
        parts.push(format!("{name} {}", all.join(" ")));
    }
    parts.join(", ")
}

/// One line for each task that needs others, or that needs none and is needed.
pub(super) fn graph_text(open: &[WireTask]) -> String {
    let mut lines = Vec::new();
    for task in open {
        lines.push(format!("{} {} {}", task.task, task.state, shown(&task.title)));
        lines.extend(task.terms.needs.iter().map(|need| {
            let unmet = task.blocked_by.iter().find(|unmet| unmet.task == *need);
            let state = unmet.map_or("done".to_owned(), |unmet| unmet.state.to_string());
            format!("  needs {need} ({state})")
        }));
    }
    match lines.is_empty() {
        true => "no task is open".to_owned(),
        false => lines.join("\n"),
    }
}
