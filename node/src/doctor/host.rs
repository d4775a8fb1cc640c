//! The host: what processes may use, which ports are free, and its disks.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use queenright_actors::disk::{DiskLimits, room_of};
use queenright_bench::disk::{fdatasync_probe, file_system};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::{ClusterConfig, Consensus, NodeConfig};
use crate::state::RunningNode;

/// Open files that a node needs for links, doors, log and store, and those of which it has enough for a thousand callers
/// who wait.
const FILES: (u64, u64) = (512, 4_096);
/// Processes and threads: those of a node, and of the commands that its agents run.
const PROCESSES: (u64, u64) = (128, 1_024);
/// A node that has more than so many hundredths of its files open is near its end.
const FILES_USED_PERCENT: u64 = 80;
/// How many syncs are measured, each of so many bytes: a small command.
const SYNCS: (u32, usize) = (40, 4_096);
/// A median sync that takes longer makes every write feel slow.
const SYNC_SLOW: Duration = Duration::from_millis(20);

/// What a process of this user may use.
pub(super) fn limits(running: &[RunningNode]) -> Vec<Finding> {
    let mut found = vec![
        limit("open_files", Resource::Nofile, FILES, "open files", "ulimit -n"),
        limit(
            "processes",
            Resource::Nproc,
            PROCESSES,
            "processes and threads",
            "ulimit -u",
        ),
    ];
    found.extend(running.iter().filter_map(open_files));
    found
}

fn limit(check: &'static str, resource: Resource, (least, enough): (u64, u64), what: &str, how: &str) -> Finding {
    let next = || {
        format!(
            "raise the limit before nodes are started, such as by `{how} {enough}`, or LimitNOFILE= and TasksMax= of the unit"
        )
    };
    match getrlimit(resource).current {
        None => Finding::ok(check, "", format!("no limit on {what}")),
        Some(limit) if limit < least => {
            let text = format!("a process may have {limit} {what}; a node needs {least}");
            Finding::problem(check, "", text, next())
        }
        Some(limit) if limit < enough => {
            let text = format!("a process may have {limit} {what}; {enough} are enough for many callers");
            Finding::warning(check, "", text, next())
        }
        Some(limit) => Finding::ok(check, "", format!("a process may have {limit} {what}")),
    }
}

/// What a running node has open, where the system tells (Linux), and as far as this user may look.
fn open_files(node: &RunningNode) -> Option<Finding> {
    let open = fs::read_dir(format!("/proc/{}/fd", node.pid)).ok()?.count() as u64;
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.pid)).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit: u64 = limit?.split_ascii_whitespace().next()?.parse().ok()?;
    let text = format!("process {} has {open} of {limit} files open", node.pid);
    Some(match open * 100 > limit.saturating_mul(FILES_USED_PERCENT) {
        true => Finding::warning("open_files", &node.node, text, "raise `ulimit -n` and restart the node"),
        false => Finding::ok("open_files", &node.node, text),
    })
}

/// Whether a node has its ports, or could have them. One that is alone sends no datagrams.
pub(super) fn ports(node: &NodeConfig, runs: Option<&RunningNode>, alone: bool) -> Vec<Finding> {
    let door = |address| TcpListener::bind(address).map(drop);
    let datagrams = |address| UdpSocket::bind(address).map(drop);
    let ours = |address: SocketAddr| runs.filter(|node| node.http == address || node.links == address);
    vec![
        port(node, "http", node.http, ours(node.http), door(node.http)),
        port(node, "links, TCP", node.links, ours(node.links), door(node.links)),
        port(
            node,
            "links, UDP",
            node.links,
            ours(node.links).filter(|_| !alone),
            datagrams(node.links),
        ),
    ]
}

fn port(
    node: &NodeConfig,
    what: &str,
    address: SocketAddr,
    ours: Option<&RunningNode>,
    bound: io::Result<()>,
) -> Finding {
    let of = node.name.clone();
    match (bound, ours) {
        (Ok(()), None) => Finding::ok("ports", of, format!("{address} ({what}) is free")),
        (Ok(()), Some(running)) => Finding::warning(
            "ports",
            of,
            format!(
                "{address} ({what}) is free, although process {} of the node runs",
                running.pid
            ),
            "look at the log of the node: it may be about to end",
        ),
        (Err(error), Some(running)) if error.kind() == io::ErrorKind::AddrInUse => {
            let text = format!("{address} ({what}) is held by the node, process {}", running.pid);
            Finding::ok("ports", of, text)
        }
        (Err(error), _) if error.kind() == io::ErrorKind::AddrInUse => Finding::problem(
            "ports",
            of,
            format!("{address} ({what}) is held by another process"),
            format!(
                "find it with `ss -lnptu 'sport = :{}'` and stop it, or give the node another port",
                address.port()
            ),
        ),
        (Err(error), _) => Finding::problem(
            "ports",
            of,
            format!("{address} ({what}) cannot be had: {error}"),
            "give the node an address of this host and a port that this user may have",
        ),
    }
}

