//! The routes of the memory and of proposals.

use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use queenright_actors::node::Consistency;
use queenright_protocol::colony::ContentHash;
use queenright_protocol::conflict::Kind;
use reqwest::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;

use super::request::{header_value, path_of};
use super::wire::{
    BatchOutcome, BatchRequest, ChangeRequest, Changed, Code, HexHash, KeyList, Loss, ProposalOutcome, ProposalRequest,
    RangeList, sorted_tags,
};
use super::{AUTHOR_HEADER, Client, ClientError, HASH_HEADER, REVISION_HEADER, SEQ_HEADER, TAGS_HEADER};

/// What a tag needs encoded in its header.
const TAG: &AsciiSet = &CONTROLS.add(b',').add(b'%').add(b' ');

/// Of how many conflicts it is looked up who has won: each costs a request.
const WINNERS_MAX: usize = 8;

/// What was found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A value.
    Found(Found),
    /// None: its last revision is a deletion, or it is 0 and the key was never written.
    Absent {
        /// The revision.
        revision: u64,
    },
}

/// A value and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes.
    pub value: Bytes,
    /// How often the key has been changed.
    pub revision: u64,
    /// The position of the last change.
    pub seq: u64,
    /// BLAKE3 of the bytes, as the node has it.
    pub hash: ContentHash,
    /// Who changed the key last.
    pub author: String,
    /// Sorted labels.
    pub tags: Vec<Arc<str>>,
}

/// When a change of a key is refused, with status 412.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Never.
    #[default]
    None,
    /// When the key has a value.
    IfAbsent,
    /// When the key has another revision.
    IfRevision(u64),
}

/// How a key is changed.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// The tags of its record from then on.
    pub tags: Vec<String>,
    /// When the change is refused.
    pub guard: Guard,
    /// The caller's own identity of this command.
    pub idempotency_key: Option<String>,
}

/// Which keys to list. Values, where asked for, come up to the size of a body; the rest of the list is on the next page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ListQuery {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most this many; the door's own limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// With their values.
    pub values: bool,
    /// Deleted keys too.
    pub deleted: bool,
    /// How fresh.
    pub consistency: Consistency,
}

impl Client {
    /// The value of a key.
    ///
    /// # Errors
    /// [`ClientError`]; that there is no value is none.
    pub async fn get(&self, key: &str, consistency: Consistency) -> Result<Lookup, ClientError> {
        let request = self
            .project_request(Method::GET, &path_of("/v1/memory", "the key", key)?)?
            .query(&[("consistency", consistency)]);
        let response = match self.send(request).await {
            Ok(response) => response,
            Err(ClientError::Problem(problem)) if problem.code == Code::NotFound => {
                // Only a missing key has a revision; a missing route has not.
                return match problem.details["revision"].as_u64() {
                    Some(revision) => Ok(Lookup::Absent { revision }),
                    None => Err(ClientError::Problem(problem)),
                };
            }
            Err(error) => return Err(error),
        };
        let missing = |header| self.bad_response(format!("the header {header} is missing or malformed"));
        let headers = response.headers();
        let number = |header| text(headers, header).and_then(|text| text.parse().ok());
        let mut found = Found {
            value: Bytes::new(),
            revision: number(REVISION_HEADER).ok_or_else(|| missing(REVISION_HEADER))?,
            seq: number(SEQ_HEADER).ok_or_else(|| missing(SEQ_HEADER))?,
            hash: text(headers, HASH_HEADER)
                .and_then(|text| text.parse().ok())
                .map(|HexHash(hash)| hash)
                .ok_or_else(|| missing(HASH_HEADER))?,
            author: text(headers, AUTHOR_HEADER)
                .ok_or_else(|| missing(AUTHOR_HEADER))?
                .to_owned(),
            tags: decode_tags(text(headers, TAGS_HEADER).unwrap_or_default()),
        };
        found.value = response.bytes().await.map_err(|error| self.failure(&error))?;
        Ok(Lookup::Found(found))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`ClientError`]; a guard that does not hold is a problem with code `CONFLICT` and status 412.
    pub async fn put(&self, key: &str, value: Bytes, options: &PutOptions) -> Result<Changed, ClientError> {
        let request = self.guarded(Method::PUT, key, options)?.body(value);
        self.fetch(request).await
    }

