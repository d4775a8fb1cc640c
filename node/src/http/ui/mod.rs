//! The dashboard: one page, built in, and the stream that keeps it up to date.
//!
//! | part | what |
//! |---|---|
//! | `pages` | the page, its style and its script, with a policy that lets them load nothing else |
//! | `samples` | the cluster, looked at once a second, or more rarely at rest, for all who look on, and not at all while nobody does |
//! | `stream` | `GET /v1/overview`: server-sent events, each part of the overview when it has changed |

mod pages;
mod samples;
mod stream;

pub(super) use self::pages::pages;
pub(super) use self::samples::Samples;
pub(super) use self::stream::{STALLED_MS, overview};
