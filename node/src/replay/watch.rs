//! Watches a replay: follows its events, from node to node if one of them goes away, and looks after its agents.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus};
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{Code, EventCursor, WireEvent, WireWhat};
use queenright_bench::client::{Client, ClientError, Filter};
use queenright_protocol::colony::TaskId;

use super::compare::Told;
use super::error::ReplayError;
use super::keys;
use super::load::Known;

/// How many events a page has at most.
const PAGE: u64 = 2_000;
/// How long one long poll waits: as often the agents are looked after.
const POLL: Duration = Duration::from_secs(1);
/// How long nothing may be committed while agents work. Longer than an election, a restart and the agents' own patience.
const STALL: Duration = Duration::from_secs(180);
/// How long to wait when no node answers before trying all again.
const NO_NODE_PAUSE: Duration = Duration::from_millis(200);
/// How long all nodes may be silent.
const NO_NODE: Duration = Duration::from_secs(60);

/// A node of the cluster and the client of its door.
pub(super) struct Door {
    pub(super) name: String,
    pub(super) client: Client,
}

/// What the events have told so far.
#[derive(Default)]
pub(super) struct Seen {
    /// The places of the commits that are committed.
    pub(super) done: BTreeSet<u64>,
    /// The places of the commits whose tasks are known.
    places: HashMap<TaskId, u64>,
    /// The changes of each path.
    pub(super) told: HashMap<Arc<str>, Told>,
    /// Proposals of replay agents that were committed.
    pub(super) committed: u64,
    /// Proposals of replay agents that lost in the log.
    pub(super) lost: u64,
    /// Whether the first event was still kept.
    pub(super) from_the_start: bool,
}

/// Follows the events of the project, on whatever node answers.
pub(super) struct Watch<'a> {
    pub(super) doors: &'a [Door],
    /// The node that is asked.
    at: usize,
    after: Option<EventCursor>,
    pub(super) seen: Seen,
}

