//! What a node does when its state differs from another's: it finds out on which side the majority stands. One that stands
//! alone ends, leaves a note, and rebuilds its state at its next start.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Compare`] | a node that differs from what the leader logged, or that was asked and differs | each other node | `Option<Digest>` | what is your digest after this entry? Mine is this |

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::Digest;
use queenright_protocol::id::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::replica::{Difference, Replica};
use crate::store::{DataFolder, StoreError};

/// The note in the data folder of a node that must rebuild its state.
const NOTE: &str = "diverged";
/// How long a node waits for the digest of another one, and until it asks again when there is no majority yet.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);

/// Asks for the digest after an entry.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Compare {
    pub(super) index: u64,
    pub(super) ours: Digest,
}

/// On which side a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A majority has this node's digest.
    Ours,
    /// A majority has another one.
    Theirs(Digest),
    /// Too few have said.
    Undecided,
}

/// Where the majority of all nodes stands: this one, and the others as far as they have answered.
fn verdict(ours: Digest, others: &[Option<Digest>]) -> Verdict {
    let mut counts = BTreeMap::from([(ours.0, 1)]);
    for digest in others.iter().flatten() {
        *counts.entry(digest.0).or_insert(0) += 1;
    }
    let nodes = others.len() + 1;
    match counts.into_iter().find(|(_, count)| count * 2 > nodes) {
        Some((digest, _)) if digest == ours.0 => Verdict::Ours,
        Some((digest, _)) => Verdict::Theirs(Digest(digest)),
        None => Verdict::Undecided,
    }
}

/// Finds out on which side this node stands, whenever it differs from what was logged.
pub(super) struct Judge {
    replica: Arc<Replica>,
    folder: Arc<DataFolder>,
    /// A difference that another node has pointed out.
    pointed_out: watch::Sender<Option<Difference>>,
    /// Why this node must end.
    outvoted: watch::Sender<Option<Difference>>,
}

impl Judge {
    pub(super) fn new(replica: Arc<Replica>, folder: Arc<DataFolder>) -> Judge {
        Judge {
            replica,
            folder,
            pointed_out: watch::Sender::new(None),
            outvoted: watch::Sender::new(None),
        }
    }

    /// Answers another node, and looks into it when the two differ: it may be this one that is wrong.
    pub(super) fn answer(&self, asked: Compare) -> Option<Digest> {
        let Compare { index, ours: theirs } = asked;
        let ours = self.replica.digest_at(index)?;
        if ours != theirs {
            self.pointed_out.send_replace(Some(Difference { index, ours, theirs }));
        }
        Some(ours)
    }

    /// Resolves with the reason when a majority has another state than this node.
    pub(super) async fn outvoted(&self) -> String {
        let mut outvoted = self.outvoted.subscribe();
        let found = outvoted.wait_for(Option::is_some).await;
        let difference = found
            .expect("the sender lives in this judge")
            .expect("the condition asks for one");
        format!(
            "the state of this node is not that of the majority: {difference}; it is set aside and rebuilt at the next start"
        )
    }

    /// Looks into every difference for as long as it is polled. `ask` gets the digest of another node.
    pub(super) async fn watch<F>(self: Arc<Self>, peers: impl Fn() -> Vec<NodeId>, ask: impl Fn(NodeId, Compare) -> F)
    where
        F: Future<Output = Option<Digest>>,
    {
        let (mut own, mut pointed_out) = (self.replica.follow_difference(), self.pointed_out.subscribe());
        loop {
            let difference = {
                let own = *own.borrow_and_update();
                own.or(*pointed_out.borrow_and_update())
            };
            let Some(difference) = difference else {
                tokio::select! {
                    _ = own.changed() => {}
                    _ = pointed_out.changed() => {}
                }
                continue;
            };
            let Difference { index, ours, .. } = difference;
            let asked = peers().into_iter().map(|peer| ask(peer, Compare { index, ours }));
            let others = futures::future::join_all(asked).await;
            match verdict(ours, &others) {
                Verdict::Ours => {
                    tracing::error!(%difference, "another node differs from the majority, to which this one belongs");
                    self.settle(index);
                }
                Verdict::Theirs(theirs) => {
                    self.give_up(Difference { theirs, ..difference }).await;
                    return;
                }
                Verdict::Undecided => {
                    tracing::error!(%difference, "two nodes differ, and no majority has answered yet");
                    // What was only pointed out is so again when it still matters.
                    self.pointed_out.send_replace(None);
                    tokio::time::sleep(ASK_EVERY).await;
                }
            }
        }
    }

    fn settle(&self, index: u64) {
        self.replica.settle_difference(index);
        self.pointed_out
            .send_if_modified(|pointed_out| pointed_out.take_if(|difference| difference.index <= index).is_some());
    }

    async fn give_up(&self, difference: Difference) {
        tracing::error!(%difference, "the majority has another state than this node, which ends");
        let folder = self.folder.clone();
        let noted = tokio::task::spawn_blocking(move || note(&folder, &difference)).await;
        if let Ok(Err(error)) = noted {
            tracing::error!(%error, "the difference could not be noted: the next start takes over the same state");
        }
        self.outvoted.send_replace(Some(difference));
    }
}

fn note(folder: &DataFolder, difference: &Difference) -> Result<(), StoreError> {
    folder.set_note(NOTE, difference.to_string().as_bytes())
}

/// Why the state in this folder must not be taken over, if it must not.
pub(crate) fn noted(folder: &DataFolder) -> Result<Option<String>, StoreError> {
    let note = folder.note(NOTE)?.filter(|note| !note.is_empty());
    Ok(note.map(|note| String::from_utf8_lossy(&note).into_owned()))
}

/// Leaves the reason beside what was set aside, and starts afresh.
pub(super) fn settled(folder: &DataFolder, aside: &Path, reason: &str) -> Result<(), StoreError> {
    let path = aside.join("why");
    fs::write(&path, format!("{reason}\n")).map_err(|source| StoreError::Io { path, source })?;
    folder.set_note(NOTE, b"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn at_most_one_side_has_the_majority_and_silence_has_none(
            digests in prop::collection::vec(prop::option::of(0..3_u128), 0..7),
            ours in 0..3_u128,
        ) {
            let others: Vec<Option<Digest>> = digests.iter().map(|digest| digest.map(Digest)).collect();
            let with = |digest: u128| digests.iter().filter(|other| **other == Some(digest)).count() + usize::from(digest == ours);
            let majority = (0..3).find(|digest| with(*digest) * 2 > digests.len() + 1);
            let expected = match majority {
                None => Verdict::Undecided,
                Some(digest) if digest == ours => Verdict::Ours,
                Some(digest) => Verdict::Theirs(Digest(digest)),
            };
            prop_assert_eq!(verdict(Digest(ours), &others), expected);
        }
    }

    #[test]
    fn the_reason_stands_beside_what_was_set_aside_and_the_next_start_is_as_any() {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path(), "n1").unwrap();
        assert_eq!(noted(&folder).unwrap(), None);
        let difference = Difference {
            index: 1000,
            ours: Digest(1),
            theirs: Digest(2),
        };
        note(&folder, &difference).unwrap();
        let reason = noted(&folder).unwrap().expect("it was noted");
        assert!(
            reason.contains("after log entry 1000") && reason.contains(&Digest(2).to_string()),
            "{reason}"
        );
        settled(&folder, data.path(), &reason).unwrap();
        assert_eq!(noted(&folder).unwrap(), None);
        assert_eq!(fs::read_to_string(data.path().join("why")).unwrap().trim_end(), reason);
    }
}
