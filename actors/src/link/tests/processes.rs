//! Links between real processes. ractor's registries are global, so each scenario runs in a process of its own, the
//! near node, which starts another one, the far node. Both are this test binary, told by the environment what to be.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use queenright_protocol::id::NodeId;
use queenright_protocol::version::Versions;
use queenright_protocol::wire::{Envelope, Greeting, Kind, Lane, SPOKEN};
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::far::{FarProcess, Report, far};
use crate::link::*;

const ROLE: &str = "QUEENRIGHT_LINK_TEST_ROLE";
pub(super) const LISTEN: &str = "QUEENRIGHT_LINK_TEST_LISTEN";
pub(super) const ME: &str = "QUEENRIGHT_LINK_TEST_ME";
pub(super) const NEAR_ADDRESS: &str = "QUEENRIGHT_LINK_TEST_NEAR_ADDRESS";
pub(super) const SPEAKS: &str = "QUEENRIGHT_LINK_TEST_SPEAKS";
pub(super) const NEAR: u16 = 1;
pub(super) const FAR: u16 = 0;
/// A second far node, which dials the near one.
const THIRD: u16 = 2;
const COOKIE: &str = "0123456789abcdef0123456789abcdef";

/// What must happen within seconds gets this long, since machines are shared.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn signals_and_a_large_envelope_arrive_whole_and_in_order() {
    run("flood");
}

#[test]
fn a_killed_neighbour_is_noticed_and_linked_again() {
    run("kill");
}

#[test]
fn a_stopped_neighbour_costs_bounded_memory_and_no_envelopes() {
    run("stop");
}

#[test]
fn a_link_to_a_stopped_neighbour_can_be_closed_and_is_made_anew() {
    run("close");
}

#[test]
fn a_malformed_frame_closes_the_link_and_only_that() {
    run("malformed");
}

#[test]
fn silent_and_babbling_strangers_do_not_keep_a_neighbour_out() {
    run("strangers");
}

#[test]
fn a_node_with_another_cookie_is_not_linked() {
    run("cookie");
}

#[test]
fn a_gateway_whose_receiver_panics_starts_again() {
    run("panic");
}

#[test]
fn links_can_be_stopped_and_started_again() {
    run("restart");
}

#[test]
fn a_node_has_a_link_of_its_own_with_each_neighbour() {
    run("three");
}

#[test]
fn a_link_that_is_not_wanted_any_more_goes_when_its_outbox_is_empty_and_comes_back_when_it_is() {
    run("unwanted");
}

#[test]
fn a_link_that_only_the_other_end_wants_is_a_guest_for_a_while() {
    run("guest");
}

#[test]
fn the_newest_version_that_both_ends_speak_is_that_of_their_link() {
    run("newer");
}

#[test]
fn a_node_that_speaks_no_version_of_this_one_is_refused_by_both_with_a_reason() {
    run("incompatible");
}

#[test]
fn a_large_envelope_takes_fewer_bytes_where_compression_is_asked_for() {
    run("smaller");
}

/// Does nothing unless it was started by one of the tests above.
#[test]
fn entry() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Whoever started this process holds the other end: no process outlives the test.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let scenario = async {
        match role.as_str() {
            "far" => far().await,
            "flood" => flood().await,
            "kill" => kill().await,
            "stop" => stop().await,
            "close" => close().await,
            "malformed" => malformed().await,
            "strangers" => strangers().await,
            "cookie" => cookie().await,
            "panic" => panic().await,
            "restart" => restart().await,
            "three" => three().await,
            "unwanted" => unwanted().await,
            "guest" => guest().await,
            "newer" => newer().await,
            "incompatible" => incompatible().await,
            "smaller" => smaller().await,
            other => panic!("unknown role {other}"),
        }
    };
    runtime.expect("a runtime").block_on(scenario);
}

