//! Hosted agents that work through tasks: `queenright agent exec`. What their commands leave with the tasks, and that nothing of
//! a command stays behind, whatever ends its agent, its node or its lease. `queenright agent http` is in `posts`.

mod passive;
mod posts;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use queenright_bench::client::wire::{AddTask, WireTask};
use queenright_protocol::colony::StateName;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::colony::{Colony, NODES, Ran, refused, until};
use crate::run::{FAMILY, Files, HASH, Workers, add, finished, show, titled, until_state};

/// Agents on a cluster, and all that their commands have started.
struct Rig {
    colony: Colony,
    workers: Workers,
}

impl Rig {
    fn start(name: &str) -> Rig {
        let colony = Colony::start(name);
        let workers = Workers::new(&colony);
        Rig { colony, workers }
    }

    /// Starts an agent that runs this script for each task.
    fn exec(&self, node: &str, name: &str, flags: &[&str], script: &str) -> Value {
        let mut command = self.colony.command_at(node, &["agent", "exec", name, "--json"]);
        command.arg("--folder").arg(&self.workers.folder);
        command.args(["--environment", &self.workers.variable()]);
        command.args(flags).args(["--", "sh", "-c", script]);
        Ran::of(&mut command).with_code(0).json()
    }

    fn agent(&self, node: &str, name: &str) -> Value {
        self.colony
            .at(node, &["agent", "show", name, "--json"])
            .with_code(0)
            .json()
    }

    /// Waits until the agent of this name has a command at work that has started others; returns the task, the fence and the
    /// token.
    fn until_family(&self) -> [String; 3] {
        let who = self.workers.folder.join("who");
        let words = until("a family", || fs::read_to_string(&who).ok());
        // The guard, the shell, those in the group, and one out of it where there is a way out.
        let least = if cfg!(target_os = "linux") { 6 } else { 5 };
        until("all of the family", || {
            (self.workers.processes().len() >= least).then_some(())
        });
        fs::remove_file(&who).unwrap();
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        words.try_into().unwrap()
    }
}

fn result(task: &WireTask) -> Value {
    let mut result = task.finished.as_ref().unwrap().result.clone();
    assert!(result["ran_ms"].take().is_u64(), "{result}");
    result
}

/// Whether an agent is said to be at work, whatever it does at the moment.
pub(crate) fn is_at_work(agent: &Value) -> bool {
    ["idle", "busy", "waiting"].contains(&agent["state"].as_str().unwrap())
}

fn kept(mut value: Value) -> Value {
    value["ran_ms"] = Value::Null;
    value
}

#[test]
fn the_commands_of_an_agent_end_its_tasks_and_their_output_is_kept() {
    let rig = Rig::start("exec");
    let script = r#"input=$(cat); printf '%s' "$input" > "$QUEENRIGHT_TASK.json"
case "$input" in
*'"well"'*) echo "{\"n\": 1, \"who\": \"$WHO\"}"; echo log >&2;;
*'"ill"'*) seq 1 100000 >&2; echo half; exit 3;;
*'"again"'*) if [ "$QUEENRIGHT_ATTEMPT" = 1 ]; then exit 75; fi; echo "$QUEENRIGHT_FENCE";;
*'"slow"'*) sleep 1000;;
esac"#;
    let task = |title: &str| {
        let task = AddTask {
            kind: Some("k".into()),
            queue: Some("builds".into()),
            ..titled(title, Value::Null)
        };
        add(&rig.colony, task)
    };
    let [well, ill, again, slow] = ["well", "ill", "again", "slow"].map(task);
    let flags = [
        "--queue",
        "builds",
        "--kind",
        "k,other",
        "--slots",
        "2",
        "--max-runtime",
        "2s",
        "--environment",
        "WHO=me",
    ];
    let spawned = rig.exec("n2", "e1", &flags, script);
    assert_eq!(spawned["kind"], "exec");
    assert!(is_at_work(&spawned), "{spawned}");

    let done = until_state(&rig.colony, "n1", &well, StateName::Done);
    let expected = json!({"exit": 0, "result": {"n": 1, "who": "me"}, "log": "log\n"});
    assert_eq!(result(&done), kept(expected));
    let failed = result(&until_state(&rig.colony, "n3", &ill, StateName::Failed));
    assert_eq!((&failed["exit"], &failed["result"]), (&json!(3), &json!("half")));
    let log = failed["log"].as_str().unwrap();
    assert!(log.contains(" B before this are not kept]\n") && log.ends_with("\n100000\n"));
    let done = until_state(&rig.colony, "n1", &again, StateName::Done);
    assert_eq!(done.history[0].reason, "its owner gave it back");
    assert_eq!(result(&done)["result"], done.finished.as_ref().unwrap().fence);
    let late = result(&until_state(&rig.colony, "n1", &slow, StateName::Failed));
    let error = late["error"].as_str().unwrap();
    assert!(error.starts_with("its time was up after 2."), "{error}");
    let stdin = fs::read(rig.workers.folder.join(format!("{well}.json"))).unwrap();
    let stdin: Value = serde_json::from_slice(&stdin).unwrap();
    assert_eq!((&stdin["task"], &stdin["attempt"]), (&json!(well), &json!(1)));
    assert_eq!(done.attempts, 2);

    let told = until("the agent to tell of all", || {
        let agent = rig.agent("n2", "e1");
        (agent["report"]["running"] == 0 && agent["report"]["failed"] == 2).then_some(agent)
    });
    assert_eq!(
        (&told["report"]["done"], &told["report"]["given_back"]),
        (&json!(2), &json!(1))
    );
    let sessions = rig.colony.at("n3", &["session", "list", "--json"]).with_code(0).json();
    let session = &sessions["sessions"][0];
    assert_eq!(
        (&session["name"], &session["program"]),
        (&json!("e1"), &json!("queenright agent"))
    );

    // One that is stopped takes no more and leaves no session.
    rig.colony.at("n2", &["agent", "stop", "e1"]).with_code(0);
    until("no session", || {
        let sessions = rig.colony.at("n1", &["session", "list", "--json"]).with_code(0).json();
        (sessions["sessions"] == json!([])).then_some(())
    });
    let later = task("well");
    rig.workers.nothing_is_left();
    assert_eq!(show(&rig.colony, "n1", &later).state, StateName::Pending);
}

