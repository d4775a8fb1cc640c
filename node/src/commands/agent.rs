//! `queenright agent`: the agents of a node.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use queenright_actors::agent::{
    AgentAccounts, AgentChildren, AgentOrder, AgentSpec, AgentState, AgentStatus, PairCounts, RestartPolicy,
};
use queenright_bench::client::wire::AgentList;
use serde_json::{Map, Value, json};

use super::door::{client, of_read};
use super::table::{Table, shown};
use super::{CliError, Context, dry};
use crate::cli::{AgentCommand, ClientArgs, ExecArgs, HttpArgs, WorkerArgs};
use crate::exit::Exit;
use crate::hosted::{exec, post};

/// Looks at agents, starts or stops one.
///
/// # Errors
/// [`CliError`], such as a refusal by the node.
pub async fn run(command: AgentCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        AgentCommand::List { which, client: args } => {
            let list = client(&args)?.agents_page(&which.into()).await.map_err(of_read)?;
            if context.json || !list.agents.is_empty() {
                context.answer(&list, listed(&list))?;
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
            labels,
            parent,
            passivate_after,
            client: args,
        } => {
            let spec = AgentSpec {
                name,
                kind,
                arguments,
                restart: restart.into(),
                labels: labels.into_iter().collect(),
                parent,
                passivate_after_ms: passivate_after,
            };
            let status = client(&args)?.spawn_agent(&spec).await?;
            context.answer(&status, text(&status))?;
        }
        AgentCommand::Exec(args) => {
            let client = client(&args.client)?;
            let status = client.spawn_agent(&exec_spec(*args)?).await?;
            context.answer(&status, text(&status))?;
        }
        AgentCommand::Http(args) => {
            let client = client(&args.client)?;
            let status = client.spawn_agent(&http_spec(*args)?).await?;
            context.answer(&status, text(&status))?;
        }
        AgentCommand::Pause {
            name,
            dry_run: true,
            client: args,
        } => return dry::order_agent(&client(&args)?, &name, AgentOrder::Pause, context).await,
        AgentCommand::Resume {
            name,
            dry_run: true,
            client: args,
        } => return dry::order_agent(&client(&args)?, &name, AgentOrder::Resume, context).await,
        AgentCommand::Restart {
            name,
            dry_run: true,
            client: args,
        } => return dry::order_agent(&client(&args)?, &name, AgentOrder::Restart, context).await,
        AgentCommand::Stop {
            name,
            dry_run: true,
            client: args,
        } => return dry::stop_agent(&client(&args)?, &name, context).await,
        AgentCommand::Pause { name, client: args, .. } => order(&name, AgentOrder::Pause, &args, context).await?,
        AgentCommand::Resume { name, client: args, .. } => order(&name, AgentOrder::Resume, &args, context).await?,
        AgentCommand::Restart { name, client: args, .. } => order(&name, AgentOrder::Restart, &args, context).await?,
        AgentCommand::Nudge { name, client: args } => order(&name, AgentOrder::Nudge, &args, context).await?,
        AgentCommand::Stop { name, client: args, .. } => {
            client(&args)?.stop_agent(&name).await?;
            let stopped = serde_json::json!({ "name": name, "state": AgentState::Stopped });
            context.answer(&stopped, format!("{} is stopped", shown(&name)))?;
        }
    }
    Ok(Exit::Ok)
}

/// The agent that `agent exec` asks for.
fn exec_spec(args: ExecArgs) -> Result<AgentSpec, CliError> {
    let folder = absolute("--folder", args.folder)?;
    let repository = absolute("--repository", args.repository)?;
    let passivate_after = args.worker.passivate_after;
    let mut arguments = worker(args.worker);
    let environment = args.environment.into_iter().map(|(name, value)| (name, value.into()));
    arguments.extend([
        ("command".to_owned(), args.command.into()),
        ("environment".to_owned(), Value::Object(environment.collect())),
        ("folder".to_owned(), json!(folder)),
        ("worktree".to_owned(), json!(args.worktree)),
        ("repository".to_owned(), json!(repository)),
        ("base".to_owned(), json!(args.base)),
        ("keep_worktrees".to_owned(), json!(args.keep_worktrees)),
        ("checks".to_owned(), json!(!args.no_checks)),
        (
            "timeout_s".to_owned(),
            json!(args.max_runtime.map(|time| time.as_secs_f64())),
        ),
        ("memory_mb".to_owned(), json!(args.memory)),
    ]);
    let spec = spec(args.name, exec::KIND, arguments, args.restart.into());
    Ok(with_rest(spec, passivate_after))
}

