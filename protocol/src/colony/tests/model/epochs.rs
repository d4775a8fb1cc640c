//! Epochs, as plainly as they go.

use std::collections::BTreeSet;

use super::*;
use crate::topology::Pair;

/// Whether a later number stands for the same place.
fn replaced(epoch: &Epoch, number: NodeId) -> bool {
    let mut others = epoch.places.keys();
    others.any(|other| other.0 > number.0 && other.0 % 64 == number.0 % 64)
}

fn no_place(place: &Place) -> Option<Refusal> {
    let Place { name, links, http, .. } = place;
    if name.len() > 40 {
        return Some(over("name", name.len(), 40));
    }
    let odd = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if name.is_empty() || name.starts_with('-') || name.contains(odd) {
        return Some(bad("name", "is no name of a node (a to z, 0 to 9 and -)"));
    }
    for (field, address) in [("links", links), ("http", http)] {
        let port: Option<u16> = address.rsplit(':').next().and_then(|port| port.parse().ok());
        if !address[1..].contains(':') || port.is_none_or(|port| port == 0) {
            return Some(bad(field, "is not host:port"));
        }
    }
    None
}

impl Model {
    pub(super) fn topology_command(&mut self, command: &TopologyCommand) -> Result<Outcome, Refusal> {
        let number = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        if let TopologyCommand::Rules { to, after } = command {
            return self.raise_rules(*to, *after);
        }
        let mut next = match (command, self.epoch.clone()) {
            (TopologyCommand::Members { members, .. }, _) if members.len() > 128 => {
                return Err(over("members", members.len(), 128));
            }
            (TopologyCommand::Members { members, .. }, _) if members.is_empty() || members.contains(&NodeId(0)) => {
                return Err(bad("members", "there is none, or one without a number"));
            }
            (TopologyCommand::Members { after, .. }, _) if *after != number => {
                return Err(bad("after", "another epoch has begun"));
            }
            (_, Some(epoch)) => epoch,
            (TopologyCommand::Members { first, .. }, None) => Epoch::of(0, *first, BTreeSet::new()),
            (_, None) => return Err(bad("topology", "nobody has named the members yet: try again")),
        };
        let mut admitted = None;
        match command {
            TopologyCommand::Set { kind } => next.kind = *kind,
            TopologyCommand::Members {
                members,
                places,
                voters,
                ..
            } => {
                for (number, place) in places {
                    if members.contains(number) && !next.gone.contains_key(number) {
                        if let Some(refusal) = no_place(place) {
                            return Err(refusal);
                        }
                        next.places.entry(*number).or_insert(place.clone());
                    }
                }
                members_are(&mut next, members);
                if voters.is_some() {
                    next.voters = *voters;
                }
            }
            TopologyCommand::Cuts { cuts, after } => next.cuts = self.cuts(cuts, *after, &next)?,
            TopologyCommand::Rules { .. } => unreachable!("it was answered"),
            TopologyCommand::Admit { place, at, replaces } => {
                admitted = Some(admit(&mut next, place, u64::from(*at), *replaces)?);
            }
            TopologyCommand::Drain { node, .. } | TopologyCommand::Remove { node }
                if !next.places.contains_key(node) =>
            {
                return Err(bad("node", "is no member"));
            }
            TopologyCommand::Drain { node, on: false } if next.leaving.contains(node) => {
                return Err(bad("node", "is on its way out"));
            }
            TopologyCommand::Drain { node, on: false } => drop(next.drained.remove(node)),
            TopologyCommand::Drain { node, on: true } => drop(next.drained.insert(*node)),
            TopologyCommand::Remove { node } => {
                let stays = |member: &NodeId| member != node && !next.leaving.contains(member);
                if !next.members.iter().any(stays) {
                    return Err(bad("node", "is the only one that stays"));
                }
                if next.members.contains(node) {
                    next.drained.insert(*node);
                    next.leaving.insert(*node);
                } else {
                    let place = next.places.remove(node).unwrap();
                    next.drained.remove(node);
                    gone(&mut next, *node, place.name);
                }
            }
        }
        // Those between members stay.
        let members = next.members.clone();
        next.cuts
            .retain(|cut| cut.ends().iter().all(|end| members.contains(end)));
        let changed = self.epoch.as_ref() != Some(&next);
        next.number += u64::from(changed);
        let epoch = next.number;
        self.epoch = Some(next);
        let seq = self.seq;
        Ok(match admitted {
            Some(number) => Outcome::NodeAdmitted { seq, number, epoch },
            None => Outcome::EpochSet { seq, epoch, changed },
        })
    }

