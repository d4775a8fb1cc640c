//! The state made again from its pairs, and single things read from theirs. Nothing is believed of what they say: each
//! must have its form and fit what is there, and the whole must have the digest that was noted with it.

use std::sync::Arc;

use bytes::Bytes;

use super::pair::{place, reservation_settings_pair};
use super::{
    ImageError, Meta, Pair, PairProblem, StoredLife, StoredRecord, StoredReservation, StoredTask, StoredValue, decode,
};
use crate::colony::agent::{AgentId, Agents, Timer};
use crate::colony::command::{ContentHash, Key};
use crate::colony::digest::Digest;
use crate::colony::event::{Event, Events};
use crate::colony::hold::Hold;
use crate::colony::memory::{Kept, Memory, Record, Value};
use crate::colony::once::{DedupSession, Remembered};
use crate::colony::pool::{Pool, Pools};
use crate::colony::rate::Rate;
use crate::colony::reservation::{Reservation, ReservationId, Reserved, Resource};
use crate::colony::session::Session;
use crate::colony::task::{StoredQueue, Task, TaskId, Wait, WaitId};
use crate::colony::usage::{Account, AccountName};
use crate::colony::{Colony, Project, RULES};
use crate::id::NodeId;

impl Colony {
    /// The state that `meta` and `pairs` describe.
    ///
    /// # Errors
    /// When a pair is malformed, or they do not add up to the digest noted in `meta`.
    pub fn restore(meta: Meta, pairs: impl IntoIterator<Item = Pair>) -> Result<Colony, ImageError> {
        let mut pairs: Vec<Pair> = pairs.into_iter().collect();
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Colony::restore_in_order(meta, pairs)
    }

    /// Like [`Colony::restore`], for pairs in the order of [`Colony::pairs`]: they are taken one by one, and nothing is
    /// kept of them but the state.
    ///
    /// # Errors
    /// As [`Colony::restore`]; pairs in another order may be refused.
    pub fn restore_in_order(meta: Meta, pairs: impl IntoIterator<Item = Pair>) -> Result<Colony, ImageError> {
        if !RULES.contains(meta.rules_version) {
            return Err(ImageError::UnknownRules {
                found: meta.rules_version,
            });
        }
        let mut restorer = Restorer {
            colony: Colony::default(),
            events: Vec::new(),
        };
        if meta.about.len() != meta.projects.len() {
            return Err(ImageError::Malformed {
                key: "meta".into(),
                problem: "it does not say of every project what is known of it".into(),
            });
        }
        for ((name, _), about) in meta.projects.iter().zip(&meta.about) {
            if about.destroyed.is_some() {
                restorer.colony.clearing.insert(name.clone());
            }
            let project = Project {
                about: about.clone(),
                ..Project::default()
            };
            restorer.colony.projects.insert(name.clone(), project);
        }
        for (key, value) in pairs {
            restorer.take(&key, value).map_err(|problem| ImageError::Malformed {
                key: String::from_utf8_lossy(&key).into_owned(),
                problem,
            })?;
        }
        restorer.finish(meta)
    }
}

struct Restorer {
    colony: Colony,
    events: Vec<(Arc<str>, Vec<Event>)>,
}

