//! `queenright mcp`: the Model Context Protocol over stdio.

use std::error::Error;
use std::fs::File as StdFile;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use queenright_bench::client::Client;
use queenright_protocol::colony::{NAME_BYTES_MAX, SESSION_TTL_MS};
use rmcp::service::{ServerInitializeError, ServiceExt as _};
use serde_json::json;
use tokio::fs::File;

use super::door;
use super::table::Table;
use super::{CliError, Context};
use crate::cli::{ClientArgs, McpArgs};
use crate::exit::Exit;
use crate::mcp::{Failure, McpServer, Reach, ServerOptions, listed};

/// Carries out `queenright mcp`.
///
/// # Errors
/// [`CliError`] when the names are none, or stdin or stdout failed. That no node runs is an error of each call.
pub async fn run(args: McpArgs, context: &Context) -> Result<Exit, CliError> {
    if args.list {
        let tools = listed(&args.toolsets);
        let mut table = Table::new(["TOOLSET", "TOOL", "WHAT"]);
        for listed in &tools {
            let about = listed.tool.description.as_deref().unwrap_or_default();
            table.row([
                listed.toolset.to_owned(),
                listed.tool.name.to_string(),
                about.to_owned(),
            ]);
        }
        context.answer(&json!({ "tools": tools }), table)?;
        return Ok(Exit::Ok);
    }
    for (flag, name) in [("--project", Some(&args.project)), ("--agent", args.agent.as_ref())] {
        if let Some(name) = name
            && !(1..=NAME_BYTES_MAX).contains(&name.len())
        {
            let bytes = name.len();
            return Err(CliError::Usage(format!(
                "{flag}: {bytes} B, expected 1 to {NAME_BYTES_MAX}"
            )));
        }
    }
    if io::stdin().is_terminal() {
        context.note("speaks MCP on stdin and stdout; `queenright setup` tells a client to start it");
    }
    let server = McpServer::new(ServerOptions {
        reach: Arc::new(OfHost {
            args: args.client,
            found: Mutex::new(None),
        }),
        project: args.project,
        agent: args.agent,
        toolsets: args.toolsets,
        session_ttl_ms: SESSION_TTL_MS,
        keeps_sessions: true,
    });
    let failed = |source: Box<dyn Error + Send + Sync>| CliError::Failed {
        message: "the client could not be served".to_owned(),
        source,
    };
    let ends = open(&io::stdin()).and_then(|stdin| Ok((stdin, open(&io::stdout())?)));
    let ends = ends.map_err(|error| failed(error.into()))?;
    let serving = match server.serve(ends).await {
        Ok(serving) => serving,
        // A client that asked for nothing.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(Exit::Ok),
        Err(error) => return Err(failed(error.into())),
    };
    serving.waiting().await.map_err(|error| failed(error.into()))?;
    Ok(Exit::Ok)
}

/// One of the ends that the client holds, whatever it is: a pipe, a socket or a file.
fn open(end: &impl AsFd) -> io::Result<File> {
    let own = end.as_fd().try_clone_to_owned()?;
    Ok(File::from_std(StdFile::from(own)))
}

/// By the node of this host, or the one that the command line names.
#[derive(Debug)]
struct OfHost {
    args: ClientArgs,
    /// The client of the door that was found. Calls go on side by side, and each may find that its door is gone; nobody
    /// waits for anything while it holds this.
    found: Mutex<Option<Client>>,
}

impl Reach for OfHost {
    fn client(&self, _request: Option<&Parts>) -> Result<Client, Failure> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*found {
            return Ok(client.clone());
        }
        let client = door::client(&self.args).map_err(|error| Failure::no_door(with_causes(&error)))?;
        Ok(found.insert(client).clone())
    }

    fn lost(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn with_causes(error: &CliError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
