//! The model: pools, as a list.

use super::*;

impl Model {
    pub(super) fn pool_command(&mut self, command: &PoolCommand, at: &At) -> Result<Outcome, Refusal> {
        let name = match command {
            PoolCommand::Set { name, .. }
            | PoolCommand::Remove { name }
            | PoolCommand::Drain { name, .. }
            | PoolCommand::Recycle { name }
            | PoolCommand::Share { name, .. } => name,
        };
        if name.len() > 64 {
            return Err(over("pool", name.len(), 64));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if ["", ".", ".."].contains(&&**name) || !name.chars().all(good) {
            let problem = "is empty, a step of a path, or has other characters than letters, digits, - _ and .";
            return Err(bad("pool", problem));
        }
        let before = self.pools.clone();
        let place = self.pools.iter().position(|(known, _)| *known == **name);
        let known = || place.ok_or(Refusal::UnknownPool { pool: name.clone() });
        match command {
            PoolCommand::Set {
                settings, if_absent, ..
            } => {
                bad_settings(settings).map_or(Ok(()), Err)?;
                match place {
                    None if self.pools.len() >= 256 => return Err(over("pools", self.pools.len() + 1, 256)),
                    None => self.pools.push((
                        name.to_string(),
                        Pool {
                            settings: PoolSettings::clone(settings),
                            author: at.author.clone(),
                            changed: at.seq,
                            epoch: at.seq,
                            drained: false,
                            shares: BTreeMap::new(),
                        },
                    )),
                    Some(place) if !if_absent && self.pools[place].1.settings != **settings => {
                        let pool = &mut self.pools[place].1;
                        // What may differ without another agent.
                        let mut same = pool.settings.clone();
                        (same.min_idle, same.max) = (settings.min_idle, settings.max);
                        (same.per_node_max, same.idle_ms) = (settings.per_node_max, settings.idle_ms);
                        same.placement.clone_from(&settings.placement);
                        same.recycle = Recycle {
                            after_tasks: same.recycle.after_tasks,
                            ..settings.recycle
                        };
                        if same != **settings {
                            pool.epoch = at.seq;
                        }
                        (pool.changed, pool.author) = (at.seq, at.author.clone());
                        pool.settings = PoolSettings::clone(settings);
                    }
                    Some(_) => {}
                }
            }
            PoolCommand::Remove { .. } => drop(self.pools.remove(known()?)),
            PoolCommand::Drain { on, .. } => {
                let pool = &mut self.pools[known()?].1;
                if pool.drained != *on {
                    (pool.drained, pool.changed) = (*on, at.seq);
                    pool.shares.clear();
                }
            }
            PoolCommand::Recycle { .. } => {
                let pool = &mut self.pools[known()?].1;
                (pool.changed, pool.epoch) = (at.seq, at.seq);
            }
            PoolCommand::Share { shares, after, .. } => {
                let pool = &mut self.pools[known()?].1;
                if pool.changed != *after {
                    return Err(bad("after", "the pool has changed since"));
                }
                if shares.len() > 128 {
                    return Err(over("shares", shares.len(), 128));
                }
                if pool.drained && !shares.is_empty() {
                    return Err(bad("shares", "the pool is drained"));
                }
                for share in shares.values() {
                    match *share {
                        0 => return Err(bad("share", "0 is under the least, 1")),
                        share if share > pool.settings.per_node_max => {
                            return Err(over("share", share as usize, pool.settings.per_node_max.into()));
                        }
                        _ => {}
                    }
                }
                let sum: u32 = shares.values().sum();
                if sum > pool.settings.max {
                    return Err(over("shares", sum as usize, pool.settings.max.into()));
                }
                pool.shares.clone_from(shares);
            }
        }
        let changed = self.pools != before;
        Ok(Outcome::PoolSet { seq: at.seq, changed })
    }

    /// All of them, by name.
    pub(in crate::colony::tests) fn pools_by_name(&self) -> BTreeMap<String, Pool> {
        self.pools.iter().cloned().collect()
    }
}

/// Of what the random sequences get wrong.
fn bad_settings(settings: &PoolSettings) -> Option<Refusal> {
    if settings.max == 0 {
        return Some(bad("max", "0 is under the least, 1"));
    }
    if settings.min_idle > settings.max {
        return Some(over("min_idle", settings.min_idle as usize, settings.max.into()));
    }
    if settings.recycle.age_ms == Some(7) {
        return Some(bad("recycle.age_ms", "7 is under the least, 1000"));
    }
    None
}
