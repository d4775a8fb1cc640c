//! The colony: what the nodes agree on, and the rules by which it changes.
//!
//! [`Colony::apply`] is a pure function of the state, the time that the entry carries, and its rounds: no clock, no
//! randomness, no order of a hash table. It takes the commands of the rounds one by one, each against the state that
//! those before it left, so **where rounds are cut never shows in an outcome** and the colony has a plain sequential
//! specification.
//!
//! The state of a project is made of persistent maps: a clone costs O(1) and is a snapshot.

mod agent;
mod clearing;
mod command;
mod digest;
mod door_token;
mod epoch;
mod event;
mod growth;
mod hold;
mod image;
mod lost_to;
mod memory;
mod once;
mod place;
mod pool;
mod project;
mod projects;
mod proposal;
mod range;
mod rate;
mod recovery;
mod reservation;
mod round;
mod rules;
mod session;
mod sweep;
mod task;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

pub use self::agent::{
    AGENT_DONE, AGENT_REASON_BYTES_MAX, AGENT_STOPPED, AGENTS_PER_NODE_MAX, AgentCommand, AgentEnd, AgentId, Agents,
    Held, Life, LifeKey, Timer,
};
pub use self::command::{
    Body, Change, Command, Condition, Content, ContentHash, GROWN_VALUE_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX,
    KEY_BYTES_MAX, Key, Merge, NAME_BYTES_MAX, OUTCOME_BYTES_MAX, Op, Outcome, Refusal, TAG_BYTES_MAX, TAGS_MAX,
    VALUE_BYTES_MAX,
};
pub use self::digest::Digest;
pub use self::door_token::{
    Access, DOOR_TOKEN_NAME_BYTES_MAX, DOOR_TOKENS_MAX, DoorToken, DoorTokenCommand, DoorTokens, SecretHash,
};
pub use self::epoch::{CUTS_MAX, Epoch, GONE_MAX, MEMBERS_MAX, TopologyCommand};
pub use self::event::{
    Cursor, CursorError, EVENT_BYTES_KEPT_MAX, EVENTS_KEPT_MAX, EVENTS_KEPT_MS, Event, Events, Subject, What,
};
pub use self::growth::DiskLow;
pub use self::hold::{
    HOLD_AFTER_LOSSES, HOLD_BYTES_MAX, HOLD_KEYS_MAX, HOLD_MS, HOLD_RANGES_MAX, HOLDS_MAX, Hold, Holds,
};
pub use self::image::{
    ImageError, Meta, Pair, PairProblem, account_key, account_pair, content_pair, content_prefix, event_pair, hold_key,
    hold_pair, life_key, life_pair, pool_key, pool_pair, queue_key, queue_pair, rate_key, rate_pair, read_records,
    record_key, record_pair, remembered_key, remembered_pair, reservation_key, reservation_pair,
    reservation_settings_key, reservation_settings_pair, session_key, session_pair, task_key, task_pair, wait_key,
    wait_pair,
};
pub use self::lost_to::LostTo;
use self::memory::malformed;
pub use self::memory::{KEPT_BYTES_MIN, Kept, Memory, PINNED_TAG, Record, Value};
use self::once::Seen;
pub use self::once::{DedupSession, DedupSessions, IDEMPOTENCY_MS, IdempotencyKeys, Remembered};
pub use self::place::{ADDRESS_BYTES_MAX, NODE_NAME_CHARS_MAX, PLACES_MAX, Place, first_number, next_number, place_of};
pub use self::pool::share;
pub use self::pool::{
    POOL_AGENTS_MAX, POOL_ARGUMENTS_BYTES_MAX, POOL_IDLE_MS_MAX, POOL_KINDS_MAX, POOL_LABEL_BYTES_MAX, POOL_LABELS_MAX,
    POOL_NAME_BYTES_MAX, POOL_SLOTS_MAX, POOLS_MAX, Pool, PoolCommand, PoolSettings, Pools, RECYCLE_AGE_MS,
    RECYCLE_COUNT_MAX, RECYCLE_MEMORY_BYTES_MAX, Recycle,
};
use self::project::Scope;
pub use self::project::{Project, check_name};
pub use self::projects::{About, COMMANDS_PER_S_MAX, Holdings, ProjectCommand, ProjectLimits};
pub use self::proposal::{
    BATCH_KEYS_MAX, BATCH_LISTED_BYTES_MAX, BATCH_PROPOSALS_MAX, CONFLICTS_LISTED_MAX, Conflict, Expected,
    PROPOSAL_KEYS_MAX, Proposal, ProposalBatch, Read, TaskFence, UNMERGED_LISTED_MAX, Verdict, Write,
};
pub use self::range::{
    BATCH_RANGE_BYTES_MAX, BATCH_RANGE_KEYS_MAX, GLOB_BYTES_MAX, GLOB_LOOKED_AT_BYTES_MAX, PROPOSAL_RANGES_MAX,
    RANGE_DEPTH_MAX, RangeRead, RangeStamp, RangeState, Span,
};
pub use self::rate::{
    RATE_INTERVAL_MS, RATE_TOKENS_MAX, RATES_MAX, Rate, RateCommand, RateSettings, Rates, TASK_RATES_MAX, Tokens,
};
pub use self::recovery::{Past, RECOVERIES_MAX, SEQ_JUMP, TooManyRecoveries};
pub use self::reservation::{
    Acquire, BLOCKERS_LISTED_MAX, Blocker, Checked, Force, LOOKUP_STEPS_MAX, Mode, RELEASED_MAX, RESERVATION_BYTES_MAX,
    RESERVATION_IDS_MAX, RESERVATION_OF_LEASE_MS, RESERVATION_REASON_BYTES_MAX, RESERVATION_TTL_MS,
    RESERVATION_TTL_MS_MAX, RESERVATION_TTL_MS_MIN, RESERVATION_WAIT_MS_MAX, RESERVATIONS_MAX,
    RESERVATIONS_OF_OWNER_MAX, RESERVED_RESOURCES_MAX, Release, Released, Renew, Reservation, ReservationCommand,
    ReservationEnd, ReservationId, ReservationIdError, ReservationSettings, Reservations, Reserved, Resource,
    SLOT_CAPACITY_MAX, SLOTS_MAX, Standing, WAITING_MAX, WAITING_RESOURCES_MAX, Want,
};
pub use self::round::{Batch, Checkpoint, ROUND_BYTES_MAX, ROUND_VERSION, Round, RoundError};
pub use self::rules::{RULES, UnknownRules};
pub use self::session::{
    Ended, NewSession, PROGRAM_BYTES_MAX, SESSION_GRACE_MS, SESSION_TTL_MS, SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN,
    SESSION_WORDS_MAX, SESSIONS_ENDED_KEPT_MAX, SESSIONS_ENDED_KEPT_MS, SESSIONS_PER_NODE_MAX, SESSIONS_TOLD_MAX,
    Session, SessionCommand, SessionEnd, SessionId, SessionIdError, Sessions, TokenHash,
};
pub use self::sweep::{COLONY_AUTHOR, STEPS_PER_COMMAND, STEPS_PER_EMPTY_ROUND};
pub use self::task::{
    ADD_TASKS_MAX, ATTEMPTS_MAX, Accept, Act, Added, Attempt, BREAKER_FAILURES_MAX, BREAKER_PAUSE_MS, Breaker,
    BreakerSettings, CAPABILITIES_MAX, CHEAPER_MAX, CHECK_BYTES_MAX, CHECKPOINT_BYTES_MAX, CHECKS_MAX, CLAIM_KINDS_MAX,
    CLAIM_PASSES_MAX, CLAIM_TASKS_MAX, CLASSES_MAX, COST_DEFAULT, Caller, Claim, Claimable, Claimed, Closed, Control,
    Counts, Distribution, Ending, FACTOR_MAX, FINISHED_BYTES_KEPT_MAX, FINISHED_KEPT_MAX, FINISHED_KEPT_MS,
    FOLLOW_UPS_MAX, Failure, Fence, Finish, FinishWith, Finished, GROUPS_MAX, HISTORY_MAX, Holder, LABELS_MAX, Lease,
    Leave, NEEDS_MAX, NOTE_BYTES_MAX, Need, NewTask, OFFER_MS, OPEN_BYTES_MAX, OPEN_TASKS_MAX, Owner, PASSES_MAX,
    PAYLOAD_BYTES_MAX, Priority, QUEUE_DEFAULT, QUEUES_MAX, Queue, QueueChange, QueueClosed, RESULT_BYTES_MAX, Retry,
    Return, SPAN_MS_MAX, STALE_MS, Serves, State, StateName, TASK_NAME_BYTES_MAX, TASK_REASON_BYTES_MAX,
    TASK_RESOURCES_MAX, TITLE_BYTES_MAX, Task, TaskCommand, TaskId, TaskIdError, Tasks, Terms, Tier, Unmet, Update,
    WAIT_MS_MAX, WAIT_PROFILES_MAX, WAITS_COMPARED_MAX, WAITS_MAX, WAITS_PER_NODE_MAX, WAITS_PER_OWNER_MAX, Wait,
    WaitId, Wants, Which,
};
pub use self::usage::{
    ACCOUNT_NAME_BYTES_MAX, ACCOUNTS_MAX, Account, AccountName, AccountNameError, Accounts, Budget, BudgetCommand,
    BudgetLimits, OverBudget, Spent, USAGE_MAX, Usage, Used,
};
use crate::conflict::Detector;
use crate::id::NodeId;

