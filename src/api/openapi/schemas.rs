//! Schemas of what is text or a number on the wire and more than that to us. Bounds come from the
//! limits; where a limit counts bytes, the schema's characters are an upper bound of it.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, SchemaFormat, SchemaType};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api::Reason;
use crate::api::http::duration::DURATION_BYTES_MAX;
use crate::api::http::fields;
use crate::core::limits::*;

/// Named schemas that something refers to.
#[derive(Clone, Default)]
pub(super) struct Known(pub(super) Vec<(String, RefOr<Schema>)>);

impl Known {
    /// A reference to a type's schema, which is kept with all that it refers to.
    pub(super) fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        T::schemas(&mut self.0);
        self.0.push((T::name().into_owned(), T::schema()));
        Ref::from_schema_name(T::name()).into()
    }
}

/// The schema's description.
pub(super) fn described(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => {
            Some(reference.description.clone()).filter(|text| !text.is_empty())
        }
        RefOr::T(Schema::Object(object)) => object.description.clone(),
        RefOr::T(Schema::Array(array)) => array.description.clone(),
        RefOr::T(Schema::OneOf(one)) => one.description.clone(),
        RefOr::T(Schema::AnyOf(any)) => any.description.clone(),
        RefOr::T(Schema::AllOf(all)) => all.description.clone(),
        RefOr::T(_) => None,
    }
}

/// What may be left out is left out, or not sent: it need not be `null` besides.
pub(super) fn plain(schema: RefOr<Schema>) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = schema else {
        return schema;
    };
    let required = object.required.clone();
    for (name, property) in &mut object.properties {
        if !required.contains(name) {
            *property = without_null(property.clone());
        }
    }
    RefOr::T(Schema::Object(object))
}

/// The schema without the choice of `null`.
pub(super) fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(kinds) = &mut object.schema_type {
                kinds.retain(|kind| *kind != Type::Null);
                if let [kind] = kinds.as_slice() {
                    object.schema_type = SchemaType::Type(kind.clone());
                }
            }
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::Array(mut array)) => {
            if let SchemaType::Array(_) = array.schema_type {
                array.schema_type = SchemaType::Type(Type::Array);
            }
            RefOr::T(Schema::Array(array))
        }
        RefOr::T(Schema::OneOf(one)) => {
            let description = one.description.clone();
            let mut items = one.items.iter().filter(|item| !is_null(item));
            match (items.next(), items.next()) {
                (Some(RefOr::Ref(only)), None) => {
                    let mut only = only.clone();
                    only.description = description.unwrap_or_default();
                    RefOr::Ref(only)
                }
                _ => RefOr::T(Schema::OneOf(one)),
            }
        }
        other => other,
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object))
        if object.schema_type == SchemaType::Type(Type::Null))
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn name(bytes_max: usize, about: &str) -> ObjectBuilder {
    text()
        .min_length(Some(1))
        .max_length(Some(bytes_max))
        .description(Some(format!("{about}, of 1 to {bytes_max} bytes.")))
}

fn up_to(bytes_max: usize, about: &str) -> ObjectBuilder {
    text()
        .max_length(Some(bytes_max))
        .description(Some(format!("{about}, of at most {bytes_max} bytes.")))
}

fn whole() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn seconds() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0))
}

/// A number as JSON has it, or as text.
fn whole_or_text(min: usize, max: Option<u32>, about: &str) -> RefOr<Schema> {
    let digits = text().pattern(Some("^[0-9]+$")).max_length(Some(20));
    AnyOfBuilder::new()
        .item(whole().minimum(Some(min)).maximum(max))
        .item(digits)
        .description(Some(about))
        .into()
}

/// Go's grammar and days; bounds are the fields' own.
const SPAN: &str = r"^\+?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d))+$";

fn span_text() -> ObjectBuilder {
    text()
        .pattern(Some(SPAN))
        .max_length(Some(DURATION_BYTES_MAX))
        .examples([json!("30s"), json!("1h45m")])
}

