//! How rounds are cut, with bounds and defaults: the only place where these numbers stand.

use super::limits::Bound;

/// `[rounds]`: where a queen cuts the rounds that she gathers, besides at `limits.round_bytes`. Nodes of one cluster may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// `max`: how many commands a round has at most. The leader still joins the rounds of all nodes into one entry of the log,
    /// up to `limits.round_bytes`.
    pub max: usize,
}

impl Rounds {
    /// As many as a queen holds at all, so that rounds are cut by their bytes; 1 gives each command a round of its own, for
    /// comparison.
    pub const MAX: Bound = Bound {
        default: 65_536,
        min: 1,
        max: 65_536,
    };
}

impl Default for Rounds {
    fn default() -> Self {
        Rounds {
            max: Rounds::MAX.default as usize,
        }
    }
}
