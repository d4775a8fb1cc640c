//! The epoch: a numbered list of the members and how they are linked. Links and routes are functions of it, so all nodes
//! that know the same one agree on them.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`TopologyCommand::Members`] | the leader's node | colony | [`Outcome::EpochSet`] | these are the members that consensus has |
//! | [`TopologyCommand::Rules`] | the leader's node | colony | [`Outcome::RulesRaised`] | all members know these rules: they are in force from now on |
//! | [`TopologyCommand::Cuts`] | the leader's node | colony | [`Outcome::EpochSet`] | these links cannot be made: they are led around |
//! | [`TopologyCommand::Set`] | door | colony | [`Outcome::EpochSet`] | the members are linked like this from now on |
//!
//! The first epoch begins with the first list of members, and the kind that came with it. Every change of either makes the
//! number grow by one, also over a recovery; what changes nothing makes no epoch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::command::{Outcome, Refusal};
use super::digest::Digest;
use super::memory::{malformed, over_limit};
use super::{Applied, Colony};
use crate::id::NodeId;
use crate::topology::{Kind, Pair, Topology};

/// How many links an epoch leads around at most: a host that loses more of them is better taken for dead.
pub const CUTS_MAX: usize = 64;
/// How many members an epoch has at most: as many as a configuration may list, and those that replace them.
pub const MEMBERS_MAX: usize = 128;

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
}

impl Epoch {
    /// Its topology.
    pub fn topology(&self) -> Topology {
        Topology::around(self.kind, &self.members, &self.cuts)
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
        let next = match wanted {
            TopologyCommand::Rules { to, after } => return self.raise_rules(*to, *after),
            TopologyCommand::Set { kind } => {
                let Some(epoch) = &self.epoch else {
                    return Err(malformed("topology", "nobody has named the members yet: try again"));
                };
                Epoch {
                    kind: *kind,
                    ..epoch.clone()
                }
            }
            TopologyCommand::Members { members, first, after } => {
                if members.len() > MEMBERS_MAX {
                    return Err(over_limit("members", members.len(), MEMBERS_MAX));
                }
                if members.is_empty() || members.contains(&NodeId::NONE) {
                    return Err(malformed("members", "there is none, or one without a number"));
                }
                if *after != present {
                    return Err(malformed("after", "another epoch has begun"));
                }
                Epoch {
                    number: present,
                    kind: self.epoch.as_ref().map_or(*first, |epoch| epoch.kind),
                    members: members.clone(),
                    cuts: self.cuts_among(members),
                }
            }
            TopologyCommand::Cuts { cuts, after } => self.with_cuts(cuts, *after)?,
        };
        if self.epoch.as_ref() != Some(&next) {
            let epoch = Epoch {
                number: present + 1,
                ..next
            };
            applied.epoch = Some(epoch.clone());
            self.epoch = Some(epoch);
        }
        let number = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        Ok(Outcome::EpochSet {
            seq: self.seq,
            epoch: number,
            changed: number != present,
        })
    }

    /// The present cuts between these.
    fn cuts_among(&self, members: &BTreeSet<NodeId>) -> BTreeSet<Pair> {
        let cuts = self.epoch.iter().flat_map(|epoch| &epoch.cuts).copied();
        cuts.filter(|cut| cut.ends().iter().all(|end| members.contains(end)))
            .collect()
    }

    /// The present epoch with other cuts.
    fn with_cuts(&self, cuts: &BTreeSet<Pair>, after: u64) -> Result<Epoch, Refusal> {
        let Some(epoch) = self.epoch.as_ref().filter(|epoch| epoch.number == after) else {
            return Err(malformed("after", "another epoch has begun"));
        };
        if cuts.len() > CUTS_MAX {
            return Err(over_limit("cuts", cuts.len(), CUTS_MAX));
        }
        let is_link = |cut: &Pair| {
            let [one, other] = cut.ends();
            one < other && epoch.members.contains(&one) && epoch.members.contains(&other)
        };
        if !cuts.iter().all(is_link) {
            return Err(malformed("cuts", "one of them is not between two members"));
        }
        Ok(Epoch {
            cuts: cuts.clone(),
            ..epoch.clone()
        })
    }

    /// The share of the digest.
    pub(super) fn epoch_digest(&self) -> Digest {
        match &self.epoch {
            Some(epoch) => Digest::of(EPOCH_DIGEST, epoch),
            None => Digest::default(),
        }
    }
}
