//! `queenright join`: a node that is new to its cluster, let in by a member, and run in the foreground; and `queenright
//! leave`, by which one goes for good.

use std::path::Path;
use std::time::Duration;

use queenright_actors::link::Cookie;
use queenright_actors::node::{Admission, FoundingError, attempt, come_in};
use queenright_actors::tls::Tls;
use queenright_bench::client::wire::{NodeAnswer, NodeQuestion};
use queenright_bench::client::{Client, ClientError, ClientOptions};
use serde::Serialize;
use serde_json::json;

use super::door::{Way, client};
use super::node::{plan, tell_parent};
use super::{CliError, Context, dry};
use crate::cli::{AccessArgs, JoinArgs, LeaveArgs};
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::server::{self, JoinStep};
use crate::state::Door;

/// How long a member may take to let a node in: an election, and some changes of members before this one.
const LET_IN_WITHIN: Duration = Duration::from_secs(60);
/// How often `leave` looks whether the node has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it waits for that.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Lets a node in and runs it until it is told to end; a node that was let in already is only run.
///
/// # Errors
/// [`CliError`] says why it was not let in, could not start or go on.
pub async fn run(args: JoinArgs, context: &Context) -> Result<Exit, CliError> {
    let parent_pipe = args.run.parent_pipe;
    tell_parent(parent_pipe, run_joining(args, context).await)
}

async fn run_joining(args: JoinArgs, context: &Context) -> Result<Exit, CliError> {
    let told = Told {
        context: *context,
        to_parent: args.run.parent_pipe,
    };
    let config = ClusterConfig::load(&args.config)?;
    let name = match (&args.name, &config.nodes[..]) {
        (Some(name), _) => config.node(name)?.name.clone(),
        (None, [only]) => only.name.clone(),
        (None, nodes) => {
            let message = format!(
                "{} lists {} nodes: say which joins with --name",
                args.config.display(),
                nodes.len()
            );
            return Err(CliError::Usage(message));
        }
    };
    let door = Door::parse(&args.door)?;
    let mut plan = plan(config, name, args.run, false)?;
    plan.quiet = true;
    let cookie = Cookie::new(plan.cookie.as_hex()).map_err(server::ServerError::from)?;
    if let Some(folder) = &plan.config.tls {
        // One that could not be linked is not let in.
        Tls::load(folder, &plan.config.name, &plan.name).map_err(server::ServerError::from)?;
    }
    let (folder, node) = (plan.data_dir.clone(), plan.name.clone());
    let asked = blocking({
        let (folder, node) = (folder.clone(), node.clone());
        move || attempt(&folder, &node)
    });
    let (cluster, number) = match asked.await? {
        Err((cluster, number)) => (cluster, number),
        Ok(attempt) => {
            let admission = ask(&plan.config, &node, &door, attempt, &cookie).await?;
            let (cluster, number) = (admission.cluster, admission.number);
            let cluster_name = &plan.config.name;
            told.step(
                &json!({ "step": "found", "cluster": cluster_name, "cluster_id": cluster.to_string() }),
                format!("found cluster {cluster_name} ({cluster})"),
            );
            blocking(move || come_in(&folder, &node, &admission)).await?;
            (cluster, number)
        }
    };
    told.step(
        &json!({ "step": "member", "cluster_id": cluster.to_string(), "node": plan.name, "number": number.0 }),
        format!("node {} is let in as number {}", plan.name, number.0),
    );
    server::run_telling(plan, move |step| told.step(&step, text(&step))).await?;
    Ok(Exit::Ok)
}

/// Where the progress goes.
#[derive(Clone, Copy)]
struct Told {
    context: Context,
    /// Whether stdout is for the process that started this one.
    to_parent: bool,
}

impl Told {
    /// Whoever reads it may have gone away: the node runs on.
    fn step(&self, value: &impl Serialize, text: String) {
        match self.to_parent {
            true => self.context.note(text),
            false => drop(self.context.answer(value, text)),
        }
    }
}

