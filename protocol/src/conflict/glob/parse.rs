//! From text to patterns: braces first, then segments, then what stands in them.

use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use super::{
    Alternatives, GLOB_ALTERNATIVES_MAX, GLOB_BYTES_MAX, GLOB_EXPANDED_BYTES_MAX, GLOB_SEGMENTS_MAX, Glob, GlobError,
    Lead, Pattern, Segment, Token,
};

pub(super) fn glob(text: &str) -> Result<Glob, GlobError> {
    if text.len() > GLOB_BYTES_MAX {
        return Err(over("bytes", text.len(), GLOB_BYTES_MAX));
    }
    if text.chars().any(char::is_control) {
        return Err(GlobError::Malformed("has a control character"));
    }
    let written = braces(text)?;
    let mut alternatives: Vec<Pattern> = Vec::with_capacity(written.len());
    let mut form = String::new();
    for text in &written {
        let pattern;
        (pattern, form) = self::pattern(text)?;
        if !alternatives.contains(&pattern) {
            alternatives.push(pattern);
        }
    }
    // With braces it stays as it was written: there is no shorter way to say it.
    let text: Arc<str> = match &written[..] {
        [_] => form.into(),
        _ => text.into(),
    };
    let alternatives = match &alternatives[..] {
        // Only where a character was escaped is it written in another way.
        [only] if only.lead.whole && only.lead.names == text => Alternatives::Path(text.clone()),
        [only] if only.lead.whole => Alternatives::Path(only.lead.names.clone()),
        _ => Alternatives::Patterns(alternatives.into()),
    };
    Ok(Glob { text, alternatives })
}

fn over(what: &'static str, value: usize, limit: usize) -> GlobError {
    GlobError::OverLimit { what, value, limit }
}

/// The texts that a text with braces stands for.
fn braces(text: &str) -> Result<Vec<String>, GlobError> {
    if !text.contains(['{', '}']) {
        return Ok(vec![text.to_owned()]);
    }
    let mut chars = text.chars().peekable();
    let texts = choices(&mut chars, false)?;
    match chars.next() {
        None => Ok(texts),
        Some(_) => Err(GlobError::Malformed("has a } without its {")),
    }
}

/// What stands up to the end, or inside braces up to the brace that closes them.
fn choices(chars: &mut Peekable<Chars<'_>>, inside: bool) -> Result<Vec<String>, GlobError> {
    let (mut done, mut texts) = (Vec::new(), vec![String::new()]);
    let mut in_class = false;
    while let Some(&c) = chars.peek() {
        match c {
            '}' if !in_class => break,
            '{' if !in_class => {
                chars.next();
                let ways = choices(chars, true)?;
                if chars.next() != Some('}') {
                    return Err(GlobError::Malformed("has a { without its }"));
                }
                let together = texts
                    .iter()
                    .flat_map(|text| ways.iter().map(move |way| format!("{text}{way}")));
                // Counted before they are made.
                check_ways(done.len() + texts.len() * ways.len(), 0)?;
                texts = together.collect();
                check_ways(texts.len(), texts.iter().map(String::len).sum())?;
                continue;
            }
            ',' if inside && !in_class => {
                done.append(&mut texts);
                texts.push(String::new());
            }
            _ => {
                let escaped = (c == '\\').then(|| chars.next()).and_then(|_| chars.peek().copied());
                texts.iter_mut().for_each(|text| {
                    text.push(c);
                    text.extend(escaped);
                });
                match c {
                    '[' if !in_class => {
                        in_class = true;
                        class_start(chars, &mut texts);
                        continue;
                    }
                    ']' => in_class = false,
                    _ => {}
                }
            }
        }
        chars.next();
    }
    done.append(&mut texts);
    check_ways(done.len(), done.iter().map(String::len).sum())?;
    Ok(done)
}

/// Takes what may stand first in a class and would end it elsewhere.
fn class_start(chars: &mut Peekable<Chars<'_>>, texts: &mut [String]) {
    chars.next();
    let mut take = |wanted: &[char]| {
        if let Some(c) = chars.next_if(|c| wanted.contains(c)) {
            texts.iter_mut().for_each(|text| text.push(c));
        }
    };
    take(&['!', '^']);
    take(&[']']);
}

fn check_ways(ways: usize, bytes: usize) -> Result<(), GlobError> {
    if ways > GLOB_ALTERNATIVES_MAX {
        return Err(over("alternatives", ways, GLOB_ALTERNATIVES_MAX));
    }
    match bytes > GLOB_EXPANDED_BYTES_MAX {
        true => Err(over("bytes of alternatives", bytes, GLOB_EXPANDED_BYTES_MAX)),
        false => Ok(()),
    }
}