/// The disk of a folder: its room, and what a sync costs there.
pub(super) fn disk(folder: &Path, config: Option<&ClusterConfig>) -> Vec<Finding> {
    let of = folder.display().to_string();
    vec![room(folder, &of, config), syncs(folder, &of, config)]
}

fn room(folder: &Path, of: &str, config: Option<&ClusterConfig>) -> Finding {
    let limits = config.map_or_else(DiskLimits::default, |config| DiskLimits {
        watermark_bytes: config.limits.disk_watermark_bytes,
        ballast_bytes: config.limits.ballast_bytes,
    });
    let make_room = "make room: growing commands are refused while a majority of the disks is low";
    match room_of(folder, limits) {
        Err(error) => Finding::problem(
            "disk_room",
            of,
            format!("cannot be told: {error}"),
            "look at the folder",
        ),
        Ok((free, watermark)) => {
            let text = format!("{} MiB are free, the watermark is {} MiB", free >> 20, watermark >> 20);
            match free {
                free if free < watermark => Finding::problem("disk_room", of, text, make_room),
                free if free / 2 < watermark => Finding::warning("disk_room", of, text, make_room),
                _ => Finding::ok("disk_room", of, text),
            }
        }
    }
}

fn syncs(folder: &Path, of: &str, config: Option<&ClusterConfig>) -> Finding {
    let probe = match fdatasync_probe(folder, SYNCS.1, SYNCS.0) {
        Ok(probe) => probe,
        Err(error) => {
            let text = format!("a sync could not be measured: {error}");
            return Finding::problem("disk_sync", of, text, "make the folder one that this user may write to");
        }
    };
    let at = |quantile| Duration::from_nanos(probe.nanos.value_at_quantile(quantile));
    let (median, worst) = (at(0.5), Duration::from_nanos(probe.nanos.max()));
    let system = file_system(folder);
    let text = format!(
        "{:.0} syncs a second on {}: median {median:.1?}, longest {worst:.1?} of {}",
        probe.rate(),
        system.name,
        SYNCS.0
    );
    let consensus = config.map_or_else(Consensus::default, |config| config.consensus);
    if system.is_memory {
        let next = "put the data on a disk: what is acknowledged here is lost with the host";
        return Finding::warning("disk_sync", of, text, next);
    }
    if median >= consensus.heartbeat {
        let next = "use another disk, or raise [consensus] heartbeat_ms and election_ms: a leader must sync within a heartbeat";
        return Finding::problem("disk_sync", of, text, next);
    }
    if median >= SYNC_SLOW || worst >= consensus.election_min {
        let next = "every write waits for such a sync on a majority: use another disk, or leave this one to the node";
        return Finding::warning("disk_sync", of, text, next);
    }
    Finding::ok("disk_sync", of, text)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn node(links: SocketAddr, http: SocketAddr) -> NodeConfig {
        NodeConfig {
            name: "n1".to_owned(),
            links,
            http,
            advertise_links: None,
            advertise_http: None,
            labels: Default::default(),
        }
    }

    #[test]
    fn a_port_is_free_ours_or_somebody_elses() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = held.local_addr().unwrap();
        let links = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        };
        let node = node(links, http);
        let found = ports(&node, None, false);
        assert_eq!(found[0].level, Level::Problem, "{:?}", found[0]);
        assert!(
            found[0]
                .text
                .contains(&format!("{http} (http) is held by another process"))
        );
        assert_eq!((found[1].level, found[2].level), (Level::Ok, Level::Ok), "{found:?}");
        let running = RunningNode::this_process("c", "n1", http, links, "/data".into());
        let found = ports(&node, Some(&running), false);
        assert_eq!(found[0].level, Level::Ok, "{:?}", found[0]);
        assert_eq!(found[1].level, Level::Warning, "a node that runs has its ports");
    }

    #[test]
    fn a_disk_is_measured() {
        let place = tempfile::tempdir().unwrap();
        let found = disk(place.path(), None);
        assert!(found[0].text.contains("MiB are free"), "{found:?}");
        assert!(found[1].text.contains("syncs a second"), "{found:?}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing stays");
        let found = disk(&place.path().join("none"), None);
        assert_eq!((found[0].level, found[1].level), (Level::Problem, Level::Problem));
    }
}