#[test]
fn a_paused_agent_ends_what_it_has_and_takes_no_more_until_it_is_resumed() {
    let rig = Rig::start("exec-paused");
    let gate = rig.workers.folder.join("gate");
    let script = r#"case "$(cat)" in
*'"gated"'*) while ! [ -e gate ]; do sleep 0.05; done;;
esac
echo "\"$WHO\"""#;
    let gated = add(&rig.colony, titled("gated", Value::Null));
    rig.exec("n1", "e1", &["--environment", "WHO=e1"], script);
    until("the command", || {
        (rig.agent("n1", "e1")["report"]["running"] == 1).then_some(())
    });
    let paused = rig
        .colony
        .at("n1", &["agent", "pause", "e1", "--json"])
        .with_code(0)
        .json();
    assert_eq!(paused["state"], "paused");
    fs::write(gate, "").unwrap();
    let by = |task: &WireTask| result(task)["result"].clone();
    assert_eq!(by(&until_state(&rig.colony, "n2", &gated, StateName::Done)), "e1");

    // All that comes now is the other's.
    rig.exec("n3", "e2", &["--environment", "WHO=e2"], script);
    let open: Vec<String> = (0..20).map(|_| add(&rig.colony, titled("open", Value::Null))).collect();
    for task in &open {
        assert_eq!(by(&until_state(&rig.colony, "n2", task, StateName::Done)), "e2");
    }
    rig.colony.at("n3", &["agent", "stop", "e2"]).with_code(0);
    let later = add(&rig.colony, titled("open", Value::Null));
    assert_eq!(rig.agent("n1", "e1")["state"], "paused");
    rig.colony.at("n1", &["agent", "resume", "e1"]).with_code(0);
    assert_eq!(by(&until_state(&rig.colony, "n2", &later, StateName::Done)), "e1");
    until("it waits", || {
        (rig.agent("n1", "e1")["state"] == "waiting").then_some(())
    });

    // One that waits for tasks breaks that off, and can be stopped while it is paused.
    rig.colony.at("n1", &["agent", "pause", "e1"]).with_code(0);
    rig.colony.at("n1", &["agent", "stop", "e1"]).with_code(0);
    until("no session", || {
        let sessions = rig.colony.at("n1", &["session", "list", "--json"]).with_code(0).json();
        (sessions["sessions"] == json!([])).then_some(())
    });
    rig.workers.nothing_is_left();
}

