//! One operation of the door: what it takes, what it answers, and how it can fail.

use std::ops::RangeInclusive;

use axum::http::{Method, StatusCode};
use queenright_bench::client::wire::Code;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// What makes the schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// An operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// As in the document: parts in braces, a verb behind a colon.
    pub(super) path: String,
    /// The name that it has in clients.
    pub(super) id: String,
    pub(super) about: &'static str,
    /// Fields of the query, besides those that every operation has.
    pub(super) query: Vec<Field>,
    /// Headers, besides those that every operation has.
    pub(super) headers: Vec<Field>,
    pub(super) body: Option<Content>,
    /// Whether it may come without a body.
    pub(super) body_optional: bool,
    pub(super) answers: Vec<Answer>,
    /// What it may be refused with, besides what every operation may be.
    pub(super) refusals: Vec<(StatusCode, Code)>,
    /// Whether it is a command that goes through consensus, so that an idempotency key makes its repeats harmless.
    pub(super) commands: bool,
    /// Whether it is done by the asked node alone, which remembers idempotency keys itself.
    pub(super) once: bool,
    /// Whether it belongs to a project, and can be called by two paths.
    pub(super) of_project: bool,
}

/// A field of a query, or a header.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) required: bool,
    pub(super) schema: Value,
}

/// What goes over as a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Json(Shape),
    /// Any bytes.
    Bytes,
    /// JSON of no type of its own.
    Given(fn() -> Value),
    /// The same as JSON, or as a stream of server-sent events, as the caller accepts.
    JsonOrStream(Shape),
    Stream,
    /// A JSON value a line.
    Lines,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content: Option<Content>,
    pub(super) headers: Vec<Field>,
}

pub(super) fn get(path: &str, id: &str, about: &'static str) -> Operation {
    Operation::new(Method::GET, path, id, about)
}

pub(super) fn put(path: &str, id: &str, about: &'static str) -> Operation {
    Operation::new(Method::PUT, path, id, about)
}

pub(super) fn post(path: &str, id: &str, about: &'static str) -> Operation {
    Operation::new(Method::POST, path, id, about)
}

pub(super) fn delete(path: &str, id: &str, about: &'static str) -> Operation {
    Operation::new(Method::DELETE, path, id, about)
}

impl Operation {
    fn new(method: Method, path: &str, id: &str, about: &'static str) -> Operation {
        Operation {
            method,
            path: path.to_owned(),
            id: id.to_owned(),
            about,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            body_optional: false,
            answers: Vec::new(),
            refusals: Vec::new(),
            commands: false,
            once: false,
            of_project: false,
        }
    }

    /// The route by which the router finds it: a verb behind a part of the path belongs to that part.
    pub(super) fn route(&self) -> String {
        let route = match self.path.rsplit_once("}:") {
            Some((before, _)) => format!("{before}}}"),
            None => self.path.clone(),
        };
        route.replace("/memory/{key}", "/memory/{*key}")
    }

    pub(super) fn query(mut self, fields: impl IntoIterator<Item = Field>) -> Operation {
        self.query.extend(fields);
        self
    }

    pub(super) fn headers(mut self, fields: impl IntoIterator<Item = Field>) -> Operation {
        self.headers.extend(fields);
        self
    }

