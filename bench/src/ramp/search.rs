//! The search for the highest rate that holds: doubling until one does not, then halving the gap.

/// A gap of a twentieth is small enough: two runs of one rate differ by as much.
const GAP: f64 = 1.05;

/// A search from one rate to another.
#[derive(Clone, Debug)]
pub(super) struct Search {
    from: u64,
    to: u64,
    /// The highest rate that held.
    held: Option<u64>,
    /// The lowest that did not, tried twice.
    failed: Option<u64>,
    /// One that did not hold once: a hiccup of the disk is no limit.
    doubtful: Option<u64>,
}

impl Search {
    /// Of rates from `from`, at least 1, to `to`, at least that.
    pub(super) fn new(from: u64, to: u64) -> Search {
        Search {
            from,
            to,
            held: None,
            failed: None,
            doubtful: None,
        }
    }

    /// The rate that is to be tried; `None` when the search is over.
    pub(super) fn next(&self) -> Option<u64> {
        if let Some(rate) = self.doubtful {
            return Some(rate);
        }
        match (self.held, self.failed) {
            (None, None) => Some(self.from),
            // Below what was asked for, so that the answer is a rate and not "less".
            (None, Some(failed)) => Some(failed / 2).filter(|rate| *rate > 0),
            (Some(held), None) => Some(held.saturating_mul(2).min(self.to)).filter(|rate| *rate > held),
            (Some(held), Some(failed)) => {
                let between = u64::midpoint(held, failed);
                Some(between).filter(|_| failed as f64 > held as f64 * GAP && between > held)
            }
        }
    }

    /// Says whether the rate of [`Search::next`] held.
    pub(super) fn done(&mut self, rate: u64, held: bool) {
        let doubtful = self.doubtful.take() == Some(rate);
        if held {
            self.held = Some(self.held.map_or(rate, |before| before.max(rate)));
        } else if doubtful {
            self.failed = Some(self.failed.map_or(rate, |before| before.min(rate)));
        } else {
            self.doubtful = Some(rate);
        }
    }

    /// The highest rate that held so far.
    pub(super) fn held(&self) -> Option<u64> {
        self.held
    }

    /// Whether the end of the range was reached, so that the limit was not.
    pub(super) fn is_at_end(&self) -> bool {
        self.held == Some(self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::Search;

    /// Searches with a system that holds up to `limit`; what was found, and how many steps it took.
    fn found(from: u64, to: u64, limit: u64) -> (Option<u64>, usize) {
        let mut search = Search::new(from, to);
        let mut steps = 0;
        while let Some(rate) = search.next() {
            assert!(rate > 0 && rate <= to, "{rate}");
            search.done(rate, rate <= limit);
            steps += 1;
            assert!(steps < 100);
        }
        (search.held(), steps)
    }

    #[test]
    fn the_highest_rate_is_found_within_a_twentieth() {
        for limit in [100, 999, 1_000, 12_345, 700_000] {
            let (held, steps) = found(100, 1_000_000, limit);
            let held = held.unwrap();
            assert!(
                held <= limit && limit as f64 <= held as f64 * 1.05 + 1.0,
                "{held} of {limit}"
            );
            assert!(steps < 40, "{steps}");
        }
    }

    #[test]
    fn a_limit_below_the_first_rate_is_found_and_none_is_none() {
        assert!((90..=95).contains(&found(1_000, 2_000, 95).0.unwrap()));
        assert_eq!(found(1_000, 2_000, 0).0, None);
    }

    #[test]
    fn the_search_ends_at_its_end() {
        let mut search = Search::new(100, 300);
        for rate in [100, 200, 300] {
            assert_eq!(search.next(), Some(rate));
            search.done(rate, true);
        }
        assert_eq!(search.next(), None);
        assert!(search.is_at_end());
    }

    #[test]
    fn a_rate_that_fails_once_is_tried_again() {
        let mut search = Search::new(100, 300);
        search.done(100, true);
        search.done(200, false);
        assert_eq!(search.next(), Some(200));
        search.done(200, true);
        assert_eq!(search.next(), Some(300));
    }
}
