//! What a client may read without calling a tool.
//!
//! | resource | what |
//! |---|---|
//! | `queenright://status` | the cluster as the node sees it |
//! | `queenright://reservations` | what is reserved, and who waits |
//! | `queenright://events?after=CURSOR` | what happened after a cursor; all that is kept without one |
//! | `queenright://tasks/ID` | a task, whole |
//! | `queenright://memory/NAMESPACE/KEY` | the value of a key, which may have more slashes, as it is |
//!
//! Each takes `project=NAME` in its query.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{Code, EventCursor, WireTaskId};
use queenright_bench::client::{Client, Filter, Lookup, ReservationQuery};
use reqwest::Url;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde::Serialize;

use super::Failure;

const SCHEME: &str = "queenright";
const JSON: &str = "application/json";
/// How many events one reading has.
const EVENTS: u64 = 500;

pub(super) fn listed() -> Vec<Resource> {
    let resource =
        |uri: &str, name: &str, about: &str| Resource::new(uri, name).with_description(about).with_mime_type(JSON);
    vec![
        resource("queenright://status", "status", "The cluster: its leader and each node"),
        resource(
            "queenright://reservations",
            "reservations",
            "What is reserved, by whom, and who waits",
        ),
        resource("queenright://events", "events", "What happened, as far as it is kept"),
    ]
}

pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, about: &str| ResourceTemplate::new(uri, name).with_description(about);
    vec![
        template(
            "queenright://tasks/{id}",
            "task",
            "A task with its payload, result and attempts",
        )
        .with_mime_type(JSON),
        template(
            "queenright://memory/{namespace}/{+key}",
            "memory",
            "The value of a key of the shared memory",
        ),
        template(
            "queenright://events?after={cursor}",
            "events after",
            "What happened after a cursor",
        )
        .with_mime_type(JSON),
    ]
}

/// A resource that is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant {
    pub(super) project: Option<String>,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Status,
    Reservations,
    Events(Option<EventCursor>),
    Task(WireTaskId),
    Memory(String),
}

/// What a URI means, or what is wrong with it.
pub(super) fn parse(uri: &str) -> Result<Meant, String> {
    let url = Url::parse(uri).map_err(|error| format!("{uri:?} is no URI: {error}"))?;
    if url.scheme() != SCHEME {
        return Err(format!("{uri:?} is none of this server: those begin with {SCHEME}://"));
    }
    let (mut project, mut after) = (None, None);
    for (name, value) in url.query_pairs() {
        match &*name {
            "project" if !value.is_empty() => project = Some(value.into_owned()),
            "after" => {
                after = Some(
                    value
                        .parse::<EventCursor>()
                        .map_err(|error| format!("after: {error}"))?,
                )
            }
            other => {
                return Err(format!(
                    "{uri:?} has the query field {other:?}; known are project and after"
                ));
            }
        }
    }
    let path = url.path().strip_prefix('/').unwrap_or_default();
    let path = percent_decoded(path).ok_or_else(|| format!("{uri:?} is not UTF-8"))?;
    let what = match (url.host_str().unwrap_or_default(), path.as_str()) {
        ("status", "") => What::Status,
        ("reservations", "") => What::Reservations,
        ("events", "") => What::Events(after.take()),
        ("tasks", id) if !id.is_empty() => What::Task(id.parse().map_err(|error| format!("{uri:?}: {error}"))?),
        ("memory", key) if !key.is_empty() => What::Memory(key.to_owned()),
        _ => return Err(format!("there is no resource {uri:?}")),
    };
    match after {
        Some(_) => Err(format!("{uri:?} takes no after: only events do")),
        None => Ok(Meant { project, what }),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Reads a resource.
pub(super) async fn read(client: &Client, meant: &Meant, uri: &str) -> Result<ReadResourceResult, Failure> {
    let contents = match &meant.what {
        What::Status => json(uri, &client.status().await?),
        What::Reservations => json(uri, &client.reservations(&ReservationQuery::default()).await?),
        What::Events(after) => {
            let filter = Filter::default();
            let page = client
                .events(*after, EVENTS, Duration::ZERO, &filter, Consistency::Linearizable)
                .await?;
            json(uri, &page)
        }
        What::Task(id) => json(uri, &client.task(id.0, Consistency::Linearizable).await?),
        What::Memory(key) => match client.get(key, Consistency::Linearizable).await? {
            Lookup::Found(found) => match str::from_utf8(&found.value) {
                Ok(text) => ResourceContents::text(text, uri),
                Err(_) => {
                    ResourceContents::blob(BASE64.encode(&found.value), uri).with_mime_type("application/octet-stream")
                }
            },
            Lookup::Absent { revision } => {
                let message = format!("{key:?} has no value, at revision {revision}");
                return Err(Failure::new(Code::NotFound, message));
            }
        },
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

fn json(uri: &str, value: &impl Serialize) -> ResourceContents {
    let text = serde_json::to_string(value).expect("answers are plain data");
    ResourceContents::text(text, uri).with_mime_type(JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_means_one_resource_or_says_what_is_wrong_with_it() {
        let meant = |uri: &str| parse(uri).map(|meant| (meant.project, meant.what));
        assert_eq!(meant("queenright://status"), Ok((None, What::Status)));
        assert_eq!(
            meant("queenright://memory/plan/a%20b/c?project=alpha"),
            Ok((Some("alpha".to_owned()), What::Memory("plan/a b/c".to_owned())))
        );
        let cursor = "17.2".parse().unwrap();
        assert_eq!(
            meant("queenright://events?after=17.2"),
            Ok((None, What::Events(Some(cursor))))
        );
        assert_eq!(
            meant("queenright://tasks/17-0"),
            Ok((None, What::Task("17-0".parse().unwrap())))
        );
        let wrong = |uri: &str, part: &str| {
            let problem = parse(uri).unwrap_err();
            assert!(problem.contains(part), "{uri}: {problem}");
        };
        wrong("file:///etc/passwd", "begin with queenright://");
        wrong("queenright://tasks/seventeen", "seventeen");
        wrong("queenright://memory/", "there is no resource");
        wrong("queenright://status?colour=red", "\"colour\"");
        wrong("queenright://status?after=5", "takes no after");
        wrong("queenright://events?after=x", "is not a cursor");
        wrong("not a uri", "is no URI");
    }
}
