//! What a task needs: finding the tasks that it names, and refusing what would wait for itself.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{NEEDS_MAX, Need, Task, TaskId, Terms};
use crate::colony::command::Refusal;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::Step;

/// How many tasks are looked at to find out whether one that is blocked by hand would wait for itself.
pub(super) const LOOKED_AT_MAX: usize = 10_000;
/// The longest description of a cycle or of what a task needs, in bytes.
const DESCRIBED_BYTES_MAX: usize = 200;

impl Step<'_> {
    /// The tasks that `needs` name, sorted and distinct. `here` are the names of the tasks of the same command.
    pub(super) fn resolve_needs(
        &self,
        needs: &[Need],
        here: &BTreeMap<Arc<str>, TaskId>,
    ) -> Result<Vec<TaskId>, Refusal> {
        let known = |need: &Need| match need {
            Need::Id(id) => self.known(*id).map(|task| task.id),
            Need::Name(name) => {
                let named = self.project.tasks.named(name).or_else(|| here.get(name).copied());
                named.ok_or_else(|| malformed("needs", &format!("no task has the name {name:?}")))
            }
        };
        let ids: Result<BTreeSet<TaskId>, Refusal> = needs.iter().map(known).collect();
        Ok(ids?.into_iter().collect())
    }

    /// Which of these tasks are not done.
    pub(super) fn not_done(&self, needs: impl IntoIterator<Item = TaskId>) -> Vec<TaskId> {
        needs.into_iter().filter(|need| !self.is_done(*need)).collect()
    }

    pub(super) fn is_done(&self, id: TaskId) -> bool {
        let task = self.project.tasks.get(id);
        task.is_some_and(|task| task.state.name() == super::StateName::Done)
    }

    /// Adds needs to those of a task that is there. Refused when one of them, or what it needs, needs that task.
    pub(super) fn need_more(&self, task: &mut Task, more: &[TaskId]) -> Result<(), Refusal> {
        if let Some(path) = self.path_to(task.id, more)? {
            return Err(Refusal::NeedCycle {
                cycle: described(&path).into(),
            });
        }
        let before = task.terms.needs.iter().filter_map(Need::id);
        let all: BTreeSet<TaskId> = before.chain(more.iter().copied()).collect();
        if all.len() > NEEDS_MAX {
            return Err(over_limit("needs", all.len(), NEEDS_MAX));
        }
        task.unmet = self.not_done(all.iter().copied());
        let terms = Terms {
            needs: all.into_iter().map(Need::Id).collect(),
            ..Terms::clone(&task.terms)
        };
        task.terms = terms.shared();
        Ok(())
    }

    /// A way over needs from one of `from` to `to`, which begins and ends with it.
    fn path_to(&self, to: TaskId, from: &[TaskId]) -> Result<Option<Vec<TaskId>>, Refusal> {
        let mut came_from: BTreeMap<TaskId, TaskId> = from.iter().map(|need| (*need, to)).collect();
        let mut rest: Vec<TaskId> = from.to_vec();
        while let Some(id) = rest.pop() {
            if id == to {
                let mut path = vec![to, came_from[&id]];
                while path.last() != Some(&to) {
                    path.push(came_from[&path[path.len() - 1]]);
                }
                path.reverse();
                return Ok(Some(path));
            }
            let unmet = self.project.tasks.get(id).map(|task| task.unmet.clone());
            for need in unmet.unwrap_or_default() {
                if came_from.len() >= LOOKED_AT_MAX {
                    return Err(over_limit("needs_looked_at", came_from.len() + 1, LOOKED_AT_MAX));
                }
                if let Entry::Vacant(free) = came_from.entry(need) {
                    free.insert(id);
                    rest.push(need);
                }
            }
        }
        Ok(None)
    }

    /// By what a task is blocked, for people.
    pub(in crate::colony) fn blocked_by(&self, task: &Task) -> String {
        let states = task.unmet.iter().map(|need| {
            let state = self.project.tasks.get(*need).map(|task| task.state.name());
            format!("{need} ({})", state.map(|state| state.to_string()).unwrap_or_default())
        });
        cut(format!("it needs {}", states.collect::<Vec<_>>().join(", ")))
    }
}

impl Need {
    /// The id, of one that is given by id.
    pub fn id(&self) -> Option<TaskId> {
        match self {
            Need::Id(id) => Some(*id),
            Need::Name(_) => None,
        }
    }
}

/// A cycle among the tasks of one command, if there is one: those before it cannot need them.
pub(super) fn cycle(tasks: &[Task]) -> Option<Refusal> {
    let places: BTreeMap<TaskId, usize> = tasks.iter().enumerate().map(|(place, task)| (task.id, place)).collect();
    let needs: Vec<Vec<usize>> = tasks
        .iter()
        .map(|task| {
            let ids = task.terms.needs.iter().filter_map(Need::id);
            ids.filter_map(|id| places.get(&id).copied()).collect()
        })
        .collect();
    // Depth first, without recursion: a batch may be one long chain.
    let mut left = vec![false; tasks.len()];
    let mut on_path = vec![false; tasks.len()];
    for start in 0..tasks.len() {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((place, next)) = path.last_mut() {
            let place = *place;
            if left[place] {
                path.pop();
                continue;
            }
            on_path[place] = true;
            match needs[place].get(*next).copied() {
                None => {
                    (left[place], on_path[place]) = (true, false);
                    path.pop();
                }
                Some(need) if on_path[need] => {
                    let from = path
                        .iter()
                        .position(|(place, _)| *place == need)
                        .expect("it is on the path");
                    let around = path[from..].iter().map(|(place, _)| *place).chain([need]);
                    let names = around.map(|place| match &tasks[place].name {
                        Some(name) => name.to_string(),
                        None => tasks[place].id.to_string(),
                    });
                    let cycle = cut(names.collect::<Vec<_>>().join(" needs "));
                    return Some(Refusal::NeedCycle { cycle: cycle.into() });
                }
                Some(need) => {
                    *next += 1;
                    path.push((need, 0));
                }
            }
        }
    }
    None
}

fn described(path: &[TaskId]) -> String {
    let ids: Vec<String> = path.iter().map(TaskId::to_string).collect();
    cut(ids.join(" needs "))
}

/// Cuts a text to what an answer has room for.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > DESCRIBED_BYTES_MAX {
        text.truncate(text.floor_char_boundary(DESCRIBED_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text
}
