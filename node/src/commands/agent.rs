//! `queenright agent`: the agents of a node.

use std::fmt::Write as _;

use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus};
use queenright_bench::client::wire::AgentList;

use super::door::{client, of_read};
use super::table::{Table, shown};
use super::{CliError, Context};
use crate::cli::AgentCommand;
use crate::exit::Exit;

/// Looks at agents, starts or stops one.
///
/// # Errors
/// [`CliError`], such as a refusal by the node.
pub async fn run(command: AgentCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        AgentCommand::List { client: args } => {
            let agents = client(&args)?.agents().await.map_err(of_read)?;
            let list = AgentList { agents };
            if context.json || !list.agents.is_empty() {
                context.answer(&list, table(&list.agents))?;
            }
        }
        AgentCommand::Show { name, client: args } => {
            let status = client(&args)?.agent(&name).await.map_err(of_read)?;
            context.answer(&status, text(&status))?;
        }
        AgentCommand::Spawn {
            name,
            kind,
            arguments,
            client: args,
        } => {
            let spec = AgentSpec { name, kind, arguments };
            let status = client(&args)?.spawn_agent(&spec).await?;
            context.answer(&status, text(&status))?;
        }
        AgentCommand::Stop { name, client: args } => {
            client(&args)?.stop_agent(&name).await?;
            let stopped = serde_json::json!({ "name": name, "state": AgentState::Stopped });
            context.answer(&stopped, format!("{} is stopped", shown(&name)))?;
        }
    }
    Ok(Exit::Ok)
}

fn table(agents: &[AgentStatus]) -> Table<4> {
    let mut table = Table::new(["NAME", "KIND", "STATE", "REASON"]);
    for agent in agents {
        table.row([
            shown(&agent.name),
            shown(&agent.kind),
            state(agent.state).to_owned(),
            shown(agent.reason.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

fn text(agent: &AgentStatus) -> String {
    let mut text = format!(
        "{} (kind {}, number {}): {}",
        shown(&agent.name),
        shown(&agent.kind),
        agent.number,
        state(agent.state)
    );
    if let Some(reason) = &agent.reason {
        let _ = write!(text, ": {}", shown(reason));
    }
    for (name, value) in &agent.report {
        let _ = write!(text, "\n  {}: {value}", shown(name));
    }
    text
}

fn state(state: AgentState) -> &'static str {
    match state {
        AgentState::Working => "working",
        AgentState::Done => "done",
        AgentState::Failed => "failed",
        AgentState::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_shown_with_its_report() {
        let status = AgentStatus {
            name: "r1".to_owned(),
            kind: "replay".to_owned(),
            number: 4,
            state: AgentState::Failed,
            reason: Some("no\nblob".to_owned()),
            report: [("commits".to_owned(), 7.into())].into(),
        };
        assert_eq!(
            text(&status),
            "r1 (kind replay, number 4): failed: no\\nblob\n  commits: 7"
        );
        assert_eq!(
            table(&[status]).to_string(),
            "NAME  KIND    STATE   REASON\nr1    replay  failed  no\\nblob"
        );
    }
}
