//! A repository in which everything occurs that git allows and a reader may get wrong.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::import::{Edit, Importer, Mark, Parents};
use super::random::Random;
use super::{GitError, Mode, ObjectId};

/// The file that three commits in ten change.
const HOT: &[u8] = b"hot.txt";
/// The file that grows large a third through the history, and changes in one byte after two thirds.
const LARGE: &[u8] = b"data/large.bin";
const LARGE_BYTES: usize = 300 * 1024;

/// Names that are not UTF-8, or that need quotes somewhere.
const ODD_NAMES: [&[u8]; 14] = [
    b"odd/\xff",
    b"odd/\xfe\xff/deep\x80",
    b"odd/caf\xe9.txt",
    "odd/\u{fc}n\u{ef}.txt".as_bytes(),
    b"odd/with space",
    b"odd/ leading and trailing ",
    b"odd/double\"quote",
    b"odd/single'quote",
    b"odd/new\nline",
    b"odd/tab\tand\x01control",
    b"odd/100%25%",
    b"odd/back\\slash",
    b"-dash",
    b":colon",
];

/// What a commit can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A side branch of one to three commits, and a merge that takes over what it did.
    Merge,
    /// Two side branches, and a merge of three parents that takes nothing over.
    MergeOurs,
    Empty,
    /// One file goes to and fro between two contents.
    FlipContents,
    Delete,
    /// A deleted path returns, with the contents it had or with others.
    Return,
    /// One file goes to and fro between 644 and 755, with the same contents.
    FlipMode,
    LinkSymbolic,
    /// A file becomes a symbolic link of the same bytes, or the reverse.
    FlipSymlink,
    Binary,
    SubmoduleAdd,
    SubmoduleMove,
    SubmoduleRemove,
    /// A file becomes a folder, or the reverse.
    FlipFolder,
    /// A submodule becomes a folder, or the reverse.
    FlipSubmoduleFolder,
    OddName,
    EmptyFile,
    /// A file moves to another path, with the same contents.
    Rename,
    Several,
    Add,
}

const KINDS: [Kind; 20] = [
    Kind::Merge,
    Kind::MergeOurs,
    Kind::Empty,
    Kind::FlipContents,
    Kind::Delete,
    Kind::Return,
    Kind::FlipMode,
    Kind::LinkSymbolic,
    Kind::FlipSymlink,
    Kind::Binary,
    Kind::SubmoduleAdd,
    Kind::SubmoduleMove,
    Kind::SubmoduleRemove,
    Kind::FlipFolder,
    Kind::FlipSubmoduleFolder,
    Kind::OddName,
    Kind::EmptyFile,
    Kind::Rename,
    Kind::Several,
    Kind::Add,
];

/// Makes in `dir`, which must be absent or empty, a repository with `commits` first-parent commits for tests: merges,
/// empty commits, contents that return, deleted paths that return, changed modes, symbolic links, binary files,
/// submodule entries, files that become folders, names that are not UTF-8, one hot file, one blob of 300 KiB. With 600
/// commits everything occurs many times. Returns the id of the last commit; `HEAD` names it by `refs/heads/main`.
///
/// # Errors
///
/// [`GitError::NotEmpty`], [`GitError::Path`], or what git says; [`GitError::Empty`] for 0 commits.
pub fn hard(dir: &Path, seed: u64, commits: usize) -> Result<ObjectId, GitError> {
    let mut world = World {
        random: Random::new(seed),
        ..World::default()
    };
    Importer::run(dir, |importer| {
        let mut deck = Vec::new();
        let mut marks = Vec::new();
        for number in 0..commits {
            if number == 0 {
                world.start();
                world.commit(importer, Parents::Tip, &mut marks)?;
                continue;
            }
            if deck.is_empty() {
                deck.extend(KINDS);
                world.random.shuffle(&mut deck);
            }
            let kind = deck.pop().expect("the deck was filled");
            if kind != Kind::Empty && kind != Kind::MergeOurs {
                world.hot_and_large(number, commits);
            }
            match kind {
                Kind::Merge => {
                    let (tip, path, bytes) = world.side(importer, &marks)?;
                    world.put(path, Mode::Regular, bytes);
                    world.commit(importer, Parents::Merge(&[tip]), &mut marks)?;
                }
                Kind::MergeOurs => {
                    let tips = [world.side(importer, &marks)?.0, world.side(importer, &marks)?.0];
                    world.commit(importer, Parents::Merge(&tips), &mut marks)?;
                }
                _ => {
                    world.act(kind);
                    world.commit(importer, Parents::Tip, &mut marks)?;
                }
            }
        }
        Ok(())
    })
}

/// What is at a path.
#[derive(Clone, Debug)]
enum State {
    File(Mode, Vec<u8>),
    Submodule(ObjectId),
}

/// The tree of the last first-parent commit, and what the next one does to it.
#[derive(Debug, Default)]
struct World {
    random: Random,
    tree: BTreeMap<Vec<u8>, State>,
    deleted: BTreeMap<Vec<u8>, State>,
    edits: Vec<Edit>,
    branches: usize,
    files: usize,
    odd_names: usize,
    large_changes: usize,
}

