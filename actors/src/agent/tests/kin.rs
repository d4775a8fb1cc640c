//! Parents and children.

use super::*;

/// Starts a child, whose name says how manieth it is.
pub(super) async fn spawn(context: &AgentContext) -> Result<Step, BehaviourError> {
    let status = context
        .spawn(AgentSpec {
            name: format!("{}-{}", context.name(), context.generation()),
            parent: Some(context.name().to_owned()),
            ..spec(RestartKind::Transient, 0, 0)
        })
        .await
        .map_err(|error| BehaviourError(error.to_string()))?;
    context.report("child", status.name);
    Ok(Step::Wait)
}

fn child(name: &str, parent: &str) -> AgentSpec {
    AgentSpec {
        name: name.to_owned(),
        parent: Some(parent.to_owned()),
        ..spec(RestartKind::Transient, 0, 0)
    }
}

#[tokio::test]
async fn who_stops_a_parent_stops_its_children_and_theirs() {
    let rig = Rig::new(&[]).await;
    assert_eq!(
        rig.spawn(child("b", "a")).await.unwrap_err().to_string(),
        r#"parent: no agent called "a" lives on this node"#
    );
    rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    for (name, parent) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "a")] {
        rig.spawn(child(name, parent)).await.unwrap();
    }
    rig.spawn(AgentSpec {
        name: "other".to_owned(),
        ..spec(RestartKind::Transient, 0, 0)
    })
    .await
    .unwrap();
    let shown = rig.agents.status("a").unwrap().children.unwrap();
    assert_eq!((shown.total, shown.first.join(" ")), (2, "b e".to_owned()));
    rig.stop("e").await.unwrap();
    assert_eq!(rig.agents.status("a").unwrap().children.unwrap().total, 1);
    rig.stop("a").await.unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(rig.agents.status(name).unwrap().state, AgentState::Stopped, "{name}");
    }
    assert!(rig.agents.status("other").unwrap().state.is_live());
    assert_eq!(rig.agents.live(), 1);
}

#[tokio::test]
async fn children_end_with_the_generation_that_started_them() {
    let rig = Rig::new(&[Act::Parent, Act::Wait, Act::Parent, Act::Wait, Act::Fail]).await;
    rig.spawn(spec(RestartKind::Transient, 1, 0)).await.unwrap();
    let first = rig.until(|status| status.report.contains_key("child")).await;
    assert_eq!(first.children.unwrap().first, ["a-1"]);
    rig.order("a", AgentOrder::Restart).await.unwrap();
    let second = rig
        .until(|status| status.generation == 2 && status.report.contains_key("child"))
        .await;
    assert_eq!(second.children.unwrap().first, ["a-2"]);
    assert_eq!(rig.agents.status("a-1").unwrap().state, AgentState::Stopped);
    assert_eq!(rig.agents.live(), 2);
}

#[tokio::test]
async fn a_parent_hears_how_its_children_end_also_when_it_is_passive() {
    let rig = Rig::new(&[Act::Note, Act::Done, Act::Note, Act::Panic, Act::Note]).await;
    rig.spawn(spec(RestartKind::Transient, 1, 0)).await.unwrap();
    rig.until_state(AgentState::Passive).await;
    rig.spawn(child("b", "a")).await.unwrap();
    rig.until_noted("step b done").await;
    rig.until_state(AgentState::Passive).await;
    rig.spawn(child("c", "a")).await.unwrap();
    let heard = rig.until_noted("step b done c failed").await;
    assert_eq!((heard.generation, heard.children.unwrap().total), (1, 0));
}
