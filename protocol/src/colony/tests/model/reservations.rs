//! Reservations in the model: a list in the order of their requests. Whether two resources meet is found by looking for a
//! name that is in both, among all that the tests use and some more.

mod of_tasks;
mod resources;

pub(super) use self::resources::canonical;
pub(in crate::colony::tests) use self::resources::exclude;
use self::resources::{is_in, read, slot, wants};
use super::*;

/// A reservation, held or waited for.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelReservation {
    pub(in crate::colony::tests) id: ReservationId,
    pub(in crate::colony::tests) resources: Vec<Want>,
    pub(in crate::colony::tests) holder: Holder,
    pub(in crate::colony::tests) reason: Option<Arc<str>>,
    pub(in crate::colony::tests) task: Option<TaskId>,
    pub(in crate::colony::tests) asked_ms: u64,
    pub(in crate::colony::tests) ttl_ms: u64,
    /// `None` while it waits.
    pub(in crate::colony::tests) granted: Option<(Fence, u64)>,
    pub(in crate::colony::tests) until_ms: u64,
    pub(in crate::colony::tests) look: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::colony::tests) struct ModelReservations {
    pub(in crate::colony::tests) list: Vec<ModelReservation>,
    pub(in crate::colony::tests) capacities: BTreeMap<Arc<str>, u32>,
    pub(in crate::colony::tests) advisory: bool,
}

impl ModelReservations {
    pub(super) fn is_empty(&self) -> bool {
        *self == ModelReservations::default()
    }

    /// Whether anything was set.
    pub(super) fn are_set(&self) -> bool {
        self.advisory || !self.capacities.is_empty()
    }
}

impl ModelReservation {
    pub(super) fn over_reason(&self) -> ReservationEnd {
        match self.granted {
            Some(_) => ReservationEnd::Expired,
            None => ReservationEnd::WaitOver,
        }
    }
}

fn bad_ttl(ttl_ms: Option<u64>) -> Option<Refusal> {
    match ttl_ms? {
        ms if ms < 1_000 => Some(bad("ttl_ms", &format!("{ms} is under the least, 1000"))),
        ms if ms > 86_400_000 => Some(over("ttl_ms", ms as usize, 86_400_000)),
        _ => None,
    }
}

fn bad_ids(ids: &[ReservationId]) -> Option<Refusal> {
    if ids.is_empty() {
        return Some(bad("ids", "there is none"));
    }
    let mut seen = BTreeSet::new();
    let twice = ids.iter().find(|id| !seen.insert(**id));
    twice.map(|id| bad("ids", &format!("{id} stands twice")))
}

fn held_refusal(blockers: Vec<(bool, Vec<Blocker>)>) -> Refusal {
    let free = blockers.iter().enumerate().filter(|(_, (taken, _))| !taken);
    Refusal::Held {
        free: free.map(|(place, _)| place as u32).collect(),
        blockers: blockers.into_iter().flat_map(|(_, found)| found).collect(),
        more: false,
    }
}

fn told(resources: &[Want]) -> Vec<(Arc<str>, Mode)> {
    resources
        .iter()
        .map(|want| (want.resource.clone(), want.mode))
        .collect()
}

impl ModelProject {
    pub(super) fn writer(&self, caller: Option<&Caller>, at: &At) -> Result<Option<Owner>, Refusal> {
        caller.map(|caller| self.claimant_in_act(caller, at)).transpose()
    }

    /// Whether its time is not over, and its owner has not ended.
    fn counts(&self, reservation: &ModelReservation, at: &At) -> bool {
        let ended = match &reservation.holder.owner {
            Owner::Session { session, .. } => {
                let found = self.sessions.iter().find(|found| found.session.id == *session);
                found.is_none_or(|found| found.over(at.now_ms).is_some())
            }
            Owner::Agent { started, .. } => {
                let life = at.lives.iter().find(|life| life.started == *started);
                life.is_none_or(|life| life.over().is_some())
            }
        };
        reservation.until_ms > at.now_ms && !ended
    }

    /// Whether a session holds or waits for anything reserved.
    pub(super) fn reserved_by(&self, id: SessionId) -> Vec<ReservationId> {
        let of =
            |found: &&ModelReservation| matches!(found.holder.owner, Owner::Session { session, .. } if session == id);
        let list = self.reservations.list.iter().filter(of);
        list.map(|found| found.id).collect()
    }

