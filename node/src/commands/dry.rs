//! `--dry-run` of the commands that change the administration of a cluster: what they would change, from what there is now. A
//! command that would be refused for what can be seen is refused the same way.

pub(super) mod work;

use std::fmt::Display;

use queenright_actors::agent::{AgentError, AgentOrder, AgentState};
use queenright_actors::node::{ClusterStatus, Consistency, NodeStatus, Role, Standing};
use queenright_bench::client::wire::{Code, PoolStatus, Problem, SetPool, WireProject};
use queenright_bench::client::{Client, ClientError};
use queenright_protocol::colony::ProjectLimits;
use serde::Serialize;
use serde_json::{Value, json};

use super::door::of_read;
use super::table::shown;
use super::{CliError, Context};
use crate::exit::Exit;

/// What a command would do.
#[derive(Serialize)]
struct Would<T> {
    dry_run: bool,
    /// Whether anything would be otherwise then.
    changes: bool,
    /// One line for people.
    would: String,
    /// What it is about, as it is now; null for what is not there.
    now: T,
}

fn say(context: &Context, now: impl Serialize, changes: bool, would: impl Display) -> Result<Exit, CliError> {
    let would = Would {
        dry_run: true,
        changes,
        would: would.to_string(),
        now,
    };
    context.answer(&would, format_args!("a dry run: {}; nothing was changed", would.would))?;
    Ok(Exit::Ok)
}

fn refused(code: Code, detail: String) -> CliError {
    ClientError::Problem(Box::new(Problem::new(code, detail))).into()
}

fn of_name<'s>(status: &'s ClusterStatus, name: &str) -> Result<&'s NodeStatus, CliError> {
    let found = status.nodes.iter().find(|node| node.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = status.nodes.iter().map(|node| node.name.as_str()).collect();
        refused(
            Code::NotFound,
            format!("there is no node {name:?}, only {}", names.join(", ")),
        )
    })
}

/// `node drain`, and with `off` the other way.
pub(super) async fn drain(client: &Client, name: &str, off: bool, context: &Context) -> Result<Exit, CliError> {
    let status = client.status().await.map_err(of_read)?;
    let node = of_name(&status, name)?;
    let drained = node.standing.is_some();
    let would = match (off, node.standing) {
        (_, Some(Standing::Leaving)) => format!("node {name} is on its way out already"),
        (false, Some(Standing::Drained)) => format!("node {name} is drained already"),
        (true, None) => format!("node {name} takes work already"),
        (true, Some(Standing::Drained)) => format!("node {name} would take work again"),
        (false, None) => {
            let agents = node.agents.unwrap_or_default();
            let leads = if node.role == Role::Leader {
                ", and hand over what it leads"
            } else {
                ""
            };
            format!("node {name}, with {agents} agents, would take no new work{leads}")
        }
    };
    let changes = drained == off && node.standing != Some(Standing::Leaving);
    say(context, node, changes, would)
}

/// `node remove`.
pub(super) async fn remove(client: &Client, name: &str, context: &Context) -> Result<Exit, CliError> {
    let status = client.status().await.map_err(of_read)?;
    let node = of_name(&status, name)?;
    refuse_alive(node, "let it leave (queenright leave)")?;
    let would =
        format!("node {name}, which does not answer, would be gone for good, if the others have a majority without it");
    say(context, node, true, would)
}

/// `node replace`; `folder` is what of it would be set aside on this host, if there is anything.
pub(super) async fn replace(
    client: &Client,
    name: &str,
    folder: Option<&std::path::Path>,
    context: &Context,
) -> Result<Exit, CliError> {
    let status = client.status().await.map_err(of_read)?;
    let node = of_name(&status, name)?;
    refuse_alive(node, "stop it first")?;
    let aside = folder.map(|folder| format!(", and {} would be set aside", folder.display()));
    let would = format!(
        "node {name} could come back as a new one for ten minutes{}",
        aside.unwrap_or_default()
    );
    say(context, node, true, would)
}

fn refuse_alive(node: &NodeStatus, instead: &str) -> Result<(), CliError> {
    match node.role {
        Role::Unreachable => Ok(()),
        _ => Err(refused(Code::Conflict, format!("node {} runs: {instead}", node.name))),
    }
}

/// `leave`.
pub(super) async fn leave(client: &Client, context: &Context) -> Result<Exit, CliError> {
    let status = client.status().await.map_err(of_read)?;
    let node = of_name(&status, &status.node)?;
    let (name, agents) = (&node.name, node.agents.unwrap_or_default());
    let would = format!("node {name}, with {agents} agents, would leave the cluster for good, and its process end");
    say(context, node, true, would)
}

/// `agent pause`, `resume` and `restart`.
pub(super) async fn order_agent(
    client: &Client,
    name: &str,
    order: AgentOrder,
    context: &Context,
) -> Result<Exit, CliError> {
    let agent = client.agent(name).await.map_err(of_read)?;
    let state = agent.state;
    let (changes, would) = match (order, state) {
        (AgentOrder::Restart, _) => (true, "would begin again, as its next generation".to_owned()),
        (_, state) if !state.is_live() => {
            let name = name.to_owned();
            return Err(refused(
                Code::Conflict,
                AgentError::NotLive { name, state, order }.to_string(),
            ));
        }
        (AgentOrder::Pause, AgentState::Paused) => (false, "is paused already".to_owned()),
        (AgentOrder::Pause, _) => (true, "would do nothing until it is resumed".to_owned()),
        (AgentOrder::Resume, AgentState::Paused) => (true, "would go on".to_owned()),
        (AgentOrder::Resume, _) => (false, "is not paused".to_owned()),
        (AgentOrder::Nudge, _) => (true, "would take a step".to_owned()),
    };
    let would = format!("agent {}, which is {state}, {would}", shown(name));
    say(context, agent, changes, would)
}

