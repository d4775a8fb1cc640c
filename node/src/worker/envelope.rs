//! What a worker leaves with a task: the result of its command, how it ended, and its log.

use std::path::Path;

use queenright_actors::process::{End, Report, Stopped, Tail};
use queenright_bench::client::wire::{WireEnding, WireFailure};
use queenright_protocol::colony::{RESULT_BYTES_MAX, TASK_REASON_BYTES_MAX};
use serde::Serialize;
use serde_json::Value;

/// The most that a command may print on stdout, in bytes; as JSON in the envelope it may be no longer either.
pub const STDOUT_BYTES_MAX: usize = 48 << 10;
/// The exit code by which a command gives its task back: that of sysexits.h for *try again*.
pub const EXIT_RELEASED: i32 = 75;
/// How much is kept of an attempt that is not the last, in bytes of JSON: a task keeps the results of some of them.
const RETRIED_BYTES_MAX: usize = 12 << 10;
/// The class of the failure of a check.
pub(super) const CHECK_CLASS: &str = "check";
/// What else stands in the envelope, at most.
const FRAME_BYTES: usize = 512;

/// The result of a task that was worked on by a command.
#[derive(Debug, Serialize)]
struct Envelope {
    /// Its exit code; absent if a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// Why it failed, where the code does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What it printed on stdout: JSON, or else text.
    #[serde(skip_serializing_if = "Value::is_null")]
    result: Value,
    /// The end of what it printed on stderr.
    #[serde(skip_serializing_if = "String::is_empty")]
    log: String,
    /// How long it ran.
    ran_ms: u64,
    /// Where what it has left lies, if it is kept: on the host of its worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    worktree: Option<String>,
    /// The check of which all of this is told, instead of the task's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<String>,
}

/// How a task ends whose command has ended so, and what is kept of it.
pub(super) fn outcome(report: &Report, tree: Option<&Path>) -> (WireEnding, Value) {
    let result = report
        .stdout
        .value()
        .filter(|value| json_bytes(value) <= STDOUT_BYTES_MAX);
    let error = if let Some((_, why)) = why_stopped(report) {
        Some(why)
    } else if result.is_none() {
        let total = report.stdout.total();
        Some(format!("stdout: {total} B are over the limit of {STDOUT_BYTES_MAX}"))
    } else {
        None
    };
    let outcome = match report.end {
        End::Exit(EXIT_RELEASED) if error.is_none() => return (WireEnding::Released, Value::Null),
        End::Exit(0) if error.is_none() => WireEnding::Done,
        _ => WireEnding::Failed,
    };
    let kept = tree.filter(|_| outcome == WireEnding::Failed);
    let envelope = Envelope {
        error,
        result: result.unwrap_or_default(),
        ..Envelope::of(report, kept)
    };
    (outcome, envelope.with_log(report, RESULT_BYTES_MAX))
}

/// What went wrong with a command that has failed and whose task may be tried again, and what is kept of it: not its
/// result, for which there is no room.
pub(super) fn retried(report: &Report, tree: Option<&Path>) -> (WireFailure, Value) {
    let (class, message) = how_it_ended(report);
    let failure = WireFailure {
        retryable: true,
        class: Some(class.into()),
        message: message.into(),
    };
    (failure, Envelope::of(report, tree).with_log(report, RETRIED_BYTES_MAX))
}

/// The same of a check of the task, if it has failed.
pub(super) fn failed_check(
    report: &Report,
    place: usize,
    check: &str,
    tree: Option<&Path>,
) -> Option<(WireFailure, Value)> {
    if report.end == End::Exit(0) && report.stopped.is_none() {
        return None;
    }
    let shown: String = check.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (_, how) = how_it_ended(report);
    let mut message = format!("check {place}: {how}: {shown}");
    message.truncate(message.floor_char_boundary(TASK_REASON_BYTES_MAX));
    let failure = WireFailure {
        retryable: true,
        class: Some(CHECK_CLASS.into()),
        message: message.into(),
    };
    let envelope = Envelope {
        check: Some(check.to_owned()),
        ..Envelope::of(report, tree)
    };
    Some((failure, envelope.with_log(report, RETRIED_BYTES_MAX)))
}

