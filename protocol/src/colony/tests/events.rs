//! Events: bounded, and never with a silent gap.

use super::random::{Seeded, each_seed};
use super::*;

fn event(number: u64, key: &Key) -> Arc<Event> {
    event_at(number, key, 0)
}

fn event_at(number: u64, key: &Key, cluster_ms: u64) -> Arc<Event> {
    Arc::new(Event {
        cursor: Cursor {
            seq: number,
            ordinal: 0,
        },
        cluster_ms,
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
fn events_that_are_too_old_go_a_few_with_each_new_one() {
    let (mut events, key) = (Events::default(), Key::from("k"));
    (1..=10).for_each(|number| events.push(event_at(number, &key, number)));
    let at = |number: u64| number + EVENTS_KEPT_MS;
    events.push(event_at(11, &key, at(1)));
    assert_eq!((events.len(), events.dropped()), (11, None), "to the end of a week");
    events.push(event_at(12, &key, at(8)));
    assert_eq!((events.len(), events.dropped()), (8, Some(cursor(4))));
    events.push(event_at(13, &key, at(8)));
    assert_eq!(
        (events.len(), events.dropped()),
        (6, Some(cursor(7))),
        "the eighth is a week old"
    );
    check_bound(&events, 13, 6);
}

/// Any sequence of events at any times, read by a follower that rests as it likes, in pages of any size: it sees every
/// event once and in order, or is told that some are gone.
#[test]
fn a_follower_sees_every_event_once_or_is_told_of_a_gap() {
    each_seed(0..300, |seed| {
        let (mut seeded, key) = (Seeded(seed), Key::from("k"));
        let (mut events, mut all, mut now_ms) = (Events::default(), Vec::new(), 0);
        let mut place = Cursor::default();
        let (mut seen, mut expired) = (0, 0);
        for number in 1..=200 {
            if seeded.once_in(20) {
                now_ms += EVENTS_KEPT_MS / 2;
            }
            all.push(number);
            events.push(event_at(number, &key, now_ms));
            if seeded.once_in(2) {
                continue;
            }
            let page = 1 + seeded.below(20) as usize;
            match events.after(place) {
                Ok(found) => {
                    let found: Vec<u64> = found.take(page).map(|event| event.cursor.seq).collect();
                    let end = all.len().min(seen + page);
                    assert_eq!(found, all[seen..end]);
                    seen += found.len();
                }
                Err(CursorError::Expired { after, oldest }) => {
                    assert_eq!(after, place);
                    assert!(all[seen] < oldest.seq, "there is a gap");
                    seen = oldest.seq as usize - 1;
                    expired += 1;
                }
                Err(lost @ CursorError::Lost { .. }) => panic!("{lost}: nothing was recovered"),
            }
            place = cursor(seen as u64);
        }
        assert!(expired < 100);
    });
}

#[test]
fn what_an_event_is_about_is_one_text() {
    let mut rig = Rig::default();
    rig.run(put("plan/title", "x"));
    rig.run(Body::Task(TaskCommand::Add(vec![NewTask {
        title: "one".into(),
        ..NewTask::default()
    }])));
    let events = rig.colony.project("p").unwrap().events();
    let text = |event: &Arc<Event>| {
        let subject = event.what.subject().map(|subject| subject.to_string());
        (event.what.type_name(), subject.unwrap_or_default())
    };
    let texts: Vec<_> = events.iter().map(text).collect();
    assert_eq!(
        texts,
        [("changed", "key:plan/title".into()), ("task_added", "task:2-0".into())]
    );
    for (_, text) in texts {
        assert!(Subject::KINDS.contains(&text.split_once(':').unwrap().0));
    }
}

#[test]
fn the_digest_of_events_is_that_of_those_kept() {
    let (mut events, key) = (Events::default(), Key::from("k".repeat(KEY_BYTES_MAX)));
    let kept = EVENT_BYTES_KEPT_MAX / event(1, &key).bytes();
    (1..=kept + 7).for_each(|number| events.push(event(number, &key)));
    let restored = |events: &Events| {
        let list = events.iter().map(|event| (**event).clone());
        let restored = Events::restore(events.dropped(), list);
        assert_eq!((restored.digest, restored.len()), (events.digest, events.len()));
    };
    restored(&events);
    // Some that are too old are still there.
    events.push(event_at(kept + 8, &key, EVENTS_KEPT_MS * 2));
    restored(&events);
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
