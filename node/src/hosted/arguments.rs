//! The arguments of a hosted agent, read field by field: an error names the field, what it holds and what it may.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use queenright_actors::agent::BehaviourError;
use serde_json::{Map, Value};

/// How much of a value an error shows, in characters.
const SHOWN_CHARS: usize = 80;

/// Arguments of which some are not read yet.
pub(super) struct Arguments {
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

type Read<T> = Result<T, BehaviourError>;

/// What is wrong with a field.
pub(super) fn wrong(field: impl Display, problem: impl Display) -> BehaviourError {
    BehaviourError(format!("{field}: {problem}"))
}

/// The same, which shows its value.
fn not(field: &str, value: &Value, what: impl Display) -> BehaviourError {
    let text = value.to_string();
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    wrong(field, format_args!("{shown} is not {what}"))
}

impl Arguments {
    /// An object, or nothing at all.
    pub(super) fn of(value: &Value) -> Read<Arguments> {
        let left = match value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields.clone(),
            other => return Err(not("the arguments", other, "an object")),
        };
        let known = Vec::new();
        Ok(Arguments { left, known })
    }

    /// Takes a field out; null is absent.
    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.left.remove(field).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, field: &'static str) -> Read<Option<String>> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(other) => Err(not(field, &other, "a text without a zero byte")),
        }
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Read<Option<bool>> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(not(field, &other, "true or false")),
        }
    }

    pub(super) fn number(&mut self, field: &'static str, bounds: RangeInclusive<u64>) -> Read<Option<u64>> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|number| bounds.contains(number));
        let what = || format!("a whole number from {} to {}", bounds.start(), bounds.end());
        number.map(Some).ok_or_else(|| not(field, &value, what()))
    }

    pub(super) fn seconds(&mut self, field: &'static str, bounds: RangeInclusive<f64>) -> Read<Option<Duration>> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let seconds = value.as_f64().filter(|seconds| bounds.contains(seconds));
        let what = || format!("a number of seconds from {} to {}", bounds.start(), bounds.end());
        let seconds = seconds.ok_or_else(|| not(field, &value, what()))?;
        Ok(Some(Duration::from_secs_f64(seconds)))
    }

    /// A list of texts, of at most so many, and so many bytes in all.
    pub(super) fn texts(&mut self, field: &'static str, most: usize, bytes_max: usize) -> Read<Vec<String>> {
        let list = match self.take(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(not(field, &other, "a list of texts")),
        };
        within(field, "entries", list.len(), most)?;
        let text = |(place, value)| match value {
            Value::String(text) if !text.contains('\0') => Ok(text),
            other => Err(not(&format!("{field}[{place}]"), &other, "a text without a zero byte")),
        };
        let texts = list.into_iter().enumerate().map(text).collect::<Read<Vec<_>>>()?;
        within(field, "bytes", texts.iter().map(String::len).sum(), bytes_max)?;
        Ok(texts)
    }

    /// An object of texts, of at most so many, and so many bytes in all.
    pub(super) fn pairs(&mut self, field: &'static str, most: usize, bytes_max: usize) -> Read<Vec<(String, String)>> {
        let fields = match self.take(field) {
            None => return Ok(Vec::new()),
            Some(Value::Object(fields)) => fields,
            Some(other) => return Err(not(field, &other, "an object of texts")),
        };
        within(field, "entries", fields.len(), most)?;
        let pair = |(name, value)| match value {
            Value::String(text) if !text.contains('\0') => Ok((name, text)),
            other => Err(not(&format!("{field}.{name}"), &other, "a text without a zero byte")),
        };
        let pairs = fields.into_iter().map(pair).collect::<Read<Vec<_>>>()?;
        within(
            field,
            "bytes",
            pairs.iter().map(|(name, text)| name.len() + text.len()).sum(),
            bytes_max,
        )?;
        Ok(pairs)
    }

    /// No field may be left.
    pub(super) fn end(self) -> Read<()> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(unknown) => {
                let mut known = self.known;
                known.sort_unstable();
                Err(wrong(
                    unknown,
                    format_args!("no field is called so (known: {})", known.join(", ")),
                ))
            }
        }
    }
}

fn within(field: &str, what: &str, number: usize, most: usize) -> Read<()> {
    match number > most {
        true => Err(wrong(
            field,
            format_args!("{number} {what} are over the limit of {most}"),
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused<T>(value: Value, read: impl FnOnce(&mut Arguments) -> Read<T>) -> String {
        let mut arguments = Arguments::of(&value).unwrap();
        read(&mut arguments).err().unwrap().0
    }

    #[test]
    fn a_refusal_names_the_field_its_value_and_the_bound() {
        let check = |problem: String, expected: &str| assert_eq!(problem, expected);
        check(
            refused(json!({"slots": 0}), |fields| fields.number("slots", 1..=8)),
            "slots: 0 is not a whole number from 1 to 8",
        );
        check(
            refused(json!({"timeout_s": "5"}), |fields| {
                fields.seconds("timeout_s", 1.0..=8.0)
            }),
            "timeout_s: \"5\" is not a number of seconds from 1 to 8",
        );
        check(
            refused(json!({"kinds": ["a", 7]}), |fields| fields.texts("kinds", 8, 8)),
            "kinds[1]: 7 is not a text without a zero byte",
        );
        check(
            refused(json!({"kinds": ["a", "b", "c"]}), |fields| fields.texts("kinds", 2, 8)),
            "kinds: 3 entries are over the limit of 2",
        );
        check(
            refused(json!({"environment": {"A": "12345678"}}), |fields| {
                fields.pairs("environment", 2, 8)
            }),
            "environment: 9 bytes are over the limit of 8",
        );
        check(
            refused(json!({"retry": 1}), |fields| fields.flag("retry")),
            "retry: 1 is not true or false",
        );
        let long = "x".repeat(1_000);
        let shown = refused(json!({ "retry": long }), |fields| fields.flag("retry"));
        assert!(shown.len() < 120, "{shown}");
    }

    #[test]
    fn what_nobody_has_asked_for_is_refused_with_what_there_is() {
        let mut arguments = Arguments::of(&json!({"slots": 2, "slot": 2})).unwrap();
        assert_eq!(arguments.number("slots", 1..=8), Ok(Some(2)));
        assert_eq!(arguments.text("queue"), Ok(None));
        let problem = arguments.end().unwrap_err().0;
        assert_eq!(problem, "slot: no field is called so (known: queue, slots)");
        assert!(
            Arguments::of(&json!([1]))
                .err()
                .unwrap()
                .0
                .starts_with("the arguments: [1] is not")
        );
    }
}
