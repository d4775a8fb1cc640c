//! Usage and budgets.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{BudgetList, Code, Problem, SettingsChanged, UsageList, WireAccount};
use queenright_protocol::colony::{AccountName, Body, BudgetCommand, BudgetLimits, Outcome, Refusal};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid, misfit};

/// `GET /v1/usage`
pub(super) async fn usage(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let accounts = accounts(&door, &mut call).await?;
    Ok(Json(UsageList { accounts }).into_response())
}

/// `GET /v1/budgets`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let mut budgets = accounts(&door, &mut call).await?;
    budgets.retain(|account| account.budget.is_some());
    Ok(Json(BudgetList { budgets }).into_response())
}

async fn accounts(door: &Door, call: &mut Call) -> Result<Vec<WireAccount>, Refused> {
    let read = consistency(call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let project = snapshot.colony.project(&caller.project);
    Ok(project.into_iter().flat_map(WireAccount::all).collect())
}

/// `GET /v1/budgets/{name}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let name = account(call.path("name"))?;
    let snapshot = door.read(read, &caller).await?;
    let project = snapshot.colony.project(&caller.project);
    let found = project.and_then(|project| project.accounts().get(&name));
    match found.filter(|account| account.budget.is_some()) {
        Some(account) => Ok(Json(WireAccount::of(&name, account)).into_response()),
        None => {
            let budget = name.to_string().into();
            Err(Refusal::UnknownBudget { budget }.into())
        }
    }
}

/// `PUT /v1/budgets/{name}`
pub(super) async fn set(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let account = account(call.path("name"))?;
    let limits: BudgetLimits = call.json(door.limits.body_bytes, caller.deadline).await?;
    change(&door, &caller, BudgetCommand::Set { account, limits }).await
}

/// `POST /v1/budgets/{name}:reset`
pub(super) async fn reset(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let Some(name) = call.path("name").strip_suffix(":reset") else {
        let detail = "what is done with a budget stands behind its name (expected :reset)";
        return Err(Problem::new(Code::NotFound, detail).into());
    };
    let account = account(name)?;
    change(&door, &caller, BudgetCommand::Reset { account }).await
}

/// `DELETE /v1/budgets/{name}`
pub(super) async fn remove(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let account = account(call.path("name"))?;
    change(&door, &caller, BudgetCommand::Remove { account }).await
}

fn account(text: &str) -> Result<AccountName, Refused> {
    text.parse().map_err(|error| invalid("budget", error))
}

async fn change(door: &Door, caller: &Caller, command: BudgetCommand) -> Result<Response, Refused> {
    match door.submit(caller, Body::Budget(command)).await? {
        Outcome::Set { seq } => Ok(Json(SettingsChanged { seq }).into_response()),
        other => Err(misfit(&other)),
    }
}
