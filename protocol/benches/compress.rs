//! What compressing a body costs and saves: of text as values have it, and of bytes in which nothing repeats. Prints, for each
//! size, the share that is left, and megabytes of the body a second that one core compresses, decompresses, and copies.

use std::hint::black_box;
use std::time::{Duration, Instant};

use queenright_protocol::wire::{compress, decompress};

/// How long each figure is measured.
const FOR: Duration = Duration::from_millis(500);

fn text(bytes: usize) -> Vec<u8> {
    let line = |at: usize| {
        format!(
            "{{\"task\":\"task-{at}\",\"state\":\"{}\",\"attempt\":{},\"note\":\"{:x}\"}}\n",
            ["ready", "leased", "done"][at % 3],
            at % 7,
            at.wrapping_mul(0x9e37_79b9)
        )
    };
    let mut text: Vec<u8> = (0..).flat_map(|at| line(at).into_bytes()).take(bytes).collect();
    text.shrink_to_fit();
    text
}

fn noise(bytes: usize) -> Vec<u8> {
    let words = (0u64..).flat_map(|at| {
        let mut word = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.take(bytes).collect()
}

/// Megabytes a second, where each call takes `bytes`.
fn rate(bytes: usize, mut call: impl FnMut()) -> f64 {
    let (started, mut calls) = (Instant::now(), 0u64);
    while started.elapsed() < FOR {
        call();
        calls += 1;
    }
    bytes as f64 * calls as f64 / started.elapsed().as_secs_f64() / 1e6
}

fn main() {
    println!("body    bytes    left  compress  decompress  copy (MB/s)");
    for (name, make) in [("text", text as fn(usize) -> Vec<u8>), ("noise", noise)] {
        for bytes in [2 << 10, 16 << 10, 256 << 10] {
            let body = make(bytes);
            let compressed = compress(&body);
            let left = compressed
                .as_ref()
                .map_or(1.0, |compressed| compressed.len() as f64 / bytes as f64);
            let shrink = rate(bytes, || drop(black_box(compress(black_box(&body)))));
            let grow = compressed
                .as_ref()
                .map(|compressed| rate(bytes, || drop(black_box(decompress(black_box(compressed))))));
            let copy = rate(bytes, || drop(black_box(black_box(&body).clone())));
            let grow = grow.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
            println!("{name:<6} {bytes:>6}  {left:>6.2}  {shrink:>8.0}  {grow:>10}  {copy:>5.0}");
        }
    }
}
