//! Pools on real nodes: they follow the depth of their queue, survive the death of a node, replace their agents, and leave
//! nothing running when they are drained.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use queenright::config::{ClusterConfig, PoolConfig};
use queenright_protocol::colony::PoolSettings;
use serde_json::{Value, json};

use crate::colony::{Colony, NODES, Ran, refused, until};

/// A cluster, and a folder in which the commands of pools say what they do.
struct Rig {
    colony: Colony,
    folder: PathBuf,
}

/// Notes who runs for which task, and waits until the task of this name, or all of them, may end.
const WAITS: &str = r#"echo "$PPID" > "$QUEENRIGHT_TASK.began"
until [ -e "$QUEENRIGHT_TASK.go" ] || [ -e all.go ]; do sleep 0.05; done; echo '"done"'"#;

impl Rig {
    fn start(name: &str, prepare: impl FnOnce(&mut ClusterConfig)) -> Rig {
        let colony = Colony::start_prepared(name, |config, _| prepare(config));
        let folder = colony.folder().join("work");
        fs::create_dir(&folder).unwrap();
        Rig { colony, folder }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        self.colony.at(NODES[0], &arguments).with_code(0).json()
    }

    /// Sets a pool whose agents run this script for each task, in the folder.
    fn set(&self, name: &str, flags: &[&str], script: &str) -> Value {
        let mut command = self.colony.command_at(NODES[0], &["pool", "set", name, "--json"]);
        command.arg("--folder").arg(&self.folder).args(flags);
        Ran::of(command.args(["--", "sh", "-c", script])).with_code(0).json()
    }

    fn pool(&self, name: &str) -> Value {
        self.json(&["pool", "status", name])
    }

    /// Waits until a pool is so; says how it is then.
    fn until(&self, what: &str, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.pool(name)).filter(&is_so))
    }

    /// Adds so many tasks; says which.
    fn add(&self, count: usize) -> Vec<String> {
        let add = |number: usize| {
            let added = self.json(&["task", "add", &format!("task {number}")]);
            added["tasks"][0]["task"].as_str().unwrap().to_owned()
        };
        (0..count).map(add).collect()
    }

    /// How many of these have begun.
    fn began(&self, tasks: &[String]) -> usize {
        let began = |task: &&String| self.folder.join(format!("{task}.began")).exists();
        tasks.iter().filter(began).count()
    }

    fn let_all_end(&self) {
        fs::write(self.folder.join("all.go"), "").unwrap();
    }

    fn until_done(&self, tasks: &[String]) {
        for task in tasks {
            until("the task is done", || {
                let shown = self.json(&["task", "show", task]);
                (shown["state"] == "done").then_some(())
            });
        }
    }

    /// The agents of a pool that live, by node.
    fn agents(&self, pool: &str) -> Vec<Value> {
        let label = format!("pool={pool}");
        let nodes = NODES.iter().filter(|node| self.colony.status(node).is_some());
        let lists = nodes.map(|node| {
            let list = self.colony.at(node, &["agent", "list", "--label", &label, "--json"]);
            list.with_code(0).json()["agents"].clone()
        });
        let agents = lists.flat_map(|list| list.as_array().cloned().unwrap_or_default());
        let live = |agent: &Value| !["done", "failed", "stopped"].contains(&agent["state"].as_str().unwrap());
        agents.filter(live).collect()
    }
}

/// The figures of a pool on the nodes.
fn of_nodes(status: &Value, field: &str) -> Vec<u64> {
    let nodes = status["nodes"].as_array().unwrap().iter();
    nodes.map(|node| node[field].as_u64().unwrap()).collect()
}

fn live(status: &Value) -> u64 {
    let fields = ["starting", "idle", "busy", "draining"];
    fields
        .iter()
        .map(|field| status["agents"][field].as_u64().unwrap())
        .sum()
}

