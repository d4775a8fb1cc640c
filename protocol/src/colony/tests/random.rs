//! Random sequences of commands over few keys, projects, nodes and incarnations, so that they meet often. Each follows
//! from its seed.

use super::*;
use crate::conflict::Policy;

/// What workers say that they are capable of; the last is no list that a claim may bring.
const CAPABILITIES: [&[&str]; 4] = [&[], &["arm"], &["arm", "gpu"], &["gpu", "arm"]];

/// SplitMix64.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % bound
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }

    fn key(&mut self) -> Key {
        match self.below(60) {
            0 => "".into(),
            1 => "a\0b".into(),
            2 => "k".repeat(KEY_BYTES_MAX + 1).into(),
            _ => self.pick(&["a", "b", "c", "d", "dir/e", "dir/é", "dir/sub/f"]).into(),
        }
    }

    fn tags(&mut self) -> Vec<Arc<str>> {
        match self.below(30) {
            0 => vec!["t".into(); TAGS_MAX + 1],
            1 => vec!["t".repeat(TAG_BYTES_MAX + 1).into()],
            2 => vec!["urgent".into(), "draft".into()],
            3 => vec!["draft".into(), "draft".into()],
            4..8 => vec!["draft".into(), "urgent".into()],
            _ => Vec::new(),
        }
    }

    fn content(&mut self) -> Content {
        let fill = b'a' + self.below(3) as u8;
        match self.below(6) {
            0 => Content::Inline(large(fill).into()),
            1 => Content::Kept(ContentHash::of(&large(fill))),
            _ => {
                let texts: [&str; 9] = [
                    "1",
                    "-7",
                    "+3",
                    "9223372036854775800",
                    "",
                    "x",
                    "a\nb",
                    "b\na",
                    "a\na\nc",
                ];
                let value = self.pick(&texts).as_bytes().to_vec();
                let value = if self.once_in(20) { vec![0xff] } else { value };
                Content::Inline(value.into())
            }
        }
    }

    fn op(&mut self) -> Op {
        match self.below(11) {
            0..4 => Op::Put(self.content()),
            4 => Op::Delete,
            5 | 6 => Op::Increment(self.pick(&[1, 5, -2, i64::MAX])),
            7 => Op::Max(self.below(20) as i64 - 5),
            8 => Op::Append(self.pick(&["7", "\nz", ""]).into()),
            _ => Op::SetAdd(self.pick(&["a", "b", "zz", "", "m\nn"]).into()),
        }
    }

    /// A revision that is most often the present one.
    fn revision(&mut self, memory: &Memory, key: &str) -> u64 {
        let present = memory.revision(key);
        match self.below(8) {
            0 => present + 1,
            1 => present.saturating_sub(1),
            _ => present,
        }
    }

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

    /// A merge of a text of few lines with one that is most often there.
    fn merge(&mut self, memory: &Memory, key: &str) -> Merge {
        let record = memory.record(key);
        let present = record
            .and_then(|record| record.value.as_ref())
            .map(|value| value.bytes.clone());
        let texts = [
            "1\n2\n3\n4\n",
            "0\n1\n2\n3\n4\n",
            "1\n2\n3\n4\n5\n",
            "1\n2\nx\n4\n",
            "1\n2\ny\n4\n",
            "a\nb",
        ];
        let mut text = || Content::Inline(Bytes::from(self.pick(&texts)));
        let base = present.map(Content::Inline);
        let (other, theirs) = (text(), text());
        Merge {
            base: match self.below(6) {
                0 => None,
                1 => base,
                2 => Some(self.content()),
                _ => Some(other),
            },
            base_tags: match (record, self.below(4)) {
                (Some(record), 1..) => record.tags.clone(),
                _ => self.tags(),
            },
            theirs,
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

    pub(super) fn proposal(&mut self, colony: &Colony, project: &Project) -> Proposal {
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
    fn losing(&mut self, project: &Project) -> Proposal {
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
    fn writer(&mut self, colony: &Colony, project: &str, node: NodeId) -> Option<Caller> {
        self.once_in(3).then(|| self.task_caller(colony, project, node))
    }

    pub(super) fn batch(&mut self, colony: &Colony, project: &Project) -> ProposalBatch {
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

    fn condition(&mut self, memory: &Memory, key: &str) -> Condition {
        match self.below(5) {
            0 => Condition::IfAbsent,
            1 => Condition::IfRevision(self.revision(memory, key)),
            _ => Condition::None,
        }
    }

    fn body(&mut self, colony: &Colony, project: &str, from: (NodeId, u64)) -> Body {
        let nothing = Project::default();
        let here = colony.project(project).unwrap_or(&nothing);
        let memory = here.memory();
        match self.below(61) {
            60.. => Body::Project(self.project_command()),
            26..30 => Body::Propose(Proposal {
                caller: self.writer(colony, project, from.0),
                ..self.proposal(colony, here)
            }),
            30..36 => Body::Propose(self.losing(here)),
            36..40 => Body::Session(self.session_command(colony, project)),
            10..22 | 40..52 => Body::Task(self.task_command(colony, (project, here), from)),
            52..60 => Body::Reservation(self.reservation_command(colony, (project, here), from)),
            22..26 => Body::Agent(self.agent_command(colony, from)),
            0..6 => {
                let key = self.key();
                Body::Change(Change {
                    op: self.op(),
                    tags: self.tags(),
                    condition: self.condition(memory, &key),
                    caller: self.writer(colony, project, from.0),
                    key,
                })
            }
            6 | 7 => Body::Propose(Proposal {
                caller: self.writer(colony, project, from.0),
                ..self.proposal(colony, here)
            }),
            8 | 9 => {
                let mut batch = self.batch(colony, here);
                for proposal in &mut batch.proposals {
                    proposal.caller = self.writer(colony, project, from.0);
                }
                Body::ProposeBatch(batch)
            }
        }
    }

    fn terms(&mut self, project: &Project) -> Terms {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
        // Without tasks there is nothing to need, but now and then that is tried.
        let some = !project.tasks().is_empty() || self.once_in(20);
        let count = self.pick(&[0, 0, 0, 1, 2]) * u64::from(some);
        let needs = (0..count)
            .map(|_| match self.once_in(5) {
                true => Need::Name(self.pick(&["n1", "n2", "n3"]).into()),
                false => Need::Id(self.task_id(project, StateName::Pending)),
            })
            .collect();
        let not_before_ms = self.once_in(12).then(|| wall_ms(self.below(20_000)));
        let requires = match self.once_in(60) {
            true => names(&["gpu", "arm"]),
            false => self.pick(&[names(&[]), names(&[]), names(&["arm"]), names(&["arm", "gpu"])]),
        };
        Terms {
            queue: self.pick(&["default", "default", "default", "q2"]).into(),
            labels: self.pick(&[names(&[]), names(&["a"]), names(&["a", "b"])]),
            requires,
            priority: self.pick(&[Priority::Critical, Priority::Normal, Priority::Normal, Priority::Low]),
            tier: self.pick(&[Tier::Standard, Tier::Batch]),
            cost: 0,
            needs,
            unmet: self.pick(&[Unmet::Block, Unmet::Cancel]),
            not_before_ms,
            start_ms: self
                .pick(&[None, None, None, Some(500), Some(0)])
                .filter(|ms| *ms > 0 || self.once_in(10)),
            run_ms: self.pick(&[None, None, Some(2_000)]),
            retry: Retry {
                attempts_max: self.pick(&[1, 2, 3, 3]),
                base_ms: self.pick(&[0, 300, 1_000]),
                factor: self.pick(&[1, 2]),
                max_ms: 1_500,
                never: self.pick(&[names(&[]), names(&["bad"]), names(&["timeout"])]),
                only: Vec::new(),
                expiries_max: self.pick(&[1, 2, 16, 16]),
                deaths_max: self.pick(&[1, 2]),
            },
            approval: self.once_in(12),
            checks: self.pick(&[names(&[]), names(&[]), names(&["cargo test"])]),
            resources: match self.once_in(40) {
                true => (0..17).map(|_| self.want()).collect(),
                false => (0..self.pick(&[0, 0, 0, 1, 1, 2])).map(|_| self.want()).collect(),
            },
        }
    }

    fn new_task(&mut self, project: &Project) -> NewTask {
        let title = match self.below(30) {
            0 => String::new(),
            1 => "t".repeat(TITLE_BYTES_MAX + 1),
            2 => "a\nb".into(),
            _ => "work".into(),
        };
        let payload = match self.once_in(30) {
            true => vec![0; PAYLOAD_BYTES_MAX + 1],
            false => self.pick(&["", "{}", "1"]).into(),
        };
        let kind = match self.once_in(40) {
            true => Some(""),
            false => self.pick(&[None, Some("x"), Some("y")]),
        };
        NewTask {
            title: title.into(),
            kind: kind.map(Into::into),
            payload: payload.into(),
            name: self
                .pick(&[None, None, Some("n1"), Some("n2"), Some("n3")])
                .map(Into::into),
            terms: match self.once_in(3) {
                true => self.terms(project),
                false => Terms::default(),
            },
        }
    }

    fn control(&mut self, colony: &Colony, (name, project): (&str, &Project), node: NodeId) -> Control {
        let reason = self.pick(&[None, Some("why"), Some("a\nb")]).map(Arc::from);
        let (wanted, act) = match self.below(12) {
            0..3 => {
                let state = self.pick(&[StateName::Leased, StateName::Pending, StateName::Blocked]);
                let force = self.once_in(3);
                (state, Act::Cancel { force, reason })
            }
            3 | 4 => (self.pick(&[StateName::Pending, StateName::Blocked]), Act::Pause),
            5 | 6 => (StateName::Paused, Act::Resume),
            7 => (StateName::AwaitingApproval, Act::Approve),
            8 => (StateName::AwaitingApproval, Act::Reject { reason }),
            9 => (
                self.pick(&[StateName::Dead, StateName::Failed, StateName::Cancelled]),
                Act::Requeue,
            ),
            10 => (self.pick(&[StateName::Dead, StateName::Done]), Act::Drop),
            _ => {
                let task = self.task_id(project, StateName::Leased);
                let (fence, caller) = self.hold_of(colony, (name, project), task, node);
                let to = self.pick(&[None, Some("ann"), Some("one")]).map(Arc::from);
                let act = Act::HandOff { fence, caller, to };
                return Control { task, act };
            }
        };
        let task = self.task_id(project, wanted);
        Control { task, act }
    }

    fn queue_change(&mut self) -> QueueChange {
        let settings = [(0, 0), (0, 0), (1, 500), (2, 1_000), (2, 5)];
        let (failures, pause_ms) = self.pick(&settings);
        QueueChange {
            queue: self.pick(&["default", "q2", "q3", ""]).into(),
            paused: self.pick(&[None, None, Some(false), Some(false), Some(false), Some(true)]),
            breaker: self.once_in(2).then_some(BreakerSettings { failures, pause_ms }),
            distribution: self.once_in(2).then(|| self.pick(&Distribution::ALL)),
        }
    }

    /// A claim that most often waits, or was offered something, most often left by its caller.
    fn leave(&mut self, colony: &Colony, (name, project): (&str, &Project), node: NodeId) -> Leave {
        let waits: Vec<(WaitId, Owner)> = project
            .tasks()
            .waits()
            .map(|(id, wait)| (id, wait.holder.owner.clone()))
            .collect();
        if waits.is_empty() || self.once_in(8) {
            let caller = self.task_caller(colony, name, node);
            return Leave {
                wait: WaitId(7),
                caller,
            };
        }
        let (wait, owner) = self.pick(&waits);
        let caller = match self.once_in(5) {
            true => self.task_caller(colony, name, node),
            false => called(colony, &owner),
        };
        Leave { wait, caller }
    }

    /// The fence and the caller of a task's lease, now and then others.
    fn hold_of(
        &mut self,
        colony: &Colony,
        (name, project): (&str, &Project),
        task: TaskId,
        node: NodeId,
    ) -> (Fence, Caller) {
        let state = project.tasks().get(task).map(|task| &task.state);
        let (mut fence, mut caller) = match state {
            Some(State::Leased(lease)) => (lease.fence, called(colony, &lease.holder.owner)),
            Some(State::Finished(finished)) => (finished.fence, called(colony, &finished.holder.owner)),
            _ => (Fence(1), Caller::Session(TokenHash::of("a"))),
        };
        if self.once_in(6) {
            caller = self.task_caller(colony, name, node);
        }
        if self.once_in(8) {
            fence = Fence(fence.0 - 1);
        }
        (fence, caller)
    }

    /// The id of a task that is most often there, and in a state that is wanted.
    fn task_id(&mut self, project: &Project, wanted: StateName) -> TaskId {
        let all = || project.tasks().after(None);
        let wanted = all().filter(|task| task.state.name() == wanted);
        let mut ids: Vec<TaskId> = wanted.map(|task| task.id).collect();
        if ids.is_empty() || self.once_in(4) {
            ids = all().map(|task| task.id).collect();
        }
        match ids.is_empty() || self.once_in(20) {
            true => TaskId { seq: 7, ordinal: 9 },
            false => self.pick(&ids),
        }
    }

    fn task_to_claim(&mut self, project: &Project) -> TaskId {
        let wanted = self.pick(&[StateName::Pending, StateName::Pending, StateName::Leased]);
        self.task_id(project, wanted)
    }

    fn agent_name(&mut self) -> Arc<str> {
        match self.below(40) {
            0 => "".into(),
            1 => "a/b".into(),
            2 => "n".repeat(NAME_BYTES_MAX + 1).into(),
            _ => self.pick(&["one", "two"]).into(),
        }
    }

    /// A generation that most often lives, if any does.
    fn generation(&mut self, colony: &Colony, node: NodeId, name: &Arc<str>) -> u64 {
        let live = colony.agents().live(node, name).map_or(1, |life| life.id.generation);
        match self.below(8) {
            0 => live + 1,
            1 => live.saturating_sub(1),
            _ => live,
        }
    }

    fn token(&mut self) -> TokenHash {
        TokenHash::of(&self.below(1_000).to_string())
    }

    fn new_session(&mut self) -> NewSession {
        let words = |seeded: &mut Seeded| match seeded.below(30) {
            0 => vec!["b".into(), "a".into()],
            1 => vec!["a".into(), "".into()],
            2 => (10..50).map(|word| word.to_string().into()).collect(),
            3..10 => vec!["a".into(), "b".into()],
            _ => Vec::new(),
        };
        NewSession {
            name: self
                .pick(&["ann", "ann", "ann", "bob", "bob", "bob", "", "a\nb"])
                .into(),
            program: self.pick(&[None, None, None, Some("sh"), Some("")]).map(Into::into),
            capabilities: words(self),
            labels: words(self),
            ttl_ms: match self.once_in(15) {
                true => self.pick(&[0, SESSION_TTL_MS_MIN - 1, SESSION_TTL_MS_MAX + 1]),
                false => self.pick(&[SESSION_TTL_MS_MIN, SESSION_TTL_MS, SESSION_TTL_MS_MAX]),
            },
            token: self.token(),
            passing: self.once_in(2),
        }
    }

    /// A session, most often an open one.
    fn session(&mut self, colony: &Colony, project: Option<&str>) -> Option<Arc<Session>> {
        let sessions = colony.sessions().all();
        let here = sessions.filter(|session| project.is_none_or(|project| *session.project == *project));
        let here: Vec<Arc<Session>> = here.cloned().collect();
        let open: Vec<Arc<Session>> = here.iter().filter(|session| session.ended.is_none()).cloned().collect();
        match (open.is_empty(), here.is_empty()) {
            (false, _) if !self.once_in(5) => Some(self.pick(&open)),
            (_, false) => Some(self.pick(&here)),
            (_, true) => None,
        }
    }

    fn project_command(&mut self) -> ProjectCommand {
        let limits = match self.below(4) {
            0 => ProjectLimits {
                agents: self.pick(&[None, None, Some(0), Some(2)]),
                tasks: self.pick(&[None, None, Some(3)]),
                memory_keys: self.pick(&[None, None, Some(3)]),
                memory_bytes: self.pick(&[None, None, Some(1_500)]),
                commands_per_s: self.pick(&[None, None, None, Some(1), Some(2), Some(COMMANDS_PER_S_MAX + 1)]),
            },
            _ => ProjectLimits::default(),
        };
        match self.below(16) {
            0..4 => ProjectCommand::Create(limits),
            4 => ProjectCommand::Destroy { dry_run: false },
            5 | 6 => ProjectCommand::Destroy { dry_run: true },
            _ => ProjectCommand::Limit(limits),
        }
    }

    fn session_command(&mut self, colony: &Colony, project: &str) -> SessionCommand {
        let known = self.session(colony, Some(project));
        let Some(known) = known.filter(|_| !self.once_in(2)) else {
            return SessionCommand::Open(self.new_session());
        };
        let session = match self.once_in(10) {
            true => SessionId(7),
            false => known.id,
        };
        let token = match self.once_in(10) {
            true => self.token(),
            false => known.opened.token,
        };
        match self.below(3) {
            0 => SessionCommand::Close { session, token },
            _ => SessionCommand::Reopen { session, token },
        }
    }

    fn task_caller(&mut self, colony: &Colony, project: &str, node: NodeId) -> Caller {
        match (self.below(4), self.session(colony, Some(project))) {
            (0, _) => return Caller::Opens(Box::new(self.new_session())),
            (1 | 2, Some(session)) => return Caller::Session(session.opened.token),
            (1, None) => return Caller::Session(self.token()),
            _ => {}
        }
        let name = self.agent_name();
        let generation = self.generation(colony, node, &name);
        Caller::Agent { name, generation }
    }

    fn task_command(
        &mut self,
        colony: &Colony,
        (name, project): (&str, &Project),
        (node, _): (NodeId, u64),
    ) -> TaskCommand {
        match self.below(20) {
            15 if self.once_in(3) => TaskCommand::Leave(self.leave(colony, (name, project), node)),
            0 | 1 | 15 => TaskCommand::Add((0..self.below(4)).map(|_| self.new_task(project)).collect()),
            12 | 13 => TaskCommand::Control(self.control(colony, (name, project), node)),
            14 if self.once_in(2) => TaskCommand::Queue(self.queue_change()),
            2..5 | 14 | 16 | 17 => {
                let caller = self.task_caller(colony, name, node);
                let which = match self.once_in(2) {
                    true => Which::Ids((0..self.below(3)).map(|_| self.task_to_claim(project)).collect()),
                    false => Which::Ready {
                        kinds: (0..self.below(3)).map(|_| self.pick(&["x", "y"]).into()).collect(),
                        limit: match self.once_in(8) {
                            true => self.pick(&[0, 101]),
                            false => self.pick(&[1, 1, 2, 3]),
                        },
                    },
                };
                let capabilities = match self.once_in(12) {
                    true => CAPABILITIES[3],
                    false => self.pick(&CAPABILITIES[..3]),
                };
                let wait_ms = match (&which, self.below(30)) {
                    (_, 0) => Some(60_001),
                    (Which::Ids(_), 1) => Some(1_000),
                    (Which::Ready { .. }, 2..25) => self.pick(&[Some(0), Some(1_000), Some(20_000), Some(60_000)]),
                    _ => None,
                };
                let steal = (matches!(which, Which::Ids(_)) && self.once_in(3)) || self.once_in(40);
                TaskCommand::Claim(Claim {
                    which,
                    caller,
                    wants: Wants {
                        queue: self.pick(&[None, None, None, Some("q2")]).map(Into::into),
                        capabilities: capabilities.iter().map(|name| Arc::from(*name)).collect(),
                        steal,
                        wait_ms,
                    },
                })
            }
            verb => {
                let task = self.task_id(project, StateName::Leased);
                let (fence, caller) = self.hold_of(colony, (name, project), task, node);
                if verb < 7 {
                    return TaskCommand::Accept(Accept { task, fence, caller });
                }
                if verb < 9 {
                    return TaskCommand::Update(Update {
                        task,
                        fence,
                        caller,
                        progress: self.pick(&[None, Some(0), Some(50), Some(101)]),
                        note: self.pick(&[None, None, Some("half"), Some("a\nb")]).map(Into::into),
                        checkpoint: self.pick(&[None, None, Some("3")]).map(Into::into),
                        stealable: self.pick(&[None, Some(true), Some(false)]),
                    });
                }
                let ending = self.pick(&[
                    Ending::Done,
                    Ending::Done,
                    Ending::Failed,
                    Ending::Released,
                    Ending::Blocked,
                    Ending::Cancelled,
                ]);
                let done = ending == Ending::Done;
                let proposal = (self.once_in(3) && (done || self.once_in(3))).then(|| self.proposal(colony, project));
                let checks = project.tasks().get(task).map_or(0, |task| task.terms.checks.len());
                let mut with = FinishWith::default();
                if (done && !self.once_in(6)) || self.once_in(40) {
                    with.checks = vec![if self.once_in(8) { 2 } else { 0 }; checks];
                }
                if (ending == Ending::Failed && !self.once_in(4)) || self.once_in(40) {
                    with.failure = Some(Failure {
                        retryable: !self.once_in(3),
                        class: self.pick(&[None, Some("bad")]).map(Into::into),
                        message: "broken".into(),
                    });
                }
                if (ending == Ending::Blocked && !self.once_in(8)) || self.once_in(40) {
                    with.needs.push(Need::Id(self.task_id(project, StateName::Pending)));
                }
                if (done && self.once_in(4)) || self.once_in(40) {
                    with.follow_ups = (0..self.below(3)).map(|_| self.new_task(project)).collect();
                }
                TaskCommand::Finish(Finish {
                    task,
                    fence,
                    caller,
                    ending,
                    result: self.pick(&["", "", "1"]).into(),
                    proposal,
                    with,
                })
            }
        }
    }

    /// Sessions, each with the position since which it lives where it does, most often.
    fn told(&mut self, colony: &Colony) -> Vec<(SessionId, u64)> {
        let sessions = (0..self.below(4)).filter_map(|_| self.session(colony, None));
        let sessions: Vec<Arc<Session>> = sessions.collect();
        let told = sessions.iter().map(|session| match self.once_in(6) {
            true => (session.id, session.homed - 1),
            false => (session.id, session.homed),
        });
        told.collect()
    }

    fn resource(&mut self) -> Arc<str> {
        let good = [
            "file:**",
            "file:?",
            "file:{a,b}",
            "file:dir/*",
            "file:./dir//",
            "file:**/e",
            "file:dir/é",
            "key:a",
            "key:c",
            "key:dir/",
            "key:dir/e",
            "slot:gpu",
            "slot:port",
        ];
        match self.once_in(40) {
            true => self.pick(&["plan", "file:../x", "key:", "slot:"]).into(),
            false => self.pick(&good).into(),
        }
    }

    fn want(&mut self) -> Want {
        let resource = self.resource();
        let shared = !resource.starts_with("slot:") || self.once_in(20);
        let modes = [
            Mode::Exclusive,
            Mode::Exclusive,
            Mode::Shared,
            Mode::Shared,
            Mode::Intent,
        ];
        let mode = if shared { self.pick(&modes) } else { Mode::Exclusive };
        Want { resource, mode }
    }

    /// Who reserves: most often somebody who has a session already, or opens one that is well formed.
    fn reserver(&mut self, colony: &Colony, project: &str, node: NodeId) -> Caller {
        match (self.below(8), self.session(colony, Some(project))) {
            (0, _) => self.task_caller(colony, project, node),
            (3.., Some(session)) => Caller::Session(session.opened.token),
            _ => {
                let token = self.token();
                Caller::Opens(Box::new(NewSession {
                    passing: self.once_in(2),
                    ..NewSession::new("ann", token)
                }))
            }
        }
    }

    fn reservation_command(
        &mut self,
        colony: &Colony,
        (name, project): (&str, &Project),
        (node, _): (NodeId, u64),
    ) -> ReservationCommand {
        let known: Vec<&Arc<Reservation>> = project.reservations().after(None).collect();
        let ids: Vec<ReservationId> = known.iter().map(|reservation| reservation.id).collect();
        let picked = (!ids.is_empty()).then(|| self.pick(&known));
        let mut caller = picked.map(|reservation| called(colony, &reservation.holder.owner));
        if caller.is_none() || self.once_in(8) {
            caller = Some(self.reserver(colony, name, node));
        }
        let caller = caller.expect("one was made");
        let mut id = || match picked {
            Some(reservation) if !self.once_in(10) => reservation.id,
            _ => self.pick(&[
                ReservationId { seq: 1, ordinal: 5 },
                ReservationId {
                    seq: u64::MAX,
                    ordinal: 0,
                },
            ]),
        };
        let named: Vec<ReservationId> = [id(), id()]
            .into_iter()
            .take(1 + usize::from(self.once_in(6)))
            .collect();
        let ttl_ms = match self.once_in(12) {
            true => self.pick(&[Some(999), Some(86_400_001)]),
            false => self.pick(&[None, None, Some(1_000), Some(5_000)]),
        };
        match self.below(12) {
            0 => ReservationCommand::Force(Force {
                ids: named,
                reason: self.pick(&["stale", "stale", ""]).into(),
            }),
            1 => ReservationCommand::Renew(Renew {
                ids: named,
                caller,
                ttl_ms,
            }),
            2..5 => ReservationCommand::Release(Release {
                which: match self.below(4) {
                    0 => Released::All,
                    1 => Released::Resources((0..self.below(3)).map(|_| self.resource()).collect()),
                    _ => Released::Ids(named),
                },
                caller,
            }),
            5 if self.once_in(6) => ReservationCommand::Advisory(self.once_in(3)),
            5 => ReservationCommand::Slot {
                name: self.pick(&["gpu", "gpu", "port", ""]).into(),
                capacity: self.pick(&[0, 1, 2, 2, 1_025]),
            },
            _ => ReservationCommand::Acquire(Acquire {
                resources: (0..self.pick(&[1, 1, 1, 1, 1, 2, 2, 3, 0]))
                    .map(|_| self.want())
                    .collect(),
                caller: match self.once_in(2) {
                    true => caller,
                    false => self.reserver(colony, name, node),
                },
                ttl_ms,
                wait_ms: self.pick(&[0, 0, 2_000, 20_000, 20_000, 3_600_001]),
                reason: self
                    .pick(&[None, None, None, None, Some("why"), Some("why"), Some("a\nb")])
                    .map(Into::into),
                task: self.once_in(8).then(|| self.task_id(project, StateName::Leased)),
            }),
        }
    }

    fn agent_command(&mut self, colony: &Colony, (node, _): (NodeId, u64)) -> AgentCommand {
        let name = self.agent_name();
        let generation = self.generation(colony, node, &name);
        match self.below(26) {
            0 => AgentCommand::NodeStarted,
            20..23 => AgentCommand::SessionsSilent(self.told(colony)),
            23.. => AgentCommand::SessionsAlive(self.told(colony).into_iter().map(|(id, _)| id).collect()),
            1 => {
                let node = NodeId(1 + self.below(NODES));
                let newest = colony.dedup().incarnation(node).unwrap_or(1);
                AgentCommand::NodeLost {
                    node,
                    incarnation: self.pick(&[newest, newest + 1, newest - 1]),
                }
            }
            2..7 => AgentCommand::Ended {
                name,
                generation,
                reason: self.pick(&["", "panicked", AGENT_DONE]).into(),
            },
            _ => AgentCommand::Started { name, generation },
        }
    }
}

/// An owner as a caller says who it is.
fn called(colony: &Colony, owner: &Owner) -> Caller {
    match owner {
        Owner::Session { session, .. } => {
            let session = colony.sessions().get(*session);
            Caller::Session(session.map_or(TokenHash::of("a"), |session| session.opened.token))
        }
        Owner::Agent { agent, .. } => Caller::Agent {
            name: agent.name.clone(),
            generation: agent.generation,
        },
    }
}

/// One command as it arrives: when, and from which start of which node.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) cluster_ms: u64,
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    pub(super) command: Command,
    /// Whether the leader proposes a round without commands before it.
    pub(super) empty_before: bool,
}

/// What the leader proposes when something is due.
pub(super) fn empty_round() -> Round {
    Round {
        node: NodeId::NONE,
        incarnation: 0,
        commands: Vec::new(),
    }
}

impl Step {
    pub(super) fn apply(&self, colony: &mut Colony) -> Applied {
        let round = Round {
            node: self.node,
            incarnation: self.incarnation,
            commands: vec![self.command.clone()],
        };
        let empty = self.empty_before.then(empty_round);
        let rounds: Vec<Round> = empty.into_iter().chain([round]).collect();
        colony.apply(self.cluster_ms, wall_ms(self.cluster_ms), &rounds, self.node)
    }
}

/// The number of nodes that send commands, numbered from 1.
pub(super) const NODES: u64 = 3;

/// Makes the commands of all nodes. It looks at the colony, so that reads and conditions hold often enough.
pub(super) struct Generator {
    pub(super) seeded: Seeded,
    cluster_ms: u64,
    /// By node: incarnation, next number, settled.
    nodes: [(u64, u64, u64); NODES as usize],
    sent: Vec<Step>,
    /// Most of the commands are about reservations.
    pub(super) of_reservations: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Generator {
        Generator {
            seeded: Seeded(seed),
            cluster_ms: 1_000,
            nodes: [(1, 1, 0); NODES as usize],
            sent: Vec::new(),
            of_reservations: false,
        }
    }

    pub(super) fn next(&mut self, colony: &Colony) -> Step {
        self.cluster_ms = match self.seeded.below(40) {
            // Now and then so long that events are too old.
            0 => {
                self.cluster_ms
                    + self
                        .seeded
                        .pick(&[IDEMPOTENCY_MS / 2, IDEMPOTENCY_MS / 2, EVENTS_KEPT_MS])
            }
            // A new leader whose clock is behind.
            1 => self.cluster_ms.saturating_sub(500),
            2..10 => self.cluster_ms + self.seeded.below(2_000),
            _ => self.cluster_ms,
        };
        let step = match self.seeded.below(8) {
            0 if !self.sent.is_empty() => self.repeated(colony),
            _ => self.fresh(colony),
        };
        self.sent.push(step.clone());
        step
    }

    /// A command that was sent before; now and then under its number stands another one, which must not matter.
    fn repeated(&mut self, colony: &Colony) -> Step {
        let mut step = self.seeded.pick(&self.sent);
        step.cluster_ms = self.cluster_ms;
        if self.seeded.once_in(4) {
            step.command.body = self.fresh(colony).command.body;
        }
        step
    }

    fn fresh(&mut self, colony: &Colony) -> Step {
        let place = self.seeded.below(NODES);
        let (incarnation, next, settled) = &mut self.nodes[place as usize];
        if self.seeded.once_in(40) {
            (*incarnation, *next, *settled) = (*incarnation + 1 + self.seeded.below(2), 1, 0);
        }
        if self.seeded.once_in(4) {
            *settled = *settled + self.seeded.below(*next + 1 - *settled);
        }
        // Now and then numbers arrive out of order.
        let number = match self.seeded.once_in(6) {
            true => self.seeded.below(*next + 3),
            false => *next,
        };
        *next += 1;
        let (incarnation, settled) = (*incarnation, *settled);
        Step {
            cluster_ms: self.cluster_ms,
            node: NodeId(place + 1),
            incarnation,
            command: self.command(number, settled, colony, (NodeId(place + 1), incarnation)),
            empty_before: self.seeded.once_in(20),
        }
    }

    fn command(&mut self, number: u64, settled: u64, colony: &Colony, from: (NodeId, u64)) -> Command {
        let project = match self.seeded.below(40) {
            0 => "",
            1 => "a/b",
            2..12 => "q",
            _ => "p",
        };
        let author = if self.seeded.once_in(40) {
            "a\nb"
        } else {
            self.seeded.pick(&["ann", "ann", "ann", "ann", "bob"])
        };
        let key = self.seeded.once_in(4).then(|| match self.seeded.below(20) {
            0 => "".into(),
            1 => "i".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1).into(),
            _ => self.seeded.pick(&["one", "two", "three"]).into(),
        });
        let same_body = self
            .sent
            .iter()
            .rev()
            .find(|step| key.is_some() && step.command.idempotency_key == key);
        let body = match same_body {
            Some(step) if self.seeded.once_in(2) => step.command.body.clone(),
            _ if self.of_reservations && !self.seeded.once_in(4) => {
                let nothing = Project::default();
                let here = colony.project(project).unwrap_or(&nothing);
                Body::Reservation(self.seeded.reservation_command(colony, (project, here), from))
            }
            _ => self.seeded.body(colony, project, from),
        };
        Command {
            number,
            settled,
            expires_ms: match self.seeded.once_in(20) {
                true => self.cluster_ms.saturating_sub(1 + self.seeded.below(100)),
                false => self.cluster_ms + self.seeded.below(5_000),
            },
            project: project.into(),
            author: author.into(),
            idempotency_key: key,
            body,
            listed: self.seeded.once_in(30),
        }
    }
}

/// A sequence of commands, made while they are applied one by one, and the colony that they lead to.
pub(super) fn sequence(seed: u64, length: usize) -> (Vec<Step>, Colony) {
    let (mut generator, mut colony) = (Generator::new(seed), Colony::default());
    let steps = (0..length)
        .map(|_| {
            let step = generator.next(&colony);
            step.apply(&mut colony);
            step
        })
        .collect();
    (steps, colony)
}

/// Runs `check` for each seed, and names the seed that fails.
pub(super) fn each_seed(seeds: std::ops::Range<u64>, check: impl Fn(u64)) {
    for seed in seeds {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed)));
        assert!(checked.is_ok(), "seed {seed}");
    }
}
