//! Loads a history into the memory: contents first, then the tasks. What is there already is left as it is.

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
use crate::git::{GitError, History, Mode, ObjectId, Repository};

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

/// Puts every blob of the history that is not there, and returns what all of them are to the colony.
pub(super) async fn contents(
    client: &Client,
    repository: &Repository,
    history: &History,
    progress: &dyn Progress,
) -> Result<HashMap<ObjectId, Bytes>, ReplayError> {
    let there = listed(client, keys::BLOBS).await?;
    let states = history
        .commits
        .iter()
        .flat_map(|commit| &commit.changes)
        .flat_map(|change| [change.before, change.after]);
    let (submodules, blobs): (BTreeSet<_>, BTreeSet<_>) = {
        let states: Vec<_> = states.flatten().collect();
        let of = |submodule: bool| {
            states
                .iter()
                .filter(move |state| (state.mode == Mode::Submodule) == submodule)
        };
        (
            of(true).map(|state| state.id).collect(),
            of(false).map(|state| state.id).collect(),
        )
    };
    progress.phase(Phase::Contents, blobs.len() as u64);
    let (sender, mut read) = mpsc::channel(BLOBS_WAITING);
    let reader = {
        let (repository, blobs) = (repository.clone(), blobs.clone());
        tokio::task::spawn_blocking(move || read_blobs(&repository, blobs, &sender))
    };
    let puts = async_stream(&mut read).map(|(id, bytes)| {
        let there = &there;
        async move {
            let known = Bytes {
                hash: HexHash(ContentHash::of(&bytes)),
                bytes: bytes.len() as u64,
            };
            let key = keys::blob(&id);
            if there.get(&key) != Some(&known.hash) {
                client.put(&key, bytes.into(), &PutOptions::default()).await?;
            }
            progress.advance(1);
            Ok::<_, ReplayError>((id, known))
        }
    });
    let known: Result<HashMap<ObjectId, Bytes>, ReplayError> = puts.buffer_unordered(PUTS).try_collect().await;
    drop(read);
    // An error of git explains why there was nothing more to put.
    reader.await??;
    let mut known = known?;
    known.extend(submodules.into_iter().map(|id| {
        let text = id.to_string();
        (
            id,
            Bytes {
                hash: HexHash(ContentHash::of(text.as_bytes())),
                bytes: text.len() as u64,
            },
        )
    }));
    Ok(known)
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
        let bytes = reader.read(&id).map_err(|error: GitError| ReplayError::Git(error))?;
        if bytes.len() > VALUE_BYTES_MAX {
            let (bytes, limit) = (bytes.len() as u64, VALUE_BYTES_MAX as u64);
            return Err(ReplayError::BlobTooLarge {
                id: id.to_string(),
                bytes,
                limit,
            });
        }
        if sender.blocking_send((id, bytes)).is_err() {
            // Whoever put them has given up, and says why.
            return Ok(());
        }
    }
    Ok(())
}

/// Puts every task that is not there.
///
/// # Errors
/// When a task is there that belongs to another history.
pub(super) async fn tasks(client: &Client, tasks: &[Task], progress: &dyn Progress) -> Result<(), ReplayError> {
    let there = listed(client, keys::TASKS).await?;
    progress.phase(Phase::Tasks, tasks.len() as u64);
    let mut missing = Vec::new();
    for task in tasks {
        let key = keys::task(task.place);
        let value = serde_json::to_vec(task).expect("plain data is JSON");
        match there.get(&key) {
            Some(hash) if *hash == HexHash(ContentHash::of(&value)) => progress.advance(1),
            Some(_) => {
                return Err(ReplayError::OtherHistory {
                    key,
                    commit: task.commit.clone(),
                });
            }
            None => missing.push((key, value)),
        }
    }
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
