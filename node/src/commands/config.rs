//! `queenright config`: looks at cluster files, and says where settings come from.

use std::path::Path;

use serde::Serialize;

use super::table::{Table, shown};
use super::{CliError, Context};
use crate::cli::{ConfigCommand, ShowConfigArgs};
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::state::StateFolders;

/// What `config check --json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    cluster: &'a str,
    topology: String,
    nodes: usize,
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File => "file",
            Origin::Default => "default",
        }
    }
}

/// A setting, as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Shown {
    key: String,
    value: String,
    origin: Origin,
    /// The flag, the variable or the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

impl Shown {
    fn new(key: impl Into<String>, value: impl Into<String>, origin: Origin, by: Option<&str>) -> Shown {
        Shown {
            key: key.into(),
            value: value.into(),
            origin,
            by: by.map(str::to_owned),
        }
    }

    /// A setting that a flag can say, which also stands for a variable of the environment.
    fn of_flag(key: &str, value: Option<String>, flag: &str, variable: Option<&str>, default: &str) -> Shown {
        let of_environment = variable.and_then(|name| Some((name, std::env::var(name).ok()?)));
        match (value, of_environment) {
            (Some(value), Some((name, said))) if value == said => {
                Shown::new(key, value, Origin::Environment, Some(name))
            }
            (Some(value), _) => Shown::new(key, value, Origin::Flag, Some(flag)),
            (None, _) => Shown::new(key, default, Origin::Default, None),
        }
    }
}

/// What `config show --json` prints.
#[derive(Serialize)]
struct Settings {
    settings: Vec<Shown>,
}

/// Carries out `queenright config`.
///
/// # Errors
/// [`CliError::Config`] says what is wrong with the file.
pub async fn run(args: ConfigCommand, context: &Context) -> Result<Exit, CliError> {
    match args {
        ConfigCommand::Check { file, insecure } => check(&file, insecure, context),
        ConfigCommand::Show(args) => show(&args, context),
    }
}

/// Checks a cluster file and says in one line what it describes.
fn check(file: &Path, insecure: bool, context: &Context) -> Result<Exit, CliError> {
    let config = ClusterConfig::load(file)?;
    for warning in config.check_exposure(insecure)? {
        context.note(format_args!("warning: {warning}"));
    }
    let checked = Checked {
        file: file.display().to_string(),
        cluster: &config.name,
        topology: config.topology.to_string(),
        nodes: config.nodes.len(),
    };
    context.answer(&checked, format_args!("{}: ok: {config}", file.display()))?;
    Ok(Exit::Ok)
}

fn show(args: &ShowConfigArgs, context: &Context) -> Result<Exit, CliError> {
    let config = args.file.as_deref().map(ClusterConfig::load).transpose()?;
    let mut settings = of_process(args, config.as_ref())?;
    if let Some(config) = &config {
        let text = std::fs::read_to_string(&config.file).map_err(|source| CliError::Failed {
            message: format!("cannot read {}", config.file.display()),
            source: source.into(),
        })?;
        let name = config.file.display().to_string();
        settings.extend(config.settings(&text).into_iter().map(|setting| match setting.said {
            true => Shown::new(setting.key, setting.value, Origin::File, Some(&name)),
            false => Shown::new(setting.key, setting.value, Origin::Default, None),
        }));
    }
    let text = match (&config, args.origin) {
        (Some(config), false) => config.to_toml().trim_end().to_owned(),
        _ => table(&settings),
    };
    context.answer(&Settings { settings }, text)?;
    Ok(Exit::Ok)
}

fn table(settings: &[Shown]) -> String {
    let mut table = Table::new(["SETTING", "VALUE", "ORIGIN"]);
    for setting in settings {
        let by = setting.by.as_ref().map(|by| format!(" {by}")).unwrap_or_default();
        table.row([
            setting.key.clone(),
            shown(&setting.value),
            format!("{}{by}", setting.origin.name()),
        ]);
    }
    table.to_string()
}

/// What no cluster file says: how nodes and commands of this host are called. Secrets are not shown.
fn of_process(args: &ShowConfigArgs, config: Option<&ClusterConfig>) -> Result<Vec<Shown>, CliError> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let mut settings = Vec::new();
    if let Some(config) = config {
        let folders = StateFolders::find(&config.name, args.data.as_deref())?;
        let folder = folders.cluster.path().display().to_string();
        settings.push(match &args.data {
            Some(_) => Shown::new("state.folder", folder, Origin::Flag, Some("--data")),
            None => match std::env::var_os("XDG_STATE_HOME").filter(|home| Path::new(home).is_absolute()) {
                Some(_) => Shown::new("state.folder", folder, Origin::Environment, Some("XDG_STATE_HOME")),
                None => Shown::new("state.folder", folder, Origin::Default, None),
            },
        });
        settings.push(match args.insecure {
            true => Shown::new("node.insecure", "true", Origin::Flag, Some("--insecure")),
            false => Shown::new("node.insecure", "false", Origin::Default, None),
        });
    }
    settings.push(match std::env::var("QUEENRIGHT_LOG") {
        Ok(filter) => Shown::new("node.log", filter, Origin::Environment, Some("QUEENRIGHT_LOG")),
        Err(_) => Shown::new("node.log", crate::logging::LogFilter::DEFAULT, Origin::Default, None),
    });
    let (node, ca, file) = (args.node.clone(), path(&args.access.ca), path(&args.access.token_file));
    settings.push(Shown::of_flag(
        "command.node",
        node,
        "--node",
        Some("QUEENRIGHT_NODE"),
        "the first node of the one cluster that runs on this host",
    ));
    let known = "what a running node of this host has recorded";
    settings.push(Shown::of_flag("command.ca", ca, "--ca", Some("QUEENRIGHT_CA"), known));
    let file = Shown::of_flag(
        "command.token_file",
        file,
        "--token-file",
        Some("QUEENRIGHT_TOKEN_FILE"),
        known,
    );
    let said = file.origin != Origin::Default;
    settings.push(file);
    // A file that was named comes first.
    settings.push(match std::env::var_os("QUEENRIGHT_AUTH_TOKEN") {
        Some(_) if !said => Shown::new(
            "command.token",
            "(secret)",
            Origin::Environment,
            Some("QUEENRIGHT_AUTH_TOKEN"),
        ),
        _ => Shown::new("command.token", "that of the file", Origin::Default, None),
    });
    Ok(settings)
}
