//! Atomic changes of several keys.

use queenright_bench::client::Client;
use queenright_bench::client::wire::{Code, Loss, ProposalOutcome, ProposalRequest};
use serde_json::json;

use super::{Call, Hint, Kind, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{any, fields, flag, int, list, object, text, texts};
use crate::mcp::{Failure, Toolset};

pub(super) static TOOLS: &[Kind] = &[Kind {
    name: "propose",
    toolset: Toolset::Default,
    description: "Changes several keys of the memory in one step, only if all you read still holds. \
                  Each write has one of put, delete, increment, max, append, set_add, merge. CONFLICT says what to read again.",
    hint: Hint::Changes,
    common: &["project", "agent", "token", "idempotency_key"],
    input: || {
        object(
            &[],
            json!({
                "reads": list(&object(
                    &["key", "revision"],
                    json!({ "key": text(""), "revision": int("0: never written"), "hash": text("") }),
                ), ""),
                "writes": list(&object(
                    &["key"],
                    json!({
                        "key": text(""),
                        "put": text(""),
                        "delete": flag(""),
                        "increment": int(""),
                        "max": int(""),
                        "append": text(""),
                        "set_add": text("a line"),
                        "merge": object(&["theirs"], json!({ "base": text(""), "theirs": text("") })),
                        "before": int("revision it replaces"),
                        "tags": texts(""),
                    }),
                ), ""),
                "ranges": list(&any(""), ""),
                "fence": fields("task and fence it is made under"),
                "follows": int("seq of the attempt that lost"),
                "dry_run": flag(""),
            }),
        )
    },
    output: || data("verdict:t seq:i revisions:a merged:a"),
    run: |call, arguments| Box::pin(propose(call, arguments)),
}];

async fn propose(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    if let (Some(fence), Some(token)) = (arguments.object("fence"), &call.token) {
        fence.entry("token").or_insert_with(|| token.as_str().into());
    }
    let proposal: ProposalRequest = arguments.rest()?;
    match call.client.propose(&proposal, call.key()).await? {
        ProposalOutcome::Lost(loss) => Err(lost(
            &call.client,
            loss,
            "read the keys in details.reread again, then propose anew with follows",
        )
        .await),
        committed => Ok(Answer::of(&committed)),
    }
}

/// A proposal that lost, as an error that says what to read again.
pub(super) async fn lost(client: &Client, mut loss: Loss, next: &str) -> Failure {
    client.name_winners(&mut loss).await;
    let first = loss.conflicts.first();
    let first = first.map(|conflict| {
        let by = conflict.winner_author.as_ref().map(|by| format!(", changed by {by}"));
        format!(": {} at {}{}", conflict.kind, conflict.key, by.unwrap_or_default())
    });
    let message = format!(
        "the proposal lost by {} conflicts{}",
        loss.total,
        first.unwrap_or_default()
    );
    Failure::new(Code::Conflict, message)
        .with_details(&loss)
        .with_next(next)
}
