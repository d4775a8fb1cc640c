//! Telling a collector of traces: OTLP over HTTP, in protobuf.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status};
use prost::Message as _;
use queenright_actors::trace::{ExportCounts, Sink, Span, TraceId, TraceRecord, spans};
use reqwest::{Client, Url};
use tokio::sync::mpsc;
use tokio_rustls::rustls;

use crate::worker::post::trusts;

/// How many traces may wait for the collector; beyond, the newest are dropped and counted.
const WAITING_MAX: usize = 1_024;
/// How many go in one request.
const BATCH_MAX: usize = 128;
/// How long more is waited for before a request goes.
const LINGER: Duration = Duration::from_millis(500);
/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a batch is tried, and after how long again.
const TRIES: u32 = 3;
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a collector cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// What the system trusts cannot be read.
    #[error("the authorities of the system")]
    Trust(#[from] rustls::Error),
    /// The client could not be made.
    #[error("the client of the collector")]
    Client(#[from] reqwest::Error),
}

/// Tells a collector.
pub struct Exporter {
    url: Url,
    client: Client,
    cluster: String,
    waiting: mpsc::Receiver<TraceRecord>,
    counts: Arc<ExportCounts>,
}

impl Exporter {
    /// One that sends to `url`, for the cluster of this name; and what hands it traces.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn new(url: Url, cluster: &str) -> Result<(Exporter, Sink), ExportError> {
        let client = Client::builder()
            .tls_backend_preconfigured(trusts(url.scheme() == "https")?)
            // It goes where the cluster file says, whatever the environment of the node says.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let counts = Arc::new(ExportCounts::default());
        let dropped = counts.clone();
        let take = move |record: &TraceRecord| {
            if sender.try_send(record.clone()).is_err() {
                dropped.dropped.fetch_add(1, Ordering::Relaxed);
            }
        };
        let sink = Sink {
            take: Box::new(take),
            counts: counts.clone(),
        };
        let exporter = Exporter {
            url,
            client,
            cluster: cluster.to_owned(),
            waiting,
            counts,
        };
        Ok((exporter, sink))
    }

    /// Sends what there is for as long as it is polled.
    pub async fn run(mut self) {
        // Said once for each time that the collector does not answer.
        let mut failing = false;
        while let Some(first) = self.waiting.recv().await {
            let mut batch = vec![first];
            tokio::time::sleep(LINGER).await;
            while let Ok(next) = self.waiting.try_recv() {
                batch.push(next);
                if batch.len() == BATCH_MAX {
                    break;
                }
            }
            let count = batch.len() as u64;
            match self.send(&batch).await {
                Ok(()) => {
                    self.counts.exported.fetch_add(count, Ordering::Relaxed);
                    failing = false;
                }
                Err(error) => {
                    self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(url = %self.url, %error, "the collector of traces takes none: they are dropped");
                    }
                }
            }
        }
    }

    async fn send(&self, batch: &[TraceRecord]) -> Result<(), reqwest::Error> {
        let body = request(&self.cluster, batch).encode_to_vec();
        let mut tried = 0;
        loop {
            tried += 1;
            let sent = self
                .client
                .post(self.url.clone())
                .header("content-type", "application/x-protobuf")
                .timeout(TIMEOUT)
                .body(body.clone())
                .send()
                .await;
            let result = sent.and_then(reqwest::Response::error_for_status);
            // What it does not understand it will not understand again.
            let again = match &result {
                Ok(_) => false,
                Err(error) => error
                    .status()
                    .is_none_or(|status| status.is_server_error() || status.as_u16() == 429),
            };
            if !again || tried == TRIES {
                return result.map(drop);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// The message that tells of these requests: a resource for each node.
fn request(cluster: &str, batch: &[TraceRecord]) -> ExportTraceServiceRequest {
    let mut by_node: BTreeMap<String, Vec<OtlpSpan>> = BTreeMap::new();
    for record in batch {
        for span in spans(record) {
            let server = span.span == record.span;
            let told = told(record.trace, &span, server);
            by_node.entry(span.node).or_default().push(told);
        }
    }
    let resources = by_node.into_iter().map(|(node, spans)| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![
                attribute("service.name", "queenright"),
                attribute("service.namespace", cluster),
                attribute("service.instance.id", &node),
                attribute("service.version", env!("CARGO_PKG_VERSION")),
            ],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "queenright".to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest {
        resource_spans: resources.collect(),
    }
}

fn told(trace: TraceId, span: &Span, server: bool) -> OtlpSpan {
    let kind = if server { SpanKind::Server } else { SpanKind::Internal };
    let code = if span.error {
        StatusCode::Error
    } else {
        StatusCode::Unset
    };
    OtlpSpan {
        trace_id: trace.bytes().to_vec(),
        span_id: span.span.bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: kind as i32,
        start_time_unix_nano: span.begin_us.saturating_mul(1_000),
        end_time_unix_nano: span.end_us.saturating_mul(1_000),
        attributes: span
            .attributes
            .iter()
            .map(|(name, value)| attribute(name, value))
            .collect(),
        status: Some(Status {
            code: code as i32,
            ..Status::default()
        }),
        ..OtlpSpan::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}
