//! Hosts as network namespaces on one bridge: each has a line to the others, and a door line to this process that no weather
//! and no split touches. A cluster on them is on one machine, with the delay and the loss of a network.
//!
//! | module | holds |
//! |---|---|
//! | `cable` | lines that delay and lose, where the kernel has no netem |
//! | `command` | what is done by `ip` and `tc` |
//!
//! It needs Linux, root and `ip` (iproute2). What it makes carries the number of its process in its name; it is removed with
//! [`Hosts`], by [`remove_ours`], and by the next [`Hosts::new`] if the process was killed.

mod cable;
mod command;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use self::cable::Cables;
use self::command::{batch, netem_is_there, remove, run};

/// What all names begin with. A name of an interface has 15 bytes at most: these two, a process of seven digits, `x`, two
/// digits, and three that say what it is.
const PREFIX: &str = "qr";
/// How many hosts there may be: as many as have a place in the net of the doors.
pub const HOSTS_MAX: usize = 16;
/// The nets of the hosts and of the doors, of those that are set apart for measurements (RFC 2544): two bytes each.
const HOSTS_NET: (u8, u8) = (198, 18);
const DOORS_NET: (u8, u8) = (198, 19);
/// The ports of a node on its host.
const LINKS_PORT: u16 = 7101;
const HTTP_PORT: u16 = 7201;

/// What the lines between hosts do to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// How much later each packet arrives.
    pub delay: Duration,
    /// How many of a hundred packets are lost, 0 to 100.
    pub loss_percent: f64,
}

impl Weather {
    /// No delay and no loss but those of the machine.
    pub const CLEAR: Weather = Weather {
        delay: Duration::ZERO,
        loss_percent: 0.0,
    };
}

/// Why there are no such hosts. What was made of them is removed.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// There are no network namespaces here.
    #[error("network namespaces: this is {0}, not Linux")]
    NotLinux(&'static str),
    /// Only root makes them.
    #[error("network namespaces are made by root, and this process is user {user}")]
    NotRoot {
        /// Whose it is.
        user: u32,
    },
    /// A number is out of its bounds.
    #[error("{field}: {found} is not {bound}")]
    Bound {
        /// What has that number.
        field: &'static str,
        /// The number.
        found: String,
        /// What it must be.
        bound: &'static str,
    },
    /// A program of iproute2 could not be run, or refused.
    #[error("{program} (of iproute2): {problem}")]
    Program {
        /// Which one.
        program: String,
        /// What it was asked and what it said.
        problem: String,
    },
    /// A device of a line cannot be used.
    #[error("{device}, a line between two hosts, cannot be used")]
    Device {
        /// Which one.
        device: String,
        /// The answer of the system.
        source: std::io::Error,
    },
    /// A file that starts nodes there could not be written.
    #[error("cannot write {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The answer of the system.
        source: std::io::Error,
    },
}

/// Who makes the weather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shaper {
    Nobody,
    /// `tc netem`, in the kernel.
    Netem,
    /// This process, where the kernel has no netem: see [`Cables`].
    Cables,
}

/// The hosts of one cluster.
#[derive(Debug)]
pub struct Hosts {
    prefix: String,
    /// The third byte of its addresses: two sets of hosts of one process use the same.
    net: u8,
    count: usize,
    shaper: Shaper,
    cables: Option<Cables>,
}

