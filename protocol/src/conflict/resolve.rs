//! Who wins: the policies over what [`detect`](super::detect()) found, in O(keys of the batch).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Kind;
use super::batch::{Batch, WriteClass};
use super::detection::{Detection, Group};
use super::verdict::{Clash, Verdicts};

/// How the conflicts of a batch are decided. What is a conflict does not depend on the policy; in particular commuting
/// writes of one operation never are one.
///
/// | policy | a proposal commits if |
/// |---|---|
/// | `first` | it conflicts with none that committed before it, in the order (priority descending, position) |
/// | `merge` | as `first`, but two exclusive writes of one key that are the same change do not exclude each other |
/// | `exclude` | it is in no conflict |
/// | `reject` | nobody is in a conflict |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The first of those in conflict wins, by priority and then by position.
    First,
    /// As `First`, after all has been combined that combines without loss: commuting writes, as under every policy,
    /// and exclusive writes that leave the key in the same state.
    Merge,
    /// All members of every conflict lose.
    Exclude,
    /// One conflict, and the whole batch loses.
    Reject,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::First => "first",
            Policy::Merge => "merge",
            Policy::Exclude => "exclude",
            Policy::Reject => "reject",
        })
    }
}

/// A text is not the name of a policy. Nothing changed; correct the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a policy (expected first, merge, exclude or reject)")]
pub struct UnknownPolicy {
    /// What was read.
    pub text: String,
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "first" => Ok(Policy::First),
            "merge" => Ok(Policy::Merge),
            "exclude" => Ok(Policy::Exclude),
            "reject" => Ok(Policy::Reject),
            _ => Err(UnknownPolicy { text: text.to_owned() }),
        }
    }
}

/// The question of [`resolve_merging`]: do two proposals that write `key` exclusively make the same change to it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SameChange<'d> {
    /// The key.
    pub key: &'d [u8],
    /// The position of the first committed proposal that writes the key.
    pub kept: u32,
    /// The position of the proposal that is being judged.
    pub candidate: u32,
}

/// Decides on every proposal of `batch`, whose conflicts `detection` holds. No two exclusive writes are taken for the
/// same change, so [`Policy::Merge`] decides as [`Policy::First`].
pub fn resolve(policy: Policy, batch: &Batch<'_>, detection: &Detection<'_>) -> Verdicts {
    resolve_merging(policy, batch, detection, |_| false)
}

