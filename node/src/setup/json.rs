//! The entry in JSON, with comments if the file has some.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstRootNode};

use super::{Edited, Entry, NAME};

const SERVERS: &str = "mcpServers";
/// What a file that is made begins as.
const EMPTY: &str = "{}\n";

/// JSON as editors write it: with comments and commas at the end, and nothing else that JSON has not.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The parsed text, which must live as long as its parts, and the object that it is.
fn parse(text: &str) -> Result<(CstRootNode, CstObject), String> {
    let text = if text.trim().is_empty() { EMPTY } else { text };
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|error| error.to_string())?;
    let object = root.object_value().ok_or("is no JSON object")?;
    Ok((root, object))
}

/// The object under a name, if there is one.
fn below(object: &CstObject, name: &str) -> Result<Option<CstObject>, String> {
    match object.get(name).and_then(|property| property.value()) {
        None => Ok(None),
        Some(value) => match value.as_object() {
            Some(object) => Ok(Some(object)),
            None => Err(format!("{name}: is no JSON object")),
        },
    }
}

fn args(entry: &Entry) -> CstInputValue {
    CstInputValue::Array(entry.args.iter().map(|arg| arg.as_str().into()).collect())
}

pub(super) fn with(text: &str, entry: &Entry) -> Result<Edited, String> {
    let (root, object) = parse(text)?;
    let servers = below(&object, SERVERS)?;
    let servers = servers.unwrap_or_else(|| object.object_value_or_set(SERVERS));
    let known = below(&servers, NAME)?;
    let had = known.is_some();
    match known {
        None => {
            let fields = vec![
                ("command".to_owned(), entry.command.as_str().into()),
                ("args".to_owned(), args(entry)),
            ];
            servers.append(NAME, CstInputValue::Object(fields));
        }
        Some(known) if said(&known).as_ref() == Some(entry) => {}
        Some(known) => {
            set(&known, "command", entry.command.as_str().into());
            set(&known, "args", args(entry));
        }
    }
    Ok(Edited {
        text: root.to_string(),
        had,
    })
}

fn set(object: &CstObject, name: &str, value: CstInputValue) {
    match object.get(name) {
        Some(property) => property.set_value(value),
        None => drop(object.append(name, value)),
    }
}

pub(super) fn without(text: &str) -> Result<Edited, String> {
    let (root, object) = parse(text)?;
    let mut had = false;
    if let Some(servers) = below(&object, SERVERS)?
        && let Some(property) = servers.get(NAME)
    {
        property.remove();
        had = true;
    }
    Ok(Edited {
        text: root.to_string(),
        had,
    })
}

pub(super) fn entry(text: &str) -> Result<Option<Entry>, String> {
    let (_root, object) = parse(text)?;
    let Some(servers) = below(&object, SERVERS)? else {
        return Ok(None);
    };
    let known = below(&servers, NAME)?;
    // An entry that says nothing of a command is one, too.
    Ok(known.map(|known| said(&known).unwrap_or_else(Entry::unknown)))
}

/// What an entry says, if it names a command.
fn said(entry: &CstObject) -> Option<Entry> {
    let text = |node: CstNode| node.as_string_lit()?.decoded_value().ok();
    let args = match entry.array_value("args") {
        Some(args) => args.elements().into_iter().map(text).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    Some(Entry {
        command: text(entry.get("command")?.value()?)?,
        args,
    })
}
