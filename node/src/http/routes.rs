//! Routes that can be listed: axum's routers take handlers and never say which they have.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, Route};
use tower::{Layer, Service};

use super::Door;

/// What a path answers to.
pub(super) struct Methods {
    router: MethodRouter<Door>,
    names: Vec<Method>,
}

/// Paths and what they answer to.
pub(super) struct Routes {
    router: Router<Door>,
    listed: Vec<(Method, String)>,
}

pub(super) fn get<H: Handler<T, Door>, T: 'static>(handler: H) -> Methods {
    Methods::new().get(handler)
}

pub(super) fn put<H: Handler<T, Door>, T: 'static>(handler: H) -> Methods {
    Methods::new().put(handler)
}

pub(super) fn post<H: Handler<T, Door>, T: 'static>(handler: H) -> Methods {
    Methods::new().post(handler)
}

pub(super) fn delete<H: Handler<T, Door>, T: 'static>(handler: H) -> Methods {
    Methods::new().delete(handler)
}

impl Methods {
    fn new() -> Methods {
        Methods {
            router: MethodRouter::new(),
            names: Vec::new(),
        }
    }

    fn on<H: Handler<T, Door>, T: 'static>(mut self, filter: MethodFilter, name: Method, handler: H) -> Methods {
        self.router = self.router.on(filter, handler);
        self.names.push(name);
        self
    }

    pub(super) fn get<H: Handler<T, Door>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::GET, Method::GET, handler)
    }

    pub(super) fn put<H: Handler<T, Door>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::PUT, Method::PUT, handler)
    }

    pub(super) fn post<H: Handler<T, Door>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::POST, Method::POST, handler)
    }

    pub(super) fn delete<H: Handler<T, Door>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::DELETE, Method::DELETE, handler)
    }
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes {
            router: Router::new(),
            listed: Vec::new(),
        }
    }

    pub(super) fn route(mut self, path: &str, methods: Methods) -> Routes {
        self.router = self.router.route(path, methods.router);
        let listed = methods.names.into_iter().map(|name| (name, path.to_owned()));
        self.listed.extend(listed);
        self
    }

    pub(super) fn merge(mut self, other: Routes) -> Routes {
        self.router = self.router.merge(other.router);
        self.listed.extend(other.listed);
        self
    }

    pub(super) fn nest(mut self, prefix: &str, other: Routes) -> Routes {
        self.router = self.router.nest(prefix, other.router);
        let listed = other
            .listed
            .into_iter()
            .map(|(name, path)| (name, format!("{prefix}{path}")));
        self.listed.extend(listed);
        self
    }

    /// A layer around the routes that there are so far.
    pub(super) fn route_layer<L>(mut self, layer: L) -> Routes
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.route_layer(layer);
        self
    }

    /// The methods and the paths.
    #[cfg(test)]
    pub(super) fn listed(&self) -> &[(Method, String)] {
        &self.listed
    }

    pub(super) fn into_router(self) -> Router<Door> {
        self.router
    }
}
