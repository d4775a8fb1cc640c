//! The workloads, one module each, and the table from which a command line picks them.

mod alone;
pub mod b1;
pub mod b10;
pub mod b11;
pub mod b12;
pub mod b13;
pub mod b14;
pub mod b15;
pub mod b16;
pub mod b17;
pub mod b18;
pub mod b19;
pub mod b2;
pub mod b20;
pub mod b21;
pub mod b22;
pub mod b3;
pub mod b4;
pub mod b5;
pub mod b6;
pub mod b7;
pub mod b8;
pub mod b9;
mod keys;
mod packs;
mod spread;
pub(crate) mod tasks;

use crate::report::Report;
use crate::{BenchError, Options};

/// A workload as the command line sees it.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its id, such as `B8`.
    pub id: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// What must be there before it can run.
    pub needs: Needs,
    /// Runs it.
    pub run: fn(&Options) -> Result<Report, BenchError>,
}

/// What a workload must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A processor.
    Nothing,
    /// A writable folder, [`Options::data`], on the disk to be measured.
    Disk,
    /// Such a folder, and the program that clusters are started with, [`Options::program`].
    Cluster,
    /// Both, and a git repository, [`Options::repository`].
    Repository,
}

/// All workloads, by id.
pub fn workloads() -> &'static [Workload] {
    &[
        Workload {
            id: b1::ID,
            title: b1::TITLE,
            needs: Needs::Cluster,
            run: b1::run,
        },
        Workload {
            id: b2::ID,
            title: b2::TITLE,
            needs: Needs::Cluster,
            run: b2::run,
        },
        Workload {
            id: b3::ID,
            title: b3::TITLE,
            needs: Needs::Cluster,
            run: b3::run,
        },
        Workload {
            id: b4::ID,
            title: b4::TITLE,
            needs: Needs::Cluster,
            run: b4::run,
        },
        Workload {
            id: b5::ID,
            title: b5::TITLE,
            needs: Needs::Cluster,
            run: b5::run,
        },
        Workload {
            id: b6::ID,
            title: b6::TITLE,
            needs: Needs::Cluster,
            run: b6::run,
        },
        Workload {
            id: b7::ID,
            title: b7::TITLE,
            needs: Needs::Nothing,
            run: b7::run,
        },
        Workload {
            id: b8::ID,
            title: b8::TITLE,
            needs: Needs::Nothing,
            run: b8::run,
        },
        Workload {
            id: b9::ID,
            title: b9::TITLE,
            needs: Needs::Cluster,
            run: b9::run,
        },
        Workload {
            id: b10::ID,
            title: b10::TITLE,
            needs: Needs::Nothing,
            run: b10::run,
        },
        Workload {
            id: b11::ID,
            title: b11::TITLE,
            needs: Needs::Cluster,
            run: b11::run,
        },
        Workload {
            id: b12::ID,
            title: b12::TITLE,
            needs: Needs::Nothing,
            run: b12::run,
        },
        Workload {
            id: b13::ID,
            title: b13::TITLE,
            needs: Needs::Cluster,
            run: b13::run,
        },
        Workload {
            id: b14::ID,
            title: b14::TITLE,
            needs: Needs::Cluster,
            run: b14::run,
        },
        Workload {
            id: b15::ID,
            title: b15::TITLE,
            needs: Needs::Cluster,
            run: b15::run,
        },
        Workload {
            id: b16::ID,
            title: b16::TITLE,
            needs: Needs::Repository,
            run: b16::run,
        },
        Workload {
            id: b17::ID,
            title: b17::TITLE,
            needs: Needs::Disk,
            run: b17::run,
        },
        Workload {
            id: b18::ID,
            title: b18::TITLE,
            needs: Needs::Cluster,
            run: b18::run,
        },
        Workload {
            id: b19::ID,
            title: b19::TITLE,
            needs: Needs::Cluster,
            run: b19::run,
        },
        Workload {
            id: b20::ID,
            title: b20::TITLE,
            needs: Needs::Cluster,
            run: b20::run,
        },
        Workload {
            id: b21::ID,
            title: b21::TITLE,
            needs: Needs::Cluster,
            run: b21::run,
        },
        Workload {
            id: b22::ID,
            title: b22::TITLE,
            needs: Needs::Cluster,
            run: b22::run,
        },
    ]
}

/// The workload with this id, in whatever case.
pub fn workload(id: &str) -> Option<&'static Workload> {
    workloads().iter().find(|workload| workload.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::{Needs, workload, workloads};
    use crate::Options;

    #[test]
    fn ids_are_unique_and_found_in_any_case() {
        for listed in workloads() {
            let found = workload(&listed.id.to_lowercase()).unwrap();
            assert_eq!(found.title, listed.title);
        }
        assert!(workload("B99").is_none());
    }

    #[test]
    fn every_workload_that_needs_no_cluster_runs_and_reports_under_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let small = Options {
            repeats: 1,
            proposals_max: 1_000,
            syncs: 5,
            steady_ms: 20,
            ..Options::full(dir.path().to_owned())
        };
        // The others are run by the tests of the program, which they start.
        let alone = |needs| matches!(needs, Needs::Nothing | Needs::Disk);
        for workload in workloads().iter().filter(|workload| alone(workload.needs)) {
            let report = (workload.run)(&small).unwrap();
            assert_eq!(report.workload, workload.id);
            assert!(
                report.rows.iter().all(|row| row.value.is_finite() && row.samples > 0),
                "{report}"
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
