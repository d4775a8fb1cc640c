//! `queenright run`: any program as a worker. Files are hashed by many of them while workers and a node are killed; and
//! whatever happens to a worker, no process of its command stays behind.

mod files;
mod workers;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use queenright_actors::node::Consistency;
use queenright_bench::client::TaskQuery;
use queenright_bench::client::wire::{AddTask, WireRetry, WireTask};
use queenright_protocol::colony::StateName;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub(crate) use self::files::Files;
pub(crate) use self::workers::Workers;
use crate::colony::{Colony, NODES, Ran, until};

/// Prints the hash of the file that the payload names, as JSON.
pub(crate) const HASH: &str = r#"file=$(sed -n 's/.*"file":"\([^"]*\)".*/\1/p')
sum=$(sha256sum "$file" 2>/dev/null || shasum -a 256 "$file") || exit 1
echo "hashed $file" >&2
printf '{"sha256": "%s"}' "${sum%% *}""#;

/// Says who it is in the file `who`, starts others in the group, out of it and without a parent, and waits.
pub(crate) const FAMILY: &str = r#"sleep 1001 & (sleep 1002 &) 
if command -v setsid >/dev/null; then (setsid sleep 1003 &); fi
echo "$QUEENRIGHT_TASK $QUEENRIGHT_FENCE $QUEENRIGHT_TOKEN" > who.new && mv who.new who
trap '' TERM
while :; do sleep 1; done"#;

pub(crate) fn add(colony: &Colony, task: AddTask) -> String {
    let added = colony
        .block_on(colony.client("n1", "test").add_tasks(vec![task], None))
        .unwrap();
    added.tasks[0].task.to_string()
}

pub(crate) fn titled(title: &str, payload: Value) -> AddTask {
    AddTask {
        title: title.into(),
        payload,
        // Workers are killed on purpose: no task is dead for that.
        retry: WireRetry {
            deaths_max: 1_000,
            ..WireRetry::default()
        },
        ..AddTask::default()
    }
}

pub(crate) fn show(colony: &Colony, node: &str, task: &str) -> WireTask {
    let task = task.parse().unwrap();
    let shown = colony.client(node, "test");
    colony.block_on(shown.task(task, Consistency::Linearizable)).unwrap()
}

pub(crate) fn until_state(colony: &Colony, node: &str, task: &str, state: StateName) -> WireTask {
    until(&format!("{task} is {state}"), || {
        Some(show(colony, node, task)).filter(|task| task.state == state)
    })
}

/// How many tasks are finished, by a node that answers.
pub(crate) fn finished(colony: &Colony) -> u64 {
    until("the counts of tasks", || {
        let query = TaskQuery {
            limit: Some(1),
            consistency: Consistency::Local,
            ..TaskQuery::default()
        };
        let lists = NODES.map(|node| colony.block_on(colony.client(node, "test").tasks(&query)).ok());
        lists.into_iter().flatten().map(|list| list.finished).max()
    })
}

/// How much is hashed, by how many, and how many workers are killed on the way.
pub(crate) struct Scale {
    pub(crate) files: usize,
    pub(crate) workers: usize,
    pub(crate) kills: usize,
}

