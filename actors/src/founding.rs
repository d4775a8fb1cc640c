//! The first start of a cluster: one node's act, after all expected nodes have answered *empty*.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Hello`] | each node, when a link comes up | its neighbour | its own hello | who I am, and whether I belong to a cluster |
//! | [`Founding`] | the founder: the node listed first | each expected node | [`FoundingAck`] | the cluster's id, and everybody's number |
//! | [`FoundingAck`] | a node that has stored both | the founder | nothing | I have it on disk |
//! | [`Founding`] | a member | an empty node that may join | [`FoundingAck`] | the cluster's id, and everybody's number: yours is new |
//! | [`JoinRefused`] | a member | an empty node that may not | nothing | why |
//!
//! The founder stores what it hands out before it hands it out, and goes on with it after a restart; so there is one
//! cluster id, whenever somebody is interrupted. A node with an empty disk beside nodes that belong to a cluster never
//! founds another one: it is a new node, and joins under a new number once somebody has allowed it. A number is a place in
//! the configuration and how often it was given out: 1, 65, 129 … are the first place's. Those of a cluster that was
//! recovered after its majority was lost (see `recover`) begin 64,000 above those of the one before.
//!
//! A node of a cluster that was recovered without it is told so by a hello of the cluster that followed, and ends, unless
//! its own cluster has a leader: then nothing was lost, and somebody has to decide which of the two is to stop.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queenright_protocol::id::{ClusterId, NodeId};
use queenright_protocol::wire::{Envelope, Kind};
use serde::{Deserialize, Serialize};

use crate::body::{decode, encode};
use crate::router::{FoundingInbox, Router};
use crate::store::{DataFolder, Identity, StoreError};

/// The link to the founder: the node listed first.
const FOUNDER: u16 = 0;
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
}

/// What the founder hands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Founding {
    cluster: ClusterId,
    members: Members,
}

/// An empty node may not join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JoinRefused {
    pub(crate) reason: String,
}

/// An empty node that asks a member to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Join {
    /// Its place in the configuration.
    pub(crate) place: u16,
    /// Which start of it.
    pub(crate) attempt: u128,
}

/// A node has stored what the founder handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FoundingAck {
    cluster: ClusterId,
    number: NodeId,
}

/// The members of a cluster: names in the order of the configuration, with their numbers.
pub(crate) type Members = Vec<(String, NodeId)>;

/// The places that numbers have: as many as a configuration may list.
const PLACES: u64 = 64;

/// The place of a node in the configuration.
pub(crate) fn place_of(number: NodeId) -> usize {
    (number.0.saturating_sub(1) % PLACES) as usize
}

/// How far the numbers of a place jump when a cluster is recovered: over all that the lost majority can have given out. A
/// node is replaced by hand, a thousand times hardly.
const NUMBERS_JUMP: u64 = 1_000 * PLACES;

/// The first number that a place may have after so many recoveries.
pub(crate) fn first_number(place: usize, recoveries: usize) -> NodeId {
    NodeId(number_of(place).0 + recoveries as u64 * NUMBERS_JUMP)
}

/// The first number of a place that is above all that were ever used.
pub(crate) fn next_number(place: usize, recoveries: usize, used: impl IntoIterator<Item = NodeId>) -> NodeId {
    let last = used.into_iter().filter(|number| place_of(*number) == place).max();
    let next = last.map_or(NodeId::NONE, |last| NodeId(last.0 + PLACES));
    next.max(first_number(place, recoveries))
}

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
}

/// What happens to the first start of a node. Links are numbered by the place of the node at their end.
#[derive(Debug)]
enum Input {
    /// A link came up.
    Up(u16),
    /// A neighbour said who it is.
    Hello(u16, Hello),
    /// Somebody hands out numbers.
    Founding(u16, Founding),
    /// A node has stored its number.
    Ack(u16, FoundingAck),
    /// This node may not join.
    Refused(u16, JoinRefused),
}

