//! The identities of traces and spans, and the header that carries them: W3C Trace Context, version 00.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The identity of a trace: 16 bytes that are not all 0, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// The identity of a span: 8 bytes that are not all 0, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

/// What a caller says of the trace that its request belongs to: the header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's own span.
    pub span: SpanId,
    /// Whether the caller keeps its part.
    pub sampled: bool,
}

/// Text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {digits} hexadecimal digits in lower case, not all of them 0")]
pub struct BadTraceId {
    text: String,
    what: &'static str,
    digits: usize,
}

fn parse<const BYTES: usize>(text: &str, what: &'static str) -> Result<[u8; BYTES], BadTraceId> {
    let refuse = || BadTraceId {
        text: text.chars().take(64).collect(),
        what,
        digits: 2 * BYTES,
    };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text_bytes = text.as_bytes();
    if text_bytes.len() != 2 * BYTES {
        return Err(refuse());
    }
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text_bytes.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(refuse());
        };
        *byte = high << 4 | low;
    }
    match bytes == [0; BYTES] {
        true => Err(refuse()),
        false => Ok(bytes),
    }
}

macro_rules! identity {
    ($name:ident, $bytes:literal, $what:literal) => {
        impl $name {
            /// One that nobody has: its bytes are drawn.
            pub fn draw() -> $name {
                loop {
                    let bytes: [u8; $bytes] = rand::random();
                    if bytes != [0; $bytes] {
                        return $name(bytes);
                    }
                }
            }

            /// Its bytes.
            pub fn bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadTraceId;

            fn from_str(text: &str) -> Result<$name, BadTraceId> {
                parse(text, $what).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": format!("^[0-9a-f]{{{}}}$", 2 * $bytes) })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

identity!(TraceId, 16, "trace");
identity!(SpanId, 8, "span");

impl SpanId {
    /// The one that follows from what it is of: the same for all who make it.
    pub(super) fn of(parts: &[&[u8]]) -> SpanId {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // 0 is no span.
        bytes[7] |= u8::from(bytes == [0; 8]);
        SpanId(bytes)
    }
}

impl TraceParent {
    /// Reads the header. Of a version that is to come, what this one knows is read; `None` for what is none.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = parse_any::<1>(version)?;
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) {
            return None;
        }
        let [flags] = parse_any::<1>(flags)?;
        Some(TraceParent {
            trace: trace.parse().ok()?,
            span: span.parse().ok()?,
            sampled: flags & 1 == 1,
        })
    }
}

/// Hexadecimal digits in lower case, which may all be 0.
fn parse_any<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    match text.len() == 2 * BYTES && text.bytes().all(|byte| byte == b'0') {
        true => Some([0; BYTES]),
        false => parse(text, "flags").ok(),
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceParent { trace, span, sampled } = self;
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(*sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_standard_has_it_and_nothing_else_is() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(text).unwrap();
        assert_eq!(parent.to_string(), text);
        assert!(parent.sampled);
        let unsampled = TraceParent::parse(&text.replace("-01", "-00")).unwrap();
        assert!(!unsampled.sampled && unsampled.trace == parent.trace);
        // Other flags, and a later version with more behind, are taken.
        assert!(TraceParent::parse(&text.replace("-01", "-03")).unwrap().sampled);
        assert_eq!(TraceParent::parse(&format!("cc{}-what-else", &text[2..])), Some(parent));
        for bad in [
            "",
            "00",
            &text[..54],
            &format!("{text}-more"),
            &text.replace("00-", "ff-"),
            &text.to_uppercase(),
            &text.replace("4bf9", "4bfg"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "ü-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_identity_is_named_with_what_it_should_be() {
        let error = "xyz".parse::<TraceId>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"xyz\" is no trace: 32 hexadecimal digits in lower case, not all of them 0"
        );
        let drawn = TraceId::draw();
        assert_eq!(drawn.to_string().parse(), Ok(drawn));
        assert_ne!(SpanId::of(&[b"a", b"bc"]), SpanId::of(&[b"ab", b"c"]));
    }
}