/// Hashes files while workers and a node are killed at random.
pub(crate) fn hash_files(name: &str, scale: &Scale) {
    let mut colony = Colony::start(name);
    let mut workers = Workers::new(&colony);
    let files = Files::write(colony.folder(), scale.files);
    files.add_tasks(&colony, "hash");
    let mut random = StdRng::seed_from_u64(scale.files as u64);
    let flags = ["--kind", "hash", "--lease", "10"];
    // Each begins at another door and knows all three.
    let mut begun = 0;
    let mut start = |colony: &Colony, workers: &mut Workers| {
        let mut nodes = NODES;
        nodes.rotate_left(begun % NODES.len());
        begun += 1;
        workers.start(colony, &nodes, &flags, HASH);
    };
    for _ in 0..scale.workers {
        start(&colony, &mut workers);
    }
    let victim = NODES[random.random_range(0..NODES.len())];
    for kill in 0..scale.kills {
        let reached = (scale.files * (kill + 1) / (scale.kills + 2)) as u64;
        until(&format!("{reached} tasks are finished"), || {
            (finished(&colony) >= reached).then_some(())
        });
        workers.kill(random.random_range(0..scale.workers));
        start(&colony, &mut workers);
        if kill == scale.kills / 3 {
            colony.kill(victim);
        }
        if kill == 2 * scale.kills / 3 {
            colony.start_node(victim);
        }
    }
    until("all tasks are finished", || {
        (finished(&colony) == scale.files as u64).then_some(())
    });
    for place in 0..scale.workers {
        workers.signal(place, Signal::TERM);
    }
    for place in 0..scale.workers {
        // Of those that were started late some found nothing to do.
        assert!(matches!(workers.code(place), Some(0 | 5)));
    }
    workers.nothing_is_left();
    colony.same_digest();
    files.all_hashed_once(&colony, |result| result["result"]["sha256"].as_str());
}

#[test]
fn files_are_hashed_once_while_workers_and_a_node_are_killed() {
    let scale = Scale {
        files: 200,
        workers: 12,
        kills: 6,
    };
    hash_files("hashed", &scale);
}

#[test]
fn the_exit_code_of_a_command_ends_its_task_and_its_output_is_kept() {
    let colony = Colony::start("codes");
    let workers = Workers::new(&colony);
    let script = r#"input=$(cat); printf '%s' "$input" > "$QUEENRIGHT_TASK.json"
case "$input" in
*'"well"'*) echo '{"n": 1}'; echo log >&2;;
*'"text"'*) echo "moved by $QUEENRIGHT_AGENT";;
*'"ill"'*) seq 1 100000 >&2; echo half; exit 3;;
*'"again"'*) if [ "$QUEENRIGHT_ATTEMPT" = 1 ]; then exit 75; fi; echo "$QUEENRIGHT_FENCE";;
*'"much"'*) head -c 60000 /dev/zero | tr '\0' x;;
*'"slow"'*) sleep 1000;;
esac"#;
    let task = |what: &str| add(&colony, titled(what, json!({ "do": what })));
    let [well, text, ill, again, much, slow] = ["well", "text", "ill", "again", "much", "slow"].map(task);
    let flags = [
        "--exit-when-empty",
        "--concurrency",
        "3",
        "--max-runtime",
        "2",
        "--json",
    ];
    let ran = Ran::of(&mut workers.command(&colony, &["n2"], &flags, script)).with_code(0);
    let lines: Vec<Value> = ran
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let summary = &lines.last().unwrap()["summary"];
    assert_eq!(
        *summary,
        json!({"taken": 7, "done": 3, "failed": 3, "released": 1, "lost": 0}),
        "{ran}"
    );
    let started = lines.iter().filter(|line| line["event"] == "started").count();
    assert_eq!(started, 7);

    let result = |task: &str| {
        let shown = show(&colony, "n3", task);
        let mut result = shown.finished.unwrap().result;
        assert!(result["ran_ms"].take().is_u64(), "{result}");
        (shown.state, result)
    };
    let kept = |mut value: Value| {
        value["ran_ms"] = Value::Null;
        value
    };
    let done = |value: Value| (StateName::Done, kept(value));
    assert_eq!(
        result(&well),
        done(json!({"exit": 0, "result": {"n": 1}, "log": "log\n"}))
    );
    assert_eq!(result(&text), done(json!({"exit": 0, "result": "moved by run"})));
    let (state, failed) = result(&ill);
    assert_eq!(
        (state, &failed["exit"], &failed["result"]),
        (StateName::Failed, &3.into(), &"half".into())
    );
    let log = failed["log"].as_str().unwrap();
    assert!(
        log.starts_with('[') && log.contains(" B before this are not kept]\n") && log.ends_with("\n99999\n100000\n")
    );
    let shown = show(&colony, "n1", &again);
    assert_eq!(shown.history[0].reason, "its owner gave it back");
    let finished = shown.finished.unwrap();
    assert_eq!(finished.result["result"], finished.fence);
    let (state, failed) = result(&much);
    assert_eq!(state, StateName::Failed);
    assert_eq!(failed["error"], "stdout: 60000 B are over the limit of 49152");
    let (state, failed) = result(&slow);
    assert_eq!(state, StateName::Failed);
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .starts_with("its time was up after 2."),
        "{failed}"
    );
    let stdin: Value = serde_json::from_slice(&fs::read(workers.folder.join(format!("{well}.json"))).unwrap()).unwrap();
    let expected = json!({
        "task": well, "attempt": 1, "fence": stdin["fence"], "title": "well", "kind": null, "payload": {"do": "well"},
        "project": "default",
    });
    assert_eq!(stdin, expected);

    let nothing = Ran::of(&mut workers.command(&colony, &["n2"], &flags, script)).with_code(5);
    assert!(
        String::from_utf8_lossy(&nothing.stdout).contains(r#""taken":0"#),
        "{nothing}"
    );
    // A command that is not there fails no task.
    let task = add(&colony, titled("t", Value::Null));
    let mut nowhere = colony.command_at("n1", &["run", "--exit-when-empty"]);
    let line = crate::colony::refused(nowhere.args(["--", "no-such-program"]), 1);
    assert_eq!(line, "error: cannot run no-such-program: no folder of PATH has it");
    assert_eq!(show(&colony, "n1", &task).attempts, 0);
    workers.nothing_is_left();
}