macro_rules! schemas {
    ($($(#[$doc:meta])* $name:ident => $schema:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;
        described_as! { $name, stringify!($name) => $schema; }
    )*};
}

macro_rules! described_as {
    ($($type:ty, $name:expr => $schema:expr;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    )*};
}

described_as! {
    fields::Span, "Span" => AnyOfBuilder::new()
        .item(span_text())
        .item(seconds())
        .description(Some("A span of time: text such as `30s`, or a number of seconds."));
    fields::Ttl, "Ttl" => AnyOfBuilder::new()
        .item(text().enum_values(Some(["none"])))
        .item(span_text())
        .item(seconds())
        .description(Some("How long without a renewal: text such as `30s`, a number of seconds, or `none` for no expiry."));
    fields::Count, "Count" => whole_or_text(0, Some(u32::MAX), "A whole number.");
    fields::Flag, "Flag" => AnyOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Boolean))
        .item(text().enum_values(Some(["true", "t", "1", "false", "f", "0"])))
        .description(Some("True or false, as JSON or as text; any case is read."));
    fields::Deliveries, "Deliveries" => AnyOfBuilder::new()
        .item(text().enum_values(Some(["none"])))
        .item(whole().minimum(Some(1)).maximum(Some(DELIVERIES_MAX_MAX)))
        .item(text().pattern(Some("^[0-9]+$")).max_length(Some(20)))
        .description(Some("A whole number, as JSON or as text; `none`: any number."));
    fields::PartWord, "Part" => text()
        .enum_values(Some(["ready", "delivered", "dead"]))
        .description(Some("Which items of a queue: those that wait, that are with a consumer, or the dead letters."));
    fields::FencingToken, "FencingToken" => whole_or_text(1, None, "A fencing token: text, so that no reader rounds it, or a number.");
    fields::Revision, "Revision" => whole_or_text(0, None, "A revision: text, so that no reader rounds it, or a number; 0 stands for no value.");
    fields::Base64, "Base64" => text()
        .content_encoding("base64")
        .pattern(Some("^[A-Za-z0-9+/]*={0,2}$"))
        .max_length(Some(VALUE_BYTES_MAX.div_ceil(3) * 4))
        .description(Some("Bytes in standard base64, with or without padding."));
    fields::ModeWord, "Mode" => text()
        .enum_values(Some(["EXCLUSIVE", "SHARED"]))
        .description(Some("How a lock is held; any case is read."));
    fields::Metadata, "Metadata" => ObjectBuilder::new()
        .max_properties(Some(METADATA_ENTRIES_MAX))
        .property_names(Some(Schema::Object(text().max_length(Some(METADATA_KEY_BYTES_MAX)).build())))
        .additional_properties(Some(Schema::Object(text().build())))
        .description(Some("Texts by key. In a form or a query: the JSON text of such an object."));
    fields::Callback, "Callback" => ObjectBuilder::new()
        .property("url", CallbackUrlText::schema())
        .property("secret", SecretText::schema())
        .property("accept_timeout", Ref::from_schema_name("Span"))
        .required("url")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .description(Some("Whom to call when the turn comes. In a form or a query: the JSON text of such an object."));
}

