//! Epochs, as plainly as they go.

use std::collections::BTreeSet;

use super::*;
use crate::topology::Pair;

impl Model {
    pub(super) fn topology_command(&mut self, command: &TopologyCommand) -> Result<Outcome, Refusal> {
        let number = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        let before = self.epoch.clone();
        let mut cuts: BTreeSet<Pair> = before.iter().flat_map(|epoch| epoch.cuts.clone()).collect();
        let (kind, members) = match (command, &self.epoch) {
            (TopologyCommand::Rules { to, after }, _) => return self.raise_rules(*to, *after),
            (TopologyCommand::Set { .. }, None) => {
                return Err(bad("topology", "nobody has named the members yet: try again"));
            }
            (TopologyCommand::Set { kind }, Some(epoch)) => (*kind, epoch.members.clone()),
            (TopologyCommand::Members { members, .. }, _) if members.len() > 128 => {
                return Err(over("members", members.len(), 128));
            }
            (TopologyCommand::Members { members, .. }, _) if members.is_empty() || members.contains(&NodeId(0)) => {
                return Err(bad("members", "there is none, or one without a number"));
            }
            (TopologyCommand::Members { after, .. }, _) if *after != number => {
                return Err(bad("after", "another epoch has begun"));
            }
            (TopologyCommand::Members { members, .. }, Some(epoch)) => (epoch.kind, members.clone()),
            (TopologyCommand::Members { members, first, .. }, None) => (*first, members.clone()),
            (TopologyCommand::Cuts { .. }, None) => return Err(bad("after", "another epoch has begun")),
            (TopologyCommand::Cuts { cuts: wanted, after }, Some(epoch)) => {
                cuts = self.cuts(wanted, *after, epoch)?;
                (epoch.kind, epoch.members.clone())
            }
        };
        // Those between members stay.
        cuts.retain(|cut| cut.ends().iter().all(|end| members.contains(end)));
        let before = before.map(|epoch| (epoch.kind, epoch.members, epoch.cuts));
        let changed = before != Some((kind, members.clone(), cuts.clone()));
        let epoch = number + u64::from(changed);
        self.epoch = Some(Epoch {
            number: epoch,
            kind,
            members,
            cuts,
        });
        Ok(Outcome::EpochSet {
            seq: self.seq,
            epoch,
            changed,
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
