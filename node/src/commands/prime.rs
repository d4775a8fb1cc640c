//! `queenright prime`: what an agent needs to know when it starts.

use std::fmt::Write as _;

use queenright_bench::client::wire::{Happening, HeldReservation, HeldTask, Pinned, Prime};

use super::door::{client_of_project, of_read};
use super::reserve::wants_text;
use super::table::shown;
use super::{CliError, Context};
use crate::cli::PrimeArgs;
use crate::exit::Exit;

/// Prints what an agent needs to know, as text that is no longer than was asked for.
///
/// # Errors
/// [`CliError`], such as no quorum.
pub async fn run(args: PrimeArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?;
    let primed = client.prime(Some(&args.agent), args.token.as_deref(), args.after, args.bytes);
    let prime = primed.await.map_err(of_read)?;
    context.answer(&prime, text(&prime))?;
    Ok(Exit::Ok)
}

pub(crate) fn text(prime: &Prime) -> String {
    let mut text = format!("{} in project {}\n", shown(&prime.agent), shown(&prime.project));
    section(&mut text, "tasks", &prime.claims.items, prime.claims.left_out, task);
    let reserved = &prime.reservations;
    section(&mut text, "reserved", &reserved.items, reserved.left_out, reservation);
    section(&mut text, "pinned", &prime.pinned.items, prime.pinned.left_out, pinned);
    let happened = &prime.happened;
    section(&mut text, "happened", &happened.items, happened.left_out, happening);
    if happened.incomplete {
        text.push_str("  and before that more than is kept\n");
    }
    text.push_str("next\n");
    for call in &prime.next {
        let _ = writeln!(text, "  {}", shown(&call.command));
    }
    text.truncate(text.trim_end().len());
    text
}

fn section<T>(text: &mut String, name: &str, items: &[T], left_out: u64, line: fn(&T) -> String) {
    if items.is_empty() && left_out == 0 {
        return;
    }
    let _ = writeln!(text, "{name}");
    for item in items {
        let _ = writeln!(text, "  {}", line(item));
    }
    if left_out > 0 {
        let _ = writeln!(text, "  {left_out} more");
    }
}

fn task(held: &HeldTask) -> String {
    let HeldTask {
        task,
        title,
        attempt,
        fence,
        ..
    } = held;
    let mut line = format!("{task} fence {fence} attempt {attempt}");
    if let Some(left_ms) = held.left_ms {
        let _ = write!(line, " for {} s", left_ms / 1_000);
    }
    if let Some(progress) = held.progress {
        let _ = write!(line, " {progress} %");
    }
    let _ = write!(line, ": {}", shown(title));
    if let Some(note) = &held.note {
        let _ = write!(line, " ({})", shown(note));
    }
    line
}

fn reservation(held: &HeldReservation) -> String {
    let HeldReservation {
        reservation,
        resources,
        waits,
        left_ms,
        task,
        ..
    } = held;
    let mut line = reservation.to_string();
    if *waits {
        line.push_str(" waits");
    }
    if let Some(left_ms) = left_ms {
        let _ = write!(line, " for {} s", left_ms / 1_000);
    }
    if let Some(task) = task {
        let _ = write!(line, " task {task}");
    }
    let _ = write!(line, ": {}", wants_text(resources));
    line
}

fn pinned(pinned: &Pinned) -> String {
    let Pinned {
        key, revision, bytes, ..
    } = pinned;
    let head = format!("{} r{revision} {bytes} B", shown(key));
    match &pinned.value {
        Some(value) => {
            let mut text = format!("{head}:");
            for line in value.lines() {
                let _ = write!(text, "\n    {}", shown(line));
            }
            if pinned.cut {
                text.push('…');
            }
            text
        }
        None => head,
    }
}

fn happening(happening: &Happening) -> String {
    let Happening {
        kind,
        subject,
        times,
        last,
        author,
    } = happening;
    let subject = subject.as_ref().map(|subject| format!(" {}", shown(subject)));
    let times = if *times > 1 {
        format!(" x{times}")
    } else {
        String::new()
    };
    format!(
        "{last} {kind}{}{times} by {}",
        subject.unwrap_or_default(),
        shown(author)
    )
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::{Happenings, Listed, NextCall, WireHolder, WireWant};
    use queenright_protocol::colony::Mode;

    use super::*;

    #[test]
    fn an_agent_reads_its_tasks_what_is_pinned_what_happened_and_what_to_do() {
        let prime = Prime {
            project: "p".into(),
            agent: "ann".into(),
            cursor: "9".parse().unwrap(),
            claims: Listed {
                items: vec![HeldTask {
                    task: "4-0".parse().unwrap(),
                    title: "Move\nit".into(),
                    kind: None,
                    attempt: 1,
                    fence: 5,
                    holder: WireHolder::Session {
                        session: "s3".parse().unwrap(),
                        name: "ann".into(),
                        author: "ann".into(),
                    },
                    left_ms: Some(29_999),
                    progress: Some(50),
                    note: None,
                }],
                left_out: 2,
            },
            reservations: Listed {
                items: vec![HeldReservation {
                    reservation: "r6-0".parse().unwrap(),
                    resources: vec![WireWant {
                        resource: "file:src/**".into(),
                        mode: Mode::Shared,
                    }],
                    waits: true,
                    holder: WireHolder::Session {
                        session: "s3".parse().unwrap(),
                        name: "ann".into(),
                        author: "ann".into(),
                    },
                    left_ms: Some(60_000),
                    task: Some("4-0".parse().unwrap()),
                }],
                left_out: 0,
            },
            pinned: Listed {
                items: vec![Pinned {
                    key: "rules".into(),
                    revision: 3,
                    bytes: 9,
                    value: Some("one\ntwo".to_owned()),
                    cut: true,
                }],
                left_out: 0,
            },
            happened: Happenings {
                events: 3,
                items: vec![Happening {
                    kind: "changed".to_owned(),
                    subject: Some("key:a".to_owned()),
                    times: 3,
                    last: "8.0".parse().unwrap(),
                    author: "bob".into(),
                }],
                left_out: 0,
                incomplete: true,
            },
            next: vec![NextCall {
                command: "queenright events --after 9 --follow".to_owned(),
                http: String::new(),
            }],
        };
        let expected = "\
ann in project p
tasks
  4-0 fence 5 attempt 1 for 29 s 50 %: Move\\nit
  2 more
reserved
  r6-0 waits for 60 s task 4-0: file:src/** (shared)
pinned
  rules r3 9 B:
    one
    two…
happened
  8.0 changed key:a x3 by bob
  and before that more than is kept
next
  queenright events --after 9 --follow";
        assert_eq!(text(&prime), expected);
    }
}
