//! The pair of each thing, and its key.

use std::sync::Arc;

use bytes::Bytes;

use super::{Pair, StoredLife, StoredRecord, StoredReservation, StoredTask, StoredValue, encode};
use crate::colony::agent::{Life, LifeKey};
use crate::colony::command::ContentHash;
use crate::colony::event::{Cursor, Event};
use crate::colony::hold::Hold;
use crate::colony::memory::Record;
use crate::colony::once::Remembered;
use crate::colony::pool::Pool;
use crate::colony::rate::Rate;
use crate::colony::reservation::{Reservation, ReservationId, ReservationSettings};
use crate::colony::session::{Session, SessionId};
use crate::colony::task::{Queue, Task, TaskId, Terms, Wait, WaitId};
use crate::colony::usage::{Account, AccountName};

/// The pair of a kept content; the value is `None` when it went.
pub fn content_pair(project: &str, hash: &ContentHash, bytes: Option<&Bytes>) -> (Vec<u8>, Option<Vec<u8>>) {
    (pair_key(b'c', project, &hash.0), bytes.map(|bytes| bytes.to_vec()))
}

/// The pair of some events of one project, in order.
///
/// # Panics
/// When there is no event.
pub fn event_pair(project: &str, events: &[&Arc<Event>]) -> Pair {
    let first = events.first().expect("a pair holds at least one event").cursor;
    (pair_key(b'e', project, &place(first)), encode(&events))
}

pub(super) fn place(cursor: Cursor) -> Vec<u8> {
    let mut place = cursor.seq.to_be_bytes().to_vec();
    place.extend(cursor.ordinal.to_be_bytes());
    place
}

/// The pair of a hold.
pub fn hold_pair(project: &str, seq: u64, hold: &Hold) -> Pair {
    (hold_key(project, seq), encode(hold))
}

/// The key of the pair of a hold: to remove it.
pub fn hold_key(project: &str, seq: u64) -> Vec<u8> {
    pair_key(b'h', project, &seq.to_be_bytes())
}

/// The pair of an idempotency key.
pub fn remembered_pair(project: &str, key: &str, remembered: &Remembered) -> Pair {
    (pair_key(b'i', project, key.as_bytes()), encode(remembered))
}

/// The key of the pair of an idempotency key: to remove it.
pub fn remembered_key(project: &str, key: &str) -> Vec<u8> {
    pair_key(b'i', project, key.as_bytes())
}

/// The pair of a task.
pub fn task_pair(project: &str, task: &Task) -> Pair {
    let stored = StoredTask {
        title: task.title.clone(),
        kind: task.kind.clone(),
        payload: task.payload.clone(),
        name: task.name.clone(),
        author: task.author.clone(),
        added_ms: task.added_ms,
        state: task.state.clone(),
        attempts: task.attempts,
        history: task.history.clone(),
        terms: Terms::clone(&task.terms),
        unmet: task.unmet.clone(),
        counts: task.counts,
        not_until_ms: task.not_until_ms,
        wakes_ms: task.wakes_ms,
        approved: task.approved.clone(),
        checkpoint: task.checkpoint.clone(),
        usage: task.usage,
    };
    (task_key(project, task.id), encode(&stored))
}

/// The key of the pair of a task: to remove it.
pub fn task_key(project: &str, task: TaskId) -> Vec<u8> {
    let TaskId { seq, ordinal } = task;
    pair_key(b't', project, &place(Cursor { seq, ordinal }))
}

/// The pair of a queue of tasks.
pub fn queue_pair(project: &str, name: &str, queue: &Queue) -> Pair {
    (queue_key(project, name), encode(&queue.stored()))
}

/// The key of the pair of a queue of tasks: to remove it.
pub fn queue_key(project: &str, name: &str) -> Vec<u8> {
    pair_key(b'q', project, name.as_bytes())
}

/// The pair of a rate.
pub fn rate_pair(project: &str, name: &str, rate: &Rate) -> Pair {
    (rate_key(project, name), encode(rate))
}

/// The key of the pair of a rate: to remove it.
pub fn rate_key(project: &str, name: &str) -> Vec<u8> {
    pair_key(b'l', project, name.as_bytes())
}

/// The pair of an account.
pub fn account_pair(project: &str, name: &AccountName, account: &Account) -> Pair {
    (account_key(project, name), encode(account))
}

