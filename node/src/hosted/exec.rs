//! The agent of kind `exec`: a command for each task.
//!
//! | argument | default | |
//! |---|---|---|
//! | `command` | | the program and its arguments, 1 to 1,024 texts |
//! | `folder` | that of the node | where it runs, an absolute path |
//! | `worktree` | `false` | whether each attempt runs in a git worktree of its own instead: made before it, removed when it is done or given back by exit code 75, else kept |
//! | `repository` | | of which repository, an absolute path; only and always with `worktree` |
//! | `base` | `HEAD` | with which commit a worktree begins, up to 256 bytes |
//! | `keep_worktrees` | 16 | how many of those that are kept there may be, the last ones, 0 to 10,000 |
//! | `environment` | `{}` | what its environment has besides that of the node, up to 256 texts |
//! | `timeout_s` | none | how long it may run for one task, 0.1 to 604,800 s; then the attempt has failed with class `timeout` |
//! | `memory_mb` | none | how many MiB all of its processes may have resident, 1 to 16,777,216; then it has failed with class `memory`. On Linux only |
//! | `measure_memory` | `false` | whether to look at that although it is not bounded: the report says `memory_peak_bytes` |
//! | `warm` | none | what is run once before the first claim, a program and its arguments; the agent fails if that does, or takes more than 10 minutes |
//! | `slots` | 1 | how many tasks at a time, 1 to 1,000 |
//! | `max_tasks` | none | after how many tasks it is done, 1 to 1,000,000,000 |
//! | `project`, `queue` | `default` | which tasks |
//! | `kinds` | all | only tasks of these kinds, up to 16 |
//! | `capabilities`, `labels` | `[]` | what it is capable of, where and what it is, up to 64 each |
//! | `checks` | `true` | whether the checks of tasks are run, by `sh -c` as the command is; else a task that has some fails with class `check` |
//! | `retry` | `false` | whether a task whose command fails may be tried again, as far as its own retry policy says |
//! | `lease_s` | 30 | how long its session lives without a sign of life of the node, 10 to 86,400 s |
//! | `grace_s` | 10 | how long commands may go on after the agent was stopped, 0 to 3,600 s |
//!
//! With `passivate_after_ms` in its specification it becomes passive after so long without a task, and is woken by the next
//! one that nobody else waits for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queenright_actors::agent::{AgentSpec, BehaviourError};
use queenright_actors::process;
use queenright_bench::client::wire::sorted;
use queenright_protocol::colony::{self, Refusal, SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN};

use super::arguments::{Arguments, wrong};
use crate::worker::{Commands, ENVIRONMENT, Plan, WORKTREE, Wanted, Work, Worktrees, this_program};

/// How the kind is called.
pub const KIND: &str = "exec";
/// The longest command: its words, and their bytes, which the system bounds too.
const COMMAND_WORDS_MAX: usize = 1_024;
const COMMAND_BYTES_MAX: usize = 64 << 10;
/// How many kinds, and how many capabilities and labels.
const KINDS_MAX: usize = 16;
const WORDS_MAX: usize = 64;
const WORDS_BYTES_MAX: usize = 8 << 10;
/// The most variables, and their bytes.
const VARIABLES_MAX: usize = 256;
const VARIABLES_BYTES_MAX: usize = 64 << 10;
/// How many tasks at a time.
pub(crate) const SLOTS_MAX: u64 = 1_000;
/// After how many tasks at the latest an agent may be done.
const MAX_TASKS_MAX: u64 = 1_000_000_000;
/// A week.
pub(crate) const TIMEOUT_SECONDS: std::ops::RangeInclusive<f64> = 0.1..=604_800.0;
/// 16 TiB.
pub(crate) const MEMORY_MB_MAX: u64 = 16 << 20;
const BASE_BYTES_MAX: usize = 256;
const WORKTREES_MAX: u64 = 10_000;
const WORKTREES_DEFAULT: u64 = 16;
const GRACE_SECONDS_MAX: f64 = 3_600.0;
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
const GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// What of the node's own environment is not for commands: how many threads it has, and that a service manager listens.
const HIDDEN: [&str; 4] = [
    "TOKIO_WORKER_THREADS",
    "NOTIFY_SOCKET",
    "MIMALLOC_PURGE_DELAY",
    "QUEENRIGHT_LOG",
];

