//! What the system is asked to do for the socket of a link.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// After how long without a byte the system asks whether the other end is there: ractor_cluster pings as often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// How long it waits for an answer, and how often it asks.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TRIES: u32 = 3;

/// Prepares the socket. The connection ends when nothing that was sent is acknowledged for `unacknowledged`, instead of
/// after a quarter of an hour: its reader may hear nothing because this end is the one that speaks.
pub(super) fn set_up(tcp: &TcpStream, unacknowledged: Duration) {
    // Small frames must not wait for the acknowledgement of earlier ones.
    let set = tcp.set_nodelay(true).and_then(|()| watch(tcp, unacknowledged));
    if let Err(error) = set {
        // Mostly a connection that has ended already.
        tracing::debug!(%error, "cannot set the options of a socket");
    }
}

fn watch(tcp: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_TRIES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX))?;
    #[cfg(not(target_os = "linux"))]
    let _ = unacknowledged;
    Ok(())
}
