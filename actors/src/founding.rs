//! The first start of a cluster: one node's act, after all expected nodes have answered *empty*.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Hello`] | each node, when a link comes up | its neighbour | its own hello | who I am, and whether I belong to a cluster |
//! | [`Founding`] | the founder: the node listed first | each expected node | [`FoundingAck`] | the cluster's id, and everybody's number |
//! | [`FoundingAck`] | a node that has stored both | the founder | nothing | I have it on disk |
//!
//! The founder stores what it hands out before it hands it out, and goes on with it after a restart; so there is one
//! cluster id, whenever somebody is interrupted. A node with an empty disk beside nodes that belong to a cluster never
//! founds another one: it is a new node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queenright_protocol::id::{ClusterId, NodeId};
use queenright_protocol::wire::{Envelope, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::router::{FoundingInbox, Router};
use crate::store::{DataFolder, Identity, StoreError};

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
}

/// What the founder hands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Founding {
    cluster: ClusterId,
    members: Members,
}

/// A node has stored what the founder handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FoundingAck {
    cluster: ClusterId,
    number: NodeId,
}

/// The members of a cluster: names in the order of the configuration, with their numbers.
pub(crate) type Members = Vec<(String, NodeId)>;

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
    /// This node's data folder is empty, but the cluster exists.
    #[error(
        "the data folder of this node is empty, but node {peer:?} belongs to cluster {cluster}: an empty node would have \
         to join under a new number, which this version cannot do yet"
    )]
    EmptyBesideCluster {
        /// The node that belongs to it.
        peer: String,
        /// The cluster.
        cluster: ClusterId,
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
#[derive(Clone, Debug)]
pub(crate) struct Founded {
    pub(crate) cluster: ClusterId,
    pub(crate) me: NodeId,
    pub(crate) members: Members,
    /// Whether this node is the founder and has to make the members the voters.
    pub(crate) unfinished: bool,
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
        if let Some(founded) = self.stored()?
            && !founded.unfinished
        {
            return Ok(founded);
        }
        let mut empty = BTreeSet::new();
        let mut acknowledged = BTreeSet::new();
        if self.nodes.len() == 1 {
            return self.found();
        }
        loop {
            tokio::select! {
                link = inbox.came_up.recv() => self.send_hello(link.ok_or(FoundingError::LinksEnded)?)?,
                envelope = inbox.envelopes.recv() => {
                    let (link, envelope) = envelope.ok_or(FoundingError::LinksEnded)?;
                    match envelope.kind {
                        Kind::Hello => self.hello(link, &envelope, &mut empty)?,
                        Kind::Founding => {
                            if let Some(founded) = self.accept(link, &envelope)? {
                                return Ok(founded);
                            }
                        }
                        Kind::FoundingAck => self.acknowledge(link, &envelope, &mut acknowledged)?,
                        _ => {}
                    }
                }
            }
            if self.me == 0 && self.stored()?.is_none() && empty.len() + 1 == self.nodes.len() {
                let founded = self.found()?;
                for &link in &empty {
                    self.hand_out(link, &founded);
                }
            }
            if self.me == 0 && acknowledged.len() + 1 == self.nodes.len() {
                return Ok(self.stored()?.expect("only a founder is acknowledged"));
            }
        }
    }

    /// What the data folder says.
    fn stored(&self) -> Result<Option<Founded>, FoundingError> {
        let Some(identity) = self.folder.identity() else {
            return Ok(None);
        };
        let members = self
            .folder
            .note(MEMBERS)?
            .ok_or(FoundingError::Note { name: MEMBERS })?;
        let members = decode(&members).ok_or(FoundingError::Note { name: MEMBERS })?;
        let unfinished = self.folder.note(UNFINISHED)?.is_some_and(|note| !note.is_empty());
        Ok(Some(Founded {
            cluster: identity.cluster,
            me: identity.number,
            members,
            unfinished,
        }))
    }

    fn store(&self, cluster: ClusterId, members: &Members) -> Result<NodeId, FoundingError> {
        let name = self.nodes[self.me].clone();
        let number = NodeId(self.me as u64 + 1);
        self.folder.set_note(MEMBERS, &encode(members))?;
        self.folder.set_identity(Identity { cluster, number, name })?;
        Ok(number)
    }

    /// Mints the cluster.
    fn found(&self) -> Result<Founded, FoundingError> {
        if let Some(founded) = self.stored()? {
            return Ok(founded);
        }
        let cluster = ClusterId(rand::random());
        let members: Members = self
            .nodes
            .iter()
            .enumerate()
            .map(|(place, name)| (name.clone(), NodeId(place as u64 + 1)))
            .collect();
        // In this order: whoever finds an identity also finds that the founding is to be finished.
        self.folder.set_note(UNFINISHED, b"1")?;
        let me = self.store(cluster, &members)?;
        tracing::info!(%cluster, nodes = members.len(), "founded a cluster");
        Ok(Founded {
            cluster,
            me,
            members,
            unfinished: true,
        })
    }

    fn hand_out(&self, link: u16, founded: &Founded) {
        let founding = Founding {
            cluster: founded.cluster,
            members: founded.members.clone(),
        };
        // A link that breaks comes up again, and its hello is answered with the founding once more.
        if let Err(error) = self.router.send_on(link, Kind::Founding, encode(&founding).into()) {
            tracing::debug!(link, %error, "the founding was not sent");
        }
    }

    fn own_hello(&self) -> Result<Hello, FoundingError> {
        let stored = self.stored()?;
        Ok(Hello {
            cluster_name: self.cluster_name.clone(),
            name: self.nodes[self.me].clone(),
            nodes: self.nodes.clone(),
            identity: stored.as_ref().map(|founded| (founded.cluster, founded.me)),
            unfinished: stored.is_some_and(|founded| founded.unfinished),
        })
    }

    fn send_hello(&self, link: u16) -> Result<(), FoundingError> {
        let hello = encode(&self.own_hello()?);
        if let Err(error) = self.router.send_on(link, Kind::Hello, hello.into()) {
            tracing::debug!(link, %error, "the hello was not sent");
        }
        Ok(())
    }

    fn hello(&self, link: u16, envelope: &Envelope, empty: &mut BTreeSet<u16>) -> Result<(), FoundingError> {
        let Some(hello) = decode::<Hello>(&envelope.body) else {
            tracing::warn!(link, "a hello does not decode");
            return Ok(());
        };
        let ours = self.own_hello()?;
        compare(&ours, &hello)?;
        let Some((cluster, _)) = hello.identity else {
            empty.insert(link);
            if let Some(founded) = self.stored()?
                && self.me == 0
                && founded.unfinished
            {
                self.hand_out(link, &founded);
            }
            return Ok(());
        };
        match ours.identity {
            // Only the founder's word counts: others have their number already while the founding goes on.
            None if link == 0 && !hello.unfinished || self.me == 0 => Err(FoundingError::EmptyBesideCluster {
                peer: hello.name,
                cluster,
            }),
            None => Ok(()),
            // A member that has its number, heard by a founder that was interrupted.
            Some(_) => {
                if self.me == 0
                    && let Some(founded) = self.stored()?
                {
                    self.hand_out(link, &founded);
                }
                Ok(())
            }
        }
    }

    /// Takes the founding, stores it and acknowledges.
    fn accept(&self, link: u16, envelope: &Envelope) -> Result<Option<Founded>, FoundingError> {
        let Some(founding) = decode::<Founding>(&envelope.body).filter(|_| link == 0 && self.me != 0) else {
            tracing::warn!(
                link,
                "a founding does not decode, or comes from a node that does not found"
            );
            return Ok(None);
        };
        let number = match self.folder.identity() {
            Some(identity) => identity.number,
            None => self.store(founding.cluster, &founding.members)?,
        };
        acknowledge_to(self.router, link, founding.cluster, number);
        self.stored()
    }

    fn acknowledge(
        &self,
        link: u16,
        envelope: &Envelope,
        acknowledged: &mut BTreeSet<u16>,
    ) -> Result<(), FoundingError> {
        let ack = decode::<FoundingAck>(&envelope.body);
        let stored = self.stored()?;
        if ack.is_some_and(|ack| stored.is_some_and(|founded| founded.cluster == ack.cluster)) {
            acknowledged.insert(link);
        }
        Ok(())
    }

    /// Notes that the members are voters: the founding is over.
    pub(crate) fn finish(&self) -> Result<(), FoundingError> {
        Ok(self.folder.set_note(UNFINISHED, b"")?)
    }
}