#[test]
fn a_worker_takes_from_its_queue_what_it_can_do_and_runs_the_checks() {
    let colony = Colony::start("checks");
    let mut workers = Workers::new(&colony);
    let task = |title: &str, checks: &[&str], requires: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect();
        let retry = WireRetry {
            attempts_max: 2,
            base_ms: 1,
            max_ms: 1,
            ..WireRetry::default()
        };
        AddTask {
            queue: Some("builds".into()),
            checks: words(checks),
            requires: words(requires),
            retry,
            ..titled(title, Value::Null)
        }
    };
    let flags = [
        "--queue",
        "builds",
        "--capability",
        "rust",
        "--retry",
        "--concurrency",
        "2",
    ];
    let script = r#"input=$(cat)
case "$input" in
*'"fails once"'*) if [ "$QUEENRIGHT_ATTEMPT" = 1 ]; then exit 3; fi;;
esac
echo done"#;
    let place = workers.start(&colony, &["n2"], &flags, script);
    until("it waits", || {
        let queues = colony
            .block_on(colony.client("n1", "test").queues(Consistency::Local))
            .unwrap();
        queues.queues.iter().any(|queue| queue.waiting == 1).then_some(())
    });
    let well = add(
        &colony,
        task("well", &["true", "test \"$QUEENRIGHT_KIND\" = ''"], &["rust"]),
    );
    until_state(&colony, "n1", &well, StateName::Done);
    // The second check fails twice: that is all that its retry policy allows.
    let ill = add(
        &colony,
        task("ill", &["true", "echo broken >&2; exit 4", "touch no"], &[]),
    );
    let dead = until_state(&colony, "n1", &ill, StateName::Dead);
    assert_eq!(dead.attempts, 2);
    let first = &dead.history[0];
    assert_eq!(
        first.reason,
        "it failed: check: check 1: exit code 4: echo broken >&2; exit 4"
    );
    assert_eq!(
        (&first.result["check"], &first.result["log"]),
        (&json!("echo broken >&2; exit 4"), &json!("broken\n"))
    );
    assert!(
        !workers.folder.join("no").exists(),
        "no check runs after one that failed"
    );
    let again = add(&colony, task("fails once", &[], &[]));
    let done = until_state(&colony, "n1", &again, StateName::Done);
    assert_eq!(
        (done.attempts, &*done.history[0].reason),
        (2, "it failed: exit: exit code 3")
    );
    // What asks for more, or stands elsewhere, is left for others.
    let other = add(&colony, task("other", &[], &["cuda"]));
    let elsewhere = add(&colony, titled("elsewhere", Value::Null));
    workers.signal(place, Signal::TERM);
    assert_eq!(workers.code(place), Some(0));
    for task in [&other, &elsewhere] {
        assert_eq!(show(&colony, "n3", task).state, StateName::Pending);
    }
    let queues = colony
        .block_on(colony.client("n1", "test").queues(Consistency::Linearizable))
        .unwrap();
    assert!(
        queues.queues.iter().all(|queue| queue.waiting == 0),
        "who has ended waits no more: {queues:?}"
    );
    workers.nothing_is_left();
}