/// The class of a failure by a bound that the command was over, and what it was in words.
fn why_stopped(report: &Report) -> Option<(&'static str, String)> {
    match report.stopped? {
        Stopped::TimeLimit => {
            let why = format!("its time was up after {:.1} s", report.ran.as_secs_f64());
            Some(("timeout", why))
        }
        Stopped::Memory { used, limit } => {
            let why = format!("memory: {used} B are over the limit of {limit}");
            Some(("memory", why))
        }
        // Whoever asked says why.
        Stopped::Asked => None,
    }
}

/// The class of a failure, and how the command ended in words.
fn how_it_ended(report: &Report) -> (&'static str, String) {
    if let Some(why) = why_stopped(report) {
        return why;
    }
    match report.end {
        End::Exit(0) => (
            "output",
            format!("stdout: {} B are over the limit", report.stdout.total()),
        ),
        End::Exit(code) => ("exit", format!("exit code {code}")),
        End::Signal(signal) => ("signal", format!("signal {signal}")),
    }
}

impl Envelope {
    /// Without a result and a log.
    fn of(report: &Report, tree: Option<&Path>) -> Envelope {
        let (exit, signal) = match report.end {
            End::Exit(code) => (Some(code), None),
            End::Signal(signal) => (None, Some(signal)),
        };
        Envelope {
            exit,
            signal,
            error: None,
            result: Value::Null,
            log: String::new(),
            ran_ms: report.ran.as_millis() as u64,
            worktree: tree.map(|tree| tree.display().to_string()),
            check: None,
        }
    }

    /// With as much of the end of the log as there is room for.
    fn with_log(mut self, report: &Report, bytes_max: usize) -> Value {
        let taken = FRAME_BYTES + json_bytes(&self.result) + json_bytes(&self.check) + json_bytes(&self.worktree);
        self.log = log_within(&report.log, bytes_max.saturating_sub(taken));
        serde_json::to_value(&self).expect("an envelope is always JSON")
    }
}

/// As much of the end of the log as is no longer than that as JSON, where line breaks take two bytes and others six.
pub(super) fn log_within(log: &Tail, room: usize) -> String {
    let mut bytes_max = room;
    loop {
        let text = log.text(bytes_max);
        let needed = json_bytes(&text);
        if needed <= room {
            return text;
        }
        if bytes_max == 0 {
            return String::new();
        }
        // Shortened by what is too much, if all of it took six bytes each: a few rounds at most.
        bytes_max -= ((needed - room).div_ceil(6)).min(bytes_max);
    }
}

