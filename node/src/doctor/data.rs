//! The data of a node that does not run: who holds it, and whether all of it can be read.

use std::fs;
use std::path::Path;

use queenright_actors::disk::{DiskLimits, room_of};
use queenright_actors::recover::{RecoverError, RecoverOptions, Survivor};
use queenright_actors::store::StoreError;

use super::{Finding, line_of};
use crate::config::ClusterConfig;

/// Reads all that the node has, from a copy beside it: log, snapshots and store.
pub(super) async fn of_node(folder: &Path, name: &str, config: &ClusterConfig) -> Finding {
    if !folder.join("identity").exists() {
        return Finding::ok("data", name, format!("{} holds nothing yet", folder.display()));
    }
    let copy = folder.with_file_name(format!("{name}.recovering"));
    if copy.exists() {
        // Reading would take its place.
        let text = format!("not checked: {} is where a copy of it would be read", copy.display());
        return Finding::warning("data", name, text, "see to the leftover first, such as by --fix");
    }
    let bytes = size(folder);
    match room_of(folder, DiskLimits::default()) {
        Ok((free, watermark)) if free > bytes.saturating_add(watermark) => {}
        _ => {
            let text = format!("{} B, not checked: there is no room for a copy to read", bytes);
            return Finding::warning("data", name, text, "make room on the disk, and look again");
        }
    }
    let survivor = Survivor::read(RecoverOptions {
        folder: folder.to_owned(),
        name: name.to_owned(),
        nodes: config.nodes.iter().map(|node| node.name.clone()).collect(),
    });
    let replace = format!("queenright node replace {name}, while the others have a majority");
    match survivor.await {
        Ok(survivor) => {
            let found = survivor.findings();
            let whole = format!("{bytes} B, whole up to log entry {}, seq {}", found.entry.0, found.seq);
            match (&found.log_damage, found.damage.is_empty()) {
                (Some(damage), _) => Finding::problem("data", name, format!("its log is damaged: {damage}"), replace),
                (None, false) => {
                    let text = format!("{whole}; damaged, and not needed: {}", found.damage.join(", "));
                    Finding::warning(
                        "data",
                        name,
                        text,
                        "start the node: it sets that aside and makes it anew",
                    )
                }
                (None, true) => Finding::ok("data", name, whole),
            }
        }
        Err(RecoverError::Store(StoreError::InUse { holder, .. })) => Finding::problem(
            "data",
            name,
            format!(
                "{} is in use by {holder}, which is not recorded as running",
                folder.display()
            ),
            "end that process, unless it is a command at work",
        ),
        Err(RecoverError::NotAMember { .. }) => Finding::ok("data", name, "has never belonged to a cluster"),
        Err(error @ RecoverError::OtherNodes { .. }) => Finding::warning(
            "data",
            name,
            line_of(&error),
            "compare the cluster file with that of the other hosts",
        ),
        Err(error) => Finding::problem("data", name, line_of(&error), replace),
    }
}

/// The bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        _ => entry.metadata().map_or(0, |data| data.len()),
    });
    sizes.sum()
}