    /// Deletes a key; its revision goes on counting.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, key: &str, options: &PutOptions) -> Result<Changed, ClientError> {
        let request = self.guarded(Method::DELETE, key, options)?;
        self.fetch(request).await
    }

    fn guarded(&self, method: Method, key: &str, options: &PutOptions) -> Result<RequestBuilder, ClientError> {
        let path = path_of("/v1/memory", "the key", key)?;
        let mut request = self.mutation(method, &path, options.idempotency_key.as_deref())?;
        if !options.tags.is_empty() {
            request = request.header(TAGS_HEADER, header_value("the tags", &encode_tags(&options.tags))?);
        }
        Ok(match options.guard {
            Guard::None => request,
            Guard::IfAbsent => request.header(IF_NONE_MATCH, "*"),
            Guard::IfRevision(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
        })
    }

    /// Changes a key by an operation that commutes.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn change(&self, change: &ChangeRequest, idempotency_key: Option<&str>) -> Result<Changed, ClientError> {
        let request = self.mutation(Method::POST, "/v1/memory:change", idempotency_key)?;
        self.fetch(request.json(change)).await
    }

    /// One page of a list of keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&self, query: &ListQuery) -> Result<KeyList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/memory")?.query(query);
        self.fetch(request).await
    }

    /// One page of the keys below a folder (`query.prefix`, which ends with a slash or is empty), with what the whole range
    /// holds in the same snapshot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn range(&self, query: &ListQuery) -> Result<RangeList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/memory-ranges")?.query(query);
        self.fetch(request).await
    }

    /// Looks up who has won against a proposal that lost, of its first eight conflicts: who changed the key, if
    /// nobody has changed it again. What cannot be looked up stays unsaid.
    pub async fn name_winners(&self, loss: &mut Loss) {
        for conflict in loss.conflicts.iter_mut().take(WINNERS_MAX) {
            if conflict.winner == 0 || conflict.holder.is_some() || conflict.kind == Kind::Phantom {
                continue;
            }
            let query = ListQuery {
                prefix: conflict.key.to_string(),
                limit: Some(1),
                deleted: true,
                // Of the node that has judged it, or has learned of it.
                consistency: Consistency::Local,
                ..ListQuery::default()
            };
            let Ok(list) = self.list(&query).await else { return };
            let found = list.keys.into_iter().next();
            let found = found.filter(|key| key.key == conflict.key && key.seq == conflict.winner);
            conflict.winner_author = found.map(|key| key.author);
        }
    }

    /// Proposes an atomic change of several keys.
    ///
    /// # Errors
    /// [`ClientError`]; that the proposal lost is none.
    pub async fn propose(
        &self,
        proposal: &ProposalRequest,
        idempotency_key: Option<&str>,
    ) -> Result<ProposalOutcome, ClientError> {
        let request = self.mutation(Method::POST, "/v1/proposals", idempotency_key)?;
        match self.fetch(request.json(proposal)).await {
            Err(ClientError::Problem(problem)) if problem.code == Code::Conflict => {
                let loss = serde_json::from_value::<Loss>(problem.details.clone());
                loss.map(ProposalOutcome::Lost)
                    .map_err(|_| ClientError::Problem(problem))
            }
            answer => answer,
        }
    }

    /// Has several proposals judged together against one state.
    ///
    /// # Errors
    /// [`ClientError`]; that proposals lost is none.
    pub async fn propose_batch(
        &self,
        batch: &BatchRequest,
        idempotency_key: Option<&str>,
    ) -> Result<BatchOutcome, ClientError> {
        let request = self.mutation(Method::POST, "/v1/proposal-batches", idempotency_key)?;
        self.fetch(request.json(batch)).await
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| str::from_utf8(value.as_bytes()).ok())
}

/// Tags as their header has them.
pub fn encode_tags<T: AsRef<str>>(tags: &[T]) -> String {
    let encoded: Vec<String> = tags
        .iter()
        .map(|tag| utf8_percent_encode(tag.as_ref(), TAG).to_string())
        .collect();
    encoded.join(",")
}

/// The tags of a header, sorted; empty ones are left out.
pub fn decode_tags(header: &str) -> Vec<Arc<str>> {
    let tags = header.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    sorted_tags(tags.map(|tag| percent_decode_str(tag).decode_utf8_lossy()))
}
