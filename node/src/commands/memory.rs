//! `queenright memory`: the values of keys.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{Changed, Code, HexHash, KeyInfo};
use queenright_bench::client::{Client, Found, Guard, ListQuery, Lookup, PutOptions};
use queenright_protocol::colony::VALUE_BYTES_MAX;

use super::door::{client_of_project, of_read};
use super::events;
use super::input::read;
use super::table::{Table, shown};
use super::{CliError, Context, branch};
use crate::cli::{ConditionArgs, MemoryCommand};
use crate::exit::Exit;

/// How many keys one page of `list --all` has.
const PAGE: u64 = 10_000;

/// Reads or writes the memory.
///
/// # Errors
/// [`CliError`], such as a refusal by the node.
pub async fn run(command: MemoryCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        MemoryCommand::Get {
            key,
            output,
            consistency,
            target,
        } => {
            let client = client_of_project(&target)?;
            get(&client, &key, consistency.into(), output.as_deref(), context).await?;
        }
        MemoryCommand::Put {
            key,
            value,
            file,
            tags,
            condition,
            if_absent,
            target,
        } => {
            let client = client_of_project(&target)?.with_token(condition.token.as_deref());
            let value = value_of(value, file).await?;
            let mut options = options(condition);
            options.tags = tags;
            if if_absent {
                options.guard = Guard::IfAbsent;
            }
            let changed = client.put(&key, value, &options).await?;
            say_changed("is at", &key, changed, context)?;
        }
        MemoryCommand::Delete { key, condition, target } => {
            let client = client_of_project(&target)?.with_token(condition.token.as_deref());
            let changed = client.delete(&key, &options(condition)).await?;
            say_changed("is deleted at", &key, changed, context)?;
        }
        MemoryCommand::Checkout {
            folder,
            prefix,
            at,
            force,
            target,
        } => {
            let client = client_of_project(&target)?;
            branch::run_checkout(&client, &folder, &prefix, at.into(), force, context).await?;
        }
        MemoryCommand::Import {
            folder,
            prefix,
            token,
            target,
        } => {
            let client = client_of_project(&target)?.with_token(token.as_deref());
            branch::run_import(&client, &folder, &prefix, context).await?;
        }
        MemoryCommand::List {
            prefix,
            limit,
            all,
            deleted,
            after,
            consistency,
            target,
        } => {
            let query = ListQuery {
                prefix,
                after,
                limit: Some(if all { PAGE } else { limit }),
                deleted,
                values: false,
                consistency: consistency.into(),
            };
            list(&client_of_project(&target)?, query, all, context).await?;
        }
        MemoryCommand::Watch {
            prefix,
            after,
            limit,
            target,
        } => events::watch(&client_of_project(&target)?, prefix, after, limit, context).await?,
    }
    Ok(Exit::Ok)
}

async fn get(
    client: &Client,
    key: &str,
    consistency: Consistency,
    output: Option<&Path>,
    context: &Context,
) -> Result<(), CliError> {
    let found = match client.get(key, consistency).await.map_err(of_read)? {
        Lookup::Found(found) => found,
        Lookup::Absent { revision } => return Err(absent(key, revision)),
    };
    if let Some(path) = output {
        let written = tokio::fs::write(path, &found.value).await;
        written.map_err(|error| CliError::Failed {
            message: format!("cannot write {}", path.display()),
            source: error.into(),
        })?;
        let text = format!("{} B written to {}", found.value.len(), path.display());
        context.answer(&info(key, &found, false), text)
    } else if context.json {
        context.answer(&info(key, &found, true), "")
    } else {
        context.print_bytes(&found.value)
    }
}

fn absent(key: &str, revision: u64) -> CliError {
    let message = match revision {
        0 => format!("{key:?} was never written"),
        _ => format!("{key:?} was deleted at revision {revision}"),
    };
    CliError::Refused {
        exit: Exit::Error,
        code: Code::NotFound.to_string(),
        message,
    }
}

fn info(key: &str, found: &Found, with_value: bool) -> KeyInfo {
    let mut info = KeyInfo {
        key: key.into(),
        revision: found.revision,
        bytes: found.value.len() as u64,
        hash: Some(HexHash(found.hash)),
        tags: found.tags.clone(),
        author: found.author.as_str().into(),
        seq: found.seq,
        deleted: false,
        value: None,
        value_base64: None,
    };
    if with_value {
        info.set_value(&found.value);
    }
    info
}

fn options(condition: ConditionArgs) -> PutOptions {
    PutOptions {
        tags: Vec::new(),
        guard: condition.if_revision.map_or(Guard::None, Guard::IfRevision),
        idempotency_key: condition.idempotency_key,
    }
}

async fn value_of(value: Option<String>, file: Option<PathBuf>) -> Result<Bytes, CliError> {
    match (value, file) {
        (Some(text), None) if text != "-" => Ok(text.into()),
        (_, file) => read(file.as_deref().unwrap_or(Path::new("-")), VALUE_BYTES_MAX).await,
    }
}

fn say_changed(what: &str, key: &str, changed: Changed, context: &Context) -> Result<(), CliError> {
    let Changed { seq, revision } = changed;
    context.answer(
        &changed,
        format!("{} {what} revision {revision} (seq {seq})", shown(key)),
    )
}

async fn list(client: &Client, mut query: ListQuery, all: bool, context: &Context) -> Result<(), CliError> {
    let mut list = client.list(&query).await.map_err(of_read)?;
    while all && let Some(next) = list.next.take() {
        query.after = Some(next);
        let page = client.list(&query).await.map_err(of_read)?;
        list.keys.extend(page.keys);
        list.next = page.next;
        (list.seq, list.index) = (page.seq, page.index);
    }
    if context.json || !list.keys.is_empty() {
        context.answer(&list, keys(&list.keys))?;
    }
    if let Some(next) = &list.next {
        context.note(format_args!("there is more: --after {next:?}, or --all"));
    }
    Ok(())
}

fn keys(keys: &[KeyInfo]) -> Table<5> {
    let mut table = Table::new(["REVISION", "BYTES", "AUTHOR", "TAGS", "KEY"]);
    for info in keys {
        let bytes = if info.deleted {
            "deleted".to_owned()
        } else {
            info.bytes.to_string()
        };
        table.row([
            info.revision.to_string(),
            bytes,
            shown(&info.author),
            shown(&info.tags.join(",")),
            shown(&info.key),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_comes_from_the_line_or_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff").unwrap();
        let path = Some(file.path().to_owned());
        assert_eq!(value_of(None, path).await.unwrap(), &b"\xff"[..]);
        assert_eq!(value_of(Some(String::new()), None).await.unwrap(), "");
    }

    #[test]
    fn a_missing_key_is_one_line() {
        assert_eq!(absent("k", 0).report(false), "error: \"k\" was never written");
        assert_eq!(absent("k", 3).report(false), "error: \"k\" was deleted at revision 3");
        assert_eq!(absent("k", 3).exit(), Exit::Error);
    }

    #[test]
    fn a_list_is_a_table() {
        let info = |key: &str, deleted| KeyInfo {
            key: key.into(),
            revision: 2,
            bytes: 10,
            hash: None,
            tags: vec!["a".into(), "b".into()],
            author: "cli".into(),
            seq: 4,
            deleted,
            value: None,
            value_base64: None,
        };
        let expected = "\
REVISION  BYTES    AUTHOR  TAGS  KEY
2         10       cli     a,b   k
2         deleted  cli     a,b   a\\nb";
        assert_eq!(keys(&[info("k", false), info("a\nb", true)]).to_string(), expected);
    }
}
