//! The secret that the nodes of one cluster share.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::StateError;
use crate::secret::random_hex;

const COOKIE_BYTES: usize = 32;

/// 32 random bytes that every node of a cluster knows. Never logged: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    hex: String,
}

impl Cookie {
    /// The cookie as 64 hexadecimal digits.
    pub fn as_hex(&self) -> &str {
        &self.hex
    }

    /// The name of its file.
    pub const FILE: &str = "cookie";

    /// A new one, as it stands in a file.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new_text() -> io::Result<String> {
        Ok(random_hex::<COOKIE_BYTES>()? + "\n")
    }

    /// Reads the cookie of `path`.
    pub(super) fn read(path: &Path) -> Result<Cookie, StateError> {
        let text = fs::read_to_string(path).map_err(|source| StateError::io("cannot read", path, source))?;
        Cookie::parse(&text, path)
    }

    /// Reads the cookie of `path`; if there is none, makes one that only the owner can read.
    pub(super) fn read_or_create(path: &Path) -> Result<Cookie, StateError> {
        let text = read_or_make(path, random_hex::<COOKIE_BYTES>)?;
        Cookie::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Cookie, StateError> {
        let hex = text.trim_end();
        if hex.len() != 2 * COOKIE_BYTES || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StateError::BadCookie {
                path: path.to_path_buf(),
            });
        }
        Ok(Cookie {
            hex: hex.to_ascii_lowercase(),
        })
    }
}

/// Reads a secret from `path`; if there is none, makes one that only the owner can read.
///
/// Several processes may do this at once: each writes a file of its own and links it to `path`, which succeeds for
/// the first one only. So `path` is never seen half written, and all end with the same secret.
pub(super) fn read_or_make(path: &Path, make: impl FnOnce() -> io::Result<String>) -> Result<String, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StateError::io("cannot read", path, error)),
    }
    let refuse = |source| StateError::io("cannot make", path, source);
    let secret = make().map_err(refuse)?;
    let own = path.with_extension(random_hex::<8>().map_err(refuse)?);
    let made = write_new(&own, &secret).and_then(|()| match fs::hard_link(&own, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    let removed = fs::remove_file(&own);
    made.and(removed).map_err(refuse)?;
    fs::read_to_string(path).map_err(|source| StateError::io("cannot read", path, source))
}

fn write_new(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(secret)")
    }
}
