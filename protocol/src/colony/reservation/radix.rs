//! A persistent radix tree: byte strings, and what stands under each. Strings that begin alike share the way there, so one
//! walk along a text passes all that the text begins with, and ends above all that begin with the text; a comparison never
//! leaves that way (D. R. Morrison, "PATRICIA", Journal of the ACM 15(4), 1968). Copies share what they have in common.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

/// How many values of a node are read ahead: a processor has not many more reads under way, and the visitor may break.
const AHEAD_MAX: usize = 16;

/// The tree.
#[derive(Clone, Debug)]
pub(super) struct Radix<V> {
    root: Node<V>,
}

/// What lies between two branches.
#[derive(Clone, Debug)]
struct Node<V> {
    /// The bytes that lead here from the node above: none for the root alone.
    label: SmallVec<[u8; 22]>,
    /// What stands under the string that ends here.
    value: Option<V>,
    /// Those below by the first bytes of their labels, in order; two at least where no value is.
    children: Vec<(u8, Arc<Node<V>>)>,
}

/// A place in the tree: behind some bytes of the label of a node.
#[derive(Debug)]
pub(super) struct Cursor<'a, V> {
    node: &'a Node<V>,
    at: usize,
}

impl<V> Clone for Cursor<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Cursor<'_, V> {}

impl<V> Default for Radix<V> {
    fn default() -> Radix<V> {
        Radix {
            root: Node {
                label: SmallVec::new(),
                value: None,
                children: Vec::new(),
            },
        }
    }
}

impl<V: Clone> Radix<V> {
    /// Puts a value in, in place of what stood under its key.
    pub(super) fn insert(&mut self, key: &[u8], value: V) {
        self.root.insert(key, value);
    }

    /// Takes out what stands under a key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.root.remove(key);
    }

    /// The place that all keys lie behind.
    pub(super) fn start(&self) -> Cursor<'_, V> {
        Cursor {
            node: &self.root,
            at: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.root.value.is_none() && self.root.children.is_empty()
    }
}

impl<V: Clone> Node<V> {
    fn insert(&mut self, key: &[u8], value: V) {
        let Some(&first) = key.first() else {
            self.value = Some(value);
            return;
        };
        match self.place_of(first) {
            Ok(place) => {
                let child = Arc::make_mut(&mut self.children[place].1);
                let common = child.label.iter().zip(key).take_while(|(a, b)| a == b).count();
                if common < child.label.len() {
                    child.split(common);
                }
                child.insert(&key[common..], value);
            }
            Err(place) => {
                let leaf = Node {
                    label: key.into(),
                    value: Some(value),
                    children: Vec::new(),
                };
                self.children.insert(place, (first, Arc::new(leaf)));
            }
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(&first) = key.first() else {
            self.value = None;
            return;
        };
        let Ok(place) = self.place_of(first) else { return };
        let Some(rest) = key.strip_prefix(&*self.children[place].1.label) else {
            return;
        };
        let child = Arc::make_mut(&mut self.children[place].1);
        child.remove(rest);
        if child.value.is_none() {
            match child.children.len() {
                0 => {
                    self.children.remove(place);
                }
                1 => child.join(),
                _ => {}
            }
        }
    }

    /// Leaves the first bytes of the label here and puts a node for the rest below.
    fn split(&mut self, at: usize) {
        let below = Node {
            label: self.label[at..].into(),
            value: self.value.take(),
            children: std::mem::take(&mut self.children),
        };
        self.label.truncate(at);
        self.children.push((below.label[0], Arc::new(below)));
    }

    /// Becomes one with the only node below.
    fn join(&mut self) {
        if let Some((_, only)) = self.children.pop() {
            let only = Arc::unwrap_or_clone(only);
            self.label.extend_from_slice(&only.label);
            self.value = only.value;
            self.children = only.children;
        }
    }
}

impl<V> Node<V> {
    fn place_of(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |(byte, _)| *byte)
    }
}