/// What an agent of this kind is told to do. Its worktrees are made below `worktrees`; `forbidden` says why nobody may run
/// commands here.
///
/// # Errors
/// Which argument is wrong, and what is.
pub(super) fn plan(spec: &AgentSpec, worktrees: &Path, forbidden: Option<&str>) -> Result<Plan, BehaviourError> {
    if let Some(why) = forbidden {
        return Err(BehaviourError(why.to_owned()));
    }
    let mut arguments = Arguments::of(&spec.arguments)?;
    let command = arguments.texts("command", COMMAND_WORDS_MAX, COMMAND_BYTES_MAX)?;
    let warm = arguments.texts("warm", COMMAND_WORDS_MAX, COMMAND_BYTES_MAX)?;
    let commands = Commands {
        checks: arguments.flag("checks")?.unwrap_or(true),
        worktrees: worktrees_of(spec, &mut arguments, worktrees)?,
        warm: warm.into_iter().map(Into::into).collect(),
        ..commands(&mut arguments)?
    };
    let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
    let plan = plan_of(spec, &mut arguments, Work::Command(command.clone()), commands)?;
    arguments.end()?;
    let Some(program) = command.first() else {
        return Err(wrong("command", "names no program"));
    };
    check_program("command", Path::new(program), &plan.commands)?;
    if let Some(program) = plan.commands.warm.first() {
        check_program("warm", Path::new(program), &plan.commands)?;
    }
    Ok(plan)
}

/// How the commands of an agent are run, where nothing else is said.
pub(super) fn commands(arguments: &mut Arguments) -> Result<Commands, BehaviourError> {
    let folder = arguments.text("folder")?.map(PathBuf::from);
    if let Some(folder) = &folder {
        check_folder("folder", folder)?;
    }
    let environment = arguments.pairs("environment", VARIABLES_MAX, VARIABLES_BYTES_MAX)?;
    for (name, _) in &environment {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(wrong(
                "environment",
                format_args!("{name:?} cannot be the name of a variable"),
            ));
        }
        if ENVIRONMENT.contains(&name.as_str()) || name == WORKTREE {
            return Err(wrong("environment", format_args!("{name} is set for each task")));
        }
    }
    let memory = arguments.number("memory_mb", 1..=MEMORY_MB_MAX)?;
    if memory.is_some() && !process::can_bound_memory() {
        return Err(wrong(
            "memory_mb",
            "the memory of commands is bounded on Linux only, where /proc lists the children of threads",
        ));
    }
    let guard = this_program().map_err(|error| BehaviourError(format!("cannot find this program: {error}")))?;
    Ok(Commands {
        guard,
        folder,
        environment,
        hidden: HIDDEN.to_vec(),
        time_limit: arguments.seconds("timeout_s", TIMEOUT_SECONDS)?,
        memory_bytes_max: memory.map(|mib| mib << 20),
        measures_memory: arguments.flag("measure_memory")?.unwrap_or(false),
        warm: Vec::new(),
        worktrees: None,
        checks: false,
    })
}