/// What is to be done, in order: what is sent after a [`Effect::Store`] relies on it.
#[derive(Debug, PartialEq)]
enum Effect {
    /// Put on disk who this node is.
    Store(Founded),
    /// Say who this node is.
    SendHello(u16),
    /// Hand out the numbers.
    SendFounding(u16, Founding),
    /// Acknowledge.
    SendAck(u16, FoundingAck),
    /// The first start is complete here.
    Done,
}

/// The decisions of the first start: no socket, no disk.
struct Decisions {
    cluster_name: String,
    /// The names of all nodes, in the order of the configuration.
    nodes: Vec<String>,
    /// The place of this node among them.
    me: usize,
    /// What the disk holds.
    stored: Option<Founded>,
    /// What the cluster is called if this node founds it.
    minted: ClusterId,
    /// The neighbours that belong to no cluster, by link.
    empty: BTreeSet<u16>,
    /// The neighbours that have stored their numbers, by link.
    acknowledged: BTreeSet<u16>,
    /// The neighbours that belong to a cluster, by link, with whether the founding is surely over.
    belong: BTreeMap<u16, (String, ClusterId, bool)>,
}

impl Decisions {
    /// What is to be done before anybody was heard.
    fn begin(&mut self, out: &mut Vec<Effect>) {
        let is_member = self.stored.as_ref().is_some_and(|founded| !founded.unfinished);
        if !is_member {
            self.found_if_all_are_empty(out);
        }
        if is_member || self.nodes.len() == 1 {
            out.push(Effect::Done);
        }
    }

    fn step(&mut self, input: Input, out: &mut Vec<Effect>) -> Result<(), FoundingError> {
        match input {
            Input::Up(link) => out.push(Effect::SendHello(link)),
            Input::Hello(link, hello) => self.hello(link, &hello, out)?,
            Input::Founding(link, founding) => self.accept(link, founding, out)?,
            Input::Ack(link, ack) => self.acknowledge(link, &ack, out),
            Input::Refused(link, refused) => self.refused(link, refused)?,
        }
        Ok(())
    }

    fn is_founder(&self) -> bool {
        self.me == FOUNDER as usize
    }

    fn own_hello(&self) -> Hello {
        Hello {
            cluster_name: self.cluster_name.clone(),
            name: self.nodes[self.me].clone(),
            nodes: self.nodes.clone(),
            identity: self.stored.as_ref().map(|founded| (founded.cluster, founded.me)),
            unfinished: self.stored.as_ref().is_some_and(|founded| founded.unfinished),
            attempt: u128::from_le_bytes(self.minted.0),
            // Told by whoever answers once it runs.
            past: Vec::new(),
        }
    }

    fn hello(&mut self, link: u16, hello: &Hello, out: &mut Vec<Effect>) -> Result<(), FoundingError> {
        compare(&self.own_hello(), hello)?;
        if let Some((cluster, _)) = hello.identity {
            // Only the founder's word counts: others have their number already while the founding goes on.
            let over = link == FOUNDER && !hello.unfinished || self.is_founder();
            // Whoever belongs to it has heard that this node is empty, and says whether it may join.
            self.belong.insert(link, (hello.name.clone(), cluster, over));
            self.empty.remove(&link);
        } else {
            self.belong.remove(&link);
            self.empty.insert(link);
        }
        match &self.stored {
            // Also to one that has its number: a founder that was interrupted needs its acknowledgement.
            Some(founded) if self.is_founder() => out.push(hand_out(link, founded)),
            Some(_) => {}
            None => self.found_if_all_are_empty(out),
        }
        Ok(())
    }

    /// Mints the cluster once every other node has said that it is empty.
    fn found_if_all_are_empty(&mut self, out: &mut Vec<Effect>) {
        if !self.is_founder() || self.stored.is_some() || self.empty.len() + 1 < self.nodes.len() {
            return;
        }
        let numbered = self.nodes.iter().enumerate();
        let founded = Founded {
            cluster: self.minted,
            me: number_of(self.me),
            members: numbered.map(|(place, name)| (name.clone(), number_of(place))).collect(),
            unfinished: true,
        };
        out.push(Effect::Store(founded.clone()));
        out.extend(self.empty.iter().map(|&link| hand_out(link, &founded)));
        self.stored = Some(founded);
    }

