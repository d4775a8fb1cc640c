//! Samples as a cluster told them, and others that are made of them, on small and large screens.

use std::collections::BTreeMap;

use queenright_actors::agent::AgentState;
use queenright_actors::memory::{MemoryLevel, MemoryStatus};
use queenright_actors::node::{Health, Role, Standing};
use queenright_bench::client::wire::WireBreaker;
use queenright_protocol::colony::StateName;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

/// What `queenright top --json` printed for three nodes with tasks, agents and links.
fn recorded() -> Sample {
    serde_json::from_str(include_str!("recorded.json")).unwrap()
}

/// A second later: 500 commands and 100 rounds more, and 1 MiB more on each link.
fn later(sample: &Sample) -> Sample {
    let mut later = sample.clone();
    later.at_ms += 1_000;
    for node in &mut later.status.nodes {
        if let Some(health) = &mut node.health {
            health.commands += 500;
            health.rounds += 100;
        }
        for link in &mut node.traffic.as_mut().unwrap().links {
            link.sent_bytes += 1 << 20;
        }
    }
    later
}

/// The lines of a screen of this size.
fn drawn(sample: &Sample, screen: &mut Screen, (width, height): (u16, u16)) -> Vec<String> {
    let newer = later(sample);
    let rates = Rates::between(sample, &newer);
    let view = View {
        sample: &newer,
        rates: &rates,
        failure: None,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_owned()).collect()
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

#[track_caller]
fn position(lines: &[String], text: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("no {text:?} in\n{}", lines.join("\n")))
}

#[test]
fn a_small_screen_has_problems_then_nodes_then_one_section() {
    let sample = recorded();
    let mut screen = Screen::default();
    let lines = drawn(&sample, &mut screen, SMALL);
    assert_eq!(lines.len(), 24);
    assert!(lines[0].contains("queenright, leader "), "{}", lines[0]);
    let problems = position(&lines, "problems: ");
    let nodes = position(&lines, "nodes: 3");
    let queues = position(&lines, "1 queues of ");
    assert!(problems == 1 && problems < nodes && nodes < queues);
    for node in ["n1", "n2", "n3"] {
        let line = &lines[position(&lines[nodes..], &format!("{node} ")) + nodes];
        assert!(line.contains("500") && line.contains('%'), "{line}");
    }
    position(&lines[queues..], "default");
    assert!(lines[23].contains("q quit"), "{}", lines[23]);
    for (key, title) in [
        (Section::Agents, "2 agents of n1: "),
        (Section::Links, "3 ends of links: "),
        (Section::Rounds, "4 rounds: "),
        (Section::Problems, "5 problems: "),
    ] {
        screen.press(Key::Choose(key));
        let lines = drawn(&sample, &mut screen, SMALL);
        assert!(position(&lines, title) > nodes, "{title}");
        assert!(!lines.iter().any(|line| line.contains("1 queues of ")), "{title}");
    }
    screen.press(Key::Help);
    assert!(
        drawn(&sample, &mut screen, SMALL)
            .iter()
            .any(|line| line.contains("Tab, ←, →"))
    );
}

#[test]
fn a_large_screen_has_all_sections() {
    let lines = drawn(&recorded(), &mut Screen::default(), LARGE);
    let nodes = position(&lines, "nodes: 3");
    let all = [
        "1 queues of ",
        "2 agents of n1: ",
        "3 ends of links: 6 up, 0 down",
        "4 rounds: ",
    ];
    for title in all {
        assert!(position(&lines, title) > nodes);
    }
    assert!(position(&lines, "1.0M/s") > nodes);
}

#[test]
fn no_screen_is_too_small_to_be_drawn() {
    let sample = recorded();
    for size in [(1, 1), (5, 3), (20, 8), (80, 10), (300, 5), (10, 100)] {
        for section in Section::ALL {
            let mut screen = Screen::default();
            screen.press(Key::Choose(section));
            screen.press(Key::Help);
            screen.scroll = 1_000;
            drawn(&sample, &mut screen, size);
        }
    }
}

#[test]
fn scrolling_ends_where_the_lines_end() {
    let mut sample = recorded();
    let one = sample.projects[0].clone();
    sample.projects = (0..40)
        .map(|number| ProjectSample {
            project: format!("project-{number:02}"),
            ..one.clone()
        })
        .collect();
    let mut screen = Screen::default();
    (0..500).for_each(|_| screen.press(Key::Down));
    let lines = drawn(&sample, &mut screen, SMALL);
    assert!(screen.scroll < 200, "{}", screen.scroll);
    position(&lines, "project-39");
    screen.press(Key::Home);
    position(&drawn(&sample, &mut screen, SMALL), "project-00");
}

