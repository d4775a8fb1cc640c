//! What work uses, and how much of it may be used: tokens of models, money, and time.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Update::usage`], [`FinishWith::usage`] | owner | colony | as the command | the attempt used this since its owner said so last |
//! | [`BudgetCommand::Set`] | door | colony | [`Outcome::Set`] | so much may be used from now on |
//! | [`BudgetCommand::Reset`] | door | colony | [`Outcome::Set`] | a budget counts from 0 again |
//! | [`BudgetCommand::Remove`] | door | colony | [`Outcome::Set`] | there is no such budget any more |
//!
//! **Usage** is summed for each attempt, for each task, and in **accounts**: one of the project, one of each queue, and one of
//! each agent, by the name of the session or of the hosted agent that held the task. What an owner says is an increment: a
//! command that is repeated under its number or its idempotency key counts once, and one of an owner that is fenced off is
//! refused like all that it says. However an attempt ends, what was said with its end counts.
//!
//! **Time** is measured by the colony: the cluster time from a claim to the end of its lease, counted whenever the owner says
//! something of its work, and when the lease ends. So an attempt of which nothing is heard counts at its end. An offer that is
//! not taken was no attempt, and counts nothing. Sums stay at the greatest number instead of passing it.
//!
//! A project has [`ACCOUNTS_MAX`] accounts of queues and agents. What a queue or an agent uses that finds no place among them is summed in the
//! account [`AccountName::Rest`]; that of the project always has all of it.
//!
//! A **budget** belongs to the account of the project or of a queue, and counts what is used from when it was set, or reset.
//! When 80 % of one of its limits is reached an event tells so, once, and another when all of it is: from then on nobody gets
//! a task from there. Tasks stay ready; who waits for one goes on waiting, who claims one by its id is refused, and who claims
//! any gets none. What runs goes on, and its usage counts: more than a budget may be used by what those tasks use that were
//! held when it was reached. A budget that is raised, reset or removed hands out at once, to those who wait first. One whose
//! limits change tells of those that are reached already.
//!
//! [`Update::usage`]: super::Update::usage
//! [`FinishWith::usage`]: super::FinishWith::usage
//! [`Outcome::Set`]: super::Outcome::Set

mod rules;

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::{NAME_BYTES_MAX, Refusal};
use super::digest::Digest;
use super::memory::{malformed, over_limit};

/// The most that one command may say to have used, and that a limit of a budget may be: 2^50 tokens, or millionths, or
/// milliseconds.
pub const USAGE_MAX: u64 = 1 << 50;
/// How many accounts of queues and agents a project may have.
pub const ACCOUNTS_MAX: usize = 4_096;
/// How long the name of an account is at most, in bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = "queue:".len() + NAME_BYTES_MAX;

const ACCOUNT_DIGEST: u8 = b'u';

/// What is wanted of budgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BudgetCommand {
    /// Make one, which counts from 0, or change its limits: then what it has counted stays.
    Set {
        /// Of what: the project or a queue.
        account: AccountName,
        /// How much.
        limits: BudgetLimits,
    },
    /// Count from 0 again.
    Reset {
        /// Of what.
        account: AccountName,
    },
    /// Bound it no longer.
    Remove {
        /// Of what.
        account: AccountName,
    },
}

impl BudgetCommand {
    fn account(&self) -> &AccountName {
        match self {
            BudgetCommand::Set { account, .. }
            | BudgetCommand::Reset { account }
            | BudgetCommand::Remove { account } => account,
        }
    }
}

/// Of what usage is summed. As text `project`, `queue:NAME`, `agent:NAME` or `rest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccountName {
    /// Of all tasks of the project.
    Project,
    /// Of the tasks of a queue.
    Queue(Arc<str>),
    /// Of the attempts of an agent, or of sessions of this name.
    Agent(Arc<str>),
    /// Of what found no place among the accounts.
    Rest,
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccountName::Project => write!(f, "project"),
            AccountName::Queue(name) => write!(f, "queue:{name}"),
            AccountName::Agent(name) => write!(f, "agent:{name}"),
            AccountName::Rest => write!(f, "rest"),
        }
    }
}

