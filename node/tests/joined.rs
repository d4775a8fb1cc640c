//! Nodes that join a running cluster by a file of their own, and callers that go on meanwhile.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use queenright::config::ClusterConfig;
use queenright_actors::node::{ClusterStatus, Role};
use queenright_bench::client::wire::{AddTask, ClaimTasks, FinishTask, WireEnding};
use queenright_bench::client::{Client, ClientError, ClientOptions, FinishOutcome, PutOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::colony::{Colony, Ran, shipped, until};

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
    pub(crate) said: Arc<Mutex<Vec<(Instant, Value)>>>,
    pub(crate) folder: PathBuf,
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
        config.tls.clone_from(&colony.config().tls);
        Joined {
            name: name.to_owned(),
            config: config.write_to(&folder).unwrap(),
            child: None,
            said: Arc::default(),
            folder,
        }
    }

    /// The command that joins at the door of a member.
    pub(crate) fn command(&self, colony: &Colony, member: &str) -> Command {
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
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
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
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let child = self.child.as_mut().expect("it runs");
        let ended = until("the end of a node that joined", || child.try_wait().unwrap());
        self.child = None;
        ended.code()
    }

    pub(crate) fn client(&self) -> Client {
        client_of(&self.config)
    }

    /// Runs the command line, asking this node.
    pub(crate) fn run(&self, colony: &Colony, arguments: &[&str]) -> Ran {
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
    done: Arc<AtomicU64>,
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

    /// How many rounds of four commands the callers have been through.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until much more is done.
    pub(crate) fn goes_on(&self) {
        let before = self.done();
        until("the load goes on", || (self.done() > before + 20).then_some(()));
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
pub(crate) async fn work(client: &Client, title: &str) -> Result<(), ClientError> {
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

pub(crate) fn patient(colony: &Colony, node: &str) -> Client {
    let config = colony.config();
    let nodes = vec![config.node(node).unwrap().clone()];
    client_of(&ClusterConfig {
        nodes,
        ..config.clone()
    })
}

/// The names of those that answer and their roles, as a node sees them.
pub(crate) fn roles(status: &ClusterStatus) -> Vec<(String, Role)> {
    let mut roles: Vec<_> = status.nodes.iter().map(|node| (node.name.clone(), node.role)).collect();
    roles.sort_by(|one, other| one.0.cmp(&other.0));
    roles
}

pub(crate) fn voters(status: &ClusterStatus) -> Vec<String> {
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
            status.epoch == first.epoch
                && status.nodes.len() == members
                && voters(status) == voting
                && status.queenright
        });
        let digests = first.nodes.iter().map(|node| (node.seq, node.digest.clone()));
        let mut digests: Vec<_> = digests.collect();
        digests.dedup();
        (same && digests.len() == 1).then_some(first)
    })
}
