//! A recorded log: its bytes are those of an earlier build, and must lead to the digests that it came to. So a change of the
//! rules, or of the form in which rounds are logged, is noticed although everything that a test makes anew fits together.
//!
//! `recorded/log.bin` holds the entries one after the other, each with its length in front (4 bytes, big-endian):
//! [`Batch::encode`], as it stands in the log. `recorded/digests.txt` says what the state is after which of them. Both are
//! made by [`record`], from the random sequence of a seed and a few commands that no agent sends: all kinds of them, see [`kind`]. With `QUEENRIGHT_RECORD=1` in the environment this test makes them anew, to be committed with the reason.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::random::{Generator, Step, empty_round};
use super::*;

/// The first seed that is tried.
const SEED: u64 = 11;
/// How many commands it has.
const STEPS: usize = 2_200;
/// How many entries are between two digests.
const DIGEST_EVERY: usize = 200;
/// What the log may have at most.
const BYTES_MAX: usize = 1_000_000;

/// What a command is called: all kinds of them, so that a new one is missed in the log.
fn kind(body: &Body) -> &'static str {
    match body {
        Body::Change(_) => "change",
        Body::Propose(_) => "propose",
        Body::ProposeBatch(_) => "propose batch",
        Body::Withheld(_) => "withheld",
        Body::Task(command) => match command {
            TaskCommand::Add(_) => "task add",
            TaskCommand::Claim(_) => "task claim",
            TaskCommand::Accept(_) => "task accept",
            TaskCommand::Update(_) => "task update",
            TaskCommand::Control(_) => "task control",
            TaskCommand::Queue(_) => "task queue",
            TaskCommand::Leave(_) => "task leave",
            TaskCommand::Finish(_) => "task finish",
        },
        Body::Agent(command) => match command {
            AgentCommand::Started { .. } => "agent started",
            AgentCommand::Ended { .. } => "agent ended",
            AgentCommand::NodeStarted => "agent node started",
            AgentCommand::NodeLost { .. } => "agent node lost",
            AgentCommand::SessionsSilent(_) => "agent sessions silent",
            AgentCommand::SessionsAlive(_) => "agent sessions alive",
        },
        Body::Session(command) => match command {
            SessionCommand::Open(_) => "session open",
            SessionCommand::Reopen { .. } => "session reopen",
            SessionCommand::Close { .. } => "session close",
        },
        Body::Reservation(command) => match command {
            ReservationCommand::Acquire(_) => "reservation acquire",
            ReservationCommand::Release(_) => "reservation release",
            ReservationCommand::Force(_) => "reservation force",
            ReservationCommand::Renew(_) => "reservation renew",
            ReservationCommand::Slot { .. } => "reservation slot",
            ReservationCommand::Advisory(_) => "reservation advisory",
        },
        Body::Project(command) => match command {
            ProjectCommand::Create(_) => "project create",
            ProjectCommand::Destroy { .. } => "project destroy",
            ProjectCommand::Limit(_) => "project limit",
        },
        Body::Rate(command) => match command {
            RateCommand::Set { .. } => "rate set",
            RateCommand::Delete { .. } => "rate delete",
        },
        Body::Budget(command) => match command {
            BudgetCommand::Set { .. } => "budget set",
            BudgetCommand::Reset { .. } => "budget reset",
            BudgetCommand::Remove { .. } => "budget remove",
        },
        Body::DoorToken(command) => match command {
            DoorTokenCommand::Create { .. } => "door token create",
            DoorTokenCommand::Revoke { .. } => "door token revoke",
        },
        Body::Pool(command) => match command {
            PoolCommand::Set { .. } => "pool set",
            PoolCommand::Remove { .. } => "pool remove",
            PoolCommand::Drain { .. } => "pool drain",
            PoolCommand::Recycle { .. } => "pool recycle",
            PoolCommand::Share { .. } => "pool share",
        },
        Body::Topology(command) => match command {
            TopologyCommand::Set { .. } => "topology set",
            TopologyCommand::Members { .. } => "topology members",
            TopologyCommand::Rules { .. } => "topology rules",
            TopologyCommand::Cuts { .. } => "topology cuts",
            TopologyCommand::Admit { .. } => "topology admit",
            TopologyCommand::Drain { .. } => "topology drain",
            TopologyCommand::Remove { .. } => "topology remove",
        },
    }
}

const KINDS: [&str; 49] = [
    "agent ended",
    "agent node lost",
    "agent node started",
    "agent sessions alive",
    "agent sessions silent",
    "agent started",
    "budget remove",
    "budget reset",
    "budget set",
    "change",
    "door token create",
    "door token revoke",
    "pool drain",
    "pool recycle",
    "pool remove",
    "pool set",
    "pool share",
    "project create",
    "project destroy",
    "project limit",
    "propose",
    "propose batch",
    "rate delete",
    "rate set",
    "reservation acquire",
    "reservation advisory",
    "reservation force",
    "reservation release",
    "reservation renew",
    "reservation slot",
    "session close",
    "session open",
    "session reopen",
    "task accept",
    "task add",
    "task claim",
    "task control",
    "task finish",
    "task leave",
    "task queue",
    "task update",
    "topology admit",
    "topology cuts",
    "topology drain",
    "topology members",
    "topology remove",
    "topology rules",
    "topology set",
    "withheld",
];

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/colony/tests/recorded");
    folder.join(name)
}

