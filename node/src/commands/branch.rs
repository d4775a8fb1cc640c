//! `queenright propose --git`: a branch as one proposal, checked with what the nodes have agreed on.

use std::collections::BTreeMap;
use std::path::Path;

use queenright_actors::node::Consistency;
use queenright_bench::client::Client;
use queenright_bench::client::wire::{
    HexHash, Loss, ProposalOutcome, ProposalRequest, ReadRequest, WireConflict, WriteRequest,
};
use queenright_protocol::conflict::Kind;
use serde::Serialize;

use super::propose::{keys, lease, loss_text, text};
use super::table::shown;
use super::{CliError, Context};
use crate::cli::{BranchArgs, ProposeArgs};
use crate::exit::Exit;
use crate::tree::{AgreedTree, Branch, CheckFailed, File, TreeError, checkout, run_checks};

/// Where the messages of proposals stand, each under the commit that it is about.
const MESSAGES: &str = "proposals/git/";

/// What came of it.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    outcome: ProposalOutcome,
    /// The commit that the branch left from.
    base: Option<String>,
    /// Its last commit.
    head: String,
    /// How many paths it changes.
    paths: usize,
    /// How often it was proposed, or checked and found to be overtaken.
    attempts: u32,
    /// The end of what a failed check printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_tail: Option<String>,
}

/// Proposes a branch; exit code 3 if it loses or a check fails.
pub(super) async fn run(args: &ProposeArgs, range: &str, client: &Client, context: &Context) -> Result<Exit, CliError> {
    let (repository, range) = (args.branch.repo.clone(), range.to_owned());
    let branch = blocking(move || Branch::read(&repository, &range)).await?;
    let (mut attempts, mut follows) = (0, None);
    loop {
        attempts += 1;
        let attempt = attempt(&branch, args, follows, client).await?;
        let overtaken = match &attempt.0 {
            ProposalOutcome::Lost(loss) => {
                follows = Some(loss.seq);
                // Only what the checks have seen has changed: they run again on what there is now.
                attempt.1.is_none() && loss.conflicts.iter().all(|conflict| conflict.kind == Kind::Phantom)
            }
            ProposalOutcome::Committed { .. } => false,
        };
        if overtaken && attempts < args.branch.attempts {
            context.note(format_args!("something else was committed meanwhile: checking again"));
            continue;
        }
        let (mut outcome, failed) = attempt;
        if let (ProposalOutcome::Lost(loss), None) = (&mut outcome, &failed) {
            client.name_winners(loss).await;
        }
        return answer(&branch, (outcome, failed), attempts, args.branch.merge, context);
    }
}

fn answer(
    branch: &Branch,
    (outcome, failed): (ProposalOutcome, Option<CheckFailed>),
    attempts: u32,
    merge: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    let said = match &failed {
        Some(CheckFailed { command, how, log_tail }) => {
            let end = log_tail.trim_end();
            format!("check failed, nothing was changed: {} ({how})\n\n{end}", shown(command))
        }
        None => match &outcome {
            ProposalOutcome::Lost(loss) if !merge && !loss.reread.is_empty() => format!(
                "{}; --merge takes in what others have changed in other lines",
                loss_text(loss)
            ),
            ProposalOutcome::Lost(loss) => loss_text(loss),
            committed => text(committed),
        },
    };
    let exit = match outcome {
        ProposalOutcome::Committed { .. } => Exit::Ok,
        ProposalOutcome::Lost(_) => Exit::Conflict,
    };
    let answer = Answer {
        outcome,
        base: branch.base.map(|base| base.to_string()),
        head: branch.head.to_string(),
        paths: branch.changes.len(),
        attempts,
        log_tail: failed.map(|failed| failed.log_tail),
    };
    context.answer(&answer, said)?;
    Ok(exit)
}

/// Proposes the branch against what stands there now, once its checks have passed on the two together.
async fn attempt(
    branch: &Branch,
    args: &ProposeArgs,
    follows: Option<u64>,
    client: &Client,
) -> Result<(ProposalOutcome, Option<CheckFailed>), CliError> {
    let BranchArgs {
        prefix,
        merge,
        checks,
        check_timeout,
        message,
        ..
    } = &args.branch;
    let tree = AgreedTree::fetch(client, prefix, Consistency::Linearizable).await?;
    let mut proposal = branch.proposal(&tree, *merge);
    proposal.dry_run = args.dry_run;
    proposal.follows = follows;
    proposal.fence = lease(args);
    if !checks.is_empty()
        && let Some(combined) = branch.combined(&tree, *merge)
    {
        let failed = checked(combined, checks, *check_timeout).await?;
        if let Some(failed) = failed {
            return Ok((ProposalOutcome::Lost(check_loss(&failed)), Some(failed)));
        }
        proposal.ranges.push(tree.range.clone());
    }
    if let Some(message) = message {
        proposal.writes.push(noted(branch, message));
    }
    let key = args.idempotency_key.as_deref();
    Ok((client.propose(&proposal, key).await?, None))
}

