//! What is posted, and its signature.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use queenright_bench::client::wire::{EventCursor, WireEvent};
use serde_json::{Value, json};

use super::LOST;
use crate::wall_time::rfc3339;

/// What a secret begins with, by the convention.
const PREFIX: &str = "whsec_";
/// How many bytes a secret has, by the convention.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How much of a file is read.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// A secret that signs. Its text is shown nowhere.
pub struct Secret(hmac::Key);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("secret_file: cannot read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is in it has another form.
    #[error("secret_file: {path} has no secret (expected {PREFIX} and the Base64 of {} to {} bytes)", SECRET_BYTES.start(), SECRET_BYTES.end())]
    Form {
        /// The file.
        path: String,
    },
}

impl Secret {
    /// Reads the secret in a file.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(file: &Path) -> Result<Secret, SecretError> {
        let path = file.display().to_string();
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        read.map_err(|source| SecretError::Unreadable {
            path: path.clone(),
            source,
        })?;
        Secret::of(text.trim()).ok_or(SecretError::Form { path })
    }

    fn of(text: &str) -> Option<Secret> {
        let bytes = BASE64.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok()?;
        let good = SECRET_BYTES.contains(&bytes.len());
        good.then(|| Secret(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The signature of a message at a time, in seconds since 1970.
    pub(super) fn sign(&self, message: &Message, timestamp: u64) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{}.{timestamp}.", message.id).as_bytes());
        context.update(message.body.as_bytes());
        format!("v1,{}", BASE64.encode(context.sign()))
    }
}

/// A message.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
}

impl Message {
    /// An event of a project.
    pub(super) fn of(event: &WireEvent, project: &str) -> Message {
        let mut data = serde_json::to_value(event).expect("an event is always JSON");
        data["project"] = project.into();
        let at = UNIX_EPOCH + Duration::from_millis(event.wall_ms);
        let body = json!({ "type": event.what.type_name(), "timestamp": rfc3339(at), "data": data });
        Message {
            id: format!("evt-{}", place(event.cursor)),
            body: body.to_string(),
        }
    }

    /// That events between two places were not kept.
    pub(super) fn lost(after: Option<EventCursor>, resumed: EventCursor, project: &str) -> Message {
        let data: Value = json!({ "after": after, "resumed": resumed, "project": project });
        let body = json!({ "type": LOST, "timestamp": rfc3339(std::time::SystemTime::now()), "data": data });
        Message {
            id: format!("gap-{}", place(resumed)),
            body: body.to_string(),
        }
    }
}

/// A cursor without a point, which ends an id in what is signed.
fn place(cursor: EventCursor) -> String {
    cursor.to_string().replace('.', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // printf 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}' | openssl dgst -sha256 -mac hmac
        // -macopt hexkey:$(printf MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | xxd -p -c 99) -binary | base64
        let secret = Secret::of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            body: r#"{"test": 2432232314}"#.to_owned(),
        };
        let signature = secret.sign(&message, 1_614_265_330);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_the_length_that_the_standard_wants() {
        let of = |bytes: usize| Secret::of(&BASE64.encode(vec![7; bytes])).is_some();
        assert_eq!([23, 24, 64, 65].map(of), [false, true, true, false]);
        assert!(Secret::of("whsec_not Base64").is_none() && Secret::of("").is_none());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "whsec_hidden").unwrap();
        let problem = Secret::read(&file).err().unwrap().to_string();
        assert!(
            problem.contains("has no secret (expected whsec_ and the Base64 of 24 to 64 bytes)"),
            "{problem}"
        );
        assert!(!problem.contains("hidden"), "{problem}");
        std::fs::write(&file, format!("{PREFIX}{}\n", BASE64.encode([7; 32]))).unwrap();
        assert!(Secret::read(&file).is_ok());
    }
}
