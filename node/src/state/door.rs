//! The address of a node's door.

use std::fmt;
use std::net::SocketAddr;

use super::StateError;

/// Where the door of a node is: what requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    authority: String,
}

impl Door {
    /// Reads `host:port` or `http://host:port`, with or without a final slash.
    ///
    /// # Errors
    /// [`StateError::BadDoor`].
    pub fn parse(text: &str) -> Result<Door, StateError> {
        let refuse = |problem| {
            Err(StateError::BadDoor {
                text: text.to_owned(),
                problem,
            })
        };
        if text.starts_with("https://") {
            return refuse("asks for TLS, which this version does not have");
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let expected = "is no address (expected host:port or http://host:port)";
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
                })
            }
            _ => refuse(expected),
        }
    }

    /// The URL of a path of the door; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl From<SocketAddr> for Door {
    fn from(address: SocketAddr) -> Door {
        Door {
            authority: address.to_string(),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}
