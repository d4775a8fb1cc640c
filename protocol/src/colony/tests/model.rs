//! What the colony promises, written down as plainly as it goes: whole states in ordered maps, every pair of a batch
//! compared with every other. It shares types with the colony and no rule.

mod batches;
mod door_tokens;
mod endings;
mod epochs;
mod forms;
mod lives;
mod pools;
mod projects;
mod proposals;
mod rates;
mod reservations;
mod sessions;
mod tasks;
mod usage;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::lives::ModelLife;
pub(super) use self::projects::{ModelAbout, counted};
use self::proposals::{Cannot, Left, left_by, values};
pub(super) use self::rates::ModelRate;
pub(super) use self::reservations::{ANY, ModelReservation, ModelReservations, exclude};
pub(super) use self::sessions::ModelSession;
use self::tasks::ModelTasks;
pub(super) use self::tasks::{ModelQueue, ModelTask};
pub(super) use self::usage::ModelAccount;
use super::random::Step;
use super::*;
use crate::conflict::{Kind, Policy};

#[derive(Clone, Default)]
pub(super) struct Model {
    seq: u64,
    cluster_ms: u64,
    pub(super) projects: BTreeMap<String, ModelProject>,
    /// By node and incarnation; what is settled, and every outcome from there on.
    dedup: BTreeMap<(NodeId, u64), (u64, BTreeMap<u64, Outcome>)>,
    pub(super) lives: Vec<ModelLife>,
    pub(super) door_tokens: Vec<(String, DoorToken)>,
    pub(super) pools: Vec<(String, Pool)>,
    pub(super) epoch: Option<Epoch>,
    /// By how much the rules were raised above the first ones.
    pub(super) raised: u32,
}

#[derive(Clone, Default)]
pub(super) struct ModelProject {
    pub(super) held: BTreeMap<String, Held>,
    pub(super) events: Vec<Event>,
    /// The newest event that was dropped.
    pub(super) dropped: Option<Cursor>,
    pub(super) tasks: ModelTasks,
    pub(super) sessions: Vec<ModelSession>,
    /// How many sessions have ended since some were forgotten last.
    ends: usize,
    /// By the position at which they were granted.
    pub(super) holds: BTreeMap<u64, Hold>,
    pub(super) queues: BTreeMap<Arc<str>, ModelQueue>,
    pub(super) reservations: ModelReservations,
    pub(super) rates: BTreeMap<Arc<str>, ModelRate>,
    pub(super) accounts: BTreeMap<AccountName, ModelAccount>,
    /// The claims that wait, or whose offers are not answered yet.
    pub(super) waits: BTreeMap<WaitId, Wait>,
    pub(super) about: ModelAbout,
    /// By idempotency key: the body, the outcome, and when it is forgotten.
    once: BTreeMap<String, (Body, Outcome, u64)>,
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) value: Option<Vec<u8>>,
    pub(super) tags: Vec<Arc<str>>,
    pub(super) author: Arc<str>,
    pub(super) seq: u64,
    pub(super) changed_ms: u64,
}

pub(super) type Holds = BTreeMap<String, Held>;

impl Model {
    pub(super) fn apply(&mut self, step: &Step) -> Option<Outcome> {
        self.cluster_ms = self.cluster_ms.max(step.cluster_ms);
        if step.empty_before {
            self.sweep(256, wall_ms(step.cluster_ms));
            self.forget_sessions();
        }
        self.sweep(4, wall_ms(step.cluster_ms));
        self.forget_sessions();
        match self.newest(step.node) {
            Some(newest) if newest > step.incarnation => return None,
            Some(newest) if newest < step.incarnation => {
                self.sink(step.node, AgentEnd::NodeRestarted);
                if !self.waits_at(step.node).is_empty() {
                    self.seq += 1;
                    self.end_waits_at(step.node, wall_ms(step.cluster_ms));
                    self.forget_sessions();
                }
            }
            _ => {}
        }
        let session = self.dedup.entry((step.node, step.incarnation)).or_default();
        let number = step.command.number;
        if let Some(outcome) = session.1.get(&number) {
            return Some(outcome.clone());
        }
        if number < session.0 {
            return None;
        }
        self.seq += 1;
        let outcome = self.judge(step);
        self.forget_sessions();
        let session = self.dedup.entry((step.node, step.incarnation)).or_default();
        session.1.insert(number, outcome.clone());
        session.0 = session.0.max(step.command.settled);
        let settled = session.0;
        session.1.retain(|number, _| *number >= settled);
        Some(outcome)
    }

