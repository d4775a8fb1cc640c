//! A cluster moved to ports that nobody uses: for demonstrations, measurements and tests.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;

use rand::Rng;

use super::ClusterConfig;

/// What is drawn from: below the ports that Linux (from 32,768) and macOS (from 49,152) give to outgoing connections. A
/// node that calls one that is down would now and then be given the port of that one, and be connected with itself.
const PORTS: Range<u16> = 10_240..32_768;
/// How many ports that are taken may be drawn for one address.
const DRAWS_MAX: usize = 1_000;

impl ClusterConfig {
    /// The same cluster on free ports of the same loopback addresses.
    ///
    /// All ports are held at once while they are drawn, so they differ; then all are released. Between that moment and
    /// the start of the nodes another process may take one. The node then fails with "address in use", and the caller
    /// may try again.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub fn with_free_ports(&self) -> io::Result<ClusterConfig> {
        let mut held = Vec::with_capacity(self.nodes.len() * 2);
        let mut moved = self.clone();
        for node in &mut moved.nodes {
            // What leads to the old ports.
            (node.advertise_links, node.advertise_http) = (None, None);
            for address in [&mut node.links, &mut node.http] {
                let listener = free_listener(address.ip())?;
                *address = listener.local_addr()?;
                held.push(listener);
            }
        }
        Ok(moved)
    }

    /// Writes the configuration to `<folder>/<name>.toml`, makes the folder if needed, and returns the configuration
    /// with that file as its own.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn write_to(mut self, folder: &Path) -> io::Result<ClusterConfig> {
        fs::create_dir_all(folder)?;
        self.file = folder.join(format!("{}.toml", self.name));
        fs::write(&self.file, self.to_toml())?;
        Ok(self)
    }
}

fn free_listener(ip: IpAddr) -> io::Result<TcpListener> {
    let draw = || TcpListener::bind(SocketAddr::new(ip, rand::rng().random_range(PORTS)));
    let mut last = draw();
    for _ in 1..DRAWS_MAX {
        match last {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = draw(),
            _ => break,
        }
    }
    last
}