/// Starts a worker whose command has started others, and waits until they are there. Returns its place, the task, the
/// fence and the token.
fn with_a_family(colony: &Colony, workers: &mut Workers, flags: &[&str], script: &str) -> (usize, [String; 3]) {
    let who = workers.folder.join("who");
    let _ = fs::remove_file(&who);
    let place = workers.start(colony, &NODES, flags, script);
    let words = until("a family", || fs::read_to_string(&who).ok());
    // The worker, the guard, the shell, those in the group, and one out of it where there is a way out.
    let least = if script == FAMILY && cfg!(target_os = "linux") {
        7
    } else {
        6
    };
    until("all of the family", || {
        (workers.processes().len() >= least).then_some(())
    });
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    (place, words.try_into().unwrap())
}

#[test]
fn whatever_ends_a_worker_or_its_lease_nothing_of_its_command_stays_behind() {
    let colony = Colony::start("families");
    let mut workers = Workers::new(&colony);
    let task = add(&colony, titled("t", Value::Null));
    let flags = ["--lease", "10"];

    // Fenced: somebody else has the task by now.
    let (place, [held, fence, token]) = with_a_family(&colony, &mut workers, &flags, FAMILY);
    assert_eq!(held, task);
    let owned = ["--fence", &fence, "--token", &token];
    let release = [&["task", "finish", &task, "--outcome", "released"], &owned[..]].concat();
    colony.at("n1", &release).with_code(0);
    let claim = colony
        .at("n2", &["task", "claim", &task, "--lease", "60", "--json"])
        .with_code(0)
        .json();
    until("only the worker is left", || {
        (workers.processes().len() == 1).then_some(())
    });
    let (other, other_fence) = (claim["token"].as_str().unwrap(), claim["tasks"][0]["fence"].to_string());
    assert_eq!(show(&colony, "n3", &task).lease.unwrap().fence.to_string(), other_fence);
    workers.kill(place);
    let owned = ["--fence", &other_fence, "--token", other];
    let release = [&["task", "finish", &task, "--outcome", "released"], &owned[..]].concat();
    colony.at("n1", &release).with_code(0);

    // The worker is killed: its lease ends by itself, and its guard does what it could not.
    let (place, _) = with_a_family(&colony, &mut workers, &flags, FAMILY);
    workers.kill(place);
    workers.nothing_is_left();
    until_state(&colony, "n1", &task, StateName::Pending);

    // The guard is killed: the worker kills the group, gives the task back, and takes it again.
    let close = FAMILY.replace("command -v setsid", "false");
    let (place, [_, fence, _]) = with_a_family(&colony, &mut workers, &flags, &close);
    let guards = workers.processes();
    let guard = guards.iter().find(|process| process.contains("process-guard")).unwrap();
    let guard = guard.split_whitespace().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(guard).unwrap(), Signal::KILL).unwrap();
    until("a new attempt", || {
        let lease = show(&colony, "n1", &task).lease?;
        (lease.fence.to_string() != fence).then_some(())
    });
    workers.kill(place);
    workers.nothing_is_left();
    until_state(&colony, "n1", &task, StateName::Pending);

    // Ctrl-C twice: the task is given back at once.
    let (place, [_, fence, _]) = with_a_family(&colony, &mut workers, &["--lease", "60", "--grace", "600"], FAMILY);
    workers.signal(place, Signal::INT);
    workers.signal(place, Signal::TERM);
    assert_eq!(workers.code(place), Some(0));
    let shown = show(&colony, "n2", &task);
    let last = shown.history.last().unwrap();
    assert_eq!(
        (shown.state, &last.reason[..]),
        (StateName::Pending, "its owner gave it back")
    );
    assert_eq!(last.fence.to_string(), fence);

    // The grace after one Ctrl-C ends too.
    let (place, _) = with_a_family(&colony, &mut workers, &["--lease", "60", "--grace", "1"], FAMILY);
    workers.signal(place, Signal::INT);
    assert_eq!(workers.code(place), Some(0));
    assert_eq!(show(&colony, "n2", &task).state, StateName::Pending);
    workers.nothing_is_left();
}

