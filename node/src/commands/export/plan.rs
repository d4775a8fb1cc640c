//! What an export holds, read and checked whole before anything is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use queenright_bench::client::wire::{
    AddTask, Code, EXPORT_FORMAT, EXPORT_FORMAT_OLDEST, ExportEnd, ExportHead, ExportLine, ExportedRecord,
    ExportedSetting, ExportedTask, HexHash,
};
use queenright_protocol::colony::{ContentHash, StateName, VALUE_BYTES_MAX};

use crate::commands::CliError;
use crate::commands::import::without_place;
use crate::exit::Exit;

/// The longest line: the largest value, where every byte needs an escape, and the rest.
const LINE_BYTES_MAX: usize = 6 * VALUE_BYTES_MAX + (1 << 20);

/// An export that is whole.
pub(super) struct Plan {
    head: ExportHead,
    pub(super) settings: Vec<ExportedSetting>,
    pub(super) records: Vec<PlannedRecord>,
    pub(super) tasks: Vec<ExportedTask>,
}

/// A record, whose value is still in the file.
pub(super) struct PlannedRecord {
    pub(super) key: Arc<str>,
    pub(super) hash: HexHash,
    pub(super) tags: Vec<Arc<str>>,
    /// Where its line begins, and how long it is, in bytes.
    line: (u64, usize),
}

impl PlannedRecord {
    /// Its value.
    pub(super) fn value(&self, file: &File, name: &str) -> Result<Bytes, CliError> {
        let mut line = vec![0; self.line.1];
        file.read_exact_at(&mut line, self.line.0).map_err(unreadable(name))?;
        let changed = || {
            broken(
                name,
                format_args!("the line of key {:?} has changed meanwhile", self.key),
            )
        };
        match serde_json::from_slice(&line) {
            Ok(ExportLine::Memory(record)) => value_of(&record).map_err(|_| changed()),
            _ => Err(changed()),
        }
    }
}

/// The bytes of a record, if they are those of its hash.
fn value_of(record: &ExportedRecord) -> Result<Bytes, String> {
    let bytes = match (&record.value, &record.value_base64) {
        (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(text)) => {
            let decoded = BASE64.decode(text);
            decoded.map_err(|error| format!("value_base64: {error}"))?.into()
        }
        _ => return Err("has not exactly one of value and value_base64".to_owned()),
    };
    match ContentHash::of(&bytes) == record.hash.0 {
        true => Ok(bytes),
        false => Err(format!(
            "hash: {} is not that of the value of {:?}",
            record.hash, record.key
        )),
    }
}

impl Plan {
    /// Reads all lines.
    ///
    /// # Errors
    /// [`CliError`] names the first line that is wrong.
    pub(super) fn read(mut file: &File, name: &str) -> Result<Plan, CliError> {
        file.seek(SeekFrom::Start(0)).map_err(unreadable(name))?;
        let mut reading = Reading::default();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let (mut number, mut offset) = (0_u64, 0_u64);
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut reader).take(LINE_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut line).map_err(unreadable(name))?;
            if read == 0 {
                break;
            }
            number += 1;
            let at = (offset, read);
            offset += read as u64;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let taken = match read > LINE_BYTES_MAX {
                true => Err(format!("has more than {LINE_BYTES_MAX} B, which is the limit")),
                false => serde_json::from_slice(&line)
                    .map_err(|error| without_place(&error))
                    .and_then(|line| reading.take(line, at)),
            };
            taken.map_err(|problem| broken(name, format_args!("line {number}: {problem}")))?;
        }
        reading.finish().map_err(|problem| broken(name, problem))
    }

    /// The tasks that are still to be done, each behind those that it needs, and how many needs were dropped.
    pub(super) fn open_tasks(self) -> (Vec<AddTask>, u64) {
        let of_cluster: String = self.head.cluster_id.chars().take(16).collect();
        let mut known = BTreeMap::new();
        let mut open = BTreeMap::new();
        for (place, task) in self.tasks.into_iter().enumerate() {
            let id = task.task.to_string();
            let name: Arc<str> = match &task.add.name {
                Some(name) => name.clone(),
                None => format!("import-{of_cluster}-{id}").into(),
            };
            known.insert(id, (task.state, name.clone(), place));
            if is_open(task.state) {
                let add = AddTask {
                    name: Some(name),
                    ..task.add
                };
                open.insert(place, add);
            }
        }
        let mut dropped = 0;
        let mut needs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, task) in &mut open {
            let mut names = Vec::new();
            for need in std::mem::take(&mut task.needs) {
                match known.get(&need) {
                    Some((StateName::Done, ..)) => {}
                    Some((state, name, needed)) if is_open(*state) => {
                        names.push(name.to_string());
                        needs.entry(*place).or_default().push(*needed);
                    }
                    _ => dropped += 1,
                }
            }
            task.needs = names;
        }
        let mut ordered = Vec::with_capacity(open.len());
        // Places whose needs are still to be looked at, the next one last.
        let places: Vec<usize> = open.keys().copied().collect();
        for place in places {
            let mut stack = vec![place];
            while let Some(next) = stack.pop() {
                let first = needs.remove(&next).unwrap_or_default();
                if first.is_empty() {
                    ordered.extend(open.remove(&next));
                } else {
                    stack.push(next);
                    stack.extend(first.into_iter().filter(|needed| open.contains_key(needed)));
                }
            }
        }
        (ordered, dropped)
    }
}

