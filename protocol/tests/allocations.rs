//! How often the pure parts ask for memory, and for how much: compared with what is kept in `bench/results`. Counts are the
//! same on each run and on each machine with pointers of 64 bits, so a gate can hold where time is noise.

#[path = "../benches/alone/mod.rs"]
mod alone;
#[path = "../benches/operations/mod.rs"]
mod operations;

use std::collections::BTreeMap;

use allocation_counter::measure;
use serde::{Deserialize, Serialize};

use self::operations::{OPERATIONS, TIMES};

/// What is kept, from the folder of this crate.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/results/allocations.json");
/// By how many parts of a hundred a count may be over what is kept.
const OVER_PERCENT: f64 = 10.0;
/// Says that what is counted is to be kept from now on.
const RECORD: &str = "QUEENRIGHT_RECORD";

/// Per operation, on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    allocations: f64,
    bytes: f64,
}

fn count(prepare: fn() -> operations::Ready) -> Counts {
    let mut ready = prepare();
    let counted = measure(|| (0..TIMES).for_each(&mut ready));
    // Without this, what was prepared could be freed, and so counted, in between.
    drop(ready);
    let each = |count: u64| (count as f64 / TIMES as f64 * 100.0).round() / 100.0;
    Counts {
        allocations: each(counted.count_total),
        bytes: each(counted.bytes_total),
    }
}

/// What is over, in words.
fn over(name: &str, what: &str, found: f64, kept: f64) -> Option<String> {
    let most = kept * (1.0 + OVER_PERCENT / 100.0);
    (found > most).then(|| format!("{name}: {what} = {found} is over {most:.2}, which is {OVER_PERCENT} % over {kept}"))
}

#[test]
#[cfg(target_pointer_width = "64")]
fn no_operation_allocates_a_tenth_more_than_it_did() {
    let found: BTreeMap<&str, Counts> = OPERATIONS
        .iter()
        .map(|operation| (operation.name, count(operation.prepare)))
        .collect();
    if std::env::var_os(RECORD).is_some() {
        let text = serde_json::to_string_pretty(&found).expect("names and numbers") + "\n";
        std::fs::write(KEPT, text).expect("the file can be written");
    }
    let kept = std::fs::read_to_string(KEPT).unwrap_or_else(|error| panic!("{KEPT}: {error}; {RECORD}=1 makes it"));
    let kept: BTreeMap<String, Counts> = serde_json::from_str(&kept).expect("it holds counts by operation");
    let names: Vec<&str> = kept.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        found.keys().copied().collect::<Vec<_>>(),
        "{RECORD}=1 keeps other operations"
    );
    let mut all = Vec::new();
    for (name, found) in &found {
        let kept = kept[*name];
        all.extend(over(name, "allocations", found.allocations, kept.allocations));
        all.extend(over(name, "bytes", found.bytes, kept.bytes));
    }
    assert!(
        all.is_empty(),
        "{}\n{RECORD}=1 keeps these counts, if they are meant",
        all.join("\n")
    );
}

#[test]
fn a_count_is_over_from_a_tenth_on() {
    assert_eq!(over("x", "bytes", 110.0, 100.0), None);
    assert!(over("x", "bytes", 110.2, 100.0).is_some_and(|text| text.starts_with("x: bytes = 110.2 is over 110.00")));
    assert_eq!(over("x", "bytes", 0.0, 0.0), None);
    assert!(over("x", "bytes", 0.01, 0.0).is_some());
}

#[test]
fn counting_the_same_twice_gives_the_same() {
    for operation in OPERATIONS {
        assert_eq!(count(operation.prepare), count(operation.prepare), "{}", operation.name);
    }
}
