use std::collections::BTreeSet;

use proptest::prelude::*;

use super::reports::SILENT_MS;
use super::room::RoomLimits;
use super::*;

const MIB: u64 = 1 << 20;

fn room() -> Room {
    Room::new(RoomLimits {
        watermark_bytes: 32 * MIB,
        ballast_bytes: 4 * MIB,
    })
}

fn report(free_bytes: u64) -> DiskReport {
    DiskReport {
        free_bytes,
        watermark_bytes: 100,
        low: free_bytes < 100,
    }
}

fn reports(voters: u64) -> Reports {
    Reports::new(NodeId(1), (1..=voters).map(NodeId).collect())
}

#[test]
fn limits_follow_the_volume_unless_they_are_said() {
    let of = |total| {
        let RoomLimits {
            watermark_bytes,
            ballast_bytes,
        } = DiskLimits::default().of_volume(total);
        (watermark_bytes / MIB, ballast_bytes / MIB)
    };
    assert_eq!([of(0), of(64 * MIB), of(2048 * MIB)], [(32, 4), (32, 4), (128, 16)]);
    assert_eq!(of(u64::MAX), (256, 32));
    let said = DiskLimits {
        watermark_bytes: Some(7),
        ballast_bytes: Some(0),
    };
    let limits = said.of_volume(u64::MAX);
    assert_eq!((limits.watermark_bytes, limits.ballast_bytes), (7, 0));
}

#[test]
fn a_disk_is_low_below_its_watermark_and_until_an_eighth_above_it() {
    let mut room = room();
    let mut low_at = |free: u64| {
        room.look(free * MIB, 4 * MIB, 0);
        room.report().low
    };
    let free = [33, 32, 31, 32, 35, 36, 33];
    assert_eq!(free.map(&mut low_at), [false, false, true, true, true, false, false]);
}

#[test]
fn what_is_still_to_be_written_is_not_left() {
    let mut room = room();
    room.look(100 * MIB, 4 * MIB, 10 * MIB);
    assert_eq!(room.report().free_bytes, 80 * MIB);
    room.look(10 * MIB, 4 * MIB, 10 * MIB);
    assert_eq!(room.report().free_bytes, 0);
}

#[test]
fn the_ballast_goes_when_little_is_left_and_comes_back_when_there_is_room() {
    let mut room = room();
    assert_eq!(room.look(1000 * MIB, 0, 0), BallastMove::Make(4 * MIB));
    assert_eq!(room.look(996 * MIB, 4 * MIB, 0), BallastMove::Stay);
    assert_eq!(room.look(16 * MIB, 4 * MIB, 0), BallastMove::Stay);
    assert_eq!(room.look(15 * MIB, 4 * MIB, 0), BallastMove::Release);
    assert_eq!(room.report().free_bytes, 15 * MIB);
    // Letting it go makes nothing more of what is left.
    assert_eq!(room.look(19 * MIB, 0, 0), BallastMove::Stay);
    assert_eq!((room.report().free_bytes, room.report().low), (15 * MIB, true));
    assert_eq!(room.look(39 * MIB, 0, 0), BallastMove::Stay);
    assert_eq!(room.look(40 * MIB, 0, 0), BallastMove::Make(4 * MIB));
}

