//! A task has one live owner (DESIGN.md, promises 2 and 4): its fences only grow, each is that of one attempt; a lease is not
//! given to another before it has ended; nobody finishes or accepts under a fence that another claim has overtaken; and a
//! task that was finished stays finished, once.

use std::collections::BTreeMap;

use queenright_protocol::colony::{Claimed, Ending, Outcome, State, TaskId};

use super::durable::tokens;
use crate::replica::Snapshot;
use crate::sim::history::{Answered, CallState, History, PROJECT, Want, text};

/// What the agents saw of one task.
#[derive(Default)]
struct Seen {
    /// By fence.
    claims: BTreeMap<u64, Claim>,
    /// What was answered with success under a fence: the position, the fence, and what.
    acts: Vec<(u64, u64, &'static str)>,
    /// The tokens of calls that would end it well.
    tokens: Vec<String>,
}

/// One attempt.
struct Claim {
    attempt: u32,
    /// The position from which its owner has ended it, or may have.
    ended: Option<u64>,
    /// Whether it began as an offer, which ends by itself unless its owner says something of it.
    offered: bool,
}

pub(super) fn at_the_end(history: &History, last: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    let seen = collect(history, &mut problems);
    let tasks = last.colony.project(PROJECT).map(|project| project.tasks());
    let written = text(last, "journal/done");
    for (task, seen) in &seen {
        problems.extend(leases(*task, seen));
        problems.extend(acts(*task, seen));
        let done =
            tokens(&written).filter(|token| seen.tokens.iter().any(|other| other.trim_end_matches(';') == *token));
        if done.count() > 1 {
            problems.push(format!("the result of task {task} was written twice"));
        }
        let Some(state) = tasks.and_then(|tasks| tasks.get(*task)).map(|task| &task.state) else {
            problems.push(format!("task {task} was shown to an agent and is not there"));
            continue;
        };
        for (_, fence, what) in seen.acts.iter().filter(|(_, _, what)| is_final(what)) {
            let kept = matches!(state, State::Finished(finished) if finished.fence.0 == *fence);
            if !kept {
                problems.push(format!("task {task} was {what} under fence {fence}, and is {state:?}"));
            }
        }
    }
    problems
}

fn collect(history: &History, problems: &mut Vec<String>) -> BTreeMap<TaskId, Seen> {
    let mut seen: BTreeMap<TaskId, Seen> = BTreeMap::new();
    let mut ends = Vec::new();
    for (call, outcome) in history.writes() {
        match (&call.want, outcome) {
            (Want::Add { .. }, Some(Outcome::Added { tasks, .. })) => {
                for added in tasks {
                    seen.entry(added.task).or_default();
                }
            }
            (Want::Claim { .. }, Some(Outcome::Claimed { seq, tasks, .. })) => {
                for claimed in tasks {
                    let before = claim(&mut seen, claimed, false);
                    if before || claimed.fence.0 != *seq {
                        problems.push(format!(
                            "{claimed:?} of position {seq}: the fence is not that of one claim"
                        ));
                    }
                }
            }
            (Want::Accept(hold), Some(Outcome::Accepted { seq, .. })) => {
                let seen = seen.entry(hold.task).or_default();
                seen.acts.push((*seq, hold.fence.0, "accepted"));
            }
            (Want::Abandon(hold), outcome) => ends.push((hold, outcome)),
            (Want::Finish { hold, ending, token }, outcome) => {
                ends.push((hold, outcome));
                let seen = seen.entry(hold.task).or_default();
                if *ending == Ending::Done {
                    seen.tokens.push(token.clone());
                }
                if let Some(Outcome::Finished { seq, .. }) = outcome {
                    let what = match ending {
                        Ending::Done => "done",
                        Ending::Failed => "failed",
                        Ending::Released => "released",
                        Ending::Blocked => "blocked",
                        Ending::Cancelled => "cancelled",
                    };
                    seen.acts.push((*seq, hold.fence.0, what));
                }
            }
            _ => {}
        }
    }
    for call in &history.calls {
        let CallState::Answered(Answered::Offered(tasks)) = &call.state else {
            continue;
        };
        for claimed in tasks {
            if claim(&mut seen, claimed, true) {
                problems.push(format!("{claimed:?} was offered: the fence is that of another claim"));
            }
        }
    }
    for (hold, outcome) in ends {
        // Without an answer nobody knows; a refusal says that it was not his to end.
        let at = match outcome {
            None => 0,
            Some(Outcome::Finished { seq, .. } | Outcome::SessionClosed { seq, .. }) => *seq,
            Some(_) => continue,
        };
        if let Some(claim) = seen
            .get_mut(&hold.task)
            .and_then(|seen| seen.claims.get_mut(&hold.fence.0))
        {
            claim.ended = Some(claim.ended.map_or(at, |ended| ended.min(at)));
        }
    }
    seen
}

/// Notes an attempt; whether another one has its fence.
fn claim(seen: &mut BTreeMap<TaskId, Seen>, claimed: &Claimed, offered: bool) -> bool {
    let claim = Claim {
        attempt: claimed.attempt,
        ended: None,
        offered,
    };
    let seen = seen.entry(claimed.task).or_default();
    seen.claims.insert(claimed.fence.0, claim).is_some()
}

fn is_final(what: &str) -> bool {
    what == "done" || what == "failed"
}

/// One lease after another.
fn leases(task: TaskId, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    for ((fence, claim), (next_fence, next)) in seen.claims.iter().zip(seen.claims.iter().skip(1)) {
        let taken = |act: &(u64, u64, &str)| act.1 == *fence && act.0 < *next_fence;
        // An offer that nobody took does not count.
        if claim.offered && !seen.acts.iter().any(taken) {
            continue;
        }
        if next.attempt <= claim.attempt {
            let (attempt, next) = (claim.attempt, next.attempt);
            problems.push(format!(
                "task {task}: attempt {attempt} has fence {fence}, attempt {next} has {next_fence}"
            ));
        }
        if claim.ended.is_none_or(|at| at > *next_fence) {
            let ended = claim.ended;
            problems.push(format!(
                "task {task}: {next_fence} was granted, and fence {fence} was ended by its owner at {ended:?}"
            ));
        }
    }
    problems
}

/// Nothing under a fence that was overtaken, nothing after the end.
fn acts(task: TaskId, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ended: Option<(u64, u64)> = None;
    let mut in_order = seen.acts.clone();
    in_order.sort_unstable();
    for (seq, fence, what) in in_order {
        let overtaken = seen.claims.range(fence + 1..seq).next();
        if let Some((newer, _)) = overtaken {
            problems.push(format!(
                "task {task} was {what} at {seq} under fence {fence}, after {newer} was granted"
            ));
        }
        if let Some((end, by)) = ended {
            problems.push(format!(
                "task {task} was {what} at {seq} under {fence}; {by} had finished it at {end}"
            ));
        }
        if is_final(what) {
            ended = Some((seq, fence));
        }
    }
    let late = ended.and_then(|(end, _)| seen.claims.range(end..).next());
    if let Some((fence, _)) = late {
        problems.push(format!(
            "task {task} was claimed with fence {fence} after it had been finished"
        ));
    }
    problems
}
