//! What the kinds are told is checked, and refused with what is wrong.

use serde_json::{Value, json};

use crate::agent::{AgentSpec, Kinds};

fn made(kind: &str, arguments: Value) -> Result<(), String> {
    let mut kinds = Kinds::default();
    super::super::add_kinds(&mut kinds);
    let spec = AgentSpec {
        name: "a".to_owned(),
        kind: kind.to_owned(),
        arguments,
        ..AgentSpec::default()
    };
    let make = kinds.get(kind).unwrap();
    make(&spec).map(drop).map_err(|error| error.to_string())
}

#[test]
fn an_explorer_needs_nothing_and_refuses_what_is_out_of_bounds() {
    assert_eq!(made("explorer", json!({})), Ok(()));
    let refused = |arguments: Value, said: &str| assert_eq!(made("explorer", arguments), Err(said.to_owned()));
    refused(json!({ "world": { "side": 99 } }), "world.side: 99 is not 2 to 24");
    refused(
        json!({ "explorer": { "trust": -0.5 } }),
        "explorer.trust: -0.5 is not 0 to 1",
    );
    refused(
        json!({ "explorer": { "update_every": 0 } }),
        "explorer.update_every: 0 is below 1",
    );
    assert!(made("explorer", json!({ "wrold": {} })).unwrap_err().contains("wrold"));
}

#[test]
fn a_conductor_needs_explorers_and_knows_whom_they_tell() {
    let arguments = |explorers: usize, tells: Value| {
        let address = json!({ "node": 1, "number": 2, "generation": 1 });
        json!({
            "explorers": vec![address; explorers], "tells": tells, "steps": 3, "lockstep": true, "patience_ms": 1_000,
        })
    };
    let check = |explorers: usize, tells: Value| made("explorer-conductor", arguments(explorers, tells));
    assert_eq!(check(2, json!([[1], [0]])), Ok(()));
    let refused = |explorers: usize, tells: Value, said: &str| {
        assert_eq!(check(explorers, tells), Err(said.to_owned()));
    };
    refused(0, json!([]), "explorers: 0 is not 1 to 32768");
    refused(2, json!([[1]]), "tells: has 1 entries, expected 2");
    refused(2, json!([[1], [2]]), "tells[1]: 2 is not below 2");
    refused(
        1,
        json!([vec![0; 4_097]]),
        "tells[0]: 4097 explorers are told or heard, the limit is 4096",
    );
}
