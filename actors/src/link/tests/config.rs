//! What links are told, and what they refuse of it.

use super::*;

fn config() -> LinkConfig {
    let peer = |name: &str, index| PeerConfig {
        name: name.into(),
        index,
        address: "127.0.0.1:1".into(),
    };
    LinkConfig {
        name: "alpha".into(),
        index: 0,
        listen: "127.0.0.1:0".parse().expect("an address"),
        peers: vec![peer("beta", 1), peer("gamma", 2)],
        wanted: None,
        cookie: Cookie::new("a secret of at least thirty-two bytes").expect("long enough"),
        limits: LinkLimits::default(),
        speaks: SPOKEN,
        tls: None,
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_name_value_and_bound() {
    let refused = |change: fn(&mut LinkConfig)| {
        let mut config = config();
        change(&mut config);
        config.validate().expect_err("refused").to_string()
    };
    assert!(config().validate().is_ok());
    let expected = "node name \"a/b\": expected 1 to 64 letters, digits, '_', '.' or '-'";
    assert_eq!(refused(|config| config.peers[0].name = "a/b".into()), expected);
    let expected = "node \"gamma\" with index 0: name and index must differ from those of all other nodes";
    assert_eq!(refused(|config| config.peers[1].index = 0), expected);
    assert_eq!(
        refused(|config| config.limits.window_bytes = 1),
        "window_bytes = 1: expected at least 131072"
    );
    assert_eq!(
        refused(|config| config.limits.idle_timeout = std::time::Duration::from_secs(2)),
        "idle_timeout = 2s: expected at least 6s"
    );
    assert_eq!(
        Cookie::new("short").expect_err("short").to_string(),
        "cookie of 5 B: expected at least 32"
    );
}

#[test]
fn a_cookie_is_never_shown() {
    assert!(!format!("{:?}", config()).contains("secret"), "{:?}", config());
}

struct Nobody;

impl Deliver for Nobody {
    fn envelopes(&self, _: &Peer, _: Vec<Envelope>) {}
    fn link_up(&self, _: &Peer) {}
    fn link_down(&self, _: &Peer) {}
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let config = LinkConfig {
        listen: address,
        ..config()
    };
    let error = Links::start(config, Arc::new(Nobody)).await.err().expect("taken");
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    assert!(std::error::Error::source(&error).is_some(), "the reason of the system");
}
