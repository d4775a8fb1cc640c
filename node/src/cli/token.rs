//! `queenright token`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use queenright_protocol::colony::Access;

use super::{ClientArgs, ReadMode, value};

/// `queenright token`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright token create --name ci --scope work --expires 30d
  queenright token list
  queenright token revoke ci

Doors ask for tokens when the cluster file says [doors] auth = \"token\". A command finds its token by --token-file, then \
QUEENRIGHT_TOKEN_FILE, then QUEENRIGHT_AUTH_TOKEN, then, for a node of this host, in the admin-token of its state folder.")]
pub enum TokenCommand {
    /// Make a token and print its secret, this once
    #[command(after_help = "\
Example:
  queenright token create --name ci --scope work --expires 30d > ci.token

The secret stands alone on stdout; the cluster keeps only its SHA-256. Exit code 3 if there is a token of this name.")]
    Create {
        /// What it is called: up to 64 letters, digits, `-`, `_` and `.`
        #[arg(long)]
        name: String,
        /// What it allows
        #[arg(long, value_enum)]
        scope: Scope,
        /// In what time it ends, such as 12h or 30d; without it, when it is revoked
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Duration>,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List tokens, without their secrets
    #[command(after_help = "\
Example:
  queenright token list --json")]
    List {
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Let nobody in with a token any more
    #[command(after_help = "\
Example:
  queenright token revoke ci

Every node refuses it once it has applied this: at once, unless it has no contact to the others.")]
    Revoke {
        /// What it is called
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// What a token allows; each allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// To look
    Read,
    /// To take part: sessions, tasks, memory, reservations, proposals
    Work,
    /// To change the cluster: projects, nodes, hosted agents, tokens
    Admin,
}

impl From<Scope> for Access {
    fn from(scope: Scope) -> Access {
        match scope {
            Scope::Read => Access::Read,
            Scope::Work => Access::Work,
            Scope::Admin => Access::Admin,
        }
    }
}

/// Longest life of a token that is given one, in seconds: a hundred years.
const LIFETIME_SECONDS_MAX: f64 = 36_525.0 * 86_400.0;

fn lifetime(text: &str) -> Result<Duration, String> {
    value::time_with_unit(text, 1.0..=LIFETIME_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_unit_and_an_end() {
        assert_eq!(lifetime("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "d", "30", "0d", "-1d", "36526d", "1w", "ü", "18446744073709551615d"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
