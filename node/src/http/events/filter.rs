//! Which events are wanted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{EventCursor, EventPage, WireEvent};
use queenright_protocol::colony::{CursorError, Event, Subject, What};

use super::LOOKED_AT_MAX;
use crate::http::call::{Call, names};
use crate::http::problem::{Refused, invalid};

/// Which events are wanted.
pub(super) struct Filter {
    pub(super) prefix: String,
    pub(super) types: Option<BTreeSet<&'static str>>,
    subject: Option<Pattern>,
    author: Option<String>,
    agent: Option<String>,
    since_ms: u64,
    until_ms: u64,
}

/// The text of a subject, or its beginning.
enum Pattern {
    Is(String),
    Begins(String),
}

/// How much one page has.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) items: usize,
    /// Bytes as the colony counts them; one more item may go over.
    pub(super) bytes: u64,
}

impl Filter {
    pub(super) fn take(call: &mut Call) -> Result<Filter, Refused> {
        Ok(Filter {
            prefix: call.take("prefix").unwrap_or_default(),
            types: call
                .take("types")
                .map(|types| names("types", &types, &What::TYPES))
                .transpose()?,
            subject: call.take("subject").map(|text| pattern(&text)).transpose()?,
            author: call.take("author"),
            agent: call.take("agent"),
            since_ms: call.number("since_ms", 0..=u64::MAX)?.unwrap_or_default(),
            until_ms: call.number("until_ms", 0..=u64::MAX)?.unwrap_or(u64::MAX),
        })
    }

    /// The first field beside `prefix` and `types` that leaves events out.
    pub(super) fn narrower(&self) -> Option<&'static str> {
        let fields = [
            ("subject", self.subject.is_some()),
            ("author", self.author.is_some()),
            ("agent", self.agent.is_some()),
            ("since_ms", self.since_ms > 0),
            ("until_ms", self.until_ms < u64::MAX),
        ];
        fields.into_iter().find(|(_, given)| *given).map(|(field, _)| field)
    }

    fn wants(&self, event: &Event, text: &mut String) -> bool {
        let what = &event.what;
        let subject = what.subject();
        let begins = || match subject {
            Some(Subject::Key(key)) => key.starts_with(self.prefix.as_str()),
            _ => false,
        };
        self.types.as_ref().is_none_or(|types| types.contains(what.type_name()))
            && (self.prefix.is_empty() || begins())
            && (self.since_ms..self.until_ms).contains(&event.wall_ms)
            && self.author.as_ref().is_none_or(|author| **author == *event.author)
            && self
                .agent
                .as_ref()
                .is_none_or(|agent| **agent == *event.author || what.agent().is_some_and(|named| **agent == **named))
            && self
                .subject
                .as_ref()
                .is_none_or(|pattern| subject.is_some_and(|subject| pattern.fits(subject, text)))
    }

    /// The events after `after`, or from the oldest one kept.
    pub(super) fn page(
        &self,
        room: Room,
        snapshot: &Snapshot,
        project: &str,
        after: Option<EventCursor>,
    ) -> Result<EventPage, CursorError> {
        // Everything up to here has been looked at, unless the page fills before.
        let tail = EventCursor::behind(snapshot.colony.seq());
        let mut page = EventPage {
            events: Vec::new(),
            next_cursor: tail,
            has_more: false,
            oldest: None,
            tail,
            state: Vec::new(),
            state_next: None,
        };
        let Some(events) = snapshot.colony.project(project).map(|project| project.events()) else {
            return Ok(page);
        };
        let dropped = events.dropped().unwrap_or_default();
        page.oldest = events.after(dropped)?.next().map(|event| EventCursor(event.cursor));
        let (mut bytes, mut text) = (0, String::new());
        let mut last = after.map_or(dropped, |after| after.0);
        for (looked_at, event) in events.after(last)?.enumerate() {
            if page.events.len() == room.items || bytes > room.bytes || looked_at == LOOKED_AT_MAX {
                page.next_cursor = EventCursor(last);
                page.has_more = true;
                break;
            }
            last = event.cursor;
            if self.wants(event, &mut text) {
                bytes += event.bytes();
                page.events.push(WireEvent::from(&**event));
            }
        }
        Ok(page)
    }
}

fn pattern(text: &str) -> Result<Pattern, Refused> {
    let kind = text.split_once(':').map_or(text, |(kind, _)| kind);
    if !Subject::KINDS.contains(&kind) || !text.contains(':') {
        let known = Subject::KINDS.map(|kind| format!("{kind}:…")).join(", ");
        return Err(invalid("subject", format_args!("{text:?} is none of {known}")));
    }
    Ok(match text.strip_suffix('*') {
        Some(beginning) => Pattern::Begins(beginning.to_owned()),
        None => Pattern::Is(text.to_owned()),
    })
}

impl Pattern {
    fn fits(&self, subject: Subject<'_>, text: &mut String) -> bool {
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(text, "{subject}");
        match self {
            Pattern::Is(wanted) => text == wanted,
            Pattern::Begins(beginning) => text.starts_with(beginning.as_str()),
        }
    }
}