schemas! {
    /// A lock's name.
    LockNameText => name(LOCK_NAME_BYTES_MAX, "A lock's name");
    /// A value's key.
    ValueKeyText => name(VALUE_KEY_BYTES_MAX, "A value's key");
    /// A FIFO's id.
    FifoIdText => name(FIFO_ID_BYTES_MAX, "A FIFO's id");
    /// A FIFO's UUID.
    FifoUuidText => text().format(Some(SchemaFormat::Custom("uuid".to_owned()))).description(Some("A FIFO's UUID."));
    /// A queue's name.
    QueueNameText => name(QUEUE_NAME_BYTES_MAX, "A queue's name");
    /// How the name or key begins.
    PrefixText => up_to(LOCK_NAME_BYTES_MAX, "How a name or key begins");
    /// How many entries a page has.
    PageSize => whole_or_text(0, Some(PAGE_SIZE_MAX as u32), "A whole number, as JSON or as text.");
    /// How many share a lock.
    SharedCount => whole_or_text(0, Some(MAX_SHARED_MAX), "A whole number, as JSON or as text.");
    /// How many tickets may have their turn at once.
    FifoConcurrency => whole_or_text(0, Some(CONCURRENCY_MAX), "A whole number, as JSON or as text.");
    /// How many items may be without an acknowledgement.
    ConsumeWindow => whole_or_text(0, Some(CONSUME_WINDOW_MAX), "A whole number, as JSON or as text.");
    /// A reason's word.
    ReasonWord => text().enum_values(Some(Reason::ALL.iter().map(|reason| reason.as_str()))).description(Some("A stable word for what went wrong."));
    /// A lock's state.
    LockState => text().enum_values(Some(["HELD", "HELD_BACK", "FREE"]));
    /// How a hold ended.
    EndCauseWord => text().enum_values(Some(["released", "expired", "revoked", "forced", "callback_refused", "callback_timed_out"]));
    /// A ticket's state.
    TicketStateWord => text().enum_values(Some(["WAITING", "NOTIFIED", "ACCEPTED", "LAPSED"]));
    /// A webhook's state.
    WebhookStateWord => text().enum_values(Some(["waiting", "due", "taken", "refused", "timed_out", "wait_ended", "cancelled", "ended"]));
    /// How a call of webmutex went.
    OkOrFail => text().enum_values(Some(["ok", "fail"]));
    /// Where a page ended.
    PageTokenText => text().description(Some("The `next_page_token` of the page before; empty: the first page."));
    /// Who asks.
    OwnerText => up_to(OWNER_BYTES_MAX, "Who asks, for people to read");
    /// What makes a retry safe.
    RequestIdText => up_to(REQUEST_ID_BYTES_MAX, "What makes a retry safe: the same id is answered the same for 2 minutes; empty: none");
    /// The proof of a hold.
    GrantTokenText => text().description(Some("The proof of a hold; a secret."));
    /// The proof of a delivery.
    ReceiptText => text().description(Some("The proof of a delivery; a secret."));
    /// Where to post.
    CallbackUrlText => text().min_length(Some(1)).max_length(Some(CALLBACK_URL_BYTES_MAX)).description(Some("Where to post: http or https."));
    /// What to sign with.
    SecretText => text().pattern(Some("^whsec_[A-Za-z0-9+/]+={0,2}$")).description(Some("What to sign with; without it: the namespace's own secret."));
    /// A lease's id.
    LeaseIdText => text().format(Some(SchemaFormat::Custom("uuid".to_owned()))).description(Some("A lease's id: a UUID, and a secret."));
    /// A ticket's id.
    TicketIdText => text().format(Some(SchemaFormat::Custom("uuid".to_owned()))).description(Some("A ticket's id: a UUID, and a secret."));
    /// A webhook's id.
    WebhookIdText => text().pattern(Some("^msg_[0-9a-fA-F]{32}$")).description(Some("A webhook's id; a secret."));
    /// A UUID.
    UuidText => text().format(Some(SchemaFormat::Custom("uuid".to_owned()))).description(Some("A UUID with hyphens. Anything else is not found."));
    /// A mutex's id.
    MutexId => text().min_length(Some(1)).description(Some("A mutex's id, as reserve answers it."));
    /// What a value holds, as text.
    ValueText => up_to(VALUE_BYTES_MAX, "A value's bytes as UTF-8");
    /// A number of 64 bits.
    DecimalText => text().pattern(Some("^[0-9]+$")).description(Some("A number of 64 bits, as text so that no reader rounds it."));
    /// A moment.
    MomentText => text().format(Some(SchemaFormat::Custom("date-time".to_owned()))).description(Some("A moment, as RFC 3339 in UTC."));
    /// Seconds.
    SecondsNumber => seconds().description(Some("Seconds, to the millisecond."));
    /// Seconds, in the query.
    SecondsText => AnyOfBuilder::new().item(seconds()).item(text().pattern(Some(r"^[0-9]+(\.[0-9]+)?$"))).description(Some("A positive number of seconds."));
    /// Server-Sent Events.
    EventStream => text().description(Some("Server-Sent Events: `event` is a word, `data` is JSON."));
    /// Any JSON object.
    AnyObject => ObjectBuilder::new().schema_type(Type::Object);
    /// Text.
    PlainText => text();
}
