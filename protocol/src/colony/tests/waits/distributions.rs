//! To which of the claims that wait a task goes, promise by promise.

use super::*;

fn distribute(rig: &mut Rig, distribution: Distribution) {
    let set = rig.run(Body::Task(TaskCommand::Queue(QueueChange {
        queue: QUEUE_DEFAULT.into(),
        paused: None,
        breaker: None,
        distribution: Some(distribution),
    })));
    assert!(matches!(set, Outcome::QueueSet { .. }), "{set:?}");
}

#[test]
fn the_least_loaded_worker_is_first() {
    let mut rig = rig();
    session(&mut rig, "c", &[]);
    distribute(&mut rig, Distribution::LeastLoaded);
    rig.add(vec![new_task("t"); 3]);
    assert_eq!(rig.claimed(waiting_claim(token("a"), 2, Wants::default())).len(), 2);
    assert_eq!(rig.claimed(waiting_claim(token("b"), 1, Wants::default())).len(), 1);
    let ids = ["a", "b", "c"].map(|name| wait(&mut rig, name));
    let order: Vec<usize> = (0..3)
        .map(|_| {
            rig.add_one();
            let newest = |id: &WaitId| offered(&rig, *id).first().map_or(0, |claimed| claimed.fence.0);
            (0..3).max_by_key(|place| newest(&ids[*place])).unwrap()
        })
        .collect();
    assert_eq!(order, [2, 1, 0]);
}

#[test]
fn the_least_capable_worker_that_fits_is_first() {
    let mut rig = rig();
    session(&mut rig, "c", &[]);
    distribute(&mut rig, Distribution::CapabilityFit);
    let mut able = |name: &str, capabilities: &[&str]| {
        let wants = Wants {
            capabilities: capabilities.iter().map(|name| Arc::from(*name)).collect(),
            ..wants(60_000)
        };
        begins(rig.run(waiting_claim(token(name), 1, wants)))
    };
    let (all, one, none) = (able("a", &["arm", "gpu"]), able("b", &["arm"]), able("c", &[]));
    let requires = |words: &[&str]| NewTask {
        terms: Terms {
            requires: words.iter().map(|word| Arc::from(*word)).collect(),
            ..Terms::default()
        },
        ..new_task("t")
    };
    let arm = rig.add(vec![requires(&["arm"])])[0];
    let any = rig.add(vec![requires(&[])])[0];
    let gpu = rig.add(vec![requires(&["gpu"])])[0];
    let got = [one, none, all].map(|id| offered(&rig, id)[0].task);
    assert_eq!(got, [arm, any, gpu]);
}

#[test]
fn workers_take_turns() {
    let mut rig = rig();
    session(&mut rig, "c", &[]);
    distribute(&mut rig, Distribution::RoundRobin);
    let mut got = String::new();
    for name in ["c", "b", "a"] {
        wait(&mut rig, name);
    }
    for _ in 0..9 {
        rig.add_one();
        let offers = rig.tasks().waits().filter(|(_, wait)| !wait.is_waiting());
        let newest = offers.max_by_key(|(_, wait)| wait.offered[0].fence).unwrap().1.clone();
        let Owner::Session { name, .. } = &newest.holder.owner else {
            panic!("{newest:?}");
        };
        got.push_str(name);
        let claimed = newest.offered[0];
        rig.finish(finish(claimed.task, claimed.fence, token(name)));
        // Who was served comes back at once, and is the last in line all the same.
        let name = name.clone();
        wait(&mut rig, &name);
    }
    assert_eq!(got, "abcabcabc");
}

#[test]
fn a_drawn_worker_is_drawn_evenly_and_the_same_on_every_node() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut rig = rig();
    for name in ["c", "d"] {
        session(&mut rig, name, &[]);
    }
    distribute(&mut rig, Distribution::Random);
    for name in ["a", "b", "c", "d"] {
        wait(&mut rig, name);
    }
    for _ in 0..400 {
        let mut other = rig.clone();
        let (mine, theirs) = (rig.add_one(), other.add_one());
        assert_eq!((mine, rig.colony.digest()), (theirs, other.colony.digest()));
        let (_, offer) = rig.tasks().waits().find(|(_, wait)| !wait.is_waiting()).unwrap();
        let (name, claimed) = (offer.holder.owner.name().to_string(), offer.offered[0]);
        *counts.entry(name.clone()).or_default() += 1;
        rig.finish(finish(claimed.task, claimed.fence, token(&name)));
        wait(&mut rig, &name);
    }
    assert!(counts.values().all(|count| (70..130).contains(count)), "{counts:?}");
}

#[test]
fn a_task_goes_where_its_labels_are() {
    let mut rig = rig();
    session(&mut rig, "east", &["host=e", "zone=1"]);
    session(&mut rig, "west", &["host=w", "zone=1"]);
    distribute(&mut rig, Distribution::Locality);
    let ids = ["a", "east", "west"].map(|name| wait(&mut rig, name));
    let labelled = |labels: &[&str]| NewTask {
        terms: Terms {
            labels: labels.iter().map(|label| Arc::from(*label)).collect(),
            ..Terms::default()
        },
        ..new_task("t")
    };
    let west = rig.add(vec![labelled(&["host=w", "zone=1"])])[0];
    let east = rig.add(vec![labelled(&["zone=1"])])[0];
    let anywhere = rig.add(vec![labelled(&["host=x"])])[0];
    let got = ids.map(|id| offered(&rig, id)[0].task);
    assert_eq!(got, [anywhere, east, west]);
}

#[test]
fn while_tasks_come_no_claim_starves_whatever_the_distribution() {
    for distribution in Distribution::ALL {
        let mut rig = rig();
        distribute(&mut rig, distribution);
        // The one that every distribution but the first puts last: it holds much, can do much, and shares no label.
        session(&mut rig, "last", &[]);
        rig.add(vec![new_task("held"); 50]);
        assert_eq!(
            rig.claimed(waiting_claim(token("last"), 50, Wants::default())).len(),
            50
        );
        let wants_much = Wants {
            capabilities: vec!["arm".into(), "gpu".into()],
            ..wants(60_000)
        };
        let last = begins(rig.run(waiting_claim(token("last"), 1, wants_much)));
        let others: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
        for name in &others {
            session(&mut rig, name, &["here"]);
            wait(&mut rig, name);
        }
        let labelled = || NewTask {
            terms: Terms {
                labels: vec!["here".into()],
                ..Terms::default()
            },
            ..new_task("t")
        };
        let mut passed = 0;
        loop {
            rig.add(vec![labelled()]);
            if !offered(&rig, last).is_empty() {
                break;
            }
            passed += 1;
            assert!(passed <= 16 * 8, "{distribution}: passed {passed} times");
            let (_, offer) = rig.tasks().waits().find(|(_, wait)| !wait.is_waiting()).unwrap();
            let (name, claimed) = (offer.holder.owner.name().to_string(), offer.offered[0]);
            rig.finish(finish(claimed.task, claimed.fence, token(&name)));
            wait(&mut rig, &name);
        }
    }
}
