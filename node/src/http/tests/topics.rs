//! Topics over a door: what is published, who is told, and what is refused.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use queenright_bench::client::TopicNews;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::socket::{Served, served};
use super::*;
use crate::http::backend::Backend as _;

/// What a message says, as one line.
fn line(news: TopicNews) -> String {
    match news {
        TopicNews::Message(message) => {
            let payload = message.payload.or(message.payload_base64).unwrap_or_default();
            format!("{} {} {payload}", message.topic, message.author)
        }
        TopicNews::Dropped(messages) => format!("{messages} dropped"),
    }
}

#[tokio::test]
async fn who_follows_a_topic_is_told_what_is_published_from_then_on() {
    let Served { client, alone, .. } = served(DoorLimits::default()).await;
    client.publish("swarm.red", "early".into()).await.unwrap();
    let mut stream = client.follow_topics("swarm.*").await.unwrap();
    let mut elsewhere = client.clone().in_project("other").follow_topics("#").await.unwrap();
    for (topic, payload) in [
        ("swarm.red", &b"one"[..]),
        ("state", &b"two"[..]),
        ("swarm.blue", &b"\xff\x00"[..]),
    ] {
        let published = client.publish(topic, Bytes::copy_from_slice(payload)).await.unwrap();
        let delivered = u64::from(topic != "state");
        assert_eq!((published.nodes, published.delivered), (0, delivered));
    }
    assert_eq!(line(stream.next().await.unwrap().unwrap()), "swarm.red tester one");
    assert_eq!(line(stream.next().await.unwrap().unwrap()), "swarm.blue tester /wA=");
    let other = client.clone().in_project("other");
    other.publish("a", "three".into()).await.unwrap();
    assert_eq!(line(elsewhere.next().await.unwrap().unwrap()), "a tester three");
    drop((stream, elsewhere));
    while alone.topics().counts().patterns > 0 {
        tokio::task::yield_now().await;
    }
    let counts = alone.topics().counts();
    assert_eq!((counts.published, counts.delivered, counts.dropped), (5, 3, 0));
}

#[tokio::test]
async fn what_cannot_be_a_topic_is_refused_by_field_value_and_bound() {
    let rig = Rig::new();
    let post = async |path: &str, body: &str| rig.call(&format!("POST /v1/topics/{path}"), &[], body.to_owned()).await;
    let detail = post("a..b", "x").await.problem(400, "INVALID");
    assert_eq!(detail, r#"topic: word 2 of "a..b" is empty"#);
    let detail = post(&"x".repeat(256), "x").await.problem(413, "TOO_LARGE");
    assert_eq!(detail, "topic: 256 B are over the limit of 255 B");
    let detail = post("a", &"x".repeat(65_537)).await.problem(413, "TOO_LARGE");
    assert_eq!(detail, "payload: 65537 is over the limit of 65536");
    let detail = post("a?project=p%2Fq", "x").await.problem(400, "INVALID");
    assert!(detail.starts_with("project: "), "{detail}");
    let detail = rig.get("/v1/topics").await.problem(400, "INVALID");
    assert_eq!(detail, "pattern: is needed, such as # for every topic");
    let detail = rig.get("/v1/topics?pattern=a.b*").await.problem(400, "INVALID");
    assert!(detail.contains("beside other characters"), "{detail}");
    let published = post("a.b", "x").await;
    assert_eq!(published.json(), json!({ "nodes": 0, "lost": 0, "delivered": 0 }));
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_dropped_and_counted_and_others_are_told_all() {
    let limits = DoorLimits {
        subscriber_bytes: 16 << 10,
        subscriber_stalled: Duration::from_millis(500),
        ..DoorLimits::default()
    };
    let Served { client, alone, .. } = served(limits).await;
    let address = client.base_url().strip_prefix("http://").unwrap().to_owned();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut slow = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!("GET /v1/topics?pattern=%23 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut healthy = client.follow_topics("#").await.unwrap();
    while alone.topics().counts().patterns < 2 {
        tokio::task::yield_now().await;
    }
    let payload = "x".repeat(8_000);
    let mut published = 0;
    while alone.subscribers().counts().slow == 0 {
        client.publish("a", payload.clone().into()).await.unwrap();
        published += 1;
        // It reads as it comes.
        assert!(matches!(healthy.next().await.unwrap().unwrap(), TopicNews::Message(_)));
    }
    // The last that it is sent says why; what was under way comes first.
    let mut text = Vec::new();
    let _ = slow.read_to_end(&mut text).await;
    while alone.subscribers().counts().open > 1 {
        tokio::task::yield_now().await;
    }
    let counts = alone.topics().counts();
    assert_eq!(counts.delivered + counts.dropped, 2 * published);
    assert!(counts.dropped > 0, "{counts:?}");
}

#[tokio::test]
async fn a_follower_that_falls_behind_is_told_how_much_it_missed() {
    let limits = DoorLimits {
        subscriber_bytes: 4 << 10,
        subscriber_stalled: Duration::from_secs(60),
        ..DoorLimits::default()
    };
    let Served { client, alone, .. } = served(limits).await;
    let mut stream = client.follow_topics("#").await.unwrap();
    let payload = "x".repeat(60_000);
    while alone.topics().counts().dropped == 0 {
        client.publish("a", payload.clone().into()).await.unwrap();
    }
    let (mut heard, mut missed, mut again) = (0, 0, false);
    // Once it has read what waits it is told, and takes part again.
    while !again {
        match stream.next().await.unwrap().unwrap() {
            TopicNews::Message(message) => {
                heard += 1;
                again = message.topic == "again";
            }
            TopicNews::Dropped(messages) => {
                missed += messages;
                client.publish("again", "".into()).await.unwrap();
            }
        }
    }
    let counts = alone.topics().counts();
    assert!(missed > 0);
    assert_eq!(
        (counts.published, counts.delivered, counts.dropped),
        (heard + missed, heard, missed)
    );
}
