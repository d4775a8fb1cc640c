//! Workers that run alone, and one that dies.

use std::fs;

use queenright_protocol::colony::StateName;
use serde_json::{Value, json};

use super::{Person, model, says, word};
use crate::colony::{Colony, until};
use crate::run::{Workers, until_state};

/// Says how far it is, leaves who it is in the file `who`, and never ends.
const SLOW: &str = r#"queenright() { "$PROGRAM" "$@" --node "$QUEENRIGHT_NODE"; }
queenright task update "$QUEENRIGHT_TASK" --fence "$QUEENRIGHT_FENCE" --progress 40 --checkpoint '{"files": 12}' || exit 1
echo "$QUEENRIGHT_FENCE $QUEENRIGHT_TOKEN" > who.new && mv who.new who
while :; do sleep 1; done"#;

#[test]
fn the_task_of_a_killed_worker_goes_on_where_it_was_and_its_late_result_is_refused() {
    let colony = Colony::start("walk-killed");
    let lead = Person::new(&colony, "lead", "n1");
    let added = lead.json(&[
        "task",
        "add",
        "Index the files",
        "--queue",
        "index",
        "--resource",
        "index/**",
    ]);
    let task = word(&added["tasks"][0], "task");

    let mut workers = Workers::new(&colony);
    let mut worker = colony.command();
    let door = colony.config().node("n2").unwrap().http.to_string();
    worker
        .current_dir(&workers.folder)
        .env("PROGRAM", env!("CARGO_BIN_EXE_queenright"))
        .args([
            "run", "--node", &door, "--queue", "index", "--name", "w1", "--lease", "10",
        ])
        .args(["--", "sh", "-c", SLOW]);
    let worker = workers.start_command(&mut worker);
    let who = until("it works", || fs::read_to_string(workers.folder.join("who")).ok());
    let (fence, token) = who.trim().split_once(' ').unwrap();
    says(&lead.reads(&["task", "show", task]), &["leased", "(w1)", "40"]);

    // Nobody else gets it while it lives; when it dies so does all that it has started, and the next one waits for nothing.
    let mut bob = model(&colony, "bob", "n3");
    assert_eq!(bob.call("task_claim", json!({ "queue": "index" }))["tasks"], json!([]));
    workers.kill(worker);
    let claimed = until("somebody else has it", || {
        let claimed = bob.call("task_claim", json!({ "queue": "index", "wait_ms": 20_000 }));
        (claimed["tasks"] != json!([])).then_some(claimed)
    });
    workers.nothing_is_left();
    let taken = &claimed["tasks"][0];
    assert_eq!((word(taken, "task"), &taken["attempt"]), (task, &json!(2)));
    assert_eq!(
        taken["checkpoint"],
        json!({ "files": 12 }),
        "it goes on from there: {taken}"
    );
    assert_eq!(taken["resources"][0]["resource"], "file:index/**");
    assert!(taken["fence"].as_u64() > fence.parse().ok(), "{taken}");

    // Whatever is left of the first comes too late, and is told so; nothing of it is kept.
    let late = [
        "task", "finish", task, "--fence", fence, "--token", token, "--result", "\"late\"",
    ];
    let old = Person::new(&colony, "w1", "n1");
    let refused = old.told(&late, 4);
    says(&refused, &[task, "error: "]);
    let refused = old.runs(&[&late[..], &["--json"]].concat()).with_code(4);
    let refused: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert!(["FENCED", "EXPIRED"].contains(&word(&refused, "code")), "{refused}");
    let write = ["memory", "put", "index/a", "late", "--token", token];
    assert_ne!(old.runs(&write).code, Some(0));

    bob.call(
        "task_finish",
        json!({ "task": task, "fence": taken["fence"], "token": claimed["token"], "outcome": "done", "result": "all 30" }),
    );
    let shown = until_state(&colony, "n2", task, StateName::Done);
    assert_eq!(shown.finished.unwrap().result, "all 30");
    says(
        &lead.reads(&["task", "show", task]),
        &["done", "all 30", "w1", "its session gave no sign of life"],
    );
    assert_eq!(old.runs(&late).code, Some(4), "however often it tries");
    colony.same_digest();
}
