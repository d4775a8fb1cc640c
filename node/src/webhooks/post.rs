//! One try to send a message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};

use super::Turned;
use super::message::{Message, Secret};
use crate::config::WebhookConfig;
use crate::metrics::webhooks::Posted;
use crate::worker::{http_client, retry_after, with_causes};

/// The longest pause that a receiver can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Where messages go.
pub(super) struct Poster {
    client: Client,
    url: Url,
    secret: Secret,
    timeout: Duration,
}

/// A message was not acknowledged.
pub(super) struct Failed {
    pub(super) error: String,
    /// What it counts as.
    pub(super) posted: Posted,
    /// For how long the receiver wants to be left alone.
    pub(super) pause: Duration,
}

impl Poster {
    /// Blocks: files are read.
    pub(super) fn open(webhook: &WebhookConfig) -> Result<Poster, Turned> {
        Ok(Poster {
            secret: Secret::read(&webhook.secret_file)?,
            client: http_client(&webhook.url, webhook.ca_file.as_deref())?,
            url: webhook.url.clone(),
            timeout: webhook.timeout,
        })
    }

    /// Sends a message once.
    pub(super) async fn post(&self, message: &Message) -> Result<(), Failed> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let request = self.client.post(self.url.clone()).timeout(self.timeout);
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", self.secret.sign(message, now))
            .body(message.body.clone());
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(Failed {
                error: format!("status {}", response.status().as_u16()),
                posted: Posted::Refused,
                pause: retry_after(response.headers()).min(PAUSE_MAX),
            }),
            // What it names besides, such as the query of the URL, may be secret.
            Err(error) => Err(Failed {
                error: with_causes(&error.without_url()),
                posted: Posted::Unanswered,
                pause: Duration::ZERO,
            }),
        }
    }
}
