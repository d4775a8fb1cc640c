//! What the leader is asked about a new member, by a member that has heard of one: whether it may come, and to let it in.

use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::id::ClusterId;
use queenright_protocol::wire::{Kind, Lane};
use tokio::time::Instant;

use super::Node;
use super::inbox::Control;
use super::replacement::{ReplaceError, Steward, TurnedAway};
use crate::body::{decode, encode};
use crate::consensus::Consensus;
use crate::founding::{Join, Members, let_in, turn_away};
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
    pub(super) cluster: ClusterId,
}

impl Joins {
    pub(super) async fn join(self, link: u16, join: Join) {
        let until = Instant::now() + JOIN_WITHIN;
        let asked = loop {
            let asked = self.ask(join).await;
            let again = asked.as_ref().is_err_and(|turned_away| turned_away.for_now);
            if !again || Instant::now() > until {
                break asked;
            }
            // An election, or another change of members, may be under way.
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        match asked {
            Ok(members) => let_in(&self.router, link, self.cluster, members),
            Err(turned_away) => turn_away(&self.router, link, turned_away.reason),
        }
    }

    async fn ask(&self, join: Join) -> Result<Members, TurnedAway> {
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