/// How many sets of hosts this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Hosts {
    /// Makes so many hosts in this weather. A process has one set of them at a time.
    ///
    /// # Errors
    /// [`HostsError`].
    pub fn new(count: usize, weather: Weather) -> Result<Hosts, HostsError> {
        may_be()?;
        check(count, weather)?;
        remove_what_is_left();
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}x{}", std::process::id(), made % 100);
        // From here on it is removed when it is dropped.
        let mut hosts = Hosts {
            net: (std::process::id() % 256) as u8,
            shaper: match weather == Weather::CLEAR {
                true => Shaper::Nobody,
                false if netem_is_there(&prefix)? => Shaper::Netem,
                false => Shaper::Cables,
            },
            prefix,
            count,
            cables: None,
        };
        hosts.build()?;
        match hosts.shaper {
            Shaper::Nobody => {}
            Shaper::Netem => hosts.netem(weather)?,
            Shaper::Cables => {
                let taps = hosts
                    .places()
                    .map(|place| (hosts.name("s", place), hosts.name("t", place)));
                hosts.cables = Some(Cables::start(taps, weather)?);
            }
        }
        Ok(hosts)
    }

    /// Where the links of the node at this place are.
    pub fn links(&self, place: usize) -> SocketAddr {
        SocketAddr::new(self.address(HOSTS_NET, place + 1), LINKS_PORT)
    }

    /// Where its door is.
    pub fn door(&self, place: usize) -> SocketAddr {
        SocketAddr::new(self.address(DOORS_NET, 4 * place + 2), HTTP_PORT)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A program in `folder` that starts a node of `program` on its host, as `up` asks for it: the node takes the place of that
    /// program. Nodes are called `n1` and so on.
    ///
    /// # Errors
    /// [`HostsError::File`].
    pub fn starter(&self, program: &Path, folder: &Path) -> Result<PathBuf, HostsError> {
        let script = format!(
            "#!/bin/sh\n# node --config FILE --name NAME …\nexec ip netns exec \"{}$5\" '{}' \"$@\"\n",
            self.prefix,
            program.display(),
        );
        let path = folder.join("start-node");
        let written = std::fs::write(&path, script)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)));
        match written {
            Ok(()) => Ok(path),
            Err(source) => Err(HostsError::File { path, source }),
        }
    }

    /// Splits these nodes, each with the others of them, from the rest.
    ///
    /// # Errors
    /// [`HostsError::Program`].
    pub fn split<S: AsRef<str>>(&self, apart: &[S]) -> Result<(), HostsError> {
        let is_apart = |place: &usize| apart.iter().any(|node| node.as_ref() == format!("n{}", place + 1));
        self.plug(self.places().filter(is_apart), "bb")
    }

    /// Ends a split.
    ///
    /// # Errors
    /// [`HostsError::Program`].
    pub fn heal(&self) -> Result<(), HostsError> {
        self.plug(self.places(), "ba")
    }

    /// Plugs hosts into a bridge.
    fn plug(&self, places: impl Iterator<Item = usize>, bridge: &str) -> Result<(), HostsError> {
        let bridge = self.name(bridge, 0);
        let moves = places.map(|place| format!("link set {} master {bridge}", self.name("p", place)));
        batch(&[], &moves.collect::<Vec<_>>())
    }

    /// What the kernel of the host at this place says of its connections to other hosts: the shortest round trip of each, and
    /// how many packets it had to send again.
    ///
    /// # Errors
    /// [`HostsError::Program`].
    pub fn connections(&self, place: usize) -> Result<Vec<Connection>, HostsError> {
        let filter = format!("{}.{}.0.0/16", HOSTS_NET.0, HOSTS_NET.1);
        let namespace = self.namespace(place);
        let shown = run("ip", &["netns", "exec", &namespace, "ss", "-tinHO", "dst", &filter])?;
        Ok(shown.lines().filter_map(Connection::parse).collect())
    }

    /// Who makes the weather, for those who read a result.
    pub fn shaped_by(&self) -> &'static str {
        match self.shaper {
            Shaper::Nobody => "nobody",
            Shaper::Netem => "tc netem",
            Shaper::Cables => "cables of the bench itself, since this kernel has no netem",
        }
    }

    fn places(&self) -> std::ops::Range<usize> {
        0..self.count
    }

    fn name(&self, what: &str, place: usize) -> String {
        format!("{}{what}{}", self.prefix, place + 1)
    }

    fn namespace(&self, place: usize) -> String {
        self.name("n", place)
    }

    fn address(&self, (first, second): (u8, u8), last: usize) -> IpAddr {
        Ipv4Addr::new(first, second, self.net, last as u8).into()
    }

    fn build(&self) -> Result<(), HostsError> {
        let mut root = Vec::new();
        for bridge in ["ba", "bb"] {
            let bridge = self.name(bridge, 0);
            root.push(format!("link add {bridge} type bridge mcast_snooping 0"));
            root.push(format!("link set {bridge} up"));
        }
        for place in self.places() {
            root.push(format!("netns add {}", self.namespace(place)));
        }
        batch(&[], &root)?;
        for place in self.places() {
            self.build_host(place)?;
        }
        self.plug(self.places(), "ba")
    }

    fn build_host(&self, place: usize) -> Result<(), HostsError> {
        let [port, door] = ["p", "d"].map(|what| self.name(what, place));
        let namespace = self.namespace(place);
        let mut root = vec![format!("link add {door} type veth peer name door netns {namespace}")];
        if self.shaper == Shaper::Cables {
            // eth0 of the host = v ~ s = the cable = t ~ r = p in the bridge, where = is a line and ~ the same place.
            let [near, far] = ["v", "r"].map(|what| self.name(what, place));
            root.push(format!("link add {near} type veth peer name eth0 netns {namespace}"));
            root.push(format!("link add {far} type veth peer name {port}"));
            for (below, tap) in [(&near, "s"), (&far, "t")] {
                let tap = self.name(tap, place);
                root.push(format!("link add {tap} link {below} type macvtap mode passthru"));
                root.extend([below, &tap].map(|link| format!("link set {link} up")));
            }
        } else {
            root.push(format!("link add {port} type veth peer name eth0 netns {namespace}"));
        }
        root.extend([&port, &door].map(|link| format!("link set {link} up")));
        let ours = self.address(DOORS_NET, 4 * place + 1);
        root.push(format!("addr add {ours}/30 dev {door}"));
        batch(&[], &root)?;
        let links = self.address(HOSTS_NET, place + 1);
        let theirs = self.address(DOORS_NET, 4 * place + 2);
        let own = [
            "link set lo up".to_owned(),
            format!("addr add {links}/24 dev eth0"),
            format!("addr add {theirs}/30 dev door"),
            // What is lost is a packet, not a bundle of them that the system would cut up behind the line.
            "link set eth0 gso_max_segs 1".to_owned(),
            "link set eth0 up".to_owned(),
            "link set door up".to_owned(),
        ];
        batch(&["-n", &namespace], &own)
    }

    fn netem(&self, weather: Weather) -> Result<(), HostsError> {
        for place in self.places() {
            let delay = format!("{}us", weather.delay.as_micros());
            let loss = format!("{}%", weather.loss_percent);
            let namespace = self.namespace(place);
            let shape = [
                "qdisc", "add", "dev", "eth0", "root", "netem", "delay", &delay, "loss", &loss,
            ];
            run("tc", &[&["-n", &namespace][..], &shape[..]].concat())?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Before the devices that they read.
        self.cables = None;
        remove(|name| name.starts_with(&self.prefix));
    }
}