    fn judge(&mut self, step: &Step) -> Outcome {
        let (command, wall_ms) = (&step.command, wall_ms(step.cluster_ms));
        let now_ms = self.cluster_ms;
        if command.expires_ms < now_ms {
            return Outcome::Refused(Refusal::Expired {
                expires_ms: command.expires_ms,
                cluster_ms: now_ms,
            });
        }
        if let Some(refusal) = bad_names(command) {
            return Outcome::Refused(refusal);
        }
        let of_no_project = matches!(
            command.body,
            Body::Agent(_) | Body::Project(_) | Body::DoorToken(_) | Body::Topology(_) | Body::Pool(_)
        );
        if of_no_project && command.idempotency_key.is_some() {
            return Outcome::Refused(bad("idempotency_key", "is for the commands of a project"));
        }
        if let Body::Agent(agent) = &command.body {
            let outcome = self.agent_command(step, agent, wall_ms);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Body::Topology(wanted) = &command.body {
            return self.topology_command(wanted).unwrap_or_else(Outcome::Refused);
        }
        let at = At {
            seq: self.seq,
            now_ms,
            wall_ms,
            author: command.author.clone(),
            project: command.project.clone(),
            node: step.node,
            incarnation: step.incarnation,
            lives: self.lives.clone(),
            told_elsewhere: 0,
        };
        if let Body::Project(wanted) = &command.body {
            let outcome = self.project_command(&command.project, wanted, &at);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Body::DoorToken(wanted) = &command.body {
            let outcome = self.door_token_command(wanted, &at);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Body::Pool(wanted) = &command.body {
            return self.pool_command(wanted, &at).unwrap_or_else(Outcome::Refused);
        }
        if let Err(refusal) = self.not_clearing(&command.project) {
            return Outcome::Refused(refusal);
        }
        let there = self.projects.contains_key(&*command.project);
        if command.listed && !there {
            let project = command.project.clone();
            return Outcome::Refused(Refusal::UnknownProject { project });
        }
        let new = || ModelProject {
            about: ModelAbout::new(ProjectLimits::default(), &at),
            ..ModelProject::default()
        };
        let mut project = self.projects.get(&*command.project).cloned().unwrap_or_else(new);
        let key = command.idempotency_key.clone();
        let known = key
            .as_ref()
            .and_then(|key| project.once.get(&**key))
            .filter(|known| known.2 > now_ms);
        match known {
            Some((body, outcome, _)) if *body == command.body => return outcome.clone(),
            Some(_) => return Outcome::Refused(Refusal::IdempotencyKeyReused { key: key.unwrap() }),
            None => {}
        }
        let outcome = project.within_rate(&command.body, &at);
        if outcome.is_ok() {
            project.hand_out(&at);
        }
        let outcome = outcome.unwrap_or_else(Outcome::Refused);
        if let Some(key) = key.filter(|_| !matches!(outcome, Outcome::Refused(Refusal::Quota { .. }))) {
            // A few whose time is over are forgotten.
            for _ in 0..4 {
                let oldest = project.once.iter().min_by_key(|(key, known)| (known.2, *key));
                let oldest = oldest.filter(|(_, known)| known.2 <= now_ms);
                if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                    project.once.remove(&key);
                }
            }
            project.once.insert(
                key.to_string(),
                (command.body.clone(), outcome.clone(), now_ms + 3_600_000),
            );
        }
        if there
            || !(project.held.is_empty()
                && project.tasks.is_empty()
                && project.queues.is_empty()
                && project.waits.is_empty()
                && project.reservations.is_empty()
                && project.rates.is_empty()
                && project.accounts.is_empty()
                && project.events.is_empty()
                && project.once.is_empty())
        {
            self.projects.insert(command.project.to_string(), project);
        }
        outcome
    }
}

/// The place of a command.
struct At {
    seq: u64,
    now_ms: u64,
    wall_ms: u64,
    author: Arc<str>,
    project: Arc<str>,
    node: NodeId,
    incarnation: u64,
    lives: Vec<ModelLife>,
    /// How many events were told of this command in other projects.
    told_elsewhere: u32,
}

fn over(field: &str, value: usize, limit: u64) -> Refusal {
    Refusal::OverLimit {
        field: field.into(),
        value: value as u64,
        limit,
    }
}

fn bad(field: &str, problem: &str) -> Refusal {
    Refusal::Malformed {
        field: field.into(),
        problem: problem.into(),
    }
}

fn bad_names(command: &Command) -> Option<Refusal> {
    for (field, name) in [("project", &command.project), ("author", &command.author)] {
        if name.len() > 128 {
            return Some(over(field, name.len(), 128));
        }
        if name.is_empty() || name.contains('/') || name.contains(char::is_control) {
            return Some(bad(field, "is empty, or has a slash or a control character"));
        }
    }
    match command.idempotency_key.as_deref() {
        Some(key) if key.len() > 256 => Some(over("idempotency_key", key.len(), 256)),
        Some("") => Some(bad("idempotency_key", "is empty or has a control character")),
        _ => None,
    }
}

fn bad_key(key: &str) -> Option<Refusal> {
    match key {
        "" => Some(bad("key", "is empty")),
        _ if key.len() > 3840 => Some(over("key_bytes", key.len(), 3840)),
        _ => key.contains('\0').then(|| bad("key", "has a NUL character")),
    }
}

fn bad_tags(tags: &[Arc<str>]) -> Option<Refusal> {
    let long = tags.iter().map(|tag| tag.len()).find(|bytes| *bytes > 128);
    let too_many = (tags.len() > 16).then(|| over("tags", tags.len(), 16));
    let unsorted = tags.windows(2).any(|pair| pair[0] >= pair[1]);
    too_many
        .or(long.map(|bytes| over("tag_bytes", bytes, 128)))
        .or(unsorted.then(|| bad("tags", "are not sorted and distinct")))
}

fn bad_change(key: &str, tags: &[Arc<str>], op: &Op) -> Option<Refusal> {
    bad_key(key).or(bad_tags(tags)).or(match op {
        Op::SetAdd(line) if line.contains('\n') => Some(bad("set_add", "a line of a set has no line break")),
        Op::Merge(merge) => bad_tags(&merge.base_tags),
        _ => None,
    })
}

fn held(state: &Holds, key: &str) -> Held {
    state.get(key).cloned().unwrap_or_default()
}

fn hash(held: &Held) -> Option<ContentHash> {
    held.value.as_ref().map(|value| ContentHash::of(value))
}

/// The content that the keys of `state` keep under `hash`.
fn find_content(state: &Holds, hash: &ContentHash) -> Option<Vec<u8>> {
    let mut values = state.values().filter_map(|held| held.value.clone());
    values.find(|value| value.len() >= 1024 && ContentHash::of(value) == *hash)
}

impl ModelProject {
    fn carry_out(&mut self, body: &Body, at: &At) -> Result<Outcome, Refusal> {
        let seq = at.seq;
        match body {
            Body::Change(change) => {
                bad_change(&change.key, &change.tags, &change.op).map_or(Ok(()), Err)?;
                if matches!(change.op, Op::Merge(_)) {
                    return Err(bad("op", "a merge is part of a proposal"));
                }
                if let Some((_, hold)) = self.hold_on(&change.key, None, at) {
                    return Err(Refusal::KeyHeld {
                        key: change.key.clone(),
                        author: hold.author.clone(),
                        until_ms: hold.until_ms,
                    });
                }
                let writer = self.writer(change.caller.as_ref(), at)?;
                if let Some(reservation) = self.reservation_against(&change.key, writer.as_ref(), at) {
                    return Err(Refusal::Reserved {
                        key: change.key.clone(),
                        reservation: reservation.id,
                        holder: Box::new(reservation.holder),
                    });
                }
                let held = held(&self.held, &change.key);
                let (revision, present) = (held.revision, held.value.is_some());
                if match change.condition {
                    Condition::None => false,
                    Condition::IfAbsent => present,
                    Condition::IfRevision(wanted) => wanted != revision,
                } {
                    let key = change.key.clone();
                    return Err(Refusal::Condition { key, revision, present });
                }
                let left = left_by(&change.op, &change.key, &change.tags, &self.held, &self.held);
                let left = left.map_err(|cannot| match cannot {
                    Cannot::Refused(refusal) => refusal,
                    Cannot::Merge(_) => unreachable!(),
                })?;
                self.check_memory(&self.memory_with([(&change.key, &left)]))?;
                let revision = self.set(&change.key, left, at);
                Ok(Outcome::Changed { seq, revision })
            }
            Body::Propose(proposal) => self.propose(proposal, at),
            Body::ProposeBatch(batch) => self.batch(batch, at),
            Body::Withheld(low) => Err(Refusal::DiskLow(low.clone())),
            Body::Task(command) => self.task_command(command, at),
            Body::Session(command) => self.session_command(command, at),
            Body::Reservation(command) => self.reservation_command(command, at),
            Body::Rate(command) => self.rate_command(command, at),
            Body::Budget(command) => self.budget_command(command, at),
            Body::Agent(_) | Body::Project(_) | Body::DoorToken(_) | Body::Topology(_) | Body::Pool(_) => {
                unreachable!()
            }
        }
    }

    /// Commits what is not a dry run; the revisions that each write has, or would have.
    fn commit(&mut self, proposal: &Proposal, values: Vec<Left>, at: &At) -> Vec<u64> {
        let writes = proposal.writes.iter().zip(values);
        writes
            .map(|(write, left)| match proposal.dry_run {
                true => held(&self.held, &write.key).revision + 1,
                false => self.set(&write.key, left, at),
            })
            .collect()
    }

    fn set(&mut self, key: &Key, left: Left, at: &At) -> u64 {
        let Left { value, tags, .. } = left;
        let held = Held {
            revision: held(&self.held, key).revision + 1,
            value,
            tags: tags.clone(),
            author: at.author.clone(),
            seq: at.seq,
            changed_ms: at.now_ms,
        };
        let (revision, hash) = (held.revision, hash(&held));
        let bytes = held.value.as_ref().map_or(0, Vec::len) as u64;
        self.held.insert(key.to_string(), held);
        let key = key.clone();
        self.event(
            What::Changed {
                key,
                revision,
                hash,
                bytes,
                tags,
            },
            at,
        );
        revision
    }

    fn event(&mut self, what: What, at: &At) {
        let here = self.events.iter().filter(|event| event.cursor.seq == at.seq).count() as u32;
        let ordinal = at.told_elsewhere + here;
        self.events.push(Event {
            cursor: Cursor { seq: at.seq, ordinal },
            cluster_ms: at.now_ms,
            wall_ms: at.wall_ms,
            author: at.author.clone(),
            what,
        });
        for _ in 0..4 {
            if self.events[0].cluster_ms + 604_800_000 < at.now_ms {
                self.dropped = Some(self.events.remove(0).cursor);
            }
        }
    }
}
