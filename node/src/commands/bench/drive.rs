//! `queenright bench drive`: the loads of the comparison of topologies on a cluster that runs already.

use queenright_bench::client::{Client, ClientOptions};
use queenright_bench::rig::RigNode;
use queenright_bench::topologies::drive::{Drive, ID};
use queenright_bench::topologies::table::SideBySide;
use queenright_protocol::id::NodeId;

use super::super::door::{self, Way};
use super::super::replay::{nodes_of, stop_signals};
use super::super::{CliError, Context};
use super::failed;
use super::topologies::{Bar, usage, write};
use crate::cli::DriveArgs;
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::state::{Door, StateFolders};

/// Who starts the agents, in the records.
const AUTHOR: &str = "bench";

/// Drives a running cluster.
///
/// # Errors
/// [`CliError`] says what cannot be, did not answer or was wrong.
pub(super) async fn run(args: DriveArgs, context: &Context) -> Result<Exit, CliError> {
    let nodes = nodes(&args).await?;
    let drive = Drive {
        agents: args.agents.unwrap_or(2 * nodes.len() as u64),
        payload_bytes: args.payload,
        rates: args.rates.clone(),
        // What is no number, or below 0, is out of the bounds.
        work_ms: (args.seconds * 1e3) as u64,
        seed: args.seed,
    };
    drive.check(nodes.len()).map_err(|error| usage(&error))?;
    let mut stop = stop_signals()?;
    let bar = Bar::new(context);
    let driven = drive
        .run(&nodes, |progress| bar.shows(&progress), async {
            let cause = stop.next().await;
            context.note(format_args!("{cause}: what was begun is ended"));
        })
        .await;
    bar.clear();
    let report = driven.map_err(|error| failed(ID, error))?;
    let report = report.ok_or_else(|| CliError::Refused {
        exit: Exit::Error,
        code: "INTERRUPTED".to_owned(),
        message: "interrupted before everything was measured; its agents are stopped and its projects destroyed"
            .to_owned(),
    })?;
    if let Some(file) = &args.out {
        write(&report, file)?;
    }
    context.answer(&report, format_args!("{report}\n{}", SideBySide(&report)))?;
    Ok(Exit::Ok)
}

/// The nodes that answer, with their numbers.
async fn nodes(args: &DriveArgs) -> Result<Vec<RigNode>, CliError> {
    let options = |way: &Way| {
        way.options(ClientOptions {
            agent: AUTHOR.to_owned(),
            timeout: args.client.timeout,
            ..ClientOptions::default()
        })
    };
    // A cluster file says where its nodes are; else the node that is asked says it.
    let named = match &args.config {
        Some(file) => {
            let config = ClusterConfig::load(file)?;
            let of_host = StateFolders::find(&config.name, None).map(|folders| folders.cluster.admin_token_path());
            let way = Way::of_file(&config, &args.client.access, of_host.ok().as_deref())?;
            Some(nodes_of(&config, options(&way))?)
        }
        None => None,
    };
    let (status, clients) = match named {
        Some(clients) => (first_that_answers(&clients).await?, clients),
        None => {
            let (door, way) = door::find(&args.client)?;
            let first = Client::new(&door.url(""), options(&way))?;
            let status = first.status().await.map_err(door::of_read)?;
            let clients = status.nodes.iter().map(|node| {
                let door = Door::parse(&node.http)?.in_tls(way.in_tls());
                Ok((node.name.clone(), Client::new(&door.url(""), options(&way))?))
            });
            let clients = clients.collect::<Result<Vec<_>, CliError>>()?;
            (status, clients)
        }
    };
    let answering = status.nodes.iter().filter(|node| node.applied.is_some());
    let nodes = answering.filter_map(|node| {
        let client = clients.iter().find(|(name, _)| *name == node.name)?.1.clone();
        Some(RigNode::elsewhere(node.name.clone(), NodeId(node.number), client))
    });
    Ok(nodes.collect())
}

/// The cluster as the first of its nodes sees it that answers.
async fn first_that_answers(clients: &[(String, Client)]) -> Result<queenright_actors::node::ClusterStatus, CliError> {
    let mut refused = None;
    for (_, client) in clients {
        match client.status().await {
            Ok(status) => return Ok(status),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.map_or_else(
        || CliError::Usage("--config: the file has no nodes".to_owned()),
        door::of_read,
    ))
}
