//! Epochs, as plainly as they go.

use super::*;

impl Model {
    pub(super) fn topology_command(&mut self, command: &TopologyCommand) -> Result<Outcome, Refusal> {
        let number = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
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
        };
        let before = self.epoch.as_ref().map(|epoch| (epoch.kind, &epoch.members));
        let changed = before != Some((kind, &members));
        let epoch = number + u64::from(changed);
        self.epoch = Some(Epoch {
            number: epoch,
            kind,
            members,
        });
        Ok(Outcome::EpochSet {
            seq: self.seq,
            epoch,
            changed,
        })
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