#[test]
fn a_pool_follows_the_depth_of_its_queue_within_its_bounds() {
    let rig = Rig::start("pool-depth", |_| {});
    let flags = ["--max", "5", "--per-node-max", "2", "--min-idle", "1", "--idle", "1"];
    let set = rig.set("builders", &flags, WAITS);
    assert_eq!(set["changed"], true);
    assert_eq!(rig.set("builders", &flags, WAITS)["changed"], false);
    // One is there before there is any work.
    rig.until("one waits for work", "builders", |pool| pool["agents"]["idle"] == 1);
    let tasks = rig.add(8);
    // What is ready is read before the nodes are asked.
    let full = rig.until("all of them work", "builders", |pool| {
        pool["agents"]["busy"] == 5 && pool["ready"] == 3
    });
    assert_eq!(full["wanted"], 5, "{full}");
    let mut on_nodes = of_nodes(&full, "busy");
    on_nodes.sort_unstable();
    assert_eq!(on_nodes, [1, 2, 2], "{full}");
    until("five tasks began", || (rig.began(&tasks) == 5).then_some(()));
    let agents = rig.agents("builders");
    assert_eq!(agents.len(), 5);
    for agent in &agents {
        let name = agent["name"].as_str().unwrap();
        assert!(name.starts_with("builders-") && name.contains("@n"), "{agent}");
    }

    rig.let_all_end();
    rig.until_done(&tasks);
    let idle = rig.until("one is left", "builders", |pool| live(pool) == 1 && pool["wanted"] == 1);
    assert_eq!(idle["agents"]["failures"], 0, "{idle}");
    assert_eq!(rig.agents("builders").len(), 1);

    let list = rig.json(&["pool", "list"]);
    let pool = &list["pools"][0];
    assert_eq!(
        (&pool["pool"], &pool["settings"]["max"]),
        (&json!("builders"), &json!(5))
    );
    rig.json(&["pool", "remove", "builders"]);
    until("no agent is left", || rig.agents("builders").is_empty().then_some(()));
    let line = refused(&mut rig.colony.command_at("n2", &["pool", "status", "builders"]), 1);
    assert!(line.contains(r#"there is no pool "builders""#), "{line}");
    rig.colony.same_digest();
}

#[test]
fn the_share_of_a_node_that_dies_goes_elsewhere_and_its_tasks_are_done() {
    let mut rig = Rig::start("pool-death", |_| {});
    rig.set("builders", &["--max", "3", "--min-idle", "3", "--idle", "1"], WAITS);
    rig.until("each node has one", "builders", |pool| {
        of_nodes(pool, "idle") == [1, 1, 1]
    });
    let tasks = rig.add(3);
    rig.until("each node works on one", "builders", |pool| {
        of_nodes(pool, "busy") == [1, 1, 1]
    });
    until("all of them began", || (rig.began(&tasks) == 3).then_some(()));
    rig.colony.kill("n3");
    rig.until("the others have its share", "builders", |pool| {
        let wanted = of_nodes(pool, "wanted");
        wanted[2] == 0 && wanted.iter().sum::<u64>() == 3
    });
    rig.let_all_end();
    rig.until_done(&tasks);

    // It is given back once there is work again, and nobody is killed for that.
    rig.colony.start_node("n3");
    let mut more = Vec::new();
    until("it has a share again", || {
        more.extend(rig.add(3));
        (of_nodes(&rig.pool("builders"), "wanted")[2] == 1).then_some(())
    });
    rig.until_done(&more);
    let pool = rig.pool("builders");
    assert_eq!(pool["agents"]["failures"], 0, "{pool}");
}

#[test]
fn an_agent_is_replaced_after_so_many_tasks_and_when_somebody_asks() {
    let rig = Rig::start("pool-recycle", |_| {});
    // The name of the agent is that of the one before; its number on the node is not.
    let flags = [
        "--max",
        "1",
        "--min-idle",
        "1",
        "--recycle-tasks",
        "2",
        "--on",
        "node=n2",
    ];
    rig.set("builders", &flags, "echo 1");
    let number = |agents: &[Value]| agents.first().map(|agent| agent["number"].as_u64().unwrap());
    let mut seen = BTreeSet::new();
    for round in 1..=3 {
        let tasks = rig.add(2);
        rig.until_done(&tasks);
        rig.until("it was replaced", "builders", |pool| {
            pool["agents"]["recycled"]["tasks"] == round && pool["agents"]["idle"] == 1
        });
        seen.insert(number(&rig.agents("builders")));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    let before = number(&rig.agents("builders"));
    rig.json(&["pool", "recycle", "builders"]);
    rig.until("another one is there", "builders", |pool| {
        pool["agents"]["recycled"]["changed"] == 1 && pool["agents"]["idle"] == 1
    });
    assert_ne!(number(&rig.agents("builders")), before);

    // Failures count too, and what the command of a task used. Other settings replace the agent first.
    let replaced = |changes: u64| {
        rig.until("another one is there", "builders", |pool| {
            pool["agents"]["recycled"]["changed"] == changes && pool["agents"]["idle"] == 1
        });
    };
    let flags = [
        "--max",
        "1",
        "--min-idle",
        "1",
        "--recycle-failures",
        "1",
        "--on",
        "node=n2",
    ];
    rig.set("builders", &flags, "exit 3");
    replaced(2);
    rig.add(1);
    rig.until("it was replaced after a failure", "builders", |pool| {
        pool["agents"]["recycled"]["failures"] == 1 && pool["agents"]["idle"] == 1
    });
    if cfg!(target_os = "linux") {
        let flags = [
            "--max",
            "1",
            "--min-idle",
            "1",
            "--recycle-memory",
            "1M",
            "--on",
            "node=n2",
        ];
        rig.set("builders", &flags, "sleep 0.5");
        replaced(3);
        rig.add(1);
        rig.until("it was replaced for its memory", "builders", |pool| {
            pool["agents"]["recycled"]["memory"] == 1 && pool["agents"]["idle"] == 1
        });
    }
}

#[test]
fn a_drained_pool_ends_what_it_has_in_hand_and_leaves_nothing_running() {
    let rig = Rig::start("pool-drain", |_| {});
    rig.set("builders", &["--max", "2", "--min-idle", "1"], WAITS);
    let tasks = rig.add(2);
    until("both began", || (rig.began(&tasks) == 2).then_some(()));
    let later = rig.add(1);
    rig.json(&["pool", "drain", "builders"]);
    let status = rig.until("its agents end", "builders", |pool| {
        pool["agents"]["draining"] == 2 && live(pool) == 2
    });
    assert_eq!((&status["drained"], &status["wanted"]), (&json!(true), &json!(0)));
    rig.let_all_end();
    rig.until_done(&tasks);
    rig.until("nothing runs", "builders", |pool| live(pool) == 0);
    assert_eq!(rig.agents("builders"), Vec::<Value>::new());
    assert_eq!(rig.began(&later), 0, "nobody has begun what was left");
    rig.json(&["pool", "drain", "builders", "--off"]);
    rig.until_done(&later);
}

#[test]
fn agents_are_on_nodes_with_the_labels_and_warm_before_their_first_task() {
    let rig = Rig::start("pool-labels", |config| {
        config.nodes[1].labels.insert("gpu".to_owned(), "yes".to_owned());
    });
    let warm = "until [ -e warm.go ]; do sleep 0.05; done; echo warm >> warmed";
    let flags = ["--max", "3", "--on", "gpu=yes", "--warm", warm, "--label", "team=red"];
    rig.set("trainers", &flags, "[ -e warmed ] && echo 1");
    let tasks = rig.add(2);
    let warming = rig.until("they warm up", "trainers", |pool| {
        of_nodes(pool, "starting") == [0, 2, 0]
    });
    assert_eq!((&warming["ready"], live(&warming)), (&json!(2), 2));
    let fits: Vec<&Value> = warming["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["fits"])
        .collect();
    assert_eq!(fits, [&json!(false), &json!(true), &json!(false)]);
    fs::write(rig.folder.join("warm.go"), "").unwrap();
    rig.until_done(&tasks);
    let red = rig.colony.at("n2", &["agent", "list", "--label", "team=red", "--json"]);
    assert!(!red.with_code(0).json()["agents"].as_array().unwrap().is_empty());

    // One that cannot warm up fails, and says why.
    rig.set(
        "broken",
        &["--max", "1", "--min-idle", "1", "--warm", "echo no luck >&2; exit 4"],
        "echo 1",
    );
    let failed = rig.until("it failed for good", "broken", |pool| pool["agents"]["failures"] != 0);
    let reason = failed["agents"]["last_failure"].as_str().unwrap();
    assert!(reason.contains("warm: exit code 4: no luck"), "{reason}");
}

#[test]
fn a_cluster_file_begins_pools_and_pool_set_rules_afterwards() {
    let settings = PoolSettings {
        arguments: r#"{"command":["true"]}"#.into(),
        max: 2,
        ..PoolSettings::default()
    };
    let mut rig = Rig::start("pool-file", |config| {
        config.pools.push(PoolConfig {
            name: "builders".to_owned(),
            settings,
        });
    });
    let begun = until("the pool begins", || {
        let list = rig.json(&["pool", "list"]);
        list["pools"].get(0).cloned()
    });
    assert_eq!(
        (&begun["author"], &begun["settings"]["max"]),
        (&json!("cluster file"), &json!(2))
    );
    rig.until_done(&rig.add(1));
    rig.set("builders", &["--max", "4"], "echo 1");
    rig.colony.kill("n3");
    rig.colony.start_node("n3");
    rig.until_done(&rig.add(1));
    assert_eq!(rig.pool("builders")["settings"]["max"], 4);
}

#[test]
fn bad_settings_are_refused_by_field_value_and_bound() {
    let rig = Rig::start("pool-refusals", |_| {});
    let refusal = |arguments: &[&str], code| {
        let arguments = [&["pool", "set", "builders"], arguments].concat();
        refused(&mut rig.colony.command_at("n1", &arguments), code)
    };
    let check = |arguments: &[&str], expected: &str| {
        let line = refusal(arguments, 1);
        assert!(line.contains(expected), "{line}");
    };
    // `--node` would be taken for a word of the command: it comes before.
    let door = rig.colony.config().node("n1").unwrap().http_advertised();
    let run = |flags: &[&str]| {
        let mut command = rig.colony.command();
        command.args(["pool", "set", "builders", "--node", &door]).args(flags);
        command.args(["--", "true"]);
        command
    };
    let check_run = |flags: &[&str], expected: &str| {
        let line = refused(&mut run(flags), 1);
        assert!(line.contains(expected), "{line}");
    };
    check_run(&["--max", "0"], "max: 0 is under the least, 1");
    check_run(&["--max", "10001"], "max: 10001 is over the limit of 10000");
    check_run(&["--max", "2", "--min-idle", "3"], "min_idle: 3 is over the limit of 2");
    check_run(
        &["--max", "2", "--recycle-age", "0.5"],
        "recycle.age_ms: 500 is under the least, 1000",
    );
    check_run(
        &["--max", "2", "--arguments", r#"{"slots": 3}"#],
        "arguments: have slots, which the pool says itself",
    );
    check_run(
        &["--max", "2", "--arguments", r#"{"lease_s": 1}"#],
        "lease_s: 1 is not a number of seconds from 10 to 86400",
    );
    check(&["--max", "2", "--url", "here"], "url: \"here\"");
    refusal(&["--max", "2"], 2);
    let line = refused(
        rig.colony
            .command()
            .args(["pool", "set", "a/b", "--max", "1", "--node", &door, "--", "true"]),
        1,
    );
    assert!(line.contains("pool: is empty, a step of a path"), "{line}");
    assert_eq!(rig.json(&["pool", "list"])["pools"], json!([]));
    let missing = &mut rig.colony.command_at("n1", &["pool", "drain", "builders"]);
    assert!(refused(missing, 1).contains("there is no pool"));
}
