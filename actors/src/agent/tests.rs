//! Agents under a keeper that does what the queen does for them, without rounds: commands go to the test.

mod asks;
mod kin;
mod orders;
mod passive;
mod registration;
mod tasks;
mod topics;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use queenright_protocol::colony::Outcome;
use queenright_protocol::id::NodeId;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::link::{Cookie, LinkConfig, LinkLimits};
use crate::queen::{QueenMessage, Request, SubmitError};
use crate::replica::Replica;
use crate::router::{Router, View};
use crate::topic::{Heard, Topics};

/// What an agent of kind `scripted` does in its first generations; in later ones it waits.
#[derive(Clone, Copy)]
enum Act {
    Fail,
    Panic,
    PanicWhenTold,
    Done,
    Wait,
    /// Claims so many times, one after the other, then waits.
    Claim(u32),
    /// Claims once, then panics.
    ClaimAndPanic,
    /// Subscribes to so many patterns, `a.*` first, then waits.
    Subscribe(usize),
    /// Answers every question with what was asked; fails when told what is none.
    Answer,
    /// Asks this agent, and reports what came of it.
    Ask(AgentAddress),
    /// Notes all that comes for it, keeps it as its state, and becomes passive each time unless told to stay.
    Note,
    /// As [`Act::Note`], but becomes passive only when it has been idle for long.
    NoteIdle,
    /// As [`Act::Note`], and takes tasks while it is passive.
    Serve,
    /// Says that it becomes passive, and cannot be woken.
    NeverWake,
    /// Gives a state that is too large.
    Large,
    /// Starts an agent of its own at each step, as its child.
    Parent,
}

struct Scripted {
    act: Act,
    noted: Vec<String>,
}

impl Behaviour for Scripted {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async {
            context.report("generation", context.generation());
            match self.act {
                Act::Fail => Err(BehaviourError("cannot go on".to_owned())),
                Act::Panic => panic!("boom {}", context.generation()),
                Act::Done => Ok(Step::Done),
                Act::PanicWhenTold | Act::Wait => Ok(Step::Wait),
                Act::Claim(times) => registration::claim(context, times).await,
                Act::ClaimAndPanic => {
                    registration::claim(context, 1).await?;
                    panic!("with a task in hand")
                }
                Act::Subscribe(patterns) => topics::subscribe(context, patterns),
                Act::Answer => Ok(Step::Wait),
                Act::Ask(to) => asks::ask(context, to).await,
                Act::Note | Act::NoteIdle | Act::Serve => Ok(self.note("step".to_owned(), context)),
                Act::NeverWake | Act::Large => Ok(Step::Passivate),
                Act::Parent => kin::spawn(context).await,
            }
        })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        match self.act {
            Act::PanicWhenTold => panic!("told"),
            Act::Answer => asks::answer(context, &signals),
            Act::Note | Act::NoteIdle => {
                let texts = signals
                    .iter()
                    .map(|signal| String::from_utf8_lossy(&signal.payload).into_owned());
                Ok(texts.fold(Step::Wait, |_, text| self.note(text, context)))
            }
            _ => Ok(Step::Wait),
        }
    }

    fn child_ended(&mut self, child: ChildEnded, context: &AgentContext) -> Result<Step, BehaviourError> {
        Ok(self.note(format!("{} {}", child.name, child.state), context))
    }

    fn passivate(&mut self) -> Option<Vec<u8>> {
        match self.act {
            Act::Note | Act::NoteIdle | Act::Serve | Act::Parent => Some(self.noted.join(" ").into_bytes()),
            Act::NeverWake => Some(Vec::new()),
            Act::Large => Some(vec![0; PASSIVE_BYTES_MAX + 1]),
            _ => None,
        }
    }

    fn serves(&self) -> Option<Serves> {
        matches!(self.act, Act::Serve).then(tasks::served)
    }

    fn wake(&mut self, state: &[u8]) -> Result<(), BehaviourError> {
        let state = String::from_utf8(state.to_vec()).map_err(|error| BehaviourError(error.to_string()))?;
        self.noted = state.split_whitespace().map(str::to_owned).collect();
        match self.act {
            Act::NeverWake => Err(BehaviourError("sleeps on".to_owned())),
            _ => Ok(()),
        }
    }

    fn topics(&mut self, messages: Vec<Heard>, context: &AgentContext) -> Result<Step, BehaviourError> {
        if matches!(self.act, Act::Note) {
            let texts = messages
                .iter()
                .map(|message| String::from_utf8_lossy(&message.payload).into_owned());
            return Ok(texts.fold(Step::Wait, |_, text| self.note(text, context)));
        }
        topics::hear(context, &messages)
    }
}

