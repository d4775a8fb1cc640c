//! What was acknowledged is there at the end (DESIGN.md, promise 3): each token in its journal, each register at the
//! revision that was answered or a later one, and no position lost.

use std::collections::BTreeMap;

use queenright_protocol::colony::Outcome;

use crate::replica::Snapshot;
use crate::sim::history::{History, Want, position, revision, text};

pub(super) fn at_the_end(history: &History, last: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    if last.colony.seq() < history.shown {
        let (seq, shown) = (last.colony.seq(), history.shown);
        problems.push(format!("the last position is {seq}, {shown} was shown to an agent"));
    }
    let mut journals = BTreeMap::new();
    for (call, outcome) in history.writes() {
        let Some(outcome) = outcome.filter(|outcome| succeeded(outcome)) else {
            continue;
        };
        if let Some((journal, token)) = call.want.token() {
            let written = journals.entry(journal).or_insert_with(|| text(last, journal));
            if !tokens(written).any(|other| other == token.trim_end_matches(';')) {
                problems.push(format!("{token} was acknowledged and is not in {journal}"));
            }
        }
        for (register, written) in registers(&call.want, outcome) {
            let now = revision(last, register);
            if now < written {
                problems.push(format!("{register} was at revision {written} and ends at {now}"));
            }
            let seq = position(outcome).unwrap_or_default();
            let value = text(last, register);
            if now == written && value != value_of(&call.want) {
                problems.push(format!(
                    "{register} has {value} at revision {now}, position {seq} wrote {}",
                    value_of(&call.want)
                ));
            }
        }
    }
    problems
}

/// The tokens of a journal.
pub(super) fn tokens(journal: &str) -> impl Iterator<Item = &str> {
    journal.split_terminator(';')
}

/// Whether something was written.
pub(super) fn succeeded(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Changed { .. } | Outcome::Committed { .. } | Outcome::Finished { .. }
    )
}

/// The registers that a call wrote, with their new revisions.
pub(super) fn registers<'a>(want: &'a Want, outcome: &Outcome) -> Vec<(&'a str, u64)> {
    match (want, outcome) {
        (Want::Put { register, .. } | Want::Swap { register, .. }, Outcome::Changed { revision, .. }) => {
            vec![(register, *revision)]
        }
        (Want::Propose { registers, .. }, Outcome::Committed { revisions, .. }) => {
            let names = registers.iter().map(|(register, _)| register.as_str());
            names.zip(revisions.iter().copied()).collect()
        }
        _ => Vec::new(),
    }
}

fn value_of(want: &Want) -> &str {
    match want {
        Want::Put { value, .. } | Want::Swap { value, .. } | Want::Propose { value, .. } => value,
        _ => "",
    }
}
