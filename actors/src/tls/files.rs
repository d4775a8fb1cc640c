//! The files of certificates: reading them, and seeing that they have changed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Largest file that is read. A certificate takes about 1 KiB; this only keeps a file given by mistake from being read
/// whole.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// By which a change of files is seen: inode, length and time of each.
pub(super) type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

pub(super) fn stamps(paths: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

/// All certificates of a file, in its order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(found) if found.is_empty() => Err(malformed(path, "has no certificate in PEM form".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(malformed(path, format!("not PEM: {error}"))),
    }
}

/// The one private key of a file. What is wrong is said without a word of the key.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| malformed(path, "has no private key in PEM form".to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(unreadable)?;
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(malformed(path, format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn malformed(path: &Path, problem: String) -> TlsError {
    TlsError::Malformed {
        path: path.to_owned(),
        problem,
    }
}
