//! The collective memory, key by key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{ChangeOp, ChangeRequest, Code, HexHash};
use queenright_bench::client::{Found, Guard, ListQuery, Lookup, PutOptions};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Hint, Kind, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{any, flag, int, object, one_of, text, texts};
use crate::mcp::{Failure, Toolset};

/// How many bytes of a value an answer shows: a model that wants more of it reads the resource.
const SHOWN_BYTES_MAX: usize = 32 << 10;
/// How many keys a list has unless it says otherwise.
const LIST_DEFAULT: u64 = 50;

pub(super) static TOOLS: &[Kind] = &[Kind {
    name: "memory",
    toolset: Toolset::Default,
    description: "Shared memory: keys are paths. Ops: get, put, delete, list (by prefix), \
                  increment, max (numbers), append, set_add (a line). The tag pinned shows a key to every agent that starts.",
    hint: Hint::Changes,
    common: &["project", "agent", "token", "idempotency_key"],
    input: || {
        object(
            &["op"],
            json!({
                "op": one_of(&OPS, ""),
                "key": text(""),
                "value": any("text, or a number to add or compare"),
                "value_base64": text("bytes to put"),
                "tags": texts(""),
                "if_revision": int("else CONFLICT"),
                "if_absent": flag(""),
                "prefix": text(""),
                "after": text("last key of the page before"),
                "limit": int(""),
                "values": flag("list with values"),
            }),
        )
    },
    output: || data("key:t value:t revision:i tags:a keys:a next:t"),
    run: |call, arguments| Box::pin(memory(call, arguments)),
}];

const OPS: [&str; 8] = ["get", "put", "delete", "list", "increment", "max", "append", "set_add"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Get,
    Put,
    Delete,
    List,
    Increment,
    Max,
    Append,
    SetAdd,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    op: Op,
    key: Option<String>,
    value: Option<Value>,
    value_base64: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    if_revision: Option<u64>,
    #[serde(default)]
    if_absent: bool,
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<u64>,
    #[serde(default)]
    values: bool,
}

async fn memory(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let memory: Memory = arguments.rest()?;
    memory.check()?;
    if memory.op == Op::List {
        return list(call, memory).await;
    }
    let key = memory.key.clone();
    let key = key.ok_or_else(|| Failure::invalid("key", "is missing"))?;
    match memory.op {
        Op::Get => get(call, &key).await,
        Op::Put => {
            let value = memory.bytes()?;
            let options = memory.options(call)?;
            Ok(Answer::of(&call.client.put(&key, value, &options).await?).with("key", key))
        }
        Op::Delete => {
            let options = memory.options(call)?;
            Ok(Answer::of(&call.client.delete(&key, &options).await?).with("key", key))
        }
        _ => {
            let change = memory.change(&key)?;
            Ok(Answer::of(&call.client.change(&change, call.key()).await?).with("key", key))
        }
    }
}

impl Memory {
    /// What an operation does not take is refused, lest it be thought to have had an effect.
    fn check(&self) -> Result<(), Failure> {
        let (reads, lists) = (matches!(self.op, Op::Get | Op::List), self.op == Op::List);
        let given = [
            ("value", self.value.is_some(), !reads && self.op != Op::Delete),
            (
                "value_base64",
                self.value_base64.is_some(),
                matches!(self.op, Op::Put | Op::Append),
            ),
            ("tags", !self.tags.is_empty(), !reads && self.op != Op::Delete),
            ("if_revision", self.if_revision.is_some(), !reads),
            ("if_absent", self.if_absent, !reads),
            ("key", self.key.is_some(), !lists),
            ("prefix", self.prefix.is_some(), lists),
            ("after", self.after.is_some(), lists),
            ("limit", self.limit.is_some(), lists),
            ("values", self.values, lists),
        ];
        match given.into_iter().find(|(_, given, takes)| *given && !takes) {
            Some((field, ..)) => Err(Failure::invalid(field, "this op does not take it")),
            None => Ok(()),
        }
    }

    fn number(&self) -> Result<i64, Failure> {
        let wrong = |value: &Value| Failure::invalid("value", format_args!("{value} is no whole number"));
        match &self.value {
            None => Err(Failure::invalid("value", "is missing")),
            Some(Value::String(text)) => text.parse().map_err(|_| wrong(&Value::from(text.as_str()))),
            Some(value) => value.as_i64().ok_or_else(|| wrong(value)),
        }
    }

