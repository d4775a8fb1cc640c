//! Who somebody is, and that it lives.

use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_bench::client::PRIME_BYTES;
use queenright_bench::client::wire::{EventCursor, OpenSession, OpenedSession, WireSessionId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Call, Hint, Kind, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::keeper::Kept;
use crate::mcp::schema::{flag, int, object, text, texts};
use crate::mcp::{Failure, Toolset};

/// A sign of life is due after this part of the time that a session lives without.
const SIGNS: u64 = 3;

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "session_start",
        toolset: Toolset::Default,
        description: "Call first. Opens your session, or with session and token goes on in one. \
                      Keep the token: other tools want it. prime is what you need to know.",
        hint: Hint::Adds,
        common: &["project", "agent", "token", "idempotency_key"],
        input: || {
            object(
                &[],
                json!({
                    "name": text("yours, for people"),
                    "program": text("such as the model"),
                    "capabilities": texts(""),
                    "labels": texts(""),
                    "ttl_ms": int("it ends so long after your last call"),
                    "session": text("id, to go on"),
                    "after": text("event cursor you know up to"),
                }),
            )
        },
        output: || data("session:t token:t ttl_ms:i heartbeat_ms:i prime:o"),
        run: |call, arguments| Box::pin(start(call, arguments)),
    },
    Kind {
        name: "session_heartbeat",
        toolset: Toolset::Default,
        description: "Sign of life: what you hold stays yours. Says what that is and what was cancelled.",
        hint: Hint::AddsOnce,
        common: &["project", "token"],
        input: || {
            object(
                &["session", "token"],
                json!({ "session": text("id"), "close": flag("end it instead: what it holds returns") }),
            )
        },
        output: || data("session:t left_ms:i holds:a cancelled:a uncertain:b"),
        run: |call, arguments| Box::pin(heartbeat(call, arguments)),
    },
];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Start {
    name: Option<String>,
    program: Option<String>,
    capabilities: Vec<String>,
    labels: Vec<String>,
    ttl_ms: Option<u64>,
    session: Option<WireSessionId>,
    after: Option<EventCursor>,
}

#[derive(Serialize)]
struct Started {
    session: WireSessionId,
    token: String,
    ttl_ms: u64,
    heartbeat_ms: u64,
}

async fn start(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let start: Start = arguments.rest()?;
    let name = start.name.clone().unwrap_or_else(|| call.agent.clone());
    let after = start.after;
    let OpenedSession {
        session, token, ttl_ms, ..
    } = match start.session {
        Some(session) => go_on(call, session).await?,
        None => open(call, start, &name).await?,
    };
    let started = Started {
        session,
        token: token.clone(),
        ttl_ms,
        heartbeat_ms: ttl_ms / SIGNS,
    };
    let mut answer = Answer::of(&started);
    answer = match keep(call, session, &token, ttl_ms) {
        true => answer.next("this process sends the signs of life for you while it runs"),
        false => answer.next(format!(
            "call session_heartbeat at least every {} ms while you make no other call with the token",
            ttl_ms / SIGNS
        )),
    };
    // The session is open whatever becomes of the rest.
    match call.client.prime(Some(&name), Some(&token), after, PRIME_BYTES.0).await {
        Ok(prime) => {
            let claims = !prime.claims.items.is_empty();
            let next = match claims {
                true => "finish what prime.claims says that you hold, by task_update and task_finish",
                false => "task_claim for work, or task_add",
            };
            Ok(answer.with("prime", prime).next(next))
        }
        Err(error) => Ok(answer.warn(format!("prime: {error}"))),
    }
}

async fn open(call: &Call, start: Start, name: &str) -> Result<OpenedSession, Failure> {
    let texts = |words: Vec<String>| words.into_iter().map(Into::into).collect();
    let open = OpenSession {
        name: Some(name.into()),
        program: start.program.map(Into::into),
        capabilities: texts(start.capabilities),
        labels: texts(start.labels),
        ttl_ms: Some(start.ttl_ms.unwrap_or(call.session_ttl_ms)),
        token: call.token.clone(),
    };
    Ok(call.client.open_session(&open, call.key()).await?)
}

async fn go_on(call: &Call, session: WireSessionId) -> Result<OpenedSession, Failure> {
    let token = call.needed_token()?;
    let reopened = call.client.reopen_session(session.0, &token).await?;
    let known = call.client.session(session.0, Consistency::Linearizable);
    Ok(OpenedSession {
        seq: reopened.seq,
        session,
        token,
        node: reopened.node,
        ttl_ms: known.await?.ttl_ms,
    })
}

/// Has a session kept alive, where there is somebody who can; says whether it is.
pub(super) fn keep(call: &Call, session: WireSessionId, token: &str, ttl_ms: u64) -> bool {
    call.keeper.as_ref().is_some_and(|keeper| {
        keeper.keep(Kept {
            project: call.project.clone(),
            session: session.0,
            token: token.to_owned(),
            ttl: Duration::from_millis(ttl_ms),
        })
    })
}

async fn heartbeat(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Beat {
        session: WireSessionId,
        #[serde(default)]
        close: bool,
    }
    let Beat { session, close } = arguments.rest()?;
    let token = call.needed_token()?;
    if close {
        let closed = call.client.close_session(session.0, &token).await?;
        if let Some(keeper) = &call.keeper {
            keeper.forget(session.0);
        }
        return Ok(Answer::of(&closed).next("session_start opens another session"));
    }
    let beat = call.client.heartbeat(session.0, &token).await?;
    let mut answer = Answer::of(&beat);
    if !beat.cancelled.is_empty() {
        answer = answer.next("drop each task in cancelled by task_finish with outcome cancelled");
    }
    if beat.uncertain {
        answer = answer.warn("the node has no contact to a quorum: what you hold may be given to others after left_ms");
    }
    Ok(answer)
}
