//! What the two ends of a link agree on: versions and compression.

use super::*;

/// A near node and a far one that speak these versions of frames.
async fn speaking(near: Versions, far: Versions) -> (FarProcess, Near) {
    let far = FarProcess::speaking(far);
    let listen = "127.0.0.1:0".parse().expect("an address");
    let near = Near::start_with(LinkConfig {
        speaks: near,
        ..config(("near", NEAR), listen, ("far", FAR), far.address.to_string())
    });
    (far, near.await)
}

pub(super) async fn newer() {
    let versions = |oldest, newest| Versions { oldest, newest };
    let (_far, mut near) = speaking(versions(1, 2), versions(2, 3)).await;
    near.up().await;
    assert_eq!(near.stats().version, Some(2));
    near.signals(0..1_000).await;
    let report = near.report().await;
    assert_eq!((report.signals, report.malformed), (1_000, 0));
    let measured = loop {
        match near.stats().round_trip {
            Some(measured) => break measured,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(
        measured.min_us > 0 && measured.min_us <= measured.p50_us,
        "{measured:?}"
    );
}

pub(super) async fn incompatible() {
    let versions = |oldest, newest| Versions { oldest, newest };
    let (far, mut near) = speaking(versions(1, 1), versions(2, 3)).await;
    let Event::Incompatible(why) = near.event().await else {
        panic!("it is not told first: {:?}", near.stats())
    };
    let expected = format!(
        "node far (build {BUILD}) speaks versions 2 to 3 of the protocol of links, this node (build {BUILD}) version 1: \
         none in common"
    );
    assert_eq!(why, expected);
    let stats = near.links.stats();
    assert!(stats.refused.version >= 1, "{:?}", stats.refused);
    assert_eq!(stats.links[0].problem.as_deref(), Some(&*expected));
    assert!(!stats.links[0].up && stats.links[0].version.is_none());
    near.links.stop().await;

    // The other end has counted it as well, and tells who speaks its language.
    let listen = "127.0.0.1:0".parse().expect("an address");
    let address = far.address.to_string();
    let mut near = Near::start_with(LinkConfig {
        speaks: versions(1, 2),
        ..config(("near", NEAR), listen, ("far", FAR), address)
    })
    .await;
    while !matches!(near.event().await, Event::Up) {}
    assert!(near.report().await.refused.version >= 1);
    assert_eq!(near.stats().problem, None);
}

pub(super) async fn smaller() {
    // The far node does not compress; it reads what comes compressed all the same.
    let far = FarProcess::start("127.0.0.1:0");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = config(("near", NEAR), listen, ("far", FAR), far.address.to_string());
    config.limits.compression = Compression::Lz4;
    let mut near = Near::start_with(config).await;
    near.up().await;
    let large = Envelope {
        kind: Kind::SnapshotRequest,
        body: large_body(),
        ..signal(0)
    };
    near.outbox().send(Lane::Snapshot, &large).expect("room");
    let mut report = near.report().await;
    while report.large == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        report = near.report().await;
    }
    assert_eq!((report.large, report.malformed), (1, 0));
    let stats = near.stats();
    assert_eq!(stats.compressed, 1, "{stats:?}");
    assert!(stats.frame_bytes_sent < large.body.len() as u64 / 2, "{stats:?}");
}
