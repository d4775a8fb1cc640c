//! Durable puts into an etcd cluster, or claims in it, as many at a time as there are clients.
//!
//! usage: peer-etcd put|claim --clients C --secs S --warm-up-secs W --size BYTES --ports P1,P2,P3
//!
//! `put`: each client writes fresh keys. `claim`: each client takes tasks that nobody else wants, by a transaction that
//! puts the owner under a key if the key was never written, without a lease: the least that a claim in etcd can be.
//! One request at a time for each client, measured after the warm-up. The clients share up to 8 connections, spread over
//! the nodes.
//! Every figure is one line: `METRIC etcd NAME VALUE UNIT PARAMETERS`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use hdrhistogram::Histogram;

const USAGE: &str = "usage: peer-etcd put|claim --clients C --secs S --warm-up-secs W --size BYTES --ports P1,P2,P3";
/// The longest latency that is told apart, in nanoseconds: a minute.
const NANOS_MAX: u64 = 60_000_000_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq)]
enum Op {
    Put,
    Claim,
}

struct Arguments {
    op: Op,
    clients: u64,
    secs: u64,
    warm_up_secs: u64,
    size: usize,
    ports: Vec<u16>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let op = match words.next()?.as_str() {
            "put" => Op::Put,
            "claim" => Op::Claim,
            _ => return None,
        };
        let mut arguments = Arguments {
            op,
            clients: 1,
            secs: 4,
            warm_up_secs: 1,
            size: 256,
            ports: Vec::new(),
        };
        while let Some(flag) = words.next() {
            let value = words.next()?;
            match flag.as_str() {
                "--clients" => arguments.clients = value.parse().ok().filter(|clients| *clients > 0)?,
                "--secs" => arguments.secs = value.parse().ok().filter(|secs| *secs > 0)?,
                "--warm-up-secs" => arguments.warm_up_secs = value.parse().ok()?,
                "--size" => arguments.size = value.parse().ok()?,
                "--ports" => arguments.ports = value.split(',').map(|port| port.parse().ok()).collect::<Option<_>>()?,
                _ => return None,
            }
        }
        (!arguments.ports.is_empty()).then_some(arguments)
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match measure(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments {
        op,
        clients,
        secs,
        warm_up_secs,
        size,
        ports,
    } = arguments;
    let mut connections = Vec::new();
    for connection in 0..(*clients).min(8) as usize {
        let endpoint = format!("127.0.0.1:{}", ports[connection % ports.len()]);
        connections.push(Client::connect([endpoint], None).await?);
    }
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now() + Duration::from_secs(*warm_up_secs);
    let end = started + Duration::from_secs(*secs);
    let mut tasks = Vec::new();
    for client in 0..*clients as usize {
        let mut store = connections[client % connections.len()].kv_client();
        let (next, value, op) = (next.clone(), vec![b'x'; *size], *op);
        tasks.push(tokio::spawn(async move {
            let mut latency = histogram();
            while Instant::now() < end {
                let key = format!("/b/{run}/{:010}", next.fetch_add(1, Ordering::Relaxed));
                let asked = Instant::now();
                match op {
                    Op::Put => drop(store.put(key, value.clone(), None).await?),
                    Op::Claim => {
                        let unclaimed = Compare::version(key.clone(), CompareOp::Equal, 0);
                        let take = TxnOp::put(key, value.clone(), None);
                        let claim = Txn::new().when([unclaimed]).and_then([take]);
                        if !store.txn(claim).await?.succeeded() {
                            return Err("a task that nobody else wants was claimed before".into());
                        }
                    }
                }
                // By its end: a request belongs to the span in which it was acknowledged.
                if (started..end).contains(&Instant::now()) {
                    latency.saturating_record(asked.elapsed().as_nanos() as u64);
                }
            }
            Ok::<_, Failure>(latency)
        }));
    }
    let mut latency = histogram();
    for task in tasks {
        latency.add(task.await??)?;
    }
    let parameters = format!(
        "clients={clients} connections={} endpoints={} size={size}",
        connections.len(),
        ports.len()
    );
    let metric = |name: &str, value: f64, unit: &str| println!("METRIC etcd {name} {value:.3} {unit} {parameters}");
    let op = match op {
        Op::Put => "put",
        Op::Claim => "claim",
    };
    metric(&format!("{op}.rate"), latency.len() as f64 / *secs as f64, "per_s");
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
        let value = latency.value_at_quantile(quantile) as f64 / 1000.0;
        metric(&format!("{op}.{name}"), value, "us");
    }
    metric(&format!("{op}.max"), latency.max() as f64 / 1000.0, "us");
    Ok(())
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are constants in order")
}
