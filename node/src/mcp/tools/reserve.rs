//! Files, keys and slots that are taken before work on them begins.

use queenright_actors::node::Consistency;
use queenright_bench::client::AcquireOutcome;
use queenright_bench::client::wire::{
    AcquireRequest, CheckRequest, Code, ForceRequest, ReleaseRequest, WireReservationId,
};
use serde::Deserialize;
use serde_json::json;

use super::{Call, Hint, Kind, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{flag, int, object, text, texts, wants};
use crate::mcp::{Failure, Toolset};

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "reserve",
        toolset: Toolset::Default,
        description: "Reserves files, keys or slots before you edit: all or none. If others hold some, HELD says who.",
        hint: Hint::Adds,
        common: &["project", "agent", "token", "idempotency_key"],
        input: || {
            object(
                &["resources"],
                json!({
                    "resources": wants(),
                    "ttl_ms": int("900000 by default"),
                    "wait_ms": int("wait in line, up to 50000"),
                    "reason": text(""),
                    "task": text("id, if for one"),
                }),
            )
        },
        output: || data("reservation:t token:t fence:i until_ms:i"),
        run: |call, arguments| Box::pin(reserve(call, arguments)),
    },
    Kind {
        name: "reserve_check",
        toolset: Toolset::Default,
        description: "Says what would stand in the way of reserve, and who holds it. Takes nothing.",
        hint: Hint::Reads,
        common: &["project", "token"],
        input: || object(&["resources"], json!({ "resources": wants() })),
        output: || data("conflicts:a free:a announced:a more:b"),
        run: |call, arguments| Box::pin(check(call, arguments)),
    },
    Kind {
        name: "reserve_release",
        toolset: Toolset::Default,
        description: "Gives back what you reserved: by ids, resources or all. force takes ids from others, for a reason.",
        hint: Hint::ChangesOnce,
        common: &["project", "agent", "token", "idempotency_key"],
        input: || {
            object(
                &[],
                json!({
                    "ids": texts(""),
                    "resources": texts(""),
                    "all": flag(""),
                    "force": flag(""),
                    "reason": text(""),
                }),
            )
        },
        output: || data("seq:i reservations:a left:i"),
        run: |call, arguments| Box::pin(release(call, arguments)),
    },
];

async fn reserve(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let mut request: AcquireRequest = arguments.rest()?;
    request.token = call.token.clone();
    let client = call.waiting(request.wait_ms)?;
    match client.acquire(&request, call.key()).await? {
        AcquireOutcome::Acquired(acquired) => {
            let answer = Answer::of(&acquired);
            Ok(match acquired.fence {
                Some(_) => answer.next("edit, with the token in your writes, then reserve_release"),
                None => answer.warn("it is not granted yet, and keeps its place in line").next(
                    "session_heartbeat shows a fence in holds once it is granted; reserve_release leaves the line",
                ),
            })
        }
        AcquireOutcome::Held(standings) => {
            let holders: Vec<String> = standings
                .conflicts
                .iter()
                .map(|blocker| format!("{} is held by {}", blocker.resource, blocker.holder))
                .collect();
            Err(Failure::new(Code::Held, holders.join("; ")).with_details(&standings))
        }
    }
}

async fn check(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let mut request: CheckRequest = arguments.rest()?;
    request.token = call.token.clone();
    let standings = call
        .client
        .check_reservations(&request, Consistency::Linearizable)
        .await?;
    let answer = Answer::of(&standings);
    Ok(match standings.conflicts.is_empty() {
        true => answer.next("nothing stands in the way: call reserve before you edit"),
        false => answer.next("work on what is free, or reserve with wait_ms"),
    })
}

async fn release(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let force = match arguments.value("force") {
        None => false,
        Some(value) => value
            .as_bool()
            .ok_or_else(|| Failure::invalid("force", format_args!("{value} is neither true nor false")))?,
    };
    if force {
        return take_away(call, arguments).await;
    }
    let reason = arguments.text("reason")?;
    if reason.is_some() {
        return Err(Failure::invalid("reason", "goes with force only"));
    }
    arguments.put_default("token", call.needed_token()?);
    let request: ReleaseRequest = arguments.rest()?;
    Ok(Answer::of(
        &call.client.release_reservations(&request, call.key()).await?,
    ))
}

/// Takes reservations from their owners, one after another.
async fn take_away(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Force {
        ids: Vec<WireReservationId>,
        reason: String,
    }
    let Force { ids, reason } = arguments.rest()?;
    let [id] = &ids[..] else {
        let problem = format_args!("force takes one reservation at a time, and {} are named", ids.len());
        return Err(Failure::invalid("ids", problem));
    };
    let force = ForceRequest { reason: reason.into() };
    let released = call.client.force_reservation(id.0, &force, call.key()).await?;
    Ok(Answer::of(&released).next("its owner is told by an event, and cannot write under it any more"))
}
