//! Makes repositories, for tests and for `queenright demo`: the same options give the same commits, to the last byte,
//! on every machine and in every later version.
//!
//! Everything goes through one `git fast-import`, which needs no identity and no work tree; the work tree stays empty.

use std::collections::BTreeMap;
use std::path::Path;

use import::{Edit, Importer, Parents};
use random::Random;

use super::{GitError, Mode, ObjectId};

mod hard;
mod import;
mod random;

pub use hard::hard;

/// What [`generate`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Decides everything that is random.
    pub seed: u64,
    /// The number of commits, at least 1.
    pub commits: usize,
}

/// The parts of the imagined program; each has a folder, and an author who mostly works there.
const PARTS: [&str; 6] = ["engine", "net", "store", "config", "cli", "report"];
const NOUNS: [&str; 16] = [
    "queue", "frame", "record", "session", "cursor", "segment", "lease", "route", "batch", "window", "index", "token",
    "buffer", "ledger", "timer", "worker",
];
const VERBS: [&str; 10] = [
    "open", "seal", "merge", "scan", "flush", "drain", "check", "split", "rotate", "trim",
];

/// The file that many commits change, at the same place.
const HOT: &str = "CHANGELOG.md";

/// Makes in `dir`, which must be absent or empty, a repository with the linear history of an ordinary program: several
/// authors, a few source files per commit, a change log that about every seventh commit extends, files that come and
/// go. Returns the id of the last commit; `HEAD` names it by `refs/heads/main`.
///
/// # Errors
///
/// [`GitError::NotEmpty`], [`GitError::Path`], or what git says; [`GitError::Empty`] for 0 commits.
pub fn generate(dir: &Path, options: GenerateOptions) -> Result<ObjectId, GitError> {
    let mut program = Program {
        random: Random::new(options.seed),
        files: BTreeMap::new(),
        releases: 0,
    };
    Importer::run(dir, |importer| {
        for number in 0..options.commits {
            let (author, subject, edits) = if number == 0 {
                program.start()
            } else {
                program.change(number)
            };
            importer.commit("main", author, &subject, Parents::Tip, &edits)?;
        }
        Ok(())
    })
}

/// The imagined program as it is after some commits.
struct Program {
    random: Random,
    files: BTreeMap<String, Vec<String>>,
    releases: usize,
}

/// The number of the author, the subject and the edits of a commit.
type Work = (usize, String, Vec<Edit>);

impl Program {
    /// The first commit: three modules in each part and the files around them.
    fn start(&mut self) -> Work {
        for part in PARTS {
            for noun in &NOUNS[..3] {
                let text = self.text();
                self.files.insert(module(part, noun), text);
            }
        }
        for (path, text) in [
            (HOT, vec!["# Changes", "", "## Next", ""]),
            (
                "Cargo.toml",
                vec![
                    "[package]",
                    "name = \"apiary\"",
                    "version = \"0.0.0\"",
                    "edition = \"2024\"",
                ],
            ),
            ("README.md", vec!["# apiary", "", "A program that was generated."]),
        ] {
            self.files
                .insert(path.to_owned(), text.into_iter().map(str::to_owned).collect());
        }
        let edits = self.files.keys().map(|path| self.put(path)).collect();
        (0, "Begin".to_owned(), edits)
    }

    /// A later commit: up to four modules of mostly one part, and now and then a file around them.
    fn change(&mut self, number: usize) -> Work {
        let author = self.random.below(PARTS.len());
        let part = if self.random.percent(75) {
            PARTS[author]
        } else {
            PARTS[self.random.below(PARTS.len())]
        };
        let (verb, noun) = (
            VERBS[self.random.below(VERBS.len())],
            NOUNS[self.random.below(NOUNS.len())],
        );
        let subject = format!("{part}: {verb} the {noun}");
        let mut edits = BTreeMap::new();
        for _ in 0..2 + self.random.below(3) {
            let path = self.pick(part);
            let changed = self.edit_lines(&path);
            edits.insert(path, changed);
        }
        let added = module(part, noun);
        if !self.files.contains_key(&added) && self.random.percent(40) {
            let text = self.text();
            self.files.insert(added.clone(), text);
            edits.insert(added.clone(), self.put(&added));
        } else if self.random.percent(12) {
            let path = self.pick(part);
            if self.modules(part).len() > 2 {
                self.files.remove(&path);
                edits.insert(path.clone(), Edit::delete(&path));
            }
        }
        if self.random.percent(15) {
            self.lines(HOT).insert(3, format!("- {subject} (#{number})."));
            edits.insert(HOT.to_owned(), self.put(HOT));
        }
        if number.is_multiple_of(40) {
            self.releases += 1;
            let version = format!("version = \"0.{}.0\"", self.releases);
            self.lines("Cargo.toml")[2] = version;
            edits.insert("Cargo.toml".to_owned(), self.put("Cargo.toml"));
        }
        (author, subject, edits.into_values().collect())
    }

    /// Replaces, adds or removes one to three lines.
    fn edit_lines(&mut self, path: &str) -> Edit {
        for _ in 0..1 + self.random.below(3) {
            let line = self.line();
            let kind = self.random.below(4);
            let length = self.lines(path).len();
            let at = self.random.below(length);
            match kind {
                0 => self.lines(path).insert(at, line),
                1 if length > 10 => drop(self.lines(path).remove(at)),
                _ => self.lines(path)[at] = line,
            }
        }
        self.put(path)
    }

    fn lines(&mut self, path: &str) -> &mut Vec<String> {
        self.files.get_mut(path).expect("only paths of this map are passed")
    }

    fn modules(&self, part: &str) -> Vec<&String> {
        let folder = format!("src/{part}/");
        self.files.keys().filter(|path| path.starts_with(&folder)).collect()
    }

    /// A module of the part, the first ones more often than the later.
    fn pick(&mut self, part: &str) -> String {
        let count = self.modules(part).len();
        let at = self.random.below(count).min(self.random.below(count));
        self.modules(part)[at].clone()
    }

    fn put(&self, path: &str) -> Edit {
        let mut text = self.files[path].join("\n");
        text.push('\n');
        Edit::put(path, Mode::Regular, text)
    }

    fn text(&mut self) -> Vec<String> {
        (0..40 + self.random.below(120)).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> String {
        let noun = NOUNS[self.random.below(NOUNS.len())];
        let verb = VERBS[self.random.below(VERBS.len())];
        let number = self.random.below(1000);
        match self.random.below(7) {
            0 => String::new(),
            1 => "}".to_owned(),
            2 => format!("/// Up to {number} of them {verb} at once."),
            3 => format!("pub fn {verb}_{noun}({noun}: &mut State) -> Result<(), Error> {{"),
            4 => format!("    if {noun}.len() > {number} {{ return Err(Error::Full({number})); }}"),
            5 => format!("    let {noun} = self.{verb}({number})?;"),
            _ => format!("    self.{noun}.{verb}({number});"),
        }
    }
}

fn module(part: &str, noun: &str) -> String {
    format!("src/{part}/{noun}.rs")
}
