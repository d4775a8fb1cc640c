//! From a place in the text to what people call it: a line and a column, or the path of a key.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// Turns an error of the TOML reader into one line that names the place.
pub(super) fn explain(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let Ok(document) = DeTable::parse(text) else {
        let (line, column) = line_and_column(text, span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        return ConfigError::Syntax {
            file: file.to_path_buf(),
            line,
            column,
            message,
        };
    };
    let mut path = path_of(&document, &span);
    let message = error.message();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut words = backquoted(rest).into_iter();
        let key = words.next().unwrap_or_default();
        let known: Vec<String> = words.collect();
        if path.last() == Some(&key) {
            path.pop();
        }
        let section = match path.last() {
            None => "the file".to_owned(),
            Some(part) if part.starts_with('[') => join(&path),
            Some(_) => format!("[{}]", join(&path)),
        };
        let hint = match closest(&key, &known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known: {}", known.join(", ")),
        };
        return ConfigError::UnknownKey {
            file: file.to_path_buf(),
            section,
            key,
            hint,
        };
    }
    // The reader names Rust's type; people write integers.
    let mut problem = message
        .replace("expected i64", "expected an integer")
        .replace("a sequence", "a list");
    if let Some(rest) = message.strip_prefix("missing field ") {
        path.extend(backquoted(rest));
        problem = "missing".to_owned();
    }
    ConfigError::Shape {
        file: file.to_path_buf(),
        key: join(&path),
        problem,
    }
}

/// The line and the column, in characters and from 1, of a byte offset.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

/// The path of the innermost key or value that `span` lies in.
///
/// The span of a table under a header is the header alone, so a table is searched even if the span lies outside its own;
/// what is found deepest wins.
fn path_of(document: &Spanned<DeTable<'_>>, span: &Range<usize>) -> Vec<String> {
    let mut best = Vec::new();
    search_table(document.get_ref(), span, &mut Vec::new(), &mut best);
    best
}

fn search_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>, best: &mut Vec<String>) {
    for (key, value) in table.iter() {
        path.push(key.get_ref().to_string());
        if within(span, &key.span()) && path.len() > best.len() {
            best.clone_from(path);
        }
        search_value(value, span, path, best);
        path.pop();
    }
}

fn search_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Vec<String>, best: &mut Vec<String>) {
    if within(span, &value.span()) && path.len() > best.len() {
        best.clone_from(path);
    }
    match value.get_ref() {
        DeValue::Table(table) => search_table(table, span, path, best),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(format!("[{index}]"));
                search_value(item, span, path, best);
                path.pop();
            }
        }
        _ => {}
    }
}

fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    !inner.is_empty() && outer.start <= inner.start && inner.end <= outer.end
}

/// `["nodes", "[2]", "links"]` becomes `nodes[2].links`.
fn join(path: &[String]) -> String {
    let mut joined = String::new();
    for part in path {
        if !joined.is_empty() && !part.starts_with('[') {
            joined.push('.');
        }
        joined.push_str(part);
    }
    joined
}

/// The words that the reader's message puts between backquotes.
fn backquoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The known word that `word` is probably a slip of: at most a third of its letters differ.
pub(super) fn closest(word: &str, known: &[impl AsRef<str>]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate.as_ref()), candidate.as_ref()))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein's distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
