//! Who sends: the session that has the key of the webhook.

use std::time::Duration;

use queenright_bench::client::wire::{AcquireRequest, OpenSession, RenewRequest, WireStanding, WireWant};
use queenright_bench::client::{AcquireOutcome, Client};
use queenright_protocol::colony::{Mode, RESERVATION_TTL_MS_MAX, RESERVATION_WAIT_MS_MAX, ReservationId, SessionId};
use tokio::time::{Instant, sleep};

use super::{KEYS, Turned};

/// For how long the session lives without a sign of life: so long nobody sends when a sender has died.
const LIVES_MS: u64 = 15_000;
/// How often there is one.
const BEAT: Duration = Duration::from_secs(4);
/// How often the reservation is renewed: it ends with its session, and otherwise after a day.
const RENEWED_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How long one look waits for the grant.
const LOOK_MS: u64 = 20_000;

/// A session and its place in the line.
pub(super) struct Hold<'a> {
    client: &'a Client,
    session: SessionId,
    token: String,
    reservation: ReservationId,
}

impl<'a> Hold<'a> {
    /// Opens a session and joins the line.
    pub(super) async fn open(client: &'a Client, name: &str) -> Result<Hold<'a>, Turned> {
        let open = OpenSession {
            name: Some(format!("webhook:{name}").into()),
            program: Some("queenright".into()),
            ttl_ms: Some(LIVES_MS),
            ..OpenSession::default()
        };
        let opened = client.open_session(&open, None).await?;
        let request = AcquireRequest {
            resources: vec![WireWant {
                resource: format!("key:{KEYS}{name}").into(),
                mode: Mode::Exclusive,
            }],
            ttl_ms: Some(RESERVATION_TTL_MS_MAX),
            wait_ms: Some(RESERVATION_WAIT_MS_MAX),
            reason: Some("sends a webhook".into()),
            token: Some(opened.token.clone()),
            ..AcquireRequest::default()
        };
        let reservation = match client.acquire(&request, None).await? {
            AcquireOutcome::Acquired(acquired) => acquired.reservation.0,
            // Who waits is only told so when the wait is over.
            AcquireOutcome::Held(_) => return Err(Turned::Uncertain),
        };
        Ok(Hold {
            client,
            session: opened.session.0,
            token: opened.token,
            reservation,
        })
    }

    /// A client that writes as this session.
    pub(super) fn writer(&self) -> Client {
        self.client.with_token(Some(&self.token))
    }

    /// Waits until the key is this session's.
    pub(super) async fn granted(&self) -> Result<(), Turned> {
        loop {
            let found = self.client.reservation(self.reservation, LOOK_MS).await?;
            if found.state == WireStanding::Held {
                return Ok(());
            }
        }
    }

    /// Gives signs of life until the session has ended or nobody knows whether it has.
    pub(super) async fn beat(&self) -> Turned {
        let mut renewed = Instant::now();
        loop {
            sleep(BEAT).await;
            match self.client.heartbeat(self.session, &self.token).await {
                Ok(beat) if beat.uncertain => return Turned::Uncertain,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
            if renewed.elapsed() < RENEWED_EVERY {
                continue;
            }
            let renew = RenewRequest {
                token: self.token.clone(),
                ttl_ms: Some(RESERVATION_TTL_MS_MAX),
            };
            match self.client.renew_reservation(self.reservation, &renew).await {
                Ok(_) => renewed = Instant::now(),
                Err(error) => return error.into(),
            }
        }
    }
}
