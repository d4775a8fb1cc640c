//! The far node of the process tests.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use queenright_protocol::wire::{Envelope, Kind, Lane};

use super::processes::{FAR, LISTEN, NEAR, config, large_body};
use crate::link::{Deliver, Links, Peer};

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
    let listen: SocketAddr = std::env::var(LISTEN).expect("set").parse().expect("an address");
    let far = Arc::new(Far::default());
    let mut config = config(("far", FAR), listen, ("near", NEAR), "127.0.0.1:1".into());
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
