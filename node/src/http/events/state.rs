//! The present state and the cursor behind it, in one answer or in several.
//!
//! The first page fixes a position, the cursor from which its reader will follow. Every page shows the state at that
//! position but for what has changed behind it: that is left out, since the events that the reader follows tell of it. So
//! pages need no state to be kept for them, any node serves the next one, and nothing is missing or told twice. A page that
//! comes so late that events behind the position are gone is refused with `CURSOR_EXPIRED`.

use std::collections::BTreeSet;

use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{Code, EventCursor, EventPage, Problem, WireState, WireTask};
use queenright_protocol::colony::{Cursor, Events, Project, Subject, TaskId, What};
use serde_json::json;

use super::filter::{Filter, Room};
use super::{LOOKED_AT_MAX, is_ahead};
use crate::http::call::{Call, names};
use crate::http::memory::info;
use crate::http::problem::{Refused, invalid};

/// What may be asked for.
pub(in crate::http) const KINDS: [&str; 2] = ["memory", "tasks"];
/// What a task counts towards the bytes of a page: a line of a list leaves payload and result out.
const TASK_BYTES: u64 = 512;

/// Which part of the state is wanted.
pub(super) struct StateQuery {
    kinds: BTreeSet<&'static str>,
    from: Option<Place>,
}

/// Behind which key or task a page begins; `None` is the beginning of the keys, or of the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Key(Option<String>),
    Task(Option<TaskId>),
}

/// What a page still takes.
struct Left {
    room: Room,
    looked_at: usize,
}

impl StateQuery {
    pub(super) fn take(call: &mut Call, filter: &Filter) -> Result<Option<StateQuery>, Refused> {
        let from = call.take("snapshot_after").map(|text| place(&text)).transpose()?;
        let Some(kinds) = call.take("snapshot") else {
            return match from {
                None => Ok(None),
                Some(_) => Err(invalid("snapshot_after", "goes together with snapshot")),
            };
        };
        let kinds = names("snapshot", &kinds, &KINDS)?;
        let not_together = |field: &str| Err(invalid(field, "does not go together with snapshot"));
        if let Some(field) = filter.narrower() {
            return not_together(field);
        }
        if kinds.contains("tasks") && !filter.prefix.is_empty() {
            return Err(invalid("prefix", "does not go together with a snapshot of tasks"));
        }
        // What has changed since is left to the events: the filter must let them through.
        let tells = |kind: &str, name: &str| match kind {
            "memory" => name == "changed",
            _ => name.starts_with("task_"),
        };
        for kind in &kinds {
            let mut telling = What::TYPES.iter().filter(|name| tells(kind, name));
            if let Some(types) = &filter.types
                && let Some(missing) = telling.find(|name| !types.contains(**name))
            {
                let problem = format_args!("leaves out {missing}, by which a snapshot of {kind} is followed");
                return Err(invalid("types", problem));
            }
        }
        Ok(Some(StateQuery { kinds, from }))
    }

    /// Whether a page and its position go together.
    pub(super) fn check_page(&self, after: Option<EventCursor>) -> Result<(), Refused> {
        match (after, &self.from) {
            (None, None) | (Some(_), Some(_)) => Ok(()),
            (Some(_), None) => Err(invalid(
                "after",
                "goes together with snapshot only where a page has said snapshot_after",
            )),
            (None, Some(_)) => Err(invalid("snapshot_after", "needs the cursor of its page as after")),
        }
    }

    /// Goes on behind a page.
    pub(super) fn go_on(&mut self, next: &str) {
        self.from = place(next).ok();
    }

