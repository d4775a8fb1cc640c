//! What somebody asks of agents.

use super::*;

#[tokio::test]
async fn a_paused_agent_is_delivered_nothing_until_it_is_resumed_and_then_in_order() {
    let rig = Rig::new(&[Act::NoteIdle]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    rig.until_noted("step").await;
    let paused = rig.order("a", AgentOrder::Pause).await.unwrap();
    assert_eq!(paused.state, AgentState::Paused);
    let to = rig.address(&status);
    for text in ["1", "2", "3"] {
        rig.say(to, text).unwrap();
    }
    rig.order("a", AgentOrder::Nudge).await.unwrap();
    let waiting = rig.until(|status| status.letters == 4).await;
    assert_eq!(
        (&waiting.report["noted"], waiting.state),
        (&"step".into(), AgentState::Paused)
    );
    assert_eq!(rig.agents.live(), 1);
    rig.order("a", AgentOrder::Resume).await.unwrap();
    rig.say(to, "4").unwrap();
    let after = rig.until_noted("step 1 2 3 step 4").await;
    assert_eq!((after.generation, after.letters), (1, 0));
    rig.until_state(AgentState::Idle).await;
}

#[tokio::test]
async fn the_mailbox_of_a_paused_agent_is_full_at_its_bound() {
    let rig = Rig::new(&[Act::Wait]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    rig.until_state(AgentState::Idle).await;
    rig.order("a", AgentOrder::Pause).await.unwrap();
    let to = rig.address(&status);
    let told = (0..70_000).filter(|_| rig.tell(to).is_ok()).count();
    assert_eq!(told, 65_536);
    assert_eq!(rig.tell(to), Err(TellError::Busy { to }));
    rig.order("a", AgentOrder::Resume).await.unwrap();
    rig.until(|status| status.letters == 0).await;
    assert_eq!(rig.signals.counts().delivered, 65_536);
}

#[tokio::test]
async fn an_agent_that_is_restarted_is_of_the_next_generation_and_nothing_counts_as_a_failure() {
    let rig = Rig::new(&[Act::NoteIdle, Act::Fail, Act::NoteIdle, Act::NoteIdle]).await;
    rig.spawn(spec(RestartKind::Transient, 1, BACKOFF_MS_MAX))
        .await
        .unwrap();
    rig.until_noted("step").await;
    rig.order("a", AgentOrder::Restart).await.unwrap();
    let failed = rig.until(|status| status.generation == 2 && status.restarts == 1).await;
    assert_eq!(failed.state, AgentState::Recovering);
    assert!(failed.next_restart_ms.is_some());
    // It does not wait for the end of its back-off, and starts paused if it was paused meanwhile.
    assert_eq!(
        rig.order("a", AgentOrder::Pause).await.unwrap().state,
        AgentState::Paused
    );
    rig.order("a", AgentOrder::Restart).await.unwrap();
    let third = rig.until(|status| status.generation == 3).await;
    assert_eq!(
        (third.state, third.next_restart_ms, third.restarts),
        (AgentState::Paused, None, 1)
    );
    rig.order("a", AgentOrder::Resume).await.unwrap();
    rig.until_noted("step").await;
    // One that has ended is started anew; nothing else can be asked of it.
    rig.stop("a").await.unwrap();
    for order in [AgentOrder::Pause, AgentOrder::Resume, AgentOrder::Nudge] {
        let refused = rig.order("a", order).await.unwrap_err().to_string();
        let expected = format!(r#"agent "a" is stopped: only one that lives can be asked to {order}"#);
        assert_eq!(refused, expected);
    }
    let again = rig.order("a", AgentOrder::Restart).await.unwrap();
    assert_eq!((again.generation, again.restarts), (4, 0));
    assert_eq!(rig.agents.live(), 1);
}

#[tokio::test]
async fn a_nudge_is_a_step_and_a_list_has_what_was_asked_for() {
    let rig = Rig::new(&[Act::NoteIdle]).await;
    rig.spawn(spec(RestartKind::Transient, 1, 0)).await.unwrap();
    rig.until_noted("step").await;
    rig.order("a", AgentOrder::Nudge).await.unwrap();
    rig.until_noted("step step").await;
    for number in 0..30 {
        rig.spawn(AgentSpec {
            name: format!("b{number:02}"),
            labels: [("odd".to_owned(), (number % 2 == 1).to_string())].into(),
            parent: (number < 10).then(|| "a".to_owned()),
            ..spec(RestartKind::Transient, 1, 0)
        })
        .await
        .unwrap();
    }
    rig.stop("b07").await.unwrap();
    let names = |filter: AgentFilter| {
        let page = rig.agents.page(&filter);
        let names: Vec<String> = page.agents.into_iter().map(|agent| agent.name).collect();
        (names.join(" "), page.next)
    };
    let all = AgentFilter::default();
    let odd: std::collections::BTreeMap<_, _> = [("odd".to_owned(), "true".to_owned())].into();
    let filter = AgentFilter {
        labels: odd.clone(),
        limit: Some(3),
        ..all.clone()
    };
    assert_eq!(
        names(filter.clone()),
        ("b01 b03 b05".to_owned(), Some("b05".to_owned()))
    );
    let filter = AgentFilter {
        after: Some("b25".to_owned()),
        ..filter
    };
    assert_eq!(names(filter), ("b27 b29".to_owned(), None));
    let filter = AgentFilter {
        parent: Some("a".to_owned()),
        labels: odd,
        state: Some(AgentState::Stopped),
        ..all.clone()
    };
    assert_eq!(names(filter), ("b07".to_owned(), None));
    let filter = AgentFilter {
        name: Some("b?0".into()),
        kind: Some("scripted".to_owned()),
        ..all.clone()
    };
    assert_eq!(names(filter), ("b00 b10 b20".to_owned(), None));
    let filter = AgentFilter {
        kind: Some("other".to_owned()),
        ..all
    };
    assert_eq!(names(filter), (String::new(), None));
}
