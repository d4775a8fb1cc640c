//! The routes of reservations.

use queenright_actors::node::Consistency;
use queenright_protocol::colony::ReservationId;
use reqwest::Method;
use serde::Serialize;

use super::request::path_of;
use super::wire::{
    AcquireRequest, Acquired, CheckRequest, Code, ForceRequest, ReleaseRequest, ReleasedReservations, RenewRequest,
    RenewedReservation, ReservationList, ReservationSettingsRequest, SettingsChanged, SlotList, SlotRequest, Standings,
    WireReservation, WireReservationId,
};
use super::{Client, ClientError};

/// Which reservations to list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReservationQuery {
    /// Only those that meet this resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Only those that wait, or only those that do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<bool>,
    /// Only those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<WireReservationId>,
    /// At most this many; the door's own limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How fresh.
    pub consistency: Consistency,
}

/// What came of a request for resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum AcquireOutcome {
    /// The caller has them, or waits for them.
    Acquired(Acquired),
    /// Others have some of them: nothing was taken.
    Held(Standings),
}

impl Client {
    /// Takes resources, all or none; waits for them as long as the request and this client's time allow.
    ///
    /// # Errors
    /// [`ClientError`]; that others have them is none.
    pub async fn acquire(
        &self,
        request: &AcquireRequest,
        idempotency_key: Option<&str>,
    ) -> Result<AcquireOutcome, ClientError> {
        let call = self.mutation(Method::POST, "/v1/reservations", idempotency_key)?;
        match self.fetch(call.json(request)).await {
            Ok(acquired) => Ok(AcquireOutcome::Acquired(acquired)),
            Err(ClientError::Problem(problem)) if problem.code == Code::Held => {
                let held = serde_json::from_value::<Standings>(problem.details.clone());
                held.map(AcquireOutcome::Held)
                    .map_err(|_| ClientError::Problem(problem))
            }
            Err(error) => Err(error),
        }
    }

    /// What a request would come to now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn check_reservations(
        &self,
        request: &CheckRequest,
        consistency: Consistency,
    ) -> Result<Standings, ClientError> {
        let call = self.project_request(Method::POST, "/v1/reservations:check")?;
        let call = call.query(&[("consistency", consistency)]);
        self.fetch(call.json(request)).await
    }

    /// One page of a list of reservations.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reservations(&self, query: &ReservationQuery) -> Result<ReservationList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/reservations")?.query(query);
        self.fetch(request).await
    }

    /// One reservation; while it waits the answer waits as well, up to `wait_ms`.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` when it has ended.
    pub async fn reservation(&self, id: ReservationId, wait_ms: u64) -> Result<WireReservation, ClientError> {
        let request = self.project_request(Method::GET, &format!("/v1/reservations/{id}"))?;
        self.fetch(request.query(&[("wait_ms", wait_ms)])).await
    }

    /// Releases reservations, or stops waiting.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `FENCED` says that one of them is not the caller's.
    pub async fn release_reservations(
        &self,
        request: &ReleaseRequest,
        idempotency_key: Option<&str>,
    ) -> Result<ReleasedReservations, ClientError> {
        let call = self.mutation(Method::POST, "/v1/reservations:release", idempotency_key)?;
        self.fetch(call.json(request)).await
    }

    /// Holds a reservation for longer.
    ///
    /// # Errors
    /// As [`Client::release_reservations`].
    pub async fn renew_reservation(
        &self,
        id: ReservationId,
        request: &RenewRequest,
    ) -> Result<RenewedReservation, ClientError> {
        let call = self.mutation(Method::POST, &format!("/v1/reservations/{id}:renew"), None)?;
        self.fetch(call.json(request)).await
    }

    /// Takes a reservation from its owner.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `FENCED` says that it has ended.
    pub async fn force_reservation(
        &self,
        id: ReservationId,
        request: &ForceRequest,
        idempotency_key: Option<&str>,
    ) -> Result<ReleasedReservations, ClientError> {
        let path = format!("/v1/reservations/{id}:force");
        let call = self.mutation(Method::POST, &path, idempotency_key)?;
        self.fetch(call.json(request)).await
    }

    /// Says how many places a slot has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_slot(&self, name: &str, capacity: u32) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::PUT, &path_of("/v1/slots", "the slot", name)?, None)?;
        self.fetch(call.json(&SlotRequest { capacity })).await
    }

    /// The slots that are used or have another capacity than 1.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn slots(&self, consistency: Consistency) -> Result<SlotList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/slots")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// Says whether the project's reservations leave the writes of others alone.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_advisory(&self, advisory: bool) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::PUT, "/v1/reservation-settings", None)?;
        self.fetch(call.json(&ReservationSettingsRequest { advisory })).await
    }
}
