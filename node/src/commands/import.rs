//! `queenright task import`: tasks from a file, a line each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use queenright_bench::client::wire::{AddTask, AddedTasks, Code};
use queenright_bench::client::{Client, ClientError};
use queenright_protocol::colony::ADD_TASKS_MAX;
use serde::Serialize;

use super::door::{client_of_project, of_error};
use super::input::name_of;
use super::{CliError, Context};
use crate::cli::ImportArgs;
use crate::exit::Exit;

/// The longest line: a task with the longest payload, written with escapes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How many bytes of lines one command adds: well within what a command and a body may have.
pub(super) const BATCH_BYTES: usize = 2 << 20;
/// How long is waited before a batch is sent again, at first and at most.
pub(super) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What an import did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Imported {
    /// How many tasks the file has.
    tasks: u64,
    /// How many of them were added.
    added: u64,
    /// How many names were there already.
    existing: u64,
}

/// Adds the tasks of a file, up to 1,000 with a command.
///
/// # Errors
/// [`CliError`] names the line that is no task, or the lines that were refused, and says how many were added before.
pub(super) async fn run(args: ImportArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?;
    let name = name_of(&args.file);
    let unreadable = |source: io::Error| CliError::Failed {
        message: format!("cannot read {name}"),
        source: source.into(),
    };
    let (reader, bytes) = open(&args.file).map_err(unreadable)?;
    let mut lines = Lines {
        reader,
        name: name.clone(),
        names: args.names,
        number: 0,
        read: 0,
        left: None,
    };
    let bar = bar(context, bytes);
    let mut imported = Imported::default();
    // One of its own for each batch of each run: a batch whose outcome is unknown is sent again under its key.
    let key = format!("import-{:032x}", rand::random::<u128>());
    loop {
        // Blocks this task alone, and only while a pipe has nothing yet.
        let batch = tokio::task::block_in_place(|| lines.batch())?;
        let Some(batch) = batch else { break };
        let key = format!("{key}-{}", batch.first);
        let added = add(&client, &batch.tasks, &key, args.target.client.timeout).await;
        let added = added.map_err(|error| refused(&error, &batch, &name, &imported))?;
        let existing = added.tasks.iter().filter(|task| task.existing).count() as u64;
        imported.tasks += added.tasks.len() as u64;
        imported.existing += existing;
        imported.added += added.tasks.len() as u64 - existing;
        bar.set_position(lines.read);
        bar.set_message(format!("{} tasks", imported.tasks));
    }
    bar.finish_and_clear();
    context.answer(&imported, text(&imported))?;
    Ok(Exit::Ok)
}

fn text(imported: &Imported) -> String {
    let Imported { tasks, added, existing } = imported;
    format!("{tasks} tasks: {added} added, {existing} were there already")
}

/// The file, or stdin for `-`, and its size if it is known.
fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((Box::new(BufReader::new(file)), Some(bytes)))
}

fn bar(context: &Context, bytes: Option<u64>) -> ProgressBar {
    if !context.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = |template| ProgressStyle::with_template(template).expect("a template that is tested");
    match bytes {
        Some(bytes) => ProgressBar::new(bytes).with_style(style("{bar:40} {percent} % {msg} [{elapsed}]")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {msg} [{elapsed}]")),
    }
}

/// Sends a batch until it has an answer: a full queue is waited for, and an outcome that is unknown is asked for again.
pub(super) async fn add(
    client: &Client,
    tasks: &[AddTask],
    key: &str,
    timeout: Duration,
) -> Result<AddedTasks, ClientError> {
    let started = Instant::now();
    let mut pause = BACK_OFF.0;
    loop {
        match client.add_tasks(tasks.to_vec(), Some(key)).await {
            Err(error) if (error.is_temporary() || error.outcome_unknown()) && started.elapsed() < timeout => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
            answer => return answer,
        }
    }
}

/// The error with the lines that it is about, and what was done before.
fn refused(error: &ClientError, batch: &Batch, name: &str, imported: &Imported) -> CliError {
    let Batch { first, last, .. } = batch;
    let before = imported.tasks;
    let message = format!("{name}: lines {first} to {last} were not added ({before} tasks before them were): {error}");
    let (exit, code) = of_error(error);
    CliError::Refused { exit, code, message }
}

/// Tasks that go with one command.
struct Batch {
    tasks: Vec<AddTask>,
    /// The lines of the first and the last of them.
    first: u64,
    last: u64,
}

/// The lines of a file.
struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    names: Option<String>,
    number: u64,
    /// How many bytes were read.
    read: u64,
    /// A task that had no room in the batch before, with its line and length.
    left: Option<(AddTask, u64, usize)>,
}

