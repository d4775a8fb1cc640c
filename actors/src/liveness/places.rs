//! Where the members are reached, as those who dial their links find them: by an address, or by a name that is looked up
//! beside everything else, so that a slow answer keeps no datagram waiting.

use std::collections::BTreeMap;
use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use queenright_protocol::id::NodeId;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a name is taken for what it was, while its member does not answer.
const AGAIN: Duration = Duration::from_secs(10);

/// The members and their addresses.
pub(super) struct Places {
    /// Where this node listens: it sends from there.
    local: SocketAddr,
    members: BTreeMap<NodeId, Place>,
    lookups: JoinSet<(NodeId, io::Result<Vec<SocketAddr>>)>,
}

struct Place {
    /// What the others dial: `host:port`.
    advertised: String,
    address: Option<SocketAddr>,
    /// When it was looked up last; `None` for one that needs none.
    asked: Option<Instant>,
    /// Whether an answer is waited for: one at a time.
    asking: bool,
}

impl Places {
    pub(super) fn new(local: SocketAddr) -> Places {
        Places {
            local,
            members: BTreeMap::new(),
            lookups: JoinSet::new(),
        }
    }

    /// Sets the members and what is dialled for each. What is known of a member that stays is kept.
    pub(super) fn set(&mut self, advertised: BTreeMap<NodeId, String>) {
        self.members.retain(|node, _| advertised.contains_key(node));
        for (node, advertised) in advertised {
            if self.members.contains_key(&node) {
                continue;
            }
            let fixed: Option<SocketAddr> = advertised.parse().ok();
            let place = Place {
                address: fixed.and_then(|fixed| reachable(self.local, None, &[fixed])),
                advertised,
                asked: None,
                asking: false,
            };
            self.members.insert(node, place);
            if fixed.is_none() {
                self.ask(node);
            }
        }
    }

    /// Where each member is reached, as far as that is known.
    pub(super) fn addresses(&self) -> BTreeMap<NodeId, Option<SocketAddr>> {
        let places = self.members.iter();
        places.map(|(node, place)| (*node, place.address)).collect()
    }

    /// Looks up again what was looked up long ago, for the members that `silent` says do not answer: they may be elsewhere.
    pub(super) fn ask_again(&mut self, silent: impl Fn(NodeId) -> bool) {
        let old = |place: &Place| !place.asking && place.asked.is_some_and(|asked| asked.elapsed() >= AGAIN);
        let members = self.members.iter();
        let due = members.filter(|(node, place)| old(place) && silent(**node));
        let due: Vec<NodeId> = due.map(|(node, _)| *node).collect();
        for node in due {
            self.ask(node);
        }
    }

    fn ask(&mut self, node: NodeId) {
        let Some(place) = self.members.get_mut(&node) else {
            return;
        };
        (place.asked, place.asking) = (Some(Instant::now()), true);
        let advertised = place.advertised.clone();
        self.lookups.spawn(async move {
            let found = lookup_host(advertised).await;
            (node, found.map(|found| found.collect()))
        });
    }

    /// Waits for the next answer; for ever while nothing is asked. Returns whether an address has changed. May be dropped
    /// at any time.
    pub(super) async fn answered(&mut self) -> bool {
        match self.lookups.join_next().await {
            Some(Ok((node, found))) => self.take(node, found),
            // A look-up neither panics nor is ended.
            Some(Err(_)) => false,
            None => future::pending().await,
        }
    }

    fn take(&mut self, node: NodeId, found: io::Result<Vec<SocketAddr>>) -> bool {
        // It may be no member any more.
        let Some(place) = self.members.get_mut(&node) else {
            return false;
        };
        place.asking = false;
        let found = match found {
            Ok(found) => found,
            // The dialler of its link says so louder.
            Err(error) => {
                tracing::debug!(%node, advertised = place.advertised, %error, "cannot look up where a member is reached");
                return false;
            }
        };
        let address = reachable(self.local, place.address, &found);
        if address.is_none() {
            tracing::debug!(%node, advertised = place.advertised, ?found, "no address of it is reached from this node's");
        }
        let changed = address.is_some() && address != place.address;
        if changed {
            place.address = address;
        }
        changed
    }
}

