use std::fs;
use std::path::PathBuf;

use super::{Done, Entry, Format, Places, Plan, SetupError, State, state};
use crate::cli::{Program, Scope};

const NONE: [PathBuf; 0] = [];

fn our() -> Entry {
    Entry {
        command: "queenright".to_owned(),
        args: vec!["mcp".to_owned()],
    }
}

fn other() -> Entry {
    Entry {
        command: "/opt/queenright".to_owned(),
        args: vec!["mcp".to_owned(), "--toolsets".to_owned(), "dlq".to_owned()],
    }
}

/// The entry goes in, a second time nothing changes, and all that was there before is still there.
fn check(format: Format, before: &str, after: &str) {
    let edited = format.with(before, &our()).unwrap();
    assert_eq!(edited.text, after);
    assert!(!edited.had);
    let again = format.with(&edited.text, &our()).unwrap();
    assert_eq!((again.text.as_str(), again.had), (after, true));
    assert_eq!(format.entry(after), Ok(Some(our())));
    assert_eq!(format.entry(before), Ok(None));
    let changed = format.with(after, &other()).unwrap();
    assert_eq!(format.entry(&changed.text), Ok(Some(other())));
    let without = format.without(after).unwrap();
    assert!(
        without.had && format.entry(&without.text) == Ok(None),
        "{}",
        without.text
    );
}

#[test]
fn json_keeps_order_comments_and_indentation() {
    check(
        Format::Json,
        "",
        "{\n  \"mcpServers\": {\n    \"queenright\": {\n      \"command\": \"queenright\",\n      \"args\": [\"mcp\"]\n    }\n  }\n}\n",
    );
    check(
        Format::Json,
        "{\n    // mine\n    \"zebra\": [1,2 , 3],\n    \"mcpServers\": {\n        \"other\": { \"command\": \"x\" }\n    },\n    \"apple\": 1e3\n}",
        "{\n    // mine\n    \"zebra\": [1,2 , 3],\n    \"mcpServers\": {\n        \"other\": { \"command\": \"x\" },\n        \"queenright\": {\n            \"command\": \"queenright\",\n            \"args\": [\"mcp\"]\n        }\n    },\n    \"apple\": 1e3\n}",
    );
}

#[test]
fn toml_keeps_order_comments_and_tables() {
    check(
        Format::Toml,
        "",
        "[mcp_servers.queenright]\ncommand = \"queenright\"\nargs = [\"mcp\"]\n",
    );
    check(
        Format::Toml,
        "# mine\nmodel   = \"x\"  # why\n\n[mcp_servers.other]\ncommand = \"y\"\n\n[tui]\ntheme = \"dark\"\n",
        "# mine\nmodel   = \"x\"  # why\n\n[mcp_servers.other]\ncommand = \"y\"\n\n[mcp_servers.queenright]\ncommand = \"queenright\"\nargs = [\"mcp\"]\n\n[tui]\ntheme = \"dark\"\n",
    );
}

#[test]
fn what_somebody_added_to_the_entry_stays() {
    let json = "{\"mcpServers\": {\"queenright\": {\"env\": {\"A\": \"1\"}, \"command\": \"old\", \"timeout\": 5}}}";
    let edited = Format::Json.with(json, &our()).unwrap().text;
    assert!(
        edited.contains("\"env\": {\"A\": \"1\"}") && edited.contains("\"timeout\": 5"),
        "{edited}"
    );
    assert_eq!(Format::Json.entry(&edited), Ok(Some(our())));
    let toml = "[mcp_servers.queenright]\ncommand = \"old\"\nstartup_timeout_sec = 20 # slow\n";
    let edited = Format::Toml.with(toml, &our()).unwrap().text;
    assert!(edited.contains("startup_timeout_sec = 20 # slow"), "{edited}");
    assert_eq!(Format::Toml.entry(&edited), Ok(Some(our())));
}

#[test]
fn a_file_that_cannot_be_read_as_what_it_is_is_refused() {
    let refused = |format: Format, text: &str, part: &str| {
        let problem = format.with(text, &our()).unwrap_err();
        assert!(problem.contains(part), "{text}: {problem}");
    };
    refused(Format::Json, "[1]", "is no JSON object");
    refused(Format::Json, "{\"mcpServers\": 5}", "mcpServers: is no JSON object");
    refused(Format::Json, "{\"a\": }", "line 1");
    refused(Format::Json, "{a: 1}", "line 1");
    refused(Format::Toml, "mcp_servers = 5", "mcp_servers: is no table");
    refused(Format::Toml, "[mcp_servers", "line 1");
}

