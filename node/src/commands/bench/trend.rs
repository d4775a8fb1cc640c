//! `queenright bench trend`: rows over several files of results.

use std::time::{Duration, UNIX_EPOCH};

use queenright_bench::report::number;
use queenright_bench::trend::{Course, Trend};

use super::percent;
use crate::cli::TrendArgs;
use crate::commands::table::{Table, shown};
use crate::commands::{CliError, Context};
use crate::exit::Exit;
use crate::wall_time::rfc3339;

/// How much of a commit is shown.
const COMMIT_CHARS: usize = 9;
const HASH_CHARS: usize = 40;

pub(super) fn run(args: &TrendArgs, context: &Context) -> Result<Exit, CliError> {
    let workload = args.workload.as_deref().map(super::find).transpose()?;
    let text = args.row.as_deref().unwrap_or_default();
    let mut files = Vec::new();
    for path in &args.files {
        files.push((path.display().to_string(), super::read(path)?));
    }
    let trend = Trend::of(files, |id, row| {
        workload.is_none_or(|workload| workload.id == id) && row.contains(text)
    });
    if trend.rows.is_empty() {
        return Err(CliError::Refused {
            exit: Exit::Nothing,
            code: "NOTHING".to_owned(),
            message: "no file has such a row".to_owned(),
        });
    }
    context.answer(&trend, text_of(&trend))?;
    Ok(Exit::Ok)
}

/// The files with their numbers, then a line for each row: number, commit and value in turn.
fn text_of(trend: &Trend) -> String {
    let mut files = Table::new(["", "STARTED", "COMMIT", "FILE"]);
    for (place, sitting) in trend.sittings.iter().enumerate() {
        files.row([
            (place + 1).to_string(),
            rfc3339(UNIX_EPOCH + Duration::from_millis(sitting.started_at_ms)),
            commit(&sitting.commit),
            shown(&sitting.file),
        ]);
    }
    let mut rows = Table::new(["", "ROW", "UNIT", "FIRST TO LAST", "VALUES"]);
    for row in &trend.rows {
        rows.row([
            shown(&row.workload),
            shown(&row.row),
            shown(&row.unit),
            overall(row).map_or_else(|| "-".to_owned(), percent),
            values(row, trend),
        ]);
    }
    format!("{files}\n\n{rows}")
}

fn values(row: &Course, trend: &Trend) -> String {
    let points: Vec<String> = row
        .points
        .iter()
        .map(|point| {
            let of = commit(&trend.sittings[point.sitting].commit);
            let change = point
                .change
                .map_or_else(String::new, |change| format!(" ({})", percent(change)));
            format!("{of} {}{change}", number(point.value))
        })
        .collect();
    points.join(" → ")
}

fn overall(row: &Course) -> Option<f64> {
    let (first, last) = (row.points.first()?, row.points.last()?);
    (row.points.len() > 1 && first.value > 0.0).then(|| last.value / first.value - 1.0)
}

/// What a report says of its commit, with the commit itself cut short.
fn commit(text: &str) -> String {
    let is_hash = |word: &str| word.len() == HASH_CHARS && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split(' ').map(|word| {
        let hash = word.split('-').next().unwrap_or(word);
        match is_hash(hash) {
            true => format!("{}{}", &hash[..COMMIT_CHARS], &word[HASH_CHARS..]),
            false => shown(word),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::commit;

    #[test]
    fn a_commit_is_cut_short_and_what_is_said_of_it_stays() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit(hash), "012345678");
        assert_eq!(commit(&format!("one before {hash}")), "one before 012345678");
        assert_eq!(commit(&format!("{hash}-dirty")), "012345678-dirty");
        assert_eq!(commit("unknown"), "unknown");
    }
}