fn text(step: &JoinStep) -> String {
    match step {
        JoinStep::Ready { node, door } => format!("node {node} is ready at {door} (stop with Ctrl-C)"),
        JoinStep::CaughtUp { applied } => format!("it has caught up: {applied} log entries"),
        JoinStep::Settled { role, epoch } => format!("it is a {role} in epoch {epoch}"),
        JoinStep::Left => "it has left the cluster".to_owned(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FoundingError> + Send + 'static,
) -> Result<T, CliError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| CliError::Failed {
        message: "a part of the start was broken off".to_owned(),
        source: error.into(),
    })?;
    Ok(done.map_err(|error| server::ServerError::Start(error.into()))?)
}

/// Asks a member to let the node in.
async fn ask(
    config: &ClusterConfig,
    name: &str,
    door: &Door,
    attempt: u64,
    cookie: &Cookie,
) -> Result<Admission, CliError> {
    let node = config.node(name)?;
    let way = Way::of_file(config, &AccessArgs::default(), None::<&Path>)?;
    let options = way.options(ClientOptions {
        agent: "node".to_owned(),
        timeout: LET_IN_WITHIN,
        ..ClientOptions::default()
    });
    let client = Client::new(&door.clone().in_tls(way.in_tls()).url(""), options)?;
    let question = NodeQuestion::Join {
        cluster: config.name.clone(),
        name: name.to_owned(),
        links: node.links_advertised(),
        http: node.http_advertised(),
        attempt,
    };
    match client.ask_as_node(&question, cookie).await {
        Ok(NodeAnswer::Admitted(admission)) => Ok(admission),
        Ok(NodeAnswer::Fate(_)) => Err(client_error(&client, "it answered another question")),
        Err(error @ (ClientError::Lost { .. } | ClientError::BadResponse { .. })) => Err(CliError::Failed {
            message: format!(
                "{} does not answer as the door of a member: its address is that under `http` in the cluster file, not that \
                 under `links`",
                client.base_url()
            ),
            source: error.into(),
        }),
        Err(error) => Err(error.into()),
    }
}

fn client_error(client: &Client, problem: &str) -> CliError {
    let (url, problem) = (client.base_url().to_owned(), problem.to_owned());
    ClientError::BadResponse { url, problem }.into()
}

/// What `leave --json` prints.
#[derive(Serialize)]
struct Left<'a> {
    node: &'a str,
    epoch: u64,
    left: bool,
}

/// Lets the node that is asked go for good, and waits until it has ended.
///
/// # Errors
/// [`CliError`] when it may not go, or has not ended in time.
pub async fn leave(args: LeaveArgs, context: &Context) -> Result<Exit, CliError> {
    let mut access = args.client.clone();
    access.timeout = access.timeout.max(args.wait + Duration::from_secs(15));
    let client = client(&access)?;
    if args.dry_run {
        return dry::leave(&client, context).await;
    }
    let node = client.status().await?.node;
    context.note(format_args!(
        "node {node} takes no new work; waiting until what it has is done"
    ));
    let leaving = client.leave(&node, args.wait).await?;
    let until = tokio::time::Instant::now() + ENDS_WITHIN;
    while !matches!(client.ready().await, Err(ClientError::Unreachable { .. })) {
        if tokio::time::Instant::now() >= until {
            return Err(CliError::Refused {
                exit: Exit::Timeout,
                code: "UNKNOWN_OUTCOME".to_owned(),
                message: format!(
                    "node {node} is to go by epoch {}, and has not ended within {ENDS_WITHIN:?}",
                    leaving.epoch
                ),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let left = Left {
        node: &node,
        epoch: leaving.epoch,
        left: true,
    };
    context.answer(
        &left,
        format!("node {node} has left the cluster, and its process has ended"),
    )?;
    Ok(Exit::Ok)
}
