//! Reservations.

use super::owners::called;
use super::*;

impl Seeded {
    fn resource(&mut self) -> Arc<str> {
        let good = [
            "file:**",
            "file:?",
            "file:{a,b}",
            "file:dir/*",
            "file:./dir//",
            "file:**/e",
            "file:dir/é",
            "key:a",
            "key:c",
            "key:dir/",
            "key:dir/e",
            "slot:gpu",
            "slot:port",
        ];
        match self.once_in(40) {
            true => self.pick(&["plan", "file:../x", "key:", "slot:"]).into(),
            false => self.pick(&good).into(),
        }
    }

    pub(super) fn want(&mut self) -> Want {
        let resource = self.resource();
        let shared = !resource.starts_with("slot:") || self.once_in(20);
        let modes = [
            Mode::Exclusive,
            Mode::Exclusive,
            Mode::Shared,
            Mode::Shared,
            Mode::Intent,
        ];
        let mode = if shared { self.pick(&modes) } else { Mode::Exclusive };
        Want { resource, mode }
    }

    /// Who reserves: most often somebody who has a session already, or opens one that is well formed.
    fn reserver(&mut self, colony: &Colony, project: &str, node: NodeId) -> Caller {
        match (self.below(8), self.session(colony, Some(project))) {
            (0, _) => self.task_caller(colony, project, node),
            (3.., Some(session)) => Caller::Session(session.opened.token),
            _ => {
                let token = self.token();
                Caller::Opens(Box::new(NewSession {
                    passing: self.once_in(2),
                    ..NewSession::new("ann", token)
                }))
            }
        }
    }

    pub(super) fn reservation_command(
        &mut self,
        colony: &Colony,
        (name, project): (&str, &Project),
        (node, _): (NodeId, u64),
    ) -> ReservationCommand {
        let known: Vec<&Arc<Reservation>> = project.reservations().after(None).collect();
        let ids: Vec<ReservationId> = known.iter().map(|reservation| reservation.id).collect();
        let picked = (!ids.is_empty()).then(|| self.pick(&known));
        let mut caller = picked.map(|reservation| called(colony, &reservation.holder.owner));
        if caller.is_none() || self.once_in(8) {
            caller = Some(self.reserver(colony, name, node));
        }
        let caller = caller.expect("one was made");
        let mut id = || match picked {
            Some(reservation) if !self.once_in(10) => reservation.id,
            _ => self.pick(&[
                ReservationId { seq: 1, ordinal: 5 },
                ReservationId {
                    seq: u64::MAX,
                    ordinal: 0,
                },
            ]),
        };
        let named: Vec<ReservationId> = [id(), id()]
            .into_iter()
            .take(1 + usize::from(self.once_in(6)))
            .collect();
        let ttl_ms = match self.once_in(12) {
            true => self.pick(&[Some(999), Some(86_400_001)]),
            false => self.pick(&[None, None, Some(1_000), Some(5_000)]),
        };
        match self.below(12) {
            0 => ReservationCommand::Force(Force {
                ids: named,
                reason: self.pick(&["stale", "stale", ""]).into(),
            }),
            1 => ReservationCommand::Renew(Renew {
                ids: named,
                caller,
                ttl_ms,
            }),
            2..5 => ReservationCommand::Release(Release {
                which: match self.below(4) {
                    0 => Released::All,
                    1 => Released::Resources((0..self.below(3)).map(|_| self.resource()).collect()),
                    _ => Released::Ids(named),
                },
                caller,
            }),
            5 if self.once_in(6) => ReservationCommand::Advisory(self.once_in(3)),
            5 => ReservationCommand::Slot {
                name: self.pick(&["gpu", "gpu", "port", ""]).into(),
                capacity: self.pick(&[0, 1, 2, 2, 1_025]),
            },
            _ => ReservationCommand::Acquire(Acquire {
                resources: (0..self.pick(&[1, 1, 1, 1, 1, 2, 2, 3, 0]))
                    .map(|_| self.want())
                    .collect(),
                caller: match self.once_in(2) {
                    true => caller,
                    false => self.reserver(colony, name, node),
                },
                ttl_ms,
                wait_ms: self.pick(&[0, 0, 2_000, 20_000, 20_000, 3_600_001]),
                reason: self
                    .pick(&[None, None, None, None, Some("why"), Some("why"), Some("a\nb")])
                    .map(Into::into),
                task: self.once_in(8).then(|| self.task_id(project, StateName::Leased)),
            }),
        }
    }
}