proptest! {
    #[test]
    fn a_disk_that_nobody_else_fills_does_not_go_to_and_fro(free in 0..200 * MIB) {
        let mut room = room();
        let (mut free, mut ballast) = (free, 0);
        let mut moves = 0;
        let mut changes = 0;
        let mut low = None;
        for _ in 0..10 {
            let step = room.look(free, ballast, 0);
            changes += usize::from(low.replace(room.report().low).is_some_and(|low| low != room.report().low));
            let next = match step {
                BallastMove::Stay => continue,
                BallastMove::Release => 0,
                BallastMove::Make(bytes) => bytes,
            };
            free = free + ballast - next;
            ballast = next;
            moves += 1;
        }
        prop_assert!(moves <= 1 && changes == 0, "{moves} moves, low changed {changes} times");
    }

    #[test]
    fn growing_commands_are_refused_when_and_only_when_low_or_silent_nodes_leave_no_majority(
        voters in 1..8_u64,
        nodes in prop::collection::vec((any::<bool>(), any::<bool>()), 7),
    ) {
        let mut reports = reports(voters);
        let nodes = &nodes[..voters as usize];
        // At 0 everybody had room; later the low ones say so, and some of the others have nothing more to say.
        for number in 1..=voters {
            reports.note(NodeId(number), report(1000), 0);
        }
        for (number, (low, _)) in (1..).zip(nodes) {
            if *low {
                reports.note(NodeId(number), report(number), 10);
            }
        }
        prop_assert_eq!(reports.verdict(10).is_some(), nodes.iter().filter(|(low, _)| !low).count() as u64 * 2 <= voters);
        let now = 10 + SILENT_MS + 1;
        for (number, (low, silent)) in (1..).zip(nodes) {
            if !low && !silent {
                reports.note(NodeId(number), report(1000), now);
            }
        }
        let any_low = nodes.iter().any(|(low, _)| *low);
        // Nobody is silent to itself.
        let roomy = (1..).zip(nodes).filter(|(number, (low, silent))| !low && (!silent || *number == 1)).count() as u64;
        let verdict = reports.verdict(now);
        prop_assert_eq!(verdict.is_some(), any_low && roomy * 2 <= voters);
        let lowest = (1..).zip(nodes).find(|(_, (low, _))| *low).map(|(number, _)| NodeId(number));
        prop_assert!(verdict.is_none_or(|(node, _)| Some(node) == lowest));
    }
}

#[test]
fn what_a_stranger_says_of_its_disk_is_not_counted() {
    let mut reports = reports(1);
    reports.note(NodeId(9), report(0), 0);
    assert!(!reports.any_low() && reports.verdict(0).is_none());
}

#[test]
fn room_that_comes_back_ends_the_refusal() {
    let mut reports = reports(3);
    reports.note(NodeId(1), report(1), 0);
    assert_eq!(reports.verdict(0), None);
    reports.note(NodeId(3), report(2), 0);
    assert_eq!(reports.verdict(0), Some((NodeId(1), report(1))));
    reports.note(NodeId(1), report(200), 1);
    assert_eq!(reports.verdict(1), None);
    reports.note(NodeId(3), report(200), 2);
    assert!(!reports.any_low());
}

#[test]
fn what_the_store_has_not_written_yet_is_known() {
    let behind = Behind::default();
    assert_eq!(behind.bytes(10, 0), 10);
    behind.taken(10);
    assert_eq!((behind.bytes(15, 0), behind.bytes(15, 1)), (15, 5));
    behind.taken(30);
    assert_eq!((behind.bytes(30, 1), behind.bytes(31, 2)), (20, 1));
}

#[test]
fn the_ballast_takes_up_its_room_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let limits = DiskLimits {
        watermark_bytes: Some(1),
        ballast_bytes: Some(MIB),
    };
    let (looker, first) = Looker::open(folder.path(), limits);
    let file = folder.path().join("ballast");
    let made = std::fs::metadata(&file).unwrap();
    assert_eq!((looker.ballast.bytes(), made.len()), (MIB, MIB));
    // In blocks of 512 bytes: they are really its own.
    assert!(std::os::unix::fs::MetadataExt::blocks(&made) * 512 >= MIB);
    assert!(!first.low && first.free_bytes > 0);

    release_ballast(folder.path());
    assert!(!file.exists());
    // Letting go of what is not there is nothing.
    release_ballast(folder.path());
    let names = Box::new(|node: NodeId| format!("n{}", node.0).into());
    let disk = Disk::new(folder.path(), report(5), NodeId(1), [NodeId(1)].into(), names);
    let low = disk.refusal().expect("the only node is low");
    assert_eq!((&*low.node, low.free_bytes, low.watermark_bytes), ("n1", 5, 100));
    assert_eq!(disk.hear(NodeId(2), report(0)), report(5));
    disk.note(NodeId(1), report(500));
    assert_eq!(disk.refusal(), None);
    let nobody: BTreeSet<NodeId> = BTreeSet::new();
    assert_eq!(Reports::new(NodeId(1), nobody).verdict(0), None);
}
