//! Tasks and agents, promise by promise.

use super::*;

pub(super) const NODE: NodeId = NodeId(1);

pub(super) fn new_task(title: &str) -> NewTask {
    NewTask {
        title: title.into(),
        ..NewTask::default()
    }
}

pub(super) fn token(text: &str) -> Caller {
    Caller::Session(TokenHash::of(text))
}

/// With the sessions `a` and `b`, whose tokens are their names.
pub(super) fn rig() -> Rig {
    let mut rig = Rig::default();
    for name in ["a", "b"] {
        let new = NewSession::new(name, TokenHash::of(name));
        let opened = rig.run(Body::Session(SessionCommand::Open(new)));
        assert!(matches!(opened, Outcome::SessionOpen { .. }), "{opened:?}");
    }
    rig
}

pub(super) fn agent(name: &str, generation: u64) -> Caller {
    Caller::Agent {
        name: name.into(),
        generation,
    }
}

pub(super) fn ready(caller: Caller, limit: u32) -> Body {
    let kinds = Vec::new();
    claim(Which::Ready { kinds, limit }, caller)
}

pub(super) fn claim(which: Which, caller: Caller) -> Body {
    Body::Task(TaskCommand::Claim(Claim {
        which,
        caller,
        wants: Wants::default(),
    }))
}

pub(super) fn finish(task: TaskId, fence: Fence, caller: Caller) -> Finish {
    Finish {
        task,
        fence,
        caller,
        ending: Ending::Done,
        result: Bytes::new(),
        proposal: None,
        with: FinishWith::default(),
    }
}

pub(super) fn started(name: &str, generation: u64) -> Body {
    let name = name.into();
    Body::Agent(AgentCommand::Started { name, generation })
}

pub(super) fn ended(name: &str, generation: u64) -> Body {
    Body::Agent(AgentCommand::Ended {
        name: name.into(),
        generation,
        reason: "panicked".into(),
    })
}

