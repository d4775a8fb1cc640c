//! The guard of a command: a process that starts it, and kills all of it once the leash ends.
//!
//! It is this program again, without a runtime: threads that wait. The leash is its stdin, a socket; stdout and
//! stderr are the command's. Signals go out only while the leader of the group has not been waited for, so the number of
//! the group is surely its own.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid};
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use super::memory;
use super::{End, Job, STDIN_BYTES_MAX, can_bound_memory, find_program};

/// The first argument of a guard; how much memory the command may use, or [`UNBOUNDED`] or [`MEASURED`], and the command
/// follow.
const GUARD: &str = "process-guard";
/// Instead of a number of bytes: as much memory as there is.
const UNBOUNDED: &str = "-";
/// The same, and to be looked at.
const MEASURED: &str = "+";
/// The first argument of the command before it becomes the command; the number of its guard and the command follow.
#[cfg(target_os = "linux")]
const STAGE: &str = "process-stage";
/// SIGTERM for the group.
pub(super) const TERM: u8 = b't';
/// SIGKILL for all.
pub(super) const KILL: u8 = b'k';
/// How long the guard looks for what is left of a command that was killed: a process that the kernel cannot end by then
/// waits for a disk that does not answer.
const SWEEP_MAX: Duration = Duration::from_secs(10);
/// How often it looks meanwhile.
const SWEEP_EVERY: Duration = Duration::from_millis(2);
/// The exit code of a command that was found and could not be executed: that of shells.
#[cfg(target_os = "linux")]
const NOT_EXECUTED: u8 = 126;

/// What a guard says, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The command runs, as the leader of the group of this number.
    Started(i32),
    /// It was not started, and why.
    Refused(String),
    /// It used so much memory at most.
    Memory { most: u64 },
    /// It used more memory than it may, and is killed.
    OverMemory { used: u64, limit: u64 },
    /// It has ended, and nothing of it is left.
    Ended(End),
}

/// The arguments that make a guard of a program that calls [`entry`].
pub(super) fn arguments(job: &Job) -> impl Iterator<Item = OsString> {
    let memory = match job.memory_bytes_max {
        Some(bytes) => bytes.to_string(),
        None if job.measures_memory && can_bound_memory() => MEASURED.to_owned(),
        None => UNBOUNDED.to_owned(),
    };
    let first = [GUARD.into(), memory.into()];
    first.into_iter().chain(job.command.iter().cloned())
}

/// What `main` calls before anything else: if this process is to be a guard it is one until its end, and the exit code
/// is returned; otherwise nothing is done.
pub fn entry(mut arguments: impl Iterator<Item = OsString>) -> Option<u8> {
    let first = arguments.nth(1)?;
    if first == GUARD {
        let memory = arguments.next().unwrap_or_default();
        return Some(guard(&memory, arguments.collect()));
    }
    #[cfg(target_os = "linux")]
    if first == STAGE {
        return Some(stage(arguments.collect()));
    }
    None
}

/// What the guard waits for.
enum Event {
    Leash(u8),
    LeashEnded,
    CommandEnded(End),
    #[cfg(target_os = "linux")]
    OverMemory {
        used: u64,
        limit: u64,
    },
}

fn guard(memory: &OsStr, command: Vec<OsString>) -> u8 {
    // What leaves the group and loses its parent becomes a child of the guard, which so finds it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let started = match bound(memory).and_then(|memory| Ok((memory, start(&command)?))) {
        Ok(started) => started,
        Err(error) => {
            say(&Said::Refused(error.to_string()));
            return 1;
        }
    };
    let (memory, started) = started;
    let group = Pid::from_child(&started);
    say(&Said::Started(group.as_raw_nonzero().get()));
    let (tell, told) = sync_channel(4);
    watch_leash(tell.clone());
    #[cfg(target_os = "linux")]
    let most = memory.map(|limit| watch_memory(limit, tell.clone()));
    #[cfg(not(target_os = "linux"))]
    let () = memory;
    watch_command(group, tell);
    let end = hold(group, &told);
    #[cfg(target_os = "linux")]
    if let Some(most) = most {
        let most = most.load(Ordering::Relaxed);
        say(&Said::Memory { most });
    }
    if let Some(end) = end {
        say(&Said::Ended(end));
    }
    0
}

