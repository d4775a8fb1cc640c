//! What liveness costs when nothing happens. `--nocapture` shows the figures.

use std::time::Duration;

use super::net::{Net, Weather};

#[test]
fn at_rest_a_node_sends_some_datagrams_a_second_whatever_the_number_of_members() {
    const SECONDS: u64 = 20;
    for count in [3, 7, 64] {
        let mut net = Net::new(count, Weather::fair(), 9);
        // Those that start meet first.
        net.pass(Duration::from_secs(10));
        let total = |net: &Net| {
            let counts = net.nodes().map(|node| net.detector(node).counts());
            counts.fold((0, 0), |sum, counts| (sum.0 + counts.sent, sum.1 + counts.sent_bytes))
        };
        let before = total(&net);
        net.pass(Duration::from_secs(SECONDS));
        let after = total(&net);
        let per_node = |count_of: u64| count_of as f64 / (SECONDS * count) as f64;
        let (datagrams, bytes) = (per_node(after.0 - before.0), per_node(after.1 - before.1));
        println!("{count} members: {datagrams:.1} datagrams and {bytes:.0} B sent a second by each");
        assert!((8.0..=12.0).contains(&datagrams), "{count}: {datagrams}");
        assert!(bytes <= 2_000.0, "{count}: {bytes}");
        assert_eq!(net.changes, []);
    }
}
