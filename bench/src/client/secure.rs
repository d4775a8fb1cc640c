//! What a client trusts, and what it shows.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, LazyLock};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;
use super::request::unsendable;

/// A token for doors, as it is shown to them. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Bearer(HeaderValue);

impl Bearer {
    /// The token with this secret.
    ///
    /// # Errors
    /// [`ClientError::Unsendable`] when no header can carry it; it is not shown.
    pub fn new(secret: &str) -> Result<Bearer, ClientError> {
        let refuse = |problem: &str| unsendable("the token for the door", problem);
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("is empty or has characters that no token has"));
        }
        let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| refuse("fits no header"))?;
        value.set_sensitive(true);
        Ok(Bearer(value))
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(hidden)")
    }
}

/// What every request carries.
pub(super) fn headers(bearer: Option<&Bearer>) -> HeaderMap {
    bearer
        .map(|Bearer(value)| (AUTHORIZATION, value.clone()))
        .into_iter()
        .collect()
}

/// For doors without TLS: the client wants to be told something.
pub(super) fn trusts_nobody() -> ClientConfig {
    static NOBODY: LazyLock<ClientConfig> = LazyLock::new(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for the default versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    });
    NOBODY.clone()
}

/// What TLS says in an error of the connection, if that is what failed.
pub(super) fn problem_of_tls(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(problem) = carried(error) {
            return Some(problem.to_string());
        }
        cause = error.source();
    }
    None
}

/// The error of TLS that this one is or carries. The source of an I/O error is that of what it carries, so that is looked
/// at by itself; it may carry another one.
fn carried<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref().and_then(|inner| carried(inner)),
        None => error.downcast_ref(),
    }
}
