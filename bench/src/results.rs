//! Results in a file: the reports of one sitting, kept to be compared, drawn and looked up later.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// What the first field of a file of results says.
pub const FORMAT: &str = "queenright-results-1";

/// The reports of one sitting, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`FORMAT`].
    pub format: String,
    /// One for each workload that ended.
    pub reports: Vec<Report>,
}

/// Why results were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The system refused.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The answer of the system.
        source: std::io::Error,
    },
    /// The file is no JSON of this form.
    #[error("{path} holds no results")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The file is of another version.
    #[error("{path}: format is {found:?}, this program reads {FORMAT:?}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it says it is.
        found: String,
    },
}

impl Results {
    /// These reports.
    pub fn new(reports: Vec<Report>) -> Results {
        Results {
            format: FORMAT.to_owned(),
            reports,
        }
    }

    /// Reads a file of results.
    ///
    /// # Errors
    /// [`ResultsError`].
    pub fn read(path: &Path) -> Result<Results, ResultsError> {
        let text = std::fs::read(path).map_err(|source| ResultsError::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        let results: Results = serde_json::from_slice(&text).map_err(|source| ResultsError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        if results.format != FORMAT {
            return Err(ResultsError::Format {
                path: path.to_owned(),
                found: results.format,
            });
        }
        Ok(results)
    }

    /// Writes them in place of what the file held, all or nothing.
    ///
    /// # Errors
    /// [`ResultsError::File`]; the file is as it was then.
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        let refused = |what, source| ResultsError::File {
            what,
            path: path.to_owned(),
            source,
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(".part");
        let aside = PathBuf::from(aside);
        let write = || {
            let mut file = std::fs::File::create(&aside)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        if let Err(error) = write() {
            // What is left of it is of no use; that it cannot be removed is no news beside the error.
            let _ = std::fs::remove_file(&aside);
            return Err(refused("write", error));
        }
        std::fs::rename(&aside, path).map_err(|error| refused("replace", error))
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Results, ResultsError};
    use crate::report::{Percentiles, Report, Row};

    #[test]
    fn results_are_read_as_they_were_written_and_replace_those_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        let percentiles = Percentiles {
            p50: 1.0,
            p90: 2.0,
            p99: 3.0,
            p999: 4.0,
            max: 5.5,
        };
        let mut report = Report::begin("B0", "nothing", folder.path());
        Results::new(vec![report.clone()]).write(&path).unwrap();
        report.rows = vec![Row::new("a", 1.5, "µs", 3).percentiles(percentiles).note("n")];
        let results = Results::new(vec![report]);
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_format_and_what_is_no_json_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        std::fs::write(&path, r#"{"format": "other-2", "reports": []}"#).unwrap();
        let refused = Results::read(&path).unwrap_err();
        assert!(refused.to_string().contains("\"other-2\"") && refused.to_string().contains(FORMAT));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Results::read(&path), Err(ResultsError::Malformed { .. })));
        assert!(matches!(
            Results::read(&folder.path().join("none")),
            Err(ResultsError::File { what: "read", .. })
        ));
    }
}