/// The agent that `agent http` asks for.
fn http_spec(args: HttpArgs) -> Result<AgentSpec, CliError> {
    let passivate_after = args.worker.passivate_after;
    let mut arguments = worker(args.worker);
    arguments.extend([
        ("url".to_owned(), args.url.into()),
        ("deadline_s".to_owned(), json!(args.deadline.as_secs_f64())),
        ("retries".to_owned(), json!(args.retries)),
        (
            "secret_file".to_owned(),
            json!(absolute("--secret-file", args.secret_file)?),
        ),
        ("ca_file".to_owned(), json!(absolute("--trust", args.trust)?)),
        ("checks".to_owned(), json!(args.checks)),
        ("folder".to_owned(), json!(absolute("--folder", args.folder)?)),
    ]);
    let spec = spec(args.name, post::KIND, arguments, args.restart.into());
    Ok(with_rest(spec, passivate_after))
}

/// A path from the root, since the node runs elsewhere.
pub(super) fn absolute(flag: &str, path: Option<PathBuf>) -> Result<Option<PathBuf>, CliError> {
    let path = path.map(std::path::absolute).transpose();
    path.map_err(|source| CliError::Failed {
        message: format!("{flag}: it is not known where that is"),
        source: source.into(),
    })
}

/// What all workers are told.
fn worker(args: WorkerArgs) -> Map<String, Value> {
    let takes = args.takes;
    let fields = [
        ("project", json!(takes.tasks.project)),
        ("queue", json!(takes.tasks.queue)),
        ("kinds", json!(takes.tasks.kinds)),
        ("capabilities", json!(takes.tasks.capabilities)),
        ("labels", json!(takes.labels)),
        ("slots", json!(args.slots)),
        ("retry", json!(takes.retry)),
        ("grace_s", json!(args.grace.as_secs_f64())),
        ("lease_s", json!(takes.lease.as_secs_f64())),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What is not said has its default at the node.
fn spec(name: String, kind: &str, arguments: Map<String, Value>, restart: RestartPolicy) -> AgentSpec {
    let said = arguments.into_iter().filter(|(_, value)| !value.is_null());
    AgentSpec {
        name,
        kind: kind.to_owned(),
        arguments: Value::Object(said.collect()),
        restart,
        ..AgentSpec::default()
    }
}

/// The same, which becomes passive after so long without a task.
fn with_rest(spec: AgentSpec, after: Option<Duration>) -> AgentSpec {
    AgentSpec {
        passivate_after_ms: after.map(|after| after.as_millis() as u64),
        ..spec
    }
}

async fn order(name: &str, order: AgentOrder, args: &ClientArgs, context: &Context) -> Result<(), CliError> {
    let status = client(args)?.order_agent(name, order).await?;
    context.answer(&status, text(&status))
}

fn listed(list: &AgentList) -> String {
    let table = table(&list.agents);
    match &list.next {
        Some(next) => format!("{table}\nThere may be more: --after {}", shown(next)),
        None => table.to_string(),
    }
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
    if let Some(parent) = &agent.parent {
        let _ = write!(text, "\n  child of {}", shown(parent));
    }
    for (name, value) in &agent.labels {
        let _ = write!(text, "\n  label {}={}", shown(name), shown(value));
    }
    if agent.letters > 0 {
        let _ = write!(text, "\n  {} waiting in its mailbox", agent.letters);
    }
    if let Some(AgentChildren { total: 1.., first }) = &agent.children {
        let names: Vec<String> = first.iter().map(|name| shown(name)).collect();
        let total = agent.children.as_ref().map_or(0, |children| children.total);
        let more = if total > first.len() as u64 { ", …" } else { "" };
        let _ = write!(text, "\n  {total} children: {}{more}", names.join(", "));
    }
    for (name, value) in &agent.report {
        let _ = write!(text, "\n  {}: {value}", shown(name));
    }
    if let Some(accounts) = agent.accounts.as_ref().filter(|accounts| !accounts.pairs.is_empty()) {
        let _ = write!(text, "\n\n{}", account_table(accounts));
    }
    text
}

fn account_table(accounts: &AgentAccounts) -> Table<5> {
    let mut table = Table::new(["SIGNALS WITH", "SENT", "REFUSED", "DELIVERED", "LOST HERE"]);
    let row = |with: String, counts: &PairCounts| {
        let PairCounts {
            sent,
            refused,
            delivered,
            lost,
        } = counts;
        [
            with,
            sent.to_string(),
            refused.to_string(),
            delivered.to_string(),
            lost.to_string(),
        ]
    };
    for pair in &accounts.pairs {
        table.row(row(
            format!("agent {} of node {}", pair.number, pair.node),
            &pair.counts,
        ));
    }
    if accounts.others != PairCounts::default() {
        table.row(row("all others".to_owned(), &accounts.others));
    }
    table
}

fn state(agent: &AgentStatus) -> String {
    let state = agent.state;
    match agent.next_restart_ms {
        Some(left_ms) => format!("{state} in {left_ms} ms"),
        None => state.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use queenright_actors::agent::AgentPair;
    use queenright_protocol::id::NodeId;

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
            labels: Default::default(),
            parent: None,
            letters: 0,
            children: None,
            accounts: None,
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
    fn an_agent_is_shown_with_its_accounts() {
        let counts = PairCounts {
            sent: 12,
            delivered: 10,
            ..PairCounts::default()
        };
        let accounts = AgentAccounts {
            pairs: vec![AgentPair {
                node: NodeId(2),
                number: 7,
                counts,
            }],
            others: counts,
        };
        let agent = AgentStatus {
            report: Default::default(),
            reason: None,
            accounts: Some(accounts),
            ..failed()
        };
        let expected = "r1 (kind replay, number 4, generation 3): failed, 2 restarts\n\n\
            SIGNALS WITH        SENT  REFUSED  DELIVERED  LOST HERE\n\
            agent 7 of node #2  12    0        10         0\n\
            all others          12    0        10         0";
        assert_eq!(text(&agent), expected);
    }

    #[test]
    fn an_agent_is_shown_with_its_family_and_what_waits_for_it() {
        let parent = AgentStatus {
            state: AgentState::Paused,
            reason: None,
            report: Default::default(),
            labels: [("team".to_owned(), "red".to_owned())].into(),
            parent: Some("r0".to_owned()),
            letters: 3,
            children: Some(AgentChildren {
                total: 3,
                first: vec!["a".to_owned(), "b".to_owned()],
            }),
            ..failed()
        };
        assert_eq!(
            text(&parent),
            "r1 (kind replay, number 4, generation 3): paused, 2 restarts\n  child of r0\n  label team=red\n  \
             3 waiting in its mailbox\n  3 children: a, b, …"
        );
        let list = AgentList {
            agents: vec![failed()],
            next: Some("r1".to_owned()),
        };
        assert!(listed(&list).ends_with("\nThere may be more: --after r1"));
    }

    #[test]
    fn an_agent_that_waits_shows_for_how_long() {
        let waiting = AgentStatus {
            state: AgentState::Recovering,
            restarts: 1,
            next_restart_ms: Some(1_600),
            report: Default::default(),
            ..failed()
        };
        assert_eq!(
            text(&waiting),
            "r1 (kind replay, number 4, generation 3): recovering in 1600 ms, 1 restart\n  last reason: no\\nblob"
        );
    }
}
