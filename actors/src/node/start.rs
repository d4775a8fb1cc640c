//! How a node starts: its parts in the order in which they need each other.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use queenright_protocol::colony::ImageError;
use queenright_protocol::id::NodeId;
use ractor::{Actor, ActorRef};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backlog::tell_unstored;
use super::comparison::Judge;
use super::detours::{Detours, keep_cuts, tell_cuts};
use super::inbox::Inbox;
use super::joins::Joins;
use super::options::{NodeOptions, StartError, link_config, log_options};
use super::pools::keep_shares;
use super::replacement::{Steward, follow_members, newest, with_me};
use super::rules::keep_rules;
use super::sessions::Keeper;
use super::shaping::{Shaping, keep_epoch};
use super::tasks::{
    compare_with_others, follow_leader, log_end_of_hellos, run_until, tell_recovered, wake_for_tasks, watch_disk,
};
use super::traces::complete;
use super::{Node, comparison};
use crate::agent::{Agents, Signals};
use crate::background::promptly;
use crate::consensus::{Consensus, Library, LogStore, Snapshots, Timing, prepare};
use crate::disk::{Disk, Looker};
use crate::epochs::Epochs;
use crate::founding::{AnsweringHello, FirstStart, Founded, left, store_members};
use crate::latency::Meters;
use crate::liveness::{Liveness, Pace, Shell, ShellOptions, Who};
use crate::memory::Memory;
use crate::pool::{Conducting, Hosting};
use crate::queen::{Queen, QueenArguments, QueenCounts, QueenMessage, RoundLimits};
use crate::replica::{Replica, RestoreError};
use crate::roster::Roster;
use crate::router::Router;
use crate::shape::{Seen, Shape};
use crate::store::{DataFolder, Store, StoreError, StoreOptions};
use crate::topic::Topics;

/// How many bytes of outcomes all nodes together may have kept: they stand in one value of the store, which takes 64 MiB,
/// beside the names of the projects (10 MiB at most).
const OUTCOMES_BYTES: usize = 48 << 20;

/// So many nodes share that at least: some may join.
const NODES_SHARING: usize = 8;

