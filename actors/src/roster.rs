//! Where the nodes are, by place: what the newest epoch says, and what the cluster file says beside it. Links, the router,
//! liveness and the status of a node ask here, and follow it while it changes.
//!
//! The file is the seed: until an epoch is known its nodes have the places in which it lists them. From then on the epoch
//! says who is where. Of a node that both know the file's addresses count, so that a node that moves needs no more than
//! another line there; a node of the file that the epoch does not know keeps its place while nobody else has it, so that it
//! can come back with an empty disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queenright_protocol::colony::{Epoch, PLACES_MAX, Place, place_of};
use queenright_protocol::id::NodeId;
use tokio::sync::watch;

use crate::link::PeerConfig;
use crate::node::Member;

/// A node, as it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) name: Arc<str>,
    /// Where its links are dialled.
    pub(crate) links: String,
    /// Where its door is.
    pub(crate) http: String,
}

/// All of them, by place.
pub(crate) type Seats = BTreeMap<u16, Seat>;

/// Where the nodes are.
pub(crate) struct Roster {
    file: Vec<Member>,
    /// The place of this node in the file.
    listed: usize,
    me: u16,
    seats: watch::Sender<Arc<Seats>>,
}

impl Roster {
    /// The nodes as the file and the epoch say. This node is the one that the file lists at `listed`; its number says which
    /// place it has, if it has one already.
    pub(crate) fn new(file: Vec<Member>, listed: usize, me: Option<NodeId>, epoch: Option<&Epoch>) -> Roster {
        let me = me.map_or(listed, place_of) as u16;
        let seats = seats(&file, listed, me, epoch);
        Roster {
            file,
            listed,
            me,
            seats: watch::Sender::new(Arc::new(seats)),
        }
    }

    /// A newer epoch. Says whether anything is elsewhere.
    pub(crate) fn learn(&self, epoch: &Epoch) -> bool {
        let seats = seats(&self.file, self.listed, self.me, Some(epoch));
        self.seats.send_if_modified(|known| {
            let differs = **known != seats;
            if differs {
                *known = Arc::new(seats);
            }
            differs
        })
    }

    /// The place of this node.
    pub(crate) fn me(&self) -> u16 {
        self.me
    }

    /// All nodes.
    pub(crate) fn seats(&self) -> Arc<Seats> {
        self.seats.borrow().clone()
    }

    /// Follows them.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Seats>> {
        self.seats.subscribe()
    }

    /// The places that there are.
    pub(crate) fn places(&self) -> BTreeSet<u16> {
        self.seats().keys().copied().collect()
    }

    /// The name of this node.
    pub(crate) fn own_name(&self) -> &str {
        &self.file[self.listed].name
    }

    /// The name of a node; empty for one that nobody knows.
    pub(crate) fn name_of(&self, number: NodeId) -> Arc<str> {
        self.of(number).map_or_else(|| "".into(), |seat| seat.name)
    }

    /// A node, as it is reached.
    pub(crate) fn of(&self, number: NodeId) -> Option<Seat> {
        self.seats().get(&(place_of(number) as u16)).cloned()
    }

    /// The place of the node of this name.
    pub(crate) fn place(&self, name: &str) -> Option<u16> {
        let seats = self.seats();
        let found = seats.iter().find(|(_, seat)| &*seat.name == name);
        found.map(|(place, _)| *place)
    }

    /// A place for a new node: the first that nobody has; `None` if all are taken.
    pub(crate) fn free_place(&self) -> Option<u16> {
        let seats = self.seats();
        (0..PLACES_MAX as u16).find(|place| !seats.contains_key(place))
    }

    /// The other nodes, as links take them.
    pub(crate) fn peers(&self) -> Vec<PeerConfig> {
        let seats = self.seats();
        let others = seats.iter().filter(|(place, _)| **place != self.me);
        let peers = others.map(|(place, seat)| PeerConfig {
            name: seat.name.to_string(),
            index: *place,
            address: seat.links.clone(),
        });
        peers.collect()
    }

    /// Where these members are, as an epoch says it, with the starts that were given these numbers, as far as they are known.
    pub(crate) fn places_of(
        &self,
        members: &BTreeSet<NodeId>,
        attempts: &BTreeMap<NodeId, u64>,
    ) -> BTreeMap<NodeId, Place> {
        let seats = self.seats();
        let known = members.iter().filter_map(|member| {
            let seat = seats.get(&(place_of(*member) as u16))?;
            let place = Place {
                name: seat.name.to_string(),
                links: seat.links.clone(),
                http: seat.http.clone(),
                attempt: attempts.get(member).copied().unwrap_or_default(),
            };
            Some((*member, place))
        });
        known.collect()
    }
}

fn seat_of(member: &Member) -> Seat {
    Seat {
        name: member.name.as_str().into(),
        links: member.links_advertised.clone(),
        http: member.http_advertised.clone(),
    }
}

