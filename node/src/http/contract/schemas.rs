//! The schemas of what goes over the door, from the types themselves.
//!
//! A type is written and read in two shapes: a field with a default may be left out by who writes it, and is always there
//! for who reads. Requests have the shape that is read here, answers the one that is written. Where the two differ for a
//! type that stands in both, that of answers is called `…Shown`.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::operation::Shape;

/// Where the schemas stand in the document.
const PLACE: &str = "#/components/schemas/";
/// Where references to those of answers point until names are given.
const ANSWERS: &str = "#/components/answers/";
/// What types of this door are called with in the program, and not in the document.
const PREFIX: &str = "Wire";
const SHOWN: &str = "Shown";

/// Collects the schemas that the operations name.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Schemas {
        let settings = |place: &'static str| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.meta_schema = None;
                settings.definitions_path = place.trim_start_matches('#').trim_end_matches('/').into();
            })
        };
        Schemas {
            requests: settings(PLACE).for_deserialize().into_generator(),
            answers: settings(ANSWERS).for_serialize().into_generator(),
        }
    }

    pub(super) fn request(&mut self, shape: Shape) -> Value {
        shape(&mut self.requests).to_value()
    }

    pub(super) fn answer(&mut self, shape: Shape) -> Value {
        shape(&mut self.answers).to_value()
    }

    /// All of them by name; references in `document` are led there.
    pub(super) fn finish(mut self, document: &mut Value) -> Map<String, Value> {
        let requests = self.requests.take_definitions(true);
        let answers = self.answers.take_definitions(true);
        let names = names(&requests, &answers);
        let lead = |text: &str| {
            let (shown, name) = match (text.strip_prefix(ANSWERS), text.strip_prefix(PLACE)) {
                (Some(name), _) => (true, name),
                (None, Some(name)) => (false, name),
                (None, None) => return text.to_owned(),
            };
            let named = names.get(&(shown, name.to_owned()));
            format!("{PLACE}{}", named.map_or(name, String::as_str))
        };
        references(document, &lead);
        let all = [(false, requests), (true, answers)];
        let all = all.into_iter().flat_map(|(shown, schemas)| {
            let (names, lead) = (&names, &lead);
            schemas.into_iter().map(move |(name, mut schema)| {
                references(&mut schema, lead);
                tidy(&mut schema);
                (names[&(shown, name)].clone(), schema)
            })
        });
        all.collect()
    }
}

/// What each type is called: of requests (false) and of answers (true).
fn names(requests: &Map<String, Value>, answers: &Map<String, Value>) -> BTreeMap<(bool, String), String> {
    let mut differ: Vec<&String> = Vec::new();
    // A type differs as well if it names one that does.
    loop {
        let lead = |text: &str| match text.strip_prefix(ANSWERS) {
            Some(name) if differ.iter().any(|found| *found == name) => format!("{PLACE}{name}{SHOWN}"),
            Some(name) => format!("{PLACE}{name}"),
            None => text.to_owned(),
        };
        let news = answers.iter().filter(|(name, schema)| {
            let mut written = (*schema).clone();
            references(&mut written, &lead);
            requests.get(*name).is_some_and(|read| *read != written)
        });
        let news: Vec<&String> = news
            .map(|(name, _)| name)
            .filter(|name| !differ.contains(name))
            .collect();
        if news.is_empty() {
            break;
        }
        differ.extend(news);
    }
    let short = |name: &str| {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        let taken = short != name && (requests.contains_key(short) || answers.contains_key(short));
        if taken { name.to_owned() } else { short.to_owned() }
    };
    let of_requests = requests.keys().map(|name| ((false, name.clone()), short(name)));
    let of_answers = answers.keys().map(|name| {
        let shown = if differ.contains(&name) { SHOWN } else { "" };
        ((true, name.clone()), format!("{}{shown}", short(name)))
    });
    of_requests.chain(of_answers).collect()
}

/// Leads every reference in a value elsewhere.
fn references(value: &mut Value, lead: &impl Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "$ref" => *text = lead(text),
                    value => references(value, lead),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| references(item, lead)),
        _ => {}
    }
}

/// Makes schemas simpler for those who make clients of them: words of a list as such, and no marks of this language.
pub(super) fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            words(fields);
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => *text = plain(text),
                    value => tidy(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// A choice of constants is a list of words; what each means goes into the description.
fn words(fields: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = fields.get("oneOf") else {
        return;
    };
    let (mut names, mut lines) = (Vec::new(), Vec::new());
    for choice in choices {
        match (&choice["const"], &choice["enum"]) {
            (Value::String(name), _) => {
                let about = choice["description"].as_str().unwrap_or_default();
                lines.push(format!("- `{name}`: {about}"));
                names.push(choice["const"].clone());
            }
            (_, Value::Array(several)) => names.extend(several.clone()),
            _ => return,
        }
    }
    let about = fields.get("description").and_then(Value::as_str).unwrap_or_default();
    let about = format!("{about}\n\n{}", lines.join("\n"));
    fields.remove("oneOf");
    fields.insert("type".to_owned(), "string".into());
    fields.insert("enum".to_owned(), names.into());
    fields.insert("description".to_owned(), about.trim().into());
}

/// A comment without the links of its source.
fn plain(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct WireInner {
        #[serde(default)]
        count: u64,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Outer {
        inner: WireInner,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Plain {
        count: u64,
    }

    #[test]
    fn a_type_that_is_read_otherwise_than_written_has_two_names_and_so_has_what_names_it() {
        let mut schemas = Schemas::new();
        let mut document = json!({
            "taken": [schemas.request(SchemaGenerator::subschema_for::<Outer>), schemas.request(SchemaGenerator::subschema_for::<Plain>)],
            "told": [schemas.answer(SchemaGenerator::subschema_for::<Outer>), schemas.answer(SchemaGenerator::subschema_for::<Plain>)],
        });
        let all = schemas.finish(&mut document);
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        assert_eq!(names, ["Inner", "InnerShown", "Outer", "OuterShown", "Plain"]);
        let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        assert_eq!(document["taken"], json!([to("Outer"), to("Plain")]));
        assert_eq!(document["told"], json!([to("OuterShown"), to("Plain")]));
        assert_eq!(all["Outer"]["properties"]["inner"], to("Inner"));
        assert_eq!(all["OuterShown"]["properties"]["inner"], to("InnerShown"));
        assert_eq!(all["InnerShown"]["required"], json!(["count"]));
        assert!(all["Inner"].get("required").is_none());
    }
}
