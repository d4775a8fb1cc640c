//! How many nodes a cluster of a workload has, and how they are linked.

use std::fmt;
use std::net::{SocketAddr, TcpListener};

use queenright_protocol::topology::Kind;

use crate::hosts::Hosts;
use crate::settings::{Setting, with_settings};

/// The shape of a cluster. By default a mesh of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many nodes, called `n1` and so on.
    pub nodes: usize,
    /// How they are linked.
    pub kind: Kind,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            nodes: 3,
            kind: Kind::Mesh,
        }
    }
}

/// Such as `star of 5`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.nodes)
    }
}

impl Shape {
    /// A cluster file with ports that were free a moment ago; all were held at once, so they differ. Until the nodes start
    /// another process may take one of them: then `up` fails and the caller tries again.
    pub(super) fn cluster_file(self, name: &str, settings: &[Setting]) -> std::io::Result<String> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let held: Vec<TcpListener> = (0..self.nodes * 2)
            .map(|_| TcpListener::bind(any))
            .collect::<Result<_, _>>()?;
        let ports: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        Ok(with_settings(&self.text(name, &ports), settings))
    }

    /// What a cluster file of this shape says with some settings, on ports that nobody looked at: to be checked, not used.
    pub fn example(self, settings: &[Setting]) -> String {
        let port = |place| SocketAddr::from(([127, 0, 0, 1], 10_000 + place as u16));
        let ports: Vec<SocketAddr> = (0..self.nodes * 2).map(port).collect();
        with_settings(&self.text("example", &ports), settings)
    }

    fn text(self, name: &str, ports: &[SocketAddr]) -> String {
        let mut text = head(name, &self.topology());
        for (place, ports) in ports.chunks(2).enumerate() {
            text += &table(&format!("n{}", place + 1), ports[0], ports[1]);
        }
        text
    }

    /// The same with each node on a host of its own.
    pub(super) fn cluster_file_on(self, name: &str, hosts: &Hosts, settings: &[Setting]) -> String {
        let ports: Vec<SocketAddr> = (0..self.nodes)
            .flat_map(|place| [hosts.links(place), hosts.door(place)])
            .collect();
        with_settings(&self.text(name, &ports), settings)
    }

    /// The value of that key in the file, and what belongs to it.
    fn topology(self) -> String {
        match self.kind {
            Kind::Hierarchical { fan_out } => format!("\"hierarchical\"\nfan_out = {}", fan_out.get()),
            kind => format!("\"{kind}\""),
        }
    }
}

/// The file of one node that is to join a cluster, and its door; the ports were free a moment ago.
pub(super) fn joining_file(cluster: &str, node: &str, settings: &[Setting]) -> std::io::Result<(String, SocketAddr)> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (links, http) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
    let (links, http) = (links.local_addr()?, http.local_addr()?);
    // The cluster has a topology already: what this says is not looked at.
    let text = head(cluster, "\"mesh\"") + &table(node, links, http);
    Ok((with_settings(&text, settings), http))
}

fn head(cluster: &str, topology: &str) -> String {
    format!("[cluster]\nname = \"{cluster}\"\ntopology = {topology}\n")
}

fn table(node: &str, links: SocketAddr, http: SocketAddr) -> String {
    format!("\n[[nodes]]\nname = \"{node}\"\nlinks = \"{links}\"\nhttp = \"{http}\"\n")
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn a_cluster_file_names_six_different_ports() {
        let text = Shape::default().cluster_file("b0-1-0", &[]).unwrap();
        let mut addresses: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("links") || line.starts_with("http"))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 6, "{text}");
        assert!(addresses.iter().all(|address| address.starts_with("127.0.0.1:")));
        assert!(text.starts_with("[cluster]\nname = \"b0-1-0\"\ntopology = \"mesh\"\n"));
    }

    #[test]
    fn a_cluster_file_of_a_tree_names_its_fan_out() {
        let shape = Shape {
            nodes: 7,
            kind: "hierarchical:3".parse().unwrap(),
        };
        let text = shape.cluster_file("b0", &[]).unwrap();
        assert!(text.contains("topology = \"hierarchical\"\nfan_out = 3\n"), "{text}");
        assert!(text.contains("name = \"n7\""), "{text}");
        assert_eq!(shape.to_string(), "hierarchical:3 of 7");
    }
}
