//! The queen: the actor of a node that supervises its agents and drives its rounds. The node starts her, and ends when
//! she does.

mod backlog;
mod due;
mod followed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use queenright_protocol::colony::{
    Answer, Batch, Body, CONFLICTS_LISTED_MAX, Conflict, DiskLow, Finish, Outcome, Proposal, Refusal, Round,
    TaskCommand,
};
use queenright_protocol::conflict;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use self::due::Duties;
use super::request::{Request, SubmitError};
use super::rounds::{Effect, Input, RoundLimits, Rounds};
use crate::agent::{AgentError, AgentOrder, AgentSpec, AgentStatus, Agents};
use crate::body::encode;
use crate::consensus::{Consensus, Fate};
use crate::disk::Disk;
use crate::latency::Meters;
use crate::liveness::Liveness;
use crate::memory::Memory;
use crate::replica::Replica;
use crate::router::Router;
use crate::trace::CommandTrace;

/// How long a command may be on its way before `apply` refuses it, in milliseconds of cluster time. Shorter than any
/// memory of outcomes.
const COMMAND_LIFE_MS: u64 = 60_000;
/// How often rounds under way are looked at, to send again those without outcome.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait after consensus has not taken an entry: about as long as a quorum takes to acknowledge a new leader.
pub(crate) const NOT_TAKEN_PAUSE: Duration = Duration::from_millis(10);

/// By which a caller gets its outcome.
type Reply = oneshot::Sender<Result<Outcome, SubmitError>>;

/// By which a caller gets its outcome.
struct Ticket {
    reply: Reply,
    /// What was asked, while this node cannot know cluster time: it has applied nothing since it started.
    again: Option<Request>,
    /// What is noted of it, if its request is followed.
    followed: Option<Arc<CommandTrace>>,
}

/// What the queen is told. Local only: no other node can send these.
pub(crate) enum QueenMessage {
    /// From an agent or a door; answered by the ticket.
    Submit(Request, Reply),
    /// The same, of a request that is followed.
    SubmitFollowed(Request, Reply, Arc<CommandTrace>),
    /// From herself: everything that was in her mailbox has been taken in.
    Drain,
    /// From the replica: outcomes of this node's commands.
    Applied(Vec<Answer>),
    /// From the node: who leads.
    Leader(Option<NodeId>),
    /// From another queen.
    Round {
        /// Who sent it.
        from: NodeId,
        /// The encoded round.
        bytes: Bytes,
    },
    /// From another queen, who does not lead: she has taken no round.
    RoundRefused(NodeId),
    /// From consensus: an entry of hers was applied, or will not be.
    EntryApplied,
    /// From consensus, after a pause: it has not taken an entry with these rounds.
    EntryNotTaken(Vec<Bytes>),
    /// From her timer: the pause after it is over.
    EntryDone,
    /// From her timer.
    Tick,
    /// From a door: start an agent.
    SpawnAgent(AgentSpec, oneshot::Sender<Result<AgentStatus, AgentError>>),
    /// From a door: stop an agent.
    StopAgent(String, oneshot::Sender<Result<(), AgentError>>),
    /// From a door: tell an agent to do something else.
    OrderAgent(String, AgentOrder, oneshot::Sender<Result<AgentStatus, AgentError>>),
    /// From whoever sent something to the passive agent with this number, and from herself: wake it.
    WakeAgent(u64),
    /// From another node: how many changes its store has not taken yet.
    Unstored { from: NodeId, records: u64 },
    /// From her timer: a lease may have ended.
    Due,
    /// From consensus: the empty round that she proposed was applied, or will not be.
    DueDone,
    /// From her timer: look for nodes that do not answer.
    LookForLost,
    /// From the node: what it may have applied before it was started was applied again.
    Recovered,
    /// From her timer: the back-off of the agent with this number is over.
    RestartAgent(u64),
}

impl ractor::Message for QueenMessage {}

/// What the queen needs at her start.
pub(crate) struct QueenArguments {
    pub(crate) incarnation: u64,
    pub(crate) limits: RoundLimits,
    pub(crate) replica: Arc<Replica>,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) router: Arc<Router>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) counts: Arc<QueenCounts>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) memory: Arc<Memory>,
}

