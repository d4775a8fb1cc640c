//! What nodes tell each other of how they are besides their status: by names, so that builds may differ in it.

use std::time::Duration;

use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Node;
use super::inbox::Control;
use crate::agent::AgentSummary;
use crate::body::encode;
use crate::latency::Recent;
use crate::memory::MemoryStatus;

/// How long a node waits for it: one of an earlier build does not answer.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(400);

/// How a node is. What a node does not tell has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Health {
    /// Its memory; absent where the system does not tell.
    pub memory: Option<MemoryStatus>,
    /// Commands applied since it started.
    pub commands: u64,
    /// Rounds applied since it started.
    pub rounds: u64,
    /// Its own commands of the last minute or two, from the caller to the outcome.
    pub command_times: Recent,
    /// Its rounds, from the cut to the last outcome.
    pub round_times: Recent,
    /// Its entries as the leader, until they were applied.
    pub commit_times: Recent,
    /// Writes of its log that ended with an fdatasync.
    pub sync_times: Recent,
    /// Changes that wait for its store.
    pub store_waits: u64,
    /// Its agents by state.
    pub agents: AgentSummary,
}

impl Node {
    /// How this node is.
    pub fn health(&self) -> Health {
        let counts = self.replica.counts();
        Health {
            memory: self.memory.status(),
            commands: counts.commands,
            rounds: counts.rounds,
            command_times: self.meters.commands.latency().recent,
            round_times: self.meters.rounds.latency().recent,
            commit_times: self.meters.commits.latency().recent,
            sync_times: self.log.sync_latency().recent,
            store_waits: self.replica.dirty_records() as u64,
            agents: self.agents.summary(),
        }
    }

    /// How another node is; nothing if it does not answer in time, or does not know the question.
    pub(super) async fn health_of(&self, number: NodeId) -> Option<Health> {
        let question = encode(&Control::Health);
        let answer = self
            .router
            .ask(number, Lane::Command, Kind::Control, question, HEALTH_TIMEOUT);
        Health::decode(&answer.await.ok()?)
    }
}

impl Health {
    /// With the names of its fields.
    pub(super) fn encode(&self) -> bytes::Bytes {
        rmp_serde::to_vec_named(self)
            .expect("plain data serialises into memory")
            .into()
    }

    fn decode(bytes: &[u8]) -> Option<Health> {
        rmp_serde::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_build_tells_besides_or_does_not_tell_is_no_hindrance() {
        let health = Health {
            commands: 7,
            memory: Some(MemoryStatus {
                used_bytes: 1,
                ..MemoryStatus::default()
            }),
            ..Health::default()
        };
        assert_eq!(Health::decode(&health.encode()), Some(health));
        let later = rmp_serde::to_vec_named(&json!({ "commands": 7, "what_comes_later": [1] })).unwrap();
        let read = Health::decode(&later).unwrap();
        assert_eq!((read.commands, read.memory), (7, None));
        assert_eq!(Health::decode(b"\xc1"), None);
    }
}
