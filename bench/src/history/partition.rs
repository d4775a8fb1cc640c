//! A whole history: cut into partitions, each of which is searched alone.
//!
//! Linearizability composes: a history is linearizable if and only if its calls on each object are (Herlihy and Wing, 1990,
//! theorem 1), provided that each call touches one object. A proposal that touches several makes one object of all of
//! them: the keys that proposals join, directly or through others, are one partition; so are the tasks of a kind of which
//! somebody claims the oldest, and the sessions in which they are claimed. Judging each key by itself would accept a proposal of which half was carried out, so the
//! price is paid; a test keeps its joined keys and tasks few.
//!
//! Beside the search there is a check over everything at once: each change has a place in the order of all commands, no two
//! the same one, and a change that was answered before another was asked for stands before it.

use std::collections::BTreeMap;
use std::fmt;

use super::check::{Budget, Verdict, check};
use super::operation::{Object, Outcome, Refusal};
use super::record::Call;
use super::spec::Spec;

/// How many calls are shown of a partition that has no order: those around the one that does not fit.
const SHOWN_MAX: usize = 60;

/// How many partitions without an order are cut to their smallest part: those after them tell nothing new.
const SHRUNK_MAX: usize = 3;
/// How often a partition is searched again to show less of it.
const SHRINK_CHECKS_MAX: usize = 100;

/// What the checks of a history found.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// How many partitions there are.
    pub partitions: usize,
    /// How many calls were judged.
    pub calls: usize,
    /// How many of them have no answer.
    pub unknown: usize,
    /// How many calls the largest partition has.
    pub largest: usize,
    /// How many steps all searches took.
    pub steps: u64,
    /// The partitions that have no order, and those of which it is not known.
    pub faults: Vec<Fault>,
    /// What is wrong with the places in the order of all commands.
    pub misplaced: Vec<String>,
}

/// A partition without a proven order.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its calls up to the one that does not fit; those that did not return before it count as unanswered.
    pub calls: Vec<Call>,
    /// What the search found.
    pub verdict: Verdict,
    spec: Spec,
}

impl Fault {
    /// Whether it is proven that there is no order.
    pub fn is_proven(&self) -> bool {
        matches!(self.verdict, Verdict::NotLinearizable { .. })
    }
}

impl Judgement {
    /// Whether the history is surely linearizable.
    pub fn holds(&self) -> bool {
        self.faults.is_empty() && self.misplaced.is_empty()
    }
}

/// Judges a history.
pub fn judge(calls: &[Call], budget: Budget) -> Judgement {
    let partitions = partitions(calls);
    let mut judgement = Judgement {
        partitions: partitions.len(),
        calls: partitions.iter().map(Vec::len).sum(),
        unknown: 0,
        largest: partitions.iter().map(Vec::len).max().unwrap_or(0),
        steps: 0,
        faults: Vec::new(),
        misplaced: misplaced(calls),
    };
    for calls in partitions {
        judgement.unknown += calls.iter().filter(|call| call.outcome == Outcome::Unknown).count();
        let spec = Spec::of(&calls);
        let verdict = check(&spec, &calls, budget);
        match &verdict {
            Verdict::Linearizable { steps, .. } => judgement.steps += *steps,
            Verdict::Unknown { steps } => {
                judgement.steps += *steps;
                judgement.faults.push(Fault { calls, verdict, spec });
            }
            Verdict::NotLinearizable { steps, .. } => {
                judgement.steps += *steps;
                judgement.faults.push(match judgement.faults.len() {
                    SHRUNK_MAX.. => Fault { calls, verdict, spec },
                    _ => smallest(calls, spec, budget),
                });
            }
        }
    }
    judgement
}

/// The calls by the objects that belong together. Calls that say nothing about the state are left out: reads, accepts
/// and openings without an answer, and what the cluster did not take.
pub fn partitions(calls: &[Call]) -> Vec<Vec<Call>> {
    let says_something = |call: &&Call| match call.outcome {
        Outcome::Refused(Refusal::NotTaken) => false,
        Outcome::Unknown => !call.operation.says_nothing_unanswered(),
        _ => true,
    };
    let mut groups = Groups::default();
    let calls: Vec<&Call> = calls.iter().filter(says_something).collect();
    for call in &calls {
        let objects = call.operation.objects();
        // A proposal that touches nothing belongs nowhere.
        if let Some((first, others)) = objects.split_first() {
            let first = groups.of(*first);
            for other in others {
                let other = groups.of(*other);
                groups.join(first, other);
            }
        }
    }
    let mut partitions: BTreeMap<usize, Vec<Call>> = BTreeMap::new();
    for call in calls {
        if let Some(first) = call.operation.objects().first() {
            let group = groups.of(*first);
            partitions.entry(groups.root(group)).or_default().push(call.clone());
        }
    }
    partitions.into_values().collect()
}

/// Which objects belong together: a forest whose roots stand for the groups.
#[derive(Default)]
struct Groups<'a> {
    numbers: BTreeMap<Object<'a>, usize>,
    parents: Vec<usize>,
}

impl<'a> Groups<'a> {
    fn of(&mut self, object: Object<'a>) -> usize {
        let next = self.parents.len();
        let number = *self.numbers.entry(object).or_insert(next);
        if number == next {
            self.parents.push(next);
        }
        number
    }

    fn root(&mut self, mut number: usize) -> usize {
        while self.parents[number] != number {
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one.max(other)] = one.min(other);
    }
}

