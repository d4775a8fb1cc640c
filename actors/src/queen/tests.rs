//! Rounds, driven by hand. In `sim`: by a simulated cluster.

mod sim;

use bytes::Bytes;
use queenright_protocol::colony::{
    Answer, Batch, Body, Change, Checkpoint, Command, Condition, Digest, Op, Outcome, Proposal, ROUND_BYTES_MAX,
    ROUND_VERSION, Read, Round,
};
use queenright_protocol::id::NodeId;

use super::request::{Request, SubmitError};
use super::rounds::{Effect, Input, RoundLimits, Rounds, SENT_SOON_MAX};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

fn request(body: Body) -> Request {
    Request {
        project: "p".into(),
        author: "ann".into(),
        idempotency_key: None,
        body,
    }
}

fn change(key: &str, op: Op) -> Body {
    Body::Change(Change {
        key: key.into(),
        op,
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    })
}

/// A command whose body carries this many bytes.
fn append(bytes: usize) -> Request {
    request(change("k", Op::Append(vec![b'x'; bytes].into())))
}

/// One machine, and the clock that it is given.
struct Rig {
    rounds: Rounds<u64>,
    now_ms: u64,
    next_ticket: u64,
}

impl Rig {
    fn new(limits: RoundLimits) -> Rig {
        Rig {
            rounds: Rounds::new(ME, 7, limits),
            now_ms: 0,
            next_ticket: 0,
        }
    }

    /// A machine that another node leads.
    fn following(limits: RoundLimits) -> Rig {
        let mut rig = Rig::new(limits);
        assert_eq!(rig.step(Input::Leader(Some(OTHER))), []);
        rig
    }

    fn step(&mut self, input: Input<u64>) -> Vec<Effect<u64>> {
        let mut effects = Vec::new();
        self.rounds.step(self.now_ms, input, &mut effects);
        effects
    }

    fn submit(&mut self, request: Request) -> Vec<Effect<u64>> {
        self.next_ticket += 1;
        self.step(Input::Submit {
            ticket: self.next_ticket,
            request,
            expires_ms: u64::MAX,
        })
    }

    /// The rounds that are sent now.
    fn drain(&mut self) -> Vec<Round> {
        self.step(Input::Drain).into_iter().map(sent).collect()
    }

    fn answer(&mut self, numbers: &[u64]) -> Vec<Effect<u64>> {
        self.step(Input::Applied(
            numbers.iter().map(|number| answer(7, *number)).collect(),
        ))
    }
}

fn answer(incarnation: u64, number: u64) -> Answer {
    Answer {
        incarnation,
        number,
        outcome: outcome(number),
    }
}

fn outcome(seq: u64) -> Outcome {
    Outcome::Changed { seq, revision: 1 }
}

