//! Loads a history into the memory: contents first, then the tasks. What is there already is left as it is. What cannot
//! be loaded as a whole is refused before anything is put.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt};
use queenright_bench::client::wire::HexHash;
use queenright_bench::client::{Client, ListQuery, PutOptions};
use queenright_protocol::colony::{ContentHash, VALUE_BYTES_MAX};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::error::ReplayError;
use super::job::{Phase, Progress};
use super::keys;
use super::task::{Bytes, Task};
use crate::git::{History, Mode, ObjectId, Repository};

/// How many puts are under way at a time.
const PUTS: usize = 32;
/// How many blobs wait between git and the cluster.
const BLOBS_WAITING: usize = 32;

/// The keys that begin with `prefix`, with the hashes of their values.
pub(super) async fn listed(client: &Client, prefix: &str) -> Result<HashMap<String, HexHash>, ReplayError> {
    let mut found = HashMap::new();
    let mut query = ListQuery {
        prefix: prefix.to_string(),
        limit: Some(1000),
        ..ListQuery::default()
    };
    loop {
        let page = client.list(&query).await?;
        found.extend(
            page.keys
                .into_iter()
                .filter_map(|info| Some((info.key.to_string(), info.hash?))),
        );
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}

/// What every blob and submodule entry of the history is to the colony. Reads all blobs, so that one that is missing or
/// too large is found before anything is put.
pub(super) async fn known(repository: &Repository, history: &History) -> Result<HashMap<ObjectId, Bytes>, ReplayError> {
    let of = |bytes: &[u8]| Bytes {
        hash: HexHash(ContentHash::of(bytes)),
        bytes: bytes.len() as u64,
    };
    let submodules = objects(history, |mode| mode == Mode::Submodule);
    let (repository, blobs) = (repository.clone(), objects(history, is_blob));
    let read = tokio::task::spawn_blocking(move || {
        let mut reader = repository.blobs()?;
        let mut known = HashMap::with_capacity(blobs.len());
        for id in blobs {
            let bytes = reader.read(&id)?;
            if bytes.len() > VALUE_BYTES_MAX {
                let (bytes, limit) = (bytes.len() as u64, VALUE_BYTES_MAX as u64);
                let id = id.to_string();
                return Err(ReplayError::BlobTooLarge { id, bytes, limit });
            }
            known.insert(id, of(&bytes));
        }
        Ok(known)
    });
    let mut known = read.await??;
    known.extend(submodules.into_iter().map(|id| (id, of(id.to_string().as_bytes()))));
    Ok(known)
}

fn is_blob(mode: Mode) -> bool {
    mode != Mode::Submodule
}

/// The objects of these modes that the history names.
fn objects(history: &History, wanted: fn(Mode) -> bool) -> BTreeSet<ObjectId> {
    let changes = history.commits.iter().flat_map(|commit| &commit.changes);
    let states = changes.flat_map(|change| [change.before, change.after]).flatten();
    states
        .filter(|state| wanted(state.mode))
        .map(|state| state.id)
        .collect()
}

/// Puts every blob of the history that is not there.
pub(super) async fn contents(
    client: &Client,
    repository: &Repository,
    history: &History,
    known: &HashMap<ObjectId, Bytes>,
    progress: &dyn Progress,
) -> Result<(), ReplayError> {
    let there = listed(client, keys::BLOBS).await?;
    let mut missing = objects(history, is_blob);
    progress.phase(Phase::Contents, missing.len() as u64);
    let all = missing.len();
    missing.retain(|id| there.get(&keys::blob(id)) != Some(&known[id].hash));
    progress.advance((all - missing.len()) as u64);
    let (sender, mut read) = mpsc::channel(BLOBS_WAITING);
    let reader = {
        let repository = repository.clone();
        tokio::task::spawn_blocking(move || read_blobs(&repository, missing, &sender))
    };
    let puts = async_stream(&mut read).map(|(id, bytes)| async move {
        client
            .put(&keys::blob(&id), bytes.into(), &PutOptions::default())
            .await?;
        progress.advance(1);
        Ok::<_, ReplayError>(())
    });
    let put: Result<(), ReplayError> = puts.buffer_unordered(PUTS).try_collect().await;
    drop(read);
    // An error of git explains why there was nothing more to put.
    reader.await??;
    put
}

fn async_stream<T>(receiver: &mut mpsc::Receiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::unfold(
        receiver,
        |receiver| async move { Some((receiver.recv().await?, receiver)) },
    )
}

fn read_blobs(
    repository: &Repository,
    blobs: BTreeSet<ObjectId>,
    sender: &mpsc::Sender<(ObjectId, Vec<u8>)>,
) -> Result<(), ReplayError> {
    let mut reader = repository.blobs()?;
    for id in blobs {
        let bytes = reader.read(&id)?;
        if sender.blocking_send((id, bytes)).is_err() {
            // Whoever put them has given up, and says why.
            return Ok(());
        }
    }
    Ok(())
}

/// The tasks that are not there, key and value.
///
/// # Errors
/// When a task is there that belongs to another history.
pub(super) async fn missing_tasks(client: &Client, tasks: &[Task]) -> Result<Vec<(String, Vec<u8>)>, ReplayError> {
    let there = listed(client, keys::TASKS).await?;
    let mut missing = Vec::new();
    for task in tasks {
        let key = keys::task(task.place);
        let value = serde_json::to_vec(task).expect("plain data is JSON");
        match there.get(&key) {
            Some(hash) if *hash == HexHash(ContentHash::of(&value)) => {}
            Some(_) => {
                return Err(ReplayError::OtherHistory {
                    key,
                    commit: task.commit.clone(),
                });
            }
            None => missing.push((key, value)),
        }
    }
    Ok(missing)
}

/// Puts tasks.
pub(super) async fn tasks(
    client: &Client,
    missing: Vec<(String, Vec<u8>)>,
    progress: &dyn Progress,
) -> Result<(), ReplayError> {
    progress.phase(Phase::Tasks, missing.len() as u64);
    let puts = futures::stream::iter(missing).map(|(key, value)| async move {
        client.put(&key, value.into(), &PutOptions::default()).await?;
        progress.advance(1);
        Ok::<_, ReplayError>(())
    });
    puts.buffer_unordered(PUTS).try_collect().await
}

/// The values of the keys that begin with `prefix`, as what they hold in JSON.
pub(super) async fn values<T: DeserializeOwned>(
    client: &Client,
    prefix: &str,
) -> Result<HashMap<String, T>, ReplayError> {
    let mut found = HashMap::new();
    let mut query = ListQuery {
        prefix: prefix.to_string(),
        limit: Some(1000),
        values: true,
        ..ListQuery::default()
    };
    loop {
        let page = client.list(&query).await?;
        for info in page.keys {
            let key = info.key.to_string();
            let malformed = |problem: String| ReplayError::Record {
                key: key.clone(),
                problem,
            };
            let bytes = info
                .value_bytes()
                .map_err(|error| malformed(error.to_string()))?
                .unwrap_or_default();
            let value = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
            found.insert(key, value);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}
