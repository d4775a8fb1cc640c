//! Tokens of doors, promise by promise.

use super::*;

fn create(name: &str, access: Access, byte: u8, expires_ms: Option<u64>) -> Body {
    Body::DoorToken(DoorTokenCommand::Create {
        name: name.into(),
        access,
        secret: SecretHash([byte; 32]),
        expires_ms,
    })
}

fn revoke(name: &str) -> Body {
    Body::DoorToken(DoorTokenCommand::Revoke { name: name.into() })
}

fn set(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::DoorTokenSet { .. })
}

#[test]
fn a_token_is_kept_by_the_hash_of_its_secret_until_it_is_revoked() {
    let mut rig = Rig::default();
    assert!(set(&rig.run(create("ci", Access::Work, 1, None))));
    let token = rig.colony.door_tokens().get("ci").unwrap();
    assert_eq!((token.access, &*token.author), (Access::Work, "ann"));
    assert_eq!(
        rig.refused(create("ci", Access::Admin, 2, None)).to_string(),
        "a token \"ci\" is there already; revoke it first"
    );
    assert!(set(&rig.run(revoke("ci"))));
    assert!(rig.colony.door_tokens().is_empty());
    assert_eq!(rig.refused(revoke("ci")).to_string(), "there is no token \"ci\"");
    assert!(rig.colony.projects().next().is_none(), "tokens belong to no project");
}

#[test]
fn a_token_is_told_of_when_it_comes_and_when_it_goes() {
    let mut rig = Rig::default();
    let mut told = |body| {
        let command = rig.command(body);
        rig.send(command).1.door_tokens
    };
    assert!(told(create("ci", Access::Read, 1, None)));
    assert!(!told(create("ci", Access::Read, 1, None)));
    assert!(told(revoke("ci")));
    assert!(!told(put("k", "v")));
}

#[test]
fn a_token_holds_until_its_time_by_the_wall_clock() {
    let mut rig = Rig::default();
    let now_ms = wall_ms(0);
    assert_eq!(
        rig.refused(create("late", Access::Read, 1, Some(now_ms))).to_string(),
        format!("expires_ms: {now_ms} has passed, it is {now_ms}")
    );
    assert!(set(&rig.run(create("ci", Access::Read, 1, Some(now_ms + 10)))));
    let token = rig.colony.door_tokens().get("ci").unwrap();
    assert!(token.holds_at(now_ms + 9) && !token.holds_at(now_ms + 10));
}

#[test]
fn names_and_numbers_of_tokens_are_bounded() {
    let mut rig = Rig::default();
    for name in ["", ".", "..", "a b", "a/b", "ü"] {
        let refused = rig.refused(create(name, Access::Read, 1, None));
        assert!(matches!(refused, Refusal::Malformed { .. }), "{name:?}: {refused}");
    }
    let long = "n".repeat(DOOR_TOKEN_NAME_BYTES_MAX + 1);
    assert_eq!(
        rig.refused(revoke(&long)).to_string(),
        "name: 65 is over the limit of 64"
    );
    for number in 0..DOOR_TOKENS_MAX {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&number.to_le_bytes());
        let body = Body::DoorToken(DoorTokenCommand::Create {
            name: number.to_string().into(),
            access: Access::Read,
            secret: SecretHash(secret),
            expires_ms: None,
        });
        assert!(set(&rig.run(body)));
    }
    assert_eq!(
        rig.refused(create("more", Access::Read, 9, None)).to_string(),
        "door_tokens: 257 is over the limit of 256"
    );
    let restored = Colony::restore(rig.colony.meta(), rig.colony.pairs()).unwrap();
    assert_eq!(restored.door_tokens(), rig.colony.door_tokens());
}

#[test]
fn refusals_and_outcomes_fit_what_was_reserved_for_them() {
    let mut rig = Rig::default();
    let long = "n".repeat(DOOR_TOKEN_NAME_BYTES_MAX);
    let bodies = [
        create(&long, Access::Read, 1, None),
        create(&long, Access::Read, 2, None),
        create("late", Access::Read, 3, Some(1)),
        create("a b", Access::Read, 3, None),
        revoke(&long),
        revoke(&long),
    ];
    for body in bodies {
        let room = body.outcome_bytes_max();
        let outcome = rig.run(body);
        let bytes = bincode::serialize(&outcome).unwrap().len();
        assert!(bytes <= room, "{bytes} of {room}: {outcome:?}");
    }
}

#[test]
fn more_access_allows_what_less_does() {
    assert!(Access::ALL.is_sorted());
    assert_eq!(Access::ALL.map(Access::name), ["read", "work", "admin"]);
}
