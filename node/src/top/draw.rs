//! How a sample looks: panels of rows, on a screen or as plain text.

use std::fmt::Write as _;

use queenright_actors::agent::{AgentState, AgentStatus};
use queenright_actors::latency::Recent;
use queenright_actors::node::{LinkRole, NodeStatus, Role};
use queenright_bench::client::wire::WireBreaker;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table};

use super::problem::{Problem, Severity, problems};
use super::sample::{Rates, Sample};
use super::screen::{Screen, Section};
use crate::commands::shown;

/// From which size on all sections are shown at once.
const WIDE: (u16, u16) = (140, 40);
/// How many problems are shown above the nodes, where there is little room and where there is much.
const PROBLEMS_SHOWN: (u16, u16) = (4, 10);
/// How many nodes are shown where there is little room; the section of rounds has all of them.
const NODES_SHOWN: u16 = 7;
const KEYS: &str = " q quit  Tab or 1-5 section  ↑↓ scroll  p pause  ? help";
const HELP: [&str; 9] = [
    "q, Esc          quit",
    "Tab, ←, →       the next section, or the one before",
    "1 2 3 4 5       queues, agents, links, rounds, problems",
    "↑ ↓, j k        scroll the section",
    "PgUp PgDn Home  by pages, to the beginning",
    "p, space        what is shown stays, or goes on",
    "?, h            this",
    "",
    "Agents are those of the node that is asked: --node chooses it.",
];

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The newest sample.
    pub sample: &'a Sample,
    /// What happens each second.
    pub rates: &'a Rates,
    /// Why there is no newer one, if the node does not answer any more.
    pub failure: Option<&'a str>,
}

/// Rows under a heading.
struct Panel {
    title: String,
    heading: Vec<&'static str>,
    rows: Vec<(Vec<String>, Style)>,
}

/// Draws all of it.
pub fn draw(frame: &mut Frame, view: View, screen: &mut Screen) {
    let area = frame.area();
    let found = problems_of(view);
    let wide = area.width >= WIDE.0 && area.height >= WIDE.1;
    let shown = if wide { PROBLEMS_SHOWN.1 } else { PROBLEMS_SHOWN.0 };
    let problem_lines = u16::try_from(found.len()).unwrap_or(u16::MAX).clamp(1, shown);
    let nodes = u16::try_from(view.sample.status.nodes.len()).unwrap_or(u16::MAX);
    let nodes = if wide { nodes } else { nodes.min(NODES_SHOWN) };
    let [head, top, middle, rest, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1 + problem_lines),
        Constraint::Length(2 + nodes),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(view, screen), head);
    render(frame, top, &problem_panel(&found), &mut 0);
    render(frame, middle, &node_panel(view), &mut 0);
    match wide {
        true => {
            let [left, right] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(rest);
            let halves = Layout::vertical([Constraint::Percentage(50); 2]);
            let ([queues, agents], [links, rounds]) = (halves.areas(left), halves.areas(right));
            for (section, area) in [
                (Section::Queues, queues),
                (Section::Agents, agents),
                (Section::Links, links),
                (Section::Rounds, rounds),
            ] {
                let mut still = 0;
                let scroll = if section == screen.section {
                    &mut screen.scroll
                } else {
                    &mut still
                };
                render(frame, area, &section_panel(section, view, &found), scroll);
            }
        }
        false => render(
            frame,
            rest,
            &section_panel(screen.section, view, &found),
            &mut screen.scroll,
        ),
    }
    frame.render_widget(Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM)), foot);
    if screen.help {
        help(frame, area);
    }
}

/// The same as text, section after section, for whoever has no terminal.
pub fn snapshot(view: View) -> String {
    let found = problems_of(view);
    let mut text = head_text(view);
    let sections = Section::ALL.into_iter().filter(|section| *section != Section::Problems);
    let sections = sections.map(|section| section_panel(section, view, &found));
    for panel in [problem_panel(&found), node_panel(view)].into_iter().chain(sections) {
        text.push_str("\n\n");
        text.push_str(&panel.to_text());
    }
    text
}

fn problems_of(view: View) -> Vec<Problem> {
    let mut found = problems(view.sample);
    if let Some(failure) = view.failure {
        let text = format!("what is shown is old: {failure}");
        let severity = Severity::Critical;
        found.insert(0, Problem { severity, text });
    }
    found
}

