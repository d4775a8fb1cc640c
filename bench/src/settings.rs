//! Keys of the cluster file that a run sets besides what its workload needs, such as `rounds.max=1`.
//!
//! What a key may hold is the program's business: it refuses the file when the cluster starts, or before that when it is
//! asked to check [`Shape::example`](crate::rig::Shape::example).

use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

/// Keys, or the first part of keys, that a run decides itself, and why.
const TAKEN: [(&str, &str); 7] = [
    ("cluster.name", "each run has a name of its own"),
    ("cluster.topology", "the workload decides how its nodes are linked"),
    ("cluster.fan_out", "the workload decides how its nodes are linked"),
    ("nodes", "the workload decides how many nodes it has"),
    ("pools", "their agents would work beside those that are measured"),
    ("tls", "the run has no certificates"),
    ("doors", "the run has no tokens"),
];

/// A key of the cluster file, and what it is set to. Written `SECTION.KEY=VALUE`; the value is TOML, or else text:
/// `links.compression=lz4` means `"lz4"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    section: String,
    key: String,
    /// The value as TOML.
    value: String,
}

/// Why a text is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It is not of the form.
    #[error("{text:?} is no setting (SECTION.KEY=VALUE, such as rounds.max=1)")]
    Form {
        /// The text.
        text: String,
    },
    /// The run decides this one.
    #[error("{key} cannot be set: {reason}")]
    Taken {
        /// The key.
        key: String,
        /// Why.
        reason: &'static str,
    },
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Setting, SettingError> {
        let malformed = || SettingError::Form { text: text.to_owned() };
        let (path, value) = text.split_once('=').ok_or_else(malformed)?;
        let (path, value) = (path.trim(), value.trim());
        let (section, key) = path.split_once('.').ok_or_else(malformed)?;
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if !is_word(section) || !is_word(key) || value.is_empty() {
            return Err(malformed());
        }
        let taken = TAKEN.iter().find(|(taken, _)| *taken == path || *taken == section);
        if let Some((_, reason)) = taken {
            return Err(SettingError::Taken {
                key: path.to_owned(),
                reason,
            });
        }
        let is_toml = format!("v = {value}")
            .parse::<Table>()
            .is_ok_and(|table| table.len() == 1);
        Ok(Setting {
            section: section.to_owned(),
            key: key.to_owned(),
            value: if is_toml {
                value.to_owned()
            } else {
                Value::String(value.to_owned()).to_string()
            },
        })
    }
}

impl Setting {
    /// What a workload itself sets to a number.
    pub(crate) fn of(section: &str, key: &str, value: u64) -> Setting {
        Setting {
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_string(),
        }
    }
}

/// As it is written: `rounds.max=1`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}={}", self.section, self.key, self.value)
    }
}

/// The text of a cluster file with these settings in it; a later one replaces an earlier one.
///
/// # Panics
/// If the text is no TOML.
pub(crate) fn with_settings(text: &str, settings: &[Setting]) -> String {
    if settings.is_empty() {
        return text.to_owned();
    }
    let mut file: Table = text.parse().expect("a rig writes TOML");
    for Setting { section, key, value } in settings {
        let table: Table = format!("v = {value}").parse().expect("it was read before");
        let value = table.into_iter().next().expect("it has one key").1;
        let section = file.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let section = section.as_table_mut().expect("what is no section is taken");
        section.insert(key.clone(), value);
    }
    file.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Setting, SettingError, with_settings};

    const FILE: &str = "[cluster]\nname = \"b0\"\n\n[[nodes]]\nname = \"n1\"\n\n[[nodes]]\nname = \"n2\"\n";

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn settings_join_what_the_file_says() {
        let written = with_settings(
            FILE,
            &settings(&[
                "rounds.max=1",
                "limits.round_bytes = 4 KiB",
                "links.compression=\"lz4\"",
                "consensus.election_ms=[300, 600]",
                "cluster.projects=listed",
                "rounds.max=512",
            ]),
        );
        let read: toml::Table = written.parse().unwrap();
        assert_eq!(read["rounds"]["max"].as_integer(), Some(512));
        assert_eq!(read["limits"]["round_bytes"].as_str(), Some("4 KiB"));
        assert_eq!(read["links"]["compression"].as_str(), Some("lz4"));
        assert_eq!(read["consensus"]["election_ms"][1].as_integer(), Some(600));
        assert_eq!(read["cluster"]["name"].as_str(), Some("b0"));
        assert_eq!(read["cluster"]["projects"].as_str(), Some("listed"));
        assert_eq!(read["nodes"].as_array().unwrap().len(), 2);
        assert_eq!(with_settings(FILE, &[]), FILE);
    }

    #[test]
    fn a_setting_shows_as_it_is_written() {
        for text in ["rounds.max=1", "links.compression=\"lz4\"", "agents.commands=false"] {
            assert_eq!(text.parse::<Setting>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_setting_and_what_the_run_decides_is_refused_by_name() {
        for text in [
            "",
            "rounds",
            "rounds.max",
            "max=1",
            "rounds.=1",
            "rounds.max=",
            "a b.c=1",
            "a.b.c=1",
        ] {
            let refused = text.parse::<Setting>().unwrap_err();
            assert!(matches!(refused, SettingError::Form { .. }), "{text}");
            assert!(refused.to_string().contains(&format!("{text:?}")));
        }
        // A value cannot bring other keys with it.
        let one = "rounds.max=1\nother = 2".parse::<Setting>().unwrap();
        let written: toml::Table = with_settings(FILE, &[one]).parse().unwrap();
        assert_eq!(written["rounds"]["max"].as_str(), Some("1\nother = 2"));
        for text in [
            "cluster.name=x",
            "cluster.topology=star",
            "tls.dir=t",
            "doors.auth=token",
            "nodes.name=1",
        ] {
            let refused = text.parse::<Setting>().unwrap_err().to_string();
            assert!(refused.contains(text.split('=').next().unwrap()), "{refused}");
        }
    }
}
