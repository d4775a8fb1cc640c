//! Links with several neighbours, and those that one end or both do not want any more.

use super::*;

pub(super) async fn three() {
    let far = FarProcess::start("127.0.0.1:0");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = config(("near", NEAR), listen, ("far", FAR), far.address.to_string());
    // The near node has the lower index here, so the address is not used.
    config.peers.push(PeerConfig {
        name: "third".into(),
        index: THIRD,
        address: "127.0.0.1:1".into(),
    });
    let mut near = Near::start_with(config).await;
    near.up().await;
    let third = FarProcess::start_as(("third", THIRD), "127.0.0.1:0", &near.links.address().to_string());
    near.up().await;
    near.signals(0..1_000).await;
    let outbox = near.links.outbox(THIRD).expect("the third node");
    for number in 0..10 {
        outbox.send(Lane::Signal, &signal(number)).expect("room");
    }
    outbox
        .send(
            Lane::Signal,
            &Envelope {
                kind: Kind::Control,
                ..signal(0)
            },
        )
        .expect("room");
    let Event::Answer(report) = near.event().await else {
        panic!("the link changed")
    };
    assert_eq!(
        report,
        Report {
            signals: 10,
            ..Report::default()
        }
    );
    drop(third);
    near.down().await;
    assert!(near.outbox().is_up() && !outbox.is_up());
    assert_eq!(
        near.report().await,
        Report {
            signals: 1_000,
            ..Report::default()
        }
    );
}

pub(super) async fn unwanted() {
    let (_far, mut near) = linked().await;
    near.signals(0..50_000).await;
    near.links.set_wanted(&BTreeSet::new());
    near.down().await;
    let stats = near.stats();
    assert!(!stats.wanted && !stats.up, "{stats:?}");
    let signals = &stats.lanes[Lane::Signal.index()];
    assert_eq!((signals.sent, signals.lost), (50_000, 0), "{signals:?}");
    near.links.set_wanted(&BTreeSet::from([FAR]));
    near.up().await;
    let expected = Report {
        signals: 50_000,
        ..Report::default()
    };
    assert_eq!(near.report().await, expected);
}

pub(super) async fn guest() {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let nowhere = "127.0.0.1:1".to_owned();
    let mut near = Near::start_with(LinkConfig {
        wanted: Some(BTreeSet::new()),
        ..config(("near", NEAR), listen, ("third", THIRD), nowhere)
    })
    .await;
    let _third = FarProcess::start_as(("third", THIRD), "127.0.0.1:0", &near.links.address().to_string());
    // It comes, goes, and comes again as long as it wants to.
    near.up().await;
    assert!(!near.stats().wanted);
    near.down().await;
    near.up().await;
    near.links.set_wanted(&BTreeSet::from([THIRD]));
    let outbox = near.links.outbox(THIRD).expect("the third node");
    let question = Envelope {
        kind: Kind::Control,
        ..signal(0)
    };
    outbox.send(Lane::Signal, &question).expect("room");
    assert!(matches!(near.event().await, Event::Answer(_)));
    assert!(near.stats().wanted && near.stats().up);
}
