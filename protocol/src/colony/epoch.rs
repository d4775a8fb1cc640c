//! The epoch: a numbered list of the members, where each is, and how they are linked. Links and routes are functions of
//! it, so all nodes that know the same one agree on them.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`TopologyCommand::Members`] | the leader's node | colony | [`Outcome::EpochSet`] | these are the members that consensus has |
//! | [`TopologyCommand::Rules`] | the leader's node | colony | [`Outcome::RulesRaised`] | all members know these rules: they are in force from now on |
//! | [`TopologyCommand::Cuts`] | the leader's node | colony | [`Outcome::EpochSet`] | these links cannot be made: they are led around |
//! | [`TopologyCommand::Set`] | door | colony | [`Outcome::EpochSet`] | the members are linked like this from now on |
//! | [`TopologyCommand::Admit`] | the leader's node | colony | [`Outcome::NodeAdmitted`] | a node is to come in: it gets a number |
//! | [`TopologyCommand::Drain`] | the leader's node | colony | [`Outcome::EpochSet`] | a member takes no new work, or does again |
//! | [`TopologyCommand::Remove`] | the leader's node | colony | [`Outcome::EpochSet`] | a member is to go for good |
//!
//! The first epoch begins with the first list of members, and the kind that came with it. Every change of anything makes
//! the number grow by one, also over a recovery; what changes nothing makes no epoch.
//!
//! A member comes and goes in steps, and each stands here until it is done, so whoever leads goes on with it:
//!
//! | a number is | meaning |
//! |---|---|
//! | among the places alone | it was given out; consensus does not have it yet |
//! | among the members too | it learns or votes |
//! | among the drained too | it takes no new work, and votes only while too few others can |
//! | among the leaving too | consensus is to let it go |
//! | among the gone alone | it is a member no more, and never will be again |

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::{Outcome, Refusal};
use super::digest::Digest;
use super::memory::{malformed, over_limit};
use super::place::{PLACES_MAX, Place, next_number, place_of};
use super::{Applied, Colony};
use crate::id::NodeId;
use crate::topology::{Kind, Pair, Topology};

/// How many links an epoch leads around at most: a host that loses more of them is better taken for dead.
pub const CUTS_MAX: usize = 64;
/// How many members an epoch has at most: as many as there are places, and those that replace them.
pub const MEMBERS_MAX: usize = 128;
/// How many of those that are gone are remembered: the last ones. A node that comes back later is only not known.
pub const GONE_MAX: usize = 64;

const EPOCH_DIGEST: u8 = b'o';

/// A numbered list of the members and how they are linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Grows by one with each change; the first is 1.
    pub number: u64,
    /// How the members are linked.
    pub kind: Kind,
    /// The members of consensus, those included that only learn.
    pub members: BTreeSet<NodeId>,
    /// The links that cannot be made although both ends live. Of those that are no links of the kind nothing is led around.
    pub cuts: BTreeSet<Pair>,
    /// Where the members are, and those that are to become some.
    pub places: BTreeMap<NodeId, Place>,
    /// Those that take no new work.
    pub drained: BTreeSet<NodeId>,
    /// Those that are to go for good.
    pub leaving: BTreeSet<NodeId>,
    /// The names of those that are gone, or were replaced.
    pub gone: BTreeMap<NodeId, String>,
    /// The highest number that was ever given out.
    pub last: NodeId,
    /// How many should vote, if somebody has said so.
    pub voters: Option<u8>,
}

impl Epoch {
    /// An epoch of members of whom nothing else is known.
    pub fn of(number: u64, kind: Kind, members: BTreeSet<NodeId>) -> Epoch {
        Epoch {
            number,
            kind,
            last: members.last().copied().unwrap_or_default(),
            members,
            places: BTreeMap::new(),
            drained: BTreeSet::new(),
            leaving: BTreeSet::new(),
            gone: BTreeMap::new(),
            voters: None,
            cuts: BTreeSet::new(),
        }
    }

    /// Its topology.
    pub fn topology(&self) -> Topology {
        Topology::around(self.kind, &self.members, &self.cuts)
    }

    /// The number of the node of this name: the latest.
    pub fn number_of(&self, name: &str) -> Option<NodeId> {
        let mut places = self.places.iter().rev();
        places.find(|(_, place)| place.name == name).map(|(number, _)| *number)
    }

