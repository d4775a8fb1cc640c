//! Tasks in Redis: prepared ones are claimed and finished, as many at a time as there are clients.
//!
//! usage: peer-redis stream|list --clients C --secs S --warm-up-secs W --size BYTES --tasks N --port P
//!
//! `stream`: a consumer group; a claim is XREADGROUP of one new entry, a finish XACK. `list`: a claim is LMOVE to a list
//! of the client's own, a finish LREM from it. N tasks are put there first; a run that uses them up is no measurement and
//! fails. One request at a time for each client, a connection each, measured after the warm-up.
//! Every figure is one line: `METRIC redis NAME VALUE UNIT PARAMETERS`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{Client, cmd, pipe};

const USAGE: &str =
    "usage: peer-redis stream|list --clients C --secs S --warm-up-secs W --size BYTES --tasks N --port P";
/// The longest latency that is told apart, in nanoseconds: a minute.
const NANOS_MAX: u64 = 60_000_000_000;
/// How many tasks one request prepares.
const TASKS_PER_REQUEST: u64 = 1_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the tasks are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Stream,
    List,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::List => "list",
        }
    }

    /// The key of the tasks.
    fn tasks(self) -> &'static str {
        match self {
            Kind::Stream => "tasks:stream",
            Kind::List => "tasks:list",
        }
    }
}

struct Arguments {
    kind: Kind,
    clients: u64,
    secs: u64,
    warm_up_secs: u64,
    size: usize,
    tasks: u64,
    port: u16,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let kind = match words.next()?.as_str() {
            "stream" => Kind::Stream,
            "list" => Kind::List,
            _ => return None,
        };
        let mut arguments = Arguments {
            kind,
            clients: 1,
            secs: 4,
            warm_up_secs: 1,
            size: 256,
            tasks: 400_000,
            port: 0,
        };
        while let Some(flag) = words.next() {
            let value = words.next()?;
            match flag.as_str() {
                "--clients" => arguments.clients = value.parse().ok().filter(|clients| *clients > 0)?,
                "--secs" => arguments.secs = value.parse().ok().filter(|secs| *secs > 0)?,
                "--warm-up-secs" => arguments.warm_up_secs = value.parse().ok()?,
                "--size" => arguments.size = value.parse().ok()?,
                "--tasks" => arguments.tasks = value.parse().ok()?,
                "--port" => arguments.port = value.parse().ok()?,
                _ => return None,
            }
        }
        (arguments.port > 0).then_some(arguments)
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
        kind,
        clients,
        secs,
        warm_up_secs,
        size,
        port,
        ..
    } = arguments;
    let server = Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let mut connection = server.get_multiplexed_async_connection().await?;
    let fsync: Vec<String> = cmd("CONFIG")
        .arg(&["GET", "appendfsync"])
        .query_async(&mut connection)
        .await?;
    prepare(arguments, &mut connection).await?;
    let started = Instant::now() + Duration::from_secs(*warm_up_secs);
    let end = started + Duration::from_secs(*secs);
    let mut tasks = Vec::new();
    for client in 0..*clients {
        let connection = server.get_multiplexed_async_connection().await?;
        let worker = Worker {
            kind: *kind,
            connection,
            name: format!("worker-{client}"),
        };
        tasks.push(tokio::spawn(worker.work(started, end)));
    }
    let (mut claims, mut both) = (histogram(), histogram());
    for task in tasks {
        let (claim, item) = task.await??;
        claims.add(claim)?;
        both.add(item)?;
    }
    let name = kind.name();
    let fsync = fsync.get(1).map_or("unknown", String::as_str);
    let parameters = format!("clients={clients} size={size} appendfsync={fsync}");
    let metric = |name: &str, value: f64, unit: &str| println!("METRIC redis {name} {value:.3} {unit} {parameters}");
    metric(&format!("{name}.tasks"), both.len() as f64 / *secs as f64, "per_s");
    for (what, latency) in [("claim", &claims), ("task", &both)] {
        for (percentile, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            let value = latency.value_at_quantile(quantile) as f64 / 1000.0;
            metric(&format!("{name}.{what}.{percentile}"), value, "us");
        }
    }
    Ok(())
}

/// Puts the tasks there.
async fn prepare(arguments: &Arguments, connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let (value, tasks) = (vec![b'x'; arguments.size], arguments.kind.tasks());
    if arguments.kind == Kind::Stream {
        let group = &["CREATE", tasks, "workers", "0", "MKSTREAM"];
        let _: () = cmd("XGROUP").arg(group).query_async(connection).await?;
    }
    let mut left = arguments.tasks;
    while left > 0 {
        let now = left.min(TASKS_PER_REQUEST);
        let mut all = pipe();
        for _ in 0..now {
            match arguments.kind {
                Kind::Stream => all.cmd("XADD").arg(&[tasks, "*", "payload"]).arg(&value).ignore(),
                Kind::List => all.cmd("LPUSH").arg(tasks).arg(&value).ignore(),
            };
        }
        let _: () = all.query_async(connection).await?;
        left -= now;
    }
    Ok(())
}

struct Worker {
    kind: Kind,
    connection: MultiplexedConnection,
    name: String,
}

impl Worker {
    /// Works until the end; the times of claims, and of claim and finish together, of the tasks finished in the span.
    async fn work(mut self, started: Instant, end: Instant) -> Result<(Histogram<u64>, Histogram<u64>), Failure> {
        let (mut claims, mut both) = (histogram(), histogram());
        while Instant::now() < end {
            let asked = Instant::now();
            let task = self.claim().await?.ok_or("all tasks were used up before the end")?;
            let claimed = asked.elapsed();
            if self.finish(&task).await? != 1 {
                return Err("a task was finished by somebody else".into());
            }
            // By its end: a task belongs to the span in which it was finished.
            if (started..end).contains(&Instant::now()) {
                claims.saturating_record(claimed.as_nanos() as u64);
                both.saturating_record(asked.elapsed().as_nanos() as u64);
            }
        }
        Ok((claims, both))
    }

    async fn claim(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let tasks = self.kind.tasks();
        match self.kind {
            Kind::Stream => {
                let mut read = cmd("XREADGROUP");
                read.arg(&["GROUP", "workers", &self.name, "COUNT", "1", "STREAMS", tasks, ">"]);
                let found: Option<StreamReadReply> = read.query_async(&mut self.connection).await?;
                let entries = found
                    .into_iter()
                    .flat_map(|found| found.keys)
                    .flat_map(|stream| stream.ids);
                Ok(entries.map(|entry| entry.id.into_bytes()).next())
            }
            Kind::List => {
                let mut take = cmd("LMOVE");
                take.arg(&[tasks, &self.name, "RIGHT", "LEFT"]);
                Ok(take.query_async(&mut self.connection).await?)
            }
        }
    }

    /// Returns how many tasks that finished.
    async fn finish(&mut self, task: &[u8]) -> Result<u64, Failure> {
        let mut finish = match self.kind {
            Kind::Stream => cmd("XACK"),
            Kind::List => cmd("LREM"),
        };
        match self.kind {
            Kind::Stream => finish.arg(&[self.kind.tasks(), "workers"]).arg(task),
            Kind::List => finish.arg(&self.name).arg(1).arg(task),
        };
        Ok(finish.query_async(&mut self.connection).await?)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are constants in order")
}
