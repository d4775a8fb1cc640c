//! What the colony is told of the lives of agents.

use queenright_protocol::colony::{AgentCommand, Body, Claim, Refusal, TaskCommand, Wants, Which};

use super::*;

/// Claims as an agent does, and reports how many claims had an outcome and what the last one was.
pub(super) async fn claim(context: &AgentContext, times: u32) -> Result<Step, BehaviourError> {
    for time in 1..=times {
        let claim = Claim {
            which: Which::Ready {
                kinds: Vec::new(),
                limit: 1,
            },
            caller: context.caller(),
            wants: Wants::default(),
        };
        let request = Request {
            project: "default".into(),
            author: context.name().into(),
            idempotency_key: None,
            body: Body::Task(TaskCommand::Claim(claim)),
        };
        let outcome = context.submit(request, Duration::from_secs(60)).await;
        context.report("outcome", format!("{outcome:?}"));
        context.report("claims", time);
    }
    Ok(Step::Wait)
}

/// What was submitted, in one line.
fn line(request: &Request) -> String {
    assert_eq!(&*request.author, "a");
    match &request.body {
        Body::Agent(AgentCommand::Started { name, generation }) => format!("{name}.{generation} started"),
        Body::Agent(AgentCommand::Ended {
            name,
            generation,
            reason,
        }) => format!("{name}.{generation} ended: {reason}"),
        Body::Task(TaskCommand::Claim(_)) => "claim".to_owned(),
        other => panic!("{other:?}"),
    }
}

const STARTED: Outcome = Outcome::AgentStarted { seq: 7 };

fn claimed() -> Outcome {
    Outcome::Claimed {
        seq: 8,
        tasks: Vec::new(),
        until_ms: None,
        session: None,
    }
}

impl Rig {
    /// The next command: it must be this one, and waits for its outcome.
    #[track_caller]
    fn expect(&mut self, expected: &str) -> impl Future<Output = oneshot::Sender<Result<Outcome, SubmitError>>> {
        let expected = expected.to_owned();
        async move {
            let next = tokio::time::timeout(Duration::from_secs(20), self.submitted.recv());
            let (request, ticket) = next.await.unwrap_or_else(|_| panic!("no {expected}")).unwrap();
            assert_eq!(line(&request), expected);
            ticket
        }
    }

    async fn answer(&mut self, expected: &str, outcome: Result<Outcome, SubmitError>) {
        self.expect(expected).await.send(outcome).unwrap();
    }

    async fn until_claims(&self, claims: u64) -> AgentStatus {
        self.until(|status| status.report.get("claims") == Some(&claims.into()))
            .await
    }
}

#[tokio::test]
async fn the_colony_hears_of_an_agent_before_its_first_claim_and_once() {
    let mut rig = Rig::new(&[Act::Claim(2)]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let started = rig.expect("a.1 started").await;
    assert!(rig.submitted.try_recv().is_err(), "the claim waits for the outcome");
    started.send(Ok(STARTED)).unwrap();
    rig.answer("claim", Ok(claimed())).await;
    rig.answer("claim", Ok(claimed())).await;
    rig.until_claims(2).await;
    rig.stop("a").await.unwrap();
    rig.answer(
        "a.1 ended: was stopped",
        Ok(Outcome::AgentsEnded { seq: 9, ended: true }),
    )
    .await;
}

#[tokio::test]
async fn each_generation_that_claims_is_told_of_and_so_is_its_end() {
    let mut rig = Rig::new(&[Act::ClaimAndPanic, Act::ClaimAndPanic, Act::Wait]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 20)).await.unwrap();
    for generation in 1..=2 {
        rig.answer(&format!("a.{generation} started"), Ok(STARTED)).await;
        rig.answer("claim", Ok(claimed())).await;
        let ended = format!("a.{generation} ended: panicked: with a task in hand");
        rig.answer(&ended, Ok(Outcome::AgentsEnded { seq: 9, ended: true }))
            .await;
    }
    rig.until(|status| status.generation == 3).await;
    // It holds nothing: nobody needs to hear of it.
    rig.stop("a").await.unwrap();
    rig.until_state(AgentState::Stopped).await;
    tokio::task::yield_now().await;
    assert!(rig.submitted.try_recv().is_err());
}

#[tokio::test]
async fn the_end_of_an_agent_that_was_stopped_in_its_first_claim_is_told_after_its_start() {
    let mut rig = Rig::new(&[Act::Claim(1)]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let unknown = Err(SubmitError::Unknown { waited_ms: 30_000 });
    rig.answer("a.1 started", unknown.clone()).await;
    let again = rig.expect("a.1 started").await;
    rig.stop("a").await.unwrap();
    rig.until_state(AgentState::Stopped).await;
    assert!(
        rig.submitted.try_recv().is_err(),
        "the start may still come into the order"
    );
    // The first attempt had been carried out.
    let live = Refusal::AgentLive {
        name: "a".into(),
        generation: 1,
    };
    again.send(Ok(Outcome::Refused(live))).unwrap();
    // It is repeated until it has an outcome.
    rig.answer("a.1 ended: was stopped", unknown).await;
    let busy = SubmitError::Busy {
        held: 1,
        unit: "commands",
        limit: 1,
    };
    rig.answer("a.1 ended: was stopped", Err(busy)).await;
    rig.answer(
        "a.1 ended: was stopped",
        Ok(Outcome::AgentsEnded { seq: 9, ended: true }),
    )
    .await;
    assert!(rig.submitted.try_recv().is_err());
}

#[tokio::test]
async fn an_agent_that_the_colony_has_no_room_for_claims_nothing_and_may_try_again() {
    let mut rig = Rig::new(&[Act::Claim(2)]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let full = Refusal::OverLimit {
        field: "agents".into(),
        value: 100_001,
        limit: 100_000,
    };
    rig.answer("a.1 started", Ok(Outcome::Refused(full))).await;
    let status = rig.until_claims(1).await;
    assert!(
        status.report["outcome"].as_str().unwrap().contains("OverLimit"),
        "{status:?}"
    );
    rig.answer("a.1 started", Ok(STARTED)).await;
    rig.answer("claim", Ok(claimed())).await;
    rig.until_claims(2).await;
}
