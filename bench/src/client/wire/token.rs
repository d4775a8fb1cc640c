//! Tokens of doors, over a door.

use std::sync::Arc;

use queenright_protocol::colony::{Access, DoorToken};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is called.
    pub name: Arc<str>,
    /// What it allows.
    pub scope: Access,
    /// In how many seconds it ends; it does not if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
}

/// The answer to it: the only place where the secret stands.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// What it is called.
    pub name: Arc<str>,
    /// What it allows.
    pub scope: Access,
    /// Wall time at which it ends, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// What callers show.
    pub secret: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreatedToken {{ name: {:?}, scope: {}, .. }}", self.name, self.scope)
    }
}

/// The answer to `DELETE /v1/tokens/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedToken {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// What it was called.
    pub name: Arc<str>,
}

/// A token as it is, without its secret, which nobody has any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireToken {
    /// What it is called.
    pub name: Arc<str>,
    /// What it allows.
    pub scope: Access,
    /// Who made it.
    pub author: Arc<str>,
    /// Wall time of that, in milliseconds since 1970.
    pub made_ms: u64,
    /// Wall time at which it ends, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whether it has ended.
    pub expired: bool,
}

impl WireToken {
    /// A token as it is at this wall time.
    pub fn of(name: &Arc<str>, token: &DoorToken, now_ms: u64) -> WireToken {
        WireToken {
            name: name.clone(),
            scope: token.access,
            author: token.author.clone(),
            made_ms: token.made_ms,
            expires_ms: token.expires_ms,
            expired: !token.holds_at(now_ms),
        }
    }
}

/// The answer to `GET /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    /// All of them, by name.
    pub tokens: Vec<WireToken>,
}
