//! The reservations of a project and the indexes over them: persistent maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::index::{Index, Place, Space};
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

/// How the text of a slot begins.
const SLOT: &str = "slot:";

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
    /// What is held, and the first places of the lines.
    index: Index,
    /// Who waits for each resource, by its text and in each mode, in the order in which they came; no line is empty.
    lines: OrdMap<(Arc<str>, Mode), OrdSet<Place>>,
    /// Who holds each slot; no slot without one.
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

    /// Its resource of this text.
    ///
    /// # Panics
    /// When it has none.
    pub(super) fn of_text(&self, text: &str) -> &Reserved {
        let found = self.resources.iter().find(|reserved| *reserved.text == *text);
        found.expect("it stands among those of the resource")
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

    /// The last that the command at this position made, of those that are there.
    pub(super) fn last_of(&self, seq: u64) -> Option<ReservationId> {
        let ids = |ordinal| ReservationId { seq, ordinal };
        let mut range = self.by_id.range(ids(0)..=ids(u32::MAX));
        range.next_back().map(|(id, _)| *id)
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

    /// The slots that are held or waited for; those that are both twice.
    pub fn slots_in_use(&self) -> impl Iterator<Item = &str> {
        let lines = self.lines.range((Arc::<str>::from(SLOT), Mode::Exclusive)..);
        let waited_for = lines.map_while(|((text, _), _)| text.strip_prefix(SLOT));
        self.slots.keys().map(|name| &**name).chain(waited_for)
    }

    /// Who holds a slot.
    pub(super) fn holders_of<'a>(&'a self, slot: &str) -> impl Iterator<Item = ReservationId> + use<'a> {
        self.slots.get(slot).into_iter().flatten().copied()
    }

    /// Who holds a slot, and then who waits for it, each in the order in which they came.
    pub fn of_slot(&self, slot: &str) -> impl Iterator<Item = ReservationId> {
        let text: Arc<str> = format!("{SLOT}{slot}").into();
        let waiting = self.line(&text, Mode::Exclusive).map(|(id, _)| id);
        self.holders_of(slot).chain(waiting)
    }

    /// Who waits for a resource in a mode, in the order in which they came.
    pub(super) fn line<'a>(&'a self, text: &Arc<str>, mode: Mode) -> impl Iterator<Item = Place> + use<'a> {
        self.lines.get(&(text.clone(), mode)).into_iter().flatten().copied()
    }

    /// How many places of a slot nobody holds: so many of those who wait for it may have one, the first of them.
    pub(super) fn free_places(&self, slot: &str) -> usize {
        let held = self.slots.get(slot).map_or(0, OrdSet::len);
        (self.settings.capacity(slot) as usize).saturating_sub(held)
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
        let reservation = Arc::new(reservation);
        // First, since the index has what stands here.
        self.by_id.insert(id, reservation.clone());
        for (place, reserved) in (0..).zip(&reservation.resources) {
            match &reserved.resource {
                _ if reservation.is_waiting() => self.line_up(reserved, (id, place)),
                Resource::Slot(name) => {
                    self.slots.entry(name.clone()).or_default().insert(id);
                }
                _ => self.index.insert(held(reserved.mode), &reservation, place),
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
    }

    /// Takes a reservation out.
    pub(crate) fn remove(&mut self, id: ReservationId) {
        let Some(reservation) = self.by_id.remove(&id) else {
            return;
        };
        self.digest.subtract(reservation.digest);
        for (place, reserved) in (0..).zip(&reservation.resources) {
            match &reserved.resource {
                _ if reservation.is_waiting() => self.leave_line(reserved, (id, place)),
                Resource::Slot(name) => take_out(&mut self.slots, name, id),
                resource => self.index.remove(held(reserved.mode), resource, (id, place)),
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

    /// Puts one who waits for a resource into the line for it.
    fn line_up(&mut self, reserved: &Reserved, place: Place) {
        let line = self.lines.entry((reserved.text.clone(), reserved.mode)).or_default();
        let before = line.get_min().copied();
        line.insert(place);
        let after = line.get_min().copied();
        self.index_first(reserved, before, after);
    }

    fn leave_line(&mut self, reserved: &Reserved, place: Place) {
        let key = (reserved.text.clone(), reserved.mode);
        let line = self.lines.get_mut(&key).expect("who waits stands in a line");
        let before = line.get_min().copied();
        line.remove(&place);
        let after = line.get_min().copied();
        if after.is_none() {
            self.lines.remove(&key);
        }
        self.index_first(reserved, before, after);
    }

    /// A line stands in the index in the name of its first.
    fn index_first(&mut self, reserved: &Reserved, before: Option<Place>, after: Option<Place>) {
        if before == after || matches!(reserved.resource, Resource::Slot(_)) {
            return;
        }
        let space = Space {
            waiting: true,
            mode: reserved.mode,
        };
        if let Some(before) = before {
            self.index.remove(space, &reserved.resource, before);
        }
        if let Some((id, place)) = after {
            let first = self.by_id.get(&id).expect("who stands in a line is there");
            self.index.insert(space, first, place);
        }
    }
}

fn held(mode: Mode) -> Space {
    Space { waiting: false, mode }
}

/// Takes an id out of a set; no set stays empty.
fn take_out<K: Ord + Clone>(sets: &mut OrdMap<K, OrdSet<ReservationId>>, key: &K, id: ReservationId) {
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(&id);
    if set.is_empty() {
        sets.remove(key);
    }
}