#[test]
fn a_worker_goes_on_when_its_node_starts_anew_and_turns_to_another_where_it_has_one() {
    let mut colony = Colony::start("doors");
    let mut workers = Workers::new(&colony);
    let script = r#"touch "$QUEENRIGHT_KIND.begun"; while [ ! -e go ]; do sleep 0.1; done; cat >/dev/null; echo 1"#;
    let of_kind = |kind: &str| AddTask {
        kind: Some(kind.into()),
        ..titled(kind, Value::Null)
    };
    let [one, many] = ["one", "many"].map(|kind| add(&colony, of_kind(kind)));
    let once = ["--lease", "60", "--max-tasks", "1", "--kind"];
    let alone = workers.start(&colony, &["n3"], &[&once[..], &["one"]].concat(), script);
    let among = workers.start(&colony, &["n3", "n1"], &[&once[..], &["many"]].concat(), script);
    for kind in ["one", "many"] {
        let begun = workers.folder.join(format!("{kind}.begun"));
        until("a command has begun", || begun.exists().then_some(()));
    }
    colony.kill("n3");
    fs::write(workers.folder.join("go"), "").unwrap();
    // Who knows another node finishes there.
    assert_eq!(workers.code(among), Some(0));
    assert_eq!(show(&colony, "n1", &many).state, StateName::Done);
    assert_eq!(show(&colony, "n1", &one).state, StateName::Leased);
    colony.start_node("n3");
    assert_eq!(workers.code(alone), Some(0));
    let done = show(&colony, "n1", &one);
    assert_eq!((done.state, done.attempts), (StateName::Done, 1));
    workers.nothing_is_left();
}

/// Its session lives on, since its node heard it all the time: nobody else would ever get the task.
#[test]
fn a_worker_that_gave_up_a_task_for_silence_gives_it_back_when_it_is_heard_again() {
    let mut colony = Colony::start("silence");
    let mut workers = Workers::new(&colony);
    let task = add(&colony, titled("t", Value::Null));
    let script = "cat >/dev/null; touch begun; while [ ! -e go ]; do sleep 0.1; done; echo 1";
    let flags = ["--lease", "10", "--max-tasks", "2"];
    workers.start(&colony, &["n1"], &flags, script);
    let begun = workers.folder.join("begun");
    until("a command has begun", || begun.exists().then_some(()));
    colony.kill("n2");
    colony.kill("n3");
    until("only the worker is left", || {
        (workers.processes().len() == 1).then_some(())
    });
    fs::write(workers.folder.join("go"), "").unwrap();
    colony.start_node("n2");
    colony.start_node("n3");
    let done = until_state(&colony, "n1", &task, StateName::Done);
    assert_eq!(done.deaths, 0, "{done:?}");
}

