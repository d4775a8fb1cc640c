//! Keeps the links and routes of this node as the newest epoch wants them, and while this node leads, the epoch as the
//! members are. Two tasks of the node; what is decided is `shape`'s and the colony's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queenright_protocol::colony::{Body, Epoch, Outcome, TopologyCommand, place_of};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology;
use ractor::ActorRef;
use tokio::time::Instant;

use super::Role;
use super::replacement::with_me;
use crate::agent::submit;
use crate::consensus::Consensus;
use crate::epochs::{self, Epochs};
use crate::founding::Attempts;
use crate::queen::{QueenMessage, Request};
use crate::replica::Replica;
use crate::roster::Roster;
use crate::router::Router;
use crate::shape::{Seen, Shape, Shaped};
use crate::store::DataFolder;

/// How often a node looks although nothing has told it to: what it decides by time alone has a second and more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the leader waits for an epoch to be committed before it looks again.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it waits after one that was not.
const EPOCH_AGAIN: Duration = Duration::from_millis(200);
/// Who names the members, and in the name of which project: the command belongs to none.
const AUTHOR: &str = "queen";
const PROJECT: &str = "default";

/// What the tasks are made of.
pub(super) struct Shaping {
    me: NodeId,
    roster: Arc<Roster>,
    /// The members that the first start has told, until consensus does.
    told: BTreeSet<NodeId>,
    // A mutex: the task changes it, whoever asks for the status looks. Held for a look.
    shape: Mutex<(Shape, Shaped)>,
    router: Arc<Router>,
    pub(super) epochs: Arc<Epochs>,
}

impl Shaping {
    /// The links and routes that a node begins with, which knows these members.
    pub(super) fn new(
        shape: Shape,
        me: NodeId,
        roster: Arc<Roster>,
        members: &BTreeSet<NodeId>,
        router: Arc<Router>,
        epochs: Arc<Epochs>,
    ) -> Shaping {
        let mut shape = shape;
        router.set_peers(&roster.peers());
        let shaped = shape.look(&Seen {
            epoch: epochs.present(),
            places: roster.places(),
            members: with_me(members, me),
            ..Seen::default()
        });
        router.set_view(shaped.view.clone());
        router.set_wanted(&shaped.wanted());
        Shaping {
            me,
            roster,
            told: members.clone(),
            shape: Mutex::new((shape, shaped)),
            router,
            epochs,
        }
    }

    /// What is wanted now.
    pub(super) fn shaped(&self) -> Shaped {
        self.shape.lock().expect("nothing panics under this lock").1.clone()
    }

    /// Follows whatever bears on the links, for as long as it is polled.
    pub(super) async fn watch(
        self: Arc<Self>,
        consensus: Arc<Consensus>,
        replica: Arc<Replica>,
        folder: Arc<DataFolder>,
    ) {
        let started = Instant::now();
        let (mut members, mut applied) = (consensus.members(), replica.follow_epoch());
        let (mut suspects, mut links) = (self.router.follow_suspects(), self.router.follow_links());
        let mut newest = self.epochs.follow();
        let mut noted = newest.borrow().as_ref().map_or(0, |epoch| epoch.number);
        loop {
            if let Some(epoch) = applied.borrow_and_update().as_ref() {
                self.epochs.learn(epoch);
            }
            links.mark_unchanged();
            suspects.mark_unchanged();
            let epoch = newest.borrow_and_update().clone();
            if let Some(epoch) = epoch.clone().filter(|epoch| epoch.number > noted) {
                noted = epoch.number;
                tracing::info!(epoch = epoch.number, kind = %epoch.kind, members = epoch.members.len(), "an epoch begins");
                if self.roster.learn(&epoch) {
                    self.router.set_peers(&self.roster.peers());
                    // What is wanted of those who are new is said below, though nothing else may have changed.
                    self.again();
                }
                let folder = folder.clone();
                tokio::task::spawn_blocking(move || epochs::note(&folder, &epoch));
            }
            let mut membership = members.borrow_and_update().clone();
            if membership.nodes.is_empty() {
                membership.nodes.clone_from(&self.told);
            }
            let places = self.roster.places();
            let others = places
                .iter()
                .copied()
                .filter(|place| usize::from(*place) != place_of(self.me));
            self.look(&Seen {
                now_ms: started.elapsed().as_millis() as u64,
                epoch,
                members: with_me(&membership.nodes, self.me),
                voters: membership.voters(),
                suspects: self.router.suspects(),
                up: others.filter(|place| self.router.is_up(*place)).collect(),
                places: places.clone(),
                silence_ms: consensus.leader_silence().as_millis() as u64,
            });
            let changed = tokio::select! {
                changed = members.changed() => changed,
                changed = applied.changed() => changed,
                changed = newest.changed() => changed,
                changed = suspects.changed() => changed,
                changed = links.changed() => changed,
                () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
            };
            if changed.is_err() {
                // The node stops.
                return;
            }
        }
    }

