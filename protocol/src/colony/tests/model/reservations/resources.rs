//! Resources: what names they have, and whether two meet, found by looking for a name that is in both.

use super::*;

/// All names that a resource may be asked about.
const NAMES: [&str; 16] = [
    "a", "b", "c", "d", "e", "f", "ab", "dir", "dir/e", "dir/é", "dir/f", "dir/e/x", "x/e", "x/y/e", "", "/",
];

/// Whether a name is in a resource: each that the tests use, written out.
pub(super) fn is_in(name: &str, resource: &str) -> bool {
    let path = !name.split('/').any(str::is_empty);
    let last = |wanted: &str| name.rsplit('/').next() == Some(wanted);
    match resource {
        "file:**" => path,
        "file:?" => path && name.chars().count() == 1,
        "file:{a,b}" => name == "a" || name == "b",
        "file:dir/*" => path && name.starts_with("dir/") && name.matches('/').count() == 1,
        "file:dir/**" => path && (name == "dir" || name.starts_with("dir/")),
        "file:**/e" => path && last("e"),
        "key:dir/" => name.starts_with("dir/"),
        _ => resource.strip_prefix("key:") == Some(name) || resource.strip_prefix("file:") == Some(name),
    }
}

/// The texts that the tests use, and how they read in their one form.
pub(super) fn read(resource: &str) -> Result<Arc<str>, Refusal> {
    Ok(match resource {
        "file:./dir//" => "file:dir/**".into(),
        "plan" => {
            return Err(bad("resource", "\"plan\" begins with none of file:, key:, slot:"));
        }
        "file:../x" => return Err(bad("resource", "\"file:../x\" has a .. segment")),
        "key:" => return Err(bad("key", "is empty")),
        "slot:" => return Err(bad("slot", "is empty, or has a slash or a control character")),
        other => other.into(),
    })
}

pub(super) fn slot(resource: &str) -> Option<&str> {
    resource.strip_prefix("slot:")
}

fn meet(a: &str, b: &str) -> bool {
    slot(a).is_none() && slot(b).is_none() && NAMES.iter().any(|name| is_in(name, a) && is_in(name, b))
}

pub(in crate::colony::tests) fn exclude(a: &Want, b: &Want) -> bool {
    let intent = a.mode == Mode::Intent || b.mode == Mode::Intent;
    let exclusive = a.mode == Mode::Exclusive || b.mode == Mode::Exclusive;
    !intent && exclusive && meet(&a.resource, &b.resource)
}

pub(super) fn wants(resources: &[Want]) -> Result<Vec<Want>, Refusal> {
    if resources.is_empty() {
        return Err(bad("resources", "there is none"));
    }
    if resources.len() > 64 {
        return Err(over("resources", resources.len(), 64));
    }
    canonical(resources)
}

/// Resources, also none, in their one form.
pub(in crate::colony::tests::model) fn canonical(resources: &[Want]) -> Result<Vec<Want>, Refusal> {
    let mut wanted: Vec<Want> = Vec::new();
    for Want { resource, mode } in resources {
        let resource = read(resource)?;
        if slot(&resource).is_some() && *mode != Mode::Exclusive {
            let problem = format!("{resource} is taken by places: its mode is exclusive, not {mode}");
            return Err(bad("mode", &problem));
        }
        if wanted.iter().any(|other| other.resource == resource) {
            return Err(bad("resources", &format!("{resource} stands twice")));
        }
        wanted.push(Want { resource, mode: *mode });
    }
    Ok(wanted)
}
