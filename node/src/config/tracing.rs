//! Which requests are followed, and who is told of them.

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::validate::Check;

/// `[tracing]`: requests of the door that are followed through all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `ratio`: which part of the requests is followed whose callers say nothing about it, from 0 to 1. A caller says it with
    /// the header `traceparent`. Requests that end with an error of the node are always kept.
    pub ratio: f64,
    /// `otlp`: the collector that is told, by OTLP over HTTP, such as `http://127.0.0.1:4318`; nobody unless it is said. A
    /// path of its own stands in the place of `/v1/traces`.
    pub otlp: Option<Url>,
}

impl Tracing {
    /// One of a hundred: enough to see where time goes, and nothing to notice.
    pub const RATIO: f64 = 0.01;
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing {
            ratio: Tracing::RATIO,
            otlp: None,
        }
    }
}

/// As written.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct TracingSection {
    ratio: Option<f64>,
    otlp: Option<String>,
}

impl TracingSection {
    /// The section that says all of it.
    pub(super) fn of(tracing: &Tracing) -> TracingSection {
        TracingSection {
            ratio: Some(tracing.ratio),
            otlp: tracing.otlp.as_ref().map(ToString::to_string),
        }
    }
}

impl Check<'_> {
    pub(super) fn tracing(&self, raw: &TracingSection) -> Result<Tracing, ConfigError> {
        let ratio = raw.ratio.unwrap_or(Tracing::RATIO);
        if !(0.0..=1.0).contains(&ratio) {
            return Err(self.refuse("tracing.ratio", ratio, "is out of range (0 to 1)"));
        }
        let otlp = raw.otlp.as_deref().map(|text| self.collector(text)).transpose()?;
        Ok(Tracing { ratio, otlp })
    }

    fn collector(&self, text: &str) -> Result<Url, ConfigError> {
        let refuse = |problem: String| Err(self.refuse("tracing.otlp", format!("{text:?}"), problem));
        let mut url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(format!("is no URL: {error}")),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("is neither http nor https (OTLP goes by HTTP here)".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.refuse(
                "tracing.otlp",
                "(not shown)",
                "has a user or a password, which would stand in the file",
            ));
        }
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        Ok(url)
    }
}
