//! `[[webhooks]]`: what a receiver gets while it fails and while the node that sends is killed. The receiver is a small server
//! in the test.

use std::collections::BTreeSet;
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

use crate::colony::{Colony, NODES, until};

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
    /// Refuses the first `refused` posts.
    fn start(refused: usize) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (all, left) = (received.clone(), Arc::new(Mutex::new(refused)));
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

    fn types(&self) -> Vec<String> {
        let all = self.once();
        all.iter()
            .map(|message| message.body["type"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Received>>, refused: &Mutex<usize>) {
    let mut answers = stream.try_clone().unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(message) = read(&mut stream) {
        let mut left = refused.lock().unwrap();
        let status = match *left {
            0 => {
                all.lock().unwrap().push(message);
                "204 No Content"
            }
            _ => {
                *left -= 1;
                "500 Internal Server Error"
            }
        };
        drop(left);
        if write!(answers, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").is_err() {
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

#[test]
fn a_receiver_gets_every_event_in_order_while_it_fails_and_senders_are_killed() {
    let receiver = Receiver::start(2);
    let url = receiver.url.clone();
    let mut colony = Colony::start_prepared("webhooks", |config, data| {
        config.webhooks = with_webhook(config, data.parent().unwrap(), &url).webhooks;
    });
    let sender = until("a sender", || state(&colony, "n1")).node;
    let mut expected = Vec::new();
    for n in 0..5 {
        colony.at("n1", &["task", "add", &format!("t{n}")]).with_code(0);
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
            (colony.at(other, &["task", "add", &format!("t{n}")]).code == Some(0)).then_some(())
        });
    }
    until("events by another sender", || {
        (receiver.types().len() >= 8).then_some(())
    });
    let next = until("a new sender", || {
        state(&colony, other).filter(|state| state.node != sender)
    });
    assert!(next.sent >= 5, "{next:?}");
    let ids: Vec<String> = receiver.once().into_iter().map(|message| message.id).collect();
    let places: Vec<(u64, u64)> = ids
        .iter()
        .map(|id| {
            let (seq, ordinal) = id.strip_prefix("evt-").unwrap().split_once('-').unwrap();
            (seq.parse().unwrap(), ordinal.parse().unwrap())
        })
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    // The notes of the senders themselves are no news.
    assert_eq!(receiver.types(), ["task_added"; 8]);
    colony.start_node(&sender);
    colony.same_digest();
}
