//! Proposals and batches of them, and what became of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{
    Caller, Conflict, Content, Digest, Expected, Fence, Key, Merge, Op, Proposal, ProposalBatch, RangeRead, RangeStamp,
    Read, Span, TaskFence, TokenHash, Write,
};
use queenright_protocol::conflict::{Kind, MergeFailure, Policy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::memory::{from_base64, inline, text_or_base64};
use super::{BodyError, Code, HexHash, WireHolder, WireTaskId, is_false, sorted_tags};

/// The body of `POST /v1/proposals`: an atomic change of several keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposalRequest {
    /// What was read, and must still hold.
    #[serde(default)]
    pub reads: Vec<ReadRequest>,
    /// What is to be changed; each key at most once.
    #[serde(default)]
    pub writes: Vec<WriteRequest>,
    /// In a batch, the higher priority wins.
    #[serde(default)]
    pub priority: u8,
    /// Judge only: change nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The ranges that were read, and must still hold what they held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<RangeRequest>,
    /// The lease under which it is made: refused with `FENCED` if that is not the live one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceRequest>,
    /// The `seq` of the lost attempt that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u64>,
}

/// A range that was read, as `GET /v1/memory-ranges` tells of it. It has either `prefix` or `glob`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeRequest {
    /// All keys that begin with this: nothing, or a text that ends with a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The keys that match this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    /// How many keys had a value.
    pub keys: u64,
    /// The sum of their digests, as 32 hexadecimal digits.
    pub sum: String,
}

/// The lease of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FenceRequest {
    /// The task.
    pub task: WireTaskId,
    /// The fence of the lease.
    pub fence: u64,
    /// The token of the session.
    pub token: String,
}

/// A text to be merged, three-way, with what stands under the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeRequest {
    /// What the writer saw; without any `base` there was no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The same in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_base64: Option<String>,
    /// The same by the hash under which the project keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_kept: Option<HexHash>,
    /// The tags that the writer saw. If it leaves them as they were, the present ones stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_tags: Vec<String>,
    /// What the writer made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<String>,
    /// The same in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs_base64: Option<String>,
}

/// A key that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// The key.
    pub key: String,
    /// Its revision as it was read; 0 for a key that was never written.
    pub revision: u64,
    /// The hash of the value that was read, if it is to be compared too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HexHash>,
    /// Whether the key must have no value.
    #[serde(default, skip_serializing_if = "is_false")]
    pub absent: bool,
}

/// A key that is to be changed. Exactly one of `put`, `put_base64`, `put_kept`, `delete`, `increment`, `max`, `append`,
/// `append_base64`, `set_add` and `merge` says how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteRequest {
    /// The key.
    pub key: String,
    /// The value becomes this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<String>,
    /// The value becomes these bytes, in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_base64: Option<String>,
    /// The value becomes the content that the project keeps under this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_kept: Option<HexHash>,
    /// The value goes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete: bool,
    /// The value, a whole number, grows by this much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<i64>,
    /// The value, a whole number, becomes at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// This text is added at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
    /// These bytes, in Base64, are added at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_base64: Option<String>,
    /// This line joins a set, kept as sorted lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_add: Option<String>,
    /// The value becomes this text, merged with what others have made of it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeRequest>,
    /// The tags of its record from then on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The revision that this write replaces, if it must be that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// The body of `POST /v1/proposal-batches`: proposals that are judged together against one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// What becomes of those in conflict with one another.
    #[serde(default = "first")]
    pub policy: Policy,
    /// The proposals, in the order that decides among equal priorities.
    pub proposals: Vec<ProposalRequest>,
}

fn first() -> Policy {
    Policy::First
}

impl ProposalRequest {
    /// The proposal that is meant.
    ///
    /// # Errors
    /// When a read or a write contradicts itself; the error names it.
    pub fn into_proposal(self) -> Result<Proposal, BodyError> {
        let reads = self.reads.into_iter().enumerate();
        let writes = self.writes.into_iter().enumerate();
        Ok(Proposal {
            reads: reads
                .map(|(place, read)| read.into_read(&format!("reads[{place}]")))
                .collect::<Result<_, _>>()?,
            writes: writes
                .map(|(place, write)| write.into_write(&format!("writes[{place}]")))
                .collect::<Result<_, _>>()?,
            priority: self.priority,
            dry_run: self.dry_run,
            ranges: self
                .ranges
                .into_iter()
                .enumerate()
                .map(|(place, range)| range.into_range(&format!("ranges[{place}]")))
                .collect::<Result<_, _>>()?,
            fence: self.fence.map(|fence| TaskFence {
                task: fence.task.0,
                fence: Fence(fence.fence),
                caller: Caller::Session(TokenHash::of(&fence.token)),
            }),
            follows: self.follows,
            // Who brings it stands in a header.
            caller: None,
        })
    }
}

