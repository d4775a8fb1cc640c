//! Tasks that are added, and what they need.

use super::*;
use crate::colony::tests::model::forms::bad_task;
use crate::colony::tests::model::reservations::canonical;

impl ModelProject {
    pub(super) fn add_tasks(&mut self, new: &[NewTask], at: &At) -> Result<Vec<Added>, Refusal> {
        new.iter().find_map(bad_task).map_or(Ok(()), Err)?;
        let mut here: BTreeMap<Arc<str>, TaskId> = BTreeMap::new();
        let mut added: Vec<Added> = Vec::new();
        for (place, new) in new.iter().enumerate() {
            let named = |name: &Arc<str>| {
                let mut all = self.tasks.iter();
                let there = all.find(|(_, task)| task.added.name.as_ref() == Some(name));
                there.map(|(id, _)| *id).or(here.get(name).copied())
            };
            let known = new.name.as_ref().and_then(named);
            let task = known.unwrap_or(TaskId {
                seq: at.seq,
                ordinal: place as u32,
            });
            if let Some(name) = &new.name {
                here.entry(name.clone()).or_insert(task);
            }
            let existing = known.is_some();
            added.push(Added { task, existing });
        }
        let mut tasks = Vec::new();
        for (new, added) in new.iter().zip(&added).filter(|(_, added)| !added.existing) {
            let needs = self.find_needs(&new.terms.needs, &here)?;
            self.check_rates(&new.terms.rates)?;
            let mut new = new.clone();
            new.terms.needs = needs.iter().copied().map(Need::Id).collect();
            new.terms.resources = canonical(&new.terms.resources)?;
            tasks.push((added.task, new));
        }
        if let Some(cycle) = cycle_of(&tasks) {
            return Err(Refusal::NeedCycle { cycle: cycle.into() });
        }
        self.check_tasks(tasks.len())?;
        for (id, new) in tasks {
            let (kind, name) = (new.kind.clone(), new.name.clone());
            self.event(What::TaskAdded { task: id, kind, name }, at);
            let mut task = ModelTask {
                added: new,
                author: at.author.clone(),
                added_ms: at.now_ms,
                state: State::Pending,
                attempts: 0,
                history: Vec::new(),
                unmet: Vec::new(),
                counts: Counts::default(),
                not_until_ms: 0,
                wakes_ms: None,
                approved: None,
                checkpoint: Bytes::new(),
                usage: Usage::default(),
            };
            task.unmet = self.not_done(task.needs());
            self.settle(&mut task, at);
            self.put(id, task, at);
        }
        Ok(added)
    }

    pub(super) fn find_needs(&self, needs: &[Need], here: &BTreeMap<Arc<str>, TaskId>) -> Result<Vec<TaskId>, Refusal> {
        let mut found = BTreeSet::new();
        for need in needs {
            found.insert(match need {
                Need::Id(id) if !self.tasks.contains_key(id) => return Err(Refusal::UnknownTask { task: *id }),
                Need::Id(id) => *id,
                Need::Name(name) => {
                    let mut all = self.tasks.iter();
                    let there = all.find(|(_, task)| task.added.name.as_ref() == Some(name));
                    let there = there.map(|(id, _)| *id).or(here.get(name).copied());
                    there.ok_or_else(|| bad("needs", &format!("no task has the name {name:?}")))?
                }
            });
        }
        Ok(found.into_iter().collect())
    }

    pub(in crate::colony::tests::model) fn not_done(&self, needs: impl IntoIterator<Item = TaskId>) -> Vec<TaskId> {
        let done = |need: &TaskId| self.tasks.get(need).is_some_and(ModelTask::done);
        needs.into_iter().filter(|need| !done(need)).collect()
    }

    /// A way from one of `from` over what is needed to `to`, told as a cycle.
    pub(super) fn way_to(&self, to: TaskId, from: &[TaskId]) -> Option<String> {
        let mut ways: Vec<Vec<TaskId>> = from.iter().map(|first| vec![to, *first]).collect();
        let mut seen: BTreeSet<TaskId> = from.iter().copied().collect();
        while let Some(way) = ways.pop() {
            let last = way[way.len() - 1];
            if last == to {
                let names: Vec<String> = way.iter().map(TaskId::to_string).collect();
                return Some(names.join(" needs "));
            }
            for need in self.tasks.get(&last).map(|task| task.unmet.clone()).unwrap_or_default() {
                if seen.insert(need) {
                    ways.push([&way[..], &[need]].concat());
                }
            }
        }
        None
    }
}

/// A cycle among new tasks, told from the first that is met: depth first, from each in turn.
fn cycle_of(tasks: &[(TaskId, NewTask)]) -> Option<String> {
    fn visit(path: &mut Vec<usize>, left: &mut BTreeSet<usize>, tasks: &[(TaskId, NewTask)]) -> Option<Vec<usize>> {
        let place = path[path.len() - 1];
        for need in tasks[place].1.terms.needs.iter().filter_map(Need::id) {
            let Some(need) = tasks.iter().position(|(id, _)| *id == need) else {
                continue;
            };
            if let Some(from) = path.iter().position(|on_path| *on_path == need) {
                return Some(path[from..].iter().copied().chain([need]).collect());
            }
            if !left.contains(&need) {
                path.push(need);
                let found = visit(path, left, tasks);
                path.pop();
                if found.is_some() {
                    return found;
                }
            }
        }
        left.insert(place);
        None
    }
    let mut left = BTreeSet::new();
    for start in 0..tasks.len() {
        if left.contains(&start) {
            continue;
        }
        if let Some(cycle) = visit(&mut vec![start], &mut left, tasks) {
            let names = cycle.into_iter().map(|place| match &tasks[place].1.name {
                Some(name) => name.to_string(),
                None => tasks[place].0.to_string(),
            });
            return Some(names.collect::<Vec<_>>().join(" needs "));
        }
    }
    None
}
