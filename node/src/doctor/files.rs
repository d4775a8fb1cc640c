//! Files on this host: who may read them, certificates, the records of nodes, and what interrupted commands have left.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use queenright_actors::store::DataFolder;
use queenright_actors::tls::{Tls, key_file};

use super::{Finding, Fix, line_of};
use crate::certificates::show;
use crate::config::{ClusterConfig, NodeConfig};
use crate::state::{ClusterFolder, Cookie, Recorded, Registry};

/// A certificate that ends within so many days is to be renewed.
const RENEW_DAYS: i64 = 14;
/// Copies in the making: what an interrupted command leaves of one is of no use to anybody.
const UNFINISHED: [&str; 2] = [".recovering", ".restoring"];
/// What a command has set aside, for people to remove.
const ASIDE: [&str; 2] = [".before-recovery-", ".replaced-"];
/// What lies in the folder of a cluster beside the data of nodes.
const NO_NODES: [&str; 2] = ["logs", "running"];

/// Whether the folder of the cluster and its secrets are their owner's alone.
pub(super) fn rights(cluster: &ClusterFolder, config: Option<&ClusterConfig>) -> Vec<Finding> {
    let mut secrets = vec![cluster.path().join(Cookie::FILE), cluster.admin_token_path()];
    let mut folders = vec![cluster.path().to_owned()];
    if let Some(config) = config {
        folders.extend(config.nodes.iter().map(|node| cluster.node(&node.name)));
        secrets.extend(config.webhooks.iter().map(|webhook| webhook.secret_file.clone()));
        if let Some(tls) = &config.tls {
            folders.push(tls.clone());
            secrets.push(tls.join(Cookie::FILE));
            secrets.push(tls.join("authority.key"));
            secrets.extend(config.nodes.iter().map(|node| tls.join(key_file(&node.name))));
        }
    }
    let found: Vec<Finding> = secrets
        .iter()
        .map(|path| (path, 0o600))
        .chain(folders.iter().map(|path| (path, 0o700)))
        .filter_map(|(path, mode)| open_to_others(path, mode))
        .collect();
    match found.is_empty() {
        true => {
            let of = cluster.path().display().to_string();
            vec![Finding::ok("rights", of, "folders and secrets are their owner's alone")]
        }
        false => found,
    }
}

/// What is wrong with the rights of a file or folder, if it is there and anything is.
fn open_to_others(path: &Path, mode: u32) -> Option<Finding> {
    let data = fs::metadata(path).ok()?;
    let of = path.display().to_string();
    let rights = data.permissions().mode() & 0o777;
    if data.uid() != rustix::process::geteuid().as_raw() {
        let text = format!("belongs to user {}, not to this one", data.uid());
        let next = "run nodes and commands as the user whose state it is";
        return Some(Finding::warning("rights", of, text, next));
    }
    if rights & 0o077 == 0 {
        return None;
    }
    let fix = Fix::Private {
        path: path.to_owned(),
        mode: rights & mode,
    };
    let text = format!("has rights {rights:o}: others of this host may use it");
    Some(Finding::problem("rights", of, text, fix.line()).with_fix(fix))
}

/// Whether the certificates of the nodes of this host can be used, and for how long.
pub(super) fn certificates(config: &ClusterConfig, local: &[&NodeConfig]) -> Vec<Finding> {
    let Some(folder) = &config.tls else { return Vec::new() };
    let renew = |node: &str| format!("queenright tls renew {} {node}", config.file.display());
    let mut found = Vec::new();
    for node in local {
        // Reading them as the node does checks the chain, the name, the dates and the key.
        if let Err(error) = Tls::load(folder, &config.name, &node.name) {
            let text = line_of(&error);
            found.push(Finding::problem("certificates", &node.name, text, renew(&node.name)));
            continue;
        }
        match show(folder, [node.name.as_str()]) {
            Err(error) => {
                let text = line_of(&error);
                found.push(Finding::problem("certificates", &node.name, text, renew(&node.name)));
            }
            Ok(shown) => {
                for certificate in shown {
                    let (of, days) = (certificate.of, certificate.expires_days);
                    let text = format!("ends on {}, in {days} days", certificate.expires_at);
                    found.push(match days {
                        days if days < 0 => Finding::problem("certificates", &of, text, renew(&node.name)),
                        days if days < RENEW_DAYS => Finding::warning("certificates", &of, text, renew(&node.name)),
                        _ => Finding::ok("certificates", &of, text),
                    });
                }
                found.extend(names(folder, node));
            }
        }
    }
    // That of the authority came with each node.
    let mut seen = Vec::new();
    found.retain(|finding| match seen.contains(finding) {
        true => false,
        false => {
            seen.push(finding.clone());
            true
        }
    });
    found
}