fn is_open(state: StateName) -> bool {
    match state {
        StateName::Pending
        | StateName::Leased
        | StateName::Blocked
        | StateName::AwaitingApproval
        | StateName::Paused => true,
        StateName::Done | StateName::Failed | StateName::Cancelled | StateName::Dead => false,
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    head: Option<ExportHead>,
    settings: Vec<ExportedSetting>,
    records: Vec<PlannedRecord>,
    tasks: Vec<ExportedTask>,
    end: Option<ExportEnd>,
}

impl Reading {
    fn take(&mut self, line: ExportLine, at: (u64, usize)) -> Result<(), String> {
        if self.end.is_some() {
            return Err("follows the end".to_owned());
        }
        if self.head.is_none() != matches!(line, ExportLine::Export(_)) {
            return Err("the first line, and it alone, is of type \"export\"".to_owned());
        }
        match line {
            ExportLine::Export(head) if !(EXPORT_FORMAT_OLDEST..=EXPORT_FORMAT).contains(&head.format) => {
                return Err(format!(
                    "format: {} is not one of {EXPORT_FORMAT_OLDEST} to {EXPORT_FORMAT}, which this program knows",
                    head.format
                ));
            }
            ExportLine::Export(head) => self.head = Some(head),
            ExportLine::Memory(record) => {
                let bytes = value_of(&record)?;
                if bytes.len() > VALUE_BYTES_MAX {
                    return Err(format!(
                        "value: {} B is over the limit of {VALUE_BYTES_MAX}",
                        bytes.len()
                    ));
                }
                self.records.push(PlannedRecord {
                    key: record.key,
                    hash: record.hash,
                    tags: record.tags,
                    line: at,
                });
            }
            ExportLine::Setting(setting) => self.settings.push(setting),
            ExportLine::Task(task) => self.tasks.push(*task),
            ExportLine::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    fn finish(self) -> Result<Plan, String> {
        let Reading {
            head: Some(head),
            settings,
            records,
            tasks,
            end: Some(end),
        } = self
        else {
            return Err("it is not whole: its last line is not of type \"end\"".to_owned());
        };
        let found = ExportEnd {
            memory: records.len() as u64,
            tasks: tasks.len() as u64,
            settings: settings.len() as u64,
        };
        if found != end {
            return Err(format!(
                "it is not whole: {} settings, {} records and {} tasks of {}, {} and {} are there",
                found.settings, found.memory, found.tasks, end.settings, end.memory, end.tasks
            ));
        }
        Ok(Plan {
            head,
            settings,
            records,
            tasks,
        })
    }
}

fn broken(name: &str, problem: impl std::fmt::Display) -> CliError {
    CliError::Refused {
        exit: Exit::Error,
        code: Code::Invalid.to_string(),
        message: format!("{name}: {problem}; nothing was written"),
    }
}

fn unreadable(name: &str) -> impl Fn(io::Error) -> CliError + use<> {
    let message = format!("cannot read {name}");
    move |source| CliError::Failed {
        message: message.clone(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const HEAD: &str = r#"{"type":"export","format":1,"cluster":"c","cluster_id":"00112233445566778899aabbccddeeff","project":"p","seq":9,"taken_ms":1}"#;

    fn task(id: &str, state: &str, rest: &str) -> String {
        format!(r#"{{"type":"task","task":"{id}","state":"{state}","author":"ann","add":{{"title":"t {id}"{rest}}}}}"#)
    }

    fn read(lines: &[&str]) -> Result<Plan, CliError> {
        let mut file = tempfile::tempfile().unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
        Plan::read(&file, "x.jsonl")
    }

    #[test]
    fn what_is_not_whole_or_wrong_is_refused_by_its_line() {
        let hash = ContentHash::of(b"v").to_string();
        let record = format!(r#"{{"type":"memory","key":"k","value":"v","hash":"{hash}","author":"a","revision":1}}"#);
        let end = r#"{"type":"end","memory":1,"tasks":0}"#;
        let plan = read(&[HEAD, &record, end]).unwrap();
        assert_eq!((plan.records.len(), plan.tasks.len()), (1, 0));
        let check = |lines: &[&str], expected: &str| {
            let error = read(lines).map(|_| ()).unwrap_err().line();
            assert!(
                error.contains(expected) && error.ends_with("nothing was written"),
                "{error}"
            );
        };
        check(&[HEAD, &record], "its last line is not of type \"end\"");
        check(
            &[HEAD, end],
            "0 settings, 0 records and 0 tasks of 0, 1 and 0 are there",
        );
        check(&[&record, end], "line 1: the first line");
        check(&[HEAD, HEAD], "line 2: the first line");
        check(&[HEAD, &record, end, &record], "line 4: follows the end");
        let setting = r#"{"type":"setting","of":"rate","name":"r","tokens":5,"interval_ms":1000,"burst":5}"#;
        check(
            &[HEAD, setting, &record, end],
            "1 settings, 1 records and 0 tasks of 0, 1 and 0",
        );
        let counted = r#"{"type":"end","memory":1,"tasks":0,"settings":1}"#;
        let newer = HEAD.replace(":1,", ":2,");
        assert_eq!(read(&[&newer, setting, &record, counted]).unwrap().settings.len(), 1);
        check(
            &[HEAD, &setting.replace("rate", "pace")],
            "line 2: unknown variant `pace`",
        );
        check(&[HEAD, &setting.replace("burst", "most")], "line 2: ");
        check(&[&HEAD.replace(":1,", ":7,")], "line 1: format: 7 is not one of 1 to 2");
        let other = record.replace("\"v\"", "\"w\"");
        check(&[HEAD, &other, end], "line 2: hash: ");
        check(&[HEAD, "{\"type\":\"memory\"}"], "line 2: missing field");
        check(&[HEAD, "[]"], "line 2: ");
        check(&[], "its last line is not of type \"end\"");
    }

    #[test]
    fn open_tasks_come_behind_what_they_need_under_names_of_their_own() {
        let lines = [
            HEAD.to_owned(),
            task("5-0", "blocked", r#","needs":["9-0","3-0","4-0","2-0"]"#),
            task("3-0", "done", ""),
            task("4-0", "failed", ""),
            task("9-0", "leased", r#","name":"own""#),
            r#"{"type":"end","memory":0,"tasks":4}"#.to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (tasks, dropped) = read(&lines).unwrap().open_tasks();
        let named: Vec<_> = tasks
            .iter()
            .map(|task| (task.name.as_deref().unwrap(), task.needs.clone()))
            .collect();
        let derived = "import-0011223344556677-5-0";
        assert_eq!(named, [("own", vec![]), (derived, vec!["own".to_owned()])]);
        assert_eq!(dropped, 2);
    }
}
