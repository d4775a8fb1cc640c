//! The form that commands about reservations must have, whatever is reserved; and their resources, read.

use super::{
    Acquire, Mode, RESERVATION_IDS_MAX, RESERVATION_REASON_BYTES_MAX, RESERVATION_TTL_MS_MAX, RESERVATION_TTL_MS_MIN,
    RESERVATION_WAIT_MS_MAX, RESERVED_RESOURCES_MAX, Release, Released, ReservationId, Reserved, Resource, Want,
};
use crate::colony::command::Refusal;
use crate::colony::memory::{malformed, over_limit};

/// The same resources, each as text in its one form.
///
/// # Errors
/// When they could not be reserved by any request.
pub(in crate::colony) fn canonical(wants: &[Want]) -> Result<Vec<Want>, Refusal> {
    let resources = parse(wants)?.into_iter();
    let wants = resources.map(|reserved| Want {
        resource: reserved.text,
        mode: reserved.mode,
    });
    Ok(wants.collect())
}

/// Reads the resources of a request.
pub(in crate::colony) fn parse(wants: &[Want]) -> Result<Vec<Reserved>, Refusal> {
    if wants.is_empty() {
        return Err(malformed("resources", "there is none"));
    }
    if wants.len() > RESERVED_RESOURCES_MAX {
        return Err(over_limit("resources", wants.len(), RESERVED_RESOURCES_MAX));
    }
    let mut resources: Vec<Reserved> = Vec::with_capacity(wants.len());
    for Want { resource, mode } in wants {
        let resource = Resource::parse(resource)?;
        let text = resource.text();
        if matches!(resource, Resource::Slot(_)) && *mode != Mode::Exclusive {
            let problem = format!("{text} is taken by places: its mode is exclusive, not {mode}");
            return Err(malformed("mode", &problem));
        }
        if resources.iter().any(|other| other.resource == resource) {
            return Err(malformed("resources", &format!("{text} stands twice")));
        }
        resources.push(Reserved {
            resource,
            text,
            mode: *mode,
        });
    }
    Ok(resources)
}

impl Acquire {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        check_ttl(self.ttl_ms)?;
        if self.wait_ms > RESERVATION_WAIT_MS_MAX {
            let (wait_ms, most) = (self.wait_ms as usize, RESERVATION_WAIT_MS_MAX as usize);
            return Err(over_limit("wait_ms", wait_ms, most));
        }
        self.reason.as_deref().map_or(Ok(()), check_reason)
    }
}

impl Release {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        match &self.which {
            Released::Ids(ids) => check_ids(ids),
            Released::Resources(texts) if texts.len() > RESERVED_RESOURCES_MAX => {
                Err(over_limit("resources", texts.len(), RESERVED_RESOURCES_MAX))
            }
            Released::Resources(texts) if texts.is_empty() => Err(malformed("resources", "there is none")),
            Released::Resources(_) | Released::All => Ok(()),
        }
    }
}

pub(super) fn check_ttl(ttl_ms: Option<u64>) -> Result<(), Refusal> {
    match ttl_ms {
        Some(ttl_ms) if ttl_ms < RESERVATION_TTL_MS_MIN => Err(malformed(
            "ttl_ms",
            &format!("{ttl_ms} is under the least, {RESERVATION_TTL_MS_MIN}"),
        )),
        Some(ttl_ms) if ttl_ms > RESERVATION_TTL_MS_MAX => {
            Err(over_limit("ttl_ms", ttl_ms as usize, RESERVATION_TTL_MS_MAX as usize))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.len() > RESERVATION_REASON_BYTES_MAX {
        return Err(over_limit("reason", reason.len(), RESERVATION_REASON_BYTES_MAX));
    }
    match reason.is_empty() || reason.chars().any(char::is_control) {
        true => Err(malformed("reason", "is empty or has a control character")),
        false => Ok(()),
    }
}

pub(super) fn check_ids(ids: &[ReservationId]) -> Result<(), Refusal> {
    if ids.len() > RESERVATION_IDS_MAX {
        return Err(over_limit("ids", ids.len(), RESERVATION_IDS_MAX));
    }
    if ids.is_empty() {
        return Err(malformed("ids", "there is none"));
    }
    let twice = (1..ids.len()).find(|place| ids[..*place].contains(&ids[*place]));
    match twice {
        Some(place) => Err(malformed("ids", &format!("{} stands twice", ids[place]))),
        None => Ok(()),
    }
}
