//! The terms of a task: where it queues, what it asks of a worker, what it waits for, and what happens when it fails.
//!
//! What of it decides which task a claim gets:
//!
//! 1. the queue that the claim names, and in it the kinds that it names, if it names any;
//! 2. `requires`: all of it must be among the capabilities that the claim brings;
//! 3. its resources must be free, see [`super::resources`], and its tokens there, see [`crate::colony::rate`];
//! 4. the priority, then the latency tier, then the cost, the cheapest first, then the age. A task that others pass has
//!    its turn after a bounded number of them, see [`super::queue`].
//!
//! Labels decide, in a queue whose [`super::Distribution`] says so, which of the claims that wait gets the task.

use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TASK_NAME_BYTES_MAX, TASK_RESOURCES_MAX, TaskId, check_text};
use crate::colony::command::{NAME_BYTES_MAX, Refusal};
use crate::colony::memory::{malformed, over_limit};
use crate::colony::rate::{Tokens, check_tokens_form};
use crate::colony::reservation::{Want, parse};

/// How many capabilities a task may require, and a claim may bring.
pub const CAPABILITIES_MAX: usize = 16;
/// How many labels a task may have.
pub const LABELS_MAX: usize = 16;
/// How many tasks one may need.
pub const NEEDS_MAX: usize = 64;
/// How many checks a task may have.
pub const CHECKS_MAX: usize = 16;
/// The longest command of a check, in bytes.
pub const CHECK_BYTES_MAX: usize = 1_024;
/// How many classes of errors a policy of retries may name, on each of its lists.
pub const CLASSES_MAX: usize = 16;
/// The longest time that a task may be given to begin, to run, or to wait after a failure, in milliseconds: thirty days.
pub const SPAN_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// How many attempts a policy may allow.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// How many times longer each wait may be than the one before.
pub const FACTOR_MAX: u32 = 100;

/// What a task counts as that does not say what it may cost.
pub const COST_DEFAULT: u32 = 100;

/// The queue of a task, or of a claim, that names none.
pub const QUEUE_DEFAULT: &str = "default";

/// The terms of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The queue in which it waits.
    pub queue: Arc<str>,
    /// What it is about, sorted and distinct, for those who look at tasks; and where it is best done, see
    /// [`super::Distribution::Locality`].
    pub labels: Vec<Arc<str>>,
    /// What a worker must be capable of, sorted and distinct.
    pub requires: Vec<Arc<str>>,
    /// How much it matters.
    pub priority: Priority,
    /// Who waits for it.
    pub tier: Tier,
    /// What it may cost, in a unit of the project's own: of one lane the cheapest go first. 0 says nothing, and counts as
    /// [`COST_DEFAULT`].
    pub cost: u32,
    /// What must be done before: tasks by name only until the task is added, by id from then on.
    pub needs: Vec<Need>,
    /// What happens when one of those is not done, and will not be.
    pub unmet: Unmet,
    /// Wall time in milliseconds since 1970 before which it is not ready.
    pub not_before_ms: Option<u64>,
    /// For how long a claim holds it, in milliseconds, until the worker has accepted it.
    pub start_ms: Option<u64>,
    /// For how long an attempt may take, in milliseconds.
    pub run_ms: Option<u64>,
    /// What happens when an attempt does not finish it.
    pub retry: Retry,
    /// Whether somebody must approve of it before it is ready.
    pub approval: bool,
    /// Commands that the worker runs before it may say that the task is done: each must exit with 0.
    pub checks: Vec<Arc<str>>,
    /// What a claim reserves for it in the same step, and how: nobody gets the task while that is taken.
    pub resources: Vec<Want>,
    /// The tokens that a claim takes for it in the same step, sorted by rate and of each once: nobody gets the task while
    /// they are not there.
    pub rates: Vec<Tokens>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            queue: QUEUE_DEFAULT.into(),
            labels: Vec::new(),
            requires: Vec::new(),
            priority: Priority::default(),
            tier: Tier::default(),
            cost: 0,
            needs: Vec::new(),
            unmet: Unmet::default(),
            not_before_ms: None,
            start_ms: None,
            run_ms: None,
            retry: Retry::default(),
            approval: false,
            checks: Vec::new(),
            resources: Vec::new(),
            rates: Vec::new(),
        }
    }
}

/// How much a task matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before what is normal.
    High,
    /// As most tasks.
    #[default]
    Normal,
    /// When nothing else is to be done.
    Low,
}

/// Who waits for a task: it decides among those of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Somebody looks on.
    Interactive,
    /// Somebody waits.
    #[default]
    Standard,
    /// Nobody waits.
    Batch,
}

/// A task that another one needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// By its id.
    Id(TaskId),
    /// By its name: one of the project, or of the same command.
    Name(Arc<str>),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Id(id) => write!(f, "{id}"),
            Need::Name(name) => write!(f, "{name}"),
        }
    }
}

/// What happens to a task when one that it needs has failed, was cancelled, or is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmet {
    /// It stays blocked, and shows by what: that one may be requeued.
    #[default]
    Block,
    /// It is cancelled.
    Cancel,
}

/// What happens when an attempt does not finish its task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
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
    /// After so many workers that died of it, each while its node lived, it is dead.
    pub deaths_max: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts_max: 3,
            base_ms: 1_000,
            factor: 2,
            max_ms: 300_000,
            never: Vec::new(),
            only: Vec::new(),
            expiries_max: 16,
            deaths_max: 2,
        }
    }
}

