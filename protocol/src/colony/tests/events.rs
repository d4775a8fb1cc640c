//! Events: bounded, and never with a silent gap.

use super::*;

fn event(number: u64, key: &Key) -> Arc<Event> {
    Arc::new(Event {
        cursor: Cursor {
            seq: number,
            ordinal: 0,
        },
        cluster_ms: 0,
        wall_ms: 0,
        author: "ann".into(),
        what: What::Changed {
            key: key.clone(),
            revision: number,
            hash: None,
            bytes: 0,
            tags: Vec::new(),
        },
    })
}

fn cursor(seq: u64) -> Cursor {
    Cursor { seq, ordinal: 0 }
}

/// Where the events after `after` begin and end, and how many they are.
fn span(events: &Events, after: u64) -> Result<(u64, u64, usize), CursorError> {
    let list: Vec<u64> = events.after(cursor(after))?.map(|event| event.cursor.seq).collect();
    Ok((
        list.first().copied().unwrap_or(0),
        list.last().copied().unwrap_or(0),
        list.len(),
    ))
}

/// Fills past a limit that keeps `kept` events, and reads from both sides of the edge.
fn check_bound(events: &Events, pushed: u64, kept: u64) {
    let dropped = pushed - kept;
    assert_eq!((events.len() as u64, events.dropped()), (kept, Some(cursor(dropped))));
    assert_eq!(span(events, dropped), Ok((dropped + 1, pushed, kept as usize)));
    assert_eq!(span(events, pushed - 1), Ok((pushed, pushed, 1)));
    assert_eq!(span(events, pushed), Ok((0, 0, 0)));
    assert_eq!(span(events, pushed + 9), Ok((0, 0, 0)));
    for after in [0, dropped - 1] {
        let expired = CursorError::Expired {
            after: cursor(after),
            oldest: cursor(dropped + 1),
        };
        assert_eq!(span(events, after), Err(expired));
    }
}

#[test]
fn the_oldest_events_go_past_the_bound_of_their_number() {
    let (mut events, key) = (Events::default(), Key::from("k"));
    let pushed = EVENTS_KEPT_MAX as u64 + 2;
    (1..=pushed).for_each(|number| events.push(event(number, &key)));
    check_bound(&events, pushed, EVENTS_KEPT_MAX as u64);
}

#[test]
fn the_oldest_events_go_past_the_bound_of_their_bytes() {
    let (mut events, key) = (Events::default(), Key::from("k".repeat(KEY_BYTES_MAX)));
    let kept = EVENT_BYTES_KEPT_MAX / event(1, &key).bytes();
    (1..=kept + 7).for_each(|number| events.push(event(number, &key)));
    check_bound(&events, kept + 7, kept);
}

#[test]
fn the_digest_of_events_is_that_of_those_kept() {
    let (mut events, key) = (Events::default(), Key::from("k".repeat(KEY_BYTES_MAX)));
    let kept = EVENT_BYTES_KEPT_MAX / event(1, &key).bytes();
    (1..=kept + 7).for_each(|number| events.push(event(number, &key)));
    let list = events.iter().map(|event| (**event).clone());
    let restored = Events::restore(events.dropped(), list);
    assert_eq!((restored.digest, restored.len()), (events.digest, events.len()));
}

#[test]
fn no_event_is_no_gap() {
    let events = Events::default();
    assert!(events.is_empty());
    assert_eq!(span(&events, 0), Ok((0, 0, 0)));
    assert_eq!(span(&events, 5), Ok((0, 0, 0)));
}

#[test]
fn a_cursor_amid_the_events_of_a_command_reads_the_rest_of_them() {
    let mut rig = Rig::default();
    let writes = vec![write("a", inline("1")), write("b", inline("2"))];
    rig.run(Body::Propose(proposal(vec![], writes)));
    let events = rig.colony.project("p").unwrap().events();
    let after = Cursor { seq: 1, ordinal: 0 };
    let ordinals: Vec<u32> = events.after(after).unwrap().map(|event| event.cursor.ordinal).collect();
    assert_eq!(ordinals, [1, 2]);
}
