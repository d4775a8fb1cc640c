//! Commands about pools.

use std::collections::BTreeMap;

use super::*;

impl Seeded {
    pub(super) fn pool_command(&mut self, colony: &Colony) -> PoolCommand {
        let name: Arc<str> = match self.once_in(16) {
            true => self.pick(&["", "..", "a/b", "none"]),
            false => self.pick(&["one", "two"]),
        }
        .into();
        let changed = colony.pools().get(&name).map_or(0, |pool| pool.changed);
        match self.below(12) {
            0 => PoolCommand::Remove { name },
            1 | 2 => PoolCommand::Drain {
                name,
                on: self.pick(&[true, false, false]),
            },
            3 => PoolCommand::Recycle { name },
            4..8 => {
                let shares = (0..self.below(4)).map(|_| (NodeId(1 + self.below(3)), self.pick(&[1, 1, 2, 2, 3, 0])));
                let shares: BTreeMap<NodeId, u32> = shares.collect();
                let after = self.pick(&[changed, changed, changed, changed + 1]);
                PoolCommand::Share { name, shares, after }
            }
            _ => PoolCommand::Set {
                name,
                settings: Box::new(self.pool_settings()),
                if_absent: self.once_in(6),
            },
        }
    }

    fn pool_settings(&mut self) -> PoolSettings {
        PoolSettings {
            arguments: self.pick(&["{}", "{}", "{\"command\":[\"true\"]}"]).into(),
            max: match self.once_in(12) {
                true => 0,
                false => self.pick(&[3, 4]),
            },
            min_idle: self.pick(&[0, 0, 1, 1, 1, 1, 9]),
            per_node_max: self.pick(&[2, 3]),
            recycle: Recycle {
                after_tasks: self.pick(&[None, None, Some(3)]),
                age_ms: self.pick(&[None, None, None, None, Some(5_000), Some(7)]),
                ..Recycle::default()
            },
            ..PoolSettings::default()
        }
    }
}