    /// Those that are to become members and are none yet.
    pub fn coming(&self) -> impl Iterator<Item = NodeId> + '_ {
        let places = self.places.keys().copied();
        places.filter(|number| !self.members.contains(number) && !self.is_superseded(*number))
    }

    /// Whether a later number was given to its place.
    fn is_superseded(&self, number: NodeId) -> bool {
        let mut later = self.places.range(number..).skip(1);
        later.any(|(later, _)| place_of(*later) == place_of(number))
    }

    /// These are the members now: whoever is none any more is forgotten, but for those that must not come back.
    fn set_members(&mut self, members: &BTreeSet<NodeId>, places: &BTreeMap<NodeId, Place>) -> Result<(), Refusal> {
        let comes = |number: &NodeId| members.contains(number) && !self.gone.contains_key(number);
        let known: Vec<_> = places.iter().filter(|(number, _)| comes(number)).collect();
        for (number, place) in known {
            place.check()?;
            self.places.entry(*number).or_insert_with(|| place.clone());
        }
        let kept = |epoch: &Epoch, number: &NodeId| {
            let comes = !epoch.members.contains(number) && !epoch.leaving.contains(number);
            members.contains(number) || (comes && !epoch.is_superseded(*number))
        };
        let before: Vec<NodeId> = self.places.keys().copied().collect();
        let ended: Vec<NodeId> = before.into_iter().filter(|number| !kept(self, number)).collect();
        let barred = |number: &NodeId| self.leaving.contains(number) || self.is_superseded(*number);
        let barred: Vec<NodeId> = ended.iter().copied().filter(barred).collect();
        for number in ended {
            let place = self.places.remove(&number).expect("it is one of the places");
            if barred.contains(&number) {
                self.bar(number, place.name);
            }
        }
        self.members.clone_from(members);
        self.last = self.last.max(members.last().copied().unwrap_or_default());
        let places = &self.places;
        self.drained.retain(|number| places.contains_key(number));
        self.leaving.retain(|number| places.contains_key(number));
        self.cuts
            .retain(|cut| cut.ends().iter().all(|end| members.contains(end)));
        Ok(())
    }

    /// These links cannot be made, as the leader saw it in an epoch.
    fn set_cuts(&mut self, cuts: &BTreeSet<Pair>, after: u64) -> Result<(), Refusal> {
        if after != self.number {
            return Err(malformed("after", "another epoch has begun"));
        }
        if cuts.len() > CUTS_MAX {
            return Err(over_limit("cuts", cuts.len(), CUTS_MAX));
        }
        let is_link = |cut: &Pair| {
            let [one, other] = cut.ends();
            one < other && self.members.contains(&one) && self.members.contains(&other)
        };
        if !cuts.iter().all(is_link) {
            return Err(malformed("cuts", "one of them is not between two members"));
        }
        self.cuts.clone_from(cuts);
        Ok(())
    }

    fn bar(&mut self, number: NodeId, name: String) {
        self.gone.insert(number, name);
        while self.gone.len() > GONE_MAX {
            self.gone.pop_first();
        }
    }

    /// Gives a node a number, unless it has one.
    fn admit(&mut self, place: &Place, at: usize, replaces: bool, recoveries: usize) -> Result<NodeId, Refusal> {
        place.check()?;
        if at >= PLACES_MAX {
            return Err(over_limit("at", at, PLACES_MAX - 1));
        }
        let same = |known: &Place| (&known.name, known.attempt) == (&place.name, place.attempt);
        if let Some((number, _)) = self.places.iter().find(|(_, known)| same(known)) {
            return Ok(*number);
        }
        match self.number_of(&place.name) {
            Some(number) if self.leaving.contains(&number) => {
                return Err(malformed("name", "a node of this name is on its way out: try again"));
            }
            Some(_) if !replaces => return Err(malformed("name", "a node of this name is a member")),
            Some(number) if place_of(number) != at => {
                return Err(malformed("at", "a node keeps its place"));
            }
            None if self.places.keys().any(|number| place_of(*number) == at) => {
                return Err(malformed("at", "another node has this place"));
            }
            _ => {}
        }
        if self.places.len() >= MEMBERS_MAX {
            return Err(over_limit("members", self.places.len() + 1, MEMBERS_MAX));
        }
        let number = next_number(at, recoveries, self.last);
        self.places.insert(number, place.clone());
        self.last = number;
        Ok(number)
    }

    fn drain(&mut self, node: NodeId, on: bool) -> Result<(), Refusal> {
        if !self.places.contains_key(&node) {
            return Err(malformed("node", "is no member"));
        }
        match on {
            true => self.drained.insert(node),
            false if self.leaving.contains(&node) => return Err(malformed("node", "is on its way out")),
            false => self.drained.remove(&node),
        };
        Ok(())
    }

    fn remove(&mut self, node: NodeId) -> Result<(), Refusal> {
        if !self.places.contains_key(&node) {
            return Err(malformed("node", "is no member"));
        }
        let mut stay = self.members.difference(&self.leaving).filter(|member| **member != node);
        if stay.next().is_none() {
            return Err(malformed("node", "is the only one that stays"));
        }
        if self.members.contains(&node) {
            self.leaving.insert(node);
            self.drained.insert(node);
        } else {
            let place = self.places.remove(&node).expect("it is one of the places");
            self.drained.remove(&node);
            self.bar(node, place.name);
        }
        Ok(())
    }
}

