//! Ranges of keys: a folder of them, or those that a glob names, with a stamp that changes whenever one of the keys does.
//!
//! The memory keeps the stamp of every folder up with each change, in O(depth): how many keys below it have a value, and
//! the sum, modulo 2^128, of the digests of their records. A record's digest covers its key, value, tags and revision, so
//! a file that appears, goes, changes or comes back shows in the stamp of each folder above it. Both follow from the
//! records; no pair of a snapshot holds them.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{KEY_BYTES_MAX, Key, Refusal};
use super::digest::Digest;
use super::memory::{Memory, Record, malformed, over_limit};

/// How many ranges a proposal may read.
pub const PROPOSAL_RANGES_MAX: usize = 256;
/// How deep a folder may lie whose stamp is kept: how many slashes its name has.
pub const RANGE_DEPTH_MAX: usize = 64;
/// The longest glob, in bytes.
pub const GLOB_BYTES_MAX: usize = 128;
/// How many bytes of keys the globs of one command look at. A key is looked at by each glob in whose folder it lies.
pub const GLOB_LOOKED_AT_BYTES_MAX: usize = 1 << 20;
/// How many keys that a batch writes may lie in the ranges that its proposals read; a key counts once for each proposal.
pub const BATCH_RANGE_KEYS_MAX: usize = 262_144;
/// How many bytes they may have.
pub const BATCH_RANGE_BYTES_MAX: usize = 32 << 20;

/// Which keys a range has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// All keys that begin with this: nothing, or a text that ends with a slash.
    Folder(Key),
    /// The keys that match: `*` stands for any text without a slash, `?` for one character but a slash, `**/` for any
    /// number of folders and `**` elsewhere for any text. Checked key by key below the folder that the glob begins with.
    Glob(Arc<str>),
}

/// What a range holds, as somebody saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeStamp {
    /// How many keys have a value.
    pub keys: u64,
    /// The sum of the digests of their records.
    pub sum: Digest,
}

/// A range that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRead {
    /// Which keys.
    pub span: Span,
    /// What they held.
    pub stamp: RangeStamp,
}

/// What a range holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeState {
    /// Its stamp.
    pub stamp: RangeStamp,
    /// The position of the last command that changed one of its keys, deletions included; 0 when none did.
    pub changed: u64,
}

/// What the globs of one command may still look at.
pub(crate) struct GlobRoom(usize);

impl Default for GlobRoom {
    fn default() -> GlobRoom {
        GlobRoom(GLOB_LOOKED_AT_BYTES_MAX)
    }
}

impl GlobRoom {
    fn look_at(&mut self, key: &str) -> Result<(), Refusal> {
        // A byte more, so that short keys cost as well.
        match self.0.checked_sub(key.len() + 1) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(over_limit(
                "glob_looked_at_bytes",
                GLOB_LOOKED_AT_BYTES_MAX + 1,
                GLOB_LOOKED_AT_BYTES_MAX,
            )),
        }
    }
}

