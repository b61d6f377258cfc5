//! The schema, generated from `proto/` at build time.
#![allow(missing_docs, clippy::all, rust_2018_idioms)]

/// Package `holdfast.v1`.
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// The schema in encoded form, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holdfast.v1.bin"));
