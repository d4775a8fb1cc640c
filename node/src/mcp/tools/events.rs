//! What happened.

use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_bench::client::Filter;
use queenright_bench::client::wire::EventCursor;
use serde::Deserialize;
use serde_json::json;

use super::{Call, Hint, Kind, check_wait, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{int, object, one_of, text, texts};
use crate::mcp::{Failure, Toolset};

/// How many events a page has unless it says otherwise: each costs context.
const LIMIT_DEFAULT: u64 = 50;

pub(super) static TOOLS: &[Kind] = &[Kind {
    name: "events",
    toolset: Toolset::Default,
    description: "What happened after a cursor, oldest first; call again with next_cursor. \
                  snapshot gives the present state and its cursor.",
    hint: Hint::Reads,
    common: &["project"],
    input: || {
        object(
            &[],
            json!({
                "after": text("cursor"),
                "types": texts("such as task_finished"),
                "subject": text("such as task:17-0 or key:plan/*"),
                "author": text(""),
                "wait_ms": int("wait for some, up to 50000"),
                "limit": int("50 by default"),
                "snapshot": one_of(&["memory", "tasks", "memory,tasks"], ""),
            }),
        )
    },
    output: || data("events:a next_cursor:t has_more:b state:a"),
    run: |call, arguments| Box::pin(events(call, arguments)),
}];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Events {
    after: Option<EventCursor>,
    types: Vec<String>,
    subject: Option<String>,
    author: Option<String>,
    wait_ms: Option<u64>,
    limit: Option<u64>,
    snapshot: Option<String>,
}

async fn events(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let Events {
        after,
        types,
        subject,
        author,
        wait_ms,
        limit,
        snapshot,
    } = arguments.rest()?;
    let filter = Filter {
        types,
        subject,
        author,
        ..Filter::default()
    };
    if let Some(kinds) = snapshot {
        for (field, given) in [
            ("after", after.is_some()),
            ("wait_ms", wait_ms.is_some()),
            ("limit", limit.is_some()),
        ] {
            if given {
                return Err(Failure::invalid(field, "does not go together with snapshot"));
            }
        }
        let page = call
            .client
            .state(&kinds, &filter, None, Consistency::Linearizable)
            .await?;
        let answer = Answer::of(&page).next(format!("events with after {} tells what changes", page.next_cursor));
        return Ok(match page.state_next {
            Some(_) => {
                answer.warn("this is the first page of the state; the rest is at GET /v1/events or `queenright events`")
            }
            None => answer,
        });
    }
    let wait = wait_ms.unwrap_or_default();
    check_wait(wait)?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    let client = &call.client;
    let page = client
        .events(
            after,
            limit,
            Duration::from_millis(wait),
            &filter,
            Consistency::Linearizable,
        )
        .await?;
    let next = match page.has_more {
        true => format!("events with after {} shows more", page.next_cursor),
        false => format!("events with after {} and wait_ms waits for more", page.next_cursor),
    };
    Ok(Answer::of(&page).next(next))
}
