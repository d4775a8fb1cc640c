//! The collective memory.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;
use queenright_actors::queen::Request;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{
    ChangeRequest, Changed, Code, HexHash, KeyInfo, KeyList, Problem, RangeList, RangeRequest,
};
use queenright_bench::client::{
    AUTHOR_HEADER, HASH_HEADER, REVISION_HEADER, SEQ_HEADER, TAGS_HEADER, decode_tags, encode_tags,
};
use queenright_protocol::colony::{
    Body, Change, Condition, Content, Key, Op, Outcome, Proposal, RangeRead, RangeState, Record, Span, TaskCommand,
};
use serde_json::json;

use super::Door;
use super::call::{Call, Caller};
use super::problem::{Refused, invalid, misfit, of_submit, too_large};

/// How many keys a list has at most, and unless the caller says otherwise.
pub(super) const LIST_KEYS: (u64, u64) = (10_000, 1_000);
/// How many keys a list looks at: deleted ones, which it leaves out, cost time too.
const LOOKED_AT_MAX: usize = 100_000;

impl Door {
    /// Hands a command to the node and waits for its outcome.
    pub(super) async fn submit(&self, caller: &Caller, body: Body) -> Result<Outcome, Refused> {
        match self.outcome(caller, body).await? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// The outcome of a command, also when it is a refusal.
    pub(super) async fn outcome(&self, caller: &Caller, body: Body) -> Result<Outcome, Refused> {
        self.check_values(&body)?;
        let request = Request {
            project: caller.project.clone(),
            author: caller.author.clone(),
            idempotency_key: caller.idempotency_key.clone(),
            body,
        };
        let outcome = self.backend.submit(request, caller.left()).await;
        outcome.map_err(|error| of_submit(&error, caller.idempotency_key.is_some()))
    }

    fn check_values(&self, body: &Body) -> Result<(), Refused> {
        let of_proposal = |proposal: &Proposal| proposal.writes.iter().map(|write| value_bytes(&write.op)).max();
        let largest = match body {
            Body::Change(change) => Some(value_bytes(&change.op)),
            Body::Propose(proposal) => of_proposal(proposal),
            Body::ProposeBatch(batch) => batch.proposals.iter().filter_map(of_proposal).max(),
            Body::Withheld(_) => None,
            Body::Task(TaskCommand::Finish(finish)) => finish.proposal.as_ref().and_then(of_proposal),
            Body::Task(_) | Body::Agent(_) | Body::Session(_) | Body::Reservation(_) => None,
            Body::Project(_) | Body::DoorToken(_) | Body::Topology(_) | Body::Rate(_) => None,
            Body::Budget(_) | Body::Pool(_) => None,
        };
        let (largest, limit) = (largest.unwrap_or(0), self.limits.value_bytes);
        match largest > limit {
            true => Err(too_large("value_bytes", largest as u64, limit as u64)),
            false => Ok(()),
        }
    }
}

/// The bytes that an operation brings along, also inside a proposal: the limit of this door on them may be below that of
/// the colony.
fn value_bytes(op: &Op) -> usize {
    match op {
        Op::Put(Content::Inline(bytes)) | Op::Append(bytes) => bytes.len(),
        Op::SetAdd(line) => line.len(),
        Op::Merge(merge) => merge
            .base
            .iter()
            .chain([&merge.theirs])
            .map(content_bytes)
            .max()
            .unwrap_or(0),
        Op::Put(Content::Kept(_)) | Op::Delete | Op::Increment(_) | Op::Max(_) => 0,
    }
}

fn content_bytes(content: &Content) -> usize {
    match content {
        Content::Inline(bytes) => bytes.len(),
        Content::Kept(_) => 0,
    }
}

/// `PUT /v1/memory/{key}`
pub(super) async fn put(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let (key, tags, condition) = (Key::from(call.path("key")), tags(&call)?, condition(&call)?);
    let value = call
        .bytes("value_bytes", door.limits.value_bytes, caller.deadline)
        .await?;
    let op = Op::Put(Content::Inline(value));
    let change = Change {
        key,
        op,
        tags,
        condition,
        caller: caller.writer(),
    };
    submit_change(&door, &caller, change).await
}

/// `DELETE /v1/memory/{key}`
pub(super) async fn delete(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let change = Change {
        key: call.path("key").into(),
        op: Op::Delete,
        tags: tags(&call)?,
        condition: condition(&call)?,
        caller: caller.writer(),
    };
    submit_change(&door, &caller, change).await
}

/// `POST /v1/memory:change`
pub(super) async fn change(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: ChangeRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    let change = Change {
        caller: caller.writer(),
        ..request.into_change()?
    };
    submit_change(&door, &caller, change).await
}

async fn submit_change(door: &Door, caller: &Caller, change: Change) -> Result<Response, Refused> {
    match door.submit(caller, Body::Change(change)).await? {
        Outcome::Changed { seq, revision } => {
            let mut response = Json(Changed { seq, revision }).into_response();
            response.headers_mut().insert(header::ETAG, etag(revision));
            Ok(response)
        }
        other => Err(misfit(&other)),
    }
}

/// `GET /v1/memory/{key}`
pub(super) async fn get(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let consistency = consistency(&mut call)?;
    let caller = call.caller()?;
    let key = call.path("key");
    let record = {
        let snapshot = door.read(consistency, &caller).await?;
        let project = snapshot.colony.project(&caller.project);
        project.and_then(|project| project.memory().record(key)).cloned()
    };
    let Some(record) = record else {
        return Err(absent(key, None));
    };
    let Some(value) = &record.value else {
        return Err(absent(key, Some(&record)));
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ETAG, etag(record.revision));
    headers.insert(REVISION_HEADER, record.revision.into());
    headers.insert(SEQ_HEADER, record.seq.into());
    headers.insert(HASH_HEADER, header_text(&value.hash.to_string()));
    headers.insert(AUTHOR_HEADER, header_text(&record.author));
    headers.insert(TAGS_HEADER, header_text(&encode_tags(&record.tags)));
    Ok((headers, HttpBody::from(value.bytes.clone())).into_response())
}

fn absent(key: &str, record: Option<&Record>) -> Refused {
    let revision = record.map_or(0, |record| record.revision);
    let detail = match record {
        Some(record) => format!("{key:?} was deleted by {:?} at revision {revision}", record.author),
        None => format!("{key:?} was never written"),
    };
    Problem::new(Code::NotFound, detail)
        .with_details(json!({ "key": key, "revision": revision, "deleted": record.is_some() }))
        .into()
}

/// `GET /v1/memory`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let consistency = consistency(&mut call)?;
    let query = ListQuery::take(&mut call, &door)?;
    let caller = call.caller()?;
    let snapshot = door.read(consistency, &caller).await?;
    let mut list = empty_list(&snapshot);
    if let Some(project) = snapshot.colony.project(&caller.project) {
        query.fill(&mut list, project.memory().range(&query.prefix, query.after.as_deref()));
    }
    drop(snapshot);
    Ok(Json(list).into_response())
}

