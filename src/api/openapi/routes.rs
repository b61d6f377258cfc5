//! Routes with their descriptions: neither is without the other.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::path::{HttpMethod, PathItem, Paths};
use utoipa::openapi::{RefOr, Schema};

use super::Operation;
use super::schemas::{Known, plain};

/// What there is to describe: paths with their operations, and the schemas that these refer to.
#[derive(Clone, Default)]
pub struct Described {
    /// By path.
    pub paths: Paths,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

impl Described {
    /// Describes what is served elsewhere.
    pub fn add(&mut self, method: HttpMethod, path: &str, operation: Operation) {
        let mut known = Known::default();
        let operation = operation.write(path, &mut known);
        self.add_item(path.to_owned(), PathItem::new(method, operation));
        let schemas = known.0.into_iter();
        self.schemas
            .extend(schemas.map(|(name, schema)| (name, plain(schema))));
    }

    fn add_item(&mut self, path: String, item: PathItem) {
        match self.paths.paths.get_mut(&path) {
            Some(there) => there.merge_operations(item),
            None => {
                self.paths.paths.insert(path, item);
            }
        }
    }

    /// Both together.
    pub fn merge(mut self, other: Described) -> Described {
        for (path, item) in other.paths.paths {
            self.add_item(path, item);
        }
        self.schemas.extend(other.schemas);
        self
    }
}

/// Routes of which every one is described.
pub struct Routes<S> {
    router: Router<S>,
    described: Described,
    slashes: bool,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Routes<S> {
        Routes {
            router: Router::new(),
            described: Described::default(),
            slashes: false,
        }
    }

    /// None yet; each that comes is served, but not described, also with a slash behind it.
    pub fn with_slashes() -> Routes<S> {
        Routes {
            slashes: true,
            ..Routes::new()
        }
    }

    /// Serves an operation and describes it.
    pub fn on<T: 'static>(
        mut self,
        method: HttpMethod,
        path: &str,
        handler: impl Handler<T, S>,
        operation: Operation,
    ) -> Routes<S> {
        self.serve(path, on(filter(&method), handler));
        self.described.add(method, path, operation);
        self
    }

    /// Serves an operation under a path, and under the path with an id behind it.
    pub fn on_both<T: 'static>(
        self,
        method: HttpMethod,
        path: &str,
        handler: impl Handler<T, S>,
        operation: Operation,
    ) -> Routes<S> {
        let by_id = operation.clone().with_id_suffix("ById");
        self.on(method.clone(), path, handler.clone(), operation)
            .on(method, &format!("{path}/{{id}}"), handler, by_id)
    }

    /// Serves what is no operation of its own, such as a path whose name was left out.
    pub fn undescribed<T: 'static>(
        mut self,
        method: HttpMethod,
        path: &str,
        handler: impl Handler<T, S>,
    ) -> Routes<S> {
        self.serve(path, on(filter(&method), handler));
        self
    }

    fn serve(&mut self, path: &str, methods: MethodRouter<S>) {
        let mut router = std::mem::take(&mut self.router);
        if self.slashes && !path.ends_with('/') {
            router = router.route(&format!("{path}/"), methods.clone());
        }
        self.router = router.route(path, methods);
    }

    /// Both together.
    pub fn merge(self, other: Routes<S>) -> Routes<S> {
        Routes {
            router: self.router.merge(other.router),
            described: self.described.merge(other.described),
            slashes: self.slashes,
        }
    }

    /// What serves.
    pub fn into_router(self) -> Router<S> {
        self.router
    }

    /// What describes.
    pub fn into_described(self) -> Described {
        self.described
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes::new()
    }
}

fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}
