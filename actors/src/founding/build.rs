//! The build of a node, as far as others must know it: which rules it can apply.

use queenright_protocol::colony::RULES;
use queenright_protocol::version::Versions;
use serde::{Deserialize, Serialize};

use super::FoundingError;
use crate::link::BUILD;

/// What a node says of its build, and of the rules of its cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Build {
    /// What it is called, for people.
    pub(super) name: String,
    /// The versions of the rules that it knows.
    pub(super) knows: Versions,
    /// The version in force where the node belongs to a cluster, as far as it has applied the log.
    pub(super) in_force: Option<u32>,
}

impl Build {
    /// This one.
    pub(super) fn ours(in_force: Option<u32>) -> Build {
        Build {
            name: BUILD.to_owned(),
            knows: RULES,
            in_force,
        }
    }

    /// Whether this build, that of the node `me`, can apply what is in force where the other node is.
    pub(super) fn check(&self, me: &str, other: &Build) -> Result<(), FoundingError> {
        match other.in_force {
            Some(version) if !self.knows.contains(version) => Err(FoundingError::Rules {
                node: me.to_owned(),
                build: self.name.clone(),
                knows: self.knows,
                version,
            }),
            _ => Ok(()),
        }
    }
}
