//! What owners say to have used, and the commands about budgets.

use super::*;

impl Seeded {
    /// What an owner says to have used, now and then too much of it.
    pub(super) fn spent(&mut self) -> Option<Spent> {
        let spent = Spent {
            tokens_in: self.pick(&[0, 1, 10, 500]),
            tokens_out: self.pick(&[0, 3]),
            cost_micros: self.pick(&[0, 0, 25]),
        };
        match self.below(40) {
            0 => Some(Spent {
                tokens_out: USAGE_MAX + 1,
                ..spent
            }),
            1..20 => Some(spent),
            _ => None,
        }
    }

    pub(super) fn budget_command(&mut self) -> BudgetCommand {
        let account = match self.below(24) {
            0 => AccountName::Queue("".into()),
            1 => self.pick(&[AccountName::Rest, AccountName::Agent("one".into())]),
            2..12 => AccountName::Project,
            _ => AccountName::Queue(self.pick(&["default", "default", "q2"]).into()),
        };
        match self.below(8) {
            0 | 1 => BudgetCommand::Reset { account },
            2 | 3 => BudgetCommand::Remove { account },
            _ => BudgetCommand::Set {
                account,
                limits: self.budget_limits(),
            },
        }
    }

    fn budget_limits(&mut self) -> BudgetLimits {
        let limits = BudgetLimits {
            tokens: self.pick(&[None, Some(20), Some(1_000), Some(5_000)]),
            cost_micros: self.pick(&[None, None, Some(100)]),
            time_ms: self.pick(&[None, None, Some(3_000), Some(10_000_000)]),
        };
        match self.below(30) {
            0 => BudgetLimits {
                tokens: Some(0),
                ..limits
            },
            1 => BudgetLimits {
                time_ms: Some(USAGE_MAX + 1),
                ..limits
            },
            _ => limits,
        }
    }
}
