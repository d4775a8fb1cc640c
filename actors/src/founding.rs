//! The first start of a cluster: one node's act, after all expected nodes have answered *empty*.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Hello`] | each node, when a link comes up, and a member when an epoch begins | its neighbour | its own hello | who I am, whether I belong to a cluster, and which epoch I know |
//! | [`Founding`] | the founder: the node listed first | each expected node | [`FoundingAck`] | the cluster's id, and everybody's number |
//! | [`FoundingAck`] | a node that has stored both | the founder | nothing | I have it on disk |
//! | [`Founding`] | a member | an empty node that may join | [`FoundingAck`] | the cluster's id, and everybody's number: yours is new |
//! | [`JoinRefused`] | a member | an empty node that may not | nothing | why |
//!
//! The founder stores what it hands out before it hands it out, and goes on with it after a restart; so there is one
//! cluster id, whenever somebody is interrupted. A node with an empty disk beside nodes that belong to a cluster never
//! founds another one: it is a new node, and joins under a new number once somebody has allowed it. A number tells a place:
//! 1, 65, 129 … are the first place's. Those of a cluster that was recovered after its majority was lost (see `recover`)
//! begin 64,000 above those of the one before. The configurations of nodes are compared while there is no cluster; after
//! that its epoch says who is where.
//!
//! A node that no configuration lists comes in by a member's door (see `node::joins`), and is a member before it has a link.
//!
//! A node of a cluster that was recovered without it is told so by a hello of the cluster that followed, and ends, unless
//! its own cluster has a leader: then nothing was lost, and somebody has to decide which of the two is to stop.
//!
//! What is decided stands in `decisions`, what a node answers once it belongs to a cluster in `answers`, and which number is
//! whose link in `numbers`; what a node notes that came in by a door, or has left, in `noted`.

mod answers;
mod build;
mod decisions;
mod noted;
mod numbers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::Epoch;
use queenright_protocol::id::{ClusterId, NodeId};
use queenright_protocol::version::Versions;
use queenright_protocol::wire::{Envelope, Kind};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval_at};

pub(crate) use self::answers::{AnsweringHello, answer_hellos, let_in, turn_away};
use self::build::Build;
use self::decisions::{Decisions, Effect, Input};
pub use self::noted::{Admission, attempt, come_in};
pub(crate) use self::noted::{left, note_left};
pub(crate) use self::numbers::links_of;
use crate::body::{decode, encode};
use crate::epochs;
use crate::router::{FoundingInbox, Router};
use crate::store::{DataFolder, Identity, StoreError};

/// The link to the founder: the node listed first.
const FOUNDER: u16 = 0;
/// When it is said that the first start waits for somebody, and how often again.
const REMIND_AFTER: Duration = Duration::from_secs(5);
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// The note that holds the members' names and numbers.
const MEMBERS: &str = "members";
/// The note that says that the founder has not heard from everybody yet.
const UNFINISHED: &str = "founding";

/// Who a node is, and whether it belongs to a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hello {
    /// The name of the cluster in its configuration.
    cluster_name: String,
    /// Its name.
    name: String,
    /// The names of all nodes in its configuration, in order.
    nodes: Vec<String>,
    /// The cluster that it belongs to, and its number there.
    identity: Option<(ClusterId, NodeId)>,
    /// Whether it is a founder that has not heard from everybody yet.
    unfinished: bool,
    /// Distinguishes the starts of nodes without a number.
    attempt: u128,
    /// The clusters that its cluster was recovered from.
    past: Vec<ClusterId>,
    /// The newest epoch that it knows.
    epoch: Option<Epoch>,
    /// Which rules it can apply, and which are in force where it belongs.
    build: Build,
}

/// What the founder hands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Founding {
    cluster: ClusterId,
    members: Members,
    attempts: Attempts,
}

/// An empty node may not join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JoinRefused {
    pub(crate) reason: String,
}

/// An empty node that asks a member to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Join {
    /// Its name.
    pub(crate) name: String,
    /// Which start of it.
    pub(crate) attempt: u64,
    /// Where it is, for one that is new to the cluster; `None` for one that the cluster file lists.
    pub(crate) place: Option<(String, String)>,
}

/// A node has stored what the founder handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FoundingAck {
    cluster: ClusterId,
    number: NodeId,
}

/// The members of a cluster: names in the order of the configuration, with their numbers.
pub(crate) type Members = Vec<(String, NodeId)>;

/// Which starts were given their numbers by the founder: one of these has asked for nothing else when its hello comes to a
/// member late.
pub(crate) type Attempts = BTreeMap<NodeId, u64>;

