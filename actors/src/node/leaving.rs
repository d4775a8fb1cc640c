//! Members that take no new work, and those that go for good.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Control::Change`](super::inbox::Control) | the node that was asked to | the leader | `Result<u64, ChangeError>` | drain a member, or let it go: the epoch that says so |
//!
//! The leader looks first whether the others would still have a majority. Once the epoch says that a member is to go, it
//! is gone sooner or later, whoever leads (see `replacement`). The member itself hears nothing of that: nobody has a link
//! with it any more. So it asks at the doors of the others what became of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::{Epoch, Outcome, TopologyCommand};
use queenright_protocol::id::{ClusterId, NodeId};
use queenright_protocol::wire::{Kind, Lane};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::inbox::Control;
use super::replacement::Steward;
use super::{Node, Role};
use crate::body::{decode, encode};
use crate::founding::note_left;

/// How long a node waits for the leader's answer: it asks all others whether they are there, and an entry is committed.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a leader is looked for.
const LEADER_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the work of a node that leaves is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After how long without a leader a node asks at the doors of the others what became of it: longer than an election.
const ASKS_AFTER: Duration = Duration::from_secs(5);

/// What is to become of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// It takes no new work, or does again.
    Drain { name: String, on: bool },
    /// It lives, and wants to go for good.
    Leave { name: String },
    /// It is dead, and is to go for good.
    Remove { name: String },
}

/// Why a member was not drained or let go. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ChangeError {
    /// There is no such node.
    #[error("no node of this cluster is called {name:?}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// It runs.
    #[error("node {name} runs and answers: let it leave (queenright leave), or stop it first")]
    Runs {
        /// Its name.
        name: String,
    },
    /// Nobody would be left.
    #[error("node {name} is the only one that stays: who needs no cluster any more stops its nodes")]
    Last {
        /// Its name.
        name: String,
    },
    /// The others could not go on without it.
    #[error(
        "without node {name} the cluster would have no majority: of the {stay} voters that stay {answer} answer, of all \
         {voters} {answer_now}"
    )]
    Majority {
        /// Its name.
        name: String,
        /// How many voters stay.
        stay: usize,
        /// How many of them answer.
        answer: usize,
        /// How many voters there are.
        voters: usize,
        /// How many of them answer.
        answer_now: usize,
    },
    /// The colony did not take it.
    #[error("{0}")]
    Refused(String),
    /// Nobody leads, or the leader did not answer in time.
    #[error("no leader has answered: try again")]
    NoLeader,
}

/// What became of a number, as a node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fate {
    /// It is one of a member, or of a node that is to become one. This is the newest epoch.
    Member(Box<Epoch>),
    /// Its node was removed or replaced, and why it is said so.
    Gone(String),
    /// Nothing is known of it.
    Unknown,
}

/// How a node has ended as a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It wanted to.
    Left(String),
    /// It did not.
    Removed(String),
}

impl Fate {
    pub(super) fn of(number: NodeId, epoch: &Epoch) -> Fate {
        if epoch.places.contains_key(&number) {
            return Fate::Member(Box::new(epoch.clone()));
        }
        match epoch.gone.get(&number) {
            None => Fate::Unknown,
            Some(name) => Fate::Gone(match epoch.number_of(name) {
                Some(now) => format!("it was number {number}, and node {name} is number {now} now"),
                None => format!("it was number {number}, which was removed by epoch {}", epoch.number),
            }),
        }
    }
}

impl Steward {
    /// Drains a member or lets it go, unless the others would have no majority. `answers` asks a node whether it is there.
    /// Returns the number of the epoch that says so.
    pub(super) async fn carry_out<F>(&self, change: Change, answers: impl Fn(NodeId) -> F) -> Result<u64, ChangeError>
    where
        F: Future<Output = bool>,
    {
        let epoch = self.epoch().filter(|_| self.leads()).ok_or(ChangeError::NoLeader)?;
        let number = |name: &str| {
            let number = epoch.number_of(name);
            number.ok_or_else(|| ChangeError::Unknown { name: name.to_owned() })
        };
        let command = match &change {
            Change::Drain { name, on } => TopologyCommand::Drain {
                node: number(name)?,
                on: *on,
            },
            Change::Leave { name } => {
                self.bearable(&epoch, name, number(name)?, true, answers).await?;
                TopologyCommand::Remove { node: number(name)? }
            }
            Change::Remove { name } => {
                let node = number(name)?;
                if answers(node).await {
                    return Err(ChangeError::Runs { name: name.clone() });
                }
                self.bearable(&epoch, name, node, false, answers).await?;
                TopologyCommand::Remove { node }
            }
        };
        match self.change(command).await {
            Ok(Outcome::EpochSet { epoch, .. }) => {
                tracing::info!(?change, epoch, "a member is to be otherwise");
                Ok(epoch)
            }
            Ok(Outcome::Refused(refusal)) => Err(ChangeError::Refused(refusal.to_string())),
            Ok(_) | Err(_) => Err(ChangeError::NoLeader),
        }
    }

