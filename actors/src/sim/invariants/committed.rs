//! An entry that was committed anywhere is the entry of its place everywhere, for ever: Raft's Log Matching and Leader
//! Completeness, as far as they can be seen from what openraft asks the log to note as committed.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use openraft::alias::EntryOf;

use crate::consensus::types::TypeConfig;
use crate::sim::trace::mark;

/// What was committed at each place, and where that was seen first.
#[derive(Default)]
pub(super) struct Committed {
    entries: BTreeMap<u64, (String, usize)>,
}

impl Committed {
    pub(super) fn look(&mut self, place: usize, committed: Vec<EntryOf<TypeConfig>>) -> Vec<String> {
        let mut problems = Vec::new();
        for entry in committed {
            let index = entry.log_id.index;
            let payload = match &entry.payload {
                EntryPayload::Normal(bytes) => format!("{:08x}", mark(&bytes.0)),
                other => other.to_string(),
            };
            let now = format!("{} {payload}", entry.log_id);
            let (before, first) = self.entries.entry(index).or_insert_with(|| (now.clone(), place));
            if *before != now {
                let (first, second) = (*first + 1, place + 1);
                problems.push(format!("entry {index} is {before} on n{first} and {now} on n{second}"));
            }
        }
        problems
    }
}
