//! Topics: publish a message, or follow what is published, as server-sent events.
//!
//! | message | meaning |
//! |---|---|
//! | `event: message` | a message |
//! | `event: dropped` | so many messages are missing here: they came faster than they were taken |
//! | a comment | nothing to tell for a while |
//! | `event: error` | problem details; the last message |
//!
//! A message is not kept: who was not there when it came will not have it. So there is no cursor either.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::topic::{Followed, Follower, Publication, TOPIC_PAYLOAD_BYTES_MAX};
use queenright_bench::client::wire::WireMessage;
use queenright_protocol::topic::{Pattern, Topic};
use serde_json::json;
use tokio::time::Instant;

use super::Door;
use super::call::Call;
use super::problem::{Refused, invalid};
use super::sse::{End, Feed, KEEP_ALIVE, Outlet, respond};

/// `POST /v1/topics/{topic}`
pub(super) async fn publish(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let topic = Topic::new(call.path("topic"))?;
    let payload = call.bytes("payload", TOPIC_PAYLOAD_BYTES_MAX, caller.deadline).await?;
    let published = door.backend.topics().publish(&Publication {
        project: &caller.project,
        topic: &topic,
        author: &caller.author,
        from: None,
        payload: &payload,
    })?;
    Ok(Json(published).into_response())
}

/// `GET /v1/topics`
pub(super) async fn follow(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let pattern = call.take("pattern");
    let pattern = pattern.ok_or_else(|| invalid("pattern", "is needed, such as # for every topic"))?;
    let pattern = Pattern::new(&pattern)?;
    let caller = call.caller()?;
    let permit = door.place_to_follow()?;
    let (topics, bytes) = (door.backend.topics(), door.limits.subscriber_bytes);
    let feeder = Feeder {
        follower: topics.follow(&caller.project, &pattern, bytes)?,
        door: door.clone(),
    };
    Ok(respond(&door, permit, call.switch(), feeder))
}

/// Feeds one who follows topics.
struct Feeder {
    follower: Follower,
    door: Door,
}

/// Why a feeder goes on.
enum Woken {
    Told(Followed),
    /// It has sent nothing for long.
    Quiet,
    Over,
}

impl Feed for Feeder {
    const AGAIN: &'static str = "follow again: what came meanwhile is gone";

    async fn feed(&mut self, outlet: &mut Outlet) -> Result<Infallible, End> {
        let mut closing = self.door.closing.clone();
        let mut quiet_until = Instant::now() + KEEP_ALIVE;
        loop {
            // What there is already goes out together.
            while let Some(told) = self.follower.try_next() {
                tell(outlet, told).await?;
            }
            if outlet.flush().await? {
                quiet_until = Instant::now() + KEEP_ALIVE;
            }
            let woken = tokio::select! {
                told = self.follower.next() => Woken::Told(told),
                _ = closing.wait_for(|closing| *closing) => Woken::Over,
                () = outlet.closed() => Woken::Over,
                () = tokio::time::sleep_until(quiet_until) => Woken::Quiet,
            };
            match woken {
                Woken::Told(told) => tell(outlet, told).await?,
                Woken::Quiet => {
                    quiet_until += KEEP_ALIVE;
                    outlet.keep_alive(None).await?;
                }
                Woken::Over => return Err(End::Over),
            }
        }
    }
}

async fn tell(outlet: &mut Outlet, told: Followed) -> Result<(), End> {
    match told {
        Followed::Message(message) => outlet.message("message", None, &WireMessage::from(&*message)).await,
        Followed::Dropped(messages) => outlet.message("dropped", None, &json!({ "messages": messages })).await,
    }
}
