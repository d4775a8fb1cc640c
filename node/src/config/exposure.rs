//! What a cluster shows beyond its host, and what that demands: links that others can reach need TLS, doors that others
//! can reach need TLS and tokens. The datagrams of liveness, which come to the ports of the links, need nothing more: each
//! is authenticated by the cookie.

use std::fmt;

use super::{ClusterConfig, ConfigError};

/// Who may use the doors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// `none`: whoever reaches them. The default, since they are on loopback by default.
    #[default]
    None,
    /// `token`: who shows a token that has the scope for what is asked.
    Token,
}

impl Auth {
    /// What a cluster file may say.
    pub const NAMES: [&'static str; 2] = ["none", "token"];
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => Auth::NAMES[0],
            Auth::Token => Auth::NAMES[1],
        })
    }
}

/// An address that others can reach without what protects it.
struct Exposed {
    key: String,
    address: String,
    lacks: &'static str,
}

impl ClusterConfig {
    /// Whether what others can reach is protected. If it is not, and `insecure` says that this is meant, the warnings to
    /// say aloud; none for a cluster that is protected, or on loopback.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the first key, its address, and what to do.
    pub fn check_exposure(&self, insecure: bool) -> Result<Vec<String>, ConfigError> {
        let exposed = self.exposed();
        if insecure {
            let warning = |Exposed { key, address, lacks }: Exposed| {
                format!(
                    "{}: {key}: {address} is open to the network {lacks}",
                    self.file.display()
                )
            };
            return Ok(exposed.into_iter().map(warning).collect());
        }
        match exposed.into_iter().next() {
            None => Ok(Vec::new()),
            Some(Exposed { key, address, lacks }) => Err(ConfigError::Value {
                file: self.file.clone(),
                problem: format!(
                    "is not a loopback address, and would be open to the network {lacks} ({}, or say --insecure)",
                    self.remedy(key.ends_with(".http"))
                ),
                key,
                value: format!("\"{address}\""),
            }),
        }
    }

    fn exposed(&self) -> Vec<Exposed> {
        let mut exposed = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if !node.links.ip().is_loopback() && self.tls.is_none() {
                exposed.push(Exposed {
                    key: format!("nodes[{place}].links"),
                    address: node.links.to_string(),
                    lacks: "without TLS",
                });
            }
            let lacks = match (self.tls.is_some(), self.auth) {
                (true, Auth::Token) => continue,
                (true, Auth::None) => "without tokens",
                (false, Auth::Token) => "without TLS",
                (false, Auth::None) => "without TLS and tokens",
            };
            if !node.http.ip().is_loopback() {
                exposed.push(Exposed {
                    key: format!("nodes[{place}].http"),
                    address: node.http.to_string(),
                    lacks,
                });
            }
        }
        exposed
    }

    fn remedy(&self, of_door: bool) -> String {
        let file = self.file.display();
        let tls = format!("make certificates with `queenright tls init {file}` and name their folder in [tls] dir");
        let auth = "set [doors] auth = \"token\"";
        match (self.tls.is_some(), of_door && self.auth == Auth::None) {
            (false, true) => format!("{tls}, and {auth}"),
            (false, false) => tls,
            (true, _) => auth.to_owned(),
        }
    }
}
