//! The entry in TOML.

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::{Edited, Entry, NAME};

const SERVERS: &str = "mcp_servers";

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse::<DocumentMut>()
        .map_err(|error| error.to_string().trim_end().replace('\n', " "))
}

fn args(entry: &Entry) -> Item {
    value(entry.args.iter().collect::<Array>())
}

/// The table under a name, if there is something.
fn below<'t>(table: &'t dyn TableLike, name: &str) -> Result<Option<&'t dyn TableLike>, String> {
    match table.get(name) {
        None => Ok(None),
        Some(item) => match item.as_table_like() {
            Some(table) => Ok(Some(table)),
            None => Err(format!("{name}: is no table")),
        },
    }
}

pub(super) fn with(text: &str, entry: &Entry) -> Result<Edited, String> {
    let mut document = parse(text)?;
    let had = match below(document.as_table(), SERVERS)? {
        Some(servers) => below(servers, NAME)?.is_some(),
        None => false,
    };
    let servers = document.as_table_mut().entry(SERVERS).or_insert_with(|| {
        let mut table = Table::new();
        // Its header would say nothing.
        table.set_implicit(true);
        Item::Table(table)
    });
    let servers = servers.as_table_like_mut().expect("it was looked at");
    if !had {
        servers.insert(NAME, Item::Table(Table::new()));
    }
    let known = servers.get_mut(NAME).and_then(Item::as_table_like_mut);
    let known = known.expect("it was looked at, or put there");
    if said(known).as_ref() != Some(entry) {
        known.insert("command", value(&entry.command));
        known.insert("args", args(entry));
    }
    Ok(Edited {
        text: document.to_string(),
        had,
    })
}

pub(super) fn without(text: &str) -> Result<Edited, String> {
    let mut document = parse(text)?;
    let servers = document.get_mut(SERVERS).and_then(Item::as_table_like_mut);
    let had = servers.is_some_and(|servers| servers.remove(NAME).is_some());
    Ok(Edited {
        text: document.to_string(),
        had,
    })
}

pub(super) fn entry(text: &str) -> Result<Option<Entry>, String> {
    let document = parse(text)?;
    let Some(servers) = below(document.as_table(), SERVERS)? else {
        return Ok(None);
    };
    let known = below(servers, NAME)?;
    // An entry that says nothing of a command is one, too.
    Ok(known.map(|known| said(known).unwrap_or_else(Entry::unknown)))
}

/// What an entry says, if it names a command.
fn said(entry: &dyn TableLike) -> Option<Entry> {
    let args = match entry.get("args") {
        Some(args) => {
            let args = args.as_array()?.iter();
            args.map(|arg| arg.as_str().map(str::to_owned)).collect::<Option<_>>()?
        }
        None => Vec::new(),
    };
    Some(Entry {
        command: entry.get("command")?.as_str()?.to_owned(),
        args,
    })
}
