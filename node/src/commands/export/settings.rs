//! The settings of an export, brought into a project: before its tasks, which need them.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{ChangeBreaker, ChangeQueue, ExportedSetting, SetPool, SetRate};
use queenright_bench::client::{Client, ClientError};
use queenright_protocol::colony::AccountName;
use serde::Serialize;

use super::Work;
use crate::commands::CliError;
use crate::commands::door::of_read;

/// What became of settings.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct BroughtSettings {
    /// How many were made.
    pub(super) added: u64,
    /// How many were otherwise, and are now as the export says.
    pub(super) replaced: u64,
    /// How many were the same already.
    pub(super) same: u64,
    /// How many are otherwise, and stay so.
    pub(super) kept: u64,
    /// The pools among those that were made or replaced: they are drained, so that nothing starts by an import.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) drained: Vec<Arc<str>>,
    /// Those of them whose agents have an environment, which is not exported: it is to be set anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) without_environment: Vec<Arc<str>>,
}

/// A setting that is there already.
enum Present {
    /// Of the project.
    Own(ExportedSetting),
    /// A pool that works for another project: names of pools are those of the whole cluster.
    OfAnother,
}

type Key = (&'static str, Arc<str>);

async fn present(client: &Client, project: &str, pools: bool) -> Result<BTreeMap<Key, Present>, ClientError> {
    let mut found: Vec<ExportedSetting> = Vec::new();
    let now = Consistency::Linearizable;
    found.extend(client.rates(now).await?.rates.iter().map(ExportedSetting::from));
    // One that is in use and has one place is none that anybody has set.
    let slots = client.slots(now).await?.slots;
    found.extend(
        slots
            .iter()
            .filter(|slot| slot.capacity != 1)
            .map(ExportedSetting::from),
    );
    let budgets = client.budgets(now).await?.budgets;
    found.extend(budgets.iter().filter_map(ExportedSetting::of_budget));
    let queues = client.queues(now).await?.queues;
    found.extend(queues.iter().filter_map(ExportedSetting::of_queue));
    let own = |setting: ExportedSetting| (setting.key(), Present::Own(setting));
    let mut present: BTreeMap<Key, Present> = found.into_iter().map(own).collect();
    if pools {
        for pool in client.pools(now).await?.pools {
            let of_another = pool.settings.project.as_deref() != Some(project);
            let (key, own) = own(ExportedSetting::from(&pool));
            present.insert(key, if of_another { Present::OfAnother } else { own });
        }
    }
    Ok(present)
}

impl Work<'_> {
    /// Brings the settings in.
    pub(super) async fn settings(
        &self,
        settings: &[ExportedSetting],
        project: &str,
        overwrite: bool,
        brought: &mut BroughtSettings,
    ) -> Result<(), CliError> {
        if settings.is_empty() {
            return Ok(());
        }
        let pools = settings.iter().any(|setting| setting.key().0 == "pool");
        let present = present(self.client, project, pools).await.map_err(of_read)?;
        for setting in settings {
            let (of, name) = setting.key();
            let count = match present.get(&(of, name.clone())) {
                None => &mut brought.added,
                Some(Present::Own(now)) if now == setting => {
                    brought.same += 1;
                    continue;
                }
                Some(Present::Own(_)) if overwrite => &mut brought.replaced,
                Some(_) => {
                    brought.kept += 1;
                    continue;
                }
            };
            *count += 1;
            if let ExportedSetting::Pool { environment, .. } = setting {
                brought.drained.push(name.clone());
                if !environment.is_empty() {
                    brought.without_environment.push(name.clone());
                }
            }
            if !self.dry_run {
                let set = self.repeat(|| self.set(setting, project)).await;
                set.map_err(|error| self.refused(&error, &format!("{of} {name:?}")))?;
            }
            self.bar.inc(1);
        }
        Ok(())
    }

    /// Sets one. It may be done again: each says all that there is to say.
    async fn set(&self, setting: &ExportedSetting, project: &str) -> Result<(), ClientError> {
        let client = self.client;
        match setting {
            ExportedSetting::Rate {
                name,
                tokens,
                interval_ms,
                burst,
            } => {
                let set = SetRate {
                    tokens: *tokens,
                    interval_ms: *interval_ms,
                    burst: Some(*burst),
                };
                client.set_rate(name, &set).await.map(drop)
            }
            ExportedSetting::Slot { name, capacity } => client.set_slot(name, *capacity).await.map(drop),
            ExportedSetting::Budget { name, limits } => {
                let account = name.parse::<AccountName>().map_err(|error| ClientError::Unsendable {
                    what: "the budget",
                    problem: format!("{error}"),
                })?;
                client.set_budget(&account, limits).await.map(drop)
            }
            ExportedSetting::Queue {
                name,
                paused,
                breaker_failures,
                breaker_pause_ms,
                policy,
            } => {
                let change = ChangeQueue {
                    paused: Some(*paused),
                    breaker: Some(ChangeBreaker {
                        failures: *breaker_failures,
                        pause_ms: *breaker_pause_ms,
                    }),
                    policy: Some(*policy),
                };
                client.change_queue(name, &change).await.map(drop)
            }
            ExportedSetting::Pool { name, settings, .. } => {
                let set = SetPool {
                    project: Some(project.into()),
                    ..SetPool::clone(settings)
                };
                client.set_pool(name, &set).await?;
                client.drain_pool(name, true).await.map(drop)
            }
        }
    }
}

/// For people.
pub(super) fn text(brought: &BroughtSettings) -> String {
    let BroughtSettings {
        added,
        replaced,
        same,
        kept,
        drained,
        without_environment,
    } = brought;
    let mut text = format!(
        "settings: {added} added, {replaced} replaced, {same} the same already, {kept} are otherwise and stay so"
    );
    for pool in drained {
        text += &format!("\nnext: pool {pool:?} is drained; `queenright pool undrain {pool}` lets it work");
        if without_environment.contains(pool) {
            text += ", once `queenright pool set` has given its agents their environment again";
        }
    }
    text
}