impl Restorer {
    fn take(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), PairProblem> {
        let (kind, rest) = key.split_first().ok_or("is empty")?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or("names no project")?;
        let name = std::str::from_utf8(&rest[..end]).map_err(|_| "its project is not UTF-8")?;
        let rest = &rest[end + 1..];
        let text = || {
            std::str::from_utf8(rest)
                .map(Arc::<str>::from)
                .map_err(|_| PairProblem::Wrong("its key is not UTF-8"))
        };
        if *kind == b'a' {
            return restore_life(&mut self.colony.agents, name, rest, &value);
        }
        if *kind == b'p' {
            return restore_pool(&mut self.colony.pools, name, text()?, &value);
        }
        let project = self
            .colony
            .projects
            .get_mut(name)
            .ok_or("its project is not in the meta record")?;
        match kind {
            b'b' => restore_session(&mut self.colony.agents, name, rest, &value)?,
            b'c' => {
                let hash = ContentHash(rest.try_into().map_err(|_| "its hash is not 32 bytes long")?);
                if ContentHash::of(&value) != hash {
                    return Err("its bytes have another hash".into());
                }
                project.memory.contents.insert(
                    hash,
                    Kept {
                        bytes: Bytes::from(value),
                        holders: 0,
                    },
                );
            }
            b'e' => {
                let events: Vec<Event> = decode(&value)?;
                let first = events.first().ok_or("has no event")?;
                if place(first.cursor) != rest {
                    return Err("its first event has another place".into());
                }
                if self.events.last().is_none_or(|(last, _)| &**last != name) {
                    self.events.push((name.into(), Vec::new()));
                }
                let (_, before) = self.events.last_mut().expect("it was pushed if it was not there");
                let before_first = before.last().map(|event| event.cursor);
                if !events.is_sorted_by(|a, b| a.cursor < b.cursor) || before_first >= Some(first.cursor) {
                    return Err("its events are not in order".into());
                }
                before.extend(events);
            }
            b'h' => {
                let seq = u64::from_be_bytes(rest.try_into().map_err(|_| "its position is not 8 bytes long")?);
                let hold: Hold = decode(&value)?;
                if project.holds.get(seq).is_some() {
                    return Err("it stands twice".into());
                }
                self.colony
                    .agents
                    .set_timer(hold.until_ms, &name.into(), Timer::Hold(seq));
                project.holds.set(seq, hold);
            }
            b'i' => project.idempotency.restore(text()?, decode::<Remembered>(&value)?),
            b'l' => {
                let (rate, stored) = (text()?, decode::<Rate>(&value)?);
                if project.rates.get(&rate).is_some() {
                    return Err("it stands twice".into());
                }
                if !stored.is_sound() {
                    return Err("its settings are out of their bounds".into());
                }
                project.rates.set(&rate, Some(stored));
            }
            b'q' => {
                let queue = text()?;
                let owes_ms = project
                    .tasks
                    .restore_queue(queue.clone(), decode::<StoredQueue>(&value)?);
                self.colony.agents.set_owed(&name.into(), &queue, None, owes_ms);
            }
            b'r' => {
                let record = stored_record(decode(&value)?, &project.memory)?;
                project.memory.restore(text()?, record);
            }
            b't' => {
                let task = stored_task(rest, &value)?;
                if project.tasks.get(task.id).is_some() {
                    return Err("it stands twice".into());
                }
                if !self.colony.agents.link(&name.into(), &task) {
                    return Err("its owner is not there".into());
                }
                if task
                    .name
                    .as_ref()
                    .is_some_and(|name| project.tasks.named(name).is_some())
                {
                    return Err("its name is that of another task".into());
                }
                if !project.tasks.restore(task) {
                    return Err("its queue says nothing of it".into());
                }
            }
            b'u' => {
                let account = text()?;
                let account: AccountName = account.parse().map_err(|_| "its name is not that of an account")?;
                if project.accounts.get(&account).is_some() {
                    return Err("it stands twice".into());
                }
                let stored: Account = decode(&value)?;
                if !stored.is_sound(&account) {
                    return Err("it says what no account does".into());
                }
                project.accounts.set(&account, Some(stored));
            }
            b'v' => {
                let reservation = stored_reservation(rest, &value)?;
                if project.reservations.get(reservation.id).is_some() {
                    return Err("it stands twice".into());
                }
                if !self.colony.agents.link_reservation(&name.into(), &reservation) {
                    return Err("its owner is not there".into());
                }
                project.reservations.set(reservation);
            }
            b'k' => {
                if !rest.is_empty() {
                    return Err("the settings of reservations have one place".into());
                }
                if reservation_settings_pair(name, project.reservations.settings()).is_some() {
                    return Err("it stands twice".into());
                }
                project.reservations.set_settings(decode(&value)?);
            }
            b'w' => {
                let seq = u64::from_be_bytes(rest.try_into().map_err(|_| "its position is not 8 bytes long")?);
                let (id, wait) = (WaitId(seq), decode::<Wait>(&value)?);
                if project.tasks.wait(id).is_some() {
                    return Err("it stands twice".into());
                }
                if !self.colony.agents.link_wait(&name.into(), id, &wait) {
                    return Err("its owner is not there".into());
                }
                if !project.tasks.restore_wait(id, wait) {
                    return Err("its queue is not there".into());
                }
            }
            other => return Err(PairProblem::Kind(*other)),
        }
        Ok(())
    }

