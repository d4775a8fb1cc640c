//! Topics: what a message for many is about, the patterns by which it is chosen, and an index of patterns.
//!
//! A topic is words with dots between them, such as `swarm.red.state`. A pattern is words as well, and two of them stand for
//! others: `*` for any one word, `#` for any words, also none, wherever it stands. Those are the rules of AMQP 0-9-1
//! (specification, section 3.1.3.3, "The Topic Exchange Type"): `*.stock.#` chooses `usd.stock` and `eur.stock.db`, not
//! `stock.nasdaq`. What differs: a word may have any characters but white space, control characters, `/`, `*` and `#`, and
//! none may be empty.

mod index;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use self::index::Index;
pub use self::pattern::Pattern;

/// The most bytes of a topic or a pattern: what a routing key of AMQP may have.
pub const TOPIC_BYTES_MAX: usize = 255;
/// The most words of a topic or a pattern: so deep is a look-up at most.
pub const TOPIC_WORDS_MAX: usize = 16;

/// Stands for any one word.
const ANY: &str = "*";
/// Stands for any words, also none.
const REST: &str = "#";

/// What a message is about. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a text is no topic, or no pattern of topics. Nothing changed; correct the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is too long.
    #[error("{field}: {bytes} B are over the limit of {TOPIC_BYTES_MAX} B")]
    TooLong {
        /// Whether it was to be a `topic` or a `pattern`.
        field: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// It has too many words.
    #[error("{field}: {words} words are over the limit of {TOPIC_WORDS_MAX}")]
    TooManyWords {
        /// As above.
        field: &'static str,
        /// How many.
        words: usize,
    },
    /// One of its words cannot be.
    #[error("{field}: word {place} of {text:?} {problem}")]
    Word {
        /// As above.
        field: &'static str,
        /// Which word, the first is 1.
        place: usize,
        /// The whole text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Topic {
    /// A topic of this text.
    ///
    /// # Errors
    /// [`TopicError`] for one that is too long, or has a word that cannot be.
    pub fn new(text: &str) -> Result<Topic, TopicError> {
        check("topic", text, |word| {
            word.contains(['*', '#'])
                .then_some("has a * or a #, which only patterns have")
        })?;
        Ok(Topic(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words, at least one.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Topic, TopicError> {
        Topic::new(text)
    }
}

/// Checks the bounds and the words of a text; `problem` says what else may be wrong with a word.
fn check(field: &'static str, text: &str, problem: impl Fn(&str) -> Option<&'static str>) -> Result<(), TopicError> {
    let bytes = text.len();
    if bytes > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { field, bytes });
    }
    let words = text.split('.').count();
    if words > TOPIC_WORDS_MAX {
        return Err(TopicError::TooManyWords { field, words });
    }
    for (place, word) in text.split('.').enumerate() {
        let problem = match word {
            "" => Some("is empty"),
            _ if word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') => {
                Some("has white space, a control character or a slash")
            }
            _ => problem(word),
        };
        if let Some(problem) = problem {
            return Err(TopicError::Word {
                field,
                place: place + 1,
                text: text.to_owned(),
                problem,
            });
        }
    }
    Ok(())
}
