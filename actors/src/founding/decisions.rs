//! The decisions of the first start, by what was heard from others: no socket, no disk.

use std::collections::{BTreeMap, BTreeSet};

use queenright_protocol::colony::first_number;
use queenright_protocol::id::{ClusterId, NodeId};

use super::build::Build;
use super::{FOUNDER, Founded, Founding, FoundingAck, FoundingError, Hello, JoinRefused};

/// What happens to the first start of a node. Links are numbered by the place of the node at their end.
#[derive(Debug)]
pub(super) enum Input {
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
pub(super) enum Effect {
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
pub(super) struct Decisions {
    pub(super) cluster_name: String,
    /// The names of all nodes, in the order of the configuration.
    pub(super) nodes: Vec<String>,
    /// The place of this node among them.
    pub(super) me: usize,
    /// What the disk holds.
    pub(super) stored: Option<Founded>,
    /// What the cluster is called if this node founds it.
    pub(super) minted: ClusterId,
    /// The neighbours that belong to no cluster, by link, with which start of theirs it is.
    pub(super) empty: BTreeMap<u16, u64>,
    /// The neighbours that have stored their numbers, by link.
    pub(super) acknowledged: BTreeSet<u16>,
    /// The neighbours that belong to a cluster, by link, with whether the founding is surely over.
    pub(super) belong: BTreeMap<u16, (String, ClusterId, bool)>,
}

impl Decisions {
    /// What is to be done before anybody was heard.
    pub(super) fn begin(&mut self, out: &mut Vec<Effect>) {
        let is_member = self.stored.as_ref().is_some_and(|founded| !founded.unfinished);
        if !is_member {
            self.found_if_all_are_empty(out);
        }
        if is_member || self.nodes.len() == 1 {
            out.push(Effect::Done);
        }
    }

    pub(super) fn step(&mut self, input: Input, out: &mut Vec<Effect>) -> Result<(), FoundingError> {
        match input {
            Input::Up(link) => out.push(Effect::SendHello(link)),
            Input::Hello(link, hello) => self.hello(link, &hello, out)?,
            Input::Founding(link, founding) => self.accept(link, founding, out)?,
            Input::Ack(link, ack) => self.acknowledge(link, &ack, out),
            Input::Refused(link, refused) => self.refused(link, refused)?,
        }
        Ok(())
    }

    /// The names of the other nodes that have said nothing yet.
    pub(super) fn unheard(&self) -> Vec<&str> {
        let heard = |link: &u16| self.empty.contains_key(link) || self.belong.contains_key(link);
        let others = (0_u16..)
            .zip(&self.nodes)
            .filter(|(link, _)| usize::from(*link) != self.me);
        others
            .filter(|(link, _)| !heard(link))
            .map(|(_, name)| name.as_str())
            .collect()
    }

    fn is_founder(&self) -> bool {
        self.me == FOUNDER as usize
    }

    pub(super) fn own_hello(&self) -> Hello {
        Hello {
            cluster_name: self.cluster_name.clone(),
            name: self.nodes[self.me].clone(),
            nodes: self.nodes.clone(),
            identity: self.stored.as_ref().map(|founded| (founded.cluster, founded.me)),
            unfinished: self.stored.as_ref().is_some_and(|founded| founded.unfinished),
            attempt: u128::from_le_bytes(self.minted.0),
            // Told by whoever answers once it runs.
            past: Vec::new(),
            epoch: None,
            build: Build::ours(None),
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
            self.empty.insert(link, hello.attempt as u64);
        }
        match &mut self.stored {
            // Also to one that has its number: a founder that was interrupted needs its acknowledgement.
            Some(founded) if self.me == FOUNDER as usize => {
                if hello.identity.is_none() {
                    let number = number_of(usize::from(link));
                    founded.attempts.insert(number, hello.attempt as u64);
                }
                out.push(hand_out(link, founded));
            }
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
        let empty = self.empty.iter();
        let attempts = empty.map(|(link, attempt)| (number_of(usize::from(*link)), *attempt));
        let founded = Founded {
            cluster: self.minted,
            me: number_of(self.me),
            members: numbered.map(|(place, name)| (name.clone(), number_of(place))).collect(),
            unfinished: true,
            attempts: attempts.collect(),
        };
        out.push(Effect::Store(founded.clone()));
        out.extend(self.empty.keys().map(|&link| hand_out(link, &founded)));
        self.stored = Some(founded);
    }

    /// Takes the founding, stores it and acknowledges.
    fn accept(&mut self, link: u16, founding: Founding, out: &mut Vec<Effect>) -> Result<(), FoundingError> {
        let Founding {
            cluster,
            members,
            attempts,
        } = founding;
        let joins = self.stored.is_none() && self.belong.get(&link).is_some_and(|(_, theirs, _)| *theirs == cluster);
        if !joins && (link != FOUNDER || self.is_founder()) {
            tracing::warn!(link, "a founding comes from a node that does not found");
            return Ok(());
        }
        let theirs: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        let mine = members.iter().find(|(name, _)| *name == self.nodes[self.me]);
        // Of a cluster that there is already the members say who they are.
        let Some((_, number)) = mine.filter(|_| joins || theirs == self.nodes) else {
            return Err(FoundingError::Configuration {
                peer: self.nodes[link as usize].clone(),
                field: "nodes",
                theirs: theirs.join(", "),
                ours: self.nodes.join(", "),
            });
        };
        let number = *number;
        let founded = Founded {
            cluster,
            me: number,
            members,
            unfinished: false,
            attempts,
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

fn hand_out(link: u16, founded: &Founded) -> Effect {
    let founding = Founding {
        cluster: founded.cluster,
        members: founded.members.clone(),
        attempts: founded.attempts.clone(),
    };
    Effect::SendFounding(link, founding)
}

pub(super) fn compare(ours: &Hello, theirs: &Hello) -> Result<(), FoundingError> {
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
    let is_settled = |hello: &Hello| hello.identity.is_some() && !hello.unfinished;
    if ours.nodes != theirs.nodes && !is_settled(ours) && !is_settled(theirs) {
        return differ("nodes", theirs.nodes.join(", "), ours.nodes.join(", "));
    }
    ours.build.check(&ours.name, &theirs.build)?;
    theirs.build.check(&theirs.name, &ours.build)?;
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

/// The number that a place has when a cluster begins.
pub(super) fn number_of(place: usize) -> NodeId {
    first_number(place, 0)
}
