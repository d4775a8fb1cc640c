//! Three-way merge of text, by `diffy`: what all nodes must agree on, so its version is pinned and its work is bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many bytes base, ours and theirs may have each.
pub const MERGE_BYTES_MAX: usize = 1 << 20;
/// How many lines the three may have in all: comparing texts that have nothing in common costs their square.
pub const MERGE_LINES_MAX: usize = 12_288;
/// How many lines the merges of one command may have in all.
pub const COMMAND_MERGE_LINES_MAX: usize = 4 * MERGE_LINES_MAX;
/// How many hunks a failed merge lists.
pub const HUNKS_LISTED_MAX: usize = 4;
/// How many bytes of each side of a hunk are listed.
pub const HUNK_SIDE_BYTES_MAX: usize = 512;

/// What an encoded [`MergeFailure`] takes at most, in bytes.
pub(crate) const MERGE_FAILURE_BYTES_MAX: usize = 32 + HUNKS_LISTED_MAX * (32 + 3 * HUNK_SIDE_BYTES_MAX);

/// Why texts were not merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeFailure {
    /// One of them is no text: it has a NUL or is not UTF-8.
    NotText,
    /// They have more bytes or lines than are merged.
    TooLarge,
    /// The key has no value any more, or had one when it should have had none.
    Gone,
    /// Both sides have changed the tags, each in another way.
    Tags,
    /// Both sides have changed the same lines.
    Lines(Hunks),
}

/// The places where both sides have changed the same lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hunks {
    /// The first of them, at most [`HUNKS_LISTED_MAX`].
    pub listed: Vec<Hunk>,
    /// How many there are.
    pub total: u64,
}

/// One of them. Each side is cut to [`HUNK_SIDE_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hunk {
    /// Which line of ours it begins with, from 1.
    pub line: u64,
    /// The lines as both sides found them.
    pub base: String,
    /// The lines as they were committed.
    pub ours: String,
    /// The lines as the proposal has them.
    pub theirs: String,
}

impl MergeFailure {
    /// The same without the lines, where others are listed already.
    pub(crate) fn without_lines(self) -> MergeFailure {
        match self {
            MergeFailure::Lines(Hunks { total, .. }) => MergeFailure::Lines(Hunks {
                listed: Vec::new(),
                total,
            }),
            other => other,
        }
    }

    /// What it takes when it is encoded, in bytes, at most.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            MergeFailure::Lines(hunks) => {
                let sides = |hunk: &Hunk| 32 + hunk.base.len() + hunk.ours.len() + hunk.theirs.len();
                32 + hunks.listed.iter().map(sides).sum::<usize>()
            }
            _ => 4,
        }
    }
}

/// How many lines a merge of these would take in, for those who bound their work.
pub fn merge_lines(texts: [&[u8]; 3]) -> usize {
    let lines = |text: &[u8]| 1 + text.iter().filter(|byte| **byte == b'\n').count();
    texts.into_iter().map(lines).sum()
}

