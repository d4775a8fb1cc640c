//! Every setting of a cluster, and whether its file says it.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::ClusterConfig;

/// What is so unless the file says otherwise, and has no value that could stand there.
const UNSAID: [(&str, &str); 5] = [
    ("consensus.voters", "5 from five nodes on, 3 of three or four, else all"),
    (
        "limits.ballast_bytes",
        "a hundred and twenty-eighth of the volume, from 4 to 32 MiB",
    ),
    (
        "limits.disk_watermark_bytes",
        "a sixteenth of the volume, from 32 to 256 MiB",
    ),
    ("tls.dir", "none: no TLS"),
    ("tracing.otlp", "none: no collector is told"),
];

/// A setting of a cluster file.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its key, such as `limits.value_bytes` or `nodes[0].http`.
    pub key: String,
    /// Its value as the file would have it, or what holds where nothing is said.
    pub value: String,
    /// Whether the file says it.
    pub said: bool,
}

impl ClusterConfig {
    /// All settings, in the order of their keys. `text` is what the file says.
    pub fn settings(&self, text: &str) -> Vec<Setting> {
        // It was read as this configuration.
        let written: Table = text.parse().unwrap_or_default();
        let whole: Table = self.to_toml().parse().unwrap_or_default();
        let (mut said, mut all) = (Vec::new(), Vec::new());
        leaves("", &Value::Table(written), &mut said);
        leaves("", &Value::Table(whole), &mut all);
        let said: BTreeSet<String> = said.into_iter().map(|(key, _)| key).collect();
        let unsaid = UNSAID
            .iter()
            .filter(|(key, _)| !all.iter().any(|(there, _)| there == key));
        let unsaid: Vec<(String, String)> = unsaid
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let settings = all.into_iter().chain(unsaid).map(|(key, value)| Setting {
            said: said.contains(&key),
            key,
            value,
        });
        let mut settings: Vec<Setting> = settings.collect();
        settings.sort_by_cached_key(|setting| natural(&setting.key));
        settings
    }
}

/// The values that hold no others, by the path of their keys.
fn leaves(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(&path, value, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (place, value) in items.iter().enumerate() {
                leaves(&format!("{path}[{place}]"), value, found);
            }
        }
        value => found.push((path.to_owned(), value.to_string())),
    }
}

/// A key as parts that sort: `nodes[10]` after `nodes[9]`.
fn natural(key: &str) -> Vec<(String, usize)> {
    let part = |part: &str| match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((name, place)) => (name.to_owned(), place.parse().unwrap_or_default()),
        None => (part.to_owned(), 0),
    };
    key.split('.').map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_setting_says_whether_the_file_does() {
        let mut text = "[cluster]\nname = \"c\"\ntopology = \"mesh\"\n[limits]\nvalue_bytes = \"1 MiB\"\n".to_owned();
        for node in 0..11 {
            text += &format!(
                "[[nodes]]\nname = \"n{node}\"\nlinks = \"127.0.0.1:71{node:02}\"\nhttp = \"127.0.0.1:72{node:02}\"\n"
            );
        }
        let config = ClusterConfig::parse(Path::new("c.toml"), &text).unwrap();
        let settings = config.settings(&text);
        let check = |key: &str, value: &str, said: bool| {
            let setting = settings.iter().find(|setting| setting.key == key);
            let setting = setting.unwrap_or_else(|| panic!("{key}: {settings:?}"));
            assert_eq!((setting.value.as_str(), setting.said), (value, said), "{key}");
        };
        check("cluster.name", "\"c\"", true);
        check("cluster.projects", "\"on-use\"", false);
        check("limits.value_bytes", "1048576", true);
        check("limits.command_bytes", "16777216", false);
        check("consensus.election_ms", "[1000, 2000]", false);
        check("tls.dir", "none: no TLS", false);
        check("nodes[10].name", "\"n10\"", true);
        let names: Vec<&str> = settings
            .iter()
            .map(|setting| setting.key.as_str())
            .filter(|key| key.ends_with("].name"))
            .collect();
        assert_eq!((names[0], names[10]), ("nodes[0].name", "nodes[10].name"));
    }
}
