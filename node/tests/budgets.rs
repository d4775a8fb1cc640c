//! Usage and budgets through the command line and the doors of real nodes.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use queenright_protocol::colony::StateName;
use serde_json::{Value, json};

use crate::colony::{Colony, Ran, refused, until};
use crate::run::{Workers, until_state};

fn json_at(colony: &Colony, node: &str, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    colony.at(node, &arguments).with_code(0).json()
}

fn add(colony: &Colony, title: &str, queue: &str) -> String {
    let added = json_at(colony, "n1", &["task", "add", title, "--queue", queue]);
    added["tasks"][0]["task"].as_str().expect("it has an id").to_owned()
}

fn text(ran: &Ran) -> String {
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// How much an account has used: tokens in and out, and the cost.
fn used(colony: &Colony, account: &str) -> [u64; 3] {
    let usage = json_at(colony, "n3", &["usage"]);
    let accounts = usage["accounts"].as_array().expect("a list").iter();
    let found = accounts.filter(|found| found["account"] == account);
    let usage = found.map(|found| &found["usage"]).next().expect("it has an account");
    ["tokens_in", "tokens_out", "cost_micros"].map(|field| usage[field].as_u64().unwrap())
}

#[test]
fn a_budget_keeps_the_tasks_of_its_queue_until_it_is_raised_or_reset() {
    let colony = Colony::start("budgets");
    let json = |node: &str, arguments: &[&str]| json_at(&colony, node, arguments);
    let first = add(&colony, "one", "review");
    let second = add(&colony, "two", "review");
    let third = add(&colony, "three", "review");
    let other = add(&colony, "four", "default");
    let set = ["budget", "set", "queue:review", "--tokens", "1000", "--cost", "25.00"];
    json("n2", &set);

    // What owners say is added up, whichever node they say it to.
    let claim = json("n1", &["task", "claim", "--queue", "review"]);
    assert_eq!(claim["tasks"][0]["task"], first.as_str());
    let (fence, token) = (claim["tasks"][0]["fence"].to_string(), &claim["token"]);
    let owned = ["--fence", &*fence, "--token", token.as_str().unwrap()];
    let said = ["--tokens-in", "600", "--tokens-out", "100", "--cost", "0.12"];
    json("n3", &[&["task", "update", &*first], &owned[..], &said[..]].concat());
    json(
        "n2",
        &[&["task", "finish", &*first], &owned[..], &["--tokens-out", "150"]].concat(),
    );
    let shown = json("n3", &["task", "show", &first]);
    let usage = &shown["finished"]["usage"];
    assert_eq!(
        [
            &usage["tokens_in"],
            &usage["tokens_out"],
            &shown["usage"]["cost_micros"]
        ],
        [600, 250, 120_000],
        "{shown}"
    );
    let late = [&["task", "update", &*first], &owned[..], &["--tokens-in", "500"]].concat();
    refused(&mut colony.command_at("n1", &late), 3);

    // A program says it by its result: that takes the rest.
    let mut workers = Workers::new(&colony);
    let mut worker = colony.command();
    let door = colony.config().node("n2").unwrap().http.to_string();
    let program = r#"echo '{"answer": 42, "usage": {"input_tokens": 140, "output_tokens": 10, "model": "m"}}'"#;
    let flags = ["--queue", "review", "--name", "w1", "--max-tasks", "1"];
    worker.args(["run", "--node", &door]).args(flags);
    workers.start_command(worker.args(["--", "sh", "-c", program]));
    until_state(&colony, "n3", &second, StateName::Done);
    assert_eq!(used(&colony, "queue:review"), [740, 260, 120_000]);
    assert_eq!(used(&colony, "project"), [740, 260, 120_000]);
    assert_eq!(used(&colony, "agent:w1"), [140, 10, 0]);

    // Tasks stay ready, nobody gets one, and all say why.
    let why = "budget queue:review (tokens 1000 of 1000)";
    let nothing = colony.at("n3", &["task", "claim", "--queue", "review"]).with_code(5);
    assert!(text(&nothing).contains(why), "{}", text(&nothing));
    let line = refused(&mut colony.command_at("n1", &["task", "claim", &third]), 3);
    assert!(line.contains(&format!("it waits for {why}")), "{line}");
    let shown = json("n2", &["task", "show", &third]);
    assert_eq!((&shown["state"], &shown["waits_for"]), (&json!("pending"), &json!(why)));
    let list = text(&colony.at("n1", &["task", "list", "--queue", "review"]).with_code(0));
    assert!(list.contains("pending, waits for budget"), "{list}");
    let claim = json("n1", &["task", "claim"]);
    assert_eq!(claim["tasks"][0]["task"], other.as_str(), "other queues go on");

    let wait = ["task", "claim", "--queue", "review", "--wait", "60", "--json"];
    let mut waiter = colony.command_at("n3", &wait);
    let waiter = waiter.stdout(Stdio::piped()).spawn().expect("the binary was built");
    until("somebody waits", || {
        let queues = json("n1", &["queue", "list"])["queues"].clone();
        let review = queues
            .as_array()?
            .iter()
            .find(|queue| queue["queue"] == "review")?
            .clone();
        (review["waiting"] == 1 && review["waits_for"] == why).then_some(())
    });
    json("n1", &["budget", "set", "queue:review", "--tokens", "2000"]);
    let claimed: Value = serde_json::from_slice(&waiter.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(claimed["tasks"][0]["task"], third.as_str(), "{claimed}");

    json("n2", &["budget", "set", "queue:review", "--tokens", "1100"]);
    json("n2", &["budget", "reset", "queue:review"]);
    let budget = json("n3", &["budget", "show", "queue:review"])["budget"].clone();
    assert_eq!(
        (&budget["used"]["tokens_in"], &budget["limits"]["tokens"]),
        (&json!(0), &json!(1_100)),
        "{budget}"
    );
    // Warned at 850 of 1,000, and at 1,000 of the 1,100 to which it was lowered.
    let events = text(&colony.at("n2", &["events", "--json"]).with_code(0));
    for (kind, times) in [("budget_changed", 4), ("budget_warned", 2), ("budget_spent", 1)] {
        let found = events.matches(&format!("\"{kind}\"")).count();
        assert_eq!(found, times, "{kind}: {events}");
    }
    json("n1", &["budget", "remove", "queue:review"]);
    assert_eq!(json("n2", &["budget", "list"])["budgets"], json!([]));
    refused(&mut colony.command_at("n1", &["budget", "reset", "queue:review"]), 1);
    let line = refused(
        &mut colony.command_at("n1", &["budget", "set", "agent:a", "--tokens", "1"]),
        1,
    );
    assert!(line.contains("is neither project nor queue:NAME"), "{line}");
    colony.same_digest();
}

#[test]
fn hosted_agents_say_by_their_results_what_they_have_used() {
    let colony = Colony::start("budget-agents");
    let workers = Workers::new(&colony);
    let command = |arguments: &[&str], last: &[&str]| {
        let mut command = colony.command_at("n1", arguments);
        Ran::of(command.args(last)).with_code(0);
    };
    let program = r#"echo '{"usage": {"tokens_in": 11, "cost_micros": 5}}'; exit 3"#;
    let (marked, folder) = (workers.variable(), workers.folder.to_str().unwrap());
    let flags = ["--queue", "runs", "--folder", folder, "--environment", &marked];
    command(
        &[&["agent", "exec", "e1"], &flags[..]].concat(),
        &["--", "sh", "-c", program],
    );
    let failed = add(&colony, "one", "runs");
    until_state(&colony, "n2", &failed, StateName::Failed);
    assert_eq!(used(&colony, "agent:e1"), [11, 0, 5], "also when it fails");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/work", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4_096];
        // The body is a JSON object, and the last thing that is sent.
        while !request.ends_with(b"}") {
            let bytes = stream.read(&mut piece).unwrap();
            assert!(bytes > 0, "the request ended early");
            request.extend_from_slice(&piece[..bytes]);
        }
        let body =
            r#"{"text": "well", "usage": {"prompt_tokens": 20, "completion_tokens": 4}, "total_cost_usd": 0.25}"#;
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    command(&["agent", "http", "h1", &url, "--queue", "posts"], &[]);
    let posted = add(&colony, "two", "posts");
    until_state(&colony, "n3", &posted, StateName::Done);
    server.join().unwrap();
    assert_eq!(used(&colony, "agent:h1"), [20, 4, 250_000]);
    assert_eq!(used(&colony, "queue:posts"), [20, 4, 250_000]);
    assert_eq!(used(&colony, "project"), [31, 4, 250_005]);
    colony.same_digest();
}