/// From what the attempts of an agent get folders of their own, if they do. Git is asked when the agent starts.
fn worktrees_of(
    spec: &AgentSpec,
    arguments: &mut Arguments,
    folder: &Path,
) -> Result<Option<Worktrees>, BehaviourError> {
    let wanted = arguments.flag("worktree")?.unwrap_or(false);
    let repository = arguments.text("repository")?.map(PathBuf::from);
    let base = arguments.text("base")?;
    let keep = arguments.number("keep_worktrees", 0..=WORKTREES_MAX)?;
    let repository = match (wanted, repository) {
        (true, Some(repository)) => repository,
        (true, None) => return Err(wrong("repository", "missing (worktree is true)")),
        (false, Some(_)) => return Err(wrong("repository", "is of no use (worktree is false)")),
        (false, None) => return Ok(None),
    };
    check_folder("repository", &repository)?;
    let base = base.unwrap_or_else(|| "HEAD".to_owned());
    if base.is_empty() || base.len() > BASE_BYTES_MAX {
        let bytes = base.len();
        return Err(wrong(
            "base",
            format_args!("{bytes} bytes are not 1 to {BASE_BYTES_MAX}"),
        ));
    }
    let keep = keep.unwrap_or(WORKTREES_DEFAULT) as usize;
    // The name of an agent may be that of a folder, but for its length and what a system does not like.
    let folder = folder.join(Worktrees::plain(&spec.name));
    Ok(Some(Worktrees::new(repository, base, folder, keep)))
}

/// What all kinds of workers are told, and what this one does.
pub(super) fn plan_of(
    spec: &AgentSpec,
    arguments: &mut Arguments,
    work: Work,
    commands: Commands,
) -> Result<Plan, BehaviourError> {
    let refused = |refusal: Refusal| BehaviourError(refusal.to_string());
    let project = arguments.text("project")?.unwrap_or_else(|| "default".to_owned());
    colony::check_name("project", &project).map_err(refused)?;
    let queue = arguments.text("queue")?;
    let mut words = |field: &'static str, most: usize| arguments.texts(field, most, WORDS_BYTES_MAX);
    let kinds = words("kinds", KINDS_MAX)?;
    let (capabilities, labels) = (words("capabilities", WORDS_MAX)?, words("labels", WORDS_MAX)?);
    let named = queue.iter().map(|queue| ("queue", queue));
    let named = named.chain(kinds.iter().map(|kind| ("kinds", kind)));
    let named = named.chain(capabilities.iter().map(|word| ("capabilities", word)));
    for (field, name) in named.chain(labels.iter().map(|word| ("labels", word))) {
        if name.is_empty() || name.len() > colony::NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let most = colony::NAME_BYTES_MAX;
            let problem = format!("{name:?} is not 1 to {most} bytes without a control character");
            return Err(wrong(field, problem));
        }
    }
    let lease_bounds = SESSION_TTL_MS_MIN as f64 / 1e3..=SESSION_TTL_MS_MAX as f64 / 1e3;
    Ok(Plan {
        work,
        commands,
        name: spec.name.clone(),
        program: "queenright agent",
        project,
        wanted: Wanted {
            queue: queue.map(Into::into),
            kinds: kinds.into_iter().map(Into::into).collect(),
            capabilities: sorted(capabilities.into_iter().map(Into::into).collect()),
            labels: sorted(labels.into_iter().map(Into::into).collect()),
        },
        retry: arguments.flag("retry")?.unwrap_or(false),
        concurrency: arguments.number("slots", 1..=SLOTS_MAX)?.unwrap_or(1) as usize,
        lease: arguments.seconds("lease_s", lease_bounds)?.unwrap_or(LEASE_DEFAULT),
        grace: arguments
            .seconds("grace_s", 0.0..=GRACE_SECONDS_MAX)?
            .unwrap_or(GRACE_DEFAULT),
        max_tasks: arguments.number("max_tasks", 1..=MAX_TASKS_MAX)?,
        exit_when_empty: false,
        idle_for: spec.passivate_after_ms.map(Duration::from_millis),
    })
}

pub(super) fn check_folder(field: &str, folder: &Path) -> Result<(), BehaviourError> {
    if !folder.is_absolute() {
        return Err(wrong(field, format_args!("{folder:?} is not an absolute path")));
    }
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(wrong(field, format_args!("{folder:?} is no folder"))),
        Err(error) => Err(wrong(field, format_args!("{folder:?}: {error}"))),
    }
}

