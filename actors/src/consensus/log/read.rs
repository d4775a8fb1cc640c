//! Reading entries: from memory, and those that have left it from their chunks.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use futures::Stream;
use openraft::alias::{EntryOf, VoteOf};
use openraft::{OptionalSend, RaftLogReader};

use super::record::{Payload, Position, damaged, record_bytes};
use super::state::{ENTRY_OVERHEAD_BYTES, Place};
use super::writer::chunk_path;
use super::{LogStore, record};
use crate::consensus::types::TypeConfig;

/// Entries of one read, in bytes: as much as a follower gets at once. One larger entry is read alone.
const READ_BYTES_MAX: usize = 1 << 20;

/// Where an entry was found.
enum Found {
    Memory(Payload),
    Disk(record::PayloadKind, Place),
}

/// The chunk that was read last.
struct ChunkFile {
    folder: PathBuf,
    open: Option<(u64, File)>,
}

impl Found {
    fn entry(self, position: Position, file: &mut ChunkFile) -> Result<EntryOf<TypeConfig>, io::Error> {
        match self {
            Found::Memory(payload) => payload.into_entry(position),
            Found::Disk(kind, place) => {
                let bytes = file.read(&place)?;
                Payload { kind, bytes }.into_entry(position)
            }
        }
    }
}

impl ChunkFile {
    fn read(&mut self, place: &Place) -> Result<Bytes, io::Error> {
        let file = match &self.open {
            Some((chunk, file)) if *chunk == place.chunk => file,
            _ => {
                let file = File::open(chunk_path(&self.folder, place.chunk))?;
                &self.open.insert((place.chunk, file)).1
            }
        };
        let begin = place.at - (record::HEAD_BYTES + record::ENTRY_HEAD_BYTES) as u64;
        let mut bytes = vec![0; record_bytes(record::ENTRY_HEAD_BYTES + place.length)];
        file.read_exact_at(&mut bytes, begin)?;
        // A disk may have lost what it held when the log was opened.
        let whole = record::Head::read(&bytes).is_some_and(|head| head.matches(&bytes[record::HEAD_BYTES..]));
        if !whole {
            return Err(damaged(format!(
                "{}: the record at byte {begin} cannot be read any more",
                chunk_path(&self.folder, place.chunk).display()
            )));
        }
        let payload = record::HEAD_BYTES + record::ENTRY_HEAD_BYTES;
        Ok(Bytes::from(bytes).slice(payload..payload + place.length))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let (from, to) = limits(&range);
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    /// Reads piece by piece, so that applying a long log does not hold it in memory as a whole.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<EntryOf<TypeConfig>, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let pieces = futures::stream::try_unfold(limits(&range), move |(from, to)| {
            let log = log.clone();
            async move {
                let entries = log.read(from, to, READ_BYTES_MAX).await?;
                let Some(last) = entries.last() else {
                    return Ok::<_, io::Error>(None);
                };
                let next = last.log_id.index + 1;
                Ok(Some((futures::stream::iter(entries.into_iter().map(Ok)), (next, to))))
            }
        });
        futures::TryStreamExt::try_flatten(pieces)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        Ok(self.opened()?.state.vote)
    }
}

fn limits(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(from) => from.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => to.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl LogStore {
    /// Entries of `[from, to)` that the log holds, up to about `bytes_max` but at least one. Entries that have left memory
    /// are read on a blocking thread.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let found = self.look_up(from, to, bytes_max)?;
        let mut file = ChunkFile {
            folder: self.shared.folder.clone(),
            open: None,
        };
        if found.iter().all(|(_, found)| matches!(found, Found::Memory(_))) {
            return found
                .into_iter()
                .map(|(position, found)| found.entry(position, &mut file))
                .collect();
        }
        let log = self.clone();
        tokio::task::spawn_blocking(move || {
            let first = found.first().map(|(position, _)| position.index);
            let entries: Result<Vec<_>, io::Error> = found
                .into_iter()
                .map(|(position, found)| found.entry(position, &mut file))
                .collect();
            match entries {
                // Purged between the look-up and the read: no longer in the log.
                Err(error) if error.kind() == io::ErrorKind::NotFound && first < Some(log.extent()?.0) => {
                    Ok(Vec::new())
                }
                entries => entries,
            }
        })
        .await
        .map_err(io::Error::other)?
    }
    fn look_up(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<(Position, Found)>, io::Error> {
        let open = self.opened()?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for slot in open.state.range(from, to) {
            bytes += slot.place.length + ENTRY_OVERHEAD_BYTES;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            let where_it_is = match &slot.payload {
                Some(payload) => Found::Memory(payload.clone()),
                None => Found::Disk(slot.kind, slot.place),
            };
            found.push((slot.position, where_it_is));
        }
        Ok(found)
    }
}