#[test]
fn problems_are_told_the_worst_first_and_a_fine_cluster_has_none() {
    let mut sample = recorded();
    sample.projects.clear();
    sample.agents = AgentsSample::default();
    assert_eq!(problems(&sample), []);
    let lines = drawn(&sample, &mut Screen::default(), SMALL);
    assert!(lines[2].contains("nothing needs you"), "{}", lines[2]);

    let mut sample = recorded();
    sample.status.queenright = false;
    sample.status.leader = None;
    let [first, second, third] = &mut sample.status.nodes[..] else {
        panic!("three nodes")
    };
    first.standing = Some(Standing::Drained);
    first.health = Some(Health {
        memory: Some(MemoryStatus {
            used_bytes: 95 << 20,
            limit_bytes: 100 << 20,
            level: MemoryLevel::Full,
            refused: 3,
        }),
        ..first.health.clone().unwrap()
    });
    let disk = second.disk.as_mut().unwrap();
    (disk.low, disk.free_bytes, disk.watermark_bytes) = (true, 7 << 20, 32 << 20);
    let link = &mut second.traffic.as_mut().unwrap().links[0];
    (link.up, link.problem) = (false, Some("refused".to_owned()));
    let (ends, down) = (second.name.clone(), link.peer.clone());
    second.applied = first.applied.map(|applied| applied.saturating_sub(5_000));
    first.applied = first.applied.map(|applied| applied + 5_000);
    third.role = Role::Unreachable;
    third.health = None;
    let project = &mut sample.projects[0];
    project.states = BTreeMap::from([(StateName::Dead, 2), (StateName::AwaitingApproval, 1)]);
    project.queues[0].paused_by = Some("anna\u{1b}[31m".into());
    project.queues[0].open = 4;
    let mut queue = project.queues[0].clone();
    (queue.queue, queue.paused_by, queue.breaker) = ("builds".into(), None, WireBreaker::Open { until_ms: 9 });
    project.queues.push(queue.clone());
    (queue.queue, queue.breaker, queue.ready, queue.waiting) =
        ("idle".into(), WireBreaker::Closed { failures: 0 }, 6, 0);
    project.queues.push(queue);
    sample.agents.agents[0].state = AgentState::Failed;
    let found = problems(&sample);
    let texts: Vec<&str> = found.iter().map(|problem| problem.text.as_str()).collect();
    let name = &sample.projects[0].project;
    for expected in [
        "no leader that a quorum follows: nothing is written".to_owned(),
        "n1: 95 of 100 MiB of memory used, new work is refused".to_owned(),
        "n2: 7 MiB left on its disk, the watermark is 32 MiB".to_owned(),
        "n3 does not answer".to_owned(),
        "n1 is drained: it takes no new work".to_owned(),
        format!("the link {ends} – {down} is down: refused"),
        format!("{name}: 2 tasks are dead (queenright dlq list --project {name})"),
        format!("{name}: 1 tasks wait for approval"),
        format!("queue builds of {name}: its breaker is open, 4 open"),
        format!("queue idle of {name}: 6 tasks are ready, and nobody works"),
        format!("agents of n1 failed: {}", sample.agents.agents[0].name),
    ] {
        assert!(texts.contains(&expected.as_str()), "no {expected:?} in {texts:#?}");
    }
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("n2 is ") && text.ends_with(" entries behind")),
        "{texts:?}"
    );
    let severities: Vec<Severity> = found.iter().map(|problem| problem.severity).collect();
    assert!(severities.is_sorted(), "{severities:?}");
    assert_eq!(
        severities
            .iter()
            .filter(|severity| **severity == Severity::Critical)
            .count(),
        4
    );
    // Four lines of them above the nodes; the others in their section. Nothing that others wrote moves the cursor.
    let lines = drawn(&sample, &mut Screen::default(), SMALL);
    assert!(lines[0].contains("NOT queenright"), "{}", lines[0]);
    assert!(lines[1].contains(&format!("problems: {}", found.len())), "{}", lines[1]);
    assert_eq!(position(&lines, "nodes: 3"), 6);
    assert!(!lines.concat().contains('\u{1b}'));
}

#[test]
fn what_is_old_is_said_to_be_and_the_same_stands_in_plain_text() {
    let sample = recorded();
    let view = View {
        sample: &sample,
        rates: &Rates::default(),
        failure: Some("127.0.0.1:7201 does not answer"),
    };
    let text = snapshot(view);
    assert!(
        text.contains("!!  what is shown is old: 127.0.0.1:7201 does not answer"),
        "{text}"
    );
    for title in [
        "PROBLEMS: ",
        "NODES: 3",
        "1 QUEUES OF ",
        "2 AGENTS OF N1",
        "3 ENDS OF LINKS",
        "4 ROUNDS",
    ] {
        assert!(text.contains(title), "no {title} in {text}");
    }
    assert!(!text.lines().any(|line| line.ends_with(' ')));
}

#[test]
fn a_node_that_started_again_has_no_rates() {
    let sample = recorded();
    let mut newer = later(&sample);
    newer.status.nodes[0].pid = Some(1);
    newer.status.nodes[1].health.as_mut().unwrap().commands = 0;
    let rates = Rates::between(&sample, &newer);
    let numbers: Vec<u64> = rates.commands.keys().copied().collect();
    assert_eq!(numbers, [sample.status.nodes[2].number]);
    assert_eq!(Rates::between(&newer, &newer), Rates::default());
}
