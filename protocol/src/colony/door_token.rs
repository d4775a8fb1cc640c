//! Tokens that let callers in at the doors of all nodes.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`DoorTokenCommand::Create`] | door | colony | [`Outcome::DoorTokenSet`] | from now on whoever knows this secret may do so much |
//! | [`DoorTokenCommand::Revoke`] | door | colony | [`Outcome::DoorTokenSet`] | and from now on no longer |
//!
//! They belong to no project. The colony keeps the SHA-256 of a secret, never the secret: what reads the log, a store or a
//! backup lets nobody in. Whether a token still holds is for the door to say, by the wall clock: people give tokens away
//! until a day, and cluster time stands while nobody leads.
//!
//! [`Outcome::DoorTokenSet`]: super::Outcome::DoorTokenSet

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::{Outcome, Refusal};
use super::digest::Digest;
use super::memory::{malformed, over_limit};
use super::{Applied, Colony};

/// How many tokens there may be. All of them stand in one value of the store, which is written with every pass.
pub const DOOR_TOKENS_MAX: usize = 256;
/// The longest name of a token, in bytes.
pub const DOOR_TOKEN_NAME_BYTES_MAX: usize = 64;

const DOOR_TOKEN_DIGEST: u8 = b'd';

/// What a token allows. Each allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// To look.
    Read,
    /// To take part: sessions, tasks, memory, reservations, proposals.
    Work,
    /// To change the cluster: projects, nodes, hosted agents, tokens.
    Admin,
}

impl Access {
    /// All of them, the least first.
    pub const ALL: [Access; 3] = [Access::Read, Access::Work, Access::Admin];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Work => "work",
            Access::Admin => "admin",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The SHA-256 of a token's secret. Doors make it; here it is 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is wanted of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DoorTokenCommand {
    /// Let somebody in.
    Create {
        /// What it is called: 1 to [`DOOR_TOKEN_NAME_BYTES_MAX`] letters, digits, `-`, `_` and `.`.
        name: Arc<str>,
        /// What it allows.
        access: Access,
        /// The hash of its secret.
        secret: SecretHash,
        /// Wall time from which it does not hold any more, in milliseconds since 1970.
        expires_ms: Option<u64>,
    },
    /// Let nobody in with it any more.
    Revoke {
        /// What it is called.
        name: Arc<str>,
    },
}

/// A token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoorToken {
    /// What it allows.
    pub access: Access,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// Wall time from which it does not hold any more, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Who made it.
    pub author: Arc<str>,
    /// Wall time of that, in milliseconds since 1970.
    pub made_ms: u64,
}

impl DoorToken {
    /// Whether it holds at this wall time.
    pub fn holds_at(&self, wall_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires_ms| wall_ms < expires_ms)
    }
}

/// All tokens, by name. A copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DoorTokens(OrdMap<Arc<str>, DoorToken>);

impl DoorTokens {
    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &DoorToken)> {
        self.0.iter()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&DoorToken> {
        self.0.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The share of the digest.
    pub(super) fn digest(&self) -> Digest {
        let mut sum = Digest::default();
        for token in self.iter() {
            sum.add(Digest::of(DOOR_TOKEN_DIGEST, &token));
        }
        sum
    }
}

impl FromIterator<(Arc<str>, DoorToken)> for DoorTokens {
    fn from_iter<T: IntoIterator<Item = (Arc<str>, DoorToken)>>(tokens: T) -> DoorTokens {
        DoorTokens(tokens.into_iter().collect())
    }
}

impl Colony {
    /// The tokens that let callers in.
    pub fn door_tokens(&self) -> &DoorTokens {
        &self.door_tokens
    }

    /// What is wanted of tokens.
    pub(super) fn door_token_command(
        &mut self,
        author: &Arc<str>,
        wanted: &DoorTokenCommand,
        applied: &mut Applied,
    ) -> Result<Outcome, Refusal> {
        let tokens = &mut self.door_tokens.0;
        match wanted {
            DoorTokenCommand::Create {
                name,
                access,
                secret,
                expires_ms,
            } => {
                check_name(name)?;
                if let Some(expires_ms) = expires_ms.filter(|expires_ms| *expires_ms <= self.wall_ms) {
                    let problem = format!("{expires_ms} has passed, it is {}", self.wall_ms);
                    return Err(malformed("expires_ms", &problem));
                }
                if tokens.contains_key(name) {
                    return Err(Refusal::DoorTokenExists { name: name.clone() });
                }
                if tokens.values().any(|token| token.secret == *secret) {
                    return Err(malformed("secret", "is that of another token"));
                }
                if tokens.len() >= DOOR_TOKENS_MAX {
                    return Err(over_limit("door_tokens", tokens.len() + 1, DOOR_TOKENS_MAX));
                }
                let token = DoorToken {
                    access: *access,
                    secret: *secret,
                    expires_ms: *expires_ms,
                    author: author.clone(),
                    made_ms: self.wall_ms,
                };
                tokens.insert(name.clone(), token);
            }
            DoorTokenCommand::Revoke { name } => {
                check_name(name)?;
                if tokens.remove(name).is_none() {
                    return Err(Refusal::UnknownDoorToken { name: name.clone() });
                }
            }
        }
        applied.door_tokens = true;
        Ok(Outcome::DoorTokenSet { seq: self.seq })
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() > DOOR_TOKEN_NAME_BYTES_MAX {
        return Err(over_limit("name", name.len(), DOOR_TOKEN_NAME_BYTES_MAX));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // The names of steps in a path can stand in no URL.
    match name.is_empty() || matches!(name, "." | "..") || !name.bytes().all(allowed) {
        true => Err(malformed(
            "name",
            "is empty, a step of a path, or has other characters than letters, digits, - _ and .",
        )),
        false => Ok(()),
    }
}