pub(super) fn process(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    let entry = [module_path!().split_once("::").expect("crate::path").1, "entry"].join("::");
    command.args(["--exact", &entry, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).stdin(Stdio::piped());
    command
}

fn run(scenario: &str) {
    let mut near = process(scenario)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawned");
    // Keeps standard input open until the scenario has ended; wait_with_output would close it.
    let stdin = near.stdin.take();
    let output = near.wait_with_output().expect("waited");
    drop(stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{scenario}:\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

enum Event {
    Up,
    Down,
    Incompatible(String),
    Answer(Report),
}

struct Near {
    links: Links,
    events: mpsc::UnboundedReceiver<Event>,
}

struct Events(mpsc::UnboundedSender<Event>);

impl Deliver for Events {
    fn envelopes(&self, _: &Peer, batch: Vec<Envelope>) {
        for envelope in batch {
            let report = rmp_serde::from_slice(&envelope.body).expect("a report");
            let _ = self.0.send(Event::Answer(report));
        }
    }

    fn link_up(&self, _: &Peer) {
        let _ = self.0.send(Event::Up);
    }

    fn link_down(&self, _: &Peer) {
        let _ = self.0.send(Event::Down);
    }

    fn incompatible(&self, _: &Peer, why: &Incompatible) {
        let _ = self.0.send(Event::Incompatible(why.to_string()));
    }
}

impl Near {
    async fn start(far: SocketAddr) -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        Near::start_with(config(("near", NEAR), listen, ("far", FAR), far.to_string())).await
    }

    async fn start_with(config: LinkConfig) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a child prints a few lines in its short life")]
        let (sender, events) = mpsc::unbounded_channel();
        let links = Links::start(config, Arc::new(Events(sender))).await.expect("started");
        Near { links, events }
    }

    fn outbox(&self) -> Arc<Outbox> {
        self.links.outbox(FAR).expect("the far node")
    }

    fn stats(&self) -> LinkStats {
        self.links.stats().links.remove(0)
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("links run")
    }

    async fn up(&mut self) {
        assert!(matches!(self.event().await, Event::Up));
    }

    async fn down(&mut self) {
        assert!(matches!(self.event().await, Event::Down));
    }

    /// Sends signals, waiting for room where the lane is full.
    async fn signals(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.outbox()
                .send_waiting(Lane::Signal, &signal(number))
                .await
                .expect("linked");
        }
    }

    /// Asks on the signal lane, behind all signals sent so far.
    async fn report(&mut self) -> Report {
        let question = Envelope {
            kind: Kind::Control,
            ..signal(0)
        };
        self.outbox()
            .send_waiting(Lane::Signal, &question)
            .await
            .expect("linked");
        match self.event().await {
            Event::Answer(report) => report,
            Event::Up | Event::Down | Event::Incompatible(_) => panic!("the link changed: {:?}", self.stats()),
        }
    }
}

pub(super) fn config(me: (&str, u16), listen: SocketAddr, peer: (&str, u16), address: String) -> LinkConfig {
    LinkConfig {
        name: me.0.into(),
        index: me.1,
        listen,
        peers: vec![PeerConfig {
            name: peer.0.into(),
            index: peer.1,
            address,
        }],
        wanted: None,
        cookie: Cookie::new(COOKIE).expect("long enough"),
        limits: LinkLimits {
            backoff_max: Duration::from_millis(200),
            ..LinkLimits::default()
        },
        speaks: SPOKEN,
        tls: None,
    }
}

fn signal(number: u64) -> Envelope {
    let body = Bytes::from_static(&[7; 128]);
    Envelope {
        kind: Kind::Signal,
        hops: 0,
        from: NodeId(2),
        to: NodeId(1),
        correlation: number,
        epoch: 0,
        body,
    }
}

pub(super) fn large_body() -> Bytes {
    (0..5 * 1024 * 1024u32).map(|at| (at / 7) as u8).collect()
}

async fn linked() -> (FarProcess, Near) {
    let far = FarProcess::start("127.0.0.1:0");
    let mut near = Near::start(far.address).await;
    near.up().await;
    assert!(near.outbox().is_up());
    (far, near)
}

// Scenarios