/// A text that is not the name of an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of an account (expected project, queue:NAME, agent:NAME or rest)")]
pub struct AccountNameError {
    /// The text.
    pub text: String,
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<AccountName, AccountNameError> {
        match (text, text.split_once(':')) {
            ("project", _) => Ok(AccountName::Project),
            ("rest", _) => Ok(AccountName::Rest),
            (_, Some(("queue", name))) if !name.is_empty() => Ok(AccountName::Queue(name.into())),
            (_, Some(("agent", name))) if !name.is_empty() => Ok(AccountName::Agent(name.into())),
            _ => Err(AccountNameError { text: text.to_owned() }),
        }
    }
}

/// What an owner says to have used since it said so last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spent {
    /// Tokens that models read.
    pub tokens_in: u64,
    /// Tokens that models wrote.
    pub tokens_out: u64,
    /// Money, in millionths of a unit.
    pub cost_micros: u64,
}

impl Spent {
    pub(crate) fn check_form(&self) -> Result<(), Refusal> {
        let fields = [
            ("usage.tokens_in", self.tokens_in),
            ("usage.tokens_out", self.tokens_out),
            ("usage.cost_micros", self.cost_micros),
        ];
        match fields.into_iter().find(|(_, value)| *value > USAGE_MAX) {
            Some((field, value)) => Err(over_limit(field, value as usize, USAGE_MAX as usize)),
            None => Ok(()),
        }
    }
}

/// What was used in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens that models read.
    pub tokens_in: u64,
    /// Tokens that models wrote.
    pub tokens_out: u64,
    /// Money, in millionths of a unit.
    pub cost_micros: u64,
    /// Cluster time for which tasks were held, in milliseconds.
    pub time_ms: u64,
}

impl Usage {
    /// Whether nothing was used.
    pub fn is_nothing(&self) -> bool {
        *self == Usage::default()
    }

    /// What of it came after `before`.
    fn since(self, before: Usage) -> Usage {
        Usage {
            tokens_in: self.tokens_in.saturating_sub(before.tokens_in),
            tokens_out: self.tokens_out.saturating_sub(before.tokens_out),
            cost_micros: self.cost_micros.saturating_sub(before.cost_micros),
            time_ms: self.time_ms.saturating_sub(before.time_ms),
        }
    }
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, more: Usage) -> Usage {
        Usage {
            tokens_in: self.tokens_in.saturating_add(more.tokens_in),
            tokens_out: self.tokens_out.saturating_add(more.tokens_out),
            cost_micros: self.cost_micros.saturating_add(more.cost_micros),
            time_ms: self.time_ms.saturating_add(more.time_ms),
        }
    }
}

/// How much may be used; what is not said is not bounded, and something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetLimits {
    /// Tokens that models read and wrote, from 1 to [`USAGE_MAX`].
    pub tokens: Option<u64>,
    /// Money, in millionths of a unit, from 1 to [`USAGE_MAX`].
    pub cost_micros: Option<u64>,
    /// Cluster time for which tasks are held, in milliseconds, from 1 to [`USAGE_MAX`].
    pub time_ms: Option<u64>,
}

impl BudgetLimits {
    fn named(&self) -> [(&'static str, Option<u64>); 3] {
        [
            ("tokens", self.tokens),
            ("cost_micros", self.cost_micros),
            ("time_ms", self.time_ms),
        ]
    }

    fn check_form(&self) -> Result<(), Refusal> {
        let mut said = false;
        for (field, limit) in self.named() {
            match limit {
                None => continue,
                Some(0) => return Err(malformed(field, "0 is under the least, 1")),
                Some(limit) if limit > USAGE_MAX => {
                    return Err(over_limit(field, limit as usize, USAGE_MAX as usize));
                }
                Some(_) => said = true,
            }
        }
        match said {
            true => Ok(()),
            false => Err(malformed("limits", "bound none of tokens, cost_micros, time_ms")),
        }
    }
}

/// How much of what is summed in an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// How much.
    pub limits: BudgetLimits,
    /// What the account had when this began to count.
    since: Usage,
}

/// What is summed of something, and how much of it may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What was used.
    pub usage: Usage,
    /// What may be used.
    pub budget: Option<Budget>,
}

/// A limit of a budget, and what was used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which.
    pub field: &'static str,
    /// What was used.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Below,
    Warned,
    Spent,
}

