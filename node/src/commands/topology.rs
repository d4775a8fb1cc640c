//! `queenright topology`: how the nodes are linked, and another way.

use queenright_actors::node::{LinkRole, Role};
use queenright_bench::client::wire::{LinkState, TopologySet, WireLink, WireTopology};
use queenright_protocol::topology::{FanOut, Kind};

use super::door::{client, of_read};
use super::table::Table;
use super::{CliError, Context};
use crate::cli::TopologyCommand;
use crate::exit::Exit;

/// How wide a drawing may be.
const COLUMNS: usize = 80;
/// The longest name in a drawing: so that one of 64 nodes has room.
const NAME_CHARS: usize = 10;

/// Carries out `queenright topology`.
///
/// # Errors
/// [`CliError`] when the node does not answer, or does not take the command.
pub async fn run(command: TopologyCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        TopologyCommand::Show { client: args } => {
            let topology = client(&args)?.topology().await.map_err(of_read)?;
            context.answer(&topology, text(&topology))?;
        }
        TopologyCommand::Set {
            kind,
            fan_out,
            dry_run,
            client: args,
        } => {
            let kind = kind_of(&kind, fan_out)?;
            let set = client(&args)?.set_topology(kind, dry_run).await?;
            context.answer(&set, set_text(&set))?;
        }
    }
    Ok(Exit::Ok)
}

fn kind_of(word: &str, fan_out: Option<u16>) -> Result<Kind, CliError> {
    let usage = |error: queenright_protocol::topology::KindError| CliError::Usage(error.to_string());
    match (word.parse().map_err(usage)?, fan_out) {
        (Kind::Hierarchical { fan_out: default }, fan_out) => Ok(Kind::Hierarchical {
            fan_out: fan_out.map_or(Ok(default), FanOut::new).map_err(usage)?,
        }),
        (kind, None) => Ok(kind),
        (kind, Some(fan_out)) => Err(CliError::Usage(format!(
            "--fan-out {fan_out} means nothing for {kind} (only hierarchical)"
        ))),
    }
}

fn set_text(set: &TopologySet) -> String {
    let TopologySet { epoch, kind, .. } = set;
    let mut text = match (set.changed, set.dry_run) {
        (false, _) => return format!("the topology is {kind} already, since epoch {epoch} at the latest"),
        (true, true) => format!("nothing has changed; as {kind}, which would be epoch {epoch},"),
        (true, false) => format!("the topology is {kind} from epoch {epoch} on:"),
    };
    let list = |links: &[(String, String)]| match links {
        [] => "none".to_owned(),
        links => {
            let named: Vec<String> = links.iter().map(|(one, other)| format!("{one}-{other}")).collect();
            named.join(", ")
        }
    };
    let stay = match &set.closes[..] {
        [] => "",
        _ => " (between voters they stay, for consensus)",
    };
    let (opens, closes) = (list(&set.opens), list(&set.closes));
    text.push_str(&format!("\nopens   {opens}\ncloses  {closes}{stay}"));
    text
}

fn text(topology: &WireTopology) -> String {
    let count = topology.members.len();
    let mut table = Table::new(["LINK", "FOR", "STATE", "RTT", "SENT", "BACK", "BYTES"]);
    let counted = |sent: Option<u64>| sent.map_or_else(|| "-".to_owned(), |sent| sent.to_string());
    for link in &topology.links {
        table.row([
            format!("{}-{}", link.one, link.other),
            role(link.role).to_owned(),
            state(link.state).to_owned(),
            round_trip(link.round_trip_us),
            counted(link.sent),
            counted(link.sent_back),
            link.bytes.to_string(),
        ]);
    }
    let reasons: String = topology.links.iter().filter_map(reason).collect();
    format!(
        "{}: {} of {count} node{}, epoch {}\n\n{}\n\n{table}{reasons}",
        topology.cluster,
        topology.kind,
        if count == 1 { "" } else { "s" },
        topology.epoch,
        drawing(topology)
    )
}

/// A time in milliseconds, to three places at most.
fn round_trip(micros: Option<u64>) -> String {
    micros.map_or_else(
        || "-".to_owned(),
        |micros| format!("{}.{:03} ms", micros / 1_000, micros % 1_000),
    )
}

