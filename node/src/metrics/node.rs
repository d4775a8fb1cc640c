//! What a node of a cluster counts and measures. Labels are names of members, lanes, and words of this program.

use queenright_actors::latency::Latency;
use queenright_actors::link::{LaneStats, LinkStats, LinksStats};
use queenright_actors::memory::MemoryStatus;
use queenright_actors::node::{Node, NodeFigures, NodeStatus, Role, Traffic, View};
use queenright_actors::store::StoreError;

use super::text::{Kind, Page};
use super::traces;

/// Writes all of it.
///
/// # Errors
/// When the store of the node has failed.
pub async fn write(node: &Node, page: &mut Page) -> Result<(), StoreError> {
    let figures = node.figures().await?;
    let status = node.own_status();
    about(node, &status, page);
    rounds(&figures, page);
    latencies(&figures, page);
    kept(&figures, &status, node.health().memory, page);
    agents(&figures, page);
    traces::write(node.trace_counts(), page);
    links(&node.link_stats(), page);
    if let Some(traffic) = &status.traffic {
        transit(traffic, page);
    }
    others(&status, page);
    Ok(())
}

fn about(node: &Node, status: &NodeStatus, page: &mut Page) {
    let build = status.build.as_deref().unwrap_or_default();
    page.family(
        "queenright_build_info",
        Kind::Gauge,
        "Always 1: the node, its number and its build.",
    )
    .sample(
        &[
            ("node", &status.name),
            ("number", &status.number.to_string()),
            ("build", build),
        ],
        1,
    );
    let (has_leader, term) = node.leader_and_term();
    page.gauge(
        "queenright_has_leader",
        "Whether this node knows a leader.",
        u8::from(has_leader),
    );
    page.gauge("queenright_term", "The term of consensus.", term);
    page.family(
        "queenright_role",
        Kind::Gauge,
        "What the node does in consensus: 1 for its role.",
    );
    let roles = [
        (Role::Leader, "leader"),
        (Role::Follower, "follower"),
        (Role::Candidate, "candidate"),
        (Role::Learner, "learner"),
    ];
    for (role, name) in roles {
        page.sample(&[("role", name)], u8::from(status.role == role));
    }
    page.gauge("queenright_epoch", "The number of the epoch.", node.epoch());
    page.gauge(
        "queenright_diverged",
        "Whether the state of this node differs from what the leader logged, so that it serves nothing.",
        u8::from(node.is_diverged()),
    );
}

fn rounds(figures: &NodeFigures, page: &mut Page) {
    page.counter(
        "queenright_entries_applied_total",
        "Log entries applied.",
        figures.entries,
    );
    page.counter("queenright_rounds_applied_total", "Rounds applied.", figures.rounds);
    page.counter(
        "queenright_commands_applied_total",
        "Commands applied.",
        figures.commands,
    );
    page.counter(
        "queenright_entry_bytes_applied_total",
        "Bytes of the entries applied.",
        figures.bytes,
    );
    page.counter(
        "queenright_commands_refused_early_total",
        "Commands refused before the log: by the pre-check, or for want of room.",
        figures.refused_early,
    );
    page.counter(
        "queenright_rounds_repeated_total",
        "Rounds sent again.",
        figures.rounds_repeated,
    );
    page.counter(
        "queenright_envelopes_unclaimed_total",
        "Envelopes that nobody here could take: answers that came too late, for the most part.",
        figures.unclaimed,
    );
}

fn latencies(figures: &NodeFigures, page: &mut Page) {
    let of = &figures.latencies;
    let families: [(&str, &str, &str, &Latency); 6] = [
        (
            "queenright_command_seconds",
            "queenright_command_recent_seconds",
            "Commands of this node, from the caller to the outcome",
            &of.commands,
        ),
        (
            "queenright_claim_seconds",
            "queenright_claim_recent_seconds",
            "Claims among the commands of this node, without waiting for a task",
            &of.claims,
        ),
        (
            "queenright_round_seconds",
            "queenright_round_recent_seconds",
            "Rounds of this node, from the cut to the last outcome",
            &of.rounds,
        ),
        (
            "queenright_commit_seconds",
            "queenright_commit_recent_seconds",
            "Entries that this node appended as the leader, until they were committed and applied here",
            &of.commits,
        ),
        (
            "queenright_log_sync_seconds",
            "queenright_log_sync_recent_seconds",
            "Writes of the log that end with an fdatasync",
            &of.log_syncs,
        ),
        (
            "queenright_store_pass_seconds",
            "queenright_store_pass_recent_seconds",
            "Passes of the store",
            &of.store_passes,
        ),
    ];
    for (name, recent, help, latency) in families {
        page.family(name, Kind::Histogram, &format!("{help}."));
        page.histogram(&[], latency);
        page.family(
            recent,
            Kind::Gauge,
            &format!("{help}: quantiles of the last minute or two; 1 is the longest."),
        );
        page.quantiles(&[], latency);
    }
}