impl Scripted {
    /// Notes something, and reports all that it has noted.
    fn note(&mut self, what: String, context: &AgentContext) -> Step {
        self.noted.push(what);
        context.report("noted", self.noted.join(" "));
        match self.act {
            Act::Note | Act::Serve => Step::Passivate,
            _ => Step::Wait,
        }
    }
}

type Submitted = (Request, oneshot::Sender<Result<Outcome, SubmitError>>);

struct Keeper {
    agents: Arc<Agents>,
    submitted: mpsc::Sender<Submitted>,
}

impl Actor for Keeper {
    type Msg = QueenMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<QueenMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<QueenMessage>,
        message: QueenMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            QueenMessage::SpawnAgent(spec, reply) => drop(reply.send(self.agents.spawn(spec, &me).await)),
            QueenMessage::StopAgent(name, reply) => drop(reply.send(self.agents.stop(&name, &me))),
            QueenMessage::OrderAgent(name, order, reply) => {
                drop(reply.send(self.agents.order(&name, order, &me).await))
            }
            QueenMessage::WakeAgent(number) => self.agents.wake(number, &me).await,
            QueenMessage::RestartAgent(number) => self.agents.restart(number, &me).await,
            QueenMessage::Submit(request, ticket) => self.submitted.try_send((request, ticket)).unwrap(),
            _ => unreachable!("agents of these tests want nothing else"),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<QueenMessage>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(agent, error) => {
                self.agents.ended(agent.get_id(), Some(error.to_string()), &me)
            }
            SupervisionEvent::ActorTerminated(agent, _, _) => self.agents.ended(agent.get_id(), None, &me),
            _ => {}
        }
        Ok(())
    }
}

struct Rig {
    agents: Arc<Agents>,
    signals: Arc<Signals>,
    topics: Arc<Topics>,
    queen: ActorRef<QueenMessage>,
    /// What the generations still to come do, from the last to the next.
    script: Arc<Mutex<Vec<Act>>>,
    /// How often a behaviour was made.
    made: Arc<AtomicU64>,
    submitted: mpsc::Receiver<Submitted>,
}

impl Rig {
    async fn new(acts: &[Act]) -> Rig {
        let me = NodeId(1);
        let config = LinkConfig {
            name: "n1".to_owned(),
            index: 0,
            listen: "127.0.0.1:0".parse().unwrap(),
            peers: Vec::new(),
            wanted: None,
            cookie: Cookie::new("a secret that only these tests know").unwrap(),
            limits: LinkLimits::default(),
            speaks: queenright_protocol::wire::SPOKEN,
            tls: None,
        };
        let (router, _) = Router::start(config).await.unwrap();
        router.set_view(View::mesh(me, &[me].into()));
        Rig::on(
            me,
            Arc::new(Signals::new(router.clone())),
            Arc::new(Topics::new(Some(router))),
            acts,
        )
        .await
    }

    /// Agents on a node of a test's own.
    async fn on(me: NodeId, signals: Arc<Signals>, topics: Arc<Topics>, acts: &[Act]) -> Rig {
        let script = Arc::new(Mutex::new(acts.iter().rev().copied().collect::<Vec<_>>()));
        let made = Arc::new(AtomicU64::new(0));
        let mut kinds = Kinds::default();
        let (acts, count) = (script.clone(), made.clone());
        kinds.add("scripted", move |spec| {
            count.fetch_add(1, Ordering::Relaxed);
            match spec.arguments.as_str() {
                Some("refused") => Err(BehaviourError("refused: not these".to_owned())),
                Some("panics") => panic!("while it is made"),
                _ => Ok(Box::new(Scripted {
                    act: acts.lock().unwrap().pop().unwrap_or(Act::Wait),
                    noted: Vec::new(),
                })),
            }
        });
        let agents = Arc::new(Agents::new(kinds, Replica::new(me), signals.clone(), topics.clone()));
        let (commands, submitted) = mpsc::channel(64);
        let keeper = Keeper {
            agents: agents.clone(),
            submitted: commands,
        };
        let (queen, _) = Actor::spawn(None, keeper, ()).await.unwrap();
        Rig {
            agents,
            signals,
            topics,
            queen,
            script,
            made,
            submitted,
        }
    }

    async fn spawn(&self, spec: AgentSpec) -> Result<AgentStatus, AgentError> {
        let (reply, answer) = oneshot::channel();
        self.queen.cast(QueenMessage::SpawnAgent(spec, reply)).unwrap();
        answer.await.unwrap()
    }

