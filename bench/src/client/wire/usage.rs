//! Usage and budgets over a door.

use std::sync::Arc;

use queenright_protocol::colony::{Account, AccountName, BudgetLimits, Project, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was used in an account, and how much of it may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireAccount {
    /// Of what it is: `project`, `queue:NAME`, `agent:NAME`, or `rest`.
    pub account: String,
    /// What was used in all.
    pub usage: Usage,
    /// Its budget, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<WireBudget>,
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireBudget {
    /// How much may be used.
    pub limits: BudgetLimits,
    /// What was used since it began to count.
    pub used: Usage,
    /// Which of its limits are reached: while there is one, nobody gets a task from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<Arc<str>>,
}

impl WireAccount {
    /// An account as it is.
    pub fn of(name: &AccountName, account: &Account) -> WireAccount {
        let reached = account.used().filter(|used| used.used >= used.limit);
        WireAccount {
            account: name.to_string(),
            usage: account.usage,
            budget: account.budget.map(|budget| WireBudget {
                limits: budget.limits,
                used: account.counted().unwrap_or_default(),
                reached: reached.map(|used| used.field.into()).collect(),
            }),
        }
    }

    /// The accounts of a project.
    pub fn all(project: &Project) -> impl Iterator<Item = WireAccount> {
        let accounts = project.accounts().iter();
        accounts.map(|(name, account)| WireAccount::of(name, account))
    }
}

/// The answer to `GET /v1/usage`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageList {
    /// The accounts of the project: its own, those of its queues, those of its agents, and what found no place.
    pub accounts: Vec<WireAccount>,
}

/// The answer to `GET /v1/budgets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetList {
    /// The accounts of the project that have a budget.
    pub budgets: Vec<WireAccount>,
}

/// Why nobody gets a task of a queue, if a budget keeps its tasks: for `waits_for`.
pub fn waits_for(project: &Project, queue: &str) -> Option<String> {
    project.accounts().held(queue).map(|over| over.to_string())
}
