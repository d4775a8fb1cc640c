//! The shape of a cluster file's text. No meaning yet: bounds and relations are `validate`'s.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};

use super::logging::LoggingSection;
use super::pools::PoolSection;
use super::tracing::TracingSection;
use super::webhooks::WebhookSection;
use super::{ClusterConfig, ConfigError, Limits, Topology, locate};

/// A cluster file as written.
#[derive(Debug, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct ClusterFile {
    pub(super) cluster: ClusterSection,
    pub(super) nodes: Vec<NodeSection>,
    pub(super) consensus: Option<ConsensusSection>,
    pub(super) links: Option<LinksSection>,
    pub(super) limits: Option<LimitsSection>,
    pub(super) rounds: Option<RoundsSection>,
    pub(super) log: Option<LogSection>,
    pub(super) logging: Option<LoggingSection>,
    pub(super) tracing: Option<TracingSection>,
    pub(super) tls: Option<TlsSection>,
    pub(super) doors: Option<DoorsSection>,
    pub(super) agents: Option<AgentsSection>,
    pub(super) pools: Option<Vec<PoolSection>>,
    pub(super) webhooks: Option<Vec<WebhookSection>>,
}

#[derive(Debug, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct ClusterSection {
    pub(super) name: String,
    pub(super) topology: String,
    pub(super) fan_out: Option<i64>,
    pub(super) projects: Option<String>,
}

