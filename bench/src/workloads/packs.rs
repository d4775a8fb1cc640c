//! The packs of B7 and their rules of conflict: the original's, and a sensible one. Only oracles and measurements use
//! them; the product knows keys and proposals.

use std::collections::BTreeSet;

use queenright_protocol::conflict::{Batch, Kind, Operation, WriteClass, detect};

/// A pack as B7 makes it.
#[derive(Clone, Debug)]
pub(super) struct Pack {
    name: String,
    requirement: Requirement,
    /// The requirement as the original's rule reads it: as text.
    version: String,
    namespace: String,
}

/// Pack i of `count`: name `pack-⌊i/2⌋`, `^1.0.0` if i is even and `~<odd>` if not, namespace `ns-(i mod 3)`.
/// The workload has 1.0.0 for `odd`.
pub(super) fn packs(count: usize, odd: [u32; 3]) -> Vec<Pack> {
    let pack = |i: usize| {
        let requirement = if i.is_multiple_of(2) {
            Requirement::Caret([1, 0, 0])
        } else {
            Requirement::Tilde(odd)
        };
        Pack {
            name: format!("pack-{}", i / 2),
            requirement,
            version: requirement.to_string(),
            namespace: format!("ns-{}", i % 3),
        }
    };
    (0..count).map(pack).collect()
}

/// A pair of packs and the rule that they break.
pub(super) type Pairs = BTreeSet<(usize, usize, Rule)>;

/// The original's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// The earlier pack's version contains `^`, the later one's `~`, whatever their names.
    Version,
    /// Both packs have one namespace.
    Namespace,
}

/// The original's rules, pair by pair.
pub(super) fn pairwise(packs: &[Pack]) -> Pairs {
    let mut pairs = Pairs::new();
    for (i, a) in packs.iter().enumerate() {
        for (j, b) in packs.iter().enumerate().skip(i + 1) {
            if a.version.contains('^') && b.version.contains('~') {
                pairs.insert((i, j, Rule::Version));
            }
            if a.namespace == b.namespace {
                pairs.insert((i, j, Rule::Namespace));
            }
        }
    }
    pairs
}

/// The original's rules in O(n): namespaces are keys that the packs write, so [`detect`] groups them; the version rule
/// depends on the order of the list, so each `~` meets the prefix of the `^` before it, and the sum of the lengths of
/// these prefixes is the number of pairs.
///
/// Such prefixes cannot be groups of one key each: complete bipartite groups that cover every pair "i before j" once
/// have n log n members in all. [`by_keys`] pays that price to leave everything to [`detect`].
pub(super) struct Prefixes<'p> {
    namespaces: Batch,
    packs: &'p [Pack],
}

impl<'p> Prefixes<'p> {
    pub(super) fn of(packs: &'p [Pack]) -> Self {
        let mut namespaces = Batch::new();
        for pack in packs {
            namespaces.push(0, [], [(pack.namespace.as_bytes(), WriteClass::Exclusive)]);
        }
        Self { namespaces, packs }
    }

    /// The pairs that break the version rule and those that break the namespace rule, without listing them.
    pub(super) fn count(&self) -> (u64, u64) {
        let (mut carets, mut versions) = (0, 0);
        for pack in self.packs {
            versions += if pack.version.contains('~') { carets } else { 0 };
            carets += u64::from(pack.version.contains('^'));
        }
        (versions, detect(&self.namespaces).counts().total())
    }

    pub(super) fn pairs(&self) -> Pairs {
        let detection = detect(&self.namespaces);
        let namespaces = detection
            .pairs()
            .map(|at| (at.first as usize, at.second as usize, Rule::Namespace));
        let mut pairs: Pairs = namespaces.collect();
        let mut carets = Vec::new();
        for (j, pack) in self.packs.iter().enumerate() {
            if pack.version.contains('~') {
                pairs.extend(carets.iter().map(|&i| (i, j, Rule::Version)));
            }
            if pack.version.contains('^') {
                carets.push(j);
            }
        }
        pairs
    }
}

/// The original's rules as keys alone, in O(n log n). For every power of two the list is cut into blocks of that
/// length; a `^` in the left block of two neighbours writes the key of the two, a `~` in the right one reads it.
/// Positions i < j fall into neighbours left and right at exactly one length, that of the highest bit in which they
/// differ, so read-write conflicts are the version rule. The writes commute, so that they are no conflict themselves.
pub(super) fn by_keys(packs: &[Pack]) -> Batch {
    let mut batch = Batch::new();
    let levels = usize::BITS - packs.len().leading_zeros();
    for (i, pack) in packs.iter().enumerate() {
        let key = |level: u32| format!("version/{level}/{}", i >> level >> 1);
        let side = |wanted: usize| (0..levels).filter(move |level| i >> level & 1 == wanted).map(key);
        let left: Vec<String> = if pack.version.contains('^') {
            side(0).collect()
        } else {
            Vec::new()
        };
        let right: Vec<String> = if pack.version.contains('~') {
            side(1).collect()
        } else {
            Vec::new()
        };
        let written = left
            .iter()
            .map(|key| (key.as_bytes(), WriteClass::Commutes(Operation::SetAdd)));
        let namespace = format!("namespace/{}", pack.namespace);
        let all = written.chain([(namespace.as_bytes(), WriteClass::Exclusive)]);
        batch.push(0, right.iter().map(|key| key.as_bytes()), all);
    }
    batch
}

