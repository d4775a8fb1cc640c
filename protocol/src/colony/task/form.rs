//! What the commands of tasks must look like, whatever the state is.

use bytes::Bytes;

use super::terms::{check_list, check_needs};
use super::{
    Act, CAPABILITIES_MAX, CHECKPOINT_BYTES_MAX, CHECKS_MAX, CLAIM_KINDS_MAX, CLAIM_TASKS_MAX, Claim, Control, Ending,
    FOLLOW_UPS_MAX, Failure, Finish, NOTE_BYTES_MAX, NewTask, PAYLOAD_BYTES_MAX, QueueChange, RESULT_BYTES_MAX,
    TASK_NAME_BYTES_MAX, TASK_REASON_BYTES_MAX, TITLE_BYTES_MAX, Update, WAIT_MS_MAX, Wants, Which,
};
use crate::colony::command::{NAME_BYTES_MAX, Refusal};
use crate::colony::memory::{malformed, over_limit};

/// All of a task is done.
const PROGRESS_MAX: u8 = 100;
/// The longest result of an attempt that is not the last, in bytes: a task keeps some of them.
const ATTEMPT_RESULT_BYTES_MAX: usize = 16 << 10;

pub(crate) fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(over_limit(field, text.len(), bytes_max));
    }
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err(malformed(field, "is empty or has a control character")),
        false => Ok(()),
    }
}

fn check_bytes(field: &str, bytes: &Bytes, bytes_max: usize) -> Result<(), Refusal> {
    match bytes.len() > bytes_max {
        true => Err(over_limit(field, bytes.len(), bytes_max)),
        false => Ok(()),
    }
}

impl NewTask {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        check_text("title", &self.title, TITLE_BYTES_MAX)?;
        if let Some(kind) = &self.kind {
            check_text("kind", kind, NAME_BYTES_MAX)?;
        }
        if let Some(name) = &self.name {
            check_text("name", name, TASK_NAME_BYTES_MAX)?;
        }
        check_bytes("payload", &self.payload, PAYLOAD_BYTES_MAX)?;
        self.terms.check_form()
    }
}

impl Update {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        if let Some(progress) = self.progress.filter(|progress| *progress > PROGRESS_MAX) {
            return Err(over_limit("progress", progress as usize, PROGRESS_MAX as usize));
        }
        self.usage.map_or(Ok(()), |usage| usage.check_form())?;
        if let Some(note) = &self.note {
            check_text("note", note, NOTE_BYTES_MAX)?;
        }
        self.checkpoint
            .iter()
            .try_for_each(|checkpoint| check_bytes("checkpoint", checkpoint, CHECKPOINT_BYTES_MAX))
    }
}

impl Wants {
    /// For how long a claim waits, if it does.
    pub(super) fn wait_ms(&self) -> Option<u64> {
        self.wait_ms.filter(|wait_ms| *wait_ms > 0)
    }

    fn check_form(&self) -> Result<(), Refusal> {
        if let Some(queue) = &self.queue {
            check_text("queue", queue, NAME_BYTES_MAX)?;
        }
        check_list("capabilities", &self.capabilities, CAPABILITIES_MAX)
    }
}

impl Claim {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        self.wants.check_form()?;
        match &self.which {
            Which::Ids(ids) => {
                if ids.len() > CLAIM_TASKS_MAX {
                    return Err(over_limit("ids", ids.len(), CLAIM_TASKS_MAX));
                }
                let twice = (1..ids.len()).find(|place| ids[..*place].contains(&ids[*place]));
                match twice {
                    Some(place) => Err(malformed("ids", &format!("{} stands twice", ids[place]))),
                    None if self.wants.wait_ms().is_some() => {
                        Err(malformed("wait_ms", "is for a claim of ready tasks"))
                    }
                    None => Ok(()),
                }
            }
            Which::Ready { .. } if self.wants.steal => Err(malformed("steal", "is for a claim of ids")),
            Which::Ready { kinds, limit } => {
                if kinds.len() > CLAIM_KINDS_MAX {
                    return Err(over_limit("kinds", kinds.len(), CLAIM_KINDS_MAX));
                }
                if *limit as usize > CLAIM_TASKS_MAX {
                    return Err(over_limit("limit", *limit as usize, CLAIM_TASKS_MAX));
                }
                match self.wants.wait_ms() {
                    Some(wait_ms) if wait_ms > WAIT_MS_MAX => {
                        Err(over_limit("wait_ms", wait_ms as usize, WAIT_MS_MAX as usize))
                    }
                    // A claim that waits is kept, and so are the names in it.
                    Some(_) => kinds
                        .iter()
                        .try_for_each(|kind| check_text("kinds", kind, NAME_BYTES_MAX)),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Failure {
    fn check_form(&self) -> Result<(), Refusal> {
        if let Some(class) = &self.class {
            check_text("class", class, NAME_BYTES_MAX)?;
        }
        check_text("message", &self.message, TASK_REASON_BYTES_MAX)
    }
}

impl Finish {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        let retried = self.with.failure.as_ref().is_some_and(|failure| failure.retryable);
        let result_max = if retried {
            ATTEMPT_RESULT_BYTES_MAX
        } else {
            RESULT_BYTES_MAX
        };
        check_bytes("result", &self.result, result_max)?;
        let has_result = matches!(self.ending, Ending::Done | Ending::Failed);
        if !has_result && !self.result.is_empty() {
            return Err(malformed("result", "a task that is given back has no result"));
        }
        match &self.proposal {
            Some(_) if self.ending != Ending::Done => {
                return Err(malformed("proposal", "only a task that is done brings a proposal"));
            }
            Some(proposal) if proposal.dry_run => return Err(malformed("proposal", "a dry run finishes nothing")),
            _ => {}
        }
        self.check_with()
    }

    fn check_with(&self) -> Result<(), Refusal> {
        let with = &self.with;
        with.usage.map_or(Ok(()), |usage| usage.check_form())?;
        if let Some(failure) = &with.failure {
            if self.ending != Ending::Failed {
                return Err(malformed("failure", "only a task that has failed brings one"));
            }
            failure.check_form()?;
        }
        if (self.ending == Ending::Blocked) == with.needs.is_empty() {
            return Err(malformed(
                "needs",
                "a task that is blocked names what it needs, and no other does",
            ));
        }
        check_needs(&with.needs)?;
        if self.ending != Ending::Done && !with.follow_ups.is_empty() {
            return Err(malformed("follow_ups", "only a task that is done brings them"));
        }
        if with.follow_ups.len() > FOLLOW_UPS_MAX {
            return Err(over_limit("follow_ups", with.follow_ups.len(), FOLLOW_UPS_MAX));
        }
        if self.ending != Ending::Done && !with.checks.is_empty() {
            return Err(malformed("checks", "only a task that is done brings them"));
        }
        match with.checks.len() > CHECKS_MAX {
            true => Err(over_limit("checks", with.checks.len(), CHECKS_MAX)),
            false => Ok(()),
        }
    }
}

impl Control {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        match &self.act {
            Act::Cancel {
                reason: Some(reason), ..
            }
            | Act::Reject { reason: Some(reason) } => check_text("reason", reason, TASK_REASON_BYTES_MAX),
            Act::HandOff { to: Some(to), .. } => check_text("to", to, NAME_BYTES_MAX),
            _ => Ok(()),
        }
    }
}

impl QueueChange {
    pub(super) fn check_form(&self) -> Result<(), Refusal> {
        check_text("queue", &self.queue, NAME_BYTES_MAX)?;
        self.breaker.map_or(Ok(()), |breaker| breaker.check_form())
    }
}