/// The pattern of a text without braces, and its one form.
fn pattern(text: &str) -> Result<(Pattern, String), GlobError> {
    if text.starts_with('/') {
        return Err(GlobError::Malformed(
            "begins with a slash: paths are relative to the project",
        ));
    }
    let mut segments: Vec<Segment> = Vec::new();
    let mut written: Vec<&str> = Vec::new();
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    // A slash at the end stands for all that is in the folder.
    let folder = (text.ends_with('/') || text.ends_with("/.")).then_some("**");
    for part in parts.chain(folder) {
        let segment = segment(part)?;
        // One of them says it all.
        if segment == Segment::AnyNames && segments.last() == Some(&Segment::AnyNames) {
            continue;
        }
        segments.push(segment);
        written.push(part);
    }
    if segments.is_empty() {
        return Err(GlobError::Malformed("names no path"));
    }
    if segments.len() > GLOB_SEGMENTS_MAX {
        return Err(over("segments", segments.len(), GLOB_SEGMENTS_MAX));
    }
    let lead = lead(&segments).into();
    let segments = segments.into();
    Ok((Pattern { segments, lead }, written.join("/")))
}

fn lead(segments: &[Segment]) -> Lead {
    let names = segments.iter().map_while(|segment| match segment {
        Segment::Name(name) => Some(&**name),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    let next = segments.get(names.len());
    let names = names.join("/");
    let mut start = names.clone();
    if let Some(segment) = next {
        if !start.is_empty() {
            start.push('/');
        }
        if let Segment::Open(tokens) = segment {
            let open = tokens.iter().map_while(|token| match token {
                Token::Char(c) => Some(*c),
                _ => None,
            });
            start.extend(open);
        }
    }
    let (name_start, name_end) = match segments.last() {
        Some(Segment::Name(name)) => Lead::whole_name(name),
        Some(Segment::Open(tokens)) => {
            let fixed = |token: &Token| match token {
                Token::Char(c) => Some(*c),
                _ => None,
            };
            let start: String = tokens.iter().map_while(fixed).collect();
            let end: String = tokens.iter().rev().map_while(fixed).collect();
            (start.into(), end.into())
        }
        Some(Segment::AnyNames) | None => (Arc::default(), Arc::default()),
    };
    Lead {
        names: names.into(),
        whole: next.is_none(),
        start: start.into(),
        name_start,
        name_end,
    }
}

fn segment(part: &str) -> Result<Segment, GlobError> {
    if part == "**" {
        return Ok(Segment::AnyNames);
    }
    if part != ".." && !part.contains(['*', '?', '[', '\\']) {
        return Ok(Segment::Name(part.into()));
    }
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Star) => continue,
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => class(&mut chars)?,
            '\\' => Token::Char(escaped(&mut chars)?),
            c => Token::Char(c),
        });
    }
    let name: Option<String> = tokens
        .iter()
        .map(|token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        })
        .collect();
    match name.as_deref() {
        Some("..") => Err(GlobError::Malformed("has a .. segment")),
        Some(".") => Err(GlobError::Malformed("has a . segment that is escaped")),
        Some(name) => Ok(Segment::Name(name.into())),
        None => Ok(Segment::Open(tokens.into())),
    }
}

fn escaped(chars: &mut Chars<'_>) -> Result<char, GlobError> {
    // A slash separates names, also behind a backslash: then nothing is left here.
    chars
        .next()
        .ok_or(GlobError::Malformed("has a \\ with nothing behind it"))
}

/// What no character of a name is.
const NEVER: [char; 2] = ['\0', '/'];

/// A class; its bracket has been taken.
fn class(chars: &mut Chars<'_>) -> Result<Token, GlobError> {
    const OPEN: GlobError = GlobError::Malformed("has a [ without its ] (a class has no slash)");
    let mut rest = chars.clone();
    let negated = matches!(rest.next(), Some('!' | '^'));
    if negated {
        chars.next();
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut first = true;
    loop {
        let low = match chars.next().ok_or(OPEN)? {
            ']' if !first => break,
            '\\' => escaped(chars)?,
            c => c,
        };
        first = false;
        let mut rest = chars.clone();
        let high = match (rest.next(), rest.next()) {
            (Some('-'), Some(c)) if c != ']' => {
                chars.next();
                match chars.next().ok_or(OPEN)? {
                    '\\' => escaped(chars)?,
                    c => c,
                }
            }
            _ => low,
        };
        if low > high {
            return Err(GlobError::Malformed("has a class whose range ends before it begins"));
        }
        ranges.push((low, high));
    }
    let ranges = match negated {
        true => all_but(ranges.into_iter().chain(NEVER.map(|c| (c, c))).collect()),
        // Twice the complement: sorted, apart, and without what is never there.
        false => {
            let others = all_but(ranges);
            all_but(others.into_iter().chain(NEVER.map(|c| (c, c))).collect())
        }
    };
    match ranges.is_empty() {
        true => Err(GlobError::Malformed("has a class that no character is in")),
        false => Ok(Token::Class(ranges.into())),
    }
}

/// All characters outside these ranges.
fn all_but(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut others = Vec::new();
    let mut next = Some('\0');
    for (low, high) in ranges {
        let Some(from) = next else { break };
        if from < low {
            others.push((from, before(low)));
        }
        if high >= from {
            next = after(high);
        }
    }
    others.extend(next.map(|from| (from, char::MAX)));
    others
}

fn after(c: char) -> Option<char> {
    (c..=char::MAX).nth(1)
}

fn before(c: char) -> char {
    ('\0'..c).next_back().expect("a smaller character was found")
}
