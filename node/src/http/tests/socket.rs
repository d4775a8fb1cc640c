//! Client and door over a real socket.

use std::time::Duration;

use futures::StreamExt as _;
use queenright_actors::agent::{AgentFilter, AgentOrder, AgentSpec, AgentState, RestartPolicy};
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{
    BatchRequest, BatchVerdict, ChangeOp, ChangeRequest, Code, ProposalOutcome, ProposalRequest, ReadRequest, WireWhat,
    WriteRequest,
};
use queenright_bench::client::{Client, ClientError, ClientOptions, Filter, Guard, ListQuery, Lookup, PutOptions};
use queenright_protocol::conflict::Policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::http::connection::HEAD_WITHIN;
use crate::http::{DoorError, serve_backend};

pub(super) struct Served {
    pub(super) client: Client,
    pub(super) alone: Arc<Alone>,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) door: JoinHandle<Result<(), DoorError>>,
}

pub(super) async fn served(limits: DoorLimits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let alone = Arc::new(Alone::default());
    let backend = alone.clone();
    let door = tokio::spawn(async move {
        let shutdown = async {
            if stopped.await.is_err() {
                // The test does not mean to stop it.
                std::future::pending().await
            }
        };
        serve_backend(listener, backend, limits, DoorAccess::default(), drop, shutdown).await
    });
    let options = ClientOptions {
        agent: "tester".to_owned(),
        ..ClientOptions::default()
    };
    Served {
        client: Client::new(&url, options).unwrap(),
        alone,
        stop,
        door,
    }
}

#[tokio::test]
async fn the_client_reads_what_it_wrote() {
    let Served { client, .. } = served(DoorLimits::default()).await;
    client.ready().await.unwrap();
    let client = client.in_project("prøject");
    let options = PutOptions {
        tags: vec!["x,y".to_owned(), "a".to_owned()],
        guard: Guard::IfAbsent,
        idempotency_key: Some("once".to_owned()),
    };
    for key in ["a/../b", "ü ?#%2F", "//"] {
        assert_eq!(
            client.get(key, Consistency::Linearizable).await.unwrap(),
            Lookup::Absent { revision: 0 }
        );
        let value = bytes::Bytes::from(vec![0xff; 100_000]);
        let options = PutOptions {
            idempotency_key: Some(key.len().to_string()),
            ..options.clone()
        };
        let changed = client.put(key, value.clone(), &options).await.unwrap();
        assert_eq!(
            client.put(key, value.clone(), &options).await.unwrap(),
            changed,
            "a repeat"
        );
        let Lookup::Found(found) = client.get(key, Consistency::Local).await.unwrap() else {
            panic!("{key} is absent")
        };
        assert_eq!(
            (found.value, found.revision, found.seq),
            (value, changed.revision, changed.seq)
        );
        assert_eq!(found.author, "tester");
        assert_eq!(
            found.tags.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            ["a", "x,y"]
        );
    }
    let list = client
        .list(&ListQuery {
            values: true,
            prefix: "a".to_owned(),
            ..ListQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(list.keys[0].value_bytes().unwrap().unwrap().len(), 100_000);
    client.delete("//", &PutOptions::default()).await.unwrap();
    assert_eq!(
        client.get("//", Consistency::Linearizable).await.unwrap(),
        Lookup::Absent { revision: 2 }
    );
}

#[tokio::test]
async fn problems_arrive_as_such() {
    let Served { client, .. } = served(DoorLimits {
        value_bytes: 1000,
        ..DoorLimits::default()
    })
    .await;
    let guarded = PutOptions {
        guard: Guard::IfRevision(7),
        ..PutOptions::default()
    };
    let error = client.put("k", "v".into(), &guarded).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Conflict));
    // Far more than the sockets buffer: the answer must not be lost to a reset.
    let large = bytes::Bytes::from(vec![0; 20 << 20]);
    let error = client.put("k", large, &PutOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "value_bytes: 20971520 is over the limit of 1000");
    let error = client.agent("nobody").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));
}