/// Why a link is not up, as a line of its own.
fn reason(link: &WireLink) -> Option<String> {
    let problem = link.problem.as_ref()?;
    Some(format!("\n{}-{}: {problem}", link.one, link.other))
}

fn role(role: LinkRole) -> &'static str {
    match role {
        LinkRole::Data => "data",
        LinkRole::Control => "control",
        LinkRole::Guest => "guest",
        LinkRole::Idle => "idle",
    }
}

fn state(state: LinkState) -> &'static str {
    match state {
        LinkState::Up => "up",
        LinkState::Down => "down",
        LinkState::Unknown => "unknown",
        LinkState::Cut => "cut",
    }
}

/// Draws the data links: a line is up, a dotted one is not.
fn drawing(topology: &WireTopology) -> String {
    match topology.kind {
        Kind::Mesh => mesh(topology),
        Kind::Ring => ring(topology),
        Kind::Star => tree(topology, topology.members.len().max(1)),
        Kind::Hierarchical { fan_out } => tree(topology, usize::from(fan_out.get())),
    }
}

/// A name as a drawing shows it, with a mark for the leader and for one that does not answer.
fn name(topology: &WireTopology, place: usize) -> String {
    let member = &topology.members[place];
    let mut name: String = member.name.chars().take(NAME_CHARS).collect();
    if name.len() < member.name.len() {
        name.pop();
        name.push('…');
    }
    match member.role {
        Role::Leader => name + "*",
        Role::Unreachable => name + "?",
        Role::Follower | Role::Candidate | Role::Learner => name,
    }
}

fn link(topology: &WireTopology, one: usize, other: usize) -> Option<&WireLink> {
    let names = [&topology.members[one].name, &topology.members[other].name];
    topology.links.iter().find(|link| {
        let ends = [&link.one, &link.other];
        ends == names || ends == [names[1], names[0]]
    })
}

fn is_up(topology: &WireTopology, one: usize, other: usize) -> bool {
    link(topology, one, other).is_some_and(|link| link.state == LinkState::Up)
}

