//! `queenright token`: who may come in at doors that ask for tokens.

use std::time::{Duration, UNIX_EPOCH};

use queenright_bench::client::wire::{TokenList, WireToken};
use queenright_protocol::colony::Access;

use super::door::{client, of_read};
use super::table::{Table, shown};
use super::{CliError, Context, dry};
use crate::cli::TokenCommand;
use crate::exit::Exit;
use crate::wall_time::rfc3339;

/// Carries out `queenright token`.
///
/// # Errors
/// [`CliError`], such as a name that is taken.
pub async fn run(command: TokenCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        TokenCommand::Create {
            name,
            scope,
            expires,
            dry_run,
            client: args,
        } => {
            if dry_run {
                return dry::create_token(&client(&args)?, &name, Access::from(scope), context).await;
            }
            let expires_s = expires.map(|expires| expires.as_secs());
            let created = client(&args)?.create_token(&name, scope.into(), expires_s).await?;
            context.answer(&created, &created.secret)?;
            let ends = created.expires_ms.map(|at_ms| format!(", until {}", time(at_ms)));
            context.note(format_args!(
                "token {} of scope {}{}; its secret is not kept and cannot be shown again",
                shown(&created.name),
                created.scope,
                ends.unwrap_or_default()
            ));
        }
        TokenCommand::List {
            consistency,
            client: args,
        } => {
            let list = client(&args)?.tokens(consistency.into()).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
        }
        TokenCommand::Revoke {
            name,
            dry_run,
            client: args,
        } => {
            if dry_run {
                return dry::revoke_token(&client(&args)?, &name, context).await;
            }
            let revoked = client(&args)?.revoke_token(&name).await?;
            context.answer(&revoked, format!("token {} is revoked", shown(&name)))?;
        }
    }
    Ok(Exit::Ok)
}

fn list_text(list: &TokenList) -> String {
    let mut table = Table::new(["TOKEN", "SCOPE", "MADE", "BY", "ENDS"]);
    for token in &list.tokens {
        table.row([
            shown(&token.name),
            token.scope.to_string(),
            time(token.made_ms),
            shown(&token.author),
            ends(token),
        ]);
    }
    table.to_string()
}

fn ends(token: &WireToken) -> String {
    match token.expires_ms {
        None => "-".to_owned(),
        Some(at_ms) if token.expired => format!("{} (ended)", time(at_ms)),
        Some(at_ms) => time(at_ms),
    }
}

fn time(ms: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_millis(ms))
}