impl Span {
    /// Checks the form.
    ///
    /// # Errors
    /// When it is none, or over a limit.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Span::Folder(folder) => {
                if folder.len() > KEY_BYTES_MAX {
                    return Err(over_limit("key_bytes", folder.len(), KEY_BYTES_MAX));
                }
                if !folder.is_empty() && !folder.ends_with('/') {
                    return Err(malformed(
                        "ranges",
                        "a folder ends with a slash, or is empty for all keys",
                    ));
                }
                let depth = folder.bytes().filter(|byte| *byte == b'/').count();
                match depth > RANGE_DEPTH_MAX {
                    true => Err(over_limit("range_depth", depth, RANGE_DEPTH_MAX)),
                    false => Ok(()),
                }
            }
            Span::Glob(glob) if glob.len() > GLOB_BYTES_MAX => {
                Err(over_limit("glob_bytes", glob.len(), GLOB_BYTES_MAX))
            }
            Span::Glob(glob) if glob.is_empty() => Err(malformed("ranges", "a glob is empty")),
            Span::Glob(_) => Ok(()),
        }
    }

    /// The folder, or the glob.
    pub fn text(&self) -> &Arc<str> {
        match self {
            Span::Folder(text) | Span::Glob(text) => text,
        }
    }

    /// The folder that all of its keys lie in.
    pub fn folder(&self) -> &str {
        match self {
            Span::Folder(folder) => folder,
            Span::Glob(glob) => {
                let wild = glob.find(['*', '?']).unwrap_or(glob.len());
                &glob[..glob[..wild].rfind('/').map_or(0, |slash| slash + 1)]
            }
        }
    }

    /// Whether the range has this key.
    pub fn covers(&self, key: &str) -> bool {
        self.matcher().covers(key)
    }

    /// The same question for many keys.
    pub(crate) fn matcher(&self) -> Matcher<'_> {
        match self {
            Span::Folder(folder) => Matcher::Folder(folder),
            Span::Glob(glob) => Matcher::Glob(Glob::of(glob)),
        }
    }

    /// What the range holds. Its form was checked.
    pub(crate) fn state(&self, memory: &Memory, room: &mut GlobRoom) -> Result<RangeState, Refusal> {
        let Span::Glob(glob) = self else {
            return Ok(memory.folders.state(self.folder()));
        };
        let glob = Glob::of(glob);
        let mut state = RangeState::default();
        for (key, record) in memory.range(self.folder(), None) {
            room.look_at(key)?;
            if glob.matches(key) {
                state.add(record);
            }
        }
        Ok(state)
    }

    /// Those of `keys`, which are sorted, that the range has.
    pub(crate) fn among<'k>(&self, keys: &[&'k str], room: &mut GlobRoom) -> Result<Vec<&'k str>, Refusal> {
        let folder = self.folder();
        let start = keys.partition_point(|key| *key < folder);
        let below = keys[start..].iter().take_while(|key| key.starts_with(folder));
        match self.matcher() {
            Matcher::Folder(_) => Ok(below.copied().collect()),
            Matcher::Glob(glob) => {
                let mut found = Vec::new();
                for key in below {
                    room.look_at(key)?;
                    if glob.matches(key) {
                        found.push(*key);
                    }
                }
                Ok(found)
            }
        }
    }
}

impl RangeState {
    fn add(&mut self, record: &Record) {
        if record.value.is_some() {
            self.stamp.keys += 1;
            self.stamp.sum.add(record.digest);
        }
        self.changed = self.changed.max(record.seq);
    }

    fn subtract(&mut self, record: &Record) {
        if record.value.is_some() {
            self.stamp.keys -= 1;
            self.stamp.sum.subtract(record.digest);
        }
    }
}

/// Tells which keys a range has.
pub(crate) enum Matcher<'a> {
    Folder(&'a str),
    Glob(Glob),
}

impl Matcher<'_> {
    pub(crate) fn covers(&self, key: &str) -> bool {
        match self {
            Matcher::Folder(folder) => key.starts_with(folder),
            Matcher::Glob(glob) => glob.matches(key),
        }
    }
}

/// A glob taken apart.
pub(crate) struct Glob(Vec<Part>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    One(char),
    /// Any character but a slash.
    Any,
    /// Any text without a slash.
    Text,
    /// Any number of folders.
    Folders,
    /// Any text.
    All,
}

impl Glob {
    fn of(glob: &str) -> Glob {
        let mut parts = Vec::new();
        let mut rest = glob;
        while let Some(first) = rest.chars().next() {
            let at_start = matches!(parts.last(), None | Some(Part::One('/') | Part::Folders));
            let (part, length) = match first {
                '*' if rest.starts_with("**/") && at_start => (Part::Folders, 3),
                '*' if rest.starts_with("**") => (Part::All, 2),
                '*' => (Part::Text, 1),
                '?' => (Part::Any, 1),
                other => (Part::One(other), other.len_utf8()),
            };
            parts.push(part);
            rest = &rest[length..];
        }
        Glob(parts)
    }

