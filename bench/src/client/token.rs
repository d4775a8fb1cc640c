//! The routes of tokens.

use queenright_actors::node::Consistency;
use queenright_protocol::colony::Access;
use reqwest::Method;

use super::request::path_of;
use super::wire::{CreateToken, CreatedToken, RevokedToken, TokenList};
use super::{Client, ClientError};

impl Client {
    /// Makes a token; its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `CONFLICT` says that there is one of this name.
    pub async fn create_token(
        &self,
        name: &str,
        scope: Access,
        expires_s: Option<u64>,
    ) -> Result<CreatedToken, ClientError> {
        let create = CreateToken {
            name: name.into(),
            scope,
            expires_s,
        };
        let request = self.request(Method::POST, "/v1/tokens")?;
        self.fetch(request.json(&create)).await
    }

    /// Lets nobody in with a token any more.
    ///
    /// # Errors
    /// [`ClientError`]; one of code `NOT_FOUND` says that there is none of this name.
    pub async fn revoke_token(&self, name: &str) -> Result<RevokedToken, ClientError> {
        let path = path_of("/v1/tokens", "the token", name)?;
        let request = self.request(Method::DELETE, &path)?;
        self.fetch(request).await
    }

    /// All tokens.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self, consistency: Consistency) -> Result<TokenList, ClientError> {
        let request = self.request(Method::GET, "/v1/tokens")?;
        self.fetch(request.query(&[("consistency", consistency)])).await
    }
}