/// The version of the rules that [`Colony::apply`] follows. Part of the rules are all their limits: a command that one
/// node refuses is refused by all.
///
/// | version | what it changed |
/// |---|---|
/// | 1 | first |
pub const RULES_VERSION: u32 = 1;

/// How many projects there may be, those included that are being cleared away.
pub const PROJECTS_MAX: usize = 65_536;

/// The replicated state.
#[derive(Clone, Debug)]
pub struct Colony {
    /// The position of the last command; grows by one with each.
    seq: u64,
    /// Cluster time of the last entry, in milliseconds.
    cluster_ms: u64,
    /// Wall time of the last entry, in milliseconds since 1970.
    wall_ms: u64,
    /// The version of the rules in force.
    rules_version: u32,
    projects: OrdMap<Arc<str>, Project>,
    /// Those of them that are destroyed and not cleared away yet.
    clearing: OrdSet<Arc<str>>,
    dedup: DedupSessions,
    agents: Agents,
    /// The clusters that this one was recovered from.
    past: Vec<Past>,
    /// What lets callers in at the doors.
    door_tokens: DoorTokens,
    /// What agents the cluster starts and stops by itself.
    pools: Pools,
    /// The members and how they are linked; none before the first leader has named them.
    epoch: Option<Epoch>,
    scratch: Scratch,
}

