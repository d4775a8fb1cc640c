//! Reservations over a door.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use queenright_protocol::colony::{
    Blocker, Checked, Mode, RESERVATION_OF_LEASE_MS, Refusal, Reservation, ReservationId, ReservationIdError, Standing,
    Want,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{WireHolder, WireTaskId, is_false};

/// The id of a reservation, written `r17-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(extend("pattern" = r"^r[0-9]+-[0-9]+$"))]
pub struct WireReservationId(pub ReservationId);

impl fmt::Display for WireReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WireReservationId {
    type Err = ReservationIdError;

    fn from_str(text: &str) -> Result<WireReservationId, ReservationIdError> {
        text.parse().map(WireReservationId)
    }
}

impl TryFrom<String> for WireReservationId {
    type Error = ReservationIdError;

    fn try_from(text: String) -> Result<WireReservationId, ReservationIdError> {
        text.parse()
    }
}

impl From<WireReservationId> for String {
    fn from(id: WireReservationId) -> String {
        id.to_string()
    }
}

/// A resource and how it is wanted, or held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WireWant {
    /// `file:PATTERN`, `key:KEY`, `key:PREFIX/` or `slot:NAME`.
    pub resource: Arc<str>,
    /// How; exclusively unless it says otherwise.
    #[serde(default)]
    pub mode: Mode,
}

impl From<WireWant> for Want {
    fn from(want: WireWant) -> Want {
        Want {
            resource: want.resource,
            mode: want.mode,
        }
    }
}

impl From<&Want> for WireWant {
    fn from(want: &Want) -> WireWant {
        WireWant {
            resource: want.resource.clone(),
            mode: want.mode,
        }
    }
}

/// The body of `POST /v1/reservations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquireRequest {
    /// The resources: all of them or none, at most 64.
    pub resources: Vec<WireWant>,
    /// How long they are held, in milliseconds of cluster time; 15 minutes unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How long to wait for them if they are taken; not at all unless it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// What for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// For which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<WireTaskId>,
    /// The token of the caller's session. When there is none a session is opened, which closes with what it took. A
    /// request with an idempotency key must bring it: a repeat would get another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The answer to it, and to `GET /v1/reservations/{id}`. Status 201 when it is granted, 202 while it waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acquired {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// By which the owner shows that it is. Shown here only.
    pub token: String,
    /// The reservation.
    pub reservation: WireReservationId,
    /// The position of the command that granted it; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// Cluster time in milliseconds at which it ends by itself, or gives up waiting.
    pub until_ms: u64,
}

/// The body of `POST /v1/reservations:check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The resources.
    pub resources: Vec<WireWant>,
    /// Whose own reservations are no hindrance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What stands in the way of a request: the answer to a check, and the details of a problem with code `HELD`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standings {
    /// What stands in its way, at most 16; nothing if it would be granted.
    pub conflicts: Vec<WireBlocker>,
    /// Whether there is more than is listed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// The resources that would be granted if they were wanted alone: the greatest part of the request that is free.
    pub free: Vec<Arc<str>>,
    /// The intents of others that meet it; they stand in nobody's way. Only a check has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<WireBlocker>,
}

/// A reservation that stands in the way of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireBlocker {
    /// The resource that was wanted; empty where a claim was refused, for its tasks name it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub wanted: Arc<str>,
    /// The reservation that meets it.
    pub reservation: WireReservationId,
    /// By this resource.
    pub resource: Arc<str>,
    /// Which it has so.
    pub mode: Mode,
    /// Whose it is.
    pub holder: WireHolder,
    /// Cluster time in milliseconds at which it ends by itself; absent if it goes with the lease of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// For which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<WireTaskId>,
    /// Whether it waits itself, and came before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waits: bool,
}

impl Standings {
    /// What was found of a request for these resources.
    pub fn of(wanted: &[Want], checked: &Checked) -> Standings {
        Standings {
            conflicts: blockers(wanted, &checked.blockers),
            more: checked.more,
            free: free(wanted, &checked.free),
            announced: blockers(wanted, &checked.announced),
        }
    }

    /// What a refusal says of a request for these resources, or of one that is not known.
    pub fn of_refusal(wanted: &[Want], refusal: &Refusal) -> Option<Standings> {
        let Refusal::Held {
            blockers: found,
            more,
            free: places,
        } = refusal
        else {
            return None;
        };
        Some(Standings {
            conflicts: blockers(wanted, found),
            more: *more,
            free: free(wanted, places),
            announced: Vec::new(),
        })
    }
}

/// When a reservation ends by itself, if it does.
pub fn ends(until_ms: u64) -> Option<u64> {
    Some(until_ms).filter(|until_ms| *until_ms < RESERVATION_OF_LEASE_MS)
}