/// A command that is not there would fail every task. One that a relative path or another `PATH` names is looked for when it
/// is run.
fn check_program(field: &str, program: &Path, commands: &Commands) -> Result<(), BehaviourError> {
    let relative = program.components().count() > 1 && program.is_relative();
    if relative || commands.environment.iter().any(|(name, _)| name == "PATH") {
        return Ok(());
    }
    let found = process::find_program(program);
    found
        .map(drop)
        .map_err(|error| wrong(field, format_args!("cannot run {}: {error}", program.display())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(arguments: Value) -> AgentSpec {
        AgentSpec {
            name: "e1".to_owned(),
            kind: KIND.to_owned(),
            arguments,
            ..AgentSpec::default()
        }
    }

    #[test]
    fn arguments_become_a_plan() {
        let arguments = json!({
            "command": ["sh", "-c", "cat"], "folder": "/", "environment": {"A": "b"}, "timeout_s": 1.5, "slots": 3,
            "queue": "builds", "kinds": ["k"], "capabilities": ["b", "a", "b"], "retry": true, "lease_s": 10,
        });
        let plan = plan(&spec(arguments), Path::new("/t"), None).unwrap();
        assert!(matches!(&plan.work, Work::Command(command) if command == &["sh", "-c", "cat"]));
        assert!(plan.commands.checks && plan.commands.worktrees.is_none());
        assert_eq!(plan.commands.folder.as_deref(), Some(Path::new("/")));
        assert_eq!(plan.commands.time_limit, Some(Duration::from_millis(1_500)));
        assert_eq!(plan.wanted.capabilities, ["a".into(), "b".into()]);
        assert_eq!(
            (plan.concurrency, plan.retry, plan.lease),
            (3, true, Duration::from_secs(10))
        );
        assert_eq!((plan.name.as_str(), plan.project.as_str()), ("e1", "default"));
    }

    #[test]
    fn a_wrong_argument_is_refused_by_name() {
        let check = |arguments: Value, expected: &str| {
            let problem = plan(&spec(arguments), Path::new("/t"), None).err().unwrap().0;
            assert!(problem.starts_with(expected), "{problem}");
        };
        check(json!({}), "command: names no program");
        check(json!({"command": "ls"}), "command: \"ls\" is not a list of texts");
        check(
            json!({"command": ["no-such-program"]}),
            "command: cannot run no-such-program: no folder",
        );
        check(
            json!({"command": ["sh"], "folder": "here"}),
            "folder: \"here\" is not an absolute path",
        );
        check(
            json!({"command": ["sh"], "folder": "/no/such"}),
            "folder: \"/no/such\": No such file",
        );
        check(
            json!({"command": ["sh"], "slots": 1_001}),
            "slots: 1001 is not a whole number from 1 to 1000",
        );
        check(
            json!({"command": ["sh"], "memory_mb": 0}),
            "memory_mb: 0 is not a whole number from 1 to",
        );
        check(
            json!({"command": ["sh"], "timeout_s": 0}),
            "timeout_s: 0 is not a number of seconds from 0.1 to 604800",
        );
        check(
            json!({"command": ["sh"], "lease_s": 1}),
            "lease_s: 1 is not a number of seconds from 10 to 86400",
        );
        check(
            json!({"command": ["sh"], "environment": {"QUEENRIGHT_TASK": "1"}}),
            "environment: QUEENRIGHT_TASK is set for each task",
        );
        check(
            json!({"command": ["sh"], "environment": {"A=": "1"}}),
            "environment: \"A=\" cannot be",
        );
        check(json!({"command": ["sh"], "project": "a/b"}), "project: ");
        check(
            json!({"command": ["sh"], "queue": ""}),
            "queue: \"\" is not 1 to 128 bytes",
        );
        check(
            json!({"command": ["sh"], "worktrees": true}),
            "worktrees: no field is called so (known: base, ",
        );
        check(
            json!({"command": ["sh"], "worktree": true}),
            "repository: missing (worktree is true)",
        );
        check(
            json!({"command": ["sh"], "repository": "/"}),
            "repository: is of no use (worktree is false)",
        );
        let problem = plan(&spec(json!({"command": ["sh"]})), Path::new("/t"), Some("not here"));
        let problem = problem.err().unwrap().0;
        assert_eq!(problem, "not here");
    }
}
