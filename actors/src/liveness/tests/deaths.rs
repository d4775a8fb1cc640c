//! Those that die, stop, are cut off and come back.

use std::time::Duration;

use super::net::{Net, Weather, seeds};
use crate::liveness::View;

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn all_see(net: &Net, of: u64, view: View) {
    for by in net.nodes().filter(|by| *by != of) {
        assert_eq!(net.view(by, of), view, "{by} sees {of}");
    }
}

#[track_caller]
fn everybody_is_alive(net: &Net) {
    net.nodes().for_each(|of| all_see(net, of, View::Alive));
}

#[test]
fn a_dead_node_is_suspect_within_two_seconds_and_down_within_five_on_all_others() {
    for count in [3, 7] {
        for seed in seeds(20) {
            let mut net = Net::new(count, Weather::lossy(0.01), seed);
            let moment = net.at_random(2_000..6_000);
            net.pass(Duration::from_millis(moment));
            let (dead, died) = (net.at_random(1..count + 1), net.now);
            net.kill(dead);
            net.pass(8 * SECOND);
            let suspect = net.first_seen(dead, died, &[View::Suspect, View::Down]);
            let down = net.first_seen(dead, died, &[View::Down]);
            assert_eq!(
                (suspect.len(), down.len()),
                (count as usize - 1, count as usize - 1),
                "seed {seed}"
            );
            assert!(
                suspect.values().all(|after| *after <= 2 * SECOND),
                "seed {seed}: {suspect:?}"
            );
            assert!(down.values().all(|after| *after <= 5 * SECOND), "seed {seed}: {down:?}");
            let others = net.changes.iter().filter(|change| change.of != dead);
            assert_eq!(others.count(), 0, "seed {seed}: {:?}", net.changes);
        }
    }
}

#[test]
fn of_sixty_four_a_dead_one_is_found_a_little_later() {
    for seed in seeds(2) {
        let mut net = Net::new(64, Weather::lossy(0.01), seed);
        net.pass(6 * SECOND);
        let died = net.now;
        net.kill(17);
        net.pass(8 * SECOND);
        let suspect = net.first_seen(17, died, &[View::Suspect, View::Down]);
        let down = net.first_seen(17, died, &[View::Down]);
        assert_eq!((suspect.len(), down.len()), (63, 63), "seed {seed}");
        let (suspect, down) = (suspect.values().max(), down.values().max());
        println!("seed {seed}: suspect within {suspect:?}, down within {down:?}");
        assert!(
            suspect <= Some(&(4 * SECOND)) && down <= Some(&(7 * SECOND)),
            "seed {seed}: {suspect:?} {down:?}"
        );
    }
}

#[test]
fn two_that_die_at_once_are_both_found() {
    for seed in seeds(10) {
        let mut net = Net::new(7, Weather::lossy(0.01), seed);
        net.pass(4 * SECOND);
        net.kill(2);
        net.kill(5);
        net.pass(8 * SECOND);
        for by in [1, 3, 4, 6, 7] {
            assert_eq!(
                (net.view(by, 2), net.view(by, 5)),
                (View::Down, View::Down),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn one_that_starts_again_is_alive_at_once_and_finds_the_others_alive() {
    for seed in seeds(10) {
        let mut net = Net::new(3, Weather::fair(), seed);
        net.pass(3 * SECOND);
        net.kill(3);
        net.pass(8 * SECOND);
        all_see(&net, 3, View::Down);
        net.restart(3);
        net.pass(SECOND);
        everybody_is_alive(&net);
        net.pass(20 * SECOND);
        everybody_is_alive(&net);
    }
}

#[test]
fn one_that_starts_again_before_it_was_missed_was_never_away() {
    for seed in seeds(10) {
        let mut net = Net::new(7, Weather::fair(), seed);
        net.pass(3 * SECOND);
        net.kill(3);
        net.pass(SECOND / 2);
        net.restart(3);
        net.pass(10 * SECOND);
        everybody_is_alive(&net);
        let down = net.changes.iter().filter(|change| change.view == View::Down);
        assert_eq!(down.count(), 0, "seed {seed}: {:?}", net.changes);
    }
}

#[test]
fn a_stopped_process_is_down_and_takes_nobody_for_dead_when_it_goes_on() {
    for seed in seeds(10) {
        let mut net = Net::new(7, Weather::fair(), seed);
        net.pass(3 * SECOND);
        net.stop(4);
        net.pass(20 * SECOND);
        all_see(&net, 4, View::Down);
        net.go_on(4);
        net.pass(2 * SECOND);
        everybody_is_alive(&net);
        net.pass(20 * SECOND);
        let its = net.changes.iter().filter(|change| change.by == 4);
        assert_eq!(its.count(), 0, "seed {seed}: {:?}", net.changes);
        assert_eq!(net.detector(4).counts().asleep, 1);
    }
}

#[test]
fn both_sides_of_a_cut_see_the_other_down_and_find_each_other_afterwards() {
    for seed in seeds(10) {
        let mut net = Net::new(7, Weather::lossy(0.01), seed);
        net.pass(3 * SECOND);
        let (these, those) = ([1, 2, 3], [4, 5, 6, 7]);
        net.cut(&these, &those);
        net.pass(20 * SECOND);
        for (by, of) in these.iter().flat_map(|by| those.iter().map(move |of| (*by, *of))) {
            assert_eq!(
                (net.view(by, of), net.view(of, by)),
                (View::Down, View::Down),
                "seed {seed}"
            );
        }
        assert!(
            these.iter().all(|by| net.view(*by, 1 + by % 3) == View::Alive),
            "seed {seed}"
        );
        net.heal();
        net.pass(5 * SECOND);
        everybody_is_alive(&net);
        net.pass(20 * SECOND);
        everybody_is_alive(&net);
    }
}

#[test]
fn one_that_only_two_cannot_reach_is_alive_to_all() {
    let mut net = Net::new(7, Weather::fair(), 3);
    net.pass(3 * SECOND);
    net.cut(&[1, 2], &[6]);
    net.pass(60 * SECOND);
    everybody_is_alive(&net);
    assert_eq!(net.changes, []);
}