fn text(wanted: &[Want], place: u32) -> Arc<str> {
    let want = wanted.get(place as usize);
    want.map(|want| want.resource.clone()).unwrap_or_default()
}

fn free(wanted: &[Want], places: &[u32]) -> Vec<Arc<str>> {
    let known = places.iter().filter_map(|place| wanted.get(*place as usize));
    known.map(|want| want.resource.clone()).collect()
}

fn blockers(wanted: &[Want], found: &[Blocker]) -> Vec<WireBlocker> {
    let wire = |blocker: &Blocker| WireBlocker {
        wanted: text(wanted, blocker.wanted),
        reservation: WireReservationId(blocker.reservation),
        resource: blocker.resource.clone(),
        mode: blocker.mode,
        holder: WireHolder::from(&blocker.holder),
        until_ms: ends(blocker.until_ms),
        task: blocker.task.map(WireTaskId),
        waits: blocker.waits,
    };
    found.iter().map(wire).collect()
}

/// The body of `POST /v1/reservations:release`: exactly one of `ids`, `resources` and `all` says which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The token of the owner.
    pub token: String,
    /// These: all of them or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<WireReservationId>>,
    /// These resources, in whichever of the owner's reservations they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<Arc<str>>>,
    /// All of the owner's, up to 1,000 at once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
}

/// The answer to it, and to a force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedReservations {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Which were released, or lost resources.
    pub reservations: Vec<WireReservationId>,
    /// How many the owner has left.
    pub left: u64,
}

/// The body of `POST /v1/reservations/{id}:renew`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The token of the owner.
    pub token: String,
    /// For how long from now, in milliseconds; as long as at first unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenewedReservation {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Cluster time in milliseconds at which it ends by itself now; absent if it goes with the lease of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// The body of `POST /v1/reservations/{id}:force`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForceRequest {
    /// Why: everybody can read it.
    pub reason: Arc<str>,
}

/// The body of `PUT /v1/slots/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotRequest {
    /// How many places it has, up to 1,024; 0 closes it.
    pub capacity: u32,
}

/// The body of `PUT /v1/reservation-settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationSettingsRequest {
    /// Whether reservations leave the writes of others alone.
    pub advisory: bool,
}

/// The answer to a change of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsChanged {
    /// The position of the command in the order of all commands.
    pub seq: u64,
}

/// The answer to `GET /v1/slots`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotList {
    /// The slots that are used or have another capacity than 1, by name; at most 1,000.
    pub slots: Vec<WireSlot>,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireSlot {
    /// Its name.
    pub name: Arc<str>,
    /// How many places it has.
    pub capacity: u32,
    /// How many are held.
    pub held: u64,
    /// How many wait for one.
    pub waiting: u64,
}

/// The answer to `GET /v1/reservations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationList {
    /// The reservations in the order of their requests.
    pub reservations: Vec<WireReservation>,
    /// What to ask `after` for the rest; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WireReservationId>,
    /// How many there are, those that wait included.
    pub total: u64,
    /// How many of them wait.
    pub waiting: u64,
    /// Whether the project's reservations leave the writes of others alone.
    pub advisory: bool,
    /// Cluster time as of this answer, in milliseconds.
    pub cluster_ms: u64,
}

/// How a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WireStanding {
    /// Its owner has it.
    Held,
    /// It waits.
    Waiting,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireReservation {
    /// Its id.
    pub reservation: WireReservationId,
    /// How it is.
    pub state: WireStanding,
    /// What it is of.
    pub resources: Vec<WireWant>,
    /// Whose it is.
    pub holder: WireHolder,
    /// The position of the command that granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// Cluster time of the request, in milliseconds.
    pub asked_ms: u64,
    /// Cluster time at which it ends by itself, or gives up waiting; absent if it goes with the lease of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// How long from this answer to then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// For which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<WireTaskId>,
}

impl WireReservation {
    /// A reservation as of this cluster time.
    pub fn of(reservation: &Reservation, cluster_ms: u64) -> WireReservation {
        let resources = reservation.resources.iter().map(|reserved| WireWant {
            resource: reserved.text.clone(),
            mode: reserved.mode,
        });
        let until_ms = ends(reservation.until_ms());
        WireReservation {
            reservation: WireReservationId(reservation.id),
            state: match reservation.state {
                Standing::Waiting { .. } => WireStanding::Waiting,
                Standing::Held { .. } => WireStanding::Held,
            },
            resources: resources.collect(),
            holder: WireHolder::from(&reservation.holder),
            fence: reservation.fence().map(|fence| fence.0),
            asked_ms: reservation.asked_ms,
            until_ms,
            left_ms: until_ms.map(|until_ms| until_ms.saturating_sub(cluster_ms)),
            reason: reservation.reason.clone(),
            task: reservation.task.map(WireTaskId),
        }
    }
}
