//! A fixed sequence of commands and the digest that it leads to.

use super::*;

/// Changes only together with [`RULES_VERSION`]: a node that replays an old log must come to the digest of the others.
const DIGEST: &str = "7a12673a7137792a0cccfc9255a31663";

fn acquire(resources: &[&str], caller: Caller) -> Body {
    let want = |resource: &&str| Want {
        resource: (*resource).into(),
        mode: Mode::Exclusive,
    };
    Body::Reservation(ReservationCommand::Acquire(Acquire {
        resources: resources.iter().map(want).collect(),
        caller,
        ttl_ms: Some(5_000),
        wait_ms: 5_000,
        reason: Some("why".into()),
        task: None,
    }))
}

fn commands(rig: &mut Rig) -> Vec<Command> {
    let mut tagged = write("notes/1", inline("first"));
    tagged.tags = vec!["draft".into(), "urgent".into()];
    let stale = proposal(vec![read("counter", 9)], vec![write("counter", inline("0"))]);
    let together = vec![
        proposal(
            vec![],
            vec![write("counter", Op::Increment(2)), write("x", inline("1"))],
        ),
        proposal(vec![], vec![write("counter", Op::Increment(3))]),
        Proposal {
            priority: 1,
            ..proposal(vec![read("x", 0)], vec![write("y", inline("2"))])
        },
    ];
    let bodies = [
        put("notes/1", "zero"),
        change("counter", Op::Increment(40)),
        change("counter", Op::Max(7)),
        change("large", inline(large(1))),
        change("copy", kept(&large(1))),
        change("log", Op::Append("line".into())),
        change("set", Op::SetAdd("b".into())),
        change("set", Op::SetAdd("a".into())),
        change_if("set", Op::Delete, Condition::IfRevision(1)),
        Body::Propose(proposal(vec![read("notes/1", 1), read("none", 0)], vec![tagged])),
        Body::Propose(stale),
        batch(Policy::First, together.clone()),
        batch(Policy::Merge, together.clone()),
        batch(Policy::Exclude, together.clone()),
        batch(Policy::Reject, together),
        change("large", Op::Delete),
        Body::Agent(AgentCommand::Started {
            name: "worker".into(),
            generation: 1,
        }),
        Body::Task(TaskCommand::Add(vec![
            NewTask {
                title: "one".into(),
                kind: Some("build".into()),
                payload: "{}".into(),
                name: Some("first".into()),
                terms: Terms {
                    queue: "builds".into(),
                    requires: vec!["rust".into()],
                    priority: Priority::High,
                    ..Terms::default()
                },
            },
            NewTask {
                title: "two".into(),
                ..NewTask::default()
            },
            NewTask {
                title: "three".into(),
                terms: Terms {
                    needs: vec![Need::Name("first".into())],
                    ..Terms::default()
                },
                ..NewTask::default()
            },
        ])),
        Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ready {
                kinds: vec!["build".into()],
                limit: 1,
            },
            caller: Caller::Agent {
                name: "worker".into(),
                generation: 1,
            },
            wants: Wants {
                queue: Some("builds".into()),
                capabilities: vec!["rust".into()],
                steal: false,
                wait_ms: None,
            },
        })),
        Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ids(vec![TaskId { seq: 18, ordinal: 1 }]),
            caller: Caller::Opens(Box::new(NewSession::new("hand", TokenHash::of("token")))),
            wants: Wants::default(),
        })),
        Body::Task(TaskCommand::Finish(Finish {
            task: TaskId { seq: 18, ordinal: 0 },
            fence: Fence(19),
            caller: Caller::Agent {
                name: "worker".into(),
                generation: 1,
            },
            ending: Ending::Done,
            result: "1".into(),
            proposal: Some(proposal(vec![], vec![write("built", inline("yes"))])),
            with: FinishWith {
                usage: Some(Spent {
                    tokens_in: 7,
                    tokens_out: 3,
                    cost_micros: 5,
                }),
                ..FinishWith::default()
            },
        })),
        Body::Reservation(ReservationCommand::Slot {
            name: "gpu".into(),
            capacity: 2,
        }),
        acquire(
            &["file:src/{a,b}/*.rs", "slot:gpu"],
            Caller::Agent {
                name: "worker".into(),
                generation: 1,
            },
        ),
        acquire(
            &["key:src/a/x.rs", "file:docs/"],
            Caller::Session(TokenHash::of("token")),
        ),
        Body::Budget(BudgetCommand::Set {
            account: AccountName::Queue("builds".into()),
            limits: BudgetLimits {
                tokens: Some(1_000),
                ..BudgetLimits::default()
            },
        }),
    ];
    let mut commands: Vec<Command> = bodies.into_iter().map(|body| rig.command(body)).collect();
    commands[1].idempotency_key = Some("once".into());
    commands[5].project = "q".into();
    commands.push(Command {
        expires_ms: 1,
        ..rig.command(put("late", "1"))
    });
    commands.iter_mut().for_each(|command| command.settled = 2);
    commands.push(commands[2].clone());
    commands
}

#[test]
fn a_recorded_sequence_leads_to_the_recorded_digest() {
    let mut rig = Rig::default();
    for (place, command) in commands(&mut rig).into_iter().enumerate() {
        rig.now_ms = 10 * place as u64;
        rig.send(command);
    }
    assert_eq!(rig.colony.digest().to_string(), DIGEST);
}