/// The entries of the recorded log.
fn entries() -> Vec<Bytes> {
    let mut log = Bytes::from(std::fs::read(file("log.bin")).expect("it is recorded"));
    assert!(log.len() <= BYTES_MAX, "{} B", log.len());
    let mut entries = Vec::new();
    while !log.is_empty() {
        let length = u32::from_be_bytes(log.split_to(4)[..].try_into().expect("four bytes"));
        entries.push(log.split_to(length as usize));
    }
    entries
}

/// Which digest the state has after so many entries.
fn digests() -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(file("digests.txt")).expect("it is recorded");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = |line: &str| {
        let (count, digest) = line.split_once(' ').expect("a number and a digest");
        (count.parse().expect("a number"), digest.to_owned())
    };
    lines.map(line).collect()
}

fn rounds_of(batch: &Batch) -> Vec<Round> {
    let rounds = batch.rounds.iter().map(|round| Round::decode(round).expect("a round"));
    rounds.collect()
}

/// The batch of a step, as a leader joins it.
fn batch_of(step: &Step, colony: &Colony, number: usize) -> Batch {
    let round = Round {
        node: step.node,
        incarnation: step.incarnation,
        commands: vec![step.command.clone()],
    };
    let empty = step.empty_before.then(empty_round);
    Batch {
        cluster_ms: step.cluster_ms,
        wall_ms: wall_ms(step.cluster_ms),
        rounds: empty.iter().chain([&round]).map(Round::encode).collect(),
        checkpoint: number.is_multiple_of(DIGEST_EVERY).then(|| Checkpoint {
            index: number as u64,
            digest: colony.digest(),
        }),
    }
}

/// Makes the log and its digests, from the first seed whose commands are of every kind.
fn record() {
    let made = (SEED..SEED + 100).find_map(of_seed);
    let (log, digests) = made.expect("the commands of a seed are of every kind");
    std::fs::write(file("log.bin"), log).expect("written");
    std::fs::write(file("digests.txt"), digests).expect("written");
}

/// The log and the digests of a seed: its commands, each in an entry of its own, and one in so many withheld as on a full
/// disk. None if they are not of every kind.
fn of_seed(seed: u64) -> Option<(Vec<u8>, String)> {
    let (mut generator, mut colony) = (Generator::new(seed), Colony::default());
    let (mut log, mut kinds) = (Vec::new(), BTreeSet::new());
    let mut digests = format!(
        "# Entries applied, and the digest of the state then. Made by `recorded::record` (QUEENRIGHT_RECORD=1) from\n\
         # seed {seed} of `random::Generator`, {STEPS} commands.\n"
    );
    for number in 1..=STEPS {
        let mut step = generator.next(&colony);
        if number.is_multiple_of(97) {
            step.command.body = Body::Withheld(DiskLow {
                node: "n1".into(),
                free_bytes: 7,
                watermark_bytes: 100,
            });
        }
        kinds.insert(kind(&step.command.body));
        let batch = batch_of(&step, &colony, number);
        colony.apply(batch.cluster_ms, batch.wall_ms, &rounds_of(&batch), NodeId(1));
        let entry = batch.encode();
        log.extend_from_slice(&(entry.len() as u32).to_be_bytes());
        log.extend_from_slice(&entry);
        if number.is_multiple_of(DIGEST_EVERY) {
            digests.push_str(&format!("{number} {}\n", colony.digest()));
        }
    }
    let whole = kinds.into_iter().eq(KINDS) && log.len() <= BYTES_MAX;
    whole.then_some((log, digests))
}

#[test]
fn a_recorded_log_leads_to_the_recorded_digests() {
    if std::env::var_os("QUEENRIGHT_RECORD").is_some() {
        record();
    }
    let (mut colony, mut applied) = (Colony::default(), 0);
    let mut digests = digests().into_iter().peekable();
    let mut kinds = BTreeSet::new();
    for entry in entries() {
        let batch = Batch::decode(&entry).expect("an entry of this form is read");
        assert_eq!(batch.encode(), entry, "entry {applied} has another form now");
        let rounds = rounds_of(&batch);
        for (round, bytes) in rounds.iter().zip(&batch.rounds) {
            assert_eq!(
                round.encode(),
                *bytes,
                "a round of entry {applied} has another form now"
            );
            kinds.extend(round.commands.iter().map(|command| kind(&command.body)));
        }
        assert_eq!(colony.check_rules(&rounds, RULES), Ok(()));
        colony.apply(batch.cluster_ms, batch.wall_ms, &rounds, NodeId(1));
        applied += 1;
        if let Some((_, digest)) = digests.next_if(|(count, _)| *count == applied) {
            assert_eq!(colony.digest().to_string(), digest, "after {applied} entries");
        }
    }
    assert_eq!((applied, digests.next()), (STEPS, None));
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        KINDS,
        "the log has every kind of command"
    );
}
