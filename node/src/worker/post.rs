//! A task that is posted to whoever works on it, by HTTP, and ends with the answer.
//!
//! | header | what it says |
//! |---|---|
//! | `Queenright-Project`, `-Task`, `-Attempt`, `-Fence` | what is to be done; the body says it too |
//! | `Idempotency-Key` | the same for each try of one attempt, and for no other |
//! | `Queenright-Timestamp` | the seconds since 1970, at this try |
//! | `Queenright-Signature` | `v1=` and the HMAC-SHA256 of the timestamp, a point and the body, in hexadecimal; without a secret it is absent |
//!
//! | answer | what follows |
//! |---|---|
//! | 2xx | the task is done; the body is its result, JSON or else text, up to [`STDOUT_BYTES_MAX`]; its `usage` counts |
//! | 408, 425, 429, 5xx, none | another try after a pause, the longer one of its own and of `Retry-After`, while there is one and the time is not up |
//! | any other | the task has failed for good |

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use queenright_actors::process::{Head, Tail};
use queenright_actors::tls::{self, TlsError};
use queenright_bench::client::wire::{WireEnding, WireFailure};
use queenright_protocol::colony::TASK_REASON_BYTES_MAX;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::Plan;
use super::doors::jittered;
use super::envelope::{STDOUT_BYTES_MAX, json_bytes, log_within};
use super::hold::{Ending, Held};
use super::usage::spent;

/// The pause before the second try, and the longest one; it doubles with each.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much is read of the body of an answer that is no result, in bytes, and one piece of it more.
const REFUSAL_BYTES_MAX: usize = 4 << 10;
/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4 << 10;

/// Where tasks are posted, and how.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where.
    pub url: Url,
    /// How long an answer may take, with all tries.
    pub deadline: Duration,
    /// How many tries there are after the first.
    pub retries: u32,
    /// The file with the secret that signs; not signed without one.
    pub secret_file: Option<PathBuf>,
    /// The file with the authorities that are trusted; those of the system without one.
    pub ca_file: Option<PathBuf>,
    ready: Option<Arc<Ready>>,
}

/// What is read from files, once.
#[derive(Debug)]
struct Ready {
    client: reqwest::Client,
    secret: Option<hmac::Key>,
}