    /// It takes JSON.
    pub(super) fn json<T: JsonSchema>(self) -> Operation {
        self.body(Content::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// It takes JSON, or nothing.
    pub(super) fn json_or_nothing<T: JsonSchema>(mut self) -> Operation {
        self.body_optional = true;
        self.json::<T>()
    }

    pub(super) fn body(mut self, body: Content) -> Operation {
        self.body = Some(body);
        self.refuses([Code::TooLarge])
            .refuses_with(StatusCode::REQUEST_TIMEOUT, Code::Invalid)
    }

    /// It answers JSON.
    pub(super) fn answers<T: JsonSchema>(self, status: StatusCode) -> Operation {
        self.answers_with(status, Some(Content::Json(SchemaGenerator::subschema_for::<T>)), [])
    }

    pub(super) fn answers_with(
        mut self,
        status: StatusCode,
        content: Option<Content>,
        headers: impl IntoIterator<Item = Field>,
    ) -> Operation {
        self.answers.push(Answer {
            status,
            content,
            headers: headers.into_iter().collect(),
        });
        self
    }

    pub(super) fn refuses(mut self, codes: impl IntoIterator<Item = Code>) -> Operation {
        let usual = |code: Code| StatusCode::from_u16(code.status()).expect("codes have statuses of HTTP");
        self.refusals.extend(codes.into_iter().map(|code| (usual(code), code)));
        self
    }

    pub(super) fn refuses_with(mut self, status: StatusCode, code: Code) -> Operation {
        self.refusals.push((status, code));
        self
    }

    /// It reads the state, as fresh as the caller says.
    pub(super) fn reads(self) -> Operation {
        let modes = Field::one_of(
            "consistency",
            "As of a moment after the read began, which needs a quorum, or what the asked node knows.",
            ["linearizable", "local"],
        );
        self.query([modes])
    }

    /// It is a command: it goes through consensus.
    pub(super) fn commands(mut self) -> Operation {
        self.commands = true;
        self.refuses([
            Code::Conflict,
            Code::TooLarge,
            Code::IdempotencyKeyConflict,
            Code::Quota,
            Code::Expired,
            Code::UnknownOutcome,
            Code::DiskLow,
        ])
        .refuses_with(StatusCode::SERVICE_UNAVAILABLE, Code::UnknownOutcome)
    }

    /// It is done by the asked node alone.
    pub(super) fn once(mut self) -> Operation {
        self.once = true;
        self.refuses([Code::Conflict, Code::IdempotencyKeyConflict, Code::TooLarge])
    }

    /// It shows the token of a session, which may have ended.
    pub(super) fn of_session(self) -> Operation {
        self.refuses_with(StatusCode::GONE, Code::Expired)
    }

    /// The same operation by the path that names its project.
    pub(super) fn in_project(&self) -> Operation {
        Operation {
            path: self.path.replacen("/v1/", "/v1/projects/{project}/", 1),
            id: format!("{}_in", self.id),
            ..self.clone()
        }
    }
}

impl Field {
    pub(super) fn text(name: &'static str, about: &'static str) -> Field {
        Field {
            name,
            about,
            required: false,
            schema: json!({ "type": "string" }),
        }
    }

    /// Text of a form.
    pub(super) fn form(name: &'static str, about: &'static str, pattern: &str) -> Field {
        let schema = json!({ "type": "string", "pattern": pattern });
        Field {
            schema,
            ..Field::text(name, about)
        }
    }

    pub(super) fn number(name: &'static str, about: &'static str, bounds: RangeInclusive<u64>) -> Field {
        let (least, most) = bounds.into_inner();
        let schema = json!({ "type": "integer", "minimum": least, "maximum": most });
        Field {
            schema,
            ..Field::text(name, about)
        }
    }

    pub(super) fn flag(name: &'static str, about: &'static str) -> Field {
        Field {
            schema: json!({ "type": "boolean" }),
            ..Field::text(name, about)
        }
    }

    pub(super) fn one_of(
        name: &'static str,
        about: &'static str,
        words: impl IntoIterator<Item = impl ToString>,
    ) -> Field {
        let words: Vec<String> = words.into_iter().map(|word| word.to_string()).collect();
        Field {
            schema: json!({ "type": "string", "enum": words }),
            ..Field::text(name, about)
        }
    }

    /// Words between commas.
    pub(super) fn list_of<const N: usize>(name: &'static str, about: &'static str, words: [&str; N]) -> Field {
        let word = words.join("|");
        Field::form(name, about, &format!("^({word})(,({word}))*$"))
    }

    pub(super) fn required(self) -> Field {
        Field { required: true, ..self }
    }
}