#[test]
fn an_agent_that_cannot_work_is_refused_by_the_name_of_the_argument() {
    let rig = Rig::start("exec-refused");
    let check = |arguments: &[&str], expected: &str| {
        let arguments = [&["agent"], arguments].concat();
        let node = ["--node", &rig.colony.config().node("n1").unwrap().http.to_string()].map(str::to_owned);
        let mut command = rig.colony.command();
        let (before, after): (Vec<&str>, Vec<&str>) = match arguments.iter().position(|word| *word == "--") {
            Some(place) => (arguments[..place].to_vec(), arguments[place..].to_vec()),
            None => (arguments, Vec::new()),
        };
        let line = refused(command.args(before).args(node).args(after), 1);
        assert!(line.contains(expected), "{line}");
    };
    check(
        &["exec", "e", "--", "no-such-program"],
        "arguments of agent \"e\": command: cannot run no-such-program: no folder of PATH has it",
    );
    check(
        &["exec", "e", "--folder", "/no/such/folder", "--", "true"],
        "folder: \"/no/such/folder\": No such file",
    );
    check(
        &["exec", "e", "--lease", "1s", "--", "true"],
        "lease_s: 1.0 is not a number of seconds from 10 to 86400",
    );
    check(
        &["spawn", "e", "--kind", "exec", "--arguments", r#"{"comand": ["true"]}"#],
        "comand: no field is called so (known: base, capabilities, checks, command, environment",
    );
}

#[test]
fn a_node_whose_file_says_so_runs_no_commands() {
    let colony = Colony::start_prepared("exec-off", |config, _| config.agent_commands = false);
    let spawn = [
        "agent",
        "spawn",
        "e",
        "--kind",
        "exec",
        "--arguments",
        r#"{"command": ["true"]}"#,
    ];
    let line = refused(&mut colony.command_at("n1", &spawn), 1);
    assert!(
        line.ends_with("the cluster file of this node says agents.commands = false"),
        "{line}"
    );
    let url = r#"{"url": "http://127.0.0.1:9/", "checks": true}"#;
    let line = refused(
        &mut colony.command_at("n1", &["agent", "spawn", "e", "--kind", "http", "--arguments", url]),
        1,
    );
    assert!(line.contains("checks: the cluster file"), "{line}");
}

#[test]
fn whatever_ends_an_agent_or_its_lease_nothing_of_its_command_stays_behind() {
    let mut rig = Rig::start("exec-families");
    let task = add(&rig.colony, titled("t", Value::Null));
    let flags = ["--lease", "10", "--grace", "1"];

    // The agent is stopped: after the grace its task is given back.
    rig.exec("n1", "e", &flags, FAMILY);
    let [held, fence, _] = rig.until_family();
    assert_eq!(held, task);
    rig.colony.at("n1", &["agent", "stop", "e"]).with_code(0);
    let back = until_state(&rig.colony, "n2", &task, StateName::Pending);
    let last = back.history.last().unwrap();
    assert_eq!(
        (last.fence.to_string(), &*last.reason),
        (fence, "its owner gave it back")
    );
    rig.workers.nothing_is_left();

    // Fenced: its command is killed, and the agent goes on with what there is.
    rig.exec("n1", "e", &flags, FAMILY);
    let [_, fence, token] = rig.until_family();
    let owned = ["--fence", &fence, "--token", &token];
    let release = [&["task", "finish", &task, "--outcome", "released"], &owned[..]].concat();
    rig.colony.at("n1", &release).with_code(0);
    let [_, later, _] = rig.until_family();
    assert_ne!(later, fence);
    until("the loss is told of", || {
        (rig.agent("n1", "e")["report"]["lost"] == 1).then_some(())
    });

    // Cancelled by somebody else.
    rig.colony.at("n2", &["task", "cancel", &task]).with_code(0);
    rig.workers.nothing_is_left();

    // The node stops: its tasks are given back before it has ended.
    let task = add(&rig.colony, titled("t", Value::Null));
    rig.until_family();
    rig.colony.stop_node("n1");
    assert_eq!(rig.workers.processes(), [""; 0]);
    let back = show(&rig.colony, "n2", &task);
    assert_eq!((back.state, back.deaths), (StateName::Pending, 0));
    rig.colony.start_node("n1");

    // The node is killed: its commands die, and its task is another's.
    rig.exec("n3", "e", &flags, FAMILY);
    let [_, fence, _] = rig.until_family();
    kill_process(rig.colony.pid("n3"), Signal::STOP).unwrap();
    rig.colony.kill("n3");
    rig.workers.nothing_is_left();
    rig.exec("n2", "other", &["--lease", "10"], "cat >/dev/null; echo 1");
    rig.colony.start_node("n3");
    let done = until_state(&rig.colony, "n1", &task, StateName::Done);
    assert!(done.finished.unwrap().fence.to_string() != fence);

    // The guard is killed: the agent kills the group, gives the task back, and takes it again.
    rig.colony.at("n2", &["agent", "stop", "other"]).with_code(0);
    let close = FAMILY.replace("command -v setsid", "false");
    let task = add(&rig.colony, titled("t", Value::Null));
    rig.exec("n2", "e", &flags, &close);
    let who = rig.workers.folder.join("who");
    until("a command", || fs::read_to_string(&who).ok());
    let guards = rig.workers.processes();
    let guard = guards.iter().find(|process| process.contains("process-guard")).unwrap();
    let guard = guard.split_whitespace().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(guard).unwrap(), Signal::KILL).unwrap();
    until("a new attempt", || {
        (show(&rig.colony, "n1", &task).attempts > 1).then_some(())
    });
    rig.colony.at("n2", &["agent", "stop", "e"]).with_code(0);
    rig.workers.nothing_is_left();
    for node in NODES {
        assert!(rig.colony.status(node).is_some());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_takes_more_memory_than_it_may_fails_its_task() {
    let rig = Rig::start("exec-memory");
    let [little, much] = ["little", "much"].map(|title| add(&rig.colony, titled(title, Value::Null)));
    // `tail` keeps what has no line break, in a process of its own.
    let script = r#"case "$(cat)" in
*'"much"'*) head -c 400000000 /dev/zero | tail -c 399999999 | wc -c; sleep 100;;
*) echo 1;;
esac"#;
    rig.exec("n1", "e", &["--memory", "64M", "--retry"], script);
    until_state(&rig.colony, "n1", &little, StateName::Done);
    let failed = until("a failure", || {
        let task = show(&rig.colony, "n2", &much);
        task.history.first().map(|attempt| attempt.reason.to_string())
    });
    assert!(
        failed.starts_with("it failed: memory: memory: ") && failed.contains(" B are over the limit of 67108864"),
        "{failed}"
    );
    rig.colony.at("n1", &["agent", "stop", "e"]).with_code(0);
    rig.workers.nothing_is_left();
}