/// Memory that [`Colony::apply`] keeps from batch to batch, so that a large batch need not ask for it anew. No part of the
/// state: a copy begins with none.
#[derive(Debug, Default)]
struct Scratch(Detector);

impl Clone for Scratch {
    fn clone(&self) -> Scratch {
        Scratch::default()
    }
}

impl Default for Colony {
    fn default() -> Colony {
        Colony {
            seq: 0,
            cluster_ms: 0,
            wall_ms: 0,
            rules_version: rules::FIRST,
            projects: OrdMap::new(),
            clearing: OrdSet::new(),
            dedup: DedupSessions::default(),
            agents: Agents::default(),
            past: Vec::new(),
            door_tokens: DoorTokens::default(),
            pools: Pools::default(),
            epoch: None,
            scratch: Scratch::default(),
        }
    }
}

/// What one entry did: for the queen that waits for outcomes, for those who watch keys, and for the store.
#[derive(Debug, Default)]
pub struct Applied {
    /// How many commands were in the rounds, repeated ones included.
    pub commands: u64,
    /// The outcomes of the commands of the node that asked for them, in order.
    pub outcomes: Vec<Answer>,
    /// Each change of a key and its new revision, in order; a key changed twice stands here twice. Not the records: those
    /// that were replaced within the entry need not be kept until its end.
    pub records: Vec<(Arc<str>, Key, u64)>,
    /// The keys that went with their project.
    pub removed: Vec<(Arc<str>, Key)>,
    /// The kept contents that came or went.
    pub contents: Vec<(Arc<str>, ContentHash)>,
    /// The idempotency keys that came or went.
    pub remembered: Vec<(Arc<str>, Arc<str>)>,
    /// The tasks that came, changed or went.
    pub tasks: Vec<(Arc<str>, TaskId)>,
    /// The holds that were granted or ended, by the position at which they were granted.
    pub holds: Vec<(Arc<str>, u64)>,
    /// The queues that came, changed or went.
    pub queues: Vec<(Arc<str>, Arc<str>)>,
    /// The rates that came, changed or went.
    pub rates: Vec<(Arc<str>, Arc<str>)>,
    /// The accounts that came, changed or went.
    pub accounts: Vec<(Arc<str>, AccountName)>,
    /// The reservations that came, changed or went.
    pub reservations: Vec<(Arc<str>, ReservationId)>,
    /// The projects whose settings of reservations changed.
    pub reservation_settings: Vec<Arc<str>>,
    /// The claims that wait that came, changed or went.
    pub waits: Vec<(Arc<str>, WaitId)>,
    /// The lives of agents that began, ended or were cleared away.
    pub agents: Vec<LifeKey>,
    /// The sessions that began, changed or were forgotten.
    pub sessions: Vec<(Arc<str>, SessionId)>,
    /// Whether tokens of doors came or went.
    pub door_tokens: bool,
    /// The pools that came, changed or went.
    pub pools: Vec<Arc<str>>,
    /// The new events, in order.
    pub events: Vec<(Arc<str>, Arc<Event>)>,
    /// The proposals that lost, in order.
    pub losses: Vec<LostTo>,
    /// The epoch that began last, if one did.
    pub epoch: Option<Epoch>,
    /// How many finished tasks were forgotten.
    pub(crate) forgotten: usize,
    /// What conflicts of a batch are found with.
    pub(crate) detector: Detector,
}

