//! Whoever asks a node that stays up gets an answer: late perhaps, while there is no leader, but no error; and consensus
//! never stops of itself.

use queenright_protocol::colony::{Digest, Outcome, Refusal};

use crate::sim::history::{Answered, CallState, History};
use crate::sim::node::SimNode;

pub(super) fn look(now_ms: u64, place: usize, node: &SimNode) -> Vec<String> {
    // One whose build is too old for the rules has to stop.
    let unfit = node.replica().is_some_and(|replica| replica.unfit().is_some());
    let stopped = !unfit && node.consensus().is_some_and(|(_, running)| !running);
    let text = || format!("consensus on n{} had stopped at {now_ms} ms", place + 1);
    stopped.then(text).into_iter().collect()
}

/// Errors that an agent was shown.
pub(super) fn at_the_end(history: &History) -> Vec<String> {
    let errors = history.calls.iter().enumerate().filter_map(|(number, call)| {
        let error = match &call.state {
            CallState::Answered(Answered::NotTaken(error)) => error.to_string(),
            CallState::Answered(Answered::Outcome(Outcome::Refused(refusal @ Refusal::Expired { .. }))) => {
                refusal.to_string()
            }
            _ => return None,
        };
        Some(format!("call {number} ({:?}) was answered: {error}", call.want))
    });
    errors.collect()
}

/// Everything works again for long, and still somebody waits or the nodes differ.
pub(super) fn not_healed(history: &History, digests: &[Option<(u64, Digest)>]) -> Vec<String> {
    let open = history.calls.iter().enumerate();
    let open = open.filter(|(_, call)| matches!(call.state, CallState::Open));
    let waits =
        open.map(|(number, call)| format!("call {number} ({:?}) of {} ms has no answer", call.want, call.asked_ms));
    let differ = format!("the nodes have applied and have digests {digests:?}");
    waits.chain([differ]).collect()
}
