//! The OpenAPI document, as it is printed and as the doors serve it.

use std::io::{Read, Write};
use std::net::TcpStream;

use queenright::config::Auth;
use serde_json::Value;

use crate::colony::{Colony, NODES};

/// The body of an answer to a request without a token.
fn fetched(colony: &Colony, node: &str, path: &str) -> (u16, Value) {
    let address = colony.config().node(node).unwrap().http;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn the_document_that_is_printed_is_served_by_every_node_to_callers_without_a_token() {
    let colony = Colony::start_prepared("openapi", |config, _| config.auth = Auth::Token);
    let output = colony.command().args(["openapi", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["openapi"], "3.1.0");
    assert_eq!(printed["info"]["version"], env!("CARGO_PKG_VERSION"));
    for node in NODES {
        let (status, served) = fetched(&colony, node, "/openapi.json");
        assert_eq!(status, 200);
        assert_eq!(served, printed);
        let (status, problem) = fetched(&colony, node, "/v1/status");
        assert_eq!((status, &problem["code"]), (401, &"UNAUTHORIZED".into()));
    }
    colony.same_digest();
}
