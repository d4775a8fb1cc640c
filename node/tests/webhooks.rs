//! `[[webhooks]]`: what a receiver gets while it fails, is away or points elsewhere, and while nodes are killed. The receiver is
//! a small server in the test.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use queenright::config::ClusterConfig;
use queenright::webhooks::State;
use serde_json::Value;

use crate::colony::{Colony, NODES, Ran, until};
use crate::metrics::scrape;

const KEY: [u8; 32] = [7; 32];

/// A message whose signature was verified.
#[derive(Clone, Debug)]
struct Received {
    id: String,
    body: Value,
}

struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Gives these answers to the first posts, and takes none of them.
    fn start(first: &[&str]) -> Receiver {
        Receiver::at(TcpListener::bind("127.0.0.1:0").unwrap(), first)
    }

    fn at(listener: TcpListener, first: &[&str]) -> Receiver {
        let first: VecDeque<String> = first.iter().map(|answer| (*answer).to_owned()).collect();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (all, left) = (received.clone(), Arc::new(Mutex::new(first)));
        // Ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, left) = (all.clone(), left.clone());
                thread::spawn(move || serve(stream.unwrap(), &all, &left));
            }
        });
        Receiver { url, received }
    }

    /// What came, each message once, in the order in which it came first.
    fn once(&self) -> Vec<Received> {
        let mut ids = BTreeSet::new();
        let received = self.received.lock().unwrap();
        received
            .iter()
            .filter(|message| ids.insert(message.id.clone()))
            .cloned()
            .collect()
    }

    /// The names of the tasks that it was told of.
    fn names(&self) -> Vec<String> {
        let all = self.once();
        all.iter()
            .map(|message| message.body["data"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn types(&self) -> Vec<String> {
        let all = self.once();
        all.iter()
            .map(|message| message.body["type"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Received>>, first: &Mutex<VecDeque<String>>) {
    let mut answers = stream.try_clone().unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(message) = read(&mut stream) {
        let answer = first.lock().unwrap().pop_front().unwrap_or_else(|| {
            all.lock().unwrap().push(message);
            "204 No Content".to_owned()
        });
        if write!(answers, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// The next post, whose signature must be right.
fn read(stream: &mut impl BufRead) -> Option<Received> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| {
        let found = headers.iter().find(|(header, _)| header == name);
        found
            .unwrap_or_else(|| panic!("no header {name}: {headers:?}"))
            .1
            .clone()
    };
    let mut body = vec![0; header("content-length").parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &body].concat();
    let signature = header("webhook-signature");
    let signature = BASE64.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), &signed, &signature).expect("the signature is right");
    let body = serde_json::from_slice(&body).unwrap();
    Some(Received { id, body })
}

/// The section of a webhook of all tasks.
fn section(url: &str) -> String {
    format!(
        "\n[[webhooks]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"ops.secret\"\n\
         types = [\"task_added\", \"task_finished\", \"changed\"]\ntimeout_s = 5\n"
    )
}

fn with_webhook(config: &ClusterConfig, folder: &Path, url: &str) -> ClusterConfig {
    fs::write(folder.join("ops.secret"), format!("whsec_{}\n", BASE64.encode(KEY))).unwrap();
    let text = config.to_toml() + &section(url);
    ClusterConfig::parse(&folder.join("c.toml"), &text).unwrap()
}

fn state(colony: &Colony, node: &str) -> Option<State> {
    let got = colony.at(node, &["memory", "get", "webhooks/ops"]);
    (got.code == Some(0)).then(|| serde_json::from_slice(&got.stdout).unwrap())
}

/// Adds a task, once however often this is called.
fn add(colony: &Colony, node: &str, n: usize) -> Ran {
    let name = format!("t{n}");
    colony.at(
        node,
        &["task", "add", "work", "--name", &name, "--idempotency-key", &name],
    )
}

#[test]
fn a_receiver_gets_every_event_in_order_while_it_fails_and_senders_are_killed() {
    let receiver = Receiver::start(&["500 Internal Server Error"; 2]);
    let url = receiver.url.clone();
    let mut colony = Colony::start_prepared("webhooks", |config, data| {
        config.webhooks = with_webhook(config, data.parent().unwrap(), &url).webhooks;
    });
    let sender = until("a sender", || state(&colony, "n1")).node;
    let mut expected = Vec::new();
    for n in 0..5 {
        add(&colony, "n1", n).with_code(0);
        expected.push(format!("t{n}"));
    }
    until("the first events", || (receiver.types().len() >= 5).then_some(()));
    assert_eq!(receiver.types(), ["task_added"; 5]);
    let first = &receiver.once()[0].body;
    assert_eq!(first["data"]["project"], "default");
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");

    // Its place in the line is the next one's, who goes on where it was.
    colony.kill(&sender);
    let other = NODES.into_iter().find(|node| *node != sender).unwrap();
    for n in 5..8 {
        until("a task is added", || {
            (add(&colony, other, n).code == Some(0)).then_some(())
        });
        expected.push(format!("t{n}"));
    }
    until("events by another sender", || {
        (receiver.types().len() >= 8).then_some(())
    });
    // What the killed one had sent and not noted yet is sent again; the count is noted after the sending.
    until("a new sender that has noted all", || {
        state(&colony, other).filter(|state| state.node != sender && state.sent >= 5)
    });
    // The notes of the senders themselves are no news.
    assert_eq!(receiver.types(), ["task_added"; 8]);
    assert_eq!(receiver.names(), expected);
    colony.start_node(&sender);
    colony.same_digest();
}

/// What the doctor says of the webhooks.
fn diagnosed(colony: &Colony) -> Vec<(String, String)> {
    let mut command = colony.command();
    command
        .arg("doctor")
        .arg(&colony.config().file)
        .args(["--json", "--data"]);
    let report = Ran::of(command.arg(colony.folder().join("data"))).json();
    let checks = report["checks"].as_array().unwrap().iter();
    let text = |found: &Value, field: &str| found[field].as_str().unwrap().to_owned();
    let of = checks.filter(|found| found["check"] == "webhooks");
    of.map(|found| (text(found, "level"), text(found, "text"))).collect()
}

/// All that the nodes have logged.
fn logged(colony: &Colony) -> String {
    let logs = fs::read_dir(colony.folder().join("data/logs")).unwrap();
    logs.map(|entry| String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned())
        .collect()
}

#[test]
fn a_receiver_that_is_away_harms_nobody_and_gets_all_that_it_missed_although_every_node_was_killed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut colony = Colony::start_prepared("webhooks-away", |config, data| {
        config.webhooks = with_webhook(config, data.parent().unwrap(), &format!("http://{address}/hook")).webhooks;
    });
    until("a sender", || state(&colony, "n1"));
    let mut expected = Vec::new();
    for n in 0..4 {
        add(&colony, "n2", n).with_code(0);
        expected.push(format!("t{n}"));
    }
    let stuck = until("a failure that is written down", || {
        state(&colony, "n1").filter(|state| state.failing.is_some())
    });
    assert_eq!(stuck.sent, 0, "{stuck:?}");
    let page = scrape(&colony, &stuck.node);
    let of = |name: &str| page.of(name, &[("webhook", "ops")]);
    assert_eq!(of("queenright_webhook_sends"), 1.0);
    assert!(of("queenright_webhook_tries") >= 3.0);
    let posts = |result| {
        let labels = [("webhook", "ops"), ("result", result)];
        page.of("queenright_webhook_posts_total", &labels)
    };
    assert!(posts("unanswered") >= 3.0);
    assert_eq!((posts("acknowledged"), posts("refused")), (0.0, 0.0));
    let said = diagnosed(&colony);
    assert_eq!(said[0].0, "ok", "its secret can be read: {said:?}");
    assert_eq!(said[1].0, "problem", "{said:?}");
    assert!(said[1].1.contains("is not acknowledged after 3 tries"), "{said:?}");

    colony.kill_all();
    colony.start_all();
    add(&colony, "n3", 4).with_code(0);
    expected.push("t4".to_owned());
    // A receiver that points elsewhere is asked again; whoever it points to hears nothing.
    let elsewhere = Receiver::start(&[]);
    let away = format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url);
    let receiver = Receiver::at(TcpListener::bind(address).unwrap(), &[&away]);
    until("all that it missed", || (receiver.names().len() >= 5).then_some(()));
    assert_eq!(receiver.names(), expected);
    assert_eq!(elsewhere.once().len(), 0);
    let well = until("a failure that is over", || {
        state(&colony, "n1").filter(|state| state.failing.is_none() && state.sent >= 5)
    });
    let page = scrape(&colony, &well.node);
    assert_eq!(page.of("queenright_webhook_tries", &[("webhook", "ops")]), 0.0);
    assert_eq!(diagnosed(&colony)[1].0, "ok");

    let shown = colony
        .command()
        .args(["config", "show"])
        .arg(&colony.config().file)
        .output();
    let told = logged(&colony) + &String::from_utf8_lossy(&shown.unwrap().stdout);
    assert!(
        told.contains("ops.secret") && told.contains("a webhook fails"),
        "{told}"
    );
    assert!(!told.contains(&BASE64.encode(KEY)), "the secret is told");
    colony.same_digest();
}
