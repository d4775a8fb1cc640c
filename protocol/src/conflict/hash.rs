//! A hash of keys that is the same on every node and in every run.

/// Constants with about half of their bits set: the fractions of √2, √3 and √5.
const SEED: u64 = 0x6a09_e667_f3bc_c909;
const CHUNK: u64 = 0xbb67_ae85_84ca_a73b;
const FINISH: u64 = 0x3c6e_f372_fe94_f82b;

/// A 64-bit hash of `key`: 8 bytes at a time are folded in through a 64 × 64 → 128-bit multiplication, as wyhash does.
///
/// It is fast and spreads well but keeps nobody from choosing keys that collide. Whoever uses it bounds its own work
/// and confirms each hit by the key.
pub(super) fn key_hash(key: &[u8]) -> u64 {
    // Multiplied, so that one more byte and one other bit never cancel out.
    let mut state = SEED ^ (key.len() as u64).wrapping_mul(FINISH);
    let (chunks, rest) = key.as_chunks::<8>();
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), CHUNK);
    }
    if !rest.is_empty() {
        // The last 8 bytes again where there are 8; they overlap bytes already taken in, which does no harm.
        let last = match key.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        state = fold(state ^ last, CHUNK);
    }
    fold(state ^ SEED, FINISH)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::key_hash;

    #[test]
    fn every_byte_and_the_length_count() {
        let mut seen = BTreeSet::new();
        let mut keys = 0;
        for length in 0..40 {
            let zeros = vec![0u8; length];
            assert!(seen.insert(key_hash(&zeros)), "length {length}");
            keys += 1;
            for position in 0..length {
                for byte in [1, 0x80, 0xff] {
                    let mut key = zeros.clone();
                    key[position] = byte;
                    seen.insert(key_hash(&key));
                    keys += 1;
                }
            }
        }
        assert_eq!(seen.len(), keys);
    }

    #[test]
    fn numbered_keys_spread_evenly_over_high_and_low_bits() {
        let (mut high, mut low) = ([0u32; 256], [0u32; 256]);
        for number in 0..65_536 {
            let hash = key_hash(format!("resource-{number}").as_bytes());
            high[(hash >> 56) as usize] += 1;
            low[(hash & 255) as usize] += 1;
        }
        // 256 expected in each of 256 cells, standard deviation 16.
        for count in high.into_iter().chain(low) {
            assert!((160..=352).contains(&count), "{count}");
        }
    }
}
