//! What a colony is and answers, in the words of the plain model.

use super::model::{
    ANY, Held, Model, ModelAbout, ModelAccount, ModelQueue, ModelRate, ModelReservation, ModelTask, counted,
};
use super::*;

fn held(record: &Record) -> Held {
    Held {
        revision: record.revision,
        value: record.value.as_ref().map(|value| value.bytes.to_vec()),
        tags: record.tags.clone(),
        author: record.author.clone(),
        seq: record.seq,
        changed_ms: record.changed_ms,
    }
}

fn task(task: &Task) -> ModelTask {
    ModelTask {
        added: NewTask {
            title: task.title.clone(),
            kind: task.kind.clone(),
            payload: task.payload.clone(),
            name: task.name.clone(),
            terms: Terms::clone(&task.terms),
        },
        author: task.author.clone(),
        added_ms: task.added_ms,
        state: task.state.clone(),
        attempts: task.attempts,
        history: task.history.clone(),
        unmet: task.unmet.clone(),
        counts: task.counts,
        not_until_ms: task.not_until_ms,
        wakes_ms: task.wakes_ms,
        approved: task.approved.clone(),
        checkpoint: task.checkpoint.clone(),
        usage: task.usage,
    }
}

fn queue(queue: &Queue) -> ModelQueue {
    let (grants, turns) = queue.turns();
    let (offers, last, owes_ms) = queue.offers();
    ModelQueue {
        paused_by: queue.paused_by().cloned(),
        settings: queue.breaker_settings(),
        breaker: queue.breaker(),
        grants,
        since: turns.iter().map(|(line, (since, _))| (line.clone(), *since)).collect(),
        passed: turns
            .iter()
            .map(|(line, (_, passed))| (line.clone(), *passed))
            .collect(),
        distribution: queue.distribution(),
        offers,
        last,
        owes_ms,
    }
}

fn rate(rate: &Rate) -> ModelRate {
    let (settings, (left, since_ms)) = (rate.settings(), rate.bucket());
    ModelRate {
        settings,
        left: (left / settings.interval_ms, left % settings.interval_ms),
        since_ms,
    }
}

fn account(account: &Account) -> ModelAccount {
    ModelAccount {
        usage: account.usage,
        budget: account.since(),
    }
}

fn about(about: &About) -> ModelAbout {
    ModelAbout {
        limits: about.limits,
        made: about.made,
        made_ms: about.made_ms,
        author: about.author.clone(),
        destroyed: about.destroyed,
        left: about.bucket,
    }
}

fn reservation(reservation: &Reservation) -> ModelReservation {
    let resources = reservation.resources.iter();
    ModelReservation {
        id: reservation.id,
        resources: resources
            .map(|reserved| Want {
                resource: reserved.text.clone(),
                mode: reserved.mode,
            })
            .collect(),
        holder: reservation.holder.clone(),
        reason: reservation.reason.clone(),
        task: reservation.task,
        asked_ms: reservation.asked_ms,
        ttl_ms: reservation.ttl_ms,
        granted: match reservation.state {
            Standing::Held { fence, since_ms, .. } => Some((fence, since_ms)),
            Standing::Waiting { .. } => None,
        },
        until_ms: reservation.until_ms(),
        look: matches!(reservation.state, Standing::Waiting { look: true, .. }),
    }
}

/// The outcome without what the model does not say: the order of those that stand in the way, and which of several is
/// named where one is enough.
pub(super) fn plain(mut outcome: Outcome) -> Outcome {
    match &mut outcome {
        Outcome::Refused(refusal) => plain_refusal(refusal),
        Outcome::Lost { conflicts, .. } => plain_conflicts(conflicts),
        Outcome::Judged { verdicts, .. } => {
            for verdict in verdicts {
                if let Verdict::Lost { conflicts, .. } = verdict {
                    plain_conflicts(conflicts);
                }
            }
        }
        _ => {}
    }
    outcome
}

fn plain_refusal(refusal: &mut Refusal) {
    match refusal {
        Refusal::Held { blockers, more, .. } => {
            blockers.sort_by(|a, b| {
                let place = |blocker: &Blocker| (blocker.wanted, blocker.reservation, blocker.resource.clone());
                place(a).cmp(&place(b))
            });
            if blockers.len() > BLOCKERS_LISTED_MAX || *more {
                (*blockers, *more) = (Vec::new(), true);
            }
        }
        Refusal::Reserved {
            reservation, holder, ..
        } => {
            *reservation = ANY;
            holder.author = "somebody".into();
        }
        Refusal::Deadlock { waiter, holder, .. } => {
            *waiter = ANY;
            *holder = Holder {
                owner: Owner::Session {
                    session: SessionId(0),
                    name: "somebody".into(),
                },
                author: "somebody".into(),
            };
        }
        _ => {}
    }
}

