//! The kinds of topology and their names.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the members of a cluster are linked.
///
/// Its one written form, in configuration, on the command line, in epochs and in JSON, is its [`Display`](fmt::Display):
/// `mesh`, `star`, `ring`, `hierarchical:3`. Reading also accepts `hierarchical`, which takes [`FanOut::DEFAULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TopologyKind", extend("pattern" = r"^(mesh|star|ring|hierarchical(:[0-9]+)?)$"))]
#[serde(try_from = "String", into = "String")]
pub enum Kind {
    /// Every two members.
    Mesh,
    /// Each member with the smallest one, the hub.
    Star,
    /// Each member with the next greater one, the greatest with the smallest.
    Ring,
    /// A tree in heap order over the sorted members.
    Hierarchical {
        /// The greatest number of children of a node.
        fan_out: FanOut,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Mesh => f.write_str("mesh"),
            Kind::Star => f.write_str("star"),
            Kind::Ring => f.write_str("ring"),
            Kind::Hierarchical { fan_out } => write!(f, "hierarchical:{}", fan_out.get()),
        }
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        match text {
            "mesh" => Ok(Kind::Mesh),
            "star" => Ok(Kind::Star),
            "ring" => Ok(Kind::Ring),
            "hierarchical" => Ok(Kind::Hierarchical {
                fan_out: FanOut::DEFAULT,
            }),
            _ => {
                let unknown = || KindError::Unknown { text: text.to_owned() };
                let digits = text.strip_prefix("hierarchical:").ok_or_else(unknown)?;
                let fan_out = digits.parse().map_err(|_| unknown())?;
                Ok(Kind::Hierarchical {
                    fan_out: FanOut::new(fan_out)?,
                })
            }
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = KindError;

    fn try_from(text: String) -> Result<Self, KindError> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.to_string()
    }
}

/// The number of children of a node in a hierarchy: 2 to 65,535. With 1 the tree would be a chain, whose routes are as
/// long as the cluster is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FanOut(u16);

impl FanOut {
    /// 2: the least fan-out, so that a tree of a handful of nodes already has inner nodes that forward.
    pub const DEFAULT: FanOut = FanOut(2);

    /// A fan-out of `children`.
    ///
    /// # Errors
    /// [`KindError::FanOut`] if it is below 2.
    pub fn new(children: u16) -> Result<Self, KindError> {
        if children < 2 {
            Err(KindError::FanOut { children })
        } else {
            Ok(Self(children))
        }
    }

    /// The number of children.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// Why a text is not a kind of topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// None of the names. Nothing changed; correct the text.
    #[error("{text:?} is not a topology (expected mesh, star, ring, hierarchical or hierarchical:FAN_OUT)")]
    Unknown {
        /// What was read.
        text: String,
    },
    /// A hierarchy whose nodes have fewer than two children. Nothing changed; correct the number.
    #[error("fan-out {children} is too small (expected 2 to 65535)")]
    FanOut {
        /// What was asked for.
        children: u16,
    },
}
