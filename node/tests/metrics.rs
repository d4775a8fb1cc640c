//! What Prometheus scrapes from real nodes: the page has the form that it must have, everything on it is explained, nothing on
//! it grows with what the colony holds, and the alert rules speak of what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::colony::{Colony, until};

/// A name and its labels, in their order.
type Series = (String, Vec<(String, String)>);

/// The page of a node, taken apart; whatever Prometheus would refuse panics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Each family with its type.
    families: BTreeMap<String, String>,
    /// Each sample by its name and its labels as they stand.
    samples: BTreeMap<Series, f64>,
}

impl Page {
    fn parse(text: &str) -> Page {
        let mut page = Page::default();
        let (mut help, mut family) = (None, String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
                assert!(words.len() > 3, "no help: {line}");
                help = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(help.take().as_deref(), Some(name), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let first = page.families.insert(name.to_owned(), kind.to_owned()).is_none();
                assert!(first, "twice: {line}");
                family = name.to_owned();
            } else {
                let (name, labels, value) = sample(line);
                let suffix = name
                    .strip_prefix(&family)
                    .unwrap_or_else(|| panic!("not of {family}: {line}"));
                let fits = match page.families[&family].as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                    _ => suffix.is_empty(),
                };
                assert!(fits, "{line}");
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(page.samples.insert((name, labels), value).is_none(), "twice: {line}");
            }
        }
        page.check_histograms();
        page
    }

    /// Buckets only grow, and the last one counts all.
    fn check_histograms(&self) {
        let mut last: BTreeMap<Series, (f64, f64)> = BTreeMap::new();
        let mut buckets: Vec<_> = Vec::new();
        for ((name, labels), count) in &self.samples {
            let Some(family) = name.strip_suffix("_bucket") else {
                continue;
            };
            let (le, rest): (Vec<_>, Vec<_>) = labels.iter().cloned().partition(|(name, _)| name == "le");
            let le: f64 = le[0].1.replace("+Inf", "inf").parse().unwrap();
            buckets.push(((family.to_owned(), rest), le, *count));
        }
        buckets.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        for (series, le, count) in buckets {
            let before = last.insert(series.clone(), (le, count));
            assert!(before.is_none_or(|before| before.1 <= count), "{series:?} {le}");
        }
        for ((family, labels), (le, count)) in last {
            assert!(le.is_infinite(), "{family}");
            assert_eq!(self.samples[&(format!("{family}_count"), labels)], count, "{family}");
        }
    }

    pub(crate) fn of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let found = self.samples.get(&(name.to_owned(), labels));
        *found.unwrap_or_else(|| panic!("no {name} on {:#?}", self.families))
    }
}

/// The name, the labels and the value of a line.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !text.is_empty();
    assert!(plain(name), "{line}");
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(plain(label), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(chars.next().unwrap().1),
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            inner = &after[end + 1..];
            match inner.strip_prefix(',') {
                Some(more) => inner = more,
                None => break,
            }
        }
        rest = inner.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
    }
    let value = rest.strip_prefix(' ').and_then(|text| text.parse().ok());
    (name.to_owned(), labels, value.unwrap_or_else(|| panic!("{line}")))
}

/// The head and the body of what a node answers.
pub(crate) fn get(colony: &Colony, node: &str, path: &str) -> (String, String) {
    ask(colony, node, &format!("GET {path}"), "")
}

