//! The reservations of a project and the indexes over them: persistent maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::index::{Index, Space};
use super::{Mode, Reservation, ReservationId, Reserved, Resource, Standing};
use crate::colony::digest::Digest;
use crate::colony::task::{Holder, Owner, TaskId};

/// How many reservations a project may have, those that wait included.
pub const RESERVATIONS_MAX: usize = 131_072;
/// How many of them may be one owner's.
pub const RESERVATIONS_OF_OWNER_MAX: usize = 16_384;
/// How many bytes they may have, by [`Reservation::bytes`].
pub const RESERVATION_BYTES_MAX: u64 = 128 << 20;
/// How many of them may wait.
pub const WAITING_MAX: usize = 1_024;
/// How many resources those may want in all: each is looked at when something goes that it may have waited for.
pub const WAITING_RESOURCES_MAX: usize = 4_096;

const RESERVATION_DIGEST: u8 = b'v';
const SETTINGS_DIGEST: u8 = b'k';

/// What a project says of reservations as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationSettings {
    /// Whether reservations leave the writes of others alone.
    pub advisory: bool,
    /// The slots that have another capacity than one.
    pub capacities: BTreeMap<Arc<str>, u32>,
}

impl ReservationSettings {
    /// How many places a slot has.
    pub fn capacity(&self, slot: &str) -> u32 {
        self.capacities.get(slot).copied().unwrap_or(1)
    }

    fn digest(&self) -> Digest {
        match *self == ReservationSettings::default() {
            true => Digest::default(),
            false => Digest::of(SETTINGS_DIGEST, self),
        }
    }
}

/// The reservations of a project.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    by_id: OrdMap<ReservationId, Arc<Reservation>>,
    by_owner: OrdMap<Owner, OrdSet<ReservationId>>,
    index: Index,
    /// Who holds each slot or waits for it; no slot without one.
    slots: OrdMap<Arc<str>, OrdSet<ReservationId>>,
    /// Those who wait, in the order in which they came.
    waiting: OrdSet<ReservationId>,
    /// The same by owner.
    waits_by_owner: OrdMap<Owner, OrdSet<ReservationId>>,
    /// Those of them that are to be looked at.
    to_look_at: OrdSet<ReservationId>,
    waiting_resources: usize,
    /// How many resources other than slots are held exclusively: while there is none, no write is looked up.
    exclusive: usize,
    bytes: u64,
    settings: Arc<ReservationSettings>,
    pub(crate) digest: Digest,
}

/// The canonical form of a reservation: what the digest covers.
#[derive(Serialize)]
struct Canonical<'a> {
    id: ReservationId,
    resources: Vec<(&'a str, Mode)>,
    holder: &'a Holder,
    reason: &'a Option<Arc<str>>,
    task: Option<TaskId>,
    asked_ms: u64,
    ttl_ms: u64,
    state: &'a Standing,
}

impl Reservation {
    fn compute_digest(&self) -> Digest {
        let resources = self.resources.iter().map(|reserved| (&*reserved.text, reserved.mode));
        let canonical = Canonical {
            id: self.id,
            resources: resources.collect(),
            holder: &self.holder,
            reason: &self.reason,
            task: self.task,
            asked_ms: self.asked_ms,
            ttl_ms: self.ttl_ms,
            state: &self.state,
        };
        Digest::of(RESERVATION_DIGEST, &canonical)
    }

    /// Its place of a slot.
    ///
    /// # Panics
    /// When it has none.
    pub(super) fn of_slot(&self, name: &str) -> &Reserved {
        let wanted = |reserved: &&Reserved| matches!(&reserved.resource, Resource::Slot(slot) if **slot == *name);
        let found = self.resources.iter().find(wanted);
        found.expect("it stands among those of the slot")
    }

    /// Whether it has a place of a slot of which the other one has a place, or wants one.
    pub(super) fn has_slot_of(&self, other: &Reservation) -> bool {
        let has = |reserved: &Reserved| {
            other
                .resources
                .iter()
                .any(|theirs| theirs.resource == reserved.resource)
        };
        let mut slots = self
            .resources
            .iter()
            .filter(|reserved| matches!(reserved.resource, Resource::Slot(_)));
        slots.any(has)
    }

    fn space(&self, mode: Mode) -> Space {
        Space {
            waiting: self.is_waiting(),
            mode,
        }
    }

    /// How many of its resources are no slots and held exclusively.
    fn exclusive(&self) -> usize {
        let stops =
            |reserved: &&Reserved| reserved.mode == Mode::Exclusive && !matches!(reserved.resource, Resource::Slot(_));
        match self.is_waiting() {
            true => 0,
            false => self.resources.iter().filter(stops).count(),
        }
    }
}

impl Reservations {
    /// A reservation.
    pub fn get(&self, id: ReservationId) -> Option<&Arc<Reservation>> {
        self.by_id.get(&id)
    }

