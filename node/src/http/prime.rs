//! What an agent needs to know when it starts, in one answer of bounded length.
//!
//! | part, in this order | what | what has no room |
//! |---|---|---|
//! | claims | the tasks that it holds, by id, with their fences | those with the highest ids |
//! | reservations | what it has reserved and what it waits for, by id | those with the highest ids |
//! | pinned | the memory with the tag `pinned`, by key: up to three quarters of what these leave | those with the last keys |
//! | happened | what happened since its cursor, one line for each type and subject, the newest first | the oldest |
//!
//! The calls that make sense next come in any case. Each part that is cut says how much it left out, and the same state
//! makes the same answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{
    Code, EventCursor, Happening, Happenings, HeldReservation, HeldTask, Listed, NextCall, Pinned, Prime, Problem,
    WireHolder, WireReservation, WireTaskId,
};
use queenright_bench::client::{PRIME_BYTES, TOKEN_HEADER};
use queenright_protocol::colony::{
    Held, Lease, NAME_BYTES_MAX, Project, Record, ReservationId, SessionId, State as TaskState, Task, TaskId, TokenHash,
};
use serde::Serialize;

use super::Door;
use super::call::Call;
use super::events::LOOKED_AT_MAX;
use super::memory::consistency;
use super::problem::{Refused, invalid};

/// How many bytes of a pinned value are told: a longer one is read by its key.
const PINNED_BYTES_MAX: usize = 1 << 10;
/// What the counts, and the headings of the text, may add to the length of an answer.
const COUNTS_BYTES: usize = 208;
/// How much longer a character is when it is shown escaped, and a line of a value by its indentation.
const ESCAPED_BYTES: usize = 8;
const INDENT_BYTES: usize = 4;

/// `GET /v1/prime`
pub(super) async fn prime(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let consistency = consistency(&mut call)?;
    let after = call.parse::<EventCursor>("after")?;
    let (default, bounds) = PRIME_BYTES;
    let bytes = call.number("bytes", bounds)?.unwrap_or(default);
    let agent = call.take("agent");
    let token = call.header(TOKEN_HEADER)?.map(TokenHash::of);
    let caller = call.caller()?;
    let agent = agent.map_or_else(|| caller.author.clone(), Into::into);
    for (field, name) in [("agent", &agent), ("project", &caller.project)] {
        if name.len() > NAME_BYTES_MAX {
            let problem = format_args!("{} B is over the limit of {NAME_BYTES_MAX}", name.len());
            return Err(invalid(field, problem));
        }
    }
    let snapshot = door.look(consistency, &caller, after).await?;
    let nothing = Project::default();
    let sessions = snapshot.colony.sessions();
    let session = match token.map(|token| sessions.of_token(&caller.project, token)) {
        None => None,
        Some(Some(session)) => Some(session.id),
        Some(None) => {
            let detail = format!("no session of project {:?} has this token", caller.project);
            return Err(Problem::new(Code::NotFound, detail).into());
        }
    };
    let asked = Asked {
        snapshot: &snapshot,
        project: snapshot.colony.project(&caller.project).unwrap_or(&nothing),
        agent: &agent,
        session,
    };
    let held = asked.held(&caller.project);
    let claims = asked.claims(&held);
    let answer = Prime {
        next: asked.next(&caller.project, claims.values().next()),
        project: caller.project,
        agent: agent.clone(),
        cursor: EventCursor::behind(snapshot.colony.seq()),
        claims: Listed::default(),
        reservations: Listed::default(),
        pinned: Listed::default(),
        happened: Happenings::default(),
    };
    let reservations = asked.reservations(&held);
    Ok(Json(asked.filled(answer, claims, reservations, after, bytes as usize)).into_response())
}

/// Who asks, and in which state.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    project: &'a Project,
    agent: &'a str,
    session: Option<SessionId>,
}

/// How many bytes are left.
struct Room(usize);

