//! The oracle of the order in which a queue hands out tasks, from the words of its documentation: the best lane, in it the
//! cheapest, and of those the oldest; but a lane that was passed by 16 grants for each lane that has tasks comes first, and
//! of several the one that was passed most often. Passes count while more than one lane has tasks. In a lane the oldest goes
//! first once 16 cheaper ones were handed out before it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// How many grants may pass a lane for each lane that has tasks, until it has its turn.
pub(super) const PASSES: u64 = 16;
/// How many cheaper tasks may pass the oldest of a lane.
pub(super) const CHEAPER: u64 = 16;

/// An order, and how many of its grants did not go to the best lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) places: Vec<usize>,
    pub(super) turns: usize,
}

/// What is left of a lane.
#[derive(Default)]
struct Left {
    by_age: BTreeSet<usize>,
    by_cost: BTreeSet<(u32, usize)>,
    /// How many grants of other lanes have passed it.
    passed: u64,
    /// How many cheaper tasks of it have passed its oldest.
    cheaper: u64,
}

impl Left {
    /// Hands out the next of its tasks.
    fn next(&mut self, costs: &[u32]) -> Option<usize> {
        let oldest = *self.by_age.first()?;
        let (cost, cheapest) = *self.by_cost.first()?;
        let place = if self.cheaper >= CHEAPER { oldest } else { cheapest };
        self.cheaper = match place == oldest {
            true => 0,
            false => self.cheaper + u64::from(cost < costs[oldest]),
        };
        self.by_age.remove(&place);
        self.by_cost.remove(&(costs[place], place));
        Some(place)
    }
}

/// In which order tasks are handed out that are all ready: the lane and the cost of each are given, oldest first; the least
/// lane is the best.
pub(super) fn order(tasks: &[(u8, u32)]) -> Order {
    // One that does not say its cost counts as 100.
    let counted = |cost: u32| if cost == 0 { 100 } else { cost };
    let costs: Vec<u32> = tasks.iter().map(|(_, cost)| counted(*cost)).collect();
    let mut sorted: Vec<usize> = (0..tasks.len()).collect();
    sorted.sort_by_key(|place| (tasks[*place].0, *place));
    let lanes = sorted.chunk_by(|a, b| tasks[*a].0 == tasks[*b].0);
    let mut left: Vec<Left> = lanes
        .map(|lane| Left {
            by_age: lane.iter().copied().collect(),
            by_cost: lane.iter().map(|place| (costs[*place], *place)).collect(),
            ..Left::default()
        })
        .collect();
    let (mut places, mut turns) = (Vec::with_capacity(tasks.len()), 0);
    while !left.is_empty() {
        let bound = PASSES * left.len() as u64;
        let due = (0..left.len()).filter(|lane| left[*lane].passed >= bound);
        let next = due.min_by_key(|lane| Reverse(left[*lane].passed)).unwrap_or(0);
        turns += usize::from(next > 0);
        if left.len() > 1 {
            left.iter_mut().for_each(|lane| lane.passed += 1);
            left[next].passed = 0;
        }
        places.extend(left[next].next(&costs));
        left.retain(|lane| !lane.by_age.is_empty());
    }
    Order { places, turns }
}

/// The same of tasks that do not say what they cost.
pub(super) fn order_of_lanes(lanes: &[u8]) -> Order {
    let tasks: Vec<(u8, u32)> = lanes.iter().map(|lane| (*lane, 0)).collect();
    order(&tasks)
}

#[cfg(test)]
mod tests {
    use queenright_protocol::colony::{CHEAPER_MAX, PASSES_MAX};

    use super::{CHEAPER, Order, PASSES, order, order_of_lanes};

    #[test]
    fn few_tasks_come_by_lane_and_then_by_age() {
        let places = vec![1, 4, 2, 0, 3];
        assert_eq!(order_of_lanes(&[7, 1, 4, 7, 1]), Order { places, turns: 0 });
        assert_eq!(order(&[]).places, Vec::<usize>::new());
    }

    #[test]
    fn of_a_lane_the_cheapest_come_first_but_the_oldest_after_16_of_them() {
        let tasks: Vec<(u8, u32)> = [(1, 500), (1, 0)].into_iter().chain([(1, 7); 20]).collect();
        let Order { places, .. } = order(&tasks);
        let at = |place| places.iter().position(|other| *other == place);
        // The second one is passed by what is left of the cheap ones.
        assert_eq!((at(0), at(1), at(2)), (Some(16), Some(21), Some(0)));
    }

    #[test]
    fn of_two_lanes_the_worse_has_every_33rd_grant() {
        // The first task is of the worse lane, as is the last.
        let lanes: Vec<u8> = [1].into_iter().chain([0; 80]).chain([1]).collect();
        let Order { places, turns } = order_of_lanes(&lanes);
        let at = |place| places.iter().position(|other| *other == place);
        assert_eq!((at(0), at(81), turns), (Some(32), Some(65), 2));
    }

    #[test]
    fn lanes_that_are_due_together_have_their_turns_one_after_the_other() {
        let lanes: Vec<u8> = [2, 1].into_iter().chain([0; 100]).collect();
        let Order { places, turns } = order_of_lanes(&lanes);
        // Passed equally often: the better one first.
        assert_eq!((&places[47..50], turns), (&[49, 1, 0][..], 2));
    }

    #[test]
    fn the_rules_have_the_bounds_that_their_documentation_names() {
        assert_eq!((PASSES, CHEAPER), (PASSES_MAX, CHEAPER_MAX));
    }
}
