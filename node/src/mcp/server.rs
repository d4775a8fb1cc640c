//! The server: what a client may ask of it, however it is connected.

use std::sync::Arc;

use axum::http::request::Parts;
use queenright_actors::trace::TraceParent;
use queenright_bench::client::{AGENT_HEADER, TRACE_HEADER};
use queenright_protocol::colony::NAME_BYTES_MAX;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, GetPromptRequestParams, GetPromptResponse, Implementation,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};

use super::answer::Answer;
use super::arguments::Arguments;
use super::keeper::Keeper;
use super::tools::{self, Call, Kind};
use super::{Failure, Reach, Toolsets, prompts, resources};

/// Who calls, if nothing says it.
const AGENT: &str = "mcp";
/// What a model is told of this server before anything else.
const INSTRUCTIONS: &str = "Queenright coordinates agents that work at once: each task has one owner, files are reserved \
before they are edited, memory is shared. Call session_start first and pass its token to the other tools; then task_claim, \
reserve the files that you will change, work, task_finish. Who has no token of a session is a stranger to what it holds. \
An error says in next what to do. A fence that is FENCED means that the work is not yours any more.";

/// How a server answers.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How it reaches the door of a node.
    pub reach: Arc<dyn Reach>,
    /// The project of calls that name none.
    pub project: String,
    /// Who calls, where the arguments name nobody; the name of the client if this is absent.
    pub agent: Option<String>,
    /// The tools that it shows.
    pub toolsets: Toolsets,
    /// For how long a session lives without a sign of life unless its opening says otherwise, in milliseconds.
    pub session_ttl_ms: u64,
    /// Whether it keeps alive the sessions that are opened by it: it lives as long as its one client does.
    pub keeps_sessions: bool,
}

/// A server of the Model Context Protocol. Cheap to clone.
#[derive(Clone, Debug)]
pub struct McpServer {
    options: Arc<ServerOptions>,
    keeper: Option<Keeper>,
}

impl McpServer {
    /// A server that answers so. One that keeps sessions must be made in a runtime.
    pub fn new(options: ServerOptions) -> McpServer {
        let keeper = options.keeps_sessions.then(|| Keeper::start(options.reach.clone()));
        McpServer {
            options: Arc::new(options),
            keeper,
        }
    }

    /// The tools that a client is shown.
    fn toolsets<'a>(&'a self, context: &'a RequestContext<RoleServer>) -> &'a Toolsets {
        let asked = request(context).and_then(|request| request.extensions.get::<Toolsets>());
        asked.unwrap_or(&self.options.toolsets)
    }

    /// A call with what all understand taken out of its arguments.
    fn call(
        &self,
        arguments: &mut Arguments,
        takes: impl Fn(&str) -> bool,
        context: &RequestContext<RoleServer>,
    ) -> Result<Call, Failure> {
        let named = |arguments: &mut Arguments, field: &str| match takes(field) {
            true => arguments.name(field),
            false => Ok(None),
        };
        let project = named(arguments, "project")?.unwrap_or_else(|| self.options.project.clone());
        let agent = named(arguments, "agent")?.unwrap_or_else(|| self.agent(context));
        let token = if takes("token") { arguments.text("token")? } else { None };
        let idempotency_key = named(arguments, "idempotency_key")?;
        let client = self.options.reach.client(request(context))?;
        let mut client = client
            .in_project(&project)
            .as_agent(&agent)
            .with_token(token.as_deref());
        if let Some(parent) = traceparent(context) {
            client = client.in_trace(&parent);
        }
        Ok(Call {
            client,
            project,
            agent,
            token,
            idempotency_key,
            keeper: self.keeper.clone(),
            session_ttl_ms: self.options.session_ttl_ms,
        })
    }

