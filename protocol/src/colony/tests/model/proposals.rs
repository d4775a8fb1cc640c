//! Proposals in the model: every range is looked through from the first key to the last.

use super::*;
use crate::conflict::{Hunks, MergeFailure, three_way};

pub(super) fn bad_proposal(proposal: &Proposal) -> Option<Refusal> {
    if let Some(refusal) = proposal.reads.iter().find_map(|read| bad_key(&read.key)) {
        return Some(refusal);
    }
    for range in &proposal.ranges {
        if let Span::Folder(folder) = &range.span
            && !folder.is_empty()
            && !folder.ends_with('/')
        {
            return Some(bad("ranges", "a folder ends with a slash, or is empty for all keys"));
        }
        if let Span::Glob(glob) = &range.span {
            if glob.len() > 128 {
                return Some(over("glob_bytes", glob.len(), 128));
            }
            if glob.is_empty() {
                return Some(bad("ranges", "a glob is empty"));
            }
        }
    }
    let mut before: Vec<&str> = Vec::new();
    for write in &proposal.writes {
        if let Some(refusal) = bad_change(&write.key, &write.tags, &write.op) {
            return Some(refusal);
        }
        if before.contains(&&*write.key) {
            return Some(bad("writes", &format!("{} is written twice", write.key)));
        }
        before.push(&write.key);
    }
    None
}

/// What a write leaves.
#[derive(Clone)]
pub(super) struct Left {
    pub(super) value: Option<Vec<u8>>,
    pub(super) tags: Vec<Arc<str>>,
    merged: bool,
}

/// Why it leaves nothing.
pub(super) enum Cannot {
    Refused(Refusal),
    Merge(MergeFailure),
}

impl From<Refusal> for Cannot {
    fn from(refusal: Refusal) -> Cannot {
        Cannot::Refused(refusal)
    }
}

/// Why a proposal does not commit.
pub(super) enum Stopped {
    Refused(Refusal),
    Lost(Vec<Conflict>),
}

impl From<Stopped> for Verdict {
    fn from(stopped: Stopped) -> Verdict {
        match stopped {
            Stopped::Refused(refusal) => Verdict::Refused(refusal),
            Stopped::Lost(mut conflicts) => {
                let total = conflicts.len() as u64;
                conflicts.truncate(64);
                Verdict::Lost { conflicts, total }
            }
        }
    }
}

fn content(content: &Content, key: &Key, contents: &Holds) -> Result<Vec<u8>, Refusal> {
    match content {
        Content::Inline(bytes) => Ok(bytes.to_vec()),
        Content::Kept(hash) => find_content(contents, hash).ok_or(Refusal::MissingContent {
            key: key.clone(),
            hash: *hash,
        }),
    }
}

/// What a merge leaves. The merging of lines is the library's.
fn merged_by(merge: &Merge, key: &Key, tags: &[Arc<str>], state: &Holds, contents: &Holds) -> Result<Left, Cannot> {
    let theirs = content(&merge.theirs, key, contents)?;
    let base = merge
        .base
        .as_ref()
        .map(|base| content(base, key, contents))
        .transpose()?;
    let now = held(state, key);
    let left = |value: Vec<u8>, new_tags: Vec<Arc<str>>| Left {
        merged: value != theirs || new_tags != tags,
        value: Some(value),
        tags: new_tags,
    };
    let Some(ours) = now.value else {
        return match base {
            None => Ok(left(theirs.clone(), tags.to_vec())),
            Some(_) => Err(Cannot::Merge(MergeFailure::Gone)),
        };
    };
    if base.is_none() && ours != theirs {
        return Err(Cannot::Merge(MergeFailure::Gone));
    }
    let new_tags = match (now.tags == merge.base_tags, tags == merge.base_tags) {
        (_, true) => now.tags,
        (true, false) => tags.to_vec(),
        (false, false) if now.tags == tags => now.tags,
        (false, false) => return Err(Cannot::Merge(MergeFailure::Tags)),
    };
    let base = base.unwrap_or_else(|| ours.clone());
    let value = three_way(&base, &ours, &theirs).map_err(Cannot::Merge)?;
    Ok(left(value, new_tags))
}

/// What `op` leaves under `key`. `contents` is where it finds contents by hash.
pub(super) fn left_by(op: &Op, key: &Key, tags: &[Arc<str>], state: &Holds, contents: &Holds) -> Result<Left, Cannot> {
    if let Op::Merge(merge) = op {
        return merged_by(merge, key, tags, state, contents);
    }
    Ok(Left {
        value: value_left_by(op, key, state, contents)?,
        tags: tags.to_vec(),
        merged: false,
    })
}