    /// Follows all ways through the glob at once: in O(key · glob) whatever both are.
    fn matches(&self, key: &str) -> bool {
        let Glob(parts) = self;
        let mut now = vec![false; parts.len() + 1];
        let mut next = now.clone();
        self.enter(&mut now, 0);
        for c in key.chars() {
            next.fill(false);
            for (place, part) in parts.iter().enumerate().filter(|(place, _)| now[*place]) {
                match part {
                    Part::One(one) if *one == c => self.enter(&mut next, place + 1),
                    Part::Any if c != '/' => self.enter(&mut next, place + 1),
                    Part::Text if c != '/' => self.enter(&mut next, place),
                    Part::All => self.enter(&mut next, place),
                    Part::Folders => {
                        next[place] = true;
                        if c == '/' {
                            self.enter(&mut next, place + 1);
                        }
                    }
                    Part::One(_) | Part::Any | Part::Text => {}
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        now[parts.len()]
    }

    /// Marks a place, and those after it that are reached by nothing.
    fn enter(&self, places: &mut [bool], mut place: usize) {
        loop {
            places[place] = true;
            match self.0.get(place) {
                Some(Part::Text | Part::All | Part::Folders) if !places[place + 1] => place += 1,
                _ => return,
            }
        }
    }
}

/// The state of every folder in which a key was ever written, kept up with each change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folders {
    all: RangeState,
    /// By the hash of the folder's name: 128 bits of BLAKE3, which nobody can make collide. The names themselves would
    /// take more room than the keys.
    by_name: OrdMap<u128, RangeState>,
}

impl Folders {
    /// What a folder holds.
    pub(crate) fn state(&self, folder: &str) -> RangeState {
        match folder {
            "" => self.all,
            _ => self.by_name.get(&name_hash(folder)).copied().unwrap_or_default(),
        }
    }

    /// Takes in that the record of `key` has changed.
    pub(crate) fn change(&mut self, key: &str, old: Option<&Record>, new: &Record) {
        let change = |state: &mut RangeState| {
            if let Some(old) = old {
                state.subtract(old);
            }
            state.add(new);
        };
        change(&mut self.all);
        for hash in folder_hashes(key) {
            change(self.by_name.entry(hash).or_default());
        }
    }
}

impl Folders {
    /// Takes out all folders that a key lies in, and with the last key the last of them: while a project is cleared away,
    /// a step must not leave them all to be freed at once.
    pub(crate) fn forget(&mut self, key: &str, old: &Record) {
        self.all.subtract(old);
        for hash in folder_hashes(key) {
            self.by_name.remove(&hash);
        }
    }
}

fn name_hash(folder: &str) -> u128 {
    first_half(&blake3::hash(folder.as_bytes()))
}

fn first_half(hash: &blake3::Hash) -> u128 {
    let (half, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u128::from_le_bytes(*half)
}

/// The hashes of the folders that a key lies in, up to [`RANGE_DEPTH_MAX`] of them: each text that ends with a slash.
fn folder_hashes(key: &str) -> impl Iterator<Item = u128> {
    let mut hasher = blake3::Hasher::new();
    let folders = key.split_inclusive('/').filter(|part| part.ends_with('/'));
    folders.take(RANGE_DEPTH_MAX).map(move |part| {
        hasher.update(part.as_bytes());
        first_half(&hasher.finalize())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(glob: &str, yes: &[&str], no: &[&str]) {
        let span = Span::Glob(glob.into());
        for key in yes {
            assert!(span.covers(key), "{glob} {key}");
            assert!(key.starts_with(span.folder()), "{glob} {key}");
        }
        for key in no {
            assert!(!span.covers(key), "{glob} {key}");
        }
    }

    #[test]
    fn globs_mean_what_shells_mean_by_them() {
        check(
            "src/*.rs",
            &["src/a.rs", "src/.rs"],
            &["src/a/b.rs", "src/a.rsx", "a.rs"],
        );
        check(
            "src/**/mod.rs",
            &["src/mod.rs", "src/a/b/mod.rs"],
            &["src/amod.rs", "mod.rs"],
        );
        check("src/**", &["src/", "src/a/b"], &["src", "srcs/a"]);
        check("**/x", &["x", "a/x", "a/b/x"], &["ax", "x/a"]);
        check("a?c", &["abc", "aéc"], &["ac", "a/c", "abbc"]);
        check("*a*a*b", &["aab", "xaxaxb"], &["ab", "aa"]);
        check("a**b", &["ab", "a/x/b"], &["a/x/c"]);
        check("plain", &["plain"], &["plain/x", "plai"]);
    }

    #[test]
    fn the_folder_of_a_glob_ends_before_its_first_wildcard() {
        for (glob, folder) in [("src/a*/b", "src/"), ("*", ""), ("a/b", "a/"), ("a/?/c", "a/")] {
            assert_eq!(Span::Glob(glob.into()).folder(), folder);
        }
    }

    #[test]
    fn a_key_lies_in_every_folder_above_it_down_to_a_bounded_depth() {
        let hashes: Vec<u128> = folder_hashes("a/bc//d").collect();
        assert_eq!(hashes, ["a/", "a/bc/", "a/bc//"].map(name_hash));
        assert_eq!(folder_hashes(&"/".repeat(100)).count(), RANGE_DEPTH_MAX);
    }
}
