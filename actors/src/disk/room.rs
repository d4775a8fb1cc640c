//! The room on one disk as plain decisions: what is left, whether that is little, and what becomes of the ballast.

use std::time::Duration;

use super::DiskReport;

const MIB: u64 = 1 << 20;

/// How much room a node wants to have. What is not said follows from the size of the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskLimits {
    /// Below how many bytes the node is low; a sixteenth of the volume unless it is said, from 32 to 256 MiB.
    pub watermark_bytes: Option<u64>,
    /// The size of the ballast, in bytes; a hundred and twenty-eighth of the volume unless it is said, from 4 to 32 MiB. 0
    /// for none.
    pub ballast_bytes: Option<u64>,
}

/// The limits of one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoomLimits {
    pub(super) watermark_bytes: u64,
    pub(super) ballast_bytes: u64,
}

impl DiskLimits {
    /// The limits on a volume of this size.
    pub(super) fn of_volume(self, total_bytes: u64) -> RoomLimits {
        // 32 MiB hold the rounds that are under way in a cluster of a few nodes, and their way into the store; more than
        // 256 MiB would be a nuisance on a disk that people fill themselves.
        let watermark = (total_bytes / 16).clamp(32 * MIB, 256 * MIB);
        let ballast = (total_bytes / 128).clamp(4 * MIB, 32 * MIB);
        RoomLimits {
            watermark_bytes: self.watermark_bytes.unwrap_or(watermark),
            ballast_bytes: self.ballast_bytes.unwrap_or(ballast),
        }
    }
}

/// What becomes of the ballast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BallastMove {
    /// Nothing.
    Stay,
    /// It goes: there is little room.
    Release,
    /// It is made, of this size: there is room for it.
    Make(u64),
}

/// The room on one disk.
pub(super) struct Room {
    limits: RoomLimits,
    left_bytes: u64,
    low: bool,
}

impl Room {
    pub(super) fn new(limits: RoomLimits) -> Room {
        Room {
            limits,
            left_bytes: u64::MAX,
            low: false,
        }
    }

    /// Takes in what the volume has free while the ballast has `ballast_bytes`, and `unwritten_bytes` are still to be
    /// written behind.
    pub(super) fn look(&mut self, free_bytes: u64, ballast_bytes: u64, unwritten_bytes: u64) -> BallastMove {
        let RoomLimits {
            watermark_bytes,
            ballast_bytes: wanted,
        } = self.limits;
        let missing = wanted.saturating_sub(ballast_bytes);
        // The store's file grows by about twice what is written, until it is cleaned.
        let spoken_for = missing.saturating_add(unwritten_bytes.saturating_mul(2));
        self.left_bytes = free_bytes.saturating_sub(spoken_for);
        // An eighth more before it counts as room again: else a node on the edge would go to and fro.
        let enough = watermark_bytes + watermark_bytes / 8;
        self.low = self.left_bytes < if self.low { enough } else { watermark_bytes };
        if ballast_bytes > 0 && free_bytes < watermark_bytes / 2 {
            return BallastMove::Release;
        }
        if missing > 0 && self.left_bytes >= enough {
            return BallastMove::Make(wanted);
        }
        BallastMove::Stay
    }

    pub(super) fn report(&self) -> DiskReport {
        DiskReport {
            free_bytes: self.left_bytes,
            watermark_bytes: self.limits.watermark_bytes,
            low: self.low,
        }
    }

    /// When to look again: a second lets even a fast disk take no more than a few hundred megabytes; near the watermark a
    /// tenth of that.
    pub(super) fn next_look(&self) -> Duration {
        match self.left_bytes / 8 < self.limits.watermark_bytes.max(32 * MIB) {
            true => Duration::from_millis(100),
            false => Duration::from_secs(1),
        }
    }
}
