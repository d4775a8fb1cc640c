//! What a replica does with rules that its build does not know.

use queenright_protocol::colony::{Batch, Body, Command, ImageError, Round, TopologyCommand};
use queenright_protocol::version::Versions;

use super::rig::{Disk, ME, Rig, log_id, put};
use crate::replica::{Payload, Replica, RestoreError};

fn raise(to: u32, after: u32) -> Body {
    Body::Topology(TopologyCommand::Rules { to, after })
}

/// The entry in which the rules go up, with another command before that.
fn entry(number: u64) -> Vec<u8> {
    let command = |number, body| Command {
        number,
        settled: 0,
        expires_ms: u64::MAX,
        project: "p".into(),
        author: "ann".into(),
        idempotency_key: None,
        body,
        listed: false,
    };
    let round = Round {
        node: ME,
        incarnation: 1,
        commands: vec![
            command(number, Body::Change(put("before", "1"))),
            command(number + 1, raise(2, 1)),
        ],
    };
    let batch = Batch {
        cluster_ms: 1,
        wall_ms: 0,
        rounds: vec![round.encode()],
        checkpoint: None,
    };
    batch.encode().to_vec()
}

#[test]
fn an_entry_by_unknown_rules_leaves_no_trace_and_says_why() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    let before = (rig.replica.digest(), rig.replica.dirty_records());
    let index = rig.index + 1;
    let refused = rig.replica.apply(log_id(index), Payload::Rounds(&entry(index)));
    let expected = format!(
        "log entry {index}: version 2 of the rules is to be applied, this build knows version 1: it is too old, or too new"
    );
    assert_eq!(refused.unwrap_err().to_string(), expected);
    assert_eq!(rig.replica.unfit(), Some(expected));
    assert_eq!((rig.replica.digest(), rig.replica.dirty_records()), before);
}

#[test]
fn a_newer_build_applies_the_same_entry_and_what_it_stores_is_refused_by_this_one() {
    let newer = Versions { oldest: 1, newest: 2 };
    let mut rig = Rig::of(Replica::knowing(ME, newer));
    rig.put("a", "1");
    rig.index += 1;
    let applied = rig.replica.apply(log_id(rig.index), Payload::Rounds(&entry(rig.index)));
    applied.unwrap();
    assert_eq!((rig.replica.rules_version(), rig.replica.unfit()), (2, None));
    let mut disk = Disk::default();
    disk.write(&rig.replica);
    let refused = Replica::restore(ME, &disk.meta, disk.pairs.into_iter().collect());
    assert!(
        matches!(refused, Err(RestoreError::Image(ImageError::UnknownRules { found: 2 }))),
        "{:?}",
        refused.err()
    );
}
