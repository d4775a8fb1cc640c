//! Tasks and the commands about them.

use super::owners::called;
use super::*;

/// What workers say that they are capable of; the last is no list that a claim may bring.
const CAPABILITIES: [&[&str]; 4] = [&[], &["arm"], &["arm", "gpu"], &["gpu", "arm"]];

/// What tasks may cost: nothing said, as much as that counts, less and more.
const COSTS: [u32; 6] = [0, 0, 1, 50, 100, 1_000];

impl Seeded {
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
            cost: self.pick(&COSTS),
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
            rates: self.tokens(project),
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
            terms: match self.below(6) {
                0 | 1 => self.terms(project),
                // Many of one line.
                2 | 3 => Terms {
                    cost: self.pick(&COSTS),
                    rates: self.tokens(project),
                    ..Terms::default()
                },
                _ => Terms::default(),
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
    pub(super) fn task_id(&mut self, project: &Project, wanted: StateName) -> TaskId {
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

    pub(super) fn task_caller(&mut self, colony: &Colony, project: &str, node: NodeId) -> Caller {
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

    pub(super) fn task_command(
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
                        usage: self.spent(),
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
                let mut with = FinishWith {
                    usage: self.spent(),
                    ..FinishWith::default()
                };
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
}
