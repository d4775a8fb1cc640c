use std::time::Duration;

use super::request::path_of;
use super::*;

#[test]
fn a_key_is_one_segment_of_the_path() {
    let check = |key: &str, path: &str| assert_eq!(path_of("/v1/memory", "the key", key).unwrap(), path);
    check("plan", "/v1/memory/plan");
    check("a/../b", "/v1/memory/a%2F..%2Fb");
    check("100%", "/v1/memory/100%25");
    check("ü ?#", "/v1/memory/%C3%BC%20%3F%23");
    for key in ["", ".", ".."] {
        assert!(path_of("/v1/memory", "the key", key).is_err(), "{key:?}");
    }
}

#[test]
fn the_path_of_a_key_survives_the_parser_of_urls() {
    for key in ["a/../b", "../x", "a//b", "/", "%2e", "ü ?#&\\"] {
        let path = path_of("/v1/memory", "the key", key).unwrap();
        let url = Url::parse(&format!("http://127.0.0.1:1{path}")).unwrap();
        assert_eq!(url.path(), path, "{key:?}");
    }
}

#[test]
fn tags_come_back_sorted_from_their_header() {
    let check = |tags: &[&str], header: &str| {
        assert_eq!(encode_tags(tags), header);
        let mut sorted: Vec<&str> = tags.to_vec();
        sorted.sort_unstable();
        assert_eq!(
            decode_tags(header).iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            sorted
        );
    };
    check(&["b", "a"], "b,a");
    check(&["x,y", "100%", " z"], "x%2Cy,100%25,%20z");
    check(&["ü"], "%C3%BC");
    assert_eq!(decode_tags(" b , a,,a"), sorted(&["a", "b"]));
}

fn sorted(tags: &[&str]) -> Vec<std::sync::Arc<str>> {
    wire::sorted_tags(tags)
}

#[test]
fn an_address_without_http_is_refused_before_anything_is_sent() {
    for address in [
        "127.0.0.1:7201",
        "https://127.0.0.1:7201",
        "http://",
        "http://localhost:1/v1",
        "",
    ] {
        let error = Client::new(address, ClientOptions::default()).unwrap_err();
        assert!(matches!(error, ClientError::Unsendable { .. }), "{address:?}: {error}");
    }
    assert_eq!(
        Client::new("http://127.0.0.1:7201/", ClientOptions::default())
            .unwrap()
            .base_url(),
        "http://127.0.0.1:7201"
    );
}

#[test]
fn a_token_is_never_shown() {
    let options = ClientOptions {
        bearer: Some(Bearer::new("qr_secret").unwrap()),
        ..ClientOptions::default()
    };
    let client = Client::new("http://127.0.0.1:7201", options.clone()).unwrap();
    let shown = format!("{options:?} {client:?}");
    assert!(!shown.contains("qr_secret"), "{shown}");
    let error = Bearer::new("qr secret\n").unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_changed_nothing() {
    // Held, so that no other test listens there meanwhile.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap();
    let client = Client::new(&format!("http://{address}"), ClientOptions::default()).unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn silence_is_a_timeout_and_leaves_the_outcome_unknown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ClientOptions {
        timeout: Duration::from_millis(1),
        ..ClientOptions::default()
    };
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), options).unwrap();
    let error = client.put("k", "v".into(), &PutOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { waited_ms: 1, .. }), "{error}");
    assert!(error.outcome_unknown());
}