impl Node {
    /// Starts a node. At its first start it returns when all nodes of the cluster have met.
    ///
    /// # Errors
    /// See [`StartError`]: the data folder is in use or damaged, a port is taken, the other nodes belong elsewhere.
    pub async fn start(options: NodeOptions) -> Result<Arc<Node>, StartError> {
        let name = options.nodes[options.me].name.clone();
        let (folder, looker, room) = {
            let (data, name, limits) = (options.data.clone(), name.clone(), options.disk);
            let opened = tokio::task::spawn_blocking(move || {
                let folder = DataFolder::open(&data, &name)?;
                let (looker, room) = Looker::open(&data, limits);
                Ok::<_, StoreError>((folder, looker, room))
            });
            opened.await??
        };
        let epochs = Arc::new(Epochs::open(&folder)?);
        left(&folder, &name)?;
        let number = folder.identity().map(|identity| identity.number);
        let roster = Roster::new(options.nodes.clone(), options.me, number, epochs.present().as_ref());
        let roster = Arc::new(roster);
        let shape = |me| Shape::new(me, options.routed, seeks_after_ms(options.timing));
        // A node that starts again begins with the links of the epoch that it knows.
        let wanted = number.map(|number| {
            let seen = Seen {
                epoch: epochs.present(),
                places: roster.places(),
                ..Seen::default()
            };
            shape(number).look(&seen).wanted()
        });
        let (router, mut inbox) = Router::start(link_config(&options, &roster, wanted)).await?;
        let first_start = FirstStart {
            folder: &folder,
            router: &router,
            cluster_name: options.cluster.clone(),
            nodes: options.nodes.iter().map(|node| node.name.clone()).collect(),
            me: options.me,
        };
        let founded = first_start.run(&mut inbox).await?;
        let numbers = founded.members.iter().map(|(_, number)| *number);
        let numbers: BTreeSet<NodeId> = numbers.filter(|number| *number != NodeId::NONE).collect();
        let shaping = Shaping::new(
            shape(founded.me),
            founded.me,
            roster.clone(),
            &numbers,
            router.clone(),
            epochs,
        );
        let shaping = Arc::new(shaping);
        // Who has joined later was not asked.
        let asked = usize::from(roster.me()) == options.me;
        if let Some(epoch) = shaping
            .epochs
            .present()
            .filter(|epoch| asked && epoch.kind != options.topology)
        {
            let (file, kind) = (options.topology, epoch.kind);
            tracing::warn!(
                "cluster.topology is {file} in the file, but the cluster has been a {kind} since epoch {}: the file only says \
                 how it begins; `queenright topology set` changes it",
                epoch.number
            );
        }

        let disk = {
            let roster = roster.clone();
            let names = Box::new(move |node| roster.name_of(node));
            Arc::new(Disk::new(folder.path(), room, founded.me, numbers.clone(), names))
        };
        // The log first: if it is damaged, this node must not go on, whatever else there is.
        let log = {
            let (path, options) = (folder.log_path(), log_options(&options.compaction));
            tokio::task::spawn_blocking(move || LogStore::open(&path, &options)).await??
        };
        let opened = open_state(&folder, founded.me, &disk).await?;
        let OpenState {
            store,
            replica,
            library,
            set_aside,
        } = opened;
        let recovery = prepare(&log, &library, &replica, &router, set_aside).await?;
        let snapshots = Snapshots {
            options: options.compaction,
            library,
            log: log.clone(),
            recovery,
        };
        let consensus = Consensus::start(
            options.timing,
            options.cluster.clone(),
            log.clone(),
            replica.clone(),
            Some(store.clone()),
            router.clone(),
            Some(snapshots),
        )
        .await;
        let consensus = consensus.map_err(|error| match replica.unfit() {
            Some(reason) => StartError::Unfit(reason),
            None => error.into(),
        })?;
        let consensus = Arc::new(consensus);
        let (shell, liveness) = watch_the_others(&options, &folder, &founded, &router, &consensus, &roster);
        let liveness = Arc::new(liveness);
        let signals = Arc::new(Signals::new(router.clone()));
        let topics = Arc::new(Topics::new(Some(router.clone())));
        let agents = Agents::new(options.kinds, replica.clone(), signals.clone(), topics.clone());
        let agents = Arc::new(agents);
        let queen_counts = Arc::new(QueenCounts::default());
        let meters = Arc::new(Meters::default());
        let memory = Arc::new(Memory::open(options.memory_bytes));
        let sharing = options.nodes.len().max(roster.seats().len()).max(NODES_SHARING);
        let arguments = QueenArguments {
            incarnation: folder.incarnation(),
            limits: RoundLimits {
                outcome_bytes: options.rounds.outcome_bytes.min(OUTCOMES_BYTES / sharing),
                ..options.rounds
            },
            replica: replica.clone(),
            consensus: consensus.clone(),
            router: router.clone(),
            agents: agents.clone(),
            disk: disk.clone(),
            liveness: liveness.clone(),
            counts: queen_counts.clone(),
            meters: meters.clone(),
            memory: memory.clone(),
        };
        let (queen, _) = Actor::spawn(None, Queen, arguments).await.map_err(StartError::Queen)?;
        answer_through(&replica, &queen);
        let services = Arc::new(Inbox {
            me: founded.me,
            consensus: consensus.clone(),
            queen: queen.clone(),
            signals: signals.clone(),
            topics: topics.clone(),
            node: OnceLock::new(),
        });
        router.serve(services.clone());

        if founded.unfinished {
            consensus.meet().await;
            consensus.initialise(&numbers).await?;
            first_start.finish()?;
        }
        let past = {
            let replica = replica.clone();
            Box::new(move || {
                replica
                    .snapshot()
                    .colony
                    .past()
                    .iter()
                    .map(|past| past.cluster)
                    .collect()
            })
        };
        let hello = AnsweringHello::of(&first_start, &founded, past, shaping.epochs.clone(), {
            let replica = replica.clone();
            Box::new(move || replica.rules_version())
        });
        let outlived = Arc::new(watch::Sender::new(None));
        let stop = CancellationToken::new();
        let watching = tokio::spawn(run_until(stop.clone(), shell.run()));
        let mut tasks = vec![watching];
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            follow_leader(consensus.clone(), queen.clone()),
        )));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            tell_recovered(consensus.clone(), queen.clone()),
        )));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            tell_unstored(replica.clone(), consensus.clone(), router.clone()),
        )));
        let steward = Steward::new(
            consensus.clone(),
            replica.clone(),
            queen.clone(),
            roster.clone(),
            founded.cluster,
            options.voters,
        );
        let steward = Arc::new(steward);
        tasks.push(tokio::spawn(run_until(stop.clone(), steward.clone().watch())));
        let joins = Joins {
            router: router.clone(),
            consensus: consensus.clone(),
            steward: steward.clone(),
            roster: roster.clone(),
        };
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            log_end_of_hellos(hello, joins.clone(), outlived.clone(), inbox),
        )));
        tasks.extend(watch_disk(&disk, looker, &router, &replica, &store, &roster, &stop));
        tasks.push(tokio::spawn(run_until(stop.clone(), {
            let memory = memory.clone();
            async move { memory.watch().await }
        })));
        let folder = Arc::new(folder);
        tasks.push(tokio::spawn(follow_members(consensus.clone(), stop.clone(), {
            let (disk, folder, roster, me) = (disk.clone(), folder.clone(), roster.clone(), founded.me);
            move |members| {
                let nodes = with_me(&members.nodes, me);
                disk.set_voters(members.voters());
                let (folder, known) = (folder.clone(), newest(&roster, &nodes));
                // The next start begins with these, until its log tells more.
                tokio::task::spawn_blocking(move || store_members(&folder, &known));
            }
        })));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            shaping
                .clone()
                .watch(consensus.clone(), replica.clone(), folder.clone()),
        )));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            keep_epoch(
                consensus.clone(),
                replica.clone(),
                queen.clone(),
                roster.clone(),
                options.topology,
                options.voters.map(|voters| voters as u8),
                founded.attempts.clone(),
            ),
        )));
        let detours = Arc::new(Detours::new());
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            tell_cuts(shaping.clone(), detours.clone(), consensus.clone(), router.clone()),
        )));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            keep_cuts(
                detours.clone(),
                consensus.clone(),
                replica.clone(),
                router.clone(),
                queen.clone(),
            ),
        )));
        let keeping = keep_rules(consensus.clone(), replica.clone(), router.clone(), queen.clone());
        tasks.push(tokio::spawn(run_until(stop.clone(), keeping)));
        let judge = Arc::new(Judge::new(replica.clone(), folder.clone()));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            compare_with_others(judge.clone(), router.clone()),
        )));
        let waking = wake_for_tasks(agents.clone(), router.clone());
        tasks.push(tokio::spawn(run_until(stop.clone(), waking)));
        let keeper = Keeper::new(founded.me, replica.clone(), consensus.clone(), queen.clone());
        let keeper = Arc::new(keeper);
        tasks.push(tokio::spawn(run_until(stop.clone(), keeper.clone().watch())));
        let hosting = Hosting::new(
            (founded.me, roster.own_name().into()),
            options.labels,
            agents.clone(),
            queen.clone(),
            replica.clone(),
        );
        let hosting = Arc::new(hosting);
        tasks.push(tokio::spawn(run_until(stop.clone(), hosting.clone().watch())));
        let conducting = Conducting {
            hosting: hosting.clone(),
            consensus: consensus.clone(),
            replica: replica.clone(),
            queen: queen.clone(),
            liveness: liveness.clone(),
            me: founded.me,
        };
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            keep_shares(conducting, router.clone()),
        )));
        let node = Arc::new(Node {
            cluster: options.cluster,
            cluster_id: founded.cluster,
            roster,
            topology: options.topology,
            shaping,
            detours,
            folder,
            store,
            log,
            replica,
            router,
            consensus,
            queen,
            queen_counts,
            meters,
            agents,
            signals,
            topics,
            subscribers: Arc::default(),
            disk,
            memory,
            traces: Arc::default(),
            liveness,
            judge,
            steward,
            joins,
            keeper,
            hosting,
            outlived,
            ended: Arc::default(),
            leaves: AtomicBool::new(false),
            stop,
            tasks: std::sync::Mutex::new(tasks),
        });
        assert!(services.node.set(Arc::downgrade(&node)).is_ok(), "it was just made");
        let completing = run_until(node.stop.clone(), {
            let node = Arc::downgrade(&node);
            async move { complete(&node).await }
        });
        node.tasks
            .lock()
            .expect("nothing panics under this lock")
            .push(tokio::spawn(completing));
        Ok(node)
    }
}

