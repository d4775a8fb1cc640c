//! Memory: changes of one key, and lists of keys.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use queenright_protocol::colony::{Change, Condition, Content, Op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BodyError, HexHash, RangeRequest, is_false, sorted_tags};

/// The answer to a change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// How often the key has been changed, this time included.
    pub revision: u64,
}

/// The body of `POST /v1/memory:change`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The key.
    pub key: String,
    /// What happens to it.
    pub op: ChangeOp,
    /// The tags of its record from then on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Only if the key has this revision; 0 for one that was never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Only if the key has no value.
    #[serde(default, skip_serializing_if = "is_false")]
    pub if_absent: bool,
}

/// What happens to a key, in a change. Each commutes with others of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOp {
    /// The value, a whole number in decimal digits, grows by this much; an absent one counts as 0.
    Increment(i64),
    /// The value, a whole number in decimal digits, becomes at least this.
    Max(i64),
    /// This text is added at the end.
    Append(String),
    /// These bytes, in Base64, are added at the end.
    AppendBase64(String),
    /// This line joins a set, kept as sorted lines.
    SetAdd(String),
}

impl ChangeRequest {
    /// The command that is meant.
    ///
    /// # Errors
    /// When the fields contradict each other, or Base64 does not decode.
    pub fn into_change(self) -> Result<Change, BodyError> {
        let op = match self.op {
            ChangeOp::Increment(step) => Op::Increment(step),
            ChangeOp::Max(least) => Op::Max(least),
            ChangeOp::Append(text) => Op::Append(text.into()),
            ChangeOp::AppendBase64(text) => Op::Append(from_base64("op.append_base64", &text)?),
            ChangeOp::SetAdd(line) => Op::SetAdd(line.into()),
        };
        Ok(Change {
            key: self.key.into(),
            op,
            tags: sorted_tags(self.tags),
            condition: match (self.if_revision, self.if_absent) {
                (None, false) => Condition::None,
                (None, true) => Condition::IfAbsent,
                (Some(revision), false) => Condition::IfRevision(revision),
                (Some(_), true) => return Err(BodyError::new("if_absent", "does not go together with if_revision")),
            },
            // Who changes it stands in a header.
            caller: None,
        })
    }
}

/// The answer to `GET /v1/memory`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyList {
    /// The keys, in order.
    pub keys: Vec<KeyInfo>,
    /// What to ask `after` for the rest; absent at the end of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The position of the last command that this answer has seen.
    pub seq: u64,
    /// The index of the last log entry that this answer has seen.
    pub index: u64,
}

/// The answer to `GET /v1/memory-ranges`: what a range holds, and its keys as the same snapshot has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RangeList {
    /// The range, in the form in which a proposal names it.
    pub range: RangeRequest,
    /// The position of the last command that changed one of its keys; 0 when none did.
    pub changed: u64,
    /// Its keys. Every page has the range as its own snapshot has it: the pages belong together if those are equal.
    #[serde(flatten)]
    pub list: KeyList,
}

/// One key of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyInfo {
    /// The key.
    pub key: Arc<str>,
    /// How often it has been changed, deletions included.
    pub revision: u64,
    /// The length of its value.
    pub bytes: u64,
    /// The hash of its value; absent when it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HexHash>,
    /// Sorted labels.
    #[serde(default)]
    pub tags: Vec<Arc<str>>,
    /// Who changed it last.
    pub author: Arc<str>,
    /// The position of that change.
    pub seq: u64,
    /// Whether it was deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// Its value, if values were asked for and it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value in Base64, if values were asked for and it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl KeyInfo {
    /// Puts the value in, as text if it is.
    pub fn set_value(&mut self, bytes: &[u8]) {
        match str::from_utf8(bytes) {
            Ok(text) => self.value = Some(text.to_owned()),
            Err(_) => self.value_base64 = Some(BASE64.encode(bytes)),
        }
    }

    /// The bytes of the value, if values were asked for and the key has one.
    ///
    /// # Errors
    /// When Base64 does not decode.
    pub fn value_bytes(&self) -> Result<Option<Bytes>, BodyError> {
        match (&self.value, &self.value_base64) {
            (Some(text), _) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
            (None, Some(text)) => from_base64("value_base64", text).map(Some),
            (None, None) => Ok(None),
        }
    }
}

pub(super) fn from_base64(field: &str, text: &str) -> Result<Bytes, BodyError> {
    BASE64
        .decode(text)
        .map(Bytes::from)
        .map_err(|error| BodyError::new(field, format!("is not Base64: {error}")))
}

/// The bytes as text if they are, else in Base64.
pub(super) fn text_or_base64(bytes: &Bytes) -> (Option<String>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

pub(super) fn inline(bytes: impl Into<Bytes>) -> Op {
    Op::Put(Content::Inline(bytes.into()))
}