/// What the queen counts.
#[derive(Debug, Default)]
pub(crate) struct QueenCounts {
    /// Commands that were refused before the log: by the pre-check, or for want of room.
    pub(crate) refused_early: AtomicU64,
    /// Rounds that were sent again.
    pub(crate) rounds_repeated: AtomicU64,
}

/// The queen's state.
pub(crate) struct QueenState {
    incarnation: u64,
    rounds: Rounds<Ticket>,
    replica: Arc<Replica>,
    consensus: Arc<Consensus>,
    router: Arc<Router>,
    agents: Arc<Agents>,
    disk: Arc<Disk>,
    liveness: Arc<Liveness>,
    counts: Arc<QueenCounts>,
    meters: Arc<Meters>,
    memory: Arc<Memory>,
    /// How many commands that are followed wait for a round.
    followed: usize,
    /// Room for the rounds that a step has cut.
    cuts: Vec<(u64, u64)>,
    started: Instant,
    /// Cluster time at the moment when this node began to lead, and that moment.
    clock: Option<(u64, Instant)>,
    /// Whether a command of this start was applied: from then on this node knows cluster time.
    in_time: bool,
    /// Whether a drain is in the mailbox already.
    draining: bool,
    /// Whether the timer runs.
    ticking: Arc<AtomicBool>,
    effects: Vec<Effect<Ticket>>,
    duties: Duties,
}

/// The actor.
pub(crate) struct Queen;

impl Actor for Queen {
    type Msg = QueenMessage;
    type State = QueenState;
    type Arguments = QueenArguments;

    async fn pre_start(
        &self,
        _: ActorRef<QueenMessage>,
        arguments: QueenArguments,
    ) -> Result<QueenState, ActorProcessingErr> {
        let QueenArguments {
            incarnation,
            limits,
            replica,
            consensus,
            router,
            agents,
            disk,
            liveness,
            counts,
            meters,
            memory,
        } = arguments;
        Ok(QueenState {
            incarnation,
            rounds: Rounds::new(router.me(), incarnation, limits),
            replica,
            consensus,
            router,
            agents,
            disk,
            liveness,
            counts,
            meters,
            memory,
            followed: 0,
            cuts: Vec::new(),
            started: Instant::now(),
            clock: None,
            in_time: false,
            draining: false,
            ticking: Arc::new(AtomicBool::new(false)),
            effects: Vec::new(),
            duties: Duties::default(),
        })
    }

    async fn handle(
        &self,
        me: ActorRef<QueenMessage>,
        message: QueenMessage,
        state: &mut QueenState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            QueenMessage::Submit(request, reply) => state.submit(request, reply, None),
            QueenMessage::SubmitFollowed(request, reply, followed) => state.submit(request, reply, Some(followed)),
            QueenMessage::Drain => {
                state.draining = false;
                state.step(Input::Drain);
            }
            QueenMessage::Applied(answers) => {
                state.in_time = true;
                state.step(Input::Applied(answers));
            }
            QueenMessage::Leader(leader) => {
                state.leader(leader);
                state.duties_of(leader == Some(state.router.me()), &me);
                state.look_at_due(&me).await;
            }
            QueenMessage::Round { from, bytes } => {
                state.note_arrival(&bytes);
                state.step(Input::Round { from, bytes });
            }
            QueenMessage::RoundRefused(from) => state.step(Input::Refused { from }),
            QueenMessage::EntryApplied => {
                match state.commanded() {
                    Duration::ZERO => state.step(Input::EntryDone),
                    pause => drop(me.send_after(pause, || QueenMessage::EntryDone)),
                }
                state.look_at_due(&me).await;
            }
            QueenMessage::EntryDone => state.step(Input::EntryDone),
            QueenMessage::EntryNotTaken(rounds) => state.step(Input::EntryNotTaken { rounds }),
            QueenMessage::Unstored { from, records } => state.hear_unstored(from, records),
            QueenMessage::Due => {
                state.due_again(false);
                state.look_at_due(&me).await;
            }
            QueenMessage::DueDone => {
                state.due_again(true);
                state.look_at_due(&me).await;
            }
            QueenMessage::LookForLost => {
                state.look_for_lost();
                state.look_at_due(&me).await;
            }
            QueenMessage::Recovered => state.tell_of_start(),
            QueenMessage::Tick => {
                state.ticking.store(false, Ordering::Relaxed);
                state.step(Input::Tick);
            }
            QueenMessage::SpawnAgent(spec, reply) => {
                let spawned = state.agents.spawn(spec, &me).await;
                // A door that went away leaves the agent running, as any caller of a command that was carried out.
                let _ = reply.send(spawned);
            }
            QueenMessage::StopAgent(name, reply) => {
                let _ = reply.send(state.agents.stop(&name, &me));
            }
            QueenMessage::OrderAgent(name, order, reply) => {
                let _ = reply.send(state.agents.order(&name, order, &me).await);
            }
            QueenMessage::WakeAgent(number) => state.agents.wake(number, &me).await,
            QueenMessage::RestartAgent(number) => state.agents.restart(number, &me).await,
        }
        state.carry_out(&me).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<QueenMessage>,
        event: SupervisionEvent,
        state: &mut QueenState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(agent, error) => {
                state.agents.ended(agent.get_id(), Some(error.to_string()), &me);
            }
            SupervisionEvent::ActorTerminated(agent, _, _) => state.agents.ended(agent.get_id(), None, &me),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
            SupervisionEvent::PidLifecycleEvent(_) => {}
        }
        Ok(())
    }

    async fn post_stop(&self, me: ActorRef<QueenMessage>, state: &mut QueenState) -> Result<(), ActorProcessingErr> {
        state.agents.stop_all(&me);
        Ok(())
    }
}