/// Takes what `ours` and `theirs` have each changed of `base` together. Where one side has changed nothing, or both the
/// same, this is a copy and costs next to nothing.
///
/// # Errors
/// [`MergeFailure`] says why the two do not go together.
pub fn three_way(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Vec<u8>, MergeFailure> {
    if theirs == base || ours == theirs {
        return Ok(ours.to_vec());
    }
    if ours == base {
        return Ok(theirs.to_vec());
    }
    let sides = [base, ours, theirs];
    if sides.iter().any(|side| side.len() > MERGE_BYTES_MAX) || merge_lines(sides) > MERGE_LINES_MAX {
        return Err(MergeFailure::TooLarge);
    }
    let [Some(base), Some(ours), Some(theirs)] = sides.map(text) else {
        return Err(MergeFailure::NotText);
    };
    let mut options = diffy::MergeOptions::new();
    let marker = marker_length([base, ours, theirs]);
    options
        .set_conflict_style(diffy::ConflictStyle::Diff3)
        .set_incomplete_hunk_style(diffy::IncompleteHunkStyle::Git)
        .set_conflict_marker_length(marker);
    // A panic of the library would end every node, and again at every start. It would be the same on all of them, so it
    // may as well be an answer.
    let merged = catch_unwind(AssertUnwindSafe(|| options.merge(base, ours, theirs)));
    match merged {
        Ok(Ok(merged)) => Ok(merged.into_bytes()),
        Ok(Err(marked)) => Err(MergeFailure::Lines(hunks(&marked, marker))),
        Err(_) => Err(MergeFailure::NotText),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// Longer than every run of a character that a marker is made of at the start of a line: markers are told from text.
fn marker_length(texts: [&str; 3]) -> usize {
    let runs = texts.iter().flat_map(|text| text.split('\n')).map(|line| {
        let first = line.bytes().next().filter(|byte| b"<|=>".contains(byte));
        first.map_or(0, |first| line.bytes().take_while(|byte| *byte == first).count())
    });
    runs.max().unwrap_or_default().max(6) + 1
}

/// Takes the hunks out of a text with conflict markers of this length.
fn hunks(marked: &str, marker: usize) -> Hunks {
    enum Side {
        Outside,
        Ours,
        Base,
        Theirs,
    }
    let [ours, base, theirs, end] = ['<', '|', '=', '>'].map(|c| c.to_string().repeat(marker));
    let (mut hunks, mut side, mut line) = (Hunks::default(), Side::Outside, 1);
    let mut hunk = Hunk::default();
    for text in marked.split_inclusive('\n') {
        if text.starts_with(&ours) {
            side = Side::Ours;
            hunk = Hunk {
                line,
                ..Hunk::default()
            };
        } else if text.starts_with(&base) {
            side = Side::Base;
        } else if text.starts_with(&theirs) {
            side = Side::Theirs;
        } else if text.starts_with(&end) {
            side = Side::Outside;
            hunks.total += 1;
            if hunks.listed.len() < HUNKS_LISTED_MAX {
                hunks.listed.push(std::mem::take(&mut hunk));
            }
        } else {
            line += u64::from(matches!(side, Side::Outside | Side::Ours));
            match side {
                Side::Outside => {}
                Side::Ours => put(&mut hunk.ours, text),
                Side::Base => put(&mut hunk.base, text),
                Side::Theirs => put(&mut hunk.theirs, text),
            }
        }
    }
    hunks
}

/// Adds a line as far as there is room.
fn put(side: &mut String, text: &str) {
    let room = HUNK_SIDE_BYTES_MAX - side.len();
    side.push_str(&text[..text.floor_char_boundary(room)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merge(base: &str, ours: &str, theirs: &str) -> Result<String, MergeFailure> {
        let merged = three_way(base.as_bytes(), ours.as_bytes(), theirs.as_bytes());
        merged.map(|merged| String::from_utf8(merged).unwrap())
    }

    #[test]
    fn changes_of_different_lines_go_together() {
        let base = "1\n2\n3\n4\n5\n";
        assert_eq!(
            merge(base, "one\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n6\n").unwrap(),
            "one\n2\n3\n4\n5\n6\n"
        );
        assert_eq!(merge(base, base, "x").unwrap(), "x");
        assert_eq!(merge(base, "x", base).unwrap(), "x");
        assert_eq!(merge(base, "x", "x").unwrap(), "x");
    }

    #[test]
    fn changes_of_the_same_line_are_a_hunk_that_names_all_sides() {
        let failure = merge("a\nb\nc\n", "a\nours\nc\n", "a\ntheirs\nc\n").unwrap_err();
        let hunk = Hunk {
            line: 2,
            base: "b\n".into(),
            ours: "ours\n".into(),
            theirs: "theirs\n".into(),
        };
        let hunks = Hunks {
            listed: vec![hunk],
            total: 1,
        };
        assert_eq!(failure, MergeFailure::Lines(hunks));
    }

    #[test]
    fn text_that_looks_like_a_marker_is_text() {
        let failure = merge("a\n", "<<<<<<< x\n=======\n", ">>>>>>> y\n").unwrap_err();
        let MergeFailure::Lines(hunks) = failure else { panic!() };
        assert_eq!((hunks.total, &*hunks.listed[0].ours), (1, "<<<<<<< x\n=======\n"));
    }

    #[test]
    fn what_is_listed_is_bounded() {
        let side = |word: &str| {
            (0..40)
                .map(|_| format!("{}\n=\n", word.repeat(300)))
                .collect::<String>()
        };
        let failure = merge(&side("a"), &side("b"), &side("é")).unwrap_err();
        assert!(failure.bytes() <= MERGE_FAILURE_BYTES_MAX);
        let MergeFailure::Lines(hunks) = failure else { panic!() };
        assert!(hunks.total >= hunks.listed.len() as u64 && hunks.listed.len() <= HUNKS_LISTED_MAX);
    }

    #[test]
    fn what_is_no_text_and_what_is_too_large_is_not_merged() {
        assert_eq!(three_way(b"a", b"\xff", b"b"), Err(MergeFailure::NotText));
        assert_eq!(three_way(b"a", b"a\0", b"b"), Err(MergeFailure::NotText));
        let long = |c: &str| format!("{c}\n").repeat(MERGE_LINES_MAX / 3 + 1);
        assert_eq!(merge(&long("a"), &long("b"), &long("c")), Err(MergeFailure::TooLarge));
        assert_eq!(merge(&long("a"), &long("a"), &long("c")).unwrap(), long("c"));
    }

    fn lines() -> impl Strategy<Value = String> {
        proptest::collection::vec(0..4u8, 0..12)
            .prop_map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_merge_is_the_same_from_both_sides_where_it_is_clean(base in lines(), ours in lines(), theirs in lines()) {
            let (one, other) = (merge(&base, &ours, &theirs), merge(&base, &theirs, &ours));
            prop_assert_eq!(one.is_ok(), other.is_ok());
            if let (Ok(one), Ok(other)) = (one, other) {
                // No line comes from nowhere.
                let known = |line: &str| [&base, &ours, &theirs].iter().any(|side| side.lines().any(|known| known == line));
                prop_assert!(one.lines().chain(other.lines()).all(known));
            }
        }

        #[test]
        fn no_text_makes_the_merge_fail_otherwise(base in ".{0,60}", ours in ".{0,60}", theirs in ".{0,60}") {
            let failure = merge(&base, &ours, &theirs).err();
            let expected = matches!(failure, None | Some(MergeFailure::NotText | MergeFailure::Lines(_)));
            prop_assert!(expected);
        }
    }
}
