//! What can be wrong with a cluster file.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a cluster file cannot be used. Nothing was started or changed; the file has to be corrected.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be opened or read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// The file, as the caller named it.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is far longer than any cluster file.
    #[error("{}: longer than {bytes_max} bytes, so not a cluster file", file.display())]
    TooLong {
        /// The file, as the caller named it.
        file: PathBuf,
        /// The most that is read.
        bytes_max: u64,
    },
    /// The file is not UTF-8.
    #[error("{}: not UTF-8 text, so not TOML", file.display())]
    NotText {
        /// The file, as the caller named it.
        file: PathBuf,
    },
    /// The text is not TOML.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Syntax {
        /// The file, as the caller named it.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What the parser says, in one line.
        message: String,
    },
    /// A key that no section of this name has.
    #[error("{}: unknown key {key:?} in {section} ({hint})", file.display())]
    UnknownKey {
        /// The file, as the caller named it.
        file: PathBuf,
        /// The section that the key stands in.
        section: String,
        /// The key.
        key: String,
        /// The key that was probably meant, or else the keys that the section has.
        hint: String,
    },
    /// A key is missing or holds a value of the wrong type.
    #[error("{}: {key}: {problem}", file.display())]
    Shape {
        /// The file, as the caller named it.
        file: PathBuf,
        /// The path of the key.
        key: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A value is outside its bounds.
    #[error("{}: {key}: {value} {problem}", file.display())]
    Value {
        /// The file, as the caller named it.
        file: PathBuf,
        /// The path of the key.
        key: String,
        /// The value, as it stands in the file.
        value: String,
        /// What is wrong, with the bound.
        problem: String,
    },
    /// A node was asked for that the file does not list.
    #[error("{}: no node named {name:?} (there are: {})", file.display(), names.join(", "))]
    NoSuchNode {
        /// The file, as the caller named it.
        file: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        names: Vec<String>,
    },
}
