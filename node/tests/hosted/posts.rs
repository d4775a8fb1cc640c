//! `queenright agent http`: what is posted, and what an answer does to a task. Whoever answers is a small server in the test.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use queenright_bench::client::wire::AddTask;
use queenright_protocol::colony::StateName;
use serde_json::{Value, json};

use crate::colony::{Colony, Ran, until};
use crate::run::{add, show, titled, until_state};

/// A request: its headers, by names in small letters, and its body.
#[derive(Clone, Debug)]
struct Posted {
    headers: Vec<(String, String)>,
    body: String,
}

impl Posted {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or_else(|| panic!("no header {name}: {self:?}"), |(_, value)| value)
    }

    fn title(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["title"].as_str().unwrap().to_owned()
    }
}

/// Answers by the title of the task.
struct Server {
    url: String,
    posted: Arc<Mutex<Vec<Posted>>>,
    /// The titles of tasks whose request ended before its answer.
    left: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/work?of=test", listener.local_addr().unwrap());
        let (posted, left) = (
            Arc::<Mutex<Vec<Posted>>>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let (all, gone) = (posted.clone(), left.clone());
        // Ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, gone) = (all.clone(), gone.clone());
                thread::spawn(move || serve(stream.unwrap(), &all, &gone));
            }
        });
        Server { url, posted, left }
    }

    fn posted(&self, title: &str) -> Vec<Posted> {
        let posted = self.posted.lock().unwrap();
        posted
            .iter()
            .filter(|posted| posted.title() == title)
            .cloned()
            .collect()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Posted>>, gone: &Mutex<Vec<String>>) {
    let mut answers = stream.try_clone().unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(posted) = read(&mut stream) {
        let title = posted.title();
        let tries = {
            let mut all = all.lock().unwrap();
            all.push(posted);
            all.iter().filter(|posted| posted.title() == title).count()
        };
        let (status, body) = match (title.as_str(), tries) {
            ("well", _) => ("200 OK", r#"{"n": 1}"#.to_owned()),
            ("busy", 1) => ("503 Service Unavailable\r\nRetry-After: 1", "later".to_owned()),
            ("busy", _) => ("200 OK", "moved\n".to_owned()),
            ("down", _) => ("500 Internal Server Error", "it\nbroke".to_owned()),
            ("wrong", _) => ("422 Unprocessable Content", "no such file".to_owned()),
            ("much", _) => ("200 OK", "x".repeat(60_000)),
            _ => {
                // No answer: until the other side leaves.
                let mut byte = [0];
                if matches!(stream.read(&mut byte), Ok(0) | Err(_)) {
                    gone.lock().unwrap().push(title);
                }
                return;
            }
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut impl std::io::BufRead) -> Option<Posted> {
    let mut headers = Vec::new();
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    if line.is_empty() {
        return None;
    }
    assert!(line.starts_with("POST /work?of=test HTTP/1.1"), "{line}");
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?;
    let mut body = vec![0; length.1.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Posted { headers, body })
}

#[test]
fn the_answer_to_a_post_ends_its_task() {
    let colony = Colony::start("posts");
    let server = Server::start();
    let secret = colony.folder().join("secret");
    std::fs::write(&secret, "hidden\n").unwrap();
    let mut command = colony.command_at("n1", &["agent", "http", "poster", &server.url, "--json"]);
    command.arg("--secret-file").arg(&secret);
    command.args(["--slots", "4", "--deadline", "4s", "--retries", "1", "--lease", "10"]);
    Ran::of(&mut command).with_code(0);
    let task = |title: &str| add(&colony, titled(title, json!({ "of": title })));
    let [well, busy, down, wrong, much, silent] = ["well", "busy", "down", "wrong", "much", "silent"].map(task);
    let result = |task: &str, state: StateName| {
        let shown = until_state(&colony, "n2", task, state);
        let mut result = shown.finished.unwrap().result;
        assert!(result["ran_ms"].take().is_u64(), "{result}");
        result
    };
    let kept = |mut value: Value| {
        value["ran_ms"] = Value::Null;
        value
    };
    let done = |status: u16, tries: u32, value: Value| kept(json!({"status": status, "tries": tries, "result": value}));
    assert_eq!(result(&well, StateName::Done), done(200, 1, json!({"n": 1})));
    assert_eq!(result(&busy, StateName::Done), done(200, 2, json!("moved")));
    let failed = |status: u16, error: &str, tries: u32, log: &str| {
        kept(json!({"status": status, "error": error, "tries": tries, "log": log}))
    };
    let expected = failed(500, "status 500 Internal Server Error", 2, "it\nbroke");
    assert_eq!(result(&down, StateName::Failed), expected);
    let expected = failed(422, "status 422 Unprocessable Entity", 1, "no such file");
    let refused = result(&wrong, StateName::Failed);
    assert_eq!(
        (&refused["status"], &refused["tries"], &refused["log"]),
        (&expected["status"], &expected["tries"], &expected["log"])
    );
    let long = result(&much, StateName::Failed);
    assert_eq!(long["error"], "the answer is over the limit of 49152 B");
    let late = result(&silent, StateName::Failed);
    assert_eq!(
        (&late["error"], &late["tries"]),
        (&json!("its time was up after 4.0 s"), &json!(1))
    );
    until("the request ended", || {
        server.left.lock().unwrap().contains(&"silent".to_owned()).then_some(())
    });

    // Each says which attempt it is, signed; a second try has the same key.
    let posted = server.posted("busy");
    let fence = show(&colony, "n1", &busy).finished.unwrap().fence.to_string();
    for try_ in &posted {
        assert_eq!(
            (try_.header("queenright-task"), try_.header("queenright-attempt")),
            (busy.as_str(), "1")
        );
        assert_eq!(
            (try_.header("queenright-project"), try_.header("queenright-fence")),
            ("default", fence.as_str())
        );
        assert_eq!(try_.header("idempotency-key"), posted[0].header("idempotency-key"));
        let signed = format!("{}.{}", try_.header("queenright-timestamp"), try_.body);
        assert_eq!(
            try_.header("queenright-signature"),
            format!("v1={}", hmac_sha256(b"hidden", signed.as_bytes()))
        );
        let body: Value = serde_json::from_str(&try_.body).unwrap();
        assert_eq!((&body["task"], &body["payload"]["of"]), (&json!(busy), &json!("busy")));
    }
    assert_eq!(posted.len(), 2);

    // One that is cancelled ends its request.
    let cancelled = add(&colony, titled("cancelled", Value::Null));
    until("it is posted", || {
        (!server.posted("cancelled").is_empty()).then_some(())
    });
    colony.at("n2", &["task", "cancel", &cancelled]).with_code(0);
    until("the request ended", || {
        server
            .left
            .lock()
            .unwrap()
            .contains(&"cancelled".to_owned())
            .then_some(())
    });

    // A task with checks is not for one that runs none.
    let with_checks = AddTask {
        checks: vec!["touch /nowhere".into()],
        ..titled("well", Value::Null)
    };
    let with_checks = add(&colony, with_checks);
    let shown = until("an attempt", || {
        Some(show(&colony, "n2", &with_checks)).filter(|task| !task.history.is_empty())
    });
    assert_eq!(
        shown.history[0].reason,
        "it failed: check: this worker runs no checks, and the task has some"
    );
    assert_eq!(server.posted("well").len(), 1);

    let line = crate::colony::refused(&mut colony.command_at("n1", &["agent", "http", "e", "ftp://a/"]), 1);
    assert!(
        line.contains("arguments of agent \"e\": url: \"ftp://a/\" is neither http nor https"),
        "{line}"
    );
}

/// HMAC as RFC 2104 defines it, for keys of up to 64 bytes.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut padded = [0; 64];
    padded[..key.len()].copy_from_slice(key);
    let inner = Sha256::digest([&padded.map(|byte| byte ^ 0x36)[..], message].concat());
    let outer = Sha256::digest([&padded.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}
