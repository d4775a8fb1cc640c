//! A loaded cluster of three grows to seven, and shrinks again: no command fails. Prints how long each step took.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "other tests use the rest of it")]
mod joined;

use std::time::Instant;

use queenright_bench::client::Client;

use colony::{Colony, NODES, until};
use joined::{Joined, Load, agreed, patient};

#[test]
fn a_loaded_cluster_of_three_grows_to_seven_and_shrinks_again_and_no_command_fails() {
    let colony = Colony::start("growing");
    let mut doors: Vec<Client> = NODES.iter().map(|node| patient(&colony, node)).collect();
    let load = Load::start(&colony, doors.clone());
    load.goes_on();
    let mut joined = Vec::new();
    println!(
        "{:<6}{:>10}{:>12}{:>14}{:>16}",
        "node", "let in", "caught up", "known by all", "commands/s"
    );
    for number in 4..=7_usize {
        let mut node = Joined::new(&colony, &format!("n{number}"));
        let (begun, before) = (Instant::now(), load.done());
        node.start(&colony, NODES[number % 3]);
        let (member, said) = node.step("member");
        assert_eq!(said["number"], number, "{said}");
        let (caught_up, _) = node.step("caught_up");
        doors.push(node.client());
        // All tell of the same epoch, whoever is asked.
        until("all know the epoch", || {
            let status = doors.iter().map(|door| colony.block_on(door.status()).ok());
            let status: Vec<_> = status.collect::<Option<_>>()?;
            let same = |one: &queenright_actors::node::ClusterStatus| {
                one.epoch == status[0].epoch && one.nodes.len() == number
            };
            status.iter().all(same).then_some(())
        });
        let took = begun.elapsed();
        let rate = (load.done() - before) as f64 * 4.0 / took.as_secs_f64();
        println!(
            "{:<6}{:>8.2} s{:>10.2} s{:>12.2} s{:>16.0}",
            node.name,
            (member - begun).as_secs_f64(),
            (caught_up - begun).as_secs_f64(),
            took.as_secs_f64(),
            rate
        );
        load.goes_on();
        joined.push(node);
    }
    let five = ["n1", "n2", "n3", "n4", "n5"];
    for mut node in joined.into_iter().rev() {
        let begun = Instant::now();
        let left = node.run(&colony, &["leave", "--wait", "1"]);
        assert_eq!(left.code, Some(0), "{left}");
        assert_eq!(node.wait(), Some(0));
        doors.pop();
        println!("{:<6} has left after {:.2} s", node.name, begun.elapsed().as_secs_f64());
        load.goes_on();
    }
    load.end(&colony);
    agreed(&colony, &doors, 3, &five[..3]);
}
