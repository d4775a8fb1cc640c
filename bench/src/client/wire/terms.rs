//! The terms of tasks over a door, and the settings of queues.

use std::sync::Arc;

use queenright_protocol::colony::{
    Breaker, BreakerSettings, Distribution, Need, NewTask, Priority, Project, QUEUE_DEFAULT, Queue, QueueChange, Retry,
    Terms, Tier, Unmet,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{WireTaskId, WireWant, is_false, rate, to_bytes, waits_for};

/// A task that is to be added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTask {
    /// What is to be done, for people.
    pub title: Arc<str>,
    /// What sort of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// What the owner needs to know; nothing when null.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
    /// A name that no other task of the project has: adding it again is answered with the task that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The queue in which it waits; `default` unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Arc<str>>,
    /// What it is about, for those who look at tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// What a worker must be capable of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Arc<str>>,
    /// How much it matters.
    #[serde(default)]
    pub priority: Priority,
    /// Who waits for it.
    #[serde(default)]
    pub tier: Tier,
    /// What it may cost, in a unit of the project's own.
    #[serde(default)]
    pub cost: u32,
    /// What must be done before: ids of tasks, or names, also of tasks of the same request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// What happens when one of those is not done, and will not be.
    #[serde(default)]
    pub on_failed_need: Unmet,
    /// Wall time in milliseconds since 1970 before which it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// For how long a claim holds it until the worker has accepted it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// For how long an attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    /// What happens when an attempt does not finish it.
    #[serde(default)]
    pub retry: WireRetry,
    /// Whether somebody must approve of it before it is ready.
    #[serde(default, skip_serializing_if = "is_false")]
    pub approval: bool,
    /// Commands that the worker runs before it may say that the task is done: each must exit with 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Arc<str>>,
    /// What a claim reserves for it in the same step, and what it takes from rates: nobody gets the task while that is taken
    /// or spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<WireWant>,
}

/// What happens when an attempt does not finish its task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WireRetry {
    /// After so many failures it is dead.
    pub attempts_max: u32,
    /// How long it waits after the first failure, in milliseconds.
    pub base_ms: u64,
    /// How many times longer after each further one.
    pub factor: u32,
    /// How long it waits at most, in milliseconds.
    pub max_ms: u64,
    /// Classes of errors after which it is not tried again.
    pub never: Vec<Arc<str>>,
    /// If there is any: the only classes of errors after which it is tried again.
    pub only: Vec<Arc<str>>,
    /// After so many leases that ended by themselves it is dead.
    pub expiries_max: u32,
    /// After so many workers that died of it it is dead.
    pub deaths_max: u32,
}

impl Default for WireRetry {
    fn default() -> WireRetry {
        WireRetry::from(&Retry::default())
    }
}

impl From<&Retry> for WireRetry {
    fn from(retry: &Retry) -> WireRetry {
        WireRetry {
            attempts_max: retry.attempts_max,
            base_ms: retry.base_ms,
            factor: retry.factor,
            max_ms: retry.max_ms,
            never: retry.never.clone(),
            only: retry.only.clone(),
            expiries_max: retry.expiries_max,
            deaths_max: retry.deaths_max,
        }
    }
}

impl From<WireRetry> for Retry {
    fn from(retry: WireRetry) -> Retry {
        Retry {
            attempts_max: retry.attempts_max,
            base_ms: retry.base_ms,
            factor: retry.factor,
            max_ms: retry.max_ms,
            never: sorted(retry.never),
            only: sorted(retry.only),
            expiries_max: retry.expiries_max,
            deaths_max: retry.deaths_max,
        }
    }
}

/// A list as the colony wants it: sorted and distinct.
pub fn sorted(mut names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    names.sort();
    names.dedup();
    names
}

/// Tasks by id or by name: what looks like an id is one.
pub(super) fn needs_of(needs: &[String]) -> Vec<Need> {
    let need = |need: &String| match need.parse::<WireTaskId>() {
        Ok(id) => Need::Id(id.0),
        Err(_) => Need::Name(need.as_str().into()),
    };
    needs.iter().map(need).collect()
}

impl From<AddTask> for NewTask {
    fn from(task: AddTask) -> NewTask {
        let (resources, rates) = rate::split(task.resources);
        NewTask {
            title: task.title,
            kind: task.kind,
            payload: to_bytes(&task.payload),
            name: task.name,
            terms: Terms {
                queue: task.queue.unwrap_or_else(|| QUEUE_DEFAULT.into()),
                labels: sorted(task.labels),
                requires: sorted(task.requires),
                priority: task.priority,
                tier: task.tier,
                cost: task.cost,
                needs: needs_of(&task.needs),
                unmet: task.on_failed_need,
                not_before_ms: task.not_before_ms,
                start_ms: task.start_ms,
                run_ms: task.run_ms,
                retry: task.retry.into(),
                approval: task.approval,
                checks: task.checks,
                resources,
                rates,
            },
        }
    }
}