impl Rig {
    pub(super) fn add(&mut self, tasks: Vec<NewTask>) -> Vec<TaskId> {
        match self.run(Body::Task(TaskCommand::Add(tasks))) {
            Outcome::Added { tasks, .. } => tasks.into_iter().map(|added| added.task).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn add_one(&mut self) -> TaskId {
        self.add(vec![new_task("work")])[0]
    }

    pub(super) fn claimed(&mut self, body: Body) -> Vec<Claimed> {
        match self.run(body) {
            Outcome::Claimed { tasks, .. } => tasks,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn claim_one(&mut self, task: TaskId, caller: Caller) -> Fence {
        self.claimed(claim(Which::Ids(vec![task]), caller))[0].fence
    }

    pub(super) fn refused(&mut self, body: Body) -> Refusal {
        match self.run(body) {
            Outcome::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn finish(&mut self, finish: Finish) -> Outcome {
        self.run(Body::Task(TaskCommand::Finish(finish)))
    }

    pub(super) fn tasks(&self) -> &Tasks {
        self.colony.project("p").expect("a task was added").tasks()
    }

    pub(super) fn state(&self, task: TaskId) -> StateName {
        self.tasks().get(task).expect("it is kept").state.name()
    }

    /// An entry with one empty round: what the leader proposes when something is due.
    pub(super) fn empty_round(&mut self) {
        let round = Round {
            node: NODE,
            incarnation: 1,
            commands: Vec::new(),
        };
        self.colony.apply(self.now_ms, wall_ms(self.now_ms), &[round], NODE);
    }
}

#[test]
fn one_of_many_claims_wins_and_the_others_learn_who_holds_it() {
    let mut rig = rig();
    let task = rig.add_one();
    let fence = rig.claim_one(task, token("a"));
    let Refusal::TaskHeld { attempt, holder, .. } = rig.refused(claim(Which::Ids(vec![task]), token("b"))) else {
        panic!("held by a");
    };
    assert!(matches!(holder.owner, Owner::Session { name, .. } if &*name == "a"));
    assert_eq!(attempt, 1);
    assert!(matches!(
        rig.finish(finish(task, fence, token("a"))),
        Outcome::Finished { .. }
    ));
    let refusal = rig.refused(claim(Which::Ids(vec![task]), token("b")));
    assert!(matches!(
        refusal,
        Refusal::TaskFinished {
            state: StateName::Done,
            ..
        }
    ));
}

#[test]
fn any_ready_task_is_the_oldest_of_its_kinds() {
    let mut rig = rig();
    let kinds: Vec<NewTask> = ["x", "y", "z", "y"]
        .map(|kind| NewTask {
            kind: Some(kind.into()),
            ..new_task(kind)
        })
        .into();
    let tasks = rig.add(kinds);
    let mut take = |kinds: &[&str], limit| {
        let kinds = kinds.iter().map(|kind| Arc::from(*kind)).collect();
        let claimed = rig.claimed(claim(Which::Ready { kinds, limit }, token("a")));
        claimed.iter().map(|claimed| claimed.task).collect::<Vec<_>>()
    };
    assert_eq!(take(&["z", "y"], 2), [tasks[1], tasks[2]]);
    assert_eq!(take(&["nothing"], 5), []);
    assert_eq!(take(&[], 5), [tasks[0], tasks[3]]);
    assert_eq!(take(&[], 5), []);
}

#[test]
fn a_name_is_added_once() {
    let mut rig = rig();
    let named = || NewTask {
        name: Some("n".into()),
        ..new_task("work")
    };
    let first = rig.add(vec![named(), new_task("other"), named()]);
    assert_eq!(first[0], first[2]);
    assert_eq!(rig.add(vec![named()]), [first[0]]);
    assert_eq!(rig.tasks().len(), 2);
}

#[test]
fn a_stale_fence_another_token_a_double_finish_and_an_unknown_id_are_refused() {
    let mut rig = rig();
    let task = rig.add_one();
    let old = rig.claim_one(task, token("a"));
    rig.finish(Finish {
        ending: Ending::Released,
        ..finish(task, old, token("a"))
    });
    let fence = rig.claim_one(task, token("b"));
    assert!(fence > old);
    let fenced = |outcome| matches!(outcome, Outcome::Refused(Refusal::Fenced { attempt: 2, .. }));
    assert!(fenced(rig.finish(finish(task, old, token("a")))));
    assert!(fenced(rig.finish(finish(task, fence, token("a")))));
    assert!(fenced(rig.finish(finish(task, old, token("b")))));
    let accept = Accept {
        task,
        fence: old,
        caller: token("a"),
    };
    assert!(fenced(rig.run(Body::Task(TaskCommand::Accept(accept)))));
    rig.finish(finish(task, fence, token("b")));
    let again = rig.finish(finish(task, fence, token("b")));
    assert!(
        matches!(again, Outcome::Refused(Refusal::TaskFinished { .. })),
        "{again:?}"
    );
    assert!(fenced(rig.finish(finish(task, old, token("a")))));
    let unknown = TaskId { seq: 9_999, ordinal: 0 };
    let unknown = rig.finish(finish(unknown, fence, token("b")));
    assert!(matches!(unknown, Outcome::Refused(Refusal::UnknownTask { .. })));
}

#[test]
fn a_repeated_finish_with_its_idempotency_key_is_answered_as_the_first() {
    let mut rig = rig();
    let task = rig.add_one();
    let fence = rig.claim_one(task, token("a"));
    let mut send = || {
        let command = Command {
            idempotency_key: Some("once".into()),
            ..rig.command(Body::Task(TaskCommand::Finish(finish(task, fence, token("a")))))
        };
        rig.send(command).0
    };
    let first = send();
    assert!(matches!(first, Outcome::Finished { .. }));
    assert_eq!(send(), first);
}

#[test]
fn an_owner_says_how_far_it_has_come() {
    let mut rig = rig();
    let task = rig.add_one();
    let fence = rig.claim_one(task, token("a"));
    let update = |progress, note: Option<&str>| Update {
        task,
        fence,
        caller: token("a"),
        progress,
        note: note.map(Arc::from),
        checkpoint: None,
        stealable: None,
        usage: None,
    };
    let said = |rig: &Rig| match &rig.tasks().get(task).unwrap().state {
        State::Leased(lease) => (lease.progress, lease.note.clone()),
        other => panic!("{other:?}"),
    };
    let run = |rig: &mut Rig, update| rig.run(Body::Task(TaskCommand::Update(update)));
    let bytes = rig.tasks().bytes().0;
    let first = run(&mut rig, update(Some(50), Some("half")));
    assert!(
        matches!(
            first,
            Outcome::Accepted {
                attempt: 1,
                until_ms: None,
                ..
            }
        ),
        "{first:?}"
    );
    assert_eq!(said(&rig), (Some(50), Some("half".into())));
    assert_eq!(rig.tasks().bytes().0, bytes + 4);
    run(&mut rig, update(Some(100), None));
    assert_eq!(said(&rig), (Some(100), Some("half".into())));
    let refused = |rig: &mut Rig, update| match run(rig, update) {
        Outcome::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(&mut rig, update(Some(101), None)),
        "progress: 101 is over the limit of 100"
    );
    let long = "x".repeat(NOTE_BYTES_MAX + 1);
    assert_eq!(
        refused(&mut rig, update(None, Some(&long))),
        "note: 257 is over the limit of 256"
    );
    let stale = Update {
        fence: Fence(fence.0 - 1),
        ..update(Some(1), None)
    };
    assert!(refused(&mut rig, stale).contains("does not hold task"));
    assert_eq!(said(&rig), (Some(100), Some("half".into())));
    rig.finish(finish(task, fence, token("a")));
    assert!(refused(&mut rig, update(Some(1), None)).contains("is done"));
}

#[test]
fn an_agents_lease_holds_while_it_lives() {
    let mut rig = rig();
    let task = rig.add_one();
    assert!(matches!(
        rig.refused(ready(agent("a", 1), 1)),
        Refusal::AgentNotLive { live: None, .. }
    ));
    rig.run(started("a", 1));
    let fence = rig.claim_one(task, agent("a", 1));
    rig.now_ms = 100 * SESSION_TTL_MS;
    rig.empty_round();
    assert_eq!((rig.state(task), rig.colony.due_ms()), (StateName::Leased, None));
    rig.run(ended("a", 1));
    assert_eq!(rig.state(task), StateName::Pending);
    let reason = &rig.tasks().get(task).unwrap().history[0].reason;
    assert_eq!(*reason, Return::Agent(AgentEnd::Ended("panicked".into())));
    assert_eq!(rig.colony.agents().count(NODE), 0);
    let late = rig.finish(finish(task, fence, agent("a", 1)));
    assert!(matches!(late, Outcome::Refused(Refusal::Fenced { .. })), "{late:?}");
}

#[test]
fn a_later_generation_takes_the_place_of_the_earlier_one() {
    let mut rig = rig();
    let task = rig.add_one();
    rig.run(started("a", 1));
    let old = rig.claim_one(task, agent("a", 1));
    assert!(matches!(
        rig.refused(started("a", 1)),
        Refusal::AgentLive { generation: 1, .. }
    ));
    rig.run(started("a", 2));
    assert!(matches!(
        rig.refused(ended("a", 1)),
        Refusal::AgentNotLive { live: Some(2), .. }
    ));
    let fence = rig.claim_one(task, agent("a", 2));
    assert!(fence > old);
    assert!(matches!(
        rig.finish(finish(task, fence, agent("a", 2))),
        Outcome::Finished { .. }
    ));
}

#[test]
fn the_tasks_of_a_restarted_node_return_and_those_of_other_nodes_stay() {
    let mut rig = rig();
    let tasks = rig.add(vec![new_task("1"), new_task("2")]);
    rig.run(started("a", 1));
    rig.claim_one(tasks[0], agent("a", 1));
    let send = |colony: &mut Colony, node, incarnation, number, body| {
        let command = Command {
            number,
            ..Rig::default().command(body)
        };
        let round = Round {
            node,
            incarnation,
            commands: vec![command],
        };
        colony.apply(0, wall_ms(0), &[round], node).outcomes.remove(0).outcome
    };
    send(&mut rig.colony, NodeId(2), 1, 1, started("a", 1));
    let which = Which::Ids(vec![tasks[1]]);
    send(&mut rig.colony, NodeId(2), 1, 2, claim(which, agent("a", 1)));
    send(&mut rig.colony, NODE, 2, 1, Body::Agent(AgentCommand::NodeStarted));
    assert_eq!(rig.state(tasks[0]), StateName::Pending);
    assert_eq!(rig.state(tasks[1]), StateName::Leased);
    let reason = &rig.tasks().get(tasks[0]).unwrap().history[0].reason;
    assert_eq!(*reason, Return::Agent(AgentEnd::NodeRestarted));
}

#[test]
fn the_tasks_of_a_lost_node_return_a_few_at_a_time_and_a_claim_by_id_need_not_wait() {
    let mut rig = rig();
    rig.run(started("a", 1));
    let many = 3 * STEPS_PER_COMMAND;
    let tasks = rig.add(vec![new_task("work"); many]);
    for task in &tasks {
        rig.claim_one(*task, agent("a", 1));
    }
    let lost = AgentCommand::NodeLost {
        node: NODE,
        incarnation: 1,
    };
    rig.run(Body::Agent(lost));
    assert_eq!(rig.tasks().ready(), STEPS_PER_COMMAND);
    let last = tasks[many - 1];
    rig.claim_one(last, token("b"));
    assert_eq!(rig.tasks().get(last).unwrap().attempts, 2);
    while rig.colony.due_ms() == Some(0) {
        rig.empty_round();
    }
    assert_eq!(rig.tasks().ready(), many - 1);
    assert_eq!(rig.colony.agents().lives().count(), 0);
    // The node was only away: its agents go on under new generations.
    assert!(matches!(rig.run(started("a", 2)), Outcome::AgentStarted { .. }));
}

#[test]
fn losing_an_earlier_start_of_a_node_ends_nothing() {
    let mut rig = rig();
    rig.run(started("a", 1));
    let lost = AgentCommand::NodeLost {
        node: NODE,
        incarnation: 0,
    };
    let outcome = rig.run(Body::Agent(lost));
    assert!(matches!(outcome, Outcome::AgentsEnded { ended: false, .. }));
    assert!(rig.colony.agents().live(NODE, &"a".into()).is_some());
}

#[test]
fn a_task_is_done_with_its_proposal_or_stays_leased() {
    let mut rig = rig();
    let task = rig.add_one();
    let fence = rig.claim_one(task, token("a"));
    rig.run(put("k", "1"));
    let with = |reads, writes| Finish {
        proposal: Some(proposal(reads, writes)),
        ..finish(task, fence, token("a"))
    };
    let lost = rig.finish(with(vec![read("k", 0)], vec![write("k", inline("2"))]));
    assert!(matches!(lost, Outcome::Lost { total: 1, .. }));
    assert_eq!(rig.state(task), StateName::Leased);
    let refused = rig.finish(with(vec![], vec![write("k", kept(&large(1)))]));
    assert!(matches!(refused, Outcome::Refused(Refusal::MissingContent { .. })));
    assert_eq!(rig.state(task), StateName::Leased);
    let done = rig.finish(with(vec![read("k", 1)], vec![write("k", inline("2"))]));
    assert!(matches!(done, Outcome::Finished { revisions, .. } if revisions == [2]));
    assert_eq!((rig.state(task), rig.value("k")), (StateName::Done, Some(&b"2"[..])));
}

#[test]
fn the_history_of_a_task_is_bounded() {
    let mut rig = rig();
    let task = rig.add_one();
    for attempt in 1..=20 {
        let fence = rig.claim_one(task, token("a"));
        rig.finish(Finish {
            ending: Ending::Released,
            ..finish(task, fence, token("a"))
        });
        assert_eq!(rig.tasks().get(task).unwrap().attempts, attempt);
    }
    let history = &rig.tasks().get(task).unwrap().history;
    let numbers: Vec<u32> = history.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (13..=20).collect::<Vec<_>>());
}

#[test]
fn what_is_over_a_limit_is_refused_and_names_it() {
    let mut rig = rig();
    let over = |refusal: Refusal, name: &str| {
        assert!(
            matches!(&refusal, Refusal::OverLimit { field, .. } if &**field == name),
            "{refusal:?}"
        );
    };
    let add = |task: NewTask| Body::Task(TaskCommand::Add(vec![task]));
    let many = vec![new_task("t"); ADD_TASKS_MAX + 1];
    over(rig.refused(Body::Task(TaskCommand::Add(many))), "tasks");
    over(rig.refused(add(new_task(&"t".repeat(TITLE_BYTES_MAX + 1)))), "title");
    let payload = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
    over(
        rig.refused(add(NewTask {
            payload,
            ..new_task("t")
        })),
        "payload",
    );
    over(rig.refused(ready(token("a"), CLAIM_TASKS_MAX as u32 + 1)), "limit");
    let long = Body::Agent(AgentCommand::Started {
        name: "n".repeat(NAME_BYTES_MAX + 1).into(),
        generation: 1,
    });
    over(rig.refused(long), "name");
}

#[test]
fn a_task_id_has_one_text() {
    let id = TaskId { seq: 17, ordinal: 3 };
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in [
        "",
        "17",
        "17-",
        "-3",
        "+17-3",
        "017-3",
        "17-03",
        "17-3 ",
        "17-4294967296",
    ] {
        assert!(text.parse::<TaskId>().is_err(), "{text}");
    }
}

#[test]
fn no_outcome_of_a_task_is_larger_than_its_command_said() {
    use bincode::Options;
    let mut rig = rig();
    let author = "a".repeat(NAME_BYTES_MAX);
    let name: Arc<str> = "n".repeat(NAME_BYTES_MAX).into();
    let long = |rig: &mut Rig, body: Body| {
        let most = body.outcome_bytes_max();
        let command = Command {
            author: author.as_str().into(),
            ..rig.command(body)
        };
        let outcome = rig.send(command).0;
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        let bytes = options.serialized_size(&outcome).unwrap() as usize;
        assert!(bytes <= most, "{bytes} {most} {outcome:?}");
        outcome
    };
    let caller = || Caller::Agent {
        name: name.clone(),
        generation: 1,
    };
    let tasks = rig.add(vec![new_task("t"); CLAIM_TASKS_MAX]);
    long(&mut rig, started(&name, 1));
    long(&mut rig, started(&name, 1));
    let all = claim(Which::Ids(tasks.clone()), caller());
    assert!(matches!(long(&mut rig, all.clone()), Outcome::Claimed { .. }));
    let fence = Fence(rig.colony.seq());
    assert!(matches!(
        long(&mut rig, all),
        Outcome::Refused(Refusal::TaskHeld { .. })
    ));
    let one = claim(Which::Ids(vec![tasks[0]]), token("b"));
    assert!(matches!(
        long(&mut rig, one.clone()),
        Outcome::Refused(Refusal::TaskHeld { .. })
    ));
    let done = Body::Task(TaskCommand::Finish(finish(tasks[0], fence, caller())));
    assert!(matches!(long(&mut rig, done.clone()), Outcome::Finished { .. }));
    assert!(matches!(
        long(&mut rig, done),
        Outcome::Refused(Refusal::TaskFinished { .. })
    ));
    let stale = finish(tasks[1], Fence(1), caller());
    let stale = long(&mut rig, Body::Task(TaskCommand::Finish(stale)));
    assert!(matches!(stale, Outcome::Refused(Refusal::Fenced { .. })));
    let unknown = Caller::Agent {
        name: name.clone(),
        generation: 9,
    };
    long(&mut rig, ready(unknown, 1));
    long(&mut rig, ready(token("b"), CLAIM_TASKS_MAX as u32));
}
