//! The rules of pools: what makes, changes and shares them.

use std::sync::Arc;

use super::form::check_pool_name;
use super::{POOLS_MAX, Pool, PoolCommand, PoolSettings, Pools};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::memory::{malformed, over_limit};
use crate::colony::{Applied, Colony};

impl Colony {
    /// The pools.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// What is wanted of pools.
    pub(in crate::colony) fn pool_command(
        &mut self,
        author: &Arc<str>,
        wanted: &PoolCommand,
        applied: &mut Applied,
    ) -> Result<Outcome, Refusal> {
        let (PoolCommand::Set { name, .. }
        | PoolCommand::Remove { name }
        | PoolCommand::Drain { name, .. }
        | PoolCommand::Recycle { name }
        | PoolCommand::Share { name, .. }) = wanted;
        check_pool_name(name)?;
        let before = self.pools.get(name).cloned();
        let after = match wanted {
            PoolCommand::Set {
                settings, if_absent, ..
            } => Some(self.settled(before.as_deref(), (settings, *if_absent), author)?),
            PoolCommand::Remove { .. } => {
                known(before.as_deref(), name)?;
                None
            }
            PoolCommand::Drain { on, .. } => Some(self.drained(known(before.as_deref(), name)?, *on)),
            PoolCommand::Recycle { .. } => Some(Pool {
                changed: self.seq,
                epoch: self.seq,
                ..known(before.as_deref(), name)?.clone()
            }),
            PoolCommand::Share { shares, after, .. } => {
                let pool = known(before.as_deref(), name)?;
                if pool.changed != *after {
                    return Err(malformed("after", "the pool has changed since"));
                }
                pool.check_shares(shares)?;
                Some(Pool {
                    shares: shares.clone(),
                    ..pool.clone()
                })
            }
        };
        let changed = before.as_deref() != after.as_ref();
        if changed {
            self.pools.set(name, after);
            applied.pools.push(name.clone());
        }
        Ok(Outcome::PoolSet { seq: self.seq, changed })
    }

    /// A pool with these settings in the place of what there is.
    fn settled(
        &self,
        before: Option<&Pool>,
        (settings, if_absent): (&PoolSettings, bool),
        author: &Arc<str>,
    ) -> Result<Pool, Refusal> {
        settings.check_form()?;
        let Some(before) = before else {
            let pools = self.pools.len() + 1;
            if pools > POOLS_MAX {
                return Err(over_limit("pools", pools, POOLS_MAX));
            }
            return Ok(Pool {
                settings: settings.clone(),
                author: author.clone(),
                changed: self.seq,
                epoch: self.seq,
                drained: false,
                shares: Default::default(),
            });
        };
        if if_absent || before.settings == *settings {
            return Ok(before.clone());
        }
        let same = settings.makes_the_same_agents(&before.settings);
        Ok(Pool {
            settings: settings.clone(),
            author: author.clone(),
            changed: self.seq,
            epoch: if same { before.epoch } else { self.seq },
            // The leader says others before long; until then they may be more than is allowed now.
            ..before.clone()
        })
    }

    fn drained(&self, before: &Pool, on: bool) -> Pool {
        if before.drained == on {
            return before.clone();
        }
        Pool {
            changed: self.seq,
            drained: on,
            shares: Default::default(),
            ..before.clone()
        }
    }
}

fn known<'p>(pool: Option<&'p Pool>, name: &Arc<str>) -> Result<&'p Pool, Refusal> {
    pool.ok_or_else(|| Refusal::UnknownPool { pool: name.clone() })
}
