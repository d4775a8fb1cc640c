//! The address of a node's door.

use std::fmt;
use std::net::SocketAddr;

use super::StateError;

/// Where the door of a node is: what requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    authority: String,
    in_tls: bool,
    /// Whether the text that it was read from said how.
    said: bool,
}

impl Door {
    /// Reads `host:port`, `http://host:port` or `https://host:port`, with or without a final slash.
    ///
    /// # Errors
    /// [`StateError::BadDoor`].
    pub fn parse(text: &str) -> Result<Door, StateError> {
        let (authority, in_tls) = match text.strip_prefix("https://") {
            Some(authority) => (authority, true),
            None => (text.strip_prefix("http://").unwrap_or(text), false),
        };
        let said = authority.len() < text.len();
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        match authority.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty()
                    && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'))
                    && !host.contains(['/', '@', '?', '#'])
                    && !host.contains(char::is_whitespace)
                    && port.parse::<u16>().is_ok_and(|port| port > 0) =>
            {
                Ok(Door {
                    authority: authority.to_owned(),
                    in_tls,
                    said,
                })
            }
            _ => Err(StateError::BadDoor {
                text: text.to_owned(),
                problem: "is no address (expected host:port, http://host:port or https://host:port)",
            }),
        }
    }

    /// The same door, reached by TLS or not, unless the text that it was read from said how.
    #[must_use]
    pub fn in_tls(self, in_tls: bool) -> Door {
        Door {
            in_tls: if self.said { self.in_tls } else { in_tls },
            ..self
        }
    }

    /// The URL of a path of the door; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether both are at the same place.
    pub(super) fn is_at(&self, other: &Door) -> bool {
        let place = |door: &Door| door.authority.replace("localhost:", "127.0.0.1:");
        place(self) == place(other)
    }
}

impl From<SocketAddr> for Door {
    fn from(address: SocketAddr) -> Door {
        Door {
            authority: address.to_string(),
            in_tls: false,
            said: false,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.in_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}
