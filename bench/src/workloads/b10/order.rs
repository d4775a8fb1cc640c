//! The oracle of the order in which a queue hands out tasks, from the words of its documentation: the best lane, and in it
//! the oldest; but a lane that was passed by 16 grants for each lane that has tasks comes first, and of several the one
//! that was passed most often. Passes count while more than one lane has tasks.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// How many grants may pass a lane for each lane that has tasks, until it has its turn.
pub(super) const PASSES: u64 = 16;

/// An order, and how many of its grants did not go to the best lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) places: Vec<usize>,
    pub(super) turns: usize,
}

/// In which order tasks are handed out that are all ready: the lane of each is given, oldest first; the least is the best.
pub(super) fn order(lanes: &[u8]) -> Order {
    let mut sorted: Vec<usize> = (0..lanes.len()).collect();
    sorted.sort_by_key(|place| (lanes[*place], *place));
    // What is left of each lane, and how many grants have passed it.
    let mut left: Vec<(VecDeque<usize>, u64)> = sorted
        .chunk_by(|a, b| lanes[*a] == lanes[*b])
        .map(|lane| (lane.iter().copied().collect(), 0))
        .collect();
    let (mut places, mut turns) = (Vec::with_capacity(lanes.len()), 0);
    while !left.is_empty() {
        let bound = PASSES * left.len() as u64;
        let due = (0..left.len()).filter(|lane| left[*lane].1 >= bound);
        let next = due.min_by_key(|lane| Reverse(left[*lane].1)).unwrap_or(0);
        turns += usize::from(next > 0);
        if left.len() > 1 {
            left.iter_mut().for_each(|(_, passed)| *passed += 1);
            left[next].1 = 0;
        }
        places.extend(left[next].0.pop_front());
        left.retain(|(tasks, _)| !tasks.is_empty());
    }
    Order { places, turns }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::colony::PASSES_MAX;

    use super::{Order, PASSES, order};

    #[test]
    fn few_tasks_come_by_lane_and_then_by_age() {
        let places = vec![1, 4, 2, 0, 3];
        assert_eq!(order(&[7, 1, 4, 7, 1]), Order { places, turns: 0 });
        assert_eq!(order(&[]).places, Vec::<usize>::new());
    }

    #[test]
    fn of_two_lanes_the_worse_has_every_33rd_grant() {
        // The first task is of the worse lane, as is the last.
        let lanes: Vec<u8> = [1].into_iter().chain([0; 80]).chain([1]).collect();
        let Order { places, turns } = order(&lanes);
        let at = |place| places.iter().position(|other| *other == place);
        assert_eq!((at(0), at(81), turns), (Some(32), Some(65), 2));
    }

    #[test]
    fn lanes_that_are_due_together_have_their_turns_one_after_the_other() {
        let lanes: Vec<u8> = [2, 1].into_iter().chain([0; 100]).collect();
        let Order { places, turns } = order(&lanes);
        // Passed equally often: the better one first.
        assert_eq!((&places[47..50], turns), (&[49, 1, 0][..], 2));
    }

    #[test]
    fn the_rules_have_the_bound_that_their_documentation_names() {
        assert_eq!(PASSES, PASSES_MAX);
    }
}
