//! What the commands of tasks must look like.

use super::reservations::canonical;
use super::*;

pub(super) fn bad_text(field: &str, text: &str, most: usize) -> Option<Refusal> {
    if text.len() > most {
        return Some(over(field, text.len(), most as u64));
    }
    (text.is_empty() || text.contains(char::is_control)).then(|| bad(field, "is empty or has a control character"))
}

pub(super) fn bad_list(field: &str, list: &[Arc<str>]) -> Option<Refusal> {
    if list.len() > 16 {
        return Some(over(field, list.len(), 16));
    }
    let unsorted = list.windows(2).any(|pair| pair[0] >= pair[1]);
    let one = list.iter().find_map(|name| bad_text(field, name, 128));
    one.or(unsorted.then(|| bad(field, "are not sorted and distinct")))
}

pub(super) fn bad_task(task: &NewTask) -> Option<Refusal> {
    let terms = &task.terms;
    let zero = |field, span: Option<u64>| (span == Some(0)).then(|| bad(field, "0 is under the least, 1"));
    bad_text("title", &task.title, 1024)
        .or(task.kind.as_ref().and_then(|kind| bad_text("kind", kind, 128)))
        .or(task.name.as_ref().and_then(|name| bad_text("name", name, 256)))
        .or((task.payload.len() > 65_536).then(|| over("payload", task.payload.len(), 65_536)))
        .or(bad_text("queue", &terms.queue, 128))
        .or(bad_list("labels", &terms.labels))
        .or(bad_list("requires", &terms.requires))
        .or(zero("start_ms", terms.start_ms))
        .or(zero("run_ms", terms.run_ms))
        .or(super::rates::bad_tokens(&terms.rates))
        .or((terms.resources.len() > 16).then(|| over("resources", terms.resources.len(), 16)))
        .or(canonical(&terms.resources).err())
}

pub(super) fn bad_claim(claim: &Claim) -> Option<Refusal> {
    if let Some(refusal) = bad_list("capabilities", &claim.wants.capabilities) {
        return Some(refusal);
    }
    match &claim.which {
        Which::Ids(ids) => {
            let mut seen = BTreeSet::new();
            let twice = ids.iter().find(|id| !seen.insert(**id));
            let twice = twice.map(|id| bad("ids", &format!("{id} stands twice")));
            let waits = claim.wants.wait_ms.is_some_and(|wait_ms| wait_ms > 0);
            twice.or(waits.then(|| bad("wait_ms", "is for a claim of ready tasks")))
        }
        Which::Ready { .. } if claim.wants.steal => Some(bad("steal", "is for a claim of ids")),
        Which::Ready { limit, .. } if *limit > 100 => Some(over("limit", *limit as usize, 100)),
        Which::Ready { .. } => {
            let wait_ms = claim.wants.wait_ms.filter(|wait_ms| *wait_ms > 60_000);
            wait_ms.map(|wait_ms| over("wait_ms", wait_ms as usize, 60_000))
        }
    }
}

pub(super) fn bad_usage(usage: Option<Spent>) -> Option<Refusal> {
    let said = usage?;
    let all = [
        ("usage.tokens_in", said.tokens_in),
        ("usage.tokens_out", said.tokens_out),
        ("usage.cost_micros", said.cost_micros),
    ];
    let found = all.into_iter().find(|(_, value)| *value > 1_125_899_906_842_624);
    found.map(|(field, value)| over(field, value as usize, 1_125_899_906_842_624))
}

pub(super) fn bad_finish(finish: &Finish) -> Option<Refusal> {
    let with = &finish.with;
    let has_result = [Ending::Done, Ending::Failed].contains(&finish.ending);
    if !has_result && !finish.result.is_empty() {
        return Some(bad("result", "a task that is given back has no result"));
    }
    let done = finish.ending == Ending::Done;
    if let Some(proposal) = &finish.proposal {
        if !done {
            return Some(bad("proposal", "only a task that is done brings a proposal"));
        }
        if proposal.dry_run {
            return Some(bad("proposal", "a dry run finishes nothing"));
        }
    }
    if let Some(refusal) = bad_usage(with.usage) {
        return Some(refusal);
    }
    if with.failure.is_some() && finish.ending != Ending::Failed {
        return Some(bad("failure", "only a task that has failed brings one"));
    }
    if with.needs.is_empty() == (finish.ending == Ending::Blocked) {
        return Some(bad(
            "needs",
            "a task that is blocked names what it needs, and no other does",
        ));
    }
    if !done && !with.follow_ups.is_empty() {
        return Some(bad("follow_ups", "only a task that is done brings them"));
    }
    (!done && !with.checks.is_empty()).then(|| bad("checks", "only a task that is done brings them"))
}

pub(super) fn bad_control(control: &Control) -> Option<Refusal> {
    match &control.act {
        Act::Cancel { reason, .. } | Act::Reject { reason } => {
            reason.as_ref().and_then(|reason| bad_text("reason", reason, 256))
        }
        _ => None,
    }
}
