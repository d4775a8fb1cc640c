//! Hosts as network namespaces on one bridge: each has a line to the others, and a door line to the test that no weather
//! and no split touches.
//!
//! It needs Linux, root and `ip` (iproute2), and fails where one of them is missing. What it makes carries the number of its
//! process in its name; it is removed when a test ends, however it ends, and by the next one if the process was killed.

mod cable;
pub(crate) mod load;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use queenright::config::ClusterConfig;
use rustix::process::{Pid, Signal, kill_process};

use self::cable::Cables;

/// What all names begin with. A name of an interface has 15 bytes at most: these two, a process of seven digits, `x`, two
/// digits, and three that say what it is.
const PREFIX: &str = "qr";
/// How many hosts there may be: as many as have a place in the net of the doors.
const HOSTS_MAX: usize = 16;
/// The nets of the hosts and of the doors, of those that are set apart for measurements (RFC 2544): two bytes each.
const HOSTS_NET: (u8, u8) = (198, 18);
const DOORS_NET: (u8, u8) = (198, 19);

/// What the lines between hosts do to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weather {
    /// How much later each packet arrives.
    pub(crate) delay: Duration,
    /// How many of a hundred packets are lost.
    pub(crate) loss_percent: f64,
}

impl Weather {
    pub(crate) const CLEAR: Weather = Weather {
        delay: Duration::ZERO,
        loss_percent: 0.0,
    };
}

/// Who makes the weather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shaper {
    Nobody,
    /// `tc netem`, in the kernel.
    Netem,
    /// The test, where the kernel has no netem: see [`Cables`].
    Cables,
}

/// The hosts of one cluster.
pub(crate) struct Hosts {
    prefix: String,
    /// The third byte of its addresses.
    net: u8,
    count: usize,
    shaper: Shaper,
    cables: Option<Cables>,
    _alone: MutexGuard<'static, ()>,
}

