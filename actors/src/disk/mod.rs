//! The room on the disks: what this node has left, what the others say, and whether growing commands are admitted.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | `DiskReport` | a node, to be at its start, when it gets low or is so no more, and each second while any node is low | each other node | its own `DiskReport` | what my disk has left |
//!
//! A node whose disk has less than a **watermark** left is *low*. Growing commands are admitted while a majority of the
//! voters is above theirs: then each of them can be committed without a low node. Every queen refuses them before the log
//! by what she has heard; the leader's queen, whose word counts, withholds those that came through all the same. What
//! adds nothing goes on, and so the colony can make room for itself.
//!
//! A **ballast** file takes up room from the start. It goes when little is left, so that purging the log and writing a
//! snapshot have room to work in, and is made again when there is room for it above the watermark. A missing ballast
//! counts as used: letting it go makes nobody less low.

mod ballast;
mod reports;
mod room;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use queenright_protocol::colony::DiskLow;
use queenright_protocol::id::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::ballast::Ballast;
pub(crate) use self::ballast::{free_bytes, release as release_ballast};
use self::reports::Reports;
pub use self::room::DiskLimits;
use self::room::{BallastMove, Room};

/// How long a node waits for the answer to its report, and after which it reports again to one that did not answer or
/// while somebody is low.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What a node says of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskReport {
    /// What is left, in bytes.
    pub(crate) free_bytes: u64,
    /// Below how many bytes it is low.
    pub(crate) watermark_bytes: u64,
    /// Whether it is; it stays so until there is somewhat more than the watermark.
    pub(crate) low: bool,
}

/// The disk of a node's data folder, as it shows in its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskStatus {
    /// What is left, in bytes: beyond a ballast that is missing, and beyond what is still to be written behind.
    pub free_bytes: u64,
    /// Below how many bytes the node is low.
    pub watermark_bytes: u64,
    /// Size of the ballast file, in bytes; 0 when there is none.
    pub ballast_bytes: u64,
    /// Whether it is low.
    pub low: bool,
}

/// What is free on the volume of a folder for a node with these limits, and its watermark, both in bytes. For those who look
/// from outside; nothing is changed.
///
/// # Errors
/// When the operating system refuses.
pub fn room_of(folder: &Path, limits: DiskLimits) -> io::Result<(u64, u64)> {
    let volume = ballast::volume(folder)?;
    Ok((volume.free_bytes, limits.of_volume(volume.total_bytes).watermark_bytes))
}

/// The room on the disks, as one node knows it.
pub(crate) struct Disk {
    folder: PathBuf,
    started: Instant,
    /// What is said to the others.
    own: watch::Sender<DiskReport>,
    // A mutex: noted by whoever hears a report, read by the task that looks. Held for one step of plain code.
    reports: Mutex<Reports>,
    /// The name of a node.
    names: Names,
    /// Why growing commands are refused, if they are.
    refusal: ArcSwapOption<DiskLow>,
    /// Whether any node is low, so that all keep telling.
    any_low: watch::Sender<bool>,
    ballast_bytes: AtomicU64,
    behind: Behind,
}

/// How a node is called.
pub(crate) type Names = Box<dyn Fn(NodeId) -> Arc<str> + Send + Sync>;

/// Looks at the disk again and again; made before the node has its number.
pub(crate) struct Looker {
    room: Room,
    ballast: Ballast,
    /// Said once, not each time.
    failed: bool,
}

impl Looker {
    /// Looks at the folder's disk for the first time: lets the ballast go when there is little room, or makes it. Blocks
    /// for the making of the file.
    pub(crate) fn open(folder: &Path, limits: DiskLimits) -> (Looker, DiskReport) {
        let volume = ballast::volume(folder).unwrap_or_default();
        let room = Room::new(limits.of_volume(volume.total_bytes));
        let mut looker = Looker {
            room,
            ballast: Ballast::of(folder),
            failed: false,
        };
        let report = looker.look(folder, 0);
        (looker, report)
    }

    /// What is left, after the ballast was let go or made. Blocks.
    fn look(&mut self, folder: &Path, unwritten_bytes: u64) -> DiskReport {
        match ballast::volume(folder) {
            Ok(volume) => {
                self.failed = false;
                let step = self.room.look(volume.free_bytes, self.ballast.bytes(), unwritten_bytes);
                match step {
                    BallastMove::Stay => {}
                    BallastMove::Release => self.ballast.release(),
                    BallastMove::Make(bytes) => self.ballast.make(bytes),
                }
            }
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(folder = %folder.display(), %error, "the room on the disk cannot be read");
            }
            Err(_) => {}
        }
        self.room.report()
    }
}

impl Disk {
    /// The disks of `voters`, of which this node is `me`.
    pub(crate) fn new(folder: &Path, first: DiskReport, me: NodeId, voters: BTreeSet<NodeId>, names: Names) -> Disk {
        let disk = Disk {
            folder: folder.to_owned(),
            started: Instant::now(),
            own: watch::Sender::new(first),
            reports: Mutex::new(Reports::new(me, voters)),
            names,
            refusal: ArcSwapOption::empty(),
            any_low: watch::Sender::new(false),
            ballast_bytes: AtomicU64::new(0),
            behind: Behind::default(),
        };
        disk.note(me, first);
        disk
    }

    /// Why growing commands are refused now, if they are.
    pub(crate) fn refusal(&self) -> Option<Arc<DiskLow>> {
        self.refusal.load_full()
    }

