//! Requests that are followed: from the door through queen, round and consensus to the apply of every node, as a tree, and
//! as what a collector is told.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use queenright::config::Tracing;
use serde_json::Value;

use crate::colony::{Colony, NODES, Ran, refused, until};
use crate::metrics::ask;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// A collector that takes everything and hands it on.
fn collector() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, receiver) = mpsc::sync_channel(1_000);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let (mut first, mut length) = (String::new(), 0);
            if stream.read_line(&mut first).is_err() {
                continue;
            }
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).is_err() || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            assert!(first.starts_with("POST /v1/traces "), "{first}");
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.get_mut().write_all(answer);
            if told
                .send(ExportTraceServiceRequest::decode(&body[..]).unwrap())
                .is_err()
            {
                return;
            }
        }
    });
    (url, receiver)
}

/// Which trace an answer names, and with which flags.
fn trace_of(head: &str) -> (&str, &str) {
    let header = head
        .lines()
        .find_map(|line| line.strip_prefix("traceparent: "))
        .unwrap();
    let parts: Vec<&str> = header.split('-').collect();
    assert_eq!(parts.len(), 4, "{header}");
    (parts[1], parts[3])
}

/// The names of the spans with those of their nodes.
fn named(found: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let spans = found["spans"].as_array().unwrap();
    spans
        .iter()
        .map(|span| (text(&span["name"]), text(&span["node"])))
        .collect()
}

#[test]
fn a_request_is_followed_from_its_door_to_every_node_and_a_collector_is_told_the_same() {
    let (url, told) = collector();
    let colony = Colony::start_prepared("traces", |config, _| {
        config.tracing = Tracing {
            ratio: 0.0,
            otlp: Some(url.parse().unwrap()),
        };
    });
    let leader = colony.leader_at("n1", None);
    let door = NODES.into_iter().find(|node| **node != *leader).unwrap();
    let mut put = colony.command_at(door, &["memory", "put", "key", "value"]);
    Ran::of(put.env("TRACEPARENT", parent("01"))).with_code(0);
    // One that its caller does not follow, and one that nobody said anything about.
    let mut put = colony.command_at(door, &["memory", "put", "key", "value"]);
    Ran::of(put.env("TRACEPARENT", format!("00-{}-{CALLER}-00", "5".repeat(32)))).with_code(0);
    colony.at(door, &["memory", "put", "key", "value"]).with_code(0);

    // Any node tells of it, with what all of them had of it.
    let found = until("all nodes have applied it", || {
        let ran = colony.at("n3", &["trace", TRACE, "--json"]);
        let found = (ran.code == Some(0)).then(|| ran.json())?;
        let applied = named(&found).into_iter().filter(|(name, _)| name == "apply").count();
        (applied == 3).then_some(found)
    });
    let names = named(&found);
    let expect = |name: &str, node: &str| {
        assert!(
            names.contains(&(name.to_owned(), node.to_owned())),
            "no {name} of {node}: {names:?}"
        );
    };
    expect("PUT /v1/memory/{*key}", door);
    for name in ["memory change", "gather", "round"] {
        expect(name, door);
    }
    expect("order", &leader);
    expect("consensus", &leader);
    let spans = found["spans"].as_array().unwrap();
    assert_eq!(spans[0]["parent"], CALLER);
    let identities: BTreeSet<&str> = spans.iter().map(|span| span["span"].as_str().unwrap()).collect();
    assert_eq!(identities.len(), spans.len());
    for span in spans {
        let parent = span["parent"].as_str().unwrap();
        assert!(parent == CALLER || identities.contains(parent), "{span}");
        assert!(span["begin_us"].as_u64() <= span["end_us"].as_u64(), "{span}");
    }
    let tree = colony.at("n1", &["trace", TRACE]).with_code(0);
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.starts_with(&format!("trace {TRACE}\nPUT /v1/memory/{{*key}}")),
        "{tree}"
    );
    assert!(tree.contains("└─ memory change") && tree.contains("─ apply"), "{tree}");

    // The others were not followed.
    let list = colony.at("n2", &["trace", "--json"]).with_code(0).json();
    let traces = list["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 1, "{list}");
    assert_eq!((&traces[0]["trace"], &traces[0]["node"]), (&TRACE.into(), &door.into()));

    let message = told.recv_timeout(Duration::from_secs(60)).unwrap();
    let mut exported = BTreeSet::new();
    for resource in &message.resource_spans {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let node = attributes
            .iter()
            .find(|attribute| attribute.key == "service.instance.id")
            .unwrap();
        let node = format!("{:?}", node.value);
        let node = NODES.into_iter().find(|name| node.contains(name)).unwrap();
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let trace: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(trace, TRACE);
            exported.insert((span.name.clone(), node.to_owned()));
        }
    }
    // It is told once, moments after the request: a node that was slow to apply is missing then.
    assert!(exported.is_subset(&names), "{exported:?}");
    for (name, node) in [
        ("PUT /v1/memory/{*key}", door),
        ("round", door),
        ("consensus", &leader),
        ("apply", &leader),
    ] {
        assert!(
            exported.contains(&(name.to_owned(), node.to_owned())),
            "no {name} of {node}: {exported:?}"
        );
    }

    let line = refused(&mut colony.command_at("n1", &["trace", "4bf9"]), 2);
    assert!(
        line.contains("ID: \"4bf9\" is no trace: 32 hexadecimal digits"),
        "{line}"
    );
    let line = refused(&mut colony.command_at("n1", &["trace", &"6".repeat(32)]), 1);
    assert!(line.contains("it was not followed, or is no longer kept"), "{line}");
}

#[test]
fn a_request_that_ends_with_an_error_of_the_node_is_kept_although_it_is_not_followed() {
    let mut colony = Colony::start_prepared("traced-errors", |config, _| config.tracing.ratio = 0.0);
    let (head, _) = ask(&colony, "n1", "PUT /v1/memory/key", "value");
    let (trace, flags) = trace_of(&head);
    assert_eq!(flags, "00", "{head}");
    // Nobody followed it, so nobody has it.
    let line = refused(&mut colony.command_at("n1", &["trace", trace]), 1);
    assert!(line.contains(&format!("no node has the trace {trace}")), "{line}");
    for node in ["n2", "n3"] {
        colony.kill(node);
    }
    // Nobody can commit it.
    let (head, _) = ask(&colony, "n1", "PUT /v1/memory/key?timeout_ms=500", "value");
    assert!(head.starts_with("HTTP/1.1 50"), "{head}");
    let (trace, flags) = trace_of(&head);
    assert_eq!(flags, "01", "{head}");
    let found = colony.at("n1", &["trace", trace, "--json"]).with_code(0).json();
    assert_eq!(found["requests"][0]["name"], "PUT /v1/memory/{*key}");
    assert_eq!(found["spans"][0]["error"], true);
    let list = colony.at("n1", &["trace"]).with_code(0);
    assert!(String::from_utf8(list.stdout).unwrap().contains(" !"));
}
