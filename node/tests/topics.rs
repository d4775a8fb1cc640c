//! Topics over real nodes: who follows hears each message once, on whatever node, also while a node dies; and the command
//! line.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use queenright_actors::node::Traffic;
use queenright_bench::client::{Client, ClientError, TopicNews};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::colony::{Colony, Ran, until};
use crate::topologies::{FIVE, three_voters};

/// What a follower has heard so far: author and payload of each message, in their order.
type Heard = Arc<Mutex<Vec<(String, u64)>>>;

/// Follows everything at a node until that ends.
fn follow(colony: &Colony, node: &str) -> (Heard, JoinHandle<()>) {
    let mut news = colony.block_on(colony.client(node, "test").follow_topics("#")).unwrap();
    let heard = Heard::default();
    let told = heard.clone();
    let following = colony.spawn(async move {
        while let Some(Ok(news)) = news.next().await {
            let TopicNews::Message(message) = news else {
                panic!("it reads fast enough: {news:?}")
            };
            let number = message.payload.unwrap().parse().unwrap();
            told.lock().unwrap().push((message.author, number));
        }
    });
    (heard, following)
}

/// Publishes one message, again while too much waits.
async fn publish(client: &Client, number: u64) -> Result<(), ClientError> {
    loop {
        match client.publish("some.topic", number.to_string().into()).await {
            Err(error) if error.is_temporary() => tokio::time::sleep(Duration::from_millis(5)).await,
            published => return published.map(drop),
        }
    }
}

/// Whether every author's messages came in order and none twice.
fn is_in_order(heard: &[(String, u64)]) -> bool {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    heard
        .iter()
        .all(|(author, number)| last.insert(author, *number).is_none_or(|last| last < *number))
}

fn is_accounted_for(traffic: &BTreeMap<String, Traffic>) -> bool {
    let sum = |of: fn(&Traffic) -> u64| traffic.values().map(of).sum::<u64>();
    sum(|of| of.topics.copies) == sum(|of| of.topics.arrived + of.topics.lost + of.transit.topics_lost)
}

#[test]
fn over_a_ring_and_a_star_each_follower_hears_each_message_once_and_in_order() {
    const EACH: u64 = 40;
    for (file, name) in [("ring-5", "topics-ring"), ("star-5", "topics-star")] {
        let colony = Colony::start_shipped(file, name, three_voters);
        colony.links_settle(file.split('-').next().unwrap(), 3);
        let followers = FIVE.map(|node| follow(&colony, node));
        let publishing = FIVE.map(|node| {
            let client = colony.client(node, node);
            colony.spawn(async move {
                for number in 0..EACH {
                    publish(&client, number).await.unwrap();
                }
            })
        });
        for publishing in publishing {
            colony.block_on(publishing).unwrap();
        }
        for (node, (heard, _)) in FIVE.iter().zip(&followers) {
            until(&format!("all of it comes to {node}"), || {
                (heard.lock().unwrap().len() as u64 >= 5 * EACH).then_some(())
            });
            let heard = heard.lock().unwrap();
            assert_eq!(heard.len() as u64, 5 * EACH);
            assert!(is_in_order(&heard), "{node}: {heard:?}");
        }
        let traffic = colony.traffic();
        assert!(is_accounted_for(&traffic), "{traffic:?}");
        let published: u64 = traffic.values().map(|traffic| traffic.topics.published).sum();
        let copies: u64 = traffic.values().map(|traffic| traffic.topics.copies).sum();
        assert_eq!((published, copies), (5 * EACH, 5 * EACH * 4));
        let lost = |of: &Traffic| of.topics.lost + of.topics.dropped + of.transit.topics_lost;
        assert_eq!(traffic.values().map(lost).sum::<u64>(), 0, "{traffic:?}");
        followers.iter().for_each(|(_, following)| following.abort());
    }
}

