//! `queenright reserve`: who means to work on what.

use std::time::Duration;

use queenright_bench::client::wire::{
    AcquireRequest, Acquired, CheckRequest, Code, ForceRequest, ReleaseRequest, RenewRequest, ReservationList,
    SlotList, Standings, WireBlocker, WireReservationId, WireStanding, WireWant,
};
use queenright_bench::client::{AcquireOutcome, Client, ClientError, EVENTS_WAIT_MAX, ReservationQuery};
use queenright_protocol::colony::Mode;

use super::door::{client_of_project, of_read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, dry};
use crate::cli::{ModeArgs, OnOff, ReserveCommand};
use crate::exit::Exit;

/// Carries out `queenright reserve`.
///
/// # Errors
/// [`CliError`], such as a reservation that is not the caller's.
pub async fn run(command: ReserveCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        ReserveCommand::Add {
            resources,
            mode,
            ttl,
            wait,
            reason,
            task,
            token,
            idempotency_key,
            target,
        } => {
            let request = AcquireRequest {
                resources: wants(&resources, mode),
                ttl_ms: Some(millis(ttl)),
                wait_ms: wait.map(millis),
                reason: reason.map(Into::into),
                task,
                token,
            };
            let client = client_of_project(&target)?;
            let mut outcome = client.acquire(&request, idempotency_key.as_deref()).await?;
            if let AcquireOutcome::Acquired(acquired) = &mut outcome {
                await_grant(&client, acquired).await?;
            }
            context.answer(&outcome, acquired_text(&outcome))?;
            Ok(match outcome {
                AcquireOutcome::Acquired(_) => Exit::Ok,
                AcquireOutcome::Held(_) => Exit::Conflict,
            })
        }
        ReserveCommand::Check {
            resources,
            mode,
            token,
            consistency,
            target,
        } => {
            let request = CheckRequest {
                resources: wants(&resources, mode),
                token,
            };
            let client = client_of_project(&target)?;
            let checked = client.check_reservations(&request, consistency.into()).await;
            let standings = checked.map_err(of_read)?;
            context.answer(&standings, checked_text(&standings))?;
            Ok(match standings.conflicts.is_empty() {
                true => Exit::Ok,
                false => Exit::Conflict,
            })
        }
        ReserveCommand::List {
            resource,
            waiting,
            limit,
            after,
            consistency,
            target,
        } => {
            let query = ReservationQuery {
                resource: resource.map(|text| resource_of(&text)),
                waiting: waiting.then_some(true),
                after,
                limit: Some(limit),
                consistency: consistency.into(),
            };
            let list = client_of_project(&target)?.reservations(&query).await;
            let list = list.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
            Ok(Exit::Ok)
        }
        ReserveCommand::Release {
            which,
            all,
            token,
            target,
        } => {
            let mut request = released(&which)?;
            (request.token, request.all) = (token, all);
            let client = client_of_project(&target)?;
            let released = client.release_reservations(&request, None).await?;
            let ids: Vec<String> = released.reservations.iter().map(ToString::to_string).collect();
            let left = released.left;
            context.answer(&released, format!("released: {} ({left} left)", ids.join(", ")))?;
            Ok(match released.reservations.is_empty() {
                true => Exit::Nothing,
                false => Exit::Ok,
            })
        }
        ReserveCommand::Renew {
            reservation,
            token,
            ttl,
            target,
        } => {
            let request = RenewRequest {
                token,
                ttl_ms: ttl.map(millis),
            };
            let client = client_of_project(&target)?;
            let renewed = client.renew_reservation(reservation.0, &request).await?;
            let text = match renewed.until_ms {
                Some(until_ms) => format!("{reservation} holds until {until_ms} ms of cluster time"),
                None => format!("{reservation} holds as long as its task is leased"),
            };
            context.answer(&renewed, text)?;
            Ok(Exit::Ok)
        }
        ReserveCommand::Force {
            reservation,
            reason,
            dry_run,
            target,
        } => {
            if dry_run {
                return dry::work::force_reservation(&client_of_project(&target)?, reservation, context).await;
            }
            let request = ForceRequest { reason: reason.into() };
            let client = client_of_project(&target)?;
            let forced = client.force_reservation(reservation.0, &request, None).await?;
            context.answer(&forced, format!("{reservation} is taken away (seq {})", forced.seq))?;
            Ok(Exit::Ok)
        }
        ReserveCommand::Slots {
            name,
            capacity,
            consistency,
            dry_run,
            target,
        } => {
            let client = client_of_project(&target)?;
            match name.zip(capacity) {
                Some((name, capacity)) if dry_run => {
                    return dry::work::set_slot(&client, &name, capacity, context).await;
                }
                Some((name, capacity)) => {
                    let changed = client.set_slot(&name, capacity).await?;
                    context.answer(&changed, format!("slot {} has {capacity} places", shown(&name)))?;
                }
                None => {
                    let list = client.slots(consistency.into()).await.map_err(of_read)?;
                    context.answer(&list, slots_text(&list))?;
                }
            }
            Ok(Exit::Ok)
        }
        ReserveCommand::Advisory { state, dry_run, target } => {
            if dry_run {
                return dry::work::set_advisory(&client_of_project(&target)?, state == OnOff::On, context).await;
            }
            let changed = client_of_project(&target)?.set_advisory(state == OnOff::On).await?;
            let text = match state {
                OnOff::On => "reservations leave writes alone",
                OnOff::Off => "writes under an exclusive reservation of another lose",
            };
            context.answer(&changed, text.to_owned())?;
            Ok(Exit::Ok)
        }
    }
}

