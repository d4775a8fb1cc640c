//! Whether the calls of one partition have an order that the specification allows: Wing and Gong's search ("Testing and
//! verifying concurrent objects", 1993) with Lowe's memoisation ("Testing for linearizability", 2017, section 4).
//!
//! The search walks the events in the order of time. Any call that was invoked before the first answer that is still to
//! come may be the next to take effect; a dead end takes the last one back. A set of calls that have taken effect together
//! with the state that they left is searched once, and a call that fits and changes nothing is never put off. A call
//! without an answer may take effect at any time after its invocation or never, so the search is over when all answered
//! calls have taken effect; and it need not take effect before an answered call that has nothing to do with it.
//!
//! The problem is NP-complete. The search therefore has a budget of steps, and when that is spent the result is unknown.

use std::collections::HashSet;

use super::operation::Outcome;
use super::record::Call;
use super::spec::{Spec, State};

/// How much work a search may be.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How often a call is tried as the next one. Each step keeps at most one state of a few hundred bytes.
    pub steps_max: u64,
}

impl Default for Budget {
    /// Some seconds and at most some hundred MiB. A history of a correct cluster takes a few steps for each call.
    fn default() -> Budget {
        Budget { steps_max: 2_000_000 }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable {
        /// The places of the calls in that order, without those that never took effect.
        order: Vec<usize>,
        /// How many steps it took to find.
        steps: u64,
    },
    /// There is none.
    NotLinearizable {
        /// The places of the calls in the longest order that was found.
        order: Vec<usize>,
        /// The state that they leave.
        state: State,
        /// The place of the answered call that could not be put in.
        stuck: usize,
        /// How many steps the search took.
        steps: u64,
    },
    /// The budget was spent before there was an answer.
    Unknown {
        /// How many steps were taken.
        steps: u64,
    },
}

impl Verdict {
    /// Whether there is surely an order.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable { .. })
    }
}

/// Searches an order of `calls` that `spec` allows.
///
/// Calls of which the cluster took nothing must be left out.
pub fn check(spec: &Spec, calls: &[Call], budget: Budget) -> Verdict {
    Search::new(spec, calls).run(budget)
}

/// An end of the list of events.
const NONE: usize = usize::MAX;

/// An event in the list of those that are still to be passed.
#[derive(Clone, Copy)]
struct Event {
    call: usize,
    is_return: bool,
    before: usize,
    after: usize,
}

/// A state on the way, and which calls were tried from there.
struct Frame {
    state: State,
    /// The call that led here.
    by: usize,
    /// The calls without an answer that have taken effect since the last answered one.
    unasked: Vec<usize>,
    /// The next event to look at.
    cursor: usize,
    /// Whether calls without an answer are looked at: after all others, since they mostly have taken effect in turn.
    unanswered: bool,
    /// The call being tried, and what else it may leave.
    trying: usize,
    choices: Vec<State>,
}

struct Search<'a> {
    spec: &'a Spec,
    calls: &'a [Call],
    events: Vec<Event>,
    /// The places of the events of each call.
    invocations: Vec<usize>,
    returns: Vec<usize>,
    /// The number of each call in [`Taken`]: answered ones first, since those without an answer may never be taken.
    ranks: Vec<usize>,
    /// What each call touches.
    touched: Vec<Vec<usize>>,
    /// The revisions and attempts that answered calls made: no other call can have made them.
    told: HashSet<(usize, u64)>,
    first: usize,
    returns_left: usize,
    taken: Taken,
    seen: HashSet<(Taken, State, Vec<usize>)>,
    frames: Vec<Frame>,
    /// The longest order that led nowhere, the state that it left, and the call that had to be next.
    deepest: Option<(Vec<usize>, State, usize)>,
}

