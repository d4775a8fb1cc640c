//! Records, what nodes tell for them, and the spans that follow.

use queenright_protocol::id::NodeId;

use super::journal::AppliedTimes;
use super::ring::Asked;
use super::*;

fn id(number: u64) -> CommandId {
    CommandId {
        node: NodeId(1),
        incarnation: 1,
        number,
    }
}

fn record(commands: u64) -> TraceRecord {
    let command = |number| CommandRecord {
        what: "task add".to_owned(),
        begin_us: 1_010,
        cut_us: Some(1_020),
        end_us: 1_900,
        outcome: "done".to_owned(),
        command: Some(id(number)),
        nodes: Vec::new(),
    };
    TraceRecord {
        trace: TraceId::draw(),
        span: SpanId::draw(),
        parent: None,
        node: "n1".to_owned(),
        name: "POST /v1/tasks".to_owned(),
        status: 200,
        begin_us: 1_000,
        end_us: 2_000,
        commands: (1..=commands).map(command).collect(),
    }
}

fn applied(begin_us: u64) -> CommandTimes {
    CommandTimes {
        applied: Some(AppliedTimes {
            index: 5,
            begin_us,
            end_us: begin_us + 10,
        }),
        ..CommandTimes::default()
    }
}

#[test]
fn what_nodes_tell_becomes_a_tree_from_the_door_to_each_apply() {
    let mut records = [record(1)];
    let leads = CommandTimes {
        arrived_us: Some(1_100),
        appended_us: Some(1_150),
        ..applied(1_500)
    };
    for (node, times) in [("n2", leads), ("n1", applied(1_600)), ("n3", CommandTimes::default())] {
        let asked = Asked::of(&records, node);
        assert_eq!(asked.commands, [id(1)]);
        asked.answered(&mut records, node, vec![times]);
    }
    // Who has told is not asked again, who has not is.
    assert!(Asked::of(&records, "n2").commands.is_empty());
    assert_eq!(Asked::of(&records, "n3").commands, [id(1)]);
    let spans = spans(&records[0]);
    let lines: Vec<String> = spans
        .iter()
        .map(|span| {
            let parent = spans.iter().find(|parent| Some(parent.span) == span.parent);
            let parent = parent.map_or("-", |parent| &parent.name);
            format!(
                "{}@{} below {parent}: {} to {}",
                span.name, span.node, span.begin_us, span.end_us
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "POST /v1/tasks@n1 below -: 1000 to 2000",
            "task add@n1 below POST /v1/tasks: 1010 to 1900",
            "gather@n1 below task add: 1010 to 1020",
            "round@n1 below task add: 1020 to 1900",
            "apply@n1 below round: 1600 to 1610",
            "order@n2 below round: 1100 to 1150",
            "consensus@n2 below round: 1150 to 1500",
            "apply@n2 below round: 1500 to 1510",
        ]
    );
    let distinct: std::collections::BTreeSet<_> = spans.iter().map(|span| span.span).collect();
    assert_eq!(distinct.len(), spans.len());
}

#[test]
fn a_command_without_an_outcome_is_an_error() {
    let mut unknown = record(2);
    assert!(!unknown.is_error());
    unknown.commands[1].outcome = "unknown".to_owned();
    assert!(unknown.is_error());
    let errors = spans(&unknown).into_iter().filter(|span| span.error).count();
    // The request and its second command.
    assert_eq!(errors, 2);
}

#[test]
fn only_so_many_requests_are_kept_and_none_waits_for_ever() {
    let traces = Traces::default();
    let first = record(1);
    traces.add(first.clone());
    assert_eq!(traces.of(first.trace).len(), 1);
    for pending in traces.take_pending() {
        traces.keep(pending);
    }
    for _ in 0..2_000 {
        traces.add(record(0));
    }
    assert!(traces.of(first.trace).is_empty());
    for _ in 0..300 {
        traces.add(record(1));
    }
    let counts = traces.counts();
    assert_eq!((counts.followed, counts.kept, counts.incomplete), (2_301, 1_024, 44));
    assert_eq!(traces.take_pending().len(), 256);
    assert_eq!(traces.last(10).len(), 10);
    // Nor more commands than there is room for.
    let last = record(64);
    for _ in 0..100 {
        traces.keep(record(64));
    }
    traces.keep(last.clone());
    assert_eq!(traces.counts().kept, 64);
    assert_eq!(traces.of(last.trace), [last]);
}

#[test]
fn errors_of_requests_that_were_not_followed_push_out_only_each_other() {
    let traces = Traces::default();
    let followed = record(0);
    traces.add(followed.clone());
    let first = record(0);
    traces.add_error(first.clone());
    assert_eq!(traces.of(first.trace).len(), 1);
    for _ in 0..2_000 {
        traces.add_error(record(0));
    }
    assert!(traces.of(first.trace).is_empty());
    assert_eq!(traces.of(followed.trace), [followed]);
    let counts = traces.counts();
    assert_eq!((counts.followed, counts.errors, counts.kept), (1, 2_001, 257));
}

#[test]
fn records_travel_by_names() {
    let record = record(1);
    let bytes = rmp_serde::to_vec_named(&record).unwrap();
    assert_eq!(rmp_serde::from_slice::<TraceRecord>(&bytes).unwrap(), record);
}