#[test]
fn while_the_hub_is_killed_and_comes_back_nobody_hears_a_message_twice() {
    let mut colony = Colony::start_shipped("star-5", "topics-hub", three_voters);
    colony.links_settle("star", 3);
    let leaves = &FIVE[1..];
    let followers: Vec<_> = leaves.iter().map(|node| follow(&colony, node)).collect();
    let published = Arc::new(Mutex::new(0));
    let publishing = {
        let (client, published) = (colony.client("n3", "n3"), published.clone());
        colony.spawn(async move {
            for number in 1.. {
                publish(&client, number).await.unwrap();
                *published.lock().unwrap() = number;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let last_heard = |place: usize| {
        let (heard, _): &(Heard, _) = &followers[place];
        let heard = heard.lock().unwrap();
        heard.last().map_or(0, |(_, number)| *number)
    };
    let all_hear_of_what_comes_now = |when: &str| {
        let now = *published.lock().unwrap();
        for (place, node) in leaves.iter().enumerate() {
            until(&format!("{node} hears {when}"), || {
                (last_heard(place) > now).then_some(())
            });
        }
    };
    all_hear_of_what_comes_now("before");
    colony.kill("n1");
    all_hear_of_what_comes_now("without the hub");
    colony.start_node("n1");
    colony.links_settle("star", 3);
    all_hear_of_what_comes_now("with the hub again");
    publishing.abort();
    for (node, (heard, _)) in leaves.iter().zip(&followers) {
        let heard = heard.lock().unwrap();
        let different: BTreeSet<u64> = heard.iter().map(|(_, number)| *number).collect();
        assert_eq!(different.len(), heard.len(), "{node} hears none twice");
        let missed = heard.last().map_or(0, |(_, last)| *last) - heard.len() as u64;
        println!("{node}: {} heard, {missed} missed while the hub died", heard.len());
    }
}

#[test]
fn the_command_line_publishes_and_follows() {
    let colony = Colony::start("topics");
    let mut follow = colony.command_at("n3", &["topic", "follow", "swarm.*", "--limit", "2", "--json"]);
    let following = follow
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let client = colony.client("n3", "test");
    until("it follows", || {
        let topics = colony.block_on(client.figures()).unwrap().topics;
        (topics.patterns == 1).then_some(())
    });
    let said = colony
        .at("n1", &["topic", "publish", "swarm.red", "ready"])
        .with_code(0);
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(
        said,
        "swarm.red is with 0 subscribers of this node, and on its way to 2 nodes\n"
    );
    colony.at("n1", &["topic", "publish", "other", "nothing"]).with_code(0);
    let fed = colony.fed("n2", &["topic", "publish", "swarm.blue", "-", "--json"], b"\xff");
    assert_eq!(
        fed.with_code(0).json(),
        json!({ "nodes": 2, "lost": 0, "delivered": 0 })
    );
    let followed = following.wait_with_output().unwrap();
    assert!(followed.status.success(), "{followed:?}");
    let lines = String::from_utf8(followed.stdout).unwrap();
    let mut lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // From different publishers they may come in any order.
    lines.sort_by_key(|line| line["topic"].as_str().unwrap().to_owned());
    let said = |line: &serde_json::Value| {
        (
            line["topic"].clone(),
            line["payload"].clone(),
            line["payload_base64"].clone(),
        )
    };
    assert_eq!(said(&lines[0]), (json!("swarm.blue"), json!(null), json!("/w==")));
    assert_eq!(said(&lines[1]), (json!("swarm.red"), json!("ready"), json!(null)));
    assert_eq!((&lines[1]["author"], &lines[1]["node"]), (&json!("cli"), &json!(1)));

    let refused = |arguments: &[&str], code: i32, what: &str| {
        let ran: Ran = colony.at("n1", arguments).with_code(code);
        assert!(ran.stderr.contains(what), "{ran}");
    };
    refused(
        &["topic", "publish", "a..b", "x"],
        1,
        "topic: word 2 of \"a..b\" is empty",
    );
    refused(
        &["topic", "follow", "a b"],
        2,
        "pattern: word 1 of \"a b\" has white space",
    );
    let help = colony.at("n1", &["topic", "--help"]).with_code(0);
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("queenright topic follow 'swarm.*.state'")
    );
    let status = colony.at("n2", &["status", "--json"]).with_code(0).json();
    let copies = |node: &serde_json::Value| node["traffic"]["topics"]["copies"].as_u64();
    let copies: u64 = status["nodes"].as_array().unwrap().iter().filter_map(copies).sum();
    assert_eq!(copies, 6);
}