    /// Whether the cluster goes on without this member.
    async fn bearable<F>(
        &self,
        epoch: &Epoch,
        name: &str,
        node: NodeId,
        lives: bool,
        answers: impl Fn(NodeId) -> F,
    ) -> Result<(), ChangeError>
    where
        F: Future<Output = bool>,
    {
        let members = self.membership();
        let goes = |member: &NodeId| *member == node || epoch.leaving.contains(member);
        let name = name.to_owned();
        if members.nodes.iter().all(goes) {
            return Err(ChangeError::Last { name });
        }
        let voters = members.voters();
        let asked = voters.iter().filter(|voter| **voter != node || lives);
        let asked = asked.map(|voter| {
            let answers = answers(*voter);
            async move { answers.await.then_some(*voter) }
        });
        let answering = futures::future::join_all(asked).await;
        let answering: BTreeSet<NodeId> = answering.into_iter().flatten().collect();
        let stay: BTreeSet<NodeId> = voters.iter().copied().filter(|voter| !goes(voter)).collect();
        let answer = stay.intersection(&answering).count();
        match answer * 2 > stay.len() && answering.len() * 2 > voters.len() {
            true => Ok(()),
            false => Err(ChangeError::Majority {
                name,
                stay: stay.len(),
                answer,
                voters: voters.len(),
                answer_now: answering.len(),
            }),
        }
    }
}

