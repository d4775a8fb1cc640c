//! Where a node is: its name, its addresses, and its place among the members.
//!
//! A place is one of [`PLACES_MAX`]; links are numbered by it. A number tells its place: 1, 65, 129 … are the first place's.
//! Who comes to a place gets a number above all that were ever given out, so none is used twice.

use serde::{Deserialize, Serialize};

use super::command::Refusal;
use super::memory::{malformed, over_limit};
use crate::id::NodeId;

/// How many places there are: the most nodes of a cluster.
pub const PLACES_MAX: usize = 64;
/// How long the name of a node may be, in characters.
pub const NODE_NAME_CHARS_MAX: usize = 40;
/// How long an address may be, in bytes: the longest name of a host that there is, and a port.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// How far the numbers of a place jump when a cluster is recovered: over all that the lost majority can have given out. A
/// node is replaced by hand, a thousand times hardly.
const NUMBERS_JUMP: u64 = 1_000 * PLACES_MAX as u64;

/// A node, as the others find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name: 1 to [`NODE_NAME_CHARS_MAX`] characters of `[a-z0-9-]`, not beginning with `-`.
    pub name: String,
    /// Where its links are dialled: `host:port`.
    pub links: String,
    /// Where its door is dialled: `host:port`.
    pub http: String,
    /// Drawn by the node when it asked to be let in, so that it is let in once however often it asks; 0 where that is not
    /// known of one that was there when the cluster began.
    pub attempt: u64,
}

impl Place {
    /// Whether a node can be there.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if self.name.len() > NODE_NAME_CHARS_MAX {
            return Err(over_limit("name", self.name.len(), NODE_NAME_CHARS_MAX));
        }
        if self.name.is_empty() || self.name.starts_with('-') || !self.name.bytes().all(allowed) {
            return Err(malformed("name", "is no name of a node (a to z, 0 to 9 and -)"));
        }
        for (field, address) in [("links", &self.links), ("http", &self.http)] {
            if address.len() > ADDRESS_BYTES_MAX {
                return Err(over_limit(field, address.len(), ADDRESS_BYTES_MAX));
            }
            let split = address.rsplit_once(':');
            let dialled =
                split.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
            if !dialled || !address.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(malformed(field, "is not host:port"));
            }
        }
        Ok(())
    }
}

/// The place of a node.
pub fn place_of(number: NodeId) -> usize {
    (number.0.saturating_sub(1) % PLACES_MAX as u64) as usize
}

/// The first number that a place may have after so many recoveries.
pub fn first_number(place: usize, recoveries: usize) -> NodeId {
    NodeId(place as u64 + 1 + recoveries as u64 * NUMBERS_JUMP)
}

/// The first number of a place that is above `last`, the highest that was ever given out.
pub fn next_number(place: usize, recoveries: usize, last: NodeId) -> NodeId {
    let first = first_number(place, recoveries);
    let behind = last.0.saturating_sub(first.0 - 1);
    NodeId(first.0 + behind.next_multiple_of(PLACES_MAX as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_given_once_and_tells_its_place(
            place in 0..PLACES_MAX,
            recoveries in 0..3_usize,
            last in 0..150_000_u64,
        ) {
            let number = next_number(place, recoveries, NodeId(last));
            prop_assert_eq!(place_of(number), place);
            prop_assert!(number > NodeId(last) && number >= first_number(place, recoveries));
            let before = NodeId(number.0.saturating_sub(PLACES_MAX as u64));
            prop_assert!(before <= NodeId(last) || before < first_number(place, recoveries));
        }
    }

    #[test]
    fn a_number_is_never_used_again_also_not_after_a_recovery() {
        let check = |place, recoveries, last, expected| {
            assert_eq!(next_number(place, recoveries, NodeId(last)), NodeId(expected));
        };
        check(0, 0, 0, 1);
        check(1, 0, 3, 66);
        check(1, 0, 66, 130);
        check(3, 0, 66, 68);
        check(1, 1, 64_001, 64_002);
        check(1, 1, 64_002, 64_066);
        check(1, 2, 64_002, 128_002);
    }

    #[test]
    fn what_nobody_can_dial_is_no_address() {
        let place = |name: &str, links: &str| Place {
            name: name.into(),
            links: links.into(),
            http: "n1.example:7201".into(),
            attempt: 7,
        };
        assert_eq!(place("n1", "[::1]:7101").check(), Ok(()));
        for (name, links) in [
            ("", "h:1"),
            ("-n", "h:1"),
            ("N1", "h:1"),
            ("n1", ""),
            ("n1", "h"),
            ("n1", "h:0"),
            ("n1", ":1"),
            ("n1", "a b:1"),
        ] {
            let refused = place(name, links).check();
            assert!(
                matches!(refused, Err(Refusal::Malformed { .. })),
                "{name:?} {links:?}: {refused:?}"
            );
        }
        let long = "a".repeat(ADDRESS_BYTES_MAX);
        let refused = place("n1", &format!("{long}:1")).check();
        assert!(matches!(refused, Err(Refusal::OverLimit { .. })), "{refused:?}");
        let refused = place(&long, "h:1").check();
        assert!(matches!(refused, Err(Refusal::OverLimit { .. })), "{refused:?}");
    }
}