/// Which of the addresses to send to from a socket at `local`: the one of `before` if it is still there, else the first of
/// the same family. A socket of IPv6 reaches those of IPv4 as well.
fn reachable(local: SocketAddr, before: Option<SocketAddr>, found: &[SocketAddr]) -> Option<SocketAddr> {
    let own = found
        .iter()
        .copied()
        .filter(|address| address.is_ipv4() == local.is_ipv4());
    let mapped = found
        .iter()
        .filter(|_| local.is_ipv6())
        .filter_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())),
            IpAddr::V6(_) => None,
        });
    let mut all = own.chain(mapped).peekable();
    let first = all.peek().copied();
    all.find(|address| Some(*address) == before).or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn advertised(places: &[(u64, &str)]) -> BTreeMap<NodeId, String> {
        let places = places.iter();
        places
            .map(|(node, place)| (NodeId(*node), (*place).to_owned()))
            .collect()
    }

    #[test]
    fn datagrams_go_to_an_address_that_the_socket_reaches() {
        let (four, other, six) = (at("192.0.2.1:7101"), at("192.0.2.2:7101"), at("[2001:db8::1]:7101"));
        let mapped = at("[::ffff:192.0.2.1]:7101");
        let (local4, local6) = (at("0.0.0.0:7101"), at("[::]:7101"));
        assert_eq!(reachable(local4, None, &[six, four]), Some(four));
        assert_eq!(reachable(local4, None, &[six]), None);
        assert_eq!(reachable(local6, None, &[four, six]), Some(six));
        assert_eq!(reachable(local6, None, &[four]), Some(mapped));
        // An answer in another order moves nothing.
        assert_eq!(reachable(local4, Some(other), &[four, other]), Some(other));
        assert_eq!(reachable(local4, Some(other), &[four]), Some(four));
    }

    #[tokio::test]
    async fn names_are_looked_up_and_addresses_are_not() {
        let mut places = Places::new(at("127.0.0.1:7101"));
        places.set(advertised(&[(2, "127.0.0.1:7102"), (3, "localhost:7103")]));
        let known = places.addresses();
        assert_eq!(
            (known[&NodeId(2)], known[&NodeId(3)]),
            (Some(at("127.0.0.1:7102")), None)
        );
        assert!(places.answered().await);
        assert_eq!(places.addresses()[&NodeId(3)], Some(at("127.0.0.1:7103")));
        // What is known stays, and nothing is asked again so soon.
        places.set(advertised(&[(3, "localhost:7103"), (4, "127.0.0.1:7104")]));
        places.ask_again(|_| true);
        assert!(places.lookups.is_empty());
        let known: Vec<_> = places.addresses().into_values().flatten().collect();
        assert_eq!(known, [at("127.0.0.1:7103"), at("127.0.0.1:7104")]);
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_takes_no_address_away() {
        let mut places = Places::new(at("127.0.0.1:7101"));
        places.set(advertised(&[(2, "127.0.0.1:7102")]));
        assert!(!places.take(NodeId(2), Err(io::Error::other("no such name"))));
        assert!(!places.take(NodeId(2), Ok(Vec::new())));
        assert!(!places.take(NodeId(9), Ok(vec![at("127.0.0.1:7109")])));
        assert_eq!(places.addresses()[&NodeId(2)], Some(at("127.0.0.1:7102")));
        assert!(places.take(NodeId(2), Ok(vec![at("127.0.0.2:7102")])));
        assert_eq!(places.addresses()[&NodeId(2)], Some(at("127.0.0.2:7102")));
    }
}
