//! Pools, promise by promise. How they are shared has its tests beside it.

use std::collections::BTreeMap;

use super::*;

fn settings() -> PoolSettings {
    PoolSettings {
        max: 5,
        per_node_max: 3,
        ..PoolSettings::default()
    }
}

fn set(name: &str, settings: PoolSettings) -> Body {
    Body::Pool(PoolCommand::Set {
        name: name.into(),
        settings: Box::new(settings),
        if_absent: false,
    })
}

fn remove(name: &str) -> Body {
    Body::Pool(PoolCommand::Remove { name: name.into() })
}

fn drain(name: &str, on: bool) -> Body {
    Body::Pool(PoolCommand::Drain { name: name.into(), on })
}

fn recycle(name: &str) -> Body {
    Body::Pool(PoolCommand::Recycle { name: name.into() })
}

fn share(name: &str, shares: &[(u64, u32)], after: u64) -> Body {
    Body::Pool(PoolCommand::Share {
        name: name.into(),
        shares: shares.iter().map(|(node, share)| (NodeId(*node), *share)).collect(),
        after,
    })
}

impl Rig {
    /// Says whether the command changed the pool.
    fn changes(&mut self, body: Body) -> bool {
        let command = self.command(body);
        let (outcome, applied) = self.send(command);
        let Outcome::PoolSet { changed, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(applied.pools.len(), usize::from(changed), "it is told to the store");
        changed
    }

    fn pool(&self, name: &str) -> Pool {
        Pool::clone(self.colony.pools().get(name).expect("it was set"))
    }
}

#[test]
fn a_pool_is_set_changed_and_removed_and_belongs_to_no_project() {
    let mut rig = Rig::default();
    assert!(rig.changes(set("builders", settings())));
    assert!(!rig.changes(set("builders", settings())));
    let pool = rig.pool("builders");
    assert_eq!((&*pool.author, pool.changed, pool.epoch), ("ann", 1, 1));
    assert!(rig.changes(set("builders", PoolSettings { max: 7, ..settings() })));
    assert_eq!(rig.pool("builders").settings.max, 7);
    assert!(rig.colony.projects().next().is_none());
    assert!(rig.changes(remove("builders")));
    assert!(rig.colony.pools().is_empty());
    for body in [remove("builders"), drain("builders", true), recycle("builders")] {
        assert_eq!(rig.refused(body).to_string(), "there is no pool \"builders\"");
    }
}

#[test]
fn a_cluster_file_begins_a_pool_and_does_not_change_one() {
    let mut rig = Rig::default();
    let begin = |max| {
        Body::Pool(PoolCommand::Set {
            name: "builders".into(),
            settings: Box::new(PoolSettings { max, ..settings() }),
            if_absent: true,
        })
    };
    assert!(rig.changes(begin(5)));
    assert!(!rig.changes(begin(9)));
    assert_eq!(rig.pool("builders").settings.max, 5);
}

#[test]
fn agents_are_replaced_after_what_changes_them_and_not_after_what_changes_their_number() {
    let mut rig = Rig::default();
    rig.changes(set("builders", settings()));
    let mut epoch = |settings: PoolSettings| {
        rig.changes(set("builders", settings));
        rig.pool("builders").epoch
    };
    let numbers = PoolSettings {
        min_idle: 2,
        max: 9,
        per_node_max: 9,
        idle_ms: 1,
        placement: BTreeMap::from([("gpu".into(), "yes".into())]),
        recycle: Recycle {
            age_ms: Some(5_000),
            ..Recycle::default()
        },
        ..settings()
    };
    assert_eq!(epoch(numbers.clone()), 1);
    let told = PoolSettings {
        arguments: "{\"command\":[\"true\"]}".into(),
        ..numbers
    };
    assert_eq!(epoch(told.clone()), 3);
    let after_tasks = Recycle {
        after_tasks: Some(10),
        ..told.recycle
    };
    let bounded = PoolSettings {
        recycle: after_tasks,
        ..told
    };
    assert_eq!(epoch(bounded), 4);
    assert!(rig.changes(recycle("builders")));
    assert_eq!((rig.pool("builders").epoch, rig.pool("builders").changed), (5, 5));
}

#[test]
fn a_share_is_for_the_pool_that_was_seen_and_within_its_bounds() {
    let mut rig = Rig::default();
    rig.changes(set("builders", settings()));
    assert!(rig.changes(share("builders", &[(1, 2), (2, 3)], 1)));
    assert!(!rig.changes(share("builders", &[(1, 2), (2, 3)], 1)));
    assert_eq!(
        (rig.pool("builders").share(NodeId(2)), rig.pool("builders").shared()),
        (3, 5)
    );
    let refused =
        |rig: &mut Rig, shares: &[(u64, u32)], after| rig.refused(share("builders", shares, after)).to_string();
    assert_eq!(refused(&mut rig, &[(1, 4)], 1), "share: 4 is over the limit of 3");
    assert_eq!(refused(&mut rig, &[(1, 0)], 1), "share: 0 is under the least, 1");
    assert_eq!(
        refused(&mut rig, &[(1, 3), (2, 3)], 1),
        "shares: 6 is over the limit of 5"
    );
    let many: Vec<(u64, u32)> = (1..=129).map(|node| (node, 1)).collect();
    assert_eq!(refused(&mut rig, &many, 1), "shares: 129 is over the limit of 128");
    rig.changes(recycle("builders"));
    assert_eq!(refused(&mut rig, &[(1, 1)], 1), "after: the pool has changed since");
}

#[test]
fn a_drained_pool_has_no_agents_until_that_is_taken_back() {
    let mut rig = Rig::default();
    rig.changes(set("builders", settings()));
    rig.changes(share("builders", &[(1, 2)], 1));
    assert!(rig.changes(drain("builders", true)));
    assert!(!rig.changes(drain("builders", true)));
    let pool = rig.pool("builders");
    assert!(pool.drained && pool.shares.is_empty());
    let refused = rig.refused(share("builders", &[(1, 1)], pool.changed));
    assert_eq!(refused.to_string(), "shares: the pool is drained");
    // A change of its settings does not end that.
    rig.changes(set("builders", PoolSettings { max: 7, ..settings() }));
    assert!(rig.pool("builders").drained);
    assert!(rig.changes(drain("builders", false)));
    let after = rig.pool("builders").changed;
    assert!(rig.changes(share("builders", &[(1, 1)], after)));
}

#[test]
fn settings_out_of_their_bounds_are_refused_by_field_value_and_bound() {
    let mut rig = Rig::default();
    let mut check = |settings: PoolSettings, expected: &str| {
        let refused = rig.refused(set("builders", settings)).to_string();
        assert_eq!(refused, expected);
    };
    let of = settings;
    check(PoolSettings { max: 0, ..of() }, "max: 0 is under the least, 1");
    check(
        PoolSettings { max: 10_001, ..of() },
        "max: 10001 is over the limit of 10000",
    );
    check(
        PoolSettings { min_idle: 6, ..of() },
        "min_idle: 6 is over the limit of 5",
    );
    check(
        PoolSettings {
            per_node_max: 0,
            ..of()
        },
        "per_node_max: 0 is under the least, 1",
    );
    check(PoolSettings { slots: 0, ..of() }, "slots: 0 is under the least, 1");
    check(
        PoolSettings {
            idle_ms: 86_400_001,
            ..of()
        },
        "idle_ms: 86400001 is over the limit of 86400000",
    );
    check(
        PoolSettings {
            queue: "".into(),
            ..of()
        },
        "queue: is empty or has a control character",
    );
    check(
        PoolSettings {
            kinds: vec!["b".into(), "a".into()],
            ..of()
        },
        "kinds: are not sorted and distinct",
    );
    check(
        PoolSettings {
            arguments: "x".repeat(POOL_ARGUMENTS_BYTES_MAX + 1).into(),
            ..of()
        },
        "arguments: 16385 is over the limit of 16384",
    );
    let nine = (0..9).map(|number| (number.to_string().into(), "".into()));
    check(
        PoolSettings {
            labels: nine.collect(),
            ..of()
        },
        "labels: 9 is over the limit of 8",
    );
    check(
        PoolSettings {
            placement: BTreeMap::from([("a=b".into(), "".into())]),
            ..of()
        },
        "placement: have a name that is empty or has an equals sign",
    );
    let recycle = |recycle: Recycle| PoolSettings { recycle, ..of() };
    let none = Recycle::default();
    check(
        recycle(Recycle {
            after_tasks: Some(0),
            ..none
        }),
        "recycle.after_tasks: 0 is under the least, 1",
    );
    check(
        recycle(Recycle {
            age_ms: Some(999),
            ..none
        }),
        "recycle.age_ms: 999 is under the least, 1000",
    );
    check(
        recycle(Recycle {
            memory_bytes: Some(u64::MAX),
            ..none
        }),
        "recycle.memory_bytes: 18446744073709551615 is over the limit of 17592186044416",
    );
    for name in ["", "..", "a b", "a/b", "ü"] {
        assert!(
            matches!(rig.refused(set(name, of())), Refusal::Malformed { .. }),
            "{name:?}"
        );
    }
}

#[test]
fn there_are_so_many_pools_at_most() {
    let mut rig = Rig::default();
    for number in 0..POOLS_MAX {
        assert!(rig.changes(set(&format!("p{number}"), settings())));
    }
    let refused = rig.refused(set("more", settings())).to_string();
    assert_eq!(refused, "pools: 257 is over the limit of 256");
}

#[test]
fn refusals_and_outcomes_fit_what_was_reserved_for_them() {
    let mut rig = Rig::default();
    let long = "n".repeat(POOL_NAME_BYTES_MAX);
    let bad = PoolSettings {
        placement: BTreeMap::from([("".into(), "".into())]),
        ..settings()
    };
    let bodies = [
        remove(&long),
        set(&long, settings()),
        set(&long, bad),
        set("a b", settings()),
        share(&long, &[(1, 1)], 9),
        recycle(&long),
    ];
    for body in bodies {
        let room = body.outcome_bytes_max();
        let outcome = rig.run(body);
        let bytes = bincode::serialize(&outcome).unwrap().len();
        assert!(bytes <= room, "{bytes} of {room}: {outcome:?}");
    }
}

/// Adds tasks, as many as there are terms.
fn add(rig: &mut Rig, kind: Option<&str>, terms: Vec<Terms>) {
    let task = |terms| NewTask {
        title: "work".into(),
        kind: kind.map(Into::into),
        terms,
        ..NewTask::default()
    };
    let added = rig.run(Body::Task(TaskCommand::Add(terms.into_iter().map(task).collect())));
    assert!(matches!(added, Outcome::Added { .. }), "{added:?}");
}

#[test]
fn only_what_agents_of_the_pool_could_claim_now_is_work_for_it() {
    let mut rig = Rig::default();
    let of = PoolSettings {
        project: "p".into(),
        ..settings()
    };
    let kinds = PoolSettings {
        kinds: vec!["build".into()],
        ..of.clone()
    };
    let capable = PoolSettings {
        capabilities: vec!["rust".into()],
        ..of.clone()
    };
    let check = |rig: &Rig, expected: [u64; 3]| {
        assert_eq!(
            [&of, &kinds, &capable].map(|settings| rig.colony.ready_for(settings)),
            expected
        );
    };
    check(&rig, [0, 0, 0]);
    add(&mut rig, Some("build"), vec![Terms::default(); 2]);
    let rust = Terms {
        requires: vec!["rust".into()],
        ..Terms::default()
    };
    add(&mut rig, None, vec![rust]);
    check(&rig, [2, 2, 3]);

    // Of another queue, or after something else.
    let elsewhere = Terms {
        queue: "other".into(),
        ..Terms::default()
    };
    let needs = Terms {
        needs: vec![Need::Id(TaskId { seq: 1, ordinal: 0 })],
        ..Terms::default()
    };
    let later = Terms {
        not_before_ms: Some(wall_ms(60_000)),
        ..Terms::default()
    };
    add(&mut rig, Some("build"), vec![elsewhere, needs, later]);
    check(&rig, [2, 2, 3]);

    let rate = RateSettings {
        tokens: 1,
        interval_ms: 60_000,
        burst: 3,
    };
    rig.run(Body::Rate(RateCommand::Set {
        name: "api".into(),
        settings: rate,
    }));
    let two = Terms {
        rates: vec![Tokens {
            rate: "api".into(),
            count: 2,
        }],
        ..Terms::default()
    };
    // There are tokens for one of them.
    add(&mut rig, Some("build"), vec![two.clone(), two.clone(), two]);
    check(&rig, [3, 3, 4]);
    rig.run(Body::Task(TaskCommand::Queue(QueueChange {
        queue: QUEUE_DEFAULT.into(),
        paused: Some(true),
        breaker: None,
        distribution: None,
    })));
    check(&rig, [0, 0, 0]);
}
