//! What this node counts of the webhooks that it sends, by their names: there are no more of them than the cluster file has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::text::{Kind, Page};

/// What became of one try to post a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It was answered with 2xx.
    Acknowledged,
    /// It was answered with something else.
    Refused,
    /// It was not answered in time, or nobody was there.
    Unanswered,
}

/// The webhooks of a node.
#[derive(Debug, Default)]
pub struct Webhooks {
    // A mutex: each is sent by a task of its own, and whoever looks reads. Held for one step of plain code.
    all: Mutex<BTreeMap<String, Counts>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    acknowledged: u64,
    refused: u64,
    unanswered: u64,
    /// Tries of the message that is to be acknowledged next.
    tries: u64,
    sends: bool,
}

/// The time in which this node is the one that sends: it ends when this is dropped.
#[derive(Debug)]
pub struct Sends {
    all: Arc<Webhooks>,
    name: String,
}

impl Drop for Sends {
    fn drop(&mut self) {
        self.all.change(&self.name, |counts| {
            (counts.sends, counts.tries) = (false, 0);
        });
    }
}

impl Webhooks {
    /// There is a webhook of this name.
    pub fn add(&self, name: &str) {
        self.change(name, |_| {});
    }

    /// This node begins to send it.
    pub fn sends(self: &Arc<Self>, name: &str) -> Sends {
        self.change(name, |counts| counts.sends = true);
        Sends {
            all: self.clone(),
            name: name.to_owned(),
        }
    }

    /// A message was posted once.
    pub fn note(&self, name: &str, posted: Posted) {
        self.change(name, |counts| {
            counts.tries += 1;
            match posted {
                Posted::Acknowledged => (counts.acknowledged, counts.tries) = (counts.acknowledged + 1, 0),
                Posted::Refused => counts.refused += 1,
                Posted::Unanswered => counts.unanswered += 1,
            }
        });
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page) {
        let all = self.all.lock().expect("nothing panics under this lock").clone();
        page.family(
            "queenright_webhook_posts_total",
            Kind::Counter,
            "Tries to post a message of a webhook, by what became of them.",
        );
        for (name, counts) in &all {
            let results = [
                ("acknowledged", counts.acknowledged),
                ("refused", counts.refused),
                ("unanswered", counts.unanswered),
            ];
            for (result, count) in results {
                page.sample(&[("webhook", name), ("result", result)], count);
            }
        }
        let help = "Whether this node is the one that sends the webhook: 1 or 0.";
        page.family("queenright_webhook_sends", Kind::Gauge, help);
        for (name, counts) in &all {
            page.sample(&[("webhook", name)], u64::from(counts.sends));
        }
        let help = "How often this node has posted a message that is not acknowledged yet; those behind it wait.";
        page.family("queenright_webhook_tries", Kind::Gauge, help);
        for (name, counts) in &all {
            page.sample(&[("webhook", name)], counts.tries);
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Counts)) {
        let mut all = self.all.lock().expect("nothing panics under this lock");
        change(all.entry(name.to_owned()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_those_of_the_message_at_the_front_while_this_node_sends() {
        let webhooks = Arc::<Webhooks>::default();
        let lines = |expected: &[&str]| {
            let mut page = Page::default();
            webhooks.write(&mut page);
            let text = page.into_text();
            let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            for line in expected {
                assert!(samples.contains(line), "{line} is not in {samples:?}");
            }
            assert_eq!(samples.len(), 5, "{samples:?}");
        };
        webhooks.add("ops");
        let sends = webhooks.sends("ops");
        webhooks.note("ops", Posted::Acknowledged);
        webhooks.note("ops", Posted::Refused);
        webhooks.note("ops", Posted::Unanswered);
        lines(&[
            r#"queenright_webhook_posts_total{webhook="ops",result="acknowledged"} 1"#,
            r#"queenright_webhook_posts_total{webhook="ops",result="refused"} 1"#,
            r#"queenright_webhook_posts_total{webhook="ops",result="unanswered"} 1"#,
            r#"queenright_webhook_sends{webhook="ops"} 1"#,
            r#"queenright_webhook_tries{webhook="ops"} 2"#,
        ]);
        drop(sends);
        lines(&[
            r#"queenright_webhook_sends{webhook="ops"} 0"#,
            r#"queenright_webhook_tries{webhook="ops"} 0"#,
        ]);
    }
}
