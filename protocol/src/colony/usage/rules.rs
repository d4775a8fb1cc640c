//! The rules of usage and budgets: what counts, and what a budget tells.

use super::{ACCOUNTS_MAX, Account, AccountName, Budget, BudgetCommand, BudgetLimits, Level, Spent, Usage, Used};
use crate::colony::command::{NAME_BYTES_MAX, Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::Step;
use crate::colony::task::{Lease, Task, check_text};

impl Step<'_> {
    pub(in crate::colony) fn budget(&mut self, command: &BudgetCommand) -> Result<Outcome, Refusal> {
        check_account(command.account())?;
        match command {
            BudgetCommand::Set { account, limits } => self.set_budget(account, *limits)?,
            BudgetCommand::Reset { account: name } => {
                let (account, budget) = self.known_budget(name)?;
                let budget = Budget {
                    since: account.usage,
                    ..budget
                };
                self.change_budget(name, account, Some(budget));
            }
            BudgetCommand::Remove { account: name } => {
                let (account, _) = self.known_budget(name)?;
                self.change_budget(name, account, None);
            }
        }
        // What was kept may be free now.
        self.look_at_queues();
        Ok(Outcome::Set { seq: self.scope.seq })
    }

    fn set_budget(&mut self, name: &AccountName, limits: BudgetLimits) -> Result<(), Refusal> {
        limits.check_form()?;
        let accounts = &self.project.accounts;
        if !accounts.has_room(name) {
            return Err(over_limit("accounts", accounts.named() + 1, ACCOUNTS_MAX));
        }
        let account = accounts.get(name).copied().unwrap_or_default();
        let since = match account.budget {
            Some(known) if known.limits == limits => return Ok(()),
            Some(known) => known.since,
            None => account.usage,
        };
        self.change_budget(name, account, Some(Budget { limits, since }));
        Ok(())
    }

    fn known_budget(&self, name: &AccountName) -> Result<(Account, Budget), Refusal> {
        let account = self.project.accounts.get(name).copied();
        let known = account.and_then(|account| Some((account, account.budget?)));
        known.ok_or_else(|| Refusal::UnknownBudget {
            budget: name.to_string().into(),
        })
    }

    fn change_budget(&mut self, name: &AccountName, account: Account, budget: Option<Budget>) {
        let account = Account { budget, ..account };
        self.put_account(name, account);
        self.event(What::BudgetChanged {
            budget: name.clone(),
            limits: budget.map(|budget| budget.limits),
        });
        account.used().for_each(|used| self.tell_used(name, used));
    }

    fn put_account(&mut self, name: &AccountName, account: Account) {
        let kept = account.budget.is_some() || !account.usage.is_nothing();
        self.project.accounts.set(name, kept.then_some(account));
        self.applied.accounts.push((self.scope.project.clone(), name.clone()));
    }

    fn tell_used(&mut self, name: &AccountName, used: Used) {
        let (budget, field) = (name.clone(), used.field.into());
        let (level, Used { used, limit, .. }) = (used.level(), used);
        match level {
            Level::Below => {}
            Level::Warned => self.event(What::BudgetWarned {
                budget,
                field,
                used,
                limit,
            }),
            Level::Spent => self.event(What::BudgetSpent {
                budget,
                field,
                used,
                limit,
            }),
        }
    }

    /// Counts what an attempt has used since it was counted last: what its owner says, and the time.
    pub(in crate::colony) fn count_attempt(&mut self, task: &mut Task, lease: &mut Lease, spent: Option<Spent>) {
        let Spent {
            tokens_in,
            tokens_out,
            cost_micros,
        } = spent.unwrap_or_default();
        let held_ms = self.scope.cluster_ms.saturating_sub(lease.since_ms);
        let more = Usage {
            tokens_in,
            tokens_out,
            cost_micros,
            time_ms: held_ms.saturating_sub(lease.usage.time_ms),
        };
        if more.is_nothing() {
            return;
        }
        lease.usage = lease.usage + more;
        task.usage = task.usage + more;
        self.count(AccountName::Project, more);
        let queue = AccountName::Queue(task.terms.queue.clone());
        let agent = AccountName::Agent(lease.holder.owner.name().clone());
        let mut beyond = false;
        for name in [queue, agent] {
            match self.project.accounts.has_room(&name) {
                true => self.count(name, more),
                false => beyond = true,
            }
        }
        if beyond {
            self.count(AccountName::Rest, more);
        }
    }

    /// Counts in one account, and tells of the limits that are crossed with it.
    fn count(&mut self, name: AccountName, more: Usage) {
        let before = self.project.accounts.get(&name).copied().unwrap_or_default();
        let after = Account {
            usage: before.usage + more,
            ..before
        };
        self.put_account(&name, after);
        for (before, after) in before.used().zip(after.used()) {
            if after.level() > before.level() {
                self.tell_used(&name, after);
            }
        }
    }
}

/// Whether an account may have a budget.
fn check_account(name: &AccountName) -> Result<(), Refusal> {
    match name {
        AccountName::Project => Ok(()),
        AccountName::Queue(queue) => check_text("budget", queue, NAME_BYTES_MAX),
        AccountName::Agent(_) | AccountName::Rest => Err(malformed("budget", "is neither project nor queue:NAME")),
    }
}
