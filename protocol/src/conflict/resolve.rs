//! Who wins: the policies over what [`detect`](super::detect()) found, in O(keys of the batch).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::batch::{Role, WriteClass};
use super::detection::{Detection, Member, next_rival};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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

/// Decides on every proposal of the batch whose conflicts `detection` holds. No two exclusive writes are taken for the
/// same change, so [`Policy::Merge`] decides as [`Policy::First`].
pub fn resolve(policy: Policy, detection: &Detection<'_>) -> Verdicts {
    resolve_merging(policy, detection, |_| false)
}

/// As [`resolve`]; under [`Policy::Merge`] `same_change` tells which exclusive writes of one key may stand together.
///
/// It must be symmetric, transitive and the same on every node, and hold only where applying both writes leaves the key
/// as one of them does: two deletions, two puts of one value, never two increments. It is asked at most once for each
/// key of each proposal.
pub fn resolve_merging(
    policy: Policy,
    detection: &Detection<'_>,
    same_change: impl FnMut(SameChange<'_>) -> bool,
) -> Verdicts {
    let verdicts = Verdicts::all_committed(detection.batch().len());
    if detection.is_empty() {
        return verdicts;
    }
    let memberships = Memberships::of(detection);
    match policy {
        Policy::First => in_order(verdicts, detection, &memberships, |_| false),
        Policy::Merge => in_order(verdicts, detection, &memberships, same_change),
        Policy::Exclude => without_winner(verdicts, detection, &memberships, Innocent::Commit),
        Policy::Reject => without_winner(verdicts, detection, &memberships, Innocent::Lose),
    }
}

/// One proposal's part in one group.
#[derive(Clone, Copy)]
struct Membership {
    group: u32,
    role: Role,
}

/// The groups of each proposal, in the order of the groups.
struct Memberships {
    /// By position: where the memberships of the proposal end; they start where those of the one before end.
    ends: Vec<u32>,
    list: Vec<Membership>,
}

impl Memberships {
    fn of(detection: &Detection<'_>) -> Self {
        let mut ends = vec![0u32; detection.batch().len()];
        detection
            .in_memory_order()
            .for_each(|(_, member)| ends[member.proposal as usize] += 1);
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut list = vec![
            Membership {
                group: 0,
                role: Role::Read
            };
            start as usize
        ];
        for (group, &Member { proposal, role }) in detection.in_memory_order() {
            let end = &mut ends[proposal as usize];
            list[*end as usize] = Membership { group, role };
            *end += 1;
        }
        let mut start = 0;
        for &end in &ends {
            list[start..end as usize].sort_unstable_by_key(|membership| membership.group);
            start = end as usize;
        }
        Self { ends, list }
    }

    fn of_proposal(&self, proposal: u32) -> &[Membership] {
        let proposal = proposal as usize;
        let start = if proposal == 0 { 0 } else { self.ends[proposal - 1] };
        &self.list[start as usize..self.ends[proposal] as usize]
    }
}

/// The first that committed on the key of a group. Whoever committed after it has the same role: readers and writers
/// never have both, nor writers that conflict.
#[derive(Clone, Copy)]
struct Held {
    by: u32,
    role: Role,
}

fn in_order(
    mut verdicts: Verdicts,
    detection: &Detection<'_>,
    memberships: &Memberships,
    mut same_change: impl FnMut(SameChange<'_>) -> bool,
) -> Verdicts {
    let mut held: Vec<Option<Held>> = vec![None; detection.len()];
    let mut clashes = Vec::new();
    for candidate in by_priority(&detection.batch().priorities) {
        let memberships = memberships.of_proposal(candidate);
        clashes.clear();
        clashes.extend(memberships.iter().filter_map(|&Membership { group, role }| {
            let Held { by, role: held } = held[group as usize]?;
            let mut same = || {
                let key = detection.group(group as usize).key;
                same_change(SameChange {
                    key,
                    kept: by,
                    candidate,
                })
            };
            let kind = match (held, role) {
                (Role::Read, Role::Read) => return None,
                (Role::Read, _) | (_, Role::Read) => Kind::ReadWrite,
                (Role::Write(WriteClass::Exclusive), Role::Write(WriteClass::Exclusive)) if same() => return None,
                (Role::Write(WriteClass::Commutes(a)), Role::Write(WriteClass::Commutes(b))) if a == b => return None,
                _ => Kind::WriteWrite,
            };
            Some(Clash { group, kind, with: by })
        }));
        if !clashes.is_empty() {
            verdicts.lose(candidate, clashes.drain(..));
            continue;
        }
        for &Membership { group, role } in memberships {
            held[group as usize].get_or_insert(Held { by: candidate, role });
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
    let second: Vec<u32> = (0..detection.len())
        .map(|index| next_rival(detection.members(index).0, 0) as u32)
        .collect();
    for proposal in 0..verdicts.len() as u32 {
        let memberships = memberships.of_proposal(proposal);
        if !memberships.is_empty() || innocent == Innocent::Lose {
            let clashes = memberships.iter().map(|&Membership { group, role }| {
                let members = detection.members(group as usize);
                let (kind, with) = rival(members, second[group as usize], Member { proposal, role });
                Clash { group, kind, with }
            });
            verdicts.lose(proposal, clashes);
        }
    }
    verdicts
}

/// Somebody whom `member` is in conflict with; `second` is the [`next_rival`] of the first writer.
fn rival((writers, readers): (&[Member], &[Member]), second: u32, member: Member) -> (Kind, u32) {
    let first = writers[0];
    let is_reader = member.role == Role::Read;
    let meets_first = match first.role {
        Role::Write(WriteClass::Exclusive) => member.proposal != first.proposal,
        role => member.role != role,
    };
    let rival = if is_reader || meets_first {
        Some(&first)
    } else {
        writers.get(second as usize)
    };
    match rival {
        Some(writer) if is_reader => (Kind::ReadWrite, writer.proposal),
        Some(writer) => (Kind::WriteWrite, writer.proposal),
        None => (Kind::ReadWrite, readers[0].proposal),
    }
}
