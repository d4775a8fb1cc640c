//! Globs over paths, and whether two of them have a path in common.
//!
//! A path is a sequence of names separated by slashes. A pattern is one of segments:
//!
//! | written | matches |
//! |---|---|
//! | `**` alone between slashes | any number of names, none included |
//! | `*` | any number of characters of a name, none included; `**` beside other characters is the same |
//! | `?` | one character |
//! | `[a-z_]`, `[!a-z]`, `[^a-z]` | one character of the class, or none of it; a `]` that stands first belongs to it |
//! | `{a,b/c}` | either; may be nested, may have slashes |
//! | `\x` | the character x as it is |
//!
//! Before that a pattern is brought to one form: `.` segments and doubled slashes go, and a slash at the end stands for
//! the folder and all that is in it (`src/` is `src/**`). A path that begins with a slash, or has a `..`, is refused: on
//! another host it would be another one. Upper and lower case are different, and a leading dot is nothing special.
//!
//! [`Glob::meets`] is exact: it goes through both patterns at once, as automata, and says whether any path leads both to
//! their ends. That costs at most the product of their lengths in steps, which are counted ([`Steps`]).

mod intersect;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

/// The longest pattern, in bytes.
pub const GLOB_BYTES_MAX: usize = 512;
/// How many segments a pattern may have.
pub const GLOB_SEGMENTS_MAX: usize = 64;
/// How many alternatives the braces of a pattern may make in all.
pub const GLOB_ALTERNATIVES_MAX: usize = 32;
/// How many bytes these may have together.
pub const GLOB_EXPANDED_BYTES_MAX: usize = 2_048;

/// A pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    text: Arc<str>,
    alternatives: Alternatives,
}

/// What a pattern may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Alternatives {
    /// This path alone: most are. Its text says all, and lies in one place.
    Path(Arc<str>),
    /// Each of these; one that matches a path alone only beside others.
    Patterns(Box<[Pattern]>),
}

/// A pattern without braces.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    segments: Box<[Segment]>,
    lead: Arc<Lead>,
}

/// What every path that a pattern matches begins with, and how its last name begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lead {
    /// The names before the first segment that is no plain name.
    pub names: Arc<str>,
    /// Whether that is all: the pattern matches this path alone.
    pub whole: bool,
    /// Unless it is: how a path that goes on behind them begins, with the characters before the first that is open.
    pub start: Arc<str>,
    /// How the last name begins, as far as that is sure, with a slash behind it if that is all of it.
    pub name_start: Arc<str>,
    /// The same from its last character backwards.
    pub name_end: Arc<str>,
}

impl Lead {
    /// That of one path, or of any other text with slashes.
    pub fn of_path(path: Arc<str>) -> Lead {
        let name = path.rsplit('/').next().unwrap_or_default();
        let (name_start, name_end) = Lead::whole_name(name);
        Lead {
            whole: true,
            start: path.clone(),
            name_start,
            name_end,
            names: path,
        }
    }

    /// That of all paths inside of a folder, or of all other texts that begin so.
    pub fn inside(folder: &str) -> Lead {
        Lead {
            names: folder.into(),
            start: format!("{folder}/").into(),
            ..Lead::default()
        }
    }

    /// How a name begins and ends that is known.
    fn whole_name(name: &str) -> (Arc<str>, Arc<str>) {
        let end: String = name.chars().rev().chain(['/']).collect();
        (format!("{name}/").into(), end.into())
    }

    /// Whether a name can begin and end as the last ones of both do.
    pub fn names_agree(&self, other: &Lead) -> bool {
        go_on(&self.name_start, &other.name_start) && go_on(&self.name_end, &other.name_end)
    }

    /// What every path that the pattern matches begins with, as far as that is sure.
    pub fn beginning(&self) -> &Arc<str> {
        let slash = usize::from(!self.names.is_empty());
        match !self.whole && self.start.len() > self.names.len() + slash {
            true => &self.start,
            // Any names may be none: the path may end here.
            false => &self.names,
        }
    }
}

/// Whether one of them begins with the other.
fn go_on(a: &str, b: &str) -> bool {
    let least = a.len().min(b.len());
    a.as_bytes()[..least] == b.as_bytes()[..least]
}

/// What one name must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Any number of names.
    AnyNames,
    /// This name.
    Name(Box<str>),
    /// What these leave open.
    Open(Box<[Token]>),
}

