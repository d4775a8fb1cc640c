//! Connections that this node refused: counted by why, and told of in the log once in a while.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::stats::{add, get};

/// How often a refusal of one kind is told of at most: whoever knocks all the time must not fill the log.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// As many as allowed were open and had not shown who they are.
    Flood,
    /// It did not speak TLS, or not as it must.
    Tls,
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate is not one of this cluster's authority.
    Authority,
    /// Its certificate does not hold yet, or no longer.
    Expired,
    /// Its certificate is for another node than the one that it says it is, or that was dialled.
    Name,
    /// It did not show in time who it is.
    Silent,
    /// It sent a frame that is too large, or too many bytes, before it had shown who it is.
    Oversized,
    /// It does not know the cookie, or does not speak as a node does.
    Handshake,
    /// It is a node that is no neighbour.
    Stranger,
    /// The other side refused this node's certificate.
    ByPeer,
    /// It speaks no version that this node does.
    Version,
}

impl Why {
    const COUNT: usize = 12;

    /// What a failed TLS handshake says of the other side.
    pub(super) fn of_tls(error: &io::Error) -> Why {
        let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
            return Why::Tls;
        };
        match error {
            rustls::Error::NoCertificatesPresented => Why::NoCertificate,
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Why::Authority,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Why::Expired,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Why::Name,
                _ => Why::Tls,
            },
            rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => Why::ByPeer,
            _ => Why::Tls,
        }
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
    )
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Flood => "too many connections that have not shown who they are",
            Why::Tls => "no good TLS",
            Why::NoCertificate => "no certificate",
            Why::Authority => "a certificate of another authority",
            Why::Expired => "a certificate that does not hold now",
            Why::Name => "a certificate for another name",
            Why::Silent => "silent for too long",
            Why::Oversized => "too many bytes before it had shown who it is",
            Why::Handshake => "the wrong cookie, or no node",
            Why::Stranger => "a node that is no neighbour",
            Why::ByPeer => "the other side does not take this node's certificate",
            Why::Version => "no version in common",
        })
    }
}

/// How many connections of links a node refused since it started, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RefusedStats {
    /// As many as allowed were open and had not shown who they are.
    pub flood: u64,
    /// They did not speak TLS, or not as they must.
    pub tls: u64,
    /// They showed no certificate.
    pub no_certificate: u64,
    /// Their certificates were not from this cluster's authority.
    pub authority: u64,
    /// Their certificates did not hold at that time.
    pub expired: u64,
    /// Their certificates were for other nodes than those that they said they were, or that were dialled.
    pub name: u64,
    /// They did not show in time who they are.
    pub silent: u64,
    /// They sent a frame that is too large, or too many bytes, before they had shown who they are.
    pub oversized: u64,
    /// They did not know the cookie, or did not speak as nodes do.
    pub handshake: u64,
    /// They were nodes that are no neighbours.
    pub stranger: u64,
    /// The other side refused this node's certificate.
    pub by_peer: u64,
    /// They spoke no version that this node does.
    pub version: u64,
}

impl RefusedStats {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.named().into_iter().map(|(_, count)| count).sum()
    }

    /// Each with its name.
    pub fn named(&self) -> [(&'static str, u64); Why::COUNT] {
        [
            ("flood", self.flood),
            ("tls", self.tls),
            ("no_certificate", self.no_certificate),
            ("authority", self.authority),
            ("expired", self.expired),
            ("name", self.name),
            ("silent", self.silent),
            ("oversized", self.oversized),
            ("handshake", self.handshake),
            ("stranger", self.stranger),
            ("by_peer", self.by_peer),
            ("version", self.version),
        ]
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; Why::COUNT],
    // A mutex: the loops of all connections tell here. Held for a look at a time.
    told: Mutex<[Option<Instant>; Why::COUNT]>,
}

impl Refusals {
    /// Counts one, and tells of it unless one of its kind was told of just now.
    pub(super) fn note(&self, why: Why, connection: &str, detail: impl fmt::Display) {
        let place = why as usize;
        add(&self.counts[place], 1);
        let now = Instant::now();
        let is_news = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let is_news = told[place].is_none_or(|before| now - before >= TOLD_EVERY);
            if is_news {
                told[place] = Some(now);
            }
            is_news
        };
        if is_news {
            let count = get(&self.counts[place]);
            tracing::warn!(connection, count, %detail, "connection refused: {why}");
        }
    }

    pub(super) fn stats(&self) -> RefusedStats {
        let count = |why: Why| get(&self.counts[why as usize]);
        RefusedStats {
            flood: count(Why::Flood),
            tls: count(Why::Tls),
            no_certificate: count(Why::NoCertificate),
            authority: count(Why::Authority),
            expired: count(Why::Expired),
            name: count(Why::Name),
            silent: count(Why::Silent),
            oversized: count(Why::Oversized),
            handshake: count(Why::Handshake),
            stranger: count(Why::Stranger),
            by_peer: count(Why::ByPeer),
            version: count(Why::Version),
        }
    }
}
