//! Webhooks of the cluster file: whether this host can sign and send, and what the cluster has written down of how it goes.

use queenright_actors::node::Consistency;
use queenright_bench::client::{Client, Lookup};
use reqwest::Url;

use super::{Doors, Finding, line_of};
use crate::config::WebhookConfig;
use crate::webhooks::{KEYS, Secret, State};
use crate::worker::http_client;

const CHECK: &str = "webhooks";

/// Whether a node of this host could send it. Blocks: files are read.
pub(super) fn of_host(webhook: &WebhookConfig) -> Finding {
    let of = &webhook.name;
    if let Err(error) = Secret::read(&webhook.secret_file) {
        let next = "put the secret that the receiver knows there, or leave it to other nodes to send";
        return Finding::problem(CHECK, of, line_of(&error), next);
    }
    if let Err(error) = http_client(&webhook.url, webhook.ca_file.as_deref()) {
        return Finding::problem(CHECK, of, line_of(&error), "name a ca_file that can be read");
    }
    if webhook.url.scheme() == "http" && !is_here(&webhook.url) {
        let text = "its url is http: whoever is on the way reads what is posted";
        return Finding::warning(CHECK, of, text, "use https, if the receiver has it");
    }
    Finding::ok(CHECK, of, "this host can sign and send it")
}

/// Whether what is posted there stays on the host.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

impl Doors {
    /// What the cluster says of its webhooks: nothing, if no door answers.
    pub async fn look_at_webhooks(&self, webhooks: &[WebhookConfig]) -> Vec<Finding> {
        let mut found = Vec::new();
        for webhook in webhooks {
            for (_, client) in &self.0 {
                if let Some(finding) = of_cluster(webhook, client).await {
                    found.push(finding);
                    break;
                }
            }
        }
        found
    }
}

async fn of_cluster(webhook: &WebhookConfig, client: &Client) -> Option<Finding> {
    let client = client.in_project(&webhook.project);
    let key = format!("{KEYS}{}", webhook.name);
    let found = client.get(&key, Consistency::Local).await.ok()?;
    let state = match found {
        Lookup::Absent { .. } => Ok(None),
        Lookup::Found(found) => serde_json::from_slice(&found.value).map(Some),
    };
    Some(match state {
        Ok(state) => told(&webhook.name, state.as_ref()),
        Err(error) => {
            let text = format!("what stands under {key} is none of a webhook: {error}");
            let next = format!("queenright memory delete {key}: what happened until then is not sent");
            Finding::problem(CHECK, &webhook.name, text, next)
        }
    })
}

fn told(name: &str, state: Option<&State>) -> Finding {
    let Some(state) = state else {
        let text = "no node has begun to send it";
        let next = "look at the logs: its secret cannot be read, or it is not in the file that the nodes run with";
        return Finding::warning(CHECK, name, text, next);
    };
    let (node, sent) = (&state.node, state.sent);
    match &state.failing {
        None => Finding::ok(
            CHECK,
            name,
            format!("{node} sends it; {sent} messages were acknowledged"),
        ),
        Some(failing) => {
            let (message, tries, error) = (&failing.message, failing.tries, &failing.error);
            let text = format!("message {message} is not acknowledged after {tries} tries by {node}: {error}");
            let next = "look at the receiver; until it answers with 2xx, what happens waits";
            Finding::problem(CHECK, name, text, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::webhooks::Failing;

    #[test]
    fn what_fails_is_told_with_its_error() {
        let state = State {
            sent: 3,
            node: "n2".to_owned(),
            ..State::default()
        };
        let well = told("ops", Some(&state));
        assert_eq!(
            (well.level, well.text.as_str()),
            (Level::Ok, "n2 sends it; 3 messages were acknowledged")
        );
        let failing = Some(Failing {
            message: "evt-7-0".to_owned(),
            tries: 3,
            error: "status 500".to_owned(),
        });
        let fails = told("ops", Some(&State { failing, ..state }));
        assert_eq!(fails.level, Level::Problem);
        assert_eq!(
            fails.text,
            "message evt-7-0 is not acknowledged after 3 tries by n2: status 500"
        );
        assert_eq!(told("ops", None).level, Level::Warning);
    }

    #[test]
    fn http_is_fine_on_the_same_host() {
        let check = |url: &str, expected: bool| assert_eq!(is_here(&url.parse().unwrap()), expected, "{url}");
        check("http://127.0.0.1:1/", true);
        check("http://[::1]:1/", true);
        check("http://localhost/", true);
        check("http://hooks.example/", false);
        check("http://10.0.0.1/", false);
    }
}
