//! `queenright recover`: a cluster whose majority is lost for good goes on from what one node has.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use queenright_actors::recover::{Findings, RecoverError, RecoverOptions, Recovered, Survivor};
use queenright_actors::store::StoreError;
use queenright_bench::client::{Client, ClientOptions};
use queenright_protocol::colony::SEQ_JUMP;
use serde_json::{Value, json};

use super::door::Way;
use super::{CliError, Context};
use crate::cli::RecoverArgs;
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::state::{Door, StateFolders};
use crate::wall_time::rfc3339;

/// How long another node may take to say that it runs.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Says what the node has and what is lost, asks, and makes it the only voter of a new cluster.
///
/// # Errors
/// [`CliError`]; nothing has changed then.
pub async fn run(args: RecoverArgs, context: &Context) -> Result<Exit, CliError> {
    let config = ClusterConfig::load(&args.config)?;
    let name = &config.node(&args.from)?.name;
    if !args.dry_run && !args.yes && !io::stdin().is_terminal() {
        return Err(CliError::Usage(
            "stdin is no terminal to ask on: look with --dry-run, then give --yes".to_owned(),
        ));
    }
    let cluster = StateFolders::find(&config.name, args.data.as_deref())?.cluster;
    let folder = cluster.node(name);
    let survivor = Survivor::read(RecoverOptions {
        folder: folder.clone(),
        name: name.clone(),
        nodes: config.nodes.iter().map(|node| node.name.clone()).collect(),
    });
    let survivor = survivor.await.map_err(|error| refused(error, name))?;
    let findings = survivor.findings().clone();
    let way = Way::of_file(&config, &args.access, Some(&cluster.admin_token_path()))?;
    refuse_running(&config, &way, name, &findings).await?;
    let told = text(&config, name, &findings);
    if args.dry_run {
        context.answer(
            &object(&config, name, &findings, None),
            format!("{told}\nnothing was changed"),
        )?;
        return Ok(Exit::Ok);
    }
    if !args.yes {
        context.note(&told);
        ask(name)?;
    }
    let recovered = survivor.carry_out().await.map_err(|error| refused(error, name))?;
    let told = if args.yes { told + "\n" } else { String::new() };
    let done = done(&config, name, &args.config, &recovered);
    context.answer(&object(&config, name, &findings, Some(&recovered)), told + &done)?;
    Ok(Exit::Ok)
}

pub(super) fn refused(error: RecoverError, name: &str) -> CliError {
    match error {
        RecoverError::Store(StoreError::InUse { folder, holder }) => CliError::Refused {
            exit: Exit::Conflict,
            code: "CONFLICT".to_owned(),
            message: format!(
                "node {name} runs: {} is in use by {holder}; stop it first",
                folder.display()
            ),
        },
        error => CliError::Failed {
            message: format!("what node {name} has cannot be taken"),
            source: error.into(),
        },
    }
}

/// A node that runs and belongs to the same cluster is not lost. One that cannot be asked may be: that is for people to say.
async fn refuse_running(config: &ClusterConfig, way: &Way, name: &str, findings: &Findings) -> Result<(), CliError> {
    let others = config.nodes.iter().filter(|node| node.name != *name);
    let asked = others.map(|node| async move {
        let options = ClientOptions {
            timeout: ASK_TIMEOUT,
            ..ClientOptions::default()
        };
        let door = Door::parse(&node.http_advertised()).ok()?.in_tls(way.in_tls());
        let client = Client::new(&door.url(""), way.options(options)).ok()?;
        let status = client.status().await.ok()?;
        Some((node.name.clone(), status))
    });
    for (other, status) in futures::future::join_all(asked).await.into_iter().flatten() {
        if status.cluster_id == Some(findings.cluster.to_string()) {
            let majority = if status.queenright {
                ", and the cluster has a leader: nothing is lost"
            } else {
                ""
            };
            return Err(CliError::Refused {
                exit: Exit::Conflict,
                code: "CONFLICT".to_owned(),
                message: format!("node {other} runs{majority}; only a cluster of which no node runs can be recovered"),
            });
        }
    }
    Ok(())
}

