//! The hook of Claude Code: before it edits a file it asks `queenright guard check --hook claude`, with what it means to do
//! as JSON on stdin, and obeys the answer.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::hooks::Change;
use super::{GuardError, io_error, quoted};

/// The tools that edit files.
const TOOLS: &str = "Edit|MultiEdit|Write|NotebookEdit";
/// What a command of ours contains, by which it is found again.
const OURS: &str = " guard check --hook claude";
/// The settings of one person for one repository, which git is not to keep.
const SETTINGS: &str = ".claude/settings.local.json";

/// What Claude Code asks before it uses a tool. Other fields are none of the guard's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// Where it works.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// What the tool is to do.
    #[serde(default)]
    tool_input: ToolInput,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct ToolInput {
    #[serde(default)]
    file_path: Option<PathBuf>,
    #[serde(default)]
    notebook_path: Option<PathBuf>,
}

impl Asked {
    /// Reads it.
    ///
    /// # Errors
    /// [`GuardError::Malformed`].
    pub fn read(text: &[u8]) -> Result<Asked, GuardError> {
        serde_json::from_slice(text).map_err(|error| GuardError::Malformed {
            of: "stdin".to_owned(),
            problem: format!("is not what a PreToolUse hook is told: {error}"),
        })
    }

    /// The files that the tool would change.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let ToolInput {
            file_path,
            notebook_path,
        } = &self.tool_input;
        file_path.iter().chain(notebook_path).map(PathBuf::as_path)
    }
}

/// The answer that keeps it from doing so.
pub fn denied(reason: &str) -> Value {
    json!({
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": reason,
        }
    })
}

/// Its settings for one repository.
#[derive(Clone, Debug)]
pub struct Settings {
    path: PathBuf,
}

impl Settings {
    /// Those of the work tree whose top this is.
    pub fn of(top: &Path) -> Settings {
        Settings {
            path: top.join(SETTINGS),
        }
    }

    /// Has it ask before each edit. Whatever else the file says stays; its keys may come in another order.
    ///
    /// # Errors
    /// [`GuardError::Malformed`] if the file says something that cannot be added to: nothing was changed.
    pub fn install(&self, program: &Path, flags: &[String], dry: bool) -> Result<Change, GuardError> {
        let before = self.read()?;
        let mut settings = before.clone().unwrap_or_default();
        self.remove_from(&mut settings)?;
        let flags: String = flags.iter().map(|flag| format!(" {}", quoted(flag))).collect();
        let program = quoted(&program.display().to_string());
        let entry = json!({
            "matcher": TOOLS,
            "hooks": [{ "type": "command", "command": format!("{program}{OURS}{flags}") }],
        });
        let hooks = settings.entry("hooks").or_insert_with(|| json!({}));
        let hooks = hooks
            .as_object_mut()
            .ok_or_else(|| self.malformed("hooks is no object"))?;
        let list = hooks.entry("PreToolUse").or_insert_with(|| json!([]));
        let list = list
            .as_array_mut()
            .ok_or_else(|| self.malformed("hooks.PreToolUse is no list"))?;
        list.push(entry);
        let same = before.as_ref() == Some(&settings);
        if !dry && !same {
            self.write(&settings)?;
        }
        Ok(self.changed(if same { "unchanged" } else { "written" }))
    }

    /// Has it ask no more.
    ///
    /// # Errors
    /// As [`Settings::install`].
    pub fn uninstall(&self, dry: bool) -> Result<Change, GuardError> {
        let Some(before) = self.read()? else {
            return Ok(self.changed("absent"));
        };
        let mut settings = before.clone();
        self.remove_from(&mut settings)?;
        if settings == before {
            return Ok(self.changed("absent"));
        }
        if !dry {
            match settings.is_empty() {
                true => fs::remove_file(&self.path).map_err(io_error(&self.path))?,
                false => self.write(&settings)?,
            }
        }
        Ok(self.changed("removed"))
    }