fn sent(effect: Effect<u64>) -> Round {
    match effect {
        Effect::Send { bytes, .. } => Round::decode(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn refusal(effects: Vec<Effect<u64>>) -> SubmitError {
    match &effects[..] {
        [
            Effect::Answer {
                outcome: Err(error), ..
            },
        ] => error.clone(),
        other => panic!("{other:?}"),
    }
}

fn numbers(round: &Round) -> Vec<u64> {
    round.commands.iter().map(|command| command.number).collect()
}

/// The bytes of a command as the machine counts them.
fn counted(request: &Request) -> usize {
    let Request {
        project, author, body, ..
    } = request.clone();
    let command = Command {
        number: 0,
        settled: 0,
        expires_ms: 0,
        project,
        author,
        idempotency_key: None,
        body,
        listed: false,
    };
    let round = |commands| {
        Round {
            node: ME,
            incarnation: 0,
            commands,
        }
        .encode()
        .len()
    };
    round(vec![command]) - round(Vec::new())
}

#[test]
fn an_idle_queen_sends_at_once_and_gathers_while_rounds_are_under_way() {
    let mut rig = Rig::following(RoundLimits {
        rounds_in_flight: 2,
        ..RoundLimits::default()
    });
    for expected in [vec![vec![1]], vec![vec![2]], vec![], vec![]] {
        rig.submit(append(1));
        let rounds: Vec<_> = rig.drain().iter().map(numbers).collect();
        assert_eq!(rounds, expected);
    }
    assert!(!rig.rounds.has_work());
    rig.answer(&[1]);
    assert!(rig.rounds.has_work());
    assert_eq!(numbers(&rig.drain()[0]), [3, 4]);
}

#[test]
fn an_outcome_goes_to_its_caller_once() {
    let mut rig = Rig::following(RoundLimits::default());
    rig.submit(append(1));
    rig.submit(append(1));
    rig.drain();
    let answered = |ticket, seq| Effect::Answer {
        ticket,
        outcome: Ok(outcome(seq)),
    };
    assert_eq!(rig.answer(&[2]), [answered(2, 2)]);
    assert_eq!(rig.answer(&[2]), []);
    let of_another_start = Input::Applied(vec![answer(6, 1)]);
    assert_eq!(rig.step(of_another_start), []);
    assert_eq!(rig.answer(&[9, 1]), [answered(1, 1)]);
    assert!(!rig.rounds.is_waiting());
}

#[test]
fn settled_stops_at_the_first_command_without_an_outcome() {
    let mut rig = Rig::following(RoundLimits::default());
    let mut settled_after = |answered: &[u64]| {
        rig.answer(answered);
        rig.submit(append(1));
        rig.drain()[0].commands[0].settled
    };
    assert_eq!(settled_after(&[]), 1);
    assert_eq!(settled_after(&[]), 1);
    assert_eq!(settled_after(&[2]), 1);
    assert_eq!(settled_after(&[1]), 3);
    assert_eq!(settled_after(&[3, 4]), 5);
}

#[test]
fn each_limit_is_named_with_the_value_and_the_bound() {
    let one = counted(&append(100));
    let mut rig = Rig::new(RoundLimits {
        command_bytes: one,
        commands: 3,
        waiting_bytes: 2 * one + 1,
        ..RoundLimits::default()
    });
    let (bytes, limit) = (one as u64 + 1, one as u64);
    assert_eq!(refusal(rig.submit(append(101))), SubmitError::TooLarge { bytes, limit });
    rig.submit(append(100));
    rig.submit(append(100));
    let busy = |held, unit, limit| SubmitError::Busy { held, unit, limit };
    let small = counted(&append(2)) as u64;
    assert_eq!(
        refusal(rig.submit(append(2))),
        busy(2 * limit + small, "bytes", 2 * limit + 1)
    );
    let mut rig = Rig::following(RoundLimits {
        commands: 2,
        ..RoundLimits::default()
    });
    rig.submit(append(1));
    rig.drain();
    rig.submit(append(1));
    assert_eq!(refusal(rig.submit(append(1))), busy(2, "commands", 2));
    rig.answer(&[1]);
    assert_eq!(rig.submit(append(1)), []);
}

#[test]
fn commands_under_way_count_towards_the_bytes_that_are_held() {
    let one = counted(&append(1000));
    let mut rig = Rig::following(RoundLimits {
        waiting_bytes: one + one / 2,
        ..RoundLimits::default()
    });
    rig.submit(append(1000));
    rig.drain();
    let refused = refusal(rig.submit(append(1000)));
    assert!(matches!(refused, SubmitError::Busy { unit: "bytes", .. }), "{refused}");
    rig.answer(&[1]);
    assert_eq!(rig.submit(append(1000)), []);
}

#[test]
fn no_round_is_cut_while_too_many_outcomes_are_kept() {
    let kept = 8 + append(1).body.outcome_bytes_max();
    let mut rig = Rig::following(RoundLimits {
        outcome_bytes: 2 * kept,
        ..RoundLimits::default()
    });
    (0..4).for_each(|_| drop(rig.submit(append(1))));
    assert_eq!(rig.drain().iter().map(numbers).collect::<Vec<_>>(), [[1, 2]]);
    // The outcome of 2 is kept until 1 is answered too, as nobody is told before that 2 may be forgotten.
    rig.answer(&[2]);
    assert!(!rig.rounds.has_work());
    rig.answer(&[1]);
    assert!(rig.rounds.has_work());
    assert_eq!(rig.drain().iter().map(numbers).collect::<Vec<_>>(), [[3, 4]]);
}

#[test]
fn a_command_whose_outcome_alone_is_too_large_is_refused() {
    let mut rig = Rig::following(RoundLimits {
        outcome_bytes: 1000,
        ..RoundLimits::default()
    });
    let read = |key: u32| Read {
        key: key.to_string().into(),
        revision: 1,
        content: Default::default(),
    };
    let wide = Body::Propose(Proposal {
        reads: (0..100).map(read).collect(),
        ..Proposal::default()
    });
    let refused = refusal(rig.submit(request(wide)));
    assert!(
        matches!(refused, SubmitError::OutcomeTooLarge { limit: 1000, .. }),
        "{refused}"
    );
    assert_eq!(rig.submit(append(1)), []);
}

#[test]
fn a_round_is_cut_at_its_bytes_and_a_larger_command_goes_alone() {
    let one = counted(&append(100));
    let mut rig = Rig::following(RoundLimits {
        round_bytes: 2 * one,
        ..RoundLimits::default()
    });
    for bytes in [100, 100, 100, 1000, 100, 100] {
        rig.submit(append(bytes));
    }
    let rounds = rig.drain();
    let cut: Vec<_> = rounds.iter().map(numbers).collect();
    assert_eq!(cut, [vec![1, 2], vec![3], vec![4], vec![5, 6]]);
}

#[test]
fn a_round_is_cut_at_its_commands_and_is_full_with_them() {
    let mut rig = Rig::following(RoundLimits {
        round_commands: 2,
        rounds_in_flight: 3,
        ..RoundLimits::default()
    });
    (0..5).for_each(|_| drop(rig.submit(append(1))));
    let rounds: Vec<_> = rig.drain().iter().map(numbers).collect();
    // The fifth is worth no round beside four commands under way.
    assert_eq!(rounds, [vec![1, 2], vec![3, 4]]);
    rig.submit(append(1));
    assert_eq!(numbers(&rig.drain()[0]), [5, 6]);
}

#[test]
fn beside_rounds_under_way_the_next_is_cut_when_it_has_half_as_much() {
    let mut rig = Rig::following(RoundLimits::default());
    rig.submit(append(1));
    assert_eq!(numbers(&rig.drain()[0]), [1]);
    (0..6).for_each(|_| drop(rig.submit(append(1))));
    assert_eq!(numbers(&rig.drain()[0]), [2, 3, 4, 5, 6, 7]);
    (0..3).for_each(|_| drop(rig.submit(append(1))));
    assert!(!rig.rounds.has_work(), "3 wait, 7 are under way");
    rig.submit(append(1));
    assert_eq!(numbers(&rig.drain()[0]), [8, 9, 10, 11]);
    rig.submit(append(1));
    assert!(!rig.rounds.has_work());
    rig.answer(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    // One is left under way: one that waits is half as much and more.
    assert_eq!(numbers(&rig.drain()[0]), [12]);
}

#[test]
fn an_entry_joins_rounds_up_to_their_bytes() {
    let round = Round {
        node: OTHER,
        incarnation: 1,
        commands: Vec::new(),
    };
    let bytes = round.encode().len() + 8;
    let mut rig = Rig::new(RoundLimits {
        round_bytes: 2 * bytes,
        entries_in_flight: 2,
        ..RoundLimits::default()
    });
    rig.step(Input::Leader(Some(ME)));
    for incarnation in 1..=5 {
        let bytes = Round {
            incarnation,
            ..round.clone()
        }
        .encode();
        assert_eq!(rig.step(Input::Round { from: OTHER, bytes }), []);
    }
    let joined = |effects: Vec<Effect<u64>>| -> Vec<usize> {
        let rounds = effects.iter().map(|effect| match effect {
            Effect::Append { rounds } => rounds.len(),
            other => panic!("{other:?}"),
        });
        rounds.collect()
    };
    assert_eq!(joined(rig.step(Input::Drain)), [2, 2]);
    assert!(!rig.rounds.has_work());
    assert_eq!(joined(rig.step(Input::EntryDone)), [0; 0]);
    assert_eq!(joined(rig.step(Input::Drain)), [1]);
}

#[test]
fn what_consensus_does_not_take_from_a_new_leader_goes_again_ahead_of_what_came_after_it() {
    let mut rig = Rig::new(RoundLimits::default());
    rig.step(Input::Leader(Some(ME)));
    let rounds: Vec<Bytes> = (1..=3)
        .map(|incarnation| {
            let round = Round {
                node: OTHER,
                incarnation,
                commands: Vec::new(),
            };
            round.encode()
        })
        .collect();
    let arrive = |rig: &mut Rig, place: usize| {
        let bytes = rounds[place].clone();
        assert_eq!(rig.step(Input::Round { from: OTHER, bytes }), []);
    };
    arrive(&mut rig, 0);
    arrive(&mut rig, 1);
    let entry = |rounds: &[Bytes]| {
        vec![Effect::Append {
            rounds: rounds.to_vec(),
        }]
    };
    assert_eq!(rig.step(Input::Drain), entry(&rounds[..2]));
    // Another one comes, and one of those under way is sent again meanwhile.
    arrive(&mut rig, 2);
    arrive(&mut rig, 1);
    let not_taken = Input::EntryNotTaken {
        rounds: rounds[..2].to_vec(),
    };
    assert_eq!(rig.step(not_taken), []);
    let again = [rounds[0].clone(), rounds[2].clone(), rounds[1].clone()];
    assert_eq!(rig.step(Input::Drain), entry(&again));
    // Whoever leads no more keeps none: those who sent them send them to the next one.
    rig.step(Input::Leader(Some(OTHER)));
    let not_taken = Input::EntryNotTaken { rounds: again.to_vec() };
    assert_eq!(rig.step(not_taken), []);
    rig.step(Input::Leader(Some(ME)));
    assert_eq!(rig.step(Input::Drain), []);
}

#[test]
fn rounds_wait_for_a_leader_and_go_to_each_new_one_at_once() {
    let mut rig = Rig::new(RoundLimits::default());
    rig.submit(append(1));
    assert!(rig.drain().is_empty());
    let sent_to = |effects: &[Effect<u64>]| match effects {
        [Effect::Send { to, .. }] => *to,
        other => panic!("{other:?}"),
    };
    assert_eq!(sent_to(&rig.step(Input::Leader(Some(OTHER)))), OTHER);
    assert_eq!(rig.step(Input::Leader(Some(OTHER))), []);
    assert_eq!(sent_to(&rig.step(Input::Leader(Some(NodeId(3))))), NodeId(3));
    assert_eq!(rig.step(Input::Leader(Some(ME))), []);
    assert!(matches!(rig.step(Input::Drain)[..], [Effect::Append { .. }]));
    assert_eq!(rig.rounds.repeated(), 2);
}

#[test]
fn a_round_is_repeated_after_its_patience_which_doubles() {
    let mut rig = Rig::following(RoundLimits {
        repeat_ms: 100,
        ..RoundLimits::default()
    });
    rig.submit(append(1));
    rig.drain();
    let mut at = Vec::new();
    for now_ms in 0..3_000 {
        rig.now_ms = now_ms;
        if !rig.step(Input::Tick).is_empty() {
            at.push(now_ms);
        }
    }
    assert_eq!(at, [100, 300, 700, 1_500, 2_300]);
    rig.answer(&[1]);
    rig.now_ms = 10_000;
    assert_eq!(rig.step(Input::Tick), []);
}

#[test]
fn a_round_for_which_there_was_no_link_goes_with_the_next_tick() {
    let mut rig = Rig::following(RoundLimits::default());
    rig.submit(append(1));
    let [round] = &rig.drain()[..] else {
        panic!("it fits one round")
    };
    assert_eq!(rig.step(Input::Tick), []);
    for _ in 0..5 {
        assert_eq!(rig.step(Input::NotSent { first: 1 }), []);
        let again: Vec<Round> = rig.step(Input::Tick).into_iter().map(sent).collect();
        assert_eq!(again, std::slice::from_ref(round));
    }
    assert_eq!(rig.rounds.repeated(), 0, "it was never sent before");
    assert_eq!(rig.step(Input::Tick), []);
    rig.answer(&[1]);
    assert_eq!(rig.step(Input::NotSent { first: 1 }), []);
    assert_eq!(rig.step(Input::Tick), []);
}

#[test]
fn a_leader_who_does_not_know_it_yet_is_asked_again_with_the_next_tick_but_not_for_ever() {
    let mut rig = Rig::following(RoundLimits::default());
    rig.submit(append(1));
    let [round] = &rig.drain()[..] else {
        panic!("it fits one round")
    };
    assert_eq!(rig.step(Input::Refused { from: ME }), []);
    assert_eq!(rig.step(Input::Tick), [], "it was not sent to that one");
    for _ in 1..SENT_SOON_MAX {
        assert_eq!(rig.step(Input::Refused { from: OTHER }), []);
        let again: Vec<Round> = rig.step(Input::Tick).into_iter().map(sent).collect();
        assert_eq!(again, std::slice::from_ref(round));
        assert_eq!(rig.step(Input::Tick), [], "once for each refusal");
    }
    assert_eq!(rig.step(Input::Refused { from: OTHER }), []);
    assert_eq!(rig.step(Input::Tick), []);
}

#[test]
fn a_leader_takes_a_waiting_round_once_and_refuses_what_it_cannot_take() {
    let round = |incarnation, bytes| {
        let author = "a".repeat(bytes).into();
        let command = Command {
            number: 1,
            settled: 1,
            expires_ms: 0,
            project: "p".into(),
            author,
            idempotency_key: None,
            body: change("k", Op::Delete),
            listed: false,
        };
        Round {
            node: OTHER,
            incarnation,
            commands: vec![command],
        }
        .encode()
    };
    let mut rig = Rig::new(RoundLimits {
        waiting_bytes: 2 * round(1, 100).len(),
        ..RoundLimits::default()
    });
    let take = |rig: &mut Rig, bytes| rig.step(Input::Round { from: OTHER, bytes }).is_empty();
    assert!(!take(&mut rig, round(1, 100)), "it does not lead");
    rig.step(Input::Leader(Some(ME)));
    assert!(take(&mut rig, round(1, 100)));
    assert!(take(&mut rig, round(1, 100)), "the same one once more");
    assert!(take(&mut rig, round(2, 100)));
    assert!(!take(&mut rig, round(3, 100)), "too much waits");
    assert!(!take(&mut rig, Bytes::from_static(b"\xff")), "no round");
    assert!(!take(&mut rig, Bytes::new()), "nothing at all");
    assert!(matches!(&rig.step(Input::Drain)[..], [Effect::Append { rounds }] if rounds.len() == 2));
}

#[test]
fn a_leader_refuses_a_round_that_no_entry_can_carry() {
    let mut rig = Rig::new(RoundLimits::default());
    rig.step(Input::Leader(Some(ME)));
    let mut bytes = vec![ROUND_VERSION; ROUND_BYTES_MAX as usize];
    assert_eq!(
        rig.step(Input::Round {
            from: OTHER,
            bytes: bytes.clone().into()
        }),
        [Effect::Refuse { to: OTHER, leads: true }]
    );
    bytes.truncate(ROUND_BYTES_MAX as usize - 58);
    assert_eq!(
        rig.step(Input::Round {
            from: OTHER,
            bytes: bytes.into()
        }),
        []
    );
}

#[test]
fn whatever_is_configured_an_entry_of_the_largest_command_decodes() {
    let mut rig = Rig::new(RoundLimits {
        command_bytes: usize::MAX,
        round_bytes: usize::MAX,
        ..RoundLimits::default()
    });
    rig.step(Input::Leader(Some(ME)));
    let most = ROUND_BYTES_MAX as usize;
    let refused = refusal(rig.submit(append(most)));
    let SubmitError::TooLarge { bytes, limit } = refused else {
        panic!("{refused}")
    };
    let room = most - (bytes - limit) as usize;
    let largest = Request {
        author: "a".repeat(3 + 100).into(),
        ..append(room - 100)
    };
    assert_eq!(rig.submit(largest), []);
    rig.submit(append(1));
    let effects = rig.step(Input::Drain);
    let [Effect::Append { rounds }] = &effects[..] else {
        panic!("the small round waits for an entry of its own")
    };
    let entry = Batch {
        cluster_ms: 0,
        wall_ms: 0,
        rounds: rounds.clone(),
        checkpoint: Some(Checkpoint {
            index: 1000,
            digest: Digest(1),
        }),
    }
    .encode();
    assert_eq!(entry.len(), most);
    Round::decode(&Batch::decode(&entry).unwrap().rounds[0]).unwrap();
}