    fn look(&self, seen: &Seen) {
        let mut known = self.shape.lock().expect("nothing panics under this lock");
        let (shape, before) = &mut *known;
        let shaped = shape.look(seen);
        if shaped == *before {
            return;
        }
        if shaped.seeks != before.seeks && shaped.seeks {
            tracing::warn!(
                silence_ms = seen.silence_ms,
                "no leader is heard: looking for somebody who knows one"
            );
        }
        if shaped.view != before.view {
            self.router.set_view(shaped.view.clone());
        }
        self.router.set_wanted(&shaped.wanted());
        *before = shaped;
    }

    /// What is wanted of the present links.
    fn again(&self) {
        let known = self.shape.lock().expect("nothing panics under this lock");
        self.router.set_wanted(&known.1.wanted());
    }
}

/// Begins an epoch whenever the members are others than those of the present one, for as long as it is polled and this
/// node leads. `first` is the kind of the first one, `voters` how many should vote, where the cluster file says so, and
/// `attempts` which starts were given the numbers of the first one.
pub(super) async fn keep_epoch(
    consensus: Arc<Consensus>,
    replica: Arc<Replica>,
    queen: ActorRef<QueenMessage>,
    roster: Arc<Roster>,
    first: topology::Kind,
    voters: Option<u8>,
    attempts: Attempts,
) {
    let (mut leadership, mut members) = (consensus.leadership(), consensus.members());
    let mut applied = replica.follow_epoch();
    loop {
        let leads = leadership.borrow_and_update().role == Role::Leader;
        let nodes = members.borrow_and_update().nodes.clone();
        let (after, same) = {
            let epoch = applied.borrow_and_update();
            let number = epoch.as_ref().map_or(0, |epoch| epoch.number);
            let is_so = |epoch: &Epoch| epoch.members == nodes && (voters.is_none() || epoch.voters == voters);
            (number, epoch.as_ref().is_some_and(is_so))
        };
        let mut again = false;
        if leads && !same && !nodes.is_empty() {
            let request = Request {
                project: PROJECT.into(),
                author: AUTHOR.into(),
                idempotency_key: None,
                body: Body::Topology(TopologyCommand::Members {
                    places: roster.places_of(&nodes, &attempts),
                    members: nodes,
                    first,
                    after,
                    voters,
                }),
            };
            match submit(&queen, request, EPOCH_TIMEOUT).await {
                Ok(Outcome::EpochSet { .. }) => {}
                // Another epoch has begun, or nobody knows: what there is then is looked at.
                other => {
                    tracing::debug!(?other, "no epoch has begun");
                    again = true;
                }
            }
        }
        let changed = tokio::select! {
            changed = leadership.changed() => changed,
            changed = members.changed() => changed,
            changed = applied.changed() => changed,
            () = tokio::time::sleep(EPOCH_AGAIN), if again => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}
