use bytes::Bytes;
use queenright_protocol::colony::{
    Conflict, Content, ContentHash, Cursor, Digest, Event, Expected, Merge, Op, Proposal, RangeRead, RangeStamp, Span,
    What, Write,
};
use queenright_protocol::colony::{Key, Read};
use queenright_protocol::conflict::Kind;
use serde_json::json;

use super::*;

#[test]
fn a_code_is_one_word_and_an_unknown_one_is_other() {
    assert_eq!(Code::CursorExpired.to_string(), "CURSOR_EXPIRED");
    assert_eq!(serde_json::to_value(Code::Invalid).unwrap(), "INVALID");
    assert_eq!(
        serde_json::from_value::<Code>(json!("OF_LATER_VERSIONS")).unwrap(),
        Code::Other
    );
}

#[test]
fn a_problem_leaves_out_what_it_does_not_have() {
    let problem = Problem::new(Code::TooLarge, "value: 9 B is over the limit of 8 B");
    let value = serde_json::to_value(&problem).unwrap();
    let expected = json!({
        "type": "urn:queenright:problem:too-large",
        "title": "Too large",
        "status": 413,
        "detail": "value: 9 B is over the limit of 8 B",
        "code": "TOO_LARGE",
        "retryable": false,
    });
    assert_eq!(value, expected);
    assert_eq!(serde_json::from_value::<Problem>(value).unwrap(), problem);
}

#[test]
fn cursors_are_written_and_read_in_one_way() {
    let check = |text: &str, seq, ordinal| {
        let cursor: EventCursor = text.parse().unwrap();
        assert_eq!(cursor.0, Cursor { seq, ordinal });
        assert_eq!(cursor.to_string(), text);
    };
    check("0", 0, u32::MAX);
    check("1500", 1500, u32::MAX);
    check("1500.2", 1500, 2);
    for text in ["", ".", "1.", ".1", "-1", "+1", "1.2.3", "1.4294967296", " 1"] {
        assert!(text.parse::<EventCursor>().is_err(), "{text:?}");
    }
}

fn hash() -> ContentHash {
    ContentHash::of(b"x")
}

fn write(op: Op) -> Write {
    Write {
        key: "k/ü".into(),
        op,
        tags: vec!["a".into(), "b".into()],
        before: Some(3),
    }
}

#[test]
fn a_proposal_comes_back_as_it_was() {
    let ops = [
        Op::Put(Content::Inline("text".into())),
        Op::Put(Content::Inline(Bytes::from_static(b"\xff\x00"))),
        Op::Put(Content::Kept(hash())),
        Op::Delete,
        Op::Increment(i64::MIN),
        Op::Max(7),
        Op::Append("".into()),
        Op::Append(Bytes::from_static(b"\xfe")),
        Op::SetAdd("line".into()),
        Op::Merge(Merge {
            base: None,
            base_tags: Vec::new(),
            theirs: Content::Inline("text".into()),
        }),
        Op::Merge(Merge {
            base: Some(Content::Kept(hash())),
            base_tags: vec!["t".into()],
            theirs: Content::Inline(Bytes::from_static(b"\xff")),
        }),
    ];
    let contents = [Expected::Any, Expected::Absent, Expected::Hash(hash())];
    let proposal = Proposal {
        reads: contents
            .map(|content| Read {
                key: "r".into(),
                revision: u64::MAX,
                content,
            })
            .into(),
        writes: ops.map(write).into(),
        priority: 9,
        dry_run: true,
        ranges: vec![
            RangeRead {
                span: Span::Folder("src/".into()),
                stamp: RangeStamp {
                    keys: 3,
                    sum: Digest(7),
                },
            },
            RangeRead {
                span: Span::Glob("*".into()),
                stamp: RangeStamp::default(),
            },
        ],
        fence: None,
        follows: Some(4),
        caller: None,
    };
    let text = serde_json::to_string(&ProposalRequest::from(&proposal)).unwrap();
    let request: ProposalRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(request.into_proposal().unwrap(), proposal);
}

#[test]
fn a_write_says_exactly_one_thing() {
    let check = |body: serde_json::Value, expected: &str| {
        let batch: BatchRequest = serde_json::from_value(json!({ "proposals": [{}, { "writes": [body] }] })).unwrap();
        assert_eq!(batch.into_batch().unwrap_err().to_string(), expected);
    };
    check(
        json!({ "key": "k", "put": "x", "delete": true }),
        "proposals[1].writes[0]: has both put and delete",
    );
    check(
        json!({ "key": "k", "put_base64": "!" }),
        "proposals[1].writes[0]: is not Base64: Invalid symbol 33, offset 0.",
    );
    check(
        json!({ "key": "k" }),
        "proposals[1].writes[0]: says not what to write (one of put, put_base64, put_kept, delete, increment, max, \
         append, append_base64, set_add, merge)",
    );
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let error = serde_json::from_value::<ProposalRequest>(json!({ "reads": [{ "key": "k", "rev": 1 }] })).unwrap_err();
    assert!(error.to_string().starts_with("unknown field `rev`"), "{error}");
    let error = serde_json::from_value::<ChangeRequest>(json!({ "key": "k", "op": { "put": "x" } })).unwrap_err();
    assert!(error.to_string().starts_with("unknown variant `put`"), "{error}");
}

#[test]
fn a_change_has_one_condition_at_most() {
    let request: ChangeRequest =
        serde_json::from_value(json!({ "key": "k", "op": { "increment": 1 }, "if_revision": 1, "if_absent": true }))
            .unwrap();
    assert_eq!(
        request.into_change().unwrap_err().to_string(),
        "if_absent: does not go together with if_revision"
    );
}

#[test]
fn a_loss_names_each_key_to_reread_once() {
    let conflict = |kind, key: &str| Conflict {
        kind,
        key: Key::from(key),
        expected: 1,
        revision: 2,
        hash: Some(hash()),
        winner: 5,
        merge: None,
        holder: None,
    };
    let conflicts = [
        conflict(Kind::StaleRead, "b"),
        conflict(Kind::StaleWrite, "b"),
        conflict(Kind::StaleRead, "a"),
    ];
    let outcome = ProposalOutcome::Lost(Loss::of(9, &conflicts, 3));
    let value = serde_json::to_value(&outcome).unwrap();
    assert_eq!(value["verdict"], "lost");
    assert_eq!(
        value["conflicts"][0],
        json!({ "kind": "stale_read", "key": "b", "expected": 1, "revision": 2, "hash": hash().to_string(), "winner": 5 })
    );
    let keys: Vec<_> = value["reread"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["key"])
        .collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(serde_json::from_value::<ProposalOutcome>(value).unwrap(), outcome);
}

#[test]
fn an_event_is_one_flat_object() {
    let event = Event {
        cursor: Cursor { seq: 7, ordinal: 1 },
        cluster_ms: 10,
        wall_ms: u64::MAX,
        author: "http".into(),
        what: What::Changed {
            key: "k".into(),
            revision: 2,
            hash: None,
            bytes: 0,
            tags: Vec::new(),
        },
    };
    let value = serde_json::to_value(WireEvent::from(&event)).unwrap();
    let expected = json!({
        "cursor": "7.1", "seq": 7, "type": "changed", "author": "http", "cluster_ms": 10, "wall_ms": u64::MAX,
        "key": "k", "revision": 2, "bytes": 0, "deleted": true,
    });
    assert_eq!(value, expected);
    assert_eq!(
        serde_json::from_value::<WireEvent>(value).unwrap(),
        WireEvent::from(&event)
    );
}
