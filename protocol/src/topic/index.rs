//! Many patterns, so that those that choose a topic are found without looking at the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{ANY, Pattern, REST, Topic};

/// The place of the node at which all patterns begin.
const ROOT: usize = 0;

/// Who wants what: patterns, each with those who have it. A tree over the words of the patterns, walked from all places
/// at once that fit the words of a topic so far. A look-up takes a step for each such place and word: with patterns
/// without `#` at most two to the power of the words, however many patterns there are.
#[derive(Clone, Debug)]
pub struct Index<T> {
    nodes: Vec<Node<T>>,
    /// Places in `nodes` that nothing leads to.
    free: Vec<usize>,
    len: usize,
}

/// What the patterns have in common that begin with the same words.
#[derive(Clone, Debug)]
struct Node<T> {
    /// Where the next word leads. `*` and `#` are words here: no topic has them.
    next: BTreeMap<Box<str>, usize>,
    /// Whether it was reached by `#`: further words lead back to it.
    stays: bool,
    /// Those whose pattern ends here.
    here: BTreeSet<T>,
}

impl<T> Node<T> {
    fn new(stays: bool) -> Node<T> {
        Node {
            next: BTreeMap::new(),
            stays,
            here: BTreeSet::new(),
        }
    }
}

impl<T: Copy + Ord> Default for Index<T> {
    fn default() -> Index<T> {
        Index {
            nodes: vec![Node::new(false)],
            free: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Copy + Ord> Index<T> {
    /// How many pairs of a pattern and who has it there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one who has this pattern. `false` if it had it before.
    pub fn insert(&mut self, pattern: &Pattern, who: T) -> bool {
        let mut place = ROOT;
        for word in pattern.words() {
            place = match self.nodes[place].next.get(word) {
                Some(next) => *next,
                None => self.grow(place, word),
            };
        }
        let new = self.nodes[place].here.insert(who);
        self.len += usize::from(new);
        new
    }

    fn grow(&mut self, place: usize, word: &str) -> usize {
        let node = Node::new(word == REST);
        let next = match self.free.pop() {
            Some(free) => {
                self.nodes[free] = node;
                free
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[place].next.insert(word.into(), next);
        next
    }

    /// Removes one who has this pattern. `false` if it has not.
    pub fn remove(&mut self, pattern: &Pattern, who: T) -> bool {
        let mut way = vec![ROOT];
        for word in pattern.words() {
            let last = way[way.len() - 1];
            match self.nodes[last].next.get(word) {
                Some(next) => way.push(*next),
                None => return false,
            }
        }
        let gone = self.nodes[way[way.len() - 1]].here.remove(&who);
        if gone {
            self.len -= 1;
            self.prune(pattern, &way);
        }
        gone
    }

    /// Frees the nodes at the end of a way that lead nowhere.
    fn prune(&mut self, pattern: &Pattern, way: &[usize]) {
        let words: Vec<&str> = pattern.words().collect();
        for (step, word) in words.iter().enumerate().rev() {
            let (before, place) = (way[step], way[step + 1]);
            if !self.nodes[place].here.is_empty() || !self.nodes[place].next.is_empty() {
                return;
            }
            self.nodes[before].next.remove(*word);
            self.free.push(place);
        }
    }

    /// Those who have a pattern that chooses this topic, each once, in their order.
    pub fn matching(&self, topic: &Topic) -> Vec<T> {
        let mut places = vec![ROOT];
        let mut next = Vec::new();
        self.pass_over_rests(&mut places);
        for word in topic.words() {
            for place in places.drain(..) {
                let node = &self.nodes[place];
                next.extend(node.next.get(word));
                next.extend(node.next.get(ANY));
                next.extend(node.stays.then_some(place));
            }
            self.pass_over_rests(&mut next);
            std::mem::swap(&mut places, &mut next);
        }
        let mut found: Vec<T> = Vec::new();
        for place in places {
            found.extend(&self.nodes[place].here);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Each `#` may stand for nothing: adds the places behind it.
    fn pass_over_rests(&self, places: &mut Vec<usize>) {
        let mut looked_at = 0;
        while let Some(&place) = places.get(looked_at) {
            places.extend(self.nodes[place].next.get(REST));
            looked_at += 1;
        }
        places.sort_unstable();
        places.dedup();
    }
}

#[cfg(test)]
impl<T> Index<T> {
    /// How many nodes are in use, the root included.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}