impl World {
    fn start(&mut self) {
        self.put(HOT, Mode::Regular, "The hot file.\n");
        self.put(
            ".gitmodules",
            Mode::Regular,
            "[submodule \"lib-1\"]\n\tpath = vendor/lib-1\n\tignore = all\n",
        );
        self.put("flip/contents", Mode::Regular, "A\n");
        self.put("flip/symlink", Mode::Regular, "contents");
        self.put("flip/folder", Mode::Regular, "not a folder yet\n");
        self.act(Kind::SubmoduleAdd);
        self.act(Kind::FlipSubmoduleFolder);
        for _ in 0..8 {
            self.act(Kind::Add);
        }
    }

    /// Does what `kind` says. Where there is nothing to do it to, adds a file instead.
    fn act(&mut self, kind: Kind) {
        match kind {
            Kind::Merge | Kind::MergeOurs | Kind::Empty => {}
            Kind::FlipContents => {
                let is_a = self.bytes("flip/contents") == b"A\n";
                self.put("flip/contents", Mode::Regular, if is_a { "B\n" } else { "A\n" });
            }
            Kind::Delete => self.with_plain(|world, path, _, _| world.delete(&path)),
            Kind::Return => self.bring_back(),
            Kind::FlipMode => self.with_plain(|world, path, mode, bytes| {
                let flipped = if mode == Mode::Regular {
                    Mode::Executable
                } else {
                    Mode::Regular
                };
                world.put(path, flipped, bytes);
            }),
            Kind::LinkSymbolic => {
                let (link, target) = (self.random.below(5), self.random.below(1000));
                self.put(format!("links/{link}"), Mode::Symlink, format!("../src/{target}.txt"));
            }
            Kind::FlipSymlink => {
                let is_file = matches!(self.tree[&b"flip/symlink"[..]], State::File(Mode::Regular, _));
                self.put(
                    "flip/symlink",
                    if is_file { Mode::Symlink } else { Mode::Regular },
                    "contents",
                );
            }
            Kind::Binary => {
                let mut bytes = self.random.bytes(1024);
                bytes.splice(..2, [0, 0]);
                let name = self.random.below(6);
                self.put(format!("bin/{name}"), Mode::Regular, bytes);
            }
            Kind::SubmoduleAdd | Kind::SubmoduleMove | Kind::SubmoduleRemove => self.submodule(kind),
            Kind::FlipFolder => self.flip_folder("flip/folder", |world, path| {
                let bytes = world.sentence();
                world.put(path, Mode::Regular, bytes);
            }),
            Kind::FlipSubmoduleFolder => self.flip_folder("flip/vendored", World::link_anew),
            Kind::OddName => (0..5).for_each(|_| {
                let (name, bytes) = (ODD_NAMES[self.odd_names % ODD_NAMES.len()], self.sentence());
                self.odd_names += 1;
                self.put(name, Mode::Regular, bytes);
            }),
            Kind::EmptyFile => {
                let name = self.random.below(4);
                self.put(format!("src/empty-{name}"), Mode::Regular, "");
            }
            Kind::Rename => self.with_plain(|world, path, mode, bytes| {
                world.files += 1;
                world.delete(&path);
                world.put(format!("src/moved/{}.txt", world.files), mode, bytes);
            }),
            Kind::Several => (0..4).for_each(|_| {
                self.with_plain(|world, path, mode, mut bytes| {
                    bytes.extend(world.sentence().into_bytes());
                    world.put(path, mode, bytes);
                });
            }),
            Kind::Add => {
                self.files += 1;
                let text: String = (0..30).map(|_| self.sentence()).collect();
                self.put(format!("src/{}.txt", self.files), Mode::Regular, text);
            }
        }
    }

    fn submodule(&mut self, kind: Kind) {
        let submodules = self.tree.keys().filter(|path| path.starts_with(b"vendor/"));
        let submodules: Vec<_> = submodules.cloned().collect();
        if kind == Kind::SubmoduleAdd || submodules.is_empty() {
            self.files += 1;
            return self.link_anew(format!("vendor/lib-{}", self.files).as_bytes());
        }
        let path = &submodules[self.random.below(submodules.len())];
        if kind == Kind::SubmoduleMove {
            self.link_anew(path)
        } else {
            self.delete(path)
        }
    }

    /// Puts a folder of two files where something else is, or by `make` something else where the folder or nothing is.
    fn flip_folder(&mut self, path: &str, make: impl FnOnce(&mut World, &[u8])) {
        let inner = [format!("{path}/file"), format!("{path}/deep/file")];
        if self.tree.contains_key(path.as_bytes()) {
            self.delete(path.as_bytes());
            for file in inner {
                let bytes = self.sentence();
                self.put(file, Mode::Regular, bytes);
            }
        } else {
            inner.iter().for_each(|file| self.delete(file.as_bytes()));
            make(self, path.as_bytes());
        }
    }