fn kept(figures: &NodeFigures, status: &NodeStatus, memory: Option<MemoryStatus>, page: &mut Page) {
    page.gauge("queenright_log_bytes", "Size of the log.", figures.log_bytes);
    page.gauge(
        "queenright_store_bytes",
        "Size of the store on disk.",
        figures.store_bytes,
    );
    page.gauge(
        "queenright_store_waiting_changes",
        "Changes that wait for the store: records or events, whichever are more.",
        figures.store_waits,
    );
    page.gauge("queenright_contents", "Contents kept by hash.", figures.contents);
    page.gauge(
        "queenright_content_bytes",
        "Bytes of the contents kept by hash.",
        figures.content_bytes,
    );
    if let Some(memory) = memory {
        page.gauge(
            "queenright_memory_used_bytes",
            "What is resident of the process.",
            memory.used_bytes,
        );
        page.gauge(
            "queenright_memory_limit_bytes",
            "What the process may have.",
            memory.limit_bytes,
        );
        page.family(
            "queenright_memory_level",
            Kind::Gauge,
            "0 fine, 1 from 80 % on, 2 from 90 % on: new work is refused.",
        )
        .value(memory.level as u8);
        page.counter(
            "queenright_memory_refused_total",
            "How often new work was refused for want of memory.",
            memory.refused,
        );
    }
    let Some(disk) = &status.disk else { return };
    page.gauge(
        "queenright_disk_free_bytes",
        "What is left on the disk of the data.",
        disk.free_bytes,
    );
    page.gauge(
        "queenright_disk_watermark_bytes",
        "Below what the node is low.",
        disk.watermark_bytes,
    );
    page.gauge(
        "queenright_disk_ballast_bytes",
        "Size of the ballast file.",
        disk.ballast_bytes,
    );
    page.gauge("queenright_disk_low", "Whether the node is low.", u8::from(disk.low));
}

fn agents(figures: &NodeFigures, page: &mut Page) {
    let agents = figures.agents;
    page.family("queenright_agents", Kind::Gauge, "Agents of this node that live.")
        .sample(&[("state", "active")], agents.active)
        .sample(&[("state", "passive")], agents.passive);
    page.counter(
        "queenright_agents_passivated_total",
        "How often an agent became passive.",
        agents.passivated,
    );
    page.counter(
        "queenright_agents_woken_total",
        "How often an agent was woken.",
        agents.woken,
    );
    let signals = figures.signals;
    page.family(
        "queenright_signals_total",
        Kind::Counter,
        "Signals of this node's agents, by what became of them.",
    )
    .sample(&[("outcome", "sent")], signals.sent)
    .sample(&[("outcome", "delivered")], signals.delivered)
    .sample(&[("outcome", "refused")], signals.refused)
    .sample(&[("outcome", "lost")], signals.lost);
    let topics = figures.topics;
    page.family(
        "queenright_topic_messages_total",
        Kind::Counter,
        "Messages of topics here, by what became of them.",
    )
    .sample(&[("outcome", "published")], topics.published)
    .sample(&[("outcome", "refused")], topics.refused)
    .sample(&[("outcome", "arrived")], topics.arrived)
    .sample(&[("outcome", "delivered")], topics.delivered)
    .sample(&[("outcome", "lost")], topics.lost)
    .sample(&[("outcome", "dropped")], topics.dropped);
    page.gauge(
        "queenright_topic_patterns",
        "Patterns that somebody here follows.",
        topics.patterns,
    );
    let subscribers = figures.subscribers;
    page.gauge(
        "queenright_subscribers",
        "Those who follow events at the door.",
        subscribers.open,
    );
    page.counter(
        "queenright_subscribers_opened_total",
        "Those who ever did.",
        subscribers.opened,
    );
    page.family(
        "queenright_subscribers_dropped_total",
        Kind::Counter,
        "Those who were dropped.",
    )
    .sample(&[("reason", "slow")], subscribers.slow)
    .sample(&[("reason", "expired")], subscribers.expired);
}