async fn flood() {
    let (_far, mut near) = linked().await;
    near.signals(0..50_000).await;
    let large = Envelope {
        kind: Kind::SnapshotRequest,
        body: large_body(),
        ..signal(0)
    };
    near.outbox()
        .send(Lane::Snapshot, &large)
        .expect("an empty lane takes it");
    near.signals(50_000..200_000).await;
    let mut report = near.report().await;
    // The snapshot has a lane of its own, so the answer may have overtaken it.
    while report.large == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        report = near.report().await;
    }
    assert_eq!(
        report,
        Report {
            signals: 200_000,
            disordered: 0,
            large: 1,
            ..Report::default()
        }
    );
    let stats = near.stats();
    assert!(
        stats.lanes.iter().all(|lane| lane.lost == 0 && lane.in_doubt == 0),
        "{stats:?}"
    );
}

async fn kill() {
    let (far, mut near) = linked().await;
    near.signals(0..1_000).await;
    assert_eq!(near.report().await.signals, 1_000);
    let address = far.address.to_string();
    drop(far);
    near.down().await;
    assert_eq!(near.outbox().send(Lane::Signal, &signal(0)), Err(SendError::Down));
    let _far = FarProcess::start(&address);
    near.up().await;
    near.signals(0..1_000).await;
    assert_eq!(
        near.report().await,
        Report {
            signals: 1_000,
            ..Report::default()
        }
    );
    assert_eq!(near.stats().reconnects, 1);
}

async fn close() {
    let (far, mut near) = linked().await;
    let sign = near.links.signs()[0];
    assert!(sign.link == FAR && sign.up && sign.silent.is_some(), "{sign:?}");
    far.signal(Signal::STOP);
    near.links.close(FAR);
    near.down().await;
    assert!(!near.links.signs()[0].up);
    far.signal(Signal::CONT);
    near.up().await;
    near.signals(0..1_000).await;
    assert_eq!(near.report().await.signals, 1_000);
}

async fn stop() {
    let (far, mut near) = linked().await;
    far.signal(Signal::STOP);
    let mut sent = 0;
    let busy = loop {
        match near.outbox().send(Lane::Signal, &signal(sent)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000_000, "the outbox has no bound");
    };
    assert!(matches!(busy, SendError::Busy { lane: Lane::Signal, .. }), "{busy}");
    let stats = near.stats();
    assert!(
        stats.in_flight_bytes <= LinkLimits::default().window_bytes as u64,
        "{stats:?}"
    );
    assert!(
        stats
            .lanes
            .iter()
            .all(|lane| lane.queued_bytes <= lane.queued_bytes_max),
        "{stats:?}"
    );
    let vote = Envelope {
        kind: Kind::VoteRequest,
        ..signal(0)
    };
    near.outbox()
        .send(Lane::Urgent, &vote)
        .expect("a full signal lane does not refuse votes");
    far.signal(Signal::CONT);
    let report = near.report().await;
    assert_eq!(
        report,
        Report {
            signals: sent,
            ..Report::default()
        }
    );
    assert_eq!(near.stats().lanes[Lane::Signal.index()].lost, 0);
}

async fn malformed() {
    let (_far, mut near) = linked().await;
    let remote = near.links.entries()[0].link.remote().expect("linked");
    remote.gateway.cast(vec![1, 2, 3]).expect("sent");
    near.down().await;
    near.up().await;
    near.signals(0..10).await;
    assert_eq!(
        near.report().await,
        Report {
            signals: 10,
            malformed: 1,
            ..Report::default()
        }
    );
}

async fn strangers() {
    let far = FarProcess::start("127.0.0.1:0");
    let connect = || TcpStream::connect(far.address).expect("accepted");
    let mut strangers: Vec<_> = (0..20).map(|_| connect()).collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        // The first four have the slots; one of them stays silent, and one begins well. Writing fails where the far node has hung up.
        if number % 2 == 0 {
            let _ = stranger.write_all(&[0xff; 100]);
        }
        if number == 1 {
            let greeting = Greeting {
                speaks: SPOKEN,
                name: "near".to_owned(),
                build: String::new(),
            };
            let _ = stranger.write_all(&greeting.encode());
            let _ = stranger.write_all(&[0xff; 100]);
        }
    }
    let mut near = Near::start(far.address).await;
    near.up().await;
    for (number, stranger) in strangers.iter_mut().enumerate() {
        stranger.set_read_timeout(Some(PATIENCE)).expect("set");
        // Closed by the far node: the end, or a reset where bytes were left unread.
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.is_empty() || number == 1, "{number}: {answer:?}");
    }
    let Report { refused, signals, .. } = near.report().await;
    // Each stranger has its refusal; attempts of the near node may have met the flood too.
    assert!(refused.total() >= 20, "{refused:?}");
    let all = [refused.handshake, refused.oversized, refused.silent];
    assert!(all.iter().all(|count| *count >= 1), "{refused:?}");
    assert_eq!(signals, 0);
}

