//! Reservations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::EVENTS_WAIT_MAX;
use queenright_bench::client::wire::{
    AcquireRequest, Acquired, CheckRequest, Code, ForceRequest, Problem, ReleaseRequest, ReleasedReservations,
    RenewRequest, RenewedReservation, ReservationList, ReservationSettingsRequest, SettingsChanged, SlotList,
    SlotRequest, Standings, WireReservation, WireReservationId, WireSlot, reservation_ends,
};
use queenright_protocol::colony::{
    Acquire, Body, Caller as Who, Force, NewSession, Outcome, Owner, RESERVATION_TTL_MS, Refusal, Release, Released,
    Renew, Reservation, ReservationCommand, ReservationId, SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN, TokenHash, Want,
};
use serde_json::json;
use tokio::time::Instant;

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid, misfit, of_refusal};
use super::sessions::token_of;

/// How many reservations a list has at most, and unless the caller says otherwise.
pub(super) const LIST_RESERVATIONS: (u64, u64) = (1_000, 100);
/// How many reservations a list looks at: those that the filter leaves out cost time too.
const LOOKED_AT_MAX: usize = 20_000;
/// How many slots a list has.
const LIST_SLOTS: usize = 1_000;
/// How much of a request's time is left for its answer when it waits for a grant.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// `POST /v1/reservations`
pub(super) async fn acquire(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let at_work = door.at_work()?;
    let caller = call.caller()?;
    let request: AcquireRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    let (token, who) = claimant(&caller, &request)?;
    let resources: Vec<Want> = request.resources.into_iter().map(Want::from).collect();
    let acquire = Acquire {
        resources: resources.clone(),
        caller: who,
        ttl_ms: request.ttl_ms,
        wait_ms: request.wait_ms.unwrap_or_default(),
        reason: request.reason,
        task: request.task.map(|task| task.0),
    };
    let command = Body::Reservation(ReservationCommand::Acquire(acquire));
    let (mut acquired, reservation) = match door.outcome(&caller, command).await? {
        Outcome::Reserved {
            seq,
            reservation,
            fence,
            until_ms,
        } => {
            let acquired = Acquired {
                seq,
                token,
                reservation: WireReservationId(reservation),
                fence: fence.map(|fence| fence.0),
                until_ms,
            };
            (acquired, reservation)
        }
        Outcome::Refused(refusal) => return Err(not_granted(&resources, &refusal)),
        other => return Err(misfit(&other)),
    };
    drop(at_work);
    // Who waits is bounded by itself, as who waits for events. One too many keeps its place in the line, and asks again.
    if acquired.fence.is_none()
        && let Ok(_place) = door.place_to_wait()
    {
        let deadline = caller.deadline.checked_sub(ANSWER_TIME).unwrap_or(caller.deadline);
        let snapshot = door.settled(&caller, reservation, deadline).await;
        let Some(found) = find(&snapshot, &caller.project, reservation) else {
            return Err(door.gave_up(&caller, reservation, &resources, &acquired.token));
        };
        acquired.fence = found.fence().map(|fence| fence.0);
        acquired.until_ms = found.until_ms();
    }
    let status = match acquired.fence {
        Some(_) => StatusCode::CREATED,
        None => StatusCode::ACCEPTED,
    };
    Ok((status, Json(acquired)).into_response())
}

/// Who reserves, with its token: the session that the caller names by it, or one that is opened. That one lives as long as
/// the reservation may, and closes with it.
fn claimant(caller: &Caller, request: &AcquireRequest) -> Result<(String, Who), Refused> {
    let opens = request.token.is_none();
    let token = token_of(caller, request.token.clone())?;
    let hash = TokenHash::of(&token);
    if !opens {
        return Ok((token, Who::Session(hash)));
    }
    let ttl_ms = request.ttl_ms.unwrap_or(RESERVATION_TTL_MS);
    let lives_ms = ttl_ms.saturating_add(request.wait_ms.unwrap_or_default());
    let new = NewSession {
        ttl_ms: lives_ms.clamp(SESSION_TTL_MS_MIN, SESSION_TTL_MS_MAX),
        passing: true,
        ..NewSession::new(caller.author.clone(), hash)
    };
    Ok((token, Who::Opens(Box::new(new))))
}

/// A refusal, which names the resources of the request by their places.
fn not_granted(resources: &[Want], refusal: &Refusal) -> Refused {
    let problem = of_refusal(refusal);
    match Standings::of_refusal(resources, refusal) {
        Some(standings) => {
            let details = serde_json::to_value(standings).expect("standings are plain data");
            problem.with_details(details).into()
        }
        None => problem.into(),
    }
}

/// Whose a token is.
fn owner_of(snapshot: &Snapshot, project: &Arc<str>, token: &str) -> Option<Owner> {
    let session = snapshot.colony.sessions().of_token(project, TokenHash::of(token))?;
    Some(Owner::Session {
        session: session.id,
        name: session.opened.name.clone(),
    })
}

