//! `queenright propose`: an atomic change of several keys, or a batch of such changes.

use std::path::Path;

use queenright_bench::client::wire::{
    BatchOutcome, BatchRequest, BatchVerdict, Code, FenceRequest, Loss, ProposalOutcome, ProposalRequest,
};
use queenright_protocol::conflict::{Hunk, MergeFailure};
use serde::Deserialize as _;
use serde_json::Value;

use super::door::client_of_project;
use super::input::{name_of, read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, branch};
use crate::cli::ProposeArgs;
use crate::exit::Exit;

/// The largest file that is read: as large as a door's largest body may be configured to be.
const FILE_BYTES_MAX: usize = 256 << 20;

/// How many keys to read again are named; --json has them all.
const REREAD_SHOWN_MAX: usize = 5;

/// Proposes; exit code 3 if something lost.
///
/// # Errors
/// [`CliError`], such as a file that is no proposal.
pub async fn run(args: ProposeArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client_of_project(&args.target)?.with_token(args.token.as_deref());
    if let Some(range) = &args.branch.git {
        return branch::run(&args, range, &client, context).await;
    }
    let file = args.file.as_deref().expect("the command line has a file or a branch");
    let request = Request::of_file(file).await?;
    let request = request.with_dry_run(args.dry_run).with_lease(lease(&args));
    let key = args.idempotency_key.as_deref();
    match request {
        Request::One(proposal) => {
            let mut outcome = client.propose(&proposal, key).await?;
            if let ProposalOutcome::Lost(loss) = &mut outcome {
                client.name_winners(loss).await;
            }
            context.answer(&outcome, text(&outcome))?;
            Ok(match outcome {
                ProposalOutcome::Committed { .. } => Exit::Ok,
                ProposalOutcome::Lost(_) => Exit::Conflict,
            })
        }
        Request::Batch(batch) => {
            let outcome = client.propose_batch(&batch, key).await?;
            context.answer(&outcome, batch_text(&outcome))?;
            Ok(batch_exit(&outcome))
        }
    }
}

/// The lease that a proposal is made under, if the command line names one.
pub(super) fn lease(args: &ProposeArgs) -> Option<FenceRequest> {
    Some(FenceRequest {
        task: args.task?,
        fence: args.fence?,
        token: args.token.clone()?,
    })
}

/// What a file proposes.
#[derive(Debug, PartialEq)]
enum Request {
    One(ProposalRequest),
    Batch(BatchRequest),
}

impl Request {
    /// The same, to be judged only if that is wanted.
    fn with_dry_run(mut self, dry_run: bool) -> Request {
        match &mut self {
            Request::One(proposal) => proposal.dry_run |= dry_run,
            Request::Batch(batch) => batch
                .proposals
                .iter_mut()
                .for_each(|proposal| proposal.dry_run |= dry_run),
        }
        self
    }

    /// The same, under a lease if one is given.
    fn with_lease(mut self, lease: Option<FenceRequest>) -> Request {
        let Some(lease) = lease else { return self };
        let proposals = match &mut self {
            Request::One(proposal) => std::slice::from_mut(proposal),
            Request::Batch(batch) => &mut batch.proposals,
        };
        for proposal in proposals {
            proposal.fence = Some(lease.clone());
        }
        self
    }

    async fn of_file(path: &Path) -> Result<Request, CliError> {
        Request::parse(&name_of(path), &read(path, FILE_BYTES_MAX).await?)
    }

    fn parse(name: &str, bytes: &[u8]) -> Result<Request, CliError> {
        let malformed = |error: serde_json::Error| CliError::Refused {
            exit: Exit::Error,
            code: Code::Invalid.to_string(),
            message: format!("{name}: {error}"),
        };
        // Parsed twice: only the text has lines and columns.
        let value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let mut text = serde_json::Deserializer::from_slice(bytes);
        if value.get("proposals").is_some() {
            BatchRequest::deserialize(&mut text)
                .map(Request::Batch)
                .map_err(malformed)
        } else {
            ProposalRequest::deserialize(&mut text)
                .map(Request::One)
                .map_err(malformed)
        }
    }
}