/// The head and the body of what a node answers to `method path`.
pub(crate) fn ask(colony: &Colony, node: &str, line: &str, body: &str) -> (String, String) {
    let address = colony.client(node, "test").base_url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub(crate) fn scrape(colony: &Colony, node: &str) -> Page {
    let (head, body) = get(colony, node, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.to_lowercase().contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    Page::parse(&body)
}

/// Some work of each kind, under names that come once.
fn work(colony: &Colony, turn: usize) {
    let at = |arguments: &[&str]| colony.at("n1", arguments).with_code(0);
    at(&["memory", "put", &format!("key-{turn}"), "value"]);
    at(&["memory", "get", &format!("key-{turn}")]);
    at(&[
        "task",
        "add",
        &format!("task-{turn}"),
        "--project",
        &format!("project-{turn}"),
    ]);
    at(&["task", "claim", "--project", &format!("project-{turn}"), "--json"]);
    at(&["agent", "spawn", &format!("agent-{turn}"), "--kind", "load-echo"]);
    at(&["reserve", "add", &format!("src/{turn}/*.rs"), "--json"]);
    let _ = colony.at("n1", &["task", "show", &format!("t{turn}000")]);
}

#[test]
fn the_page_for_prometheus_is_well_formed_and_does_not_grow_with_the_colony_and_alerts_speak_of_it() {
    let colony = Colony::start("metrics");
    work(&colony, 1);
    let series = |page: &Page| -> BTreeSet<_> {
        let bounded = page.samples.keys().filter(|(name, _)| {
            // Quantiles are there once something was measured in the last minute, and requests once there was one.
            !name.contains("_recent_") && !name.contains("queenright_http_")
        });
        bounded.cloned().collect()
    };
    let first = scrape(&colony, "n1");
    for turn in 2..12 {
        work(&colony, turn);
    }
    let second = scrape(&colony, "n1");
    assert_eq!(series(&first), series(&second));
    // Also those that come with use are of a fixed set: nothing that a caller made up stands in a label.
    for (name, labels) in second.samples.keys() {
        for (label, value) in labels {
            let made_up = ["key-", "task-", "project-", "agent-", "src/"];
            assert!(
                !made_up.iter().any(|word| value.contains(word)),
                "{name} {label} {value}"
            );
        }
    }
    let grew = |name: &str, labels: &[(&str, &str)]| second.of(name, labels) - first.of(name, labels);
    assert!(grew("queenright_commands_applied_total", &[]) >= 40.0);
    assert!(grew("queenright_command_seconds_count", &[]) >= 40.0);
    assert!(grew("queenright_claim_seconds_count", &[]) >= 10.0);
    assert!(grew("queenright_round_seconds_count", &[]) >= 10.0);
    assert!(grew("queenright_log_sync_seconds_count", &[]) >= 10.0);
    assert_eq!(grew("queenright_tasks", &[("state", "leased")]), 10.0);
    assert_eq!(grew("queenright_agents", &[("state", "active")]), 10.0);
    assert_eq!(grew("queenright_projects", &[]), 10.0);
    let added = [("route", "/v1/tasks"), ("method", "POST"), ("status", "2xx")];
    assert_eq!(grew("queenright_http_requests_total", &added), 10.0);
    assert_eq!(second.of("queenright_link_up", &[("peer", "n2")]), 1.0);
    assert!(second.of("queenright_command_recent_seconds", &[("quantile", "0.99")]) > 0.0);
    until("somebody has asked for the round trip", || {
        let page = scrape(&colony, "n1");
        let count = page.of("queenright_link_round_trip_seconds_count", &[("peer", "n2")]);
        (count > 0.0).then_some(())
    });

    // One of the three leads, and has measured commits.
    let pages = ["n1", "n2", "n3"].map(|node| scrape(&colony, node));
    let leads = |page: &&Page| page.of("queenright_role", &[("role", "leader")]) == 1.0;
    let leaders: Vec<&Page> = pages.iter().filter(leads).collect();
    assert_eq!(leaders.len(), 1);
    assert!(leaders[0].of("queenright_commit_seconds_count", &[]) >= 10.0);

    let rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.yml")).unwrap();
    let expressions: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    let alerts = rules
        .lines()
        .filter(|line| line.trim().starts_with("- alert: "))
        .count();
    assert_eq!(expressions.len(), alerts);
    assert!(alerts > 15);
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let names = expressions.iter().flat_map(|expression| expression.split(word));
    let names: BTreeSet<&str> = names
        .filter(|word| word.starts_with("queenright_") || word.starts_with("process_"))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let known: BTreeSet<&str> = second.samples.keys().map(|(name, _)| name.as_str()).collect();
    let unknown: Vec<_> = names.iter().filter(|name| !known.contains(*name)).collect();
    // What comes only with events is a family all the same.
    let unknown: Vec<_> = unknown
        .into_iter()
        .filter(|name| !second.families.contains_key(**name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