impl<'a> Watch<'a> {
    pub(super) fn new(doors: &'a [Door]) -> Watch<'a> {
        Watch {
            doors,
            at: 0,
            // From there on nothing is missing: if the project has lost an event, that is refused.
            after: Some(EventCursor::behind(0)),
            seen: Seen {
                from_the_start: true,
                ..Seen::default()
            },
        }
    }

    /// Takes in the events that there are, or waits a moment for the next ones. Returns whether there are more.
    pub(super) async fn look(&mut self, wait: Duration) -> Result<bool, ReplayError> {
        let filter = Filter {
            prefix: String::new(),
            types: ["changed", "committed", "lost", "task_finished"]
                .map(String::from)
                .to_vec(),
            ..Filter::default()
        };
        let started = Instant::now();
        loop {
            let client = &self.doors[self.at % self.doors.len()].client;
            match client.events(self.after, PAGE, wait, &filter, Consistency::Local).await {
                Ok(page) => {
                    page.events.into_iter().for_each(|event| self.seen.take(event));
                    self.after = Some(page.next_cursor);
                    return Ok(page.has_more);
                }
                Err(error) if error.is_temporary() => {
                    // The cursor means the same on every node.
                    self.at += 1;
                    if self.at.is_multiple_of(self.doors.len()) {
                        tokio::time::sleep(NO_NODE_PAUSE).await;
                    }
                    if started.elapsed() > NO_NODE {
                        return Err(ReplayError::NoNode);
                    }
                }
                Err(ClientError::Problem(problem))
                    if problem.code == Code::CursorExpired && self.after == Some(EventCursor::behind(0)) =>
                {
                    self.seen.from_the_start = false;
                    self.after = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Seen {
    /// Takes over which tasks there are, before any event is looked at.
    pub(super) fn know(&mut self, known: Known) {
        self.places = known.places;
        self.done.extend(known.done);
    }

    fn take(&mut self, event: WireEvent) {
        let ours = event.author.starts_with(super::job::AGENT_PREFIX);
        match event.what {
            WireWhat::Changed {
                key,
                revision,
                hash,
                tags,
                ..
            } if key.starts_with(keys::TREE) => {
                let mode = tags
                    .iter()
                    .find_map(|tag| tag.strip_prefix(keys::MODE_TAG))
                    .unwrap_or_default();
                self.told
                    .entry(key)
                    .or_default()
                    .push((revision, hash, mode.to_string()));
            }
            WireWhat::TaskFinished { task, .. } => self.done.extend(self.places.get(&task.0)),
            WireWhat::Committed { .. } => self.committed += u64::from(ours),
            WireWhat::Lost { .. } => self.lost += u64::from(ours),
            _ => {}
        }
    }
}

/// The agents of a replay, and where they are.
pub(super) struct Swarm<'a> {
    doors: &'a [Door],
    /// For each agent what it was told, and the place of its node among the doors.
    agents: Vec<(AgentSpec, usize)>,
    /// What agents reported that are done.
    pub(super) reports: HashMap<String, AgentStatus>,
    /// How many agents were started again on another node.
    pub(super) moved: u64,
}

impl<'a> Swarm<'a> {
    /// Spreads the agents over the nodes that answer.
    pub(super) async fn start(doors: &'a [Door], specs: Vec<AgentSpec>) -> Result<Swarm<'a>, ReplayError> {
        let mut swarm = Swarm {
            doors,
            agents: Vec::new(),
            reports: HashMap::new(),
            moved: 0,
        };
        for (number, spec) in specs.into_iter().enumerate() {
            let at = swarm.spawn(&spec, number % doors.len()).await?;
            swarm.agents.push((spec, at));
        }
        Ok(swarm)
    }

    /// Starts an agent on the node at `first`, or on the next one that answers; for a while there may be none.
    async fn spawn(&self, spec: &AgentSpec, first: usize) -> Result<usize, ReplayError> {
        let started = Instant::now();
        loop {
            for offset in 0..self.doors.len() {
                let at = (first + offset) % self.doors.len();
                match self.doors[at].client.spawn_agent(spec).await {
                    Ok(_) => return Ok(at),
                    Err(error) if unreachable(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if started.elapsed() > NO_NODE {
                return Err(ReplayError::NoNode);
            }
            tokio::time::sleep(NO_NODE_PAUSE).await;
        }
    }

    /// Looks at all agents: those of a node that went away, or was started again, go on elsewhere.
    pub(super) async fn look_after(&mut self) -> Result<(), ReplayError> {
        for at in 0..self.doors.len() {
            let mine: Vec<usize> = (0..self.agents.len())
                .filter(|&agent| self.agents[agent].1 == at && !self.is_done(agent))
                .collect();
            if mine.is_empty() {
                continue;
            }
            let there = match self.doors[at].client.agents().await {
                Ok(there) => there.into_iter().map(|status| (status.name.clone(), status)).collect(),
                Err(error) if unreachable(&error) => HashMap::new(),
                Err(error) if error.is_temporary() => continue,
                Err(error) => return Err(error.into()),
            };
            for agent in mine {
                self.take_status(agent, &there).await?;
            }
        }
        Ok(())
    }

    fn is_done(&self, agent: usize) -> bool {
        self.reports.contains_key(&self.agents[agent].0.name)
    }

    async fn take_status(&mut self, agent: usize, there: &HashMap<String, AgentStatus>) -> Result<(), ReplayError> {
        let (spec, at) = self.agents[agent].clone();
        match there.get(&spec.name) {
            Some(status) => match status.state {
                AgentState::Done => {
                    self.reports.insert(spec.name, status.clone());
                }
                AgentState::Failed | AgentState::Stopped => {
                    return Err(ReplayError::Agent {
                        agent: spec.name,
                        node: self.doors[at].name.clone(),
                        reason: status.reason.clone().unwrap_or_else(|| "it was stopped".to_string()),
                    });
                }
                _ => {}
            },
            None => {
                let moved = self.spawn(&spec, at + 1).await?;
                tracing::debug!(
                    agent = spec.name,
                    to = self.doors[moved].name,
                    "an agent was started again"
                );
                self.agents[agent].1 = moved;
                self.moved += 1;
            }
        }
        Ok(())
    }

    /// Stops all agents that still work: nobody waits for what they would do.
    pub(super) async fn stop(&self) {
        for (agent, (spec, at)) in self.agents.iter().enumerate() {
            if !self.is_done(agent) {
                // One that is gone needs no stopping.
                let _ = self.doors[*at].client.stop_agent(&spec.name).await;
            }
        }
    }
}

fn unreachable(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::Lost { .. })
}

/// Waits until all `commits` are committed.
pub(super) async fn until_done(
    watch: &mut Watch<'_>,
    swarm: &mut Swarm<'_>,
    commits: u64,
    progress: &dyn super::job::Progress,
) -> Result<(), ReplayError> {
    let mut moved = Instant::now();
    let mut looked = Instant::now();
    loop {
        let before = watch.seen.done.len() as u64;
        let more = watch.look(POLL).await?;
        let done = watch.seen.done.iter().filter(|place| **place < commits).count() as u64;
        progress.advance((watch.seen.done.len() as u64).saturating_sub(before));
        if done >= commits && !more {
            return Ok(());
        }
        if watch.seen.done.len() as u64 > before {
            moved = Instant::now();
        }
        if moved.elapsed() > STALL {
            return Err(ReplayError::Stalled {
                seconds: STALL.as_secs(),
                done,
                commits,
            });
        }
        if looked.elapsed() >= POLL {
            swarm.look_after().await?;
            looked = Instant::now();
        }
    }
}
