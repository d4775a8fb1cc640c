//! From the shape of a cluster file to its meaning: every bound and every relation between keys.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exposure::Auth;
use super::file::{
    Amount, ClusterFile, ClusterSection, ConsensusSection, DoorsSection, LimitsSection, LogSection, NodeSection,
    RoundsSection, TlsSection,
};
use super::limits::{Bound, Limits};
use super::locate::closest;
use super::{
    ClusterConfig, Compression, ConfigError, Consensus, ControlLinks, Log, NODES_MAX, NodeConfig, Projects, Rounds,
    Topology,
};

const NAME_CHARS_MAX: usize = 40;
/// What lies beside the folders of the nodes in the folder of a cluster.
const NAMES_TAKEN: [&str; 4] = ["admin-token", "cookie", "logs", "running"];
/// Most children of a node in a hierarchy.
pub const FAN_OUT_MAX: u64 = 16;
const FAN_OUT: Bound = Bound {
    default: 2,
    min: 2,
    max: FAN_OUT_MAX,
};
const HEARTBEAT_MS: Bound = Bound {
    default: 250,
    min: 20,
    max: 5_000,
};
const ELECTION_MS_MAX: i64 = 60_000;
const ELECTION_HEARTBEATS_MIN: i64 = 3;

pub(super) fn cluster(file: &Path, raw: ClusterFile) -> Result<ClusterConfig, ConfigError> {
    let check = Check { file };
    let ClusterSection {
        name,
        topology,
        fan_out,
        projects,
    } = raw.cluster;
    check.name("cluster.name", &name)?;
    let doors = raw.doors.unwrap_or_default();
    let nodes = check.nodes(raw.nodes)?;
    Ok(ClusterConfig {
        file: file.to_path_buf(),
        topology: check.topology(&topology, fan_out)?,
        projects: check.projects(projects.as_deref())?,
        name,
        consensus: check.consensus(&raw.consensus.unwrap_or_default(), nodes.len())?,
        compression: check.compression(raw.links.unwrap_or_default().compression.as_deref())?,
        nodes,
        limits: check.limits(&raw.limits.unwrap_or_default())?,
        rounds: check.rounds(&raw.rounds.unwrap_or_default())?,
        log: check.log(&raw.log.unwrap_or_default())?,
        logging: check.logging(&raw.logging.unwrap_or_default())?,
        tracing: check.tracing(&raw.tracing.unwrap_or_default())?,
        tls: raw.tls.map(|tls| check.tls(&tls)).transpose()?,
        auth: check.auth(&doors)?,
        doors: check.doors(&doors)?,
        agent_commands: raw.agents.unwrap_or_default().commands.unwrap_or(true),
        pools: check.pools(raw.pools.unwrap_or_default())?,
        webhooks: check.webhooks(raw.webhooks.unwrap_or_default())?,
    })
}