/// Why a node cannot join in.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The data folder failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another node belongs to another cluster.
    #[error("node {peer:?} belongs to cluster {theirs}, this node to {ours}: one of them has the wrong data folder")]
    OtherCluster {
        /// The other node.
        peer: String,
        /// Its cluster.
        theirs: ClusterId,
        /// This node's cluster.
        ours: ClusterId,
    },
    /// Another node belongs to a cluster that was recovered from this node's, without it.
    #[error(
        "this node belongs to cluster {ours}, which has ended: node {peer:?} belongs to cluster {theirs}, which was \
         recovered from it. This node can come back as a new one (queenright node replace {me})"
    )]
    Outlived {
        /// The other node.
        peer: String,
        /// Its cluster.
        theirs: ClusterId,
        /// This node's cluster.
        ours: ClusterId,
        /// The name of this node.
        me: String,
    },
    /// This node's data folder is empty, but the cluster exists.
    #[error("the data folder of this node is empty, but node {peer:?} belongs to cluster {cluster}: {reason}")]
    EmptyBesideCluster {
        /// The node that belongs to it.
        peer: String,
        /// The cluster.
        cluster: ClusterId,
        /// Why it may not join.
        reason: String,
    },
    /// The nodes were given different configurations.
    #[error("node {peer:?} was configured with {field} {theirs:?}, this node with {ours:?}")]
    Configuration {
        /// The other node.
        peer: String,
        /// What differs.
        field: &'static str,
        /// Its value there.
        theirs: String,
        /// Its value here.
        ours: String,
    },
    /// The rules of the cluster are not among those that the build of a node knows: that one cannot take part.
    #[error(
        "node {node} (build {build}) knows {knows} of the rules, the cluster follows version {version}: start it with \
         another build"
    )]
    Rules {
        /// The node.
        node: String,
        /// What its build is called.
        build: String,
        /// The versions that it knows.
        knows: Versions,
        /// The version in force.
        version: u32,
    },
    /// Another node speaks no version of the protocol of links that this one does.
    #[error("this node cannot belong to a cluster with another one: {reason}")]
    Incompatible {
        /// Which versions they speak.
        reason: String,
    },
    /// This node has left its cluster, or was removed.
    #[error(
        "node {name} is no member of its cluster any more: {reason}. A new node of this name can join with an empty \
         data folder ({} holds the old one)",
        folder.display()
    )]
    Left {
        /// Its name.
        name: String,
        /// What became of it.
        reason: String,
        /// Its data folder.
        folder: std::path::PathBuf,
    },
    /// A stored note does not decode.
    #[error("the note {name:?} in the data folder does not decode")]
    Note {
        /// Its name.
        name: &'static str,
    },
    /// The links have ended.
    #[error("the links ended before the first start was complete")]
    LinksEnded,
}

/// What a node knows once the first start is behind it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Founded {
    pub(crate) cluster: ClusterId,
    pub(crate) me: NodeId,
    pub(crate) members: Members,
    /// Whether this node is the founder and has to make the members the voters.
    pub(crate) unfinished: bool,
    /// Which starts were given these numbers, at the first start of a cluster. Not on disk: at the next start no hello from
    /// before it is on its way.
    pub(crate) attempts: Attempts,
}

/// The first start on one node.
pub(crate) struct FirstStart<'a> {
    pub(crate) folder: &'a DataFolder,
    pub(crate) router: &'a Arc<Router>,
    pub(crate) cluster_name: String,
    /// The names of all nodes, in the order of the configuration.
    pub(crate) nodes: Vec<String>,
    /// The place of this node among them.
    pub(crate) me: usize,
}

