//! Messages between two processes by ractor_cluster as it is: one way, calls, and calls of many callers; and actors of one
//! process, started one after the other.
//!
//! usage: peer-ractor server PORT | peer-ractor client PORT OWN_PORT | peer-ractor spawn COUNT
//!
//! The server serves one actor at PORT on loopback until it is ended; the client listens at OWN_PORT and sends to that
//! actor. 20,000 calls of one caller, 200,000 of 100, then 500,000 messages one way by 1 sender and by 8, to the one actor;
//! a message counts when the actor has taken it. Nothing bounds what is on its way: `rss` is the memory of the client then.
//! `spawn` starts COUNT actors, one after the other, as a supervisor does, and says how much memory each has: the growth of the
//! resident memory; then 1,000 tokens go round among them, each passed on 1,000 times; then they are ended, and as many are
//! started `again`. Every figure is one line: `METRIC ractor_cluster NAME VALUE UNIT PARAMETERS`.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, pg};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{IncomingEncryptionMode, NodeServer, NodeServerMessage, RactorClusterMessage};
use tokio::sync::mpsc;

const USAGE: &str = "usage: peer-ractor server PORT | peer-ractor client PORT OWN_PORT | peer-ractor spawn COUNT";
const BYTES: usize = 128;
const CALLS: u64 = 20_000;
const WARM_UP: u64 = 500;
const CALLERS: u64 = 100;
const CALLS_OF_MANY: u64 = 200_000;
const ONE_WAY: u64 = 500_000;
/// Tokens among many actors, and how often each is passed on.
const TOKENS: u64 = 1_000;
const HOPS: u64 = 1_000;
/// The group in which the client finds the actor.
const GROUP: &str = "peer";
/// The longest latency that is told apart, in nanoseconds: a minute.
const NANOS_MAX: u64 = 60_000_000_000;
const WITHIN: Duration = Duration::from_secs(60);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(RactorClusterMessage)]
enum Message {
    Tell(Vec<u8>),
    #[rpc]
    Echo(Vec<u8>, RpcReplyPort<Vec<u8>>),
    #[rpc]
    Told(RpcReplyPort<u64>),
}

/// Counts what it is told.
struct Counter;

impl Actor for Counter {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Message>, (): ()) -> Result<u64, ActorProcessingErr> {
        pg::join(GROUP.to_owned(), vec![me.get_cell()]);
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        told: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(body) => {
                std::hint::black_box(body);
                *told += 1;
            }
            // Whoever asked may be gone.
            Message::Echo(body, port) => drop(port.send(body)),
            Message::Told(port) => drop(port.send(*told)),
        }
        Ok(())
    }
}

async fn node(port: u16, name: &str) -> Result<ActorRef<NodeServerMessage>, Failure> {
    let server = NodeServer::new(
        port,
        "peer".to_owned(),
        name.to_owned(),
        "localhost".to_owned(),
        Some(IncomingEncryptionMode::Raw),
        Some(NodeConnectionMode::Isolated),
    );
    let server = server.with_listen_addr("127.0.0.1".parse()?);
    Ok(Actor::spawn(None, server, ()).await?.0)
}