    /// Takes the founding, stores it and acknowledges.
    fn accept(&mut self, link: u16, founding: Founding, out: &mut Vec<Effect>) -> Result<(), FoundingError> {
        let Founding { cluster, members } = founding;
        let joins = self.stored.is_none() && self.belong.get(&link).is_some_and(|(_, theirs, _)| *theirs == cluster);
        if !joins && (link != FOUNDER || self.is_founder()) {
            tracing::warn!(link, "a founding comes from a node that does not found");
            return Ok(());
        }
        let theirs: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        if theirs != self.nodes {
            return Err(FoundingError::Configuration {
                peer: self.nodes[link as usize].clone(),
                field: "nodes",
                theirs: theirs.join(", "),
                ours: self.nodes.join(", "),
            });
        }
        let number = members[self.me].1;
        let founded = Founded {
            cluster,
            me: number,
            members,
            unfinished: false,
        };
        out.push(Effect::Store(founded.clone()));
        self.stored = Some(founded);
        out.push(Effect::SendAck(link, FoundingAck { cluster, number }));
        out.push(Effect::Done);
        Ok(())
    }

    fn refused(&self, link: u16, refused: JoinRefused) -> Result<(), FoundingError> {
        match self.belong.get(&link) {
            Some((peer, cluster, true)) if self.stored.is_none() => Err(FoundingError::EmptyBesideCluster {
                peer: peer.clone(),
                cluster: *cluster,
                reason: refused.reason,
            }),
            // The founding goes on.
            _ => Ok(()),
        }
    }

    fn acknowledge(&mut self, link: u16, ack: &FoundingAck, out: &mut Vec<Effect>) {
        if self
            .stored
            .as_ref()
            .is_some_and(|founded| founded.cluster == ack.cluster)
        {
            self.acknowledged.insert(link);
        }
        if self.is_founder() && self.acknowledged.len() + 1 == self.nodes.len() {
            out.push(Effect::Done);
        }
    }
}

fn number_of(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

fn hand_out(link: u16, founded: &Founded) -> Effect {
    let founding = Founding {
        cluster: founded.cluster,
        members: founded.members.clone(),
    };
    Effect::SendFounding(link, founding)
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
        (Some((old, _)), Some((other, _))) if theirs.past.contains(&old) => Err(FoundingError::Outlived {
            peer: theirs.name.clone(),
            theirs: other,
            ours: old,
            me: ours.name.clone(),
        }),
        (Some((ours, _)), Some((other, _))) if ours != other => Err(FoundingError::OtherCluster {
            peer: theirs.name.clone(),
            theirs: other,
            ours,
        }),
        _ => Ok(()),
    }
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
            empty: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            belong: BTreeMap::new(),
        };
        let mut effects = Vec::new();
        decisions.begin(&mut effects);
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

/// Makes a node the only member of a cluster that was recovered so often, and returns its number. On disk when this
/// returns.
pub(crate) fn begin_alone(
    folder: &DataFolder,
    nodes: &[String],
    me: usize,
    cluster: ClusterId,
    recoveries: usize,
) -> Result<NodeId, FoundingError> {
    let number = first_number(me, recoveries);
    let numbered = nodes.iter().enumerate();
    let members: Members = numbered
        .map(|(place, name)| (name.clone(), if place == me { number } else { NodeId::NONE }))
        .collect();
    folder.set_note(UNFINISHED, b"")?;
    folder.set_note(MEMBERS, &encode(&members))?;
    folder.set_identity(Identity {
        cluster,
        number,
        name: nodes[me].clone(),
    })?;
    Ok(number)
}

/// A link that breaks comes up again, and everything begins anew with its hello; so nothing is repeated here.
fn send(router: &Router, link: u16, kind: Kind, body: &impl Serialize) {
    if let Err(error) = router.send_on(link, kind, encode(body)) {
        tracing::debug!(link, %kind, %error, "not sent");
    }
}