    /// A page as of `position`, or of the present where it is the first.
    pub(super) fn page(
        &self,
        filter: &Filter,
        room: Room,
        snapshot: &Snapshot,
        project: &str,
        position: Option<EventCursor>,
    ) -> Result<EventPage, Refused> {
        let tail = EventCursor::behind(snapshot.colony.seq());
        let position = position
            .filter(|position| !is_ahead(snapshot, *position))
            .unwrap_or(tail);
        let mut page = EventPage {
            events: Vec::new(),
            next_cursor: position,
            has_more: false,
            oldest: None,
            tail,
            state: Vec::new(),
            state_next: None,
        };
        let Some(project) = snapshot.colony.project(project) else {
            return Ok(page);
        };
        let dropped = project.events().dropped().unwrap_or_default();
        let oldest = project.events().after(dropped)?.next();
        page.oldest = oldest.map(|event| EventCursor(event.cursor));
        let behind = project.events().after(position.0)?;
        if behind.len() > LOOKED_AT_MAX {
            let detail = format!(
                "more than {LOOKED_AT_MAX} events have happened since this snapshot began, at {position}: begin it again"
            );
            return Err(Problem::new(Code::CursorExpired, detail)
                .with_details(json!({ "after": position, "oldest": page.oldest }))
                .into());
        }
        let mut left = Left { room, looked_at: 0 };
        let next = self
            .keys(filter, &mut left, project, position.0, &mut page.state)
            .or_else(|| self.tasks(&mut left, project, position.0, &mut page.state));
        page.state_next = next.map(|place| text(&place));
        page.has_more = page.state_next.is_some();
        Ok(page)
    }

    /// Adds keys; the place where the page is full.
    fn keys(
        &self,
        filter: &Filter,
        left: &mut Left,
        project: &Project,
        position: Cursor,
        state: &mut Vec<WireState>,
    ) -> Option<Place> {
        let from = match &self.from {
            Some(Place::Task(_)) => return None,
            Some(Place::Key(from)) => from.clone(),
            None => None,
        };
        if !self.kinds.contains("memory") {
            return None;
        }
        let mut last = from.clone();
        for (key, record) in project.memory().range(&filter.prefix, from.as_deref()) {
            if left.is_full() {
                return Some(Place::Key(last));
            }
            last = Some(key.to_string());
            if record.value.is_some() && record.seq <= position.seq {
                let tags: usize = record.tags.iter().map(|tag| tag.len()).sum();
                left.took((256 + key.len() + tags) as u64);
                state.push(WireState::Key(info(key, record, false)));
            }
        }
        None
    }

    /// Adds tasks; the place where the page is full.
    fn tasks(&self, left: &mut Left, project: &Project, position: Cursor, state: &mut Vec<WireState>) -> Option<Place> {
        if !self.kinds.contains("tasks") {
            return None;
        }
        let from = match &self.from {
            Some(Place::Task(from)) => *from,
            _ => None,
        };
        let told = tasks_told_of(project.events(), position);
        let mut last = from;
        for task in project.tasks().after(from) {
            if left.is_full() {
                return Some(Place::Task(last));
            }
            last = Some(task.id);
            if task.is_open() && task.id.seq <= position.seq && !told.contains(&task.id) {
                left.took(TASK_BYTES + task.title.len() as u64);
                state.push(WireState::Task(WireTask::line(task, project)));
            }
        }
        None
    }
}

impl Left {
    /// Whether nothing more fits; counts a look.
    fn is_full(&mut self) -> bool {
        self.looked_at += 1;
        self.room.items == 0 || self.room.bytes == 0 || self.looked_at > LOOKED_AT_MAX
    }

    fn took(&mut self, bytes: u64) {
        self.room.items -= 1;
        self.room.bytes = self.room.bytes.saturating_sub(bytes);
    }
}

/// The tasks that events behind `position` tell of; the caller has bounded them.
fn tasks_told_of(events: &Events, position: Cursor) -> BTreeSet<TaskId> {
    let events = events.after(position).into_iter().flatten();
    let tasks = events.filter_map(|event| match event.what.subject() {
        Some(Subject::Task(task)) => Some(task),
        _ => None,
    });
    tasks.collect()
}

fn text(place: &Place) -> String {
    match place {
        Place::Key(key) => format!("key:{}", key.as_deref().unwrap_or_default()),
        Place::Task(task) => format!("task:{}", task.map(|task| task.to_string()).unwrap_or_default()),
    }
}

fn place(text: &str) -> Result<Place, Refused> {
    match text.split_once(':') {
        Some(("key", "")) => Ok(Place::Key(None)),
        Some(("key", key)) => Ok(Place::Key(Some(key.to_owned()))),
        Some(("task", "")) => Ok(Place::Task(None)),
        Some(("task", task)) => {
            let task = task.parse().map_err(|error| invalid("snapshot_after", error))?;
            Ok(Place::Task(Some(task)))
        }
        _ => Err(invalid(
            "snapshot_after",
            format_args!("{text:?} is not what a page has said"),
        )),
    }
}
