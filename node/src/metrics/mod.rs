//! What `GET /metrics` shows: the counts and measurements of a node, in the text format of Prometheus.
//!
//! Whatever the colony does, the page has no more samples than the cluster has nodes and this program has words: labels are
//! names of members, lanes, routes, states and reasons. Tasks, agents, projects and keys are only counted.
//!
//! Times are shown twice: as histograms, which several nodes can be added up by, and as quantiles of the last minute or two,
//! which are as exact as an HDR histogram of two digits.
//!
//! | part | families |
//! |---|---|
//! | [`node`] | `queenright_…` of consensus, rounds, latencies, log, store, disk, agents, links, liveness, traces |
//! | [`colony`] | `queenright_tasks`, `queenright_queues`, … : what the state holds |
//! | [`requests`] | `queenright_http_…`: what the door answered |
//! | [`webhooks`] | `queenright_webhook_…`: what this node posts |
//! | [`process`] | `process_…`: memory, time on cores, file descriptors |

pub mod colony;
pub mod node;
pub mod process;
pub mod requests;
pub mod text;
mod traces;
pub mod webhooks;