/// `GET /v1/memory-ranges`
pub(super) async fn range(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let consistency = consistency(&mut call)?;
    let glob = call.take("glob");
    let query = ListQuery::take(&mut call, &door)?;
    let caller = call.caller()?;
    let span = match glob {
        Some(_) if !query.prefix.is_empty() => return Err(invalid("glob", "does not go together with prefix")),
        Some(glob) => Span::Glob(glob.into()),
        None => Span::Folder(query.prefix.as_str().into()),
    };
    let snapshot = door.read(consistency, &caller).await?;
    let mut list = empty_list(&snapshot);
    let mut state = RangeState::default();
    match snapshot.colony.project(&caller.project) {
        Some(project) => {
            let memory = project.memory();
            state = memory.range_state(&span)?;
            let records = memory.range(span.folder(), query.after.as_deref());
            query.fill(&mut list, records.filter(|(key, _)| span.covers(key)));
        }
        None => span.check()?,
    }
    drop(snapshot);
    let stamp = state.stamp;
    let range = RangeRequest::from(&RangeRead { span, stamp });
    let changed = state.changed;
    Ok(Json(RangeList { range, changed, list }).into_response())
}

fn empty_list(snapshot: &Snapshot) -> KeyList {
    KeyList {
        keys: Vec::new(),
        next: None,
        seq: snapshot.colony.seq(),
        index: snapshot.index,
    }
}