fn find<'s>(snapshot: &'s Snapshot, project: &str, id: ReservationId) -> Option<&'s Reservation> {
    let project = snapshot.colony.project(project)?;
    project.reservations().get(id).map(|reservation| &**reservation)
}

impl Door {
    /// This node's state once a reservation no longer waits, or the deadline has passed. It is woken by the apply that
    /// settles it, and by nothing else.
    async fn settled(&self, caller: &Caller, reservation: ReservationId, deadline: Instant) -> Arc<Snapshot> {
        let mut closing = self.closing.clone();
        tokio::select! {
            () = self.backend.wait_reservation(&caller.project, reservation) => {}
            _ = closing.wait_for(|closing| *closing) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        self.backend.snapshot()
    }

    /// A request that went before it was granted: it waited as long as it would, or was taken away.
    fn gave_up(&self, caller: &Caller, id: ReservationId, wanted: &[Want], token: &str) -> Refused {
        let snapshot = self.backend.snapshot();
        let owner = owner_of(&snapshot, &caller.project, token);
        let project = snapshot.colony.project(&caller.project);
        let checked = project.and_then(|project| {
            let (agents, now_ms) = (snapshot.colony.agents(), snapshot.colony.cluster_ms());
            project
                .reservations()
                .check(wanted, owner.as_ref(), agents, now_ms)
                .ok()
        });
        let standings = checked
            .map(|checked| Standings::of(wanted, &checked))
            .unwrap_or_default();
        let detail = format!("reservation {id} was not granted: its wait is over, or somebody ended it");
        let details = serde_json::to_value(standings).expect("standings are plain data");
        Problem::new(Code::Held, detail).with_details(details).into()
    }
}

/// `POST /v1/reservations:check`
pub(super) async fn check(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let request: CheckRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    let wanted: Vec<Want> = request.resources.into_iter().map(Want::from).collect();
    let snapshot = door.read(read, &caller).await?;
    let owner = request
        .token
        .and_then(|token| owner_of(&snapshot, &caller.project, &token));
    let (colony, nothing) = (&snapshot.colony, Default::default());
    let reservations = colony
        .project(&caller.project)
        .map_or(&nothing, |project| project.reservations());
    let checked = reservations.check(&wanted, owner.as_ref(), colony.agents(), colony.cluster_ms())?;
    Ok(Json(Standings::of(&wanted, &checked)).into_response())
}

/// `GET /v1/reservations/{reservation}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let id = id(call.thing::<ReservationId>("reservation", &["renew", "force"])?);
    let at_work = door.at_work()?;
    let read = consistency(&mut call)?;
    let wait_ms = call.number("wait_ms", 0..=EVENTS_WAIT_MAX.as_millis() as u64)?;
    let caller = call.caller()?;
    let id = id?;
    let wait = Duration::from_millis(wait_ms.unwrap_or_default());
    let deadline = (Instant::now() + wait).min(caller.deadline - ANSWER_TIME.min(caller.timeout / 2));
    let mut snapshot = door.read(read, &caller).await?;
    let waits = find(&snapshot, &caller.project, id).is_some_and(Reservation::is_waiting);
    if waits && !wait.is_zero() {
        let _place = door.place_to_follow()?;
        drop((snapshot, at_work));
        snapshot = door.settled(&caller, id, deadline).await;
    }
    match find(&snapshot, &caller.project, id) {
        Some(found) => Ok(Json(WireReservation::of(found, snapshot.colony.cluster_ms())).into_response()),
        None => Err(Problem::new(Code::NotFound, format!("no reservation has the id {id}"))
            .with_details(json!({ "reservation": id.to_string() }))
            .into()),
    }
}

/// `GET /v1/reservations`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let after: Option<WireReservationId> = call.parse("after")?;
    let limit = call
        .number("limit", 1..=LIST_RESERVATIONS.0)?
        .unwrap_or(LIST_RESERVATIONS.1) as usize;
    let waiting: Option<bool> = call.parse("waiting")?;
    let resource = call.take("resource");
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let (colony, nothing) = (&snapshot.colony, Default::default());
    let reservations = colony
        .project(&caller.project)
        .map_or(&nothing, |project| project.reservations());
    let (total, waits) = reservations.count();
    let mut list = ReservationList {
        reservations: Vec::new(),
        next: None,
        total: total as u64,
        waiting: waits as u64,
        advisory: reservations.settings().advisory,
        cluster_ms: colony.cluster_ms(),
    };
    let wanted = |found: &Reservation| {
        let over = found.is_over(colony.agents(), colony.cluster_ms());
        !over && waiting.is_none_or(|waiting| waiting == found.is_waiting())
    };
    let shown = |found: &Reservation| WireReservation::of(found, colony.cluster_ms());
    if let Some(resource) = resource {
        // Those are found through the index, and there are no more pages of them.
        let meeting = reservations.meeting(&resource, limit)?;
        let after = after.map(|after| after.0);
        let found = meeting
            .iter()
            .filter(|found| wanted(found) && after.is_none_or(|after| found.id > after));
        list.reservations = found.map(|found| shown(found)).collect();
        return Ok(Json(list).into_response());
    }
    let (mut last, mut found) = (None, Vec::new());
    for (looked_at, reservation) in reservations.after(after.map(|after| after.0)).enumerate() {
        if found.len() == limit || looked_at == LOOKED_AT_MAX {
            list.next = last;
            break;
        }
        last = Some(WireReservationId(reservation.id));
        if wanted(reservation) {
            found.push(shown(reservation));
        }
    }
    list.reservations = found;
    Ok(Json(list).into_response())
}

