//! What one operation takes, answers and refuses.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response as HttpResponse;
use utoipa::ToSchema;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    Content, HeaderBuilder, ObjectBuilder, RefOr, Required, Response, ResponseBuilder, Schema,
    Type, path,
};

use super::schemas::{Known, PlainText, described, without_null};
use super::securities;
use crate::api::http::paths::Surface;
use crate::api::http::{ErrorJson, error_response};
use crate::api::{ApiError, Reason, dialects};

/// What may stand between any caller and any operation.
const ALWAYS: &[Reason] = &[
    Reason::InvalidArgument,
    Reason::Unauthenticated,
    Reason::PermissionDenied,
    Reason::Unavailable,
    Reason::Internal,
];
/// What reading a body may come to; every operation that has fields reads one.
const READS_BODY: &[Reason] = &[Reason::BodyTooLarge, Reason::UnsupportedMediaType];
/// What asking a shard may come to.
const ASKS: &[Reason] = &[Reason::Overloaded, Reason::Stopping];
/// What a call may come to that makes the state grow.
const GROWS: &[Reason] = &[Reason::StorageFull, Reason::LimitReached];
/// What a `request_id` may come to.
const REMEMBERS: &[Reason] = &[
    Reason::RequestIdReused,
    Reason::StorageFull,
    Reason::LimitReached,
];

/// Every type of body that is read.
const BODIES: [&str; 3] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];

/// An operation: what it takes, answers and refuses.
#[derive(Clone)]
pub struct Operation {
    id: String,
    open: bool,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    in_path: Vec<Parameter>,
    in_query: Vec<Parameter>,
    body: Option<RefOr<Schema>>,
    answers: BTreeMap<StatusCode, Response>,
    reasons: Vec<Reason>,
    known: Known,
}

impl Operation {
    /// One that asks the shard and may be refused as any may. `id` is unique among all.
    pub fn new(
        tag: &'static str,
        id: &str,
        summary: &'static str,
        description: &'static str,
    ) -> Operation {
        Operation {
            open: false,
            reasons: [ALWAYS, ASKS].concat(),
            ..Operation::open(tag, id, summary, description)
        }
    }

    /// One that stands before the surfaces: it needs no API token and refuses nothing.
    pub fn open(
        tag: &'static str,
        id: &str,
        summary: &'static str,
        description: &'static str,
    ) -> Operation {
        Operation {
            id: id.to_owned(),
            open: true,
            tag,
            summary,
            description,
            in_path: Vec::new(),
            in_query: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            reasons: Vec::new(),
            known: Known::default(),
        }
    }

    /// What the path's capture `name` holds. Paths without it don't have the parameter.
    pub fn in_path<T: ToSchema>(mut self, name: &str) -> Operation {
        let schema = self.known.reference::<T>();
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(described(&T::schema()))
            .schema(Some(schema));
        self.in_path.push(parameter.build());
        self
    }

    /// Fields in the query string.
    pub fn query<T: ToSchema>(mut self) -> Operation {
        self.reads::<T>();
        let RefOr::T(Schema::Object(object)) = T::schema() else {
            return self;
        };
        for (name, schema) in object.properties {
            let required = match object.required.contains(&name) {
                true => Required::True,
                false => Required::False,
            };
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(required)
                .description(described(&schema))
                .schema(Some(without_null(schema)));
            self.in_query.push(parameter.build());
        }
        self
    }

    /// Fields in a body of any type that is read.
    pub fn body<T: ToSchema>(mut self) -> Operation {
        self.reads::<T>();
        self.body = Some(self.known.reference::<T>());
        self
    }

    fn reads<T: ToSchema>(&mut self) {
        T::schemas(&mut self.known.0);
        self.reasons.extend(READS_BODY);
        if let RefOr::T(Schema::Object(object)) = T::schema()
            && object.properties.contains_key("request_id")
        {
            self.reasons.extend(REMEMBERS);
        }
    }

    /// The answer 200 as JSON.
    pub fn answers<T: ToSchema>(self, description: &str) -> Operation {
        self.answers_with::<T>(StatusCode::OK, "application/json", description)
    }