/// After how long without a leader a node dials everybody: longer than it takes to elect another one.
fn seeks_after_ms(timing: Timing) -> u64 {
    2 * timing.election.1.as_millis() as u64 + 1_000
}

/// The task that watches the other nodes, and what it tells.
fn watch_the_others(
    options: &NodeOptions,
    folder: &DataFolder,
    founded: &Founded,
    router: &Arc<Router>,
    consensus: &Consensus,
    roster: &Arc<Roster>,
) -> (Shell, Liveness) {
    let who = Who {
        me: founded.me,
        cluster: founded.cluster,
        start: folder.incarnation(),
        cookie: options.cookie.reveal().as_bytes(),
    };
    let shell = ShellOptions {
        address: options.nodes[options.me].links,
        pace: Pace::of(options.timing.heartbeat),
        members: consensus.members(),
        router: router.clone(),
        roster: roster.clone(),
    };
    Shell::new(who, rand::random(), shell)
}

/// What a node holds besides its log.
struct OpenState {
    store: Arc<Store>,
    replica: Arc<Replica>,
    library: Arc<Library>,
    /// Where that went which could not be read.
    set_aside: Vec<String>,
}

/// Opens the store and the snapshots, and takes over what the store holds; what does not add up is set aside.
async fn open_state(folder: &DataFolder, me: NodeId, disk: &Arc<Disk>) -> Result<OpenState, StartError> {
    let library = {
        let (path, data) = (folder.snapshot_path(), folder.path().to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            Library::open(&path, &data).map_err(|source| StoreError::Io { path, source })
        });
        Arc::new(opened.await??)
    };
    let (mut store, mut contents) = Store::open(folder, &StoreOptions::default())?;
    if let Some(reason) = comparison::noted(folder)? {
        library.discard_all(&reason).map_err(|source| StoreError::Io {
            path: folder.snapshot_path(),
            source,
        })?;
        let place = store.set_aside(reason.clone()).await?;
        tracing::warn!(place = %place.display(), %reason, "the state was set aside; it comes back from the log or a peer");
        comparison::settled(folder, &place, &reason)?;
        (store, contents) = Store::open(folder, &StoreOptions::default())?;
        contents.set_aside = Some(place);
    }
    let mut set_aside: Vec<String> = contents
        .set_aside
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    let restored = contents.meta.map(|meta| Replica::restore(me, &meta, contents.records));
    let (store, replica) = match restored {
        None => (store, Replica::new(me)),
        Some(Ok(replica)) => (store, replica),
        Some(Err(RestoreError::Unfinished)) => {
            tracing::info!("the store was being replaced by what a snapshot holds; the state comes back from there");
            store.discard().await?;
            (Store::open(folder, &StoreOptions::default())?.0, Replica::new(me))
        }
        Some(Err(RestoreError::Image(source @ ImageError::UnknownRules { .. }))) => {
            let data = folder.path().display().to_string();
            return Err(StartError::OtherRules { data, source });
        }
        Some(Err(error)) => {
            let place = store.set_aside(error.to_string()).await?;
            tracing::warn!(place = %place.display(), %error, "the store did not add up and was set aside");
            set_aside.push(place.display().to_string());
            (Store::open(folder, &StoreOptions::default())?.0, Replica::new(me))
        }
    };
    let (source, disk) = (replica.clone(), disk.clone());
    let take = {
        let source = source.clone();
        Arc::new(move || {
            let appended = source.counts().bytes;
            let taken = source.take_dirty()?;
            disk.behind().taken(appended);
            Some(taken)
        })
    };
    // The store's thread gives way to those that apply: it must not hold what they wait for.
    let runtime = tokio::runtime::Handle::current();
    store.start(move || Some(source.pass(promptly(&runtime, &take)?)));
    let wake = store.clone();
    replica.wake_store_by(Box::new(move |hurry| if hurry { wake.hurry() } else { wake.wake() }));
    Ok(OpenState {
        store: Arc::new(store),
        replica,
        library,
        set_aside,
    })
}

fn answer_through(replica: &Replica, queen: &ActorRef<QueenMessage>) {
    let queen = queen.clone();
    replica.answer_to(Box::new(move |answers| {
        // A queen that has stopped has nobody waiting.
        let _ = queen.cast(QueenMessage::Applied(answers));
    }));
}