    fn finish(mut self, meta: Meta) -> Result<Colony, ImageError> {
        for (name, project) in &self.colony.projects {
            let mut contents = project.memory.contents.iter();
            if let Some((hash, _)) = contents.find(|(_, kept)| kept.holders == 0) {
                return Err(ImageError::Malformed {
                    key: format!("c{name} {hash}"),
                    problem: "no record holds this content".into(),
                });
            }
        }
        for (name, project) in &self.colony.projects {
            let clearing = project.about.destroyed.is_some();
            if let Some(problem) = project.tasks.restored_badly(clearing) {
                let key = format!("t{name}");
                return Err(ImageError::Malformed { key, problem });
            }
            for need in project.tasks.releasing() {
                self.colony.agents.set_due_now(name, Timer::Release(need), true);
            }
        }
        for (name, dropped) in meta.projects {
            let place = self.events.iter().position(|(project, _)| *project == name);
            let events = place.map(|place| self.events.swap_remove(place).1).unwrap_or_default();
            let project = self
                .colony
                .projects
                .get_mut(&name)
                .expect("it was made from the same list");
            // A store may still have events of an earlier project of this name.
            let made = project.about.made;
            let events = events.into_iter().filter(|event| event.cursor.seq >= made);
            project.events = Events::restore(dropped, events);
        }
        let mut colony = self.colony;
        colony.seq = meta.seq;
        colony.cluster_ms = meta.cluster_ms;
        colony.wall_ms = meta.wall_ms;
        colony.rules_version = meta.rules_version;
        colony.past = meta.past;
        colony.door_tokens = meta.door_tokens.into_iter().collect();
        colony.epoch = meta.epoch;
        for stored in meta.dedup {
            let session = DedupSession {
                incarnation: stored.incarnation,
                settled: stored.settled,
                outcomes: stored.outcomes.into_iter().collect(),
            };
            colony.dedup.by_node.insert(stored.node, session);
        }
        for (node, sinking) in meta.sinking {
            if !colony.agents.end_node(node, sinking.floor, sinking.end) {
                return Err(ImageError::Malformed {
                    key: format!("a{node}"),
                    problem: "its agents ended together, and there is none".into(),
                });
            }
        }
        for ((node, floor), until_ms) in meta.lost {
            if !colony.agents.sessions.lose(node, floor, until_ms) {
                return Err(ImageError::Malformed {
                    key: format!("b{node}"),
                    problem: "its sessions have a grace, and there is none".into(),
                });
            }
        }
        let found = colony.digest();
        if found != meta.digest {
            return Err(ImageError::Digest {
                found,
                noted: meta.digest,
            });
        }
        Ok(colony)
    }
}

/// Reads pairs of records of one project, given the pairs of its kept contents. Every value is hashed anew from its
/// bytes.
///
/// # Errors
/// When a pair is malformed, a content is missing, or its bytes do not have the hash that they are kept under.
pub fn read_records(records: Vec<Pair>, contents: Vec<Pair>) -> Result<Vec<(Key, Record)>, ImageError> {
    let mut memory = Memory::default();
    let malformed = |key: &[u8], problem: PairProblem| ImageError::Malformed {
        key: String::from_utf8_lossy(key).into_owned(),
        problem,
    };
    for (key, bytes) in contents {
        let hash = key.split_last_chunk().map(|(_, hash)| ContentHash(*hash));
        let hash = hash.ok_or_else(|| malformed(&key, "its hash is not 32 bytes long".into()))?;
        if ContentHash::of(&bytes) != hash {
            return Err(malformed(&key, "its bytes have another hash".into()));
        }
        memory.contents.insert(
            hash,
            Kept {
                bytes: Bytes::from(bytes),
                holders: 0,
            },
        );
    }
    let read = |(key, value): Pair| {
        let record = decode(&value)
            .map_err(PairProblem::from)
            .and_then(|stored| stored_record(stored, &memory));
        let record = record.map_err(|problem| malformed(&key, problem))?;
        let end = key.iter().position(|byte| *byte == 0).map_or(key.len(), |end| end + 1);
        let name = std::str::from_utf8(&key[end..]).map_err(|_| malformed(&key, "its key is not UTF-8".into()))?;
        Ok((name.into(), record))
    };
    records.into_iter().map(read).collect()
}

