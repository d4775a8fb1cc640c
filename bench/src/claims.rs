//! What the systems that Queenright starts from claim, what is known about each claim, the best peer, and what was
//! measured here.
//!
//! The claims are those of five public projects; [`TABLE`] is their one place: reports quote them from here. What
//! is known about a claim was found in the project's own sources, or by running them, and says which. Figures of peers
//! were measured with the drivers of `bench/peers`, on the machine of [`PEERS_MACHINE`].

mod table;

use std::fmt::Write as _;

use serde::Serialize;

pub use self::table::TABLE;
use crate::report::{Claim, Report, Row, number};
use crate::workloads;

/// Where the figures of peers were taken. They are medians of three runs unless they say otherwise.
pub const PEERS_MACHINE: &str = "2 virtual cores of an AMD EPYC shared by driver and servers, 24 GiB, ext4 on one virtual disk, Linux 6.18, \
                                 Debian 12, everything on loopback";

/// One claim of one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The workload that does the same work.
    pub workload: &'static str,
    /// Whose claim it is.
    pub system: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// Where: the project and the file.
    pub source: &'static str,
    /// What is known about how the figure came about.
    pub known: &'static str,
    /// The best other system that was measured at this work.
    pub peer: Option<Peer>,
    /// The names of the rows of the workload that answer the claim.
    #[serde(skip)]
    pub rows: &'static [&'static str],
}

/// Another system, measured at the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// The system with its version.
    pub name: &'static str,
    /// What it reached.
    pub figure: &'static str,
    /// The driver in this repository, or how else it was measured.
    pub source: &'static str,
}

/// An entry beside what was measured here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The claim and its peer.
    #[serde(flatten)]
    pub entry: Entry,
    /// What was measured.
    #[serde(flatten)]
    pub ours: Ours,
}

/// What was measured of the work of a claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ours {
    /// These rows of a report.
    Measured {
        /// The rows of the claim that the report has.
        rows: Vec<Row>,
        /// The commit of the program.
        commit: String,
        /// `debug` or `release`.
        build: String,
    },
    /// No report of the workload, or none with these rows: the command that makes one, or why there is none.
    NotMeasured(String),
}

/// The claims on a workload as its report quotes them.
pub(crate) fn of(workload: &str) -> Vec<Claim> {
    let entries = TABLE.iter().filter(|entry| entry.workload == workload);
    entries.map(|entry| Claim::new(entry.system, entry.claim)).collect()
}

/// All claims beside the rows of these reports. Of several reports of one workload the last one counts.
pub fn compared(reports: &[Report]) -> Vec<Compared> {
    let compared = TABLE.iter().map(|entry| Compared {
        entry: *entry,
        ours: ours(entry, reports),
    });
    compared.collect()
}

fn ours(entry: &Entry, reports: &[Report]) -> Ours {
    let report = reports.iter().rev().find(|report| report.workload == entry.workload);
    let Some(report) = report else {
        return Ours::NotMeasured(match workloads::workload(entry.workload) {
            Some(_) => format!("not measured here: queenright bench run {}", entry.workload),
            None => format!("not measured here: this version has no {}", entry.workload),
        });
    };
    let of_claim = |name: &&str| report.rows.iter().find(|row| row.name == **name).cloned();
    let rows: Vec<Row> = entry.rows.iter().filter_map(of_claim).collect();
    match rows.is_empty() {
        true => Ours::NotMeasured(format!(
            "not measured here: this run of {} was too small for it",
            entry.workload
        )),
        false => Ours::Measured {
            rows,
            commit: report.conditions.commit.clone(),
            build: report.conditions.build.to_string(),
        },
    }
}

impl Ours {
    /// What was measured, one value after the other.
    fn values(&self) -> Vec<String> {
        match self {
            Ours::NotMeasured(why) => vec![why.clone()],
            Ours::Measured { rows, .. } => rows.iter().map(value).collect(),
        }
    }
}

fn value(row: &Row) -> String {
    let p99 = row.percentiles.map(|spread| format!(", p99 {}", number(spread.p99)));
    format!(
        "{}: {} {}{}",
        row.name,
        number(row.value),
        row.unit,
        p99.unwrap_or_default()
    )
}