    pub(super) fn reservation_against(&self, key: &Key, writer: Option<&Owner>, at: &At) -> Option<ModelReservation> {
        // Of those that the tests make at most one is exclusive on a key.
        let stops = |reservation: &&ModelReservation| {
            let mut resources = reservation.resources.iter();
            reservation.granted.is_some()
                && self.counts(reservation, at)
                && writer != Some(&reservation.holder.owner)
                && resources.any(|want| want.mode == Mode::Exclusive && is_in(key, &want.resource))
        };
        let mut list = self.reservations.list.iter();
        list.find(stops).filter(|_| !self.reservations.advisory).cloned()
    }

    fn capacity(&self, slot: &str) -> usize {
        self.reservations
            .capacities
            .get(slot)
            .map_or(1, |capacity| *capacity as usize)
    }

    /// Whether each of these is taken, and whose resources stand in its way, `me` waiting already or not.
    fn blockers(
        &self,
        resources: &[Want],
        owner: &Owner,
        me: Option<ReservationId>,
        at: &At,
    ) -> Vec<(bool, Vec<Blocker>)> {
        let before = |other: &&ModelReservation| {
            let waits_behind = other.granted.is_none() && me.is_some_and(|me| other.id >= me);
            !waits_behind
        };
        self.blockers_among(resources, owner, &before, &[], at)
    }

    /// The same of those that `among` names, when places of `slots` will have been taken before.
    fn blockers_among(
        &self,
        resources: &[Want],
        owner: &Owner,
        among: &dyn Fn(&&ModelReservation) -> bool,
        slots: &[Want],
        at: &At,
    ) -> Vec<(bool, Vec<Blocker>)> {
        let before = |other: &&ModelReservation| self.counts(other, at) && among(other);
        let others: Vec<&ModelReservation> = self.reservations.list.iter().filter(before).collect();
        let of = |(place, want): (usize, &Want)| {
            let mut found = Vec::new();
            for other in &others {
                for theirs in &other.resources {
                    let same_slot = slot(&want.resource).is_some() && want.resource == theirs.resource;
                    if same_slot || other.holder.owner != *owner && exclude(want, theirs) {
                        found.push(Blocker {
                            wanted: place as u32,
                            reservation: other.id,
                            resource: theirs.resource.clone(),
                            mode: theirs.mode,
                            holder: other.holder.clone(),
                            until_ms: other.until_ms,
                            task: other.task,
                            waits: other.granted.is_none(),
                        });
                    }
                }
            }
            let own = slots.iter().filter(|taken| taken.resource == want.resource).count();
            match slot(&want.resource) {
                Some(name) if found.len() + own < self.capacity(name) => (false, Vec::new()),
                // A slot without places is taken by nobody.
                Some(_) => (true, found),
                None => (!found.is_empty(), found),
            }
        };
        resources.iter().enumerate().map(of).collect()
    }

    pub(super) fn reservation_command(&mut self, command: &ReservationCommand, at: &At) -> Result<Outcome, Refusal> {
        match command {
            ReservationCommand::Acquire(acquire) => self.acquire(acquire, at),
            ReservationCommand::Release(release) => self.release_reserved(release, at),
            ReservationCommand::Renew(renew) => self.renew(renew, at),
            ReservationCommand::Force(force) => {
                bad_ids(&force.ids).map_or(Ok(()), Err)?;
                if force.reason.is_empty() {
                    return Err(bad("reason", "is empty or has a control character"));
                }
                for id in &force.ids {
                    self.alive(*id, at)?;
                }
                for id in &force.ids {
                    let (by, reason) = (at.author.clone(), force.reason.clone());
                    self.end_reservation(*id, ReservationEnd::Forced { by, reason }, at);
                }
                self.look_at_some(at);
                Ok(Outcome::Released {
                    seq: at.seq,
                    reservations: force.ids.clone(),
                    left: 0,
                })
            }
            ReservationCommand::Slot { name, capacity } => {
                if name.is_empty() {
                    return Err(bad("slot", "is empty, or has a slash or a control character"));
                }
                if *capacity > 1_024 {
                    return Err(over("capacity", *capacity as usize, 1_024));
                }
                let more = *capacity as usize > self.capacity(name);
                let before = self.with_places(name);
                self.reservations.capacities.insert(name.clone(), *capacity);
                self.reservations.capacities.retain(|_, capacity| *capacity != 1);
                if more {
                    let now = self.with_places(name);
                    for reservation in &mut self.reservations.list {
                        reservation.look |= now.contains(&reservation.id) && !before.contains(&reservation.id);
                    }
                    self.look_at_some(at);
                    self.look_at_queues();
                }
                Ok(Outcome::Set { seq: at.seq })
            }
            ReservationCommand::Advisory(advisory) => {
                self.reservations.advisory = *advisory;
                Ok(Outcome::Set { seq: at.seq })
            }
        }
    }