fn plain_conflicts(conflicts: &mut [Conflict]) {
    for conflict in conflicts {
        if let Some(holder) = &mut conflict.holder {
            conflict.winner = 0;
            holder.author = "somebody".into();
        }
    }
}

pub(super) fn check_state(colony: &Colony, model: &Model) {
    assert_eq!(colony.epoch(), model.epoch.as_ref());
    let names: Vec<String> = colony.projects().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, model.projects.keys().cloned().collect::<Vec<_>>());
    for ((_, project), expected) in colony.projects().zip(model.projects.values()) {
        let records = project.memory().range("", None);
        let records: Vec<_> = records.map(|(key, record)| (key.to_string(), held(record))).collect();
        assert_eq!(records, expected.held.clone().into_iter().collect::<Vec<_>>());
        let contents = expected.held.values().filter_map(|held| held.value.clone());
        let contents: std::collections::BTreeSet<_> = contents.filter(|value| value.len() >= KEPT_BYTES_MIN).collect();
        let bytes = contents.iter().map(|content| content.len() as u64).sum();
        assert_eq!(project.memory().kept(), (contents.len() as u64, bytes));
        let events: Vec<Event> = project.events().iter().map(|event| (**event).clone()).collect();
        assert_eq!(
            (events, project.events().dropped()),
            (expected.events.clone(), expected.dropped)
        );
        assert!(
            project
                .events()
                .iter()
                .all(|event| What::TYPES.contains(&event.what.type_name()))
        );
        assert_eq!(
            (project.memory().live(), project.memory().bytes()),
            counted(&expected.held)
        );
        assert_eq!(about(project.about()), expected.about);
        let tasks = project.tasks().after(None).map(|found| (found.id, task(found)));
        assert_eq!(tasks.collect::<std::collections::BTreeMap<_, _>>(), expected.tasks);
        let holds = project.holds().iter().map(|(seq, hold)| (seq, (**hold).clone()));
        assert_eq!(holds.collect::<std::collections::BTreeMap<_, _>>(), expected.holds);
        let queues = project
            .tasks()
            .queues()
            .map(|(name, found)| (name.clone(), queue(found)));
        assert_eq!(queues.collect::<std::collections::BTreeMap<_, _>>(), expected.queues);
        let rates = project.rates().iter().map(|(name, found)| (name.clone(), rate(found)));
        assert_eq!(rates.collect::<std::collections::BTreeMap<_, _>>(), expected.rates);
        let accounts = project.accounts().iter();
        let accounts = accounts.map(|(name, found)| (name.clone(), account(found)));
        assert_eq!(
            accounts.collect::<std::collections::BTreeMap<_, _>>(),
            expected.accounts
        );
        let reservations = project.reservations();
        let list: Vec<_> = reservations.after(None).map(|found| reservation(found)).collect();
        assert_eq!(list, expected.reservations.list);
        let settings = reservations.settings();
        assert_eq!(
            (&settings.capacities, settings.advisory),
            (&expected.reservations.capacities, expected.reservations.advisory)
        );
        let waits = project.tasks().waits().map(|(id, wait)| (id, Wait::clone(wait)));
        assert_eq!(waits.collect::<std::collections::BTreeMap<_, _>>(), expected.waits);
    }
    let sessions = colony.sessions().all().map(|session| Session::clone(session));
    let expected = model.projects.values().flat_map(|project| &project.sessions);
    let mut expected: Vec<Session> = expected.map(|found| found.session.clone()).collect();
    expected.sort_by_key(|session| session.id);
    assert_eq!(sessions.collect::<Vec<_>>(), expected);
    let lives = colony.agents().lives();
    let mut lives: Vec<_> = lives.map(|(key, life)| (key.1, &life.id, &life.end)).collect();
    lives.sort_by_key(|(started, ..)| *started);
    let expected = model.lives.iter().map(|life| (life.started, &life.id, &life.end));
    assert_eq!(lives, expected.collect::<Vec<_>>());
    let tokens = colony.door_tokens().iter();
    let tokens: std::collections::BTreeMap<String, DoorToken> =
        tokens.map(|(name, token)| (name.to_string(), token.clone())).collect();
    assert_eq!(tokens, model.door_tokens_by_name());
    let pools = colony.pools().iter();
    let pools: std::collections::BTreeMap<String, Pool> = pools
        .map(|(name, pool)| (name.to_string(), Pool::clone(pool)))
        .collect();
    assert_eq!(pools, model.pools_by_name());
}