/// The key of the pair of an account: to remove it.
pub fn account_key(project: &str, name: &AccountName) -> Vec<u8> {
    pair_key(b'u', project, name.to_string().as_bytes())
}

/// The pair of a reservation.
pub fn reservation_pair(project: &str, reservation: &Reservation) -> Pair {
    let resources = reservation.resources.iter();
    let stored = StoredReservation {
        resources: resources
            .map(|reserved| (reserved.text.clone(), reserved.mode))
            .collect(),
        holder: reservation.holder.clone(),
        reason: reservation.reason.clone(),
        task: reservation.task,
        asked_ms: reservation.asked_ms,
        ttl_ms: reservation.ttl_ms,
        state: reservation.state.clone(),
    };
    (reservation_key(project, reservation.id), encode(&stored))
}

/// The key of the pair of a reservation: to remove it.
pub fn reservation_key(project: &str, reservation: ReservationId) -> Vec<u8> {
    let ReservationId { seq, ordinal } = reservation;
    pair_key(b'v', project, &place(Cursor { seq, ordinal }))
}

/// The pair of what a project says of reservations; `None` when that is nothing.
pub fn reservation_settings_pair(project: &str, settings: &ReservationSettings) -> Option<Pair> {
    let says = *settings != ReservationSettings::default();
    says.then(|| (reservation_settings_key(project), encode(settings)))
}

/// The key of that pair: to remove it.
pub fn reservation_settings_key(project: &str) -> Vec<u8> {
    pair_key(b'k', project, b"")
}

/// The pair of a claim that waits.
pub fn wait_pair(project: &str, id: WaitId, wait: &Wait) -> Pair {
    (wait_key(project, id), encode(wait))
}

/// The key of the pair of a claim that waits: to remove it.
pub fn wait_key(project: &str, id: WaitId) -> Vec<u8> {
    pair_key(b'w', project, &id.0.to_be_bytes())
}

/// The pair of an agent's life.
pub fn life_pair(key: &LifeKey, life: &Life) -> Pair {
    let stored = StoredLife {
        incarnation: life.id.incarnation,
        name: life.id.name.clone(),
        generation: life.id.generation,
        end: life.end.clone(),
    };
    (life_key(key), encode(&stored))
}

/// The key of the pair of an agent's life: to remove it.
pub fn life_key((node, started): &LifeKey) -> Vec<u8> {
    let mut place = node.0.to_be_bytes().to_vec();
    place.extend(started.to_be_bytes());
    pair_key(b'a', "", &place)
}

/// The pair of a pool.
pub fn pool_pair(name: &str, pool: &Pool) -> Pair {
    (pool_key(name), encode(pool))
}

/// The key of the pair of a pool: to remove it.
pub fn pool_key(name: &str) -> Vec<u8> {
    pair_key(b'p', "", name.as_bytes())
}

/// The pair of a session.
pub fn session_pair(session: &Session) -> Pair {
    (session_key(&session.project, session.id), encode(session))
}

/// The key of the pair of a session: to remove it.
pub fn session_key(project: &str, session: SessionId) -> Vec<u8> {
    pair_key(b'b', project, &session.0.to_be_bytes())
}

/// The pair of a record.
pub fn record_pair(project: &str, key: &str, record: &Record) -> Pair {
    let value = record.value.as_ref().map(|value| match value.is_kept() {
        true => StoredValue::Kept(value.hash),
        false => StoredValue::Inline(value.bytes.clone()),
    });
    let stored = StoredRecord {
        revision: record.revision,
        value,
        tags: record.tags.clone(),
        author: record.author.clone(),
        seq: record.seq,
        changed_ms: record.changed_ms,
    };
    (pair_key(b'r', project, key.as_bytes()), encode(&stored))
}

/// The key of the pair of a record; with the beginning of a key, the beginning of all such pairs.
pub fn record_key(project: &str, key: &str) -> Vec<u8> {
    pair_key(b'r', project, key.as_bytes())
}

/// The beginning of the keys of all kept contents of a project.
pub fn content_prefix(project: &str) -> Vec<u8> {
    pair_key(b'c', project, b"")
}

pub(super) fn pair_key(kind: u8, project: &str, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + project.len() + rest.len());
    key.push(kind);
    key.extend(project.as_bytes());
    key.push(0);
    key.extend(rest);
    key
}
