//! A node that lost its disk comes back as a new one: under a new number, as a learner at first, in the place of the old.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Control::Allow`](super::inbox::Control) | the node that was asked to | the leader | `Result<(), ReplaceError>` | an empty node of this place may join |
//! | [`Control::Join`](super::inbox::Control) | a member that an empty node said hello to | the leader | `Result<Members, TurnedAway>` | lets it in: the members, itself under a new number |
//!
//! Whoever leads carries each change on, one at a time: a change of voters that is half done is finished first; a learner
//! becomes the voter of its place, if that is one that should vote, once it has caught up and all voters that stay are up,
//! and the number that it replaces goes; voters beyond those places learn once all of those vote. All of that stands in the log, so the next leader goes on with it.
//!
//! A place that has no voter is free: after a recovery (see `recover`) the nodes of all places but one come back with empty
//! folders, and need no permission, since nobody votes for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use queenright_protocol::id::NodeId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::consensus::{Consensus, Membership, Step, next_step};
use crate::founding::{Join, Members, next_number, place_of};
use crate::replica::Replica;

/// How long a permission holds.
const ALLOWED_FOR: Duration = Duration::from_secs(600);
/// How often the leader looks whether a learner has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many nodes that were let in are remembered: one for each place that a configuration may list.
const ADMITTED_MAX: usize = 64;

/// Why a node may not be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReplaceError {
    /// The cluster file lists no such node.
    #[error("no node of this cluster is called {name:?}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// It runs: what it has is not lost.
    #[error("node {name} runs and answers: stop it first")]
    Runs {
        /// Its name.
        name: String,
    },
    /// Another voter does not answer. Two changes at a time could cost the majority.
    #[error("node {name} does not answer either: one node is replaced at a time, while all others are up")]
    Suspect {
        /// Its name.
        name: String,
    },
    /// Nobody leads, or the leader did not answer in time.
    #[error("no leader has answered: try again")]
    NoLeader,
}

/// Why an empty node was not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TurnedAway {
    pub(super) reason: String,
    /// Whether it may be let in a moment later.
    pub(super) for_now: bool,
}

impl TurnedAway {
    pub(super) fn for_now(reason: impl ToString) -> TurnedAway {
        TurnedAway {
            reason: reason.to_string(),
            for_now: true,
        }
    }

    fn for_good(reason: String) -> TurnedAway {
        TurnedAway { reason, for_now: false }
    }
}

/// What the leader does about members.
pub(super) struct Steward {
    consensus: Arc<Consensus>,
    replica: Arc<Replica>,
    /// Of all nodes, in the order of the configuration.
    names: Vec<String>,
    /// The places that should vote.
    voting: BTreeSet<usize>,
    // A mutex: asked by doors and members, held for one look-up.
    permissions: Mutex<Permissions>,
    /// Held while a number is given out, so that none is given twice.
    admitting: tokio::sync::Mutex<()>,
}

/// Who may join, and who was let in under which number. In memory alone: with another leader the permission is asked for
/// again, and a number that may have been given out is not given again, since the log has it.
#[derive(Default)]
struct Permissions {
    until: BTreeMap<u16, Instant>,
    admitted: BTreeMap<(u16, u128), NodeId>,
}

impl Steward {
    pub(super) fn new(
        consensus: Arc<Consensus>,
        replica: Arc<Replica>,
        names: Vec<String>,
        voting: BTreeSet<usize>,
    ) -> Steward {
        Steward {
            consensus,
            replica,
            names,
            voting,
            permissions: Mutex::default(),
            admitting: tokio::sync::Mutex::default(),
        }
    }

    /// The place of this node in the configuration.
    pub(super) fn place(&self, name: &str) -> Result<u16, ReplaceError> {
        let place = self.names.iter().position(|known| known == name);
        place
            .map(|place| place as u16)
            .ok_or_else(|| ReplaceError::Unknown { name: name.to_owned() })
    }

    /// Whether this node leads.
    pub(super) fn leads(&self) -> bool {
        let now = self.consensus.current();
        now.role == super::Role::Leader
    }

    /// Allows an empty node of this place to join, unless the present one answers or another voter does not. `answers` asks
    /// a node whether it is there.
    pub(super) async fn allow<F>(&self, place: u16, answers: impl Fn(NodeId) -> F) -> Result<(), ReplaceError>
    where
        F: Future<Output = bool>,
    {
        if !self.leads() {
            return Err(ReplaceError::NoLeader);
        }
        let members = self.membership();
        let answering = members.nodes.iter().map(|&node| {
            let answer = answers(node);
            async move { (node, answer.await) }
        });
        let voters = members.voters();
        for (node, answers) in futures::future::join_all(answering).await {
            let name = self.names.get(place_of(node)).cloned().unwrap_or_default();
            match answers {
                true if place_of(node) == place as usize => return Err(ReplaceError::Runs { name }),
                false if place_of(node) != place as usize && voters.contains(&node) => {
                    return Err(ReplaceError::Suspect { name });
                }
                _ => {}
            }
        }
        tracing::info!(node = self.names[place as usize], "an empty node of this name may join");
        self.permissions().until.insert(place, Instant::now() + ALLOWED_FOR);
        Ok(())
    }

