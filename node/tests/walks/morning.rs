//! What happened over night, and what is to be done about it.

use serde_json::{Value, json};

use super::{Person, model, says, word};
use crate::colony::Colony;

#[test]
fn the_morning_after_says_what_failed_what_it_has_cost_and_who_lost_to_whom() {
    let colony = Colony::start("walk-morning");
    let lead = Person::new(&colony, "lead", "n1");
    lead.reads(&["budget", "set", "project", "--tokens", "1000", "--cost", "5.00"]);
    let failing = over_night(&colony, &lead);

    // At a glance: the dead task, the budget that is nearly spent, the reservation that somebody took.
    let events = lead.reads(&["events", "--since", "12h"]);
    says(
        &events,
        &[
            &format!("moved task {failing} to dead"),
            "budget project: 900 tokens of 1000 tokens is used",
            "bob  lost a proposal: stale_write",
            "lead took it away: ann sleeps",
        ],
    );
    // Of one sort, for programs; each says who and when.
    let lost = lead
        .runs(&["events", "--since", "12h", "--type", "lost", "--json"])
        .with_code(0);
    let lost: Value = serde_json::from_slice(&lost.stdout).unwrap();
    assert_eq!(
        (&lost["author"], &lost["kind"]),
        (&json!("bob"), &json!("stale_write")),
        "{lost}"
    );
    assert!(lost["wall_ms"].is_u64());
    // To whom: the key says who has it now.
    let plan = lead.json(&["memory", "get", "plan"]);
    assert_eq!(
        (&plan["author"], &plan["revision"]),
        (&json!("ann"), &json!(2)),
        "{plan}"
    );

    // Why it is dead: each attempt, whose it was and what it said.
    says(&lead.reads(&["dlq", "list"]), &[&failing, "Train the model"]);
    let shown = lead.reads(&["dlq", "show", &failing]);
    says(&shown, &["out of memory", "gpu-1", "gpu-2"]);
    let shown = lead.json(&["dlq", "show", &failing]);
    let told = shown["history"].as_array().unwrap().iter().filter(|attempt| {
        word(attempt, "reason").contains("out of memory")
            && attempt["holder"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("gpu-"))
    });
    assert!(told.count() >= 1, "{shown}");

    // What it has cost, by whom.
    let usage = lead.reads(&["usage"]);
    says(
        &usage,
        &["project", "queue:default", "agent:gpu-1", "agent:gpu-2", "1.50"],
    );
    let budget = lead.json(&["budget", "show", "project"]);
    assert_eq!(budget["budget"]["used"]["tokens_in"], 900, "{budget}");
    says(&lead.reads(&["budget", "list"]), &["900 of 1000", "1.50 of 5.00"]);

    // A model that begins the day is told the same in one call.
    let mut ann = model(&colony, "ann", "n3");
    let started = ann.call("session_start", json!({ "name": "ann" }));
    says(&started["prime"].to_string(), &["first read the plan", &failing]);
    assert_eq!(ann.call("dlq_list", json!({}))["tasks"][0]["task"], json!(failing));

    // And it goes on: its failures are forgotten, somebody with more memory has it done.
    says(&lead.reads(&["dlq", "requeue", &failing]), &[&failing]);
    let claimed = ann.call("task_claim", json!({ "ids": [failing], "token": started["token"] }));
    ann.call(
        "task_finish",
        json!({ "task": failing, "fence": claimed["tasks"][0]["fence"], "token": started["token"], "outcome": "done" }),
    );
    assert_eq!(
        lead.runs(&["dlq", "list", "--json"]).with_code(5).json()["tasks"],
        json!([])
    );
    colony.same_digest();
}

/// What two workers and two people do meanwhile; the task that is dead afterwards.
fn over_night(colony: &Colony, lead: &Person<'_>) -> String {
    let added = lead.json(&["task", "add", "Train the model", "--retries", "2"]);
    let failing = word(&added["tasks"][0], "task").to_owned();
    for name in ["gpu-1", "gpu-2"] {
        let worker = Person::new(colony, name, "n2");
        let claim = crate::colony::until("its back-off is over", || {
            let claim = worker.runs(&["task", "claim", "--wait", "20", "--json"]);
            (claim.code == Some(0)).then(|| claim.json())
        });
        let (fence, token) = (claim["tasks"][0]["fence"].to_string(), word(&claim, "token"));
        let held = ["--fence", &fence, "--token", token];
        let failed = ["--outcome", "failed", "--retry", "--message", "out of memory at step 7"];
        let used = ["--tokens-in", "450", "--cost", "0.75"];
        worker.json(&[&["task", "finish", &failing], &held[..], &failed, &used].concat());
    }
    let (ann, bob) = (Person::new(colony, "ann", "n1"), Person::new(colony, "bob", "n3"));
    ann.reads(&["memory", "put", "plan", "one"]);
    ann.reads(&["memory", "put", "plan", "two"]);
    ann.reads(&[
        "memory",
        "put",
        "notes/morning",
        "first read the plan",
        "--tag",
        "pinned",
    ]);
    // What its node can refuse by what it knows stands in no order, and is no event: this one is judged by all.
    let stale = json!({ "writes": [{ "key": "plan", "put": "bob's", "before": 1 }] });
    let file = colony.folder().join("stale.json");
    std::fs::write(&file, stale.to_string()).unwrap();
    says(&bob.told(&["propose", file.to_str().unwrap()], 3), &["plan", " ann "]);
    let held = ann.json(&["reserve", "add", "src/**"]);
    lead.reads(&["reserve", "force", word(&held, "reservation"), "--reason", "ann sleeps"]);
    failing
}
