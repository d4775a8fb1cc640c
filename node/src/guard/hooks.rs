//! The hooks of a repository. One that is there already is called first, under another name, and gets its own back when the
//! guard goes.
//!
//! ```text
//! pre-commit                      the guard's, with a line that says so
//! pre-commit.before-queenright    the one that was there
//! ```

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{GuardError, git, io_error, quoted};

/// The line by which a hook of the guard is known.
const MARK: &str =
    "# queenright guard: put in by `queenright guard install`, taken out by `queenright guard uninstall`";
/// What the name of a hook that was there ends with.
const BEFORE: &str = ".before-queenright";

/// A hook of git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before a commit is made.
    PreCommit,
    /// Before commits are sent.
    PrePush,
}

impl Hook {
    /// Those that the guard uses.
    pub const ALL: [Hook; 2] = [Hook::PreCommit, Hook::PrePush];

    /// Its file.
    pub fn name(self) -> &'static str {
        match self {
            Hook::PreCommit => "pre-commit",
            Hook::PrePush => "pre-push",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Hook::PreCommit => "--staged",
            Hook::PrePush => "--pushed",
        }
    }
}

/// What becomes of a file, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// What: `written`, `unchanged`, `removed`, `restored`, `absent`.
    pub change: &'static str,
    /// Where a hook that was there is, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<PathBuf>,
}

/// The hooks of one repository.
#[derive(Clone, Debug)]
pub struct Hooks {
    folder: PathBuf,
}

impl Hooks {
    /// Those of the work tree whose top this is.
    ///
    /// # Errors
    /// [`GuardError::Git`].
    pub fn of(top: &Path) -> Result<Hooks, GuardError> {
        Ok(Hooks {
            folder: git::hooks_folder(top)?,
        })
    }

    /// Puts the guard's hooks in; `program` and `flags` are what they call. With `dry` only says what would become of them.
    ///
    /// # Errors
    /// [`GuardError::InTheWay`] before anything was changed.
    pub fn install(
        &self,
        program: &Path,
        flags: &[String],
        strict: bool,
        dry: bool,
    ) -> Result<Vec<Change>, GuardError> {
        let mut plans = Vec::new();
        for hook in Hook::ALL {
            let (path, before) = self.paths(hook);
            let there = read(&path)?;
            let ours = there.as_ref().is_some_and(|text| is_ours(text));
            if !ours && there.is_some() && before.symlink_metadata().is_ok() {
                let problem = "was put here after the guard, beside one that the guard has kept: remove one of the two";
                return Err(GuardError::InTheWay { path, problem });
            }
            let text = script(hook, program, flags, strict);
            plans.push((path, before, there, ours, text));
        }
        let mut changes = Vec::new();
        for (path, before, there, ours, text) in plans {
            let same = there.as_deref() == Some(text.as_bytes());
            let keeps = (there.is_some() && !ours).then(|| before.clone());
            if !dry && !same {
                fs::create_dir_all(&self.folder).map_err(io_error(&self.folder))?;
                if let Some(before) = &keeps {
                    fs::rename(&path, before).map_err(io_error(&path))?;
                }
                write(&path, &text)?;
            }
            changes.push(Change {
                path,
                change: if same { "unchanged" } else { "written" },
                before: keeps.or_else(|| before.exists().then_some(before)),
            });
        }
        Ok(changes)
    }

    /// Takes them out, and gives those that were there their names back. Hooks that are not the guard's stay.
    ///
    /// # Errors
    /// [`GuardError::Io`].
    pub fn uninstall(&self, dry: bool) -> Result<Vec<Change>, GuardError> {
        let mut changes = Vec::new();
        for hook in Hook::ALL {
            let (path, before) = self.paths(hook);
            let ours = read(&path)?.is_some_and(|text| is_ours(&text));
            let kept = before.exists();
            if ours && !dry {
                match kept {
                    true => fs::rename(&before, &path).map_err(io_error(&before))?,
                    false => fs::remove_file(&path).map_err(io_error(&path))?,
                }
            }
            changes.push(Change {
                path,
                change: match (ours, kept) {
                    (true, true) => "restored",
                    (true, false) => "removed",
                    (false, _) => "absent",
                },
                before: kept.then_some(before),
            });
        }
        Ok(changes)
    }

    fn paths(&self, hook: Hook) -> (PathBuf, PathBuf) {
        let name = hook.name();
        (self.folder.join(name), self.folder.join(format!("{name}{BEFORE}")))
    }
}

fn is_ours(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| line == MARK.as_bytes())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, GuardError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path)(error)),
    }
}

fn write(path: &Path, text: &str) -> Result<(), GuardError> {
    let own = path.with_extension(format!("queenright-{}", std::process::id()));
    let written = fs::write(&own, text)
        .and_then(|()| fs::set_permissions(&own, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&own, path));
    written.map_err(io_error(path))
}

