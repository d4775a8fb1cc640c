//! Agents that subscribe to topics, for as long as they live.

use queenright_protocol::topic::{Pattern, Topic};

use super::*;
use crate::topic::{AGENT_PATTERNS_MAX, Publication, Published};

pub(super) fn subscribe(context: &AgentContext, patterns: usize) -> Result<Step, BehaviourError> {
    let first = Pattern::new("a.*").unwrap();
    for number in 0..patterns {
        let pattern = match number {
            0 => first.clone(),
            _ => Pattern::new(&format!("b.{number}")).unwrap(),
        };
        let made = context.subscribe("p", &pattern);
        if !made.map_err(|error| BehaviourError(error.to_string()))? {
            return Err(BehaviourError("it had it before".to_owned()));
        }
        assert_eq!(context.subscribe("p", &pattern), Ok(false));
    }
    context.report("subscribed", patterns);
    Ok(Step::Wait)
}

/// Reports how often it was told, and unsubscribes when told to.
pub(super) fn hear(context: &AgentContext, messages: &[Heard]) -> Result<Step, BehaviourError> {
    let texts: Vec<_> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect();
    context.report("heard", texts.join(" "));
    if texts.iter().any(|text| text == "enough") {
        let pattern = Pattern::new("a.*").unwrap();
        context.report("unsubscribed", context.unsubscribe("p", &pattern));
        assert!(!context.unsubscribe("p", &pattern));
    }
    Ok(Step::Wait)
}

fn publish(rig: &Rig, about: &str, payload: &str) -> Published {
    let published = rig.topics.publish(&Publication {
        project: "p",
        topic: &Topic::new(about).unwrap(),
        author: "ann",
        from: None,
        payload: payload.as_bytes(),
    });
    published.unwrap()
}

#[tokio::test]
async fn an_agent_hears_of_what_it_has_subscribed_to_until_it_ends_it() {
    let rig = Rig::new(&[Act::Subscribe(2)]).await;
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    rig.until(|status| status.report.contains_key("subscribed")).await;
    assert_eq!(publish(&rig, "c", "x").delivered, 0);
    assert_eq!(publish(&rig, "a.b", "x").delivered, 1);
    rig.until(|status| status.report.get("heard").is_some_and(|heard| heard == "x"))
        .await;
    publish(&rig, "a.b", "enough");
    let status = rig.until(|status| status.report.contains_key("unsubscribed")).await;
    assert_eq!(status.report["unsubscribed"], true);
    assert_eq!(publish(&rig, "a.b", "x").delivered, 0);
    assert_eq!(rig.topics.counts().patterns, 1);
    rig.stop("a").await.unwrap();
    until_nobody_has_subscribed(&rig).await;
    let counts = rig.topics.counts();
    assert_eq!((counts.published, counts.delivered, counts.dropped), (4, 2, 0));
}

async fn until_nobody_has_subscribed(rig: &Rig) {
    while rig.topics.counts().patterns > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_generation_that_is_started_again_has_no_subscriptions() {
    let rig = Rig::new(&[Act::Subscribe(3), Act::Wait]).await;
    rig.spawn(spec(RestartKind::Permanent, 5, 0)).await.unwrap();
    rig.until(|status| status.report.contains_key("subscribed")).await;
    let entry = rig.signals.entry(rig.agents.status("a").unwrap().number).unwrap();
    entry.present().as_ref().unwrap().actor().unwrap().kill();
    rig.until(|status| status.generation == 2).await;
    until_nobody_has_subscribed(&rig).await;
    assert_eq!(publish(&rig, "a.b", "x").delivered, 0);
}

#[tokio::test]
async fn an_agent_has_no_more_patterns_than_it_may() {
    let rig = Rig::new(&[Act::Subscribe(AGENT_PATTERNS_MAX + 1)]).await;
    rig.spawn(spec(RestartKind::Temporary, 5, 0)).await.unwrap();
    let status = rig.until_state(AgentState::Failed).await;
    let reason = "this agent has 256 patterns of topics, which is its limit";
    assert_eq!(status.reason.as_deref(), Some(reason));
    until_nobody_has_subscribed(&rig).await;
}