impl RangeRequest {
    /// The range that is meant.
    ///
    /// # Errors
    /// When it has both a prefix and a glob or none, or its sum has another form.
    pub fn into_range(self, field: &str) -> Result<RangeRead, BodyError> {
        let span = match (self.prefix, self.glob) {
            (Some(prefix), None) => Span::Folder(prefix.into()),
            (None, Some(glob)) => Span::Glob(glob.into()),
            _ => return Err(BodyError::new(field, "must have prefix or glob, and not both")),
        };
        let sum = Some(&self.sum).filter(|sum| sum.len() == 32);
        let sum = sum.and_then(|sum| u128::from_str_radix(sum, 16).ok());
        let sum = sum.ok_or_else(|| {
            let problem = format!("{:?} is no sum of 32 hexadecimal digits", self.sum);
            BodyError::new(format!("{field}.sum"), problem)
        })?;
        Ok(RangeRead {
            span,
            stamp: RangeStamp {
                keys: self.keys,
                sum: Digest(sum),
            },
        })
    }
}

impl From<&RangeRead> for RangeRequest {
    fn from(range: &RangeRead) -> RangeRequest {
        let text = range.span.text().to_string();
        let (prefix, glob) = match range.span {
            Span::Folder(_) => (Some(text), None),
            Span::Glob(_) => (None, Some(text)),
        };
        RangeRequest {
            prefix,
            glob,
            keys: range.stamp.keys,
            sum: range.stamp.sum.to_string(),
        }
    }
}

impl MergeRequest {
    fn into_merge(self, field: &str) -> Result<Merge, BodyError> {
        let bytes = |name: &str, text: Option<String>, base64: Option<String>| match (text, base64) {
            (Some(text), None) => Ok(Some(Content::Inline(text.into()))),
            (None, Some(base64)) => {
                from_base64(&format!("{field}.{name}_base64"), &base64).map(|bytes| Some(Content::Inline(bytes)))
            }
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(BodyError::new(field, format!("has both {name} and {name}_base64"))),
        };
        let base = match (bytes("base", self.base, self.base_base64)?, self.base_kept) {
            (Some(_), Some(_)) => return Err(BodyError::new(field, "has two bases")),
            (base, None) => base,
            (None, Some(hash)) => Some(Content::Kept(hash.0)),
        };
        let theirs = bytes("theirs", self.theirs, self.theirs_base64)?;
        Ok(Merge {
            base,
            base_tags: sorted_tags(self.base_tags),
            theirs: theirs.ok_or_else(|| BodyError::new(field, "has no theirs"))?,
        })
    }
}

impl From<&Merge> for MergeRequest {
    fn from(merge: &Merge) -> MergeRequest {
        let mut request = MergeRequest {
            base_tags: merge.base_tags.iter().map(ToString::to_string).collect(),
            ..MergeRequest::default()
        };
        match &merge.base {
            Some(Content::Inline(bytes)) => (request.base, request.base_base64) = text_or_base64(bytes),
            Some(Content::Kept(hash)) => request.base_kept = Some(HexHash(*hash)),
            None => {}
        }
        if let Content::Inline(bytes) = &merge.theirs {
            (request.theirs, request.theirs_base64) = text_or_base64(bytes);
        }
        request
    }
}

impl BatchRequest {
    /// The batch that is meant.
    ///
    /// # Errors
    /// As [`ProposalRequest::into_proposal`].
    pub fn into_batch(self) -> Result<ProposalBatch, BodyError> {
        let proposals = self.proposals.into_iter().enumerate();
        Ok(ProposalBatch {
            proposals: proposals
                .map(|(place, proposal)| {
                    proposal
                        .into_proposal()
                        .map_err(|error| error.below(&format!("proposals[{place}]")))
                })
                .collect::<Result<_, _>>()?,
            policy: self.policy,
        })
    }
}