    /// Who calls: whom the options or a header name, or else the program of the client.
    fn agent(&self, context: &RequestContext<RoleServer>) -> String {
        let header = request(context).and_then(|request| request.headers.get(AGENT_HEADER)?.to_str().ok());
        if let Some(agent) = self.options.agent.as_deref().or(header) {
            return agent.to_owned();
        }
        // Over HTTP each request says it or none does: what the library would answer then is its own name.
        let client = match request(context) {
            Some(_) => context.meta.client_info(),
            None => context.client_info(),
        };
        let client = client.map(|client| client.name).unwrap_or_default();
        // A name goes into a header, and is as long as names may be.
        let known = !client.is_empty() && client.len() <= NAME_BYTES_MAX && !client.contains(char::is_control);
        if known { client } else { AGENT.to_owned() }
    }

    async fn run(
        &self,
        kind: &Kind,
        mut arguments: Arguments,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answer, Failure> {
        let call = self.call(&mut arguments, |field| kind.takes(field), context)?;
        let ran = kind.run(&call, arguments).await;
        self.look_again_after(&ran);
        ran
    }

    fn look_again_after<T>(&self, ran: &Result<T, Failure>) {
        if ran.as_ref().is_err_and(|failure| failure.unreached) {
            self.options.reach.lost();
        }
    }
}

/// The request by which a call came, if it came over HTTP.
fn request(context: &RequestContext<RoleServer>) -> Option<&Parts> {
    context.extensions.get::<Parts>()
}

/// The trace that a call belongs to: as its `_meta` says, or the request by which it came.
fn traceparent(context: &RequestContext<RoleServer>) -> Option<String> {
    let said = context.meta.get(TRACE_HEADER).and_then(|said| said.as_str());
    let header = || request(context)?.headers.get(TRACE_HEADER)?.to_str().ok();
    // What is none goes into no header.
    let parent = said.or_else(header).and_then(TraceParent::parse)?;
    Some(parent.to_string())
}

fn unknown_tool(name: &str) -> ErrorData {
    let message = match tools::named(name) {
        Some(kind) => format!(
            "the tool {name} is of the toolset {0}, which this client did not ask for: \
             `queenright mcp --toolsets {0}`, or /mcp?toolsets={0}",
            kind.toolset
        ),
        None => format!("there is no tool {name:?}"),
    };
    ErrorData::invalid_params(message, None)
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_prompts()
            .build();
        let program = Implementation::new("queenright", env!("CARGO_PKG_VERSION")).with_title("Queenright");
        ServerConfig::new(capabilities)
            .with_server_info(program)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let listed = tools::listed(self.toolsets(&context));
        let tools = listed.into_iter().map(|listed| listed.tool).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let kind = tools::named(&request.name).filter(|kind| self.toolsets(&context).has(kind.toolset));
        let kind = kind.ok_or_else(|| unknown_tool(&request.name))?;
        let cancelled = context.ct.clone();
        let ran = tokio::select! {
            ran = self.run(kind, Arguments::new(request.arguments), &context) => ran,
            // What waits is left: the door learns that by the end of its request.
            () = cancelled.cancelled() => {
                return Err(ErrorData::internal_error("the call was cancelled by its client", None));
            }
        };
        let result = match ran {
            Ok(answer) => answer.into_result(),
            Err(failure) => failure.into_result(),
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::listed()))
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let resource = resources::parse(&request.uri).map_err(|problem| {
            ErrorData::resource_not_found(problem, Some(serde_json::json!({ "uri": request.uri.clone() })))
        })?;
        let read = async {
            let mut arguments = Arguments::new(None);
            let mut call = self.call(&mut arguments, |_| false, &context)?;
            if let Some(project) = &resource.project {
                call.client = call.client.in_project(project);
            }
            resources::read(&call.client, &resource, &request.uri).await
        };
        let read = read.await;
        self.look_again_after(&read);
        read.map(Into::into).map_err(|failure| {
            let (message, data) = (String::from(failure.message.clone()), Some(failure.as_json()));
            match &*failure.code {
                "NOT_FOUND" => ErrorData::resource_not_found(message, data),
                "INVALID" => ErrorData::invalid_params(message, data),
                _ => ErrorData::internal_error(message, data),
            }
        })
    }

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::listed()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        prompts::filled(&request.name, &arguments).map(Into::into)
    }
}
