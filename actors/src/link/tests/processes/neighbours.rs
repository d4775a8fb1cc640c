//! What goes on between two nodes while one of them is killed, stopped or started again.

use super::*;

pub(super) async fn flood() {
    let (_far, mut near) = linked().await;
    near.signals(0..50_000).await;
    let large = Envelope {
        kind: Kind::SnapshotRequest,
        body: large_body(),
        ..signal(0)
    };
    near.outbox()
        .send(Lane::Snapshot, &large)
        .expect("an empty lane takes it");
    near.signals(50_000..200_000).await;
    let mut report = near.report().await;
    // The snapshot has a lane of its own, so the answer may have overtaken it.
    while report.large == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        report = near.report().await;
    }
    assert_eq!(
        report,
        Report {
            signals: 200_000,
            disordered: 0,
            large: 1,
            ..Report::default()
        }
    );
    let stats = near.stats();
    assert!(
        stats.lanes.iter().all(|lane| lane.lost == 0 && lane.in_doubt == 0),
        "{stats:?}"
    );
}

pub(super) async fn kill() {
    let (far, mut near) = linked().await;
    near.signals(0..1_000).await;
    assert_eq!(near.report().await.signals, 1_000);
    let address = far.address.to_string();
    drop(far);
    near.down().await;
    assert_eq!(near.outbox().send(Lane::Signal, &signal(0)), Err(SendError::Down));
    let _far = FarProcess::start(&address);
    near.up().await;
    near.signals(0..1_000).await;
    assert_eq!(
        near.report().await,
        Report {
            signals: 1_000,
            ..Report::default()
        }
    );
    assert_eq!(near.stats().reconnects, 1);
}

pub(super) async fn close() {
    let (far, mut near) = linked().await;
    let sign = near.links.signs()[0];
    assert!(sign.link == FAR && sign.up && sign.silent.is_some(), "{sign:?}");
    far.signal(Signal::STOP);
    near.links.close(FAR);
    near.down().await;
    assert!(!near.links.signs()[0].up);
    far.signal(Signal::CONT);
    near.up().await;
    near.signals(0..1_000).await;
    assert_eq!(near.report().await.signals, 1_000);
}

pub(super) async fn stop() {
    let (far, mut near) = linked().await;
    far.signal(Signal::STOP);
    let mut sent = 0;
    let busy = loop {
        match near.outbox().send(Lane::Signal, &signal(sent)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000_000, "the outbox has no bound");
    };
    assert!(matches!(busy, SendError::Busy { lane: Lane::Signal, .. }), "{busy}");
    let stats = near.stats();
    assert!(
        stats.in_flight_bytes <= LinkLimits::default().window_bytes as u64,
        "{stats:?}"
    );
    assert!(
        stats
            .lanes
            .iter()
            .all(|lane| lane.queued_bytes <= lane.queued_bytes_max),
        "{stats:?}"
    );
    let vote = Envelope {
        kind: Kind::VoteRequest,
        ..signal(0)
    };
    near.outbox()
        .send(Lane::Urgent, &vote)
        .expect("a full signal lane does not refuse votes");
    far.signal(Signal::CONT);
    let report = near.report().await;
    assert_eq!(
        report,
        Report {
            signals: sent,
            ..Report::default()
        }
    );
    assert_eq!(near.stats().lanes[Lane::Signal.index()].lost, 0);
}

pub(super) async fn panic() {
    let (_far, mut near) = linked().await;
    let hello = Envelope {
        kind: Kind::Hello,
        ..signal(0)
    };
    near.outbox().send(Lane::Command, &hello).expect("room");
    near.down().await;
    near.up().await;
    near.signals(0..10).await;
    assert_eq!(near.report().await.signals, 10);
}

pub(super) async fn restart() {
    let (far, mut near) = linked().await;
    near.signals(0..10).await;
    assert_eq!(near.report().await.signals, 10);
    let address = near.links.address();
    near.links.stop().await;
    assert!(matches!(near.events.recv().await, Some(Event::Down)));
    assert!(near.events.recv().await.is_none(), "nobody is left to send events");
    std::net::TcpListener::bind(address).expect("the port is free again");
    let mut near = Near::start(far.address).await;
    near.up().await;
    assert_eq!(near.report().await.signals, 10);
}
