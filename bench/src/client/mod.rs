//! The client of a node's door.
//!
//! One method for each route. A [`Client`] is cheap to clone and keeps its connections alive; it speaks for one agent in
//! one project. A mutation whose outcome is unknown ([`ClientError::outcome_unknown`]) may be sent again only under the
//! same idempotency key.

mod backup;
mod error;
mod follow;
mod log_level;
mod memory;
mod node;
mod pool;
mod project;
mod rate;
mod request;
mod reservation;
mod secure;
mod session;
mod stream;
mod swarm;
mod task;
#[cfg(test)]
mod tests;
mod token;
mod topic;
mod topology;
mod trace;
mod usage;
pub mod wire;
mod within;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::ClientConfig;

pub use self::backup::Pieces;
pub use self::error::ClientError;
pub use self::follow::{Filter, Watched};
pub use self::memory::{Found, Guard, ListQuery, Lookup, PutOptions, decode_tags, encode_tags};
pub use self::node::{ChangedNode, Health};
pub use self::project::ProjectQuery;
use self::request::unsendable;
pub use self::reservation::{AcquireOutcome, ReservationQuery};
pub use self::secure::Bearer;
use self::secure::{headers, trusts_nobody};
pub use self::session::SessionQuery;
pub use self::swarm::agent_path;
pub use self::task::{FinishOutcome, TaskQuery};
pub use self::topic::TopicNews;
pub use self::within::Within;

/// The longest time that a door lets a request take.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// The longest time for which a door lets a caller wait for events.
pub const EVENTS_WAIT_MAX: Duration = Duration::from_secs(60);
/// How much longer than it wants a claim waits at a door at most: cluster time, by which it waits, stands while nobody leads.
pub const CLAIM_WAIT_SLACK: Duration = Duration::from_secs(5);
/// How many events a page has at most.
pub const EVENTS_LIMIT_MAX: u64 = 10_000;
/// The header that says who wants something.
pub const AGENT_HEADER: &str = "queenright-agent";
/// The header that says which trace a request belongs to, as W3C Trace Context has it.
pub const TRACE_HEADER: &str = "traceparent";
/// The header that bounds a request, in milliseconds.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";
/// The header that names a command, so that a repeat is answered with the first outcome.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// The header with the token by which a caller shows what is its own: claims, and reservations that it writes under.
pub const TOKEN_HEADER: &str = "queenright-token";
/// How many bytes the answer to "what do I need to know" has unless the caller says otherwise, and the bounds on that.
pub const PRIME_BYTES: (u64, std::ops::RangeInclusive<u64>) = (8 << 10, 2 << 10..=1 << 20);
/// The header with the revision of a record.
pub const REVISION_HEADER: &str = "queenright-revision";
/// The header with the position at which a record was changed.
pub const SEQ_HEADER: &str = "queenright-seq";
/// The header with the author of a record.
pub const AUTHOR_HEADER: &str = "queenright-author";
/// The header with the BLAKE3 hash of a value, in hexadecimal.
pub const HASH_HEADER: &str = "queenright-hash";
/// The header with the tags of a record: separated by commas, each percent-encoded where it has a comma, a percent sign
/// or what a header cannot hold.
pub const TAGS_HEADER: &str = "queenright-tags";

/// How long to wait for a connection: the door is on this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer than the door the client waits, so that the door's own answer about the time arrives.
const TIMEOUT_GRACE: Duration = Duration::from_secs(1);

/// Who asks, where, and how long it waits.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The project.
    pub project: String,
    /// The agent.
    pub agent: String,
    /// How long a request may take; at most [`REQUEST_TIMEOUT_MAX`] is used.
    pub timeout: Duration,
    /// The token by which it shows whose reservations are its own when it writes.
    pub token: Option<String>,
    /// What it trusts, for doors in TLS: see `queenright_actors::tls::client_config`.
    pub tls: Option<Arc<ClientConfig>>,
    /// What it shows to doors that ask for a token.
    pub bearer: Option<Bearer>,
    /// The trace that its requests belong to, as the header `traceparent` has it.
    pub traceparent: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            project: "default".to_owned(),
            agent: "http".to_owned(),
            timeout: Duration::from_secs(10),
            token: None,
            tls: None,
            bearer: None,
            traceparent: None,
        }
    }
}

/// The client of one door.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// The door itself, where it is in this process.
    within: Option<Arc<dyn Within>>,
    /// The address, without a path.
    base: String,
    options: ClientOptions,
}

impl Client {
    /// A client of the door at `base_url`, such as `http://127.0.0.1:7201`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Unsendable`] when this is no `http://host:port` or `https://host:port`, or when nothing is known to
    /// trust for the latter.
    pub fn new(base_url: &str, options: ClientOptions) -> Result<Client, ClientError> {
        let no_door = |problem: String| unsendable("the address of the door", problem);
        let url = Url::parse(base_url).map_err(|error| no_door(format!("{base_url:?}: {error}")))?;
        let known = matches!(url.scheme(), "http" | "https");
        if !known || url.host().is_none() || url.path() != "/" || url.query().is_some() {
            return Err(no_door(format!(
                "{base_url:?} is not http://host:port or https://host:port"
            )));
        }
        let tls = match &options.tls {
            Some(tls) => ClientConfig::clone(tls),
            None if url.scheme() == "http" => trusts_nobody(),
            None => {
                return Err(no_door(format!(
                    "{base_url:?} is in TLS, and no authority is known to trust"
                )));
            }
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers(options.bearer.as_ref()))
            // A door is on this host or in this network; a proxy of the environment has no part in it.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| no_door(error.to_string()))?;
        Ok(Client {
            http,
            within: None,
            base: base_url.trim_end_matches('/').to_owned(),
            options,
        })
    }

    /// The address of the door.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// The same door and connections, another project.
    #[must_use]
    pub fn in_project(&self, project: &str) -> Client {
        let mut client = self.clone();
        project.clone_into(&mut client.options.project);
        client
    }

    /// The same door and connections, with a token by which a writer shows whose reservations are its own.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Client {
        let mut client = self.clone();
        client.options.token = token.map(str::to_owned);
        client
    }

    /// The same door and connections, another time that a request may take.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        let mut client = self.clone();
        client.options.timeout = timeout;
        client
    }

    /// The same door and connections, for requests of a trace, as the header `traceparent` has it.
    #[must_use]
    pub fn in_trace(&self, traceparent: &str) -> Client {
        let mut client = self.clone();
        client.options.traceparent = Some(traceparent.to_owned());
        client
    }

    /// The same door and connections, another agent.
    #[must_use]
    pub fn as_agent(&self, agent: &str) -> Client {
        let mut client = self.clone();
        agent.clone_into(&mut client.options.agent);
        client
    }
}
