//! The door of a node: HTTP/1.1 under `/v1`, on loopback unless it is protected, in TLS where there are certificates.
//!
//! Handlers parse, call one method of [`Node`], and answer; errors are RFC 9457 problem details whose codes
//! `problem.rs` gives. What a request may cost is bounded: its time, its body, how many are at work and how many wait
//! for events.
//!
//! | route | |
//! |---|---|
//! | `GET /openapi.json` | all of this for programs, by what `contract` says of it; without a token |
//! | `GET /healthz`, `GET /readyz` | the process lives; it has a leader that a quorum follows |
//! | `GET /metrics` | the same as text for Prometheus, see [`crate::metrics`] |
//! | `GET /debug/profile` | where the node spends its time for some seconds, as a flame graph |
//! | `GET /v1/status`, `GET /v1/figures` | the cluster as this node sees it; what this node counts and measures |
//! | `GET`, `PUT`, `DELETE /v1/memory/{key}` | the value of a key, as raw bytes; its revision is the `ETag` |
//! | `GET /v1/memory` | keys by prefix |
//! | `POST /v1/memory:change` | increment, max, append, set_add |
//! | `POST /v1/nodes/{name}/replace`, `/drain`, `/undrain`, `/remove`, `/leave` | let a node come back as a new one; take no new work, take some again; let a dead one go for good; leave by its own door |
//! | `POST /v1/nodes:ask` | what a node asks that is not linked: to come in, or what became of it; by the cookie, without a token |
//! | `POST /v1/proposals`, `POST /v1/proposal-batches` | atomic changes of several keys |
//! | `POST`, `GET /v1/tasks`, `GET /v1/tasks/{task}` | add tasks, list them, show one |
//! | `POST /v1/tasks:claim`, `POST /v1/tasks/{task}:accept`, `POST /v1/tasks/{task}:finish` | take tasks, or wait for one; say that work goes on, end it |
//! | `POST`, `GET /v1/sessions`, `GET /v1/sessions/{session}` | open a session, list them, show one |
//! | `POST /v1/sessions/{session}:heartbeat`, `:reopen`, `:close` | a sign of life; let it live on this node; end it |
//! | `POST`, `GET /v1/reservations`, `GET /v1/reservations/{id}` | reserve resources, list what is reserved, show one or wait for it |
//! | `POST /v1/reservations:check`, `POST /v1/reservations:release`, `POST /v1/reservations/{id}:renew`, `POST /v1/reservations/{id}:force` | ask what stands in the way, give back, hold for longer, take away |
//! | `GET /v1/slots`, `PUT /v1/slots/{name}`, `PUT /v1/reservation-settings` | slots and how many places they have; whether reservations stop writes |
//! | `GET /v1/rates`, `GET`, `PUT`, `DELETE /v1/rates/{name}` | how many tasks that name a rate are begun in a time |
//! | `GET /v1/usage`; `GET /v1/budgets`, `GET`, `PUT`, `DELETE /v1/budgets/{name}`, `POST /v1/budgets/{name}:reset` | what was used, by whom; how much may be used |
//! | `POST`, `GET /v1/projects`, `GET`, `DELETE /v1/projects/{project}`, `PUT /v1/projects/{project}/limits` | make projects, list them; show one, destroy it, limit it |
//! | `GET /v1/traces`, `GET /v1/traces/{trace}` | the last requests that were followed; what all nodes have of one |
//! | `GET`, `PUT /v1/log-level` | what this node logs; more or less of it, until it ends |
//! | `GET`, `PUT /v1/topology` | how the nodes are linked; link them in another way |
//! | `GET /v1/events` | what happened after a cursor; waits for more if asked to, or streams it; the present state with its cursor |
//! | `GET /v1/overview` | what the dashboard shows, as a stream: each part when it changes |
//! | `GET /ui` | the dashboard: a page that loads without a token, and asks for one where the door does |
//! | `POST /v1/topics/{topic}`, `GET /v1/topics` | publish a message, as raw bytes; follow what is published, as a stream |
//! | `GET /v1/prime` | what an agent needs to know when it starts |
//! | `POST`, `GET /v1/tokens`, `DELETE /v1/tokens/{name}` | make tokens that let callers in, list them, revoke one |
//! | `GET /v1/pools`, `GET`, `PUT`, `DELETE /v1/pools/{name}` | agents that the cluster starts and stops by itself: all pools; one, with its agents on all nodes |
//! | `POST /v1/pools/{name}/drain`, `/undrain`, `/recycle` | let a pool have no agents, let it have some again, replace them |
//! | `POST`, `GET /v1/agents`, `GET`, `DELETE /v1/agents/{name}` | the agents of this node |
//! | `POST /mcp` | the Model Context Protocol: see [`crate::mcp`] |
//!
//! Every answer has a `traceparent`: that of the caller's trace, or of one drawn for it; its flag says whether the request is kept.
//!
//! Who writes under its own reservation shows its token in the header `queenright-token`.
//!
//! Routes about a project take it from the query (`?project=`, else `default`), or from the path:
//! `/v1/projects/{project}/memory/{key}` and so on.

