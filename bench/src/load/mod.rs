//! Agents that make load and measure it: hosted on the nodes that are measured, as any other agents.

mod batches;
mod call;
mod council;
mod crowd;
mod foreman;
mod hash;
mod mixed;
mod offer;
mod peer;
mod pulse;
mod put;
mod race;
mod signal;
mod snapshot;
mod task;
mod topic;

use std::time::{SystemTime, UNIX_EPOCH};

pub use self::batches::Batches;
pub use self::call::{Caller, Echo};
pub use self::council::{Analyst, Council};
pub use self::crowd::{Brief, Member, Spawner, Tokens};
pub use self::foreman::{Foreman, Hand};
pub use self::hash::{Hasher, hash};
pub use self::mixed::COUNTED;
pub use self::offer::{Meter, Offer};
pub use self::peer::{Conductor, Peer};
pub use self::pulse::{Gauge, PULSE_BYTES_MIN, Pulse};
pub use self::put::Put;
pub use self::race::{Racer, Starter};
pub use self::signal::{Sink, Source};
pub use self::snapshot::{BATCH_READS, Reads};
pub use self::task::{TaskAdd, TaskLook, TaskRace, TaskWork, TaskWrong};
pub use self::topic::{Publisher, Subscriber};

use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentSpec, Behaviour, BehaviourError, Kinds};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest latency that a histogram tells apart, in nanoseconds: a minute.
const NANOS_MAX: u64 = 60_000_000_000;

/// Adds the kinds of this module to those that a node hosts.
pub fn add_kinds(kinds: &mut Kinds) {
    kinds.add("load-put", |spec| {
        Ok(Box::new(Put::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-source", |spec| {
        Ok(Box::new(Source::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-sink", |spec| {
        let arguments = match spec.arguments {
            Value::Null => signal::SinkArguments::default(),
            _ => arguments(spec)?,
        };
        Ok(Box::new(Sink::new(arguments)) as Box<dyn Behaviour>)
    });
    kinds.add("load-caller", |spec| {
        Ok(Box::new(Caller::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-peer", |spec| {
        Ok(Box::new(Peer::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-hash", |spec| {
        Ok(Box::new(Hasher::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-batches", |spec| {
        Ok(Box::new(Batches::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    mixed::add_kinds(kinds);
    kinds.add("load-offer", |spec| {
        Ok(Box::new(Offer::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-meter", |_| Ok(Box::new(Meter::default()) as Box<dyn Behaviour>));
    kinds.add("load-pulse", |spec| {
        Ok(Box::new(Pulse::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-gauge", |spec| {
        Ok(Box::new(Gauge::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-conductor", |spec| {
        Ok(Box::new(Conductor::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-task-add", |spec| {
        Ok(Box::new(TaskAdd::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-task", |spec| {
        Ok(Box::new(TaskWork::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-task-race", |spec| {
        Ok(Box::new(TaskRace::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-task-look", |spec| {
        Ok(Box::new(TaskLook::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-task-wrong", |spec| {
        Ok(Box::new(TaskWrong::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-race-starter", |spec| {
        Ok(Box::new(Starter::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-racer", |spec| {
        Ok(Box::new(Racer::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-publisher", |spec| {
        Ok(Box::new(Publisher::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-subscriber", |spec| {
        Ok(Box::new(Subscriber::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-spawner", |spec| {
        Ok(Box::new(Spawner::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-brief", |_| Ok(Box::new(Brief) as Box<dyn Behaviour>));
    kinds.add("load-member", |spec| {
        let arguments = match spec.arguments {
            Value::Null => crowd::MemberArguments::default(),
            _ => arguments(spec)?,
        };
        Ok(Box::new(Member::new(arguments)) as Box<dyn Behaviour>)
    });
    kinds.add("load-tokens", |spec| {
        Ok(Box::new(Tokens::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-foreman", |spec| {
        Ok(Box::new(Foreman::new(arguments(spec)?)) as Box<dyn Behaviour>)
    });
    kinds.add("load-council", |spec| {
        Ok(Box::new(Council::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-analyst", |_| Ok(Box::new(Analyst) as Box<dyn Behaviour>));
    kinds.add("load-reads", |spec| {
        Ok(Box::new(Reads::new(arguments(spec)?)?) as Box<dyn Behaviour>)
    });
    kinds.add("load-worker", |_| Ok(Box::new(Hand) as Box<dyn Behaviour>));
    kinds.add("load-echo", |_| Ok(Box::new(Echo::default()) as Box<dyn Behaviour>));
}

fn arguments<T: DeserializeOwned>(spec: &AgentSpec) -> Result<T, BehaviourError> {
    serde_json::from_value(spec.arguments.clone()).map_err(|error| BehaviourError(error.to_string()))
}

/// An empty histogram of latencies in nanoseconds, exact to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are constants in order")
}

/// A histogram as an agent reports it: pairs of a value in nanoseconds and how often it came.
pub fn to_report(histogram: &Histogram<u64>) -> Value {
    let pairs = histogram
        .iter_recorded()
        .map(|step| (step.value_iterated_to(), step.count_at_value()));
    Value::from_iter(pairs.map(|(value, count)| serde_json::json!([value, count])))
}

/// Adds what an agent reported; `None` when it is not of that form.
pub fn add_report(histogram: &mut Histogram<u64>, report: &Value) -> Option<()> {
    for pair in report.as_array()? {
        let (value, count) = (pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?);
        histogram.record_n(value.clamp(1, NANOS_MAX), count).ok()?;
    }
    Some(())
}

/// The present as microseconds of Unix time: what agents of one host can compare. 0 if the clock stands before 1970.
fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}
