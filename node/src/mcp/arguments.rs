//! The arguments of a call: those that all tools understand, and the rest as the type that a tool takes.

use queenright_protocol::colony::NAME_BYTES_MAX;
use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;

/// The arguments of one call.
#[derive(Debug)]
pub(super) struct Arguments(JsonObject);

impl Arguments {
    /// Some models send null for what they leave out, so that is the same here.
    pub(super) fn new(fields: Option<JsonObject>) -> Arguments {
        let mut fields = fields.unwrap_or_default();
        fields.retain(|_, value| !value.is_null());
        Arguments(fields)
    }

    /// Takes a text out.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Failure::invalid(name, format_args!("{other} is no text"))),
        }
    }

    /// Takes a name out, which may be as long as names are.
    pub(super) fn name(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let text = self.text(name)?;
        match &text {
            Some(text) if text.is_empty() => Err(Failure::invalid(name, "is empty")),
            Some(text) if text.len() > NAME_BYTES_MAX => {
                let problem = format_args!("{} B is over the limit of {NAME_BYTES_MAX}", text.len());
                Err(Failure::invalid(name, problem))
            }
            _ => Ok(text),
        }
    }

    /// Takes a text out that must be there.
    pub(super) fn needed(&mut self, name: &str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| Failure::invalid(name, "is missing"))
    }

    /// Takes any value out.
    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Puts a value in unless there is one.
    pub(super) fn put_default(&mut self, name: &str, value: impl Into<Value>) {
        self.0.entry(name).or_insert_with(|| value.into());
    }

    /// The fields of an object among them.
    pub(super) fn object(&mut self, name: &str) -> Option<&mut JsonObject> {
        self.0.get_mut(name).and_then(Value::as_object_mut)
    }

    /// What is left, as what the tool takes; what it does not know is refused by name.
    pub(super) fn rest<T: DeserializeOwned>(self) -> Result<T, Failure> {
        parse(Value::Object(self.0))
    }
}

/// A value as what the tool takes.
pub(super) fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        match path.as_str() {
            // The problem of an object names its field itself.
            "." => Failure::invalid("arguments", problem),
            path => Failure::invalid(path, problem),
        }
    })
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::AddTasks;
    use serde_json::json;

    use super::*;

    fn arguments(value: Value) -> Arguments {
        let Value::Object(fields) = value else {
            panic!("{value}")
        };
        Arguments::new(Some(fields))
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_null_is_nothing() {
        let refused = |value: Value| {
            let refused = arguments(value).rest::<AddTasks>();
            refused.unwrap_err().message.into_string()
        };
        assert_eq!(
            refused(json!({ "tasks": [{ "title": "a" }, { "title": 5 }] })),
            "tasks[1].title: invalid type: integer `5`, expected a string"
        );
        let unknown = refused(json!({ "tasks": [], "colour": 1 }));
        assert!(unknown.starts_with("colour: unknown field `colour`"), "{unknown}");
        assert_eq!(refused(json!({ "tasks": null })), "arguments: missing field `tasks`");
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let refused = arguments(json!({ "project": long })).name("project").unwrap_err();
        assert_eq!(&*refused.message, "project: 129 B is over the limit of 128");
        assert_eq!(arguments(json!({ "project": null })).name("project").unwrap(), None);
    }
}