mod access;
mod agents;
mod backend;
mod backups;
mod budgets;
mod call;
mod connection;
mod contract;
mod events;
mod export;
mod guard;
mod inside;
mod listener;
mod log_level;
mod mcp;
mod memory;
mod metrics;
mod nodes;
mod once;
mod piped;
mod pools;
mod prime;
mod problem;
mod profile;
mod projects;
mod proposals;
mod rates;
mod replay;
mod reservations;
mod router;
mod routes;
mod sessions;
mod sse;
mod status;
mod tasks;
#[cfg(test)]
mod tests;
mod tokens;
mod topics;
mod topology;
mod traces;
mod ui;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use queenright_actors::node::{Consistency, Node};
use queenright_actors::replica::Snapshot;
use queenright_protocol::colony::VALUE_BYTES_MAX;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use self::access::DoorAccess;
use self::backend::Backend;
use self::call::Caller;
pub use self::contract::document;
pub use self::inside::Inside;
use self::listener::Doorway;
use self::once::Once;
use self::problem::Refused;
use crate::config::ClusterConfig;
use crate::metrics::requests::Requests;
use crate::metrics::webhooks::Webhooks;
use crate::telemetry::Sampler;

/// How long requests at work may go on after the door was told to close.
const CLOSING: Duration = Duration::from_secs(5);

/// What the door refuses to exceed.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// The largest value that is put; never more than a value of the colony may have.
    pub value_bytes: usize,
    /// The largest body, and how many bytes of values one list carries.
    pub body_bytes: usize,
    /// How many requests may be at work. Each may hold a body.
    pub requests: usize,
    /// How many may wait for a task or for events, or subscribe to them. Each holds a connection and, if it subscribes, a buffer.
    pub followers: usize,
    /// How many bytes wait for one subscriber, and one event more.
    pub subscriber_bytes: usize,
    /// How long a subscriber whose buffer is full may take nothing from it.
    pub subscriber_stalled: Duration,
    /// Which part of the requests is followed whose callers say nothing about it, from 0 to 1.
    pub traced: f64,
}

impl Default for DoorLimits {
    fn default() -> DoorLimits {
        DoorLimits {
            value_bytes: VALUE_BYTES_MAX,
            body_bytes: 16 << 20,
            requests: 1024,
            followers: 1024,
            subscriber_bytes: 256 << 10,
            subscriber_stalled: Duration::from_secs(10),
            traced: 0.0,
        }
    }
}

impl DoorLimits {
    /// As the cluster file has them.
    pub fn of(config: &ClusterConfig) -> DoorLimits {
        DoorLimits {
            value_bytes: config.limits.value_bytes,
            body_bytes: config.limits.http_body_bytes,
            requests: config.doors.requests,
            followers: config.doors.followers,
            traced: config.tracing.ratio,
            ..DoorLimits::default()
        }
    }
}

/// Why the door could not be opened, or not be kept open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The listener is bound to an address that others can reach, which nobody has allowed. Nothing was served.
    #[error("the door listens on {address}, and may serve loopback addresses only")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The listener failed.
    #[error("the door failed")]
    Io(#[from] io::Error),
}

/// Serves a node until `shutdown` completes; then requests at work have five seconds, and those who wait for events are
/// answered at once. `opened` gets the same door without a connection, for those who work in this process.
///
/// # Errors
/// [`DoorError`].
pub async fn serve(
    listener: TcpListener,
    node: Arc<Node>,
    limits: DoorLimits,
    access: DoorAccess,
    opened: impl FnOnce(Inside),
    shutdown: impl Future<Output = ()>,
) -> Result<(), DoorError> {
    serve_backend(listener, node, limits, access, opened, shutdown).await
}

async fn serve_backend(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    limits: DoorLimits,
    access: DoorAccess,
    opened: impl FnOnce(Inside),
    shutdown: impl Future<Output = ()>,
) -> Result<(), DoorError> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && !access.beyond_loopback {
        return Err(DoorError::NotLoopback { address });
    }
    let (close, closing) = watch::channel(false);
    let doorway = Doorway::open(listener, access.tls.clone());
    let door = Door::new(backend, limits, access, closing.clone());
    opened(Inside::of(&door));
    let closed = async {
        shutdown.await;
        close.send_replace(true);
        tokio::time::sleep(CLOSING).await;
    };
    tokio::select! {
        () = connection::serve(doorway, router::router(door), closing) => {}
        () = closed => {
            tracing::warn!("requests were still at work {CLOSING:?} after the door was told to close");
        }
    }
    Ok(())
}

/// What every handler gets.
#[derive(Clone)]
struct Door {
    backend: Arc<dyn Backend>,
    limits: DoorLimits,
    access: Arc<DoorAccess>,
    requests: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    /// What was answered to calls that are no commands.
    once: Arc<Once>,
    /// Which requests are followed.
    sampler: Sampler,
    /// What was answered so far.
    counted: Arc<Requests>,
    /// What was posted to receivers so far.
    webhooks: Arc<Webhooks>,
    /// True once the door is told to close.
    closing: watch::Receiver<bool>,
    /// The cluster as it was looked at last, for all who look on.
    samples: Arc<ui::Samples>,
}

impl Door {
    fn new(backend: Arc<dyn Backend>, limits: DoorLimits, access: DoorAccess, closing: watch::Receiver<bool>) -> Door {
        Door {
            backend,
            access: Arc::new(access),
            limits: DoorLimits {
                value_bytes: limits.value_bytes.min(VALUE_BYTES_MAX),
                ..limits
            },
            requests: Arc::new(Semaphore::new(limits.requests)),
            followers: Arc::new(Semaphore::new(limits.followers)),
            once: Arc::default(),
            sampler: Sampler::new(limits.traced),
            counted: Arc::default(),
            webhooks: Arc::default(),
            closing,
            samples: Arc::default(),
        }
    }

    /// A state in which the project of the caller can be read: what is left of one that is destroyed is nobody's.
    async fn read(&self, consistency: Consistency, caller: &Caller) -> Result<Arc<Snapshot>, Refused> {
        let snapshot = self.backend.read(consistency, caller.left()).await?;
        snapshot.colony.check_not_clearing(&caller.project)?;
        Ok(snapshot)
    }
}