/// A segment as it is compared.
#[derive(Clone, Copy)]
enum Part<'a> {
    AnyNames,
    Name(&'a str),
    Open(&'a [Token]),
}

impl<'a> From<&'a Segment> for Part<'a> {
    fn from(segment: &'a Segment) -> Part<'a> {
        match segment {
            Segment::AnyNames => Part::AnyNames,
            Segment::Name(name) => Part::Name(name),
            Segment::Open(tokens) => Part::Open(tokens),
        }
    }
}

/// The segments of one alternative; few are deeper than there is room for here.
type Parts<'a> = SmallVec<[Part<'a>; 12]>;

/// What the next characters of a name must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This one.
    Char(char),
    /// Any one.
    Any,
    /// One within these bounds, both included; sorted, apart from each other.
    Class(Box<[(char, char)]>),
    /// Any number of any.
    Star,
}

/// A text that is no pattern. Correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is over a bound.
    #[error("{value} {what} are over the limit of {limit}")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        value: usize,
        /// The bound.
        limit: usize,
    },
    /// It does not have the form of a pattern.
    #[error("{0}")]
    Malformed(&'static str),
}

/// How many steps a look-up may still take: comparing patterns is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    left: u64,
}

/// A look-up would take more steps than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverSteps;

impl Steps {
    /// So many.
    pub fn new(most: u64) -> Steps {
        Steps { left: most }
    }

    #[cfg(test)]
    pub(crate) fn left(self) -> u64 {
        self.left
    }

    /// Takes some.
    ///
    /// # Errors
    /// When there are not so many left.
    pub fn spend(&mut self, steps: u64) -> Result<(), OverSteps> {
        self.left = self.left.checked_sub(steps).ok_or(OverSteps)?;
        Ok(())
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is over a bound, or malformed.
    pub fn parse(text: &str) -> Result<Glob, GlobError> {
        parse::glob(text)
    }

    /// The pattern that matches this path alone; `None` for a text that is no path in its one form.
    pub fn of_path(path: &Arc<str>) -> Option<Glob> {
        let plain = |name: &str| !name.is_empty() && name != "." && name != "..";
        path.split('/').all(plain).then(|| Glob {
            text: path.clone(),
            alternatives: Alternatives::Path(path.clone()),
        })
    }

    /// The pattern that matches all paths inside this folder; `None` when it is no path in its one form.
    pub fn inside(folder: &str) -> Option<Glob> {
        let Glob { text, .. } = Glob::of_path(&folder.into())?;
        let names = folder.split('/').map(|name| Segment::Name(name.into()));
        let pattern = Pattern {
            segments: names
                .chain([Segment::Open([Token::Star].into()), Segment::AnyNames])
                .collect(),
            lead: Lead::inside(folder).into(),
        };
        Some(Glob {
            text,
            alternatives: Alternatives::Patterns([pattern].into()),
        })
    }

    /// Its one form.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What the paths that it matches begin with; one for each of its alternatives.
    pub fn leads(&self) -> Vec<Arc<Lead>> {
        match &self.alternatives {
            Alternatives::Path(path) => vec![Lead::of_path(path.clone()).into()],
            Alternatives::Patterns(patterns) => patterns.iter().map(|pattern| pattern.lead.clone()).collect(),
        }
    }

    /// Whether there is a path that both match.
    ///
    /// # Errors
    /// When telling takes more steps than are left.
    pub fn meets(&self, other: &Glob, steps: &mut Steps) -> Result<bool, OverSteps> {
        for mine in self.each() {
            for theirs in other.each() {
                if intersect::patterns(&mine, &theirs, steps)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Its alternatives.
    fn each(&self) -> impl Iterator<Item = Parts<'_>> {
        let (path, patterns) = match &self.alternatives {
            Alternatives::Path(path) => (Some(path), &[][..]),
            Alternatives::Patterns(patterns) => (None, &patterns[..]),
        };
        let path = path.map(|path| path.split('/').map(Part::Name).collect());
        let patterns = patterns
            .iter()
            .map(|pattern| pattern.segments.iter().map(Part::from).collect());
        path.into_iter().chain(patterns)
    }
}

/// Two patterns are equal if they were written in the same way, but for what the one form takes away.
impl PartialEq for Glob {
    fn eq(&self, other: &Glob) -> bool {
        self.alternatives == other.alternatives
    }
}

impl Eq for Glob {}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