/// How much memory the command may use, if that is to be looked at.
#[cfg(target_os = "linux")]
fn bound(memory: &OsStr) -> io::Result<Option<u64>> {
    if memory == UNBOUNDED {
        return Ok(None);
    }
    if !can_bound_memory() {
        let problem = "this kernel does not list the children of processes, whose memory is to be bounded";
        return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
    }
    if memory == MEASURED {
        return Ok(Some(u64::MAX));
    }
    let bytes = memory.to_str().and_then(|text| text.parse().ok());
    let problem = || format!("memory: {memory:?} is no number of bytes");
    bytes
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, problem()))
}

#[cfg(not(target_os = "linux"))]
fn bound(memory: &OsStr) -> io::Result<()> {
    match memory == UNBOUNDED {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the memory of commands is bounded on Linux only",
        )),
    }
}

/// Starts the command, and a thread that feeds it.
fn start(command: &[OsString]) -> io::Result<Child> {
    let stdin = receive()?;
    let program = command
        .first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command"))?;
    let program = find_program(program.as_ref())?;
    let mut started = prepared(&program, command)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut pipe = started.stdin.take().expect("it was piped");
    // A command need not read: then this thread ends with the process.
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || io::Write::write_all(&mut pipe, &stdin))?;
    Ok(started)
}

/// By way of this program again, which asks to die with the guard and becomes the command.
#[cfg(target_os = "linux")]
fn prepared(program: &std::path::Path, command: &[OsString]) -> Command {
    let mut staged = Command::new("/proc/self/exe");
    staged.arg0(&command[0]).arg(STAGE);
    staged.arg(std::process::id().to_string());
    staged.arg(program).args(command);
    staged
}

#[cfg(not(target_os = "linux"))]
fn prepared(program: &std::path::Path, command: &[OsString]) -> Command {
    let mut prepared = Command::new(program);
    prepared.arg0(&command[0]).args(&command[1..]);
    prepared
}

/// Becomes the command. The wish to die with the parent outlives that.
#[cfg(target_os = "linux")]
fn stage(arguments: Vec<OsString>) -> u8 {
    let [guard, program, name, rest @ ..] = &arguments[..] else {
        return NOT_EXECUTED;
    };
    let asked = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().to_string());
    if asked.is_err() || parent.as_deref() != guard.to_str() {
        // The guard has died before it could be asked for.
        return NOT_EXECUTED;
    }
    let error = Command::new(program).arg0(name).args(rest).exec();
    let _ = io::Write::write_fmt(
        &mut io::stderr(),
        format_args!("queenright: cannot execute {}: {error}\n", program.display()),
    );
    NOT_EXECUTED
}

