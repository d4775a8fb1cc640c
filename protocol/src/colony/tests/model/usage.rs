//! What work uses in the model, and what may be used.

use super::*;

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::colony::tests) struct ModelAccount {
    pub(in crate::colony::tests) usage: Usage,
    /// The limits of its budget, and what was used before that began to count.
    pub(in crate::colony::tests) budget: Option<(BudgetLimits, Usage)>,
}

/// A limit: its name, what was used of it, and what may be.
type Limit = (&'static str, u64, u64);

impl ModelAccount {
    fn limits(&self) -> Vec<Limit> {
        let Some((limits, before)) = self.budget else {
            return Vec::new();
        };
        let tokens = self.usage.tokens_in + self.usage.tokens_out - before.tokens_in - before.tokens_out;
        let cost_micros = self.usage.cost_micros - before.cost_micros;
        let all = [
            ("tokens", tokens, limits.tokens),
            ("cost_micros", cost_micros, limits.cost_micros),
            ("time_ms", self.usage.time_ms - before.time_ms, limits.time_ms),
        ];
        let said = all
            .into_iter()
            .filter_map(|(field, used, limit)| Some((field, used, limit?)));
        said.collect()
    }
}

/// 0 below 80 %, 1 from there on, 2 when all is used.
fn level((_, used, limit): Limit) -> u32 {
    u32::from(used * 10 >= limit * 8) + u32::from(used >= limit)
}

fn bad_limits(limits: &BudgetLimits) -> Option<Refusal> {
    let all = [
        ("tokens", limits.tokens),
        ("cost_micros", limits.cost_micros),
        ("time_ms", limits.time_ms),
    ];
    let none = all.iter().all(|(_, limit)| limit.is_none());
    let found = all.into_iter().find_map(|(field, limit)| match limit? {
        0 => Some(bad(field, "0 is under the least, 1")),
        limit => (limit > 1_125_899_906_842_624).then(|| over(field, limit as usize, 1_125_899_906_842_624)),
    });
    found.or(none.then(|| bad("limits", "bound none of tokens, cost_micros, time_ms")))
}

impl ModelProject {
    pub(super) fn budget_command(&mut self, command: &BudgetCommand, at: &At) -> Result<Outcome, Refusal> {
        let (BudgetCommand::Set { account: name, .. }
        | BudgetCommand::Reset { account: name }
        | BudgetCommand::Remove { account: name }) = command;
        let wrong = match name {
            AccountName::Project => None,
            AccountName::Queue(queue) => forms::bad_text("budget", queue, 128),
            _ => Some(bad("budget", "is neither project nor queue:NAME")),
        };
        wrong.map_or(Ok(()), Err)?;
        if let BudgetCommand::Set { limits, .. } = command {
            bad_limits(limits).map_or(Ok(()), Err)?;
        }
        let mut account = self.accounts.get(name).copied().unwrap_or_default();
        let unknown = Refusal::UnknownBudget {
            budget: name.to_string().into(),
        };
        let before = account.budget;
        account.budget = match (command, before) {
            (BudgetCommand::Set { limits, .. }, known) => {
                Some((*limits, known.map_or(account.usage, |(_, before)| before)))
            }
            (_, None) => return Err(unknown),
            (BudgetCommand::Reset { .. }, Some((limits, _))) => Some((limits, account.usage)),
            (BudgetCommand::Remove { .. }, Some(_)) => None,
        };
        if account.budget != before || matches!(command, BudgetCommand::Reset { .. }) {
            let limits = account.budget.map(|(limits, _)| limits);
            let budget = name.clone();
            self.event(What::BudgetChanged { budget, limits }, at);
            self.accounts.insert(name.clone(), account);
            for limit in account.limits() {
                self.tell_used(name, limit, at);
            }
            if account == ModelAccount::default() {
                self.accounts.remove(name);
            }
        }
        self.look_at_queues();
        Ok(Outcome::Set { seq: at.seq })
    }

    /// Why nobody gets a task of a queue, if a budget is spent.
    pub(super) fn over_budget(&self, queue: &Arc<str>) -> Option<String> {
        let names = [AccountName::Project, AccountName::Queue(queue.clone())];
        names.into_iter().find_map(|name| {
            let limits = self.accounts.get(&name)?.limits();
            let (field, used, limit) = limits.into_iter().find(|limit| level(*limit) == 2)?;
            Some(format!("budget {name} ({field} {used} of {limit})"))
        })
    }

    /// What the holder of a task has used since it was counted last.
    pub(super) fn use_some(&mut self, id: TaskId, said: Option<Spent>, at: &At) {
        let said = said.unwrap_or_default();
        let task = self.tasks.get_mut(&id).unwrap();
        let State::Leased(lease) = &mut task.state else {
            panic!("nobody holds {id}");
        };
        let time_ms = at.now_ms - lease.since_ms - lease.usage.time_ms;
        let count = |usage: &mut Usage| {
            usage.tokens_in += said.tokens_in;
            usage.tokens_out += said.tokens_out;
            usage.cost_micros += said.cost_micros;
            usage.time_ms += time_ms;
        };
        count(&mut lease.usage);
        count(&mut task.usage);
        if time_ms == 0 && said == Spent::default() {
            return;
        }
        let names = [
            AccountName::Project,
            AccountName::Queue(task.added.terms.queue.clone()),
            AccountName::Agent(lease.holder.owner.name().clone()),
        ];
        for name in names {
            let account = self.accounts.entry(name.clone()).or_default();
            let before = account.limits();
            count(&mut account.usage);
            let after = account.limits();
            for (before, after) in before.into_iter().zip(after) {
                if level(after) > level(before) {
                    self.tell_used(&name, after, at);
                }
            }
        }
    }

    fn tell_used(&mut self, name: &AccountName, limit: Limit, at: &At) {
        let (budget, level, (field, used, limit)) = (name.clone(), level(limit), limit);
        let field = field.into();
        match level {
            0 => {}
            1 => self.event(
                What::BudgetWarned {
                    budget,
                    field,
                    used,
                    limit,
                },
                at,
            ),
            _ => self.event(
                What::BudgetSpent {
                    budget,
                    field,
                    used,
                    limit,
                },
                at,
            ),
        }
    }
}