#[tokio::test]
async fn proposals_and_changes_through_the_client() {
    let Served { client, .. } = served(DoorLimits::default()).await;
    let change = ChangeRequest {
        key: "n".to_owned(),
        op: ChangeOp::Increment(3),
        tags: Vec::new(),
        if_revision: None,
        if_absent: false,
    };
    assert_eq!(client.change(&change, None).await.unwrap().revision, 1);
    let proposal = ProposalRequest {
        reads: vec![ReadRequest {
            key: "n".to_owned(),
            revision: 1,
            ..ReadRequest::default()
        }],
        writes: vec![WriteRequest {
            key: "n".to_owned(),
            put: Some("x".to_owned()),
            ..WriteRequest::default()
        }],
        ..ProposalRequest::default()
    };
    let committed = client.propose(&proposal, None).await.unwrap();
    assert_eq!(
        committed,
        ProposalOutcome::Committed {
            seq: 2,
            revisions: vec![2],
            merged: vec![],
        }
    );
    let ProposalOutcome::Lost(loss) = client.propose(&proposal, None).await.unwrap() else {
        panic!("a read that no longer holds")
    };
    assert_eq!((loss.total, &*loss.reread[0].key, loss.reread[0].revision), (1, "n", 2));
    let batch = BatchRequest {
        policy: Policy::Reject,
        proposals: vec![proposal.clone(), ProposalRequest::default()],
    };
    let judged = client.propose_batch(&batch, None).await.unwrap();
    assert!(matches!(judged.verdicts[0], BatchVerdict::Lost(_)), "{judged:?}");
}

#[tokio::test]
async fn agents_through_the_client() {
    let Served { client, .. } = served(DoorLimits::default()).await;
    let spec = AgentSpec {
        name: "a b%2f".to_owned(),
        kind: "echo".to_owned(),
        arguments: serde_json::Value::Null,
        restart: RestartPolicy::never(),
        ..AgentSpec::default()
    };
    let status = client.spawn_agent(&spec).await.unwrap();
    assert_eq!(client.agents().await.unwrap(), std::slice::from_ref(&status));
    assert_eq!(client.agent(&spec.name).await.unwrap(), status);
    let paused = client.order_agent(&spec.name, AgentOrder::Pause).await.unwrap();
    assert_eq!(paused.state, AgentState::Paused);
    let other = AgentSpec {
        name: "b".to_owned(),
        ..spec.clone()
    };
    client.spawn_agent(&other).await.unwrap();
    let page = AgentFilter {
        limit: Some(1),
        ..AgentFilter::default()
    };
    let page = client.agents_page(&page).await.unwrap();
    assert_eq!((page.agents.len(), page.next.as_ref()), (1, Some(&spec.name)));
    assert_eq!(client.agents().await.unwrap().len(), 2);
    client.stop_agent(&spec.name).await.unwrap();
    assert_eq!(client.status().await.unwrap().cluster, "alone");
}

#[tokio::test]
async fn a_stream_of_events_goes_on_where_it_was() {
    let Served { client, stop, door, .. } = served(DoorLimits::default()).await;
    for key in ["a", "b", "c"] {
        client.put(key, "1".into(), &PutOptions::default()).await.unwrap();
    }
    let keys = async |after: Option<&str>, count: usize| {
        let after = after.map(|after| after.parse().unwrap());
        let events = client.events_follow(after, Filter::default()).take(count);
        let events: Vec<_> = events.map(Result::unwrap).collect().await;
        let key = |what: &WireWhat| match what {
            WireWhat::Changed { key, .. } => key.to_string(),
            other => format!("{other:?}"),
        };
        events.iter().map(|event| key(&event.what)).collect::<Vec<_>>()
    };
    assert_eq!(keys(None, 2).await, ["a", "b"]);
    let (followed, _) = tokio::join!(keys(Some("2.0"), 2), async {
        client.put("d", "1".into(), &PutOptions::default()).await.unwrap()
    });
    assert_eq!(followed, ["c", "d"]);
    let error = client
        .events_follow(Some("9".parse().unwrap()), Filter::default())
        .next()
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::CursorAhead));

    stop.send(()).unwrap();
    door.await.unwrap().unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_not_served() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let served = serve_backend(
        listener,
        Arc::new(Alone::default()),
        DoorLimits::default(),
        DoorAccess::default(),
        drop,
        std::future::pending(),
    );
    let error = served.await.unwrap_err();
    assert!(matches!(error, DoorError::NotLoopback { .. }), "{error}");
}

/// Time goes on by itself when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_connection_without_the_whole_head_of_a_request_is_ended_and_one_that_waits_for_its_answer_is_not() {
    let Served { client, .. } = served(DoorLimits::default()).await;
    let address = client.base_url().strip_prefix("http://").unwrap();
    let ended_after = async |sent: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        stream.write_all(sent.as_bytes()).await.unwrap();
        // Whether by an end or by a reset.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        begun.elapsed()
    };
    let bound = HEAD_WITHIN..HEAD_WITHIN + Duration::from_secs(1);
    let silent = ended_after("").await;
    assert!(bound.contains(&silent), "{silent:?}");
    let half = ended_after("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n").await;
    assert!(bound.contains(&half), "{half:?}");
    let idle = ended_after("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert!(bound.contains(&idle), "{idle:?}");
    let followed = "GET /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n";
    let followed = tokio::time::timeout(HEAD_WITHIN * 3, ended_after(followed)).await;
    assert!(followed.is_err(), "{followed:?}");
}
