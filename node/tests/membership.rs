//! Nodes that join a running cluster, and that leave it for good.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use queenright::config::ClusterConfig;
use queenright_actors::node::{ClusterStatus, Role};
use queenright_bench::client::wire::{AddTask, ClaimTasks, Code, FinishTask, WireEnding};
use queenright_bench::client::{Client, ClientError, ClientOptions, FinishOutcome, PutOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::colony::{Colony, NODES, Ran, refused, shipped, until};

/// A busy host takes its time.
const PATIENT: Duration = Duration::from_secs(60);

fn client_of(config: &ClusterConfig) -> Client {
    let options = ClientOptions {
        agent: "test".to_owned(),
        timeout: PATIENT,
        ..ClientOptions::default()
    };
    Client::new(&format!("http://{}", config.nodes[0].http), options).unwrap()
}

/// A node that joins by `queenright join`, with a file of its own.
pub(crate) struct Joined {
    pub(crate) name: String,
    pub(crate) config: ClusterConfig,
    child: Option<Child>,
    /// What it has said, line by line, and when.
    said: Arc<Mutex<Vec<(Instant, Value)>>>,
    folder: PathBuf,
}

impl Joined {
    /// A node that is to join the cluster of `colony`, which keeps its data beside that of the others.
    pub(crate) fn new(colony: &Colony, name: &str) -> Joined {
        let folder = colony.folder().join(format!("of-{name}"));
        let mut config = shipped("mesh-3", &colony.config().name, &folder);
        config.nodes.truncate(1);
        config.nodes[0].name = name.to_owned();
        config.consensus = colony.config().consensus;
        config.consensus.voters = None;
        Joined {
            name: name.to_owned(),
            config: config.write_to(&folder).unwrap(),
            child: None,
            said: Arc::default(),
            folder,
        }
    }

    /// The command that joins at the door of a member.
    fn command(&self, colony: &Colony, member: &str) -> Command {
        let mut command = colony.command();
        let door = colony.config().node(member).unwrap().http.to_string();
        command
            .args(["join", &door, "--json", "--config"])
            .arg(&self.config.file)
            .arg("--data")
            .arg(colony.folder().join("data"));
        command
    }

    /// Runs it until [`Joined::kill`], or as long as this lives.
    pub(crate) fn start(&mut self, colony: &Colony, member: &str) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut child = self
            .command(colony, member)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        self.said = Arc::default();
        let said = self.said.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                said.lock().unwrap().push((Instant::now(), line));
            }
        });
    }

    /// Waits until it has said that it took this step, and returns when, and what it said.
    pub(crate) fn step(&mut self, step: &str) -> (Instant, Value) {
        until(&format!("{} says {step:?}", self.name), || {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("{} has ended: {ended}\n{}", self.name, self.log());
            }
            let said = self.said.lock().unwrap();
            said.iter().find(|(_, line)| line["step"] == step).cloned()
        })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("it runs").id() as i32).unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
        self.wait();
    }

    /// Waits until its process has ended, and returns its exit code.
    fn wait(&mut self) -> Option<i32> {
        let child = self.child.as_mut().expect("it runs");
        let ended = until("the end of a node that joined", || child.try_wait().unwrap());
        self.child = None;
        ended.code()
    }

    pub(crate) fn client(&self) -> Client {
        client_of(&self.config)
    }

    /// Runs the command line, asking this node.
    fn run(&self, colony: &Colony, arguments: &[&str]) -> Ran {
        let door = self.config.nodes[0].http.to_string();
        Ran::of(colony.command().args(arguments).args(["--node", &door]))
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- the log of {} ends with\n{tail}", self.name);
        }
    }
}

/// Callers that put, and add, claim and finish tasks, one after another, until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) done: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Result<(), ClientError>>>,
}