/// Waits until it is granted. The door answers before its own time is over; the place in the line is kept.
async fn await_grant(client: &Client, acquired: &mut Acquired) -> Result<(), CliError> {
    while acquired.fence.is_none() {
        let wait_ms = millis(EVENTS_WAIT_MAX);
        match client.reservation(acquired.reservation.0, wait_ms).await {
            Ok(found) => {
                acquired.fence = found.fence;
                acquired.until_ms = found.until_ms.unwrap_or(acquired.until_ms);
            }
            Err(ClientError::Problem(problem)) if problem.code == Code::NotFound => {
                return Err(CliError::Refused {
                    exit: Exit::Conflict,
                    code: Code::Held.to_string(),
                    message: format!("{} was not granted in time", acquired.reservation),
                });
            }
            Err(error) => return Err(of_read(error)),
        }
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A resource; one without a kind is a file.
pub(super) fn resource_of(text: &str) -> String {
    match ["file:", "key:", "slot:", "rate:"]
        .iter()
        .any(|kind| text.starts_with(kind))
    {
        true => text.to_owned(),
        false => format!("file:{text}"),
    }
}

fn wants(resources: &[String], mode: ModeArgs) -> Vec<WireWant> {
    let mode = match (mode.shared, mode.intent) {
        (true, _) => Mode::Shared,
        (_, true) => Mode::Intent,
        _ => Mode::Exclusive,
    };
    let want = |text: &String| WireWant {
        resource: resource_of(text).into(),
        mode,
    };
    resources.iter().map(want).collect()
}

/// Resources, each with how it is wanted unless that is exclusively.
pub(super) fn wants_text(resources: &[WireWant]) -> String {
    let text = |want: &WireWant| match want.mode {
        Mode::Exclusive => shown(&want.resource),
        mode => format!("{} ({mode})", shown(&want.resource)),
    };
    resources.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Ids or resources, not both.
fn released(which: &[String]) -> Result<ReleaseRequest, CliError> {
    let ids: Vec<WireReservationId> = which.iter().filter_map(|text| text.parse().ok()).collect();
    match ids.len() {
        _ if which.is_empty() => Ok(ReleaseRequest::default()),
        0 => Ok(ReleaseRequest {
            resources: Some(which.iter().map(|text| resource_of(text).into()).collect()),
            ..ReleaseRequest::default()
        }),
        found if found == which.len() => Ok(ReleaseRequest {
            ids: Some(ids),
            ..ReleaseRequest::default()
        }),
        _ => Err(CliError::Usage(
            "some of these are ids and some are resources: release one sort at a time".to_owned(),
        )),
    }
}

fn acquired_text(outcome: &AcquireOutcome) -> String {
    match outcome {
        AcquireOutcome::Acquired(acquired) => format!(
            "{} is yours until {} ms of cluster time\ntoken {}",
            acquired.reservation, acquired.until_ms, acquired.token
        ),
        AcquireOutcome::Held(standings) => format!(
            "not reserved\n\n{}\n\nnext: reserve what is free, wait in line with --wait 60, or ask the holder",
            standings_text(standings)
        ),
    }
}

fn checked_text(standings: &Standings) -> String {
    match standings.conflicts.is_empty() && standings.announced.is_empty() {
        true => "free".to_owned(),
        false => standings_text(standings),
    }
}

fn standings_text(standings: &Standings) -> String {
    let mut table = Table::new(["WANTED", "MEETS", "MODE", "RESERVATION", "HOLDER", "TASK", "UNTIL"]);
    for blocker in standings.conflicts.iter().chain(&standings.announced) {
        let WireBlocker {
            wanted,
            reservation,
            resource,
            mode,
            holder,
            until_ms,
            task,
            waits,
        } = blocker;
        let mode = if *waits {
            format!("{mode}, waits")
        } else {
            mode.to_string()
        };
        table.row([
            shown(wanted),
            shown(resource),
            mode,
            reservation.to_string(),
            holder.to_string(),
            or_dash(*task),
            or_dash(*until_ms),
        ]);
    }
    let more = if standings.more { "\nand more" } else { "" };
    let free: Vec<String> = standings.free.iter().map(|text| shown(text)).collect();
    let free = match free.is_empty() {
        true => "nothing of it".to_owned(),
        false => free.join(", "),
    };
    format!("{table}{more}\n\nfree: {free}")
}

fn list_text(list: &ReservationList) -> String {
    let mut table = Table::new(["RESERVATION", "STATE", "LEFT", "HOLDER", "TASK", "RESOURCES", "REASON"]);
    for reservation in &list.reservations {
        let state = match reservation.state {
            WireStanding::Held => "held",
            WireStanding::Waiting => "waiting",
        };
        table.row([
            reservation.reservation.to_string(),
            state.to_owned(),
            or_dash(
                reservation
                    .left_ms
                    .map(|left_ms| format!("{} s", left_ms.div_ceil(1000))),
            ),
            reservation.holder.to_string(),
            or_dash(reservation.task),
            wants_text(&reservation.resources),
            or_dash(reservation.reason.as_deref().map(shown)),
        ]);
    }
    let more = list.next.map(|next| format!("\nmore after {next}")).unwrap_or_default();
    let advisory = if list.advisory { ", advisory" } else { "" };
    let (total, waiting) = (list.total, list.waiting);
    format!("{total} reservations, {waiting} of them waiting{advisory}\n\n{table}{more}")
}

fn slots_text(list: &SlotList) -> String {
    let mut table = Table::new(["SLOT", "PLACES", "HELD", "WAITING"]);
    for slot in &list.slots {
        table.row([
            shown(&slot.name),
            slot.capacity.to_string(),
            slot.held.to_string(),
            slot.waiting.to_string(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_kind_is_a_file() {
        assert_eq!(resource_of("src/**"), "file:src/**");
        assert_eq!(resource_of("key:plan/"), "key:plan/");
        assert_eq!(resource_of("odd:name"), "file:odd:name");
    }

    #[test]
    fn ids_and_resources_are_told_apart() {
        let of = |texts: &[&str]| released(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["r1-0", "r2-0"]).unwrap().ids.unwrap().len(), 2);
        assert_eq!(of(&["src/a.rs"]).unwrap().resources.unwrap(), ["file:src/a.rs".into()]);
        assert_eq!(of(&["r1-0", "src/a.rs"]).unwrap_err().exit(), Exit::Usage);
    }
}
