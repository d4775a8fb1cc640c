//! Proposals.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{
    BatchOutcome, BatchRequest, BatchVerdict, Loss, ProposalOutcome, ProposalRequest,
};
use queenright_protocol::colony::{Body, Outcome, Verdict};

use super::Door;
use super::call::Call;
use super::problem::{Refused, lost, misfit, of_refusal};

/// `POST /v1/proposals`
pub(super) async fn propose(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: ProposalRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    let mut proposal = request.into_proposal()?;
    proposal.caller = caller.writer();
    match door.submit(&caller, Body::Propose(proposal)).await? {
        Outcome::Committed { seq, revisions, merged } => {
            Ok(Json(ProposalOutcome::Committed { seq, revisions, merged }).into_response())
        }
        Outcome::Lost {
            seq,
            conflicts,
            total,
            held_until_ms,
        } => Err(lost(&Loss::of(seq, &conflicts, total).held_until(held_until_ms))),
        other => Err(misfit(&other)),
    }
}

/// `POST /v1/proposal-batches`
pub(super) async fn propose_batch(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: BatchRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    let mut batch = request.into_batch()?;
    for proposal in &mut batch.proposals {
        proposal.caller = caller.writer();
    }
    match door.submit(&caller, Body::ProposeBatch(batch)).await? {
        Outcome::Judged { seq, verdicts, pairs } => {
            let verdicts = verdicts.into_iter().map(|verdict| wire(seq, verdict)).collect();
            Ok(Json(BatchOutcome { seq, verdicts, pairs }).into_response())
        }
        other => Err(misfit(&other)),
    }
}

fn wire(seq: u64, verdict: Verdict) -> BatchVerdict {
    match verdict {
        Verdict::Committed { revisions, merged } => BatchVerdict::Committed { revisions, merged },
        Verdict::Lost { conflicts, total } => BatchVerdict::Lost(Loss::of(seq, &conflicts, total)),
        Verdict::Refused(refusal) => {
            let problem = of_refusal(&refusal);
            BatchVerdict::Refused {
                code: problem.code,
                detail: problem.detail,
            }
        }
    }
}
