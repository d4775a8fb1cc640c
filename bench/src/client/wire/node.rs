//! What nodes that are not linked say to each other at their doors: to come in, and to learn what became of oneself.

use queenright_actors::link::Cookie;
use queenright_actors::node::{Admission, Fate};
use queenright_protocol::id::{ClusterId, NodeId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/nodes:ask`, and of its answer: text, and the proof that who said it knows the cookie of the
/// cluster. The proof of an answer is over that of the question too, so that no other answer can take its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// JSON: a [`NodeQuestion`] or a [`NodeAnswer`].
    pub said: String,
    /// 64 hexadecimal digits.
    pub proof: String,
}

/// What a node asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeQuestion {
    /// Let me in.
    Join {
        /// The name of the cluster in its configuration.
        cluster: String,
        /// Its name.
        name: String,
        /// Where its links are dialled.
        links: String,
        /// Where its door is dialled.
        http: String,
        /// Tells this wish from any other.
        attempt: u64,
    },
    /// What became of me?
    Fate {
        /// The cluster that it belongs to.
        cluster: ClusterId,
        /// Its number there.
        number: NodeId,
        /// Drawn for each question.
        nonce: u64,
    },
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeAnswer {
    /// It is let in.
    Admitted(Admission),
    /// What became of it.
    Fate(Fate),
}

impl Sealed {
    /// What is said, with its proof; an answer follows the proof of its question.
    ///
    /// # Panics
    /// Never: what nodes say is always JSON.
    pub fn new(said: &impl Serialize, cookie: &Cookie, question: Option<&Sealed>) -> Sealed {
        let said = serde_json::to_string(said).expect("numbers and text are always JSON");
        let proof = cookie.proof(&words(&said, question));
        Sealed {
            proof: proof.iter().map(|byte| format!("{byte:02x}")).collect(),
            said,
        }
    }

    /// What was said, if whoever said it knows the cookie.
    pub fn open<T: DeserializeOwned>(&self, cookie: &Cookie, question: Option<&Sealed>) -> Option<T> {
        let proof = bytes(&self.proof)?;
        let proven = cookie.is_proof(&proof, &words(&self.said, question));
        proven.then(|| serde_json::from_str(&self.said).ok()).flatten()
    }
}

fn words(said: &str, question: Option<&Sealed>) -> Vec<u8> {
    // A proof has no NUL, and neither has JSON.
    let before = question.map_or("question", |question| &question.proof);
    [before.as_bytes(), &[0], said.as_bytes()].concat()
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_cookie_is_believed_and_an_answer_goes_with_its_question_alone() {
        let cookie = |byte: u8| Cookie::new(char::from(byte).to_string().repeat(64)).unwrap();
        let (ours, theirs) = (cookie(b'a'), cookie(b'b'));
        let question = |nonce| NodeQuestion::Fate {
            cluster: ClusterId([3; 16]),
            number: NodeId(4),
            nonce,
        };
        let sealed = Sealed::new(&question(1), &ours, None);
        assert_eq!(sealed.open(&ours, None), Some(question(1)));
        assert_eq!(sealed.open::<NodeQuestion>(&theirs, None), None);
        let changed = Sealed {
            said: sealed.said.replace('4', "5"),
            ..sealed.clone()
        };
        assert_eq!(changed.open::<NodeQuestion>(&ours, None), None);
        for proof in ["", "00", &"é".repeat(32), &"g".repeat(64)] {
            let odd = Sealed {
                proof: proof.to_owned(),
                ..sealed.clone()
            };
            assert_eq!(odd.open::<NodeQuestion>(&ours, None), None, "{proof:?}");
        }
        let answer = NodeAnswer::Fate(Fate::Gone("removed".into()));
        let said = Sealed::new(&answer, &ours, Some(&sealed));
        assert_eq!(said.open(&ours, Some(&sealed)), Some(answer));
        let other = Sealed::new(&question(2), &ours, None);
        assert_eq!(said.open::<NodeAnswer>(&ours, Some(&other)), None);
        assert_eq!(said.open::<NodeAnswer>(&ours, None), None);
    }
}