/// Two sets of hosts at a time would use the same addresses.
static ALONE: Mutex<()> = Mutex::new(());
/// How many sets of hosts this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Hosts {
    /// Makes so many hosts in this weather.
    pub(crate) fn new(count: usize, weather: Weather) -> Hosts {
        assert!((1..=HOSTS_MAX).contains(&count), "{count} hosts, from 1 to {HOSTS_MAX}");
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces are made by root"
        );
        remove_on_signals();
        remove_what_is_left();
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}x{}", std::process::id(), made % 100);
        let mut hosts = Hosts {
            net: (std::process::id() % 256) as u8,
            shaper: match weather == Weather::CLEAR {
                true => Shaper::Nobody,
                false if netem_is_there(&prefix) => Shaper::Netem,
                false => Shaper::Cables,
            },
            prefix,
            count,
            cables: None,
            _alone: alone,
        };
        hosts.build();
        match hosts.shaper {
            Shaper::Nobody => {}
            Shaper::Netem => hosts.netem(weather),
            Shaper::Cables => {
                let taps = hosts
                    .places()
                    .map(|place| (hosts.name("s", place), hosts.name("t", place)));
                hosts.cables = Some(Cables::start(taps, weather));
            }
        }
        hosts
    }

    /// Lets the nodes of a cluster live on the hosts, one on each.
    pub(crate) fn take_in(&self, config: &mut ClusterConfig) {
        assert_eq!(config.nodes.len(), self.count, "a node on each host");
        for (place, node) in config.nodes.iter_mut().enumerate() {
            node.links.set_ip(self.address(HOSTS_NET, place + 1));
            node.http.set_ip(self.address(DOORS_NET, 4 * place + 2));
        }
    }

    /// A program in `folder` that starts a node on its host, as `up` asks for it: the node takes the place of this program.
    pub(crate) fn starter(&self, folder: &Path) -> PathBuf {
        let script = format!(
            "#!/bin/sh\n# node --config FILE --name NAME …\nexec ip netns exec \"{}$5\" '{}' \"$@\"\n",
            self.prefix,
            env!("CARGO_BIN_EXE_queenright"),
        );
        let program = folder.join("start-node");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    /// Splits these nodes, each with the others of them, from the rest.
    pub(crate) fn split<S: AsRef<str>>(&self, apart: &[S]) {
        self.plug(apart.iter().map(|node| place_of(node.as_ref())), "bb");
    }

    /// Ends a split.
    pub(crate) fn heal(&self) {
        self.plug(self.places(), "ba");
    }

    /// Plugs hosts into a bridge.
    fn plug(&self, places: impl Iterator<Item = usize>, bridge: &str) {
        let bridge = self.name(bridge, 0);
        let moves = places.map(|place| format!("link set {} master {bridge}", self.name("p", place)));
        batch(&[], &moves.collect::<Vec<_>>());
    }

    /// What the kernel of a host says of its connections to other hosts: the shortest round trip of each, and how many
    /// packets it had to send again.
    pub(crate) fn connections(&self, node: &str) -> Vec<Connection> {
        let filter = format!("{}.{}.0.0/16", HOSTS_NET.0, HOSTS_NET.1);
        let namespace = self.namespace(place_of(node));
        let shown = run("ip", &["netns", "exec", &namespace, "ss", "-tinHO", "dst", &filter]);
        shown.lines().filter_map(Connection::parse).collect()
    }

    /// Who makes the weather, for those who read a result.
    pub(crate) fn shaped_by(&self) -> &'static str {
        match self.shaper {
            Shaper::Nobody => "nobody",
            Shaper::Netem => "tc netem",
            Shaper::Cables => "the test's own cables, since this kernel has no netem",
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

    fn build(&self) {
        let mut root = Vec::new();
        for bridge in ["ba", "bb"] {
            let bridge = self.name(bridge, 0);
            root.push(format!("link add {bridge} type bridge mcast_snooping 0"));
            root.push(format!("link set {bridge} up"));
        }
        for place in self.places() {
            root.push(format!("netns add {}", self.namespace(place)));
        }
        batch(&[], &root);
        for place in self.places() {
            self.build_host(place);
        }
        self.plug(self.places(), "ba");
    }

    fn build_host(&self, place: usize) {
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
        batch(&[], &root);
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
        batch(&["-n", &namespace], &own);
    }

    fn netem(&self, weather: Weather) {
        for place in self.places() {
            let delay = format!("{}ms", weather.delay.as_millis());
            let loss = format!("{}%", weather.loss_percent);
            let namespace = self.namespace(place);
            let shape = [
                "qdisc", "add", "dev", "eth0", "root", "netem", "delay", &delay, "loss", &loss,
            ];
            run("tc", &[&["-n", &namespace][..], &shape[..]].concat());
        }
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
pub(crate) struct Connection {
    /// The shortest round trip, in milliseconds.
    pub(crate) round_trip_ms: f64,
    /// How many packets were sent again.
    pub(crate) sent_again: u64,
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

/// The place of a node that is called `n1` and so on.
fn place_of(node: &str) -> usize {
    let number: usize = node.strip_prefix('n').and_then(|number| number.parse().ok()).unwrap();
    number - 1
}

/// Runs a program, which must succeed, and returns what it printed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output();
    succeeded(program, arguments, ran)
}

/// Runs lines of `ip`, which must all succeed.
#[track_caller]
fn batch(options: &[&str], lines: &[String]) {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]);
    ip.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = ip.spawn().and_then(|mut child| {
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end at the first line that fails.
        let _ = stdin.write_all(lines.join("\n").as_bytes());
        drop(stdin);
        child.wait_with_output()
    });
    let shown: Vec<&str> = lines.iter().map(String::as_str).collect();
    succeeded("ip", &shown, ran);
}

#[track_caller]
fn succeeded(program: &str, arguments: &[&str], ran: std::io::Result<Output>) -> String {
    let ran = ran.unwrap_or_else(|error| panic!("{program} (of iproute2) cannot be run: {error}"));
    assert!(
        ran.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Whether the kernel has netem, tried in a namespace that nobody uses.
fn netem_is_there(prefix: &str) -> bool {
    let namespace = format!("{prefix}try");
    run("ip", &["netns", "add", &namespace]);
    let tried = Command::new("tc")
        .args([
            "-n", &namespace, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms",
        ])
        .output();
    run("ip", &["netns", "del", &namespace]);
    tried.is_ok_and(|tried| tried.status.success())
}

/// Removes the interfaces and the namespaces of these names.
fn remove(is_meant: impl Fn(&str) -> bool) {
    let listed = |arguments: &[&str]| {
        let listed = Command::new("ip").args(arguments).output();
        listed.map_or_else(
            |_| String::new(),
            |listed| String::from_utf8_lossy(&listed.stdout).into_owned(),
        )
    };
    let delete = |what: &str, name: &str| {
        // One that is gone with its other end, or with its host, is gone.
        let _ = Command::new("ip").args([what, "del", name]).output();
    };
    // "7: NAME@PEER: <FLAGS> …"
    for line in listed(&["-o", "link", "show"]).lines() {
        let name = line.split(": ").nth(1).and_then(|name| name.split('@').next());
        name.into_iter()
            .filter(|name| is_meant(name))
            .for_each(|name| delete("link", name));
    }
    // "NAME (id: 3)"
    for line in listed(&["netns", "list"]).lines() {
        let name = line.split_whitespace().next();
        name.into_iter()
            .filter(|name| is_meant(name))
            .for_each(|name| delete("netns", name));
    }
}

/// Removes what processes that were killed have left.
fn remove_what_is_left() {
    remove(|name| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('x'));
        let pid = pid.and_then(|(pid, _)| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}

/// Removes what this process has made when it is told to end. Its nodes end with it: they watch a pipe that it holds.
/// The processes that are ended with this one when it is told to end.
fn beside() -> MutexGuard<'static, BTreeSet<u32>> {
    static BESIDE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    BESIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that the test has started and not waited for yet.
pub(crate) struct Beside(u32);

impl Beside {
    pub(crate) fn new(process: u32) -> Beside {
        beside().insert(process);
        Beside(process)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        beside().remove(&self.0);
    }
}

fn remove_on_signals() {
    static WATCHES: Once = Once::new();
    WATCHES.call_once(|| {
        thread::spawn(|| {
            use tokio::signal::unix::{SignalKind, signal};
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut terminated = signal(SignalKind::terminate()).unwrap();
                tokio::select! {
                    interrupted = tokio::signal::ctrl_c() => interrupted.unwrap(),
                    _ = terminated.recv() => {}
                }
            });
            for process in beside().iter().filter_map(|id| Pid::from_raw(id.cast_signed())) {
                // It may have ended by itself.
                let _ = kill_process(process, Signal::KILL);
            }
            let ours = format!("{PREFIX}{}x", std::process::id());
            remove(|name| name.starts_with(&ours));
            std::process::exit(130);
        });
    });
}
