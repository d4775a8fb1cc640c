//! B7, pack conflicts: the original's list of packs, its rules and a sensible one, each against a pairwise oracle.

use serde_json::json;

use super::packs::{Prefixes, Rule, by_keys, packs, pairs_by_keys, pairwise, sensible, sensible_pairwise};
use crate::report::{Report, Row};
use crate::timing::Timing;
use crate::{BenchError, Options, claims};

/// The id of the workload.
pub const ID: &str = "B7";
/// What the workload is about.
pub const TITLE: &str = "pack conflicts by hash";

const SIZES: [usize; 4] = [5, 10, 20, 50];

/// Finds the conflicts of 5, 10, 20 and 50 packs, compares them with the oracles and times both.
///
/// # Errors
/// [`BenchError::Mismatch`] if a list of pairs differs from its oracle.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = Vec::new();
    for count in SIZES {
        original_rules(count, options.repeats, &mut rows)?;
        sensible_rule(count, &mut rows)?;
    }
    Ok(Report {
        config: json!({
            "packs": SIZES,
            "repeats": options.repeats,
            "linear": "namespaces are keys of conflict::detect; each ~ meets the prefix of the ^ before it",
            "keys alone": "the version rule as reads and writes of n log n block keys, all by conflict::detect",
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

fn original_rules(count: usize, repeats: u32, rows: &mut Vec<Row>) -> Result<(), BenchError> {
    let packs = packs(count, [1, 0, 0]);
    let expected = pairwise(&packs);
    let of = |rule| expected.iter().filter(|pair| pair.2 == rule).count() as u64;
    let (versions, namespaces) = Prefixes::of(&packs).count();
    BenchError::unless_equal(
        ID,
        format!("pairs of {count} packs"),
        &Prefixes::of(&packs).pairs(),
        &expected,
    )?;
    BenchError::unless_equal(
        ID,
        format!("pairs of {count} packs by keys"),
        &pairs_by_keys(&by_keys(&packs)),
        &expected,
    )?;
    let counts = (of(Rule::Version), of(Rule::Namespace));
    BenchError::unless_equal(ID, format!("counts of {count} packs"), (versions, namespaces), counts)?;

    let total = (versions + namespaces) as f64;
    rows.push(
        Row::new(format!("{count} packs, original's rules: conflicts"), total, "pairs", 1).note(format!(
            "{versions} of version + {namespaces} of namespace, each pair equal to the oracle's"
        )),
    );
    let linear = Timing::of(repeats, 1, || Prefixes::of(&packs).count());
    let by_keys = Timing::of(repeats, 1, || pairs_of(&packs));
    let compared = Timing::of(repeats, 1, || pairwise(&packs).len());
    for (name, timing) in [
        ("linear", linear),
        ("keys alone", by_keys),
        ("pairwise oracle", compared),
    ] {
        let row = timing.row(format!("{count} packs, original's rules: {name}"), "µs", 1e3);
        rows.push(row.at("what", "original's rules").at("packs", count).at("way", name));
    }
    Ok(())
}

fn pairs_of(packs: &[super::packs::Pack]) -> u64 {
    queenright_protocol::conflict::detect(&by_keys(packs)).counts().total()
}

fn sensible_rule(count: usize, rows: &mut Vec<Row>) -> Result<(), BenchError> {
    for odd in [[1, 0, 0], [2, 0, 0]] {
        let packs = packs(count, odd);
        let found = sensible(&packs);
        BenchError::unless_equal(
            ID,
            format!("sensible pairs of {count} packs"),
            &found,
            &sensible_pairwise(&packs),
        )?;
        let [major, minor, patch] = odd;
        let name = format!("{count} packs, sensible rule, ^1.0.0 and ~{major}.{minor}.{patch}: conflicts");
        rows.push(Row::new(name, found.len() as f64, "pairs", 1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::original_rules;

    #[test]
    fn the_originals_rules_have_the_known_counts() {
        for (packs, versions, namespaces) in [(5, 3, 2), (10, 15, 12), (20, 55, 57), (50, 325, 392)] {
            let mut rows = Vec::new();
            original_rules(packs, 1, &mut rows).unwrap();
            assert_eq!(rows[0].value, f64::from(versions + namespaces));
            let note = rows[0].note.as_deref().unwrap();
            assert!(
                note.starts_with(&format!("{versions} of version + {namespaces} of namespace")),
                "{note}"
            );
        }
    }
}
