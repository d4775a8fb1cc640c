//! A project: the unit of order and of atomicity. How it begins and ends: [`super::projects`]. Here: its state, and each
//! command as one step; of proposals more in [`propose`] and [`batch`].

mod batch;
mod propose;

use std::sync::Arc;

use super::Applied;
use super::agent::{Agents, Timer};
use super::command::{
    Body, Change, Command, ContentHash, IDEMPOTENCY_KEY_BYTES_MAX, Key, NAME_BYTES_MAX, Op, Outcome, Refusal,
};
use super::digest::Digest;
use super::event::{Cursor, Event, Events, What};
use super::hold::Holds;
use super::memory::{Memory, MergeRoom, Next, Record, Stamp, Unprepared, check_form, malformed, over_limit};
use super::once::{IdempotencyKeys, Remembered, body_digest};
use super::projects::About;
use super::rate::Rates;
use super::reservation::Reservations;
use super::task::Tasks;
use super::usage::Accounts;
use crate::id::NodeId;

/// The state of one project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its collective memory.
    pub(crate) memory: Memory,
    /// What happened in it.
    pub(crate) events: Events,
    /// The idempotency keys of its callers.
    pub(crate) idempotency: IdempotencyKeys,
    /// Its tasks.
    pub(crate) tasks: Tasks,
    /// The keys that are held for proposals that have lost again and again.
    pub(crate) holds: Holds,
    /// Its reservations.
    pub(crate) reservations: Reservations,
    /// Its rates.
    pub(crate) rates: Rates,
    /// What was used in it, and its budgets.
    pub(crate) accounts: Accounts,
    /// What is known of it beside all that.
    pub(crate) about: About,
}

const PROJECT_DIGEST: u8 = b'p';

/// The command that is being executed: where it stands in the order, and whose it is.
pub(crate) struct Scope<'a> {
    pub(crate) seq: u64,
    pub(crate) cluster_ms: u64,
    pub(crate) wall_ms: u64,
    /// The node that gathered it, and which start of that node.
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) project: &'a Arc<str>,
    pub(crate) author: &'a Arc<str>,
}

/// Checks the names that a command carries.
pub(crate) fn check_names(command: &Command) -> Result<(), Refusal> {
    check_name("project", &command.project)?;
    check_name("author", &command.author)?;
    match &command.idempotency_key {
        Some(key) if key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
            Err(over_limit("idempotency_key", key.len(), IDEMPOTENCY_KEY_BYTES_MAX))
        }
        Some(key) if key.is_empty() || key.chars().any(char::is_control) => {
            Err(malformed("idempotency_key", "is empty or has a control character"))
        }
        _ => Ok(()),
    }
}

/// Whether a text may be the name of a project or of an author: 1 to [`NAME_BYTES_MAX`] bytes without a slash or a control
/// character.
///
/// # Errors
/// [`Refusal::OverLimit`] or [`Refusal::Malformed`], with the field.
pub fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX {
        return Err(over_limit(field, name.len(), NAME_BYTES_MAX));
    }
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == '/') {
        return Err(malformed(field, "is empty, or has a slash or a control character"));
    }
    Ok(())
}

impl Project {
    /// Its collective memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What happened in it.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Its tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The keys that are held for proposals that have lost again and again.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Its reservations.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Its rates.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// What was used in it, and its budgets.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What is stored under an idempotency key, also when its time is over.
    pub fn remembered(&self, key: &str) -> Option<&Arc<Remembered>> {
        self.idempotency.stored(key)
    }