impl ReadRequest {
    fn into_read(self, field: &str) -> Result<Read, BodyError> {
        let content = match (self.hash, self.absent) {
            (None, false) => Expected::Any,
            (None, true) => Expected::Absent,
            (Some(hash), false) => Expected::Hash(hash.0),
            (Some(_), true) => return Err(BodyError::new(field, "has both hash and absent")),
        };
        Ok(Read {
            key: self.key.into(),
            revision: self.revision,
            content,
        })
    }
}

const WAYS: &str = "put, put_base64, put_kept, delete, increment, max, append, append_base64, set_add, merge";

impl WriteRequest {
    fn into_write(self, field: &str) -> Result<Write, BodyError> {
        let put_base64 = self.put_base64.map(|text| from_base64(field, &text)).transpose()?;
        let merge = self
            .merge
            .map(|merge| merge.into_merge(&format!("{field}.merge")))
            .transpose()?;
        let append_base64 = self.append_base64.map(|text| from_base64(field, &text)).transpose()?;
        let ways = [
            ("put", self.put.map(inline)),
            ("put_base64", put_base64.map(inline)),
            ("put_kept", self.put_kept.map(|hash| Op::Put(Content::Kept(hash.0)))),
            ("delete", self.delete.then_some(Op::Delete)),
            ("increment", self.increment.map(Op::Increment)),
            ("max", self.max.map(Op::Max)),
            ("append", self.append.map(|text| Op::Append(text.into()))),
            ("append_base64", append_base64.map(Op::Append)),
            ("set_add", self.set_add.map(|line| Op::SetAdd(line.into()))),
            ("merge", merge.map(Op::Merge)),
        ];
        let mut given = ways.into_iter().filter_map(|(name, op)| Some((name, op?)));
        let Some((name, op)) = given.next() else {
            return Err(BodyError::new(field, format!("says not what to write (one of {WAYS})")));
        };
        if let Some((other, _)) = given.next() {
            return Err(BodyError::new(field, format!("has both {name} and {other}")));
        }
        Ok(Write {
            key: self.key.into(),
            op,
            tags: sorted_tags(self.tags),
            before: self.before,
        })
    }
}

/// A fence has no form of its own here: whoever has one knows the token, and a proposal only its hash.
impl From<&Proposal> for ProposalRequest {
    fn from(proposal: &Proposal) -> ProposalRequest {
        ProposalRequest {
            ranges: proposal.ranges.iter().map(RangeRequest::from).collect(),
            fence: None,
            follows: proposal.follows,
            reads: proposal.reads.iter().map(ReadRequest::from).collect(),
            writes: proposal.writes.iter().map(WriteRequest::from).collect(),
            priority: proposal.priority,
            dry_run: proposal.dry_run,
        }
    }
}

impl From<&Read> for ReadRequest {
    fn from(read: &Read) -> ReadRequest {
        ReadRequest {
            key: read.key.to_string(),
            revision: read.revision,
            hash: match read.content {
                Expected::Hash(hash) => Some(HexHash(hash)),
                Expected::Any | Expected::Absent => None,
            },
            absent: read.content == Expected::Absent,
        }
    }
}

impl From<&Write> for WriteRequest {
    fn from(write: &Write) -> WriteRequest {
        let mut request = WriteRequest {
            key: write.key.to_string(),
            tags: write.tags.iter().map(ToString::to_string).collect(),
            before: write.before,
            ..WriteRequest::default()
        };
        match &write.op {
            Op::Put(Content::Inline(bytes)) => (request.put, request.put_base64) = text_or_base64(bytes),
            Op::Put(Content::Kept(hash)) => request.put_kept = Some(HexHash(*hash)),
            Op::Delete => request.delete = true,
            Op::Increment(step) => request.increment = Some(*step),
            Op::Max(least) => request.max = Some(*least),
            Op::Append(bytes) => (request.append, request.append_base64) = text_or_base64(bytes),
            Op::SetAdd(line) => request.set_add = Some(line.to_string()),
            Op::Merge(merge) => request.merge = Some(MergeRequest::from(merge)),
        }
        request
    }
}