/// Why nothing can be posted.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The secret cannot be read.
    #[error("secret_file: cannot read {path}")]
    Secret {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The secret has no length that a secret has. Its text is shown nowhere.
    #[error("secret_file: {path} has {bytes} B, a secret has 1 to {SECRET_BYTES_MAX}")]
    SecretLength {
        /// The file.
        path: String,
        /// Its length, without line breaks at its end.
        bytes: usize,
    },
    /// What is to be trusted cannot be read.
    #[error("ca_file")]
    Authority(#[from] TlsError),
    /// What the system trusts cannot be read.
    #[error("the authorities of this system cannot be read")]
    System(#[source] rustls::Error),
    /// No client can be made.
    #[error("no request can be sent")]
    Client(#[source] reqwest::Error),
}

/// What came of one try.
struct Tried {
    /// What the status means for the task; none if it may be tried again.
    verdict: Option<WireEnding>,
    status: Option<u16>,
    /// The class of the error, and the error in words.
    error: Option<(&'static str, String)>,
    result: Value,
    /// The body of an answer that is no result, as far as it was read.
    log: Tail,
    /// For how long whoever answered wants to be left alone.
    pause: Duration,
}

/// The result of a task that was posted.
#[derive(Debug, Serialize)]
struct Envelope {
    /// The status of the last answer; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The body, of a task that is done: JSON, or else text.
    #[serde(skip_serializing_if = "Value::is_null")]
    result: Value,
    /// The beginning of the body, of one that is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    log: String,
    /// How often it was posted.
    tries: u32,
    ran_ms: u64,
}

impl Post {
    /// Posts to this place: for how long, and how often again. Nothing is read yet.
    pub fn new(
        url: Url,
        (deadline, retries): (Duration, u32),
        secret_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
    ) -> Post {
        Post {
            url,
            deadline,
            retries,
            secret_file,
            ca_file,
            ready: None,
        }
    }

    /// Reads what stands in files. Blocks.
    ///
    /// # Errors
    /// [`PostError`].
    pub fn open(&mut self) -> Result<(), PostError> {
        let secret = self.secret_file.as_deref().map(secret).transpose()?;
        let client = http_client(&self.url, self.ca_file.as_deref())?;
        self.ready = Some(Arc::new(Ready { client, secret }));
        Ok(())
    }

    /// Posts a task until there is an answer for good, or no try is left. Dropping this ends the request.
    pub(super) async fn answer(&self, held: &Held, plan: &Plan) -> (Ending, Duration) {
        let ready = self.ready.as_ref().expect("it is opened before the worker starts");
        let started = Instant::now();
        let deadline = started + self.deadline;
        let body = held.envelope(&plan.project).to_string();
        let headers = headers(held, &plan.project);
        let mut pause = BACK_OFF.0;
        let mut tries = 0;
        loop {
            tries += 1;
            let tried = timeout_at(deadline, ready.try_once(&self.url, headers.clone(), &body)).await;
            let tried = tried.unwrap_or_else(|_| {
                let seconds = self.deadline.as_secs_f64();
                Tried::none("timeout", format!("its time was up after {seconds:.1} s"))
            });
            let wake = Instant::now() + jittered(pause).max(tried.pause);
            if tried.verdict.is_some() || tries > self.retries || wake >= deadline {
                let ran = started.elapsed();
                return (tried.ending(plan.retry, tries, ran), ran);
            }
            sleep_until(wake).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }
}

impl Ready {
    async fn try_once(&self, url: &Url, mut headers: HeaderMap, body: &str) -> Tried {
        if let Some(secret) = &self.secret {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            headers.insert("queenright-timestamp", now.into());
            let signature = signature(secret, now, body.as_bytes());
            headers.insert("queenright-signature", value(&signature));
        }
        let request = self.client.post(url.clone()).headers(headers).body(body.to_owned());
        match request.send().await {
            Ok(response) => Tried::read(response).await,
            Err(error) => Tried::none("connect", with_causes(&error)),
        }
    }
}

impl Tried {
    fn none(class: &'static str, error: String) -> Tried {
        Tried {
            verdict: None,
            status: None,
            error: Some((class, error)),
            result: Value::Null,
            log: Tail::new(REFUSAL_BYTES_MAX),
            pause: Duration::ZERO,
        }
    }

    async fn read(mut response: Response) -> Tried {
        let status = response.status();
        let pause = retry_after(response.headers());
        let mut tried = Tried {
            status: Some(status.as_u16()),
            pause,
            ..Tried::none("status", format!("status {status}"))
        };
        let mut body = Head::new(STDOUT_BYTES_MAX);
        let mut refusal_bytes = 0;
        // Nobody needs the rest of what is too long.
        while !body.is_cut() && refusal_bytes < REFUSAL_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(piece)) if status.is_success() => body.take(&piece),
                Ok(Some(piece)) => {
                    refusal_bytes += piece.len();
                    tried.log.take(&piece);
                }
                Ok(None) => break,
                Err(error) if status.is_success() => {
                    tried.error = Some(("connect", with_causes(&error)));
                    return tried;
                }
                // The status says enough.
                Err(_) => break,
            }
        }
        if status.is_success() {
            match body.value().filter(|value| json_bytes(value) <= STDOUT_BYTES_MAX) {
                Some(result) => {
                    (tried.verdict, tried.error, tried.result) = (Some(WireEnding::Done), None, result);
                }
                None => {
                    let problem = format!("the answer is over the limit of {STDOUT_BYTES_MAX} B");
                    (tried.verdict, tried.error) = (Some(WireEnding::Failed), Some(("output", problem)));
                }
            }
        } else if !is_temporary(status) {
            tried.verdict = Some(WireEnding::Failed);
        }
        tried
    }

    /// How the attempt ends.
    fn ending(self, retry: bool, tries: u32, ran: Duration) -> Ending {
        let outcome = self.verdict.unwrap_or(WireEnding::Failed);
        let failure = self.error.as_ref().map(|(class, error)| {
            let mut message = error.clone();
            message.truncate(message.floor_char_boundary(TASK_REASON_BYTES_MAX));
            WireFailure {
                // What was refused for good would be again.
                retryable: retry && self.verdict.is_none(),
                class: Some((*class).into()),
                message: message.replace(char::is_control, " ").into(),
            }
        });
        let usage = spent(&self.result);
        let envelope = Envelope {
            status: self.status,
            error: self.error.map(|(_, error)| error),
            result: self.result,
            log: log_within(&self.log, 2 * REFUSAL_BYTES_MAX),
            tries,
            ran_ms: ran.as_millis() as u64,
        };
        Ending {
            outcome,
            result: serde_json::to_value(envelope).expect("an envelope is always JSON"),
            failure,
            usage,
            ..Ending::default()
        }
    }
}

/// A client that posts there: what it trusts stands in a file, or is what the system trusts. Blocks.
///
/// # Errors
/// [`PostError`].
pub(crate) fn http_client(url: &Url, ca_file: Option<&Path>) -> Result<reqwest::Client, PostError> {
    let tls = match ca_file {
        Some(file) => tls::client_config(file)?,
        None => trusts(url.scheme() == "https").map_err(PostError::System)?,
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // What is posted goes where it is said, whatever the environment of the node says.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(PostError::Client)
}

/// What says which attempt it is.
fn headers(held: &Held, project: &str) -> HeaderMap {
    let task = &held.task;
    let (id, attempt, fence) = (held.id().to_string(), task.attempt, task.fence);
    let key = format!("{id}-{attempt}-{fence}");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("queenright-project", value(project));
    headers.insert("queenright-task", value(&id));
    headers.insert("queenright-attempt", attempt.into());
    headers.insert("queenright-fence", fence.into());
    headers.insert("idempotency-key", value(&key));
    headers
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).expect("names have no control characters")
}

/// The signature of a body at a time.
fn signature(secret: &hmac::Key, timestamp: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(secret);
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut text = "v1=".to_owned();
    for byte in context.sign().as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The secret in a file, without line breaks at its end.
fn secret(file: &Path) -> Result<hmac::Key, PostError> {
    let path = file.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(2 * SECRET_BYTES_MAX as u64).read_to_end(&mut bytes));
    read.map_err(|source| PostError::Secret {
        path: path.clone(),
        source,
    })?;
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    bytes.truncate(end.map_or(0, |end| end + 1));
    match bytes.len() {
        1..=SECRET_BYTES_MAX => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        bytes => Err(PostError::SecretLength { path, bytes }),
    }
}

/// What is trusted: the authorities of the system, or nobody, where there is no TLS.
pub(crate) fn trusts(system: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(match system {
        true => builder.with_platform_verifier()?.with_no_client_auth(),
        false => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    })
}

/// Whether the same may be answered otherwise later.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// `Retry-After` in seconds; a date is not understood.
pub(crate) fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(Duration::ZERO, |seconds: u32| Duration::from_secs(seconds.into()))
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_timestamp_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert_eq!(
            signature(&key, 1_700_000_000, b"{}"),
            "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }

    #[test]
    fn a_secret_is_read_without_its_line_break_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            secret(&file)
        };
        let signed = |key: &hmac::Key| signature(key, 1, b"x");
        let plain = hmac::Key::new(hmac::HMAC_SHA256, b"hidden");
        assert_eq!(signed(&read(b"hidden\r\n").unwrap()), signed(&plain));
        let problem = read(b"\n").unwrap_err().to_string();
        assert!(problem.ends_with("has 0 B, a secret has 1 to 4096"), "{problem}");
        let problem = read(&[b'x'; 5_000]).unwrap_err().to_string();
        assert!(problem.contains("has 5000 B") && !problem.contains("xx"), "{problem}");
        let problem = secret(&folder.path().join("none")).unwrap_err().to_string();
        assert!(problem.starts_with("secret_file: cannot read"), "{problem}");
    }

    #[test]
    fn what_was_refused_for_good_is_not_tried_again() {
        let ending = |verdict, retry| {
            let tried = Tried {
                verdict,
                status: Some(422),
                ..Tried::none("status", "status 422".to_owned())
            };
            tried.ending(retry, 2, Duration::from_millis(1_500))
        };
        let refused = ending(Some(WireEnding::Failed), true);
        assert!(!refused.failure.unwrap().retryable);
        let expected = json!({"status": 422, "error": "status 422", "tries": 2, "ran_ms": 1_500});
        assert_eq!(refused.result, expected);
        assert!(ending(None, true).failure.unwrap().retryable);
        assert!(!ending(None, false).failure.unwrap().retryable);
    }
}