impl Room {
    /// Takes the place of an item, if there is so much: that of its JSON, a comma and what a line of text has beyond it.
    fn take(&mut self, item: &impl Serialize, beyond: usize) -> bool {
        let json = serde_json::to_string(item).expect("plain data serialises into memory");
        // What a terminal would obey stands as it is in JSON, and escaped in text.
        let escaped = json.chars().filter(|c| c.is_control()).count() * ESCAPED_BYTES;
        let bytes = json.len() + 1 + escaped + beyond;
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// As many of the items as have room, from the first on.
    fn list<T: Serialize>(&mut self, items: impl ExactSizeIterator<Item = T>, beyond: fn(&T) -> usize) -> Listed<T> {
        let (total, mut listed) = (items.len(), Listed::default());
        for item in items {
            if !self.take(&item, beyond(&item)) {
                break;
            }
            listed.items.push(item);
        }
        listed.left_out = (total - listed.items.len()) as u64;
        listed
    }
}

fn length(value: &impl Serialize) -> usize {
    serde_json::to_vec(value)
        .expect("plain data serialises into memory")
        .len()
}

impl Asked<'_> {
    fn filled(
        &self,
        mut answer: Prime,
        claims: BTreeMap<TaskId, HeldTask>,
        reservations: Vec<HeldReservation>,
        after: Option<EventCursor>,
        bytes: usize,
    ) -> Prime {
        let mut room = Room(bytes.saturating_sub(length(&answer) + COUNTS_BYTES));
        answer.claims = room.list(claims.into_values(), |_| 0);
        answer.reservations = room.list(reservations.into_iter(), |_| 0);
        let events = room.0 / 4;
        let mut for_pinned = Room(room.0 - events);
        let memory = self.project.memory();
        let pinned = memory.pinned().map(|key| {
            let record = memory.record(key).expect("a pinned key has a record");
            pinned(key, record)
        });
        // Lines of a value are shown indented.
        let lines = |pinned: &Pinned| {
            let lines = pinned.value.as_ref().map_or(0, |value| value.lines().count());
            lines * INDENT_BYTES
        };
        answer.pinned = for_pinned.list(pinned, lines);
        room.0 = events + for_pinned.0;
        let (items, events, incomplete) = self.happened(after);
        let listed = room.list(items.into_iter(), |_| 0);
        answer.happened = Happenings {
            events,
            items: listed.items,
            left_out: listed.left_out,
            incomplete,
        };
        answer
    }

    /// What the caller holds: in its session, or in all that are called like it and as the hosted agent of that name.
    fn held(&self, project: &Arc<str>) -> Vec<Held> {
        let (sessions, agents) = (self.snapshot.colony.sessions(), self.snapshot.colony.agents());
        let called_so = sessions.of_project(project, None).take(LOOKED_AT_MAX);
        let called_so = called_so.filter(|session| session.ended.is_none() && *session.opened.name == *self.agent);
        match self.session {
            Some(session) => sessions.held(session).collect(),
            None => {
                let lives = agents.lives().map(|(_, life)| life);
                let lives = lives.filter(|life| *life.id.name == *self.agent);
                let hosted = lives.flat_map(|life| life.held.iter());
                let hosted = hosted.filter(|(name, _)| name == project).map(|(_, held)| *held);
                hosted
                    .chain(called_so.flat_map(|session| sessions.held(session.id)))
                    .collect()
            }
        }
    }

    fn claims(&self, held: &[Held]) -> BTreeMap<TaskId, HeldTask> {
        let tasks = held.iter().filter_map(|held| match held {
            Held::Task(id) => self.project.tasks().get(*id),
            Held::Reservation(_) => None,
        });
        let leased = tasks.filter_map(|task| match &task.state {
            TaskState::Leased(lease) => Some((task.id, self.held_task(task, lease))),
            _ => None,
        });
        leased.collect()
    }

