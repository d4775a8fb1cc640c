//! `queenright tls`: the certificates of a cluster.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::table::Table;
use super::{CliError, Context};
use crate::certificates::{CertificateError, FOLDER, Shown, Validity, folder_of, init, renew, show};
use crate::cli::{FolderArgs, IssueArgs, TlsCommand};
use crate::config::ClusterConfig;
use crate::exit::Exit;

/// What `init` and `renew` print with `--json`.
#[derive(Serialize)]
struct Written {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

/// What `show` prints with `--json`.
#[derive(Serialize)]
struct Certificates {
    certificates: Vec<Shown>,
}

/// Carries out `queenright tls`.
///
/// # Errors
/// [`CliError`], such as files that are there already.
pub async fn run(command: TlsCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        TlsCommand::Init(issue) => {
            let (config, folder) = find(&issue.folder)?;
            let files = init(&config, &folder, validity(&issue))?;
            tell(&folder, files, context)?;
            if config.tls.is_none() {
                context.note(format_args!(
                    "say so in {}: [tls] dir = {:?}",
                    config.file.display(),
                    issue.folder.dir.as_deref().unwrap_or(Path::new(FOLDER))
                ));
            }
        }
        TlsCommand::Renew { issue, nodes } => {
            let (config, folder) = find(&issue.folder)?;
            let files = renew(&config, &folder, validity(&issue), &nodes)?;
            tell(&folder, files, context)?;
        }
        TlsCommand::Show(args) => {
            let (config, folder) = find(&args)?;
            let certificates = show(&folder, config.nodes.iter().map(|node| node.name.as_str()))?;
            let text = table(&certificates);
            context.answer(&Certificates { certificates }, text)?;
        }
    }
    Ok(Exit::Ok)
}

fn find(args: &FolderArgs) -> Result<(ClusterConfig, PathBuf), CliError> {
    let config = ClusterConfig::load(&args.file)?;
    let folder = folder_of(&config, args.dir.as_deref());
    Ok((config, folder))
}

fn validity(issue: &IssueArgs) -> Validity {
    Validity::days(issue.days)
}

fn tell(folder: &Path, files: Vec<PathBuf>, context: &Context) -> Result<(), CliError> {
    let lines: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let folder = folder.to_path_buf();
    context.answer(&Written { folder, files }, lines.join("\n"))
}

fn table(certificates: &[Shown]) -> String {
    let mut table = Table::new(["CERTIFICATE", "ENDS", "DAYS", "NAMES", "SHA-256"]);
    for shown in certificates {
        table.row([
            shown.of.clone(),
            shown.expires_at.clone(),
            shown.expires_days.to_string(),
            if shown.names.is_empty() {
                "-".to_owned()
            } else {
                shown.names.join(" ")
            },
            shown.fingerprint.clone(),
        ]);
    }
    table.to_string()
}

impl From<CertificateError> for CliError {
    fn from(error: CertificateError) -> CliError {
        match error {
            CertificateError::Config(error) => error.into(),
            CertificateError::Folder(error) => error.into(),
            CertificateError::Exists { .. } => CliError::Refused {
                exit: Exit::Conflict,
                code: "CONFLICT".to_owned(),
                message: error.to_string(),
            },
            error => CliError::Failed {
                message: "the certificates cannot be used as wanted".to_owned(),
                source: error.into(),
            },
        }
    }
}
