//! `queenright export` and `queenright import`: a project as lines of JSON.

mod plan;
mod settings;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{AddTask, Code, ExportEnd, ExportLine, HexHash};
use queenright_bench::client::{Client, ClientError, Guard, ListQuery, PutOptions};
use queenright_protocol::colony::ADD_TASKS_MAX;
use serde::Serialize;

use self::plan::{Plan, PlannedRecord};
use self::settings::BroughtSettings;
use super::backup::{Unfinished, bytes_bar, cannot};
use super::door::{client_of_project, of_error, of_read};
use super::import::{BACK_OFF, BATCH_BYTES, add};
use super::input::name_of;
use super::{CliError, Context};
use crate::cli::{ExportArgs, ImportProjectArgs};
use crate::exit::Exit;

/// As much of the end of an export as the last line can have, in bytes.
const LAST_LINE_BYTES: usize = 1 << 10;
/// How many values are on their way at a time.
const PUTS: usize = 16;
/// How many keys of the project are asked for at a time.
const PAGE: u64 = 10_000;

/// What an export did.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    file: &'a Path,
    project: &'a str,
    bytes: u64,
    memory: u64,
    tasks: u64,
    settings: u64,
}

/// Writes a project into a file, or to stdout.
///
/// # Errors
/// [`CliError`]; there is no file then.
pub async fn export(args: ExportArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?;
    let consistency = match args.local {
        true => Consistency::Local,
        false => Consistency::Linearizable,
    };
    if args.file == Path::new("-") {
        let mut pieces = client.export(consistency).await.map_err(of_read)?;
        let mut tail = Tail::default();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(of_read)?;
            tail.take(&piece);
            context.print_bytes(&piece)?;
        }
        tail.end(&name_of(&args.file))?;
        return Ok(Exit::Ok);
    }
    let out = Unfinished::create(&args.file)?;
    let bar = bytes_bar(context);
    let pieces = client.export(consistency).await.map_err(of_read)?;
    let mut tail = Tail::default();
    out.take(pieces, |piece| {
        tail.take(piece);
        bar.inc(piece.len() as u64);
    })
    .await?;
    bar.finish_and_clear();
    let ExportEnd {
        memory,
        tasks,
        settings,
    } = tail.end(&name_of(&args.file))?;
    let exported = Exported {
        file: &args.file,
        project: &args.target.project,
        bytes: out.finish()?,
        memory,
        tasks,
        settings,
    };
    let text = format!(
        "{}: {settings} settings, {memory} records and {tasks} tasks of project {}, {} B",
        args.file.display(),
        args.target.project,
        exported.bytes
    );
    context.answer(&exported, text)?;
    Ok(Exit::Ok)
}

/// The end of an export.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn take(&mut self, piece: &[u8]) {
        self.0
            .extend_from_slice(&piece[piece.len().saturating_sub(LAST_LINE_BYTES)..]);
        let beyond = self.0.len().saturating_sub(LAST_LINE_BYTES);
        self.0.drain(..beyond);
    }

    /// What the last line says.
    fn end(&self, name: &str) -> Result<ExportEnd, CliError> {
        let last = self.0.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        match last.map(serde_json::from_slice) {
            Some(Ok(ExportLine::End(end))) => Ok(end),
            _ => Err(CliError::Refused {
                exit: Exit::Unavailable,
                code: Code::Unavailable.to_string(),
                message: format!("{name}: the export ended early: the node went away"),
            }),
        }
    }
}

