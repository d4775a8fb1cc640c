//! `queenright project`: what work and memory belong to.

use queenright_bench::client::ProjectQuery;
use queenright_bench::client::wire::{ProjectList, WireProject};
use queenright_protocol::colony::{Holdings, ProjectLimits};

use super::door::{client, of_read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, dry};
use crate::cli::{LimitedArgs, ProjectCommand};
use crate::exit::Exit;

/// Carries out `queenright project`.
///
/// # Errors
/// [`CliError`], such as a project that is not there.
pub async fn run(command: ProjectCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        ProjectCommand::Create(LimitedArgs {
            name,
            limits,
            dry_run,
            client: args,
        }) => {
            if dry_run {
                return dry::create_project(&client(&args)?, &name, &limits.into(), context).await;
            }
            let set = client(&args)?.create_project(&name, limits.into()).await?;
            let limits = limits_text(&set.limits);
            context.answer(&set, format!("project {} is there\n{limits}", shown(&name)))?;
        }
        ProjectCommand::List {
            limit,
            after,
            consistency,
            client: args,
        } => {
            let query = ProjectQuery {
                after,
                limit: Some(limit),
                consistency: consistency.into(),
            };
            let list = client(&args)?.projects(&query).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
        }
        ProjectCommand::Status {
            name,
            consistency,
            client: args,
        } => {
            let project = client(&args)?.project(&name, consistency.into()).await;
            let project = project.map_err(of_read)?;
            context.answer(&project, project_text(&project))?;
        }
        ProjectCommand::Limits(LimitedArgs {
            name,
            limits,
            dry_run,
            client: args,
        }) => {
            if dry_run {
                return dry::limit_project(&client(&args)?, &name, &limits.into(), context).await;
            }
            let set = client(&args)?.limit_project(&name, limits.into()).await?;
            context.answer(&set, limits_text(&set.limits))?;
        }
        ProjectCommand::Destroy {
            name,
            yes,
            // Without --yes it is one.
            dry_run: _,
            client: args,
        } => {
            let destroyed = client(&args)?.destroy_project(&name, !yes).await?;
            let (name, lost) = (shown(&name), holdings_text(&destroyed.lost));
            let text = match yes {
                true => format!("project {name} is destroyed; lost:\n{lost}"),
                false => format!("nothing was destroyed yet; with --yes project {name} is, and lost is:\n{lost}"),
            };
            context.answer(&destroyed, text)?;
        }
    }
    Ok(Exit::Ok)
}

fn list_text(list: &ProjectList) -> String {
    let mut table = Table::new([
        "PROJECT", "STATE", "AGENTS", "OPEN", "FINISHED", "KEYS", "BYTES", "LEFT",
    ]);
    for project in &list.projects {
        let holds = &project.holds;
        table.row([
            shown(&project.project),
            project.state.to_string(),
            holds.agents.to_string(),
            holds.open_tasks.to_string(),
            holds.finished_tasks.to_string(),
            holds.memory_keys.to_string(),
            (holds.memory_bytes + holds.task_bytes).to_string(),
            or_dash(project.left),
        ]);
    }
    let more = list.next.as_ref().map(|next| format!("\nmore after {}", shown(next)));
    format!("{table}{}", more.unwrap_or_default())
}

fn project_text(project: &WireProject) -> String {
    let WireProject {
        project: name,
        state,
        left,
        author,
        made,
        limits,
        holds,
        ..
    } = project;
    let left = left.map(|left| format!(", {left} things left")).unwrap_or_default();
    format!(
        "project {} ({state}{left}), made by {} at seq {made}\n{}\n{}",
        shown(name),
        shown(author),
        holdings_text(holds),
        limits_text(limits)
    )
}

fn holdings_text(holds: &Holdings) -> String {
    let Holdings {
        agents,
        sessions,
        open_tasks,
        finished_tasks,
        task_bytes,
        memory_keys,
        memory_bytes,
        events,
        idempotency_keys,
        reservations,
        waiting_claims,
    } = holds;
    [
        format!("agents    {agents} at work, {sessions} sessions known"),
        format!("tasks     {open_tasks} to be done, {finished_tasks} finished, {task_bytes} B"),
        format!("waiting   {waiting_claims} claims"),
        format!("reserved  {reservations}"),
        format!("memory    {memory_keys} keys, {memory_bytes} B"),
        format!("events    {events}"),
        format!("answers   {idempotency_keys} kept under idempotency keys"),
    ]
    .join("\n")
}

fn limits_text(limits: &ProjectLimits) -> String {
    let said = limits
        .named()
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?)));
    let said: Vec<String> = said
        .map(|(name, limit)| format!("{} {limit}", name.replace('_', " ")))
        .collect();
    match said.is_empty() {
        true => "limits    none of its own".to_owned(),
        false => format!("limits    {}", said.join(", ")),
    }
}
