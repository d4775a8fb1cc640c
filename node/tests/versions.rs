//! Nodes of other builds: whoever speaks no version of the protocol of links that this build does is refused with a line that
//! names both, and a node at its first start ends with that line.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use queenright_protocol::version::Versions;
use queenright_protocol::wire::{GREETING_HEAD_BYTES, Greeting, GreetingHead, SPOKEN};

use crate::colony::{Colony, Ran, mesh, queenright, until};

/// How long the other end may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a node of a build says that is to come.
fn from_the_future(name: &str) -> Greeting {
    Greeting {
        speaks: Versions { oldest: 7, newest: 9 },
        name: name.to_owned(),
        build: "9.0.0".to_owned(),
    }
}

fn greeting(stream: &mut TcpStream) -> Greeting {
    let mut head = [0; GREETING_HEAD_BYTES];
    stream.read_exact(&mut head).unwrap();
    let head = GreetingHead::decode(head).unwrap();
    let mut rest = vec![0; head.rest_bytes()];
    stream.read_exact(&mut rest).unwrap();
    head.with_rest(&rest).unwrap()
}

#[test]
fn a_node_of_another_build_is_answered_counted_and_told_of_and_no_link_falls() {
    let colony = Colony::start("versions");
    let links = colony.config().node("n1").unwrap().links;
    let mut stream = TcpStream::connect(links).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&from_the_future("n2").encode()).unwrap();
    let answer = greeting(&mut stream);
    assert_eq!((answer.speaks, &*answer.name), (SPOKEN, "n1"));
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed");
    until("it is counted", || {
        let status = colony.status("n1")?.nodes.into_iter().find(|node| node.name == "n1")?;
        (status.refused?.version == 1).then_some(())
    });
    let status = colony.at("n1", &["status"]).with_code(0);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(
        status.contains("n1: connections of links refused: version 1"),
        "{status}"
    );
    let log = colony.folder().join("data/logs/n1.log");
    let log = std::fs::read_to_string(log).unwrap();
    let reason = "node n2 (build 9.0.0) speaks versions 7 to 9 of the protocol of links, this node";
    assert!(log.contains(reason), "{log}");
    assert!(colony.is_linked("n1", "n2"));
}

#[test]
fn a_node_at_its_first_start_ends_when_another_one_speaks_no_version_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = mesh("newcomer", folder.path());
    config.nodes[0].links = listener.local_addr().unwrap();
    let config = config.write_to(folder.path()).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A node that dials speaks first; it may have gone by now.
            let heard = stream.read(&mut [0; 256]);
            let _ = heard.and_then(|_| stream.write_all(&from_the_future("n1").encode()));
        }
    });
    let data = folder.path().join("data");
    let mut command = queenright(folder.path());
    command.args(["node", "--name", "n2", "--config"]).arg(&config.file);
    let ran = Ran::of(command.arg("--data").arg(&data)).with_code(1);
    let reason = "error: this node cannot belong to a cluster with another one: node n1 (build 9.0.0) speaks versions 7 to 9 of \
                  the protocol of links, this node";
    assert!(ran.stderr.contains(reason), "{ran}");
}
