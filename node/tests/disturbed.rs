//! Half a minute of what `--test chaos` does for longer.

use std::time::Duration;

use crate::histories::Run;
use crate::histories::nemesis::Blow;
use crate::histories::proxy::LinkMode;

#[test]
fn the_history_of_a_disturbed_cluster_is_linearizable() {
    let run = Run {
        name: "disturbed".to_owned(),
        seed: rand::random(),
        duration: Duration::from_secs(22),
        clients: 12,
        script: vec![
            Blow::KillLeader,
            Blow::IsolateLeader(LinkMode::Cut),
            Blow::StopLeader,
            Blow::KillAll,
        ],
        environment: Vec::new(),
        may_fail: false,
    };
    run.must_hold();
}