#[test]
fn two_workers_of_one_name_never_share_a_task() {
    let colony = Colony::start("names");
    let mut workers = Workers::new(&colony);
    let tasks: Vec<String> = (0..20)
        .map(|n| add(&colony, titled(&n.to_string(), Value::Null)))
        .collect();
    let flags = ["--name", "same", "--exit-when-empty", "--concurrency", "2"];
    let script = r#"cat >/dev/null; echo "$QUEENRIGHT_TASK $QUEENRIGHT_TOKEN" >> took; echo 1"#;
    let places: Vec<usize> = NODES
        .map(|node| workers.start(&colony, &[node], &flags, script))
        .to_vec();
    for place in places {
        assert!(matches!(workers.code(place), Some(0 | 5)));
    }
    let took = fs::read_to_string(workers.folder.join("took")).unwrap();
    let took: Vec<(&str, &str)> = took.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let by_task: BTreeMap<&str, &str> = took.iter().copied().collect();
    assert_eq!((took.len(), by_task.len()), (tasks.len(), tasks.len()));
    for task in &tasks {
        assert_eq!(show(&colony, "n1", task).attempts, 1);
    }
}

#[test]
fn an_import_goes_on_where_it_was_and_a_watch_ends_when_nothing_is_left() {
    let colony = Colony::start("import");
    let file = colony.folder().join("tasks.jsonl");
    let path = file.to_str().unwrap();
    let lines: Vec<String> = (0..2_500)
        .map(|n| json!({"title": format!("t{n}"), "kind": "k", "payload": {"n": n}}).to_string())
        .collect();
    fs::write(&file, lines[..1_200].join("\n")).unwrap();
    let import = ["task", "import", path, "--names", "set", "--json"];
    let ran = colony.at("n1", &import).with_code(0).json();
    assert_eq!(ran, json!({"tasks": 1_200, "added": 1_200, "existing": 0}));
    fs::write(&file, lines.join("\n")).unwrap();
    let ran = colony.at("n2", &import).with_code(0).json();
    assert_eq!(ran, json!({"tasks": 2_500, "added": 1_300, "existing": 1_200}));
    let again = colony.fed(
        "n3",
        &["task", "import", "-", "--names", "set"],
        lines.join("\n").as_bytes(),
    );
    assert_eq!(
        again.with_code(0).stdout,
        b"2500 tasks: 0 added, 2500 were there already\n"
    );

    let wrong = [&lines[..3], &[r#"{"title": "t", "kinds": "k"}"#.to_owned()][..]].concat();
    fs::write(&file, wrong.join("\n")).unwrap();
    let line = crate::colony::refused(&mut colony.command_at("n1", &["task", "import", path]), 1);
    assert!(
        line.starts_with(&format!("error: {path}: line 4: unknown field `kinds`")),
        "{line}"
    );
    let long = json!({ "title": "x".repeat(1_025) }).to_string();
    fs::write(&file, [&lines[0], &long].map(String::as_str).join("\n")).unwrap();
    let line = crate::colony::refused(&mut colony.command_at("n1", &["task", "import", path]), 1);
    assert!(
        line.starts_with(&format!(
            "error: {path}: lines 1 to 2 were not added (0 tasks before them were): title: 1025 is over the limit of 1024"
        )),
        "{line}"
    );

    let list = colony
        .at("n1", &["task", "list", "--limit", "1", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&list["pending"], &list["finished"]), (&2_500.into(), &0.into()));
    let mut watch = colony.command_at("n2", &["task", "watch", "--until-empty", "--json"]);
    let watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let claim_and_finish = async {
        let client = colony.client("n1", "test");
        loop {
            let claim = serde_json::from_value(json!({"limit": 100})).unwrap();
            let claimed = client.claim_tasks(&claim, None).await.unwrap();
            let Some(token) = claimed.token else { return };
            for task in &claimed.tasks {
                let finish = json!({"fence": task.fence, "token": token, "outcome": "done"});
                let finish = serde_json::from_value(finish).unwrap();
                client.finish_task(task.task.0, &finish, None).await.unwrap();
            }
        }
    };
    colony.block_on(claim_and_finish);
    let watched = Ran::from(watch.wait_with_output().unwrap()).with_code(0);
    let last = String::from_utf8(watched.stdout).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["pending"], &last["leased"], &last["finished"]),
        (&0.into(), &0.into(), &2_500.into())
    );
}
