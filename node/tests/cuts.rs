//! A link that cannot be made although both its ends live: commands of both go on, the epoch leads around it, and it is used
//! again when it is whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use queenright_bench::client::wire::{LinkState, WireTopology};
use queenright_bench::client::{Client, ClientOptions, PutOptions};
use tokio::net::UdpSocket;

use crate::colony::{Colony, until};
use crate::histories::proxy::{LinkMode, Proxy};
use crate::histories::stage::{starter, write_file_of};

/// Five debug nodes on two cores take their time, and a link is used again ten seconds after it came up.
const PATIENT: Duration = Duration::from_secs(60);

/// A cluster in which the link of two nodes leads through a proxy, the lower place first. Their datagrams pass all the same.
struct Cuttable {
    colony: Colony,
    ends: (usize, usize),
    link: Proxy,
}

impl Cuttable {
    fn start(file: &str, name: &str, ends: (usize, usize)) -> Cuttable {
        let mut link = None;
        let colony = Colony::start_file(file, name, |runtime, config, folder| {
            let target = config.nodes[ends.0].links;
            let proxy = runtime.block_on(Proxy::start(target));
            let (from, datagrams) = (proxy.address(), runtime.handle().clone());
            datagrams.spawn(pass_datagrams(from, target));
            let links = BTreeMap::from([(ends, proxy)]);
            for place in 0..config.nodes.len() {
                write_file_of(place, config, &links, folder);
            }
            link = links.into_values().next();
            starter(folder, &[])
        });
        Cuttable {
            colony,
            ends,
            link: link.expect("the cluster was prepared"),
        }
    }

    fn names(&self) -> (String, String) {
        let names = self.colony.names();
        (names[self.ends.0].clone(), names[self.ends.1].clone())
    }

    /// Puts through both ends, and reads at each what the other has put.
    fn both_go_on(&self, key: &str) {
        let (one, other) = self.names();
        let client = |node: &str| {
            let options = ClientOptions {
                agent: "test".to_owned(),
                timeout: PATIENT,
                ..ClientOptions::default()
            };
            let door = self.colony.config().node(node).unwrap().http;
            Client::new(&format!("http://{door}"), options).unwrap()
        };
        for node in [&one, &other] {
            let (client, key) = (client(node), format!("{key}/{node}"));
            let options = PutOptions::default();
            let put = client.put(&key, node.to_string().into(), &options);
            self.colony
                .block_on(put)
                .unwrap_or_else(|error| panic!("{node}: {error}"));
        }
        for (node, reader) in [(&one, &other), (&other, &one)] {
            let read = self
                .colony
                .at(reader, &["memory", "get", &format!("{key}/{node}")])
                .with_code(0);
            assert_eq!(read.stdout, node.as_bytes(), "{read}");
        }
    }

    fn until_cut(&self, cut: bool) {
        let (one, other) = self.names();
        let expected: Vec<(String, String)> = if cut { vec![(one, other)] } else { Vec::new() };
        for node in self.colony.names() {
            until(&format!("{node} knows the links that are cut: {expected:?}"), || {
                (self.colony.status(&node)?.cuts == expected).then_some(())
            });
        }
    }

    fn state_of_link(&self) -> LinkState {
        let (one, other) = self.names();
        let client = self.colony.client(&one, "test");
        let topology: WireTopology = self.colony.block_on(client.topology()).unwrap();
        let link = topology
            .links
            .iter()
            .find(|link| link.one == one && link.other == other);
        link.expect("it is a link of the topology").state
    }

    fn cuts_and_heals(self) {
        let (one, other) = self.names();
        until("the link is up", || self.colony.is_linked(&one, &other).then_some(()));
        self.link.set(LinkMode::Cut);
        until("the link is down", || {
            (!self.colony.is_linked(&one, &other)).then_some(())
        });
        self.both_go_on("before");
        self.until_cut(true);
        self.both_go_on("around");
        assert_eq!(self.state_of_link(), LinkState::Cut);
        let shown = self.colony.at(&one, &["topology", "show"]).with_code(0);
        let shown = String::from_utf8(shown.stdout).unwrap();
        let line = shown.lines().find(|line| line.starts_with(&format!("{one}-{other} ")));
        assert!(line.is_some_and(|line| line.contains(" cut ")), "{shown}");

        self.link.set(LinkMode::Up);
        self.until_cut(false);
        until("the link is used again", || {
            (self.state_of_link() == LinkState::Up).then_some(())
        });
        self.both_go_on("after");
        self.colony.same_digest();
    }
}

/// Passes on the datagrams that come to the address of a proxy, which carries streams alone.
async fn pass_datagrams(from: SocketAddr, to: SocketAddr) {
    let socket = UdpSocket::bind(from).await.unwrap();
    let mut datagram = [0; 2048];
    while let Ok((length, _)) = socket.recv_from(&mut datagram).await {
        // One that is lost is one that is lost.
        let _ = socket.send_to(&datagram[..length], to).await;
    }
}

#[test]
fn two_nodes_of_a_mesh_whose_link_is_cut_go_on_over_the_third() {
    Cuttable::start("mesh-3", "cut-mesh", (0, 1)).cuts_and_heals();
}

#[test]
fn two_neighbours_of_a_ring_whose_link_is_cut_go_on_the_other_way_round() {
    Cuttable::start("ring-5", "cut-ring", (0, 1)).cuts_and_heals();
}

#[test]
fn a_node_whose_link_with_the_hub_is_cut_is_hung_up_below_another_one() {
    Cuttable::start("star-5", "cut-star", (0, 4)).cuts_and_heals();
}
