//! `queenright guard`: refuses edits of what others have reserved.

use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{CheckRequest, Standings, WireBlocker, WireWant};
use queenright_bench::client::{Client, ClientError};
use queenright_protocol::colony::{Mode, RESERVED_RESOURCES_MAX};
use serde::Serialize;
use serde_json::json;

use super::door::{client, of_read};
use super::table::shown;
use super::{CliError, Context, here};
use crate::cli::{
    AUTHOR, ClientArgs, Editor, GuardCheckArgs, GuardCommand, GuardInstallArgs, GuardUninstallArgs, GuardedArgs,
};
use crate::exit::Exit;
use crate::guard::{
    Asked, Change, GuardError, Hooks, Pushed, Settings, below, denied, pushed, resource_of, resource_of_folder, staged,
    top,
};
use crate::state::StateError;

/// As much of what an editor asks as is read, in bytes: a tool may write a whole file.
const ASKED_BYTES_MAX: u64 = 64 << 20;

/// Carries out `queenright guard`.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: GuardCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        GuardCommand::Install(args) => install(args, context),
        GuardCommand::Uninstall(args) => uninstall(args, context),
        GuardCommand::Check(args) => check(args, context).await,
    }
}

fn install(args: GuardInstallArgs, context: &Context) -> Result<Exit, CliError> {
    let top = top_of(args.repo.as_deref())?;
    let program = std::env::current_exe().map_err(|source| CliError::Failed {
        message: "where this program lies cannot be told".to_owned(),
        source: source.into(),
    })?;
    let flags = flags(&args.guarded)?;
    // What is wrong with either is known before anything is changed.
    let looked = |dry| -> Result<Vec<Change>, GuardError> {
        let mut changes = match args.no_git {
            true => Vec::new(),
            false => Hooks::of(&top)?.install(&program, &flags, args.guarded.strict, dry)?,
        };
        if let Some(Editor::Claude) = args.editor {
            changes.push(Settings::of(&top).install(&program, &flags, dry)?);
        }
        Ok(changes)
    };
    let mut changes = looked(true)?;
    if !args.dry_run {
        changes = looked(false)?;
    }
    tell(&changes, args.dry_run, context)
}

fn uninstall(args: GuardUninstallArgs, context: &Context) -> Result<Exit, CliError> {
    let top = top_of(args.repo.as_deref())?;
    let mut changes = Hooks::of(&top)?.uninstall(args.dry_run)?;
    changes.push(Settings::of(&top).uninstall(args.dry_run)?);
    tell(&changes, args.dry_run, context)
}

fn tell(changes: &[Change], dry_run: bool, context: &Context) -> Result<Exit, CliError> {
    let lines = changes.iter().map(|change| {
        let before = match &change.before {
            Some(before) => format!(" (the one before: {})", before.display()),
            None => String::new(),
        };
        format!("{}: {}{before}", change.path.display(), change.change)
    });
    let mut lines: Vec<String> = lines.collect();
    if dry_run {
        lines.push("a dry run: nothing was changed".to_owned());
    }
    context.answer(&json!({ "files": changes, "dry_run": dry_run }), lines.join("\n"))?;
    Ok(Exit::Ok)
}

/// What the hooks call the guard with.
fn flags(guarded: &GuardedArgs) -> Result<Vec<String>, CliError> {
    let GuardedArgs {
        project,
        node,
        timeout,
        strict,
        access,
    } = guarded;
    let mut flags = vec!["--project".to_owned(), project.clone()];
    let mut push = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
    if let Some(node) = node {
        push("--node", node.clone());
    }
    for (flag, file) in [("--ca", &access.ca), ("--token-file", &access.token_file)] {
        if let Some(file) = file {
            let file = std::path::absolute(file).map_err(|source| CliError::Failed {
                message: format!("{flag}: {} cannot be found", file.display()),
                source: source.into(),
            })?;
            push(flag, file.display().to_string());
        }
    }
    push("--timeout", timeout.as_secs_f64().to_string());
    if *strict {
        flags.push("--strict".to_owned());
    }
    Ok(flags)
}

/// A path that somebody else has reserved.
#[derive(Debug, Serialize)]
struct Held {
    path: String,
    #[serde(flatten)]
    by: WireBlocker,
}

/// What a check found.
#[derive(Debug, Default, Serialize)]
struct Checked {
    /// How many paths were looked at.
    paths: usize,
    /// Those that others have.
    held: Vec<Held>,
    /// Why nobody was asked, if no node has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchecked: Option<String>,
}

async fn check(args: GuardCheckArgs, context: &Context) -> Result<Exit, CliError> {
    let paths = paths(&args)?;
    let mut checked = Checked {
        paths: paths.len(),
        ..Checked::default()
    };
    match ask(&args, &paths).await {
        Ok(held) => checked.held = held,
        Err(error) if is_silence(&error) && !args.guarded.strict => checked.unchecked = Some(error.line()),
        Err(error) => {
            return match args.hook {
                // An editor hears no more than a reason.
                Some(Editor::Claude) => {
                    context.print(denied(&format!(
                        "reservations could not be looked at: {}",
                        error.line()
                    )))?;
                    Ok(Exit::Ok)
                }
                None => Err(error),
            };
        }
    }
    if let Some(reason) = &checked.unchecked {
        context.note(format_args!("warning: reservations were not looked at: {reason}"));
    }
    match args.hook {
        Some(Editor::Claude) if checked.held.is_empty() => Ok(Exit::Ok),
        Some(Editor::Claude) => {
            context.print(denied(&text(&checked)))?;
            Ok(Exit::Ok)
        }
        None if checked.held.is_empty() => {
            // A hook that has nothing to refuse says nothing.
            if context.json || !(args.staged || args.pushed) {
                context.answer(&checked, text(&checked))?;
            }
            Ok(Exit::Ok)
        }
        None => {
            context.answer(&checked, text(&checked))?;
            Ok(Exit::Conflict)
        }
    }
}