/// The terms of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireTerms {
    /// The queue in which it waits.
    pub queue: Arc<str>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// What a worker must be capable of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Arc<str>>,
    /// How much it matters.
    pub priority: Priority,
    /// Who waits for it.
    pub tier: Tier,
    /// What it may cost.
    #[serde(default)]
    pub cost: u32,
    /// What must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<WireTaskId>,
    /// What happens when one of those is not done, and will not be.
    pub on_failed_need: Unmet,
    /// Wall time in milliseconds since 1970 before which it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// For how long a claim holds it until the worker has accepted it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// For how long an attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    /// What happens when an attempt does not finish it.
    pub retry: WireRetry,
    /// Whether somebody must approve of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub approval: bool,
    /// Commands that must exit with 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Arc<str>>,
    /// What a claim reserves for it in the same step: nobody gets the task while that is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<WireWant>,
}

impl From<&Terms> for WireTerms {
    fn from(terms: &Terms) -> WireTerms {
        WireTerms {
            queue: terms.queue.clone(),
            labels: terms.labels.clone(),
            requires: terms.requires.clone(),
            priority: terms.priority,
            tier: terms.tier,
            cost: terms.cost,
            needs: terms.needs.iter().filter_map(Need::id).map(WireTaskId).collect(),
            on_failed_need: terms.unmet,
            not_before_ms: terms.not_before_ms,
            start_ms: terms.start_ms,
            run_ms: terms.run_ms,
            retry: WireRetry::from(&terms.retry),
            approval: terms.approval,
            checks: terms.checks.clone(),
            resources: {
                let reserved = terms.resources.iter().map(WireWant::from);
                reserved.chain(terms.rates.iter().map(rate::resource_of)).collect()
            },
        }
    }
}

/// The answer to `GET /v1/queues`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueList {
    /// The queues that have open tasks or settings, by name.
    pub queues: Vec<WireQueue>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireQueue {
    /// Its name.
    pub queue: Arc<str>,
    /// How many of its tasks are still to be done.
    pub open: u64,
    /// How many of them a claim may take.
    pub ready: u64,
    /// Who paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<Arc<str>>,
    /// Its breaker.
    pub breaker: WireBreaker,
    /// After how many failures in a row the breaker opens; 0 if there is none.
    pub breaker_failures: u32,
    /// For how long, in milliseconds of cluster time.
    pub breaker_pause_ms: u64,
    /// Which of the claims that wait gets a task.
    #[serde(default)]
    pub policy: Distribution,
    /// How many claims wait for a task of it.
    #[serde(default)]
    pub waiting: u64,
    /// Why nobody gets a task of it, if a budget keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

impl WireQueue {
    /// A queue of a project as it is.
    pub fn new(name: &Arc<str>, queue: &Queue, project: &Project) -> WireQueue {
        let settings = queue.breaker_settings();
        WireQueue {
            queue: name.clone(),
            open: queue.open() as u64,
            ready: queue.ready() as u64,
            paused_by: queue.paused_by().cloned(),
            breaker: queue.breaker().into(),
            breaker_failures: settings.failures,
            breaker_pause_ms: settings.pause_ms,
            policy: queue.distribution(),
            waiting: queue.waiting() as u64,
            waits_for: waits_for(project, name),
        }
    }
}

/// How a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum WireBreaker {
    /// The queue hands out tasks.
    Closed {
        /// How many failures there were since the last success.
        failures: u32,
    },
    /// It hands out nothing.
    Open {
        /// Cluster time in milliseconds from which on it hands out one task for trial.
        until_ms: u64,
    },
    /// It waits for what becomes of one task.
    HalfOpen {
        /// The task.
        trial: WireTaskId,
    },
}

impl From<Breaker> for WireBreaker {
    fn from(breaker: Breaker) -> WireBreaker {
        match breaker {
            Breaker::Closed { failures } => WireBreaker::Closed { failures },
            Breaker::Open { until_ms } => WireBreaker::Open { until_ms },
            Breaker::HalfOpen { trial } => WireBreaker::HalfOpen {
                trial: WireTaskId(trial),
            },
        }
    }
}

/// The body of `POST /v1/queues/NAME`. What it does not say stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeQueue {
    /// Whether it hands out nothing until it is told to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// When its breaker opens, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<ChangeBreaker>,
    /// Which of the claims that wait gets a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Distribution>,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeBreaker {
    /// After so many failures in a row; 0 for none.
    pub failures: u32,
    /// For so long, in milliseconds of cluster time.
    #[serde(default)]
    pub pause_ms: u64,
}

impl ChangeQueue {
    /// The change of the queue of this name.
    pub fn of(self, queue: &str) -> QueueChange {
        QueueChange {
            queue: queue.into(),
            paused: self.paused,
            breaker: self.breaker.map(|breaker| BreakerSettings {
                failures: breaker.failures,
                pause_ms: breaker.pause_ms,
            }),
            distribution: self.policy,
        }
    }
}

/// The answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueSet {
    /// The position of the command in the order of all commands.
    pub seq: u64,
}