fn seats(file: &[Member], listed: usize, me: u16, epoch: Option<&Epoch>) -> Seats {
    let mut seats = Seats::new();
    let known = epoch.into_iter().flat_map(|epoch| &epoch.places);
    // In the order of their numbers: the latest that came to a place has it.
    for (number, place) in known {
        let seat = Seat {
            name: place.name.as_str().into(),
            links: place.links.clone(),
            http: place.http.clone(),
        };
        seats.insert(place_of(*number) as u16, seat);
    }
    // A file in which this node has another place lists its nodes in an order of its own.
    let ordered = listed == usize::from(me);
    for (place, member) in file.iter().enumerate() {
        let gone = epoch.is_some_and(|epoch| epoch.gone.values().any(|name| *name == member.name));
        if let Some(seat) = seats.values_mut().find(|seat| *seat.name == *member.name) {
            *seat = seat_of(member);
        } else if ordered && !gone {
            seats.entry(place as u16).or_insert_with(|| seat_of(member));
        }
    }
    seats.entry(me).or_insert_with(|| seat_of(&file[listed]));
    seats
}

#[cfg(test)]
mod tests {
    use queenright_protocol::topology::Kind;

    use super::*;

    fn member(name: &str, port: u16) -> Member {
        Member {
            name: name.into(),
            links: ([127, 0, 0, 1], port).into(),
            links_advertised: format!("file:{port}"),
            http_advertised: format!("file:{}", port + 100),
        }
    }

    fn epoch(places: &[(u64, &str)]) -> Epoch {
        let mut epoch = Epoch::of(
            7,
            Kind::Ring,
            places.iter().map(|(number, _)| NodeId(*number)).collect(),
        );
        for (number, name) in places {
            let place = Place {
                name: (*name).into(),
                links: format!("{name}:7101"),
                http: format!("{name}:7201"),
                attempt: 0,
            };
            epoch.places.insert(NodeId(*number), place);
        }
        epoch
    }

    fn shown(roster: &Roster) -> Vec<String> {
        let seats = roster.seats();
        let shown = seats
            .iter()
            .map(|(place, seat)| format!("{place} {} {}", seat.name, seat.links));
        shown.collect()
    }

    fn file() -> Vec<Member> {
        vec![member("n1", 1), member("n2", 2), member("n3", 3)]
    }

    #[test]
    fn until_an_epoch_is_known_the_file_says_who_is_where() {
        let roster = Roster::new(file(), 1, None, None);
        assert_eq!(shown(&roster), ["0 n1 file:1", "1 n2 file:2", "2 n3 file:3"]);
        assert_eq!(
            (roster.me(), roster.place("n3"), roster.free_place()),
            (1, Some(2), Some(3))
        );
        let peers: Vec<u16> = roster.peers().iter().map(|peer| peer.index).collect();
        assert_eq!(peers, [0, 2]);
    }

    #[test]
    fn an_epoch_adds_who_joined_and_the_addresses_of_the_file_count() {
        let roster = Roster::new(file(), 0, Some(NodeId(1)), None);
        let epoch = epoch(&[(1, "n1"), (2, "n2"), (66, "n2"), (3, "n3"), (4, "n4")]);
        assert!(roster.learn(&epoch));
        assert!(!roster.learn(&epoch));
        assert_eq!(
            shown(&roster),
            ["0 n1 file:1", "1 n2 file:2", "2 n3 file:3", "3 n4 n4:7101"]
        );
        assert_eq!((&*roster.name_of(NodeId(68)), &*roster.name_of(NodeId(9))), ("n4", ""));
    }

    #[test]
    fn a_node_of_the_file_that_is_gone_has_no_place_and_one_that_is_only_lost_keeps_it() {
        let mut epoch = epoch(&[(1, "n1"), (4, "n4")]);
        epoch.gone.insert(NodeId(2), "n2".into());
        let roster = Roster::new(file(), 0, Some(NodeId(1)), Some(&epoch));
        assert_eq!(shown(&roster), ["0 n1 file:1", "2 n3 file:3", "3 n4 n4:7101"]);
        assert_eq!(roster.free_place(), Some(1));
    }

    #[test]
    fn a_node_that_joined_has_a_file_of_its_own_and_takes_the_places_of_the_epoch() {
        let epoch = epoch(&[(1, "n1"), (2, "n2"), (4, "n4")]);
        let roster = Roster::new(vec![member("n4", 4)], 0, Some(NodeId(4)), Some(&epoch));
        assert_eq!(shown(&roster), ["0 n1 n1:7101", "1 n2 n2:7101", "3 n4 file:4"]);
        assert_eq!((roster.me(), roster.own_name()), (3, "n4"));
        // Whatever the epoch says, this node is there.
        let roster = Roster::new(vec![member("n4", 4)], 0, Some(NodeId(4)), None);
        assert_eq!(shown(&roster), ["3 n4 file:4"]);
    }
}