    /// What it shows in the status of its node.
    pub(crate) fn status(&self) -> DiskStatus {
        let report = *self.own.borrow();
        DiskStatus {
            free_bytes: report.free_bytes,
            watermark_bytes: report.watermark_bytes,
            ballast_bytes: self.ballast_bytes.load(Ordering::Relaxed),
            low: report.low,
        }
    }

    /// Takes the report of another node and answers with its own.
    pub(crate) fn hear(&self, from: NodeId, report: DiskReport) -> DiskReport {
        self.note(from, report);
        *self.own.borrow()
    }

    /// How far the store is behind the log.
    pub(crate) fn behind(&self) -> &Behind {
        &self.behind
    }

    /// These vote from now on.
    pub(crate) fn set_voters(&self, voters: BTreeSet<NodeId>) {
        let me = {
            let mut reports = self.reports.lock().expect("nothing panics under this lock");
            reports.set_voters(voters);
            reports.me()
        };
        // What follows for growing commands.
        let own = *self.own.borrow();
        self.note(me, own);
    }

    fn note(&self, from: NodeId, report: DiskReport) {
        let now_ms = self.started.elapsed().as_millis() as u64;
        let mut reports = self.reports.lock().expect("nothing panics under this lock");
        reports.note(from, report, now_ms);
        let (verdict, any_low) = (reports.verdict(now_ms), reports.any_low());
        // Under the lock, so that a later verdict is not overwritten by an earlier one.
        self.any_low
            .send_if_modified(|before| std::mem::replace(before, any_low) != any_low);
        let refusal = verdict.map(|(node, report)| {
            Arc::new(DiskLow {
                node: (self.names)(node),
                free_bytes: report.free_bytes,
                watermark_bytes: report.watermark_bytes,
            })
        });
        let before = self.refusal.swap(refusal.clone());
        match (before, refusal) {
            (None, Some(low)) => tracing::warn!(%low, "growing commands are refused"),
            (Some(_), None) => tracing::info!("growing commands are taken again"),
            _ => {}
        }
    }

    /// Looks at the disk for as long as it is polled. `appended` says how many bytes of entries were applied so far, and
    /// `passes` how many passes the store has written.
    pub(crate) async fn watch(
        self: Arc<Self>,
        mut looker: Looker,
        me: NodeId,
        appended: impl Fn() -> u64,
        passes: impl Fn() -> u64,
    ) {
        loop {
            let unwritten = self.behind.bytes(appended(), passes());
            let folder = self.folder.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let report = looker.look(&folder, unwritten);
                (looker, report)
            });
            // Only the end of the runtime breaks it off.
            let Ok((back, report)) = looked.await else { return };
            looker = back;
            self.ballast_bytes.store(looker.ballast.bytes(), Ordering::Relaxed);
            let before = self.own.send_replace(report);
            if before.low != report.low {
                let DiskReport {
                    free_bytes,
                    watermark_bytes,
                    low,
                } = report;
                tracing::warn!(free_bytes, watermark_bytes, low, "the disk of this node");
            }
            self.note(me, report);
            tokio::time::sleep(looker.room.next_look()).await;
        }
    }

    /// Keeps one other node informed for as long as it is polled: at once, when this node gets low or is so no more, and
    /// again and again while any node is low or there is no answer. `ask` delivers the report and returns the number of that node
    /// and its answer.
    pub(crate) async fn inform<F>(self: Arc<Self>, ask: impl Fn(DiskReport, Duration) -> F)
    where
        F: Future<Output = Option<(NodeId, DiskReport)>>,
    {
        let (mut own, mut any_low) = (self.own.subscribe(), self.any_low.subscribe());
        loop {
            let told = *own.borrow_and_update();
            let answer = ask(told, REPORT_EVERY).await;
            if let Some((peer, report)) = answer {
                self.note(peer, report);
            }
            let again = async {
                let repeats = answer.is_none() || *any_low.borrow_and_update();
                if !repeats {
                    // An idle cluster with room says nothing.
                    let _ = any_low.wait_for(|low| *low).await;
                }
                tokio::time::sleep(REPORT_EVERY).await;
            };
            tokio::select! {
                _ = own.wait_for(|report| report.low != told.low) => {}
                () = again => {}
            }
        }
    }
}

/// How many bytes of applied entries the store has not written yet: they come to the disk a second time.
#[derive(Default)]
pub(crate) struct Behind {
    // A mutex: noted by the store's thread, read by the task that looks. Held for a copy.
    takes: Mutex<Takes>,
}

/// What was applied when the store took its last two passes.
#[derive(Clone, Copy, Default)]
struct Takes {
    before_last_bytes: u64,
    last_bytes: u64,
    /// How many passes were taken.
    passes: u64,
}

impl Behind {
    /// The store takes a pass, with `appended` bytes of entries applied so far; the one before has been written.
    pub(crate) fn taken(&self, appended: u64) {
        let mut takes = self.takes.lock().expect("nothing panics under this lock");
        *takes = Takes {
            before_last_bytes: takes.last_bytes,
            last_bytes: appended,
            passes: takes.passes + 1,
        };
    }

    /// What is still to be written, when `passes` of the passes taken have been.
    fn bytes(&self, appended: u64, passes: u64) -> u64 {
        let takes = *self.takes.lock().expect("nothing panics under this lock");
        let written = match passes < takes.passes {
            true => takes.before_last_bytes,
            false => takes.last_bytes,
        };
        appended.saturating_sub(written)
    }
}
