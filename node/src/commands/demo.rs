//! `queenright demo`: starts three nodes, lets a swarm replay real commits, compares, and stops everything.

use std::path::{Path, PathBuf};

use queenright_bench::client::ClientOptions;

use super::replay::{carry_out, finish, nodes_of, stop_signals};
use super::up::interrupted;
use super::{CliError, Context};
use crate::cli::DemoArgs;
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::git::Repository;
use crate::git::generate::{GenerateOptions, generate};
use crate::replay::{Job, JobOptions, ReplayError};
use crate::up::{Cluster, UpOptions};

/// The cluster that runs, as the repository has it.
const MESH_3: &str = include_str!("../../../cluster-configs/mesh-3.toml");
/// Fewer commits than this show little: then a generated repository is replayed.
const COMMITS_MIN: usize = 50;
/// What is generated then.
const GENERATED: GenerateOptions = GenerateOptions { seed: 1, commits: 300 };

/// Runs the demonstration.
///
/// # Errors
/// [`CliError`] says what could not be started or replayed. Nothing is left running.
pub async fn run(args: DemoArgs, context: &Context) -> Result<Exit, CliError> {
    if args.agents == 0 {
        return Err(CliError::Usage("--agents: 0 is below 1".to_owned()));
    }
    let data = data_folder(args.data.as_deref())?;
    let result = in_folder(&args, &data, context).await;
    if args.data.is_none() && result.as_ref().is_ok_and(|exit| *exit == Exit::Ok) {
        // What failed is kept to be looked at.
        let _ = std::fs::remove_dir_all(&data);
    } else {
        context.note(format_args!("the state of the cluster is in {}", data.display()));
    }
    result
}

async fn in_folder(args: &DemoArgs, data: &Path, context: &Context) -> Result<Exit, CliError> {
    let mut stop = stop_signals()?;
    let (repository, title) = repository(data, context).await?;
    let mut config = ClusterConfig::parse(Path::new("mesh-3.toml"), MESH_3)?;
    config.name = format!("demo-{}", std::process::id());
    let name = config.name.clone();
    let failed = |source: std::io::Error| CliError::Failed {
        message: format!("cannot prepare the cluster in {}", data.display()),
        source: source.into(),
    };
    let config = config
        .with_free_ports()
        .and_then(|config| config.write_to(data))
        .map_err(failed)?;
    context.note(format_args!(
        "starting {} nodes ({})",
        config.nodes.len(),
        config.topology
    ));
    let nodes = nodes_of(
        &config,
        ClientOptions {
            agent: "demo".to_owned(),
            ..ClientOptions::default()
        },
    )?;
    let mut cluster = tokio::select! {
        started = Cluster::start(UpOptions::new(config, Some(data))?) => started?,
        // Dropping the start kills the nodes that have started.
        cause = stop.next() => return Err(interrupted(&name, cause)),
    };
    let replayed = async {
        let prepared = Job::prepare(JobOptions {
            title,
            repository,
            revision: "HEAD".to_owned(),
            commits: Some(args.commits),
            agents: args.agents,
            nodes,
            project: "default".to_owned(),
            dump: None,
            panic_every: None,
        });
        let job = tokio::select! {
            prepared = prepared => prepared?,
            cause = stop.next() => return Err(interrupted(&name, cause)),
        };
        context.note(format_args!("{} agents replay {} commits", args.agents, job.commits()));
        carry_out(&job, &mut stop, context).await
    }
    .await;
    for node in cluster.stop().await {
        context.note(format_args!("node {node} did not end in time and was killed"));
    }
    finish(&replayed?, context)
}

/// The repository around the current folder, or a generated one when that has too little history.
async fn repository(data: &Path, context: &Context) -> Result<(PathBuf, String), CliError> {
    let generated = data.join("generated");
    let prepared = tokio::task::spawn_blocking(move || {
        let here = Path::new(".");
        let history = Repository::open(here).and_then(|repository| repository.history("HEAD", Some(0)));
        let why = match history {
            Ok(history) if history.total >= COMMITS_MIN => {
                return Ok((here.to_owned(), "this checkout".to_owned(), None));
            }
            Ok(history) => format!("this checkout has {} commits, fewer than {COMMITS_MIN}", history.total),
            Err(error) => error.to_string(),
        };
        generate(&generated, GENERATED)?;
        let GenerateOptions { seed, commits } = GENERATED;
        Ok::<_, ReplayError>((
            generated,
            format!("generated (seed {seed}, {commits} commits)"),
            Some(why),
        ))
    });
    let (path, title, why) = prepared.await.map_err(ReplayError::from)??;
    if let Some(why) = why {
        context.note(format_args!("{why}: replaying a repository that is {title}"));
    }
    Ok((path, title))
}

/// The folder for the state: named, or below the build folder that this program lies in, or else the user's own.
fn data_folder(named: Option<&Path>) -> Result<PathBuf, CliError> {
    let folder = match named {
        Some(folder) => folder.to_owned(),
        None => super::build_folder()?.join(format!("queenright-demo/{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).map_err(|source| CliError::Failed {
        message: format!("cannot create {}", folder.display()),
        source: source.into(),
    })?;
    Ok(folder)
}