impl Load {
    pub(crate) fn start(colony: &Colony, clients: Vec<Client>) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let callers = clients.into_iter().enumerate().map(|(caller, client)| {
            let (stop, done) = (stop.clone(), done.clone());
            colony.spawn(async move {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("load/{caller}/{number}");
                    client.put(&key, "v".into(), &PutOptions::default()).await?;
                    work(&client, &key).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        Load {
            callers: callers.collect(),
            stop,
            done,
        }
    }

    /// Waits until much more is done.
    pub(crate) fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        until("the load goes on", || (self.done.load(Ordering::Relaxed) > before + 20).then_some(()));
    }

    /// No command has failed.
    pub(crate) fn end(self, colony: &Colony) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            colony.block_on(caller).unwrap().expect("no command fails");
        }
    }
}

/// Adds a task, claims that one, and finishes it.
async fn work(client: &Client, title: &str) -> Result<(), ClientError> {
    let task = AddTask {
        title: title.into(),
        ..AddTask::default()
    };
    let added = client.add_tasks(vec![task], None).await?;
    let claim = ClaimTasks {
        ids: Some(added.tasks.iter().map(|added| added.task).collect()),
        ..ClaimTasks::default()
    };
    let claimed = client.claim_tasks(&claim, None).await?;
    let token = claimed.token.expect("something was claimed");
    for task in claimed.tasks {
        let finish = FinishTask {
            fence: task.fence,
            token: token.clone(),
            outcome: WireEnding::Done,
            ..FinishTask::default()
        };
        let finished = client.finish_task(task.task.0, &finish, None).await?;
        assert!(matches!(finished, FinishOutcome::Finished(_)), "{title}");
    }
    Ok(())
}

fn patient(colony: &Colony, node: &str) -> Client {
    let config = colony.config();
    let nodes = vec![config.node(node).unwrap().clone()];
    client_of(&ClusterConfig { nodes, ..config.clone() })
}

/// The names of those that answer and their roles, as a node sees them.
fn roles(status: &ClusterStatus) -> Vec<(String, Role)> {
    let mut roles: Vec<_> = status.nodes.iter().map(|node| (node.name.clone(), node.role)).collect();
    roles.sort_by(|one, other| one.0.cmp(&other.0));
    roles
}

fn voters(status: &ClusterStatus) -> Vec<String> {
    let voting = |role: &Role| matches!(role, Role::Leader | Role::Follower);
    let roles = roles(status).into_iter();
    roles.filter(|(_, role)| voting(role)).map(|(name, _)| name).collect()
}

/// Waits until all of these doors tell of the same epoch with these voters and so many members, at the same position.
pub(crate) fn agreed(colony: &Colony, clients: &[Client], members: usize, voting: &[&str]) -> ClusterStatus {
    until(&format!("{members} members, of which {voting:?} vote"), || {
        let mut told = Vec::new();
        for client in clients {
            told.push(colony.block_on(client.status()).ok()?);
        }
        let first = told.first()?.clone();
        let same = told.iter().all(|status| {
            status.epoch == first.epoch && status.nodes.len() == members && voters(status) == voting && status.queenright
        });
        let digests = first.nodes.iter().map(|node| (node.seq, node.digest.clone()));
        let mut digests: Vec<_> = digests.collect();
        digests.dedup();
        (same && digests.len() == 1).then_some(first)
    })
}

