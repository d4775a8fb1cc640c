//! Rates over a door.

use std::sync::Arc;

use queenright_protocol::colony::{Mode, Rate, RateSettings, Tokens, Want};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WireWant;

/// With what a resource begins that is tokens of a rate.
const RATE: &str = "rate:";

/// The body of `PUT /v1/rates/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRate {
    /// So many tokens, from 1 to 1,000,000 …
    pub tokens: u32,
    /// … in so many milliseconds of cluster time, from 1 to a day.
    pub interval_ms: u64,
    /// How many there may be at once; as many as come in the interval unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl From<SetRate> for RateSettings {
    fn from(set: SetRate) -> RateSettings {
        RateSettings {
            tokens: set.tokens,
            interval_ms: set.interval_ms,
            burst: set.burst.unwrap_or(set.tokens),
        }
    }
}

/// A rate as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireRate {
    /// Its name.
    pub rate: Arc<str>,
    /// So many tokens …
    pub tokens: u32,
    /// … in so many milliseconds of cluster time.
    pub interval_ms: u64,
    /// How many there may be at once.
    pub burst: u32,
    /// How many there are.
    pub left: u64,
    /// How long until there is one more, in milliseconds of cluster time, if nobody takes any; absent when there are as many
    /// as there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
}

impl WireRate {
    /// A rate as of this cluster time.
    pub fn of(name: &Arc<str>, rate: &Rate, cluster_ms: u64) -> WireRate {
        let RateSettings {
            tokens,
            interval_ms,
            burst,
        } = rate.settings();
        let left = rate.tokens_at(cluster_ms);
        let next = u32::try_from(left + 1).ok().filter(|next| *next <= burst);
        let next_ms = next.and_then(|next| rate.has_at_ms(next, cluster_ms));
        WireRate {
            rate: name.clone(),
            tokens,
            interval_ms,
            burst,
            left,
            next_ms: next_ms.map(|at_ms| at_ms - cluster_ms),
        }
    }
}

/// The answer to `GET /v1/rates`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateList {
    /// The rates of the project, by name.
    pub rates: Vec<WireRate>,
}

/// What of the resources of a task is reserved, and what is taken from rates: `rate:NAME` or `rate:NAME=COUNT`. What has
/// another form is left among the first, to be refused by its text.
pub(super) fn split(resources: Vec<WireWant>) -> (Vec<Want>, Vec<Tokens>) {
    let (mut wants, mut rates) = (Vec::new(), Vec::new());
    for want in resources {
        match tokens(&want) {
            Some(tokens) => rates.push(tokens),
            None => wants.push(Want::from(want)),
        }
    }
    rates.sort();
    (wants, rates)
}

fn tokens(want: &WireWant) -> Option<Tokens> {
    let text = want.resource.strip_prefix(RATE)?;
    let (rate, count) = match text.rsplit_once('=') {
        None => (text, 1),
        Some((rate, count)) => (rate, count.parse().ok()?),
    };
    (want.mode == Mode::Exclusive).then(|| Tokens {
        rate: rate.into(),
        count,
    })
}

/// The other way round.
pub(super) fn resource_of(Tokens { rate, count }: &Tokens) -> WireWant {
    let text = match count {
        1 => format!("{RATE}{rate}"),
        count => format!("{RATE}{rate}={count}"),
    };
    WireWant {
        resource: text.into(),
        mode: Mode::Exclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_what_is_reserved_and_shown_as_they_were_named() {
        let want = |text: &str| WireWant {
            resource: text.into(),
            mode: Mode::Exclusive,
        };
        let texts = ["slot:gpu", "rate:b=3", "rate:a", "rate:a=x", "file:rate:c"];
        let (wants, rates) = split(Vec::from(texts.map(want)));
        let kept: Vec<&str> = wants.iter().map(|want| &*want.resource).collect();
        assert_eq!(kept, ["slot:gpu", "rate:a=x", "file:rate:c"]);
        let shown: Vec<WireWant> = rates.iter().map(resource_of).collect();
        assert_eq!(shown, [want("rate:a"), want("rate:b=3")]);
    }
}
