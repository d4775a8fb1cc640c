//! `[[webhooks]]`: who is told of what happens.

use std::path::PathBuf;
use std::time::Duration;

use queenright_protocol::colony::{Subject, What};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::limits::Bound;
use super::locate::closest;
use super::validate::Check;
use crate::hosted::post::checked_url;

/// How many there may be.
const WEBHOOKS_MAX: usize = 64;
/// Long enough for a receiver that stores what it gets; one that works on it should answer first.
const TIMEOUT_S: Bound = Bound {
    default: 15,
    min: 1,
    max: 120,
};

/// `[[webhooks]]`: a receiver of events. One of the nodes whose file has it sends; see `webhooks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `name`: of the same form as the cluster's name, unique in the file. The cursor stands under `webhooks/NAME`.
    pub name: String,
    /// `url`: where, `http` or `https`, without a user, a password or a fragment; whatever its address is.
    pub url: Url,
    /// `secret_file`: the file with the secret that signs, relative to the cluster file: `whsec_` and the Base64 of 24 to 64
    /// bytes. Absolute here; read when the node begins to send.
    pub secret_file: PathBuf,
    /// `ca_file`: the file with the authorities that are trusted, relative to the cluster file; those of the system without
    /// it. Absolute here.
    pub ca_file: Option<PathBuf>,
    /// `project`: of which project; `default` unless it says otherwise.
    pub project: String,
    /// `types`: events of these types, such as `task_finished`; all if empty.
    pub types: Vec<String>,
    /// `subject`: events about this, such as `key:plan/*`.
    pub subject: Option<String>,
    /// `timeout_s`: how long an answer may take, 1 to 120 s; 15 by default.
    pub timeout: Duration,
}

/// A webhook as written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct WebhookSection {
    name: String,
    url: String,
    secret_file: String,
    ca_file: Option<String>,
    project: Option<String>,
    types: Option<Vec<String>>,
    subject: Option<String>,
    timeout_s: Option<i64>,
}