/// What the command is to read: its length, and the bytes.
fn receive() -> io::Result<Vec<u8>> {
    let mut leash = io::stdin().lock();
    let mut length = [0; 4];
    leash.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > STDIN_BYTES_MAX {
        let problem = format!("stdin: {length} B is over the limit of {STDIN_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut stdin = vec![0; length];
    leash.read_exact(&mut stdin)?;
    Ok(stdin)
}

/// A runner that has died hears nothing; the end of the leash follows.
fn say(said: &Said) {
    let mut line = serde_json::to_vec(said).expect("words and numbers are always JSON");
    line.push(b'\n');
    let leash = io::stdin();
    let mut left = &line[..];
    while !left.is_empty() {
        match rustix::io::write(leash.as_fd(), left) {
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn watch_leash(tell: SyncSender<Event>) {
    let watch = move || {
        let mut leash = io::stdin().lock();
        let mut byte = [0];
        loop {
            let event = match leash.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(1) => Event::Leash(byte[0]),
                _ => Event::LeashEnded,
            };
            let ended = matches!(event, Event::LeashEnded);
            if tell.send(event).is_err() || ended {
                return;
            }
        }
    };
    // Without the thread nothing would end the command: better the guard ends, and the command with it.
    thread::Builder::new()
        .name("leash".to_owned())
        .spawn(watch)
        .expect("a process that starts can make a thread");
}

/// Looks at the memory of all that the command has started, and tells once it is too much. What it was at most is kept up.
#[cfg(target_os = "linux")]
fn watch_memory(limit: u64, tell: SyncSender<Event>) -> Arc<AtomicU64> {
    let most = Arc::new(AtomicU64::new(0));
    let seen = most.clone();
    let watch = move || {
        // Most of what a command uses it has soon; a short one should be seen at all.
        let mut wait = memory::FIRST_LOOK_AFTER;
        loop {
            thread::sleep(wait);
            wait = memory::LOOK_EVERY;
            let used = memory::of_descendants();
            seen.fetch_max(used, Ordering::Relaxed);
            if used > limit {
                // An error says that it has ended by now.
                let _ = tell.send(Event::OverMemory { used, limit });
                return;
            }
        }
    };
    thread::Builder::new()
        .name("memory".to_owned())
        .spawn(watch)
        .expect("a process that starts can make a thread");
    most
}

/// Tells of the command's end and leaves it unwaited for: its number, and that of its group, stay its own.
fn watch_command(command: Pid, tell: SyncSender<Event>) {
    let watch = move || {
        let end = loop {
            match waitid(WaitId::Pid(command), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(Some(status)) => {
                    let signal = || End::Signal(status.terminating_signal().unwrap_or_default());
                    break status.exit_status().map_or_else(signal, End::Exit);
                }
                Ok(None) | Err(Errno::INTR) => {}
                // Nobody but this process may wait for its child.
                Err(errno) => unreachable!("the command cannot be waited for: {errno}"),
            }
        };
        let _ = tell.send(Event::CommandEnded(end));
    };
    thread::Builder::new()
        .name("command".to_owned())
        .spawn(watch)
        .expect("a process that starts can make a thread");
}

/// Holds the command until it has ended or must; then kills what is left. Says how it ended, if it ended in time.
fn hold(group: Pid, told: &Receiver<Event>) -> Option<End> {
    let mut end = None;
    while end.is_none() {
        match told.recv() {
            Ok(Event::Leash(TERM)) => {
                let _ = kill_process_group(group, Signal::TERM);
            }
            Ok(Event::CommandEnded(ended)) => end = Some(ended),
            #[cfg(target_os = "linux")]
            Ok(Event::OverMemory { used, limit }) => {
                say(&Said::OverMemory { used, limit });
                break;
            }
            // Whatever else is on the leash, it ends here.
            Ok(Event::Leash(_) | Event::LeashEnded) | Err(_) => break,
        }
    }
    let _ = kill_process_group(group, Signal::KILL);
    let status = sweep(group);
    end.or_else(|| {
        let status = status?;
        let signal = || End::Signal(status.signal().unwrap_or_default());
        Some(status.code().map_or_else(signal, End::Exit))
    })
}

/// Kills and waits for all children of this process until there are none; returns how the command ended.
fn sweep(command: Pid) -> Option<ExitStatus> {
    let until = Instant::now() + SWEEP_MAX;
    let mut status = None;
    while Instant::now() < until {
        #[cfg(target_os = "linux")]
        kill_children();
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, ended))) if pid == command => status = Some(ExitStatus::from_raw(ended.as_raw())),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => thread::sleep(SWEEP_EVERY),
            Err(_) => break,
        }
    }
    status
}

/// Kills the children of this process, by then the command and what it left behind: who loses its parent so becomes a
/// child here, and is killed at the next look.
#[cfg(target_os = "linux")]
fn kill_children() {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return;
    };
    for thread in threads.flatten() {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let children = children.split_ascii_whitespace();
        for child in children.filter_map(|child| Pid::from_raw(child.parse().ok()?)) {
            // It has not been waited for, so the number is its own.
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
    }
}
