//! A task that becomes ready wakes one passive agent that takes it, if no agent that is awake waits for it.
//!
//! Each node looks at what it has applied. A task for which a claim waits is offered to that claim in the step that makes it
//! ready, so one that is ready still is waited for by nobody. Which node rings for a task is not agreed on: each has a place
//! in an order that follows from the task and the members, and rings [`TURN_MS`] after the one before it, if the task is
//! ready still. So a task wakes one agent wherever it is, and a second one, which finds nothing, only if the first has not
//! claimed within that time. The agent is nudged; what it claims is for it to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::{Serves, TaskId};
use queenright_protocol::id::NodeId;
use tokio::time::{Instant, sleep};

use super::actor::AgentMessage;
use super::registry::Agents;

/// How long after the node before it in the order of a task a node rings for it: an agent is woken, and claims, in less.
const TURN_MS: u64 = 100;
/// A task that is ready although an agent was woken for it so long ago wakes another one.
const AGAIN_MS: u64 = 10_000;
/// How many tasks that the same agents take are looked at.
const LOOKED_AT_MAX: usize = 1_024;
/// How long after an entry was applied tasks are looked for: many are applied in this time when there is much to do.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// The longest time until tokens, or the end of a breaker's pause, are looked for.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// A task of a project.
type Place = (Arc<str>, TaskId);

/// What was seen of tasks that nobody waits for.
#[derive(Default)]
pub(super) struct Rouser {
    seen: BTreeMap<Place, Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    since_ms: u64,
    rung_ms: Option<u64>,
}

impl Rouser {
    /// In how many milliseconds it is this node's turn to ring for a task; 0 for now.
    pub(super) fn due_in_ms(&mut self, task: &Place, turn: u64, now_ms: u64) -> u64 {
        let since_ms = now_ms;
        let seen = self.seen.entry(task.clone()).or_insert(Seen {
            since_ms,
            rung_ms: None,
        });
        let at_ms = match seen.rung_ms {
            Some(rung_ms) => rung_ms + AGAIN_MS,
            None => seen.since_ms + turn * TURN_MS,
        };
        at_ms.saturating_sub(now_ms)
    }

    /// An agent was woken for it.
    pub(super) fn rung(&mut self, task: &Place, now_ms: u64) {
        if let Some(seen) = self.seen.get_mut(task) {
            seen.rung_ms = Some(now_ms);
        }
    }

    /// How many of the tasks that are seen have had an agent woken.
    fn rung_count(&self) -> usize {
        self.seen.values().filter(|seen| seen.rung_ms.is_some()).count()
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, found: &BTreeSet<Place>) {
        self.seen.retain(|task, _| found.contains(task));
    }
}

/// The turn of a node: how many of the members ring for the task before it.
pub(super) fn turn(task: TaskId, members: &BTreeSet<NodeId>, me: NodeId) -> u64 {
    let mine = (drawn(task, me), me);
    members
        .iter()
        .filter(|node| (drawn(task, **node), **node) < mine)
        .count() as u64
}

/// A number that follows from a task and a node, spread evenly (the finalizer of SplitMix64).
fn drawn(task: TaskId, node: NodeId) -> u64 {
    let mut word = task.seq ^ u64::from(task.ordinal).rotate_left(40) ^ node.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

impl Agents {
    /// Wakes passive agents for tasks, until the node stops. `members` says which nodes there are.
    pub(crate) async fn rouse_for_tasks(&self, me: NodeId, members: impl Fn() -> BTreeSet<NodeId>) {
        let (mut index, mut rouser, started) = (self.home.replica.follow_index(), Rouser::default(), Instant::now());
        loop {
            index.borrow_and_update();
            let now_ms = started.elapsed().as_millis() as u64;
            let next = self.look_for_tasks(&mut rouser, (me, &members), now_ms);
            let Some(next) = next else {
                // Nobody takes tasks: nothing that is applied matters.
                self.home.servants.came().await;
                continue;
            };
            tokio::select! {
                () = self.home.servants.came() => {}
                () = sleep(next) => {}
                Ok(()) = index.changed() => sleep(LOOK_PAUSE).await,
            }
        }
    }

    /// Wakes agents for the tasks whose turn has come. Says when to look again at the latest; nothing if no passive agent
    /// takes tasks.
    fn look_for_tasks(
        &self,
        rouser: &mut Rouser,
        (me, members): (NodeId, impl Fn() -> BTreeSet<NodeId>),
        now_ms: u64,
    ) -> Option<Duration> {
        let served = self.home.servants.served();
        let members = (!served.is_empty()).then(members)?;
        let (cluster_ms, rung) = (self.home.replica.cluster_ms_estimate(), rouser.rung_count());
        let (mut found, mut next) = (BTreeSet::new(), LOOK_AGAIN_MAX);
        for (serves, passive) in served {
            // Those for which agents were woken may be ready yet, and stand before the others.
            let most = (passive + rung).min(LOOKED_AT_MAX);
            let claimable = self.home.replica.claimable(&serves, cluster_ms, most);
            for task in claimable.tasks {
                let task = (serves.project.clone(), task);
                let in_ms = rouser.due_in_ms(&task, turn(task.1, &members, me), now_ms);
                if in_ms == 0 && self.rouse(&serves) {
                    rouser.rung(&task, now_ms);
                }
                // One that was woken, or not, since there is none: looked at again when one comes.
                if in_ms > 0 {
                    next = next.min(Duration::from_millis(in_ms));
                }
                found.insert(task);
            }
            if let Some(at_ms) = claimable.next_ms {
                // By the clock of the cluster, of which this node has an estimate.
                next = next.min(Duration::from_millis(at_ms.saturating_sub(cluster_ms).max(1)));
            }
        }
        rouser.keep(&found);
        Some(next)
    }

    /// Wakes one of the passive agents that take these tasks.
    pub(super) fn rouse(&self, serves: &Arc<Serves>) -> bool {
        while let Some(number) = self.home.servants.take(serves) {
            let entry = self.home.signals.entry(number).filter(|entry| entry.is_to_be_woken());
            let present = entry.and_then(|entry| entry.present().clone());
            if present.is_some_and(|present| present.post_one(AgentMessage::Nudge)) {
                return true;
            }
        }
        false
    }
}