#[test]
fn two_nodes_join_a_running_cluster_and_are_members_also_after_a_restart() {
    let mut colony = Colony::start("joined");
    let load = Load::start(&colony, NODES.iter().map(|node| patient(&colony, node)).collect());
    load.goes_on();
    let (mut fourth, mut fifth) = (Joined::new(&colony, "n4"), Joined::new(&colony, "n5"));
    fourth.start(&colony, "n2");
    let (_, member) = fourth.step("member");
    assert_eq!((&member["node"], &member["number"]), (&"n4".into(), &4.into()), "{member}");
    fourth.step("caught_up");
    let (_, settled) = fourth.step("settled");
    assert_eq!(settled["role"], "learner", "{settled}");
    fifth.start(&colony, "n3");
    let (_, member) = fifth.step("member");
    assert_eq!(member["number"], 5, "{member}");
    load.goes_on();
    // With five members five vote.
    until("both vote", || {
        let settled = |node: &Joined| node.said.lock().unwrap().iter().any(|(_, line)| line["role"] == "voter");
        (settled(&fourth) && settled(&fifth)).then_some(())
    });
    load.goes_on();
    load.end(&colony);
    let mut doors: Vec<Client> = NODES.iter().map(|node| patient(&colony, node)).collect();
    doors.extend([fourth.client(), fifth.client()]);
    let all = ["n1", "n2", "n3", "n4", "n5"];
    let before = agreed(&colony, &doors, 5, &all);
    // Work is done through a node that joined as through any other.
    colony.block_on(work(&fourth.client(), "through n4")).unwrap();

    // It is found again by those that were away meanwhile, and finds them.
    fourth.signal(Signal::TERM);
    colony.kill("n1");
    colony.start_node("n1");
    fourth.start(&colony, "n1");
    let (_, member) = fourth.step("member");
    assert_eq!(member["number"], 4, "{member}");
    let after = agreed(&colony, &doors, 5, &all);
    assert_eq!(after.cluster_id, before.cluster_id);
    // Its name is taken.
    let mut other = Joined::new(&colony, "n2");
    other.config.nodes[0].name = "n2".to_owned();
    let data = colony.folder().join("elsewhere");
    fs::create_dir(&data).unwrap();
    fs::copy(colony.folder().join("data/cookie"), data.join("cookie")).unwrap();
    let line = join_refused(&colony, &other, &data, 3);
    assert!(line.contains("node n2 is a member (#2): choose another name"), "{line}");
}

/// Runs `queenright join` with its data in `data`, which must end with this code. Returns the last line that it said.
fn join_refused(colony: &Colony, joined: &Joined, data: &Path, code: i32) -> String {
    let door = colony.config().nodes[1].http.to_string();
    let mut command = colony.command();
    command.args(["join", &door, "--config"]).arg(&joined.config.file).arg("--data").arg(data);
    refused(&mut command, code)
}

#[test]
fn who_does_not_know_the_cookie_or_calls_the_cluster_otherwise_is_refused_and_counted() {
    let colony = Colony::start("stranger");
    let joined = Joined::new(&colony, "n4");
    let data = colony.folder().join("elsewhere");
    fs::create_dir(&data).unwrap();
    let line = join_refused(&colony, &joined, &data, 6);
    assert!(line.contains("copy that of a member to") && line.contains("cookie"), "{line}");
    fs::write(data.join("cookie"), "ab".repeat(32)).unwrap();
    let line = join_refused(&colony, &joined, &data, 6);
    assert!(line.contains("does not know the cookie of this cluster"), "{line}");
    let status = colony.status("n2").unwrap();
    let asked = status.nodes.iter().find(|node| node.name == "n2").unwrap();
    assert_eq!(asked.refused.as_ref().map(|refused| refused.handshake), Some(1), "{asked:?}");
    fs::copy(colony.folder().join("data/cookie"), data.join("cookie")).unwrap();
    let mut renamed = Joined::new(&colony, "n4");
    renamed.config.name = "otherwise".to_owned();
    renamed.config = renamed.config.clone().write_to(&renamed.folder).unwrap();
    let line = join_refused(&colony, &renamed, &data, 3);
    assert!(
        line.contains("cluster.name \"otherwise\" is not that of this cluster, \"stranger\""),
        "{line}"
    );
    assert_eq!(colony.status("n1").unwrap().nodes.len(), 3);
}

#[test]
fn the_leader_leaves_under_load_and_its_folder_does_not_start_again() {
    let mut colony = Colony::start("left");
    let leader = colony.leader_at("n1", None);
    let others: Vec<&str> = NODES.into_iter().filter(|node| *node != leader).collect();
    let doors: Vec<Client> = others.iter().map(|node| patient(&colony, node)).collect();
    let load = Load::start(&colony, doors.clone());
    load.goes_on();
    let left = colony.at(&leader, &["leave", "--wait", "2", "--json"]).with_code(0).json();
    assert_eq!((&left["node"], &left["left"]), (&leader.as_str().into(), &true.into()));
    let ended = colony.ended();
    assert_eq!((ended.name.as_str(), ended.status.code()), (leader.as_str(), Some(0)));
    load.goes_on();
    load.end(&colony);
    agreed(&colony, &doors, 2, &others);
    let again = colony.try_start_node(&leader).unwrap_err().to_string();
    assert!(again.contains("is no member of its cluster any more: it has left"), "{again}");
    // The last two: one may go, the last one may not.
    let last = others[1];
    colony.at(others[0], &["leave", "--wait", "0"]).with_code(0);
    assert_eq!(colony.ended().name, others[0]);
    agreed(&colony, &doors[1..], 1, &[last]);
    let refused = colony.at(last, &["leave", "--wait", "0"]).with_code(3);
    assert!(refused.stderr.contains("is the only one that stays"), "{refused}");
    colony.block_on(work(&doors[1], "alone")).unwrap();
}