impl Used {
    fn level(&self) -> Level {
        // 80 %, without a fraction that is lost.
        match u128::from(self.used) * 5 >= u128::from(self.limit) * 4 {
            _ if self.used >= self.limit => Level::Spent,
            true => Level::Warned,
            false => Level::Below,
        }
    }
}

/// Why nobody gets a task: a limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Of which budget.
    pub account: AccountName,
    /// The limit.
    pub used: Used,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Used { field, used, limit } = self.used;
        write!(f, "budget {} ({field} {used} of {limit})", self.account)
    }
}

impl Account {
    /// The limits of its budget, and what was used of each since that began to count.
    pub fn used(&self) -> impl Iterator<Item = Used> + use<> {
        let counted = self
            .budget
            .map(|budget| (budget.limits, self.usage.since(budget.since)));
        counted.into_iter().flat_map(|(limits, usage)| {
            let tokens = usage.tokens_in.saturating_add(usage.tokens_out);
            let used = [tokens, usage.cost_micros, usage.time_ms];
            let all = limits.named().into_iter().zip(used);
            all.filter_map(|((field, limit), used)| limit.map(|limit| Used { field, used, limit }))
        })
    }

    /// What its budget has counted.
    pub fn counted(&self) -> Option<Usage> {
        self.budget.map(|budget| self.usage.since(budget.since))
    }

    /// The first of its limits that is reached.
    fn reached(&self) -> Option<Used> {
        self.used().find(|used| used.level() == Level::Spent)
    }

    /// Whether it could have been made by commands: what is stored is not believed.
    pub(crate) fn is_sound(&self, name: &AccountName) -> bool {
        match self.budget {
            Some(budget) => name.has_budget() && budget.limits.check_form().is_ok(),
            None => !self.usage.is_nothing(),
        }
    }

    #[cfg(test)]
    pub(crate) fn since(&self) -> Option<(BudgetLimits, Usage)> {
        self.budget.map(|budget| (budget.limits, budget.since))
    }
}

impl AccountName {
    /// The bytes of the name in it.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            AccountName::Queue(name) | AccountName::Agent(name) => name.len(),
            AccountName::Project | AccountName::Rest => 0,
        }
    }

    /// Whether it may have a budget.
    fn has_budget(&self) -> bool {
        matches!(self, AccountName::Project | AccountName::Queue(_))
    }
}

/// The accounts of a project.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_name: OrdMap<AccountName, (Account, Digest)>,
    budgets: usize,
    pub(crate) digest: Digest,
}

impl Accounts {
    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&AccountName, &Account)> {
        self.by_name.iter().map(|(name, (account, _))| (name, account))
    }

    /// The account of this name.
    pub fn get(&self, name: &AccountName) -> Option<&Account> {
        self.by_name.get(name).map(|(account, _)| account)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Why nobody gets a task of this queue, if a budget keeps it.
    pub fn held(&self, queue: &str) -> Option<OverBudget> {
        if self.budgets == 0 {
            return None;
        }
        let accounts = [AccountName::Project, AccountName::Queue(queue.into())];
        accounts.into_iter().find_map(|account| {
            let used = self.get(&account)?.reached()?;
            Some(OverBudget { account, used })
        })
    }

    /// Puts one in the place of what stood under its name, or takes it out.
    pub(crate) fn set(&mut self, name: &AccountName, account: Option<Account>) {
        if let Some((before, digest)) = self.by_name.remove(name) {
            self.digest.subtract(digest);
            self.budgets -= usize::from(before.budget.is_some());
        }
        if let Some(account) = account {
            let digest = Digest::of(ACCOUNT_DIGEST, &(name, account));
            self.digest.add(digest);
            self.budgets += usize::from(account.budget.is_some());
            self.by_name.insert(name.clone(), (account, digest));
        }
    }

    /// How many are of queues and agents.
    fn named(&self) -> usize {
        let others = [AccountName::Project, AccountName::Rest];
        self.len() - others.iter().filter(|name| self.by_name.contains_key(*name)).count()
    }

    /// Whether there is room for an account of this name: for the project and the rest there always is.
    fn has_room(&self, name: &AccountName) -> bool {
        match name {
            AccountName::Project | AccountName::Rest => true,
            AccountName::Queue(_) | AccountName::Agent(_) => {
                self.by_name.contains_key(name) || self.named() < ACCOUNTS_MAX
            }
        }
    }
}
