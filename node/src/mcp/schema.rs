//! JSON schemas of arguments and answers, as short as they may be: each word of them is read by a model.

use rmcp::model::JsonObject;
use serde_json::{Value, json};

/// An object with these fields, of which some are needed. Further fields are refused by the tools themselves, with names.
pub(super) fn object(required: &[&str], properties: Value) -> Value {
    match required {
        [] => json!({ "type": "object", "properties": properties }),
        required => json!({ "type": "object", "properties": properties, "required": required }),
    }
}

fn described(mut schema: Value, description: &str) -> Value {
    if !description.is_empty() {
        schema["description"] = description.into();
    }
    schema
}

pub(super) fn text(description: &str) -> Value {
    described(json!({ "type": "string" }), description)
}

pub(super) fn int(description: &str) -> Value {
    described(json!({ "type": "integer" }), description)
}

pub(super) fn flag(description: &str) -> Value {
    described(json!({ "type": "boolean" }), description)
}

pub(super) fn any(description: &str) -> Value {
    described(json!({}), description)
}

pub(super) fn fields(description: &str) -> Value {
    described(json!({ "type": "object" }), description)
}

pub(super) fn list(items: &Value, description: &str) -> Value {
    described(json!({ "type": "array", "items": items }), description)
}

pub(super) fn texts(description: &str) -> Value {
    list(&text(""), description)
}

pub(super) fn one_of(words: &[&str], description: &str) -> Value {
    described(json!({ "type": "string", "enum": words }), description)
}

/// The resources that a reservation names.
pub(super) fn wants() -> Value {
    let want = json!({
        "resource": text("file:GLOB, key:KEY, key:PREFIX/ or slot:NAME"),
        "mode": one_of(&["exclusive", "shared", "intent"], ""),
    });
    list(&object(&["resource"], want), "")
}

/// What a tool answers: its data, and what all have.
pub(super) fn answer(data: &Value) -> Value {
    object(
        &["ok"],
        json!({ "ok": flag(""), "data": data, "error": fields(""), "warnings": texts(""), "next": texts("") }),
    )
}

/// A schema as the library wants it.
///
/// # Panics
/// If it is no object.
pub(super) fn map(schema: Value) -> JsonObject {
    match schema {
        Value::Object(map) => map,
        other => panic!("{other} is no schema of an object"),
    }
}
