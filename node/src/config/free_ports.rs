//! A cluster moved to ports that nobody uses: for demonstrations, measurements and tests.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::ClusterConfig;

impl ClusterConfig {
    /// The same cluster on free ports of the same loopback addresses.
    ///
    /// All ports are held at once while they are drawn, so they differ; then all are released. Between that moment and
    /// the start of the nodes another process may take one. The node then fails with "address in use", and the caller
    /// may try again: the span is some milliseconds and the kernel hands out other ports first.
    ///
    /// # Errors
    /// When the operating system has no port to give.
    pub fn with_free_ports(&self) -> io::Result<ClusterConfig> {
        let mut held = Vec::with_capacity(self.nodes.len() * 2);
        let mut moved = self.clone();
        for node in &mut moved.nodes {
            for address in [&mut node.links, &mut node.http] {
                let listener = TcpListener::bind(SocketAddr::new(address.ip(), 0))?;
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