/// Cuts a partition without order to its shortest beginning without one, then leaves out what is not needed for that.
///
/// A beginning of a linearizable history is linearizable, so the shortest bad one is found by halving. Of what is left,
/// a read may be left out, and so may a refusal: neither changes the state, so if an order existed with it, one exists
/// without.
fn smallest(calls: Vec<Call>, spec: Spec, budget: Budget) -> Fault {
    let is_bad = |calls: &[Call]| matches!(check(&spec, calls, budget), Verdict::NotLinearizable { .. });
    let mut ends: Vec<u64> = calls.iter().filter_map(|call| call.returned_ns).collect();
    ends.sort_unstable();
    let first_bad = ends.partition_point(|end| !is_bad(&until(&calls, *end)));
    let mut bad = match ends.get(first_bad) {
        Some(end) => until(&calls, *end),
        None => calls,
    };
    let changes_nothing = |call: &Call| call.operation.only_reads() || matches!(call.outcome, Outcome::Refused(_));
    // Many at once, then fewer: most of them are not needed.
    let mut count = bad.len();
    let mut checks = 0;
    while count > 0 && checks < SHRINK_CHECKS_MAX {
        let mut end = bad.len();
        while end > 0 && checks < SHRINK_CHECKS_MAX {
            let start = end.saturating_sub(count);
            let mut rest = bad[..start].to_vec();
            rest.extend(bad[start..end].iter().filter(|call| !changes_nothing(call)).cloned());
            rest.extend_from_slice(&bad[end..]);
            if rest.len() < bad.len() {
                checks += 1;
                if is_bad(&rest) {
                    bad = rest;
                }
            }
            end = start;
        }
        count /= 2;
    }
    let verdict = check(&spec, &bad, budget);
    Fault {
        calls: bad,
        verdict,
        spec,
    }
}

/// The calls that were invoked by this time; what returned later counts as unanswered.
fn until(calls: &[Call], end_ns: u64) -> Vec<Call> {
    let begun = calls.iter().filter(|call| call.invoked_ns <= end_ns);
    let cut = begun.map(|call| match call.returned_ns {
        Some(returned_ns) if returned_ns > end_ns => Call {
            outcome: Outcome::Unknown,
            returned_ns: None,
            seq: None,
            ..call.clone()
        },
        _ => call.clone(),
    });
    cut.filter(|call| call.returned_ns.is_some() || !call.operation.says_nothing_unanswered())
        .collect()
}

/// What is wrong with the places that changes have in the order of all commands.
fn misplaced(calls: &[Call]) -> Vec<String> {
    let mut placed: Vec<(u64, &Call)> = calls.iter().filter_map(|call| Some((call.seq?, call))).collect();
    placed.sort_by_key(|(seq, _)| *seq);
    let mut wrong: Vec<String> = placed
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| {
            format!(
                "place {} belongs to two: {} and {}",
                pair[0].0,
                Line(pair[0].1),
                Line(pair[1].1)
            )
        })
        .collect();
    // From the last place to the first: no change may have returned before one that stands earlier was invoked.
    let mut first_return: Option<(u64, &Call)> = None;
    for (_, call) in placed.into_iter().rev() {
        if let Some((returned_ns, later)) = first_return
            && returned_ns < call.invoked_ns
        {
            wrong.push(format!(
                "{} stands before {}, which had returned",
                Line(call),
                Line(later)
            ));
        }
        if let Some(returned_ns) = call.returned_ns
            && first_return.is_none_or(|(first, _)| returned_ns < first)
        {
            first_return = Some((returned_ns, call));
        }
    }
    wrong
}

/// A call in one line.
struct Line<'a>(&'a Call);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        let Call {
            number,
            process,
            operation,
            outcome,
            invoked_ns,
            returned_ns,
            seq,
        } = self.0;
        write!(f, "#{number} p{process} [{:.3} .. ", ms(*invoked_ns))?;
        match returned_ns {
            Some(returned_ns) => write!(f, "{:.3}] ", ms(*returned_ns))?,
            None => write!(f, "] ")?,
        }
        write!(f, "{operation} -> {outcome}")?;
        seq.map_or(Ok(()), |seq| write!(f, " (place {seq})"))
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judgement {
            partitions,
            calls,
            unknown,
            largest,
            steps,
            ..
        } = self;
        writeln!(
            f,
            "{calls} calls ({unknown} without answer) in {partitions} partitions (at most {largest} calls): \
             {steps} steps of search; {}",
            if self.holds() {
                "linearizable"
            } else {
                "NOT proven linearizable"
            }
        )?;
        self.misplaced.iter().try_for_each(|wrong| writeln!(f, "{wrong}"))?;
        self.faults.iter().try_for_each(|fault| write!(f, "{fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict::NotLinearizable {
            order,
            state,
            stuck,
            steps,
        } = &self.verdict
        else {
            let count = self.calls.len();
            return writeln!(
                f,
                "a partition of {count} calls: unknown, the budget of the search is spent"
            );
        };
        writeln!(
            f,
            "no order of these calls is allowed ({steps} steps searched; times in ms):"
        )?;
        let hidden = self.calls.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            writeln!(f, "  … {hidden} older calls")?;
        }
        for (place, call) in self.calls.iter().enumerate().skip(hidden) {
            let mark = match order.iter().position(|taken| *taken == place) {
                Some(turn) => format!("{:>5}.", turn + 1),
                None if place == *stuck => "  ???".to_owned(),
                None => "     -".to_owned(),
            };
            writeln!(f, "  {mark} {}", Line(call))?;
        }
        writeln!(f, "the longest order found is numbered; it leaves")?;
        self.spec
            .describe(state)
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "where {} does not fit", Line(&self.calls[*stuck]))
    }
}
