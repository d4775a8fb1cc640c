//! The msgpack of the envelopes' bodies.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of a body.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(rmp_serde::to_vec(value).expect("plain data serialises into memory"))
}

/// What the bytes of a body say.
///
/// # Errors
/// When they are not a body of this kind.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}
