//! Sessions, promise by promise.

use super::tasks::{NODE, claim, finish, new_task, ready};
use super::*;

const OTHER: NodeId = NodeId(2);

fn hash(token: &str) -> TokenHash {
    TokenHash::of(token)
}

fn named(name: &str, token: &str) -> NewSession {
    NewSession::new(name, hash(token))
}

fn reopen(session: SessionId, token: &str) -> Body {
    let token = hash(token);
    Body::Session(SessionCommand::Reopen { session, token })
}

fn close(session: SessionId, token: &str) -> Body {
    let token = hash(token);
    Body::Session(SessionCommand::Close { session, token })
}

fn lost() -> Body {
    Body::Agent(AgentCommand::NodeLost {
        node: NODE,
        incarnation: 1,
    })
}

/// A rig with commands of another node too.
#[derive(Default)]
struct Two {
    rig: Rig,
    number: u64,
}

impl Two {
    fn open(&mut self, new: NewSession) -> SessionId {
        match self.rig.run(Body::Session(SessionCommand::Open(new))) {
            Outcome::SessionOpen { session, node, .. } => {
                assert_eq!(node, NODE);
                session
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the other node's queen is answered.
    fn elsewhere(&mut self, body: Body) -> Outcome {
        self.number += 1;
        let command = Command {
            number: self.number,
            settled: self.number,
            ..self.rig.clone().command(body)
        };
        let round = Round {
            node: OTHER,
            incarnation: 1,
            commands: vec![command],
        };
        let now_ms = self.rig.now_ms;
        let mut applied = self.rig.colony.apply(now_ms, wall_ms(now_ms), &[round], OTHER);
        applied.outcomes.remove(0).outcome
    }

    fn silent(&self, session: SessionId) -> Body {
        let homed = self.session(session).homed;
        Body::Agent(AgentCommand::SessionsSilent(vec![(session, homed)]))
    }

    fn session(&self, session: SessionId) -> &Session {
        self.rig.colony.sessions().get(session).expect("it is kept")
    }

    fn end(&self, session: SessionId) -> Option<SessionEnd> {
        let sessions = self.rig.colony.sessions();
        sessions.end_of(self.session(session), self.rig.now_ms)
    }

    fn reason(&self, task: TaskId) -> &Return {
        &self.rig.tasks().get(task).unwrap().history[0].reason
    }
}

#[test]
fn two_sessions_of_one_name_share_nothing() {
    let mut two = Two::default();
    let (first, second) = (two.open(named("ann", "1")), two.open(named("ann", "2")));
    assert_ne!(first, second);
    let task = two.rig.add_one();
    let fence = two.rig.claim_one(task, Caller::Session(hash("1")));
    let held = two
        .rig
        .refused(claim(Which::Ids(vec![task]), Caller::Session(hash("2"))));
    assert!(matches!(held, Refusal::TaskHeld { .. }), "{held:?}");
    let stolen = two.rig.finish(finish(task, fence, Caller::Session(hash("2"))));
    assert!(matches!(stolen, Outcome::Refused(Refusal::Fenced { .. })), "{stolen:?}");
    let wrong = two.rig.refused(close(first, "2"));
    assert_eq!(wrong, Refusal::UnknownSession { session: Some(first) });
    assert_eq!((two.end(first), two.end(second)), (None, None));
}

#[test]
fn a_lease_holds_while_its_session_is_open_and_closing_returns_it() {
    let mut two = Two::default();
    let session = two.open(named("ann", "1"));
    let task = two.rig.add_one();
    let fence = two.rig.claim_one(task, Caller::Session(hash("1")));
    two.rig.now_ms = 100 * SESSION_TTL_MS_MAX;
    two.rig.empty_round();
    assert_eq!(
        (two.rig.state(task), two.rig.colony.due_ms()),
        (StateName::Leased, None)
    );
    assert!(matches!(
        two.rig.run(close(session, "1")),
        Outcome::SessionClosed { .. }
    ));
    assert_eq!(two.rig.state(task), StateName::Pending);
    assert_eq!(*two.reason(task), Return::Session(SessionEnd::Closed));
    let late = two.rig.finish(finish(task, fence, Caller::Session(hash("1"))));
    assert!(
        matches!(late, Outcome::Refused(Refusal::Fenced { holder: None, .. })),
        "{late:?}"
    );
    let refused = two.rig.refused(ready(Caller::Session(hash("1")), 1));
    let why = SessionEnd::Closed;
    assert_eq!(refused, Refusal::SessionEnded { session, why });
    assert_eq!(
        refused.to_string(),
        format!("session {session} has ended: its session was closed")
    );
}

#[test]
fn a_session_that_a_claim_opened_closes_when_it_holds_nothing_any_more() {
    let mut two = Two::default();
    let opens = |token| {
        Caller::Opens(Box::new(NewSession {
            passing: true,
            ..named("hand", token)
        }))
    };
    let nothing = two.rig.run(ready(opens("0"), 2));
    assert!(matches!(&nothing, Outcome::Claimed { tasks, session: None, .. } if tasks.is_empty()));
    assert_eq!(two.rig.colony.sessions().all().count(), 0);

    let tasks = two.rig.add(vec![new_task("1"), new_task("2")]);
    let Outcome::Claimed {
        tasks: claimed,
        session: Some(session),
        ..
    } = two.rig.run(ready(opens("1"), 2))
    else {
        panic!("both were ready");
    };
    let mut end = |place: usize, ending| {
        let done = finish(tasks[place], claimed[place].fence, Caller::Session(hash("1")));
        let done = two.rig.finish(Finish { ending, ..done });
        assert!(matches!(done, Outcome::Finished { .. }), "{done:?}");
        two.end(session)
    };
    assert_eq!(end(0, Ending::Done), None);
    assert_eq!(end(1, Ending::Released), Some(SessionEnd::Idle));
}

#[test]
fn only_the_home_of_a_session_ends_it_as_silent() {
    let mut two = Two::default();
    let session = two.open(named("ann", "1"));
    let task = two.rig.add_one();
    two.rig.claim_one(task, Caller::Session(hash("1")));
    let silent = two.silent(session);
    let told = |changed| move |outcome: &Outcome| matches!(outcome, Outcome::SessionsTold { changed: found, .. } if *found == changed);
    assert!(told(0)(&two.elsewhere(silent.clone())));
    // What the home proposed before the session was re-opened does not count any more.
    two.rig.run(reopen(session, "1"));
    assert!(told(0)(&two.rig.run(silent)));
    assert_eq!((two.end(session), two.rig.state(task)), (None, StateName::Leased));
    assert!(matches!(
        two.elsewhere(reopen(session, "1")),
        Outcome::SessionOpen { node: OTHER, .. }
    ));
    let silent = two.silent(session);
    assert!(told(0)(&two.rig.run(silent.clone())));
    assert!(told(1)(&two.elsewhere(silent)));
    assert_eq!(
        (two.end(session), two.rig.state(task)),
        (Some(SessionEnd::Silent), StateName::Pending)
    );
    assert_eq!(*two.reason(task), Return::Session(SessionEnd::Silent));
}

#[test]
fn the_sessions_of_a_lost_node_live_on_elsewhere_within_the_grace_and_end_after_it() {
    let mut two = Two::default();
    let (moves, stays) = (two.open(named("ann", "1")), two.open(named("ann", "2")));
    let tasks = two.rig.add(vec![new_task("1"), new_task("2")]);
    let kept = two.rig.claim_one(tasks[0], Caller::Session(hash("1")));
    two.rig.claim_one(tasks[1], Caller::Session(hash("2")));
    assert!(matches!(
        two.elsewhere(lost()),
        Outcome::AgentsEnded { ended: true, .. }
    ));
    assert!(matches!(
        two.elsewhere(lost()),
        Outcome::AgentsEnded { ended: false, .. }
    ));
    assert_eq!(two.rig.colony.due_ms(), Some(SESSION_GRACE_MS));
    two.rig.now_ms = SESSION_GRACE_MS - 1;
    assert!(matches!(
        two.elsewhere(reopen(moves, "1")),
        Outcome::SessionOpen { node: OTHER, .. }
    ));
    two.rig.now_ms = SESSION_GRACE_MS;
    // Ended, although no round has come to it yet.
    assert_eq!((two.end(moves), two.end(stays)), (None, Some(SessionEnd::NodeLost)));
    let late = two.elsewhere(reopen(stays, "2"));
    let why = SessionEnd::NodeLost;
    assert_eq!(late, Outcome::Refused(Refusal::SessionEnded { session: stays, why }));
    two.rig.empty_round();
    assert_eq!(
        (two.rig.state(tasks[0]), two.rig.state(tasks[1])),
        (StateName::Leased, StateName::Pending)
    );
    assert_eq!(two.rig.colony.due_ms(), None);
    let done = finish(tasks[0], kept, Caller::Session(hash("1")));
    assert!(matches!(two.rig.finish(done), Outcome::Finished { .. }));
}

#[test]
fn a_node_that_was_only_away_keeps_the_sessions_that_it_heard_of() {
    let mut two = Two::default();
    let (heard, silent) = (two.open(named("ann", "1")), two.open(named("bob", "2")));
    two.elsewhere(lost());
    two.rig.now_ms = SESSION_GRACE_MS - 1;
    let alive = Body::Agent(AgentCommand::SessionsAlive(vec![heard]));
    assert!(matches!(
        two.elsewhere(alive.clone()),
        Outcome::SessionsTold { changed: 0, .. }
    ));
    assert!(matches!(two.rig.run(alive), Outcome::SessionsTold { changed: 1, .. }));
    two.rig.now_ms = SESSION_GRACE_MS;
    two.rig.empty_round();
    assert_eq!((two.end(heard), two.end(silent)), (None, Some(SessionEnd::NodeLost)));
}

#[test]
fn the_end_of_many_sessions_delays_no_command_by_more_than_its_steps() {
    let mut two = Two::default();
    let many = 4 * STEPS_PER_COMMAND;
    let sessions: Vec<SessionId> = (0..many).map(|one| two.open(named("ann", &one.to_string()))).collect();
    let task = two.rig.add_one();
    let last = many - 1;
    two.rig.claim_one(task, Caller::Session(hash(&last.to_string())));
    two.elsewhere(lost());
    two.rig.now_ms = SESSION_GRACE_MS;
    two.rig.run(put("k", "v"));
    let noted = |two: &Two| sessions.iter().filter(|one| two.session(**one).ended.is_some()).count();
    assert_eq!(noted(&two), STEPS_PER_COMMAND);
    // All have ended; that of the last is only not noted yet.
    let fence = two
        .rig
        .claimed(claim(Which::Ids(vec![task]), Caller::Opens(Box::new(named("b", "b")))))[0]
        .fence;
    assert_eq!(two.rig.tasks().get(task).unwrap().attempts, 2);
    while two.rig.colony.due_ms() == Some(0) || two.rig.colony.due_ms() == Some(SESSION_GRACE_MS) {
        two.rig.empty_round();
    }
    assert_eq!(noted(&two), many);
    let done = finish(task, fence, Caller::Session(hash("b")));
    assert!(matches!(two.rig.finish(done), Outcome::Finished { .. }));
}

#[test]
fn ended_sessions_are_forgotten_after_their_time() {
    let mut two = Two::default();
    let old = two.open(named("ann", "1"));
    two.rig.run(close(old, "1"));
    let again = two.rig.refused(Body::Session(SessionCommand::Open(named("ann", "1"))));
    assert_eq!(again.to_string(), format!("token: is that of session {old}"));
    two.rig.now_ms = SESSIONS_ENDED_KEPT_MS;
    let new = two.open(named("ann", "2"));
    two.rig.run(close(new, "2"));
    assert_eq!(
        two.rig.refused(reopen(old, "1")),
        Refusal::UnknownSession { session: Some(old) }
    );
    assert_eq!(two.end(new), Some(SessionEnd::Closed));
}

#[test]
fn a_session_id_has_one_text() {
    assert_eq!(SessionId(42).to_string().parse(), Ok(SessionId(42)));
    for text in ["", "s", "42", "s+42", "s042", "S42", "s42 ", "s18446744073709551616"] {
        assert!(text.parse::<SessionId>().is_err(), "{text}");
    }
}

#[test]
fn no_outcome_of_a_session_is_larger_than_its_command_said() {
    use bincode::Options;
    let mut two = Two::default();
    let mut long = |body: Body| {
        let most = body.outcome_bytes_max();
        let outcome = two.rig.run(body);
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        let bytes = options.serialized_size(&outcome).unwrap() as usize;
        assert!(bytes <= most, "{bytes} {most} {outcome:?}");
    };
    let open = Body::Session(SessionCommand::Open(named("ann", "1")));
    long(open.clone());
    long(open);
    let mut unsorted = named("ann", "2");
    unsorted.capabilities = vec!["b".into(), "a".into()];
    long(Body::Session(SessionCommand::Open(unsorted)));
    long(close(SessionId(1), "1"));
    long(reopen(SessionId(1), "1"));
    long(reopen(SessionId(9), "1"));
    long(Body::Agent(AgentCommand::SessionsAlive(vec![SessionId(1)])));
}