/// How much is hashed, how often a node is killed on the way, and with which seed.
pub(crate) struct Kills {
    pub(crate) tasks: usize,
    pub(crate) kills: usize,
    pub(crate) seed: u64,
}

/// Hashes files by agents of all nodes, while nodes are killed at random and started again. All processes of commands are
/// looked at after each kill: those of the node that died must go.
pub(crate) fn tasks_and_kills(name: &str, scale: &Kills) {
    let mut rig = Rig::start(name);
    let files = Files::write(rig.colony.folder(), scale.tasks);
    let mut random = StdRng::seed_from_u64(scale.seed);
    eprintln!("{} tasks, {} kills, seed {}", scale.tasks, scale.kills, scale.seed);
    // The first ones are under way until a node is killed; later ones mostly are when one is.
    let go = rig.workers.folder.join("go");
    let script = format!("while [ ! -e go ]; do sleep 0.05; done\n{HASH}\nsleep 0.2");
    // By this the processes are found that a node has started.
    let of_node = |rig: &Rig, node: &str| format!("QUEENRIGHT_TEST_NODE={node}-{}", rig.workers.variable());
    let start = |rig: &Rig, node: &str| {
        let flags = ["--kind", "hash", "--slots", "8", "--lease", "10"];
        let of_node = of_node(rig, node);
        rig.exec(
            node,
            "hasher",
            &[&flags[..], &["--environment", &of_node]].concat(),
            &script,
        );
    };
    for node in NODES {
        start(&rig, node);
    }
    files.add_tasks(&rig.colony, "hash");
    let (mut at_work, mut longest) = (0, Duration::ZERO);
    for kill in 0..scale.kills {
        let reached = (scale.tasks * kill / (scale.kills + 1)) as u64;
        until(&format!("{reached} tasks are finished"), || {
            (finished(&rig.colony) >= reached).then_some(())
        });
        let victim = NODES[random.random_range(0..NODES.len())];
        let mark = of_node(&rig, victim);
        if kill == 0 {
            until("several commands of the node", || {
                (rig.workers.with(&mark).len() >= 8).then_some(())
            });
        }
        at_work += rig.workers.with(&mark).len();
        rig.colony.kill(victim);
        let killed = Instant::now();
        until("the end of all that the node has started", || {
            rig.workers.with(&mark).is_empty().then_some(())
        });
        longest = longest.max(killed.elapsed());
        fs::write(&go, "").unwrap();
        rig.colony.start_node(victim);
        // It may have no leader yet; a name is free on a node that has just begun.
        rig.colony.leader_at(victim, None);
        start(&rig, victim);
    }
    until("all tasks are finished", || {
        (finished(&rig.colony) == scale.tasks as u64).then_some(())
    });
    for node in NODES {
        rig.colony.at(node, &["agent", "stop", "hasher"]).with_code(0);
    }
    rig.workers.nothing_is_left();
    rig.colony.same_digest();
    files.all_hashed_once(&rig.colony, |result| result["result"]["sha256"].as_str());
    assert!(at_work > 0, "no kill has hit a command");
    eprintln!("{at_work} processes of commands were under way at the kills; all were gone within {longest:?}");
}