async fn cookie() {
    let far = FarProcess::start("127.0.0.1:0");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = config(("near", NEAR), listen, ("far", FAR), far.address.to_string());
    config.cookie = Cookie::new("another secret of thirty-two bytes").expect("long enough");
    let mut stranger = Near::start_with(config).await;
    // Several attempts are made in this time.
    let event = tokio::time::timeout(Duration::from_millis(700), stranger.events.recv()).await;
    assert!(event.is_err(), "nothing happens");
    stranger.links.stop().await;
    let mut near = Near::start(far.address).await;
    near.up().await;
    let Report { refused, .. } = near.report().await;
    assert!(refused.handshake >= 1, "{refused:?}");
}

async fn panic() {
    let (_far, mut near) = linked().await;
    let hello = Envelope {
        kind: Kind::Hello,
        ..signal(0)
    };
    near.outbox().send(Lane::Command, &hello).expect("room");
    near.down().await;
    near.up().await;
    near.signals(0..10).await;
    assert_eq!(near.report().await.signals, 10);
}

async fn restart() {
    let (far, mut near) = linked().await;
    near.signals(0..10).await;
    assert_eq!(near.report().await.signals, 10);
    let address = near.links.address();
    near.links.stop().await;
    assert!(matches!(near.events.recv().await, Some(Event::Down)));
    assert!(near.events.recv().await.is_none(), "nobody is left to send events");
    std::net::TcpListener::bind(address).expect("the port is free again");
    let mut near = Near::start(far.address).await;
    near.up().await;
    assert_eq!(near.report().await.signals, 10);
}

async fn three() {
    let far = FarProcess::start("127.0.0.1:0");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = config(("near", NEAR), listen, ("far", FAR), far.address.to_string());
    // The near node has the lower index here, so the address is not used.
    config.peers.push(PeerConfig {
        name: "third".into(),
        index: THIRD,
        address: "127.0.0.1:1".into(),
    });
    let mut near = Near::start_with(config).await;
    near.up().await;
    let third = FarProcess::start_as(("third", THIRD), "127.0.0.1:0", &near.links.address().to_string());
    near.up().await;
    near.signals(0..1_000).await;
    let outbox = near.links.outbox(THIRD).expect("the third node");
    for number in 0..10 {
        outbox.send(Lane::Signal, &signal(number)).expect("room");
    }
    outbox
        .send(
            Lane::Signal,
            &Envelope {
                kind: Kind::Control,
                ..signal(0)
            },
        )
        .expect("room");
    let Event::Answer(report) = near.event().await else {
        panic!("the link changed")
    };
    assert_eq!(
        report,
        Report {
            signals: 10,
            ..Report::default()
        }
    );
    drop(third);
    near.down().await;
    assert!(near.outbox().is_up() && !outbox.is_up());
    assert_eq!(
        near.report().await,
        Report {
            signals: 1_000,
            ..Report::default()
        }
    );
}

async fn unwanted() {
    let (_far, mut near) = linked().await;
    near.signals(0..50_000).await;
    near.links.set_wanted(&BTreeSet::new());
    near.down().await;
    let stats = near.stats();
    assert!(!stats.wanted && !stats.up, "{stats:?}");
    let signals = &stats.lanes[Lane::Signal.index()];
    assert_eq!((signals.sent, signals.lost), (50_000, 0), "{signals:?}");
    near.links.set_wanted(&BTreeSet::from([FAR]));
    near.up().await;
    let expected = Report {
        signals: 50_000,
        ..Report::default()
    };
    assert_eq!(near.report().await, expected);
}

