use std::collections::BTreeMap;
use std::time::Duration;

use queenright_actors::queen::Request;
use queenright_protocol::colony::{Body as Wanted, TopologyCommand};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::Kind;
use serde_json::json;

use super::*;
use crate::http::backend::Backend as _;

async fn put(rig: &Rig, body: Value) -> Reply {
    rig.call("PUT /v1/topology", &[], body.to_string()).await
}

#[tokio::test]
async fn a_topology_is_set_once_there_is_an_epoch_and_a_dry_run_changes_nothing() {
    let rig = Rig::new();
    let detail = put(&rig, json!({ "kind": "ring" })).await.problem(400, "INVALID");
    assert_eq!(detail, "topology: nobody has named the members yet: try again");

    let named = Request {
        project: "default".into(),
        author: "queen".into(),
        idempotency_key: None,
        body: Wanted::Topology(TopologyCommand::Members {
            members: (1..=4).map(NodeId).collect(),
            first: Kind::Star,
            after: 0,
            places: BTreeMap::new(),
            voters: None,
        }),
    };
    rig.alone.submit(named, Duration::from_secs(1)).await.unwrap();
    let dry = put(&rig, json!({ "kind": "ring", "dry_run": true })).await.json();
    let expected = json!({
        "epoch": 2, "kind": "ring", "changed": true, "dry_run": true,
        "opens": [["#2", "#3"], ["#3", "#4"]], "closes": [["#1", "#3"]],
    });
    assert_eq!(dry, expected);
    let set = put(&rig, json!({ "kind": "ring" })).await.json();
    assert_eq!(
        (&set["epoch"], &set["changed"], &set["dry_run"]),
        (&json!(2), &json!(true), &json!(false))
    );
    let again = put(&rig, json!({ "kind": "ring" })).await.json();
    assert_eq!((&again["epoch"], &again["changed"]), (&json!(2), &json!(false)));
}

#[tokio::test]
async fn a_fan_out_over_the_limit_and_an_unknown_kind_are_refused() {
    let rig = Rig::new();
    let detail = put(&rig, json!({ "kind": "hierarchical:17" }))
        .await
        .problem(400, "INVALID");
    assert_eq!(detail, "kind: a fan-out of 17 is over the limit of 16");
    let detail = put(&rig, json!({ "kind": "tree" })).await.problem(400, "INVALID");
    assert!(detail.contains("\"tree\" is not a topology"), "{detail}");
    let shown = rig.get("/v1/topology").await.json();
    assert_eq!(
        (&shown["kind"], &shown["epoch"], &shown["links"]),
        (&json!("mesh"), &json!(0), &json!([]))
    );
}
