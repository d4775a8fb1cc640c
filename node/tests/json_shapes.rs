//! What `--json` prints has a shape that programs can rely on: the shape of each verb stands in `json_shapes/shapes.json`.
//!
//! A verb costs a line in [`SCRIPT`]. A shape says which fields there are and what they hold; `name?` may be absent or null,
//! and `*` stands for names that are data. After a change that is meant, `QUEENRIGHT_RECORD=1` writes the file anew, made only
//! wider: a field that a verb must have had, and has not had this time, becomes one that it may have. To make it narrower,
//! remove the verb from the file first.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use queenright::cli::Cli;
use serde_json::{Map, Value, json};

use crate::colony::{Colony, queenright};

/// The verbs as they are called, one after the other on one cluster of three nodes. `{name}` is what an earlier line took: `> name=/pointer`
/// behind a line takes a value out of what it printed, and `! 3` says with which code it ends, if that is not 0: `any` where it is the host's. `{dir}` is a folder, `{file}` the cluster file, `{data}` its state.
const SCRIPT: &str = "\
topology show
topology set star --dry-run
memory put a 1 --tag t
memory put b 2
memory get a
memory list --deleted
memory delete b
memory import {dir}/files --prefix in/
memory checkout {dir}/out --prefix in/
propose {dir}/proposal.json
propose {dir}/batch.json ! 3
task add work --name w --priority high > task=/tasks/0/task
task import {dir}/tasks.jsonl
task list
task show {task}
task ready
task graph
task claim {task} > fence=/tasks/0/fence token=/token
task accept {task} --fence {fence} --token {token}
task update {task} --fence {fence} --token {token} --progress 10 --stealable true
task steal {task} > fence=/tasks/0/fence token=/token
task handoff {task} --fence {fence} --token {token} --to ann
task handoff {task} --fence {fence} --token {token}
task release {task} --fence {fence} --token {token}
task pause {task}
task resume {task}
task claim {task} > fence=/tasks/0/fence token=/token
task finish {task} --fence {fence} --token {token} --result 1
task add second > task=/tasks/0/task
task cancel {task} --reason no
task requeue {task}
task cancel {task} --reason no
task drop {task}
task add third --approval > task=/tasks/0/task
task approve {task}
task add fourth --approval > task=/tasks/0/task
task reject {task} --reason no
task add fifth --retries 1 > task=/tasks/0/task
task claim {task} > fence=/tasks/0/fence token=/token
task finish {task} --fence {fence} --token {token} --outcome failed --message why --retry
dlq list
dlq show {task}
dlq requeue {task}
task claim {task} > fence=/tasks/0/fence token=/token
task finish {task} --fence {fence} --token {token} --outcome failed --message why --retry
dlq drop {task}
queue set default --breaker-failures 5 --breaker-pause 10
queue list
session open > session=/session token=/token
session list
session show {session}
session heartbeat {session} --token {token}
session reopen {session} --token {token}
session close {session} --token {token}
reserve add src/** --reason why > reservation=/reservation token=/token
reserve add src/a ! 3
reserve check src/a docs/b ! 3
reserve list
reserve renew {reservation} --token {token}
reserve release {reservation} --token {token}
reserve slots gpu 2
reserve slots
reserve add x > reservation=/reservation
reserve force {reservation} --reason why
reserve advisory off
rate set api 50/min
rate list
rate show api
rate delete api
budget set project --tokens 1000
budget list
budget show project
budget reset project
budget remove project
usage
events --limit 5
topic publish a.b text
prime
agent spawn idler --kind load-echo
agent list
agent show idler
agent pause idler
agent resume idler
agent nudge idler
agent restart idler
agent stop idler
agent exec runner -- true
agent http poster http://127.0.0.1:9/
pool set builders --max 1 --kind nothing -- true
pool set builders --max 1 --kind nothing --dry-run -- true
pool list
pool status builders
pool drain builders
pool drain builders --off
pool recycle builders
pool remove builders
project create p --tasks 10
project list
project status p
project limits p --tasks 20
project limits p --tasks 30 --dry-run
project destroy p
token create --name reader --scope read
token create --name other --scope read --dry-run
token list
token revoke reader
backup {dir}/b.qrb
restore {dir}/b.qrb --config {file} --data {dir}/restored --dry-run
export {dir}/p.jsonl
import {dir}/p.jsonl --project q
guard check a b --project p
guard install --repo {dir}/repository --editor claude --dry-run
guard uninstall --repo {dir}/repository --dry-run
config check {file}
config show {file}
doctor {file} --data {data} ! any
tls init {file} --dir {dir}/tls
tls renew {file} --dir {dir}/tls
tls show {file} --dir {dir}/tls
status
node drain n3 --dry-run
node drain n3
node drain n3 --off
leave --dry-run
bench list
bench claims
";

/// Verbs whose JSON is pinned elsewhere, or that have none.
const ELSEWHERE: [(&str, &str); 20] = [
    ("trace", "needs a request that was followed: tests of traces"),
    ("bench", "reports, whose form `bench compare` reads: tests of bench"),
    ("completions", "what a shell reads"),
    ("man", "files"),
    ("top", "a screen"),
    ("mcp", "speaks the Model Context Protocol: tests of mcp"),
    ("setup", "changes files of other programs: tests of setup"),
    ("openapi", "the document itself: tests of openapi"),
    ("up", "runs until it is stopped"),
    (
        "node",
        "runs until it is stopped; replace and remove need a node that is down: tests of replacement and membership",
    ),
    ("join", "runs until it is stopped"),
    ("leave", "ends a node: tests of membership"),
    ("recover", "offline: tests of recover"),
    ("replay", "a report: tests of replay"),
    ("demo", "a report: tests of demo"),
    ("explore", "a report: tests of explore"),
    ("run", "a line for each attempt: tests of run"),
    ("memory watch", "lines without an end: those of events"),
    ("task watch", "lines without an end: tests of tasks"),
    ("topic follow", "lines without an end: tests of topics"),
];

/// Fields whose own fields have names that are data.
const BY_NAME: [&str; 6] = ["states", "labels", "arguments", "environment", "details", "views"];

#[test]
fn what_each_verb_prints_as_json_has_the_shape_that_is_written_down() {
    let colony = Colony::start("shaped");
    let place = colony.folder().to_owned();
    prepare(&place);
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    taken.insert("dir", place.display().to_string());
    taken.insert("file", colony.config().file.display().to_string());
    taken.insert("data", place.join("data").display().to_string());
    let mut shapes: BTreeMap<String, Value> = BTreeMap::new();
    for line in SCRIPT.lines() {
        let (line, code) = line.split_once(" ! ").unwrap_or((line, "0"));
        let (call, takes) = line.split_once(" > ").unwrap_or((line, ""));
        let words: Vec<String> = call.split(' ').map(|word| filled(word, &taken)).collect();
        let mut command = queenright(colony.folder());
        command
            .arg("--json")
            .args(&words)
            .stdin(Stdio::null())
            .current_dir(&place);
        if asks_a_node(&words[0]) {
            let node = colony.config().node("n1").unwrap().http_advertised();
            // In front of the command of an agent, which is not ours.
            command.env("QUEENRIGHT_NODE", node);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            code == "any" || output.status.code() == code.parse().ok(),
            "{line}: {errors}"
        );
        assert!(!text.trim().is_empty(), "{line}: nothing was printed");
        let mut last = Value::Null;
        for printed in text.lines() {
            last = serde_json::from_str(printed).unwrap_or_else(|error| panic!("{line}: {error}: {printed}"));
            let shape = shape_of(&last);
            let verb = verb_of(&words);
            let merged = shapes
                .remove(&verb)
                .map_or(shape.clone(), |known| merge(&known, &shape));
            shapes.insert(verb, merged);
        }
        for take in takes.split(' ').filter(|take| !take.is_empty()) {
            let (name, pointer) = take.split_once('=').unwrap();
            let value = last
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{line}: no {pointer} in {last}"));
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            taken.insert(name, text);
        }
    }
    compare(&shapes);
}

/// What the script needs.
fn prepare(place: &Path) {
    fs::write(place.join("tasks.jsonl"), "{\"title\": \"t\"}\n").unwrap();
    let write = |key: &str| json!({ "key": key, "put": "v" });
    fs::write(
        place.join("proposal.json"),
        json!({ "writes": [write("p/1")] }).to_string(),
    )
    .unwrap();
    let batch = json!({ "proposals": [{ "writes": [write("p/2")] }, { "writes": [write("p/2")] }] });
    fs::write(place.join("batch.json"), batch.to_string()).unwrap();
    fs::create_dir(place.join("files")).unwrap();
    fs::write(place.join("files/a.txt"), "a").unwrap();
    let repository = place.join("repository");
    let made = Command::new("git")
        .args(["init", "--quiet"])
        .arg(&repository)
        .status()
        .unwrap();
    assert!(made.success());
}

fn filled(word: &str, taken: &BTreeMap<&str, String>) -> String {
    let mut word = word.to_owned();
    for (name, value) in taken {
        word = word.replace(&format!("{{{name}}}"), value);
    }
    word
}

fn asks_a_node(verb: &str) -> bool {
    !matches!(verb, "config" | "tls" | "bench" | "doctor" | "restore")
}

/// The words of a call that name the verb.
fn verb_of(words: &[String]) -> String {
    let mut command = Cli::definition();
    let mut verb = Vec::new();
    for word in words {
        let Some(below) = command.find_subcommand(word) else {
            break;
        };
        verb.push(word.as_str());
        command = below.clone();
    }
    let dry = words.iter().any(|word| word == "--dry-run");
    let batch = words.iter().any(|word| word.ends_with("batch.json"));
    match (dry, batch) {
        (true, _) => format!("{} --dry-run", verb.join(" ")),
        (_, true) => format!("{} (batch)", verb.join(" ")),
        _ => verb.join(" "),
    }
}

/// The shape of a value: what it holds, not which.
fn shape_of(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("flag"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(items) => {
            let shapes = items.iter().map(shape_of).reduce(|one, other| merge(&one, &other));
            Value::Array(shapes.into_iter().collect())
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| match value {
                Value::Object(inner) if BY_NAME.contains(&name.as_str()) => {
                    let shapes = inner.values().map(shape_of).reduce(|one, other| merge(&one, &other));
                    let any: Map<String, Value> = shapes.map(|shape| ("*".to_owned(), shape)).into_iter().collect();
                    (name.clone(), Value::Object(any))
                }
                value => (name.clone(), shape_of(value)),
            });
            Value::Object(fields.collect())
        }
    }
}

/// The narrowest shape that both have.
fn merge(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (Value::String(null), shape) | (shape, Value::String(null)) if null == "null" => shape.clone(),
        (Value::Array(one), Value::Array(other)) => match (one.first(), other.first()) {
            (Some(one), Some(other)) => json!([merge(one, other)]),
            (Some(only), None) | (None, Some(only)) => json!([only]),
            (None, None) => json!([]),
        },
        (Value::Object(one), Value::Object(other)) => {
            let mut merged = Map::new();
            let bare = |name: &str| name.trim_end_matches('?').to_owned();
            let find = |fields: &Map<String, Value>, name: &str| {
                let optional = format!("{name}?");
                let must = fields.get(name).map(|shape| (shape.clone(), false));
                must.or_else(|| fields.get(&optional).map(|shape| (shape.clone(), true)))
            };
            let mut names: Vec<String> = one.keys().chain(other.keys()).map(|name| bare(name)).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (found, optional) = match (find(one, &name), find(other, &name)) {
                    (Some((one, may)), Some((other, might))) => {
                        let null = |shape: &Value| shape == "null";
                        let optional = may || might || null(&one) != null(&other);
                        (merge(&one, &other), optional)
                    }
                    (Some((shape, may)), None) | (None, Some((shape, may))) => (shape, may || name != "*"),
                    (None, None) => unreachable!("it is a name of one of them"),
                };
                merged.insert(if optional { format!("{name}?") } else { name }, found);
            }
            Value::Object(merged)
        }
        _ => json!("any"),
    }
}

/// Whether what was seen is a case of what is written down. Nothing is known of what was always null, or an empty list.
fn fits(seen: &Value, known: &Value) -> bool {
    let unknown = |known: &Value| known == "null" || known == "any";
    match (seen, known) {
        (_, known) if unknown(known) => true,
        (Value::Array(seen), Value::Array(known)) => match (seen.first(), known.first()) {
            (Some(seen), Some(known)) => fits(seen, known),
            _ => true,
        },
        (Value::Object(seen), Value::Object(known)) => {
            let all_there = known
                .iter()
                .filter(|(name, shape)| !name.ends_with('?') && *name != "*" && !unknown(shape))
                .all(|(name, _)| seen.contains_key(name));
            all_there
                && seen.iter().all(|(name, shape)| {
                    let bare = name.trim_end_matches('?');
                    match (known.get(bare), known.get(&format!("{bare}?"))) {
                        (Some(known), _) => unknown(known) || (name == bare && fits(shape, known)),
                        (None, Some(known)) => shape == "null" || fits(shape, known),
                        (None, None) => bare == "*" && known.is_empty(),
                    }
                })
        }
        (seen, known) => seen == known,
    }
}

fn compare(shapes: &BTreeMap<String, Value>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json_shapes/shapes.json");
    let known: BTreeMap<String, Value> = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).unwrap(),
        Err(_) => BTreeMap::new(),
    };
    if std::env::var_os("QUEENRIGHT_RECORD").is_some() {
        let wider = shapes.iter().map(|(verb, shape)| {
            let shape = known.get(verb).map_or(shape.clone(), |known| merge(known, shape));
            (verb, shape)
        });
        let text = serde_json::to_string_pretty(&wider.collect::<BTreeMap<_, _>>()).unwrap();
        fs::write(&file, text + "\n").unwrap();
        return;
    }
    for (verb, shape) in shapes {
        let Some(known) = known.get(verb) else {
            panic!("{verb}: its shape is not written down: QUEENRIGHT_RECORD=1 does that");
        };
        assert!(
            fits(shape, known),
            "{verb} --json has another shape than {}:\n{}\nwritten down is\n{}",
            file.display(),
            serde_json::to_string_pretty(shape).unwrap(),
            serde_json::to_string_pretty(known).unwrap()
        );
    }
}

#[test]
fn every_verb_has_a_shape_or_a_reason() {
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let mut any = false;
        for below in command
            .get_subcommands()
            .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        {
            any = true;
            leaves(below, &format!("{path} {}", below.get_name()), found);
        }
        if !any {
            found.push(path.trim_start().to_owned());
        }
    }
    let mut verbs = Vec::new();
    leaves(&Cli::definition(), "", &mut verbs);
    let called = |verb: &str| {
        SCRIPT
            .lines()
            .any(|line| line == verb || line.starts_with(&format!("{verb} ")))
    };
    let excused = |verb: &str| {
        let of = |name: &&str| verb == *name || verb.starts_with(&format!("{name} "));
        ELSEWHERE.iter().any(|(name, _)| of(name))
    };
    let missing: Vec<&String> = verbs.iter().filter(|verb| !called(verb) && !excused(verb)).collect();
    assert!(missing.is_empty(), "no line of the script calls {missing:?}");
}

#[test]
fn a_shape_is_as_wide_as_all_that_was_seen() {
    let one = shape_of(&json!({ "a": 1, "b": null, "list": [], "states": { "done": 1 } }));
    let other = shape_of(&json!({ "a": 2, "b": "x", "list": [{ "c": true }], "d": 1, "states": {} }));
    let both = merge(&one, &other);
    let expected = json!({
        "a": "number", "b?": "text", "d?": "number", "list": [{ "c": "flag" }], "states": { "*": "number" },
    });
    assert_eq!(both, expected);
    assert!(fits(&one, &both) && fits(&other, &both));
    assert!(
        !fits(&shape_of(&json!({ "a": "text", "list": [], "states": {} })), &both),
        "a holds numbers"
    );
    assert!(
        !fits(&shape_of(&json!({ "a": 1, "e": 1, "list": [], "states": {} })), &both),
        "there is no e"
    );
    assert!(
        !fits(&shape_of(&json!({ "list": [], "states": {} })), &both),
        "a must be there"
    );
}