/// Answers the nodes that start later than this one, or again, for as long as the node runs; `join` lets an empty one in, or
/// tells it why not, and `stranger` is told of one that does not belong here. Returns when the links end.
pub(crate) async fn answer_hellos(
    hello: AnsweringHello,
    router: Arc<Router>,
    mut inbox: FoundingInbox,
    join: impl Fn(u16, Join),
    stranger: impl Fn(FoundingError),
) -> FoundingError {
    loop {
        tokio::select! {
            link = inbox.came_up.recv() => {
                let Some(link) = link else { return FoundingError::LinksEnded };
                send(&router, link, Kind::Hello, &hello.now());
            }
            envelope = inbox.envelopes.recv() => {
                let Some((link, envelope)) = envelope else { return FoundingError::LinksEnded };
                match envelope.kind {
                    Kind::Hello => {
                        let Ok(theirs) = decode::<Hello>(&envelope.body) else { continue };
                        match compare(&hello.now(), &theirs) {
                            // The other node stops by itself if it is the one that is new.
                            Err(error) => {
                                tracing::error!(%error, "a neighbour does not belong here");
                                stranger(error);
                            }
                            Ok(()) if theirs.identity.is_none() => {
                                // It may not have heard this node's hello, which says to which cluster it would belong.
                                send(&router, link, Kind::Hello, &hello.now());
                                join(link, Join { place: link, attempt: theirs.attempt });
                            }
                            Ok(()) => {}
                        }
                    }
                    Kind::Founding => {
                        // The founder was interrupted before it heard this node's acknowledgement.
                        let (cluster, number) = hello.hello.identity.expect("it belongs to a cluster");
                        if decode::<Founding>(&envelope.body).is_ok_and(|founding| founding.cluster == cluster) {
                            send(&router, link, Kind::FoundingAck, &FoundingAck { cluster, number });
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The hello of a node that belongs to a cluster.
pub(crate) struct AnsweringHello {
    hello: Hello,
    past: PastClusters,
}

/// The clusters that this one was recovered from, as the node knows them now: a new node learns of them.
pub(crate) type PastClusters = Box<dyn Fn() -> Vec<ClusterId> + Send + Sync>;

impl AnsweringHello {
    pub(crate) fn of(start: &FirstStart<'_>, founded: &Founded, past: PastClusters) -> AnsweringHello {
        let hello = Hello {
            cluster_name: start.cluster_name.clone(),
            name: start.nodes[start.me].clone(),
            nodes: start.nodes.clone(),
            identity: Some((founded.cluster, founded.me)),
            unfinished: false,
            attempt: 0,
            past: Vec::new(),
        };
        AnsweringHello { hello, past }
    }

    fn now(&self) -> Hello {
        Hello {
            past: (self.past)(),
            ..self.hello.clone()
        }
    }
}

/// The link to each of these nodes but this one: links are numbered by place in the configuration. An earlier number of
/// this node's own place is nobody's.
pub(crate) fn links_of(numbers: &BTreeSet<NodeId>, me: NodeId) -> BTreeMap<NodeId, u16> {
    let others = numbers.iter().filter(|number| place_of(**number) != place_of(me));
    others.map(|number| (*number, place_of(*number) as u16)).collect()
}

/// Tells an empty node what it is from now on.
pub(crate) fn let_in(router: &Router, link: u16, cluster: ClusterId, members: Members) {
    send(router, link, Kind::Founding, &Founding { cluster, members });
}

/// Tells an empty node why it may not join.
pub(crate) fn turn_away(router: &Router, link: u16, reason: String) {
    send(router, link, Kind::JoinRefused, &JoinRefused { reason });
}

/// Notes the members, so that the next start knows where they are before its log tells.
pub(crate) fn store_members(folder: &DataFolder, members: &Members) {
    if let Err(error) = folder.set_note(MEMBERS, &encode(members)) {
        // The log has them as well; a disk that fails shows there.
        tracing::warn!(%error, "the members were not noted");
    }
}