#[test]
fn a_dead_node_is_removed_and_is_told_so_when_it_comes_back() {
    let mut colony = Colony::start("removed");
    let mut fourth = Joined::new(&colony, "n4");
    fourth.start(&colony, "n1");
    fourth.step("settled");
    let leader = colony.leader_at("n1", None);
    let dead = NODES.into_iter().find(|node| *node != leader).unwrap();
    let left: Vec<&str> = NODES.into_iter().filter(|node| *node != dead).collect();
    let refused = colony.at(&leader, &["node", "remove", dead]).with_code(3);
    assert!(refused.stderr.contains("runs and answers"), "{refused}");
    let refused = colony.at(&leader, &["node", "remove", "n9"]).with_code(1);
    assert!(refused.stderr.contains("no node of this cluster is called \"n9\""), "{refused}");
    colony.kill(dead);
    let removed = colony.at(&leader, &["node", "remove", dead, "--json"]).with_code(0).json();
    assert_eq!(removed["removed"], true, "{removed}");
    // The learner takes its vote.
    let mut doors: Vec<Client> = left.iter().map(|node| patient(&colony, node)).collect();
    doors.push(fourth.client());
    let voting = [left[0], left[1], "n4"];
    agreed(&colony, &doors, 3, &voting);
    // One voter more is away: the other two are a majority, but one of two would be none.
    let away = left.iter().find(|node| **node != leader).unwrap();
    colony.kill(away);
    until("a leader of the two", || colony.status(&leader).filter(|status| status.queenright));
    until("n4 is not let go", || {
        let refused = fourth.run(&colony, &["leave", "--wait", "0"]);
        (refused.code == Some(3)).then_some(refused).filter(|refused| refused.stderr.contains("no majority"))
    });
    colony.start_node(away);
    agreed(&colony, &doors, 3, &voting);

    colony.may_fail();
    if colony.try_start_node(dead).is_ok() {
        let ended = colony.ended();
        assert_eq!(ended.name, dead);
        let log = ended.log_tail.join("\n");
        assert!(log.contains("is no member any more: it was number"), "{log}");
    }
    let again = colony.try_start_node(dead).unwrap_err().to_string();
    assert!(again.contains("is no member of its cluster any more: it was number"), "{again}");
}

#[test]
fn a_drained_node_hands_over_and_takes_no_new_work_until_it_does_again() {
    let colony = Colony::start("drained");
    let leader = colony.leader_at("n1", None);
    let other = NODES.into_iter().find(|node| *node != leader).unwrap();
    let drained = colony.at(other, &["node", "drain", &leader, "--json"]).with_code(0).json();
    assert_eq!((&drained["node"], &drained["drained"]), (&leader.as_str().into(), &true.into()));
    colony.leader_at(other, Some(&leader));
    let client = patient(&colony, &leader);
    let refused = until("it knows the epoch", || colony.block_on(work(&client, "here")).err());
    assert_eq!(refused.code(), Some(Code::Unavailable), "{refused}");
    assert!(refused.to_string().contains("is drained"), "{refused}");
    // It answers, and what is no work is done.
    let put = client.put("k", "v".into(), &PutOptions::default());
    colony.block_on(put).unwrap();
    colony.block_on(work(&patient(&colony, other), "there")).unwrap();
    colony.at(other, &["node", "drain", &leader, "--off"]).with_code(0);
    until("it takes work again", || colony.block_on(work(&client, "here again")).ok());
}
