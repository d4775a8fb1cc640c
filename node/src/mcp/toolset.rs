//! Which tools a client is shown.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Tools that belong together. Those beyond the default cost context, so that they are there on request only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toolset {
    /// What every agent needs.
    Default,
    /// Nodes, links and hosted agents.
    Cluster,
    /// Tasks that used up what their terms allow.
    Dlq,
    /// Agents that the cluster starts and stops by itself.
    Pool,
    /// Queues, and tasks of others.
    Queue,
}

impl Toolset {
    /// All of them, in the order in which their tools are listed.
    pub const ALL: [Toolset; 5] = [
        Toolset::Default,
        Toolset::Cluster,
        Toolset::Dlq,
        Toolset::Pool,
        Toolset::Queue,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Toolset::Default => "default",
            Toolset::Cluster => "cluster",
            Toolset::Dlq => "dlq",
            Toolset::Pool => "pool",
            Toolset::Queue => "queue",
        }
    }
}

impl fmt::Display for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word is no toolset. Correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no toolset ({})", Toolset::ALL.map(Toolset::name).join(", "))]
pub struct UnknownToolset {
    /// What was read.
    pub text: String,
}

/// The toolsets that a client is shown: the default and those that it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolsets(BTreeSet<Toolset>);

impl Default for Toolsets {
    fn default() -> Toolsets {
        Toolsets(BTreeSet::from([Toolset::Default]))
    }
}

impl Toolsets {
    /// All that there are.
    pub fn all() -> Toolsets {
        Toolsets(Toolset::ALL.into())
    }

    /// Whether one of them is shown.
    pub fn has(&self, toolset: Toolset) -> bool {
        self.0.contains(&toolset)
    }
}

/// Names that are separated by commas; `all` is all of them.
impl FromStr for Toolsets {
    type Err = UnknownToolset;

    fn from_str(text: &str) -> Result<Toolsets, UnknownToolset> {
        let mut toolsets = Toolsets::default();
        for word in text.split(',').map(str::trim) {
            if word == "all" {
                return Ok(Toolsets::all());
            }
            let known = Toolset::ALL.into_iter().find(|toolset| toolset.name() == word);
            let known = known.ok_or_else(|| UnknownToolset { text: word.to_owned() })?;
            toolsets.0.insert(known);
        }
        Ok(toolsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_always_there_and_an_unknown_word_is_named() {
        let toolsets: Toolsets = "dlq, cluster".parse().unwrap();
        assert!(toolsets.has(Toolset::Default) && toolsets.has(Toolset::Dlq) && toolsets.has(Toolset::Cluster));
        assert!(!toolsets.has(Toolset::Pool));
        assert_eq!("all".parse(), Ok(Toolsets::all()));
        let unknown = "dlq,mail".parse::<Toolsets>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "\"mail\" is no toolset (default, cluster, dlq, pool, queue)"
        );
    }
}
