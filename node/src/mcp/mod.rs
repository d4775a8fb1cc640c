//! The door for models: the Model Context Protocol, over stdio (`queenright mcp`) and at `/mcp` of every node's door.
//!
//! A tool parses its arguments, calls one method of the client of a door, and answers; so tokens, limits and refusals are
//! those of HTTP. Nothing is known by the connection: who calls, its token, its fence and its cursor stand in the arguments
//! of each call, so that any node answers any call. Over stdio the process keeps alive the sessions that were opened by it,
//! since no model remembers to.
//!
//! | toolset | tools |
//! |---|---|
//! | `default`, always there | `session_start`, `session_heartbeat`, `task_add`, `task_claim`, `task_update`, `task_finish`, `task_get`, `reserve`, `reserve_check`, `reserve_release`, `propose`, `memory`, `events` |
//! | `cluster` | `cluster_status`, `topology_get`, `topology_set`, `node_drain`, `agent_list` |
//! | `dlq` | `dlq_list`, `dlq_requeue`, `dlq_drop` |
//! | `pool` | `pool_list`, `pool_get`, `pool_set`, `pool_drain`, `pool_recycle` |
//! | `queue` | `queue_list`, `queue_change`, `task_control` |
//!
//! Every answer of a tool is `{ok: true, data, warnings?, next?}`, where `next` says which call makes sense then; every
//! error of one is `{ok: false, error: {code, message, retryable, retry_after_ms?, details?}, next}` with the codes of HTTP.
//! Errors of the protocol itself (no such tool, no such resource) are JSON-RPC errors.
//!
//! The definitions of the default tools cost a model its context in every conversation: a test keeps them under 5,000
//! tokens.

mod answer;
mod arguments;
mod keeper;
mod prompts;
mod reach;
mod resources;
mod schema;
mod server;
#[cfg(test)]
mod tests;
mod tools;
mod toolset;

pub use self::answer::Failure;
pub use self::reach::Reach;
pub use self::server::{McpServer, ServerOptions};
pub use self::tools::{Listed, listed};
pub use self::toolset::{Toolset, Toolsets, UnknownToolset};