    fn acquire(&mut self, acquire: &Acquire, at: &At) -> Result<Outcome, Refusal> {
        bad_ttl(acquire.ttl_ms).map_or(Ok(()), Err)?;
        if acquire.wait_ms > 3_600_000 {
            return Err(over("wait_ms", acquire.wait_ms as usize, 3_600_000));
        }
        if acquire
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains(char::is_control))
        {
            return Err(bad("reason", "is empty or has a control character"));
        }
        let resources = wants(&acquire.resources)?;
        let holder = Holder {
            owner: self.claimant(&acquire.caller, at)?,
            author: at.author.clone(),
        };
        if let Some(task) = acquire.task.filter(|task| !self.tasks.contains_key(task)) {
            return Err(Refusal::UnknownTask { task });
        }
        self.check_not_waiting(&holder.owner, at)?;
        let mine = |other: &&ModelReservation| other.holder.owner == holder.owner && self.counts(other, at);
        let blockers = self.blockers(&resources, &holder.owner, None, at);
        let id = ReservationId {
            seq: at.seq,
            ordinal: 0,
        };
        let mut reservation = ModelReservation {
            id,
            resources,
            holder: holder.clone(),
            reason: acquire.reason.clone(),
            task: acquire.task,
            asked_ms: at.now_ms,
            ttl_ms: acquire.ttl_ms.unwrap_or(900_000),
            granted: None,
            until_ms: at.now_ms.saturating_add(acquire.wait_ms),
            look: false,
        };
        if blockers.iter().all(|(taken, _)| !taken) {
            if let Caller::Opens(new) = &acquire.caller {
                self.open_session(new, at);
            }
            self.grant_reserved(&mut reservation, at);
            let (fence, until_ms) = (Some(Fence(at.seq)), reservation.until_ms);
            self.reservations.list.push(reservation);
            return Ok(Outcome::Reserved {
                seq: at.seq,
                reservation: id,
                fence,
                until_ms,
            });
        }
        if acquire.wait_ms == 0 {
            return Err(held_refusal(blockers));
        }
        for held in self.reservations.list.iter().filter(|held| mine(held)) {
            let wants_slot = |want: &Want| slot(&want.resource).is_some() && held.resources.contains(want);
            if reservation.resources.iter().any(wants_slot) {
                return Err(Refusal::Deadlock {
                    reservation: held.id,
                    waiter: id,
                    holder,
                });
            }
            let waits_for_it = |other: &&ModelReservation| {
                let waits = other.granted.is_none() && self.counts(other, at) && other.holder.owner != holder.owner;
                let meets = |mine: &Want| {
                    let wanted =
                        |theirs: &Want| exclude(mine, theirs) || slot(&mine.resource).is_some() && mine == theirs;
                    other.resources.iter().any(wanted)
                };
                waits && held.resources.iter().any(meets)
            };
            if self.reservations.list.iter().any(|other| waits_for_it(&other)) {
                // Which of them is named is not said.
                return Err(Refusal::Deadlock {
                    reservation: held.id,
                    waiter: ANY,
                    holder,
                });
            }
        }
        if let Caller::Opens(new) = &acquire.caller {
            self.open_session(new, at);
        }
        let until_ms = reservation.until_ms;
        let waiting = What::ReservationWaiting {
            reservation: id,
            holder,
            resources: told(&reservation.resources),
            until_ms,
        };
        self.event(waiting, at);
        self.reservations.list.push(reservation);
        Ok(Outcome::Reserved {
            seq: at.seq,
            reservation: id,
            fence: None,
            until_ms,
        })
    }

    fn check_not_waiting(&self, owner: &Owner, at: &At) -> Result<(), Refusal> {
        let mine = |other: &&ModelReservation| other.holder.owner == *owner && self.counts(other, at);
        let mut waits = self.reservations.list.iter().filter(|other| other.granted.is_none());
        match waits.find(mine) {
            Some(waits) => Err(Refusal::Waits { reservation: waits.id }),
            None => Ok(()),
        }
    }

    fn grant_reserved(&mut self, reservation: &mut ModelReservation, at: &At) {
        reservation.granted = Some((Fence(at.seq), at.now_ms));
        reservation.until_ms = at.now_ms.saturating_add(reservation.ttl_ms);
        let granted = What::ReservationGranted {
            reservation: reservation.id,
            fence: Fence(at.seq),
            holder: reservation.holder.clone(),
            resources: told(&reservation.resources),
            until_ms: reservation.until_ms,
        };
        self.event(granted, at);
    }

    fn alive(&self, id: ReservationId, at: &At) -> Result<ModelReservation, Refusal> {
        let found = self
            .reservations
            .list
            .iter()
            .find(|found| found.id == id && self.counts(found, at));
        found.cloned().ok_or(match id.seq < at.seq {
            true => Refusal::NotHeld {
                reservation: id,
                holder: None,
            },
            false => Refusal::UnknownReservation { reservation: id },
        })
    }

    fn mine(&self, id: ReservationId, owner: &Owner, at: &At) -> Result<ModelReservation, Refusal> {
        let found = self.alive(id, at)?;
        match found.holder.owner == *owner {
            true => Ok(found),
            false => Err(Refusal::NotHeld {
                reservation: id,
                holder: Some(found.holder),
            }),
        }
    }

    fn release_reserved(&mut self, release: &Release, at: &At) -> Result<Outcome, Refusal> {
        match &release.which {
            Released::Ids(ids) => bad_ids(ids).map_or(Ok(()), Err)?,
            Released::Resources(texts) if texts.is_empty() => return Err(bad("resources", "there is none")),
            _ => {}
        }
        let owner = self.claimant_in_act(&release.caller, at)?;
        let of_owner = |found: &&ModelReservation| found.holder.owner == owner;
        let all = self.reservations.list.iter().filter(of_owner);
        let alive: Vec<ModelReservation> = all.filter(|found| self.counts(found, at)).cloned().collect();
        let mut ended: Vec<(ModelReservation, Vec<Arc<str>>)> = Vec::new();
        match &release.which {
            Released::Ids(ids) => {
                for id in ids {
                    ended.push((self.mine(*id, &owner, at)?, Vec::new()));
                }
            }
            Released::All => ended.extend(alive.into_iter().map(|found| (found, Vec::new()))),
            Released::Resources(texts) => {
                let texts: Vec<Arc<str>> = texts.iter().map(|text| read(text)).collect::<Result<_, _>>()?;
                let has = |found: &ModelReservation, text: &Arc<str>| {
                    found.resources.iter().any(|want| want.resource == *text)
                };
                if let Some(missing) = texts.iter().find(|text| !alive.iter().any(|found| has(found, text))) {
                    let resource = missing.clone();
                    return Err(Refusal::NotReserved { resource });
                }
                for found in alive
                    .into_iter()
                    .filter(|found| texts.iter().any(|text| has(found, text)))
                {
                    ended.push((found, texts.clone()));
                }
            }
        }
        for (reservation, texts) in &ended {
            match texts.is_empty() {
                true => self.end_reservation(reservation.id, ReservationEnd::Released, at),
                false => self.end_some(reservation.id, texts, ReservationEnd::Released, at),
            }
        }
        self.look_at_some(at);
        Ok(Outcome::Released {
            seq: at.seq,
            reservations: ended.iter().map(|(reservation, _)| reservation.id).collect(),
            left: self.reservations.list.iter().filter(of_owner).count() as u64,
        })
    }

    fn renew(&mut self, renew: &Renew, at: &At) -> Result<Outcome, Refusal> {
        bad_ids(&renew.ids).or(bad_ttl(renew.ttl_ms)).map_or(Ok(()), Err)?;
        let owner = self.claimant_in_act(&renew.caller, at)?;
        for id in &renew.ids {
            if self.mine(*id, &owner, at)?.granted.is_none() {
                return Err(Refusal::Waits { reservation: *id });
            }
        }
        let mut first = u64::MAX;
        for reservation in &mut self.reservations.list {
            if renew.ids.contains(&reservation.id) {
                if reservation.ttl_ms < u64::MAX {
                    reservation.ttl_ms = renew.ttl_ms.unwrap_or(reservation.ttl_ms);
                }
                reservation.until_ms = at.now_ms.saturating_add(reservation.ttl_ms);
                first = first.min(reservation.until_ms);
            }
        }
        Ok(Outcome::Renewed {
            seq: at.seq,
            until_ms: first,
        })
    }

    pub(super) fn end_reservation(&mut self, id: ReservationId, reason: ReservationEnd, at: &At) {
        let found = self.reservations.list.iter().find(|found| found.id == id).unwrap();
        let all: Vec<Arc<str>> = found.resources.iter().map(|want| want.resource.clone()).collect();
        self.end_some(id, &all, reason, at);
    }

    fn end_some(&mut self, id: ReservationId, texts: &[Arc<str>], reason: ReservationEnd, at: &At) {
        let place = self.reservations.list.iter().position(|found| found.id == id).unwrap();
        let gone = self.reservations.list[place].clone();
        let (freed, left): (Vec<Want>, Vec<Want>) = gone
            .resources
            .iter()
            .cloned()
            .partition(|want| texts.contains(&want.resource));
        let ended = What::ReservationEnded {
            reservation: id,
            holder: gone.holder.clone(),
            resources: freed.iter().map(|want| want.resource.clone()).collect(),
            left: left.len() as u32,
            reason,
        };
        self.event(ended, at);
        match left.is_empty() {
            true => {
                self.reservations.list.remove(place);
                if let Owner::Session { session, .. } = gone.holder.owner {
                    self.close_if_idle(session, at);
                }
            }
            false => self.reservations.list[place].resources = left,
        }
        let mut looked_at = BTreeSet::from([id]);
        for freed in &freed {
            match slot(&freed.resource) {
                // The last of those who have a place if all before it get theirs.
                Some(name) => looked_at.extend(self.with_places(name).last().copied()),
                None => looked_at.extend(self.first_that_met(freed, &gone, at)),
            }
        }
        for waiter in &mut self.reservations.list {
            waiter.look |= waiter.granted.is_none() && looked_at.contains(&waiter.id);
        }
        self.look_at_queues();
    }

    /// Those who wait for a slot and have a place if all before them get theirs.
    fn with_places(&self, name: &str) -> Vec<ReservationId> {
        let of_slot = |found: &&ModelReservation| found.resources.iter().any(|want| slot(&want.resource) == Some(name));
        let (held, waiting): (Vec<_>, Vec<_>) = self
            .reservations
            .list
            .iter()
            .filter(of_slot)
            .partition(|found| found.granted.is_some());
        let free = self.capacity(name).saturating_sub(held.len());
        waiting.iter().take(free).map(|found| found.id).collect()
    }

    /// Those who wait for what meets something that is free, and before whom nobody waits for the same exclusively.
    fn first_that_met(&self, freed: &Want, gone: &ModelReservation, at: &At) -> Vec<ReservationId> {
        let waiting = || self.reservations.list.iter().filter(|found| found.granted.is_none());
        let first = |want: &Want, id: ReservationId| {
            let mut before = waiting().filter(|other| other.id < id && self.counts(other, at));
            let same = |theirs: &Want| theirs.resource == want.resource && theirs.mode == Mode::Exclusive;
            !before.any(|other| other.resources.iter().any(same))
        };
        let met = |waiter: &&ModelReservation| {
            let behind = gone.granted.is_some() || waiter.id > gone.id;
            let mut resources = waiter.resources.iter();
            let others = waiter.holder.owner != gone.holder.owner;
            behind && others && resources.any(|want| exclude(want, freed) && first(want, waiter.id))
        };
        waiting().filter(met).map(|found| found.id).collect()
    }

    pub(super) fn look_at_some(&mut self, at: &At) {
        for _ in 0..8 {
            let next = self.reservations.list.iter().find(|waiter| waiter.look);
            let Some(id) = next.map(|waiter| waiter.id) else { return };
            self.look_at(id, at);
        }
    }

    pub(super) fn look_at(&mut self, id: ReservationId, at: &At) {
        let place = self.reservations.list.iter().position(|found| found.id == id).unwrap();
        self.reservations.list[place].look = false;
        let mut waiter = self.reservations.list[place].clone();
        let blockers = self.blockers(&waiter.resources, &waiter.holder.owner, Some(id), at);
        if self.counts(&waiter, at) && blockers.iter().all(|(taken, _)| !taken) {
            self.grant_reserved(&mut waiter, at);
            self.reservations.list[place] = waiter;
            self.look_at_queues();
        }
    }
}

/// Stands in a refusal of the model for whichever reservation the colony names.
pub(in crate::colony::tests) const ANY: ReservationId = ReservationId { seq: 0, ordinal: 7 };