/// What [`detect`] finds in the batch of [`by_keys`].
pub(super) fn pairs_by_keys(batch: &Batch) -> Pairs {
    let detection = detect(batch);
    let rule = |kind| {
        if kind == Kind::ReadWrite {
            Rule::Version
        } else {
            Rule::Namespace
        }
    };
    detection
        .pairs()
        .map(|at| (at.first as usize, at.second as usize, rule(at.kind)))
        .collect()
}

/// A requirement on a version: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requirement {
    /// `^`: this version or a later one that changes nothing up to the first number that is not 0.
    Caret([u32; 3]),
    /// `~`: this version or a later patch.
    Tilde([u32; 3]),
}

impl Requirement {
    /// The versions that satisfy it: from the first to before the second.
    fn interval(self) -> ([u32; 3], [u32; 3]) {
        match self {
            Requirement::Caret(from @ [0, 0, patch]) => (from, [0, 0, patch + 1]),
            Requirement::Caret(from @ [0, minor, _]) => (from, [0, minor + 1, 0]),
            Requirement::Caret(from @ [major, ..]) => (from, [major + 1, 0, 0]),
            Requirement::Tilde(from @ [major, minor, _]) => (from, [major, minor + 1, 0]),
        }
    }

    fn overlaps(self, other: Requirement) -> bool {
        let ((a_from, a_to), (b_from, b_to)) = (self.interval(), other.interval());
        a_from < b_to && b_from < a_to
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, [major, minor, patch]) = match self {
            Requirement::Caret(version) => ('^', version),
            Requirement::Tilde(version) => ('~', version),
        };
        write!(f, "{sign}{major}.{minor}.{patch}")
    }
}

/// The sensible rule: packs of one name whose requirements no version satisfies. Packs of one name are a group of
/// [`detect`], in which each pair is looked at.
pub(super) fn sensible(packs: &[Pack]) -> BTreeSet<(usize, usize)> {
    let mut names = Batch::new();
    for pack in packs {
        names.push(0, [], [(pack.name.as_bytes(), WriteClass::Exclusive)]);
    }
    let detection = detect(&names);
    let pairs = detection.pairs().map(|at| (at.first as usize, at.second as usize));
    pairs
        .filter(|&(i, j)| !packs[i].requirement.overlaps(packs[j].requirement))
        .collect()
}

/// The sensible rule from its definition: every pair, every version up to 3.3.3.
pub(super) fn sensible_pairwise(packs: &[Pack]) -> BTreeSet<(usize, usize)> {
    let mut pairs = BTreeSet::new();
    for (i, a) in packs.iter().enumerate() {
        for (j, b) in packs.iter().enumerate().skip(i + 1) {
            let common =
                || versions().any(|version| satisfies(a.requirement, version) && satisfies(b.requirement, version));
            if a.name == b.name && !common() {
                pairs.insert((i, j));
            }
        }
    }
    pairs
}

fn versions() -> impl Iterator<Item = [u32; 3]> {
    (0..64).map(|number| [number / 16, number / 4 % 4, number % 4])
}

fn satisfies(requirement: Requirement, version: [u32; 3]) -> bool {
    let (from, fixed) = match requirement {
        // All numbers up to the first that is not 0 are fixed; of 0.0.0 all are.
        Requirement::Caret(from) => (
            from,
            from.iter().position(|&number| number != 0).map_or(3, |first| first + 1),
        ),
        Requirement::Tilde(from) => (from, 2),
    };
    version >= from && version[..fixed] == from[..fixed]
}

#[cfg(test)]
mod tests {
    use super::{
        Prefixes, Requirement, Rule, by_keys, packs, pairs_by_keys, pairwise, satisfies, sensible, sensible_pairwise,
        versions,
    };

    #[test]
    fn all_three_ways_find_the_same_pairs() {
        for count in 0..70 {
            let packs = packs(count, [1, 0, 0]);
            let expected = pairwise(&packs);
            let prefixes = Prefixes::of(&packs);
            assert_eq!(prefixes.pairs(), expected, "{count}");
            assert_eq!(pairs_by_keys(&by_keys(&packs)), expected, "{count}");
            let of = |rule| expected.iter().filter(|pair| pair.2 == rule).count() as u64;
            assert_eq!(prefixes.count(), (of(Rule::Version), of(Rule::Namespace)), "{count}");
        }
    }

    #[test]
    fn the_sensible_rule_equals_its_definition() {
        for odd in [[1, 0, 0], [1, 2, 0], [2, 0, 0], [0, 1, 1]] {
            let packs = packs(20, odd);
            assert_eq!(sensible(&packs), sensible_pairwise(&packs), "{odd:?}");
        }
        assert_eq!(sensible(&packs(20, [1, 0, 0])).len(), 0);
        assert_eq!(sensible(&packs(20, [2, 0, 0])).len(), 10);
    }

    #[test]
    fn an_interval_holds_the_versions_that_satisfy_it() {
        for base in versions().filter(|version| version.iter().all(|&number| number < 3)) {
            for requirement in [Requirement::Caret(base), Requirement::Tilde(base)] {
                let (from, to) = requirement.interval();
                for version in versions() {
                    let inside = from <= version && version < to;
                    assert_eq!(inside, satisfies(requirement, version), "{requirement} {version:?}");
                }
            }
        }
    }
}