/// Whether nobody was there to answer.
fn is_silence(error: &CliError) -> bool {
    match error {
        CliError::State(StateError::NothingRunning) => true,
        error => matches!(error.exit(), Exit::Unavailable | Exit::Timeout | Exit::Temporary),
    }
}

fn text(checked: &Checked) -> String {
    if checked.held.is_empty() {
        return match &checked.unchecked {
            Some(_) => format!("{} paths, not looked at", checked.paths),
            None => format!("{} paths, reserved by nobody else", checked.paths),
        };
    }
    let mut lines: Vec<String> = checked.held.iter().map(held_text).collect();
    lines.push(
        "ask the holder, work on something else, or wait for it: queenright reserve add PATH --wait 600 (its own \
         reservations are known by QUEENRIGHT_TOKEN)"
            .to_owned(),
    );
    lines.join("\n")
}

fn held_text(held: &Held) -> String {
    let Held { path, by } = held;
    let task = by.task.map(|task| format!(", for task {task}")).unwrap_or_default();
    let mode = match by.mode {
        Mode::Exclusive => String::new(),
        mode => format!(" ({mode})"),
    };
    format!(
        "{}: {} has reserved {}{mode} ({}{task})",
        shown(path),
        by.holder,
        shown(&by.resource),
        by.reservation
    )
}

/// A path to look at, from the top of its work tree, and its resource.
struct Looked {
    path: String,
    resource: String,
}

impl Looked {
    fn file(path: String) -> Looked {
        Looked {
            resource: resource_of(&path),
            path,
        }
    }
}

fn paths(args: &GuardCheckArgs) -> Result<Vec<Looked>, CliError> {
    let here = here()?;
    if args.staged {
        return Ok(staged(&top(&here)?)?.into_iter().map(Looked::file).collect());
    }
    if args.pushed {
        let commits = Pushed::read(BufReader::new(io::stdin().lock()))?;
        return Ok(pushed(&top(&here)?, &commits)?.into_iter().map(Looked::file).collect());
    }
    let (from, files) = match args.hook {
        Some(Editor::Claude) => {
            let mut text = Vec::new();
            let read = io::stdin().lock().take(ASKED_BYTES_MAX).read_to_end(&mut text);
            read.map_err(|source| CliError::Failed {
                message: "cannot read stdin".to_owned(),
                source: source.into(),
            })?;
            let asked = Asked::read(&text)?;
            let files = asked.files().map(Path::to_owned).collect();
            (asked.cwd.unwrap_or(here), files)
        }
        None => (here, args.paths.clone()),
    };
    let mut found = Vec::new();
    for file in files {
        // A file may be in another repository than the folder that it is named from.
        let folder = from.join(&file);
        let folder = folder.ancestors().find(|above| above.is_dir()).unwrap_or(&from);
        let top = match top(folder) {
            Ok(top) => top,
            Err(GuardError::NoRepository { .. }) => from.clone(),
            Err(error) => return Err(error.into()),
        };
        let Some(path) = below(&top, &file, &from) else {
            continue;
        };
        found.push(match from.join(&file).is_dir() {
            true => Looked {
                resource: resource_of_folder(&path),
                path: format!("{path}/"),
            },
            false => Looked::file(path),
        });
    }
    Ok(found)
}

fn top_of(repo: Option<&Path>) -> Result<PathBuf, CliError> {
    match repo {
        Some(repo) => Ok(top(repo)?),
        None => Ok(top(&here()?)?),
    }
}

/// What others have of these paths.
async fn ask(args: &GuardCheckArgs, paths: &[Looked]) -> Result<Vec<Held>, CliError> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let GuardedArgs {
        project,
        node,
        timeout,
        access,
        ..
    } = &args.guarded;
    let client = client(&ClientArgs {
        node: node.clone(),
        timeout: *timeout,
        acts_as: AUTHOR.to_owned(),
        access: access.clone(),
    })?;
    let client = client.in_project(project);
    let mut held = Vec::new();
    for chunk in paths.chunks(RESERVED_RESOURCES_MAX) {
        let found = standings(&client, chunk, args.token.as_deref())
            .await
            .map_err(of_read)?;
        held.extend(found.conflicts.into_iter().filter(|by| !by.waits).map(|by| {
            let looked = chunk.iter().find(|looked| *looked.resource == *by.wanted);
            let path = looked.map_or_else(|| by.wanted.to_string(), |looked| looked.path.clone());
            Held { path, by }
        }));
    }
    Ok(held)
}

async fn standings(client: &Client, looked: &[Looked], token: Option<&str>) -> Result<Standings, ClientError> {
    let want = |looked: &Looked| WireWant {
        resource: looked.resource.as_str().into(),
        mode: Mode::Exclusive,
    };
    let request = CheckRequest {
        resources: looked.iter().map(want).collect(),
        token: token.map(str::to_owned),
    };
    client.check_reservations(&request, Consistency::Linearizable).await
}

impl From<GuardError> for CliError {
    fn from(error: GuardError) -> CliError {
        let exit = match &error {
            GuardError::InTheWay { .. } => Exit::Conflict,
            _ => Exit::Error,
        };
        CliError::Refused {
            exit,
            code: "GUARD".to_owned(),
            message: error.to_string(),
        }
    }
}