/// As [`resolve`]; under [`Policy::Merge`] `same_change` tells which exclusive writes of one key may stand together.
///
/// It must be symmetric, transitive and the same on every node, and hold only where applying both writes leaves the key
/// as one of them does: two deletions, two puts of one value, never two increments. It is asked at most once for each
/// key of each proposal.
pub fn resolve_merging(
    policy: Policy,
    batch: &Batch<'_>,
    detection: &Detection<'_>,
    same_change: impl FnMut(SameChange<'_>) -> bool,
) -> Verdicts {
    let verdicts = Verdicts::all_committed(batch.len());
    if detection.is_empty() {
        return verdicts;
    }
    let memberships = Memberships::of(batch, detection);
    match policy {
        Policy::First => in_order(verdicts, batch, detection, &memberships, |_| false),
        Policy::Merge => in_order(verdicts, batch, detection, &memberships, same_change),
        Policy::Exclude => without_winner(verdicts, detection, &memberships, Innocent::Commit),
        Policy::Reject => without_winner(verdicts, detection, &memberships, Innocent::Lose),
    }
}

/// One proposal's part in one group.
#[derive(Clone, Copy)]
struct Membership {
    group: u32,
    /// The index among the writers of the group, or [`READER`].
    writer: u32,
}

const READER: u32 = u32::MAX;

/// The groups of each proposal, in the order of the groups.
struct Memberships {
    /// By position: where the memberships of the proposal end; they start where those of the one before end.
    ends: Vec<u32>,
    list: Vec<Membership>,
}

impl Memberships {
    fn of(batch: &Batch<'_>, detection: &Detection<'_>) -> Self {
        let mut ends = vec![0u32; batch.len()];
        for group in detection.groups() {
            group
                .writers
                .iter()
                .for_each(|writer| ends[writer.proposal as usize] += 1);
            group.readers.iter().for_each(|&reader| ends[reader as usize] += 1);
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut list = vec![Membership { group: 0, writer: 0 }; start as usize];
        let mut add = |proposal: u32, membership| {
            let end = &mut ends[proposal as usize];
            list[*end as usize] = membership;
            *end += 1;
        };
        for (index, group) in detection.groups().enumerate() {
            for (writer, of) in group.writers.iter().enumerate() {
                add(
                    of.proposal,
                    Membership {
                        group: index as u32,
                        writer: writer as u32,
                    },
                );
            }
            for &reader in group.readers {
                add(
                    reader,
                    Membership {
                        group: index as u32,
                        writer: READER,
                    },
                );
            }
        }
        Self { ends, list }
    }

    fn of_proposal(&self, proposal: u32) -> &[Membership] {
        let proposal = proposal as usize;
        let start = if proposal == 0 { 0 } else { self.ends[proposal - 1] };
        &self.list[start as usize..self.ends[proposal] as usize]
    }
}

/// Who has committed on the key of a group. Readers and writers never have both, nor writers that conflict.
#[derive(Clone, Copy)]
enum Held {
    Free,
    Readers { first: u32 },
    Writers { first: u32, class: WriteClass },
}

fn in_order(
    mut verdicts: Verdicts,
    batch: &Batch<'_>,
    detection: &Detection<'_>,
    memberships: &Memberships,
    mut same_change: impl FnMut(SameChange<'_>) -> bool,
) -> Verdicts {
    let mut held = vec![Held::Free; detection.len()];
    let mut clashes = Vec::new();
    for proposal in by_priority(&batch.priorities) {
        let memberships = memberships.of_proposal(proposal);
        clashes.clear();
        for &Membership { group, writer } in memberships {
            let clash = |kind, with| Some(Clash { group, kind, with });
            let class = || detection.group(group as usize).writers[writer as usize].class;
            let clash = match held[group as usize] {
                Held::Free => None,
                Held::Readers { .. } if writer == READER => None,
                Held::Readers { first } => clash(Kind::ReadWrite, first),
                Held::Writers { first, .. } if writer == READER => clash(Kind::ReadWrite, first),
                Held::Writers { first, class: held } => {
                    let key = || detection.group(group as usize).key;
                    let together = held == class()
                        && (held != WriteClass::Exclusive
                            || same_change(SameChange {
                                key: key(),
                                kept: first,
                                candidate: proposal,
                            }));
                    if together { None } else { clash(Kind::WriteWrite, first) }
                }
            };
            clashes.extend(clash);
        }
        if !clashes.is_empty() {
            verdicts.lose(proposal, clashes.drain(..));
            continue;
        }
        for &Membership { group, writer } in memberships {
            let held = &mut held[group as usize];
            if matches!(held, Held::Free) {
                *held = match writer {
                    READER => Held::Readers { first: proposal },
                    _ => {
                        let class = detection.group(group as usize).writers[writer as usize].class;
                        Held::Writers { first: proposal, class }
                    }
                };
            }
        }
    }
    verdicts
}

/// Positions by descending priority, equal ones ascending: a counting sort.
fn by_priority(priorities: &[u8]) -> Vec<u32> {
    let mut ends = [0u32; 256];
    let rank = |priority: u8| usize::from(u8::MAX - priority);
    for &priority in priorities {
        ends[rank(priority)] += 1;
    }
    let mut start = 0;
    for end in &mut ends {
        start += std::mem::replace(end, start);
    }
    let mut order = vec![0u32; priorities.len()];
    for (position, &priority) in priorities.iter().enumerate() {
        let end = &mut ends[rank(priority)];
        order[*end as usize] = position as u32;
        *end += 1;
    }
    order
}

/// What becomes of the proposals that are in no conflict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Innocent {
    Commit,
    Lose,
}

fn without_winner(
    mut verdicts: Verdicts,
    detection: &Detection<'_>,
    memberships: &Memberships,
    innocent: Innocent,
) -> Verdicts {
    let rivals: Vec<Rivals> = detection.groups().map(Rivals::of).collect();
    for proposal in 0..verdicts.len() as u32 {
        let memberships = memberships.of_proposal(proposal);
        if !memberships.is_empty() || innocent == Innocent::Lose {
            let clashes = memberships.iter().map(|membership| {
                let group = detection.group(membership.group as usize);
                let (kind, with) = rivals[membership.group as usize].of_member(group, membership.writer);
                Clash {
                    group: membership.group,
                    kind,
                    with,
                }
            });
            verdicts.lose(proposal, clashes);
        }
    }
    verdicts
}

/// For the members of a group, somebody each is in conflict with.
#[derive(Clone, Copy)]
struct Rivals {
    /// The index of the first writer that conflicts with the first writer; the number of writers if there is none.
    second: usize,
}

impl Rivals {
    fn of(group: Group<'_>) -> Self {
        Self {
            second: group.next_rival(0),
        }
    }

    fn of_member(self, group: Group<'_>, writer: u32) -> (Kind, u32) {
        let Group { writers, readers, .. } = group;
        let rival = match writer {
            READER => return (Kind::ReadWrite, writers[0].proposal),
            // The writers before `second` are the first one and those that commute with it.
            writer if (writer as usize) < self.second => self.second,
            _ => 0,
        };
        match writers.get(rival) {
            Some(rival) => (Kind::WriteWrite, rival.proposal),
            None => (Kind::ReadWrite, readers[0]),
        }
    }
}