    /// An answer. One status may be answered in several types.
    pub fn answers_with<T: ToSchema>(
        mut self,
        status: StatusCode,
        content_type: &str,
        description: &str,
    ) -> Operation {
        let content = Content::new(Some(self.known.reference::<T>()));
        let answer = self.answers.entry(status).or_insert_with(|| {
            let response = ResponseBuilder::new().description(description);
            response.build()
        });
        answer
            .content
            .insert(content_type.to_owned(), content.into());
        self
    }

    /// An answer without a body.
    pub fn answers_empty(mut self, status: StatusCode, description: &str) -> Operation {
        let response = ResponseBuilder::new().description(description);
        self.answers.insert(status, response.build());
        self
    }

    /// What else it may be refused for.
    pub fn refuses(mut self, reasons: &[Reason]) -> Operation {
        self.reasons.extend(reasons);
        self
    }

    /// It makes the state grow, for which there may be no room.
    pub fn grows(self) -> Operation {
        self.refuses(GROWS)
    }

    /// The same under another id.
    pub(super) fn with_id_suffix(mut self, suffix: &str) -> Operation {
        self.id.push_str(suffix);
        self
    }

    /// The operation as the document has it, for a path; what it refers to is added to `known`.
    pub(super) fn write(mut self, path: &str, known: &mut Known) -> path::Operation {
        let mut operation = OperationBuilder::new()
            .tag(self.tag)
            .operation_id(Some(self.id.as_str()))
            .summary(Some(self.summary))
            .description(Some(self.description));
        for parameter in &self.in_path {
            if path.contains(&format!("{{{}}}", parameter.name)) {
                operation = operation.parameter(parameter.clone());
            }
        }
        for parameter in self.in_query.drain(..) {
            operation = operation.parameter(parameter);
        }
        if let Some(schema) = &self.body {
            let body = BODIES.iter().fold(RequestBodyBuilder::new(), |body, kind| {
                body.content(*kind, Content::new(Some(schema.clone())))
            });
            operation = operation.request_body(Some(body.build()));
        }
        self.add_refusals(path);
        for (status, answer) in self.answers {
            operation = operation.response(status.as_str(), answer);
        }
        if !self.open {
            operation = operation.securities(Some(securities()));
        }
        known.0.append(&mut self.known.0);
        operation.build()
    }

    /// Adds the answers to refusals, by asking the surface how it says each.
    fn add_refusals(&mut self, path: &str) {
        let mut told = Vec::new();
        for reason in std::mem::take(&mut self.reasons) {
            if told.contains(&reason) {
                continue;
            }
            told.push(reason);
            let said = error_response(path, ApiError::new(reason, ""));
            let schema = error_schema(&mut self.known, path);
            let answer = self
                .answers
                .entry(said.status())
                .or_insert_with(|| ResponseBuilder::new().build());
            let line = format!("`{}`: {}", reason.as_str(), reason.meaning());
            answer.description = match answer.description.as_str() {
                "" => line,
                earlier => format!("{earlier} {line}"),
            };
            if let Some(kind) = content_type(&said) {
                let content = Content::new(Some(schema));
                answer.content.entry(kind).or_insert(content.into());
            }
            add_headers(answer, &said);
        }
    }
}

/// The shape in which the surface of a path says what went wrong.
fn error_schema(known: &mut Known, path: &str) -> RefOr<Schema> {
    match Surface::of(path) {
        Surface::Rest => known.reference::<ErrorJson<'_>>(),
        Surface::Webmutex => known.reference::<dialects::webmutex::Body>(),
        Surface::Getlock => known.reference::<dialects::getlock::Body>(),
        Surface::Sync => known.reference::<PlainText>(),
        Surface::Lockable => known.reference::<dialects::lockable::Body>(),
    }
}

fn content_type(said: &HttpResponse) -> Option<String> {
    let kind = said.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.to_owned())
}

/// Headers that tell a caller what to do about a refusal.
fn add_headers(answer: &mut Response, said: &HttpResponse) {
    const TOLD: [(&str, Type, &str); 2] = [
        (
            "retry-after",
            Type::Integer,
            "When to try again, in seconds.",
        ),
        (
            "www-authenticate",
            Type::String,
            "How to send an API token.",
        ),
    ];
    for (name, kind, about) in TOLD {
        if said.headers().contains_key(name) {
            let header = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(kind)))
                .description(Some(about));
            let header = RefOr::T(header.build());
            answer.headers.insert(name.to_owned(), header);
        }
    }
}
