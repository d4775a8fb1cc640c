//! Who is let in, and how it is counted who is not.

use super::*;
use crate::link::refusals::{Refusals, Why};
use crate::link::sessions::full_name;
use crate::link::stream::Connection;

#[test]
fn a_session_is_that_of_the_node_that_the_certificate_is_for() {
    let peers = [("alpha", 1), ("beta", 2)];
    let sessions = Sessions::new(peers.into_iter().map(|(name, index)| (name.to_owned(), index)), SPOKEN);
    let by =
        |certified: Option<&str>| Connection::new("c".to_owned(), certified.map(Into::into), PROTOCOL_VERSION, None);
    let check = |name: &str, certified| sessions.check(&full_name(name), Some(&by(certified)));
    assert_eq!(check("alpha", Some("alpha")), Ok(1));
    assert_eq!(
        check("beta", None),
        Ok(2),
        "without TLS the cookie is all that is known"
    );
    assert_eq!(check("beta", Some("alpha")), Err(Why::Name));
    assert_eq!(check("gamma", None), Err(Why::Stranger));
    assert_eq!(check("gamma", Some("gamma")), Err(Why::Stranger));
    // By the listener of ractor_cluster itself.
    assert_eq!(sessions.check(&full_name("alpha"), None), Err(Why::Stranger));
}

#[test]
fn every_refusal_is_counted_by_its_reason() {
    let refusals = Refusals::default();
    for why in [Why::Flood, Why::Flood, Why::Expired, Why::ByPeer] {
        refusals.note(why, "c", "as the test wants");
    }
    let stats = refusals.stats();
    assert_eq!((stats.flood, stats.expired, stats.by_peer, stats.total()), (2, 1, 1, 4));
    assert_eq!(stats.named().iter().map(|(_, count)| count).sum::<u64>(), 4);
}

#[test]
fn what_tls_says_tells_one_stranger_from_another() {
    use rustls::{AlertDescription, CertificateError, Error};
    let why = |error: Error| Why::of_tls(&std::io::Error::new(std::io::ErrorKind::InvalidData, error));
    assert_eq!(why(Error::NoCertificatesPresented), Why::NoCertificate);
    assert_eq!(
        why(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        Why::Authority
    );
    assert_eq!(why(Error::InvalidCertificate(CertificateError::Expired)), Why::Expired);
    assert_eq!(
        why(Error::InvalidCertificate(CertificateError::NotValidForName)),
        Why::Name
    );
    assert_eq!(
        why(Error::AlertReceived(AlertDescription::CertificateExpired)),
        Why::ByPeer
    );
    assert_eq!(why(Error::AlertReceived(AlertDescription::DecodeError)), Why::Tls);
    assert_eq!(Why::of_tls(&std::io::ErrorKind::TimedOut.into()), Why::Tls);
}
