//! Values and proposals from files and stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use queenright_bench::client::wire::Code;

use super::CliError;
use crate::exit::Exit;

/// What is read, for messages: the path, or stdin for `-`.
pub(super) fn name_of(path: &Path) -> String {
    if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a file, or stdin for `-`, to its end, but never more than `limit` bytes.
///
/// # Errors
/// [`CliError`] names the file, and the limit if it has more.
pub(super) async fn read(path: &Path, limit: usize) -> Result<Bytes, CliError> {
    let name = name_of(path);
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        if path == Path::new("-") {
            read_up_to(io::stdin().lock(), limit)
        } else {
            read_up_to(File::open(path)?, limit)
        }
    });
    let bytes = read.await.unwrap_or_else(|error| Err(error.into()));
    let bytes = bytes.map_err(|error| CliError::Failed {
        message: format!("cannot read {name}"),
        source: error.into(),
    })?;
    if bytes.len() > limit {
        return Err(CliError::Refused {
            exit: Exit::Error,
            code: Code::TooLarge.to_string(),
            message: format!("{name} has more than {limit} B, which is the limit"),
        });
    }
    Ok(bytes.into())
}

/// One byte more than the limit tells that there is more.
fn read_up_to(reader: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"1234567\xff").unwrap();
        assert_eq!(read(file.path(), 8).await.unwrap(), &b"1234567\xff"[..]);
        let error = read(file.path(), 7).await.unwrap_err();
        let expected = format!("{} has more than 7 B, which is the limit", file.path().display());
        assert_eq!(error.line(), expected);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named() {
        let error = read(Path::new("/nowhere/x"), 8).await.unwrap_err();
        assert!(error.line().starts_with("cannot read /nowhere/x: "), "{}", error.line());
    }
}