    async fn stop(&self, name: &str) -> Result<(), AgentError> {
        let (reply, answer) = oneshot::channel();
        self.queen
            .cast(QueenMessage::StopAgent(name.to_owned(), reply))
            .unwrap();
        answer.await.unwrap()
    }

    async fn order(&self, name: &str, order: AgentOrder) -> Result<AgentStatus, AgentError> {
        let (reply, answer) = oneshot::channel();
        self.queen
            .cast(QueenMessage::OrderAgent(name.to_owned(), order, reply))
            .unwrap();
        answer.await.unwrap()
    }

    /// Waits until the agent `a` is as asked for.
    async fn until(&self, wanted: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        self.until_of("a", wanted).await
    }

    async fn until_of(&self, name: &str, wanted: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        let reached = async {
            loop {
                let status = self.agents.status(name).unwrap();
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        reached.unwrap_or_else(|_| panic!("{:?}", self.agents.status(name)))
    }

    async fn until_state(&self, state: AgentState) -> AgentStatus {
        self.until(|status| status.state == state).await
    }

    fn address(&self, status: &AgentStatus) -> AgentAddress {
        AgentAddress {
            node: self.signals.me(),
            number: status.number,
            generation: status.generation,
        }
    }

    fn tell(&self, to: AgentAddress) -> Result<(), TellError> {
        self.say(to, "hello")
    }

    fn say(&self, to: AgentAddress, text: &str) -> Result<(), TellError> {
        self.signals.tell(to, to, text.as_bytes())
    }

    /// Waits until the agent `a` has noted this.
    async fn until_noted(&self, noted: &str) -> AgentStatus {
        self.until(|status| status.report.get("noted").is_some_and(|found| found == noted))
            .await
    }
}

fn spec(kind: RestartKind, limit: u32, backoff_ms: u64) -> AgentSpec {
    AgentSpec {
        name: "a".to_owned(),
        kind: "scripted".to_owned(),
        arguments: serde_json::Value::Null,
        restart: RestartPolicy {
            kind,
            limit,
            within_ms: RESTART_SPAN_MS_MAX,
            backoff_ms,
            backoff_max_ms: backoff_ms,
        },
        ..AgentSpec::default()
    }
}

#[tokio::test]
async fn an_agent_that_fails_or_panics_is_started_again_as_the_next_generation() {
    let rig = Rig::new(&[Act::Fail, Act::Panic, Act::Wait]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let status = rig
        .until(|status| status.generation == 3 && status.report.contains_key("generation"))
        .await;
    assert!(status.state.is_at_work(), "{status:?}");
    assert_eq!(status.restarts, 2);
    assert_eq!(status.reason.as_deref(), Some("panicked: boom 2"));
    assert_eq!(status.report["generation"], 3);
    assert_eq!(rig.agents.live(), 1);
}

#[tokio::test]
async fn past_the_limit_an_agent_is_failed_with_its_reason() {
    let rig = Rig::new(&[Act::Panic; 9]).await;
    rig.spawn(spec(RestartKind::Transient, 3, 1)).await.unwrap();
    let status = rig.until_state(AgentState::Failed).await;
    assert_eq!((status.restarts, status.generation), (3, 4));
    let reason = format!("panicked: boom 4 (after 3 restarts within {RESTART_SPAN_MS_MAX} ms, the limit)");
    assert_eq!(status.reason, Some(reason));
    assert_eq!((rig.agents.live(), rig.made.load(Ordering::Relaxed)), (0, 4));
    // The name is free again, and generations of it go on.
    *rig.script.lock().unwrap() = vec![Act::Wait];
    let again = rig.spawn(spec(RestartKind::Transient, 3, 1)).await.unwrap();
    assert_eq!((again.generation, again.restarts, again.reason), (5, 0, None));
    assert_ne!(again.number, status.number);
}

#[tokio::test]
async fn what_is_done_is_started_again_only_if_it_is_permanent() {
    let rig = Rig::new(&[Act::Done]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let status = rig.until_state(AgentState::Done).await;
    assert_eq!((status.restarts, status.reason), (0, None));
    *rig.script.lock().unwrap() = vec![Act::Wait, Act::Done];
    rig.spawn(spec(RestartKind::Permanent, 5, 0)).await.unwrap();
    let status = rig.until(|status| status.generation == 3).await;
    assert_eq!(status.restarts, 1);
    rig.stop("a").await.unwrap();
    *rig.script.lock().unwrap() = vec![Act::Fail];
    rig.spawn(spec(RestartKind::Temporary, 5, 0)).await.unwrap();
    let status = rig.until_state(AgentState::Failed).await;
    assert_eq!((status.restarts, status.reason.as_deref()), (0, Some("cannot go on")));
}

#[tokio::test]
async fn an_agent_that_waits_for_its_restart_can_be_stopped() {
    let rig = Rig::new(&[Act::Fail, Act::Wait]).await;
    rig.spawn(spec(RestartKind::Transient, 5, BACKOFF_MS_MAX))
        .await
        .unwrap();
    let status = rig.until_state(AgentState::Recovering).await;
    assert!(status.next_restart_ms.is_some_and(|left_ms| left_ms <= BACKOFF_MS_MAX));
    assert_eq!((status.generation, rig.agents.live()), (1, 1));
    // It has its name while it waits.
    let taken = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap_err();
    assert!(matches!(taken, AgentError::NameTaken { .. }));
    rig.stop("a").await.unwrap();
    let stopped = rig.agents.status("a").unwrap();
    assert_eq!((stopped.state, stopped.next_restart_ms), (AgentState::Stopped, None));
    assert_eq!(stopped.reason.as_deref(), Some("cannot go on"));
    // A timer that fires all the same changes nothing.
    let made = rig.made.load(Ordering::Relaxed);
    rig.queen.cast(QueenMessage::RestartAgent(status.number)).unwrap();
    rig.stop("a").await.unwrap();
    assert_eq!(rig.agents.status("a").unwrap(), stopped);
    assert_eq!((rig.agents.live(), rig.made.load(Ordering::Relaxed)), (0, made));
}

#[tokio::test]
async fn what_is_sent_to_an_earlier_generation_is_dropped_and_counted() {
    let rig = Rig::new(&[Act::PanicWhenTold, Act::Wait]).await;
    let first = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let address = rig.address(&first);
    rig.tell(address).unwrap();
    let second = rig.until(|status| status.generation == 2).await;
    rig.until(|status| status.state.is_at_work()).await;
    let refused = rig.tell(address).unwrap_err();
    assert_eq!(refused, TellError::Unknown { to: address });
    // It does not wait for an agent that will never come back.
    let waited = rig.signals.tell_waiting(address, address, b"hello").await;
    assert_eq!(waited.unwrap_err(), refused);
    rig.tell(rig.address(&second)).unwrap();
    let counts = rig.signals.counts();
    assert_eq!((counts.sent, counts.refused, counts.late), (2, 2, 2));
    assert_eq!((counts.delivered, counts.lost), (2, 0));
}

#[tokio::test]
async fn signals_that_wait_in_the_mailbox_of_a_generation_that_ends_count_as_lost() {
    let rig = Rig::new(&[Act::PanicWhenTold]).await;
    let first = rig
        .spawn(spec(RestartKind::Transient, 5, BACKOFF_MS_MAX))
        .await
        .unwrap();
    // On one thread: the agent has no turn before all of them wait.
    let told = (0..100).filter(|_| rig.tell(rig.address(&first)).is_ok()).count() as u64;
    assert_eq!(told, 100);
    rig.until_state(AgentState::Recovering).await;
    let counts = rig.signals.counts();
    assert_eq!(
        (counts.sent, counts.delivered, counts.lost, counts.late),
        (100, 1, 99, 99)
    );
}

#[tokio::test]
async fn what_cannot_be_an_agent_is_refused_and_leaves_nothing() {
    let rig = Rig::new(&[]).await;
    let refused = async |spec: AgentSpec| rig.spawn(spec).await.unwrap_err().to_string();
    let named = |name: &str| AgentSpec {
        name: name.to_owned(),
        ..spec(RestartKind::Transient, 5, 0)
    };
    let told = |arguments: &str| AgentSpec {
        arguments: arguments.into(),
        ..named("a")
    };
    assert_eq!(
        refused(named("a/b")).await,
        r#"name: "a/b" is empty, or has a slash or a control character"#
    );
    assert!(refused(named("")).await.contains("is empty"));
    assert!(refused(named("..")).await.contains("cannot stand in a URL"));
    assert!(
        refused(named(&"x".repeat(129)))
            .await
            .contains("129 B are over the limit of 128 B")
    );
    assert_eq!(
        refused(spec(RestartKind::Transient, 1_000, 0)).await,
        "restart.limit: 1000 is over the limit of 100"
    );
    assert_eq!(
        refused(told("refused")).await,
        r#"arguments of agent "a": refused: not these"#
    );
    assert_eq!(
        refused(told("panics")).await,
        r#"arguments of agent "a": panicked: while it is made"#
    );
    assert_eq!(
        (rig.agents.live(), rig.agents.page(&AgentFilter::default()).agents),
        (0, Vec::new())
    );
    // The queen is none the worse for it.
    rig.spawn(named("b")).await.unwrap();
    assert_eq!(rig.agents.live(), 1);
}
