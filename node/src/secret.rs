//! The secrets of tokens: made here, shown once, kept by their hash.

use std::io;

use queenright_protocol::colony::SecretHash;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a secret begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "qr_";
/// How many random bytes follow, in hexadecimal.
const BYTES: usize = 32;

/// A new secret.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new() -> io::Result<String> {
    Ok(format!("{PREFIX}{}", random_hex::<BYTES>()?))
}

/// By which a secret is kept: SHA-256. The secrets are random and long, so nothing slower is needed.
pub fn hash(secret: &str) -> SecretHash {
    SecretHash(Sha256::digest(secret.as_bytes()).into())
}

/// Whether two are the same; takes as long whether they are or not.
pub fn is_same(a: &SecretHash, b: &SecretHash) -> bool {
    a.0.ct_eq(&b.0).into()
}

/// Whether this could be a secret as they are made here.
pub fn has_form(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .is_some_and(|hex| hex.len() == 2 * BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(crate) fn random_hex<const COUNT: usize>() -> io::Result<String> {
    let mut bytes = [0; COUNT];
    OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_known_by_their_hash() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert!(has_form(&one) && has_form(&other));
        assert!(is_same(&hash(&one), &hash(&one)));
        assert!(!is_same(&hash(&one), &hash(&other)));
        // The first test vector of FIPS 180-4.
        let abc: String = hash("abc").0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(abc, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