/// Writes the files into a folder of their own and runs the checks there.
async fn checked(
    files: BTreeMap<Vec<u8>, File>,
    checks: &[String],
    timeout: std::time::Duration,
) -> Result<Option<CheckFailed>, CliError> {
    let folder = tempfile::tempdir().map_err(|source| TreeError::Io {
        path: std::env::temp_dir().display().to_string(),
        source,
    })?;
    let path = folder.path().to_owned();
    blocking(move || checkout(&path, &files, false).and_then(|_| remove_manifest(&path))).await?;
    Ok(run_checks(folder.path(), checks, timeout).await?)
}

fn remove_manifest(folder: &Path) -> Result<(), TreeError> {
    let path = folder.join(crate::tree::MANIFEST);
    std::fs::remove_file(&path).map_err(|source| TreeError::Io {
        path: path.display().to_string(),
        source,
    })
}

fn check_loss(failed: &CheckFailed) -> Loss {
    let conflict = WireConflict {
        kind: Kind::CheckFailed,
        key: failed.command.as_str().into(),
        expected: 0,
        revision: 0,
        hash: None::<HexHash>,
        winner: 0,
        winner_author: None,
        merge: None,
        holder: None,
    };
    Loss {
        conflicts: vec![conflict],
        total: 1,
        ..Loss::default()
    }
}

fn noted(branch: &Branch, message: &str) -> WriteRequest {
    let note = serde_json::json!({
        "message": message,
        "base": branch.base.map(|base| base.to_string()),
        "head": branch.head.to_string(),
        "paths": branch.changes.len(),
    });
    WriteRequest {
        key: format!("{MESSAGES}{}", branch.head),
        put: Some(note.to_string()),
        ..WriteRequest::default()
    }
}

/// Git, and the writing of files, block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TreeError> + Send + 'static,
) -> Result<T, CliError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// `queenright memory checkout`
pub(super) async fn run_checkout(
    client: &Client,
    folder: &Path,
    prefix: &str,
    consistency: Consistency,
    force: bool,
    context: &Context,
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Report {
        seq: u64,
        #[serde(flatten)]
        files: crate::tree::CheckoutReport,
    }
    let tree = AgreedTree::fetch(client, prefix, consistency).await?;
    let (seq, folder) = (tree.seq, folder.to_owned());
    let files: BTreeMap<Vec<u8>, File> = tree
        .files
        .into_iter()
        .map(|(path, agreed)| (path, agreed.file))
        .collect();
    let name = folder.display().to_string();
    let files = blocking(move || checkout(&folder, &files, force)).await?;
    let said = format!(
        "{name} is as of seq {seq}: {} written, {} unchanged, {} deleted",
        files.written, files.unchanged, files.deleted
    );
    context.answer(&Report { seq, files }, said)
}

/// `queenright memory import`: puts the files of a folder that are not there yet, or otherwise, in as many proposals as
/// their bytes need. Each is atomic; the whole is not.
pub(super) async fn run_import(
    client: &Client,
    folder: &Path,
    prefix: &str,
    context: &Context,
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Report {
        files: usize,
        put: usize,
        proposals: usize,
        seq: u64,
    }
    let path = folder.to_owned();
    let found = blocking(move || crate::tree::read_folder(&path)).await?;
    let tree = AgreedTree::fetch(client, prefix, Consistency::Linearizable).await?;
    let mut report = Report {
        files: found.len(),
        put: 0,
        proposals: 0,
        seq: tree.seq,
    };
    let new = found
        .into_iter()
        .filter(|(path, file)| tree.files.get(path).map(|agreed| &agreed.file) != Some(file));
    let mut parts: Vec<(usize, ProposalRequest)> = Vec::new();
    for (path, file) in new {
        let full = |part: &(usize, ProposalRequest)| {
            part.0 + file.bytes.len() > PART_BYTES_MAX || part.1.writes.len() >= PART_KEYS_MAX
        };
        if parts.last().is_none_or(full) {
            parts.push(Default::default());
        }
        let (bytes, part) = parts.last_mut().expect("it was just pushed");
        *bytes += file.bytes.len();
        let (revision, absent) = (tree.revision(&path), !tree.files.contains_key(&path));
        part.reads.push(ReadRequest {
            key: tree.key(&path),
            revision,
            absent,
            ..ReadRequest::default()
        });
        part.writes.push(crate::tree::writing(tree.key(&path), Some(&file)));
    }
    for (_, part) in parts {
        match client.propose(&part, None).await? {
            ProposalOutcome::Committed { seq, revisions, .. } => {
                report.put += revisions.len();
                report.proposals += 1;
                report.seq = seq;
            }
            ProposalOutcome::Lost(loss) => {
                return Err(CliError::Refused {
                    exit: Exit::Conflict,
                    code: "CONFLICT".to_owned(),
                    message: format!(
                        "somebody else writes there, or has reserved it ({} put before): {}",
                        keys(report.put),
                        loss_text(&loss)
                    ),
                });
            }
        }
    }
    let said = format!("{} of {} put, as of seq {}", keys(report.put), report.files, report.seq);
    context.answer(&report, said)
}

/// How many bytes and keys one proposal of an import has, unless one file alone has more.
const PART_BYTES_MAX: usize = 4 << 20;
/// See [`PART_BYTES_MAX`].
const PART_KEYS_MAX: usize = 1_000;