/// The checks, with the name of the file that their errors begin with.
pub(super) struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    pub(super) fn file(&self) -> &Path {
        self.file
    }

    pub(super) fn refuse(&self, key: &str, value: impl fmt::Display, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            file: self.file.to_path_buf(),
            key: key.to_owned(),
            value: value.to_string(),
            problem: problem.into(),
        }
    }

    pub(super) fn name(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let refuse = |problem: String| Err(self.refuse(key, format!("{name:?}"), problem));
        if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
            return refuse(format!(
                "has {} characters (1 to {NAME_CHARS_MAX})",
                name.chars().count()
            ));
        }
        if let Some(odd) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return refuse(format!("has {odd:?} (only a to z, 0 to 9 and - are allowed)"));
        }
        if name.starts_with('-') {
            return refuse("begins with - (it would read as an option)".to_owned());
        }
        Ok(())
    }

    fn projects(&self, word: Option<&str>) -> Result<Projects, ConfigError> {
        match word {
            None => Ok(Projects::default()),
            Some("on-use") => Ok(Projects::OnUse),
            Some("listed") => Ok(Projects::Listed),
            Some(other) => {
                let meant = closest(other, &Projects::NAMES).map(|name| format!("; did you mean {name:?}?"));
                let names = Projects::NAMES.join(", ");
                let problem = format!("is no way to make projects ({names}{})", meant.unwrap_or_default());
                Err(self.refuse("cluster.projects", format!("{other:?}"), problem))
            }
        }
    }

    fn topology(&self, word: &str, fan_out: Option<i64>) -> Result<Topology, ConfigError> {
        let topology = match word {
            "mesh" => Topology::Mesh,
            "star" => Topology::Star,
            "ring" => Topology::Ring,
            "hierarchical" => {
                let key = "cluster.fan_out";
                return Ok(Topology::Hierarchical {
                    fan_out: self.number(key, fan_out, FAN_OUT)? as usize,
                });
            }
            _ => {
                let meant = closest(word, &Topology::NAMES).map(|name| format!("; did you mean {name:?}?"));
                let problem = format!(
                    "is no topology ({}{})",
                    Topology::NAMES.join(", "),
                    meant.unwrap_or_default()
                );
                return Err(self.refuse("cluster.topology", format!("{word:?}"), problem));
            }
        };
        match fan_out {
            Some(fan_out) => Err(self.refuse(
                "cluster.fan_out",
                fan_out,
                format!("means nothing for {topology} (only hierarchical)"),
            )),
            None => Ok(topology),
        }
    }

    fn nodes(&self, raw: Vec<NodeSection>) -> Result<Vec<NodeConfig>, ConfigError> {
        if !(1..=NODES_MAX).contains(&raw.len()) {
            return Err(self.refuse("nodes", raw.len(), format!("nodes are listed (1 to {NODES_MAX})")));
        }
        let mut names = BTreeMap::new();
        let mut addresses: BTreeMap<SocketAddr, String> = BTreeMap::new();
        let mut nodes = Vec::with_capacity(raw.len());
        let mut advertised: BTreeMap<String, String> = BTreeMap::new();
        for (index, section) in raw.into_iter().enumerate() {
            let NodeSection {
                name,
                links,
                http,
                advertise_links,
                advertise_http,
                labels,
            } = section;
            let key = |field: &str| format!("nodes[{index}].{field}");
            self.name(&key("name"), &name)?;
            if NAMES_TAKEN.contains(&name.as_str()) {
                return Err(self.refuse(
                    &key("name"),
                    format!("{name:?}"),
                    "is taken by a folder of the program itself",
                ));
            }
            if let Some(first) = names.insert(name.clone(), key("name")) {
                return Err(self.refuse(
                    &key("name"),
                    format!("{name:?}"),
                    format!("is also {first} (names are unique)"),
                ));
            }
            let node = NodeConfig {
                name,
                links: self.address(&key("links"), &links)?,
                http: self.address(&key("http"), &http)?,
                advertise_links: self.advertised(&key("advertise_links"), advertise_links)?,
                advertise_http: self.advertised(&key("advertise_http"), advertise_http)?,
                labels: self.node_labels(&key("labels"), labels.unwrap_or_default())?,
            };
            let said = [&node.advertise_links, &node.advertise_http];
            for ((field, address), said) in [("links", node.links), ("http", node.http)].into_iter().zip(said) {
                if address.ip().is_unspecified() {
                    // Of several hosts each has its own.
                    if said.is_none() {
                        let problem =
                            format!("is every address of its host; say in advertise_{field} what others dial");
                        return Err(self.refuse(&key(field), format!("\"{address}\""), problem));
                    }
                } else if let Some(first) = addresses.insert(address, key(field)) {
                    let problem = format!("is also {first} (each address has one listener)");
                    return Err(self.refuse(&key(field), format!("\"{address}\""), problem));
                }
                let Some(said) = said else { continue };
                let key = key(&format!("advertise_{field}"));
                if let Some(first) = advertised.insert(said.clone(), key.clone()) {
                    let problem = format!("is also {first} (each address leads to one listener)");
                    return Err(self.refuse(&key, format!("{said:?}"), problem));
                }
            }
            nodes.push(node);
        }
        Ok(nodes)
    }

    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        let (host, port) = self.host_and_port(key, text)?;
        let host = if host == "localhost" {
            Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else {
            host.strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host)
                .parse()
                .ok()
        };
        match host {
            Some(host) => Ok(SocketAddr::new(host, port)),
            None => {
                let problem = "is not an address to listen on (an IP address of the host; names go into advertise_links \
                               and advertise_http)";
                Err(self.refuse(key, format!("{text:?}"), problem))
            }
        }
    }

    /// What others dial: a name or an address, and a port.
    fn advertised(&self, key: &str, text: Option<String>) -> Result<Option<String>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let (host, _) = self.host_and_port(key, &text)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let problem = match bare.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => "is no address that others can dial",
            Ok(_) => return Ok(Some(text)),
            Err(_)
                if host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) =>
            {
                return Ok(Some(text));
            }
            Err(_) => "has no host that can be dialled (a name or an IP address)",
        };
        Err(self.refuse(key, format!("{text:?}"), problem))
    }

    fn host_and_port<'t>(&self, key: &str, text: &'t str) -> Result<(&'t str, u16), ConfigError> {
        let refuse = |problem: &str| Err(self.refuse(key, format!("{text:?}"), problem));
        // A bare IPv6 address is full of colons, none of which sets off a port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => return refuse("has no port (expected host:port)"),
        };
        if host.is_empty() {
            return refuse("has no host (expected host:port)");
        }
        match port.parse::<u16>() {
            Ok(0) | Err(_) => refuse("has no usable port (1 to 65535)"),
            Ok(port) => Ok((host, port)),
        }
    }

    /// The folder of the certificates, beside the file unless it is absolute.
    fn tls(&self, raw: &TlsSection) -> Result<PathBuf, ConfigError> {
        if raw.dir.is_empty() {
            return Err(self.refuse("tls.dir", "\"\"", "names no folder"));
        }
        let folder = self.file.parent().unwrap_or(Path::new("")).join(&raw.dir);
        // Without a current folder a relative path means nothing, and reading the files will say so.
        Ok(std::path::absolute(&folder).unwrap_or(folder))
    }

    /// The path of a file, relative to the cluster file. Absolute here.
    pub(super) fn beside(&self, key: &str, path: &str) -> Result<PathBuf, ConfigError> {
        if path.is_empty() {
            return Err(self.refuse(key, "\"\"", "names no file"));
        }
        let file = self.file.parent().unwrap_or(Path::new("")).join(path);
        Ok(std::path::absolute(&file).unwrap_or(file))
    }

    fn auth(&self, raw: &DoorsSection) -> Result<Auth, ConfigError> {
        match raw.auth.as_deref() {
            None => Ok(Auth::default()),
            Some("none") => Ok(Auth::None),
            Some("token") => Ok(Auth::Token),
            Some(other) => {
                let meant = closest(other, &Auth::NAMES).map(|name| format!("; did you mean {name:?}?"));
                let problem = format!(
                    "is no way to let callers in ({}{})",
                    Auth::NAMES.join(", "),
                    meant.unwrap_or_default()
                );
                Err(self.refuse("doors.auth", format!("{other:?}"), problem))
            }
        }
    }

    fn consensus(&self, raw: &ConsensusSection, nodes: usize) -> Result<Consensus, ConfigError> {
        let defaults = Consensus::default();
        let heartbeat_ms = self.number("consensus.heartbeat_ms", raw.heartbeat_ms, HEARTBEAT_MS)? as i64;
        let [min, max] = raw.election_ms.unwrap_or([
            defaults.election_min.as_millis() as i64,
            defaults.election_max.as_millis() as i64,
        ]);
        let least = ELECTION_HEARTBEATS_MIN * heartbeat_ms;
        if min < least {
            let problem = format!(
                "is below {least} ({ELECTION_HEARTBEATS_MIN} × consensus.heartbeat_ms, so that one lost heartbeat elects nobody)"
            );
            return Err(self.refuse("consensus.election_ms[0]", min, problem));
        }
        if max <= min {
            return Err(self.refuse(
                "consensus.election_ms[1]",
                max,
                format!("is not above election_ms[0] = {min}"),
            ));
        }
        if max > ELECTION_MS_MAX {
            return Err(self.refuse("consensus.election_ms[1]", max, format!("is above {ELECTION_MS_MAX}")));
        }
        let millis = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        Ok(Consensus {
            heartbeat: millis(heartbeat_ms),
            election_min: millis(min),
            election_max: millis(max),
            voters: self.voters(raw.voters, nodes)?,
            links: self.control_links(raw.links.as_deref())?,
        })
    }

    fn voters(&self, voters: Option<i64>, nodes: usize) -> Result<Option<usize>, ConfigError> {
        let Some(voters) = voters else { return Ok(None) };
        let refuse = |problem: String| Err(self.refuse("consensus.voters", voters, problem));
        match voters {
            3 | 5 if voters as usize <= nodes => Ok(Some(voters as usize)),
            3 | 5 => refuse(format!("is above the number of nodes, {nodes}")),
            _ => refuse("is no number of voters (3 or 5)".to_owned()),
        }
    }

    fn compression(&self, word: Option<&str>) -> Result<Compression, ConfigError> {
        match word {
            None => Ok(Compression::default()),
            Some("off") => Ok(Compression::Off),
            Some("lz4") => Ok(Compression::Lz4),
            Some(other) => {
                let names = Compression::NAMES.join(", ");
                let problem = format!("is no compression ({names})");
                Err(self.refuse("links.compression", format!("{other:?}"), problem))
            }
        }
    }

    fn control_links(&self, word: Option<&str>) -> Result<ControlLinks, ConfigError> {
        match word {
            None => Ok(ControlLinks::default()),
            Some("direct") => Ok(ControlLinks::Direct),
            Some("routed") => Ok(ControlLinks::Routed),
            Some(other) => {
                let meant = closest(other, &ControlLinks::NAMES).map(|name| format!("; did you mean {name:?}?"));
                let names = ControlLinks::NAMES.join(", ");
                let problem = format!("is no way for consensus ({names}{})", meant.unwrap_or_default());
                Err(self.refuse("consensus.links", format!("{other:?}"), problem))
            }
        }
    }

    fn limits(&self, raw: &LimitsSection) -> Result<Limits, ConfigError> {
        let limits = Limits {
            value_bytes: self.bytes("limits.value_bytes", &raw.value_bytes, Limits::VALUE_BYTES)?,
            command_bytes: self.bytes("limits.command_bytes", &raw.command_bytes, Limits::COMMAND_BYTES)?,
            round_bytes: self.bytes("limits.round_bytes", &raw.round_bytes, Limits::ROUND_BYTES)?,
            rounds_in_flight: self.number(
                "limits.rounds_in_flight",
                raw.rounds_in_flight,
                Limits::ROUNDS_IN_FLIGHT,
            )? as usize,
            http_body_bytes: self.bytes("limits.http_body_bytes", &raw.http_body_bytes, Limits::HTTP_BODY_BYTES)?,
            outbox_bytes: self.bytes("limits.outbox_bytes", &raw.outbox_bytes, Limits::OUTBOX_BYTES)?,
            disk_watermark_bytes: self.said_bytes(
                "limits.disk_watermark_bytes",
                &raw.disk_watermark_bytes,
                Limits::DISK_WATERMARK_BYTES,
            )?,
            ballast_bytes: self.said_bytes("limits.ballast_bytes", &raw.ballast_bytes, Limits::BALLAST_BYTES)?,
            memory_bytes: self.said_bytes("limits.memory_bytes", &raw.memory_bytes, Limits::MEMORY_BYTES)?,
        };
        let not_above = |key: &str, value: usize, other: &str, bound: usize| {
            if value <= bound {
                return Ok(());
            }
            Err(self.refuse(
                key,
                value,
                format!("is above {other} = {bound}, so that none of that size could pass"),
            ))
        };
        not_above(
            "limits.value_bytes",
            limits.value_bytes,
            "limits.command_bytes",
            limits.command_bytes,
        )?;
        not_above(
            "limits.value_bytes",
            limits.value_bytes,
            "limits.http_body_bytes",
            limits.http_body_bytes,
        )?;
        Ok(limits)
    }

    fn rounds(&self, raw: &RoundsSection) -> Result<Rounds, ConfigError> {
        Ok(Rounds {
            max: self.number("rounds.max", raw.max, Rounds::MAX)? as usize,
        })
    }

    fn log(&self, raw: &LogSection) -> Result<Log, ConfigError> {
        let bytes = |key: &str, amount: &Option<Amount>, bound| Ok(self.bytes(key, amount, bound)? as u64);
        let every = self.number("log.snapshot_every_s", raw.snapshot_every_s, Log::SNAPSHOT_EVERY_S)?;
        Ok(Log {
            snapshot_bytes: bytes("log.snapshot_bytes", &raw.snapshot_bytes, Log::SNAPSHOT_BYTES)?,
            snapshot_every: Duration::from_secs(every),
            keep_bytes: bytes("log.keep_bytes", &raw.keep_bytes, Log::KEEP_BYTES)?,
            sent_bytes_per_s: bytes("log.sent_bytes_per_s", &raw.sent_bytes_per_s, Log::SENT_BYTES_PER_S)?,
        })
    }

    pub(super) fn number(&self, key: &str, value: Option<i64>, bound: Bound) -> Result<u64, ConfigError> {
        let Some(value) = value else { return Ok(bound.default) };
        match u64::try_from(value) {
            Ok(number) if (bound.min..=bound.max).contains(&number) => Ok(number),
            _ => Err(self.refuse(key, value, format!("is out of range ({} to {})", bound.min, bound.max))),
        }
    }

    pub(super) fn bytes(&self, key: &str, amount: &Option<Amount>, bound: Bound) -> Result<usize, ConfigError> {
        let said = self.said_bytes(key, amount, bound.min..=bound.max)?;
        Ok(said.unwrap_or(bound.default) as usize)
    }

    /// A number of bytes whose default is not a number.
    fn said_bytes(
        &self,
        key: &str,
        amount: &Option<Amount>,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(amount) = amount else { return Ok(None) };
        match amount.bytes() {
            Some(bytes) if bounds.contains(&bytes) => Ok(Some(bytes)),
            None if matches!(amount, Amount::Text(_)) => {
                Err(self.refuse(key, amount, "is no size (a number and B, KiB, MiB or GiB)"))
            }
            _ => Err(self.refuse(
                key,
                amount,
                format!("is out of range ({} to {} bytes)", bounds.start(), bounds.end()),
            )),
        }
    }
}
