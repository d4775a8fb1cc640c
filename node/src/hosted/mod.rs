//! Hosted agents that work through tasks: for each task a command of its own, as `queenright run` starts it, or a POST.
//!
//! | kind | for each task | its arguments |
//! |---|---|---|
//! | `exec` | runs a command | [`exec`] |
//! | `http` | posts it | [`post`] |
//!
//! Such an agent is a worker of [`crate::worker`] in the node: it has a session of its own, claims by the door of its node
//! without a connection, and its commands are guarded in the same way. What it has in hand when it ends:
//!
//! | what ends | its commands | its tasks |
//! |---|---|---|
//! | the agent is stopped, fails or panics | may go on for `grace_s`, then are killed | finished, or given back |
//! | the node stops | are killed at once | given back, if that takes no longer than [`STOPS_WITHIN`] |
//! | the node is killed | are killed by their guards | are others' when its session has ended |
//! | the task is lost | is killed | is another's |
//!
//! A request is dropped where a command is killed.

mod agent;
mod arguments;
pub mod exec;
pub mod post;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use queenright_actors::agent::{Behaviour, BehaviourError, Kinds};
use queenright_bench::client::{Client, ClientOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::agent::WorkerAgent;
use crate::http::Inside;
use crate::worker::Plan;

/// The kinds that may stand in a pool: those that work through tasks.
pub const POOLED: [&str; 2] = [exec::KIND, post::KIND];

/// How long agents of a node that stops may take to end what they have in hand. Less than `queenright up` waits for a
/// node, which has its log to close after this.
pub const STOPS_WITHIN: Duration = Duration::from_millis(2_500);
/// How long one request to the node may take before it is repeated: longer than an election.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What the hosted workers of a node share.
#[derive(Debug)]
pub struct Hosted {
    /// Where others reach the door of the node, for the environment of commands.
    url: String,
    /// Where the worktrees of its agents are.
    worktrees: PathBuf,
    /// Why no commands may be run here, if so.
    forbidden: Option<String>,
    /// The door, once it is open.
    door: OnceLock<Inside>,
    /// How many workers are at work, those of agents that have ended included.
    at_work: watch::Sender<usize>,
    /// Tells all of them to end at once.
    stop: CancellationToken,
}

impl Hosted {
    /// For a node whose door others reach at `url`, with a folder for worktrees of its own. `forbidden` says why nobody may run commands on it.
    pub fn new(url: String, worktrees: PathBuf, forbidden: Option<String>) -> Arc<Hosted> {
        Arc::new(Hosted {
            url,
            worktrees,
            forbidden,
            door: OnceLock::new(),
            at_work: watch::Sender::new(0),
            stop: CancellationToken::new(),
        })
    }

    /// Adds the kinds to those that a node hosts.
    pub fn add_kinds(self: &Arc<Hosted>, kinds: &mut Kinds) {
        let hosted = self.clone();
        kinds.add(exec::KIND, move |spec| {
            let plan = exec::plan(spec, &hosted.worktrees, hosted.forbidden.as_deref())?;
            Ok(Box::new(WorkerAgent::new(hosted.clone(), plan)) as Box<dyn Behaviour>)
        });
        let hosted = self.clone();
        kinds.add(post::KIND, move |spec| {
            let plan = post::plan(spec, hosted.forbidden.as_deref())?;
            Ok(Box::new(WorkerAgent::new(hosted.clone(), plan)) as Box<dyn Behaviour>)
        });
    }

    /// The door of the node is open.
    pub fn open(&self, door: Inside) {
        assert!(self.door.set(door).is_ok(), "a door is opened once");
    }

    /// Lets all workers end what they have in hand; returns when they have, or after [`STOPS_WITHIN`].
    pub async fn stop(&self) {
        self.stop.cancel();
        let mut at_work = self.at_work.subscribe();
        let ended = at_work.wait_for(|at_work| *at_work == 0);
        if tokio::time::timeout(STOPS_WITHIN, ended).await.is_err() {
            let left = *self.at_work.borrow();
            // Their guards do the rest: see `queenright_actors::process`.
            tracing::warn!(
                left,
                "workers still had tasks in hand {STOPS_WITHIN:?} after they were told to end"
            );
        }
    }

    /// The door, for one worker.
    fn client(&self, plan: &Plan) -> Result<Client, BehaviourError> {
        self.inside(ClientOptions {
            project: plan.project.clone(),
            agent: plan.name.clone(),
            ..ClientOptions::default()
        })
    }

    /// The door, for those who work in this process.
    ///
    /// # Errors
    /// While it is not open yet.
    pub fn inside(&self, options: ClientOptions) -> Result<Client, BehaviourError> {
        let door = self.door.get();
        let door = door.ok_or_else(|| BehaviourError("the door of this node is not open yet".to_owned()))?;
        let options = ClientOptions {
            timeout: REQUEST_TIMEOUT,
            ..options
        };
        Client::within(&self.url, options, Arc::new(door.clone())).map_err(|error| BehaviourError(error.to_string()))
    }

    /// Counts a worker until what is returned is dropped.
    fn begin(self: &Arc<Hosted>) -> AtWork {
        self.at_work.send_modify(|at_work| *at_work += 1);
        AtWork(self.clone())
    }
}

/// A worker that is counted.
struct AtWork(Arc<Hosted>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|at_work| *at_work -= 1);
    }
}