fn stored_task(place: &[u8], value: &[u8]) -> Result<Task, PairProblem> {
    let (seq, ordinal) = place.split_first_chunk().ok_or("its id is too short")?;
    let stored: StoredTask = decode(value)?;
    Ok(Task {
        id: TaskId {
            seq: u64::from_be_bytes(*seq),
            ordinal: u32::from_be_bytes(ordinal.try_into().map_err(|_| "its id is not 12 bytes long")?),
        },
        title: stored.title,
        kind: stored.kind,
        payload: stored.payload,
        name: stored.name,
        author: stored.author,
        added_ms: stored.added_ms,
        state: stored.state,
        attempts: stored.attempts,
        history: stored.history,
        terms: stored.terms.shared(),
        unmet: stored.unmet,
        counts: stored.counts,
        not_until_ms: stored.not_until_ms,
        wakes_ms: stored.wakes_ms,
        approved: stored.approved,
        checkpoint: stored.checkpoint,
        usage: stored.usage,
        digest: Digest::default(),
    })
}

fn stored_reservation(place: &[u8], value: &[u8]) -> Result<Reservation, PairProblem> {
    let (seq, ordinal) = place.split_first_chunk().ok_or("its id is too short")?;
    let stored: StoredReservation = decode(value)?;
    let mut resources = Vec::with_capacity(stored.resources.len());
    for (text, mode) in stored.resources {
        let resource = Resource::parse(&text).map_err(|refusal| PairProblem::Resource(refusal.into()))?;
        if resource.text() != text {
            return Err(PairProblem::Form(text));
        }
        resources.push(Reserved { resource, text, mode });
    }
    Ok(Reservation {
        id: ReservationId {
            seq: u64::from_be_bytes(*seq),
            ordinal: u32::from_be_bytes(ordinal.try_into().map_err(|_| "its id is not 12 bytes long")?),
        },
        resources,
        holder: stored.holder,
        reason: stored.reason,
        task: stored.task,
        asked_ms: stored.asked_ms,
        ttl_ms: stored.ttl_ms,
        state: stored.state,
        digest: Digest::default(),
    })
}

fn restore_pool(pools: &mut Pools, project: &str, name: Arc<str>, value: &[u8]) -> Result<(), PairProblem> {
    let pool: Pool = decode(value)?;
    if !project.is_empty() {
        return Err("a pool is of no project".into());
    }
    if pools.get(&name).is_some() {
        return Err("it stands twice".into());
    }
    if !pool.is_sound(&name) {
        return Err("its settings are out of their bounds".into());
    }
    pools.set(&name, Some(pool));
    Ok(())
}

fn restore_life(agents: &mut Agents, project: &str, place: &[u8], value: &[u8]) -> Result<(), PairProblem> {
    let (node, started) = place.split_first_chunk().ok_or("its place is too short")?;
    if !project.is_empty() {
        return Err("an agent belongs to no project".into());
    }
    let node = NodeId(u64::from_be_bytes(*node));
    let started = u64::from_be_bytes(started.try_into().map_err(|_| "its place is not 16 bytes long")?);
    let StoredLife {
        incarnation,
        name,
        generation,
        end,
    } = decode(value)?;
    let id = AgentId {
        node,
        incarnation,
        name,
        generation,
    };
    if agents.life(&(node, started)).is_some() {
        return Err("it stands twice".into());
    }
    agents.restore((node, started), id, end);
    Ok(())
}

fn restore_session(agents: &mut Agents, project: &str, place: &[u8], value: &[u8]) -> Result<(), PairProblem> {
    let session: Session = decode(value)?;
    if session.id.0.to_be_bytes() != place || &*session.project != project {
        return Err("its key is that of another session".into());
    }
    let sessions = &mut agents.sessions;
    if sessions.get(session.id).is_some() {
        return Err("it stands twice".into());
    }
    if sessions.of_token(&session.project, session.opened.token).is_some() {
        return Err("its token is that of another session".into());
    }
    sessions.insert(session);
    Ok(())
}

fn stored_record(stored: StoredRecord, memory: &Memory) -> Result<Record, PairProblem> {
    let value = match stored.value {
        None => None,
        Some(StoredValue::Inline(bytes)) => Some(Value::of(bytes)),
        Some(StoredValue::Kept(hash)) => {
            let kept = memory.contents.get(&hash).ok_or(PairProblem::Content(hash))?;
            Some(Value {
                hash,
                bytes: kept.bytes.clone(),
            })
        }
    };
    Ok(Record {
        revision: stored.revision,
        value,
        tags: stored.tags,
        author: stored.author,
        seq: stored.seq,
        changed_ms: stored.changed_ms,
        digest: Digest::default(),
    })
}