    fn bring_back(&mut self) {
        // What was flipped away comes back by flipping.
        let candidates = self.deleted.keys().filter(|path| !path.starts_with(b"flip/"));
        let candidates: Vec<_> = candidates.cloned().collect();
        if candidates.is_empty() {
            return self.act(Kind::Add);
        }
        let path = candidates[self.random.below(candidates.len())].clone();
        match self.deleted[&path].clone() {
            State::Submodule(id) => self.link(&path, id),
            State::File(mode, mut bytes) => {
                if self.random.percent(50) {
                    bytes.extend(b"Returned.\n");
                }
                self.put(path, mode, bytes);
            }
        }
    }

    /// Calls `act` with a file that is neither one of the flipped nor one of a kind.
    fn with_plain(&mut self, act: impl FnOnce(&mut World, Vec<u8>, Mode, Vec<u8>)) {
        let plain = |path: &[u8]| path.starts_with(b"src/") || path.starts_with(b"odd/") || path.starts_with(b"bin/");
        let candidates: Vec<_> = self.tree.keys().filter(|path| plain(path)).cloned().collect();
        if candidates.is_empty() {
            return self.act(Kind::Add);
        }
        let path = candidates[self.random.below(candidates.len())].clone();
        if let State::File(mode, bytes) = self.tree[&path].clone() {
            act(self, path, mode, bytes);
        }
    }

    fn hot_and_large(&mut self, number: usize, commits: usize) {
        // Commits that change nothing are one in ten, so that this gives three in ten of all.
        if self.random.percent(33) {
            let sentence = self.sentence();
            let mut bytes = self.bytes(HOT).to_vec();
            bytes.extend(format!("{number}: {sentence}").into_bytes());
            self.put(HOT, Mode::Regular, bytes);
        }
        if self.large_changes < 2 && number * 3 >= commits * (self.large_changes + 1) {
            let mut bytes = if self.large_changes == 0 {
                self.random.bytes(LARGE_BYTES)
            } else {
                self.bytes(LARGE).to_vec()
            };
            bytes[LARGE_BYTES / 2] ^= 1;
            self.put(LARGE, Mode::Regular, bytes);
            self.large_changes += 1;
        }
    }

    /// Writes one to three commits on a branch of their own. Returns the last, and a file that they added.
    fn side(&mut self, importer: &mut Importer, main: &[Mark]) -> io::Result<(Mark, String, String)> {
        self.branches += 1;
        let branch = format!("side-{}", self.branches);
        let path = format!("src/{branch}.txt");
        let fork = main[main.len() - 1 - self.random.below(main.len().min(10))];
        let mut bytes = self.sentence();
        let mut edits = vec![
            Edit::put(HOT, Mode::Regular, bytes.clone()),
            Edit::put(&path, Mode::Regular, bytes.clone()),
        ];
        let mut tip = importer.commit(&branch, self.branches, "Work aside", Parents::Fork(fork), &edits)?;
        for _ in 0..self.random.below(3) {
            bytes += &self.sentence();
            edits = vec![Edit::put(&path, Mode::Regular, bytes.clone())];
            tip = importer.commit(&branch, self.branches, "More work aside", Parents::Tip, &edits)?;
        }
        Ok((tip, path, bytes))
    }

    /// Writes the edits as the next commit of the main branch.
    fn commit(&mut self, importer: &mut Importer, parents: Parents<'_>, marks: &mut Vec<Mark>) -> io::Result<()> {
        let edits = std::mem::take(&mut self.edits);
        let author = self.random.below(6);
        marks.push(importer.commit("main", author, "Change", parents, &edits)?);
        Ok(())
    }

    fn sentence(&mut self) -> String {
        format!("It was seen {} times.\n", self.random.below(1_000_000))
    }

    fn bytes(&self, path: impl AsRef<[u8]>) -> &[u8] {
        match &self.tree[path.as_ref()] {
            State::File(_, bytes) => bytes,
            State::Submodule(_) => &[],
        }
    }

    fn put(&mut self, path: impl AsRef<[u8]>, mode: Mode, bytes: impl Into<Vec<u8>>) {
        let (path, bytes) = (path.as_ref().to_vec(), bytes.into());
        self.deleted.remove(&path);
        self.edits.push(Edit::put(&path, mode, bytes.clone()));
        self.tree.insert(path, State::File(mode, bytes));
    }

    fn link(&mut self, path: &[u8], id: ObjectId) {
        self.deleted.remove(path);
        self.edits.push(Edit::Link {
            path: path.to_vec(),
            id,
        });
        self.tree.insert(path.to_vec(), State::Submodule(id));
    }

    /// Sets a submodule entry to a commit that no one has.
    fn link_anew(&mut self, path: &[u8]) {
        let mut id = [0; 20];
        id.copy_from_slice(&self.random.bytes(20));
        self.link(path, ObjectId::new(id));
    }

    fn delete(&mut self, path: &[u8]) {
        if let Some(state) = self.tree.remove(path) {
            self.edits.push(Edit::delete(path));
            self.deleted.insert(path.to_vec(), state);
        }
    }
}