/// The text of a hook: POSIX sh. A program that has gone is said, and refuses nothing unless that was asked for.
fn script(hook: Hook, program: &Path, flags: &[String], strict: bool) -> String {
    let program = quoted(&program.display().to_string());
    let flags: String = flags.iter().map(|flag| format!(" {}", quoted(flag))).collect();
    let gone = u8::from(strict);
    let (reads, feeds) = match hook {
        Hook::PreCommit => ("", ""),
        // What is pushed comes on stdin, and both are to read it.
        Hook::PrePush => ("pushed=$(cat)\n", "printf '%s\\n' \"$pushed\" | "),
    };
    format!(
        "#!/bin/sh\n{MARK}\n{reads}before=\"$0{BEFORE}\"\nif [ -x \"$before\" ]; then\n    {feeds}\"$before\" \"$@\" || exit $?\nfi\n\
         if [ ! -x {program} ]; then\n    echo \"queenright guard: \"{program}\" is not there: reservations are not looked at\" >&2\n    \
         exit {gone}\nfi\n{feeds}{program} guard check {}{flags}\n",
        hook.flag()
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    struct Rig {
        place: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Rig {
            let rig = Rig {
                place: tempfile::tempdir().unwrap(),
            };
            // Stands for the program: it notes how it was called, and what it read.
            let text = "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/called\"\ncase \"$*\" in *pushed*) cat >> \"$(dirname \"$0\")/called\";; esac\n";
            write(&rig.program(), text).unwrap();
            rig
        }

        fn program(&self) -> PathBuf {
            self.place.path().join("it's a program")
        }

        fn hooks(&self) -> Hooks {
            Hooks {
                folder: self.place.path().join("hooks"),
            }
        }

        fn hook(&self, hook: Hook) -> PathBuf {
            self.hooks().folder.join(hook.name())
        }

        fn run(&self, hook: Hook) -> Option<i32> {
            // By the shell: a file that was just written may still be open in a process that another test forks.
            let mut command = Command::new("sh");
            command.arg(self.hook(hook));
            let input = self.place.path().join("input");
            fs::write(&input, "r a r b\n").unwrap();
            let status = command.stdin(fs::File::open(input).unwrap()).status().unwrap();
            status.code()
        }

        fn called(&self) -> String {
            fs::read_to_string(self.place.path().join("called")).unwrap_or_default()
        }
    }

    fn changes(changes: &[Change]) -> Vec<&'static str> {
        changes.iter().map(|change| change.change).collect()
    }

    #[test]
    fn hooks_call_the_one_that_was_there_and_then_the_guard() {
        let rig = Rig::new();
        let flags = ["--project".to_owned(), "p q".to_owned()];
        fs::create_dir_all(&rig.hooks().folder).unwrap();
        let own = "#!/bin/sh\ncat >> \"$(dirname \"$0\")/../called\"\nexit 0\n";
        write(&rig.hook(Hook::PrePush), own).unwrap();
        let dry = rig.hooks().install(&rig.program(), &flags, false, true).unwrap();
        assert_eq!(changes(&dry), ["written", "written"]);
        assert!(!rig.hook(Hook::PreCommit).exists());

        rig.hooks().install(&rig.program(), &flags, false, false).unwrap();
        let again = rig.hooks().install(&rig.program(), &flags, false, false).unwrap();
        assert_eq!(changes(&again), ["unchanged", "unchanged"]);
        assert_eq!(rig.run(Hook::PreCommit), Some(0));
        assert_eq!(rig.called(), "guard check --staged --project p q\n");
        assert_eq!(rig.run(Hook::PrePush), Some(0));
        let expected = "guard check --staged --project p q\nr a r b\nguard check --pushed --project p q\nr a r b\n";
        assert_eq!(rig.called(), expected);

        // What was there decides first.
        let before = rig.hooks().folder.join("pre-push.before-queenright");
        write(&before, "#!/bin/sh\ncat > /dev/null\nexit 9\n").unwrap();
        assert_eq!(rig.run(Hook::PrePush), Some(9));
        assert_eq!(rig.called(), expected);

        let gone = rig.hooks().uninstall(false).unwrap();
        assert_eq!(changes(&gone), ["removed", "restored"]);
        assert!(!rig.hook(Hook::PreCommit).exists() && !before.exists());
        assert!(fs::read_to_string(rig.hook(Hook::PrePush)).unwrap().contains("exit 9"));
        assert_eq!(changes(&rig.hooks().uninstall(false).unwrap()), ["absent", "absent"]);
    }

    #[test]
    fn a_program_that_has_gone_refuses_nothing_unless_that_was_asked_for() {
        let rig = Rig::new();
        for (strict, code) in [(false, 0), (true, 1)] {
            rig.hooks().install(Path::new("/none"), &[], strict, false).unwrap();
            assert_eq!(rig.run(Hook::PreCommit), Some(code));
        }
    }

    #[test]
    fn one_that_came_after_the_guard_is_not_lost() {
        let rig = Rig::new();
        fs::create_dir_all(&rig.hooks().folder).unwrap();
        write(&rig.hook(Hook::PreCommit), "#!/bin/sh\n# first\n").unwrap();
        rig.hooks().install(&rig.program(), &[], false, false).unwrap();
        write(&rig.hook(Hook::PreCommit), "#!/bin/sh\n# second\n").unwrap();
        let refused = rig.hooks().install(&rig.program(), &[], false, false).unwrap_err();
        assert!(matches!(refused, GuardError::InTheWay { .. }), "{refused}");
        assert!(
            fs::read_to_string(rig.hook(Hook::PreCommit))
                .unwrap()
                .contains("second")
        );
    }
}