fn value_left_by(op: &Op, key: &Key, state: &Holds, contents: &Holds) -> Result<Option<Vec<u8>>, Refusal> {
    let value = held(state, key).value;
    let wrong = |wanted: &str| Refusal::WrongType {
        key: key.clone(),
        wanted: wanted.into(),
    };
    let number = |value: &[u8]| -> Result<i64, Refusal> {
        let text = String::from_utf8(value.to_vec()).unwrap_or_default();
        text.parse().map_err(|_| wrong("a whole number of 64 bits"))
    };
    Ok(Some(match op {
        Op::Delete => return Ok(None),
        Op::Merge(_) => unreachable!(),
        Op::Put(put) => content(put, key, contents)?,
        Op::Increment(step) => {
            let sum = i128::from(value.map_or(Ok(0), |value| number(&value))?) + i128::from(*step);
            let sum = i64::try_from(sum).map_err(|_| wrong("a number with room for the step"))?;
            sum.to_string().into_bytes()
        }
        Op::Max(least) => {
            let number = value.map_or(Ok(*least), |value| number(&value))?;
            if number > *least { number } else { *least }.to_string().into_bytes()
        }
        Op::Append(tail) => value.into_iter().flatten().chain(tail.to_vec()).collect(),
        Op::SetAdd(line) => {
            let Some(value) = value else {
                return Ok(Some(line.as_bytes().to_vec()));
            };
            let text = String::from_utf8(value).map_err(|_| wrong("lines of UTF-8 text"))?;
            let mut lines: Vec<&str> = text.split('\n').collect();
            if lines.windows(2).any(|pair| pair[0] > pair[1]) {
                return Err(wrong("sorted lines"));
            }
            if !lines.contains(&&**line) {
                lines.push(line);
                lines.sort();
            }
            lines.join("\n").into_bytes()
        }
    }))
}

pub(super) fn against(
    proposal: &Proposal,
    state: &Holds,
    reserved: &dyn Fn(&Key) -> Option<ModelReservation>,
) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut note = |kind, key: &Key, expected| {
        let held = held(state, key);
        found.push(Conflict {
            kind,
            key: key.clone(),
            expected,
            revision: held.revision,
            hash: hash(&held),
            winner: held.seq,
            merge: None,
            holder: None,
        });
    };
    for read in &proposal.reads {
        let held = held(state, &read.key);
        let as_expected = match read.content {
            Expected::Any => true,
            Expected::Absent => held.value.is_none(),
            Expected::Hash(wanted) => hash(&held) == Some(wanted),
        };
        if held.revision < read.revision {
            note(Kind::FutureRead, &read.key, read.revision);
        } else if held.revision > read.revision || !as_expected {
            note(Kind::StaleRead, &read.key, read.revision);
        }
    }
    let mut writes = Vec::new();
    for write in &proposal.writes {
        let now = held(state, &write.key);
        let stale = write.before.filter(|before| *before != now.revision);
        let reservation = reserved(&write.key);
        let (kind, winner) = match (&reservation, stale) {
            (Some(reservation), _) => (Kind::Reservation, reservation.id.seq),
            (None, Some(_)) => (Kind::StaleWrite, now.seq),
            (None, None) => continue,
        };
        writes.push(Conflict {
            kind,
            key: write.key.clone(),
            expected: write.before.unwrap_or(now.revision),
            revision: now.revision,
            hash: hash(&now),
            winner,
            merge: None,
            holder: reservation.map(|reservation| Box::new(reservation.holder)),
        });
    }
    found.extend(writes);
    for range in &proposal.ranges {
        let (stamp, winner) = stamp(&range.span, state);
        if stamp != range.stamp {
            found.push(Conflict {
                kind: Kind::Phantom,
                key: range.span.text().clone(),
                expected: range.stamp.keys,
                revision: stamp.keys,
                hash: None,
                winner,
                merge: None,
                holder: None,
            });
        }
    }
    found
}

