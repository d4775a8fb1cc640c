//! What the leader is asked about a new member, by a member that has heard of one: whether it may come, and to let it in.
//!
//! An empty node that the cluster file lists says hello on its links. One that is new to the cluster has no links yet: it
//! asks at the door of a member, and shows that it knows the cookie, or knew it when it made the request: that is the
//! permission. It can be asked twice without harm, since an attempt is let in once, and who is let in still has to know
//! the cookie on its links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use tokio::time::Instant;

use super::Node;
use super::inbox::Control;
use super::replacement::{ReplaceError, Steward, TurnedAway};
use crate::body::{decode, encode};
use crate::consensus::Consensus;
use crate::founding::{Admission, Join, let_in, turn_away};
use crate::roster::Roster;
use crate::router::Router;

/// How long a node waits for the leader's answer about a new member: an entry is committed meanwhile.
const JOIN_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a member goes on asking for an empty node when that may be let in a moment later: several elections.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// How long a leader is looked for when one is to be asked about a new member.
const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// What a member does for an empty node.
#[derive(Clone)]
pub(super) struct Joins {
    pub(super) router: Arc<Router>,
    pub(super) consensus: Arc<Consensus>,
    pub(super) steward: Arc<Steward>,
    pub(super) roster: Arc<Roster>,
}

/// Why a node was not let in at a door.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It may not come in.
    #[error("{0}")]
    Refused(String),
    /// It may perhaps a moment later: nobody leads, or another change is under way.
    #[error("{0}")]
    NotNow(String),
}

impl Joins {
    /// Answers the empty node at the end of a link.
    pub(super) async fn join(self, link: u16, attempt: u64) {
        let Some(name) = self.roster.seats().get(&link).map(|seat| seat.name.to_string()) else {
            return;
        };
        let join = Join {
            name,
            attempt,
            place: None,
        };
        match self.let_in(&join).await {
            Ok(admission) => {
                let places = admission.epoch.places.iter();
                let members = places.map(|(number, place)| (place.name.clone(), *number));
                // The latest of a name counts.
                let members: BTreeMap<String, NodeId> = members.collect();
                let_in(&self.router, link, admission.cluster, members.into_iter().collect());
            }
            Err(turned_away) => turn_away(&self.router, link, turned_away.reason),
        }
    }

    /// Asks the leader to let a node in, again and again while it may be let in a moment later.
    async fn let_in(&self, join: &Join) -> Result<Admission, TurnedAway> {
        let until = Instant::now() + JOIN_WITHIN;
        loop {
            let asked = self.ask(join.clone()).await;
            let again = asked.as_ref().is_err_and(|turned_away| turned_away.for_now);
            if !again || Instant::now() > until {
                return asked;
            }
            // An election, or another change of members, may be under way.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask(&self, join: Join) -> Result<Admission, TurnedAway> {
        match self.consensus.current().leader {
            Some(leader) if leader != self.router.me() => {
                let question = encode(&Control::Join(join));
                let answer = self
                    .router
                    .ask(leader, Lane::Command, Kind::Control, question, JOIN_TIMEOUT)
                    .await;
                let answer = answer.ok().and_then(|answer| decode(&answer).ok());
                answer.unwrap_or_else(|| Err(TurnedAway::for_now("the leader has not answered: start it again")))
            }
            _ => self.steward.admit(join).await,
        }
    }
}

impl Node {
    /// Lets a node in that the cluster does not know: `attempt` tells its wish from any other, `links` and `http` are where
    /// the others dial it. Whoever asks has shown that it knows the cookie.
    ///
    /// # Errors
    /// [`JoinError`]; asked again with the same attempt, it gets the same number.
    pub async fn join(&self, name: &str, attempt: u64, links: &str, http: &str) -> Result<Admission, JoinError> {
        let join = Join {
            name: name.to_owned(),
            attempt,
            place: Some((links.to_owned(), http.to_owned())),
        };
        let let_in = self.joins.let_in(&join).await;
        let_in.map_err(|TurnedAway { reason, for_now }| match for_now {
            true => JoinError::NotNow(reason),
            false => JoinError::Refused(reason),
        })
    }

    /// Allows the node of this name, which has lost its disk, to come back with an empty folder, as a new node.
    ///
    /// # Errors
    /// [`ReplaceError`]; nothing has changed then.
    pub async fn replace(&self, name: &str) -> Result<(), ReplaceError> {
        let place = self.steward.place(name)?;
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            let allowed = match self.consensus.current().leader {
                Some(leader) if leader == self.router.me() => {
                    self.steward.allow(place, |node| self.answers(node)).await
                }
                Some(leader) => {
                    let question = encode(&Control::Allow(place));
                    let answer = self
                        .router
                        .ask(leader, Lane::Command, Kind::Control, question, JOIN_TIMEOUT)
                        .await;
                    let answer = answer.ok().and_then(|answer| decode(&answer).ok());
                    answer.unwrap_or(Err(ReplaceError::NoLeader))
                }
                None => Err(ReplaceError::NoLeader),
            };
            if allowed != Err(ReplaceError::NoLeader) || Instant::now() > until {
                return allowed;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
