//! Queues, their lines and their breakers.

use super::*;

/// What the tasks of a line have in common.
pub(in crate::colony::tests) type LineOf = (u8, Option<Arc<str>>, Vec<Arc<str>>, Vec<Tokens>);

/// A queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::colony::tests) struct ModelQueue {
    pub(in crate::colony::tests) paused_by: Option<Arc<str>>,
    pub(in crate::colony::tests) settings: BreakerSettings,
    pub(in crate::colony::tests) breaker: Breaker,
    pub(in crate::colony::tests) grants: u64,
    pub(in crate::colony::tests) since: BTreeMap<LineOf, u64>,
    /// How many cheaper tasks have passed the oldest of each line.
    pub(in crate::colony::tests) passed: BTreeMap<LineOf, u64>,
    pub(in crate::colony::tests) distribution: Distribution,
    pub(in crate::colony::tests) offers: u64,
    pub(in crate::colony::tests) last: u64,
    pub(in crate::colony::tests) owes_ms: Option<u64>,
}

impl ModelQueue {
    pub(in crate::colony::tests::model) fn closed(&self, now_ms: u64) -> Option<String> {
        if let Some(by) = &self.paused_by {
            return Some(format!("its queue is paused by {by}"));
        }
        match self.breaker {
            Breaker::Open { until_ms } if until_ms > now_ms => Some(format!(
                "the breaker of its queue is open until {until_ms} ms of cluster time"
            )),
            Breaker::HalfOpen { trial } => Some(format!("the breaker of its queue waits for task {trial}")),
            _ => None,
        }
    }
}

impl ModelProject {
    pub(in crate::colony::tests::model) fn look_at_queue(&mut self, name: &Arc<str>) {
        let here = || self.tasks.values().filter(move |task| task.added.terms.queue == *name);
        let open = here().any(|task| !task.over());
        let lines: BTreeSet<LineOf> = here().filter(|task| task.ready()).map(ModelTask::line).collect();
        let waited_for = !self.waiting(name).is_empty();
        let queue = self.queues.entry(name.clone()).or_default();
        let grants = queue.grants;
        queue.since.retain(|line, _| lines.contains(line));
        queue.passed.retain(|line, _| lines.contains(line));
        for line in lines {
            queue.since.entry(line.clone()).or_insert(grants);
            queue.passed.entry(line).or_insert(0);
        }
        let says_something = queue.paused_by.is_some()
            || queue.settings != BreakerSettings::default()
            || queue.breaker != Breaker::default()
            || queue.distribution != Distribution::default();
        let says_something = says_something || waited_for;
        if !open && !says_something {
            self.queues.remove(name);
        }
    }

    pub(super) fn queue_change(&mut self, change: &QueueChange, at: &At) -> Result<Outcome, Refusal> {
        bad_text("queue", &change.queue, 128).map_or(Ok(()), Err)?;
        if let Some(settings) = change
            .breaker
            .filter(|settings| settings.failures > 0 && settings.pause_ms < 100)
        {
            let problem = format!("{} is under the least, 100", settings.pause_ms);
            return Err(bad("breaker_pause_ms", &problem));
        }
        let queue = self.queues.entry(change.queue.clone()).or_default();
        if let Some(paused) = change.paused {
            queue.paused_by = paused.then(|| at.author.clone());
        }
        if let Some(settings) = change.breaker {
            (queue.settings, queue.breaker) = (settings, Breaker::default());
        }
        queue.distribution = change.distribution.unwrap_or(queue.distribution);
        self.look_at_queue(&change.queue);
        self.look_again(&change.queue);
        self.tell_queue(&change.queue, at);
        Ok(Outcome::QueueSet { seq: at.seq })
    }

    fn tell_queue(&mut self, name: &Arc<str>, at: &At) {
        let queue = self.queues.get(name).cloned().unwrap_or_default();
        let told = What::QueueChanged {
            queue: name.clone(),
            paused_by: queue.paused_by,
            breaker: queue.breaker,
        };
        self.event(told, at);
    }

    pub(in crate::colony::tests::model) fn hear(&mut self, name: &Arc<str>, task: TaskId, done: Option<bool>, at: &At) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        if queue.settings.failures == 0 {
            return;
        }
        let kind = |breaker: &Breaker| match breaker {
            Breaker::Closed { .. } => 0,
            Breaker::Open { .. } => 1,
            Breaker::HalfOpen { .. } => 2,
        };
        let (before, pause_ms) = (kind(&queue.breaker), queue.settings.pause_ms);
        let open = |wait_ms: u64| Breaker::Open {
            until_ms: at.now_ms.saturating_add(wait_ms),
        };
        match &mut queue.breaker {
            Breaker::HalfOpen { trial } if *trial == task => {
                queue.breaker = match done {
                    Some(true) => Breaker::default(),
                    Some(false) => open(pause_ms),
                    None => open(0),
                }
            }
            Breaker::Closed { failures } => match done {
                Some(true) => *failures = 0,
                Some(false) if *failures + 1 >= queue.settings.failures => queue.breaker = open(pause_ms),
                Some(false) => *failures += 1,
                None => {}
            },
            _ => {}
        }
        self.look_again(name);
        if kind(&self.queues[name].breaker) != before {
            self.tell_queue(name, at);
        }
    }
}
