//! A snapshot of 1 GiB goes to a node that joins: `cargo test -p queenright --test large_snapshot -- --nocapture`. Takes
//! some minutes, 5 GiB of memory and 8 GiB of disk.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
mod slow_snapshot;

use std::time::Duration;

use crate::slow_snapshot::{Comer, Sending, check};

#[test]
fn a_gibibyte_goes_to_a_node_that_joins_and_nobody_is_elected() {
    let seen = check(&Sending {
        name: "large-snapshot",
        to: Comer::IsNew,
        values: 256,
        value_bytes: 4 << 20,
        bytes_per_s: 64 << 20,
        within: Duration::from_secs(600),
    });
    println!(
        "{} B took {:?}; {} puts meanwhile, the slowest took {:?}",
        seen.snapshot_bytes, seen.took, seen.puts, seen.slowest_put
    );
    assert!(seen.snapshot_bytes > 1 << 30, "{seen:?}");
    assert!(seen.puts > 10, "{seen:?}");
}
