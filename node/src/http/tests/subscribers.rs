//! Subscribers over a real socket: streams of events, and what becomes of one who does not read.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{Code, WireState, WireWhat};
use queenright_bench::client::{Client, ClientError, Filter, PutOptions, Watched};
use queenright_protocol::colony::EVENTS_KEPT_MS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::socket::{Served, served};
use super::*;
use crate::http::backend::Backend as _;

type Stream = BoxStream<'static, Result<Watched, ClientError>>;

async fn put(client: &Client, key: &str) {
    client.put(key, "x".into(), &PutOptions::default()).await.unwrap();
}

/// The next message as one line.
async fn next(stream: &mut Stream) -> String {
    match stream.next().await.expect("the stream goes on").unwrap() {
        Watched::State(state) => match *state {
            WireState::Key(info) => format!("key {} r{}", info.key, info.revision),
            WireState::Task(task) => format!("task {} {}", task.task, task.state),
        },
        Watched::Current(cursor) => format!("current {cursor}"),
        Watched::Event(event) => match event.what {
            WireWhat::Changed { key, revision, .. } => format!("{} {key} r{revision}", event.cursor),
            what => format!("{} {}", event.cursor, what.type_name()),
        },
    }
}

async fn subscribe(client: &Client, after: Option<&str>, snapshot: Option<&str>) -> Stream {
    let after = after.map(|after| after.parse().unwrap());
    let filter = Filter::default();
    let subscribed = client.subscribe(after, &filter, snapshot, Consistency::Local);
    subscribed.await.unwrap()
}

#[tokio::test]
async fn a_subscriber_is_told_the_state_and_then_every_event() {
    let Served { client, alone, .. } = served(DoorLimits::default()).await;
    for key in ["a", "b", "a"] {
        put(&client, key).await;
    }
    let mut stream = subscribe(&client, None, Some("memory")).await;
    for expected in ["key a r2", "key b r1", "current 3"] {
        assert_eq!(next(&mut stream).await, expected);
    }
    put(&client, "c").await;
    assert_eq!(next(&mut stream).await, "4.0 c r1");
    let mut behind = subscribe(&client, Some("2"), None).await;
    assert_eq!(next(&mut behind).await, "3.0 a r2");
    assert_eq!(next(&mut behind).await, "4.0 c r1");
    let counts = alone.subscribers().counts();
    assert_eq!((counts.open, counts.opened, counts.slow, counts.expired), (2, 2, 0, 0));
    drop((stream, behind));
    while alone.subscribers().counts().open > 0 {
        put(&client, "c").await;
    }
}

/// Subscribes by hand, with a small buffer of its own; the answer is not read.
async fn raw(client: &Client, headers: &str) -> TcpStream {
    let address = client.base_url().strip_prefix("http://").unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn who_reconnects_goes_on_behind_the_last_event_that_it_had() {
    let Served { client, stop, door, .. } = served(DoorLimits::default()).await;
    for key in ["a", "b"] {
        put(&client, key).await;
    }
    let mut stream = raw(&client, "last-event-id: 1.0\r\n").await;
    let mut text = String::new();
    while !text.contains("\"key\":\"b\"") {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(text.contains("id: 2.0\nevent: changed\ndata: {"), "{text}");
    assert!(!text.contains("id: 1.0"), "{text}");
    // A door that closes ends its streams.
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    door.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_before_the_stream_begins() {
    let Served { client, alone, .. } = served(DoorLimits::default()).await;
    put(&client, "a").await;
    alone
        .ahead_ms
        .store(EVENTS_KEPT_MS * 2, std::sync::atomic::Ordering::SeqCst);
    put(&client, "b").await;
    let refused = async |after: &str| {
        let after = after.parse().unwrap();
        let filter = Filter::default();
        let subscribed = client.subscribe(Some(after), &filter, None, Consistency::Local).await;
        subscribed.err().and_then(|error| error.code())
    };
    assert_eq!(refused("0").await, Some(Code::CursorExpired));
    assert_eq!(refused("9").await, Some(Code::CursorAhead));
    assert_eq!(refused("1.0").await, None);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_dropped_and_counted_and_others_are_served() {
    let limits = DoorLimits {
        subscriber_bytes: 16 << 10,
        subscriber_stalled: Duration::from_secs(2),
        followers: 2,
        ..DoorLimits::default()
    };
    let Served { client, alone, .. } = served(limits).await;
    let mut slow = raw(&client, "").await;
    let healthy = subscribe(&client, None, None).await;
    while alone.subscribers().counts().open < 2 {
        tokio::task::yield_now().await;
    }
    let refused = client
        .subscribe(None, &Filter::default(), None, Consistency::Local)
        .await;
    assert_eq!(
        refused.err().and_then(|error| error.code()),
        Some(Code::Busy),
        "two, and no more"
    );
    let read = tokio::spawn(async move {
        let mut healthy = healthy;
        for number in 1.. {
            let line = next(&mut healthy).await;
            assert!(line.starts_with(&format!("{number}.0 ")), "{line}");
            if line.contains(" last ") {
                break;
            }
        }
    });
    let key = "k".repeat(3_800);
    while alone.subscribers().counts().slow == 0 {
        put(&client, &key).await;
    }
    put(&client, "last").await;
    read.await.unwrap();
    // Its place is free again, although it does not even close its connection.
    while alone.subscribers().counts().open > 0 {
        put(&client, "again").await;
    }
    assert_eq!(alone.subscribers().counts().slow, 1);
    let mut rest = Vec::new();
    // What was under way, and then the end of the connection.
    let _ = slow.read_to_end(&mut rest).await;
}