/// Whether a range has a key.
pub(super) fn covers(span: &Span, key: &str) -> bool {
    fn matches(glob: &[char], key: &[char], at_start: bool) -> bool {
        match glob {
            [] => key.is_empty(),
            ['*', '*', '/', rest @ ..] if at_start => {
                let mut places = (0..key.len()).filter(|place| key[*place] == '/');
                matches(rest, key, true) || places.any(|place| matches(rest, &key[place + 1..], true))
            }
            ['*', '*', rest @ ..] => (0..=key.len()).any(|place| matches(rest, &key[place..], false)),
            ['*', rest @ ..] => {
                let end = key.iter().position(|c| *c == '/').unwrap_or(key.len());
                (0..=end).any(|place| matches(rest, &key[place..], false))
            }
            [c, rest @ ..] => {
                let fits = |found: &char| if *c == '?' { *found != '/' } else { found == c };
                key.first().is_some_and(fits) && matches(rest, &key[1..], *c == '/')
            }
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    match span {
        Span::Folder(folder) => key.starts_with(&**folder),
        Span::Glob(glob) => matches(&chars(glob), &chars(key), true),
    }
}

/// The stamp of a range, and the last command that changed one of its keys.
pub(super) fn stamp(span: &Span, state: &Holds) -> (RangeStamp, u64) {
    let (mut stamp, mut changed) = (RangeStamp::default(), 0);
    for (key, held) in state.iter().filter(|(key, _)| covers(span, key)) {
        changed = changed.max(held.seq);
        if let Some(value) = &held.value {
            let record = Record {
                revision: held.revision,
                value: Some(Value::of(value.clone().into())),
                tags: held.tags.clone(),
                author: held.author.clone(),
                seq: held.seq,
                changed_ms: held.changed_ms,
                digest: Digest::default(),
            };
            stamp.keys += 1;
            stamp.sum.add(record.compute_digest(key));
        }
    }
    (stamp, changed)
}

/// The places of the writes that were merged.
pub(super) fn merged(values: &[Left]) -> Vec<u32> {
    let merged = values.iter().enumerate().filter(|(_, left)| left.merged);
    merged.map(|(place, _)| place as u32).collect()
}

pub(super) fn values(proposal: &Proposal, state: &Holds, contents: &Holds) -> Result<Vec<Left>, Stopped> {
    let (mut left, mut unmerged) = (Vec::new(), Vec::new());
    for write in &proposal.writes {
        match left_by(&write.op, &write.key, &write.tags, state, contents) {
            Ok(one) => left.push(one),
            Err(Cannot::Refused(refusal)) => return Err(Stopped::Refused(refusal)),
            Err(Cannot::Merge(mut failure)) => {
                let now = held(state, &write.key);
                if let MergeFailure::Lines(Hunks { listed, .. }) = &mut failure
                    && unmerged.len() >= 4
                {
                    listed.clear();
                }
                unmerged.push(Conflict {
                    kind: Kind::Merge,
                    key: write.key.clone(),
                    expected: now.revision,
                    revision: now.revision,
                    hash: hash(&now),
                    winner: now.seq,
                    merge: Some(failure),
                    holder: None,
                });
            }
        }
    }
    match unmerged.is_empty() {
        true => Ok(left),
        false => Err(Stopped::Lost(unmerged)),
    }
}

impl ModelProject {
    /// The first hold on a key that is not this attempt's own.
    pub(super) fn hold_on(&self, key: &str, own: Option<u64>, at: &At) -> Option<(u64, &Hold)> {
        let others = self.holds.iter().filter(|(seq, _)| Some(**seq) != own);
        let mut live = others.filter(|(_, hold)| hold.until_ms > at.now_ms);
        let found = live.find(|(_, hold)| {
            hold.keys.iter().any(|held| &**held == key) || hold.spans.iter().any(|span| covers(span, key))
        });
        found.map(|(seq, hold)| (*seq, hold))
    }

    fn own_hold(&self, proposal: &Proposal, at: &At) -> Option<u64> {
        let follows = proposal.follows?;
        let hold = self.holds.get(&follows)?;
        (hold.author == at.author).then_some(follows)
    }

    pub(super) fn judge(&self, proposal: &Proposal, at: &At) -> Result<Vec<Left>, Stopped> {
        if let Some(refusal) = bad_proposal(proposal) {
            return Err(Stopped::Refused(refusal));
        }
        if let Some(TaskFence { task, fence, caller }) = &proposal.fence {
            // On a copy: a lease that is over may be cleared away there.
            let held = self.clone().check_held(*task, *fence, caller, at);
            held.map_err(Stopped::Refused)?;
        }
        let fenced = proposal.fence.as_ref().map(|fence| &fence.caller);
        let writer = self.writer(proposal.caller.as_ref().or(fenced), at);
        let writer = writer.map_err(Stopped::Refused)?;
        let reserved = |key: &Key| self.reservation_against(key, writer.as_ref(), at);
        let mut conflicts = against(proposal, &self.held, &reserved);
        for write in &proposal.writes {
            let own = self.own_hold(proposal, at);
            if let Some((winner, _)) = self.hold_on(&write.key, own, at) {
                let now = held(&self.held, &write.key);
                conflicts.push(Conflict {
                    kind: Kind::Reservation,
                    key: write.key.clone(),
                    expected: write.before.unwrap_or(now.revision),
                    revision: now.revision,
                    hash: hash(&now),
                    winner,
                    merge: None,
                    holder: None,
                });
            }
        }
        match conflicts.is_empty() {
            true => values(proposal, &self.held, &self.held),
            false => Err(Stopped::Lost(conflicts)),
        }
    }

    pub(super) fn propose(&mut self, proposal: &Proposal, at: &At) -> Result<Outcome, Refusal> {
        let seq = at.seq;
        let own = self.own_hold(proposal, at).filter(|_| !proposal.dry_run);
        match self.judge(proposal, at) {
            Err(Stopped::Refused(refusal)) => Err(refusal),
            Err(Stopped::Lost(mut conflicts)) => {
                own.map(|seq| self.holds.remove(&seq));
                let held_until_ms = match proposal.dry_run {
                    true => None,
                    false => self.lose(proposal, &conflicts, at),
                };
                let total = conflicts.len() as u64;
                conflicts.truncate(64);
                Ok(Outcome::Lost {
                    seq,
                    conflicts,
                    total,
                    held_until_ms,
                })
            }
            Ok(values) => {
                let written = proposal.writes.iter().map(|write| &write.key);
                self.check_memory(&self.memory_with(written.zip(&values)))?;
                own.map(|seq| self.holds.remove(&seq));
                if !proposal.dry_run {
                    let writes = proposal.writes.len() as u64;
                    self.event(What::Committed { writes }, at);
                }
                let merged = merged(&values);
                let revisions = self.commit(proposal, values, at);
                Ok(Outcome::Committed { seq, revisions, merged })
            }
        }
    }

    fn lose(&mut self, proposal: &Proposal, conflicts: &[Conflict], at: &At) -> Option<u64> {
        let before = self
            .events
            .iter()
            .filter(|event| Some(event.cursor.seq) == proposal.follows && event.author == at.author);
        let mut before = before.filter_map(|event| match event.what {
            What::Lost { losses, .. } => Some(losses),
            _ => None,
        });
        let reserved = conflicts.iter().any(|conflict| conflict.holder.is_some());
        let losses = before.next_back().unwrap_or(0) + u64::from(!reserved);
        let (kind, count) = (conflicts[0].kind, conflicts.len() as u64);
        self.event(
            What::Lost {
                kind,
                conflicts: count,
                losses,
            },
            at,
        );
        let reads = proposal.reads.iter().map(|read| read.key.clone());
        let keys: BTreeSet<Key> = reads
            .chain(proposal.writes.iter().map(|write| write.key.clone()))
            .collect();
        let hold = Hold {
            author: at.author.clone(),
            until_ms: at.now_ms.saturating_add(5_000),
            keys: keys.into_iter().collect(),
            spans: proposal.ranges.iter().map(|range| range.span.clone()).collect(),
        };
        let free = self.holds.len() < 16 && !self.holds.values().any(|other| meet(other, &hold));
        if reserved || losses % 3 > 0 || !free {
            return None;
        }
        let until_ms = hold.until_ms;
        self.holds.insert(at.seq, hold);
        Some(until_ms)
    }
}

/// Whether two holds may have a key in common.
fn meet(a: &Hold, b: &Hold) -> bool {
    let has = |hold: &Hold, key: &Key| hold.keys.contains(key) || hold.spans.iter().any(|span| covers(span, key));
    let folders = |hold: &Hold| {
        hold.spans
            .iter()
            .map(|span| span.folder().to_string())
            .collect::<Vec<_>>()
    };
    let begins = |a: &[String], b: &[String]| a.iter().any(|a| b.iter().any(|b| a.starts_with(b)));
    a.keys.iter().any(|key| has(b, key))
        || b.keys.iter().any(|key| has(a, key))
        || begins(&folders(a), &folders(b))
        || begins(&folders(b), &folders(a))
}