impl<'a, V> Cursor<'a, V> {
    /// The place behind one more byte, if a key goes on with it.
    pub(super) fn step(self, byte: u8) -> Option<Cursor<'a, V>> {
        match self.node.label.get(self.at) {
            Some(next) => (*next == byte).then_some(Cursor {
                node: self.node,
                at: self.at + 1,
            }),
            None => {
                let place = self.node.place_of(byte).ok()?;
                let node = &*self.node.children[place].1;
                Some(Cursor { node, at: 1 })
            }
        }
    }

    /// The places behind each byte that a key goes on with.
    pub(super) fn branches(self) -> impl Iterator<Item = (u8, Cursor<'a, V>)> {
        let within = self.node.label.get(self.at).map(|next| {
            let at = self.at + 1;
            (*next, Cursor { node: self.node, at })
        });
        let below = match within {
            Some(_) => &[][..],
            None => &self.node.children[..],
        };
        let below = below.iter().map(|(byte, node)| (*byte, Cursor { node, at: 1 }));
        within.into_iter().chain(below)
    }

    /// Visits the nearest places behind the byte `end`, one on each way.
    pub(super) fn behind_next<B>(
        self,
        end: u8,
        visitor: &mut dyn FnMut(Cursor<'a, V>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let ahead = &self.node.label[self.at..];
        if let Some(bytes) = ahead.iter().position(|byte| *byte == end) {
            let at = self.at + bytes + 1;
            return visitor(Cursor { node: self.node, at });
        }
        for (_, node) in &self.node.children {
            Cursor { node, at: 0 }.behind_next(end, visitor)?;
        }
        ControlFlow::Continue(())
    }

    /// Visits the values behind this place, in the order of their keys. Some of those below a node are given to `ahead` before
    /// they are visited one by one: what it reads of them comes from memory at the same time, and not each after the last
    /// was dealt with.
    pub(super) fn values<B>(
        self,
        ahead: fn(&V) -> usize,
        visitor: &mut dyn FnMut(&'a V) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(value) = &self.node.value {
            visitor(value)?;
        }
        if self.node.children.len() > 1 {
            let next = self.node.children.iter().take(AHEAD_MAX);
            let read = next.filter_map(|(_, node)| node.value.as_ref()).map(ahead);
            // Nobody needs what was read, but it must be.
            std::hint::black_box(read.fold(0, usize::wrapping_add));
        }
        for (_, node) in &self.node.children {
            Cursor { node, at: 0 }.values(ahead, visitor)?;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn values(at: Option<Cursor<'_, u32>>) -> Vec<u32> {
        let mut found = Vec::new();
        if let Some(at) = at {
            let mut visitor = |value: &u32| {
                found.push(*value);
                ControlFlow::<()>::Continue(())
            };
            assert!(at.values(|value| *value as usize, &mut visitor).is_continue());
        }
        found
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(0..3_u8, 0..6)
    }

    proptest! {
        /// It has what an ordered map has, and a copy keeps what it had.
        #[test]
        fn it_is_an_ordered_map(
            steps in vec((key(), prop::option::weighted(0.6, any::<u32>())), 0..80),
            beginnings in vec(key(), 1..8),
        ) {
            let (mut tree, mut map) = (Radix::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (key, value) in steps {
                copies.push((tree.clone(), map.clone()));
                match value {
                    Some(value) => {
                        tree.insert(&key, value);
                        map.insert(key, value);
                    }
                    None => {
                        tree.remove(&key);
                        map.remove(&key);
                    }
                }
            }
            copies.push((tree, map));
            for (tree, map) in copies {
                prop_assert_eq!(tree.is_empty(), map.is_empty());
                for beginning in &beginnings {
                    let at = beginning.iter().try_fold(tree.start(), |at, byte| at.step(*byte));
                    let begin_so = map.iter().filter(|(key, _)| key.starts_with(beginning));
                    let begin_so: Vec<u32> = begin_so.map(|(_, value)| *value).collect();
                    prop_assert_eq!(values(at), begin_so);
                }
            }
        }

        /// On each way the first place behind a byte is visited, and no other.
        #[test]
        fn the_places_behind_a_byte_are_visited_once(keys in vec(key(), 0..40)) {
            let mut tree = Radix::default();
            for key in &keys {
                tree.insert(key, 0);
            }
            let mut visited = 0;
            let all = tree.start().behind_next::<()>(1, &mut |_| {
                visited += 1;
                ControlFlow::Continue(())
            });
            prop_assert!(all.is_continue());
            let firsts = keys.iter().filter_map(|key| key.split_inclusive(|byte| *byte == 1).next());
            let ends: std::collections::BTreeSet<&[u8]> = firsts.filter(|first| first.ends_with(&[1])).collect();
            prop_assert_eq!(visited, ends.len());
        }
    }

    /// Each key is one byte longer than the one before: as deep as the longest keys allow.
    #[test]
    fn a_deep_tree_fits_the_stack() {
        let mut tree = Radix::default();
        let key = [7; 3 * crate::conflict::glob::GLOB_BYTES_MAX];
        for bytes in 0..=key.len() {
            tree.insert(&key[..bytes], bytes as u32);
        }
        assert_eq!(values(Some(tree.start())).len(), key.len() + 1);
        let copy = tree.clone();
        for bytes in 0..=key.len() {
            tree.remove(&key[..bytes]);
        }
        assert!(tree.is_empty());
        assert_eq!(values(Some(copy.start())).len(), key.len() + 1);
    }
}