/// Whether the certificate is for what the door of the node is dialled by.
fn names(folder: &Path, node: &NodeConfig) -> Option<Finding> {
    let shown = show(folder, [node.name.as_str()]).ok()?;
    let certificate = shown.into_iter().find(|shown| shown.of == node.name)?;
    let advertised = node.http_advertised();
    let host = advertised
        .rsplit_once(':')
        .map_or(advertised.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let unspecified = node.advertise_http.is_none() && node.http.ip().is_unspecified();
    (!unspecified && !certificate.names.iter().any(|name| name == host)).then(|| {
        Finding::problem(
            "certificates",
            &node.name,
            format!("is not for {host}, by which its door is dialled"),
            "queenright tls renew makes one for what the cluster file says now",
        )
    })
}

/// The records of running nodes.
pub(super) fn records(registry: &Registry) -> Vec<Finding> {
    let of = registry.folder().display().to_string();
    let recorded = match registry.look() {
        Ok(recorded) => recorded,
        Err(error) => {
            let text = line_of(&error);
            return vec![Finding::problem(
                "records",
                of,
                text,
                "make the folder one that this user may read",
            )];
        }
    };
    let mut found = Vec::new();
    let mut running = 0;
    for (path, recorded) in recorded {
        let of = path.display().to_string();
        let fix = Fix::RemoveFile { path };
        match recorded {
            Recorded::Running(_) => running += 1,
            Recorded::Gone(node) => {
                let text = format!(
                    "node {} of {} is recorded, and process {} is gone",
                    node.node, node.cluster, node.pid
                );
                let next = "nothing: the next command removes it";
                found.push(Finding::warning("records", of, text, next).with_fix(fix));
            }
            Recorded::Broken(problem) => {
                let text = format!("is no record ({problem}): no command finds a node while it is there");
                found.push(Finding::problem("records", of, text, fix.line()).with_fix(fix));
            }
        }
    }
    if found.is_empty() {
        let text = format!("{running} nodes run here, and no record is stale");
        found.push(Finding::ok("records", of, text));
    }
    found
}

/// What lies in the folder of the cluster and belongs to no node of its file.
pub(super) fn leftovers(cluster: &ClusterFolder, config: Option<&ClusterConfig>) -> Vec<Finding> {
    let Ok(entries) = fs::read_dir(cluster.path()) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders.iter().filter_map(|folder| leftover(folder, config)).collect()
}

fn leftover(folder: &Path, config: Option<&ClusterConfig>) -> Option<Finding> {
    let name = folder.file_name()?.to_str()?;
    let of = folder.display().to_string();
    if NO_NODES.contains(&name) {
        return None;
    }
    if let Some(node) = UNFINISHED.iter().find_map(|end| name.strip_suffix(end)) {
        // Whoever works on it holds it.
        let held = DataFolder::hold(folder, node);
        let Ok(_lock) = held else {
            return Some(Finding::ok("leftovers", of, "a command is at work on it"));
        };
        let fix = Fix::RemoveFolder {
            path: folder.to_owned(),
        };
        let text = "an interrupted command has left it; nothing is lost with it";
        return Some(Finding::warning("leftovers", of, text, fix.line()).with_fix(fix));
    }
    if ASIDE.iter().any(|part| name.contains(part)) {
        let text = "was set aside";
        return Some(Finding::warning(
            "leftovers",
            of,
            text,
            "remove it once nobody needs what is in it",
        ));
    }
    let config = config?;
    let known = config.nodes.iter().any(|node| node.name == name);
    // A node that joined is in no file; its folder says that it is one.
    (!known && folder.join("identity").exists()).then(|| {
        Finding::warning(
            "leftovers",
            of,
            format!(
                "is the data of a node {name}, which {} does not list",
                config.file.display()
            ),
            "nothing, if it joined the cluster later; else move it away",
        )
    })
}