/// What an import did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Brought {
    settings: BroughtSettings,
    memory: BroughtMemory,
    tasks: BroughtTasks,
    dry_run: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct BroughtMemory {
    /// How many keys were written that had no value.
    added: u64,
    /// How many had another value, which was replaced.
    replaced: u64,
    /// How many had the same value already.
    same: u64,
    /// How many have another value, and keep it.
    kept: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct BroughtTasks {
    /// How many were added; in a dry run, how many would be, if none is there.
    added: u64,
    /// How many were there already.
    existing: u64,
    /// How many have ended, and were left out.
    ended: u64,
    /// How many needs were left out, of tasks that ended otherwise than done.
    needs_dropped: u64,
}

/// Brings an export into a project.
///
/// # Errors
/// [`CliError`] names the line that is wrong: nothing was written then. Or says what was refused; what was written before
/// stays, and is passed over when it is done again.
pub async fn import(args: ImportProjectArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?;
    let name = name_of(&args.file);
    let (file, plan) = tokio::task::block_in_place(|| {
        let file = open(&args.file).map_err(cannot("read", &args.file))?;
        Plan::read(&file, &name).map(|plan| (file, plan))
    })?;
    let present = present(&client).await?;
    let mut brought = Brought {
        dry_run: args.dry_run,
        ..Brought::default()
    };
    let bar = steps_bar(
        context,
        (plan.settings.len() + plan.records.len() + plan.tasks.len()) as u64,
    );
    let work = Work {
        client: &client,
        file: &file,
        name: &name,
        bar: &bar,
        timeout: args.target.client.timeout,
        dry_run: args.dry_run,
    };
    let (project, overwrite) = (&args.target.project, args.overwrite);
    work.settings(&plan.settings, project, overwrite, &mut brought.settings)
        .await?;
    work.memory(&plan, &present, overwrite, &mut brought.memory).await?;
    work.tasks(plan, &mut brought.tasks).await?;
    bar.finish_and_clear();
    context.answer(&brought, text(&brought, &args.target.project))?;
    Ok(Exit::Ok)
}

fn text(brought: &Brought, project: &str) -> String {
    let Brought {
        settings,
        memory,
        tasks,
        dry_run,
    } = brought;
    let mut text = format!(
        "memory: {} added, {} replaced, {} the same already, {} have another value and keep it\ntasks: {} added, {} there \
         already, {} have ended and were left out",
        memory.added, memory.replaced, memory.same, memory.kept, tasks.added, tasks.existing, tasks.ended
    );
    if tasks.needs_dropped > 0 {
        let dropped = tasks.needs_dropped;
        text += &format!("; {dropped} needs of tasks that ended otherwise than done were dropped");
    }
    if *settings != BroughtSettings::default() {
        text = format!("{text}\n{}", settings::text(settings));
    }
    if *dry_run {
        text += &format!("\na dry run: nothing was written into project {project}");
    }
    text
}

/// The file; of stdin a copy, because it is read twice.
fn open(path: &Path) -> io::Result<File> {
    if path != Path::new("-") {
        return File::open(path);
    }
    let mut copy = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut copy)?;
    copy.flush()?;
    Ok(copy)
}

fn steps_bar(context: &Context, steps: u64) -> ProgressBar {
    match context.shows_progress() {
        true => ProgressBar::new(steps),
        false => ProgressBar::hidden(),
    }
}

/// A key of the project: its revision, the hash of its value if it has one, its tags.
struct Present {
    revision: u64,
    hash: Option<HexHash>,
    tags: Vec<Arc<str>>,
}

async fn present(client: &Client) -> Result<BTreeMap<Arc<str>, Present>, CliError> {
    let mut found = BTreeMap::new();
    let mut query = ListQuery {
        limit: Some(PAGE),
        ..ListQuery::default()
    };
    loop {
        let page = client.list(&query).await.map_err(of_read)?;
        for key in page.keys {
            let present = Present {
                revision: key.revision,
                hash: key.hash,
                tags: key.tags,
            };
            found.insert(key.key, present);
        }
        match page.next {
            None => return Ok(found),
            next => query.after = next,
        }
    }
}

/// Where everything goes.
struct Work<'a> {
    client: &'a Client,
    file: &'a File,
    name: &'a str,
    bar: &'a ProgressBar,
    timeout: Duration,
    dry_run: bool,
}