/// What became of a proposal. A door answers `Lost` as a problem with code `CONFLICT` whose details are the [`Loss`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ProposalOutcome {
    /// It was committed; a dry run would have been.
    Committed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The new revision of each written key, in the order of the writes.
        revisions: Vec<u64>,
        /// The places of the writes whose text was merged with that of somebody else.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        merged: Vec<u32>,
    },
    /// It lost: nothing was changed.
    Lost(Loss),
}

/// Why a proposal lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// The position of the command in the order of all commands; 0 for one that its node refused before it had any.
    pub seq: u64,
    /// Some of the conflicts, the first ones.
    pub conflicts: Vec<WireConflict>,
    /// How many there are in all.
    pub total: u64,
    /// The keys to read again, each once.
    pub reread: Vec<Reread>,
    /// The folders and globs to read again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reread_ranges: Vec<Arc<str>>,
    /// Cluster time in milliseconds until which the keys are held for an attempt that follows this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_ms: Option<u64>,
}

/// One reason why a proposal lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireConflict {
    /// What kind of conflict it is.
    pub kind: Kind,
    /// The key.
    pub key: Arc<str>,
    /// The revision that the proposal named.
    pub expected: u64,
    /// The revision of the key at the proposal's place in the order.
    pub revision: u64,
    /// The hash of the key's value there, if it had one.
    pub hash: Option<HexHash>,
    /// Who won: the position of the command that changed the key last (0 when nobody did), or inside a batch the place
    /// of the winning proposal. For a reservation the position of the command that asked for it.
    pub winner: u64,
    /// Who that was, if it was looked up and nobody has changed the key since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner_author: Option<Arc<str>>,
    /// Why a text could not be merged, and at which lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeFailure>,
    /// Who holds the reservation that the key lies under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<WireHolder>,
}

/// A key that must be read again, as it stood when the proposal lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reread {
    /// The key.
    pub key: Arc<str>,
    /// Its revision.
    pub revision: u64,
    /// The hash of its value, if it had one.
    pub hash: Option<HexHash>,
}

impl Loss {
    /// The loss that these conflicts, some of `total`, are.
    pub fn of(seq: u64, conflicts: &[Conflict], total: u64) -> Loss {
        let is_range = |conflict: &&Conflict| conflict.kind == Kind::Phantom;
        let of_keys = conflicts.iter().filter(|conflict| !is_range(conflict));
        let by_key: BTreeMap<&Key, &Conflict> = of_keys.map(|conflict| (&conflict.key, conflict)).collect();
        Loss {
            seq,
            conflicts: conflicts.iter().map(WireConflict::from).collect(),
            total,
            reread: by_key
                .into_values()
                .map(|conflict| Reread {
                    key: conflict.key.clone(),
                    revision: conflict.revision,
                    hash: conflict.hash.map(HexHash),
                })
                .collect(),
            reread_ranges: conflicts
                .iter()
                .filter(is_range)
                .map(|conflict| conflict.key.clone())
                .collect(),
            held_until_ms: None,
        }
    }

    /// The same, with the time until which its keys are held.
    #[must_use]
    pub fn held_until(mut self, held_until_ms: Option<u64>) -> Loss {
        self.held_until_ms = held_until_ms;
        self
    }
}

impl From<&Conflict> for WireConflict {
    fn from(conflict: &Conflict) -> WireConflict {
        WireConflict {
            kind: conflict.kind,
            key: conflict.key.clone(),
            expected: conflict.expected,
            revision: conflict.revision,
            hash: conflict.hash.map(HexHash),
            winner: conflict.winner,
            winner_author: None,
            merge: conflict.merge.clone(),
            holder: conflict.holder.as_deref().map(WireHolder::from),
        }
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchOutcome {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// One verdict for each proposal, in the order of the batch.
    pub verdicts: Vec<BatchVerdict>,
    /// How many conflicting (pair, key, kind) there are among the proposals of the batch.
    pub pairs: u64,
}

/// What became of one proposal of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum BatchVerdict {
    /// It was committed.
    Committed {
        /// The new revision of each written key, in the order of its writes.
        revisions: Vec<u64>,
        /// The places of the writes whose text was merged with that of somebody else.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        merged: Vec<u32>,
    },
    /// It lost; nothing of it was changed.
    Lost(Loss),
    /// It could not be judged.
    Refused {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        detail: String,
    },
}
