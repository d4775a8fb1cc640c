//! `queenright bench peers`: other systems beside this one.

use std::path::PathBuf;

use queenright_bench::Options;
use queenright_bench::interrupt::interrupt;
use queenright_bench::peers::{Peer, Peers, find_drivers, tcp};

use super::{data_folder, failed, keep, scaled};
use crate::cli::PeersArgs;
use crate::commands::replay::stop_signals;
use crate::commands::{CliError, Context};
use crate::exit::Exit;

/// Measures peers and ours, and prints the table.
///
/// # Errors
/// [`CliError`]: nothing to compare, or one of our workloads failed.
pub(super) async fn run(args: PeersArgs, context: &Context) -> Result<Exit, CliError> {
    let chosen = match args.only.is_empty() {
        true => Peer::ALL.to_vec(),
        false => args.only,
    };
    if let Some(peer) = chosen.iter().find(|peer| !args.workloads.iter().any(|workload| peer.has(workload)))
        // All of them are asked for what is there; one that was named is meant.
        && chosen.len() < Peer::ALL.len()
    {
        let workloads = args.workloads.join(", ");
        return Err(CliError::Usage(format!(
            "--only: {peer} has nothing beside {workloads}"
        )));
    }
    let drivers = match args.peers {
        Some(folder) if folder.join("README.md").is_file() => Some(folder),
        Some(folder) => {
            return Err(CliError::Usage(format!(
                "--peers: {} holds no drivers",
                folder.display()
            )));
        }
        // The folder is looked at, nothing is kept in it.
        None => std::path::absolute(".").ok().and_then(|folder| find_drivers(&folder)),
    };
    let options = scaled(Options::full(data_folder(args.place.data)?), args.scale);
    let peers = Peers {
        // Scripts have other current folders.
        drivers: drivers.map(|folder| std::path::absolute(&folder).unwrap_or(folder)),
        target: args.target.map_or_else(cache_folder, Ok)?,
        peers: chosen,
        workloads: args.workloads,
        rounds: args.rounds,
        options,
    };
    let mut stop = stop_signals()?;
    let said = *context;
    let mut job = tokio::task::spawn_blocking(move || peers.run(|line| said.note(line)));
    let ended = tokio::select! {
        biased;
        _ = stop.next() => {
            interrupt();
            // What they started ends first; a second signal does not wait for that.
            tokio::select! {
                ended = &mut job => ended,
                _ = stop.next() => return Err(failed("peers", "ended")),
            }
        }
        ended = &mut job => ended,
    };
    let table = ended.map_err(|error| failed("peers", error))?;
    let table = table.map_err(|error| failed("peers", error))?;
    let mut reports = vec![table.report()];
    let report = reports[0].clone();
    reports.extend(table.ours.iter().cloned());
    keep(args.place.out.as_ref(), reports)?;
    context.answer(&report, &table)?;
    Ok(if table.is_good() { Exit::Ok } else { Exit::Error })
}

/// The other end of raw TCP: serves until its stdin is closed.
///
/// # Errors
/// [`CliError`] when it cannot listen.
pub(super) async fn serve_tcp() -> Result<Exit, CliError> {
    let serving = tokio::task::spawn_blocking(|| tcp::serve(std::io::stdout()));
    let closed = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        served = serving => {
            let served = served.map_err(|error| failed("peer-tcp", error))?;
            served.map_err(|error| failed("peer-tcp", error))?;
        }
        _ = closed => {}
    }
    Ok(Exit::Ok)
}

/// Below the user's cache folder: outside of the checkout, whose lock file has nothing to say there.
fn cache_folder() -> Result<PathBuf, CliError> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
    };
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| CliError::Usage("--target: no HOME to find a cache folder in".to_owned()))?;
    Ok(cache.join("queenright-peers"))
}