impl Work<'_> {
    async fn memory(
        &self,
        plan: &Plan,
        present: &BTreeMap<Arc<str>, Present>,
        overwrite: bool,
        brought: &mut BroughtMemory,
    ) -> Result<(), CliError> {
        let mut puts = Vec::new();
        for record in &plan.records {
            match present.get(&record.key) {
                None => puts.push((record, Guard::IfAbsent)),
                Some(now) if now.hash == Some(record.hash) && now.tags == record.tags => brought.same += 1,
                Some(_) if !overwrite => brought.kept += 1,
                Some(now) => puts.push((record, Guard::IfRevision(now.revision))),
            }
        }
        self.bar.inc(brought.same + brought.kept);
        let mut written = stream::iter(puts)
            .map(|(record, guard)| async move {
                let put = match self.dry_run {
                    true => Ok(true),
                    false => self.put(record, guard).await,
                };
                put.map(|put| (put, guard))
            })
            .buffer_unordered(PUTS);
        while let Some((put, guard)) = written.try_next().await? {
            match (put, guard) {
                (true, Guard::IfAbsent) => brought.added += 1,
                (true, _) => brought.replaced += 1,
                // Somebody else was faster.
                (false, _) => brought.kept += 1,
            }
            self.bar.inc(1);
        }
        Ok(())
    }

    /// Whether it was written: not if somebody else has changed the key meanwhile.
    async fn put(&self, record: &PlannedRecord, guard: Guard) -> Result<bool, CliError> {
        let value: Bytes = tokio::task::block_in_place(|| record.value(self.file, self.name))?;
        let options = PutOptions {
            tags: record.tags.iter().map(ToString::to_string).collect(),
            guard,
            idempotency_key: Some(format!("import-{:032x}", rand::random::<u128>())),
        };
        let put = self
            .repeat(|| self.client.put(&record.key, value.clone(), &options))
            .await;
        match put {
            Ok(_) => Ok(true),
            Err(ClientError::Problem(problem)) if problem.code == Code::Conflict => Ok(false),
            Err(error) => Err(self.refused(&error, &format!("key {:?}", record.key))),
        }
    }

    async fn repeat<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let (started, mut pause) = (Instant::now(), BACK_OFF.0);
        loop {
            match call().await {
                Err(error) if (error.is_temporary() || error.outcome_unknown()) && started.elapsed() < self.timeout => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
                answer => return answer,
            }
        }
    }

    async fn tasks(&self, plan: Plan, brought: &mut BroughtTasks) -> Result<(), CliError> {
        let all = plan.tasks.len();
        let (tasks, dropped) = plan.open_tasks();
        brought.ended = (all - tasks.len()) as u64;
        brought.needs_dropped = dropped;
        self.bar.inc(brought.ended);
        if self.dry_run {
            brought.added = tasks.len() as u64;
            return Ok(());
        }
        let key = format!("import-{:032x}", rand::random::<u128>());
        for (number, batch) in batches(tasks).into_iter().enumerate() {
            let added = add(self.client, &batch, &format!("{key}-{number}"), self.timeout).await;
            let what = || {
                let title = batch.first().map_or("", |task| &task.title);
                format!("{} tasks from {title:?} on", batch.len())
            };
            let added = added.map_err(|error| self.refused(&error, &what()))?;
            let existing = added.tasks.iter().filter(|task| task.existing).count() as u64;
            brought.existing += existing;
            brought.added += added.tasks.len() as u64 - existing;
            self.bar.inc(added.tasks.len() as u64);
        }
        Ok(())
    }

    fn refused(&self, error: &ClientError, what: &str) -> CliError {
        let (exit, code) = of_error(error);
        let name = self.name;
        let message =
            format!("{name}: {what}: {error}; what came before is written, and passed over when it is run again");
        CliError::Refused { exit, code, message }
    }
}

/// Tasks that go with one command each.
fn batches(tasks: Vec<AddTask>) -> Vec<Vec<AddTask>> {
    let (mut batches, mut bytes) = (Vec::new(), usize::MAX);
    for task in tasks {
        let length = serde_json::to_vec(&task).map_or(0, |json| json.len());
        let full = batches
            .last()
            .is_none_or(|batch: &Vec<AddTask>| batch.len() == ADD_TASKS_MAX);
        if full || bytes.saturating_add(length) > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        batches.last_mut().expect("there is one now").push(task);
    }
    batches
}