impl QueenState {
    fn step(&mut self, input: Input<Ticket>) {
        let now = self.started.elapsed();
        self.rounds.measure_at(now.as_micros() as u64);
        self.rounds.step(now.as_millis() as u64, input, &mut self.effects);
        for took_us in self.rounds.measured_us() {
            self.meters.rounds.note(Duration::from_micros(took_us));
        }
        self.note_cuts();
    }

    fn submit(&mut self, request: Request, reply: Reply, followed: Option<Arc<CommandTrace>>) {
        if let Some(lost) = self.pre_check(&request) {
            self.counts.refused_early.fetch_add(1, Ordering::Relaxed);
            // A caller that went away needs no outcome.
            let _ = reply.send(Ok(lost));
            return;
        }
        if let Some(difference) = self.replica.difference() {
            let _ = reply.send(Err(SubmitError::Diverged {
                index: difference.index,
            }));
            return;
        }
        if let Some(low) = self.disk.refusal()
            && request.body.grows()
        {
            self.counts.refused_early.fetch_add(1, Ordering::Relaxed);
            let _ = reply.send(Err(SubmitError::DiskLow(DiskLow::clone(&low))));
            return;
        }
        if request.body.grows()
            && let Some(low) = self.memory.refusal()
        {
            self.counts.refused_early.fetch_add(1, Ordering::Relaxed);
            let _ = reply.send(Err(SubmitError::MemoryLow(low)));
            return;
        }
        let expires_ms = self.replica.cluster_ms_estimate() + COMMAND_LIFE_MS;
        self.followed += usize::from(followed.is_some());
        let again = (!self.in_time).then(|| request.clone());
        self.step(Input::Submit {
            ticket: Ticket { reply, again, followed },
            request,
            expires_ms,
        });
    }

    /// Spares the log a proposal that has lost already: one of its reads is older than what this node has applied.
    /// A command that the colony may know (it has an idempotency key) is left to the colony.
    fn pre_check(&self, request: &Request) -> Option<Outcome> {
        let (Body::Propose(Proposal { reads, follows, .. })
        | Body::Task(TaskCommand::Finish(Finish {
            proposal: Some(Proposal { reads, follows, .. }),
            ..
        }))) = &request.body
        else {
            return None;
        };
        // The losses of one that follows another count, and are counted by the colony.
        if request.idempotency_key.is_some() || follows.is_some() {
            return None;
        }
        let mut conflicts: Vec<Conflict> = reads
            .iter()
            .filter_map(|read| {
                let found = self.replica.newer_record(&request.project, &read.key, read.revision)?;
                Some(Conflict {
                    kind: conflict::Kind::StaleRead,
                    key: read.key.clone(),
                    expected: read.revision,
                    revision: found.revision,
                    hash: found.value.as_ref().map(|value| value.hash),
                    winner: found.seq,
                    merge: None,
                    holder: None,
                })
            })
            .collect();
        let total = conflicts.len() as u64;
        self.replica
            .note_early_loss(&request.project, &request.author, &conflicts);
        conflicts.truncate(CONFLICTS_LISTED_MAX);
        (total > 0).then_some(Outcome::Lost {
            seq: 0,
            conflicts,
            total,
            held_until_ms: None,
        })
    }

