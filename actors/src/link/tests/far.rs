//! The far node of the process tests.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use queenright_protocol::version::Versions;
use queenright_protocol::wire::{Envelope, Kind, Lane, SPOKEN};
use rustix::process::{Pid, Signal, kill_process};

use super::processes::{FAR, LISTEN, ME, NEAR, NEAR_ADDRESS, SPEAKS, config, large_body, process};
use crate::link::{Deliver, Links, Peer, RefusedStats};

/// Checks what it gets and tells when asked.
#[derive(Default)]
struct Far {
    links: OnceLock<Links>,
    signals: AtomicU64,
    disordered: AtomicU64,
    large: AtomicU64,
}

/// What the far node tells.
#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Report {
    pub(super) signals: u64,
    pub(super) disordered: u64,
    pub(super) large: u64,
    pub(super) malformed: u64,
    pub(super) refused: RefusedStats,
}

impl Deliver for Far {
    fn envelopes(&self, _: &Peer, batch: Vec<Envelope>) {
        for envelope in batch {
            match envelope.kind {
                Kind::Signal => {
                    let expected = self.signals.fetch_add(1, Ordering::SeqCst);
                    self.disordered
                        .fetch_add(u64::from(envelope.correlation != expected), Ordering::SeqCst);
                }
                Kind::SnapshotRequest => {
                    let whole = envelope.body == large_body();
                    self.large.fetch_add(u64::from(whole), Ordering::SeqCst);
                }
                Kind::Control => self.answer(&envelope),
                Kind::Hello => {
                    std::panic::set_hook(Box::new(|_| {}));
                    panic!("as asked");
                }
                _ => {}
            }
        }
    }

    fn link_up(&self, _: &Peer) {}
    fn link_down(&self, _: &Peer) {}
}

impl Far {
    fn answer(&self, question: &Envelope) {
        let links = self.links.get().expect("set before anything arrives");
        let report = Report {
            signals: self.signals.load(Ordering::SeqCst),
            disordered: self.disordered.load(Ordering::SeqCst),
            large: self.large.load(Ordering::SeqCst),
            malformed: links.stats().links[0].frames_malformed,
            refused: links.stats().refused,
        };
        let body = Bytes::from(rmp_serde::to_vec(&report).expect("encodes"));
        let answer = Envelope {
            kind: Kind::ControlReply,
            body,
            ..question.clone()
        };
        links
            .outbox(NEAR)
            .expect("the near node")
            .send(Lane::Command, &answer)
            .expect("room for an answer");
    }
}

pub(super) async fn far() {
    let told = |what| std::env::var(what).expect("set by the near node");
    let listen: SocketAddr = told(LISTEN).parse().expect("an address");
    let me = told(ME);
    let (name, index) = me.split_once('/').expect("name/index");
    let far = Arc::new(Far::default());
    let mut config = config(
        (name, index.parse().expect("a number")),
        listen,
        ("near", NEAR),
        told(NEAR_ADDRESS),
    );
    let speaks = told(SPEAKS);
    let (oldest, newest) = speaks.split_once('-').expect("oldest-newest");
    config.speaks = Versions {
        oldest: oldest.parse().expect("a number"),
        newest: newest.parse().expect("a number"),
    };
    config.limits.unauthenticated_max = 4;
    config.limits.handshake_timeout = Duration::from_millis(500);
    let links = Links::start(config, far.clone()).await.expect("started");
    let address = links.address();
    assert!(far.links.set(links).is_ok());
    // Only now: the near node connects as soon as it knows the address.
    println!("\nADDRESS {address}");
    std::io::stdout().flush().expect("flushed");
    std::future::pending().await
}

/// A running far node, as the near node holds it; killed when dropped.
pub(super) struct FarProcess {
    child: Child,
    pub(super) address: SocketAddr,
}

impl FarProcess {
    pub(super) fn start(listen: &str) -> Self {
        // The far node has the lower index and never dials.
        FarProcess::start_as(("far", FAR), listen, "127.0.0.1:1")
    }

    /// One that speaks these versions of frames.
    pub(super) fn speaking(versions: Versions) -> Self {
        FarProcess::start_with(("far", FAR), "127.0.0.1:0", "127.0.0.1:1", versions)
    }

    pub(super) fn start_as(me: (&str, u16), listen: &str, near: &str) -> Self {
        FarProcess::start_with(me, listen, near, SPOKEN)
    }

    fn start_with(me: (&str, u16), listen: &str, near: &str, speaks: Versions) -> Self {
        let mut command = process("far");
        command
            .env(LISTEN, listen)
            .env(ME, format!("{}/{}", me.0, me.1))
            .env(NEAR_ADDRESS, near)
            .env(SPEAKS, format!("{}-{}", speaks.oldest, speaks.newest));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("spawned");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let address = stdout.lines().map_while(Result::ok).find_map(|line| {
            let address = line.strip_prefix("ADDRESS ")?;
            Some(address.parse().expect("an address"))
        });
        FarProcess {
            child,
            address: address.expect("the far node has started"),
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for FarProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
