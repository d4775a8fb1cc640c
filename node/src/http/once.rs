//! What is done once by this node alone: calls that are no commands of the colony, such as the start of an agent. The node
//! remembers what it answered to an idempotency key, and a repeat gets that answer again. Commands need none of this: the
//! colony remembers them on every node.
//!
//! | a call with a key | answer |
//! |---|---|
//! | that is new | what comes of it; kept unless it says that the same may be sent again |
//! | that was answered, with the same body | that answer |
//! | that was used for something else | `IDEMPOTENCY_KEY_CONFLICT` |
//! | that is at work | `CONFLICT`, to be sent again |
//!
//! It remembers the last [`KEPT_MAX`] for [`KEPT_FOR`], and nothing after a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use queenright_bench::client::wire::{Code, Problem};
use queenright_bench::client::{AGENT_HEADER, IDEMPOTENCY_HEADER};
use queenright_protocol::colony::IDEMPOTENCY_KEY_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use super::Door;
use super::problem::{Refused, too_large};

/// How many answers are remembered.
const KEPT_MAX: usize = 1_024;
/// For how long.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// The longest answer that is remembered, in bytes; a longer one is not.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// When to try again if the call is at work.
const AT_WORK_RETRY_MS: u64 = 200;

/// Who names what: the author of a call, and its key.
type Name = (Vec<u8>, Vec<u8>);
/// What was asked: method, path, query and body.
type Asked = [u8; 32];

/// What a door remembers.
#[derive(Default)]
pub(super) struct Once {
    // A mutex: calls end on any thread. Held for a look-up.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    calls: BTreeMap<Name, (Asked, Option<Answer>)>,
    /// Those that were answered, oldest first.
    answered: VecDeque<(Instant, Name)>,
}

/// An answer.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What a call with a key finds.
enum Begun {
    AtWork(AtWork),
    Answered(Answer),
}

/// A call at work; forgotten unless it is answered.
struct AtWork {
    once: Arc<Once>,
    name: Name,
    answered: bool,
}

/// Answers a repeat of a call that names itself as it was answered before.
pub(super) async fn remembered(State(door): State<Door>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(IDEMPOTENCY_HEADER) else {
        return next.run(request).await;
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return too_large(IDEMPOTENCY_HEADER, key.len() as u64, IDEMPOTENCY_KEY_BYTES_MAX as u64).into_response();
    }
    let author = request.headers().get(AGENT_HEADER);
    let author = author.map(|author| author.as_bytes().to_vec()).unwrap_or_default();
    let name = (author, key.as_bytes().to_vec());
    let (parts, body) = request.into_parts();
    let limit = door.limits.body_bytes;
    let body = match timeout(BODY_WITHIN, to_bytes(body, limit)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return too_large("http_body_bytes", limit as u64 + 1, limit as u64).into_response(),
        Err(_) => {
            let problem = Problem::new(Code::Invalid, "the body did not arrive in time").with_status(408);
            return Refused::from(problem).into_response();
        }
    };
    let mut asked = Sha256::new();
    asked.update(parts.method.as_str());
    asked.update([0]);
    asked.update(parts.uri.to_string());
    asked.update([0]);
    asked.update(&body);
    let mut at_work = match door.once.begin(name, asked.finalize().into()) {
        Ok(Begun::AtWork(at_work)) => at_work,
        Ok(Begun::Answered(answer)) => return answer.into_response(),
        Err(refused) => return refused.into_response(),
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    // What may be otherwise when it is sent again is no answer to keep.
    let temporary = response.status().is_server_error() || response.headers().contains_key(header::RETRY_AFTER);
    if temporary {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    };
    at_work.answer(&answer);
    answer.into_response()
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

impl Once {
    /// A call that is new is at work from now on; an answer is that of an earlier one.
    fn begin(self: &Arc<Once>, name: Name, asked: Asked) -> Result<Begun, Refused> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(Instant::now());
        match kept.calls.get(&name) {
            Some((before, _)) if *before != asked => {
                let detail = "the idempotency key was used for another call at this node";
                Err(Problem::new(Code::IdempotencyKeyConflict, detail).into())
            }
            Some((_, Some(answer))) => Ok(Begun::Answered(answer.clone())),
            Some((_, None)) => {
                let problem = Problem::new(Code::Conflict, "the call with this idempotency key is at work");
                Err(problem.retry_after(AT_WORK_RETRY_MS).into())
            }
            None => {
                kept.calls.insert(name.clone(), (asked, None));
                Ok(Begun::AtWork(AtWork {
                    once: self.clone(),
                    name,
                    answered: false,
                }))
            }
        }
    }
}

impl Kept {
    fn forget(&mut self, now: Instant) {
        while let Some((since, name)) = self.answered.front() {
            if self.answered.len() <= KEPT_MAX && now.duration_since(*since) < KEPT_FOR {
                return;
            }
            self.calls.remove(name);
            self.answered.pop_front();
        }
    }
}

impl AtWork {
    fn answer(&mut self, answer: &Answer) {
        if answer.body.len() > ANSWER_BYTES_MAX {
            return;
        }
        let mut kept = self.once.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kept)) = kept.calls.get_mut(&self.name) {
            *kept = Some(answer.clone());
        }
        kept.answered.push_back((Instant::now(), self.name.clone()));
        self.answered = true;
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if !self.answered {
            let mut kept = self.once.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.calls.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> Name {
        (Vec::new(), key.as_bytes().to_vec())
    }

    fn answer(text: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: text.to_owned().into(),
        }
    }

    impl Begun {
        fn at_work(self) -> AtWork {
            match self {
                Begun::AtWork(at_work) => at_work,
                Begun::Answered(answer) => panic!("it was answered: {:?}", answer.body),
            }
        }

        fn answer(self) -> Bytes {
            match self {
                Begun::AtWork(_) => panic!("it is at work"),
                Begun::Answered(answer) => answer.body,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_is_kept_for_a_while_and_for_so_many() {
        let once = Arc::new(Once::default());
        let begin = |key: &str, asked: u8| once.begin(name(key), [asked; 32]);
        let mut first = begin("a", 1).unwrap().at_work();
        assert_eq!(begin("a", 1).err().unwrap().problem.code, Code::Conflict);
        first.answer(&answer("one"));
        drop(first);
        assert_eq!(begin("a", 1).unwrap().answer(), "one");
        assert_eq!(begin("a", 2).err().unwrap().problem.code, Code::IdempotencyKeyConflict);
        // One that was not answered is as if it had not been.
        drop(begin("b", 1).unwrap().at_work());
        drop(begin("b", 2).unwrap().at_work());
        tokio::time::advance(KEPT_FOR).await;
        drop(begin("a", 2).unwrap().at_work());
        for key in 0..=KEPT_MAX {
            begin(&format!("many-{key}"), 1).unwrap().at_work().answer(&answer("n"));
        }
        drop(begin("many-0", 2).unwrap().at_work());
        assert_eq!(begin("many-1", 1).unwrap().answer(), "n");
    }
}
