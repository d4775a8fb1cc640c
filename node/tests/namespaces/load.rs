//! Clients that write at every node, one thing after the other, and note what was acknowledged and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{AddTask, ClaimTasks, FinishTask, HexHash, WireEnding, WireTaskId};
use queenright_bench::client::{Client, ClientError, FinishOutcome, ListQuery, PutOptions, TaskQuery};
use queenright_protocol::colony::{ContentHash, StateName};
use tokio::task::JoinHandle;

use crate::colony::Colony;

/// The project of these clients.
const PROJECT: &str = "noted";
/// How long a client pauses between two writes, and after one without an acknowledgement.
const THINK: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(100);
/// Every so-many-th turn is about a task: it is added, claimed and finished.
const TASK_EVERY: u64 = 4;
/// How many keys or tasks a page has.
const PAGE: u64 = 1_000;

/// The clients, under way.
pub(crate) struct Load {
    began: Instant,
    ended: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Notes>>,
}

/// What one client noted.
#[derive(Debug)]
pub(crate) struct Notes {
    /// The node that it asked.
    pub(crate) node: String,
    began: Instant,
    /// Keys and their values.
    puts: Vec<(String, String)>,
    /// Tasks that were added, and those of them that were finished.
    added: Vec<WireTaskId>,
    finished: Vec<WireTaskId>,
    /// When each acknowledged write was asked for and acknowledged, since the load began.
    pub(crate) acknowledged: Vec<(Duration, Duration)>,
    /// How many were refused, by code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// How many have no known outcome.
    pub(crate) unknown: u64,
}

impl Load {
    /// Starts a client for each node.
    pub(crate) fn start(colony: &Colony) -> Load {
        let (began, ended) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let clients = colony.names().into_iter().map(|node| {
            let client = colony.client(&node, "noting").in_project(PROJECT);
            let ended = ended.clone();
            colony.spawn(async move {
                let mut notes = Notes::of(node, began);
                for number in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    notes.turn(&client, number).await;
                    tokio::time::sleep(THINK).await;
                }
                notes
            })
        });
        Load {
            clients: clients.collect(),
            began,
            ended,
        }
    }

    /// The time of the load, as in its notes.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends the clients after their present write.
    pub(crate) fn end(self, colony: &Colony) -> Vec<Notes> {
        self.ended.store(true, Ordering::Relaxed);
        let ended = self.clients.into_iter().map(|client| colony.block_on(client));
        ended.map(|notes| notes.expect("a client does not panic")).collect()
    }
}

impl Notes {
    fn of(node: String, began: Instant) -> Notes {
        Notes {
            node,
            began,
            puts: Vec::new(),
            added: Vec::new(),
            finished: Vec::new(),
            acknowledged: Vec::new(),
            refused: BTreeMap::new(),
            unknown: 0,
        }
    }

    /// Never again under the same name: what has no answer stays unknown.
    async fn turn(&mut self, client: &Client, number: u64) {
        let (key, value) = (format!("{}/{number}", self.node), format!("value {number}"));
        let options = PutOptions::default();
        let put = client.put(&key, value.clone().into(), &options);
        if self.note(put).await.is_some() {
            self.puts.push((key, value));
        }
        if number.is_multiple_of(TASK_EVERY) {
            self.task(client, number).await;
        }
    }

    /// A task from beginning to end, as far as each step is acknowledged.
    async fn task(&mut self, client: &Client, number: u64) -> Option<()> {
        let task = AddTask {
            title: format!("{} {number}", self.node).into(),
            ..AddTask::default()
        };
        let added = self.note(client.add_tasks(vec![task], None)).await?;
        let id = added.tasks[0].task;
        self.added.push(id);
        let claim = ClaimTasks {
            ids: Some(vec![id]),
            ..ClaimTasks::default()
        };
        let claimed = self.note(client.claim_tasks(&claim, None)).await?;
        let finish = FinishTask {
            fence: claimed.tasks[0].fence,
            token: claimed.token.expect("something was claimed"),
            outcome: WireEnding::Done,
            ..FinishTask::default()
        };
        match self.note(client.finish_task(id.0, &finish, None)).await? {
            FinishOutcome::Finished(_) => self.finished.push(id),
            FinishOutcome::Lost(loss) => panic!("a finish without a proposal lost: {loss:?}"),
        }
        Some(())
    }

    async fn note<T>(&mut self, write: impl Future<Output = Result<T, ClientError>>) -> Option<T> {
        let asked = self.began.elapsed();
        match write.await {
            Ok(answer) => {
                self.acknowledged.push((asked, self.began.elapsed()));
                return Some(answer);
            }
            Err(error) if error.outcome_unknown() => self.unknown += 1,
            Err(error) => {
                let code = error
                    .code()
                    .map_or_else(|| "UNREACHABLE".to_owned(), |code| code.to_string());
                *self.refused.entry(code).or_default() += 1;
            }
        }
        tokio::time::sleep(PAUSE).await;
        None
    }
}

/// The longest time in which nobody was acknowledged anything, from the first acknowledgement to the last.
pub(crate) fn longest_gap(notes: &[Notes]) -> Duration {
    let all = notes.iter().flat_map(|notes| &notes.acknowledged);
    let mut at: Vec<Duration> = all.map(|(_, acknowledged)| *acknowledged).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// What was acknowledged and is not there: one line for each, and node that does not have it.
pub(crate) fn lost(colony: &Colony, notes: &[Notes]) -> Vec<String> {
    let mut lost = Vec::new();
    for node in colony.names() {
        let client = colony.client(&node, "noting").in_project(PROJECT);
        let (keys, tasks) = colony.block_on(async { (keys(&client).await, tasks(&client).await) });
        for notes in notes {
            let puts = notes.puts.iter().filter(|(key, value)| {
                let expected = HexHash(ContentHash::of(value.as_bytes()));
                keys.get(key) != Some(&expected)
            });
            lost.extend(puts.map(|(key, _)| format!("{node}: the value of {key}")));
            let added = notes.added.iter().filter(|id| !tasks.contains_key(*id));
            lost.extend(added.map(|id| format!("{node}: task {id}")));
            let undone = notes
                .finished
                .iter()
                .filter(|id| tasks.get(*id) != Some(&StateName::Done));
            lost.extend(undone.map(|id| format!("{node}: the finish of task {id}")));
        }
    }
    lost
}

async fn keys(client: &Client) -> BTreeMap<String, HexHash> {
    let mut found = BTreeMap::new();
    let mut query = ListQuery {
        limit: Some(PAGE),
        consistency: Consistency::Local,
        ..ListQuery::default()
    };
    loop {
        let page = client.list(&query).await.unwrap();
        let hashes = page
            .keys
            .into_iter()
            .filter_map(|info| Some((info.key.to_string(), info.hash?)));
        found.extend(hashes);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

async fn tasks(client: &Client) -> BTreeMap<WireTaskId, StateName> {
    let mut found = BTreeMap::new();
    let mut query = TaskQuery {
        limit: Some(PAGE),
        consistency: Consistency::Local,
        ..TaskQuery::default()
    };
    loop {
        let page = client.tasks(&query).await.unwrap();
        found.extend(page.tasks.into_iter().map(|task| (task.task, task.state)));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}
