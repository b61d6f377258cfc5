//! What the HTTP surfaces share: paths, the reader of parameters, durations, errors, JSON views.
//!
//! It knows no rule of the service.

pub mod duration;
mod error;
pub mod extract;
pub mod fields;
pub mod fifo_view;
pub mod params;
pub mod paths;
pub mod queue;
pub mod view;

pub use error::{
    ErrorJson, HttpError, error_response, method_not_allowed, no_store, no_such_path,
    unauthenticated, unexpected_answer,
};