impl Node {
    /// Lets a member take no new work, or take some again. Returns the number of the epoch that says so.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn drain(&self, name: &str, on: bool) -> Result<u64, ChangeError> {
        let name = name.to_owned();
        self.ask_for(Change::Drain { name, on }).await
    }

    /// Lets a dead member go for good. Returns the number of the epoch that says so; it is gone some moments later.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove(&self, name: &str) -> Result<u64, ChangeError> {
        let name = name.to_owned();
        self.ask_for(Change::Remove { name }).await
    }

    /// Takes no new work, waits until the work of the sessions that live here is done, for `patience` at most, and asks to
    /// go for good. [`Node::left`] says when it is gone. Returns the number of the epoch that says so.
    ///
    /// # Errors
    /// [`ChangeError`]; the node takes work again then.
    pub async fn leave(&self, patience: Duration) -> Result<u64, ChangeError> {
        let name = self.name().to_owned();
        self.drain(&name, true).await?;
        let until = Instant::now() + patience;
        while self.has_work() && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let asked = self.ask_for(Change::Leave { name: name.clone() }).await;
        match &asked {
            Ok(_) => self.leaves.store(true, std::sync::atomic::Ordering::Relaxed),
            // What comes of it shows in the status.
            Err(_) => drop(self.drain(&name, false).await),
        }
        asked
    }

    /// Whether this node takes no new work.
    pub fn is_drained(&self) -> bool {
        let me = self.router.me();
        // As applied here: who was told that it takes work again finds that it does.
        drains(&self.replica.follow_epoch().borrow(), me)
    }

    /// Resolves once this node takes no new work.
    pub async fn drained(&self) {
        let me = self.router.me();
        let mut applied = self.replica.follow_epoch();
        let drained = applied.wait_for(|epoch| drains(epoch, me));
        drained.await.expect("the replica has the sender");
    }

    /// Whether a session that lives here holds anything.
    fn has_work(&self) -> bool {
        let snapshot = self.replica.snapshot();
        let sessions = snapshot.colony.sessions();
        let mut here = sessions.at(self.router.me());
        here.any(|session| sessions.held(session.id).next().is_some())
    }

    /// Whether this node votes, and the number of the newest epoch, if it is a member of that.
    pub fn membership(&self) -> Option<(bool, u64)> {
        let me = self.router.me();
        let epoch = self
            .shaping
            .epochs
            .present()
            .filter(|epoch| epoch.members.contains(&me))?;
        let votes = self.consensus.members().borrow().voters().contains(&me);
        Some((votes, epoch.number))
    }

    /// What became of a number.
    pub fn fate_of(&self, number: NodeId) -> Fate {
        let epoch = self.shaping.epochs.present();
        epoch.map_or(Fate::Unknown, |epoch| Fate::of(number, &epoch))
    }

    /// The cluster that this node belongs to, and its number there.
    pub fn identity(&self) -> (ClusterId, NodeId) {
        (self.cluster_id, self.router.me())
    }

    /// Whether this node should ask at the doors of the others what became of it: it wants to leave, or hears no leader.
    pub fn wonders(&self) -> bool {
        let leaves = self.leaves.load(std::sync::atomic::Ordering::Relaxed);
        let alone = self.consensus.current().role != Role::Leader && self.consensus.leader_silence() >= ASKS_AFTER;
        leaves || alone
    }

    /// The name of its cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Counts somebody who has asked at the door as a node and does not know the cookie, among those whose links were
    /// refused for that.
    pub fn refuse_stranger(&self, from: &str) {
        self.router.refuse_stranger(from);
    }

    /// The doors of the others: `host:port`.
    pub fn other_doors(&self) -> Vec<String> {
        let seats = self.roster.seats();
        let others = seats.iter().filter(|(place, _)| **place != self.roster.me());
        others.map(|(_, seat)| seat.http.clone()).collect()
    }

    /// Another node has said what became of this one.
    pub fn learn_fate(&self, fate: Fate) {
        match fate {
            Fate::Unknown => {}
            Fate::Member(epoch) => self.shaping.epochs.learn(&epoch),
            Fate::Gone(reason) => {
                let leaves = self.leaves.load(std::sync::atomic::Ordering::Relaxed);
                let reason = if leaves { "it has left".to_owned() } else { reason };
                if let Err(error) = note_left(&self.folder, &reason) {
                    // The others will say it again.
                    tracing::warn!(%error, "that this node is no member any more was not noted");
                }
                self.ended.send_replace(Some(match leaves {
                    true => Ended::Left(reason),
                    false => Ended::Removed(reason),
                }));
            }
        }
    }

    /// Resolves when this node has left its cluster, as it wanted to.
    pub async fn left(&self) {
        let mut ended = self.ended.subscribe();
        let left = ended.wait_for(|ended| matches!(ended, Some(Ended::Left(_)))).await;
        left.expect("the node has the sender");
    }

    /// Resolves with the reason when this node is no member any more without having wanted that.
    pub(super) async fn removed(&self) -> String {
        let mut ended = self.ended.subscribe();
        let removed = ended.wait_for(|ended| matches!(ended, Some(Ended::Removed(_)))).await;
        match removed.expect("the node has the sender").as_ref() {
            Some(Ended::Removed(reason)) => format!("node {} is no member any more: {reason}", self.name()),
            _ => unreachable!("the condition asks for it"),
        }
    }

    /// Asks the leader, whoever it is.
    async fn ask_for(&self, change: Change) -> Result<u64, ChangeError> {
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            let done = match self.consensus.current().leader {
                Some(leader) if leader == self.router.me() => {
                    self.steward.carry_out(change.clone(), |node| self.answers(node)).await
                }
                Some(leader) => {
                    let question = encode(&Control::Change(change.clone()));
                    let (lane, kind) = (Lane::Command, Kind::Control);
                    let answer = self.router.ask(leader, lane, kind, question, CHANGE_TIMEOUT).await;
                    let answer = answer.ok().and_then(|answer| decode(&answer).ok());
                    answer.unwrap_or(Err(ChangeError::NoLeader))
                }
                None => Err(ChangeError::NoLeader),
            };
            if done != Err(ChangeError::NoLeader) || Instant::now() > until {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How a node has ended as a member, if it has.
pub(super) type EndedSender = Arc<watch::Sender<Option<Ended>>>;

fn drains(epoch: &Option<Epoch>, node: NodeId) -> bool {
    epoch.as_ref().is_some_and(|epoch| epoch.drained.contains(&node))
}

#[cfg(test)]
mod tests {
    use queenright_protocol::topology;

    use super::*;

    #[test]
    fn a_number_is_a_members_or_gone_or_nothing_is_known_of_it() {
        let mut epoch = Epoch::of(9, topology::Kind::Mesh, [NodeId(1), NodeId(66)].into());
        for (number, name) in [(1, "n1"), (66, "n2")] {
            let place = queenright_protocol::colony::Place {
                name: name.into(),
                links: "h:1".into(),
                http: "h:2".into(),
                attempt: 0,
            };
            epoch.places.insert(NodeId(number), place);
        }
        epoch.gone = [(NodeId(2), "n2".to_owned()), (NodeId(3), "n3".to_owned())].into();
        assert!(matches!(Fate::of(NodeId(66), &epoch), Fate::Member(_)));
        let gone = |reason: &str| Fate::Gone(reason.to_owned());
        assert_eq!(
            Fate::of(NodeId(2), &epoch),
            gone("it was number #2, and node n2 is number #66 now")
        );
        assert_eq!(
            Fate::of(NodeId(3), &epoch),
            gone("it was number #3, which was removed by epoch 9")
        );
        assert_eq!(Fate::of(NodeId(4), &epoch), Fate::Unknown);
    }
}
