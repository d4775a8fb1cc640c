//! Patterns of topics.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{ANY, REST, Topic, TopicError, check};

/// Which topics somebody wants to hear of. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// A pattern of this text.
    ///
    /// # Errors
    /// [`TopicError`] for one that is too long, or has a word that cannot be.
    pub fn new(text: &str) -> Result<Pattern, TopicError> {
        check("pattern", text, |word| {
            let part = word.contains(['*', '#']) && word != ANY && word != REST;
            part.then_some("has a * or a # beside other characters")
        })?;
        Ok(Pattern(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words, at least one.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether it chooses a topic. Takes a step for each pair of their words; for many patterns there is
    /// [`Index`](super::Index).
    pub fn matches(&self, topic: &Topic) -> bool {
        let wanted: Vec<&str> = self.words().collect();
        // The bit at n says that the first n words of the pattern fit those of the topic so far: 17 at most.
        let mut fits = pass_over_rests(1, &wanted);
        for word in topic.words() {
            let mut next = 0;
            for (place, wanted) in wanted.iter().enumerate() {
                match *wanted {
                    _ if fits & 1 << place == 0 => {}
                    REST => next |= 1 << place,
                    wanted if wanted == ANY || wanted == word => next |= 1 << (place + 1),
                    _ => {}
                }
            }
            fits = pass_over_rests(next, &wanted);
        }
        fits & 1 << wanted.len() != 0
    }
}

/// Each `#` may stand for nothing more.
fn pass_over_rests(mut fits: u32, wanted: &[&str]) -> u32 {
    for (place, wanted) in wanted.iter().enumerate() {
        if *wanted == REST && fits & 1 << place != 0 {
            fits |= 1 << (place + 1);
        }
    }
    fits
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Pattern, TopicError> {
        Pattern::new(text)
    }
}
