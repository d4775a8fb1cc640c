//! `[doors]`: how many a door answers at a time.

use super::ConfigError;
use super::file::DoorsSection;
use super::limits::Bound;
use super::validate::Check;

/// How many a door answers at a time. One more is refused with `BUSY` and told when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// `requests`: how many requests may be at work. Each may hold a body of `limits.http_body_bytes`.
    pub requests: usize,
    /// `followers`: how many callers may wait for a task, a reservation or events, or subscribe to them. Each holds a
    /// connection and, if it subscribes, 256 KiB.
    pub followers: usize,
}

/// What a node of a common host answers without swapping; the bodies of requests are mostly small.
const REQUESTS: Bound = Bound {
    default: 1_024,
    min: 1,
    max: 65_536,
};
const FOLLOWERS: Bound = Bound {
    default: 1_024,
    min: 1,
    max: 65_536,
};

impl Default for Doors {
    fn default() -> Doors {
        Doors {
            requests: REQUESTS.default as usize,
            followers: FOLLOWERS.default as usize,
        }
    }
}

impl Check<'_> {
    pub(super) fn doors(&self, raw: &DoorsSection) -> Result<Doors, ConfigError> {
        Ok(Doors {
            requests: self.number("doors.requests", raw.requests, REQUESTS)? as usize,
            followers: self.number("doors.followers", raw.followers, FOLLOWERS)? as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{ClusterConfig, ConfigError, Doors};

    const FILE: &str = "[cluster]\nname = \"c\"\ntopology = \"mesh\"\n[[nodes]]\nname = \"n1\"\n\
                        links = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n";

    fn parse(addition: &str) -> Result<ClusterConfig, ConfigError> {
        ClusterConfig::parse(Path::new("c.toml"), &format!("{FILE}{addition}"))
    }

    #[test]
    fn a_door_answers_as_many_as_the_file_says() {
        assert_eq!(parse("").unwrap().doors, Doors::default());
        let config = parse("[doors]\nrequests = 2\nfollowers = 3").unwrap();
        assert_eq!((config.doors.requests, config.doors.followers), (2, 3));
        assert_eq!(ClusterConfig::parse(&config.file, &config.to_toml()).unwrap(), config);
        let refused = |addition: &str| parse(addition).unwrap_err().to_string();
        assert_eq!(
            refused("[doors]\nrequests = 0"),
            "c.toml: doors.requests: 0 is out of range (1 to 65536)"
        );
        assert_eq!(
            refused("[doors]\nfollowers = 65537"),
            "c.toml: doors.followers: 65537 is out of range (1 to 65536)"
        );
    }
}
