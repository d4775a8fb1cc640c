//! A fixed table from the hash of a key to the last revision seen of it, for the queen's pre-check: read without a lock,
//! written by whoever applies. Keys that share a slot displace each other, so it may forget; what it reports is
//! confirmed by the state.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use queenright_protocol::colony::Colony;

/// How many slots the table has, of 8 B each.
const SLOTS: usize = 1 << 16;
/// How many low bits of a slot hold the revision; the rest holds a part of the key's hash.
const REVISION_BITS: u32 = 40;
const REVISION_MASK: u64 = (1 << REVISION_BITS) - 1;

/// The table.
pub(crate) struct RevisionTable {
    slots: Box<[AtomicU64]>,
}

impl Default for RevisionTable {
    fn default() -> RevisionTable {
        RevisionTable {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl RevisionTable {
    /// Whether the last revision seen of the key may be higher than `revision`.
    pub(crate) fn may_exceed(&self, project: &str, key: &str, revision: u64) -> bool {
        let (slot, mark) = place(project, key);
        let word = self.slots[slot].load(Ordering::Relaxed);
        word & !REVISION_MASK == mark && word & REVISION_MASK > revision
    }

    /// Notes a revision.
    pub(crate) fn note(&self, project: &str, key: &str, revision: u64) {
        let (slot, mark) = place(project, key);
        self.slots[slot].store(mark | (revision & REVISION_MASK), Ordering::Relaxed);
    }

    /// Notes all keys of a state.
    pub(crate) fn fill(&self, colony: &Colony) {
        for (name, project) in colony.projects() {
            for (key, record) in project.memory().range("", None) {
                self.note(name, key, record.revision);
            }
        }
    }
}

/// The slot of a key, and the part of its hash that is kept there.
fn place(project: &str, key: &str) -> (usize, u64) {
    let mut hasher = DefaultHasher::new();
    project.hash(&mut hasher);
    key.hash(&mut hasher);
    let hash = hasher.finish();
    // The low bits choose the slot, the high ones tell keys of one slot apart.
    ((hash as usize) % SLOTS, hash & !REVISION_MASK)
}