fn head_text(view: View) -> String {
    let status = &view.sample.status;
    let queen = match (&status.leader, status.queenright) {
        (Some(leader), true) => format!("queenright, leader {leader}"),
        _ => "NOT queenright".to_owned(),
    };
    let (cluster, term, node) = (shown(&status.cluster), status.term, &status.node);
    let (topology, epoch) = (&status.topology, status.epoch);
    format!("{cluster}: {queen}, term {term}, {topology} of epoch {epoch}, asked {node}")
}

fn header(view: View, screen: &Screen) -> Paragraph<'static> {
    let colour = if view.sample.status.queenright {
        Color::Green
    } else {
        Color::Red
    };
    let bold = Style::new().fg(colour).add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(format!(" {}", head_text(view)), bold)];
    if screen.paused {
        spans.push(Span::styled("  PAUSED", Style::new().fg(Color::Yellow)));
    }
    Paragraph::new(Line::from(spans))
}

fn help(frame: &mut Frame, area: Rect) {
    let width = area.width.min(70);
    let height = area.height.min(HELP.len() as u16 + 2);
    let place = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let lines: Vec<Line> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}

/// Draws a panel from a row on, which is moved back if there are not so many.
fn render(frame: &mut Frame, area: Rect, panel: &Panel, scroll: &mut usize) {
    let room = usize::from(area.height).saturating_sub(1 + usize::from(!panel.heading.is_empty()));
    *scroll = (*scroll).min(panel.rows.len().saturating_sub(room));
    let below = panel.rows.len().saturating_sub(*scroll + room);
    let title = match (*scroll, below) {
        (0, 0) => format!(" {} ", panel.title),
        (above, below) => format!(" {} (↑{above} ↓{below}) ", panel.title),
    };
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().add_modifier(Modifier::DIM))
        .title(Span::styled(title, Style::new().add_modifier(Modifier::BOLD)));
    let rows = panel.rows.iter().skip(*scroll).take(room);
    let rows = rows.map(|(cells, style)| Row::new(cells.iter().map(|cell| Cell::from(cell.as_str()))).style(*style));
    let widths = panel.widths();
    let last = widths.len().saturating_sub(1);
    let widths = widths.iter().enumerate().map(|(place, width)| match place == last {
        // What does not fit is cut here.
        true => Constraint::Fill(1),
        false => Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX).min(40)),
    });
    let mut table = Table::new(rows, widths).block(block).column_spacing(1);
    if !panel.heading.is_empty() {
        let dim = Style::new().add_modifier(Modifier::DIM);
        table = table.header(Row::new(panel.heading.iter().copied().map(Cell::from)).style(dim));
    }
    frame.render_widget(table, area);
}

impl Panel {
    /// The width of the widest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(|(cells, _)| cells.len()).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(column));
            let cells = cells.map(|cell| cell.chars().count());
            let heading = self.heading.get(column).map(|heading| heading.chars().count());
            cells.chain(heading).max().unwrap_or_default()
        };
        (0..columns.max(self.heading.len())).map(width).collect()
    }

    fn to_text(&self) -> String {
        let widths = self.widths();
        let heading: Vec<String> = self.heading.iter().map(|cell| (*cell).to_owned()).collect();
        let heading = (!heading.is_empty()).then_some(&heading);
        let mut text = self.title.to_uppercase();
        for cells in heading.into_iter().chain(self.rows.iter().map(|(cells, _)| cells)) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            let _ = write!(text, "\n{}", line.trim_end());
        }
        text
    }
}

fn section_panel(section: Section, view: View, found: &[Problem]) -> Panel {
    let mut panel = match section {
        Section::Queues => queue_panel(view),
        Section::Agents => agent_panel(view),
        Section::Links => link_panel(view),
        Section::Rounds => round_panel(view),
        Section::Problems => problem_panel(found),
    };
    let place = Section::ALL
        .iter()
        .position(|other| *other == section)
        .unwrap_or_default();
    panel.title = format!("{} {}", place + 1, panel.title);
    panel
}

