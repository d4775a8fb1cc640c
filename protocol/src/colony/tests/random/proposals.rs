//! Proposals and batches of them.

use super::owners::called;
use super::*;

impl Seeded {
    fn read(&mut self, memory: &Memory) -> Read {
        let key = self.key();
        let value = memory.record(&key).and_then(|record| record.value.as_ref());
        let present = value.map_or(Expected::Absent, |value| Expected::Hash(value.hash));
        Read {
            revision: self.revision(memory, &key),
            content: match self.below(10) {
                0 => Expected::Absent,
                1 => Expected::Hash(ContentHash::of(b"x")),
                2..5 => present,
                _ => Expected::Any,
            },
            key,
        }
    }

    fn write(&mut self, memory: &Memory) -> Write {
        let key = self.key();
        Write {
            op: match self.once_in(3) {
                true => Op::Merge(self.merge(memory, &key)),
                false => self.op(),
            },
            tags: self.tags(),
            before: self.once_in(4).then(|| self.revision(memory, &key)),
            key,
        }
    }

    fn range(&mut self, memory: &Memory) -> RangeRead {
        let span = match self.below(40) {
            0 => Span::Folder("dir".into()),
            1 => Span::Glob("".into()),
            2 => Span::Glob("*".repeat(GLOB_BYTES_MAX + 1).into()),
            3..23 => Span::Folder(self.pick(&["", "dir/", "dir/sub/", "none/"]).into()),
            _ => Span::Glob(
                self.pick(&["*", "dir/*", "**/f", "dir/**", "?", "dir/**/e", "a"])
                    .into(),
            ),
        };
        let state = span
            .check()
            .ok()
            .and_then(|()| span.state(memory, &mut GlobRoom::default()).ok());
        let mut stamp = state.unwrap_or_default().stamp;
        match self.below(10) {
            0 => stamp.keys += 1,
            1 => stamp.sum = Digest(7),
            _ => {}
        }
        RangeRead { span, stamp }
    }

    fn fence(&mut self, colony: &Colony, project: &Project) -> TaskFence {
        let wanted = self.pick(&[StateName::Leased, StateName::Done]);
        let task = self.task_id(project, wanted);
        let (fence, caller) = match project.tasks().get(task).map(|task| &task.state) {
            Some(State::Leased(lease)) => (lease.fence, called(colony, &lease.holder.owner)),
            Some(State::Finished(finished)) => (finished.fence, called(colony, &finished.holder.owner)),
            _ => (Fence(1), Caller::Session(TokenHash::of("a"))),
        };
        let fence = if self.once_in(4) { Fence(fence.0 + 1) } else { fence };
        TaskFence { task, fence, caller }
    }

    /// The fence under which some task was finished.
    fn finished_fence(&self, colony: &Colony, project: &Project) -> Option<TaskFence> {
        project.tasks().after(None).find_map(|task| match &task.state {
            State::Finished(finished) => Some(TaskFence {
                task: task.id,
                fence: finished.fence,
                caller: called(colony, &finished.holder.owner),
            }),
            _ => None,
        })
    }

    /// The attempt that has lost most often, or another one.
    fn follows(&mut self, project: &Project) -> Option<u64> {
        let lost = |event: &Arc<Event>| match event.what {
            What::Lost { losses, .. } => Some((losses, event.cursor.seq)),
            _ => None,
        };
        let most = project.events().iter().filter_map(lost).max();
        match self.below(8) {
            0 | 1 => None,
            2 => Some(self.below(40)),
            _ => most.map(|(_, seq)| seq),
        }
    }

    pub(in crate::colony::tests) fn proposal(&mut self, colony: &Colony, project: &Project) -> Proposal {
        let memory = project.memory();
        Proposal {
            ranges: match self.once_in(3) {
                true => (0..1 + self.below(2)).map(|_| self.range(memory)).collect(),
                false => Vec::new(),
            },
            fence: self.once_in(8).then(|| self.fence(colony, project)),
            follows: self.follows(project),
            reads: (0..self.below(3)).map(|_| self.read(memory)).collect(),
            writes: (0..self.below(4)).map(|_| self.write(memory)).collect(),
            priority: self.below(3) as u8,
            dry_run: self.once_in(6),
            caller: None,
        }
    }

    /// One that loses, and follows the one that has lost most often.
    pub(super) fn losing(&mut self, project: &Project) -> Proposal {
        let lost = |event: &Arc<Event>| match event.what {
            What::Lost { losses, .. } => Some((losses, event.cursor.seq)),
            _ => None,
        };
        let most = project.events().iter().filter_map(lost).max();
        let (read_key, written) = (self.pick(&["a", "b"]), self.pick(&["a", "b", "c"]));
        Proposal {
            follows: most.map(|(_, seq)| seq),
            ..proposal(
                vec![read(read_key, project.memory().revision(read_key) + 1)],
                vec![write(written, inline("1"))],
            )
        }
    }

    /// Who writes, if it says so.
    pub(super) fn writer(&mut self, colony: &Colony, project: &str, node: NodeId) -> Option<Caller> {
        self.once_in(3).then(|| self.task_caller(colony, project, node))
    }

    pub(in crate::colony::tests) fn batch(&mut self, colony: &Colony, project: &Project) -> ProposalBatch {
        let mut proposals: Vec<Proposal> = (0..self.below(7)).map(|_| self.proposal(colony, project)).collect();
        let finished = self.finished_fence(colony, project).filter(|_| self.once_in(3));
        if let (Some(fence), Some(first)) = (finished, proposals.first_mut()) {
            let writes = vec![write("a", inline("1"))];
            *first = Proposal {
                fence: Some(fence),
                ..proposal(Vec::new(), writes)
            };
        }
        let followers = proposals.iter_mut().filter(|_| !self.once_in(20));
        followers.for_each(|proposal| proposal.follows = None);
        let dry_run = self.once_in(8);
        if !self.once_in(16) {
            proposals.iter_mut().for_each(|proposal| proposal.dry_run = dry_run);
        }
        let policies = [Policy::First, Policy::Merge, Policy::Exclude, Policy::Reject];
        ProposalBatch {
            proposals,
            policy: self.pick(&policies),
        }
    }
}
