//! What follows from how much memory is used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From how many percent of the limit on a node says that it uses much.
pub const HIGH_PERCENT: u64 = 80;
/// From how many percent on it refuses new work.
pub const FULL_PERCENT: u64 = 90;
/// Below how many percent it takes new work again, and below how many it has enough again: without a distance it would change
/// with each look.
const FULL_NO_MORE_PERCENT: u64 = 85;
const HIGH_NO_MORE_PERCENT: u64 = 75;

/// How the memory of a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLevel {
    /// There is enough.
    #[default]
    Fine,
    /// Much is used: somebody should look.
    High,
    /// New work is refused.
    Full,
}

/// The level, with some distance between up and down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watermarks {
    used_bytes: u64,
    level: MemoryLevel,
}

impl Watermarks {
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(super) fn level(&self) -> MemoryLevel {
        self.level
    }

    /// So much is used now. Returns the level if it is another one.
    pub(super) fn look(&mut self, used_bytes: u64, limit_bytes: u64) -> Option<MemoryLevel> {
        self.used_bytes = used_bytes;
        let below = |percent: u64| u128::from(used_bytes) * 100 < u128::from(limit_bytes) * u128::from(percent);
        let (high, full) = match self.level {
            MemoryLevel::Fine => (HIGH_PERCENT, FULL_PERCENT),
            MemoryLevel::High => (HIGH_NO_MORE_PERCENT, FULL_PERCENT),
            MemoryLevel::Full => (HIGH_NO_MORE_PERCENT, FULL_NO_MORE_PERCENT),
        };
        let level = match () {
            () if !below(full) => MemoryLevel::Full,
            () if !below(high) => MemoryLevel::High,
            () => MemoryLevel::Fine,
        };
        let before = std::mem::replace(&mut self.level, level);
        (before != level).then_some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_refused_from_ninety_percent_on_and_taken_again_below_eighty_five() {
        let mut marks = Watermarks::default();
        let mut look = |used: u64| marks.look(used, 1_000);
        use MemoryLevel::{Fine, Full, High};
        let steps = [
            (0, None),
            (799, None),
            (800, Some(High)),
            (899, None),
            (760, None),
            (749, Some(Fine)),
            (900, Some(Full)),
            (880, None),
            (850, None),
            (849, Some(High)),
            (900, Some(Full)),
            (2_000, None),
            (100, Some(Fine)),
        ];
        for (used, changed) in steps {
            assert_eq!(look(used), changed, "{used}");
        }
        assert_eq!((marks.used_bytes(), marks.level()), (100, Fine));
        // The largest numbers do not overflow.
        assert_eq!(marks.look(u64::MAX, u64::MAX), Some(Full));
    }
}
