//! Members come and go: a node that lost its disk comes back as a new one, one that is new to the cluster joins, and one
//! that is not needed any more, or is dead, leaves for good.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Control::Allow`](super::inbox::Control) | the node that was asked to | the leader | `Result<(), ReplaceError>` | an empty node of this place may join |
//! | [`Control::Join`](super::inbox::Control) | a member that an empty node asked | the leader | `Result<Admission, TurnedAway>` | lets it in: the epoch, and its number |
//!
//! Under a new number, as a learner at first. What is to happen stands in the epoch before anything happens (see
//! `queenright_protocol::colony::Epoch`), and whoever leads carries each change on, one at a time: a change of voters that
//! is half done is finished first; who was given a number is added; a learner becomes the voter of its place, if that is
//! one that should vote, once it has caught up and all voters that stay are up, and the number that it replaces goes;
//! voters beyond those places learn once all of those vote; a leader that is to go hands over. All of that stands in the
//! log, so the next leader goes on with it. What a member does for one that comes or goes is in `joins` and `leaving`.
//!
//! A place that has no voter is free for the node that the cluster file lists there: after a recovery (see `recover`) the
//! nodes of all places but one come back with empty folders, and need no permission, since nobody votes for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use queenright_protocol::colony::{Body, Epoch, Outcome, PLACES_MAX, Place, TopologyCommand, place_of};
use queenright_protocol::id::{ClusterId, NodeId};
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::agent::submit;
use crate::consensus::{Consensus, Membership, Step, Wish, next_step, voting_places};
use crate::founding::{Admission, Join, Members};
use crate::queen::{QueenMessage, Request, SubmitError};
use crate::replica::Replica;
use crate::roster::Roster;

/// How long a permission holds.
const ALLOWED_FOR: Duration = Duration::from_secs(600);
/// How often the leader looks whether a learner has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a change of the epoch may take to be committed, and what follows from it in consensus.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Who changes the members, and in the name of which project: the command belongs to none.
const AUTHOR: &str = "queen";
const PROJECT: &str = "default";

/// Why a node may not be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReplaceError {
    /// There is no such node.
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

    pub(super) fn for_good(reason: String) -> TurnedAway {
        TurnedAway { reason, for_now: false }
    }
}

/// What the leader does about members.
pub(super) struct Steward {
    consensus: Arc<Consensus>,
    replica: Arc<Replica>,
    queen: ActorRef<QueenMessage>,
    pub(super) roster: Arc<Roster>,
    cluster: ClusterId,
    /// How many should vote, if the cluster file says so.
    pub(super) voters: Option<usize>,
    // A mutex: asked by doors and members, held for one look-up. In memory alone: with another leader the permission is
    // asked for again.
    permissions: Mutex<BTreeMap<u16, Instant>>,
    /// Held while a number is given out, so that two nodes do not race for one place.
    admitting: tokio::sync::Mutex<()>,
}

impl Steward {
    pub(super) fn new(
        consensus: Arc<Consensus>,
        replica: Arc<Replica>,
        queen: ActorRef<QueenMessage>,
        roster: Arc<Roster>,
        cluster: ClusterId,
        voters: Option<usize>,
    ) -> Steward {
        Steward {
            consensus,
            replica,
            queen,
            roster,
            cluster,
            voters,
            permissions: Mutex::default(),
            admitting: tokio::sync::Mutex::default(),
        }
    }

