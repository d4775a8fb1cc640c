//! The order of all commands does not contradict what anybody saw before they asked (Herlihy and Wing, 1990): whoever asks
//! after a position was shown to anybody gets a later one, a read sees at least that one, and no position is answered to two.
//! With a state that follows from the order alone, which `digest` judges, that is linearizability.

use std::collections::BTreeMap;

use crate::sim::history::{CallState, History, Want};

/// How far the history was looked at.
#[derive(Default)]
pub(super) struct Order {
    /// The calls that were open at the last look, and the first that was not there yet.
    open: Vec<usize>,
    next: usize,
    /// Which call was answered each position.
    positions: BTreeMap<u64, usize>,
}

impl Order {
    pub(super) fn look(&mut self, history: &History) -> Vec<String> {
        let new = self.next..history.calls.len();
        self.next = history.calls.len();
        let mut problems = Vec::new();
        let looked_at: Vec<usize> = self.open.drain(..).chain(new).collect();
        for number in looked_at {
            let call = &history.calls[number];
            let answered = match &call.state {
                CallState::Open => {
                    self.open.push(number);
                    continue;
                }
                CallState::Unknown => continue,
                CallState::Answered(answered) => answered,
            };
            let Some(position) = answered.position() else { continue };
            let shown = call.shown;
            if matches!(call.want, Want::Read) {
                if position < shown {
                    problems.push(format!("call {number} read at {position} when {shown} had been shown"));
                }
                continue;
            }
            if position <= shown {
                problems.push(format!(
                    "call {number} is at {position}; {shown} was shown before it was asked for"
                ));
            }
            if let Some(other) = self.positions.insert(position, number) {
                problems.push(format!("calls {other} and {number} are both at position {position}"));
            }
        }
        problems
    }
}