    /// Takes our hooks out, and what is empty then.
    fn remove_from(&self, settings: &mut Map<String, Value>) -> Result<(), GuardError> {
        let Some(hooks) = settings.get_mut("hooks") else {
            return Ok(());
        };
        let hooks = hooks
            .as_object_mut()
            .ok_or_else(|| self.malformed("hooks is no object"))?;
        if let Some(list) = hooks.get_mut("PreToolUse") {
            let list = list
                .as_array_mut()
                .ok_or_else(|| self.malformed("hooks.PreToolUse is no list"))?;
            let mut changed = false;
            for entry in list.iter_mut() {
                if let Some(commands) = entry.get_mut("hooks").and_then(Value::as_array_mut) {
                    let there = commands.len();
                    commands.retain(|command| !is_ours(command));
                    changed |= commands.len() < there;
                }
            }
            if changed {
                let empty = |entry: &Value| entry["hooks"].as_array().is_some_and(Vec::is_empty);
                list.retain(|entry| !empty(entry));
            }
            if changed && list.is_empty() {
                hooks.remove("PreToolUse");
                if hooks.is_empty() {
                    settings.remove("hooks");
                }
            }
        }
        Ok(())
    }

    fn changed(&self, change: &'static str) -> Change {
        Change {
            path: self.path.clone(),
            change,
            before: None,
        }
    }

    fn read(&self) -> Result<Option<Map<String, Value>>, GuardError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&self.path)(error)),
        };
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|error| self.malformed(&format!("is no JSON object: {error}")))
    }

    fn write(&self, settings: &Map<String, Value>) -> Result<(), GuardError> {
        let mut text = serde_json::to_string_pretty(settings).expect("JSON is always JSON");
        text.push('\n');
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let own = folder.join(format!(".settings.queenright-{}", std::process::id()));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&own, text))
            .and_then(|()| fs::rename(&own, &self.path));
        written.map_err(io_error(&self.path))
    }

    fn malformed(&self, problem: &str) -> GuardError {
        GuardError::Malformed {
            of: self.path.display().to_string(),
            problem: problem.to_owned(),
        }
    }
}

fn is_ours(command: &Value) -> bool {
    command["command"].as_str().is_some_and(|text| text.contains(OURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_the_settings_say_stays() {
        let place = tempfile::tempdir().unwrap();
        let settings = Settings::of(place.path());
        let program = Path::new("/bin/queenright");
        let written =
            |settings: &Settings| serde_json::from_slice::<Value>(&fs::read(&settings.path).unwrap()).unwrap();

        assert_eq!(settings.install(program, &[], true).unwrap().change, "written");
        assert!(!settings.path.exists());
        settings
            .install(program, &["--project".to_owned(), "p".to_owned()], false)
            .unwrap();
        let command = &written(&settings)["hooks"]["PreToolUse"][0]["hooks"][0]["command"];
        assert_eq!(command, "'/bin/queenright' guard check --hook claude '--project' 'p'");
        assert_eq!(settings.uninstall(false).unwrap().change, "removed");
        assert!(!settings.path.exists(), "it held nothing else");
        assert_eq!(settings.uninstall(false).unwrap().change, "absent");

        let own = json!({
            "model": "opus",
            "hooks": {
                "PreToolUse": [{ "matcher": "Bash", "hooks": [{ "type": "command", "command": "true" }] }],
                "Stop": [],
            },
        });
        fs::write(&settings.path, own.to_string()).unwrap();
        settings.install(program, &[], false).unwrap();
        assert_eq!(settings.install(program, &[], false).unwrap().change, "unchanged");
        assert_eq!(written(&settings)["hooks"]["PreToolUse"].as_array().unwrap().len(), 2);
        settings.uninstall(false).unwrap();
        assert_eq!(written(&settings), own);

        fs::write(&settings.path, r#"{"hooks": []}"#).unwrap();
        assert!(settings.install(program, &[], false).is_err());
        assert_eq!(written(&settings), json!({ "hooks": [] }));
    }

    #[test]
    fn what_it_asks_names_the_file() {
        let asked = Asked::read(
            br#"{"session_id":"s","cwd":"/r","hook_event_name":"PreToolUse","tool_name":"Edit","tool_input":{"file_path":"/r/a.rs","old_string":"x"}}"#,
        );
        let asked = asked.unwrap();
        assert_eq!(asked.files().collect::<Vec<_>>(), [Path::new("/r/a.rs")]);
        assert_eq!(Asked::read(b"{}").unwrap().files().count(), 0);
        assert!(Asked::read(b"[").is_err());
        assert_eq!(denied("no")["hookSpecificOutput"]["permissionDecision"], "deny");
    }
}