pub(super) fn text(outcome: &ProposalOutcome) -> String {
    match outcome {
        ProposalOutcome::Committed { seq, revisions, merged } => {
            let merged = match merged.len() {
                0 => String::new(),
                count => format!(", {} merged", keys(count)),
            };
            format!("committed at seq {seq}: {} written{merged}", keys(revisions.len()))
        }
        ProposalOutcome::Lost(loss) => loss_text(loss),
    }
}

/// What was lost, and to whom.
pub(super) fn loss_text(loss: &Loss) -> String {
    let mut table = Table::new(["KIND", "EXPECTED", "FOUND", "CHANGED BY SEQ", "BY", "KEY"]);
    for conflict in &loss.conflicts {
        table.row([
            conflict.kind.to_string(),
            conflict.expected.to_string(),
            conflict.revision.to_string(),
            or_dash(Some(conflict.winner).filter(|winner| *winner > 0)),
            or_dash(conflict.winner_author.as_deref().map(shown)),
            shown(&conflict.key),
        ]);
    }
    // One that its node refused at once has no place in the order.
    let at = Some(loss.seq).filter(|seq| *seq > 0);
    let at = at.map(|seq| format!(" at seq {seq}")).unwrap_or_default();
    let (more, holders, hunks, reread) = (more(loss), holders(loss), hunks(loss), reread(loss));
    format!("lost{at}, nothing was changed{more}\n\n{table}{holders}{hunks}{reread}")
}

