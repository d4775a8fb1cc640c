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
            restart,
            client: args,
        } => {
            let spec = AgentSpec {
                name,
                kind,
                arguments,
                restart: restart.into(),
            };
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

fn table(agents: &[AgentStatus]) -> Table<6> {
    let mut table = Table::new(["NAME", "KIND", "STATE", "GENERATION", "RESTARTS", "REASON"]);
    for agent in agents {
        table.row([
            shown(&agent.name),
            shown(&agent.kind),
            state(agent),
            agent.generation.to_string(),
            agent.restarts.to_string(),
            shown(agent.reason.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

fn text(agent: &AgentStatus) -> String {
    let mut text = format!(
        "{} (kind {}, number {}, generation {}): {}, {} {}",
        shown(&agent.name),
        shown(&agent.kind),
        agent.number,
        agent.generation,
        state(agent),
        agent.restarts,
        if agent.restarts == 1 { "restart" } else { "restarts" },
    );
    if let Some(reason) = &agent.reason {
        // Of one that works again it is why the generation before ended.
        let which = if agent.state == AgentState::Failed {
            "reason"
        } else {
            "last reason"
        };
        let _ = write!(text, "\n  {which}: {}", shown(reason));
    }
    for (name, value) in &agent.report {
        let _ = write!(text, "\n  {}: {value}", shown(name));
    }
    text
}

fn state(agent: &AgentStatus) -> String {
    let state = match agent.state {
        AgentState::Starting => "starting",
        AgentState::Working => "working",
        AgentState::Restarting => "restarting",
        AgentState::Done => "done",
        AgentState::Failed => "failed",
        AgentState::Stopped => "stopped",
    };
    match agent.next_restart_ms {
        Some(left_ms) => format!("{state} in {left_ms} ms"),
        None => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> AgentStatus {
        AgentStatus {
            name: "r1".to_owned(),
            kind: "replay".to_owned(),
            number: 4,
            generation: 3,
            state: AgentState::Failed,
            restarts: 2,
            next_restart_ms: None,
            reason: Some("no\nblob".to_owned()),
            report: [("commits".to_owned(), 7.into())].into(),
        }
    }

    #[test]
    fn an_agent_is_shown_with_its_report() {
        assert_eq!(
            text(&failed()),
            "r1 (kind replay, number 4, generation 3): failed, 2 restarts\n  reason: no\\nblob\n  commits: 7"
        );
        assert_eq!(
            table(&[failed()]).to_string(),
            "NAME  KIND    STATE   GENERATION  RESTARTS  REASON\nr1    replay  failed  3           2         no\\nblob"
        );
    }

    #[test]
    fn an_agent_that_waits_shows_for_how_long() {
        let waiting = AgentStatus {
            state: AgentState::Restarting,
            restarts: 1,
            next_restart_ms: Some(1_600),
            report: Default::default(),
            ..failed()
        };
        assert_eq!(
            text(&waiting),
            "r1 (kind replay, number 4, generation 3): restarting in 1600 ms, 1 restart\n  last reason: no\\nblob"
        );
    }
}
