//! Which version of the rules is in force. All nodes apply the log by the same one, so it is part of the state: it begins
//! with [`FIRST`] and is raised by the leader once every member has said that its build knows the next.
//!
//! A build knows the version before its newest one as well: so the nodes of a cluster are given it one by one, and when all
//! have it the version goes up. A node whose build does not know the version in force must not apply anything.

use super::command::{Outcome, Refusal};
use super::epoch::TopologyCommand;
use super::memory::malformed;
use super::round::Round;
use super::{Body, Colony, RULES_VERSION};
use crate::version::Versions;

/// What the state of every cluster begins with, whatever build founds it: the log raises it.
pub(super) const FIRST: u32 = 1;

/// The versions of the rules that this build knows.
pub const RULES: Versions = Versions {
    oldest: 1,
    newest: RULES_VERSION,
};

/// Rules are in force, or are to be, that this build does not know. Nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} of the rules is to be applied, this build knows {knows}: it is too old, or too new")]
pub struct UnknownRules {
    /// The version.
    pub version: u32,
    /// Those that are known.
    pub knows: Versions,
}

impl Colony {
    /// The version of the rules in force.
    pub fn rules_version(&self) -> u32 {
        self.rules_version
    }

    /// Whether a build that knows these versions can apply the rounds.
    ///
    /// # Errors
    /// [`UnknownRules`] if they raise the version above those, or it is not among them now.
    pub fn check_rules(&self, rounds: &[Round], knows: Versions) -> Result<(), UnknownRules> {
        let check = |version| match knows.contains(version) {
            true => Ok(()),
            false => Err(UnknownRules { version, knows }),
        };
        let mut in_force = self.rules_version;
        check(in_force)?;
        for command in rounds.iter().flat_map(|round| &round.commands) {
            if let Body::Topology(TopologyCommand::Rules { to, after }) = &command.body
                && *after == in_force
                && to > after
            {
                in_force = *to;
                check(in_force)?;
            }
        }
        Ok(())
    }

    /// Puts newer rules in force, for all commands behind this one.
    pub(super) fn raise_rules(&mut self, to: u32, after: u32) -> Result<Outcome, Refusal> {
        if after != self.rules_version {
            return Err(malformed("after", "other rules are in force"));
        }
        if to <= after {
            return Err(malformed("to", "rules are only raised"));
        }
        self.rules_version = to;
        Ok(Outcome::RulesRaised {
            seq: self.seq,
            version: to,
        })
    }
}
