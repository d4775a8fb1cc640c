//! `queenright session`: external agents at work.

use queenright_bench::client::SessionQuery;
use queenright_bench::client::wire::{Heartbeat, OpenSession, OpenedSession, SessionList, WireHeld, WireSession};
use queenright_protocol::id::NodeId;

use super::door::{client_of_project, of_read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context};
use crate::cli::SessionCommand;
use crate::exit::Exit;

/// Carries out `queenright session`.
///
/// # Errors
/// [`CliError`], such as a session that has ended.
pub async fn run(command: SessionCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        SessionCommand::Open {
            name,
            program,
            capabilities,
            labels,
            ttl,
            token,
            idempotency_key,
            target,
        } => {
            let open = OpenSession {
                name: name.map(Into::into),
                program: program.map(Into::into),
                capabilities: capabilities.into_iter().map(Into::into).collect(),
                labels: labels.into_iter().map(Into::into).collect(),
                ttl_ms: Some(ttl.as_millis() as u64),
                token,
            };
            let client = client_of_project(&target)?;
            let opened = client.open_session(&open, idempotency_key.as_deref()).await?;
            context.answer(&opened, opened_text(&opened))?;
        }
        SessionCommand::List {
            ended,
            name,
            limit,
            after,
            consistency,
            target,
        } => {
            let query = SessionQuery {
                ended,
                name,
                after,
                limit: Some(limit),
                consistency: consistency.into(),
            };
            let list = client_of_project(&target)?.sessions(&query).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
        }
        SessionCommand::Show {
            session,
            consistency,
            target,
        } => {
            let client = client_of_project(&target)?;
            let session = client.session(session.0, consistency.into()).await.map_err(of_read)?;
            context.answer(&session, session_text(&session))?;
        }
        SessionCommand::Heartbeat { own, target } => {
            let client = client_of_project(&target)?;
            let beat = client.heartbeat(own.session.0, &own.token).await?;
            context.answer(&beat, heartbeat_text(&beat))?;
        }
        SessionCommand::Reopen { own, target } => {
            let client = client_of_project(&target)?;
            let reopened = client.reopen_session(own.session.0, &own.token).await?;
            let node = NodeId(reopened.node);
            context.answer(&reopened, format!("{} lives on node {node}", own.session))?;
        }
        SessionCommand::Close { own, target } => {
            let client = client_of_project(&target)?;
            let closed = client.close_session(own.session.0, &own.token).await?;
            context.answer(&closed, format!("{} is closed", own.session))?;
        }
    }
    Ok(Exit::Ok)
}

fn opened_text(opened: &OpenedSession) -> String {
    let OpenedSession {
        session, token, ttl_ms, ..
    } = opened;
    format!("session {session}\ntoken {token}\nlives for {ttl_ms} ms after each sign of life")
}

fn list_text(list: &SessionList) -> String {
    let mut table = Table::new(["SESSION", "STATE", "NAME", "NODE", "HOLDS", "PROGRAM", "CAPABILITIES"]);
    for session in &list.sessions {
        let capabilities: Vec<String> = session.capabilities.iter().map(|word| shown(word)).collect();
        table.row([
            session.session.to_string(),
            session.state.to_string(),
            shown(&session.name),
            NodeId(session.node).to_string(),
            session.holds.to_string(),
            or_dash(session.program.as_deref().map(shown)),
            or_dash((!capabilities.is_empty()).then(|| capabilities.join(" "))),
        ]);
    }
    let more = list.next.map(|next| format!("\nmore after {next}")).unwrap_or_default();
    format!("{table}{more}")
}

fn session_text(session: &WireSession) -> String {
    let mut lines = vec![format!("session {} ({})", session.session, shown(&session.name))];
    let mut line = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    line("state", session.state.to_string());
    if let Some(why) = session.why {
        line("ended", why.to_string());
    }
    if let Some(grace_ms) = session.grace_ms {
        line("grace", format!("until {grace_ms} ms of cluster time"));
    }
    if let Some(program) = &session.program {
        line("program", shown(program));
    }
    for capability in &session.capabilities {
        line("capability", shown(capability));
    }
    for label in &session.labels {
        line("label", shown(label));
    }
    line("opened by", shown(&session.author));
    line("node", NodeId(session.node).to_string());
    line("lives for", format!("{} ms after each sign of life", session.ttl_ms));
    line("holds", session.holds.to_string());
    lines.join("\n")
}

fn heartbeat_text(beat: &Heartbeat) -> String {
    let doubt = match beat.uncertain {
        true => "; uncertain: the node has no contact to a quorum",
        false => "",
    };
    let mut lines = vec![format!("{} lives for {} ms{doubt}", beat.session, beat.left_ms)];
    for held in &beat.holds {
        lines.push(match held {
            WireHeld::Task {
                task, attempt, fence, ..
            } => format!("holds task {task}, fence {fence} (attempt {attempt})"),
            WireHeld::Reservation {
                reservation,
                fence: Some(_),
                until_ms,
            } => match until_ms {
                Some(until_ms) => format!("holds reservation {reservation} until {until_ms} ms of cluster time"),
                None => format!("holds reservation {reservation} as long as its task"),
            },
            WireHeld::Reservation { reservation, .. } => format!("waits for reservation {reservation}"),
        });
    }
    lines.join("\n")
}