/// A home and a project in a folder of their own.
struct Rig {
    folder: tempfile::TempDir,
    places: Places,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let place = folder.path().join(name);
            fs::create_dir(&place).unwrap();
            place
        };
        let places = Places {
            home: Some(place("home")),
            project: place("project"),
            ..Places::default()
        };
        Rig { folder, places }
    }

    fn set(&self, program: Program, scope: Scope, entry: &Entry) -> Done {
        let plan = Plan::to_set(&self.places, program, scope, entry).unwrap();
        plan.carry_out().unwrap();
        plan.done
    }

    fn undo(&self, program: Program, scope: Scope) -> Done {
        let plan = Plan::to_undo(&self.places, program, scope).unwrap();
        plan.carry_out().unwrap();
        plan.done
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path.strip_prefix(self.folder.path()).unwrap().to_path_buf()),
                }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn every_program_is_told_and_untold_and_a_second_time_changes_nothing() {
    use Program::{Claude, Codex, Cursor, Gemini};
    let rig = Rig::new();
    let both = [Scope::Project, Scope::User];
    for (program, scope) in [Claude, Codex, Gemini, Cursor]
        .into_iter()
        .flat_map(|program| both.map(|scope| (program, scope)))
    {
        assert_eq!(rig.undo(program, scope), Done::Unchanged);
        assert_eq!(rig.set(program, scope, &our()), Done::Created);
        assert_eq!(rig.set(program, scope, &our()), Done::Unchanged);
        let (_, known) = state(&rig.places, program, scope).unwrap();
        assert_eq!(known, State::Set { entry: our() });
    }
    let files: Vec<String> = rig.files().iter().map(|path| path.display().to_string()).collect();
    assert_eq!(
        files,
        [
            "home/.claude.json",
            "home/.codex/config.toml",
            "home/.cursor/mcp.json",
            "home/.gemini/settings.json",
            "project/.codex/config.toml",
            "project/.cursor/mcp.json",
            "project/.gemini/settings.json",
            "project/.mcp.json",
        ]
    );
    for (program, scope) in [Claude, Codex, Gemini, Cursor]
        .into_iter()
        .flat_map(|program| both.map(|scope| (program, scope)))
    {
        assert_eq!(rig.undo(program, scope), Done::Deleted);
    }
    assert_eq!(rig.files(), NONE);
}

#[test]
fn undo_brings_back_every_byte_or_takes_out_the_entry_alone() {
    let rig = Rig::new();
    let file = rig.places.file(Program::Gemini, Scope::User).unwrap();
    let mine = "{ \"theme\":\"x\",   // odd\n\"mcpServers\":{}}";
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, mine).unwrap();
    assert_eq!(rig.set(Program::Gemini, Scope::User, &our()), Done::Added);
    let backup = file.with_extension("json.queenright-backup");
    assert_eq!(fs::read_to_string(&backup).unwrap(), mine);
    assert_eq!(rig.undo(Program::Gemini, Scope::User), Done::Restored);
    assert_eq!(fs::read_to_string(&file).unwrap(), mine);
    assert!(!backup.exists());

    // What somebody wrote since then is theirs.
    rig.set(Program::Gemini, Scope::User, &our());
    let changed = fs::read_to_string(&file).unwrap().replace("\"x\"", "\"y\"");
    fs::write(&file, &changed).unwrap();
    assert_eq!(rig.undo(Program::Gemini, Scope::User), Done::Removed);
    let left = fs::read_to_string(&file).unwrap();
    assert!(
        left.contains("\"y\"") && left.contains("// odd") && !left.contains("queenright"),
        "{left}"
    );
}

#[test]
fn a_plan_changes_nothing_and_a_bad_file_is_named() {
    let rig = Rig::new();
    let plan = Plan::to_set(&rig.places, Program::Claude, Scope::Project, &our()).unwrap();
    assert_eq!(plan.done, Done::Created);
    assert!(
        plan.difference()
            .iter()
            .any(|line| line.contains("+ ") && line.contains("mcpServers"))
    );
    assert_eq!(rig.files(), NONE);

    let file = rig.places.file(Program::Claude, Scope::Project).unwrap();
    fs::write(&file, "{").unwrap();
    let refused = Plan::to_set(&rig.places, Program::Claude, Scope::Project, &our()).unwrap_err();
    assert!(matches!(refused, SetupError::Malformed { .. }) && refused.to_string().contains(".mcp.json"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "{");
}