    /// The idempotency keys that are stored.
    pub fn remembered_keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.idempotency.iter().map(|(key, _)| key)
    }

    /// Whether nothing was ever changed, told or remembered in it.
    pub(crate) fn is_untouched(&self) -> bool {
        let told = !self.events.is_empty() || self.events.dropped().is_some();
        let nothing = self.memory.is_empty() && self.tasks.is_empty() && self.reservations.is_empty();
        nothing && !told && self.idempotency.is_empty() && self.rates.is_empty() && self.accounts.is_empty()
    }

    /// The digest over all that a snapshot holds of it.
    pub(crate) fn digest(&self, name: &str) -> Digest {
        let sums = [
            self.memory.digest,
            self.events.digest,
            self.idempotency.digest,
            self.tasks.digest,
            self.holds.digest,
            self.reservations.digest,
            self.rates.digest,
            self.accounts.digest,
        ];
        Digest::of(PROJECT_DIGEST, &(name, sums, self.events.dropped(), &self.about))
    }

    /// Ends a hold.
    pub(crate) fn end_hold(&mut self, seq: u64, agents: &mut Agents, name: &Arc<str>, applied: &mut Applied) {
        if let Some(hold) = self.holds.remove(seq) {
            agents.unset_timer(hold.until_ms, name, Timer::Hold(seq));
            applied.holds.push((name.clone(), seq));
        }
    }

    /// Executes a command once for each idempotency key.
    pub(crate) fn execute(
        &mut self,
        command: &Command,
        agents: &mut Agents,
        scope: &Scope<'_>,
        applied: &mut Applied,
    ) -> Outcome {
        let Some(key) = &command.idempotency_key else {
            return self.within_rate(&command.body, agents, scope, applied);
        };
        let body = body_digest(&command.body);
        match self.idempotency.get(key, scope.cluster_ms) {
            Some(remembered) if remembered.body == body => remembered.outcome.clone(),
            Some(_) => Outcome::Refused(Refusal::IdempotencyKeyReused { key: key.clone() }),
            None => {
                let outcome = self.within_rate(&command.body, agents, scope, applied);
                // At a limit of the project it may be another one soon.
                if matches!(outcome, Outcome::Refused(Refusal::Quota { .. })) {
                    return outcome;
                }
                let changed = &mut |key| applied.remembered.push((scope.project.clone(), key));
                self.idempotency
                    .remember(key.clone(), body, outcome.clone(), scope.cluster_ms, changed);
                outcome
            }
        }
    }

    /// Carries out a command if the rate of the project has room for it; one that is refused for other reasons counts.
    fn within_rate(&mut self, body: &Body, agents: &mut Agents, scope: &Scope<'_>, applied: &mut Applied) -> Outcome {
        match self.about.take_command(body, scope.cluster_ms) {
            Ok(()) => self.carry_out(body, agents, scope, applied),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn carry_out(&mut self, body: &Body, agents: &mut Agents, scope: &Scope<'_>, applied: &mut Applied) -> Outcome {
        let mut step = Step {
            project: self,
            agents,
            scope,
            applied,
            ordinal: 0,
        };
        let outcome = match body {
            Body::Change(change) => step.change(change),
            Body::Propose(proposal) => step.propose(proposal, None),
            Body::ProposeBatch(batch) => step.propose_batch(batch),
            Body::Withheld(low) => Err(Refusal::DiskLow(low.clone())),
            Body::Task(command) => step.task(command),
            Body::Session(command) => step.session(command),
            Body::Reservation(command) => step.reservation(command),
            Body::Rate(command) => step.rate(command),
            Body::Budget(command) => step.budget(command),
            Body::Agent(_) | Body::Project(_) | Body::DoorToken(_) | Body::Topology(_) | Body::Pool(_) => {
                unreachable!("the colony carries these out itself")
            }
        };
        if outcome.is_ok() {
            step.hand_out();
        }
        outcome.unwrap_or_else(Outcome::Refused)
    }
}

/// One command at work on its project.
pub(crate) struct Step<'a> {
    pub(crate) project: &'a mut Project,
    pub(crate) agents: &'a mut Agents,
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) applied: &'a mut Applied,
    /// The place of the next event among those of this command.
    pub(crate) ordinal: u32,
}

impl Step<'_> {
    fn change(&mut self, change: &Change) -> Result<Outcome, Refusal> {
        check_form(&change.key, &change.tags, &change.op)?;
        if matches!(change.op, Op::Merge(_)) {
            return Err(malformed("op", "a merge is part of a proposal"));
        }
        let now_ms = self.scope.cluster_ms;
        if let Some((_, hold)) = self.project.holds.against(&change.key, None, now_ms) {
            return Err(Refusal::KeyHeld {
                key: change.key.clone(),
                author: hold.author.clone(),
                until_ms: hold.until_ms,
            });
        }
        self.check_not_reserved(change)?;
        let memory = &self.project.memory;
        let current = memory.current(&change.key);
        current.check(&change.key, change.condition)?;
        let next = memory.prepare(
            &change.key,
            current,
            &change.op,
            &change.tags,
            &mut MergeRoom::default(),
        );
        let next = next.map_err(|unprepared| match unprepared {
            Unprepared::Refused(refusal) => refusal,
            Unprepared::Unmerged(_) => unreachable!("a change is no merge"),
        })?;
        self.check_growth(|| {
            let change = (&change.key, &next, &change.tags[..]);
            self.project.memory.growth([change])
        })?;
        let revision = self.set(&change.key, next, &change.tags);
        Ok(Outcome::Changed {
            seq: self.scope.seq,
            revision,
        })
    }

    fn set(&mut self, key: &Key, next: Next, tags: &[Arc<str>]) -> u64 {
        let Scope {
            seq,
            cluster_ms,
            project,
            author,
            ..
        } = *self.scope;
        let stamp = Stamp {
            author,
            seq,
            now_ms: cluster_ms,
        };
        let contents = &mut self.applied.contents;
        let content_changed = &mut |hash: ContentHash| contents.push((project.clone(), hash));
        let record = self.project.memory.set(key, next, tags, &stamp, content_changed);
        let revision = record.revision;
        self.event(changed(key, &record));
        self.applied.records.push((project.clone(), key.clone(), revision));
        revision
    }

    pub(crate) fn event(&mut self, what: What) {
        let event = Arc::new(Event {
            cursor: Cursor {
                seq: self.scope.seq,
                ordinal: self.ordinal,
            },
            cluster_ms: self.scope.cluster_ms,
            wall_ms: self.scope.wall_ms,
            author: self.scope.author.clone(),
            what,
        });
        self.ordinal += 1;
        self.project.events.push(event.clone());
        self.applied.events.push((self.scope.project.clone(), event));
    }
}

fn changed(key: &Key, record: &Record) -> What {
    What::Changed {
        key: key.clone(),
        revision: record.revision,
        hash: record.value.as_ref().map(|value| value.hash),
        bytes: record.value.as_ref().map_or(0, |value| value.bytes.len() as u64),
        tags: record.tags.clone(),
    }
}