impl WebhookSection {
    /// The section that says all of a webhook.
    pub(super) fn of(webhook: &WebhookConfig) -> WebhookSection {
        WebhookSection {
            name: webhook.name.clone(),
            url: webhook.url.to_string(),
            secret_file: webhook.secret_file.display().to_string(),
            ca_file: webhook.ca_file.as_ref().map(|file| file.display().to_string()),
            project: Some(webhook.project.clone()),
            types: Some(webhook.types.clone()).filter(|types| !types.is_empty()),
            subject: webhook.subject.clone(),
            timeout_s: Some(i64::try_from(webhook.timeout.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

impl Check<'_> {
    pub(super) fn webhooks(&self, raw: Vec<WebhookSection>) -> Result<Vec<WebhookConfig>, ConfigError> {
        if raw.len() > WEBHOOKS_MAX {
            let problem = format!("webhooks are over the limit of {WEBHOOKS_MAX}");
            return Err(self.refuse("webhooks", raw.len(), problem));
        }
        let mut webhooks: Vec<WebhookConfig> = Vec::with_capacity(raw.len());
        for (place, section) in raw.into_iter().enumerate() {
            let key = |field: &str| format!("webhooks[{place}].{field}");
            self.name(&key("name"), &section.name)?;
            if let Some(first) = webhooks.iter().position(|webhook| webhook.name == section.name) {
                let problem = format!("is also webhooks[{first}].name (names are unique)");
                return Err(self.refuse(&key("name"), format!("{:?}", section.name), problem));
            }
            webhooks.push(self.webhook(&key, section)?);
        }
        Ok(webhooks)
    }

    fn webhook(&self, key: &dyn Fn(&str) -> String, section: WebhookSection) -> Result<WebhookConfig, ConfigError> {
        let url = checked_url(&section.url).map_err(|problem| ConfigError::Shape {
            file: self.file().to_path_buf(),
            key: key("url"),
            problem,
        })?;
        let types = section.types.unwrap_or_default();
        for name in &types {
            if !What::TYPES.contains(&name.as_str()) {
                let meant = closest(name, &What::TYPES).map(|name| format!("; did you mean {name:?}?"));
                let problem = format!("is no type of an event{}", meant.unwrap_or_default());
                return Err(self.refuse(&key("types"), format!("{name:?}"), problem));
            }
        }
        if let Some(subject) = &section.subject {
            let kind = subject.split_once(':').map(|(kind, _)| kind);
            if !kind.is_some_and(|kind| Subject::KINDS.contains(&kind)) {
                let known = Subject::KINDS.map(|kind| format!("{kind}:…")).join(", ");
                return Err(self.refuse(&key("subject"), format!("{subject:?}"), format!("is none of {known}")));
            }
        }
        let project = section.project.unwrap_or_else(|| "default".to_owned());
        if project.is_empty() || project.chars().any(char::is_control) {
            return Err(self.refuse(&key("project"), format!("{project:?}"), "is no name of a project"));
        }
        let timeout_s = self.number(&key("timeout_s"), section.timeout_s, TIMEOUT_S)?;
        Ok(WebhookConfig {
            name: section.name,
            url,
            secret_file: self.beside(&key("secret_file"), &section.secret_file)?,
            ca_file: match &section.ca_file {
                Some(file) => Some(self.beside(&key("ca_file"), file)?),
                None => None,
            },
            project,
            types,
            subject: section.subject,
            timeout: Duration::from_secs(timeout_s),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{ClusterConfig, ConfigError};

    const FILE: &str = "[cluster]\nname = \"c\"\ntopology = \"mesh\"\n[[nodes]]\nname = \"n1\"\n\
                        links = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n";

    fn parse(addition: &str) -> Result<ClusterConfig, ConfigError> {
        ClusterConfig::parse(Path::new("/etc/c.toml"), &format!("{FILE}{addition}"))
    }

    fn refused(addition: &str, line: &str) {
        let problem = parse(addition).unwrap_err().to_string();
        assert_eq!(problem, format!("/etc/c.toml: {line}"));
    }

    fn webhook(name: &str, rest: &str) -> String {
        format!("[[webhooks]]\nname = {name:?}\nurl = \"https://a/b\"\nsecret_file = \"s\"\n{rest}\n")
    }

    #[test]
    fn files_of_a_webhook_lie_beside_the_cluster_file() {
        let config = parse(&webhook("ops", "types = [\"changed\"]\nsubject = \"key:plan/*\"")).unwrap();
        let only = &config.webhooks[0];
        assert_eq!(
            (only.secret_file.as_path(), only.timeout.as_secs()),
            (Path::new("/etc/s"), 15)
        );
        assert_eq!(
            (only.project.as_str(), only.types.as_slice()),
            ("default", &["changed".to_owned()][..])
        );
        assert_eq!(ClusterConfig::parse(&config.file, &config.to_toml()).unwrap(), config);
        assert_eq!(parse("").unwrap().webhooks, []);
    }

    #[test]
    fn a_webhook_that_cannot_be_is_refused_by_key_value_and_bound() {
        let twice = [webhook("ops", ""), webhook("ops", "")].concat();
        refused(
            &twice,
            "webhooks[1].name: \"ops\" is also webhooks[0].name (names are unique)",
        );
        refused(
            &webhook("a/b", ""),
            "webhooks[0].name: \"a/b\" has '/' (only a to z, 0 to 9 and - are allowed)",
        );
        refused(
            &webhook("ops", "types = [\"task_aded\"]"),
            "webhooks[0].types: \"task_aded\" is no type of an event; did you mean \"task_added\"?",
        );
        refused(
            &webhook("ops", "timeout_s = 121"),
            "webhooks[0].timeout_s: 121 is out of range (1 to 120)",
        );
        let subject = parse(&webhook("ops", "subject = \"plan\"")).unwrap_err().to_string();
        assert!(
            subject.starts_with("/etc/c.toml: webhooks[0].subject: \"plan\" is none of key:…"),
            "{subject}"
        );
        let url = webhook("ops", "").replace("https://a/b", "https://u:hidden@a/");
        let problem = parse(&url).unwrap_err().to_string();
        assert!(
            problem.contains("webhooks[0].url: has a user") && !problem.contains("hidden"),
            "{problem}"
        );
        let many: String = (0..65).map(|n| webhook(&format!("w{n}"), "")).collect();
        refused(&many, "webhooks: 65 webhooks are over the limit of 64");
    }
}