    fn cuts(&self, wanted: &BTreeSet<Pair>, after: u64, epoch: &Epoch) -> Result<BTreeSet<Pair>, Refusal> {
        if after != epoch.number {
            return Err(bad("after", "another epoch has begun"));
        }
        if wanted.len() > 64 {
            return Err(over("cuts", wanted.len(), 64));
        }
        for cut in wanted {
            let [one, other] = cut.ends();
            if one == other || [one, other].iter().any(|end| !epoch.members.contains(end)) {
                return Err(bad("cuts", "one of them is not between two members"));
            }
        }
        Ok(wanted.clone())
    }

    fn raise_rules(&mut self, to: u32, after: u32) -> Result<Outcome, Refusal> {
        match (1 + self.raised == after, to > after) {
            (false, _) => Err(bad("after", "other rules are in force")),
            (true, false) => Err(bad("to", "rules are only raised")),
            (true, true) => {
                self.raised = to - 1;
                Ok(Outcome::RulesRaised {
                    seq: self.seq,
                    version: to,
                })
            }
        }
    }
}

fn gone(epoch: &mut Epoch, number: NodeId, name: String) {
    epoch.gone.insert(number, name);
    if epoch.gone.len() > 64 {
        epoch.gone.pop_first();
    }
}

fn members_are(epoch: &mut Epoch, members: &BTreeSet<NodeId>) {
    let before = epoch.clone();
    for (number, place) in before.places.clone() {
        let comes = !before.members.contains(&number) && !replaced(&before, number);
        if members.contains(&number) || (comes && !before.leaving.contains(&number)) {
            continue;
        }
        epoch.places.remove(&number);
        epoch.drained.remove(&number);
        if before.leaving.contains(&number) || replaced(&before, number) {
            gone(epoch, number, place.name);
        }
        epoch.leaving.remove(&number);
    }
    epoch.members.clone_from(members);
    epoch.last = epoch.last.max(*members.last().unwrap());
}

fn admit(epoch: &mut Epoch, place: &Place, at: u64, replaces: bool) -> Result<NodeId, Refusal> {
    if let Some(refusal) = no_place(place) {
        return Err(refusal);
    }
    if at > 63 {
        return Err(over("at", at as usize, 63));
    }
    let of_name: Vec<NodeId> = epoch
        .places
        .iter()
        .filter(|(_, known)| known.name == place.name)
        .map(|(number, _)| *number)
        .collect();
    let again = of_name
        .iter()
        .find(|number| epoch.places[*number].attempt == place.attempt);
    if let Some(number) = again {
        return Ok(*number);
    }
    if let Some(latest) = of_name.last() {
        if epoch.leaving.contains(latest) {
            return Err(bad("name", "a node of this name is on its way out: try again"));
        }
        if !replaces {
            return Err(bad("name", "a node of this name is a member"));
        }
        if (latest.0 - 1) % 64 != at {
            return Err(bad("at", "a node keeps its place"));
        }
    } else if epoch.places.keys().any(|number| (number.0 - 1) % 64 == at) {
        return Err(bad("at", "another node has this place"));
    }
    if epoch.places.len() > 127 {
        return Err(over("members", epoch.places.len() + 1, 128));
    }
    let number = (epoch.last.0 + 1..).find(|number| (number - 1) % 64 == at);
    let number = NodeId(number.unwrap());
    epoch.places.insert(number, place.clone());
    epoch.last = number;
    Ok(number)
}