/// What to read again before it is proposed anew.
fn reread(loss: &Loss) -> String {
    let keys = loss
        .reread
        .iter()
        .map(|key| format!("{} (revision {})", shown(&key.key), key.revision));
    let ranges = loss.reread_ranges.iter().map(|range| shown(range));
    let all: Vec<String> = keys.chain(ranges).collect();
    match all.len() {
        0 => String::new(),
        count => {
            let more = match count.saturating_sub(REREAD_SHOWN_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let first = all[..count.min(REREAD_SHOWN_MAX)].join(", ");
            format!("\n\nnext: read again {first}{more}, then propose anew")
        }
    }
}

/// Who has reserved what was to be written.
fn holders(loss: &Loss) -> String {
    let holders = loss.conflicts.iter().filter_map(|conflict| {
        let holder = conflict.holder.as_ref()?;
        Some(format!("\n{} is reserved by {holder}", shown(&conflict.key)))
    });
    holders.collect()
}

/// The lines that could not be merged.
fn hunks(loss: &Loss) -> String {
    let mut text = String::new();
    for conflict in &loss.conflicts {
        let Some(MergeFailure::Lines(hunks)) = &conflict.merge else {
            continue;
        };
        for hunk in &hunks.listed {
            let Hunk {
                line,
                base,
                ours,
                theirs,
            } = hunk;
            let sides = [
                ("<<<<<<< committed", ours),
                ("||||||| base", base),
                ("======= proposed", theirs),
            ];
            text.push_str(&format!("\n\n{} line {line}", shown(&conflict.key)));
            for (name, side) in sides {
                text.push_str(&format!("\n{name}"));
                side.lines()
                    .for_each(|line| text.push_str(&format!("\n{}", shown(line))));
            }
            text.push_str("\n>>>>>>>");
        }
    }
    text
}

fn more(loss: &Loss) -> String {
    let listed = loss.conflicts.len() as u64;
    if loss.total > listed {
        format!(" ({listed} of {} conflicts listed)", loss.total)
    } else {
        String::new()
    }
}

pub(super) fn keys(count: usize) -> String {
    match count {
        1 => "1 key".to_owned(),
        _ => format!("{count} keys"),
    }
}

fn batch_text(outcome: &BatchOutcome) -> String {
    let mut table = Table::new(["PROPOSAL", "VERDICT", "REASON"]);
    for (place, verdict) in outcome.verdicts.iter().enumerate() {
        let (word, reason) = match verdict {
            BatchVerdict::Committed { revisions, .. } => ("committed", format!("{} written", keys(revisions.len()))),
            BatchVerdict::Lost(loss) => ("lost", reason(loss)),
            BatchVerdict::Refused { detail, .. } => ("refused", shown(detail)),
        };
        table.row([place.to_string(), word.to_owned(), reason]);
    }
    format!(
        "judged at seq {}: {} in conflict\n\n{table}",
        outcome.seq,
        match outcome.pairs {
            1 => "1 pair".to_owned(),
            pairs => format!("{pairs} pairs"),
        }
    )
}

fn reason(loss: &Loss) -> String {
    match loss.conflicts.first() {
        Some(first) if loss.total > 1 => format!("{} {} and {} more", first.kind, shown(&first.key), loss.total - 1),
        Some(first) => format!("{} {}", first.kind, shown(&first.key)),
        None => "another proposal of the batch is in conflict".to_owned(),
    }
}

fn batch_exit(outcome: &BatchOutcome) -> Exit {
    let any = |is: fn(&BatchVerdict) -> bool| outcome.verdicts.iter().any(is);
    if any(|verdict| matches!(verdict, BatchVerdict::Lost(_))) {
        Exit::Conflict
    } else if any(|verdict| matches!(verdict, BatchVerdict::Refused { .. })) {
        Exit::Error
    } else {
        Exit::Ok
    }
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::{Reread, WireConflict};
    use queenright_protocol::conflict::Kind;

    use super::*;

    #[test]
    fn a_file_is_one_proposal_or_a_batch() {
        let parse = |text: &str| Request::parse("p.json", text.as_bytes());
        assert_eq!(parse("{}").unwrap(), Request::One(ProposalRequest::default()));
        assert!(matches!(parse(r#"{"proposals": [{}]}"#).unwrap(), Request::Batch(_)));
        let refused = |text: &str| parse(text).unwrap_err().report(false);
        assert_eq!(
            refused("{\n\"reads\": [,]}"),
            "error: p.json: expected value at line 2 column 11"
        );
        let line = refused("{\"writes\": [],\n \"rites\": []}");
        assert!(line.starts_with("error: p.json: unknown field `rites`"), "{line}");
        assert!(line.ends_with("at line 2 column 8"), "{line}");
        let line = refused("{} {}");
        assert!(line.contains("trailing characters"), "{line}");
    }

    fn loss(total: u64) -> Loss {
        let conflict = WireConflict {
            kind: Kind::StaleRead,
            key: "plan".into(),
            expected: 1,
            revision: 2,
            hash: None,
            winner: 40,
            winner_author: Some("ann".into()),
            merge: None,
            holder: None,
        };
        Loss {
            seq: 41,
            conflicts: vec![conflict],
            total,
            ..Loss::default()
        }
    }

    #[test]
    fn a_loss_is_a_table_of_conflicts() {
        let expected = "\
lost at seq 41, nothing was changed (1 of 9 conflicts listed)

KIND        EXPECTED  FOUND  CHANGED BY SEQ  BY   KEY
stale_read  1         2      40              ann  plan

next: read again plan (revision 2), then propose anew";
        let reread = Reread {
            key: "plan".into(),
            revision: 2,
            hash: None,
        };
        let lost = Loss {
            reread: vec![reread],
            ..loss(9)
        };
        assert_eq!(text(&ProposalOutcome::Lost(lost)), expected);
        let at_once = Loss { seq: 0, ..loss(1) };
        assert!(text(&ProposalOutcome::Lost(at_once)).starts_with("lost, nothing was changed\n"));
    }

    #[test]
    fn a_batch_is_a_table_of_verdicts_and_ends_with_the_worst() {
        let mut outcome = BatchOutcome {
            seq: 7,
            verdicts: vec![BatchVerdict::Committed {
                revisions: vec![1],
                merged: vec![],
            }],
            pairs: 0,
        };
        assert_eq!(batch_exit(&outcome), Exit::Ok);
        outcome.verdicts.push(BatchVerdict::Refused {
            code: Code::Invalid,
            detail: "key: is empty".to_owned(),
        });
        assert_eq!(batch_exit(&outcome), Exit::Error);
        outcome.verdicts.push(BatchVerdict::Lost(loss(2)));
        assert_eq!(batch_exit(&outcome), Exit::Conflict);
        let expected = "\
judged at seq 7: 0 pairs in conflict

PROPOSAL  VERDICT    REASON
0         committed  1 key written
1         refused    key: is empty
2         lost       stale_read plan and 1 more";
        assert_eq!(batch_text(&outcome), expected);
    }
}