/// The calls that have taken effect, by rank. Nearly all of them are the lowest, so a set is the number of those and the
/// rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Taken {
    below: usize,
    beyond: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(spec: &'a Spec, calls: &'a [Call]) -> Search<'a> {
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (place, call) in calls.iter().enumerate() {
            times.push((call.invoked_ns, false, place));
            if let (Some(returned_ns), true) = (call.returned_ns, call.outcome != Outcome::Unknown) {
                times.push((returned_ns, true, place));
            }
        }
        // At the same time an invocation comes first: nobody can tell, so the calls count as side by side.
        times.sort_unstable();
        let (mut invocations, mut returns) = (vec![NONE; calls.len()], vec![NONE; calls.len()]);
        let last = times.len();
        let mut events = Vec::with_capacity(last);
        for (at, (_, is_return, call)) in times.into_iter().enumerate() {
            let places = if is_return { &mut returns } else { &mut invocations };
            places[call] = at;
            events.push(Event {
                call,
                is_return,
                before: at.checked_sub(1).unwrap_or(NONE),
                after: if at + 1 < last { at + 1 } else { NONE },
            });
        }
        let mut by_rank: Vec<usize> = (0..calls.len()).collect();
        by_rank.sort_by_key(|call| (returns[*call] == NONE, invocations[*call]));
        let mut ranks = vec![0; calls.len()];
        by_rank.iter().enumerate().for_each(|(rank, call)| ranks[*call] = rank);
        Search {
            spec,
            calls,
            first: if events.is_empty() { NONE } else { 0 },
            events,
            invocations,
            returns_left: returns.iter().filter(|place| **place != NONE).count(),
            returns,
            ranks,
            touched: calls.iter().map(|call| spec.touched(call)).collect(),
            told: calls.iter().flat_map(|call| spec.told_changes(call)).collect(),
            taken: Taken::default(),
            seen: HashSet::new(),
            frames: Vec::new(),
            deepest: None,
        }
    }

    fn run(mut self, budget: Budget) -> Verdict {
        let mut steps = 0;
        let initial = self.spec.initial();
        self.enter(initial, NONE, Vec::new());
        loop {
            if self.returns_left == 0 {
                let order = self.order();
                return Verdict::Linearizable { order, steps };
            }
            let Some(frame) = self.frames.last_mut() else {
                let (order, state, stuck) = self.deepest.expect("a search without answer has met a dead end");
                return Verdict::NotLinearizable {
                    order,
                    state,
                    stuck,
                    steps,
                };
            };
            if let Some(state) = frame.choices.pop() {
                let call = frame.trying;
                self.take(call, state);
                continue;
            }
            let Some(call) = self.next_candidate() else {
                self.back();
                continue;
            };
            if steps == budget.steps_max {
                return Verdict::Unknown { steps };
            }
            steps += 1;
            let next = self.next_return().and_then(|next| self.calls[next].returned_ns);
            let before_ns = next.expect("the search ends when no answer is left");
            let frame = self.frames.last_mut().expect("it was just looked at");
            frame.trying = call;
            self.spec
                .steps(&frame.state, &self.calls[call], before_ns, &mut frame.choices);
            if self.returns[call] == NONE {
                // Without an answer and without an effect: the same as never. And no revision and no attempt is made twice.
                let (state, told) = (&frame.state, &self.told);
                let is_free = |next: &State| state.changes(next).all(|change| !told.contains(&change));
                frame.choices.retain(|next| next != state && is_free(next));
            } else if frame.choices == [frame.state.clone()] {
                // It may be next and changes nothing: wherever else an order has it, it can be moved here. So nothing else
                // need be tried from here.
                (frame.cursor, frame.unanswered) = (NONE, true);
            }
        }
    }

    /// The next call that may take effect in the state of the last frame.
    fn next_candidate(&mut self) -> Option<usize> {
        let frame = self.frames.last_mut().expect("the caller has one");
        loop {
            let at = frame.cursor;
            if at == NONE || self.events[at].is_return {
                if frame.unanswered {
                    return None;
                }
                frame.unanswered = true;
                frame.cursor = self.first;
                continue;
            }
            frame.cursor = self.events[at].after;
            let call = self.events[at].call;
            let is_unanswered = self.returns[call] == NONE;
            if is_unanswered == frame.unanswered && (is_unanswered || all_lead_to(call, &frame.unasked, &self.touched))
            {
                return Some(call);
            }
        }
    }

    /// Lets a call take effect, unless what follows was searched before or leads nowhere.
    fn take(&mut self, call: usize, state: State) {
        let mut unasked = Vec::new();
        if self.returns[call] == NONE {
            let frame = self.frames.last().expect("a call is taken from one");
            unasked = [&frame.unasked[..], &[call]].concat();
        }
        self.lift(call);
        let next = self.next_return();
        if let Some(stuck) = next.filter(|next| self.spec.is_past(&state, &self.calls[*next])) {
            self.note_dead_end(&state, Some(call), stuck);
            self.put_back(call);
        } else if self.seen.insert((self.taken.clone(), state.clone(), unasked.clone())) {
            self.enter(state, call, unasked);
        } else {
            self.put_back(call);
        }
    }

    fn note_dead_end(&mut self, state: &State, last: Option<usize>, stuck: usize) {
        // The first frame is that of no call.
        let length = self.frames.len() - 1 + usize::from(last.is_some());
        if self.deepest.as_ref().is_none_or(|(order, ..)| length > order.len()) {
            let mut order = self.order();
            order.extend(last);
            self.deepest = Some((order, state.clone(), stuck));
        }
    }

    fn enter(&mut self, state: State, by: usize, unasked: Vec<usize>) {
        self.frames.push(Frame {
            state,
            by,
            unasked,
            cursor: self.first,
            unanswered: false,
            trying: NONE,
            choices: Vec::new(),
        });
    }

    fn back(&mut self) {
        let stuck = self.next_return().expect("the search ends when no answer is left");
        let state = self.frames.last().expect("the caller looked at it").state.clone();
        self.note_dead_end(&state, None, stuck);
        let frame = self.frames.pop().expect("the caller looked at it");
        if frame.by != NONE {
            self.put_back(frame.by);
        }
    }

    /// The answered call that must take effect before any later invocation.
    fn next_return(&self) -> Option<usize> {
        let mut at = self.first;
        while at != NONE {
            if self.events[at].is_return {
                return Some(self.events[at].call);
            }
            at = self.events[at].after;
        }
        None
    }

    fn order(&self) -> Vec<usize> {
        let calls = self.frames.iter().map(|frame| frame.by);
        calls.filter(|call| *call != NONE).collect()
    }

    fn lift(&mut self, call: usize) {
        self.taken.insert(self.ranks[call]);
        self.unlink(self.invocations[call]);
        if self.returns[call] != NONE {
            self.unlink(self.returns[call]);
            self.returns_left -= 1;
        }
    }

    /// Undoes the last [`Search::lift`] that was not undone.
    fn put_back(&mut self, call: usize) {
        self.taken.remove(self.ranks[call]);
        if self.returns[call] != NONE {
            self.relink(self.returns[call]);
            self.returns_left += 1;
        }
        self.relink(self.invocations[call]);
    }

    fn unlink(&mut self, at: usize) {
        let Event { before, after, .. } = self.events[at];
        match before {
            NONE => self.first = after,
            before => self.events[before].after = after,
        }
        if after != NONE {
            self.events[after].before = before;
        }
    }

    fn relink(&mut self, at: usize) {
        let Event { before, after, .. } = self.events[at];
        match before {
            NONE => self.first = at,
            before => self.events[before].after = at,
        }
        if after != NONE {
            self.events[after].before = at;
        }
    }
}

/// Whether each of these calls without an answer, which took effect in this order, touches what `call` does or what a
/// later one of them does. Of any other one the effect may as well come after `call`, so the search meets it there.
fn all_lead_to(call: usize, unasked: &[usize], touched: &[Vec<usize>]) -> bool {
    let mut reached = touched[call].clone();
    unasked.iter().rev().all(|before| {
        let leads = touched[*before].iter().any(|place| reached.contains(place));
        reached.extend(&touched[*before]);
        leads
    })
}

impl Taken {
    fn insert(&mut self, call: usize) {
        let place = self.beyond.partition_point(|other| *other < call);
        self.beyond.insert(place, call);
        let run = self
            .beyond
            .iter()
            .zip(self.below..)
            .take_while(|(call, next)| **call == *next);
        let run = run.count();
        self.beyond.drain(..run);
        self.below += run;
    }

    fn remove(&mut self, call: usize) {
        if call < self.below {
            self.beyond.splice(..0, call + 1..self.below);
            self.below = call;
        } else {
            self.beyond.retain(|other| *other != call);
        }
    }
}
