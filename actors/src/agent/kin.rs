//! Parents and children. An agent that was started with a parent lives no longer than the generation that its parent had
//! then: when that ends, by whatever, the children are stopped, and the children of children before them, as a supervisor
//! of OTP ends what it has started before it ends itself. A parent that becomes passive keeps them. The end of a child,
//! however it comes, is told to its parent ([`super::Behaviour::child_ended`]) if that generation of it lives still, and
//! wakes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::entry::Entry;
use super::status::CHILDREN_SHOWN_MAX;
use super::{AgentChildren, AgentState};

/// What a parent is told of the end of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildEnded {
    /// The name of the child.
    pub name: String,
    /// The number that it had.
    pub number: u64,
    /// How it ended: done, failed or stopped.
    pub state: AgentState,
    /// Why, if it failed.
    pub reason: Option<String>,
}

/// The children of each agent that has any, by its number and theirs.
#[derive(Default)]
pub(super) struct Kin {
    // A mutex: the queen changes it, doors read it. Held for a look-up, or to copy a list.
    children: Mutex<HashMap<u64, BTreeMap<u64, Arc<Entry>>>>,
}

impl Kin {
    fn children(&self) -> MutexGuard<'_, HashMap<u64, BTreeMap<u64, Arc<Entry>>>> {
        self.children.lock().expect("nothing panics under this lock")
    }

    /// A child has been entered.
    pub(super) fn born(&self, child: &Arc<Entry>) {
        if child.parent != 0 {
            let mut children = self.children();
            children
                .entry(child.parent)
                .or_default()
                .insert(child.number, child.clone());
        }
    }

    /// A child has ended.
    pub(super) fn gone(&self, child: &Entry) {
        if child.parent == 0 {
            return;
        }
        let mut children = self.children();
        if let Some(of_parent) = children.get_mut(&child.parent) {
            of_parent.remove(&child.number);
            if of_parent.is_empty() {
                children.remove(&child.parent);
            }
        }
    }

    /// The descendants of an agent, children before their parents.
    pub(super) fn below(&self, number: u64) -> Vec<Arc<Entry>> {
        let children = self.children();
        let mut found: Vec<Arc<Entry>> = Vec::new();
        let (mut parent, mut next) = (Some(number), 0);
        while let Some(number) = parent {
            if let Some(of_parent) = children.get(&number) {
                found.extend(of_parent.values().cloned());
            }
            parent = found.get(next).map(|entry| entry.number);
            next += 1;
        }
        found.reverse();
        found
    }

    pub(super) fn shown(&self, number: u64) -> AgentChildren {
        let children = self.children();
        let Some(of_parent) = children.get(&number) else {
            return AgentChildren::default();
        };
        let first = of_parent.values().take(CHILDREN_SHOWN_MAX);
        AgentChildren {
            total: of_parent.len() as u64,
            first: first.map(|entry| entry.name.to_string()).collect(),
        }
    }
}
