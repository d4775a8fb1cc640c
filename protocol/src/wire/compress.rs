//! Bodies that are compressed on their way between two neighbours: the size of the body (4 bytes, big-endian), and the body in
//! the block format of lz4.

use bytes::Bytes;

use super::{ENVELOPE_BYTES_MAX, WireError};

/// Bodies of more bytes than this may be compressed: smaller ones share a frame, and what they save is small.
pub const COMPRESSED_FROM_BYTES: usize = 1024;

/// How many bytes a byte of an lz4 block can stand for at most: whoever claims more lies.
const RATIO_MAX: usize = 255;

/// The bytes of the size.
const SIZE_BYTES: usize = 4;

/// How an envelope stands in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    #[default]
    Plain,
    /// With a compressed body.
    Compressed,
}

/// Compresses a body. None unless that saves a tenth of it.
pub fn compress(body: &[u8]) -> Option<Bytes> {
    let size = u32::try_from(body.len()).ok()?;
    let most = body.len() - body.len() / 10;
    let mut compressed = vec![0; SIZE_BYTES + lz4_flex::block::get_maximum_output_size(body.len())];
    compressed[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
    let block = lz4_flex::block::compress_into(body, &mut compressed[SIZE_BYTES..]).ok()?;
    compressed.truncate(SIZE_BYTES + block);
    // It may wait: what it does not need goes back.
    compressed.shrink_to_fit();
    (compressed.len() <= most).then(|| Bytes::from(compressed))
}

/// The body that was compressed.
///
/// # Errors
/// [`WireError`] where the bytes are no compressed body, or it would be larger than any may be. Nothing is reserved for one
/// that cannot be as large as it claims.
pub fn decompress(compressed: &[u8]) -> Result<Bytes, WireError> {
    const MALFORMED: WireError = WireError::Malformed {
        field: "compressed body",
    };
    let (size, block) = compressed.split_first_chunk::<SIZE_BYTES>().ok_or(MALFORMED)?;
    let size = u32::from_be_bytes(*size) as usize;
    if size > ENVELOPE_BYTES_MAX {
        return Err(WireError::EnvelopeTooLarge { bytes: size });
    }
    if size > block.len().saturating_mul(RATIO_MAX) {
        return Err(MALFORMED);
    }
    let mut body = vec![0; size];
    match lz4_flex::block::decompress_into(block, &mut body) {
        Ok(bytes) if bytes == size => Ok(Bytes::from(body)),
        _ => Err(MALFORMED),
    }
}