/// Which keys are listed.
struct ListQuery {
    prefix: String,
    after: Option<String>,
    limit: usize,
    values: bool,
    deleted: bool,
    /// How many bytes of values one page carries, unless one value alone is larger.
    values_bytes: usize,
}

impl ListQuery {
    fn take(call: &mut Call, door: &Door) -> Result<ListQuery, Refused> {
        Ok(ListQuery {
            prefix: call.take("prefix").unwrap_or_default(),
            after: call.take("after"),
            limit: call.number("limit", 1..=LIST_KEYS.0)?.unwrap_or(LIST_KEYS.1) as usize,
            values: call.flag("values")?,
            deleted: call.flag("deleted")?,
            values_bytes: door.limits.body_bytes,
        })
    }

    fn fill<'r>(&self, list: &mut KeyList, records: impl Iterator<Item = (&'r Key, &'r std::sync::Arc<Record>)>) {
        let mut bytes = 0;
        let mut last: Option<&Key> = None;
        for (looked_at, (key, record)) in records.enumerate() {
            let wanted = record.value.is_some() || self.deleted;
            let length = record.value.as_ref().map_or(0, |value| value.bytes.len());
            let full = wanted && list.keys.len() == self.limit
                || looked_at == LOOKED_AT_MAX
                || self.values && !list.keys.is_empty() && bytes + length > self.values_bytes;
            if full {
                list.next = last.map(ToString::to_string);
                return;
            }
            last = Some(key);
            if wanted {
                bytes += length;
                list.keys.push(info(key, record, self.values));
            }
        }
    }
}

pub(super) fn info(key: &Key, record: &Record, with_value: bool) -> KeyInfo {
    let mut info = KeyInfo {
        key: key.clone(),
        revision: record.revision,
        bytes: record.value.as_ref().map_or(0, |value| value.bytes.len() as u64),
        hash: record.value.as_ref().map(|value| HexHash(value.hash)),
        tags: record.tags.clone(),
        author: record.author.clone(),
        seq: record.seq,
        deleted: record.value.is_none(),
        value: None,
        value_base64: None,
    };
    if let Some(value) = record.value.as_ref().filter(|_| with_value) {
        info.set_value(&value.bytes);
    }
    info
}

fn tags(call: &Call) -> Result<Vec<std::sync::Arc<str>>, Refused> {
    Ok(decode_tags(call.header(TAGS_HEADER)?.unwrap_or_default()))
}

/// `If-None-Match: *` and `If-Match: "revision"`.
fn condition(call: &Call) -> Result<Condition, Refused> {
    match (call.header("if-match")?, call.header("if-none-match")?) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::IfAbsent),
        (None, Some(other)) => Err(invalid("if-none-match", format_args!("{other:?} is not *"))),
        (Some(_), Some(_)) => Err(invalid("if-match", "does not go together with if-none-match")),
        (Some(text), None) => {
            let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let revision = quoted.unwrap_or(text).parse().map_err(|_| {
                invalid(
                    "if-match",
                    format_args!("{text:?} is not a revision in quotes, such as \"3\""),
                )
            })?;
            Ok(Condition::IfRevision(revision))
        }
    }
}

pub(super) fn consistency(call: &mut Call) -> Result<Consistency, Refused> {
    match call.take("consistency").as_deref() {
        None | Some("linearizable") => Ok(Consistency::Linearizable),
        Some("local") => Ok(Consistency::Local),
        Some(other) => Err(invalid(
            "consistency",
            format_args!("{other:?} is neither linearizable nor local"),
        )),
    }
}

fn etag(revision: u64) -> HeaderValue {
    header_text(&format!("\"{revision}\""))
}

fn header_text(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).expect("names are checked for control characters when they are written")
}
