//! What certificates say.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queenright_actors::tls::{AUTHORITY_FILE, certificate_file};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::CertificateError;
use crate::wall_time::rfc3339;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Whose: `authority`, or the name of a node.
    pub of: String,
    /// The names and addresses that it is for; none for an authority.
    pub names: Vec<String>,
    /// When it ends: RFC 3339 in UTC.
    pub expires_at: String,
    /// In how many days that is; negative if it has ended.
    pub expires_days: i64,
    /// The SHA-256 of the certificate.
    pub fingerprint: String,
    /// The file.
    pub file: String,
}

/// The certificates of a folder: those of the authority, and of these nodes.
///
/// # Errors
/// When one is not there, or is none.
pub fn show<'n>(folder: &Path, nodes: impl IntoIterator<Item = &'n str>) -> Result<Vec<Shown>, CertificateError> {
    let mut shown = of_file("authority", &folder.join(AUTHORITY_FILE))?;
    for node in nodes {
        let mut found = of_file(node, &folder.join(certificate_file(node)))?;
        // What follows leads to the authority.
        found.truncate(1);
        shown.append(&mut found);
    }
    Ok(shown)
}

fn of_file(of: &str, path: &Path) -> Result<Vec<Shown>, CertificateError> {
    let malformed = |problem: String| CertificateError::Malformed {
        path: path.to_path_buf(),
        problem,
    };
    let pem = fs::read(path).map_err(|source| CertificateError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    let mut shown = Vec::new();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|error| malformed(format!("not PEM: {error}")))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|error| malformed(format!("not a certificate: {error}")))?;
        let ends_s = certificate.validity().not_after.timestamp();
        shown.push(Shown {
            of: of.to_owned(),
            names: names(&certificate),
            expires_at: rfc3339(UNIX_EPOCH + Duration::from_secs(ends_s.max(0).unsigned_abs())),
            expires_days: days_until(ends_s),
            fingerprint: fingerprint(&der),
            file: path.display().to_string(),
        });
    }
    match shown.is_empty() {
        true => Err(malformed("has no certificate in PEM form".to_owned())),
        false => Ok(shown),
    }
}

fn days_until(ends_s: i64) -> i64 {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    ends_s.saturating_sub_unsigned(now_s).div_euclid(86_400)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let found = certificate.subject_alternative_name().ok().flatten();
    let names = found.iter().flat_map(|extension| &extension.value.general_names);
    names
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => address(bytes),
            other => other.to_string(),
        })
        .collect()
}

fn address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(v4).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(v6) => Ipv6Addr::from(v6).to_string(),
        Err(_) => format!("an address of {} B", bytes.len()),
    }
}

/// As `openssl x509 -fingerprint -sha256` shows it.
fn fingerprint(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
