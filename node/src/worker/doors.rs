//! The doors of a cluster, asked one after another until one answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queenright_bench::client::wire::Code;
use queenright_bench::client::{Client, ClientError};
use rand::Rng as _;
use tokio::time::{Instant, sleep, sleep_until};

/// How long is waited before the same is asked again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The doors of a cluster. One of them is asked until it does not answer.
#[derive(Debug)]
pub struct Doors {
    clients: Vec<Client>,
    /// Which of them is asked.
    at: AtomicUsize,
}

/// Why there is no good answer.
#[derive(Debug)]
pub enum Unanswered {
    /// A refusal that the same request would get again.
    Refused(ClientError),
    /// Nobody has said yes or no in time; this was the last problem.
    NoContact(ClientError),
}

impl Doors {
    /// These doors, of which the first is asked first.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(clients: Vec<Client>) -> Doors {
        assert!(!clients.is_empty(), "a worker has a door");
        Doors {
            clients,
            at: AtomicUsize::new(0),
        }
    }

    /// The door that is asked now.
    pub fn client(&self) -> &Client {
        &self.clients[self.at.load(Ordering::Relaxed)]
    }

    /// Asks, and asks again with a growing pause, at another door where one has not answered, until there is an answer or
    /// the time is up. What is asked must be harmless to repeat.
    ///
    /// # Errors
    /// Nobody answered, or the answer is a refusal.
    pub async fn ask<'a, T, F>(&'a self, until: Option<Instant>, ask: impl Fn(&'a Client) -> F) -> Result<T, Unanswered>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut pause = BACK_OFF.0;
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let error = tokio::select! {
                answer = ask(&self.clients[at]) => match answer {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
                () = up(until) => {
                    let url = self.clients[at].base_url().to_owned();
                    return Err(Unanswered::NoContact(ClientError::Lost { url, problem: "the time was up".to_owned() }));
                }
            };
            if !error.is_temporary() && !error.outcome_unknown() {
                return Err(Unanswered::Refused(error));
            }
            if says_nothing(&error) {
                self.leave(at);
            }
            let wake = Instant::now() + jittered(pause);
            if until.is_some_and(|until| wake >= until) {
                return Err(Unanswered::NoContact(error));
            }
            sleep_until(wake).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Asks the next door from now on.
    pub(super) fn next(&self) {
        self.leave(self.at.load(Ordering::Relaxed));
    }

    /// Asks the door after this one from now on, unless somebody has gone on already.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.clients.len();
        let _ = self.at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

async fn up(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Whether another node may do better: this one is gone, hangs, or has no quorum.
fn says_nothing(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => matches!(problem.code, Code::Unavailable | Code::UnknownOutcome),
        _ => true,
    }
}

/// Between half of it and all of it: those who wait for the same thing do not come back together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Waits for a while that is not the same for all.
pub(super) async fn rest(pause: Duration) {
    sleep(jittered(pause)).await;
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::ClientOptions;
    use queenright_bench::client::wire::Problem;

    use super::*;

    fn doors(count: u16) -> Doors {
        let client = |place| Client::new(&format!("http://127.0.0.1:{place}"), ClientOptions::default()).unwrap();
        Doors::new((1..=count).map(client).collect())
    }

    fn problem(code: Code) -> ClientError {
        ClientError::Problem(Box::new(Problem::new(code, "detail")))
    }

    /// Asks doors that answer with these errors in turn and then with their own address.
    async fn answer(doors: &Doors, until: Option<Instant>, errors: Vec<ClientError>) -> Result<String, Unanswered> {
        let errors = std::sync::Mutex::new(errors.into_iter());
        let errors = &errors;
        let ask = |client: &Client| {
            let url = client.base_url().to_owned();
            async move { errors.lock().unwrap().next().map_or(Ok(url), Err) }
        };
        doors.ask(until, ask).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_door_that_does_not_answer_is_left_and_one_that_is_busy_is_not() {
        let doors = doors(3);
        let gone = || ClientError::Unreachable { url: String::new() };
        let found = answer(&doors, None, vec![gone(), problem(Code::Unavailable)]).await;
        assert_eq!(found.unwrap(), "http://127.0.0.1:3");
        let found = answer(&doors, None, vec![problem(Code::Busy), problem(Code::DiskLow)]).await;
        assert_eq!(found.unwrap(), "http://127.0.0.1:3");
        let found = answer(&doors, None, vec![problem(Code::UnknownOutcome)]).await;
        assert_eq!(found.unwrap(), "http://127.0.0.1:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_answer_and_silence_ends_with_the_time() {
        let doors = doors(2);
        let refused = answer(&doors, None, vec![problem(Code::Fenced)]).await;
        assert!(matches!(refused, Err(Unanswered::Refused(error)) if error.code() == Some(Code::Fenced)));
        let until = Instant::now() + Duration::from_secs(5);
        let gone = (0..1_000).map(|_| ClientError::Unreachable { url: String::new() });
        let silence = answer(&doors, Some(until), gone.collect()).await;
        assert!(matches!(silence, Err(Unanswered::NoContact(_))));
        assert!(Instant::now() <= until);
    }
}