pub(super) fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).expect("text is always JSON").len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use queenright_actors::process::{Head, LOG_BYTES_MAX};
    use serde_json::json;

    use super::*;

    fn report(end: End, stdout: &[u8], log: &[u8]) -> Report {
        let (mut head, mut tail) = (Head::new(STDOUT_BYTES_MAX), Tail::new(LOG_BYTES_MAX));
        head.take(stdout);
        tail.take(log);
        Report {
            end,
            stopped: None,
            stdout: head,
            log: tail,
            ran: Duration::from_millis(1_500),
            memory_bytes: None,
        }
    }

    #[test]
    fn the_exit_code_says_how_a_task_ends() {
        let check = |end, expected: WireEnding, envelope: Value| {
            assert_eq!(outcome(&report(end, b"{\"n\": 1}", b"a\n"), None), (expected, envelope));
        };
        let kept = |name: &str, number: i32| json!({name: number, "result": {"n": 1}, "log": "a\n", "ran_ms": 1_500});
        check(End::Exit(0), WireEnding::Done, kept("exit", 0));
        check(End::Exit(3), WireEnding::Failed, kept("exit", 3));
        check(End::Signal(9), WireEnding::Failed, kept("signal", 9));
        check(End::Exit(75), WireEnding::Released, Value::Null);
    }

    #[test]
    fn a_check_that_fails_says_which_and_why_and_leaves_room_for_other_attempts() {
        let lines = "line\n".repeat(20_000);
        let (failure, kept) =
            failed_check(&report(End::Exit(2), b"", lines.as_bytes()), 1, "cargo\ttest", None).unwrap();
        assert_eq!(failure.message, "check 1: exit code 2: cargo test".into());
        assert_eq!((failure.retryable, failure.class), (true, Some("check".into())));
        assert_eq!((&kept["check"], &kept["exit"]), (&json!("cargo\ttest"), &json!(2)));
        assert!(json_bytes(&kept) <= RETRIED_BYTES_MAX && kept["log"].as_str().unwrap().ends_with("line\n"));
        let long = "x".repeat(1_024);
        let (failure, kept) = failed_check(&report(End::Signal(9), b"", lines.as_bytes()), 0, &long, None).unwrap();
        assert_eq!(failure.message.len(), TASK_REASON_BYTES_MAX);
        assert!(json_bytes(&kept) <= RETRIED_BYTES_MAX);
        assert_eq!(failed_check(&report(End::Exit(0), b"", b""), 0, "true", None), None);
    }

    #[test]
    fn a_failure_that_may_be_tried_again_has_a_class() {
        let check = |report: &Report, class: &str, message: &str| {
            let (failure, kept) = retried(report, None);
            assert_eq!((failure.class.as_deref(), &*failure.message), (Some(class), message));
            assert!(failure.retryable && kept["result"].is_null());
        };
        check(&report(End::Exit(3), b"1", b""), "exit", "exit code 3");
        check(&report(End::Signal(9), b"", b""), "signal", "signal 9");
        let mut late = report(End::Signal(15), b"", b"");
        late.stopped = Some(Stopped::TimeLimit);
        check(&late, "timeout", "its time was up after 1.5 s");
        let mut large = report(End::Signal(9), b"", b"");
        large.stopped = Some(Stopped::Memory { used: 70, limit: 64 });
        check(&large, "memory", "memory: 70 B are over the limit of 64");
    }

    #[test]
    fn a_result_that_is_too_large_fails_its_task_and_says_so() {
        let (ending, envelope) = outcome(&report(End::Exit(0), &vec![b'x'; STDOUT_BYTES_MAX + 1], b""), None);
        assert_eq!(ending, WireEnding::Failed);
        assert_eq!(envelope["error"], "stdout: 49153 B are over the limit of 49152");
        // What is short as bytes may be long as JSON.
        let (ending, _) = outcome(&report(End::Exit(0), &vec![1; STDOUT_BYTES_MAX], b""), None);
        assert_eq!(ending, WireEnding::Failed);
    }

    #[test]
    fn a_time_limit_is_a_failure_even_if_the_command_then_says_that_all_is_well() {
        let mut late = report(End::Exit(0), b"", b"");
        late.stopped = Some(Stopped::TimeLimit);
        let (ending, envelope) = outcome(&late, None);
        assert_eq!(ending, WireEnding::Failed);
        assert_eq!(envelope["error"], "its time was up after 1.5 s");
    }

    #[test]
    fn an_envelope_always_fits_and_keeps_the_end_of_the_log() {
        let lines: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
        for (stdout, log) in [
            (&b"1"[..], lines.as_bytes()),
            (&[b'y'; STDOUT_BYTES_MAX - 2][..], lines.as_bytes()),
            (&b"1"[..], &[1; 2 * LOG_BYTES_MAX][..]),
        ] {
            let (_, envelope) = outcome(&report(End::Exit(1), stdout, log), None);
            let bytes = json_bytes(&envelope);
            assert!(bytes <= RESULT_BYTES_MAX, "{bytes}");
            let kept = envelope["log"].as_str().unwrap();
            assert!(log.ends_with(&kept.as_bytes()[kept.len() - 8..]), "{kept}");
        }
    }
}