#[derive(Debug, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct NodeSection {
    pub(super) name: String,
    pub(super) links: String,
    pub(super) http: String,
    pub(super) advertise_links: Option<String>,
    pub(super) advertise_http: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct ConsensusSection {
    pub(super) heartbeat_ms: Option<i64>,
    pub(super) election_ms: Option<[i64; 2]>,
    pub(super) voters: Option<i64>,
    pub(super) links: Option<String>,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct LinksSection {
    pub(super) compression: Option<String>,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct LimitsSection {
    pub(super) value_bytes: Option<Amount>,
    pub(super) command_bytes: Option<Amount>,
    pub(super) round_bytes: Option<Amount>,
    pub(super) rounds_in_flight: Option<i64>,
    pub(super) http_body_bytes: Option<Amount>,
    pub(super) outbox_bytes: Option<Amount>,
    pub(super) disk_watermark_bytes: Option<Amount>,
    pub(super) ballast_bytes: Option<Amount>,
    pub(super) memory_bytes: Option<Amount>,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct RoundsSection {
    pub(super) max: Option<i64>,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct LogSection {
    pub(super) snapshot_bytes: Option<Amount>,
    pub(super) snapshot_every_s: Option<i64>,
    pub(super) keep_bytes: Option<Amount>,
    pub(super) sent_bytes_per_s: Option<Amount>,
}

#[derive(Debug, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct TlsSection {
    pub(super) dir: String,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct DoorsSection {
    pub(super) auth: Option<String>,
    pub(super) requests: Option<i64>,
    pub(super) followers: Option<i64>,
}

#[derive(Debug, Default, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct AgentsSection {
    pub(super) commands: Option<bool>,
}

/// A number of bytes: an integer, or text such as `"8 MiB"`.
#[derive(Debug)]
pub(super) enum Amount {
    Bytes(i64),
    Text(String),
}

impl Amount {
    /// The number of bytes, if it is one.
    pub(super) fn bytes(&self) -> Option<u64> {
        let text = match self {
            Amount::Bytes(bytes) => return u64::try_from(*bytes).ok(),
            Amount::Text(text) => text.trim(),
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let unit = match text[digits..].trim_start() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        text[..digits].parse::<u64>().ok()?.checked_mul(unit)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Bytes(bytes) => write!(f, "{bytes}"),
            Amount::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, such as 8388608 or \"8 MiB\"")
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Amount, E> {
                Ok(Amount::Bytes(bytes))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Amount::Bytes(bytes) => serializer.serialize_i64(*bytes),
            Amount::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl ClusterFile {
    /// Reads the text; errors carry the line of a syntax error and the path of any other.
    pub(super) fn parse(file: &Path, text: &str) -> Result<ClusterFile, ConfigError> {
        toml::from_str(text).map_err(|error| locate::explain(file, text, &error))
    }

    /// The file that says all of `config`, defaults included.
    pub(super) fn of(config: &ClusterConfig) -> ClusterFile {
        let fan_out = match config.topology {
            Topology::Hierarchical { fan_out } => Some(integer(fan_out as u64)),
            Topology::Mesh | Topology::Star | Topology::Ring => None,
        };
        let Limits {
            value_bytes,
            command_bytes,
            round_bytes,
            rounds_in_flight,
            http_body_bytes,
            outbox_bytes,
            disk_watermark_bytes,
            ballast_bytes,
            memory_bytes,
        } = config.limits;
        let bytes = |bytes: usize| Some(Amount::Bytes(integer(bytes as u64)));
        let said = |bytes: Option<u64>| bytes.map(|bytes| Amount::Bytes(integer(bytes)));
        ClusterFile {
            cluster: ClusterSection {
                name: config.name.clone(),
                topology: config.topology.to_string(),
                fan_out,
                projects: Some(config.projects.to_string()),
            },
            nodes: config
                .nodes
                .iter()
                .map(|node| NodeSection {
                    name: node.name.clone(),
                    links: node.links.to_string(),
                    http: node.http.to_string(),
                    advertise_links: node.advertise_links.clone(),
                    advertise_http: node.advertise_http.clone(),
                    labels: Some(node.labels.clone()).filter(|labels| !labels.is_empty()),
                })
                .collect(),
            consensus: Some(ConsensusSection {
                heartbeat_ms: Some(millis(config.consensus.heartbeat)),
                election_ms: Some([
                    millis(config.consensus.election_min),
                    millis(config.consensus.election_max),
                ]),
                voters: config.consensus.voters.map(|voters| integer(voters as u64)),
                links: Some(config.consensus.links.to_string()),
            }),
            links: Some(LinksSection {
                compression: Some(config.compression.to_string()),
            }),
            limits: Some(LimitsSection {
                value_bytes: bytes(value_bytes),
                command_bytes: bytes(command_bytes),
                round_bytes: bytes(round_bytes),
                rounds_in_flight: Some(integer(rounds_in_flight as u64)),
                http_body_bytes: bytes(http_body_bytes),
                outbox_bytes: bytes(outbox_bytes),
                disk_watermark_bytes: said(disk_watermark_bytes),
                ballast_bytes: said(ballast_bytes),
                memory_bytes: said(memory_bytes),
            }),
            rounds: Some(RoundsSection {
                max: Some(integer(config.rounds.max as u64)),
            }),
            log: Some(LogSection {
                snapshot_bytes: Some(Amount::Bytes(integer(config.log.snapshot_bytes))),
                snapshot_every_s: Some(integer(config.log.snapshot_every.as_secs())),
                keep_bytes: Some(Amount::Bytes(integer(config.log.keep_bytes))),
                sent_bytes_per_s: Some(Amount::Bytes(integer(config.log.sent_bytes_per_s))),
            }),
            logging: Some(LoggingSection::of(&config.logging)),
            tracing: Some(TracingSection::of(&config.tracing)),
            tls: config.tls.as_ref().map(|dir| TlsSection {
                dir: dir.display().to_string(),
            }),
            doors: Some(DoorsSection {
                auth: Some(config.auth.to_string()),
                requests: Some(integer(config.doors.requests as u64)),
                followers: Some(integer(config.doors.followers as u64)),
            }),
            agents: Some(AgentsSection {
                commands: Some(config.agent_commands),
            }),
            pools: Some(config.pools.iter().map(PoolSection::of).collect::<Vec<_>>()).filter(|pools| !pools.is_empty()),
            webhooks: Some(config.webhooks.iter().map(WebhookSection::of).collect::<Vec<_>>())
                .filter(|webhooks| !webhooks.is_empty()),
        }
    }

    pub(super) fn to_toml(&self) -> String {
        toml::to_string(self).expect("tables of integers and text are always TOML")
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