    /// The value as text: what is no text is kept as JSON.
    fn line(&self) -> Result<String, Failure> {
        match &self.value {
            None => Err(Failure::invalid("value", "is missing")),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Ok(value.to_string()),
        }
    }

    fn bytes(&self) -> Result<Bytes, Failure> {
        match (&self.value, &self.value_base64) {
            (Some(_), Some(_)) => Err(Failure::invalid("value_base64", "does not go together with value")),
            (None, Some(text)) => BASE64
                .decode(text)
                .map(Bytes::from)
                .map_err(|error| Failure::invalid("value_base64", error)),
            _ => self.line().map(Bytes::from),
        }
    }

    fn options(&self, call: &Call) -> Result<PutOptions, Failure> {
        Ok(PutOptions {
            tags: self.tags.clone(),
            guard: match (self.if_revision, self.if_absent) {
                (None, false) => Guard::None,
                (None, true) => Guard::IfAbsent,
                (Some(revision), false) => Guard::IfRevision(revision),
                (Some(_), true) => return Err(Failure::invalid("if_absent", "does not go together with if_revision")),
            },
            idempotency_key: call.idempotency_key.clone(),
        })
    }

    fn change(&self, key: &str) -> Result<ChangeRequest, Failure> {
        let op = match self.op {
            Op::Increment => ChangeOp::Increment(self.number()?),
            Op::Max => ChangeOp::Max(self.number()?),
            Op::Append => match &self.value_base64 {
                Some(text) if self.value.is_none() => ChangeOp::AppendBase64(text.clone()),
                Some(_) => return Err(Failure::invalid("value_base64", "does not go together with value")),
                None => ChangeOp::Append(self.line()?),
            },
            _ => ChangeOp::SetAdd(self.line()?),
        };
        Ok(ChangeRequest {
            key: key.to_owned(),
            op,
            tags: self.tags.clone(),
            if_revision: self.if_revision,
            if_absent: self.if_absent,
        })
    }
}

async fn get(call: &Call, key: &str) -> Result<Answer, Failure> {
    let found = match call.client.get(key, Consistency::Linearizable).await? {
        Lookup::Found(found) => found,
        Lookup::Absent { revision } => {
            let missing = Failure::new(Code::NotFound, format!("{key:?} has no value, at revision {revision}"));
            return Err(missing.with_details(&json!({ "key": key, "revision": revision })));
        }
    };
    let Found {
        value,
        revision,
        seq,
        hash,
        author,
        tags,
    } = found;
    let (shown, cut) = (
        &value[..value.len().min(SHOWN_BYTES_MAX)],
        value.len() > SHOWN_BYTES_MAX,
    );
    let answer = Answer::of(&json!({
        "key": key,
        "revision": revision,
        "seq": seq,
        "hash": HexHash(hash).to_string(),
        "author": author,
        "tags": tags,
        "bytes": value.len(),
    }));
    let answer = match str::from_utf8(&value) {
        Ok(text) => answer.with("value", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]),
        Err(_) => answer.with("value_base64", BASE64.encode(shown)),
    };
    Ok(match cut {
        true => answer.with("cut", true).warn(format!(
            "this is the beginning of {} B: the resource queenright://memory/{key} has all of it",
            value.len()
        )),
        false => answer,
    })
}

async fn list(call: &Call, memory: Memory) -> Result<Answer, Failure> {
    let query = ListQuery {
        prefix: memory.prefix.unwrap_or_default(),
        after: memory.after,
        limit: Some(memory.limit.unwrap_or(LIST_DEFAULT)),
        values: memory.values,
        deleted: false,
        consistency: Consistency::Linearizable,
    };
    let mut list = call.client.list(&query).await?;
    let mut cut = false;
    for key in &mut list.keys {
        if let Some(value) = &mut key.value
            && value.len() > SHOWN_BYTES_MAX
        {
            value.truncate(value.floor_char_boundary(SHOWN_BYTES_MAX));
            cut = true;
        }
        if key
            .value_base64
            .as_ref()
            .is_some_and(|text| text.len() > SHOWN_BYTES_MAX)
        {
            key.value_base64 = None;
            cut = true;
        }
    }
    let mut answer = Answer::of(&list);
    if cut {
        answer = answer.warn(format!(
            "values over {SHOWN_BYTES_MAX} B are cut or left out: bytes says how long each is"
        ));
    }
    Ok(match list.next {
        Some(next) => answer.next(format!("memory with op list and after {next:?} shows more")),
        None => answer,
    })
}