fn problem_panel(found: &[Problem]) -> Panel {
    let row = |problem: &Problem| {
        let (mark, style) = match problem.severity {
            Severity::Critical => ("!!", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
            Severity::Warning => (" !", Style::new().fg(Color::Yellow)),
            Severity::Note => ("  ", Style::new()),
        };
        (vec![mark.to_owned(), shown(&problem.text)], style)
    };
    let nothing = (
        vec!["  ".to_owned(), "nothing needs you".to_owned()],
        Style::new().fg(Color::Green),
    );
    Panel {
        title: format!("problems: {}", found.len()),
        heading: Vec::new(),
        rows: match found {
            [] => vec![nothing],
            found => found.iter().map(row).collect(),
        },
    }
}

fn node_panel(view: View) -> Panel {
    let status = &view.sample.status;
    let most = status
        .nodes
        .iter()
        .filter_map(|node| node.applied)
        .max()
        .unwrap_or_default();
    let row = |node: &NodeStatus| {
        let health = node.health.as_ref();
        let memory = health.and_then(|health| health.memory);
        let style = match node.role {
            Role::Unreachable => Style::new().fg(Color::Red),
            Role::Leader => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        let cells = vec![
            shown(&node.name),
            role(node.role).to_owned(),
            dash(node.applied),
            dash(node.applied.map(|applied| most - applied)),
            dash(view.rates.commands.get(&node.number).map(|rate| each_second(*rate))),
            dash(health.and_then(|health| p99(&health.command_times))),
            dash(memory.map(|memory| {
                format!(
                    "{} {}%",
                    mib(memory.used_bytes),
                    percent(memory.used_bytes, memory.limit_bytes)
                )
            })),
            dash(node.disk.map(|disk| mib(disk.free_bytes))),
            dash(node.agents),
            shown(&node.http),
        ];
        (cells, style)
    };
    Panel {
        title: format!("nodes: {}", status.nodes.len()),
        heading: vec![
            "NODE", "ROLE", "APPLIED", "LAG", "CMD/S", "P99", "MEMORY", "DISK", "AGENTS", "DOOR",
        ],
        rows: status.nodes.iter().map(row).collect(),
    }
}

fn queue_panel(view: View) -> Panel {
    let mut rows = Vec::new();
    for project in &view.sample.projects {
        let states = project.states.iter().filter(|(_, count)| **count > 0);
        let states: Vec<String> = states.map(|(state, count)| format!("{count} {state}")).collect();
        let cells = vec![
            shown(&project.project),
            project.holds.open_tasks.to_string(),
            project.queues.iter().map(|queue| queue.ready).sum::<u64>().to_string(),
            project.holds.waiting_claims.to_string(),
            states.join(", "),
        ];
        rows.push((cells, Style::new().add_modifier(Modifier::BOLD)));
        for queue in &project.queues {
            let state = match (&queue.paused_by, &queue.breaker, &queue.waits_for) {
                (Some(by), ..) => format!("paused by {}", shown(by)),
                (_, WireBreaker::Open { .. }, _) => "breaker open".to_owned(),
                (_, WireBreaker::HalfOpen { trial }, _) => format!("waits for task {trial}"),
                (.., Some(budget)) => format!("waits for {}", shown(budget)),
                _ => queue.policy.to_string(),
            };
            let closed = queue.paused_by.is_some() || !matches!(queue.breaker, WireBreaker::Closed { .. });
            let style = if closed {
                Style::new().fg(Color::Yellow)
            } else {
                Style::new()
            };
            let cells = vec![
                format!("  {}", shown(&queue.queue)),
                queue.open.to_string(),
                queue.ready.to_string(),
                queue.waiting.to_string(),
                state,
            ];
            rows.push((cells, style));
        }
    }
    let (shown, total) = (view.sample.projects.len(), view.sample.projects_total);
    Panel {
        title: match shown as u64 == total {
            true => format!("queues of {total} projects"),
            false => format!("queues of the {shown} busiest of {total} projects"),
        },
        heading: vec!["PROJECT, QUEUE", "OPEN", "READY", "WAITING", "STATE"],
        rows,
    }
}

fn agent_panel(view: View) -> Panel {
    let sample = view.sample;
    let mut agents: Vec<&AgentStatus> = sample.agents.agents.iter().collect();
    let badness = |state: AgentState| match state {
        AgentState::Failed => 0,
        AgentState::Recovering => 1,
        AgentState::Paused => 2,
        AgentState::Busy => 3,
        AgentState::Waiting => 4,
        AgentState::Starting => 5,
        AgentState::Idle => 6,
        AgentState::Passive => 7,
        AgentState::Stopped | AgentState::Done => 8,
    };
    agents.sort_by(|one, other| {
        badness(one.state)
            .cmp(&badness(other.state))
            .then(one.name.cmp(&other.name))
    });
    let counts = sample.agents.by_state();
    let counts: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {}", state.name()))
        .collect();
    let counts = if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    };
    let more = if sample.agents.more { " of the first 1,000" } else { "" };
    let row = |agent: &&AgentStatus| {
        let style = match badness(agent.state) {
            0 => Style::new().fg(Color::Red),
            1 | 2 => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        let cells = vec![
            shown(&agent.name),
            shown(&agent.kind),
            agent.state.name().to_owned(),
            agent.generation.to_string(),
            agent.restarts.to_string(),
            agent.letters.to_string(),
            dash(agent.reason.as_deref().map(shown)),
        ];
        (cells, style)
    };
    Panel {
        title: format!("agents of {}: {counts}{more}", sample.status.node),
        heading: vec!["AGENT", "KIND", "STATE", "GEN", "RESTARTS", "LETTERS", "WHY IT ENDED"],
        rows: agents.iter().map(row).collect(),
    }
}

fn link_panel(view: View) -> Panel {
    let mut rows = Vec::new();
    let (mut up, mut down) = (0, 0);
    for node in &view.sample.status.nodes {
        for link in node.traffic.iter().flat_map(|traffic| &traffic.links) {
            let wanted = matches!(link.role, LinkRole::Data | LinkRole::Control);
            let style = match (wanted, link.up) {
                (true, false) => Style::new().fg(Color::Red),
                (false, _) => Style::new().add_modifier(Modifier::DIM),
                (true, true) => Style::new(),
            };
            (up, down) = (up + u64::from(link.up), down + u64::from(wanted && !link.up));
            let sent = view.rates.sent_bytes.get(&(node.number, link.peer.clone()));
            let cells = vec![
                format!("{} → {}", shown(&node.name), shown(&link.peer)),
                link_role(link.role).to_owned(),
                if link.up { "up" } else { "down" }.to_owned(),
                dash(link.round_trip.map(|trip| time(trip.p50_us))),
                dash(sent.map(|rate| format!("{}/s", bytes(*rate)))),
                bytes(link.queued_bytes as f64),
                (link.lost + link.in_doubt).to_string(),
                link.refused.to_string(),
                dash(link.problem.as_deref().map(shown)),
            ];
            rows.push((wanted && !link.up, cells, style));
        }
    }
    rows.sort_by_key(|(down, ..)| !down);
    Panel {
        title: format!("ends of links: {up} up, {down} down"),
        heading: vec![
            "LINK", "FOR", "STATE", "TRIP", "SENDS", "WAITS", "LOST", "REFUSED", "PROBLEM",
        ],
        rows: rows.into_iter().map(|(_, cells, style)| (cells, style)).collect(),
    }
}

fn round_panel(view: View) -> Panel {
    let row = |node: &NodeStatus| {
        let health = node.health.as_ref();
        let pair = |of: fn(&queenright_actors::node::Health) -> &Recent| {
            let recent = health.map(of).filter(|recent| recent.count > 0);
            dash(recent.map(|recent| format!("{} {}", time(recent.p50_us), time(recent.p99_us))))
        };
        let cells = vec![
            shown(&node.name),
            dash(view.rates.rounds.get(&node.number).map(|rate| each_second(*rate))),
            pair(|health| &health.command_times),
            pair(|health| &health.round_times),
            pair(|health| &health.commit_times),
            pair(|health| &health.sync_times),
            dash(health.map(|health| health.store_waits)),
        ];
        (cells, Style::new())
    };
    Panel {
        title: "rounds: medians and p99 of the last minute or two".to_owned(),
        heading: vec!["NODE", "ROUNDS/S", "COMMAND", "ROUND", "COMMIT", "SYNC", "STORE WAITS"],
        rows: view.sample.status.nodes.iter().map(row).collect(),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Unreachable => "silent",
    }
}

fn link_role(role: LinkRole) -> &'static str {
    match role {
        LinkRole::Data => "data",
        LinkRole::Control => "control",
        LinkRole::Guest => "guest",
        LinkRole::Idle => "idle",
    }
}

fn dash(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn p99(recent: &Recent) -> Option<String> {
    (recent.count > 0).then(|| time(recent.p99_us))
}

/// Microseconds in as few characters as tell what they are.
fn time(us: u64) -> String {
    match us {
        0..=999 => format!("{us}µs"),
        1_000..=9_999 => format!("{:.1}ms", us as f64 / 1e3),
        10_000..=999_999 => format!("{}ms", us / 1_000),
        _ => format!("{:.1}s", us as f64 / 1e6),
    }
}

fn each_second(rate: f64) -> String {
    match rate {
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

fn bytes(count: f64) -> String {
    match count {
        count if count < 1024.0 => format!("{count:.0}B"),
        count if count < 1024.0 * 1024.0 => format!("{:.0}K", count / 1024.0),
        count => format!("{:.1}M", count / 1024.0 / 1024.0),
    }
}

fn mib(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..=9_999 => format!("{mib}M"),
        mib => format!("{}G", mib >> 10),
    }
}

fn percent(used: u64, limit: u64) -> u64 {
    (u128::from(used) * 100 / u128::from(limit.max(1))) as u64
}