/// What stands under every form of the table.
fn foot(compared: &[Compared]) -> String {
    let mut runs: Vec<(&str, String)> = Vec::new();
    for one in compared {
        if let Ours::Measured { commit, build, .. } = &one.ours {
            let run = (one.entry.workload, format!("{build} build of {commit}"));
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
    }
    let mut text = format!("Peers: {PEERS_MACHINE}.");
    for (workload, run) in runs {
        let _ = write!(text, " {workload}: {run}.");
    }
    text
}

/// The text form: a paragraph for each claim.
pub fn text(compared: &[Compared]) -> String {
    let mut text = String::new();
    for Compared { entry, ours } in compared {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {} claims: {}", entry.workload, entry.system, entry.claim);
        let _ = writeln!(text, "   in     {}", entry.source);
        let _ = writeln!(text, "   known  {}", entry.known);
        let _ = match entry.peer {
            Some(peer) => writeln!(text, "   peer   {}: {} ({})", peer.name, peer.figure, peer.source),
            None => writeln!(text, "   peer   none was measured"),
        };
        for (place, value) in ours.values().iter().enumerate() {
            let _ = writeln!(text, "   {}   {value}", if place == 0 { "ours" } else { "    " });
        }
        text.push('\n');
    }
    text.push_str(&foot(compared));
    text
}

/// The form for a document: one table.
pub fn markdown(compared: &[Compared]) -> String {
    let mut text =
        String::from("| | claim | what is known about it | best peer, measured | ours |\n|---|---|---|---|---|\n");
    for Compared { entry, ours } in compared {
        let peer = entry
            .peer
            .map_or_else(|| "–".to_owned(), |peer| format!("{}: {}", peer.name, peer.figure));
        let cells = [
            entry.workload.to_owned(),
            format!("{}: {} ({})", entry.system, entry.claim, entry.source),
            entry.known.to_owned(),
            peer,
            ours.values().join("; "),
        ];
        // A bar would end the cell.
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let _ = write!(text, "\n{}", foot(compared));
    text
}

#[cfg(test)]
mod tests {
    use super::{Ours, TABLE, compared, markdown, of, text};
    use crate::report::{Report, Row};
    use crate::workloads::workload;

    fn report(workload: &str, rows: Vec<Row>) -> Report {
        Report {
            rows,
            ..Report::begin(workload, "", std::env::temp_dir().as_path())
        }
    }

    #[test]
    fn the_five_systems_are_there_and_every_claim_says_where_and_what_is_known() {
        for system in ["ruv-swarm", "SwarmSH", "ggen", "Dash", "FreeAgentics"] {
            assert!(TABLE.iter().any(|entry| entry.system == system), "{system}");
        }
        for entry in TABLE {
            assert!(entry.source.starts_with(entry.system), "{entry:?}");
            assert!(!entry.claim.is_empty() && entry.known.len() > 20, "{entry:?}");
            let runs = workload(entry.workload).is_some();
            assert_eq!(runs, !entry.rows.is_empty(), "{entry:?}");
        }
        assert!(of("B5").iter().all(|claim| claim.system == "SwarmSH") && of("B99").is_empty());
    }

    #[test]
    fn rows_of_a_claim_are_found_in_the_last_report_and_what_is_missing_says_how_to_get_it() {
        let wanted = TABLE.iter().find(|entry| entry.workload == "B5").unwrap().rows[0];
        let reports = [
            report("B5", vec![Row::new(wanted, 1.0, "tasks/s", 3)]),
            report("B5", vec![Row::new(wanted, 1234.5, "tasks/s", 3)]),
            report("B3", vec![Row::new("another", 1.0, "µs", 3)]),
        ];
        let compared = compared(&reports);
        let ours = |workload: &str| &compared.iter().find(|one| one.entry.workload == workload).unwrap().ours;
        let Ours::Measured { rows, .. } = ours("B5") else {
            panic!("{:?}", ours("B5"))
        };
        assert_eq!(rows[0].value, 1234.5);
        assert!(matches!(ours("B3"), Ours::NotMeasured(why) if why.contains("too small")));
        let missing = Ours::NotMeasured("not measured here: queenright bench run B4".to_owned());
        assert_eq!(*ours("B4"), missing);
        let text = text(&compared);
        assert!(text.contains(&format!("   ours   {wanted}: 1234 tasks/s\n")), "{text}");
        let markdown = markdown(&compared);
        assert_eq!(
            markdown.lines().filter(|line| line.starts_with("| B")).count(),
            TABLE.len()
        );
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(markdown.lines().take(TABLE.len() + 2).all(|line| columns(line) == 6));
    }

    #[test]
    fn the_json_form_has_the_claim_and_what_was_measured_side_by_side() {
        let json = serde_json::to_value(compared(&[])).unwrap();
        assert_eq!(json[0]["workload"], "B1");
        assert_eq!(json[0]["not_measured"], "not measured here: queenright bench run B1");
        assert!(json[0]["peer"]["figure"].is_string() && json[0].get("rows").is_none());
    }
}
