//! Rates in the model: what is in a bucket is a whole number of tokens and a fraction of one.

use super::*;

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelRate {
    pub(in crate::colony::tests) settings: RateSettings,
    /// Tokens that are left, whole ones and so many interval-ths of one, and when that was.
    pub(in crate::colony::tests) left: (u64, u64),
    pub(in crate::colony::tests) since_ms: u64,
}

impl ModelRate {
    fn full(settings: RateSettings, now_ms: u64) -> ModelRate {
        ModelRate {
            settings,
            left: (settings.burst.into(), 0),
            since_ms: now_ms,
        }
    }

    fn left(&self, now_ms: u64) -> (u64, u64) {
        let RateSettings {
            tokens,
            interval_ms,
            burst,
        } = self.settings;
        let parts = u128::from(self.left.1) + u128::from(now_ms - self.since_ms) * u128::from(tokens);
        let interval = u128::from(interval_ms);
        let whole = u128::from(self.left.0) + parts / interval;
        match whole >= burst.into() {
            true => (burst.into(), 0),
            false => (whole as u64, (parts % interval) as u64),
        }
    }

    /// When it has so many tokens: a moment at which it has, and before which it has not.
    fn has_at(&self, count: u32, now_ms: u64) -> u64 {
        let has = |at_ms| self.left(at_ms).0 >= count.into();
        let (mut before, mut at_ms) = (now_ms, now_ms + 1);
        if has(now_ms) {
            return now_ms;
        }
        while !has(at_ms) {
            (before, at_ms) = (at_ms, at_ms + 2 * (at_ms - now_ms));
        }
        while at_ms - before > 1 {
            let middle = before + (at_ms - before) / 2;
            match has(middle) {
                true => at_ms = middle,
                false => before = middle,
            }
        }
        at_ms
    }
}

fn bad_rate_name(field: &str, name: &str) -> Option<Refusal> {
    if name.len() > 128 {
        return Some(over(field, name.len(), 128));
    }
    if name.is_empty() || name.contains('/') || name.contains(char::is_control) {
        return Some(bad(field, "is empty, or has a slash or a control character"));
    }
    name.contains('=').then(|| bad(field, "has an equals sign"))
}

fn bad_count(field: &str, count: u32) -> Option<Refusal> {
    match count {
        0 => Some(bad(field, "0 is under the least, 1")),
        count => (count > 1_000_000).then(|| over(field, count as usize, 1_000_000)),
    }
}

pub(super) fn bad_tokens(wanted: &[Tokens]) -> Option<Refusal> {
    if wanted.len() > 8 {
        return Some(over("rates", wanted.len(), 8));
    }
    let one = |tokens: &Tokens| bad_rate_name("rates", &tokens.rate).or(bad_count("rates", tokens.count));
    let unsorted = wanted.windows(2).any(|pair| pair[0].rate >= pair[1].rate);
    let one = wanted.iter().find_map(one);
    one.or(unsorted.then(|| bad("rates", "are not sorted and distinct")))
}

impl ModelProject {
    pub(super) fn rate_command(&mut self, command: &RateCommand, at: &At) -> Result<Outcome, Refusal> {
        let open = self.tasks.values().filter(|task| !task.over());
        let taken = |name: &Arc<str>| {
            let all = open.clone().flat_map(|task| &task.added.terms.rates);
            let named = all.filter(|tokens| tokens.rate == *name);
            named.map(|tokens| tokens.count).collect::<Vec<u32>>()
        };
        match command {
            RateCommand::Set { name, settings } => {
                let RateSettings {
                    tokens,
                    interval_ms,
                    burst,
                } = *settings;
                let bad_interval = match interval_ms {
                    0 => Some(bad("interval_ms", "0 is under the least, 1")),
                    ms => (ms > 86_400_000).then(|| over("interval_ms", ms as usize, 86_400_000)),
                };
                let wrong = bad_rate_name("rate", name)
                    .or(bad_count("tokens", tokens))
                    .or(bad_count("burst", burst))
                    .or(bad_interval);
                wrong.map_or(Ok(()), Err)?;
                let most = taken(name).into_iter().max().unwrap_or(0);
                match self.rates.get(name).copied() {
                    Some(known) if known.settings == *settings => {}
                    Some(_) if burst < most => {
                        let problem = format!("{burst} is under the {most} tokens that an open task takes at once");
                        return Err(bad("burst", &problem));
                    }
                    Some(known) => {
                        let (whole, part) = known.left(at.now_ms);
                        let mut rate = ModelRate::full(*settings, at.now_ms);
                        if whole < burst.into() {
                            rate.left = (whole, part * interval_ms / known.settings.interval_ms);
                        }
                        self.rates.insert(name.clone(), rate);
                        self.look_at_queues();
                    }
                    None => drop(self.rates.insert(name.clone(), ModelRate::full(*settings, at.now_ms))),
                }
            }
            RateCommand::Delete { name } => {
                let tasks = taken(name).len() as u64;
                if !self.rates.contains_key(name) {
                    return Err(Refusal::UnknownRate { rate: name.clone() });
                }
                if tasks > 0 {
                    let rate = name.clone();
                    return Err(Refusal::RateInUse { rate, tasks });
                }
                self.rates.remove(name);
            }
        }
        Ok(Outcome::Set { seq: at.seq })
    }

    pub(super) fn check_rates(&self, wanted: &[Tokens]) -> Result<(), Refusal> {
        for Tokens { rate, count } in wanted {
            let unknown = Refusal::UnknownRate { rate: rate.clone() };
            let burst = self.rates.get(rate).ok_or(unknown)?.settings.burst;
            if *count > burst {
                return Err(over(&format!("rate:{rate}"), *count as usize, burst.into()));
            }
        }
        Ok(())
    }

    /// Whether the tokens of all these tasks are there.
    pub(super) fn check_tokens(&self, ids: &[TaskId], at: &At) -> Result<(), Refusal> {
        let all = ids.iter().flat_map(|id| &self.tasks[id].added.terms.rates);
        for (rate, known) in &self.rates {
            let here = all.clone().filter(|tokens| tokens.rate == *rate);
            let wanted: u32 = here.map(|tokens| tokens.count).sum();
            let burst = known.settings.burst;
            if wanted > burst {
                return Err(over(&format!("rate:{rate}"), wanted as usize, burst.into()));
            }
            let at_ms = known.has_at(wanted, at.now_ms);
            if at_ms > at.now_ms {
                return Err(Refusal::RateSpent {
                    rate: rate.clone(),
                    wanted: wanted.into(),
                    wait_ms: at_ms - at.now_ms,
                });
            }
        }
        Ok(())
    }

    /// The rates of which there are not so many tokens, with when there are.
    pub(super) fn lacking<'t>(&self, wanted: &'t [Tokens], at: &At) -> Vec<(&'t Arc<str>, u64)> {
        let when = wanted
            .iter()
            .map(|Tokens { rate, count }| (rate, self.rates[rate].has_at(*count, at.now_ms)));
        when.filter(|(_, at_ms)| *at_ms > at.now_ms).collect()
    }

    pub(super) fn take_tokens(&mut self, wanted: &[Tokens], at: &At) {
        for Tokens { rate, count } in wanted {
            let known = self.rates.get_mut(rate).unwrap();
            let (whole, part) = known.left(at.now_ms);
            (known.left, known.since_ms) = ((whole - u64::from(*count), part), at.now_ms);
        }
    }
}