/// A connection of a host to another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connection {
    /// The shortest round trip, in milliseconds.
    pub round_trip_ms: f64,
    /// How many packets were sent again.
    pub sent_again: u64,
}

impl Connection {
    /// From a line of `ss -tinO`; nothing of one over which nothing went yet.
    fn parse(line: &str) -> Option<Connection> {
        let word = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        Some(Connection {
            round_trip_ms: word("minrtt:")?.parse().ok()?,
            // Those under way, and all; absent as long as there were none.
            sent_again: word("retrans:").map_or(Some(0), |counts| counts.split('/').nth(1)?.parse().ok())?,
        })
    }
}

/// Whether this process may make hosts.
///
/// # Errors
/// [`HostsError::NotLinux`] and [`HostsError::NotRoot`].
pub fn may_be() -> Result<(), HostsError> {
    let user = rustix::process::geteuid();
    match std::env::consts::OS {
        "linux" if user.is_root() => Ok(()),
        "linux" => Err(HostsError::NotRoot { user: user.as_raw() }),
        other => Err(HostsError::NotLinux(other)),
    }
}

/// Whether there can be so many hosts in this weather.
///
/// # Errors
/// [`HostsError::Bound`].
pub fn check(count: usize, weather: Weather) -> Result<(), HostsError> {
    let bound = |field, found: String, bound| Err(HostsError::Bound { field, found, bound });
    match weather {
        _ if !(1..=HOSTS_MAX).contains(&count) => bound("hosts", count.to_string(), "1 to 16"),
        Weather { loss_percent, .. } if !(0.0..=50.0).contains(&loss_percent) => {
            bound("loss", format!("{loss_percent}%"), "0% to 50%")
        }
        Weather { delay, .. } if delay > Duration::from_secs(1) => {
            bound("delay", format!("{} ms", delay.as_millis()), "0 to 1000 ms")
        }
        _ => Ok(()),
    }
}

/// Removes all that this process has made, however many hosts are left.
pub fn remove_ours() {
    let ours = format!("{PREFIX}{}x", std::process::id());
    remove(|name| name.starts_with(&ours));
}

/// Removes what processes that were killed have left.
fn remove_what_is_left() {
    remove(|name| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('x'));
        let pid = pid.and_then(|(pid, _)| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_from_what_ss_says() {
        let line = "ESTAB 0 0 198.18.7.1:7101 198.18.7.2:4312 cubic rtt:41.2/0.6 retrans:0/12 minrtt:40.102";
        let expected = Connection {
            round_trip_ms: 40.102,
            sent_again: 12,
        };
        assert_eq!(Connection::parse(line), Some(expected));
        assert_eq!(Connection::parse("ESTAB 0 0 198.18.7.1:7101 198.18.7.2:4312"), None);
    }

    #[test]
    fn a_weather_has_bounds() {
        let check = |count, delay_ms, loss_percent, expected: &str| {
            let weather = Weather {
                delay: Duration::from_millis(delay_ms),
                loss_percent,
            };
            assert_eq!(check(count, weather).unwrap_err().to_string(), expected);
        };
        check(17, 0, 0.0, "hosts: 17 is not 1 to 16");
        check(3, 0, 51.0, "loss: 51% is not 0% to 50%");
        check(3, 0, f64::NAN, "loss: NaN% is not 0% to 50%");
        check(3, 1_001, 0.0, "delay: 1001 ms is not 0 to 1000 ms");
        assert!(super::check(3, Weather::CLEAR).is_ok());
    }
}