/// The outcome of one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Which start of its node gathered the command.
    pub incarnation: u64,
    /// Its number there.
    pub number: u64,
    /// The outcome.
    pub outcome: Outcome,
}

impl Colony {
    /// The position of the last command.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Cluster time of the last entry, in milliseconds.
    pub fn cluster_ms(&self) -> u64 {
        self.cluster_ms
    }

    /// Wall time of the last entry, as its leader had it, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    /// The project of this name, if there is one; not one that is destroyed.
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.remains(name).filter(|project| project.about.destroyed.is_none())
    }

    /// The project of this name, or what is left of it while it is cleared away.
    pub fn remains(&self, name: &str) -> Option<&Project> {
        self.projects.get(name)
    }

    /// All projects by name, those included that are being cleared away.
    pub fn projects(&self) -> impl Iterator<Item = (&Arc<str>, &Project)> {
        self.projects.iter()
    }

    /// The dedup sessions of the nodes.
    pub fn dedup(&self) -> &DedupSessions {
        &self.dedup
    }

    /// The sessions of external agents.
    pub fn sessions(&self) -> &Sessions {
        &self.agents.sessions
    }

    /// The agents that are known to live.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Applies the rounds of one entry, in order. `reporter` is the node whose outcomes are wanted.
    pub fn apply(&mut self, cluster_ms: u64, wall_ms: u64, rounds: &[Round], reporter: NodeId) -> Applied {
        // A leader whose clock is behind must not turn cluster time back.
        self.cluster_ms = self.cluster_ms.max(cluster_ms);
        self.wall_ms = wall_ms;
        let mut applied = Applied {
            detector: std::mem::take(&mut self.scratch.0),
            ..Applied::default()
        };
        for round in rounds {
            if round.commands.is_empty() {
                self.sweep(STEPS_PER_EMPTY_ROUND, &mut applied);
            }
            for command in &round.commands {
                self.sweep(STEPS_PER_COMMAND, &mut applied);
                let outcome = self.once(round, command, &mut applied);
                applied.commands += 1;
                if let Some(outcome) = outcome
                    && round.node == reporter
                {
                    let answer = Answer {
                        incarnation: round.incarnation,
                        number: command.number,
                        outcome,
                    };
                    applied.outcomes.push(answer);
                }
            }
        }
        self.scratch.0 = std::mem::take(&mut applied.detector);
        applied
    }

    fn once(&mut self, round: &Round, command: &Command, applied: &mut Applied) -> Option<Outcome> {
        let (node, incarnation) = (round.node, round.incarnation);
        if self.dedup.incarnation(node).is_some_and(|known| known < incarnation) {
            // What lived in an earlier start of the node, or waited there, ended with it.
            self.agents.end_node(node, self.seq, AgentEnd::NodeRestarted);
            if self.agents.waits_at(node).next().is_some() {
                self.seq += 1;
                self.end_waits_at(node, &mut 0, applied);
            }
        }
        match self.dedup.look_up(node, incarnation, command.number) {
            Seen::Forgotten => None,
            Seen::Before(outcome) => Some(outcome),
            Seen::New => {
                self.seq += 1;
                let outcome = self.judge(round, command, applied);
                self.dedup
                    .record(node, command.number, command.settled, outcome.clone());
                Some(outcome)
            }
        }
    }

    fn judge(&mut self, round: &Round, command: &Command, applied: &mut Applied) -> Outcome {
        if command.expires_ms < self.cluster_ms {
            let refusal = Refusal::Expired {
                expires_ms: command.expires_ms,
                cluster_ms: self.cluster_ms,
            };
            return Outcome::Refused(refusal);
        }
        if let Body::Withheld(low) = &command.body {
            return Outcome::Refused(Refusal::DiskLow(low.clone()));
        }
        if let Err(refusal) = project::check_names(command) {
            return Outcome::Refused(refusal);
        }
        let of_no_project = matches!(
            command.body,
            Body::Agent(_) | Body::Project(_) | Body::DoorToken(_) | Body::Topology(_) | Body::Pool(_)
        );
        if of_no_project && command.idempotency_key.is_some() {
            return Outcome::Refused(malformed("idempotency_key", "is for the commands of a project"));
        }
        if let Body::Agent(agent) = &command.body {
            return self.agent(round, agent, applied).unwrap_or_else(Outcome::Refused);
        }
        if let Body::Topology(wanted) = &command.body {
            let outcome = self.topology_command(wanted, applied);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Body::Project(wanted) = &command.body {
            let outcome = self.project_command(round, command, wanted, applied);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Body::DoorToken(wanted) = &command.body {
            let outcome = self.door_token_command(&command.author, wanted, applied);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Body::Pool(wanted) = &command.body {
            let outcome = self.pool_command(&command.author, wanted, applied);
            return outcome.unwrap_or_else(Outcome::Refused);
        }
        if let Err(refusal) = self.check_not_clearing(&command.project) {
            return Outcome::Refused(refusal);
        }
        let scope = Scope {
            seq: self.seq,
            cluster_ms: self.cluster_ms,
            wall_ms: self.wall_ms,
            node: round.node,
            incarnation: round.incarnation,
            project: &command.project,
            author: &command.author,
        };
        if let Some(project) = self.projects.get_mut(&command.project) {
            return project.execute(command, &mut self.agents, &scope, applied);
        }
        if command.listed {
            let project = command.project.clone();
            return Outcome::Refused(Refusal::UnknownProject { project });
        }
        if let Err(refusal) = self.check_room_for_a_project() {
            return Outcome::Refused(refusal);
        }
        let mut project = Project {
            about: About::new(ProjectLimits::default(), &scope),
            ..Project::default()
        };
        let outcome = project.execute(command, &mut self.agents, &scope, applied);
        // A command that was refused, or was only to be judged, leaves no project behind.
        if !project.is_untouched() {
            self.projects.insert(command.project.clone(), project);
        }
        outcome
    }

    /// The digest over all that a snapshot of this state holds.
    pub fn digest(&self) -> Digest {
        let mut sum = Digest::of(b'm', &(self.seq, self.cluster_ms, self.wall_ms, self.rules_version));
        sum.add(self.agents.digest);
        sum.add(self.agents.sessions.digest);
        sum.add(self.past_digest());
        sum.add(self.door_tokens.digest());
        sum.add(self.pools.digest);
        sum.add(self.epoch_digest());
        for (name, project) in &self.projects {
            sum.add(project.digest(name));
        }
        for (node, session) in &self.dedup.by_node {
            let outcomes: Vec<_> = session.outcomes.iter().collect();
            sum.add(Digest::of(
                b's',
                &(node, session.incarnation, session.settled, outcomes),
            ));
        }
        sum
    }
}