impl Retry {
    /// Whether an error of this class may be tried again.
    pub(crate) fn allows(&self, class: Option<&Arc<str>>) -> bool {
        let listed = |list: &[Arc<str>]| class.is_some_and(|class| list.contains(class));
        !listed(&self.never) && (self.only.is_empty() || listed(&self.only))
    }

    /// How long a task waits after its failure of this number, from 1: exponentially longer, of which the second half is
    /// drawn by `draw`, so that tasks that failed together do not come back together.
    pub(crate) fn wait_ms(&self, failure: u32, draw: u64) -> u64 {
        let mut wait_ms = self.base_ms.min(self.max_ms);
        for _ in 1..failure {
            wait_ms = wait_ms.saturating_mul(self.factor.into()).min(self.max_ms);
            if wait_ms == self.max_ms || self.factor == 1 {
                break;
            }
        }
        let half = wait_ms / 2;
        wait_ms - half + draw % (half + 1)
    }
}

static DEFAULT: LazyLock<Arc<Terms>> = LazyLock::new(Arc::default);

impl Terms {
    /// Behind a pointer; all tasks without terms of their own have the same.
    pub(crate) fn shared(self) -> Arc<Terms> {
        match self == **DEFAULT {
            true => DEFAULT.clone(),
            false => Arc::new(self),
        }
    }

    /// Priority and tier as one number: the lower it is, the sooner.
    pub fn lane(&self) -> u8 {
        self.priority as u8 * 3 + self.tier as u8
    }

    /// What it may cost, or what it counts as if it does not say.
    pub fn cost_counted(&self) -> u32 {
        match self.cost {
            0 => COST_DEFAULT,
            cost => cost,
        }
    }

    /// What they count towards the limits, in bytes: nothing for those that say nothing.
    pub(crate) fn bytes(&self) -> usize {
        if *self == **DEFAULT {
            return 0;
        }
        let lists = [
            &self.labels,
            &self.requires,
            &self.checks,
            &self.retry.never,
            &self.retry.only,
        ];
        let resources = self.resources.iter().map(|want| &want.resource);
        let rates = self.rates.iter().map(|tokens| &tokens.rate);
        let texts = lists.into_iter().flatten().chain(resources).chain(rates);
        let texts = texts.map(|text| 32 + text.len());
        320 + self.queue.len() + texts.sum::<usize>() + 48 * self.needs.len()
    }

    pub(crate) fn check_form(&self) -> Result<(), Refusal> {
        check_text("queue", &self.queue, NAME_BYTES_MAX)?;
        check_list("labels", &self.labels, LABELS_MAX)?;
        check_list("requires", &self.requires, CAPABILITIES_MAX)?;
        check_needs(&self.needs)?;
        let spans = [
            ("not_before_ms", self.not_before_ms, u64::MAX),
            ("start_ms", self.start_ms, SPAN_MS_MAX),
            ("run_ms", self.run_ms, SPAN_MS_MAX),
        ];
        for (field, span, most) in spans {
            match span {
                Some(0) => return Err(malformed(field, "0 is under the least, 1")),
                Some(ms) if ms > most => return Err(over_limit(field, ms as usize, most as usize)),
                _ => {}
            }
        }
        self.retry.check_form()?;
        if self.checks.len() > CHECKS_MAX {
            return Err(over_limit("checks", self.checks.len(), CHECKS_MAX));
        }
        self.checks
            .iter()
            .try_for_each(|check| check_text("checks", check, CHECK_BYTES_MAX))?;
        check_tokens_form(&self.rates)?;
        match self.resources.len() {
            0 => Ok(()),
            count if count > TASK_RESOURCES_MAX => Err(over_limit("resources", count, TASK_RESOURCES_MAX)),
            _ => parse(&self.resources).map(drop),
        }
    }
}

impl Retry {
    fn check_form(&self) -> Result<(), Refusal> {
        let counts = [
            ("attempts_max", self.attempts_max, ATTEMPTS_MAX),
            ("factor", self.factor, FACTOR_MAX),
            ("expiries_max", self.expiries_max, ATTEMPTS_MAX),
            ("deaths_max", self.deaths_max, ATTEMPTS_MAX),
        ];
        for (field, count, most) in counts {
            if count == 0 {
                return Err(malformed(field, "0 is under the least, 1"));
            }
            if count > most {
                return Err(over_limit(field, count as usize, most as usize));
            }
        }
        for (field, ms) in [("base_ms", self.base_ms), ("max_ms", self.max_ms)] {
            if ms > SPAN_MS_MAX {
                return Err(over_limit(field, ms as usize, SPAN_MS_MAX as usize));
            }
        }
        check_list("never", &self.never, CLASSES_MAX)?;
        check_list("only", &self.only, CLASSES_MAX)
    }
}

pub(super) fn check_needs(needs: &[Need]) -> Result<(), Refusal> {
    if needs.len() > NEEDS_MAX {
        return Err(over_limit("needs", needs.len(), NEEDS_MAX));
    }
    needs.iter().try_for_each(|need| match need {
        Need::Id(_) => Ok(()),
        Need::Name(name) => check_text("needs", name, TASK_NAME_BYTES_MAX),
    })
}

/// A list of names: short, sorted and distinct.
pub(super) fn check_list(field: &str, list: &[Arc<str>], most: usize) -> Result<(), Refusal> {
    if list.len() > most {
        return Err(over_limit(field, list.len(), most));
    }
    list.iter()
        .try_for_each(|name| check_text(field, name, NAME_BYTES_MAX))?;
    match list.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(malformed(field, "are not sorted and distinct")),
    }
}
