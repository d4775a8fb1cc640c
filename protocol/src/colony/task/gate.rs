//! Which lines of a queue have the tokens that their tasks take: see [`crate::colony::rate`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::line::{Line, LineKey};
use crate::colony::Project;
use crate::colony::rate::Rates;

/// The rates at a time.
#[derive(Clone, Copy)]
pub(super) struct Gate<'a> {
    pub(super) rates: &'a Rates,
    /// Cluster time in milliseconds.
    pub(super) now_ms: u64,
}

/// The lines that have their tokens.
pub(super) struct Open<'q> {
    pub(super) lines: Vec<(&'q LineKey, &'q Line)>,
    /// Cluster time in milliseconds at which the first of the others has them, if nobody takes any.
    pub(super) next_ms: Option<u64>,
}

impl Gate<'_> {
    /// Those of these lines that have their tokens, where each keeps what it lacks from those that `order` puts behind it.
    pub(super) fn open<'q, K: Ord>(
        &self,
        mut lines: Vec<(&'q LineKey, &'q Line)>,
        order: impl Fn(&LineKey, &Line) -> K,
    ) -> Open<'q> {
        let mut next_ms: Option<u64> = None;
        if lines.iter().all(|(key, _)| key.rates.is_empty()) {
            return Open { lines, next_ms };
        }
        let mut places: Vec<usize> = (0..lines.len()).collect();
        places.sort_by_key(|place| order(lines[*place].0, lines[*place].1));
        let (mut kept, mut open) = (BTreeSet::<&Arc<str>>::new(), vec![true; lines.len()]);
        for place in places {
            let wanted = &lines[place].0.rates;
            let is_kept = wanted.iter().any(|tokens| kept.contains(&tokens.rate));
            let mut at_ms = None;
            for (rate, ms) in self.rates.lacking(wanted, self.now_ms) {
                at_ms = at_ms.max(Some(ms));
                kept.insert(rate);
            }
            open[place] = !is_kept && at_ms.is_none();
            if !is_kept {
                next_ms = next_ms.into_iter().chain(at_ms).min();
            }
        }
        let mut open = open.into_iter();
        lines.retain(|_| open.next() == Some(true));
        Open { lines, next_ms }
    }
}

impl Project {
    /// How many ready tasks of a queue claims with these kinds and capabilities would get now.
    pub(in crate::colony) fn ready_for(&self, queue: &str, wanted: (&[Arc<str>], &[Arc<str>]), now_ms: u64) -> usize {
        if self.accounts.held(queue).is_some() {
            return 0;
        }
        let rates = &self.rates;
        let queue = self.tasks.queue(queue);
        queue.map_or(0, |queue| queue.ready_for(wanted, Gate { rates, now_ms }))
    }
}
