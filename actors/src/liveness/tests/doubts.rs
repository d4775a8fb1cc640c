//! Those that are not dead: loss, load, comings and goings, links without datagrams.

use std::time::Duration;

use queenright_protocol::id::NodeId;

use super::net::{Net, Weather, seeds};
use crate::liveness::View;
use crate::liveness::detector::Input;
use crate::router::NeighbourSign;

const SECOND: Duration = Duration::from_secs(1);

fn sign(node: u64, up: bool, silent: Option<Duration>) -> NeighbourSign {
    let node = NodeId(node);
    NeighbourSign { node, up, silent }
}

#[test]
fn nobody_is_taken_for_dead_in_ten_minutes_at_five_percent_loss() {
    for seed in seeds(1) {
        let mut net = Net::new(7, Weather::lossy(0.05), seed);
        // Whoever has no link is none the worse for it.
        for by in net.nodes() {
            // Nor for one that never comes up.
            let signs: Vec<_> = (1..=by).map(|of| sign(of, false, None)).collect();
            net.step(by, Input::Links(&signs));
        }
        net.pass(600 * SECOND);
        assert_eq!(net.changes, [], "seed {seed}");
    }
}

#[test]
fn datagrams_that_come_twice_and_in_another_order_change_nothing() {
    let weather = Weather {
        loss: 0.0,
        twice: 0.2,
        delay_ms: 0..30,
    };
    let mut net = Net::new(7, weather, 5);
    net.pass(60 * SECOND);
    assert_eq!(net.changes, []);
    let counts = net.detector(1).counts();
    assert!(counts.replayed > 50, "{counts:?}");
    assert_eq!(counts.refused(), counts.replayed);
}

#[test]
fn processes_that_wait_long_for_their_turn_are_not_dead() {
    for seed in seeds(3) {
        let mut net = Net::new(5, Weather::fair(), seed);
        net.pass(3 * SECOND);
        let until = net.now + 120 * SECOND;
        // One after the other does not run for up to 700 ms, as on a host with too much to do.
        while net.now < until {
            let node = net.at_random(1..6);
            net.stop(node);
            let pause = net.at_random(50..700);
            net.pass(Duration::from_millis(pause));
            net.go_on(node);
            let turn = net.at_random(20..200);
            net.pass(Duration::from_millis(turn));
        }
        let down = net.changes.iter().filter(|change| change.view == View::Down);
        assert_eq!(down.count(), 0, "seed {seed}: {:?}", net.changes);
    }
}

#[test]
fn one_that_comes_and_goes_is_suspect_for_longer_and_longer() {
    for seed in seeds(3) {
        let mut net = Net::new(3, Weather::fair(), seed);
        for _ in 0..60 {
            net.pass(4 * SECOND);
            net.stop(3);
            net.pass(6 * SECOND);
            net.go_on(3);
        }
        for by in [1, 2] {
            let changes = net.changes.iter().filter(|change| (change.by, change.of) == (by, 3));
            let returns = changes.filter(|change| change.view == View::Alive).count();
            // Of 60: three at once, and as many more as the five minutes that are looked back on let pass.
            assert!((3..=9).contains(&returns), "seed {seed}: {returns}: {:?}", net.changes);
        }
        // Once it stays, it is trusted again.
        net.pass(70 * SECOND);
        assert_eq!(
            (net.view(1, 3), net.view(2, 3)),
            (View::Alive, View::Alive),
            "seed {seed}"
        );
    }
}

/// Tells node 1 for `time` that its links to 2 and 3 are so, every 100 ms.
fn pass_with_links(net: &mut Net, time: Duration, up: bool) {
    let until = net.now + time;
    while net.now < until {
        let signs = [2, 3].map(|node| sign(node, up, up.then_some(Duration::from_millis(90))));
        net.step(1, Input::Links(&signs));
        net.pass(Duration::from_millis(100));
    }
}

#[test]
fn where_no_datagrams_pass_a_link_says_who_is_alive_and_since_when_not() {
    let mut net = Net::new(3, Weather::fair(), 1);
    net.cut(&[1], &[2, 3]);
    pass_with_links(&mut net, 30 * SECOND, true);
    assert_eq!((net.view(1, 2), net.view(1, 3)), (View::Alive, View::Alive));
    assert!(net.detector(1).opinions().values().all(|seen| seen.udp_blocked));
    let lost = net.now;
    pass_with_links(&mut net, 6 * SECOND, false);
    let (suspect, down) = (
        net.first_seen(2, lost, &[View::Suspect]),
        net.first_seen(2, lost, &[View::Down]),
    );
    assert!(
        suspect[&1] <= 2 * SECOND && down[&1] <= 5 * SECOND,
        "{suspect:?} {down:?}"
    );
    assert!(down[&1] > 4 * SECOND, "{down:?}");
    net.heal();
    net.pass(2 * SECOND);
    assert_eq!((net.view(1, 2), net.view(1, 3)), (View::Alive, View::Alive));
    assert!(net.detector(1).opinions().values().all(|seen| !seen.udp_blocked));
}

#[test]
fn datagrams_that_cease_while_the_link_goes_on_kill_nobody() {
    let mut net = Net::new(3, Weather::fair(), 2);
    pass_with_links(&mut net, 5 * SECOND, true);
    net.cut(&[1], &[2, 3]);
    pass_with_links(&mut net, 60 * SECOND, true);
    assert_eq!((net.view(1, 2), net.view(1, 3)), (View::Alive, View::Alive));
    let by_one = net.changes.iter().filter(|change| change.by == 1);
    assert_eq!(
        by_one.filter(|change| change.view == View::Down).count(),
        0,
        "{:?}",
        net.changes
    );
}

#[test]
fn a_link_that_is_up_but_silent_does_not_save_a_stopped_process() {
    let mut net = Net::new(3, Weather::fair(), 4);
    pass_with_links(&mut net, 5 * SECOND, true);
    net.stop(3);
    let stopped = net.now;
    for _ in 0..60 {
        let silent = Some(net.now - stopped + Duration::from_millis(50));
        net.step(1, Input::Links(&[sign(3, true, silent)]));
        net.pass(Duration::from_millis(100));
    }
    let down = net.first_seen(3, stopped, &[View::Down]);
    assert!(down[&1] <= 5 * SECOND, "{down:?}");
}

#[test]
fn a_link_that_is_not_wanted_any_more_says_nothing() {
    let mut net = Net::new(3, Weather::lossy(0.05), 6);
    pass_with_links(&mut net, 5 * SECOND, true);
    net.step(1, Input::Links(&[]));
    net.pass(60 * SECOND);
    assert_eq!(net.changes, []);
    // It has left nothing behind: without datagrams there is no sign at all.
    net.cut(&[1], &[2, 3]);
    let lost = net.now;
    net.pass(6 * SECOND);
    let down = net.first_seen(2, lost, &[View::Down]);
    assert!(down[&1] <= 5 * SECOND, "{down:?}");
    assert!(net.detector(1).opinions().values().all(|seen| !seen.udp_blocked));
}
