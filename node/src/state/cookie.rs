//! The secret that the nodes of one cluster share.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::StateError;

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

    /// Reads the cookie of `path`; if there is none, makes one that only the owner can read.
    ///
    /// Several processes may do this at once: each writes a file of its own and links it to `path`, which succeeds for
    /// the first one only. So `path` is never seen half written, and all end with the same cookie.
    pub(super) fn read_or_create(path: &Path) -> Result<Cookie, StateError> {
        match fs::read_to_string(path) {
            Ok(text) => return Cookie::parse(&text, path),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StateError::io("cannot read", path, error)),
        }
        let refuse = |source| StateError::io("cannot make", path, source);
        let own = path.with_extension(random_hex::<8>().map_err(refuse)?);
        let made = write_new(&own).and_then(|()| match fs::hard_link(&own, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        });
        let removed = fs::remove_file(&own);
        made.and(removed)
            .map_err(|source| StateError::io("cannot make", path, source))?;
        let text = fs::read_to_string(path).map_err(|source| StateError::io("cannot read", path, source))?;
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

fn write_new(path: &Path) -> io::Result<()> {
    let mut hex = random_hex::<COOKIE_BYTES>()?;
    hex.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(hex.as_bytes())?;
    file.sync_all()
}

fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(secret)")
    }
}
