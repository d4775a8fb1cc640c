//! The newest epoch that this node knows, from wherever it learnt of it: the note in its data folder, a hello of another
//! node, or the log. One that is older than that tells nothing.

use queenright_protocol::colony::Epoch;
use tokio::sync::watch;

use crate::body::{decode, encode};
use crate::store::{DataFolder, StoreError};

/// The note that holds it: a node that starts again begins with its links.
const EPOCH: &str = "epoch";

/// The newest epoch.
pub(crate) struct Epochs(watch::Sender<Option<Epoch>>);

impl Epochs {
    /// What the data folder knows.
    pub(crate) fn open(folder: &DataFolder) -> Result<Epochs, StoreError> {
        let noted = folder.note(EPOCH)?.filter(|note| !note.is_empty());
        // One that does not decode is as good as none: the others tell.
        let noted = noted.and_then(|note| decode(&note).ok());
        Ok(Epochs(watch::Sender::new(noted)))
    }

    /// The newest one.
    pub(crate) fn present(&self) -> Option<Epoch> {
        self.0.borrow().clone()
    }

    /// Takes an epoch, if it is newer.
    pub(crate) fn learn(&self, epoch: &Epoch) {
        self.0.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|known| known.number < epoch.number);
            if newer {
                *known = Some(epoch.clone());
            }
            newer
        });
    }

    /// Follows it.
    pub(crate) fn follow(&self) -> watch::Receiver<Option<Epoch>> {
        self.0.subscribe()
    }
}

/// Notes an epoch for the next start.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn set_note(folder: &DataFolder, epoch: &Epoch) -> Result<(), StoreError> {
    folder.set_note(EPOCH, &encode(epoch))
}

/// The same, where others have it as well.
pub(crate) fn note(folder: &DataFolder, epoch: &Epoch) {
    if let Err(error) = set_note(folder, epoch) {
        // The log has it as well; a disk that fails shows there.
        tracing::warn!(%error, "the epoch was not noted");
    }
}

/// Forgets what is noted: the cluster begins anew.
pub(crate) fn forget(folder: &DataFolder) -> Result<(), StoreError> {
    folder.set_note(EPOCH, b"")
}

#[cfg(test)]
mod tests {
    use queenright_protocol::id::NodeId;
    use queenright_protocol::topology::Kind;

    use super::*;

    #[test]
    fn the_newest_epoch_is_kept_over_a_restart_and_an_older_one_tells_nothing() {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path(), "n1").unwrap();
        let epoch = |number| Epoch::of(number, Kind::Ring, [NodeId(1)].into());
        let epochs = Epochs::open(&folder).unwrap();
        assert_eq!(epochs.present(), None);
        epochs.learn(&epoch(2));
        epochs.learn(&epoch(1));
        assert_eq!(epochs.present(), Some(epoch(2)));
        note(&folder, &epoch(2));
        assert_eq!(Epochs::open(&folder).unwrap().present(), Some(epoch(2)));
        forget(&folder).unwrap();
        assert_eq!(Epochs::open(&folder).unwrap().present(), None);
    }
}
