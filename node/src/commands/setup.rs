//! `queenright setup`: tells other programs to start `queenright mcp`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{CliError, Context};
use crate::cli::{Program, Scope, SetupArgs};
use crate::exit::Exit;
use crate::mcp::Toolset;
use crate::setup::{self, Done, Entry, NAME, Places, Plan, SetupError, State};
use crate::state::Door;

/// The name under which this program is found, where it is.
const COMMAND: &str = "queenright";

impl From<SetupError> for CliError {
    fn from(error: SetupError) -> CliError {
        CliError::Failed {
            message: "nothing was changed".to_owned(),
            source: error.into(),
        }
    }
}

/// What was done, or would be.
#[derive(Serialize)]
struct Report {
    file: PathBuf,
    done: Done,
    dry_run: bool,
    /// The lines that change.
    lines: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<PathBuf>,
}

/// A file that was looked at.
#[derive(Serialize)]
struct Look {
    scope: &'static str,
    file: PathBuf,
    #[serde(flatten)]
    state: State,
}

/// Carries out `queenright setup`.
///
/// # Errors
/// [`CliError`], such as a file that the program could not read either: nothing was changed.
pub async fn run(args: SetupArgs, context: &Context) -> Result<Exit, CliError> {
    let project = match &args.dir {
        Some(folder) if !folder.is_dir() => {
            return Err(CliError::Usage(format!("--dir: {} is no folder", folder.display())));
        }
        Some(folder) => folder.clone(),
        None => PathBuf::from("."),
    };
    let project = std::path::absolute(&project).unwrap_or(project);
    let places = Places::of_process(project);
    if args.status {
        return status(&places, args.program, context);
    }
    let scope = args.scope.unwrap_or(match args.program {
        // Where `codex mcp add` puts it: folders count only if they are trusted.
        Program::Codex => Scope::User,
        Program::Claude | Program::Gemini | Program::Cursor => Scope::Project,
    });
    let plan = match args.undo {
        true => Plan::to_undo(&places, args.program, scope)?,
        false => Plan::to_set(&places, args.program, scope, &entry(&args)?)?,
    };
    if !args.dry_run {
        plan.carry_out()?;
    }
    let report = Report {
        lines: plan.difference(),
        file: plan.file,
        done: plan.done,
        dry_run: args.dry_run,
        backup: plan.backup,
    };
    context.answer(&report, report_text(&report))?;
    if !args.dry_run && !args.undo && report.done != Done::Unchanged {
        context.note(after(args.program));
    }
    Ok(Exit::Ok)
}

/// What the program is to start.
fn entry(args: &SetupArgs) -> Result<Entry, CliError> {
    let mut arguments = vec!["mcp".to_owned()];
    if let Some(toolsets) = &args.toolsets {
        let further = Toolset::ALL.into_iter().filter(|toolset| *toolset != Toolset::Default);
        let names: Vec<&str> = further
            .filter(|toolset| toolsets.has(*toolset))
            .map(Toolset::name)
            .collect();
        if !names.is_empty() {
            arguments.extend(["--toolsets".to_owned(), names.join(",")]);
        }
    }
    if let Some(node) = &args.node {
        Door::parse(node)?;
        arguments.extend(["--node".to_owned(), node.clone()]);
    }
    Ok(Entry {
        command: command(),
        args: arguments,
    })
}

/// How this program is started: by its name, if that finds it, so that the file is good for other hosts too.
fn command() -> String {
    let Ok(this) = std::env::current_exe() else {
        return COMMAND.to_owned();
    };
    let same = |folder: PathBuf| {
        let there = std::fs::canonicalize(folder.join(COMMAND)).ok();
        there.is_some() && there == std::fs::canonicalize(&this).ok()
    };
    let first = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).find(|folder| folder.join(COMMAND).is_file()));
    match first.is_some_and(same) {
        true => COMMAND.to_owned(),
        false => this.display().to_string(),
    }
}

fn report_text(report: &Report) -> String {
    let would = |now: &str, then: &str| {
        if report.dry_run {
            then.to_owned()
        } else {
            now.to_owned()
        }
    };
    let file = report.file.display();
    let line = match report.done {
        Done::Created => would("made", "would make"),
        Done::Added => would("added to", "would add to"),
        Done::Updated => would("changed in", "would change in"),
        Done::Unchanged => return format!("{file}: nothing to change"),
        Done::Removed => would("taken out of", "would take out of"),
        Done::Restored => would("brought back", "would bring back"),
        Done::Deleted => would("removed", "would remove"),
    };
    let mut lines = vec![format!("{line} {file}")];
    lines.extend(report.lines.iter().map(|line| format!("  {line}")));
    if let Some(backup) = &report.backup {
        let keeps = would("what was there is in", "what is there would be kept in");
        lines.push(format!("{keeps} {}", backup.display()));
    }
    lines.join("\n")
}

fn after(program: Program) -> &'static str {
    match program {
        Program::Claude => "start Claude Code anew there; it asks once before it uses a server of a project",
        Program::Codex => "start Codex anew; /mcp shows its servers",
        Program::Gemini => "start Gemini CLI anew; /mcp shows its servers",
        Program::Cursor => "Cursor lists it under its MCP settings, where it can be switched on",
    }
}

fn status(places: &Places, program: Program, context: &Context) -> Result<Exit, CliError> {
    let mut looks = Vec::new();
    for (scope, name) in [(Scope::Project, "project"), (Scope::User, "user")] {
        let (file, state) = setup::state(places, program, scope)?;
        looks.push(Look {
            scope: name,
            file,
            state,
        });
    }
    let lines: Vec<String> = looks.iter().map(look_text).collect();
    context.answer(&looks, lines.join("\n"))?;
    Ok(Exit::Ok)
}

fn look_text(look: &Look) -> String {
    let file = shown(&look.file);
    match &look.state {
        State::NoFile => format!("{:<8} {file}: no such file", look.scope),
        State::Absent => format!("{:<8} {file}: no {NAME}", look.scope),
        State::Set { entry } => format!("{:<8} {file}: {} {}", look.scope, entry.command, entry.args.join(" ")),
    }
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}