    fn reservations(&self, held: &[Held]) -> Vec<HeldReservation> {
        let ids: BTreeSet<ReservationId> = held
            .iter()
            .filter_map(|held| match held {
                Held::Reservation(id) => Some(*id),
                Held::Task(_) => None,
            })
            .collect();
        let found = ids.into_iter().filter_map(|id| self.project.reservations().get(id));
        found
            .map(|found| {
                let WireReservation {
                    reservation,
                    resources,
                    holder,
                    left_ms,
                    task,
                    ..
                } = WireReservation::of(found, self.snapshot.colony.cluster_ms());
                HeldReservation {
                    reservation,
                    resources,
                    waits: found.is_waiting(),
                    holder,
                    left_ms,
                    task,
                }
            })
            .collect()
    }

    fn held_task(&self, task: &Task, lease: &Lease) -> HeldTask {
        HeldTask {
            task: WireTaskId(task.id),
            title: task.title.clone(),
            kind: task.kind.clone(),
            attempt: task.attempts,
            fence: lease.fence.0,
            holder: WireHolder::from(&lease.holder),
            left_ms: lease
                .until_ms
                .map(|until_ms| until_ms.saturating_sub(self.snapshot.colony.cluster_ms())),
            progress: lease.progress,
            note: lease.note.clone(),
        }
    }

    /// What happened, how many events that were, and whether there were more.
    fn happened(&self, after: Option<EventCursor>) -> (Vec<Happening>, u64, bool) {
        let events = self.project.events();
        let dropped = events.dropped().unwrap_or_default();
        let after = after.map_or(dropped, |after| after.0);
        let kept = events.after(after.max(dropped)).ok();
        let kept = kept.expect("nothing behind what was dropped is gone");
        let incomplete = after < dropped || kept.len() > LOOKED_AT_MAX;
        let looked_at = kept.len().min(LOOKED_AT_MAX) as u64;
        let mut happened: Vec<Happening> = Vec::new();
        let mut places: HashMap<(&str, Option<String>), usize> = HashMap::new();
        for event in kept.rev().take(LOOKED_AT_MAX) {
            let kind = event.what.type_name();
            let subject = event.what.subject().map(|subject| subject.to_string());
            let place = *places.entry((kind, subject.clone())).or_insert(happened.len());
            match happened.get_mut(place) {
                Some(known) => known.times += 1,
                None => happened.push(Happening {
                    kind: kind.to_owned(),
                    subject,
                    times: 1,
                    last: EventCursor(event.cursor),
                    author: event.author.clone(),
                }),
            }
        }
        (happened, looked_at, incomplete)
    }

    fn next(&self, project: &str, claim: Option<&HeldTask>) -> Vec<NextCall> {
        let of_project = match project {
            "default" => String::new(),
            name => format!(" --project {}", quoted(name)),
        };
        let call = |command: String, http: String| NextCall {
            command: format!("queenright {command}{of_project}"),
            http,
        };
        let cursor = self.snapshot.colony.seq();
        let mut next = Vec::new();
        match claim {
            Some(HeldTask { task, fence, .. }) => next.push(call(
                format!("task finish {task} --fence {fence} --token TOKEN"),
                format!("POST /v1/tasks/{task}:finish"),
            )),
            None if self.project.tasks().ready() > 0 => {
                next.push(call("task claim".to_owned(), "POST /v1/tasks:claim".to_owned()));
            }
            None => {}
        }
        next.push(call(
            format!("events --after {cursor} --follow"),
            format!("GET /v1/events?after={cursor}&wait_ms=60000"),
        ));
        next
    }
}

/// A word of a command line.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', r"'\''"))
}

fn pinned(key: &Arc<str>, record: &Record) -> Pinned {
    let bytes = record.value.as_ref().map_or(&[][..], |value| &value.bytes);
    let text = str::from_utf8(bytes).ok();
    let end = text.map(|text| text.floor_char_boundary(PINNED_BYTES_MAX));
    Pinned {
        key: key.clone(),
        revision: record.revision,
        bytes: bytes.len() as u64,
        value: text.zip(end).map(|(text, end)| text[..end].to_owned()),
        cut: end.is_some_and(|end| end < bytes.len()),
    }
}
