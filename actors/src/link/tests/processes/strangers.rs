//! What comes from nodes that are none, or not of this cluster.

use super::*;

pub(super) async fn malformed() {
    let (_far, mut near) = linked().await;
    let remote = near.links.entries()[0].link.remote().expect("linked");
    remote.gateway.cast(vec![1, 2, 3]).expect("sent");
    near.down().await;
    near.up().await;
    near.signals(0..10).await;
    assert_eq!(
        near.report().await,
        Report {
            signals: 10,
            malformed: 1,
            ..Report::default()
        }
    );
}

pub(super) async fn strangers() {
    let far = FarProcess::start("127.0.0.1:0");
    let connect = || TcpStream::connect(far.address).expect("accepted");
    let mut strangers: Vec<_> = (0..20).map(|_| connect()).collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        // The first four have the slots; one of them stays silent, and one begins well. Writing fails where the far node has hung up.
        if number % 2 == 0 {
            let _ = stranger.write_all(&[0xff; 100]);
        }
        if number == 1 {
            let greeting = Greeting {
                speaks: SPOKEN,
                name: "near".to_owned(),
                build: String::new(),
            };
            let _ = stranger.write_all(&greeting.encode());
            let _ = stranger.write_all(&[0xff; 100]);
        }
    }
    let mut near = Near::start(far.address).await;
    near.up().await;
    for (number, stranger) in strangers.iter_mut().enumerate() {
        stranger.set_read_timeout(Some(PATIENCE)).expect("set");
        // Closed by the far node: the end, or a reset where bytes were left unread.
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.is_empty() || number == 1, "{number}: {answer:?}");
    }
    let Report { refused, signals, .. } = near.report().await;
    // Each stranger has its refusal; attempts of the near node may have met the flood too.
    assert!(refused.total() >= 20, "{refused:?}");
    let all = [refused.handshake, refused.oversized, refused.silent];
    assert!(all.iter().all(|count| *count >= 1), "{refused:?}");
    assert_eq!(signals, 0);
}

pub(super) async fn cookie() {
    let far = FarProcess::start("127.0.0.1:0");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = config(("near", NEAR), listen, ("far", FAR), far.address.to_string());
    config.cookie = Cookie::new("another secret of thirty-two bytes").expect("long enough");
    let mut stranger = Near::start_with(config).await;
    // Several attempts are made in this time.
    let event = tokio::time::timeout(Duration::from_millis(700), stranger.events.recv()).await;
    assert!(event.is_err(), "nothing happens");
    stranger.links.stop().await;
    let mut near = Near::start(far.address).await;
    near.up().await;
    let Report { refused, .. } = near.report().await;
    assert!(refused.handshake >= 1, "{refused:?}");
}
