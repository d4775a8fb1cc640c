//! The routes of usage and budgets.

use queenright_actors::node::Consistency;
use queenright_protocol::colony::{AccountName, BudgetLimits};
use reqwest::Method;

use super::request::path_of;
use super::wire::{BudgetList, SettingsChanged, UsageList, WireAccount};
use super::{Client, ClientError};

impl Client {
    /// What was used in the project.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn usage(&self, consistency: Consistency) -> Result<UsageList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/usage")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// Makes a budget, or changes its limits.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `INVALID` or `TOO_LARGE` names the field that is out of its bounds.
    pub async fn set_budget(
        &self,
        account: &AccountName,
        limits: &BudgetLimits,
    ) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::PUT, &path_of_budget(account, "")?, None)?;
        self.fetch(call.json(limits)).await
    }

    /// Has a budget count from 0 again.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn reset_budget(&self, account: &AccountName) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::POST, &path_of_budget(account, ":reset")?, None)?;
        self.fetch(call).await
    }

    /// Removes a budget.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn remove_budget(&self, account: &AccountName) -> Result<SettingsChanged, ClientError> {
        let call = self.mutation(Method::DELETE, &path_of_budget(account, "")?, None)?;
        self.fetch(call).await
    }

    /// A budget as it is.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none.
    pub async fn budget(&self, account: &AccountName, consistency: Consistency) -> Result<WireAccount, ClientError> {
        let request = self.project_request(Method::GET, &path_of_budget(account, "")?)?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }

    /// The budgets of the project.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn budgets(&self, consistency: Consistency) -> Result<BudgetList, ClientError> {
        let request = self.project_request(Method::GET, "/v1/budgets")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }
}

fn path_of_budget(account: &AccountName, verb: &str) -> Result<String, ClientError> {
    path_of("/v1/budgets", "the budget", &format!("{account}{verb}"))
}