fn acknowledge_to(router: &Router, link: u16, cluster: ClusterId, number: NodeId) {
    let ack = FoundingAck { cluster, number };
    if let Err(error) = router.send_on(link, Kind::FoundingAck, encode(&ack).into()) {
        tracing::debug!(link, %error, "the acknowledgement of the founding was not sent");
    }
}

fn compare(ours: &Hello, theirs: &Hello) -> Result<(), FoundingError> {
    let differ = |field, theirs_value: String, ours_value: String| {
        Err(FoundingError::Configuration {
            peer: theirs.name.clone(),
            field,
            theirs: theirs_value,
            ours: ours_value,
        })
    };
    if ours.cluster_name != theirs.cluster_name {
        return differ("cluster.name", theirs.cluster_name.clone(), ours.cluster_name.clone());
    }
    if ours.nodes != theirs.nodes {
        return differ("nodes", theirs.nodes.join(", "), ours.nodes.join(", "));
    }
    match (ours.identity, theirs.identity) {
        (Some((ours, _)), Some((other, _))) if ours != other => Err(FoundingError::OtherCluster {
            peer: theirs.name.clone(),
            theirs: other,
            ours,
        }),
        _ => Ok(()),
    }
}

/// Answers the nodes that start later than this one, or again, for as long as the node runs. Returns when one of them
/// belongs to another cluster.
pub(crate) async fn answer_hellos(
    hello: AnsweringHello,
    router: Arc<Router>,
    mut inbox: FoundingInbox,
) -> FoundingError {
    loop {
        tokio::select! {
            link = inbox.came_up.recv() => {
                let Some(link) = link else { return FoundingError::LinksEnded };
                let _ = router.send_on(link, Kind::Hello, encode(&hello.0).into());
            }
            envelope = inbox.envelopes.recv() => {
                let Some((link, envelope)) = envelope else { return FoundingError::LinksEnded };
                match envelope.kind {
                    Kind::Hello => {
                        let theirs = decode::<Hello>(&envelope.body);
                        if let Some(Err(error)) = theirs.map(|theirs| compare(&hello.0, &theirs)) {
                            // The other node stops by itself if it is the one that is new.
                            tracing::error!(%error, "a neighbour does not belong here");
                        }
                    }
                    Kind::Founding => {
                        // The founder was interrupted before it heard this node's acknowledgement.
                        let (cluster, number) = hello.0.identity.expect("it belongs to a cluster");
                        if decode::<Founding>(&envelope.body).is_some_and(|founding| founding.cluster == cluster) {
                            acknowledge_to(&router, link, cluster, number);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The hello of a node that belongs to a cluster.
pub(crate) struct AnsweringHello(Hello);

impl AnsweringHello {
    pub(crate) fn of(start: &FirstStart<'_>, founded: &Founded) -> AnsweringHello {
        AnsweringHello(Hello {
            cluster_name: start.cluster_name.clone(),
            name: start.nodes[start.me].clone(),
            nodes: start.nodes.clone(),
            identity: Some((founded.cluster, founded.me)),
            unfinished: false,
        })
    }
}

/// The link of each member but this one: links are numbered by place in the configuration.
pub(crate) fn links_of(members: &Members, me: NodeId) -> BTreeMap<NodeId, u16> {
    let places = members
        .iter()
        .enumerate()
        .map(|(place, (_, number))| (*number, place as u16));
    places.filter(|(number, _)| *number != me).collect()
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("plain data serialises into memory")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}