fn links(stats: &LinksStats, page: &mut Page) {
    // Links that never were wanted nor carried anything say nothing.
    let spoke = |link: &&LinkStats| link.wanted || link.up || link.frames_sent + link.frames_received > 0;
    let links: Vec<&LinkStats> = stats.links.iter().filter(spoke).collect();
    let mut by_peer = |name, kind, help, of: &dyn Fn(&LinkStats) -> u64| {
        page.family(name, kind, help);
        for link in &links {
            page.sample(&[("peer", &link.peer)], of(link));
        }
    };
    by_peer("queenright_link_up", Kind::Gauge, "Whether the link is up.", &|link| {
        u64::from(link.up)
    });
    by_peer(
        "queenright_link_wanted",
        Kind::Gauge,
        "Whether the link should be up.",
        &|link| u64::from(link.wanted),
    );
    by_peer(
        "queenright_link_reconnects_total",
        Kind::Counter,
        "How often the link came up again after it was lost.",
        &|link| link.reconnects,
    );
    by_peer(
        "queenright_link_frames_sent_total",
        Kind::Counter,
        "Frames sent.",
        &|link| link.frames_sent,
    );
    by_peer(
        "queenright_link_sent_bytes_total",
        Kind::Counter,
        "Bytes of frames sent.",
        &|link| link.frame_bytes_sent,
    );
    by_peer(
        "queenright_link_frames_received_total",
        Kind::Counter,
        "Frames received.",
        &|link| link.frames_received,
    );
    by_peer(
        "queenright_link_received_bytes_total",
        Kind::Counter,
        "Bytes of frames received.",
        &|link| link.frame_bytes_received,
    );
    by_peer(
        "queenright_link_in_flight_bytes",
        Kind::Gauge,
        "Bytes under way to the neighbour and not yet handled there.",
        &|link| link.in_flight_bytes,
    );
    let mut by_lane = |name, kind, help, of: &dyn Fn(&LaneStats) -> u64| {
        page.family(name, kind, help);
        for link in &links {
            for lane in &link.lanes {
                page.sample(&[("peer", &link.peer), ("lane", &lane.lane.to_string())], of(lane));
            }
        }
    };
    by_lane(
        "queenright_link_envelopes_sent_total",
        Kind::Counter,
        "Envelopes taken.",
        &|lane| lane.sent,
    );
    by_lane(
        "queenright_link_envelopes_received_total",
        Kind::Counter,
        "Envelopes received.",
        &|lane| lane.received,
    );
    by_lane(
        "queenright_link_envelopes_refused_total",
        Kind::Counter,
        "Envelopes not taken: the lane was full, or the link down.",
        &|lane| lane.refused,
    );
    by_lane(
        "queenright_link_envelopes_lost_total",
        Kind::Counter,
        "Envelopes dropped or in doubt when the link broke.",
        &|lane| lane.lost + lane.in_doubt,
    );
    by_lane(
        "queenright_link_queued_bytes",
        Kind::Gauge,
        "Bytes that wait.",
        &|lane| lane.queued_bytes,
    );
    by_lane(
        "queenright_link_queued_bytes_max",
        Kind::Gauge,
        "Bytes that may wait.",
        &|lane| lane.queued_bytes_max,
    );
    let help = "Time until the other end answers a question of a frame";
    page.family(
        "queenright_link_round_trip_seconds",
        Kind::Histogram,
        &format!("{help}."),
    );
    for link in &links {
        page.histogram(&[("peer", &link.peer)], &link.round_trip_latency);
    }
    let help = format!("{help}: quantiles of the last minute or two; 1 is the longest.");
    page.family("queenright_link_round_trip_recent_seconds", Kind::Gauge, &help);
    for link in &links {
        page.quantiles(&[("peer", &link.peer)], &link.round_trip_latency);
    }
    let refused = stats.refused;
    page.family(
        "queenright_connections_refused_total",
        Kind::Counter,
        "Connections for links that were refused.",
    )
    .sample(&[("reason", "flood")], refused.flood)
    .sample(
        &[("reason", "tls")],
        refused.tls + refused.no_certificate + refused.authority + refused.expired + refused.name,
    )
    .sample(&[("reason", "silent")], refused.silent)
    .sample(&[("reason", "oversized")], refused.oversized)
    .sample(&[("reason", "handshake")], refused.handshake)
    .sample(&[("reason", "stranger")], refused.stranger)
    .sample(&[("reason", "by_peer")], refused.by_peer)
    .sample(&[("reason", "version")], refused.version);
}

fn transit(traffic: &Traffic, page: &mut Page) {
    let transit = traffic.transit;
    page.counter(
        "queenright_transit_forwarded_total",
        "Envelopes for others that this node passed on.",
        transit.forwarded,
    );
    page.family(
        "queenright_transit_lost_total",
        Kind::Counter,
        "Envelopes for others that this node dropped.",
    )
    .sample(&[("reason", "busy")], transit.lost_busy)
    .sample(&[("reason", "down")], transit.lost_down)
    .sample(&[("reason", "hops")], transit.lost_hops)
    .sample(&[("reason", "unknown")], transit.lost_unknown);
}

fn others(status: &NodeStatus, page: &mut Page) {
    page.family(
        "queenright_peer_view",
        Kind::Gauge,
        "What this node thinks of another: 0 alive, 1 suspect, 2 down.",
    );
    for opinion in status.opinions.iter().flatten() {
        let view = match opinion.view {
            View::Alive => 0,
            View::Suspect => 1,
            View::Down => 2,
        };
        page.sample(&[("peer", &opinion.node)], view);
    }
    let Some(datagrams) = status.datagrams else { return };
    page.counter(
        "queenright_datagrams_sent_total",
        "Datagrams of liveness sent.",
        datagrams.sent,
    );
    page.counter(
        "queenright_datagrams_received_total",
        "Datagrams of liveness received.",
        datagrams.received,
    );
    let odd = datagrams.malformed + datagrams.other_version + datagrams.foreign + datagrams.misdirected;
    page.family(
        "queenright_datagrams_dropped_total",
        Kind::Counter,
        "Datagrams of liveness that were dropped.",
    )
    .sample(&[("reason", "unreadable")], odd)
    .sample(&[("reason", "forged")], datagrams.forged)
    .sample(&[("reason", "replayed")], datagrams.replayed)
    .sample(&[("reason", "strangers")], datagrams.strangers);
}
