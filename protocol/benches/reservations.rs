//! How long a check takes among 100,000 reservations: of a file, of a pattern in one folder, of one over folders, of a
//! slot, and of a key that is written. Prints the median, the 99th percentile and the longest of each.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use queenright_protocol::colony::{
    Acquire, Body, Caller, Change, Colony, Command, Condition, Content, Mode, NewSession, Op, Outcome,
    ReservationCommand, Round, SessionCommand, TokenHash, Want,
};
use queenright_protocol::id::NodeId;

const RESERVATIONS: u64 = 100_000;
const OWNERS: u64 = 100;
const CHECKS: usize = 20_000;
const NODE: NodeId = NodeId(1);

fn want(resource: String) -> Want {
    Want {
        resource: resource.into(),
        mode: Mode::Exclusive,
    }
}

fn command(number: u64, body: Body) -> Round {
    Round {
        node: NODE,
        incarnation: 1,
        commands: vec![Command {
            listed: false,
            number,
            settled: number,
            expires_ms: u64::MAX,
            project: "p".into(),
            author: "bench".into(),
            idempotency_key: None,
            body,
        }],
    }
}

/// Files of a tree of 1,000 folders, every tenth of them a pattern of its folder.
fn reserved(number: u64) -> String {
    let (top, folder, file) = (number % 10, number / 10 % 100, number / 1_000);
    match number % 7 {
        0 => format!("file:crates/c{top}/src/m{folder}/f{file}_*.rs"),
        _ => format!("file:crates/c{top}/src/m{folder}/f{file}.rs"),
    }
}

fn filled() -> Colony {
    let mut colony = Colony::default();
    for owner in 0..OWNERS {
        let new = NewSession::new("bench", TokenHash::of(&owner.to_string()));
        let body = Body::Session(SessionCommand::Open(new));
        colony.apply(0, 0, &[command(owner + 1, body)], NODE);
    }
    for number in 1..=RESERVATIONS {
        let acquire = Acquire {
            resources: vec![want(reserved(number))],
            caller: Caller::Session(TokenHash::of(&(number % OWNERS).to_string())),
            ttl_ms: None,
            wait_ms: 0,
            reason: None,
            task: None,
        };
        let body = Body::Reservation(ReservationCommand::Acquire(acquire));
        let applied = colony.apply(0, 0, &[command(OWNERS + number, body)], NODE);
        assert!(
            matches!(applied.outcomes[0].outcome, Outcome::Reserved { .. }),
            "{}",
            reserved(number)
        );
    }
    colony
}

/// Times `once`, which is given the number of the call.
fn timed(what: &str, mut once: impl FnMut(u64)) {
    let mut nanos: Vec<u128> = (0..CHECKS as u64)
        .map(|number| {
            let begun = Instant::now();
            once(number.wrapping_mul(0x9e37_79b9) % RESERVATIONS + 1);
            begun.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    let micros = |place: usize| nanos[place] as f64 / 1000.0;
    println!(
        "{what:<34} p50 {:>7.2} µs  p99 {:>7.2} µs  max {:>8.2} µs",
        micros(CHECKS / 2),
        micros(CHECKS * 99 / 100),
        micros(CHECKS - 1)
    );
}

fn main() {
    let mut colony = filled();
    let project = colony.project("p").expect("it was filled").clone();
    let reservations = project.reservations();
    println!("{} reservations, {CHECKS} checks of each kind", reservations.count().0);
    let check = |wants: &[Want]| reservations.check(wants, None, colony.agents(), 0);
    timed("a file that is taken", |number| {
        let checked = check(&[want(reserved(number))]).expect("it is well formed");
        assert!(!black_box(checked).blockers.is_empty());
    });
    timed("a file that is free", |number| {
        let text = format!("file:crates/c{}/src/m{}/new{number}.rs", number % 10, number % 100);
        assert!(
            black_box(check(&[want(text)]))
                .expect("it is well formed")
                .blockers
                .is_empty()
        );
    });
    timed("a pattern of one folder", |number| {
        let text = format!("file:crates/c{}/src/m{}/*.md", number % 10, number % 100);
        assert!(
            black_box(check(&[want(text)]))
                .expect("it is well formed")
                .blockers
                .is_empty()
        );
    });
    timed("a pattern over folders, taken", |number| {
        let text = format!("file:crates/c{}/src/*/f{}.rs", number % 10, number % 100);
        assert!(
            !black_box(check(&[want(text)]))
                .expect("it is well formed")
                .blockers
                .is_empty()
        );
    });
    for (what, name) in [("a name over folders, free", "new"), ("an ending over all, free", "")] {
        timed(what, |number| {
            let text = match name {
                "" => "file:**/*.md".to_owned(),
                name => format!("file:crates/c{}/src/*/{name}{number}.rs", number % 10),
            };
            let checked = check(&[want(text)]).expect("it is well formed");
            assert!(black_box(checked).blockers.is_empty());
        });
    }
    timed("a slot", |number| {
        assert!(
            black_box(check(&[want(format!("slot:s{number}"))]))
                .expect("it is well formed")
                .blockers
                .is_empty()
        );
    });
    drop(project);
    let mut number = OWNERS + RESERVATIONS;
    timed("a write of a free key, applied", |place| {
        number += 1;
        let change = Change {
            key: Arc::from(format!("crates/c{}/src/m{}/new.rs", place % 10, place % 100)),
            op: Op::Put(Content::Inline("v".into())),
            tags: Vec::new(),
            condition: Condition::None,
            caller: None,
        };
        let applied = colony.apply(0, 0, &[command(number, Body::Change(change))], NODE);
        assert!(matches!(
            black_box(applied).outcomes[0].outcome,
            Outcome::Changed { .. }
        ));
    });
}
