//! Agents that are passive, and woken.

use proptest::prelude::*;
use queenright_protocol::topic::{Pattern, Topic};

use super::*;
use crate::topic::Publication;

fn until_passive(rig: &Rig) -> impl Future<Output = AgentStatus> {
    rig.until_state(AgentState::Passive)
}

#[tokio::test]
async fn a_passive_agent_has_no_actor_and_is_woken_with_its_state_by_what_comes() {
    let rig = Rig::new(&[Act::Note, Act::Note, Act::Note]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    until_passive(&rig).await;
    let entry = rig.signals.entry(status.number).unwrap();
    assert!(entry.present().as_ref().unwrap().actor().is_none());
    let counts = rig.agents.counts();
    assert_eq!(
        (counts.active, counts.passive, counts.passivated, counts.woken),
        (0, 1, 1, 0)
    );
    rig.say(rig.address(&status), "1").unwrap();
    rig.until_noted("step 1").await;
    until_passive(&rig).await;
    // Without a first step: that is what a nudge is.
    rig.order("a", AgentOrder::Nudge).await.unwrap();
    let after = rig.until_noted("step 1 step").await;
    assert_eq!((after.generation, after.restarts, after.reason), (1, 0, None));
    until_passive(&rig).await;
    assert_eq!(rig.agents.counts().woken, 2);
    assert_eq!(rig.signals.counts().delivered, 1);
}

#[tokio::test]
async fn an_agent_for_which_nothing_waits_is_not_woken() {
    let rig = Rig::new(&[Act::Note, Act::Note]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    until_passive(&rig).await;
    // As she is told a second time, when something came while the actor was ending.
    rig.queen.cast(QueenMessage::WakeAgent(status.number)).unwrap();
    // She takes this after that.
    rig.order("a", AgentOrder::Pause).await.unwrap();
    let counts = rig.agents.counts();
    assert_eq!((counts.active, counts.passive, counts.woken), (0, 1, 0));
}

#[tokio::test]
async fn an_agent_becomes_passive_when_it_has_been_idle_for_as_long_as_it_says() {
    let rig = Rig::new(&[Act::NoteIdle, Act::NoteIdle, Act::Wait]).await;
    let patient = |name: &str| AgentSpec {
        name: name.to_owned(),
        passivate_after_ms: Some(20),
        ..spec(RestartKind::Transient, 5, 0)
    };
    let status = rig.spawn(patient("a")).await.unwrap();
    until_passive(&rig).await;
    rig.say(rig.address(&status), "1").unwrap();
    rig.until_noted("step 1").await;
    until_passive(&rig).await;
    // One whose behaviour cannot stays active.
    rig.spawn(patient("b")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(rig.agents.status("b").unwrap().state, AgentState::Idle);
}

#[tokio::test]
async fn a_passive_agent_that_is_paused_is_woken_when_it_is_resumed() {
    let rig = Rig::new(&[Act::Note, Act::Note]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    until_passive(&rig).await;
    rig.order("a", AgentOrder::Pause).await.unwrap();
    rig.say(rig.address(&status), "1").unwrap();
    rig.say(rig.address(&status), "2").unwrap();
    // Nothing is under way that could wake it: the queen has come to her last message.
    let paused = rig.order("a", AgentOrder::Pause).await.unwrap();
    assert_eq!((paused.state, paused.letters), (AgentState::Paused, 2));
    assert_eq!(rig.agents.counts().passive, 1);
    rig.order("a", AgentOrder::Resume).await.unwrap();
    rig.until_noted("step 1 2").await;
}

#[tokio::test]
async fn a_topic_wakes_those_who_have_subscribed() {
    let rig = Rig::new(&[Act::Note, Act::Note]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    until_passive(&rig).await;
    let entry = rig.signals.entry(status.number).unwrap();
    let generation = entry.present().as_ref().unwrap().clone();
    let pattern = Pattern::new("news.#").unwrap();
    rig.topics
        .subscribe((status.number, &generation), "p", &pattern)
        .unwrap();
    let published = rig.topics.publish(&Publication {
        project: "p",
        topic: &Topic::new("news.today").unwrap(),
        author: "ann",
        from: None,
        payload: b"rain",
    });
    assert_eq!(published.unwrap().delivered, 1);
    rig.until_noted("step rain").await;
    until_passive(&rig).await;
    rig.stop("a").await.unwrap();
    assert_eq!(rig.topics.counts().patterns, 0);
}

#[tokio::test]
async fn a_passive_agent_that_is_stopped_or_restarted_loses_its_state_and_what_waits_for_it() {
    let rig = Rig::new(&[Act::Note, Act::Note]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    until_passive(&rig).await;
    rig.order("a", AgentOrder::Pause).await.unwrap();
    rig.say(rig.address(&status), "1").unwrap();
    rig.order("a", AgentOrder::Restart).await.unwrap();
    rig.order("a", AgentOrder::Resume).await.unwrap();
    rig.until(|status| status.generation == 2).await;
    rig.until_noted("step").await;
    until_passive(&rig).await;
    let counts = rig.signals.counts();
    assert_eq!((counts.sent, counts.delivered, counts.lost, counts.late), (1, 0, 1, 1));
    rig.stop("a").await.unwrap();
    assert_eq!(rig.agents.status("a").unwrap().state, AgentState::Stopped);
    assert_eq!(
        rig.agents.counts(),
        AgentCounts {
            passivated: 2,
            ..AgentCounts::default()
        }
    );
    assert!(rig.signals.entry(status.number).is_none());
}

#[tokio::test]
async fn an_agent_that_cannot_be_woken_or_gives_too_much_fails_with_its_reason() {
    let rig = Rig::new(&[Act::NeverWake, Act::NeverWake]).await;
    let status = rig.spawn(spec(RestartKind::Temporary, 0, 0)).await.unwrap();
    until_passive(&rig).await;
    rig.say(rig.address(&status), "1").unwrap();
    let failed = rig.until_state(AgentState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("was not woken: sleeps on"));
    assert_eq!(rig.signals.counts().lost, 1);
    *rig.script.lock().unwrap() = vec![Act::Large];
    rig.spawn(spec(RestartKind::Temporary, 0, 0)).await.unwrap();
    let failed = rig.until_state(AgentState::Failed).await;
    let reason = "its state of 16385 B is over the limit of 16384 B of a passive agent";
    assert_eq!(failed.reason.as_deref(), Some(reason));
    assert_eq!(rig.agents.live(), 0);
}

/// What may happen to an agent.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Signal,
    Nudge,
    Pause,
    Resume,
    /// Others have so many turns.
    Turns(u8),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Signal),
        1 => Just(Happens::Nudge),
        1 => Just(Happens::Pause),
        2 => Just(Happens::Resume),
        4 => (0_u8..40).prop_map(Happens::Turns),
    ]
}

/// The model: a list of what came, in its order. Whatever the agent was when each came, it notes that list.
async fn notes_all(threads: bool, all: &[Happens]) {
    let rig = Rig::new(&vec![Act::Note; 2 * all.len() + 2]).await;
    let status = rig.spawn(spec(RestartKind::Temporary, 0, 0)).await.unwrap();
    let (to, mut model) = (rig.address(&status), vec!["step".to_owned()]);
    until_passive(&rig).await;
    for (number, happens) in all.iter().enumerate() {
        match happens {
            Happens::Signal => {
                rig.say(to, &number.to_string()).unwrap();
                model.push(number.to_string());
            }
            // An order goes through the queen: what was said before it has come by then.
            Happens::Nudge => {
                rig.order("a", AgentOrder::Nudge).await.unwrap();
                model.push("step".to_owned());
            }
            Happens::Pause => drop(rig.order("a", AgentOrder::Pause).await.unwrap()),
            Happens::Resume => drop(rig.order("a", AgentOrder::Resume).await.unwrap()),
            Happens::Turns(turns) if threads => {
                std::thread::sleep(Duration::from_micros(u64::from(*turns)));
            }
            Happens::Turns(turns) => {
                for _ in 0..*turns {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    rig.order("a", AgentOrder::Resume).await.unwrap();
    let after = rig.until_noted(&model.join(" ")).await;
    assert_eq!(after.generation, 1);
    until_passive(&rig).await;
    let counts = rig.signals.counts();
    assert_eq!((counts.delivered, counts.refused, counts.lost), (counts.sent, 0, 0));
    assert_eq!(rig.agents.counts().passive, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_comes_while_an_agent_becomes_passive_or_wakes_is_read_once_and_in_order(
        all in prop::collection::vec(happens(), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(notes_all(false, &all));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(notes_all(true, &all));
    }
}