    pub(super) fn known(&self, id: ReservationId) -> &Reservation {
        self.by_id.get(&id).expect("the indexes have what is there")
    }

    /// All reservations by id, from the first after `after` on, those that wait included.
    pub fn after(&self, after: Option<ReservationId>) -> impl Iterator<Item = &Arc<Reservation>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.by_id.range((start, Unbounded)).map(|(_, reservation)| reservation)
    }

    /// Those of one owner, oldest first.
    pub fn of_owner(&self, owner: &Owner) -> impl Iterator<Item = &Arc<Reservation>> {
        let ids = self.by_owner.get(owner).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// How many one owner has.
    pub fn count_of(&self, owner: &Owner) -> usize {
        self.by_owner.get(owner).map_or(0, OrdSet::len)
    }

    /// Those that one owner waits for.
    pub(super) fn waits_of(&self, owner: &Owner) -> impl Iterator<Item = &Arc<Reservation>> {
        let ids = self.waits_by_owner.get(owner).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// Those who wait, in the order in which they came.
    pub fn waiting(&self) -> impl Iterator<Item = ReservationId> {
        self.waiting.iter().copied()
    }

    /// How many there are, and how many of them wait.
    pub fn count(&self) -> (usize, usize) {
        (self.by_id.len(), self.waiting.len())
    }

    /// How many resources those who wait want.
    pub fn waiting_resources(&self) -> usize {
        self.waiting_resources
    }

    /// What they count towards [`RESERVATION_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing is reserved and nothing was set.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && *self.settings == ReservationSettings::default()
    }

    /// What the project says of them.
    pub fn settings(&self) -> &ReservationSettings {
        &self.settings
    }

    /// The slots that are held or waited for.
    pub fn slots_in_use(&self) -> impl Iterator<Item = &Arc<str>> {
        self.slots.keys()
    }

    /// Who holds a slot or waits for it, in the order in which they came.
    pub fn of_slot(&self, name: &str) -> impl Iterator<Item = ReservationId> {
        self.slots.get(name).into_iter().flatten().copied()
    }

    /// Whether a write may have to be refused.
    pub(super) fn stops_writes(&self) -> bool {
        self.exclusive > 0 && !self.settings.advisory
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// The first of those who wait and are to be looked at.
    pub(super) fn next_to_look_at(&self) -> Option<ReservationId> {
        self.to_look_at.get_min().copied()
    }

    pub(crate) fn set_settings(&mut self, settings: ReservationSettings) {
        self.digest.subtract(self.settings.digest());
        self.digest.add(settings.digest());
        self.settings = Arc::new(settings);
    }

    /// Puts a reservation in, in place of what stood under its id.
    pub(crate) fn set(&mut self, mut reservation: Reservation) {
        self.remove(reservation.id);
        reservation.digest = reservation.compute_digest();
        self.digest.add(reservation.digest);
        let id = reservation.id;
        for (place, reserved) in (0..).zip(&reservation.resources) {
            match &reserved.resource {
                Resource::Slot(name) => {
                    self.slots.entry(name.clone()).or_default().insert(id);
                }
                resource => self.index.insert(reservation.space(reserved.mode), resource, id, place),
            }
        }
        if let Standing::Waiting { look, .. } = reservation.state {
            self.waiting.insert(id);
            let owner = reservation.holder.owner.clone();
            self.waits_by_owner.entry(owner).or_default().insert(id);
            self.waiting_resources += reservation.resources.len();
            if look {
                self.to_look_at.insert(id);
            }
        }
        self.exclusive += reservation.exclusive();
        self.bytes += reservation.bytes();
        let owner = reservation.holder.owner.clone();
        self.by_owner.entry(owner).or_default().insert(id);
        self.by_id.insert(id, Arc::new(reservation));
    }

    /// Takes a reservation out.
    pub(crate) fn remove(&mut self, id: ReservationId) {
        let Some(reservation) = self.by_id.remove(&id) else {
            return;
        };
        self.digest.subtract(reservation.digest);
        for (place, reserved) in (0..).zip(&reservation.resources) {
            match &reserved.resource {
                Resource::Slot(name) => take_out(&mut self.slots, name, id),
                resource => self.index.remove(reservation.space(reserved.mode), resource, id, place),
            }
        }
        if reservation.is_waiting() {
            self.waiting.remove(&id);
            take_out(&mut self.waits_by_owner, &reservation.holder.owner, id);
            self.to_look_at.remove(&id);
            self.waiting_resources -= reservation.resources.len();
        }
        self.exclusive -= reservation.exclusive();
        self.bytes -= reservation.bytes();
        take_out(&mut self.by_owner, &reservation.holder.owner, id);
    }
}

/// Takes an id out of a set; no set stays empty.
fn take_out<K: Ord + Clone>(sets: &mut OrdMap<K, OrdSet<ReservationId>>, key: &K, id: ReservationId) {
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(&id);
    if set.is_empty() {
        sets.remove(key);
    }
}
