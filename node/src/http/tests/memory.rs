use queenright_protocol::colony::{ContentHash, KEY_BYTES_MAX};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_value_comes_back_byte_for_byte_with_its_record() {
    let rig = Rig::new();
    let bytes: Vec<u8> = (0..=255).collect();
    let headers = ["queenright-agent: wörker", "queenright-tags: b,a%2Cc,a%2Cc"];
    let put = rig.call("PUT /v1/memory/bin", &headers, bytes.clone()).await;
    assert_eq!(put.json(), json!({ "seq": 1, "revision": 1 }));
    assert_eq!(put.header("etag"), "\"1\"");
    let got = rig.get("/v1/memory/bin").await;
    assert_eq!(got.body, bytes);
    assert_eq!(got.header("content-type"), "application/octet-stream");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(got.header("etag"), "\"1\"");
    assert_eq!(got.header("queenright-revision"), "1");
    assert_eq!(got.header("queenright-seq"), "1");
    assert_eq!(got.headers["queenright-author"].as_bytes(), "wörker".as_bytes());
    assert_eq!(got.header("queenright-tags"), "a%2Cc,b");
    assert_eq!(got.header("queenright-hash"), ContentHash::of(&bytes).to_string());
}

#[tokio::test]
async fn a_key_is_decoded_once_and_may_be_any_text() {
    let rig = Rig::new();
    for (path, key) in [
        ("a/b", "a/b"),
        ("a%2Fb2", "a/b2"),
        ("%2e%2e", ".."),
        ("a%252Fb", "a%2Fb"),
        ("%C3%BC%20%3F+x", "ü ?+x"),
        ("/lead//and/", "/lead//and/"),
    ] {
        rig.put(path, "v").await;
        let list = rig.get("/v1/memory").await.json();
        let keys: Vec<&str> = list["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|info| info["key"].as_str().unwrap())
            .collect();
        assert_eq!(keys, [key], "{path}");
        // Each in its own turn.
        assert_eq!(rig.get(&format!("/v1/memory/{path}")).await.body, b"v");
        rig.call(&format!("DELETE /v1/memory/{path}"), &[], "").await;
    }
    rig.put("%FF", "v").await.problem(400, "INVALID");
    rig.put("%00", "v").await.problem(400, "INVALID");
    let long = "k".repeat(5000);
    assert_eq!(
        rig.put(&long, "v").await.problem(413, "TOO_LARGE"),
        format!("key_bytes: 5000 is over the limit of {KEY_BYTES_MAX}")
    );
}

#[tokio::test]
async fn what_is_missing_says_whether_it_was_deleted() {
    let rig = Rig::new();
    let never = rig.get("/v1/memory/k").await;
    assert_eq!(never.problem(404, "NOT_FOUND"), "\"k\" was never written");
    assert_eq!(
        never.json()["details"],
        json!({ "key": "k", "revision": 0, "deleted": false })
    );
    rig.put("k", "v").await;
    let deleted = rig.call("DELETE /v1/memory/k", &["if-match: \"1\""], "").await;
    assert_eq!(deleted.json()["revision"], 2);
    let gone = rig.get("/v1/memory/k").await;
    assert_eq!(
        gone.problem(404, "NOT_FOUND"),
        "\"k\" was deleted by \"http\" at revision 2"
    );
    assert_eq!(
        gone.json()["details"],
        json!({ "key": "k", "revision": 2, "deleted": true })
    );
}

#[tokio::test]
async fn conditions_that_do_not_hold_change_nothing() {
    let rig = Rig::new();
    let put = async |header: &str, value: &'static str| rig.call("PUT /v1/memory/k", &[header], value).await;
    assert_eq!(put("if-none-match: *", "1").await.status, StatusCode::OK);
    let present = put("if-none-match: *", "2").await;
    present.problem(412, "CONFLICT");
    assert_eq!(
        present.json()["details"],
        json!({ "key": "k", "revision": 1, "present": true })
    );
    let stale = put("if-match: \"7\"", "2").await;
    assert_eq!(
        stale.problem(412, "CONFLICT"),
        "\"k\" has a value and is at revision 1; nothing was changed"
    );
    assert_eq!(rig.get("/v1/memory/k").await.body, b"1");
    assert_eq!(put("if-match: \"1\"", "2").await.json()["revision"], 2);
    put("if-match: *", "3").await.problem(400, "INVALID");
    put("if-match: W/\"2\"", "3").await.problem(400, "INVALID");
    put("if-none-match: \"2\"", "3").await.problem(400, "INVALID");
}

#[tokio::test]
async fn a_repeat_under_one_idempotency_key_takes_effect_once() {
    let rig = Rig::new();
    let put = async |value: &'static str| rig.call("PUT /v1/memory/k", &["idempotency-key: once"], value).await;
    let first = put("v").await.json();
    assert_eq!(put("v").await.json(), first);
    put("w").await.problem(422, "IDEMPOTENCY_KEY_CONFLICT");
    assert_eq!(rig.get("/v1/memory/k").await.header("etag"), "\"1\"");
}

#[tokio::test]
async fn operations_that_commute() {
    let rig = Rig::new();
    let change = async |key: &str, op: Value| rig.post("/v1/memory:change", json!({ "key": key, "op": op })).await;
    change("n", json!({ "increment": 5 })).await;
    change("n", json!({ "max": 3 })).await;
    assert_eq!(change("n", json!({ "increment": -1 })).await.json()["revision"], 3);
    assert_eq!(rig.get("/v1/memory/n").await.body, b"4");
    change("s", json!({ "set_add": "b" })).await;
    change("s", json!({ "set_add": "a" })).await;
    assert_eq!(rig.get("/v1/memory/s").await.body, b"a\nb");
    change("l", json!({ "append": "x" })).await;
    change("l", json!({ "append_base64": "/w==" })).await;
    assert_eq!(rig.get("/v1/memory/l").await.body, b"x\xff");
    change("l", json!({ "increment": 1 })).await.problem(422, "WRONG_TYPE");
}

#[tokio::test]
async fn a_list_is_read_in_pages() {
    let rig = Rig::new();
    for key in ["a", "p/1", "p/2", "p/3", "q"] {
        rig.put(key, key).await;
    }
    rig.call("DELETE /v1/memory/p%2F2", &[], "").await;
    let page = async |query: &str| {
        let list = rig.get(&format!("/v1/memory?{query}")).await.json();
        let keys = list["keys"].as_array().unwrap();
        let keys: Vec<String> = keys
            .iter()
            .map(|info| info["key"].as_str().unwrap().to_owned())
            .collect();
        (keys.join(" "), list["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page("").await, ("a p/1 p/3 q".to_owned(), None));
    assert_eq!(
        page("prefix=p/&limit=1").await,
        ("p/1".to_owned(), Some("p/2".to_owned()))
    );
    assert_eq!(page("prefix=p/&limit=1&after=p/2").await, ("p/3".to_owned(), None));
    assert_eq!(
        page("prefix=p/&deleted=true&limit=2").await,
        ("p/1 p/2".to_owned(), Some("p/2".to_owned()))
    );
    assert_eq!(page("project=other").await, (String::new(), None));

    let list = rig.get("/v1/memory?values=true&prefix=q").await.json();
    let info = json!({
        "key": "q", "revision": 1, "bytes": 1, "hash": ContentHash::of(b"q").to_string(), "tags": [],
        "author": "http", "seq": 5, "value": "q",
    });
    assert_eq!(list, json!({ "keys": [info], "seq": 6, "index": 6 }));
}

#[tokio::test]
async fn a_list_carries_no_more_values_than_a_body_may_have() {
    let rig = Rig::with(DoorLimits {
        body_bytes: 10,
        ..DoorLimits::default()
    });
    for key in ["a", "b", "c"] {
        rig.put(key, "12345678").await;
    }
    let list = rig.get("/v1/memory?values=true").await.json();
    assert_eq!(
        (list["keys"].as_array().unwrap().len(), &list["next"]),
        (1, &json!("a"))
    );
}

#[tokio::test]
async fn projects_do_not_see_each_other() {
    let rig = Rig::new();
    rig.call("PUT /v1/projects/one/memory/k", &[], "1").await;
    rig.call("PUT /v1/memory/k?project=two", &[], "2").await;
    assert_eq!(rig.get("/v1/memory/k?project=one").await.body, b"1");
    assert_eq!(rig.get("/v1/projects/two/memory/k").await.body, b"2");
    rig.get("/v1/memory/k").await.problem(404, "NOT_FOUND");
    let bad = rig.call("PUT /v1/memory/k?project=a/b", &[], "").await;
    assert_eq!(
        bad.problem(400, "INVALID"),
        "project: is empty, or has a slash or a control character"
    );
}