    fn leader(&mut self, leader: Option<NodeId>) {
        let leads = leader == Some(self.router.me());
        if !leads {
            self.clock = None;
        } else if self.clock.is_none() {
            // Cluster time goes on from the last entry: it stands while nobody leads.
            self.clock = Some((self.replica.snapshot().colony.cluster_ms(), Instant::now()));
        }
        self.step(Input::Leader(leader));
    }

    async fn carry_out(&mut self, me: &ActorRef<QueenMessage>) {
        // A command that is submitted again may be refused at once.
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Answer { ticket, outcome } => {
                        self.note_answer(&ticket);
                        match (ticket.again, &outcome) {
                            // While nothing was commanded cluster time went on unseen: what was given its time to live by what the
                            // store says may have come too late at once. It was not carried out; now the time is known.
                            (Some(request), Ok(Outcome::Refused(Refusal::Expired { .. }))) => {
                                self.submit(request, ticket.reply, None)
                            }
                            // A caller whose deadline has passed does not listen any more.
                            _ => drop(ticket.reply.send(outcome)),
                        }
                    }
                    Effect::Send { to, first, bytes } => {
                        if let Err(error) = self.router.send(to, Lane::Command, Kind::Round, 0, bytes) {
                            tracing::debug!(%to, %error, "a round was not sent");
                            self.step(Input::NotSent { first });
                        }
                    }
                    Effect::Refuse { to, leads } => {
                        let kind = Kind::RoundRefused;
                        let _ = self.router.send(to, kind.lane(), kind, 0, encode(&leads));
                    }
                    Effect::Append { rounds } => {
                        let again = rounds.clone();
                        self.note_appended(&rounds);
                        let done = |fate| match fate {
                            Fate::Over => QueenMessage::EntryApplied,
                            Fate::NotTaken => QueenMessage::EntryNotTaken(again),
                        };
                        self.append(rounds, done, me).await;
                    }
                }
            }
        }
        self.counts
            .rounds_repeated
            .store(self.rounds.repeated(), Ordering::Relaxed);
        if self.rounds.has_work() && !self.draining {
            // Behind everything that is in the mailbox now: all of it joins the round.
            self.draining = me.cast(QueenMessage::Drain).is_ok();
        }
        if self.rounds.is_waiting() && !self.ticking.swap(true, Ordering::Relaxed) {
            me.send_after(TICK, || QueenMessage::Tick);
        }
    }

    /// Cluster time while this node leads.
    fn leaders_time(&mut self) -> u64 {
        let (base_ms, since) = *self
            .clock
            .get_or_insert_with(|| (self.replica.snapshot().colony.cluster_ms(), Instant::now()));
        base_ms + since.elapsed().as_millis() as u64
    }

    /// Appends an entry; `done` is what the queen is told of its fate: when it was applied, or will not be.
    async fn append(
        &mut self,
        rounds: Vec<Bytes>,
        done: impl FnOnce(Fate) -> QueenMessage + Send + 'static,
        me: &ActorRef<QueenMessage>,
    ) {
        let cluster_ms = self.leaders_time();
        let rounds = match self.disk.refusal() {
            None => rounds,
            Some(low) => rounds.into_iter().map(|round| withhold(round, &low)).collect(),
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Batch {
            cluster_ms,
            wall_ms: wall.as_millis() as u64,
            rounds,
            checkpoint: self.replica.unlogged_checkpoint(),
        }
        .encode();
        let (queen, meters, appended) = (me.clone(), self.meters.clone(), Instant::now());
        let done = move |fate| match fate {
            // A queen that has stopped appends nothing more.
            Fate::Over => {
                meters.commits.note(appended.elapsed());
                drop(queen.cast(done(fate)));
            }
            Fate::NotTaken => drop(queen.send_after(NOT_TAKEN_PAUSE, move || done(fate))),
        };
        self.consensus.append(entry, done).await;
    }
}

/// The round without its growing commands. One that does not decode stays as it is: the log says so to all.
fn withhold(bytes: Bytes, low: &DiskLow) -> Bytes {
    let Ok(mut round) = Round::decode(&bytes) else {
        return bytes;
    };
    match round.withhold_growing(low) {
        true => round.encode(),
        false => bytes,
    }
}
