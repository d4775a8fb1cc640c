//! The digest by which replicas are compared: the sum, modulo 2^128, of a 128-bit BLAKE3 of each record's canonical
//! bytes. A sum is kept up by each change (subtract the old, add the new) and does not depend on any order.

use std::fmt;

use bincode::Options;
use serde::{Deserialize, Serialize};

/// A sum of record hashes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// The hash of one record: BLAKE3 of a kind byte and the record's bincode, cut to 128 bits.
    pub(crate) fn of(kind: u8, record: &impl Serialize) -> Digest {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(kind);
        bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .serialize_into(&mut bytes, record)
            .expect("plain data serialises into memory");
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        Digest(u128::from_le_bytes(half))
    }

    pub(crate) fn add(&mut self, other: Digest) {
        self.0 = self.0.wrapping_add(other.0);
    }

    pub(crate) fn subtract(&mut self, other: Digest) {
        self.0 = self.0.wrapping_sub(other.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