fn git(folder: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@t"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tasks_are_done_once_by_agents_of_nodes_of_which_one_is_killed() {
    let scale = Kills {
        tasks: 40,
        kills: 1,
        seed: 40,
    };
    tasks_and_kills("exec-40", &scale);
}

#[test]
fn each_attempt_has_a_worktree_that_is_kept_unless_it_is_done() {
    let rig = Rig::start("exec-trees");
    let repository = rig.colony.folder().join("repository");
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet"]);
    fs::write(repository.join("file"), "first").unwrap();
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);
    let script = r#"input=$(cat); [ "$PWD" = "$(cd "$QUEENRIGHT_WORKTREE" && pwd -P)" ] || exit 9
case "$input" in
*'"well"'*) git switch --quiet -c well && echo second > file && git -c user.name=t -c user.email=t@t commit --quiet -am second
    cat file; pwd -P;;
*'"again"'*) [ "$QUEENRIGHT_ATTEMPT" = 1 ] && exit 75; pwd -P;;
*) echo half > left; exit 3;;
esac"#;
    let mut command = rig
        .colony
        .command_at("n1", &["agent", "exec", "coder", "--json", "--worktree"]);
    command
        .arg("--repository")
        .arg(&repository)
        .args(["--keep-worktrees", "2", "--slots", "2"]);
    command.args(["--environment", &rig.workers.variable(), "--", "sh", "-c", script]);
    let spawned = Ran::of(&mut command).with_code(0).json();
    assert!(is_at_work(&spawned), "{spawned}");
    let task = |title: &str| add(&rig.colony, titled(title, Value::Null));
    let [well, again] = ["well", "again"].map(task);
    let trees = rig.colony.data("n1").join("worktrees/coder");
    for done in [&well, &again] {
        until_state(&rig.colony, "n2", done, StateName::Done);
    }
    // What it has committed to a branch is in the repository; the folders are gone.
    assert_eq!(git(&repository, &["show", "well:file"]), "second\n");
    until("no worktree", || {
        fs::read_dir(&trees).ok()?.next().is_none().then_some(())
    });
    assert_eq!(git(&repository, &["worktree", "list"]).lines().count(), 1);

    // Of those that fail the last two are kept, and named.
    let ill: Vec<String> = ["ill", "ill", "ill"].map(task).to_vec();
    let mut kept = Vec::new();
    for ill in &ill {
        let failed = result(&until_state(&rig.colony, "n2", ill, StateName::Failed));
        assert_eq!(failed["exit"], 3, "{failed}");
        let folder = PathBuf::from(failed["worktree"].as_str().unwrap());
        assert!(folder.starts_with(&trees), "{folder:?}");
        let named = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            named.starts_with(&format!("default-task-{ill}-attempt-1-fence-")),
            "{named}"
        );
        kept.push(folder);
    }
    until("two worktrees", || {
        (kept.iter().filter(|folder| folder.join("left").exists()).count() == 2).then_some(())
    });
    rig.colony.at("n1", &["agent", "stop", "coder"]).with_code(0);
    rig.workers.nothing_is_left();

    // A repository that is none is told of by the agent.
    let mut command = rig
        .colony
        .command_at("n1", &["agent", "exec", "lost", "--restart", "temporary", "--worktree"]);
    command
        .arg("--repository")
        .arg(&rig.workers.folder)
        .args(["--", "true"]);
    Ran::of(&mut command).with_code(0);
    let failed = until("its failure", || {
        Some(rig.agent("n1", "lost")).filter(|agent| agent["state"] == "failed")
    });
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("no worktree can be made: ") && reason.ends_with("not a git repository"),
        "{reason}"
    );
}