    /// The place of this node.
    pub(super) fn place(&self, name: &str) -> Result<u16, ReplaceError> {
        let place = self.roster.place(name);
        place.ok_or_else(|| ReplaceError::Unknown { name: name.to_owned() })
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
            let name = self.roster.name_of(node).to_string();
            match answers {
                true if place_of(node) == place as usize => return Err(ReplaceError::Runs { name }),
                false if place_of(node) != place as usize && voters.contains(&node) => {
                    return Err(ReplaceError::Suspect { name });
                }
                _ => {}
            }
        }
        tracing::info!(place, "an empty node of this place may join");
        self.permissions().insert(place, Instant::now() + ALLOWED_FOR);
        Ok(())
    }

    /// Lets an empty node in under a new number. Returns once that is committed, and consensus has it as a learner.
    pub(super) async fn admit(&self, join: Join) -> Result<Admission, TurnedAway> {
        if !self.leads() {
            return Err(TurnedAway::for_now("no leader has answered yet: start it again"));
        }
        let _alone = self.admitting.lock().await;
        let Some(epoch) = self.epoch() else {
            return Err(TurnedAway::for_now("nobody has named the members yet"));
        };
        let (place, at, replaces) = self.may_join(&epoch, &join)?;
        let name = place.name.clone();
        let number = match self.change(TopologyCommand::Admit { place, at, replaces }).await {
            Ok(Outcome::NodeAdmitted { number, .. }) => number,
            Ok(Outcome::Refused(refusal)) => return Err(TurnedAway::for_now(refusal)),
            Ok(other) => return Err(TurnedAway::for_now(format!("unexpected: {other:?}"))),
            Err(problem) => return Err(TurnedAway::for_now(problem)),
        };
        let mut members = self.consensus.members();
        let learns = members.wait_for(|members| members.nodes.contains(&number));
        match tokio::time::timeout(CHANGE_TIMEOUT, learns).await {
            Ok(Ok(_)) => {}
            // Asked again, it gets the same number.
            _ => return Err(TurnedAway::for_now("consensus has not let it in yet")),
        }
        tracing::info!(node = name, %number, "a node joins under a new number");
        self.permissions().remove(&at);
        Ok(Admission {
            cluster: self.cluster,
            number,
            epoch: self.epoch().unwrap_or(epoch),
        })
    }

    /// Where a node comes in, in which place, and whether instead of another one; or why it may not.
    fn may_join(&self, epoch: &Epoch, join: &Join) -> Result<(Place, u16, bool), TurnedAway> {
        let Join { name, attempt, place } = join;
        let known = epoch.number_of(name);
        let listed = self.roster.place(name);
        let (links, http) = match (place, listed) {
            (Some(place), _) => place.clone(),
            (None, Some(at)) => {
                let seats = self.roster.seats();
                (seats[&at].links.clone(), seats[&at].http.clone())
            }
            (None, None) => {
                return Err(TurnedAway::for_good(format!(
                    "no node of this cluster is called {name:?}; `queenright join` lets a new one in"
                )));
            }
        };
        let at = known.map(|number| place_of(number) as u16);
        let Some(at) = at.or(listed).or_else(|| self.roster.free_place()) else {
            return Err(TurnedAway::for_good(format!("all {PLACES_MAX} places are taken")));
        };
        let again = known.is_some_and(|number| epoch.places[&number].attempt == *attempt);
        let until = self.permissions().get(&at).copied();
        let allowed = until.is_some_and(|until| Instant::now() < until);
        let votes = self
            .membership()
            .voters()
            .iter()
            .any(|voter| place_of(*voter) == usize::from(at));
        let free = if place.is_some() { known.is_none() } else { !votes };
        if !again && !allowed && !free {
            let number = known.unwrap_or_default();
            return Err(TurnedAway::for_good(match place {
                Some(_) => format!(
                    "node {name} is a member ({number}): choose another name; if what it had is lost, run `queenright \
                     node replace {name}` first"
                ),
                None => format!(
                    "it would be a new node; if what it had is lost, run `queenright node replace {name}` and start it again"
                ),
            }));
        }
        let place = Place {
            name: name.clone(),
            links,
            http,
            attempt: *attempt,
        };
        Ok((place, at, known.is_some()))
    }

    /// The present epoch, as far as this node has applied it.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.replica.follow_epoch().borrow().clone()
    }

    /// Changes the epoch.
    pub(super) async fn change(&self, command: TopologyCommand) -> Result<Outcome, SubmitError> {
        let request = Request {
            project: PROJECT.into(),
            author: AUTHOR.into(),
            idempotency_key: None,
            body: Body::Topology(command),
        };
        submit(&self.queen, request, CHANGE_TIMEOUT).await
    }

    /// Carries changes of members on for as long as it is polled and this node leads.
    pub(super) async fn watch(self: Arc<Self>) {
        let (mut leadership, mut members) = (self.consensus.leadership(), self.consensus.members());
        let mut epochs = self.replica.follow_epoch();
        loop {
            let now = members.borrow_and_update().clone();
            let leads = leadership.borrow_and_update().role == super::Role::Leader;
            let wish = self.wish(&now, epochs.borrow_and_update().as_ref());
            let me = self.consensus.me();
            let step = match leads {
                true => next_step(me, &now, &self.consensus.progress(), &wish, place_of),
                false => Step::Nothing,
            };
            let done = match &step {
                Step::Nothing | Step::Wait => Ok(()),
                // Whoever was to go is superseded then, and let go next.
                Step::Finish(voters) | Step::Retire(voters) => self.consensus.change_voters(voters, true).await,
                Step::Vote(voters) => self.consensus.change_voters(voters, false).await,
                Step::Forget(learners) => self.consensus.forget(learners).await,
                Step::Add(node) => self.consensus.add_learner(*node).await,
                Step::HandOver(voter) => self.consensus.hand_over(*voter).await,
            };
            match (&step, &done) {
                (Step::Nothing | Step::Wait, _) => {}
                (_, Ok(())) => tracing::info!(?step, "the members have changed"),
                (_, Err(error)) => tracing::warn!(?step, %error, "the members have not changed yet"),
            }
            let waits = matches!(step, Step::Wait | Step::HandOver(_)) || done.is_err();
            tokio::select! {
                _ = leadership.changed() => {}
                _ = members.changed() => {}
                _ = epochs.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY), if waits => {}
            }
        }
    }

    /// What the epoch wants of these members.
    fn wish(&self, members: &Membership, epoch: Option<&Epoch>) -> Wish {
        let places = |nodes: &BTreeSet<NodeId>| nodes.iter().copied().map(place_of).collect::<BTreeSet<usize>>();
        let (mut drained, mut leaving) = (BTreeSet::new(), BTreeSet::new());
        if let Some(epoch) = epoch {
            drained.clone_from(&epoch.drained);
            leaving.clone_from(&epoch.leaving);
            // One that was let go before it was a member may have become one in consensus meanwhile.
            leaving.extend(members.nodes.iter().filter(|node| epoch.gone.contains_key(node)));
        }
        let stay = members.nodes.difference(&leaving).copied().collect();
        let voters = epoch.and_then(|epoch| epoch.voters).map(usize::from);
        Wish {
            voting: voting_places(&places(&stay), &places(&drained), self.voters.or(voters)),
            coming: epoch.map_or_else(BTreeSet::new, |epoch| epoch.coming().collect()),
            drained,
            leaving,
        }
    }

    pub(super) fn membership(&self) -> Membership {
        self.consensus.members().borrow().clone()
    }

    fn permissions(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, Instant>> {
        self.permissions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of all nodes by place, with the highest of these numbers that each has; [`NodeId::NONE`] where there is none.
pub(super) fn newest(roster: &Roster, numbers: &BTreeSet<NodeId>) -> Members {
    let of = |place: u16| {
        let here = |number: &NodeId| place_of(*number) == usize::from(place);
        numbers.iter().copied().filter(here).max()
    };
    let seats = roster.seats();
    let named = seats.iter();
    named
        .map(|(place, seat)| (seat.name.to_string(), of(*place).unwrap_or(NodeId::NONE)))
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