fn ask(name: &str) -> Result<(), CliError> {
    let mut answer = String::new();
    // A prompt that cannot be shown is not answered either.
    let _ = write!(io::stderr(), "make {name} the only voter of a new cluster? [y/N] ");
    let read = io::stdin().read_line(&mut answer);
    match read.map(|_| answer.trim()) {
        Ok("y" | "Y" | "yes") => Ok(()),
        _ => Err(CliError::Refused {
            exit: Exit::Error,
            code: "NOT_CONFIRMED".to_owned(),
            message: "not recovered: nothing was changed".to_owned(),
        }),
    }
}

fn time(findings: &Findings) -> Option<String> {
    (findings.wall_ms > 0).then(|| rfc3339(UNIX_EPOCH + Duration::from_millis(findings.wall_ms)))
}

fn text(config: &ClusterConfig, name: &str, findings: &Findings) -> String {
    let Findings {
        entry: (index, term),
        committed,
        ..
    } = findings;
    let time = time(findings).map(|time| format!(" of {time}")).unwrap_or_default();
    let mut lines = vec![format!(
        "node {name} of {} (cluster id {}, number {}) has the state up to log entry {index} of term {term}, seq {}{time}",
        config.name, findings.cluster, findings.number, findings.seq
    )];
    lines.push(match index - committed {
        0 => "all of it is known to be committed".to_owned(),
        more => format!(
            "up to entry {committed}, seq {}, it is known to be committed; the last {more} may have been acknowledged, and \
             are taken as well",
            findings.certain
        ),
    });
    if let Some(damage) = &findings.log_damage {
        lines.push(format!(
            "its log cannot be used, so what was only there is lost: {damage}"
        ));
    }
    if !findings.damage.is_empty() {
        lines.push(format!("not readable, and not needed: {}", findings.damage.join(", ")));
    }
    lines.push(format!(
        "lost: whatever the other nodes acknowledged after entry {index} and this one never got"
    ));
    lines.push(format!(
        "{name} is to be the only voter of a new cluster, as number {}; positions go on {SEQ_JUMP} further at least; hosted \
         agents have ended, and sessions are to be heard of within their grace",
        findings.next_number
    ));
    lines.join("\n")
}

fn done(config: &ClusterConfig, name: &str, file: &Path, recovered: &Recovered) -> String {
    let others = config.nodes.iter().filter(|node| node.name != *name);
    let others: Vec<&str> = others.map(|node| node.name.as_str()).collect();
    let mut text = format!(
        "recovered: {name} is number {} of cluster {}, whose positions begin after seq {}; what it had is in \
         {}\nstart it: queenright node --config {} --name {name}",
        recovered.number,
        recovered.cluster,
        recovered.seq,
        recovered.set_aside.display(),
        file.display()
    );
    if !others.is_empty() {
        text += &format!(
            "\nthen start {} with empty folders; what an old one still holds, `queenright node replace NAME` sets aside",
            others.join(", ")
        );
    }
    text
}

fn object(config: &ClusterConfig, name: &str, findings: &Findings, recovered: Option<&Recovered>) -> Value {
    json!({
        "node": name,
        "cluster": config.name,
        "from": {
            "cluster_id": findings.cluster.to_string(),
            "number": findings.number.0,
            "entry": findings.entry.0,
            "term": findings.entry.1,
            "committed": findings.committed,
            "at": time(findings),
            "seq": findings.seq,
            "certain_seq": findings.certain,
            "log_damage": findings.log_damage,
            "damage": findings.damage,
        },
        "to": {
            "cluster_id": recovered.map(|recovered| recovered.cluster.to_string()),
            "number": findings.next_number.0,
            "seq": recovered.map(|recovered| recovered.seq),
            "recoveries": findings.recoveries + 1,
        },
        "recovered": recovered.is_some(),
        "set_aside": recovered.map(|recovered| &recovered.set_aside),
    })
}