    /// Lets an empty node in: the members, that node among them with its new number. Returns once that is committed.
    pub(super) async fn admit(&self, join: Join) -> Result<Members, TurnedAway> {
        let Join { place, attempt } = join;
        let Some(name) = self.names.get(place as usize) else {
            return Err(TurnedAway::for_good(format!("there is no place {place}")));
        };
        if !self.leads() {
            return Err(TurnedAway::for_now("no leader has answered yet: start it again"));
        }
        let _alone = self.admitting.lock().await;
        let members = self.membership();
        let known = self.permissions().admitted.get(&(place, attempt)).copied();
        if let Some(number) = known.filter(|number| members.nodes.contains(number)) {
            return Ok(self.members(&members, number));
        }
        let until = self.permissions().until.get(&place).copied();
        let allowed = until.is_some_and(|until| Instant::now() < until);
        let free = !members.voters().iter().any(|voter| place_of(*voter) == place as usize);
        if !allowed && !free {
            return Err(TurnedAway::for_good(format!(
                "it would be a new node; if what it had is lost, run `queenright node replace {name}` and start it again"
            )));
        }
        let seen = self.replica.snapshot();
        let used = seen.colony.dedup().nodes().chain(members.nodes.iter().copied());
        let number = next_number(place as usize, seen.colony.past().len(), used);
        self.consensus.add_learner(number).await.map_err(TurnedAway::for_now)?;
        tracing::info!(node = name, %number, "a node joins under a new number");
        let mut permissions = self.permissions();
        permissions.until.remove(&place);
        if permissions.admitted.len() >= ADMITTED_MAX {
            permissions.admitted.pop_first();
        }
        permissions.admitted.insert((place, attempt), number);
        Ok(self.members(&members, number))
    }

    /// Carries changes of members on for as long as it is polled and this node leads.
    pub(super) async fn watch(self: Arc<Self>) {
        let (mut leadership, mut members) = (self.consensus.leadership(), self.consensus.members());
        loop {
            let now = members.borrow_and_update().clone();
            let leads = leadership.borrow_and_update().role == super::Role::Leader;
            let step = match leads {
                true => next_step(&now, &self.consensus.progress(), &self.voting, place_of),
                false => Step::Nothing,
            };
            let done = match &step {
                Step::Nothing | Step::Wait => Ok(()),
                // Whoever was to go is superseded then, and let go next.
                Step::Finish(voters) | Step::Retire(voters) => self.consensus.change_voters(voters, true).await,
                Step::Vote(voters) => self.consensus.change_voters(voters, false).await,
                Step::Forget(learners) => self.consensus.forget(learners).await,
            };
            match (&step, &done) {
                (Step::Nothing | Step::Wait, _) => {}
                (_, Ok(())) => tracing::info!(?step, "the members have changed"),
                (_, Err(error)) => tracing::warn!(?step, %error, "the members have not changed yet"),
            }
            let waits = step == Step::Wait || done.is_err();
            tokio::select! {
                _ = leadership.changed() => {}
                _ = members.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY), if waits => {}
            }
        }
    }

    fn membership(&self) -> Membership {
        self.consensus.members().borrow().clone()
    }

    /// All names with their newest numbers, that of `joining` included.
    fn members(&self, members: &Membership, joining: NodeId) -> Members {
        let nodes: BTreeSet<NodeId> = members.nodes.iter().copied().chain([joining]).collect();
        newest(&self.names, &nodes)
    }

    fn permissions(&self) -> std::sync::MutexGuard<'_, Permissions> {
        self.permissions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All names with the highest of these numbers that each place has; [`NodeId::NONE`] where there is none.
pub(super) fn newest(names: &[String], numbers: &BTreeSet<NodeId>) -> Members {
    let of = |place: usize| {
        numbers
            .iter()
            .copied()
            .filter(|number| place_of(*number) == place)
            .max()
    };
    let named = names.iter().enumerate();
    named
        .map(|(place, name)| (name.clone(), of(place).unwrap_or(NodeId::NONE)))
        .collect()
}

/// The members as a node sees them that was let in: a snapshot from before that does not list it, and the log behind the
/// snapshot, which does, comes only to who answers.
pub(super) fn with_me(nodes: &BTreeSet<NodeId>, me: NodeId) -> BTreeSet<NodeId> {
    nodes.iter().copied().chain([me]).collect()
}

/// Calls `apply` with the members whenever they change, once there are any.
pub(super) async fn follow_members(consensus: Arc<Consensus>, stop: CancellationToken, apply: impl Fn(&Membership)) {
    let mut members = consensus.members();
    loop {
        {
            let now = members.borrow_and_update();
            if !now.nodes.is_empty() {
                apply(&now);
            }
        }
        let changed = stop.run_until_cancelled(members.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
    }
}
