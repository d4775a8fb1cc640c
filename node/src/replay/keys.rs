//! The keys of a replay, and paths inside keys.

pub(super) use crate::git::key::MODE_TAG;
use crate::git::key::{escaped, unescaped};

/// What all keys of a replay begin with.
pub(super) const BLOBS: &str = "replay/blob/";
pub(super) const TREE: &str = "replay/tree/";
/// What the keys of commits begin with that are too large for the payload of a task.
pub(super) const COMMITS: &str = "replay/commit/";
/// The kind of the tasks of a replay.
pub(super) const TASK_KIND: &str = "replay";
/// What their names begin with.
const TASK_NAME: &str = "replay/";

/// The key of the bytes of a blob.
pub(super) fn blob(id: &impl std::fmt::Display) -> String {
    format!("{BLOBS}{id}")
}

/// The name of the task of a commit.
pub(super) fn task(place: u64) -> String {
    format!("{TASK_NAME}{place:08}")
}

/// The place in a name of [`task`].
pub(super) fn place(name: &str) -> Option<u64> {
    name.strip_prefix(TASK_NAME)?.parse().ok()
}

/// The key of a commit that is too large for the payload of a task.
pub(super) fn commit(place: u64) -> String {
    format!("{COMMITS}{place:08}")
}

/// The key of a path.
pub(super) fn tree(path: &[u8]) -> String {
    format!("{TREE}{}", escaped(path))
}

/// The path of a key of [`tree`]; `None` when the key is not of that form.
pub(super) fn path(key: &str) -> Option<Vec<u8>> {
    unescaped(key.strip_prefix(TREE)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_path_survives_its_key(bytes in proptest::collection::vec(1u8.., 0..40)) {
            prop_assert_eq!(path(&tree(&bytes)), Some(bytes));
        }

        #[test]
        fn different_paths_have_different_keys(a in proptest::collection::vec(1u8.., 0..6), b in proptest::collection::vec(1u8.., 0..6)) {
            prop_assert_eq!(a == b, tree(&a) == tree(&b));
        }
    }

    #[test]
    fn ordinary_paths_stay_readable() {
        assert_eq!(tree("src/größe %1.rs".as_bytes()), "replay/tree/src/größe %251.rs");
        assert_eq!(tree(b"a\xffb\n"), "replay/tree/a%FFb%0A");
        assert_eq!(path("replay/tree/%4"), None);
    }

    #[test]
    fn places_are_read_back() {
        assert_eq!(place(&task(7)), Some(7));
        assert_eq!(place(&task(123_456_789)), Some(123_456_789));
        assert_eq!(place("replay/tree/7"), None);
    }
}
