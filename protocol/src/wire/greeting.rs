//! What both ends of a connection say first, before they know in which version they will speak. Its form is the same in all
//! versions.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `QRlk` |
//! | 4 | 1 | the oldest version of frames that the sender speaks |
//! | 5 | 1 | the newest |
//! | 6 | 1 | n, the bytes of its name: 1 to 64 |
//! | 7 | 1 | m, the bytes of what its build is called: 0 to 64 |
//! | 8 | n | the name of the sender, in UTF-8 |
//! | 8 + n | m | what its build is called, in UTF-8 |
//!
//! The end that has dialled speaks first, and the other answers: whoever is no node gets no byte. The newest version that both
//! speak is that of the connection; if there is none, both know it, and close.

use super::GreetingError;
use crate::version::Versions;

/// The bytes in front of the texts of a greeting.
pub const GREETING_HEAD_BYTES: usize = 8;

/// The most bytes of either text.
pub const GREETING_TEXT_BYTES_MAX: usize = 64;

const MAGIC: [u8; 4] = *b"QRlk";

/// What one end of a connection says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The versions of frames that it speaks.
    pub speaks: Versions,
    /// The name of the node. Nothing proves it yet.
    pub name: String,
    /// What its build is called, for people.
    pub build: String,
}

/// The part of a greeting that says how long the rest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreetingHead {
    speaks: Versions,
    name_bytes: usize,
    build_bytes: usize,
}

impl Greeting {
    /// Its bytes. Versions above 255 and texts of more than 64 bytes are cut.
    pub fn encode(&self) -> Vec<u8> {
        let byte = |version: u32| version.min(u8::MAX.into()) as u8;
        let (name, build) = (cut(&self.name), cut(&self.build));
        let mut bytes = Vec::with_capacity(GREETING_HEAD_BYTES + name.len() + build.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[byte(self.speaks.oldest), byte(self.speaks.newest)]);
        bytes.extend_from_slice(&[name.len() as u8, build.len() as u8]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(build.as_bytes());
        bytes
    }
}

impl GreetingHead {
    /// Reads the beginning of a greeting.
    ///
    /// # Errors
    /// [`GreetingError`] where the bytes are not those of a greeting.
    pub fn decode(bytes: [u8; GREETING_HEAD_BYTES]) -> Result<GreetingHead, GreetingError> {
        let [m0, m1, m2, m3, oldest, newest, name_bytes, build_bytes] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(GreetingError::Magic {
                found: [m0, m1, m2, m3],
            });
        }
        let (oldest, newest) = (u32::from(oldest), u32::from(newest));
        if oldest > newest {
            return Err(GreetingError::Versions { oldest, newest });
        }
        let (name_bytes, build_bytes) = (usize::from(name_bytes), usize::from(build_bytes));
        for (field, bytes, min) in [("name", name_bytes, 1), ("build", build_bytes, 0)] {
            if !(min..=GREETING_TEXT_BYTES_MAX).contains(&bytes) {
                return Err(GreetingError::Length { field, bytes, min });
            }
        }
        Ok(GreetingHead {
            speaks: Versions { oldest, newest },
            name_bytes,
            build_bytes,
        })
    }

    /// How many bytes follow: 128 at most.
    pub fn rest_bytes(&self) -> usize {
        self.name_bytes + self.build_bytes
    }

    /// The greeting, with the bytes that follow.
    ///
    /// # Errors
    /// [`GreetingError`] where they are not as many as announced, or no text.
    pub fn with_rest(self, rest: &[u8]) -> Result<Greeting, GreetingError> {
        if rest.len() != self.rest_bytes() {
            return Err(GreetingError::Rest {
                bytes: rest.len(),
                expected: self.rest_bytes(),
            });
        }
        let (name, build) = rest.split_at(self.name_bytes);
        let text = |field, bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok();
            // They are shown to people.
            let text = text.filter(|text| !text.chars().any(char::is_control));
            text.map(str::to_owned).ok_or(GreetingError::Text { field })
        };
        Ok(Greeting {
            speaks: self.speaks,
            name: text("name", name)?,
            build: text("build", build)?,
        })
    }
}

/// As much of a text as a greeting has room for.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(GREETING_TEXT_BYTES_MAX)]
}