/// `POST /v1/reservations:release`
pub(super) async fn release(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: ReleaseRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    let which = match (request.ids, request.resources, request.all) {
        (Some(ids), None, false) => Released::Ids(ids.into_iter().map(|id| id.0).collect()),
        (None, Some(resources), false) => Released::Resources(resources),
        (None, None, true) => Released::All,
        _ => {
            return Err(invalid(
                "ids",
                "exactly one of ids, resources and all says what is released",
            ));
        }
    };
    let release = Release {
        which,
        caller: Who::Session(TokenHash::of(&request.token)),
    };
    door.released(&caller, ReservationCommand::Release(release)).await
}

impl Door {
    async fn released(&self, caller: &Caller, command: ReservationCommand) -> Result<Response, Refused> {
        match self.submit(caller, Body::Reservation(command)).await? {
            Outcome::Released {
                seq,
                reservations,
                left,
            } => Ok(Json(ReleasedReservations {
                seq,
                reservations: reservations.into_iter().map(WireReservationId).collect(),
                left,
            })
            .into_response()),
            other => Err(misfit(&other)),
        }
    }

    async fn set(&self, caller: &Caller, command: ReservationCommand) -> Result<Response, Refused> {
        match self.submit(caller, Body::Reservation(command)).await? {
            Outcome::Set { seq } => Ok(Json(SettingsChanged { seq }).into_response()),
            other => Err(misfit(&other)),
        }
    }
}

/// `POST /v1/reservations/{reservation}:renew`, `POST /v1/reservations/{reservation}:force`
pub(super) async fn act(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let (reservation, verb) = call.thing_and_verb("reservation")?;
    let (reservation, verb) = (id(reservation), verb.to_owned());
    let caller = call.caller()?;
    let reservation = reservation?;
    match verb.as_str() {
        "renew" => {
            let RenewRequest { token, ttl_ms } = call.json(door.limits.body_bytes, caller.deadline).await?;
            let renew = Renew {
                ids: vec![reservation],
                caller: Who::Session(TokenHash::of(&token)),
                ttl_ms,
            };
            let command = Body::Reservation(ReservationCommand::Renew(renew));
            match door.submit(&caller, command).await? {
                Outcome::Renewed { seq, until_ms } => {
                    let until_ms = reservation_ends(until_ms);
                    Ok(Json(RenewedReservation { seq, until_ms }).into_response())
                }
                other => Err(misfit(&other)),
            }
        }
        "force" => {
            let ForceRequest { reason } = call.json(door.limits.body_bytes, caller.deadline).await?;
            let force = Force {
                ids: vec![reservation],
                reason,
            };
            door.released(&caller, ReservationCommand::Force(force)).await
        }
        _ => Err(Problem::new(
            Code::NotFound,
            format!("a reservation has no {verb:?}; it has :renew and :force"),
        )
        .into()),
    }
}

fn id(text: &str) -> Result<ReservationId, Refused> {
    text.parse().map_err(|error| invalid("reservation", error))
}

/// `PUT /v1/slots/{name}`
pub(super) async fn set_slot(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let name = call.path("name").into();
    let SlotRequest { capacity } = call.json(door.limits.body_bytes, caller.deadline).await?;
    door.set(&caller, ReservationCommand::Slot { name, capacity }).await
}

/// `GET /v1/slots`
pub(super) async fn slots(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read: Consistency = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let mut list = SlotList::default();
    if let Some(project) = snapshot.colony.project(&caller.project) {
        let reservations = project.reservations();
        let settings = reservations.settings();
        let set = settings.capacities.keys().map(|name| &**name);
        let names: BTreeSet<&str> = set.chain(reservations.slots_in_use()).collect();
        for name in names.into_iter().take(LIST_SLOTS) {
            let (agents, now_ms) = (snapshot.colony.agents(), snapshot.colony.cluster_ms());
            let used = reservations.of_slot(name).filter_map(|id| reservations.get(id));
            let used = used.filter(|found| !found.is_over(agents, now_ms));
            let (waiting, held): (Vec<_>, Vec<_>) = used.partition(|found| found.is_waiting());
            list.slots.push(WireSlot {
                name: name.into(),
                capacity: settings.capacity(name),
                held: held.len() as u64,
                waiting: waiting.len() as u64,
            });
        }
    }
    Ok(Json(list).into_response())
}

/// `PUT /v1/reservation-settings`
pub(super) async fn set_settings(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: ReservationSettingsRequest = call.json(door.limits.body_bytes, caller.deadline).await?;
    door.set(&caller, ReservationCommand::Advisory(request.advisory)).await
}