/// The members one after the other, broken into lines; the last is linked with the first.
fn ring(topology: &WireTopology) -> String {
    let count = topology.members.len();
    let (mut lines, mut line) = (Vec::new(), String::new());
    for place in 0..count {
        let next = (place + 1) % count;
        let joint = match is_up(topology, place, next) {
            _ if count == 1 || (count == 2 && place == 1) => "",
            true => " ── ",
            false => " ·· ",
        };
        let piece = format!("{}{joint}", name(topology, place));
        // Room for the first name once more, at the end.
        if line.chars().count() + piece.chars().count() + NAME_CHARS + 3 > COLUMNS {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(&piece);
    }
    if count > 2 {
        line.push_str(&format!("({})", name(topology, 0)));
    }
    lines.push(line);
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// Heap order: the children of `place` follow from the fan-out. A star is a tree of one level.
fn tree(topology: &WireTopology, fan_out: usize) -> String {
    let mut lines = Vec::new();
    if !topology.members.is_empty() {
        lines.push(name(topology, 0));
        branches(topology, fan_out, 0, "", &mut lines);
    }
    lines.join("\n")
}

fn branches(topology: &WireTopology, fan_out: usize, place: usize, indent: &str, lines: &mut Vec<String>) {
    let first = place * fan_out + 1;
    let children: Vec<usize> = (first..first + fan_out)
        .take_while(|child| *child < topology.members.len())
        .collect();
    for child in &children {
        let last = Some(child) == children.last();
        let bend = if last { '└' } else { '├' };
        let line = if is_up(topology, place, *child) {
            "──"
        } else {
            "··"
        };
        lines.push(format!("{indent}{bend}{line} {}", name(topology, *child)));
        let deeper = format!("{indent}{}", if last { "    " } else { "│   " });
        branches(topology, fan_out, *child, &deeper, lines);
    }
}

/// A half of a matrix: one sign for each pair.
fn mesh(topology: &WireTopology) -> String {
    let width = (0..topology.members.len()).map(|place| name(topology, place).chars().count());
    let width = width.max().unwrap_or_default();
    let lines: Vec<String> = (0..topology.members.len())
        .map(|place| {
            let signs: String = (0..place)
                .map(|other| if is_up(topology, other, place) { '●' } else { '·' })
                .collect();
            let name = name(topology, place);
            format!("{name}{} {signs}", " ".repeat(width - name.chars().count()))
        })
        .collect();
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::WireMember;
    use queenright_protocol::id::NodeId;
    use queenright_protocol::topology::Topology;

    use super::*;

    fn sample(kind: Kind, count: u64, down: &[(u64, u64)]) -> WireTopology {
        let name = |number: u64| format!("n{number}");
        let members = (1..=count).map(|number| WireMember {
            name: name(number),
            number,
            role: if number == 2 { Role::Leader } else { Role::Follower },
        });
        let topology = Topology::new(kind, &(1..=count).map(NodeId).collect());
        let pairs = (1..=count).flat_map(|one| {
            let near = topology.neighbours(NodeId(one)).into_iter();
            near.filter(move |other| other.0 > one).map(move |other| (one, other.0))
        });
        WireTopology {
            cluster: "c".to_owned(),
            epoch: 3,
            kind,
            members: members.collect(),
            links: pairs
                .map(|(one, other)| WireLink {
                    one: name(one),
                    other: name(other),
                    role: LinkRole::Data,
                    state: if down.contains(&(one, other)) {
                        LinkState::Down
                    } else {
                        LinkState::Up
                    },
                    round_trip_us: (one == 1).then_some(1_042),
                    problem: None,
                    sent: Some(1),
                    sent_back: None,
                    bytes: 10,
                })
                .collect(),
        }
    }

    #[test]
    fn each_kind_is_drawn_as_it_is_linked() {
        assert_eq!(drawing(&sample(Kind::Star, 3, &[(1, 3)])), "n1\n├── n2*\n└·· n3");
        assert_eq!(
            drawing(&sample(Kind::Ring, 4, &[(2, 3)])),
            "n1 ── n2* ·· n3 ── n4 ── (n1)"
        );
        assert_eq!(drawing(&sample(Kind::Mesh, 3, &[(1, 2)])), "n1\nn2* ·\nn3  ●●");
        let tree = Kind::Hierarchical {
            fan_out: FanOut::DEFAULT,
        };
        let expected = "n1\n├── n2*\n│   ├── n4\n│   └── n5\n└── n3\n    ├── n6\n    └── n7";
        assert_eq!(drawing(&sample(tree, 7, &[])), expected);
        assert_eq!(drawing(&sample(Kind::Ring, 1, &[])), "n1");
        assert_eq!(drawing(&sample(Kind::Ring, 2, &[])), "n1 ── n2*");
    }

    #[test]
    fn no_drawing_is_wider_than_a_terminal() {
        for kind in ["mesh", "star", "ring", "hierarchical:2", "hierarchical:16"] {
            let mut topology = sample(kind.parse().unwrap(), 64, &[]);
            for member in &mut topology.members {
                member.name = format!("a-very-long-name-of-a-node-{}", member.number);
            }
            for line in drawing(&topology).lines() {
                assert!(line.chars().count() <= COLUMNS, "{kind}: {line}");
            }
        }
    }

    #[test]
    fn links_are_listed_below_the_drawing() {
        let expected = "\
c: ring of 3 nodes, epoch 3

n1 ── n2* ·· n3 ── (n1)

LINK   FOR   STATE  RTT       SENT  BACK  BYTES
n1-n2  data  up     1.042 ms  1     -     10
n1-n3  data  up     1.042 ms  1     -     10
n2-n3  data  down   -         1     -     10
n2-n3: connection refused";
        let mut topology = sample(Kind::Ring, 3, &[(2, 3)]);
        topology.links[2].problem = Some("connection refused".to_owned());
        assert_eq!(text(&topology), expected);
    }

    #[test]
    fn a_change_says_what_opens_and_closes() {
        let set = TopologySet {
            epoch: 4,
            kind: Kind::Star,
            changed: true,
            dry_run: true,
            opens: vec![("n1".into(), "n3".into())],
            closes: Vec::new(),
        };
        let expected = "nothing has changed; as star, which would be epoch 4,\nopens   n1-n3\ncloses  none";
        assert_eq!(set_text(&set), expected);
        assert!(kind_of("ring", Some(2)).is_err());
        assert_eq!(kind_of("hierarchical", Some(3)).unwrap().to_string(), "hierarchical:3");
        assert_eq!(kind_of("hierarchical", None).unwrap().to_string(), "hierarchical:2");
    }
}
