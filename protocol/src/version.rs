//! Ranges of versions: what a build can speak, or apply.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The versions from the oldest to the newest, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The first one.
    pub oldest: u32,
    /// The last one. Never below the first in those of a build; in what a peer says it may be: then there is none.
    pub newest: u32,
}

impl Versions {
    /// This one and no other.
    pub const fn only(version: u32) -> Versions {
        Versions {
            oldest: version,
            newest: version,
        }
    }

    /// Whether this version is among them.
    pub fn contains(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// The newest version that is also among the others.
    pub fn newest_common(self, others: Versions) -> Option<u32> {
        let newest = self.newest.min(others.newest);
        (self.contains(newest) && others.contains(newest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { oldest, newest } = self;
        match oldest == newest {
            true => write!(f, "version {newest}"),
            false => write!(f, "versions {oldest} to {newest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(ours: (u32, u32), theirs: (u32, u32)) -> Option<u32> {
        let versions = |(oldest, newest)| Versions { oldest, newest };
        let found = versions(ours).newest_common(versions(theirs));
        assert_eq!(
            found,
            versions(theirs).newest_common(versions(ours)),
            "both sides agree"
        );
        found
    }

    #[test]
    fn the_newest_version_that_both_have_is_taken() {
        assert_eq!(common((1, 1), (1, 1)), Some(1));
        assert_eq!(common((1, 3), (2, 5)), Some(3));
        assert_eq!(common((1, 9), (2, 5)), Some(5));
        assert_eq!(common((1, 2), (3, 4)), None);
        // What a peer says may be no range at all.
        assert_eq!(common((1, 9), (5, 2)), None);
    }
}