/// `agent stop`.
pub(super) async fn stop_agent(client: &Client, name: &str, context: &Context) -> Result<Exit, CliError> {
    let agent = client.agent(name).await.map_err(of_read)?;
    let changes = agent.state.is_live();
    let children = agent.children.as_ref().map_or(0, |children| children.total);
    let would = match changes {
        true => format!(
            "agent {}, which is {}, and its {children} children would be stopped",
            shown(name),
            agent.state
        ),
        false => format!("agent {} is {} already", shown(name), agent.state),
    };
    say(context, agent, changes, would)
}

/// `token create`.
pub(super) async fn create_token(
    client: &Client,
    name: &str,
    scope: impl Display,
    context: &Context,
) -> Result<Exit, CliError> {
    let list = client.tokens(Consistency::Linearizable).await.map_err(of_read)?;
    match list.tokens.iter().any(|token| &*token.name == name) {
        true => Err(refused(
            Code::Conflict,
            format!("there is a token {:?} already", shown(name)),
        )),
        false => say(
            context,
            Value::Null,
            true,
            format_args!("token {} of scope {scope} would be made", shown(name)),
        ),
    }
}

/// `token revoke`.
pub(super) async fn revoke_token(client: &Client, name: &str, context: &Context) -> Result<Exit, CliError> {
    let list = client.tokens(Consistency::Linearizable).await.map_err(of_read)?;
    match list.tokens.iter().find(|token| &*token.name == name) {
        None => Err(refused(Code::NotFound, format!("there is no token {:?}", shown(name)))),
        Some(token) => {
            let would = format!(
                "token {} of scope {} would let nobody in any more",
                shown(name),
                token.scope
            );
            say(context, token, true, would)
        }
    }
}

async fn project(client: &Client, name: &str) -> Result<Option<WireProject>, CliError> {
    absent(client.project(name, Consistency::Linearizable).await)
}

async fn pool(client: &Client, name: &str) -> Result<Option<PoolStatus>, CliError> {
    absent(client.pool(name, Consistency::Linearizable).await)
}

fn absent<T>(found: Result<T, ClientError>) -> Result<Option<T>, CliError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::Problem(problem)) if problem.code == Code::NotFound => Ok(None),
        Err(error) => Err(of_read(error)),
    }
}

/// `project create`.
pub(super) async fn create_project(
    client: &Client,
    name: &str,
    limits: &ProjectLimits,
    context: &Context,
) -> Result<Exit, CliError> {
    match project(client, name).await? {
        Some(_) => Err(refused(
            Code::Conflict,
            format!("project {:?} is there already", shown(name)),
        )),
        None => {
            let would = format!("project {} would be made, with limits {}", shown(name), json!(limits));
            say(context, Value::Null, true, would)
        }
    }
}

/// `project limits`.
pub(super) async fn limit_project(
    client: &Client,
    name: &str,
    limits: &ProjectLimits,
    context: &Context,
) -> Result<Exit, CliError> {
    match project(client, name).await? {
        None => Err(refused(
            Code::NotFound,
            format!("there is no project {:?}", shown(name)),
        )),
        Some(found) => {
            let changes = found.limits != *limits;
            let would = match changes {
                true => format!(
                    "the limits of project {} would be {} instead of {}",
                    shown(name),
                    json!(limits),
                    json!(found.limits)
                ),
                false => format!("project {} has these limits already", shown(name)),
            };
            say(context, found, changes, would)
        }
    }
}

/// `pool set`. What its agents would be told is not shown: there may be secrets in it.
pub(super) async fn set_pool(
    client: &Client,
    name: &str,
    set: &SetPool,
    if_absent: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    let now = pool(client, name).await?;
    let (there, most) = (now.is_some(), set.max);
    let would = match there {
        false => format!("pool {}, of up to {most} agents, would be made", shown(name)),
        true if if_absent => format!("pool {} is there already", shown(name)),
        true => format!(
            "pool {} would have up to {most} agents, and these settings, unless it is so already",
            shown(name)
        ),
    };
    say(context, now, !(there && if_absent), would)
}

/// What becomes of a pool that is there; `would` says what, of so many agents.
pub(super) async fn change_pool(
    client: &Client,
    name: &str,
    would: &str,
    must_be_there: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    match pool(client, name).await? {
        None if must_be_there => Err(refused(Code::NotFound, format!("there is no pool {:?}", shown(name)))),
        None => say(
            context,
            Value::Null,
            false,
            format_args!("pool {} is not there", shown(name)),
        ),
        Some(found) => {
            let agents = found.agents.live();
            let would = format!("pool {}, with {agents} agents, {would}", shown(name));
            say(context, found, true, would)
        }
    }
}
