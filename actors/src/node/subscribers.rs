//! Who follows events at the door of this node, counted: shared by the door and by those who ask how the node is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of those who subscribed to events at this node's door, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriberCounts {
    /// Subscribed now.
    pub open: u64,
    /// Ever subscribed.
    pub opened: u64,
    /// Dropped because they did not read what was sent.
    pub slow: u64,
    /// Dropped because the events after their cursor were no longer kept.
    pub expired: u64,
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Subscribers {
    open: AtomicU64,
    opened: AtomicU64,
    slow: AtomicU64,
    expired: AtomicU64,
}

/// One who is subscribed, until this is dropped.
#[derive(Debug)]
pub struct Subscription(Arc<Subscribers>);

impl Subscribers {
    /// One more subscribes.
    pub fn open(self: &Arc<Self>) -> Subscription {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed);
        Subscription(self.clone())
    }

    /// One is dropped because it did not read.
    pub fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    /// One is dropped because what it has not seen is no longer kept.
    pub fn expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts.
    pub fn counts(&self) -> SubscriberCounts {
        SubscriberCounts {
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
