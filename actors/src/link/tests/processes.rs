//! Links between real processes. ractor's registries are global, so each scenario runs in a process of its own, the
//! near node, which starts another one, the far node. Both are this test binary, told by the environment what to be.

mod neighbours;
mod speaking;
mod strangers;
mod wanted;

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
            "flood" => neighbours::flood().await,
            "kill" => neighbours::kill().await,
            "stop" => neighbours::stop().await,
            "close" => neighbours::close().await,
            "malformed" => strangers::malformed().await,
            "strangers" => strangers::strangers().await,
            "cookie" => strangers::cookie().await,
            "panic" => neighbours::panic().await,
            "restart" => neighbours::restart().await,
            "three" => wanted::three().await,
            "unwanted" => wanted::unwanted().await,
            "guest" => wanted::guest().await,
            "newer" => speaking::newer().await,
            "incompatible" => speaking::incompatible().await,
            "smaller" => speaking::smaller().await,
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