/// The actor of the other process.
async fn found(node: &ActorRef<NodeServerMessage>, port: u16) -> Result<ActorRef<Message>, Failure> {
    let begun = Instant::now();
    while let Err(error) = ractor_cluster::client_connect(node, ("127.0.0.1", port)).await {
        if begun.elapsed() > WITHIN {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        if let Some(actor) = pg::get_members(&GROUP.to_owned()).into_iter().next() {
            return Ok(actor.into());
        }
        if begun.elapsed() > WITHIN {
            return Err("the actor of the server was not seen".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn answer<T, E: Display>(called: Result<CallResult<T>, E>) -> Result<T, Failure> {
    match called {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err("a call has timed out".into()),
        Ok(CallResult::SenderError) => Err("a call was not answered".into()),
        Err(error) => Err(error.to_string().into()),
    }
}

async fn call(actor: ActorRef<Message>, times: u64) -> Result<Histogram<u64>, Failure> {
    let mut latency = Histogram::new_with_bounds(1, NANOS_MAX, 3)?;
    for _ in 0..times {
        let begun = Instant::now();
        let body = vec![7; BYTES];
        answer(actor.call(|port| Message::Echo(body, port), None).await)?;
        latency.saturating_record(begun.elapsed().as_nanos() as u64);
    }
    Ok(latency)
}

/// The results of as many at once, and how long they took.
async fn at_once<T, F>(many: u64, one: impl Fn() -> F) -> Result<(Vec<T>, Duration), Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let begun = Instant::now();
    let running: Vec<_> = (0..many).map(|_| tokio::spawn(one())).collect();
    let mut results = Vec::new();
    for one in running {
        results.push(one.await??);
    }
    Ok((results, begun.elapsed()))
}

fn metric(name: &str, value: f64, unit: &str, parameters: &str) {
    println!("METRIC ractor_cluster {name} {value:.3} {unit} {parameters}");
}

fn latencies(name: &str, latency: &Histogram<u64>, parameters: &str) {
    for (figure, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let micros = latency.value_at_quantile(quantile) as f64 / 1_000.0;
        metric(&format!("{name}.{figure}"), micros, "us", parameters);
    }
}

async fn calls(actor: &ActorRef<Message>, callers: u64, times: u64, name: &str) -> Result<(), Failure> {
    let (each, took) = at_once(callers, || call(actor.clone(), times / callers)).await?;
    let mut all = Histogram::new_with_bounds(1, NANOS_MAX, 3)?;
    for one in &each {
        all.add(one)?;
    }
    let parameters = format!("callers={callers} size={BYTES}");
    metric(
        &format!("{name}.rate"),
        all.len() as f64 / took.as_secs_f64(),
        "per_s",
        &parameters,
    );
    latencies(name, &all, &parameters);
    Ok(())
}

async fn one_way(actor: &ActorRef<Message>, senders: u64) -> Result<(), Failure> {
    let told = || async { answer(actor.call(Message::Told, None).await) };
    let before = told().await?;
    let begun = Instant::now();
    let (_, queued) = at_once(senders, || {
        let actor = actor.clone();
        async move {
            for sent in 0..ONE_WAY / senders {
                actor.cast(Message::Tell(vec![7; BYTES]))?;
                if sent % 256 == 255 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        }
    })
    .await?;
    let mut taken = 0;
    while taken < ONE_WAY && begun.elapsed() < WITHIN {
        taken = told().await? - before;
    }
    let lost = ONE_WAY - taken;
    let parameters = format!(
        "senders={senders} size={BYTES} n={ONE_WAY} lost={lost} queued_ms={}",
        queued.as_millis()
    );
    metric(
        "cast.delivered",
        taken as f64 / begun.elapsed().as_secs_f64(),
        "per_s",
        &parameters,
    );
    if let Some(kib) = resident_kib() {
        metric("rss", kib / 1_024.0, "MiB", &parameters);
    }
    Ok(())
}

/// The resident memory of this process, where the system tells it.
fn resident_kib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Goes round among actors, each passing it on to any of them.
struct Token {
    /// How often it is still to be passed on.
    hops: u64,
    random: u64,
}

impl ractor::Message for Token {}

/// All of them, once they are there, and where tokens go at their end.
struct Crowd {
    members: OnceLock<Vec<ActorRef<Token>>>,
    home: mpsc::UnboundedSender<()>,
}

/// An actor that has nothing to do but to pass on tokens.
struct Member;

impl Actor for Member {
    type Msg = Token;
    type State = Arc<Crowd>;
    type Arguments = Arc<Crowd>;

    async fn pre_start(&self, _: ActorRef<Token>, crowd: Arc<Crowd>) -> Result<Arc<Crowd>, ActorProcessingErr> {
        Ok(crowd)
    }

    async fn handle(
        &self,
        _: ActorRef<Token>,
        token: Token,
        crowd: &mut Arc<Crowd>,
    ) -> Result<(), ActorProcessingErr> {
        match token.hops {
            0 => crowd.home.send(())?,
            _ => pass(token, crowd)?,
        }
        Ok(())
    }

    /// Who supervises stays when others end.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Token>,
        _: SupervisionEvent,
        _: &mut Arc<Crowd>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Passes a token on; the next place is drawn as in the crowd of B4.
fn pass(token: Token, crowd: &Crowd) -> Result<(), Failure> {
    let random = token.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let members = crowd.members.get().ok_or("nobody is there")?;
    let next = &members[((random >> 33) % members.len() as u64) as usize];
    let hops = token.hops - 1;
    next.cast(Token { hops, random }).map_err(|error| error.to_string().into())
}

async fn spawn(count: usize) -> Result<(), Failure> {
    let (home, mut at_home) = mpsc::unbounded_channel();
    let members = OnceLock::new();
    let crowd = Arc::new(Crowd { members, home });
    let (supervisor, _) = Actor::spawn(None, Member, crowd.clone()).await?;
    let mut actors = Vec::with_capacity(count);
    let before = resident_kib();
    let begun = Instant::now();
    for _ in 0..count {
        actors.push(Actor::spawn_linked(None, Member, crowd.clone(), supervisor.get_cell()).await?.0);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let parameters = format!("n={count}");
    metric("spawn.rate", count as f64 / seconds, "per_s", &parameters);
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        metric("spawn.bytes", (after - before) * 1_024.0 / count as f64, "B", &parameters);
    }
    crowd.members.set(actors).map_err(|_| "the members stand already")?;
    let begun = Instant::now();
    for number in 0..TOKENS {
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        pass(Token { hops: HOPS, random }, &crowd)?;
    }
    for _ in 0..TOKENS {
        at_home.recv().await.ok_or("the crowd has ended")?;
    }
    let signals = (TOKENS * HOPS) as f64;
    metric("token.rate", signals / begun.elapsed().as_secs_f64(), "per_s", &parameters);

    for actor in crowd.members.get().ok_or("nobody is there")? {
        actor.stop_and_wait(None, None).await?;
    }
    let begun = Instant::now();
    let mut actors = Vec::with_capacity(count);
    for _ in 0..count {
        actors.push(Actor::spawn_linked(None, Member, crowd.clone(), supervisor.get_cell()).await?.0);
    }
    metric("spawn.again", count as f64 / begun.elapsed().as_secs_f64(), "per_s", &parameters);
    Ok(())
}

async fn run(arguments: Vec<String>) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["server", port] => {
            let _node = node(port.parse()?, "server").await?;
            Actor::spawn(None, Counter, ()).await?;
            std::future::pending().await
        }
        ["client", port, own] => {
            let node = node(own.parse()?, "client").await?;
            let actor = found(&node, port.parse()?).await?;
            call(actor.clone(), WARM_UP).await?;
            calls(&actor, 1, CALLS, "call").await?;
            calls(&actor, CALLERS, CALLS_OF_MANY, "callmany").await?;
            one_way(&actor, 1).await?;
            one_way(&actor, 8).await
        }
        ["spawn", count] => spawn(count.parse()?).await,
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(std::env::args().skip(1).collect())));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer-ractor: {error}");
            ExitCode::from(2)
        }
    }
}
