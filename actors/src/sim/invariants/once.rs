//! Nothing that was asked for once is carried out twice, however often it was sent (DESIGN.md, section 4): no token stands
//! in a journal twice, a counter has grown once for each acknowledged increment and at most once for each whose answer is
//! unknown, no revision of a register was answered to two, and whoever asked twice was answered the same.

use std::collections::{BTreeMap, BTreeSet};

use super::durable::{registers, succeeded, tokens};
use crate::replica::Snapshot;
use crate::sim::history::{History, Want, text};

pub(super) fn at_the_end(history: &History, last: &Snapshot) -> Vec<String> {
    let mut problems = history.contradictions.clone();
    problems.extend(journals(history, last));
    problems.extend(counters(history, last));
    problems.extend(revisions(history));
    problems
}

fn journals(history: &History, last: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    let refused = history
        .writes()
        .filter(|(_, outcome)| outcome.is_some_and(|outcome| !succeeded(outcome)));
    let refused: BTreeSet<&str> = refused.filter_map(|(call, _)| Some(call.want.token()?.1)).collect();
    let journals: BTreeSet<&str> = history
        .writes()
        .filter_map(|(call, _)| Some(call.want.token()?.0))
        .collect();
    let mut seen = BTreeSet::new();
    for journal in journals {
        let written = text(last, journal);
        for token in tokens(&written) {
            if !seen.insert(token.to_owned()) {
                problems.push(format!("{token} was written twice, the second time in {journal}"));
            }
            if refused.contains(format!("{token};").as_str()) {
                problems.push(format!(
                    "{token} is in {journal} though its agent was told that it was not written"
                ));
            }
        }
    }
    problems
}

fn counters(history: &History, last: &Snapshot) -> Vec<String> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (call, outcome) in history.writes() {
        let Want::Count { counter } = &call.want else { continue };
        let (least, most) = counts.entry(counter).or_default();
        *least += u64::from(outcome.is_some_and(succeeded));
        *most += u64::from(outcome.is_none_or(succeeded));
    }
    let wrong = counts.into_iter().filter_map(|(counter, (least, most))| {
        let value = text(last, counter);
        let value: u64 = value.parse().unwrap_or_default();
        let text = format!("{counter} is {value}; {least} increments were acknowledged, {most} asked for");
        (value < least || value > most).then_some(text)
    });
    wrong.collect()
}

fn revisions(history: &History) -> Vec<String> {
    let mut answered = BTreeMap::new();
    let mut problems = Vec::new();
    for (call, outcome) in history.writes() {
        let Some(outcome) = outcome else { continue };
        for (register, revision) in registers(&call.want, outcome) {
            if let Some(before) = answered.insert((register, revision), &call.want) {
                problems.push(format!(
                    "revision {revision} was answered to {before:?} and to {:?}",
                    call.want
                ));
            }
        }
    }
    problems
}
