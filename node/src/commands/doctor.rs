//! `queenright doctor`: what may be wrong, seen from this host.

use queenright_bench::client::{Client, ClientOptions};
use serde::Serialize;

use super::door::Way;
use super::{CliError, Context};
use crate::cli::DoctorArgs;
use crate::config::ClusterConfig;
use crate::doctor::{Doors, Finding, Host, Level};
use crate::exit::Exit;
use crate::state::{Door, Registry, StateFolders};

/// What `doctor --json` prints.
#[derive(Serialize)]
struct Report {
    checks: Vec<Finding>,
    problems: usize,
    warnings: usize,
    fixed: usize,
}

/// Looks at everything, and says how it is; exit code 1 if a problem is left.
///
/// # Errors
/// [`CliError`] when the cluster file cannot be used, or the state folder not be found.
pub async fn run(args: DoctorArgs, context: &Context) -> Result<Exit, CliError> {
    let config = args.file.as_deref().map(ClusterConfig::load).transpose()?;
    let (cluster, registry) = match &config {
        Some(config) => {
            let StateFolders { cluster, registry } = StateFolders::find(&config.name, args.data.as_deref())?;
            (Some(cluster), registry)
        }
        None => (None, Registry::of_user()?),
    };
    let host = Host::new(config, cluster, registry)?;
    let mut checks = tokio::task::block_in_place(|| host.look());
    checks.extend(host.look_at_data().await);
    let doors = doors(&host, &args)?;
    checks.extend(doors.look().await);
    if let Some(config) = &host.config {
        checks.extend(doors.look_at_webhooks(&config.webhooks).await);
    }
    if args.fix && !args.dry_run {
        for finding in &mut checks {
            let fix = finding.fix.clone();
            if let (Err(error), Some(fix)) = (finding.put_right(), fix) {
                context.note(format_args!("warning: {}: {error}", fix.line()));
            }
        }
    }
    let count = |level| checks.iter().filter(|finding| finding.stands_at(level)).count();
    let report = Report {
        problems: count(Level::Problem),
        warnings: count(Level::Warning),
        fixed: checks.iter().filter(|finding| finding.fixed).count(),
        checks,
    };
    context.answer(&report, text(&report, &args))?;
    Ok(match report.problems {
        0 => Exit::Ok,
        _ => Exit::Error,
    })
}

/// The doors of the cluster file, or of what runs here.
fn doors(host: &Host, args: &DoctorArgs) -> Result<Doors, CliError> {
    let client = |door: Door, way: &Way| {
        let options = ClientOptions {
            agent: "doctor".to_owned(),
            timeout: args.timeout,
            ..ClientOptions::default()
        };
        Client::new(&door.url(""), way.options(options))
    };
    let mut doors = Vec::new();
    match (&host.config, &host.cluster) {
        (Some(config), Some(cluster)) => {
            let way = Way::of_file(config, &args.access, Some(&cluster.admin_token_path()))?;
            for node in &config.nodes {
                let door = Door::parse(&node.http_advertised())?.in_tls(way.in_tls());
                doors.push((node.name.clone(), client(door, &way)?));
            }
        }
        _ => {
            for node in host.running() {
                let way = Way::to(&args.access, Some(node))?;
                doors.push((node.node.clone(), client(node.door(), &way)?));
            }
        }
    }
    Ok(Doors(doors))
}

fn text(report: &Report, args: &DoctorArgs) -> String {
    let mut lines: Vec<String> = report.checks.iter().flat_map(|finding| told(finding, args)).collect();
    let mut last = format!("{} problems, {} warnings", report.problems, report.warnings);
    if report.fixed > 0 {
        last += &format!(", {} put right", report.fixed);
    }
    lines.push(last);
    lines.join("\n")
}

fn told(finding: &Finding, args: &DoctorArgs) -> Vec<String> {
    let of = match finding.of.as_str() {
        "" => String::new(),
        of => format!(" {of}:"),
    };
    let mut lines = vec![format!(
        "{:8} {}:{of} {}",
        finding.level.name(),
        finding.check,
        finding.text
    )];
    match (&finding.fix, finding.fixed) {
        (Some(fix), true) => lines.push(format!("         done: {}", fix.line())),
        (Some(fix), false) if args.dry_run => lines.push(format!("         would do: {}", fix.line())),
        (fix, false) => {
            lines.extend(finding.next.iter().map(|next| format!("         next: {next}")));
            if fix.is_some() && !args.fix {
                lines.push("         or let --fix do it".to_owned());
            }
        }
        (None, true) => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::AccessArgs;

    #[test]
    fn each_check_is_a_line_with_what_to_do_next() {
        let found = |level, next: Option<&str>| Finding {
            check: "quorum",
            of: "n1".to_owned(),
            level,
            text: "is so".to_owned(),
            next: next.map(str::to_owned),
            fix: None,
            fixed: false,
        };
        let args = DoctorArgs {
            file: None,
            fix: false,
            dry_run: false,
            data: None,
            timeout: Duration::from_secs(1),
            access: AccessArgs::default(),
        };
        let report = Report {
            checks: vec![found(Level::Ok, None), found(Level::Problem, Some("do that"))],
            problems: 1,
            warnings: 0,
            fixed: 0,
        };
        let expected =
            "ok       quorum: n1: is so\nproblem  quorum: n1: is so\n         next: do that\n1 problems, 0 warnings";
        assert_eq!(text(&report, &args), expected);
    }
}