impl Lines {
    /// The next tasks; nothing at the end.
    fn batch(&mut self) -> Result<Option<Batch>, CliError> {
        let (mut tasks, mut bytes, mut first, mut last) = (Vec::new(), 0, 0, 0);
        while tasks.len() < ADD_TASKS_MAX {
            let next = match self.left.take() {
                Some(left) => Some(left),
                None => self.task()?,
            };
            let Some((task, number, length)) = next else { break };
            if bytes + length > BATCH_BYTES && !tasks.is_empty() {
                self.left = Some((task, number, length));
                break;
            }
            bytes += length;
            if tasks.is_empty() {
                first = number;
            }
            last = number;
            tasks.push(task);
        }
        let batch = Batch { tasks, first, last };
        Ok(Some(batch).filter(|batch| !batch.tasks.is_empty()))
    }

    /// The next task, its line and its length.
    fn task(&mut self) -> Result<Option<(AddTask, u64, usize)>, CliError> {
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
            let read = bounded
                .read_until(b'\n', &mut line)
                .map_err(|source| CliError::Failed {
                    message: format!("cannot read {}", self.name),
                    source: source.into(),
                })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.read += read as u64;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if read > LINE_BYTES_MAX {
                return Err(self.no_task(&format!("has more than {LINE_BYTES_MAX} B, which is the limit")));
            }
            // The parser would take a list of the fields as well.
            if !line.trim_ascii_start().starts_with(b"{") {
                return Err(self.no_task("is no JSON object"));
            }
            let parsed = serde_json::from_slice::<AddTask>(&line);
            let mut task = parsed.map_err(|error| self.no_task(&without_place(&error)))?;
            if let (None, Some(prefix)) = (&task.name, &self.names) {
                task.name = Some(format!("{prefix}-{}", self.number).into());
            }
            return Ok(Some((task, self.number, line.len())));
        }
    }

    fn no_task(&self, problem: &str) -> CliError {
        CliError::Refused {
            exit: Exit::Error,
            code: Code::Invalid.to_string(),
            message: format!("{}: line {}: {problem}", self.name, self.number),
        }
    }
}

/// The parser counts lines too, but only within this one.
pub(super) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) => format!("{text} (column {})", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn lines(text: &str, names: Option<&str>) -> Lines {
        Lines {
            reader: Box::new(Cursor::new(text.to_owned())),
            name: "x.jsonl".to_owned(),
            names: names.map(str::to_owned),
            number: 0,
            read: 0,
            left: None,
        }
    }

    #[test]
    fn a_batch_has_a_thousand_tasks_and_not_too_many_bytes() {
        let text: String = (0..2_500).map(|n| format!("{{\"title\": \"t{n}\"}}\n\n")).collect();
        let mut lines = lines(&text, None);
        let mut batches = Vec::new();
        while let Some(batch) = lines.batch().unwrap() {
            batches.push((batch.tasks.len(), batch.first, batch.last));
        }
        assert_eq!(batches, [(1_000, 1, 1_999), (1_000, 2_001, 3_999), (500, 4_001, 4_999)]);
        assert_eq!(lines.read, text.len() as u64);

        let payload = "x".repeat(700 << 10);
        let text = format!("{{\"title\": \"t\", \"payload\": \"{payload}\"}}\n").repeat(5);
        let mut lines = self::lines(&text, None);
        let sizes = std::iter::from_fn(|| lines.batch().unwrap().map(|batch| batch.tasks.len()));
        assert_eq!(sizes.collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn a_line_that_is_no_task_is_named() {
        let check = |line: &str, expected: &str| {
            let error = lines(&format!("{{\"title\": \"t\"}}\n{line}"), None)
                .batch()
                .map(|_| ())
                .unwrap_err();
            let expected = format!("x.jsonl: line 2: {expected}");
            assert!(error.line().starts_with(&expected), "{}", error.line());
        };
        check(
            r#"{"title": "t", "kinds": "k"}"#,
            "unknown field `kinds`, expected one of `title`, `kind`, `payload`, `name`",
        );
        check(r#"{"kind": "k"}"#, "missing field `title` (column 13)");
        check(r#"["t"]"#, "is no JSON object");
        check(
            &"x".repeat(LINE_BYTES_MAX + 1),
            "has more than 1048576 B, which is the limit",
        );
    }

    #[test]
    fn lines_without_a_name_get_one_from_their_number() {
        let batch = lines("{\"title\": \"a\"}\n{\"title\": \"b\", \"name\": \"own\"}", Some("p"));
        let batch = { batch }.batch().unwrap().unwrap();
        let names: Vec<_> = batch.tasks.iter().map(|task| task.name.as_deref()).collect();
        assert_eq!(names, [Some("p-1"), Some("own")]);
    }
}
