//! A file of settings of another program: what is to become of it, and how it is written.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Entry, Format, Places, SetupError, format_of};
use crate::cli::{Program, Scope};

/// What the name of a backup ends with.
const BACKUP: &str = ".queenright-backup";
/// What the name of a file ends with while it is written.
const UNFINISHED: &str = ".queenright-unfinished";

/// What a file says of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// There is no such file.
    NoFile,
    /// It has no such entry.
    Absent,
    /// It has one.
    Set {
        /// What the program starts.
        entry: Entry,
    },
}

/// What was done, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// The file was made.
    Created,
    /// The entry was put into it.
    Added,
    /// The entry was there, and said something else.
    Updated,
    /// It was there as it is to be, or was not there and is not to be.
    Unchanged,
    /// The entry was taken out.
    Removed,
    /// The file is as it was before.
    Restored,
    /// The file is gone, which had nothing else.
    Deleted,
}

/// What is to become of a file.
#[derive(Debug)]
pub struct Plan {
    /// The file.
    pub file: PathBuf,
    /// What carrying it out does.
    pub done: Done,
    /// Where what was there before lies afterwards, if it is kept.
    pub backup: Option<PathBuf>,
    before: Option<String>,
    after: Option<String>,
}

/// The file of a program.
struct Found {
    file: PathBuf,
    format: Format,
    text: Option<String>,
}

impl Found {
    fn look(places: &Places, program: Program, scope: Scope) -> Result<Found, SetupError> {
        let file = places.file(program, scope)?;
        Ok(Found {
            text: read(&file)?,
            format: format_of(program),
            file,
        })
    }

    fn malformed(&self, problem: String) -> SetupError {
        SetupError::Malformed {
            file: self.file.clone(),
            problem,
        }
    }
}

/// What the file of a program says of the entry, and where it is.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn state(places: &Places, program: Program, scope: Scope) -> Result<(PathBuf, State), SetupError> {
    let found = Found::look(places, program, scope)?;
    let state = match &found.text {
        None => State::NoFile,
        Some(text) => match found.format.entry(text).map_err(|problem| found.malformed(problem))? {
            None => State::Absent,
            Some(entry) => State::Set { entry },
        },
    };
    Ok((found.file, state))
}

impl Plan {
    /// Puts the entry in.
    ///
    /// # Errors
    /// [`SetupError`], such as a file that the program could not read either.
    pub fn to_set(places: &Places, program: Program, scope: Scope, entry: &Entry) -> Result<Plan, SetupError> {
        let found = Found::look(places, program, scope)?;
        let text = found.text.as_deref().unwrap_or_default();
        let edited = found
            .format
            .with(text, entry)
            .map_err(|problem| found.malformed(problem))?;
        let done = match (&found.text, edited.had) {
            (Some(before), _) if *before == edited.text => Done::Unchanged,
            (None, _) => Done::Created,
            (Some(_), true) => Done::Updated,
            (Some(_), false) => Done::Added,
        };
        let kept = found.text.is_some() && done != Done::Unchanged;
        Ok(Plan {
            backup: kept.then(|| beside(&found.file, BACKUP)),
            file: found.file,
            done,
            before: found.text,
            after: Some(edited.text),
        })
    }

    /// Takes the entry out: brings back what was there before if nothing else has changed since.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn to_undo(places: &Places, program: Program, scope: Scope) -> Result<Plan, SetupError> {
        let found = Found::look(places, program, scope)?;
        let plan = |done, after| Plan {
            file: found.file.clone(),
            done,
            backup: None,
            before: found.text.clone(),
            after,
        };
        let Some(text) = &found.text else {
            return Ok(plan(Done::Unchanged, None));
        };
        let malformed = |problem| found.malformed(problem);
        let Some(entry) = found.format.entry(text).map_err(malformed)? else {
            return Ok(plan(Done::Unchanged, Some(text.clone())));
        };
        let made_of = |before: &str| {
            found
                .format
                .with(before, &entry)
                .is_ok_and(|edited| edited.text == *text)
        };
        let backup = read(&beside(&found.file, BACKUP))?;
        if let Some(before) = backup.filter(|before| made_of(before)) {
            return Ok(plan(Done::Restored, Some(before)));
        }
        if made_of("") {
            return Ok(plan(Done::Deleted, None));
        }
        let edited = found.format.without(text).map_err(malformed)?;
        Ok(plan(Done::Removed, Some(edited.text)))
    }

    /// Carries it out: the file is the old one or the new one at any moment.
    ///
    /// # Errors
    /// [`SetupError::Io`].
    pub fn carry_out(&self) -> Result<(), SetupError> {
        let failed = |what: &'static str| {
            move |source: io::Error| SetupError::Io {
                file: self.file.clone(),
                what,
                source,
            }
        };
        if self.done == Done::Unchanged {
            return Ok(());
        }
        // Files of settings are often links into a folder of their own.
        let file = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        if let (Some(backup), Some(before)) = (&self.backup, &self.before) {
            fs::write(backup, before).map_err(failed("cannot keep what was there"))?;
            if let Ok(metadata) = fs::metadata(&file) {
                fs::set_permissions(backup, metadata.permissions()).map_err(failed("cannot keep what was there"))?;
            }
        }
        match &self.after {
            Some(after) => replace(&file, after).map_err(failed("cannot be written"))?,
            None => fs::remove_file(&file).map_err(failed("cannot be removed"))?,
        }
        if self.done == Done::Restored {
            // What it kept is the file again.
            let _ = fs::remove_file(beside(&self.file, BACKUP));
        }
        Ok(())
    }

    /// The lines that the file will have and has not, and the other way round, each with a sign before it.
    pub fn difference(&self) -> Vec<String> {
        let lines = |text: &Option<String>| -> Vec<String> {
            text.iter().flat_map(|text| text.lines().map(str::to_owned)).collect()
        };
        let (before, after) = (lines(&self.before), lines(&self.after));
        let same = before
            .iter()
            .zip(&after)
            .take_while(|(one, other)| one == other)
            .count();
        let (left, right) = (&before[same..], &after[same..]);
        let tail = left
            .iter()
            .rev()
            .zip(right.iter().rev())
            .take_while(|(one, other)| one == other)
            .count();
        let gone = left[..left.len() - tail].iter().map(|line| format!("- {line}"));
        let new = right[..right.len() - tail].iter().map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn read(file: &Path) -> Result<Option<String>, SetupError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SetupError::Io {
            file: file.to_path_buf(),
            what: "cannot be read",
            source,
        }),
    }
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = beside(file, UNFINISHED);
    fs::write(&unfinished, text)?;
    if let Ok(metadata) = fs::metadata(file) {
        fs::set_permissions(&unfinished, metadata.permissions())?;
    }
    fs::rename(&unfinished, file)
}
