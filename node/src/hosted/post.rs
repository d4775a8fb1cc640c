//! The agent of kind `http`: a POST for each task. What is sent, and what an answer means, stands in [`crate::worker::post`].
//!
//! | argument | default | |
//! |---|---|---|
//! | `url` | | where, `http` or `https`, up to 2,048 bytes |
//! | `deadline_s` | 300 | how long an answer may take with all tries, 0.1 to 86,400 s; then the attempt has failed with class `timeout` |
//! | `retries` | 3 | how many tries there are after the first, 0 to 100 |
//! | `secret_file` | none | the file with the secret that signs, an absolute path; up to 4,096 bytes, line breaks at its end do not count |
//! | `ca_file` | none | the file with the authorities that are trusted, an absolute path; those of the system without it |
//! | `checks` | `false` | whether the checks of tasks are run, by `sh -c` on the node; else a task that has some fails with class `check` |
//! | `folder`, `environment`, `timeout_s`, `memory_mb`, `measure_memory` | as of `exec` | where checks run, and within which bounds |
//! | `slots`, `max_tasks`, `project`, `queue`, `kinds`, `capabilities`, `labels`, `retry`, `lease_s`, `grace_s` | as of `exec` | |

use std::path::PathBuf;
use std::time::Duration;

use queenright_actors::agent::{AgentSpec, BehaviourError};
use reqwest::Url;

use super::arguments::{Arguments, wrong};
use super::exec;
use crate::worker::{Commands, Plan, Post, Work};

/// How the kind is called.
pub const KIND: &str = "http";
const URL_BYTES_MAX: usize = 2_048;
const DEADLINE_SECONDS: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
const DEADLINE_DEFAULT: Duration = Duration::from_secs(300);
const RETRIES_MAX: u64 = 100;
const RETRIES_DEFAULT: u64 = 3;

/// What an agent of this kind is told to do. `forbidden` says why nobody may run commands here, which checks are.
///
/// # Errors
/// Which argument is wrong, and what is.
pub(super) fn plan(spec: &AgentSpec, forbidden: Option<&str>) -> Result<Plan, BehaviourError> {
    let mut arguments = Arguments::of(&spec.arguments)?;
    let checks = arguments.flag("checks")?.unwrap_or(false);
    if let Some(why) = forbidden.filter(|_| checks) {
        return Err(wrong("checks", why));
    }
    let Some(url) = arguments.text("url")? else {
        return Err(wrong("url", "missing"));
    };
    let url = checked_url(&url).map_err(|problem| wrong("url", problem))?;
    let deadline = arguments.seconds("deadline_s", DEADLINE_SECONDS)?;
    let retries = arguments.number("retries", 0..=RETRIES_MAX)?.unwrap_or(RETRIES_DEFAULT);
    let secret_file = file(&mut arguments, "secret_file")?;
    let ca_file = file(&mut arguments, "ca_file")?;
    let within = (deadline.unwrap_or(DEADLINE_DEFAULT), retries as u32);
    let post = Post::new(url, within, secret_file, ca_file);
    let commands = Commands {
        checks,
        ..exec::commands(&mut arguments)?
    };
    let plan = exec::plan_of(spec, &mut arguments, Work::Post(Box::new(post)), commands)?;
    arguments.end()?;
    Ok(plan)
}

/// Where something is posted. Any host is good, of this network or beyond: who says it is trusted with the cluster.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked_url(text: &str) -> Result<Url, String> {
    if text.len() > URL_BYTES_MAX {
        let bytes = text.len();
        return Err(format!("{bytes} bytes are over the limit of {URL_BYTES_MAX}"));
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{text:?} is neither http nor https"));
    }
    // What it names is not shown.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or a password, which would be sent with each task (expected none)".to_owned());
    }
    match url.fragment() {
        None => Ok(url),
        Some(_) => Err(format!("{text:?} has a fragment, which is never sent")),
    }
}

/// The path of a file. It is read when the agent starts.
fn file(arguments: &mut Arguments, field: &'static str) -> Result<Option<PathBuf>, BehaviourError> {
    let path = arguments.text(field)?.map(PathBuf::from);
    match path {
        Some(path) if !path.is_absolute() => Err(wrong(field, format_args!("{path:?} is not an absolute path"))),
        path => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_wrong_argument_is_refused_by_name() {
        let plan = |arguments: Value| {
            let spec = AgentSpec {
                name: "h".to_owned(),
                kind: KIND.to_owned(),
                arguments,
                ..AgentSpec::default()
            };
            plan(&spec, Some("not here"))
        };
        let check = |arguments: Value, expected: &str| {
            let problem = plan(arguments).err().unwrap().0;
            assert!(problem.starts_with(expected), "{problem}");
        };
        check(json!({}), "url: missing");
        check(
            json!({"url": "ftp://a/b"}),
            "url: \"ftp://a/b\" is neither http nor https",
        );
        check(json!({"url": "here"}), "url: \"here\": relative URL");
        check(
            json!({"url": "http://u:hidden@a/"}),
            "url: has a user or a password, which would be sent",
        );
        check(json!({"url": "http://a/#b"}), "url: \"http://a/#b\" has a fragment");
        check(
            json!({"url": "http://a/", "retries": 101}),
            "retries: 101 is not a whole number from 0 to 100",
        );
        check(
            json!({"url": "http://a/", "deadline_s": 0}),
            "deadline_s: 0 is not a number of seconds from 0.1 to",
        );
        check(
            json!({"url": "http://a/", "secret_file": "s"}),
            "secret_file: \"s\" is not an absolute path",
        );
        check(json!({"url": "http://a/", "checks": true}), "checks: not here");
        check(
            json!({"url": "http://a/", "command": ["sh"]}),
            "command: no field is called so (known: ca_file,",
        );
        assert!(plan(json!({"url": "https://a:8443/b?c=d", "slots": 4})).is_ok());
    }
}