impl FirstStart<'_> {
    /// Returns when this node belongs to a cluster: at once after its first start, else when the founder has heard from
    /// everybody. Afterwards the inbox must be served by [`answer_hellos`].
    pub(crate) async fn run(&self, inbox: &mut FoundingInbox) -> Result<Founded, FoundingError> {
        let mut decisions = Decisions {
            cluster_name: self.cluster_name.clone(),
            nodes: self.nodes.clone(),
            me: self.me,
            stored: self.stored()?,
            minted: ClusterId(rand::random()),
            empty: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            belong: BTreeMap::new(),
        };
        let mut effects = Vec::new();
        decisions.begin(&mut effects);
        let mut reminders = interval_at(Instant::now() + REMIND_AFTER, REMIND_EVERY);
        loop {
            if let Some(founded) = self.carry_out(&decisions, &mut effects)? {
                return Ok(founded);
            }
            let input = tokio::select! {
                link = inbox.came_up.recv() => Some(Input::Up(link.ok_or(FoundingError::LinksEnded)?)),
                envelope = inbox.envelopes.recv() => {
                    let (link, envelope) = envelope.ok_or(FoundingError::LinksEnded)?;
                    read(link, &envelope)
                }
                reason = inbox.incompatible.recv() => {
                    let reason = reason.ok_or(FoundingError::LinksEnded)?;
                    if decisions.stored.is_none() {
                        return Err(FoundingError::Incompatible { reason });
                    }
                    None
                }
                _ = reminders.tick() => {
                    tracing::warn!(
                        unheard = decisions.unheard().join(", "),
                        "the first start waits: all nodes of the cluster file must have been heard once. A node that a \
                         running cluster does not know comes in by `queenright join`"
                    );
                    None
                }
            };
            if let Some(input) = input {
                decisions.step(input, &mut effects)?;
            }
        }
    }

    fn carry_out(&self, decisions: &Decisions, effects: &mut Vec<Effect>) -> Result<Option<Founded>, FoundingError> {
        let mut done = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Store(founded) => self.store(&founded)?,
                Effect::SendHello(link) => send(self.router, link, Kind::Hello, &decisions.own_hello()),
                Effect::SendFounding(link, founding) => send(self.router, link, Kind::Founding, &founding),
                Effect::SendAck(link, ack) => send(self.router, link, Kind::FoundingAck, &ack),
                Effect::Done => done = decisions.stored.clone(),
            }
        }
        Ok(done)
    }

    /// What the data folder says.
    fn stored(&self) -> Result<Option<Founded>, FoundingError> {
        let Some(identity) = self.folder.identity() else {
            return Ok(None);
        };
        let members = stored_members(self.folder)?.ok_or(FoundingError::Note { name: MEMBERS })?;
        let unfinished = self.folder.note(UNFINISHED)?.is_some_and(|note| !note.is_empty());
        Ok(Some(Founded {
            cluster: identity.cluster,
            me: identity.number,
            members,
            unfinished,
            attempts: Attempts::new(),
        }))
    }

    fn store(&self, founded: &Founded) -> Result<(), FoundingError> {
        if founded.unfinished {
            // Before the identity: whoever finds one also finds that the founding is to be finished.
            self.folder.set_note(UNFINISHED, b"1")?;
            tracing::info!(cluster = %founded.cluster, nodes = founded.members.len(), "founded a cluster");
        }
        self.folder.set_note(MEMBERS, &encode(&founded.members))?;
        self.folder.set_identity(Identity {
            cluster: founded.cluster,
            number: founded.me,
            name: self.nodes[self.me].clone(),
        })?;
        Ok(())
    }

    /// Notes that the members are voters: the founding is over.
    pub(crate) fn finish(&self) -> Result<(), FoundingError> {
        Ok(self.folder.set_note(UNFINISHED, b"")?)
    }
}

fn read(link: u16, envelope: &Envelope) -> Option<Input> {
    let input = match envelope.kind {
        Kind::Hello => decode(&envelope.body).map(|hello| Input::Hello(link, hello)),
        Kind::Founding => decode(&envelope.body).map(|founding| Input::Founding(link, founding)),
        Kind::FoundingAck => decode(&envelope.body).map(|ack| Input::Ack(link, ack)),
        Kind::JoinRefused => decode(&envelope.body).map(|refused| Input::Refused(link, refused)),
        _ => return None,
    };
    input
        .inspect_err(|error| tracing::warn!(link, kind = %envelope.kind, %error, "a body does not decode"))
        .ok()
}

/// The members that a data folder knows.
pub(crate) fn stored_members(folder: &DataFolder) -> Result<Option<Members>, FoundingError> {
    let members = folder.note(MEMBERS)?;
    let decoded = members.map(|members| decode(&members).map_err(|_| FoundingError::Note { name: MEMBERS }));
    decoded.transpose()
}

/// Makes a node, listed at `me`, the only member of a cluster that was recovered, under this number. On disk when this
/// returns.
pub(crate) fn begin_alone(
    folder: &DataFolder,
    nodes: &[String],
    me: usize,
    number: NodeId,
    cluster: ClusterId,
) -> Result<(), FoundingError> {
    let numbered = nodes.iter().enumerate();
    let members: Members = numbered
        .map(|(index, name)| (name.clone(), if index == me { number } else { NodeId::NONE }))
        .collect();
    folder.set_note(UNFINISHED, b"")?;
    epochs::forget(folder)?;
    folder.set_note(MEMBERS, &encode(&members))?;
    folder.set_identity(Identity {
        cluster,
        number,
        name: nodes[me].clone(),
    })?;
    Ok(())
}

/// A link that breaks comes up again, and everything begins anew with its hello; so nothing is repeated here.
fn send(router: &Router, link: u16, kind: Kind, body: &impl Serialize) {
    if let Err(error) = router.send_on(link, kind, encode(body)) {
        tracing::debug!(link, %kind, %error, "not sent");
    }
}

/// Notes the members, so that the next start knows where they are before its log tells.
pub(crate) fn store_members(folder: &DataFolder, members: &Members) {
    if let Err(error) = folder.set_note(MEMBERS, &encode(members)) {
        // The log has them as well; a disk that fails shows there.
        tracing::warn!(%error, "the members were not noted");
    }
}
