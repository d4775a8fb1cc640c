//! Which handler a path has.

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use queenright_bench::client::wire::{Code, Problem};

use super::problem::Refused;
use super::routes::{Routes, delete, get, post, put};
use super::{
    Door, access, agents, backups, budgets, contract, events, export, guard, log_level, mcp, memory, metrics, nodes,
    once, pools, prime, profile, projects, proposals, rates, replay, reservations, sessions, status, tasks, tokens,
    topics, topology, traces, ui,
};

pub(super) fn router(door: Door) -> Router {
    routes(&door)
        .into_router()
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(door.clone(), access::authorise))
        .layer(from_fn_with_state(door.clone(), guard::named))
        .layer(from_fn_with_state(door.clone(), traces::follow))
        .layer(from_fn_with_state(door.clone(), metrics::count))
        .with_state(door)
}

/// All routes, without what stands around them.
pub(super) fn routes(door: &Door) -> Routes {
    // What this node alone does: it remembers itself what it has done.
    let own = Routes::new()
        .route("/v1/nodes/{name}/replace", post(nodes::replace))
        .route("/v1/nodes/{name}/drain", post(nodes::drain))
        .route("/v1/nodes/{name}/undrain", post(nodes::undrain))
        .route("/v1/nodes/{name}/remove", post(nodes::remove))
        .route("/v1/nodes/{name}/leave", post(nodes::leave))
        .route("/v1/log-level", get(log_level::show).put(log_level::set))
        .route("/v1/agents", get(agents::list).post(agents::spawn))
        .route("/v1/agents/{name}", get(agents::show).delete(agents::stop))
        .route("/v1/agents/{name}/pause", post(agents::pause))
        .route("/v1/agents/{name}/resume", post(agents::resume))
        .route("/v1/agents/{name}/restart", post(agents::restart))
        .route("/v1/agents/{name}/nudge", post(agents::nudge))
        .route_layer(from_fn_with_state(door.clone(), once::remembered));
    let node = Routes::new()
        .merge(own)
        .route("/openapi.json", get(contract::openapi))
        .route("/v1/status", get(status::status))
        .route("/v1/figures", get(status::figures))
        .route("/v1/traces", get(traces::list))
        .route("/v1/traces/{trace}", get(traces::show))
        .route("/v1/nodes:ask", post(nodes::ask))
        .route("/v1/topology", get(topology::show).put(topology::set))
        .route("/v1/projects", get(projects::list).post(projects::create))
        .route("/v1/projects/{project}", get(projects::show).delete(projects::destroy))
        .route("/v1/projects/{project}/limits", put(projects::limit))
        .route("/v1/backup", get(backups::backup))
        .route("/v1/pools", get(pools::list))
        .route(
            "/v1/pools/{name}",
            get(pools::show).put(pools::set).delete(pools::remove),
        )
        .route("/v1/pools/{name}/drain", post(pools::drain))
        .route("/v1/pools/{name}/undrain", post(pools::undrain))
        .route("/v1/pools/{name}/recycle", post(pools::recycle))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{name}", delete(tokens::revoke))
        .route_layer(from_fn_with_state(door.clone(), guard::admit));
    Routes::new()
        // Watchdogs are answered also when the door is busy.
        .route("/healthz", get(status::alive))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(metrics::show))
        .route("/debug/profile", get(profile::profile))
        // The page and its parts are the same for everybody: what they show is asked for with a token.
        .merge(ui::pages())
        .merge(node)
        .nest("/v1", of_project(door))
        .nest("/v1/projects/{project}", of_project(door))
        .merge(mcp::routes(door))
}

fn of_project(door: &Door) -> Routes {
    Routes::new()
        .route("/memory", get(memory::list))
        .route(
            "/memory/{*key}",
            get(memory::get).put(memory::put).delete(memory::delete),
        )
        .route("/memory:change", post(memory::change))
        .route("/memory-ranges", get(memory::range))
        .route("/replay/tree", get(replay::tree))
        .route("/tasks", get(tasks::list).post(tasks::add))
        .route("/tasks/{task}", get(tasks::show).post(tasks::act))
        .route("/sessions", get(sessions::list).post(sessions::open))
        .route("/sessions/{session}", get(sessions::show).post(sessions::act))
        .route("/prime", get(prime::prime))
        .route("/export", get(export::export))
        .route("/queues", get(tasks::queues))
        .route("/queues/{queue}", post(tasks::change_queue))
        .route("/reservations", get(reservations::list))
        .route("/reservations:check", post(reservations::check))
        .route("/reservations:release", post(reservations::release))
        .route("/reservations/{reservation}", post(reservations::act))
        .route("/reservation-settings", put(reservations::set_settings))
        .route("/slots", get(reservations::slots))
        .route("/slots/{name}", put(reservations::set_slot))
        .route("/rates", get(rates::list))
        .route("/rates/{name}", get(rates::show).put(rates::set).delete(rates::delete))
        .route("/usage", get(budgets::usage))
        .route("/budgets", get(budgets::list))
        .route(
            "/budgets/{name}",
            get(budgets::show)
                .put(budgets::set)
                .post(budgets::reset)
                .delete(budgets::remove),
        )
        .route("/proposals", post(proposals::propose))
        .route("/proposal-batches", post(proposals::propose_batch))
        .merge(
            Routes::new()
                .route("/topics/{topic}", post(topics::publish))
                .route_layer(from_fn_with_state(door.clone(), once::remembered)),
        )
        .route_layer(from_fn_with_state(door.clone(), guard::admit))
        // Those who wait for tasks or events, or to be granted a reservation, are bounded by themselves.
        .route("/tasks:claim", post(tasks::claim))
        .route("/events", get(events::events))
        .route("/overview", get(ui::overview))
        .route("/topics", get(topics::follow))
        .route("/reservations", post(reservations::acquire))
        .route("/reservations/{reservation}", get(reservations::show))
}

async fn no_route(method: Method, uri: Uri) -> Refused {
    Problem::new(Code::NotFound, format!("there is no route {method} {}", uri.path())).into()
}

async fn no_method(method: Method, uri: Uri) -> Refused {
    let detail = format!("{} does not have the method {method}", uri.path());
    Problem::new(Code::MethodNotAllowed, detail).into()
}
