//! The OpenAPI document of the HTTP surfaces, made from what serves them.
//!
//! [`Routes`] takes a handler only together with its [`Operation`], so no route is without its
//! description. What an operation refuses is told as [`Reason`](super::Reason)s: their statuses,
//! headers and shapes come from the code that answers them.

mod operation;
mod routes;
mod schemas;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, Server, Tag};

pub use operation::Operation;
pub use routes::{Described, Routes};
pub use schemas::{
    AnyObject, CallbackUrlText, ConsumeWindow, DecimalText, EndCauseWord, EventStream,
    FifoConcurrency, FifoIdText, FifoUuidText, GrantTokenText, LeaseIdText, LockNameText,
    LockState, MomentText, MutexId, OkOrFail, OwnerText, PageSize, PageTokenText, PlainText,
    PrefixText, QueueNameText, ReasonWord, ReceiptText, RequestIdText, SecondsNumber, SecondsText,
    SecretText, SharedCount, TicketIdText, TicketStateWord, UuidText, ValueKeyText, ValueText,
    WebhookIdText, WebhookStateWord,
};

/// The groups that operations are in, each with what it is about.
const TAGS: &[(&str, &str)] = &[
    (
        "locks",
        "Locks: exclusive or shared, with a line in strict order.",
    ),
    ("leases", "Shared leases, which keep many grants alive."),
    ("values", "Small values with revisions, under keys."),
    (
        "fifos",
        "FIFOs: durable lines of tickets, which outlive connections and restarts.",
    ),
    (
        "queues",
        "Queues of items, each of which goes to one consumer at a time.",
    ),
    (
        "webhooks",
        "Webhooks: places in line whose turn is told by a call back.",
    ),
    (
        "dialect webmutex",
        "The API of webmutex, over the same locks.",
    ),
    (
        "dialect getlock",
        "The API of getlock, over the same locks.",
    ),
    ("dialect sync", "The API of sync, over the same FIFOs."),
    (
        "dialect lockable",
        "The API of lockable, over the same locks.",
    ),
    (
        "server",
        "Health, and this description. None of it needs an API token.",
    ),
];

const DESCRIPTION: &str = "Locks, leases, values, FIFOs and queues over HTTP. \
Whatever a body may have may also stand in the query string; a field that is given twice must be the \
same twice. Spans of time are texts such as `30s` or `1h45m`, or JSON numbers of seconds. A method that \
a path doesn't take is answered with 405 and `Allow`. Unless the server was told API tokens, none is \
needed.";

const BEARER: &str = "bearer";
const BASIC: &str = "basic";

/// The whole document.
pub fn document(described: Described) -> OpenApi {
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The API token."));
    let basic = Http::builder()
        .scheme(HttpAuthScheme::Basic)
        .description(Some(
            "The API token is the user name, the password is empty.",
        ));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(described.schemas)
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .security_scheme(BASIC, SecurityScheme::Http(basic.build()))
        .build();
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let mut info = Info::new("Holdfast", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    info.license = Some(license);
    let tags = TAGS.iter().map(|(name, about)| {
        let mut tag = Tag::new(*name);
        tag.description = Some((*about).to_owned());
        tag
    });
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .paths(described.paths)
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

/// Either way to send an API token, or none where the server asks for none.
fn securities() -> [SecurityRequirement; 3] {
    let none: [&str; 0] = [];
    [
        SecurityRequirement::default(),
        SecurityRequirement::new(BEARER, none),
        SecurityRequirement::new(BASIC, none),
    ]
}
