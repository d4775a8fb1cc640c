//! Puts, tasks and messages of NATS, by as many clients at a time as are told, a connection each.
//!
//! usage: peer-nats put|tasks|oneway|request --clients C --secs S --warm-up-secs W --size BYTES --count N --ports P,P[,P]
//!
//! `put`: publishes to a stream of files with three replicas, one under way for each client. `tasks`: a work queue of N
//! prepared messages; a claim is a fetch of one, a finish its confirmed acknowledgement; a run that uses them up is no
//! measurement and fails. `oneway`: N messages from clients of the first node to one subscriber each on the second one.
//! `request`: requests from the first node to a responder on the second. JetStream of this line answers before its files are
//! synced: what it acknowledges is in the memory of a majority.
//! Every figure is one line: `METRIC nats NAME VALUE UNIT PARAMETERS`.

use std::future::IntoFuture as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::stream::{Config as StreamConfig, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::try_join_all;
use hdrhistogram::Histogram;

const USAGE: &str = "usage: peer-nats put|tasks|oneway|request --clients C --secs S --warm-up-secs W --size BYTES --count N \
                     --ports P,P[,P]";
/// The longest latency that is told apart, in nanoseconds: a minute.
const NANOS_MAX: u64 = 60_000_000_000;
/// How many publishes are under way while tasks are prepared.
const PREPARED_AT_ONCE: usize = 256;
/// How long a cluster may take until its streams have a leader, and a message until it has come.
const WITHIN: Duration = Duration::from_secs(20);
const COMES_WITHIN: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Arguments {
    operation: String,
    clients: u64,
    secs: u64,
    warm_up_secs: u64,
    size: usize,
    count: u64,
    ports: Vec<u16>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let mut arguments = Arguments {
            operation: words.next()?,
            clients: 1,
            secs: 4,
            warm_up_secs: 1,
            size: 128,
            count: 100_000,
            ports: Vec::new(),
        };
        while let Some(flag) = words.next() {
            let value = words.next()?;
            match flag.as_str() {
                "--clients" => arguments.clients = value.parse().ok().filter(|clients| *clients > 0)?,
                "--secs" => arguments.secs = value.parse().ok().filter(|secs| *secs > 0)?,
                "--warm-up-secs" => arguments.warm_up_secs = value.parse().ok()?,
                "--size" => arguments.size = value.parse().ok()?,
                "--count" => arguments.count = value.parse().ok()?,
                "--ports" => arguments.ports = value.split(',').map(|port| port.parse().ok()).collect::<Option<_>>()?,
                _ => return None,
            }
        }
        (arguments.ports.len() > 1).then_some(arguments)
    }

    async fn connect(&self, place: u64) -> Result<Client, Failure> {
        let port = self.ports[place as usize % self.ports.len()];
        let options = ConnectOptions::new()
            .subscription_capacity(1 << 20)
            .client_capacity(1 << 16);
        Ok(options.connect(format!("127.0.0.1:{port}")).await?)
    }

    /// The span that is measured.
    fn span(&self) -> (Instant, Instant) {
        let started = Instant::now() + Duration::from_secs(self.warm_up_secs);
        (started, started + Duration::from_secs(self.secs))
    }

    fn payload(&self) -> Bytes {
        Bytes::from(vec![b'x'; self.size])
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)).map(Arc::new) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let measured = match arguments.operation.as_str() {
        "put" => put(&arguments).await,
        "tasks" => tasks(&arguments).await,
        "oneway" => oneway(&arguments).await,
        "request" => request(&arguments).await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn metric(name: &str, value: f64, unit: &str, parameters: &str) {
    println!("METRIC nats {name} {value:.3} {unit} {parameters}");
}

/// The rate over the measured span and the percentiles of a latency.
fn report(name: &str, latency: &Histogram<u64>, arguments: &Arguments, parameters: &str) {
    metric(
        &format!("{name}.rate"),
        latency.len() as f64 / arguments.secs as f64,
        "per_s",
        parameters,
    );
    percentiles(name, latency, parameters);
}

fn percentiles(name: &str, latency: &Histogram<u64>, parameters: &str) {
    for (percentile, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let value = latency.value_at_quantile(quantile) as f64 / 1000.0;
        metric(&format!("{name}.{percentile}"), value, "us", parameters);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are constants in order")
}

/// A stream of files with three replicas, as soon as the cluster can make one.
async fn stream(context: &Context, retention: RetentionPolicy) -> Result<Stream, Failure> {
    let config = StreamConfig {
        name: "peers".to_owned(),
        subjects: vec!["peers.>".to_owned()],
        retention,
        storage: StorageType::File,
        num_replicas: 3,
        ..StreamConfig::default()
    };
    let started = Instant::now();
    loop {
        match context.create_stream(config.clone()).await {
            Ok(stream) => return Ok(stream),
            Err(error) if started.elapsed() > WITHIN => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn put(arguments: &Arc<Arguments>) -> Result<(), Failure> {
    let context = jetstream::new(arguments.connect(0).await?);
    stream(&context, RetentionPolicy::Limits).await?;
    let (started, end) = arguments.span();
    let clients = (0..arguments.clients).map(|client| {
        let (arguments, payload) = (arguments.clone(), arguments.payload());
        tokio::spawn(async move {
            let context = jetstream::new(arguments.connect(client).await?);
            let mut latency = histogram();
            let mut sent = 0u64;
            while Instant::now() < end {
                let asked = Instant::now();
                let subject = format!("peers.{client}.{sent}");
                context.publish(subject, payload.clone()).await?.await?;
                sent += 1;
                if (started..end).contains(&Instant::now()) {
                    latency.saturating_record(asked.elapsed().as_nanos() as u64);
                }
            }
            Ok::<_, Failure>(latency)
        })
    });
    let mut all = histogram();
    for latency in try_join_all(clients).await? {
        all.add(latency?)?;
    }
    let parameters = format!(
        "clients={} size={} replicas=3 sync=later",
        arguments.clients, arguments.size
    );
    report("put", &all, arguments, &parameters);
    Ok(())
}

async fn tasks(arguments: &Arc<Arguments>) -> Result<(), Failure> {
    let context = jetstream::new(arguments.connect(0).await?);
    let stream = stream(&context, RetentionPolicy::WorkQueue).await?;
    let mut under_way = futures::stream::FuturesUnordered::new();
    for _ in 0..arguments.count {
        if under_way.len() >= PREPARED_AT_ONCE {
            let acknowledged: Option<Result<_, _>> = under_way.next().await;
            acknowledged.transpose()?;
        }
        let published = context.publish("peers.tasks", arguments.payload()).await?;
        under_way.push(published.into_future());
    }
    while let Some(acknowledged) = under_way.next().await {
        acknowledged?;
    }
    let config = PullConfig {
        durable_name: Some("workers".to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 100_000,
        ..PullConfig::default()
    };
    stream.create_consumer(config).await?;
    let (started, end) = arguments.span();
    let clients = (0..arguments.clients).map(|client| {
        let arguments = arguments.clone();
        tokio::spawn(async move {
            let context = jetstream::new(arguments.connect(client).await?);
            let consumer: PullConsumer = context.get_consumer_from_stream("workers", "peers").await?;
            let (mut claims, mut both) = (histogram(), histogram());
            while Instant::now() < end {
                let asked = Instant::now();
                let mut fetched = consumer
                    .fetch()
                    .max_messages(1)
                    .expires(COMES_WITHIN)
                    .messages()
                    .await?;
                let task = fetched.next().await.ok_or("all tasks were used up before the end")??;
                let claimed = asked.elapsed();
                task.double_ack().await?;
                if (started..end).contains(&Instant::now()) {
                    claims.saturating_record(claimed.as_nanos() as u64);
                    both.saturating_record(asked.elapsed().as_nanos() as u64);
                }
            }
            Ok::<_, Failure>((claims, both))
        })
    });
    let (mut claims, mut both) = (histogram(), histogram());
    for client in try_join_all(clients).await? {
        let (claim, task) = client?;
        claims.add(claim)?;
        both.add(task)?;
    }
    let parameters = format!(
        "clients={} size={} replicas=3 sync=later",
        arguments.clients, arguments.size
    );
    report("task", &both, arguments, &parameters);
    percentiles("claim", &claims, &parameters);
    Ok(())
}

async fn oneway(arguments: &Arc<Arguments>) -> Result<(), Failure> {
    let each = arguments.count / arguments.clients;
    let mut receivers = Vec::new();
    let mut senders = Vec::new();
    for client in 0..arguments.clients {
        let there = arguments.connect(1).await?;
        let subject = format!("peers.{client}");
        let mut subscriber = there.subscribe(subject.clone()).await?;
        there.flush().await?;
        let sender = arguments.connect(0).await?;
        // The other node must know of the subscriber before anything is counted.
        let asked = Instant::now();
        loop {
            sender.publish(subject.clone(), Bytes::new()).await?;
            sender.flush().await?;
            match tokio::time::timeout(Duration::from_millis(100), subscriber.next()).await {
                Ok(Some(_)) => break,
                _ if asked.elapsed() > WITHIN => return Err("the other node has no subscriber".into()),
                _ => {}
            }
        }
        receivers.push((there, subscriber));
        senders.push((sender, subject));
    }
    let began = Instant::now();
    let receiving = receivers.into_iter().map(|(there, mut subscriber)| {
        tokio::spawn(async move {
            let mut got = 0;
            while got < each {
                match tokio::time::timeout(COMES_WITHIN, subscriber.next()).await {
                    // Those that were sent to see whether it is known may come late.
                    Ok(Some(message)) if message.payload.is_empty() => {}
                    Ok(Some(_)) => got += 1,
                    _ => break,
                }
            }
            drop(there);
            (got, Instant::now())
        })
    });
    let receiving: Vec<_> = receiving.collect();
    let sending = senders.into_iter().map(|(sender, subject)| {
        let payload = arguments.payload();
        tokio::spawn(async move {
            for _ in 0..each {
                sender.publish(subject.clone(), payload.clone()).await?;
            }
            sender.flush().await?;
            Ok::<_, Failure>(sender)
        })
    });
    let sending: Vec<_> = sending.collect();
    let (mut got, mut last) = (0, began);
    for received in receiving {
        let (received, at) = received.await?;
        got += received;
        last = last.max(at);
    }
    for sent in sending {
        sent.await??;
    }
    let lost = each * arguments.clients - got;
    let parameters = format!("senders={} size={} lost={lost}", arguments.clients, arguments.size);
    metric(
        "oneway.delivered",
        got as f64 / (last - began).as_secs_f64(),
        "per_s",
        &parameters,
    );
    Ok(())
}

async fn request(arguments: &Arc<Arguments>) -> Result<(), Failure> {
    let there = arguments.connect(1).await?;
    let mut asked = there.subscribe("peers.asked").await?;
    there.flush().await?;
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            if let Some(reply) = message.reply {
                let _ = there.publish(reply, message.payload).await;
            }
        }
    });
    // Until the other node knows of it there is nobody who answers.
    let first = arguments.connect(0).await?;
    let began = Instant::now();
    while first.request("peers.asked", arguments.payload()).await.is_err() {
        if began.elapsed() > WITHIN {
            return Err("nobody answers".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (started, end) = arguments.span();
    let callers = (0..arguments.clients).map(|_| {
        let (arguments, payload) = (arguments.clone(), arguments.payload());
        tokio::spawn(async move {
            let client = arguments.connect(0).await?;
            let mut latency = histogram();
            while Instant::now() < end {
                let asked = Instant::now();
                client.request("peers.asked", payload.clone()).await?;
                if (started..end).contains(&Instant::now()) {
                    latency.saturating_record(asked.elapsed().as_nanos() as u64);
                }
            }
            Ok::<_, Failure>(latency)
        })
    });
    let mut all = histogram();
    for latency in try_join_all(callers).await? {
        all.add(latency?)?;
    }
    let parameters = format!("callers={} size={}", arguments.clients, arguments.size);
    report("request", &all, arguments, &parameters);
    Ok(())
}
