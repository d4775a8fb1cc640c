//! Loads a history: contents into the memory first, then the tasks. What is there already is left as it is. What cannot
//! be loaded as a whole is refused before anything is put.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt};
use queenright_bench::client::wire::{AddTask, HexHash, WireTask};
use queenright_bench::client::{Client, ListQuery, PutOptions, TaskQuery};
use queenright_protocol::colony::{ADD_TASKS_MAX, ContentHash, PAYLOAD_BYTES_MAX, StateName, TaskId, VALUE_BYTES_MAX};
use serde_json::Value;
use tokio::sync::mpsc;

use super::error::ReplayError;
use super::job::{Phase, Progress};
use super::keys;
use super::task::{Bytes, Done, Payload, Task};
use crate::git::{History, Mode, ObjectId, Repository};

/// How many puts are under way at a time.
const PUTS: usize = 32;
/// How many tasks a page of a list has.
const TASKS_PER_PAGE: u64 = 1_000;
/// After how many bytes of payloads no more tasks are added in one request.
const BATCH_BYTES: usize = 4 << 20;
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

/// The tasks of a replay that the project has.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The place of each.
    pub(super) places: HashMap<TaskId, u64>,
    /// Those that are done.
    pub(super) done: BTreeSet<u64>,
}

/// The tasks that are there.
///
/// # Errors
/// When one of them belongs to another history.
pub(super) async fn known_tasks(client: &Client, tasks: &[Task]) -> Result<Known, ReplayError> {
    let mut known = Known::default();
    for found in listed_tasks(client, false).await? {
        let Some(place) = found.name.as_deref().and_then(keys::place) else {
            continue;
        };
        if let Some(task) = tasks.get(place as usize)
            && *found.title != *title(task)
        {
            return Err(ReplayError::OtherHistory {
                key: keys::task(place),
                commit: task.commit.clone(),
            });
        }
        known.places.insert(found.task.0, place);
        if found.state == StateName::Done {
            known.done.insert(place);
        }
    }
    Ok(known)
}

fn title(task: &Task) -> String {
    format!("commit {}", task.commit)
}

/// All tasks of a replay, oldest first; whole, or as lines of a list.
async fn listed_tasks(client: &Client, whole: bool) -> Result<Vec<WireTask>, ReplayError> {
    let mut query = TaskQuery {
        kind: Some(keys::TASK_KIND.to_owned()),
        limit: Some(TASKS_PER_PAGE),
        whole,
        ..TaskQuery::default()
    };
    let mut found = Vec::new();
    loop {
        let page = client.tasks(&query).await?;
        found.extend(page.tasks);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}

/// Adds the tasks that are not there, in their order: the oldest one that waits is the first that can be committed.
pub(super) async fn tasks(
    client: &Client,
    tasks: &[Task],
    known: &mut Known,
    progress: &dyn Progress,
) -> Result<(), ReplayError> {
    let there: BTreeSet<u64> = known.places.values().copied().collect();
    let missing = tasks.iter().filter(|task| !there.contains(&task.place));
    let missing: Vec<(&Task, Value)> = missing.map(|task| (task, payload(task))).collect();
    progress.phase(Phase::Tasks, missing.len() as u64);
    let large = missing.iter().filter_map(|(task, payload)| {
        let key = payload.get("kept")?.get("key")?.as_str()?.to_owned();
        Some((key, serde_json::to_vec(task).expect("plain data is JSON")))
    });
    let puts = futures::stream::iter(large).map(|(key, value)| async move {
        client.put(&key, value.into(), &PutOptions::default()).await?;
        Ok::<_, ReplayError>(())
    });
    let put: Result<(), ReplayError> = puts.buffer_unordered(PUTS).try_collect().await;
    put?;
    let mut rest = missing.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut batch, mut places, mut bytes) = (Vec::new(), Vec::new(), 0);
        while batch.len() < ADD_TASKS_MAX
            && bytes < BATCH_BYTES
            && let Some((task, payload)) = rest.next()
        {
            bytes += payload.to_string().len();
            places.push(task.place);
            batch.push(AddTask {
                title: title(task).into(),
                kind: Some(keys::TASK_KIND.into()),
                payload,
                name: Some(keys::task(task.place).into()),
                ..AddTask::default()
            });
        }
        let added = client.add_tasks(batch, None).await?;
        let ids = added.tasks.iter().map(|added| added.task.0);
        known.places.extend(ids.zip(places.iter().copied()));
        progress.advance(places.len() as u64);
    }
    Ok(())
}

/// What the task of a commit says.
fn payload(task: &Task) -> Value {
    let inline = json(&Payload::Inline(task.clone()));
    match inline.to_string().len() > PAYLOAD_BYTES_MAX {
        false => inline,
        true => json(&Payload::Kept {
            key: keys::commit(task.place),
        }),
    }
}

fn json(payload: &Payload) -> Value {
    serde_json::to_value(payload).expect("plain data is JSON")
}

/// What each commit needed, by its place.
pub(super) async fn results(client: &Client) -> Result<HashMap<u64, Done>, ReplayError> {
    let mut found = HashMap::new();
    for task in listed_tasks(client, true).await? {
        let place = task.name.as_deref().and_then(keys::place);
        if let (Some(place), Some(finished)) = (place, task.finished) {
            let done = serde_json::from_value(finished.result).map_err(|error| ReplayError::Record {
                key: format!("the result of task {}", task.task),
                problem: error.to_string(),
            })?;
            found.insert(place, done);
        }
    }
    Ok(found)
}