/// A change of the epoch. Belongs to no project; the name in the command is not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TopologyCommand {
    /// Link the members like this from now on.
    Set {
        /// How.
        kind: Kind,
    },
    /// These are the members.
    Members {
        /// All of them.
        members: BTreeSet<NodeId>,
        /// How they are linked if there is no epoch yet.
        first: Kind,
        /// The epoch that the leader saw, 0 for none: with another one it looks again.
        after: u64,
        /// Where those of them are of which the epoch does not know it.
        places: BTreeMap<NodeId, Place>,
        /// How many should vote, if the leader was told so.
        voters: Option<u8>,
    },
    /// Give a node a number, so that it can come in.
    Admit {
        /// Where it is.
        place: Place,
        /// Which place it gets: its own if the name is known, else a free one.
        at: u16,
        /// Whether it may take the place of the member of its name, whose disk is lost.
        replaces: bool,
    },
    /// A member takes no new work, or does again.
    Drain {
        /// Its number.
        node: NodeId,
        /// Whether it is drained from now on.
        on: bool,
    },
    /// A member is to go for good.
    Remove {
        /// Its number.
        node: NodeId,
    },
    /// These rules are in force from now on: every member knows them. Begins no epoch.
    Rules {
        /// Their version.
        to: u32,
        /// The version that the leader saw.
        after: u32,
    },
    /// These are the links that cannot be made although both ends live.
    Cuts {
        /// All of them.
        cuts: BTreeSet<Pair>,
        /// The epoch that the leader saw.
        after: u64,
    },
}

impl Colony {
    /// The present epoch; none before the first leader has named the members.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// What is wanted of the epoch.
    pub(super) fn topology_command(
        &mut self,
        wanted: &TopologyCommand,
        applied: &mut Applied,
    ) -> Result<Outcome, Refusal> {
        let present = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        if let TopologyCommand::Rules { to, after } = wanted {
            return self.raise_rules(*to, *after);
        }
        let recoveries = self.past().len();
        let mut next = self.first_or_present(wanted)?;
        let mut admitted = None;
        match wanted {
            TopologyCommand::Set { kind } => next.kind = *kind,
            TopologyCommand::Members {
                members,
                places,
                voters,
                ..
            } => {
                next.set_members(members, places)?;
                next.voters = voters.or(next.voters);
            }
            TopologyCommand::Admit { place, at, replaces } => {
                admitted = Some(next.admit(place, usize::from(*at), *replaces, recoveries)?);
            }
            TopologyCommand::Drain { node, on } => next.drain(*node, *on)?,
            TopologyCommand::Remove { node } => next.remove(*node)?,
            TopologyCommand::Cuts { cuts, after } => next.set_cuts(cuts, *after)?,
            TopologyCommand::Rules { .. } => unreachable!("it begins no epoch"),
        }
        if self.epoch.as_ref() != Some(&next) {
            next.number = present + 1;
            applied.epoch = Some(next.clone());
            self.epoch = Some(next);
        }
        let (seq, epoch) = (self.seq, self.epoch.as_ref().map_or(0, |epoch| epoch.number));
        Ok(match admitted {
            Some(number) => Outcome::NodeAdmitted { seq, number, epoch },
            None => Outcome::EpochSet {
                seq,
                epoch,
                changed: epoch != present,
            },
        })
    }

    /// What a command changes, if it may: the present epoch, or an empty one that its list of members begins.
    fn first_or_present(&self, wanted: &TopologyCommand) -> Result<Epoch, Refusal> {
        let TopologyCommand::Members {
            members, first, after, ..
        } = wanted
        else {
            let unnamed = || malformed("topology", "nobody has named the members yet: try again");
            return self.epoch.clone().ok_or_else(unnamed);
        };
        if members.len() > MEMBERS_MAX {
            return Err(over_limit("members", members.len(), MEMBERS_MAX));
        }
        if members.is_empty() || members.contains(&NodeId::NONE) {
            return Err(malformed("members", "there is none, or one without a number"));
        }
        if *after != self.epoch.as_ref().map_or(0, |epoch| epoch.number) {
            return Err(malformed("after", "another epoch has begun"));
        }
        let empty = || Epoch::of(0, *first, BTreeSet::new());
        Ok(self.epoch.clone().unwrap_or_else(empty))
    }

    /// The share of the digest.
    pub(super) fn epoch_digest(&self) -> Digest {
        match &self.epoch {
            Some(epoch) => Digest::of(EPOCH_DIGEST, epoch),
            None => Digest::default(),
        }
    }
}
