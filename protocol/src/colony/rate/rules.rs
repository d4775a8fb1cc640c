//! The rules of rates: what sets them, and what takes their tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RATES_MAX, Rate, RateCommand, RateSettings, Tokens, check_rate_name};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::Step;

impl Step<'_> {
    pub(in crate::colony) fn rate(&mut self, command: &RateCommand) -> Result<Outcome, Refusal> {
        match command {
            RateCommand::Set { name, settings } => self.set_rate(name, *settings)?,
            RateCommand::Delete { name } => {
                self.known_rate(name)?;
                let (tasks, _) = self.project.tasks.uses_of_rate(name);
                if tasks > 0 {
                    return Err(Refusal::RateInUse {
                        rate: name.clone(),
                        tasks: tasks as u64,
                    });
                }
                self.put_rate(name, None);
            }
        }
        Ok(Outcome::Set { seq: self.scope.seq })
    }

    fn set_rate(&mut self, name: &Arc<str>, settings: RateSettings) -> Result<(), Refusal> {
        check_rate_name("rate", name)?;
        settings.check_form()?;
        let now_ms = self.scope.cluster_ms;
        let Some(known) = self.project.rates.get(name).copied() else {
            let rates = self.project.rates.len() + 1;
            if rates > RATES_MAX {
                return Err(over_limit("rates", rates, RATES_MAX));
            }
            self.put_rate(name, Some(Rate::new(settings, now_ms)));
            return Ok(());
        };
        if known.settings == settings {
            return Ok(());
        }
        let (_, most) = self.project.tasks.uses_of_rate(name);
        if settings.burst < most {
            let problem = format!(
                "{} is under the {most} tokens that an open task takes at once",
                settings.burst
            );
            return Err(malformed("burst", &problem));
        }
        self.put_rate(name, Some(known.changed(settings, now_ms)));
        // What was passed over may have its tokens sooner.
        self.look_at_queues();
        Ok(())
    }

    fn put_rate(&mut self, name: &Arc<str>, rate: Option<Rate>) {
        self.project.rates.set(name, rate);
        self.applied.rates.push((self.scope.project.clone(), name.clone()));
    }

    fn known_rate(&self, name: &Arc<str>) -> Result<&Rate, Refusal> {
        let rate = self.project.rates.get(name);
        rate.ok_or_else(|| Refusal::UnknownRate { rate: name.clone() })
    }

    /// Whether a task may be waited for that takes these tokens: there are such rates, and their buckets hold so many.
    pub(in crate::colony) fn check_rates(&self, wanted: &[Tokens]) -> Result<(), Refusal> {
        wanted.iter().try_for_each(|Tokens { rate, count }| {
            let burst = self.known_rate(rate)?.settings.burst;
            match *count > burst {
                true => Err(over_limit(&format!("rate:{rate}"), *count as usize, burst as usize)),
                false => Ok(()),
            }
        })
    }

    /// Whether one claim may take the tokens of all these tasks now.
    pub(in crate::colony) fn check_tokens<'a>(&self, tasks: impl Iterator<Item = &'a [Tokens]>) -> Result<(), Refusal> {
        let mut sums: BTreeMap<&Arc<str>, u32> = BTreeMap::new();
        for Tokens { rate, count } in tasks.flatten() {
            let sum = sums.entry(rate).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (rate, wanted) in sums {
            let known = self.known_rate(rate)?;
            let burst = known.settings.burst;
            if wanted > burst {
                return Err(over_limit(&format!("rate:{rate}"), wanted as usize, burst as usize));
            }
            if let Some(at_ms) = known.has_at_ms(wanted, self.scope.cluster_ms) {
                return Err(Refusal::RateSpent {
                    rate: rate.clone(),
                    wanted: wanted.into(),
                    wait_ms: at_ms - self.scope.cluster_ms,
                });
            }
        }
        Ok(())
    }

    /// Takes the tokens of a task that is handed out; the caller has seen that they are there.
    pub(in crate::colony) fn take_tokens(&mut self, wanted: &[Tokens]) {
        let now_ms = self.scope.cluster_ms;
        for Tokens { rate, count } in wanted {
            if let Some(known) = self.project.rates.get(rate).copied() {
                self.put_rate(rate, Some(known.without(*count, now_ms)));
            }
        }
    }
}