async fn guest() {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let nowhere = "127.0.0.1:1".to_owned();
    let mut near = Near::start_with(LinkConfig {
        wanted: Some(BTreeSet::new()),
        ..config(("near", NEAR), listen, ("third", THIRD), nowhere)
    })
    .await;
    let _third = FarProcess::start_as(("third", THIRD), "127.0.0.1:0", &near.links.address().to_string());
    // It comes, goes, and comes again as long as it wants to.
    near.up().await;
    assert!(!near.stats().wanted);
    near.down().await;
    near.up().await;
    near.links.set_wanted(&BTreeSet::from([THIRD]));
    let outbox = near.links.outbox(THIRD).expect("the third node");
    let question = Envelope {
        kind: Kind::Control,
        ..signal(0)
    };
    outbox.send(Lane::Signal, &question).expect("room");
    assert!(matches!(near.event().await, Event::Answer(_)));
    assert!(near.stats().wanted && near.stats().up);
}

/// A near node and a far one that speak these versions of frames.
async fn speaking(near: Versions, far: Versions) -> (FarProcess, Near) {
    let far = FarProcess::speaking(far);
    let listen = "127.0.0.1:0".parse().expect("an address");
    let near = Near::start_with(LinkConfig {
        speaks: near,
        ..config(("near", NEAR), listen, ("far", FAR), far.address.to_string())
    });
    (far, near.await)
}

async fn newer() {
    let versions = |oldest, newest| Versions { oldest, newest };
    let (_far, mut near) = speaking(versions(1, 2), versions(2, 3)).await;
    near.up().await;
    assert_eq!(near.stats().version, Some(2));
    near.signals(0..1_000).await;
    let report = near.report().await;
    assert_eq!((report.signals, report.malformed), (1_000, 0));
    let measured = loop {
        match near.stats().round_trip {
            Some(measured) => break measured,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(
        measured.min_us > 0 && measured.min_us <= measured.p50_us,
        "{measured:?}"
    );
}

async fn incompatible() {
    let versions = |oldest, newest| Versions { oldest, newest };
    let (far, mut near) = speaking(versions(1, 1), versions(2, 3)).await;
    let Event::Incompatible(why) = near.event().await else {
        panic!("it is not told first: {:?}", near.stats())
    };
    let expected = format!(
        "node far (build {BUILD}) speaks versions 2 to 3 of the protocol of links, this node (build {BUILD}) version 1: \
         none in common"
    );
    assert_eq!(why, expected);
    let stats = near.links.stats();
    assert!(stats.refused.version >= 1, "{:?}", stats.refused);
    assert_eq!(stats.links[0].problem.as_deref(), Some(&*expected));
    assert!(!stats.links[0].up && stats.links[0].version.is_none());
    near.links.stop().await;

    // The other end has counted it as well, and tells who speaks its language.
    let listen = "127.0.0.1:0".parse().expect("an address");
    let address = far.address.to_string();
    let mut near = Near::start_with(LinkConfig {
        speaks: versions(1, 2),
        ..config(("near", NEAR), listen, ("far", FAR), address)
    })
    .await;
    while !matches!(near.event().await, Event::Up) {}
    assert!(near.report().await.refused.version >= 1);
    assert_eq!(near.stats().problem, None);
}

async fn smaller() {
    // The far node does not compress; it reads what comes compressed all the same.
    let far = FarProcess::start("127.0.0.1:0");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = config(("near", NEAR), listen, ("far", FAR), far.address.to_string());
    config.limits.compression = Compression::Lz4;
    let mut near = Near::start_with(config).await;
    near.up().await;
    let large = Envelope {
        kind: Kind::SnapshotRequest,
        body: large_body(),
        ..signal(0)
    };
    near.outbox().send(Lane::Snapshot, &large).expect("room");
    let mut report = near.report().await;
    while report.large == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        report = near.report().await;
    }
    assert_eq!((report.large, report.malformed), (1, 0));
    let stats = near.stats();
    assert_eq!(stats.compressed, 1, "{stats:?}");
    assert!(stats.frame_bytes_sent < large.body.len() as u64 / 2, "{stats:?}");
}
